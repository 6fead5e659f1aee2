//! What a TCP socket does about a peer that has gone without a word: keepalive probes while nothing is sent, and a limit for
//! what was sent and is not acknowledged.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// The same for clients and servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpOptions {
    /// Keepalive probes; None: none are sent.
    pub keepalive: Option<Keepalive>,
    /// How long what was sent may stay unacknowledged; None: the system's default.
    pub user_timeout: Option<Duration>,
}

/// When probes are sent; None and 0: the system's default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// Silence before the first one.
    pub idle: Option<Duration>,
    /// Time between two.
    pub interval: Option<Duration>,
    /// How many without an answer end the connection.
    pub count: u32,
}

impl Keepalive {
    fn for_socket(self) -> TcpKeepalive {
        // The kernel counts in seconds, and refuses 0.
        let seconds =
            |time: Duration| Duration::from_secs(time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
        let mut keepalive = TcpKeepalive::new();
        if let Some(idle) = self.idle {
            keepalive = keepalive.with_time(seconds(idle));
        }
        if let Some(interval) = self.interval {
            keepalive = keepalive.with_interval(seconds(interval));
        }
        if self.count > 0 {
            keepalive = keepalive.with_retries(self.count);
        }
        keepalive
    }
}

impl TcpOptions {
    /// Sets them on a socket. Those that are accepted have what the listening one has.
    ///
    /// # Errors
    /// The kernel refuses one of them.
    pub fn apply<'s>(&self, socket: impl Into<SockRef<'s>>) -> io::Result<()> {
        let socket = socket.into();
        if let Some(keepalive) = self.keepalive {
            socket.set_tcp_keepalive(&keepalive.for_socket())?;
        }
        if self.user_timeout.is_some() {
            socket.set_tcp_user_timeout(self.user_timeout)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn what_is_accepted_has_what_the_listening_socket_has() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let keepalive =
            Keepalive { idle: Some(Duration::from_millis(300)), interval: Some(Duration::from_millis(2500)), count: 4 };
        let options = TcpOptions { keepalive: Some(keepalive), user_timeout: Some(Duration::from_millis(7500)) };
        options.apply(&listener).unwrap();
        let connected = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let seen = SockRef::from(&accepted);
        assert!(seen.keepalive().unwrap());
        assert_eq!(seen.tcp_keepalive_time().unwrap(), Duration::from_secs(1));
        assert_eq!(seen.tcp_keepalive_interval().unwrap(), Duration::from_secs(3));
        assert_eq!(seen.tcp_keepalive_retries().unwrap(), 4);
        assert_eq!(seen.tcp_user_timeout().unwrap(), options.user_timeout);
        TcpOptions::default().apply(&connected).unwrap();
        assert!(!SockRef::from(&connected).keepalive().unwrap());
    }
}
