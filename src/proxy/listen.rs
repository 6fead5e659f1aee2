//! Sockets that clients connect to.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, Socket as RawSocket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::system::service_manager::Passed;
use super::system::{process, service_manager};
use super::takeover::messages::ListensFor;
use crate::config;
use crate::config::{Config, ListenAddr};
use crate::net;
use crate::net::Socket;
use crate::shared::sockets::tcp_options;

/// How long other processes that start in the same folder are waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

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

/// The unix socket's path, which goes when the process ends.
#[derive(Debug)]
pub struct UnixPath {
    path: PathBuf,
    file: (u64, u64),
}

impl UnixPath {
    /// That path, at which a socket is.
    ///
    /// # Errors
    /// There is none.
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), file: identity(path)? })
    }
}

impl UnixPath {
    /// Another process has its socket: it stays.
    pub fn leave(&mut self) {
        self.file = (0, 0);
    }
}

impl Drop for UnixPath {
    fn drop(&mut self) {
        // A process that has come since may have put its own in this place.
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let found = std::fs::symlink_metadata(path)?;
    Ok((found.dev(), found.ino()))
}

/// What clients connect to.
#[derive(Debug)]
pub struct Listeners {
    /// For each core one of each kind.
    pub per_core: Vec<Vec<Listener>>,
    /// The unix socket's path, if there is one.
    pub unix_path: Option<UnixPath>,
    /// Whether the service manager has opened them.
    pub activated: bool,
}

/// Opens the listeners of a configuration. TCP listens last, so that who can connect there finds the unix socket too.
///
/// # Errors
/// An address cannot be had, because another process listens there for instance; it is named.
pub fn open(config: &Config, cores: usize) -> io::Result<Listeners> {
    let mut per_core: Vec<Vec<Listener>> = (0..cores).map(|_| Vec::new()).collect();
    let mut unix_path = None;
    let passed = service_manager::passed_sockets()?;
    if !passed.is_empty() {
        take_over(passed, &mut per_core, &tcp_options(&config.listen))?;
        return Ok(Listeners { per_core, unix_path, activated: true });
    }
    let options = tcp_options(&config.listen);
    let claimed = claim(addresses(config)?)?;
    if let Some(path) = self::unix_path(config) {
        let listener = unix(&path, &config.listen);
        let listener = listener.map_err(|error| named(&error, &path.display().to_string()))?;
        unix_path = Some(UnixPath::of(&path)?);
        for listeners in &mut per_core {
            listeners.push(Listener::Unix(listener.try_clone()?));
        }
    }
    for (address, first) in claimed {
        // Connections inherit these options, which saves system calls for each.
        let prepare = |socket: &RawSocket| {
            socket.set_tcp_nodelay(true)?;
            options.apply(socket)?;
            net::tune(socket, address);
            Ok(())
        };
        let sockets = share(address, first, cores, backlog(&config.listen), prepare);
        let sockets = sockets.map_err(|error| named(&error, &address.to_string()))?;
        for (listeners, socket) in per_core.iter_mut().zip(sockets) {
            listeners.push(Listener::Tcp(socket.into(), address.ip().is_unspecified()));
        }
    }
    Ok(Listeners { per_core, unix_path, activated: false })
}

/// What sockets are wanted for.
///
/// # Errors
/// A name cannot be resolved.
pub fn wanted(config: &Config) -> io::Result<Vec<ListensFor>> {
    let clients =
        addresses(config)?.into_iter().map(|address| ListensFor::Clients(address, address.ip().is_unspecified()));
    let mut wanted: Vec<_> = clients.collect();
    wanted.extend(unix_path(config).map(ListensFor::UnixClients));
    if let Some((address, port)) = &config.http.listen.0 {
        wanted.extend(resolve(address, *port)?.into_iter().map(ListensFor::Http));
    }
    Ok(wanted)
}

/// Where the unix socket is.
pub fn unix_path(config: &Config) -> Option<PathBuf> {
    config.listen.unix_socket_dir.as_ref().map(|dir| dir.join(format!(".s.PGSQL.{}", config.listen.listen_port)))
}

/// Sockets that the service manager has opened serve instead of those of the configuration, and stay when the process ends.
fn take_over(passed: Vec<Passed>, per_core: &mut [Vec<Listener>], options: &net::TcpOptions) -> io::Result<()> {
    tracing::info!(event = "passed_sockets", count = passed.len(), "the service manager has opened the sockets");
    for socket in passed {
        if let Passed::Tcp(listener) = &socket {
            socket2::SockRef::from(listener).set_tcp_nodelay(true)?;
            options.apply(listener)?;
        }
        for listeners in &mut *per_core {
            listeners.push(match &socket {
                // Addresses are looked at one by one: who knows whether it is for all of the machine.
                Passed::Tcp(listener) => Listener::Tcp(listener.try_clone()?, true),
                Passed::Unix(listener) => Listener::Unix(listener.try_clone()?),
            });
        }
    }
    Ok(())
}

/// Opens the listener of the HTTP endpoint, one for each address of its name; none if there is no such endpoint.
///
/// # Errors
/// An address cannot be had, because another process listens there for instance; it is named.
pub fn open_http(config: &Config) -> io::Result<Vec<std::net::TcpListener>> {
    let Some((address, port)) = &config.http.listen.0 else { return Ok(Vec::new()) };
    let mut listeners = Vec::new();
    for (address, socket) in claim(resolve(address, *port)?)? {
        let shared = share(address, socket, 1, backlog(&config.listen), |_| Ok(()))
            .map_err(|error| named(&error, &address.to_string()))?;
        listeners.extend(shared.into_iter().map(Into::into));
    }
    Ok(listeners)
}

/// Binds a socket to each address. None of them is bound if another socket listens on one.
///
/// Sockets of the same user share a port by SO_REUSEPORT without a word, so the first socket of an address is bound without it.
/// An address that another one of ours covers, such as 127.0.0.1 beside `*`, is bound with it: it was claimed with that one.
fn claim(mut addresses: Vec<SocketAddr>) -> io::Result<Vec<(SocketAddr, RawSocket)>> {
    addresses.sort_by_key(|address| (!address.ip().is_unspecified(), address.is_ipv4(), *address));
    addresses.dedup();
    let mut claimed: Vec<(SocketAddr, RawSocket)> = Vec::new();
    for address in addresses {
        let covering: Vec<_> = claimed.iter().filter(|(other, _)| covers(*other, address)).collect();
        let bind = || {
            for (_, socket) in &covering {
                socket.set_reuse_port(true)?;
            }
            tcp(address, !covering.is_empty())
        };
        let socket = bind().map_err(|error| named(&error, &address.to_string()))?;
        claimed.push((address, socket));
    }
    Ok(claimed)
}

/// Whether a socket bound to `wide` takes connections to `address` too.
fn covers(wide: SocketAddr, address: SocketAddr) -> bool {
    wide.port() == address.port() && wide.ip().is_unspecified() && (wide.is_ipv6() || address.is_ipv4())
}

/// As many listening sockets as asked for, among which the kernel divides the connections to one address.
fn share(
    address: SocketAddr,
    first: RawSocket,
    count: usize,
    backlog: i32,
    prepare: impl Fn(&RawSocket) -> io::Result<()>,
) -> io::Result<Vec<RawSocket>> {
    prepare(&first)?;
    // Whoever else listens there by now is found here: two sockets without SO_REUSEPORT can be bound, but not listen.
    first.listen(backlog)?;
    first.set_reuse_port(true)?;
    let mut sockets = vec![first];
    while sockets.len() < count {
        let socket = tcp(address, true)?;
        prepare(&socket)?;
        socket.listen(backlog)?;
        sockets.push(socket);
    }
    Ok(sockets)
}

fn named(error: &io::Error, what: &str) -> io::Error {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => "; another process listens there, perhaps another pgsluice",
        _ => "",
    };
    io::Error::new(error.kind(), format!("cannot listen on {what}: {error}{hint}"))
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
fn tcp(address: SocketAddr, shared: bool) -> io::Result<RawSocket> {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn backlog(listen: &config::Listen) -> i32 {
    i32::try_from(listen.listen_backlog).unwrap_or(i32::MAX)
}

fn unix(path: &Path, listen: &config::Listen) -> io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::net::UnixListener as StdListener;
    // Else two processes that start at once could each take the other's socket for one that was left behind.
    let _one_at_a_time = path.parent().and_then(lock_folder);
    let listener = match StdListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_left_behind(path)? => {
            std::fs::remove_file(path)?;
            StdListener::bind(path)?
        }
        other => other?,
    };
    // The standard library asks for a backlog of its own; a second call sets ours.
    socket2::SockRef::from(&listener).listen(backlog(listen))?;
    if !listen.unix_socket_group.is_empty() {
        std::os::unix::fs::chown(path, None, Some(process::group(&listen.unix_socket_group)?))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(listen.unix_socket_mode.bits()))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Locks a folder among processes of this program. A lock that others keep is not waited for long.
fn lock_folder(folder: &Path) -> Option<File> {
    let folder = File::open(folder).ok()?;
    let until = Instant::now() + LOCK_PATIENCE;
    while folder.try_lock().is_err() {
        if Instant::now() > until {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(folder)
}

/// Whether it is the socket of a process that was killed: nobody listens. Anything else in that place is not ours to remove.
fn is_left_behind(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::FileTypeExt as _;
    if !std::fs::symlink_metadata(path)?.file_type().is_socket() {
        return Ok(false);
    }
    let socket = RawSocket::new(Domain::UNIX, Type::STREAM, None)?;
    // A process that is too busy to accept lives too, and is not waited for.
    socket.set_nonblocking(true)?;
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    Ok(socket.connect(&socket2::SockAddr::unix(path)?).is_err_and(refused))
}
