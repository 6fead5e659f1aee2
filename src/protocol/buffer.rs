//! Buffers that are lent while bytes are in flight and given back when they have gone.

use std::cell::RefCell;
use std::rc::Rc;

/// A buffer of this size or more has pages of its own (bytes).
const MAPPED: usize = 1 << 20;

/// A buffer of that kind grows by no more than this at once: what has not come yet takes no memory (bytes).
const STEP: usize = 8 << 20;

/// Bytes read from one peer on their way to the other.
///
/// Three marks move through it: bytes before `start` have been sent on, bytes up to `scan` may be sent on as they lie,
/// bytes up to `end` have been read but not looked at.
#[derive(Default)]
pub struct Buffer {
    data: Box<[u8]>,
    start: usize,
    scan: usize,
    end: usize,
}

impl Buffer {
    /// Whether it holds memory at all.
    pub fn is_lent(&self) -> bool {
        !self.data.is_empty()
    }

    /// Whether every byte that was read has been sent on or consumed.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Bytes read and not yet looked at.
    #[inline]
    pub fn unscanned(&self) -> &[u8] {
        self.data.get(self.scan..self.end).unwrap_or_default()
    }

    /// The same, to be altered in place.
    pub fn unscanned_mut(&mut self) -> &mut [u8] {
        self.data.get_mut(self.scan..self.end).unwrap_or_default()
    }

    /// Bytes that may be sent on as they lie.
    #[inline]
    pub fn ready(&self) -> &[u8] {
        self.data.get(self.start..self.scan).unwrap_or_default()
    }

    /// Whether there are any.
    #[inline]
    pub fn has_ready(&self) -> bool {
        self.start < self.scan
    }

    /// Marks the next `n` unscanned bytes as fit to be sent on.
    #[inline]
    pub fn pass(&mut self, n: usize) {
        self.scan = (self.scan + n).min(self.end);
    }

    /// Drops the next `n` unscanned bytes. Nothing may be waiting in [`Self::ready`]: take it out first.
    #[inline]
    pub fn skip(&mut self, n: usize) {
        debug_assert!(self.start == self.scan, "bytes in front of the skipped ones would be lost");
        self.scan = (self.scan + n).min(self.end);
        self.start = self.scan;
        self.settle();
    }

    /// Notes that `n` bytes of [`Self::ready`] were sent.
    #[inline]
    pub fn sent(&mut self, n: usize) {
        self.start = (self.start + n).min(self.scan);
        self.settle();
    }

    /// Moves what is ready behind `out`, so that something can be put after it.
    pub fn move_ready(&mut self, out: &mut Vec<u8>) {
        if self.start < self.scan {
            out.extend_from_slice(self.ready());
            self.start = self.scan;
            self.settle();
        }
    }

    /// Puts bytes back in front of those not yet looked at. Nothing may be ready.
    pub fn put_back(&mut self, bytes: &[u8]) {
        debug_assert!(self.start == self.scan);
        let tail = self.unscanned();
        let mut data = Vec::with_capacity((bytes.len() + tail.len()).max(self.data.len()));
        data.extend_from_slice(bytes);
        data.extend_from_slice(tail);
        self.end = data.len();
        data.resize(data.capacity(), 0);
        self.data = data.into_boxed_slice();
        (self.start, self.scan) = (0, 0);
    }

    /// Forgets every byte.
    pub fn clear(&mut self) {
        (self.start, self.scan, self.end) = (0, 0, 0);
    }

    /// Free room behind the bytes read, after moving them to the front if that makes more.
    ///
    /// With `want`, a message of that many bytes that starts at the unscanned bytes must fit: memory grows to it.
    pub fn room(&mut self, want: usize) -> &mut [u8] {
        let held = self.end - self.start;
        let needed = (self.scan - self.start) + want;
        if needed > self.data.len() {
            // Grows by what has come, not by what a length field claims: doubling keeps the copying linear.
            let size = needed.min((self.data.len() * 2).max(held + 1));
            if size > MAPPED {
                // The system moves the pages: nothing is copied, and no second buffer is needed meanwhile.
                self.data.copy_within(self.start..self.end, 0);
                self.rebase(held);
                let mut data = std::mem::take(&mut self.data).into_vec();
                let size = size.min(data.len() + STEP.min(data.len())).max(held + 1);
                data.reserve_exact(size - data.len());
                data.resize(size, 0);
                self.data = data.into_boxed_slice();
                return self.data.get_mut(self.end..).unwrap_or_default();
            }
            let mut data = vec![0; size].into_boxed_slice();
            if let (Some(to), Some(from)) = (data.get_mut(..held), self.data.get(self.start..self.end)) {
                to.copy_from_slice(from);
            }
            self.data = data;
            self.rebase(held);
        } else if self.start > 0 && (self.end == self.data.len() || self.start + needed > self.data.len()) {
            self.data.copy_within(self.start..self.end, 0);
            self.rebase(held);
        }
        self.data.get_mut(self.end..).unwrap_or_default()
    }

    /// Notes that `n` bytes were read into [`Self::room`].
    #[inline]
    pub fn filled(&mut self, n: usize) {
        self.end = (self.end + n).min(self.data.len());
    }

    fn rebase(&mut self, held: usize) {
        self.scan -= self.start;
        self.start = 0;
        self.end = held;
    }

    #[inline]
    fn settle(&mut self) {
        if self.start == self.end {
            (self.start, self.scan, self.end) = (0, 0, 0);
        }
    }
}

/// Memory for buffers, shared by the sessions of one core.
pub struct BufferPool {
    free: RefCell<Vec<Box<[u8]>>>,
    words: RefCell<Vec<Vec<u8>>>,
    size: usize,
    keep: usize,
}

impl BufferPool {
    /// Buffers of `size` bytes, of which at most `keep` are kept when nobody uses them.
    pub fn new(size: usize, keep: usize) -> Rc<Self> {
        Rc::new(Self { free: RefCell::default(), words: RefCell::default(), size, keep })
    }

    /// Gives memory to a buffer that has none.
    #[inline]
    pub fn lend(&self, buffer: &mut Buffer) {
        if !buffer.is_lent() {
            buffer.data = self.free.borrow_mut().pop().unwrap_or_else(|| vec![0; self.size].into_boxed_slice());
        }
    }

    /// Takes the memory of an empty buffer back; one that grew is freed.
    #[inline(always)]
    pub fn reclaim(&self, buffer: &mut Buffer) {
        if buffer.is_lent() && buffer.is_empty() {
            self.take_back(buffer);
        }
    }

    fn take_back(&self, buffer: &mut Buffer) {
        buffer.clear();
        let data = std::mem::take(&mut buffer.data);
        let mut free = self.free.borrow_mut();
        if data.len() == self.size && free.len() < self.keep {
            free.push(data);
        }
    }

    /// Gives memory to a queue of our own words that has none, if some is at hand: many are never used.
    #[inline]
    pub fn lend_words(&self, words: &mut Vec<u8>) {
        if words.capacity() == 0
            && let Some(spare) = self.words.borrow_mut().pop()
        {
            *words = spare;
        }
    }

    /// Takes the memory of an empty queue back; one that grew beyond a buffer is freed.
    #[inline(always)]
    pub fn reclaim_words(&self, words: &mut Vec<u8>) {
        if words.capacity() > 0 && words.is_empty() {
            self.take_back_words(std::mem::take(words));
        }
    }

    fn take_back_words(&self, spare: Vec<u8>) {
        let mut free = self.words.borrow_mut();
        if spare.capacity() <= self.size && free.len() < self.keep {
            free.push(spare);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(buffer: &mut Buffer, bytes: &[u8], want: usize) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = buffer.room(want);
            let n = room.len().min(rest.len());
            assert!(n > 0, "no room for {} more bytes", rest.len());
            room[..n].copy_from_slice(&rest[..n]);
            buffer.filled(n);
            rest = &rest[n..];
        }
    }

    #[test]
    fn bytes_pass_as_they_lie() {
        let pool = BufferPool::new(8, 1);
        let mut buffer = Buffer::default();
        pool.lend(&mut buffer);
        fill(&mut buffer, b"abcdef", 0);
        buffer.pass(4);
        assert_eq!(buffer.ready(), b"abcd");
        buffer.sent(3);
        assert_eq!((buffer.ready(), buffer.unscanned()), (&b"d"[..], &b"ef"[..]));
        let mut out = Vec::new();
        buffer.move_ready(&mut out);
        buffer.skip(2);
        assert_eq!(out, b"d");
        pool.reclaim(&mut buffer);
        assert!(!buffer.is_lent());
    }

    #[test]
    fn a_message_larger_than_the_buffer_fits_once_asked_for() {
        let pool = BufferPool::new(8, 1);
        let mut buffer = Buffer::default();
        pool.lend(&mut buffer);
        let text: Vec<u8> = (0..100).collect();
        fill(&mut buffer, &text[..2], 0);
        buffer.pass(2);
        fill(&mut buffer, &text[2..], 98);
        assert_eq!(buffer.unscanned(), &text[2..]);
        assert_eq!(buffer.ready(), &text[..2]);
    }

    #[test]
    fn bytes_put_back_come_first() {
        let pool = BufferPool::new(8, 1);
        let mut buffer = Buffer::default();
        pool.lend(&mut buffer);
        fill(&mut buffer, b"xyz", 0);
        buffer.put_back(b"0123456789");
        assert_eq!(buffer.unscanned(), b"0123456789xyz");
    }

    #[test]
    fn the_pool_keeps_no_more_than_it_was_told() {
        let pool = BufferPool::new(8, 1);
        let (mut a, mut b) = (Buffer::default(), Buffer::default());
        pool.lend(&mut a);
        pool.lend(&mut b);
        pool.reclaim(&mut a);
        pool.reclaim(&mut b);
        assert_eq!(pool.free.borrow().len(), 1);
    }

    #[test]
    fn queues_share_memory_and_none_that_holds_something_is_taken() {
        let pool = BufferPool::new(8, 1);
        let (mut a, mut b, mut c) = (vec![1_u8; 4], Vec::with_capacity(8), Vec::with_capacity(9));
        pool.reclaim_words(&mut a);
        pool.reclaim_words(&mut c);
        assert_eq!((a.len(), c.capacity(), pool.words.borrow().len()), (4, 0, 0));
        pool.reclaim_words(&mut b);
        assert_eq!((b.capacity(), pool.words.borrow().len()), (0, 1));
        pool.lend_words(&mut a);
        pool.lend_words(&mut c);
        assert_eq!((a.len(), c.capacity(), pool.words.borrow().len()), (4, 8, 0));
    }
}
