//! What the configuration says of sockets, towards clients and servers.

use std::time::Duration;

use crate::config::Listen;
use crate::net::{Keepalive, TcpOptions};

/// What is not configured for servers: one that has gone without a word is found within half a minute, also while a read waits for its
/// answer. Servers are few, and each of them has many clients behind it.
const SERVERS: Keepalive =
    Keepalive { idle: Some(Duration::from_secs(10)), interval: Some(Duration::from_secs(5)), count: 3 };
const SERVERS_USER_TIMEOUT: Duration = Duration::from_secs(25);

/// What sockets towards servers do about one that has gone without a word.
pub fn server_tcp_options(listen: &Listen) -> TcpOptions {
    let TcpOptions { keepalive, user_timeout } = tcp_options(listen);
    let keepalive = keepalive.map(|own| Keepalive {
        idle: own.idle.or(SERVERS.idle),
        interval: own.interval.or(SERVERS.interval),
        count: if own.count == 0 { SERVERS.count } else { own.count },
    });
    let by_default = (keepalive.is_some() && listen.tcp_keepidle.get().is_none()).then_some(SERVERS_USER_TIMEOUT);
    TcpOptions { keepalive, user_timeout: user_timeout.or(by_default) }
}

/// What sockets on both sides do about a peer that has gone without a word.
pub fn tcp_options(listen: &Listen) -> TcpOptions {
    let keepalive =
        Keepalive { idle: listen.tcp_keepidle.get(), interval: listen.tcp_keepintvl.get(), count: listen.tcp_keepcnt };
    TcpOptions { keepalive: listen.tcp_keepalive.then_some(keepalive), user_timeout: listen.tcp_user_timeout.get() }
}
