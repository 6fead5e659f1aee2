//! How the other side's certificate is judged: a server's in [`upstream`], a client's in [`client`], and those of X.509's first version,
//! which webpki does not read, in [`first_version`].

pub(super) mod client;
mod first_version;
pub(super) mod upstream;
