//! Limits that pools share, and what clients and buffers may cost.

mod flip;
mod large;
mod memory;
mod shared_limits;
mod stand;
