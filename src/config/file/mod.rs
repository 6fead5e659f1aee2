//! The TOML file: how it is read, and what is reported about it with its place.

pub(in crate::config) mod error;
pub(in crate::config) mod reader;
pub(in crate::config) mod referenced_files;
pub(in crate::config) mod report;
pub(in crate::config) mod section;
pub(in crate::config) mod syntax;
