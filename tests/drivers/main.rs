//! The drivers and programs that people use, through pgsluice: TLS with certificates checked in full, SCRAM, transaction
//! mode, two server connections. Each connects, queries, prepares, copies, cancels, and lives through a maintenance.

mod attrs;
mod dump;
mod login;
mod pgbench;
mod prepared;
mod psql;
mod read_write;
mod rust;
mod scripts;
mod session_mode;
mod stand;
mod tls;
