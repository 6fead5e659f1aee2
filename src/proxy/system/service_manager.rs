//! What systemd is told and what it gives: states by NOTIFY_SOCKET (sd_notify(3)), a sign of life as often as WATCHDOG_USEC asks
//! for (sd_watchdog_enabled(3)), and sockets that it has opened ahead (sd_listen_fds(3)).

use std::ffi::OsStr;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::time::{interval, timeout};

use crate::shared::ProxyState;

/// The first descriptor that is passed.
const FIRST: i32 = 3;
/// More sockets than any unit passes.
const MOST: i32 = 64;

/// Where states are told; nowhere if nobody asks.
#[derive(Debug, Default)]
pub struct ServiceManager(Option<(UnixDatagram, SocketAddr)>);

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    match name.as_bytes().strip_prefix(b"@") {
        Some(hidden) => SocketAddr::from_abstract_name(hidden),
        None => SocketAddr::from_pathname(name),
    }
}

impl ServiceManager {
    /// The one that has started this process.
    pub fn of_environment() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        Self(name.and_then(|name| Some((UnixDatagram::unbound().ok()?, address(&name).ok()?))))
    }

    fn tell(&self, state: &str) {
        if let Some((socket, address)) = &self.0
            && let Err(error) = socket.send_to_addr(state.as_bytes(), address)
        {
            tracing::warn!(event = "service_manager", %error, "the service manager cannot be told");
        }
    }

    /// Clients are served, by what is in the configuration now.
    pub fn ready(&self) {
        self.tell("READY=1\nSTATUS=serving clients");
    }

    /// The configuration is read again.
    pub fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the configuration"));
    }

    /// This process is the main one from now on.
    pub fn main_process_is(&self, pid: u32) {
        self.tell(&format!("MAINPID={pid}"));
    }

    /// Clients are sent away; that may take so long.
    pub fn stopping(&self, at_most: Duration) {
        let micros = (at_most + Duration::from_secs(10)).as_micros();
        self.tell(&format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=waiting for transactions to end"));
    }
}

/// How often a sign of life is wanted.
fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let other = number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id()));
    let micros = number("WATCHDOG_USEC").filter(|micros| *micros > 0 && !other)?;
    Some(Duration::from_micros(micros))
}

/// Gives signs of life, as long as every worker answers: a process whose workers hang is to be restarted.
pub async fn give_signs_of_life(manager: Arc<ServiceManager>, proxy: Arc<ProxyState>) {
    let Some(period) = watchdog() else { return };
    let mut tick = interval(period / 3);
    loop {
        tick.tick().await;
        if timeout(period / 3, proxy.on_every_core(|_| ())).await.is_ok_and(|answers| answers.len() == proxy.cores()) {
            manager.tell("WATCHDOG=1");
        } else {
            tracing::error!(event = "workers_hang", "not all workers answer: the service manager gets no sign of life");
        }
    }
}

/// A socket that listens already.
#[derive(Debug)]
pub enum Passed {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// Unix.
    Unix(std::os::unix::net::UnixListener),
}

/// Sockets that the service manager has opened; none if it has passed none to this process.
///
/// # Errors
/// One of them is not a socket that listens.
#[expect(unsafe_code, reason = "descriptors are passed by their numbers")]
pub fn passed_sockets() -> io::Result<Vec<Passed>> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<i64>().ok();
    let ours = number("LISTEN_PID") == Some(i64::from(std::process::id()));
    let count = number("LISTEN_FDS").filter(|_| ours).and_then(|count| i32::try_from(count).ok()).unwrap_or(0);
    let mut sockets = Vec::new();
    for fd in FIRST..FIRST + count.clamp(0, MOST) {
        // SAFETY: the service manager has passed these to this process, by its number, and nobody else here uses them.
        let socket = Socket::from(unsafe { OwnedFd::from_raw_fd(fd) });
        let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, format!("passed socket {fd}: {what}"));
        if socket.r#type().map_err(|error| wrong(&error.to_string()))? != Type::STREAM || !socket.is_listener()? {
            return Err(wrong("not a stream socket that listens"));
        }
        socket.set_cloexec(true)?;
        socket.set_nonblocking(true)?;
        sockets.push(match socket.domain()? {
            Domain::UNIX => Passed::Unix(socket.into()),
            _ => Passed::Tcp(socket.into()),
        });
    }
    Ok(sockets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_to_a_socket_by_path_and_by_a_hidden_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        let manager = |name: &OsStr| ServiceManager(Some((UnixDatagram::unbound().unwrap(), address(name).unwrap())));
        let told = |listener: &UnixDatagram| {
            let mut room = [0; 200];
            let count = listener.recv(&mut room).unwrap();
            String::from_utf8_lossy(&room[..count]).into_owned()
        };
        manager(path.as_os_str()).ready();
        assert!(told(&listener).starts_with("READY=1\n"));
        manager(path.as_os_str()).reloading();
        let said = told(&listener);
        assert!(said.starts_with("RELOADING=1\nMONOTONIC_USEC=") && !said.contains("=0\n"), "{said}");
        let hidden = format!("@pgsluice-test-{}", std::process::id());
        let listener = UnixDatagram::bind_addr(&address(OsStr::new(&hidden)).unwrap()).unwrap();
        manager(OsStr::new(&hidden)).stopping(Duration::from_secs(50));
        assert!(told(&listener).starts_with("STOPPING=1\nEXTEND_TIMEOUT_USEC=60000000\n"));
    }
}
