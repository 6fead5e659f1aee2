//! The types that keys have.

pub(in crate::config) mod address;
pub(in crate::config) mod plain;
pub(in crate::config) mod token;
pub(in crate::config) mod units;
pub(in crate::config) mod url;
pub(in crate::config) mod write_rules;
