//! Session state that follows the client from one server connection to the next.

pub(in crate::client) mod function_side_effects;
pub(in crate::client) mod pins;
pub(in crate::client) mod reported_parameters;
pub(in crate::client) mod reset_defaults;
pub(in crate::client) mod sequences;
pub(in crate::client) mod session_effects;
pub(in crate::client) mod session_role;
pub(in crate::client) mod transactional_settings;
