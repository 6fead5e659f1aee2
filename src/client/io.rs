//! The client's socket, and bytes on their way between the client and its server connection.
//!
//! What a peer sends goes on from where it was read. Words of our own may come among it: they go before what is still to be
//! looked at, and behind all that has been passed on. Nobody outside can mix the two up.

use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::net::Stream;
use crate::protocol::frame::{HEADER, Header};
use crate::protocol::{Buffer, BufferPool};

/// Bytes that may wait for a peer that does not read before nothing more is read for it.
const BACKLOG: usize = 256 * 1024;

/// Bytes that cost less to be put behind our own words than to be sent from where they lie.
const TOGETHER: usize = 2048;

/// Capacity that an empty queue of our own words keeps.
const KEEP: usize = 64 * 1024;

/// What one peer sends to the other, and our own words among it.
#[derive(Default)]
pub(in crate::client) struct OneWay {
    read: Buffer,
    /// Our own words; they go before what is ready in `read`.
    words: Vec<u8>,
    /// Bytes of the current message that are still to come.
    rest: usize,
    /// Bytes that the next message needs to be whole; 0 when any will do.
    wants: usize,
}

impl OneWay {
    /// What was read and not looked at.
    #[inline]
    pub(in crate::client) fn unread(&self) -> &[u8] {
        self.read.unscanned()
    }

    /// The body of the message at its front; its beginning, if not all of it is here.
    #[inline]
    pub(in crate::client) fn body(&self, header: Header) -> &[u8] {
        let bytes = self.read.unscanned();
        bytes.get(HEADER..header.total.min(bytes.len())).unwrap_or_default()
    }

    /// The same, to be altered in place.
    pub(in crate::client) fn body_mut(&mut self, header: Header) -> &mut [u8] {
        self.read.unscanned_mut().get_mut(HEADER..header.total).unwrap_or_default()
    }

    /// The whole message at its front.
    pub(in crate::client) fn message(&self, header: Header) -> &[u8] {
        self.read.unscanned().get(..header.total).unwrap_or_default()
    }

    /// Passes on the next `n` bytes as they lie.
    #[inline]
    pub(in crate::client) fn pass(&mut self, n: usize) {
        self.read.pass(n);
    }

    /// Takes the next `n` bytes out of what is passed on.
    pub(in crate::client) fn skip(&mut self, n: usize) {
        self.read.move_ready(&mut self.words);
        self.read.skip(n);
    }

    /// Puts other bytes in the place of the next `n`, to be looked at as if the peer had sent them.
    pub(in crate::client) fn replace(&mut self, n: usize, bytes: &[u8]) {
        self.skip(n);
        self.read.put_back(bytes);
    }

    /// Where our own words go: behind all that has been passed on.
    #[inline]
    fn words(&mut self) -> &mut Vec<u8> {
        self.read.move_ready(&mut self.words);
        &mut self.words
    }

    /// The same, with what was not looked at.
    pub(in crate::client) fn splice(&mut self) -> (&mut Vec<u8>, &[u8]) {
        self.read.move_ready(&mut self.words);
        (&mut self.words, self.read.unscanned())
    }

    /// Whether something is to be sent.
    #[inline]
    pub(in crate::client) fn has_unsent(&self) -> bool {
        !self.words.is_empty() || self.read.has_ready()
    }

    /// Whether nothing is here, read or to be sent.
    pub(in crate::client) fn is_empty(&self) -> bool {
        self.words.is_empty() && self.read.is_empty()
    }

    /// Whether the peer that it goes to does not read.
    #[inline]
    pub(in crate::client) fn is_full(&self) -> bool {
        self.words.len() > BACKLOG
    }

    /// Whether the end of a message that is not looked at is still to come.
    #[inline]
    pub(in crate::client) fn is_within_message(&self) -> bool {
        self.rest > 0
    }

    /// So many bytes are not looked at.
    #[inline]
    pub(in crate::client) fn ignore(&mut self, n: usize) {
        self.rest = n;
    }

    /// Those of them that are here; they are dealt with now. None: there are no such bytes.
    #[inline]
    pub(in crate::client) fn ignored(&mut self) -> Option<usize> {
        if self.rest == 0 {
            return None;
        }
        let n = self.rest.min(self.read.unscanned().len());
        self.rest -= n;
        Some(n)
    }

    /// The next message needs so many bytes to be looked at; with 0 any will do.
    #[inline]
    pub(in crate::client) fn want(&mut self, n: usize) {
        self.wants = n;
    }

    /// Whether what is here waits for something else than its own end.
    #[inline]
    pub(in crate::client) fn is_held_back(&self) -> bool {
        !self.read.unscanned().is_empty() && self.wants == 0
    }

    /// What was read is nobody's any more.
    pub(in crate::client) fn forget_read(&mut self) {
        self.read.clear();
    }

    /// Nothing of it is sent, or looked at.
    fn forget(&mut self) {
        self.words.clear();
        self.read.clear();
        (self.rest, self.wants) = (0, 0);
    }

    /// Has memory for words of our own, if some is at hand.
    #[inline]
    pub(in crate::client) fn lend_words(&mut self, buffers: &BufferPool) {
        buffers.lend_words(&mut self.words);
    }

    /// Sends as much as the socket takes, and gives how much that was. The buffer that a crowd of words has left is given back.
    #[inline(always)]
    fn send(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> io::Result<usize> {
        if !self.words.is_empty() && self.read.ready().len() <= TOGETHER {
            self.read.move_ready(&mut self.words);
        }
        let mut sent = 0;
        while !(self.words.is_empty() && self.read.ready().is_empty()) {
            match to.poll_write(cx, &self.words, self.read.ready())? {
                Poll::Pending => break,
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(n) => {
                    sent += n;
                    let own = n.min(self.words.len());
                    self.words.drain(..own);
                    self.read.sent(n - own);
                }
            }
        }
        // Also if nothing was written: TLS may hold what the socket did not take the last time.
        let _ = to.poll_flush(cx)?;
        if sent > 0 && self.words.capacity() > KEEP && self.words.is_empty() {
            self.words = Vec::new();
        }
        Ok(sent)
    }

    /// Reads what there is room for. None: there is no room. Some(0): the peer has closed its side.
    #[inline(always)]
    fn receive(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Stream,
        buffers: &BufferPool,
    ) -> io::Result<Poll<Option<usize>>> {
        buffers.lend(&mut self.read);
        let room = self.read.room(self.wants);
        if room.is_empty() {
            return Ok(Poll::Ready(None));
        }
        match from.poll_read(cx, room)? {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(n) => {
                self.read.filled(n);
                Ok(Poll::Ready(Some(n)))
            }
        }
    }
}

/// What reading has brought.
pub(in crate::client) enum Read {
    /// Nothing.
    Nothing,
    /// So many bytes.
    Some(usize),
    /// The peer has closed its side.
    Closed,
}

impl From<Poll<Option<usize>>> for Read {
    #[inline(always)]
    fn from(read: Poll<Option<usize>>) -> Self {
        match read {
            Poll::Pending | Poll::Ready(None) => Self::Nothing,
            Poll::Ready(Some(0)) => Self::Closed,
            Poll::Ready(Some(n)) => Self::Some(n),
        }
    }
}

/// See the module.
pub(in crate::client) struct Io {
    stream: Stream,
    /// The client has closed its side of the connection: it says nothing more.
    half_closed: bool,
    /// What the client sends, and our own words to the server.
    requests: OneWay,
    /// Bytes of the client's message that are not looked at are dropped, and not passed on.
    drops_rest: bool,
    /// What the server sends, and our own words to the client.
    replies: OneWay,
    /// Bytes of this transaction, so that a read can be asked of another server if this one dies.
    replay: Vec<u8>,
    /// The time, as it was when something last came: asked for once for all that follows from that.
    now: Instant,
    /// When the statement under way was sent.
    asked_at: Option<Instant>,
}

impl Io {
    /// What the client sends, and our own words to the server.
    #[inline]
    pub(in crate::client) fn requests(&self) -> &OneWay {
        &self.requests
    }

    /// The same, to change it.
    #[inline]
    pub(in crate::client) fn requests_mut(&mut self) -> &mut OneWay {
        &mut self.requests
    }

    /// What the server sends, and our own words to the client.
    #[inline]
    pub(in crate::client) fn replies(&self) -> &OneWay {
        &self.replies
    }

    /// The same, to change it.
    #[inline]
    pub(in crate::client) fn replies_mut(&mut self) -> &mut OneWay {
        &mut self.replies
    }

    /// With what the client is told first.
    pub(in crate::client) fn new(stream: Stream, words: Vec<u8>) -> Self {
        let replies = OneWay { words, ..OneWay::default() };
        let (requests, replay) = (OneWay::default(), Vec::new());
        Self {
            stream,
            half_closed: false,
            requests,
            drops_rest: false,
            replies,
            replay,
            now: Instant::now(),
            asked_at: None,
        }
    }

    /// Whether another process can go on with the client's socket.
    pub(in crate::client) fn can_be_passed(&self) -> bool {
        self.stream.can_be_passed()
    }

    /// A second descriptor of it, for that process.
    pub(in crate::client) fn to_pass(&self) -> Option<OwnedFd> {
        self.stream.to_pass()
    }

    /// Whether nothing is on its way but what the client has sent and nobody has looked at.
    pub(in crate::client) fn is_at_rest(&self) -> bool {
        // What was read ahead for another server, and times, belong to what is under way.
        let Self { stream: _, half_closed, requests, drops_rest: _, replies, replay: _, now: _, asked_at: _ } = self;
        let whole = !requests.is_within_message() && !replies.is_within_message() && !half_closed;
        whole && !requests.has_unsent() && replies.is_empty()
    }

    /// What the client has sent to the process before this one, and nobody has looked at.
    pub(in crate::client) fn put_unread(&mut self, bytes: &[u8], came: Instant, buffers: &BufferPool) {
        self.now = came;
        buffers.lend(&mut self.requests.read);
        self.requests.read.put_back(bytes);
    }

    /// When something last came.
    #[inline]
    pub(in crate::client) fn now(&self) -> Instant {
        self.now
    }

    /// A statement is sent.
    #[inline]
    pub(in crate::client) fn note_asked(&mut self) {
        self.asked_at.get_or_insert(self.now);
    }

    /// It has been answered. Gives when it was sent.
    #[inline]
    pub(in crate::client) fn take_asked(&mut self) -> Option<Instant> {
        self.asked_at.take()
    }

    /// Something has come.
    #[inline]
    pub(super) fn note_time(&mut self, now: Instant) {
        self.now = now;
    }

    /// Where our own words to the server go.
    #[inline]
    pub(in crate::client) fn for_server(&mut self) -> &mut Vec<u8> {
        self.requests.words()
    }

    /// Where our own words to the client go.
    #[inline]
    pub(in crate::client) fn for_client(&mut self) -> &mut Vec<u8> {
        self.replies.words()
    }

    /// Whether the client has closed its side.
    #[inline]
    pub(in crate::client) fn is_half_closed(&self) -> bool {
        self.half_closed
    }

    /// What of the client's message is still to come is passed on.
    #[inline]
    pub(in crate::client) fn pass_rest(&mut self, n: usize) {
        (self.requests.rest, self.drops_rest) = (n, false);
    }

    /// What of the client's message is still to come is dropped.
    #[inline]
    pub(in crate::client) fn drop_rest(&mut self, n: usize) {
        (self.requests.rest, self.drops_rest) = (n, true);
    }

    /// Whether it is dropped.
    #[inline]
    pub(in crate::client) fn drops_rest(&self) -> bool {
        self.drops_rest
    }

    /// Keeps the next `n` bytes of the client's for another server. False: they are too many.
    pub(in crate::client) fn keep_for_replay(&mut self, n: usize) -> bool {
        if self.replay.len() + n > MOST_REPLAYED {
            self.replay.clear();
            return false;
        }
        let bytes = self.requests.read.unscanned();
        self.replay.extend_from_slice(bytes.get(..n).unwrap_or(bytes));
        true
    }

    /// Whether there is anything to be asked again.
    pub(in crate::client) fn has_replay(&self) -> bool {
        !self.replay.is_empty()
    }

    /// Nothing is asked again.
    #[inline]
    pub(in crate::client) fn forget_replay(&mut self) {
        self.replay.clear();
    }

    /// Puts what was kept in front of the client's input. Nothing of the server that has gone is sent or looked at.
    pub(in crate::client) fn ask_again(&mut self, buffers: &BufferPool) {
        self.replies.forget();
        let requests = &mut self.requests;
        requests.words.clear();
        let unsent = requests.read.ready().len();
        requests.read.sent(unsent);
        buffers.lend(&mut requests.read);
        requests.read.put_back(&std::mem::take(&mut self.replay));
    }

    /// Gives back memory that nothing is in.
    #[inline(always)]
    pub(in crate::client) fn reclaim(&mut self, buffers: &BufferPool) {
        buffers.reclaim(&mut self.requests.read);
        buffers.reclaim(&mut self.replies.read);
    }

    /// The same of our own words, while there is no server connection.
    #[inline(always)]
    pub(in crate::client) fn reclaim_words(&mut self, buffers: &BufferPool) {
        buffers.reclaim_words(&mut self.replies.words);
        buffers.reclaim_words(&mut self.requests.words);
        buffers.reclaim_words(&mut self.replay);
    }

    /// Whether nothing has to be done for a server's socket.
    #[inline(always)]
    pub(super) fn has_nothing_for(&self, server: &Stream) -> bool {
        !self.requests.has_unsent() && !server.is_tls()
    }

    /// Sends what the client has asked for. Gives whether anything was sent.
    #[inline(always)]
    pub(super) fn write_server(&mut self, cx: &mut Context<'_>, server: &mut Stream) -> io::Result<bool> {
        Ok(self.requests.send(cx, server)? > 0)
    }

    /// Sends what the client is told. Gives how many bytes were sent.
    #[inline]
    pub(super) fn write_client(&mut self, cx: &mut Context<'_>) -> io::Result<usize> {
        if !self.replies.has_unsent() && !self.stream.is_tls() {
            return Ok(0);
        }
        self.write_client_out(cx)
    }

    fn write_client_out(&mut self, cx: &mut Context<'_>) -> io::Result<usize> {
        self.replies.send(cx, &mut self.stream)
    }

    /// Reads what the server sends, unless the client does not read.
    #[inline(always)]
    pub(super) fn read_server(
        &mut self,
        cx: &mut Context<'_>,
        server: &mut Stream,
        buffers: &BufferPool,
    ) -> io::Result<Read> {
        if self.replies.is_full() || !server.poll_readable(cx).is_ready() {
            return Ok(Read::Nothing);
        }
        Ok(self.replies.receive(cx, server, buffers)?.into())
    }

    /// Reads what the client sends, unless one of the two does not read.
    #[inline(always)]
    pub(super) fn read_client(&mut self, cx: &mut Context<'_>, buffers: &BufferPool) -> io::Result<Read> {
        let full = self.requests.is_full() || self.replies.is_full();
        if full || self.half_closed || !self.stream.poll_readable(cx).is_ready() {
            return Ok(Read::Nothing);
        }
        Ok(self.requests.receive(cx, &mut self.stream, buffers)?.into())
    }

    /// The client says nothing more.
    pub(super) fn close_half(&mut self) {
        self.half_closed = true;
    }

    /// Sends what is left to say, for a while, and closes the client's connection.
    pub(super) async fn say_last_words(&mut self) {
        let words = std::mem::take(self.for_client());
        let patience = std::time::Duration::from_secs(1);
        let _ = tokio::time::timeout(patience, self.stream.write_all(&words)).await;
        self.stream.close(&[]);
    }
}

/// Bytes of a transaction that are kept to be asked of another server (bytes).
const MOST_REPLAYED: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(bytes: &[u8]) -> OneWay {
        let mut way = OneWay::default();
        BufferPool::new(64, 1).lend(&mut way.read);
        let room = way.read.room(0);
        room[..bytes.len()].copy_from_slice(bytes);
        way.read.filled(bytes.len());
        way
    }

    #[test]
    fn own_words_go_behind_what_has_been_passed_on_and_before_what_comes() {
        let mut way = reads(b"abcdef");
        way.pass(2);
        way.words().extend_from_slice(b"-own-");
        way.pass(2);
        assert_eq!((&way.words[..], way.read.ready(), way.unread()), (&b"ab-own-"[..], &b"cd"[..], &b"ef"[..]));
        way.skip(1);
        assert_eq!((&way.words[..], way.unread()), (&b"ab-own-cd"[..], &b"f"[..]));
    }

    #[test]
    fn what_is_replaced_is_looked_at_again() {
        let mut way = reads(b"abcdef");
        way.pass(1);
        way.replace(2, b"XYZ");
        assert_eq!((&way.words[..], way.unread()), (&b"a"[..], &b"XYZdef"[..]));
    }

    #[test]
    fn bytes_that_are_not_looked_at_are_counted_down() {
        let mut way = reads(b"abc");
        assert_eq!(way.ignored(), None);
        way.ignore(5);
        assert_eq!((way.ignored(), way.is_within_message()), (Some(3), true));
    }
}
