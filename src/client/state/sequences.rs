//! `currval()` and `lastval()`: what a sequence last gave in this session is state of the session, and lies in its server
//! process alone.
//!
//! Most applications never ask: they take an identifier with `nextval()` or RETURNING and know it then. To keep the server
//! connection of each client that inserts a row would end pooling for the sake of the few that do. So:
//!
//! - A program (a role and an application_name on a database) that has asked once is known as one that asks. From then on its
//!   sessions keep their server connection from whatever may move a sequence on, until they go or run DISCARD.
//! - One that asks for the first time gets the server connection on which it last did such a thing, if that can be had.
//! - Nobody is ever told of another's: a server connection whose sequences another client has moved on forgets them before it
//!   answers such a question. It has PostgreSQL's own error then: `currval of sequence … is not yet defined in this session`.

use super::pins::Pin;
use crate::client::Session;
use crate::client::conversation::pending_replies::Visibility;
use crate::server::Server;
use crate::sql::cache::verdicts::Cached;
use crate::sql::own_statements::transaction::FORGET_SEQUENCES;
use crate::sql::{Analysis, SessionEffect};

/// What is known of a session's sequences.
#[derive(Default)]
pub(in crate::client) struct Sequences {
    /// The server connection on which it may last have moved one on.
    on: Option<u64>,
    /// What comes next asks.
    pub(super) asks_next: bool,
}

impl Sequences {
    /// That of a session whose last such server connection has this number.
    pub(in crate::client) fn take_over(on: Option<u64>) -> Self {
        Self { on, asks_next: false }
    }

    /// The number of that.
    pub(in crate::client) fn hand_over(&self) -> Option<u64> {
        let Self { on, asks_next: _ } = self;
        *on
    }

    /// The server connection that would have the answer.
    pub(in crate::client) fn wanted(&self) -> Option<u64> {
        self.asks_next.then_some(self.on).flatten()
    }
}

/// Whether a text asks what a sequence last gave.
pub(in crate::client) fn asks(analysis: &Analysis) -> bool {
    analysis.statements.iter().any(|statement| statement.effects.contains(&SessionEffect::AsksSequence))
}

impl Session {
    /// A text is about to be sent. In the midst of a batch of the extended protocol nothing of ours may go ahead of it.
    #[inline(always)]
    pub(in crate::client) fn note_sequences(&mut self, cached: &Cached, in_batch: bool) {
        match cached.analysis.single() {
            // Most reads: no sequence can change, and nothing asks for one.
            Some(only) if only.effects.is_empty() && !only.moves_sequences => {}
            _ => self.follow_sequences(cached, in_batch),
        }
    }

    fn follow_sequences(&mut self, cached: &Cached, in_batch: bool) {
        let asks = asks(&cached.analysis);
        let moves = cached.analysis.statements.iter().any(|statement| statement.moves_sequences);
        if !asks && !moves {
            return;
        }
        self.note_reading(cached);
        let me = self.me.id;
        let known = asks || self.db.sequence_askers.has(self.account.user(), &self.me.application_name.borrow());
        if asks {
            self.db.sequence_askers.remember(self.account.user(), &self.me.application_name.borrow());
        }
        let Some(server) = self.lease.server() else { return };
        if asks && !in_batch && are_anothers(server, me) {
            server.sequences = None;
            self.own_messages().hiding(Visibility::Hidden).query(FORGET_SEQUENCES);
        }
        let Some(server) = self.lease.server() else { return };
        if moves {
            server.sequences = Some(me);
            self.bindings.sequences.on = Some(server.id);
        }
        if known && server.sequences == Some(me) && !self.account.refuses_pins() {
            self.bindings.pins.add(Pin::Sequence);
            self.me.pinned.set(self.bindings.pins.word());
        }
    }

    /// DISCARD ALL or DISCARD SEQUENCES has run.
    pub(in crate::client) fn forget_sequences(&mut self) {
        self.bindings.pins.remove(Pin::Sequence);
        self.bindings.sequences = Sequences::default();
        if let Some(server) = self.lease.server() {
            server.sequences = None;
        }
    }
}

/// Whether another client may have moved on sequences of this server connection.
pub(in crate::client) fn are_anothers(server: &Server, me: u64) -> bool {
    server.sequences.is_some_and(|whose| whose != me)
}
