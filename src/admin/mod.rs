//! The console: `psql -d pgsluice`, and under the name `pgbouncer` for dashboards that know that one.
//!
//! [`console`] is one conversation from greeting to goodbye, over [`link`] (the client's stream) in the simple protocol, or in
//! the extended one ([`extended`]); [`listen`] sends events in between. What is typed is cut into words ([`words`](crate::admin::language::words)) and read ([`command`](crate::admin::language::command)); what a command
//! gives is a [`table::Table`] or a tag. [`commands`] runs it, for the console and for the HTTP API alike. The commands themselves: [`show`] only looks, [`maintenance`] moves the gate,
//! [`announce`] tells clients of one, [`check`] and [`rehearse`] tell beforehand what a maintenance
//! would meet, [`moving`] leads databases elsewhere, [`reroute`] leads clients to another cluster, [`control`] does everything else. Columns of PgBouncer's commands have PgBouncer's names, order and types
//! (<https://www.pgbouncer.org/usage.html>); ours come after them.

mod announce;
mod check;
pub mod commands;
pub mod console;
mod control;
mod extended;
pub mod language;
mod link;
mod listen;
mod maintenance;
mod moving;
mod rehearse;
pub mod reroute;
mod settings;
mod show;
pub mod table;
