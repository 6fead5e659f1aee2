//! A connected socket that another process has passed, or is to have.

use std::io;
use std::os::fd::OwnedFd;

use socket2::{Domain, SockRef};
use tokio::net::{TcpStream, UnixStream};

use super::{Socket, Stream};

impl Socket {
    /// One that was passed by its descriptor, registered with the reactor of this thread.
    ///
    /// # Errors
    /// It is no connected socket, or the kernel refuses.
    pub fn passed(fd: OwnedFd) -> io::Result<Self> {
        let domain = SockRef::from(&fd).domain()?;
        if domain == Domain::UNIX {
            let socket = std::os::unix::net::UnixStream::from(fd);
            socket.set_nonblocking(true)?;
            return Ok(UnixStream::from_std(socket)?.into());
        }
        let socket = std::net::TcpStream::from(fd);
        socket.set_nonblocking(true)?;
        Ok(TcpStream::from_std(socket)?.into())
    }
}

impl Stream {
    /// Whether another process can go on with it: it is plain, and nothing was read ahead.
    pub fn can_be_passed(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// A second descriptor of its socket, for another process; None if that could not go on with it.
    pub fn to_pass(&self) -> Option<OwnedFd> {
        match self {
            Self::Plain(socket) => socket.duplicate().ok(),
            Self::Early(_) | Self::FromClient(_) | Self::ToServer(_) => None,
        }
    }
}
