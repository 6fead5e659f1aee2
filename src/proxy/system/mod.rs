//! What the process is to the system that it runs on: its user and number ([`process`]), and what systemd is told and gives
//! ([`service_manager`]), how much [`memory`] it may come to need.

pub mod memory;
pub mod process;
pub mod service_manager;
