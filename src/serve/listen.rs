//! Sockets that clients connect to.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::Path;

use socket2::{Domain, Protocol, Socket as RawSocket, TcpKeepalive, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::config::{Config, ListenAddr};
use crate::net::{self, Socket};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A socket that is bound and listens, not yet known to a reactor.
#[derive(Debug)]
pub enum Listener {
    /// TCP, and whether it is for all addresses of the machine.
    Tcp(std::net::TcpListener, bool),
    /// A unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// A new connection.
pub struct Accepted {
    /// Its socket.
    pub socket: Socket,
    /// Where it comes from; None for a unix socket.
    pub address: Option<SocketAddr>,
}

/// The same, known to this thread's reactor.
pub enum Registered {
    /// TCP, as [`Listener::Tcp`].
    Tcp(TcpListener, bool),
    /// A unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// Registers it with this thread's reactor.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn register(self) -> io::Result<Registered> {
        match self {
            Self::Tcp(listener, anywhere) => Ok(Registered::Tcp(TcpListener::from_std(listener)?, anywhere)),
            Self::Unix(listener) => Ok(Registered::Unix(UnixListener::from_std(listener)?)),
        }
    }
}

impl Registered {
    /// Waits for the next connection.
    ///
    /// # Errors
    /// The kernel has no more file descriptors or memory.
    pub async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener, anywhere) => {
                let (socket, address) = listener.accept().await?;
                if *anywhere {
                    net::tune(&socket, address);
                }
                Ok(Accepted { socket: socket.into(), address: Some(address) })
            }
            Self::Unix(listener) => {
                let (socket, _) = listener.accept().await?;
                Ok(Accepted { socket: socket.into(), address: None })
            }
        }
    }
}

/// Opens the listeners of a configuration: for each core one of each kind. Those for TCP listen last, so that who can connect
/// there finds the others too.
///
/// # Errors
/// An address cannot be had; it is named.
pub fn open(config: &Config, cores: usize) -> io::Result<Vec<Vec<Listener>>> {
    let mut per_core: Vec<Vec<Listener>> = (0..cores).map(|_| Vec::new()).collect();
    let keepalive = keepalive(config);
    let mut bound = Vec::new();
    for address in addresses(config)? {
        for at in 0..cores {
            let options = |socket: RawSocket| {
                // Connections inherit them, which saves system calls for each.
                socket.set_tcp_nodelay(true)?;
                if let Some(keepalive) = &keepalive {
                    socket.set_tcp_keepalive(keepalive)?;
                }
                net::tune(&socket, address);
                Ok(socket)
            };
            let socket = tcp(address).and_then(options).map_err(|error| named(&error, &address.to_string()))?;
            bound.push((at, address, socket));
        }
    }
    if let Some(dir) = &config.listen.unix_socket_dir {
        let path = dir.join(format!(".s.PGSQL.{}", config.listen.listen_port));
        let listener = unix(&path, config.listen.unix_socket_mode.bits());
        let listener = listener.map_err(|error| named(&error, &path.display().to_string()))?;
        for listeners in &mut per_core {
            listeners.push(Listener::Unix(listener.try_clone()?));
        }
    }
    for (at, address, socket) in bound {
        socket.listen(BACKLOG).map_err(|error| named(&error, &address.to_string()))?;
        if let Some(listeners) = per_core.get_mut(at) {
            listeners.push(Listener::Tcp(socket.into(), address.ip().is_unspecified()));
        }
    }
    Ok(per_core)
}

/// Opens the listener of the HTTP endpoint, one for each address of its name; none if there is no such endpoint.
///
/// # Errors
/// An address cannot be had; it is named.
pub fn open_http(config: &Config) -> io::Result<Vec<std::net::TcpListener>> {
    let Some((address, port)) = &config.http.listen.0 else { return Ok(Vec::new()) };
    let listen = |socket: RawSocket| {
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    let open = |address: SocketAddr| tcp(address).and_then(listen).map_err(|error| named(&error, &address.to_string()));
    resolve(address, *port)?.into_iter().map(open).collect()
}

fn named(error: &io::Error, what: &str) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {what}: {error}"))
}

fn addresses(config: &Config) -> io::Result<Vec<SocketAddr>> {
    let port = config.listen.listen_port;
    let mut found = Vec::new();
    for address in &config.listen.listen_addr {
        found.extend(resolve(address, port)?);
    }
    found.dedup();
    Ok(found)
}

fn resolve(address: &ListenAddr, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(match address {
        // One socket for both families: IPv4 comes mapped.
        ListenAddr::All => vec![SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port))],
        ListenAddr::Ip(ip) => vec![SocketAddr::from((*ip, port))],
        ListenAddr::Name(name) => {
            (name.as_str(), port).to_socket_addrs().map_err(|error| named(&error, name))?.collect()
        }
    })
}

/// A socket that is bound, and does not listen yet.
fn tcp(address: SocketAddr) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn unix(path: &Path, mode: u32) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::{UnixListener as StdListener, UnixStream};
    let listener = match StdListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && UnixStream::connect(path).is_err() => {
            // Left behind by a process that was killed: nobody answers.
            std::fs::remove_file(path)?;
            StdListener::bind(path)?
        }
        other => other?,
    };
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn keepalive(config: &Config) -> Option<TcpKeepalive> {
    let listen = &config.listen;
    if !listen.tcp_keepalive {
        return None;
    }
    let mut keepalive = TcpKeepalive::new();
    if let Some(idle) = listen.tcp_keepidle.get() {
        keepalive = keepalive.with_time(idle);
    }
    if let Some(interval) = listen.tcp_keepintvl.get() {
        keepalive = keepalive.with_interval(interval);
    }
    if listen.tcp_keepcnt > 0 {
        keepalive = keepalive.with_retries(listen.tcp_keepcnt);
    }
    Some(keepalive)
}
