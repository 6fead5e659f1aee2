//! Commands that lead databases elsewhere: to another server of their cluster ([`switchover`], [`activate`]), or to another cluster
//! ([`reroute`]).

pub mod activate;
pub mod reroute;
pub mod switchover;
