//! What a client does not change beside rows: another database, whose gate is closed, and the schema of one that is being migrated.

mod migrating;
mod other_databases;
