//! A move of one kind, in the hands of whoever takes its steps.

use std::sync::Arc;

use super::desk::Move;
use super::entry::MoveKind;
use super::error::MoveError;

/// A move whose kind is known. Only its holder changes what is known of it: the entry of the journal is a copy.
pub struct MoveOf<K> {
    one: Arc<Move>,
    known: K,
}

impl<K: Clone + Into<MoveKind>> MoveOf<K> {
    /// `known` is what the move's entry has.
    pub fn new(one: Arc<Move>, known: K) -> Self {
        Self { one, known }
    }

    /// The move as others see it.
    pub fn shared(&self) -> &Arc<Move> {
        &self.one
    }

    /// What is known of it.
    pub fn known(&self) -> &K {
        &self.known
    }

    /// Writes down what comes next. It is on disk when this returns.
    ///
    /// # Errors
    /// [`MoveError::Journal`]: nothing may be done, and what is known is as before.
    pub async fn note(&mut self, change: impl FnOnce(&mut K)) -> Result<(), MoveError> {
        let mut next = self.known.clone();
        change(&mut next);
        self.one.note(next.clone().into()).await?;
        self.known = next;
        Ok(())
    }
}
