//! Every key: its name, type, default and documentation.

pub(in crate::config) mod entries;
pub(in crate::config) mod example;
pub(in crate::config) mod fleet;
pub(in crate::config) mod general;
pub(in crate::config) mod list;
pub(in crate::config) mod setting;
pub(in crate::config) mod tables;
pub(in crate::config) mod tls_choice;
pub(in crate::config) mod webhook;
pub(in crate::config) mod words;
