//! Servers that stop, are promoted, come back, or claim to be what they are not: real ones, with the built binary in front.

mod contested;
mod exact;
mod load;
mod passwords;
mod promoted;
mod promotion;
mod reads;
mod refused;
mod remembered;
mod sockets;
mod stand;
mod waiters;
