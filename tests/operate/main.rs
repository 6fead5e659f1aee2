//! What an operator meets: starting, ports, signals, the command line, the log.

mod keys;
mod log;
mod ports;
mod service_manager;
mod signals;
mod stand;
mod starting;
mod units;
