//! Session state in transaction mode: an application cannot tell that its server connection is not its own.
//!
//! Each test has clients that take turns on a pool of one server connection, so that whatever is not followed shows at once.

mod as_direct;
mod databases;
mod dirty;
mod early;
mod fresh;
mod functions;
mod identity;
mod left_open;
mod names;
mod on_18;
mod pins;
mod prepared;
mod prepared_sql;
mod reading;
mod roles;
mod sequences;
mod server_settings;
mod server_settings_matrix;
mod settings;
mod stand;
mod unfinished;
