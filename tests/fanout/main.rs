//! DDL on two servers at once, each of which takes in what is written to the other: real servers, with the built binary in front.

mod activate;
mod leftover;
mod stand;
mod stillebot;
mod surfaces;
mod together;
