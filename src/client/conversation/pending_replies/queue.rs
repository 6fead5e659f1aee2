//! The queue of pending replies: what the server owes, in order, and what is counted of it. Only the conversation adds to it
//! and takes from it.

use std::collections::VecDeque;
use std::num::NonZeroU64;
use std::rc::Rc;

use super::pool::PendingReplyPool;
use super::{PendingReply, Request, Visibility};

/// See the module.
pub(in crate::client) struct ReplyQueue {
    queue: VecDeque<PendingReply>,
    /// Where the queue's memory comes from and goes to.
    reply_pool: Rc<PendingReplyPool>,
    /// ReadyForQuery messages that are among it.
    readies: u32,
    /// Messages that end with ReadyForQuery and have been sent.
    rounds: u64,
    /// How many there were, and one more, when the client's names, or what stands on the server, changed last.
    renamed: Option<NonZeroU64>,
    /// All that is under way are reads that are known to write nothing.
    clean_alone: bool,
    /// Behind the last message that is owed a reply went a Flush of ours.
    flushed: bool,
}

impl ReplyQueue {
    /// An empty one.
    pub(in crate::client) fn new(reply_pool: Rc<PendingReplyPool>) -> Self {
        let queue = VecDeque::new();
        Self { queue, reply_pool, readies: 0, rounds: 0, renamed: None, clean_alone: false, flushed: false }
    }

    /// What comes next.
    #[inline]
    pub(in crate::client) fn front(&self) -> Option<&PendingReply> {
        self.queue.front()
    }

    /// The message whose answer comes next.
    #[inline]
    pub(in crate::client) fn awaited(&self) -> Option<&Request> {
        self.queue.front().map(PendingReply::request)
    }

    /// What comes next, to change what the client sees of it.
    #[inline]
    pub(in crate::client) fn front_mut(&mut self) -> Option<&mut PendingReply> {
        self.queue.front_mut()
    }

    /// Whether nothing is owed.
    #[inline]
    pub(in crate::client) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many replies are owed.
    #[inline]
    pub(in crate::client) fn len(&self) -> usize {
        self.queue.len()
    }

    /// All of them.
    #[inline]
    pub(in crate::client) fn iter(&self) -> impl DoubleEndedIterator<Item = &PendingReply> {
        self.queue.iter()
    }

    /// Those that have been added since there were so many.
    pub(in crate::client) fn added_since(&mut self, len: usize) -> impl Iterator<Item = &mut PendingReply> {
        self.queue.iter_mut().skip(len)
    }

    /// How many ReadyForQuery are owed.
    #[inline]
    pub(in crate::client) fn readies(&self) -> usize {
        self.readies as usize
    }

    /// How many messages that end with ReadyForQuery have been sent.
    #[inline]
    pub(in crate::client) fn rounds(&self) -> u64 {
        self.rounds
    }

    /// How many of those have been answered.
    #[inline]
    pub(in crate::client) fn answered_rounds(&self) -> u64 {
        self.rounds.saturating_sub(u64::from(self.readies))
    }

    /// A message has been sent.
    #[inline]
    pub(in crate::client::conversation) fn push(&mut self, expected: PendingReply) {
        if expected.ends_ready() {
            self.rounds += 1;
            self.readies += 1;
        }
        (self.clean_alone, self.flushed) = (false, false);
        self.reply_pool.lend(&mut self.queue);
        self.queue.push_back(expected);
    }

    /// pgsluice answers a message itself, in its turn.
    pub(in crate::client::conversation) fn push_local(&mut self, say: PendingReply) {
        if say.renames() {
            self.note_renamed();
        }
        self.reply_pool.lend(&mut self.queue);
        self.queue.push_back(say);
    }

    /// The next reply is complete.
    #[inline]
    pub(in crate::client::conversation) fn pop(&mut self) -> Option<PendingReply> {
        let front = self.queue.pop_front();
        if front.as_ref().is_some_and(PendingReply::ends_ready) {
            self.readies = self.readies.saturating_sub(1);
        }
        front
    }

    /// The only reply that was owed is complete.
    #[inline]
    pub(in crate::client) fn finish_only(&mut self) {
        self.queue.pop_front();
        self.readies = 0;
    }

    /// Syncs behind the next reply have been ignored. Gives how many.
    pub(in crate::client::conversation) fn drop_ignored_syncs(&mut self) -> u32 {
        let mut dropped = 0;
        while matches!(self.queue.get(1), Some(PendingReply { request: Request::Sync, .. })) {
            self.queue.remove(1);
            self.readies = self.readies.saturating_sub(1);
            dropped += 1;
        }
        dropped
    }

    /// Puts the replies of a batch in the place of the one that stood for all of them: both end with one ReadyForQuery.
    pub(in crate::client) fn expand_front(&mut self, expand: impl FnOnce(PendingReply, &mut VecDeque<PendingReply>)) {
        if let Some(front) = self.queue.pop_front() {
            expand(front, &mut self.queue);
        }
    }

    /// What names stand for, or what stands on the server, changes by what is sent now.
    #[inline]
    pub(in crate::client) fn note_renamed(&mut self) {
        self.renamed = NonZeroU64::new(self.rounds.saturating_add(1));
    }

    /// Whether a name was changed in an earlier batch that has not been answered: if something before it failed there, it was not.
    pub(in crate::client) fn may_lack_names(&self) -> bool {
        self.renamed.is_some_and(|behind| {
            let at = behind.get() - 1;
            at < self.rounds && self.answered_rounds() <= at
        })
    }

    /// Whether a Flush has to be sent for what is owed; it counts as sent.
    pub(in crate::client) fn take_flush(&mut self) -> bool {
        !self.queue.is_empty() && !std::mem::replace(&mut self.flushed, true)
    }

    /// The server has more to answer than when it was last asked for it.
    pub(in crate::client::conversation) fn forget_flush(&mut self) {
        self.flushed = false;
    }

    /// Whether clean reads, and nothing else, are under way.
    #[inline]
    pub(in crate::client) fn are_clean_reads(&self) -> bool {
        self.clean_alone && self.readies > 0
    }

    /// Whether all that is owed, if anything is, are clean reads.
    pub(in crate::client) fn is_clean_or_empty(&self) -> bool {
        self.clean_alone || self.queue.is_empty()
    }

    /// The message that was sent last is a clean read, and `alone`: so was all before it.
    pub(in crate::client) fn note_clean(&mut self, alone: bool) {
        self.clean_alone = alone;
    }

    /// Whether a message that the client sees is still to be ended by one of ours.
    pub(in crate::client::conversation) fn continues(&self) -> bool {
        self.queue.iter().any(|next| next.visibility == Visibility::ReadyAndErrors)
    }

    /// As at the beginning of a lease, with its memory.
    pub(in crate::client::conversation) fn reset(&mut self) {
        self.queue.clear();
        (self.readies, self.rounds, self.renamed) = (0, 0, None);
        (self.clean_alone, self.flushed) = (false, false);
    }

    /// Gives its memory back, if it is empty.
    #[inline]
    pub(in crate::client::conversation) fn reclaim(&mut self) {
        self.reply_pool.reclaim(&mut self.queue);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> ReplyQueue {
        ReplyQueue::new(Rc::default())
    }

    #[test]
    fn ready_for_query_is_counted_as_it_is_owed_and_comes() {
        let mut queue = queue();
        queue.push(PendingReply::seen(Request::Parse(1)));
        queue.push(PendingReply::seen(Request::Sync));
        assert_eq!((queue.len(), queue.readies(), queue.rounds(), queue.answered_rounds()), (2, 1, 1, 0));
        queue.pop();
        assert_eq!(queue.readies(), 1);
        queue.pop();
        assert_eq!((queue.readies(), queue.answered_rounds()), (0, 1));
    }

    #[test]
    fn a_flush_is_sent_once_for_what_is_owed() {
        let mut queue = queue();
        assert!(!queue.take_flush());
        queue.push(PendingReply::seen(Request::Bind(None)));
        assert!(queue.take_flush());
        assert!(!queue.take_flush());
        queue.push(PendingReply::seen(Request::Execute(None)));
        assert!(queue.take_flush());
    }

    #[test]
    fn a_name_is_lacking_until_the_batch_that_changed_it_is_answered() {
        let mut queue = queue();
        queue.note_renamed();
        queue.push(PendingReply::seen(Request::Parse(1)));
        assert!(!queue.may_lack_names(), "in the same batch");
        queue.push(PendingReply::seen(Request::Sync));
        assert!(queue.may_lack_names(), "in the next one");
        queue.pop();
        queue.pop();
        assert!(!queue.may_lack_names(), "answered");
    }

    #[test]
    fn clean_reads_are_alone_until_something_else_is_sent() {
        let mut queue = queue();
        queue.push(PendingReply::seen(Request::Query(None)));
        queue.note_clean(true);
        assert!(queue.are_clean_reads());
        queue.push(PendingReply::seen(Request::Query(None)));
        assert!(!queue.are_clean_reads());
    }

    #[test]
    fn syncs_that_were_ignored_are_not_owed() {
        let mut queue = queue();
        for request in [Request::Execute(None), Request::Sync, Request::Sync, Request::Query(None)] {
            queue.push(PendingReply::seen(request));
        }
        assert_eq!((queue.drop_ignored_syncs(), queue.readies(), queue.len()), (2, 1, 2));
    }
}
