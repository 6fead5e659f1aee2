//! A socket with or without TLS over it.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::rustls::ProtocolVersion;
use tokio_rustls::{client, server};

use super::Socket;

/// A byte stream to a client or to a server.
pub enum Stream {
    /// No encryption.
    Plain(Socket),
    /// The same, with bytes that have been read already and come first.
    Early(Box<Early>),
    /// TLS towards a client.
    FromClient(Box<server::TlsStream<Socket>>),
    /// TLS towards an upstream.
    ToServer(Box<client::TlsStream<Socket>>),
}

/// See [`Stream::Early`].
pub struct Early {
    socket: Socket,
    bytes: Vec<u8>,
    taken: usize,
}

impl Stream {
    /// Whether TLS is spoken.
    pub fn is_tls(&self) -> bool {
        !matches!(self, Self::Plain(_) | Self::Early(_))
    }

    /// Puts bytes that were read from the socket in front of what comes. Without effect on a stream with TLS.
    pub fn hold_early(&mut self, bytes: Vec<u8>) {
        if let Self::Plain(socket) = self {
            let socket = socket.take();
            *self = Self::Early(Box::new(Early { socket, bytes, taken: 0 }));
        }
    }

    fn take_early(&mut self, room: &mut [u8]) -> usize {
        let Self::Early(early) = self else { return 0 };
        let left = early.bytes.get(early.taken..).unwrap_or_default();
        let n = left.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..n), left.get(..n)) {
            to.copy_from_slice(from);
        }
        early.taken += n;
        if early.taken >= early.bytes.len() {
            *self = Self::Plain(early.socket.take());
        }
        n
    }

    /// The socket below.
    pub fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Early(early) => &early.socket,
            Self::FromClient(tls) => tls.get_ref().0,
            Self::ToServer(tls) => tls.get_ref().0,
        }
    }

    /// The certificate that the peer has shown, once it was verified.
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let chain = match self {
            Self::Plain(_) | Self::Early(_) => None,
            Self::FromClient(tls) => tls.get_ref().1.peer_certificates(),
            Self::ToServer(tls) => tls.get_ref().1.peer_certificates(),
        };
        chain?.first().map(|certificate| certificate.as_ref())
    }

    /// TLS version and cipher suite, `TLSv1.3/TLS_AES_256_GCM_SHA384` for one.
    pub fn tls_words(&self) -> Option<String> {
        let (version, suite) = match self {
            Self::Plain(_) | Self::Early(_) => return None,
            Self::FromClient(tls) => (tls.get_ref().1.protocol_version(), tls.get_ref().1.negotiated_cipher_suite()),
            Self::ToServer(tls) => (tls.get_ref().1.protocol_version(), tls.get_ref().1.negotiated_cipher_suite()),
        };
        let version = match version? {
            ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
            ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
            other => format!("{other:?}"),
        };
        // As OpenSSL and IANA call those of 1.3.
        let suite = format!("{:?}", suite?.suite());
        Some(format!("{version}/{}", suite.replacen("TLS13_", "TLS_", 1)))
    }

    /// Registers the socket with the reactor of this thread.
    ///
    /// # Errors
    /// As [`Socket::rebind`].
    pub fn rebind(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(socket) => socket.rebind(),
            Self::Early(early) => early.socket.rebind(),
            Self::FromClient(tls) => tls.get_mut().0.rebind(),
            Self::ToServer(tls) => tls.get_mut().0.rebind(),
        }
    }

    /// Ready once a read may give something. After a read that was pending this costs no system call, so that an idle
    /// peer needs no buffer.
    #[inline]
    pub fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(socket) => socket.poll_read_ready(cx),
            _ if self.holds_more() => Poll::Ready(Ok(())),
            _ => self.socket().poll_read_ready(cx),
        }
    }

    /// The same, of who does not wait for it.
    #[inline]
    pub fn may_be_read(&self) -> bool {
        self.holds_more() || self.socket().may_be_read()
    }

    /// TLS takes records from the socket whole: what did not fit into the last read waits there, not in the socket.
    fn holds_more(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Early(_) => true,
            Self::FromClient(tls) => !tls.get_ref().1.wants_read(),
            Self::ToServer(tls) => !tls.get_ref().1.wants_read(),
        }
    }

    /// Reads into `room`: the number of bytes, 0 at the end of the stream.
    #[inline]
    pub fn poll_read(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_recv(cx, room),
            _ => self.poll_read_special(cx, room),
        }
    }

    fn poll_read_special(&mut self, cx: &mut Context<'_>, room: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(room);
        ready!(match self {
            Self::Plain(socket) => return socket.poll_recv(cx, room),
            Self::Early(_) => return Poll::Ready(Ok(self.take_early(room))),
            Self::FromClient(tls) => Pin::new(tls.as_mut()).poll_read(cx, &mut buf),
            Self::ToServer(tls) => Pin::new(tls.as_mut()).poll_read(cx, &mut buf),
        })?;
        Poll::Ready(Ok(buf.filled().len()))
    }

    /// Writes as much of `first` and then `second` as the socket takes, in one system call.
    #[inline]
    pub fn poll_write(&mut self, cx: &mut Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => socket.poll_send(cx, first, second),
            _ => self.poll_write_special(cx, first, second),
        }
    }

    fn poll_write_special(&mut self, cx: &mut Context<'_>, first: &[u8], second: &[u8]) -> Poll<io::Result<usize>> {
        let both = [IoSlice::new(first), IoSlice::new(second)];
        let one = match (first.is_empty(), second.is_empty()) {
            (true, _) => Some(second),
            (_, true) => Some(first),
            _ => None,
        };
        match (self, one) {
            (Self::Plain(socket), _) => socket.poll_send(cx, first, second),
            (Self::Early(early), _) => early.socket.poll_send(cx, first, second),
            (Self::FromClient(tls), Some(bytes)) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
            (Self::FromClient(tls), None) => Pin::new(tls.as_mut()).poll_write_vectored(cx, &both),
            (Self::ToServer(tls), Some(bytes)) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
            (Self::ToServer(tls), None) => Pin::new(tls.as_mut()).poll_write_vectored(cx, &both),
        }
    }

    /// Pushes out what TLS still holds. Pending: to be called again when woken, nobody else does.
    #[inline]
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_tls() { self.poll_flush_tls(cx) } else { Poll::Ready(Ok(())) }
    }

    #[inline(never)]
    fn poll_flush_tls(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::FromClient(tls) if tls.get_ref().1.wants_write() => Pin::new(tls.as_mut()).poll_flush(cx),
            Self::ToServer(tls) if tls.get_ref().1.wants_write() => Pin::new(tls.as_mut()).poll_flush(cx),
            _ => Poll::Ready(Ok(())),
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// The peer has gone.
    pub async fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = poll_fn(|cx| self.poll_write(cx, bytes, &[])).await?;
            if n == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            bytes = bytes.get(n..).unwrap_or_default();
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// Reads some bytes and appends them to `into`; at most `most`.
    ///
    /// # Errors
    /// The peer has gone, in order ([`io::ErrorKind::UnexpectedEof`]) or not.
    pub async fn read_some(&mut self, into: &mut Vec<u8>, most: usize) -> io::Result<()> {
        let held = into.len();
        into.resize(held + most, 0);
        let read = poll_fn(|cx| self.poll_read(cx, into.get_mut(held..).unwrap_or_default())).await;
        into.truncate(held + *read.as_ref().unwrap_or(&0));
        match read? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Says goodbye as far as that takes no waiting.
    pub fn close(&mut self, goodbye: &[u8]) {
        let mut cx = Context::from_waker(std::task::Waker::noop());
        if !goodbye.is_empty() {
            let _ = self.poll_write(&mut cx, goodbye, &[]);
        }
        let _ = match self {
            Self::Plain(_) | Self::Early(_) => Poll::Ready(Ok(())),
            Self::FromClient(tls) => Pin::new(tls.as_mut()).poll_shutdown(&mut cx),
            Self::ToServer(tls) => Pin::new(tls.as_mut()).poll_shutdown(&mut cx),
        };
    }
}
