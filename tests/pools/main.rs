//! Limits that pools share, and what clients and buffers may cost.

mod shared_limits;
mod stand;
