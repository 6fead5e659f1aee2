//! Several proxies with one mode for each database, as state machines without sockets or clocks: inputs are events and the time,
//! outputs are actions. Whoever drives them has etcd, the gates and the servers (`src/proxy/fleet`); the simulation has models of them.
//!
//! The story: a [`Machine`] is one member. It takes a lease, registers with it, reads what is there, and puts the [`Desired`] modes in
//! force before it lets anything be written; from then on it follows what changes ([`machine`]). A command is one compare-and-swap of a
//! database's [`Desired`] record ([`command`]). Each member drains its own gate and writes an [`Ack`]. The member that has been elected
//! leads all flips ([`lead`]): once every member that could still write has acknowledged, and what those that have gone left open on
//! the servers is ended, it reads the LSN and writes the result, for which every member waits before it shows the mode as quiesced.
//!
//! A member whose lease could not be renewed stops taking writes before that can have ended by anybody's clock ([`Guard`]): from then
//! on others may count it as gone. What lies in etcd, and under which keys, is in [`keys`] and [`records`].

pub mod command;
mod guard;
mod handle;
mod keys;
mod lead;
mod machine;
mod records;
#[cfg(test)]
mod simulation;
mod steps;
mod turns;
mod view;

pub use crate::fleet::guard::{Guard, since_boot};
pub use crate::fleet::handle::{Answer, Handle, MemberRow, Order, Reply, Shown};
pub use crate::fleet::keys::Keys;
pub use crate::fleet::machine::{Machine, Timing};
pub use crate::fleet::records::{Ack, Backends, Before, Desired, Ended, Finding, How, MarkedBackend, Member, Place};
pub use crate::fleet::steps::{Action, Errand, Fault, Input, Renewal};
pub use crate::fleet::turns::{Mark, Told, Turn, Turns};
pub use crate::fleet::view::{Change, View};
