//! Moves of databases: what is moved, how far it has come, and what a restart finds of it.
//!
//! A [`Move`] is a command that leads a database's clients elsewhere in several steps (SWITCHOVER). [`Moves`] has one at a time
//! for each database ([`desk`]). What a MIGRATE leaves between its commands is a [`Migration`]. What it is and which step comes next is an [`Entry`] ([`entry`]) of the [`journal`], a file beside
//! the state file: a step is on disk before it is taken, so that a restart knows what may have happened and goes on or goes back,
//! never both. What was found and done is told as [`Line`]s: rows of the answer, notices, and events.
//!
//! Whoever takes the steps holds the move with its kind ([`kind`]).
//!
//! Nothing here acts on servers or clients: the steps themselves are taken in [`proxy::moving`](crate::proxy::moving).

mod desk;
mod entry;
mod error;
mod journal;
mod kind;
mod migration;

pub use crate::moving::desk::{Move, Moves};
pub use crate::moving::entry::{
    Activate, End, Entry, LatestPrimary, Line, MoveKind, OnFailure, Progress, Retired, Scope, Status, Step, Switchover,
};
pub use crate::moving::error::MoveError;
pub use crate::moving::kind::MoveOf;
pub use crate::moving::migration::{Extent, Migrate, Migration, Mirroring, Way};
