//! MIGRATE: a database goes over to another cluster, of another major version if need be, by logical replication.
//!
//! A migration has two [`sides`]: the old one, and the new one. First it is [looked](look) what would be in the way. Then a publication
//! and a subscription are made for either direction ([`streams`]), the new side gets a copy and follows ([`run`]). If asked to, reads
//! are compared on both sides ([`mirror`]). The [`cut`] is the
//! same in both directions: writes are held, the side that is left is fenced ([`fence`]), the other one has everything, its sequences
//! go on behind, replication turns round, and clients are led there as REROUTE does. Until that is written down, any failure leads back
//! ([`back`]); from then on it only goes forward. What is left follows whoever has the clients, so that the same command leads back
//! (MIGRATE … BACK), until [`finish`] takes replication away.

mod back;
mod begin;
mod cut;
mod fence;
mod finish;
mod look;
mod mirror;
mod options;
mod run;
mod sides;
mod streams;

pub use begin::{Request, Where, begin};
pub use look::stands::{Stands, stands};
pub use options::is_flag;

pub(in crate::proxy::moving) use begin::resume;
