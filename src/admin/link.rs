//! The client's stream: whole messages in, words out, and an eye on what others ask while a command takes its time.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};

use crate::net::Stream;
use crate::protocol::frame::{HEADER, peek_front};
use crate::protocol::{Report, WireError, answer};
use crate::shared::Client;
use crate::shared::client::Ask;

/// Longest message on the console, in bytes: no command is near it.
const LONGEST: usize = 64 * 1024;
/// Bytes that are read ahead while a command runs.
const AHEAD: usize = 2 * LONGEST;
/// Bytes that may wait for the client before nothing more is answered.
const BACKLOG: usize = 256 * 1024;
/// How long the last words may take.
const GOODBYE: Duration = Duration::from_secs(1);
const STEP: usize = 4096;

/// Why a conversation ends.
#[derive(Debug)]
pub enum End {
    /// The client said goodbye, or went without a word.
    Gone,
    /// The client is told this, and the connection closed.
    Report(Box<Report>),
}

impl From<Report> for End {
    fn from(report: Report) -> Self {
        Self::Report(Box::new(report))
    }
}

impl From<WireError> for End {
    fn from(error: WireError) -> Self {
        Report::fatal("08P01", error.to_string()).into()
    }
}

/// Why a command was broken off.
#[derive(Debug)]
pub enum Broken {
    /// The conversation ends.
    End(End),
    /// A cancel request has come.
    Cancelled,
}

/// A message: its tag and its body.
pub type Message = (u8, BytesMut);

/// See the module.
pub struct Link {
    me: Rc<Client>,
    stream: Stream,
    input: BytesMut,
    /// Our words.
    pub out: BytesMut,
}

impl Link {
    /// Over a client's stream.
    pub fn new(me: Rc<Client>, stream: Stream) -> Self {
        Self { me, stream, input: BytesMut::new(), out: BytesMut::new() }
    }

    /// The next message, once it is there whole; what was said before goes out meanwhile.
    pub async fn message(&mut self) -> Result<Message, End> {
        loop {
            match peek_front(&self.input, LONGEST)? {
                Some(header) if header.total <= self.input.len() => {
                    let mut message = self.input.split_to(header.total);
                    message.advance(HEADER.min(header.total));
                    return Ok((header.tag, message));
                }
                _ => {}
            }
            if self.input.is_empty() {
                // An idle console holds no memory.
                self.input = BytesMut::new();
                if self.out.is_empty() {
                    self.out = BytesMut::new();
                }
            }
            let held = self.input.len();
            poll_fn(|cx| {
                if let Poll::Ready(Err(Broken::End(end))) = self.poll_asks(cx) {
                    return Poll::Ready(Err(end));
                }
                self.poll_write(cx)?;
                self.poll_read(cx)?;
                if self.input.len() > held { Poll::Ready(Ok(())) } else { Poll::Pending }
            })
            .await?;
        }
    }

    /// Waits for something, while words go out, the client may go, and others may ask.
    pub async fn wait<T>(&mut self, what: impl Future<Output = T>) -> Result<T, Broken> {
        let mut what = std::pin::pin!(what);
        poll_fn(|cx| {
            if let Poll::Ready(Err(broken)) = self.poll_asks(cx) {
                return Poll::Ready(Err(broken));
            }
            if let Poll::Ready(done) = what.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            let moved = self.poll_write(cx).and_then(|()| self.poll_read(cx));
            match moved {
                Ok(()) => Poll::Pending,
                Err(end) => Poll::Ready(Err(Broken::End(end))),
            }
        })
        .await
    }

    /// Says an error or a notice.
    pub fn say(&mut self, report: &Report) {
        answer::report(&mut self.out, report);
    }

    /// Sends what was said, if it is much.
    pub async fn flush_if_much(&mut self) -> Result<(), End> {
        if self.out.len() > BACKLOG { self.flush().await } else { Ok(()) }
    }

    /// Sends what was said.
    pub async fn flush(&mut self) -> Result<(), End> {
        poll_fn(|cx| {
            if let Poll::Ready(Err(Broken::End(end))) = self.poll_asks(cx) {
                return Poll::Ready(Err(end));
            }
            self.poll_write(cx)?;
            if self.out.is_empty() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Says the last words and closes.
    pub async fn close(mut self, end: &End) {
        if let End::Report(report) = end {
            answer::report(&mut self.out, report);
            let _ = tokio::time::timeout(GOODBYE, self.stream.write_all(&self.out)).await;
        }
        self.stream.close(&[]);
    }

    /// Ready, with an error, if what is asked ends something.
    fn poll_asks(&mut self, cx: &Context<'_>) -> Poll<Result<(), Broken>> {
        self.me.wakes(cx);
        let mut cancelled = false;
        if self.me.is_asked() {
            for ask in self.me.take_asks() {
                match ask {
                    Ask::End { report, .. } => return Poll::Ready(Err(Broken::End(report.into()))),
                    Ask::Cancel => cancelled = true,
                    Ask::Flip
                    | Ask::Notice(_)
                    | Ask::RollBack
                    | Ask::StopWriting { .. }
                    | Ask::BreakOff
                    | Ask::Turn => {}
                }
            }
        }
        if cancelled { Poll::Ready(Err(Broken::Cancelled)) } else { Poll::Pending }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while !self.out.is_empty() {
            match self.stream.poll_write(cx, &self.out, &[]) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(n)) if n > 0 => self.out.advance(n.min(self.out.len())),
                Poll::Ready(_) => return Err(End::Gone),
            }
        }
        match self.stream.poll_flush(cx) {
            Poll::Ready(Err(_)) => Err(End::Gone),
            _ => Ok(()),
        }
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Result<(), End> {
        while self.input.len() < AHEAD {
            let held = self.input.len();
            self.input.resize(held + STEP, 0);
            let room = self.input.get_mut(held..).unwrap_or_default();
            let read: Poll<io::Result<usize>> = self.stream.poll_read(cx, room);
            let n = match &read {
                Poll::Ready(Ok(n)) => *n,
                _ => 0,
            };
            self.input.truncate(held + n);
            match read {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(n)) if n > 0 => {}
                Poll::Ready(_) => return Err(End::Gone),
            }
        }
        Ok(())
    }
}
