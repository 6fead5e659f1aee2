//! The running proxy, from its start to its end ([`lifecycle`]).
//!
//! Listeners ([`listen`]) and a thread for every two cores ([`worker`]) take clients in. [`janitor`] looks after them once a second, and `pool_care` after pools.
//! [`server_changes`] acts when a server is not what it was, [`maintenance::degrade`] when a database cannot be written to because of that.
//! [`reroute`] leads clients to another cluster. With [`takeover`] a new process takes the place of this one. `cancel_requests` finds the server of a
//! cancel request, and [`peers`] are asked where nobody here knows its client, and `shutdown` knows who is waited for at the end. [`system`] are its ways to the system. In a fleet, [`fleet`] is what
//! this member does there. What the gate wants done in sessions, pools and servers is in [`maintenance`], the steps of a move to
//! another server in [`moving`].

mod cancel_requests;
pub mod certificates;
pub mod fleet;
mod janitor;
pub mod lifecycle;
pub mod listen;
pub mod maintenance;
pub mod moving;
pub mod pause;
pub mod peers;
mod pool_care;
pub mod reroute;
pub mod server_changes;
pub mod setup;
mod shutdown;
pub mod system;
pub mod takeover;
pub mod worker;
