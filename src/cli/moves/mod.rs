//! Commands that lead databases elsewhere: to another server of their cluster ([`switchover`], [`activate`]), to another cluster with all
//! that is written ([`migrate`]), or to another cluster's copy ([`reroute`]).

pub mod activate;
pub mod migrate;
pub mod reroute;
pub mod switchover;
