//! A TCP or unix socket.

use std::io::{self, IoSlice, Read as _};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A connected socket, registered with the reactor of the thread that made or last rebound it.
#[derive(Debug)]
pub enum Socket {
    /// TCP over IPv4 or IPv6.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// A socket whose move to another reactor failed; every use of it fails.
    Lost,
}

/// On loopback nothing is lost and there is no congestion: the algorithm that computes least serves best there (with BBR, the
/// default of many systems, each answer costs some hundred nanoseconds more). Elsewhere the system's choice stands.
pub fn tune<'s, S>(socket: &'s S, peer: SocketAddr)
where
    SockRef<'s>: From<&'s S>,
{
    if peer.ip().to_canonical().is_loopback() {
        // Where the kernel has no such option the socket works as well.
        let _ = SockRef::from(socket).set_tcp_congestion(b"reno");
    }
}

fn lost() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket was lost on its way to another reactor")
}

impl Socket {
    /// Registers the socket with the reactor of this thread: two system calls.
    ///
    /// # Errors
    /// The kernel refuses one of them; the socket is closed then.
    pub fn rebind(&mut self) -> io::Result<()> {
        *self = match std::mem::replace(self, Self::Lost) {
            Self::Tcp(socket) => Self::Tcp(TcpStream::from_std(socket.into_std()?)?),
            Self::Unix(socket) => Self::Unix(UnixStream::from_std(socket.into_std()?)?),
            Self::Lost => return Err(lost()),
        };
        Ok(())
    }

    /// Our end of a TCP connection; None for a unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.local_addr().ok(),
            Self::Unix(_) | Self::Lost => None,
        }
    }

    /// The other end of a TCP connection; None for a unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(socket) => socket.peer_addr().ok(),
            Self::Unix(_) | Self::Lost => None,
        }
    }

    /// Waits for the peer's first byte and leaves it unread.
    ///
    /// # Errors
    /// The peer has gone.
    pub async fn peek_first(&self) -> io::Result<u8> {
        let mut byte = [0];
        let n = match self {
            Self::Tcp(socket) => socket.peek(&mut byte).await?,
            // tokio cannot look into one; what needs to be known is asked over TCP only.
            Self::Unix(_) => return Ok(0),
            Self::Lost => return Err(lost()),
        };
        if n == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(byte[0]) }
    }

    /// Ready once the peer has sent something or has gone. No system call.
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_read_ready(cx),
            Self::Unix(socket) => socket.poll_read_ready(cx),
            Self::Lost => Poll::Ready(Err(lost())),
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(socket) => socket.poll_write_ready(cx),
            Self::Unix(socket) => socket.poll_write_ready(cx),
            Self::Lost => Poll::Ready(Err(lost())),
        }
    }

    /// Reads into `room`, as `AsyncRead` does with fewer steps between.
    #[inline]
    pub fn poll_recv(&self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.recv_now(room) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_read_ready(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }

    fn recv_now(&self, room: &mut [u8]) -> io::Result<usize> {
        let whole = room.len();
        let mut short = None;
        let mut read = |socket: SockRef<'_>| match (&*socket).read(room)? {
            // There is no more: told as such, the reactor waits for more without another look.
            n if 0 < n && n < whole => {
                short = Some(n);
                Err(io::ErrorKind::WouldBlock.into())
            }
            n => Ok(n),
        };
        let done = match self {
            Self::Tcp(socket) => socket.try_io(Interest::READABLE, || read(SockRef::from(socket))),
            Self::Unix(socket) => socket.try_io(Interest::READABLE, || read(SockRef::from(socket))),
            Self::Lost => Err(lost()),
        };
        short.map_or(done, Ok)
    }

    /// Writes as much of `first` and then `second` as the socket takes, as `AsyncWrite` does with fewer steps between.
    #[inline]
    pub fn poll_send(&self, cx: &mut Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let done = match (self, first.is_empty(), second.is_empty()) {
                (Self::Tcp(socket), true, _) => socket.try_write(second),
                (Self::Tcp(socket), _, true) => socket.try_write(first),
                (Self::Tcp(socket), ..) => socket.try_write_vectored(&[IoSlice::new(first), IoSlice::new(second)]),
                (Self::Unix(socket), true, _) => socket.try_write(second),
                (Self::Unix(socket), _, true) => socket.try_write(first),
                (Self::Unix(socket), ..) => socket.try_write_vectored(&[IoSlice::new(first), IoSlice::new(second)]),
                (Self::Lost, ..) => Err(lost()),
            };
            match done {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.poll_write_ready(cx))?,
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
            Self::Lost => Poll::Ready(Err(lost())),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
            Self::Lost => Poll::Ready(Err(lost())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Self::Lost => Poll::Ready(Err(lost())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(match self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Lost => Poll::Ready(Ok(())),
        })?;
        Poll::Ready(Ok(()))
    }
}
