//! The forms in which a client asks: the extended query protocol, whole batches at once, statement mode.

pub(in crate::client) mod extended_query;
pub(in crate::client) mod fast_path;
pub(in crate::client) mod pgsluice_settings;
pub(in crate::client) mod statement_mode;
