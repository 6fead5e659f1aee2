//! A TCP or unix socket.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::writev;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::coop::has_budget_remaining;

/// A connected socket, registered with the reactor of the thread that made or last rebound it.
#[derive(Debug)]
pub struct Socket {
    kind: Kind,
    /// The task that the reactor is to wake once there is something to read, by the address of its waker's data: until it
    /// has, it keeps that in being. Whoever is noted so need not be noted again, which takes a lock. 0 for nobody.
    wakes: Cell<usize>,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpStream),
    Unix(UnixStream),
    Lost,
}

impl From<TcpStream> for Socket {
    fn from(socket: TcpStream) -> Self {
        Self { kind: Kind::Tcp(socket), wakes: Cell::new(0) }
    }
}

impl From<UnixStream> for Socket {
    fn from(socket: UnixStream) -> Self {
        Self { kind: Kind::Unix(socket), wakes: Cell::new(0) }
    }
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

fn lost_error() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket was lost on its way to another reactor")
}

impl Socket {
    /// One that was lost on its way to another reactor, or stands where another was: every use of it fails.
    pub fn lost() -> Self {
        Self { kind: Kind::Lost, wakes: Cell::new(0) }
    }

    /// Takes it out of its place.
    pub fn take(&mut self) -> Self {
        std::mem::replace(self, Self::lost())
    }

    /// Registers the socket with the reactor of this thread: two system calls.
    ///
    /// # Errors
    /// The kernel refuses one of them; the socket is closed then.
    pub fn rebind(&mut self) -> io::Result<()> {
        *self = match self.take().kind {
            Kind::Tcp(socket) => TcpStream::from_std(socket.into_std()?)?.into(),
            Kind::Unix(socket) => UnixStream::from_std(socket.into_std()?)?.into(),
            Kind::Lost => return Err(lost_error()),
        };
        Ok(())
    }

    /// Whether the peer has sent something or has gone, as the kernel knows: a reactor may not have been told yet.
    pub fn has_input(&self) -> bool {
        !matches!(self.look(), Some(Err(rustix::io::Errno::AGAIN)))
    }

    /// Whether the peer has gone, or has said that it will say no more, and nothing is left to be read.
    pub fn has_gone(&self) -> bool {
        match self.look() {
            Some(Ok(read)) => read == 0,
            Some(Err(error)) => !matches!(error, rustix::io::Errno::AGAIN | rustix::io::Errno::INTR),
            None => true,
        }
    }

    /// Whether the peer has gone, whatever it has said before and nobody has read.
    pub fn is_hung_up(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let gone = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        let look = |socket: BorrowedFd<'_>| {
            let mut seen = [PollFd::from_borrowed_fd(socket, PollFlags::RDHUP)];
            let looked = poll(&mut seen, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
            looked.is_ok() && seen.iter().any(|one| one.revents().intersects(gone))
        };
        match &self.kind {
            Kind::Tcp(socket) => look(socket.as_fd()),
            Kind::Unix(socket) => look(socket.as_fd()),
            Kind::Lost => true,
        }
    }

    /// How many bytes could be read now, at most one, without taking them. None: the socket is lost.
    fn look(&self) -> Option<rustix::io::Result<usize>> {
        let look = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let mut byte = [0_u8; 1];
        let seen = match &self.kind {
            Kind::Tcp(socket) => recv(socket, &mut byte, look),
            Kind::Unix(socket) => recv(socket, &mut byte, look),
            Kind::Lost => return None,
        };
        Some(seen.map(|(read, _)| read))
    }

    /// Our end of a TCP connection; None for a unix socket.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(socket) => socket.local_addr().ok(),
            Kind::Unix(_) | Kind::Lost => None,
        }
    }

    /// The other end of a TCP connection; None for a unix socket.
    pub fn peer_addr(&self) -> Option<SocketAddr> {
        match &self.kind {
            Kind::Tcp(socket) => socket.peer_addr().ok(),
            Kind::Unix(_) | Kind::Lost => None,
        }
    }

    /// A second descriptor of it.
    ///
    /// # Errors
    /// The kernel has none.
    pub fn duplicate(&self) -> io::Result<std::os::fd::OwnedFd> {
        match &self.kind {
            Kind::Tcp(socket) => socket.as_fd().try_clone_to_owned(),
            Kind::Unix(socket) => socket.as_fd().try_clone_to_owned(),
            Kind::Lost => Err(lost_error()),
        }
    }

    /// The user id of the process at the other end of a unix socket, when it connected.
    pub fn peer_uid(&self) -> Option<u32> {
        match &self.kind {
            Kind::Unix(socket) => socket.peer_cred().ok().map(|peer| peer.uid()),
            Kind::Tcp(_) | Kind::Lost => None,
        }
    }

    /// Tells the peer that nothing more will come; what it says is still read.
    pub fn shut_down_writing(&self) {
        let _ = match &self.kind {
            Kind::Tcp(socket) => rustix::net::shutdown(socket, rustix::net::Shutdown::Write),
            Kind::Unix(socket) => rustix::net::shutdown(socket, rustix::net::Shutdown::Write),
            Kind::Lost => Ok(()),
        };
    }

    /// Waits for the peer's first byte and leaves it unread.
    ///
    /// # Errors
    /// The peer has gone.
    pub async fn peek_first(&self) -> io::Result<u8> {
        self.wakes.set(0);
        let mut byte = [0];
        let n = match &self.kind {
            Kind::Tcp(socket) => socket.peek(&mut byte).await?,
            // tokio cannot look into one; what needs to be known is asked over TCP only.
            Kind::Unix(_) => return Ok(0),
            Kind::Lost => return Err(lost_error()),
        };
        if n == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(byte[0]) }
    }

    /// Ready once the peer has sent something or has gone. No system call.
    #[inline]
    pub fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let task = cx.waker().data().addr();
        if self.wakes.get() == task && task != 0 && !self.may_be_read() {
            return Poll::Pending;
        }
        // A task that has done much already is told to come again, and noted nowhere.
        let notes = has_budget_remaining();
        let ready = match &self.kind {
            Kind::Tcp(socket) => socket.poll_read_ready(cx),
            Kind::Unix(socket) => socket.poll_read_ready(cx),
            Kind::Lost => Poll::Ready(Err(lost_error())),
        };
        self.wakes.set(if ready.is_pending() && notes { task } else { 0 });
        ready
    }

    /// Whether the peer has sent something or has gone, as far as the reactor knows. Wakes nobody later.
    #[inline]
    pub fn may_be_read(&self) -> bool {
        match &self.kind {
            Kind::Tcp(socket) => socket.try_io(Interest::READABLE, || Ok(())).is_ok(),
            Kind::Unix(socket) => socket.try_io(Interest::READABLE, || Ok(())).is_ok(),
            Kind::Lost => true,
        }
    }

    fn poll_write_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.kind {
            Kind::Tcp(socket) => socket.poll_write_ready(cx),
            Kind::Unix(socket) => socket.poll_write_ready(cx),
            Kind::Lost => Poll::Ready(Err(lost_error())),
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
        let mut read = |socket: BorrowedFd<'_>| {
            // The reactor has woken whom it had to.
            self.wakes.set(0);
            match recv(socket, &mut *room, RecvFlags::empty())? {
                // There is no more: told as such, the reactor waits for more without another look.
                (n, _) if 0 < n && n < whole => {
                    short = Some(n);
                    Err(io::ErrorKind::WouldBlock.into())
                }
                (n, _) => Ok(n),
            }
        };
        let done = match &self.kind {
            Kind::Tcp(socket) => socket.try_io(Interest::READABLE, || read(socket.as_fd())),
            Kind::Unix(socket) => socket.try_io(Interest::READABLE, || read(socket.as_fd())),
            Kind::Lost => Err(lost_error()),
        };
        short.map_or(done, Ok)
    }

    /// Writes as much of `first` and then `second` as the socket takes, as `AsyncWrite` does with fewer steps between.
    #[inline]
    pub fn poll_send(&self, cx: &mut Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            let write = |socket: BorrowedFd<'_>| match (first, second) {
                ([], one) | (one, []) => Ok(send(socket, one, SendFlags::NOSIGNAL)?),
                _ => Ok(writev(socket, &[IoSlice::new(first), IoSlice::new(second)])?),
            };
            let done = match &self.kind {
                Kind::Tcp(socket) => socket.try_io(Interest::WRITABLE, || write(socket.as_fd())),
                Kind::Unix(socket) => socket.try_io(Interest::WRITABLE, || write(socket.as_fd())),
                Kind::Lost => Err(lost_error()),
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
        self.wakes.set(0);
        match &mut self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_read(cx, buf),
            Kind::Unix(socket) => Pin::new(socket).poll_read(cx, buf),
            Kind::Lost => Poll::Ready(Err(lost_error())),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_write(cx, buf),
            Kind::Unix(socket) => Pin::new(socket).poll_write(cx, buf),
            Kind::Lost => Poll::Ready(Err(lost_error())),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Kind::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bufs),
            Kind::Lost => Poll::Ready(Err(lost_error())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(match &mut self.get_mut().kind {
            Kind::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Kind::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
            Kind::Lost => Poll::Ready(Ok(())),
        })?;
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::Write as _;

    use super::*;

    async fn pair() -> (Socket, std::net::TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let socket: Socket = listener.accept().await.unwrap().0.into();
        // The reactor takes one that was just accepted for ready.
        assert!(poll_fn(|cx| Poll::Ready(socket.poll_recv(cx, &mut [0]))).await.is_pending());
        (socket, other)
    }

    fn soon<F: Future>(what: F) -> tokio::time::Timeout<F> {
        tokio::time::timeout(std::time::Duration::from_secs(10), what)
    }

    #[tokio::test]
    async fn a_task_that_was_noted_is_woken_by_whatever_comes() {
        let (socket, mut other) = pair().await;
        let mut room = [0; 8];
        for _ in 0..3 {
            poll_fn(|cx| {
                assert!(socket.poll_read_ready(cx).is_pending() && socket.poll_read_ready(cx).is_pending());
                assert_ne!(socket.wakes.get(), 0);
                Poll::Ready(())
            })
            .await;
            other.write_all(b"x").unwrap();
            soon(poll_fn(|cx| socket.poll_read_ready(cx))).await.unwrap().unwrap();
            assert_eq!(soon(poll_fn(|cx| socket.poll_recv(cx, &mut room))).await.unwrap().unwrap(), 1);
            assert_eq!(socket.wakes.get(), 0);
        }
        // Another task takes its place.
        assert!(poll_fn(|cx| Poll::Ready(socket.poll_read_ready(cx))).await.is_pending());
        waits_in_a_task_of_its_own(socket, other, |_, _| {}).await;
    }

    #[tokio::test]
    async fn a_task_that_has_done_too_much_is_noted_all_the_same() {
        let (socket, other) = pair().await;
        let (busy, mut its_other) = pair().await;
        its_other.write_all(b"x").unwrap();
        soon(poll_fn(|cx| busy.poll_read_ready(cx))).await.unwrap().unwrap();
        let exhausts = move |socket: &Socket, cx: &mut Context<'_>| {
            while has_budget_remaining() {
                assert!(busy.poll_read_ready(cx).is_ready());
            }
            assert!(socket.poll_read_ready(cx).is_pending());
        };
        waits_in_a_task_of_its_own(socket, other, exhausts).await;
    }

    /// Another task waits for the socket, after it has once done something `first`.
    async fn waits_in_a_task_of_its_own(
        socket: Socket,
        mut other: std::net::TcpStream,
        first: impl FnOnce(&Socket, &mut Context<'_>) + 'static,
    ) {
        let (tell, told) = tokio::sync::oneshot::channel();
        let waits = async move {
            let mut first = Some(first);
            // Whoever was out of budget is woken at once.
            poll_fn(|cx| match first.take() {
                Some(first) => {
                    first(&socket, cx);
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                None => Poll::Ready(()),
            })
            .await;
            let mut tell = Some(tell);
            let ready = poll_fn(|cx| {
                let ready = socket.poll_read_ready(cx);
                if let Some(tell) = tell.take() {
                    assert!(ready.is_pending());
                    let _ = tell.send(());
                }
                ready
            });
            ready.await
        };
        let set = tokio::task::LocalSet::new();
        let task = set.spawn_local(waits);
        let all = set.run_until(async move {
            told.await.unwrap();
            other.write_all(b"x").unwrap();
            task.await.unwrap().unwrap();
        });
        soon(all).await.unwrap();
    }
}
