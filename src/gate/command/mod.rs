//! From the console's command to a gate that is closed or open again.

pub(in crate::gate) mod execute;
pub(in crate::gate) mod expiry;
pub(in crate::gate) mod follow;
pub(in crate::gate) mod options;
pub(in crate::gate) mod overdue;
pub(in crate::gate) mod plan;
pub(in crate::gate) mod progress;
pub(in crate::gate) mod transition;
pub(in crate::gate) mod when;
