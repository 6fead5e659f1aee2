//! What must hold between keys, and hints for keys that are unknown.

pub(in crate::config) mod between_keys;
pub(in crate::config) mod changes;
pub(in crate::config) mod hints;
pub(in crate::config) mod nearest;
pub(in crate::config) mod pgbouncer;
