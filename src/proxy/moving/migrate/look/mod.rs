//! What is looked at and not changed: [`checks`] before a command begins, with both schemas compared ([`catalog`]), and how a migration
//! [`stands`] for whoever asks.

mod catalog;
pub(super) mod checks;
pub(super) mod stands;
