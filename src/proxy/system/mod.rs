//! What the process is to the system that it runs on: its user and number ([`process`]), and what systemd is told and gives
//! ([`service_manager`]), how much [`memory`] it may come to need and how it goes back ([`allocator`]), and how many files it may open ([`open_files`]).

pub mod allocator;
pub mod memory;
pub mod open_files;
pub mod process;
pub mod service_manager;
