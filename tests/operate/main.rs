//! What an operator meets: starting, ports, signals, the command line, the log.

mod log;
mod ports;
mod stand;
