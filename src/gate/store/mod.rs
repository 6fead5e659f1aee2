//! What survives kill -9 and a reboot.

pub(in crate::gate) mod handover;
pub(in crate::gate) mod lock_file;
pub(crate) mod sealed;
pub(in crate::gate) mod state_file;
