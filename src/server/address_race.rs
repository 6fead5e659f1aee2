//! A connection to a name with several addresses, as RFC 8305 describes it: one that does not answer is not waited for, the
//! next is tried beside it.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// How long an address is tried alone.
const HEAD_START: Duration = Duration::from_millis(250);

type Try = Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>;

/// Connects to whichever answers first; the caller bounds the time.
///
/// # Errors
/// None can be connected to: the last one's error.
pub(super) async fn connect(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    if let [only] = &*addresses {
        return TcpStream::connect(only).await;
    }
    let mut waiting = alternate(addresses).into_iter();
    let mut tries: Vec<Try> = Vec::new();
    let mut pause = Box::pin(sleep(HEAD_START));
    let mut last = None;
    poll_fn(|cx| {
        loop {
            let before = tries.len();
            let mut at = 0;
            while let Some(one) = tries.get_mut(at) {
                match one.as_mut().poll(cx) {
                    Poll::Ready(Ok(socket)) => return Poll::Ready(Ok(socket)),
                    Poll::Ready(Err(error)) => {
                        last = Some(error);
                        drop(tries.swap_remove(at));
                    }
                    Poll::Pending => at += 1,
                }
            }
            let failed = tries.len() < before;
            if !tries.is_empty() && !failed && pause.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            match waiting.next() {
                Some(address) => {
                    tries.push(Box::pin(TcpStream::connect(address)));
                    pause.as_mut().reset(Instant::now() + HEAD_START);
                }
                None if tries.is_empty() => {
                    let none = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
                    return Poll::Ready(Err(last.take().unwrap_or_else(none)));
                }
                None => return Poll::Pending,
            }
        }
    })
    .await
}

/// In the resolver's order, but with the families in turn: where one of them leads nowhere the other is soon tried.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let first = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (these, those): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv6() == first);
    let (mut these, mut those) = (these.into_iter(), those.into_iter());
    let mut all = Vec::with_capacity(these.len() + those.len());
    loop {
        let pair = [these.next(), those.next()];
        if pair == [None, None] {
            return all;
        }
        all.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    #[test]
    fn families_come_in_turn() {
        let all = ["[::1]:1", "[::2]:1", "127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"].map(|one| one.parse().unwrap());
        let order: Vec<String> = alternate(all.to_vec()).iter().map(ToString::to_string).collect();
        assert_eq!(order, ["[::1]:1", "127.0.0.1:1", "[::2]:1", "127.0.0.2:1", "127.0.0.3:1"]);
    }

    #[tokio::test]
    async fn an_address_that_swallows_packets_is_not_waited_for() {
        swallowed("127.0.0.1:0").await;
        // A machine may have no IPv6.
        if std::net::TcpListener::bind("[::1]:0").is_ok() {
            swallowed("[::1]:0").await;
        }
    }

    /// Two such addresses of that family stand ahead of one of IPv4 that answers.
    async fn swallowed(family: &str) {
        // Nobody accepts there, and its queue is full: further SYNs are dropped.
        let of: SocketAddr = family.parse().unwrap();
        let hole = if of.is_ipv6() { TcpSocket::new_v6() } else { TcpSocket::new_v4() }.unwrap();
        hole.bind(of).unwrap();
        let hole = hole.listen(1).unwrap();
        let nowhere = hole.local_addr().unwrap();
        let mut fill = Vec::new();
        for _ in 0..8 {
            let connect = tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(nowhere));
            match connect.await {
                Ok(socket) => fill.push(socket),
                Err(_) => break,
            }
        }
        let somewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = somewhere.local_addr().unwrap();
        let race = connect(vec![nowhere, nowhere, address]);
        let socket = tokio::time::timeout(Duration::from_secs(5), race).await.expect("in time").unwrap();
        assert_eq!(socket.peer_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn the_last_error_is_told_if_none_answers() {
        let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = closed.local_addr().unwrap();
        drop(closed);
        let error = connect(vec![address, address]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert_eq!(connect(Vec::new()).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
