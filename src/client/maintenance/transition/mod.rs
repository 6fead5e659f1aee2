//! What happens to open transactions when the gate closes, and what clients hear of it.

pub(in crate::client) mod abort_open_transaction;
pub(in crate::client) mod closing;
pub(in crate::client) mod fence;
pub(in crate::client) mod fleet_lost;
pub(in crate::client) mod mode_notifications;
pub(in crate::client) mod open_transaction;
pub(in crate::client) mod transaction_history;
pub(in crate::client) mod what_ran;
