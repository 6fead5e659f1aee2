//! Where an upstream listens.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use tokio::net::{UnixStream, lookup_host};

use super::address_race;
use crate::net;
use crate::net::{Socket, TcpOptions};

/// Host and port, or the folder of a unix socket and the port that is part of its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A name or an IP address.
    Tcp {
        /// Without brackets for IPv6.
        host: String,
        /// 1 to 65535.
        port: u16,
    },
    /// `DIR/.s.PGSQL.PORT`.
    Unix {
        /// The folder.
        dir: PathBuf,
        /// The port in the socket's name.
        port: u16,
    },
}

impl Address {
    /// The host name that a certificate must carry; none for unix sockets.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. } => Some(host),
            Self::Unix { .. } => None,
        }
    }

    /// Host as SHOW commands print it: the folder of a unix socket.
    pub fn host_words(&self) -> String {
        match self {
            Self::Tcp { host, .. } => host.clone(),
            Self::Unix { dir, .. } => dir.display().to_string(),
        }
    }

    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            Self::Tcp { port, .. } | Self::Unix { port, .. } => *port,
        }
    }

    /// The places that it leads to now; none where there is nothing to look up.
    ///
    /// # Errors
    /// The name does not resolve.
    pub async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Tcp { host, .. } if host.parse::<IpAddr>().is_ok() => Ok(Vec::new()),
            Self::Tcp { host, port } => Ok(lookup_host((host.as_str(), *port)).await?.collect()),
            Self::Unix { .. } => Ok(Vec::new()),
        }
    }

    /// Connects. A name is looked up each time, and its addresses are tried side by side where one does not answer.
    ///
    /// # Errors
    /// The name does not resolve, or nobody listens.
    pub async fn connect(&self, options: TcpOptions) -> io::Result<Socket> {
        match self {
            Self::Tcp { host, port } => {
                let addresses = lookup_host((host.as_str(), *port)).await?.collect();
                let socket = address_race::connect(addresses).await?;
                socket.set_nodelay(true)?;
                options.apply(&socket)?;
                if let Ok(peer) = socket.peer_addr() {
                    net::tune(&socket, peer);
                }
                Ok(socket.into())
            }
            Self::Unix { dir, port } => Ok(UnixStream::connect(dir.join(format!(".s.PGSQL.{port}"))).await?.into()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix { dir, port } => write!(f, "unix:{}:{port}", dir.display()),
        }
    }
}
