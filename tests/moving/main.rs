//! Moving from PgBouncer: its files start as they are, its commands are there, and what is different is said.

mod console;
mod files;
mod keys;
mod stand;
