//! Limits that pools share, and what clients and buffers may cost.

mod attack;
mod client_memory;
mod flip;
mod guaranteed;
mod large;
mod memory;
mod shared_limits;
mod stall;
mod stand;
