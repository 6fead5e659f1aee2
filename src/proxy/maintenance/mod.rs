//! What the gate needs of the running proxy: sessions, pools, catalogs and strays.

pub(in crate::proxy) mod ahead;
pub mod catalog;
pub(in crate::proxy) mod degrade;
pub mod environment;
pub mod guarantees;
pub(in crate::proxy) mod heartbeat;
pub(in crate::proxy) mod settle;
pub mod strays;
