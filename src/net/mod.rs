//! Sockets: TCP or unix, plain or TLS, readable without a buffer at hand and movable from one core's reactor to another's.

mod options;
mod passed;
mod socket;
mod stream;

pub use crate::net::options::{Keepalive, TcpOptions};
pub use crate::net::socket::{Socket, tune};
pub use crate::net::stream::Stream;
