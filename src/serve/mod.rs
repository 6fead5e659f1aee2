//! The running proxy: listeners and a thread for every two cores ([`worker`]), what the gate wants done ([`field`]), what has to
//! be looked after from time to time ([`janitor`]), what follows when a server is not what it was ([`turns`]), and the whole from its start to its end ([`proxy`]).

mod ahead;
pub mod allocator;
pub mod catalog;
pub mod field;
pub mod files;
pub mod guarantees;
pub mod janitor;
pub mod listen;
pub mod pause;
pub mod proxy;
mod settle;
pub mod setup;
pub mod strays;
pub mod turns;
pub mod worker;
