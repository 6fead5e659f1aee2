//! REROUTE: the clients of a database are led to another cluster's copy of it, and back. Real servers, the built binary in front.

mod ckan;
mod clients;
mod commands;
mod operators;
mod stand;
mod survives;
