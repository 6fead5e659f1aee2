//! Memory that sessions of one core lend each other: an idle one keeps none.

use std::cell::RefCell;
use std::collections::VecDeque;

use super::PendingReply;

/// Queues that are kept when nobody uses them.
const KEPT: usize = 64;

/// Answers that a queue has room for at first: those of a batch, and what a Parse of ours and its Describe add.
const ROOM: usize = 8;

/// A queue that has grown beyond this is not kept.
const MOST: usize = 64;

/// See the module.
#[derive(Default)]
pub struct PendingReplyPool {
    queues: RefCell<Vec<VecDeque<PendingReply>>>,
}

impl PendingReplyPool {
    /// Gives memory to a queue that has none.
    #[inline]
    pub(in crate::client) fn lend(&self, queue: &mut VecDeque<PendingReply>) {
        if queue.capacity() == 0 {
            *queue = self.queues.borrow_mut().pop().unwrap_or_else(|| VecDeque::with_capacity(ROOM));
        }
    }

    /// Takes the memory of an empty queue back.
    #[inline]
    pub(in crate::client) fn reclaim(&self, queue: &mut VecDeque<PendingReply>) {
        if queue.is_empty() && queue.capacity() > 0 {
            let queue = std::mem::take(queue);
            let mut kept = self.queues.borrow_mut();
            if kept.len() < KEPT && queue.capacity() <= MOST {
                kept.push(queue);
            }
        }
    }
}
