//! What the configuration says of sockets, towards clients and servers.

use crate::config::Listen;
use crate::net::{Keepalive, TcpOptions};

/// What sockets on both sides do about a peer that has gone without a word.
pub fn tcp_options(listen: &Listen) -> TcpOptions {
    let keepalive =
        Keepalive { idle: listen.tcp_keepidle.get(), interval: listen.tcp_keepintvl.get(), count: listen.tcp_keepcnt };
    TcpOptions { keepalive: listen.tcp_keepalive.then_some(keepalive), user_timeout: listen.tcp_user_timeout.get() }
}
