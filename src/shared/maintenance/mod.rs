//! What sessions share about maintenance: the state of catalogs, and counters.

pub mod availability;
pub mod catalog_changes;
pub mod catalog_state;
pub mod heartbeat;
pub mod kept_out;
pub(in crate::shared) mod refusal_counters;
pub mod rehearsal;
pub mod same_server;
