//! What the process is to the system that it runs on: its user and number ([`process`]), and what systemd is told and gives
//! ([`service_manager`]), how much [`memory`] it may come to need and how it goes back ([`allocator`]), how many files it may open
//! ([`open_files`]), and what it is [`start`]ed with.

pub mod allocator;
pub mod memory;
pub mod open_files;
pub mod process;
pub mod service_manager;
pub mod start;
