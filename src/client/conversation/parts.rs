//! The parts of a conversation, for whoever sees to one of them. Nobody outside replaces a part, or puts two together.

use super::pending_replies::queue::ReplyQueue;
use super::protocol_state::{Batch, Conversation, LeaseState, Message, TextReading};
use crate::client::maintenance::transition::open_transaction::OpenTransaction;
use crate::client::prepared::names_in_flight::NamesInFlight;

impl Conversation {
    /// What the server still owes.
    #[inline]
    pub(in crate::client) fn replies(&self) -> &ReplyQueue {
        &self.replies
    }

    /// The same, to change it.
    #[inline]
    pub(in crate::client) fn replies_mut(&mut self) -> &mut ReplyQueue {
        &mut self.replies
    }

    /// The client's batch.
    #[inline]
    pub(in crate::client) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The same, to change it.
    #[inline]
    pub(in crate::client) fn batch_mut(&mut self) -> &mut Batch {
        &mut self.batch
    }

    /// The client's message in flight.
    #[inline]
    pub(in crate::client) fn message(&self) -> &Message {
        &self.message
    }

    /// The same, to change it.
    #[inline]
    pub(in crate::client) fn message_mut(&mut self) -> &mut Message {
        &mut self.message
    }

    /// How the client's texts are read.
    #[inline]
    pub(in crate::client) fn reading(&self) -> &TextReading {
        &self.reading
    }

    /// The open transaction.
    #[inline]
    pub(in crate::client) fn transaction(&self) -> &OpenTransaction {
        &self.transaction
    }

    /// The same, to change it.
    #[inline]
    pub(in crate::client) fn transaction_mut(&mut self) -> &mut OpenTransaction {
        &mut self.transaction
    }

    /// Names of prepared statements, in messages that are under way.
    #[inline]
    pub(in crate::client) fn names(&self) -> &NamesInFlight {
        &self.names
    }

    /// The same, to change it.
    #[inline]
    pub(in crate::client) fn names_mut(&mut self) -> &mut NamesInFlight {
        &mut self.names
    }

    /// What lives as long as the lease.
    #[inline]
    pub(in crate::client) fn lease(&self) -> &LeaseState {
        &self.lease
    }

    /// The same, to change it.
    #[inline]
    pub(in crate::client) fn lease_mut(&mut self) -> &mut LeaseState {
        &mut self.lease
    }

    /// What is owed, the message that it is owed for, and the transaction that this is part of.
    #[inline]
    pub(in crate::client) fn answering(&mut self) -> (&mut ReplyQueue, &mut Message, &OpenTransaction) {
        (&mut self.replies, &mut self.message, &self.transaction)
    }
}
