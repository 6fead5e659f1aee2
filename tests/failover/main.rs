//! Servers that stop, are promoted, come back, or claim to be what they are not: real ones, with the built binary in front.

mod contested;
mod promoted;
mod reads;
mod refused;
mod stand;
mod waiters;
