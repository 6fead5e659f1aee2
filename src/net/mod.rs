//! Sockets: TCP or unix, plain or TLS, readable without a buffer at hand and movable from one core's reactor to another's.

mod options;
mod socket;
mod stream;

pub use options::{Keepalive, TcpOptions};
pub use socket::{Socket, tune};
pub use stream::Stream;
