//! Unseen writers: what PostgreSQL runs in a READ ONLY transaction although it writes, and what leaves no row behind by
//! which a transaction could be asked about it: other servers' work, the write-ahead log, replication slots, files.
//!
//! Where they are spelled out `refused` finds them. Here it is found out what of a database's own leads to them: functions by what their
//! bodies name, and, by PostgreSQL's own dependencies, views, rules, policies, operators, casts, types, defaults, checks and
//! triggers. [`question`] is what the catalog is asked, once; [`catalog`] goes from its rows to the end of all chains;
//! [`Unseen`] is what is left, and judges statements. [`mentions`] finds what a text names, of a body and of a statement alike;
//! `extensions` lists those whose C code is known.

mod catalog;
mod extensions;
mod mentions;
mod question;
mod verdict;

pub use catalog::read;
pub use question::{fingerprint, question};
pub use verdict::{Found, Unseen};
