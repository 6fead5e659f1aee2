//! A new process takes over from the one that runs, with its listening sockets and its clients: nobody is dropped.
//!
//! [`command`] is where `pgsluice upgrade` asks for it. The running process starts the new one ([`program`]), with one end of a
//! pair of sockets as its standard input ([`link`]). Then both go through the same steps ([`messages`]):
//!
//! | the former process ([`give`]) | the new process ([`take`]) |
//! | --- | --- |
//! | | reads its configuration and says which formats it understands |
//! | stops writing to the state file; gives the state, its lock, and second descriptors of listening sockets | takes them, finds its servers, and is ready |
//! | stops accepting connections | accepts them |
//! | offers each client that is at rest, and idle server connections | takes each, or refuses it |
//! | sends away who is left at the deadline, and ends | is alone |
//!
//! Up to the third step everything goes back to what it was if the new process fails. From then on each client is on one side: it
//! is the former process's until that has read the answer to its offer, and while the offer is open nobody reads from it. Whoever
//! gives the other one up, kills it first. A closed gate is closed in both, since the state passes over before the first client
//! does, and no command of the gate begins while both serve clients.

pub mod command;
pub mod give;
pub mod link;
pub mod messages;
pub mod program;
pub mod sockets;
pub mod surroundings;
pub mod take;
