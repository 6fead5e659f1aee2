//! Commands that lead databases elsewhere: to another server of their cluster ([`switchover`]), or to another cluster ([`reroute`]).

pub mod reroute;
pub mod switchover;
