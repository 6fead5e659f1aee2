//! A new process takes over from the one that runs: whoever is connected stays, and nothing is lost.

mod changed;
mod counted;
mod earlier;
mod failures;
mod killed;
mod long;
mod maintenance;
mod outside;
mod replica;
mod sessions;
mod stand;
