//! Unseen writers: what PostgreSQL runs in a READ ONLY transaction although it writes, and what leaves no row behind by
//! which a transaction could be asked about it: other servers' work, the write-ahead log, replication slots, files.
//!
//! Where they are spelled out `refused` finds them. Here it is found out what of a database's own leads to them: functions by what their
//! bodies name, and, by PostgreSQL's own dependencies, views, rules, policies, operators, casts, types, defaults, checks and
//! triggers. [`question`](crate::sql::hidden_writers::catalog::question) is what the catalog is asked, once; [`catalog`] goes from its rows to the end of all chains;
//! [`HiddenWriters`] is what is left, and judges statements. [`mentions`] finds what a text names, of a body and of a statement alike;
//! `extensions` lists those whose C code is known, `harmless` what of PostgreSQL's own writes nothing.
//!
//! A text that is put together when it runs is read as far as [`built`](crate::sql::hidden_writers::run_text::built) says that it can be. What cannot be read is refused for the roles
//! that [`keepers`](crate::sql::hidden_writers::catalog::keepers) names, who could have it change a relation behind every ROLLBACK.
//!
//! For a statement that is about to run there are three answers ([`WriteRisk`], from [`HiddenWriters::risk`]): it is clean, and nothing has to be
//! asked about it; its transaction has to be asked whether it has written; or it must not run. What is clean is shown to be: whatever a
//! chain leads to that is not known to only read makes all of it doubtful.
//!
//! The same rows and chains tell what of a database's own leaves something behind in its session: [`bodies`](crate::sql::hidden_writers::side_effects::bodies) reads a body for that,
//! [`SideEffects`] is what is left of it, and asked in every mode.

mod catalog;
mod harmless;
mod look;
mod mentions;
mod reach;
mod routing;
mod run_text;
mod search_path;
pub(in crate::sql) mod side_effects;
mod statement_forms;
mod statement_reading;
mod stopped;
mod utility;
mod verdict;

pub use crate::sql::hidden_writers::catalog::question::{ENDED, fingerprint, question};
pub use crate::sql::hidden_writers::catalog::{read, read_leavings};
pub use crate::sql::hidden_writers::routing::Routing;
pub use crate::sql::hidden_writers::search_path::SearchPath;
pub use crate::sql::hidden_writers::side_effects::bodies::{Kinds, Left};
pub use crate::sql::hidden_writers::side_effects::catalog::{Marks, SideEffects};
pub use crate::sql::hidden_writers::statement_reading::StatementReading;
pub use crate::sql::hidden_writers::verdict::{Found, HiddenWriters, WriteRisk};
