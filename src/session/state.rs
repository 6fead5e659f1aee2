//! Session state that lives on a server connection: what follows the client, and what binds it.

use std::ops::Range;

use crate::sql::{Encoding, Isolation, Kind, LexContext, SessionEffect, StandardStrings, Statement, TransactionVerb};
use crate::upstream::quote::literal;
use crate::upstream::vars::{Value, Vars, reported_name};

/// Settings made in the open transaction, so that they share its fate.
#[derive(Default)]
pub struct Undo {
    /// In order; None forgets a setting.
    made: Vec<Made>,
    /// Savepoints were used: which of the settings stay cannot be told.
    uncertain: bool,
}

enum Made {
    Put(Box<str>, Option<Box<str>>),
    ForgetAll,
}

/// Settings of one transaction that are remembered; who makes more gets a connection of its own.
const MOST_MADE: usize = 256;

impl Undo {
    /// Whether nothing was set.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    /// Notes that a savepoint came into play.
    pub fn savepoint(&mut self) {
        self.uncertain |= !self.made.is_empty();
    }

    /// The transaction has been committed: its settings hold. True if it cannot be told which.
    pub fn commit(&mut self, mut to: [&mut Vars; 2], seed: &crate::upstream::vars::Seed) -> bool {
        for made in self.made.drain(..) {
            for vars in &mut to {
                match &made {
                    Made::Put(name, value) => vars.put(seed, name, value.clone().map(Value::Spelled)),
                    Made::ForgetAll => vars.forget_spelled(seed),
                }
            }
        }
        std::mem::take(&mut self.uncertain)
    }

    /// The transaction has been rolled back. True if it cannot be told what the server made of it.
    pub fn roll_back(&mut self) -> bool {
        self.made.clear();
        std::mem::take(&mut self.uncertain)
    }

    fn put(&mut self, name: &str, value: Option<&str>) -> bool {
        if self.made.len() >= MOST_MADE {
            return false;
        }
        self.made.push(Made::Put(name.into(), value.map(Into::into)));
        true
    }
}

/// What binds a session to its server connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pins(u16);

/// One reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// pool_mode is session.
    SessionMode,
    /// LISTEN.
    Listen,
    /// A temporary object.
    Temporary,
    /// A cursor WITH HOLD.
    HoldCursor,
    /// A session-level advisory lock.
    AdvisoryLock,
    /// SQL-level PREPARE.
    Prepared,
    /// LOAD, or settings that cannot be followed.
    Settings,
}

impl Pin {
    const ALL: [(Self, &'static str); 7] = [
        (Self::SessionMode, "session mode"),
        (Self::Listen, "listen"),
        (Self::Temporary, "temporary table"),
        (Self::HoldCursor, "cursor with hold"),
        (Self::AdvisoryLock, "advisory lock"),
        (Self::Prepared, "prepare"),
        (Self::Settings, "settings"),
    ];
}

impl Pins {
    /// Whether nothing binds it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Adds a reason.
    pub fn add(&mut self, pin: Pin) {
        self.0 |= 1 << pin as u16;
    }

    /// Drops a reason.
    pub fn remove(&mut self, pin: Pin) {
        self.0 &= !(1 << pin as u16);
    }

    /// Drops every reason that DISCARD ALL ends.
    pub fn only_mode(&mut self) {
        self.0 &= 1 << Pin::SessionMode as u16;
    }

    /// Whether a reason is there.
    pub fn has(self, pin: Pin) -> bool {
        self.0 & 1 << pin as u16 != 0
    }

    /// The first reason, in words for SHOW CLIENTS; empty for none.
    pub fn word(self) -> &'static str {
        Pin::ALL.iter().find(|(pin, _)| self.has(*pin)).map_or("", |(_, word)| word)
    }
}

/// SQL-level prepared statements of one session whose refusal is remembered.
pub(super) const MOST_PREPARED: usize = 10_000;

impl super::Session {
    /// Takes in what a statement that has run does to the session.
    pub(super) fn note_effects(&mut self, statement: &Statement, text: &[u8]) {
        if let Kind::Transaction(TransactionVerb::Savepoint(_) | TransactionVerb::RollbackTo(_)) = statement.kind {
            self.undo.savepoint();
        }
        for effect in &statement.effects {
            use SessionEffect as Effect;
            self.flow.resets |= matches!(
                effect,
                Effect::Reset(_) | Effect::ResetAll | Effect::DiscardAll | Effect::Set { default: true, .. }
            );
            self.note_effect(effect, statement, text);
        }
        self.me.pinned.set(self.pins.word());
    }

    fn note_effect(&mut self, effect: &SessionEffect, statement: &Statement, text: &[u8]) {
        use SessionEffect as Effect;
        let words = |range: &Range<u32>| text.get(range.start as usize..range.end as usize).unwrap_or_default();
        match effect {
            Effect::None | Effect::Execute(_) | Effect::Unknown | Effect::DiscardPlans | Effect::DiscardSequences => {}
            Effect::Set { local: true, .. } | Effect::SetConfig { local: true, .. } => {}
            Effect::SetRole { local: true } | Effect::SetSessionAuthorization { local: true } => {}
            Effect::Set { name, value, default, .. } => self.note_set(name, (!default).then(|| words(value))),
            Effect::SetConfig { name, value, .. } => {
                let value = value.as_deref().map(|value| literal(&String::from_utf8_lossy(value)));
                self.note_set(name, value.as_deref().map(str::as_bytes));
            }
            Effect::SetRole { .. } => self.note_role(b"role", statement.text(text)),
            Effect::SetSessionAuthorization { .. } => self.note_role(b"session_authorization", statement.text(text)),
            Effect::Characteristics(modes) => {
                // READ ONLY is reported by the server; the other modes are settings like any other.
                if let Some(isolation) = modes.isolation {
                    let word: &[u8] = match isolation {
                        Isolation::ReadUncommitted => b"'read uncommitted'",
                        Isolation::ReadCommitted => b"'read committed'",
                        Isolation::RepeatableRead => b"'repeatable read'",
                        Isolation::Serializable => b"'serializable'",
                    };
                    self.note_set(b"default_transaction_isolation", Some(word));
                }
                if let Some(deferrable) = modes.deferrable {
                    self.note_set(b"default_transaction_deferrable", Some(if deferrable { b"on" } else { b"off" }));
                }
            }
            Effect::Reset(name) => self.note_set(name, None),
            Effect::ResetAll => self.undo.made.push(Made::ForgetAll),
            Effect::DiscardAll => {
                self.undo.made.push(Made::ForgetAll);
                self.pins.only_mode();
                self.forget_prepared();
            }
            Effect::DiscardTemp => self.pins.remove(Pin::Temporary),
            Effect::Listen(_) => self.pins.add(Pin::Listen),
            Effect::Unlisten(None) => self.pins.remove(Pin::Listen),
            Effect::Prepare { name, inner } => {
                self.pins.add(Pin::Prepared);
                if self.inner.len() < MOST_PREPARED {
                    let prepared =
                        super::unseen::Inner::new(inner.refusal.clone(), statement.text(text), self.lex_context());
                    self.inner.insert(name.clone(), prepared);
                }
            }
            Effect::Deallocate(None) => {
                self.pins.remove(Pin::Prepared);
                self.forget_prepared();
            }
            Effect::Deallocate(Some(name)) => {
                let gone = self.names.statement(name).map(|statement| statement.id);
                if let (Some(gone), Some(server)) = (gone, self.lease.server()) {
                    server.prepared.remove(gone);
                }
                self.names.forget(name);
                self.inner.remove(name);
            }
            Effect::DeclareWithHold(_) => self.pins.add(Pin::HoldCursor),
            Effect::CloseCursor(None) => self.pins.remove(Pin::HoldCursor),
            Effect::CreateTemp => self.pins.add(Pin::Temporary),
            Effect::AdvisoryLock => self.pins.add(Pin::AdvisoryLock),
            Effect::Load | Effect::Holds(_) => self.pins.add(Pin::Settings),
            // Which of several is left is not followed: the pin stays until all go.
            Effect::Unlisten(Some(_)) | Effect::CloseCursor(Some(_)) | Effect::AdvisoryUnlock => {}
        }
    }

    fn note_role(&mut self, name: &[u8], statement: &[u8]) {
        // `SET ROLE x`, `SET SESSION AUTHORIZATION x`: the last word is the role in every form but the setting's own.
        let last = statement.rsplit(u8::is_ascii_whitespace).find(|word| !word.is_empty()).unwrap_or_default();
        let resets = [&b"default"[..], b"none"].iter().any(|word| last.eq_ignore_ascii_case(word))
            || statement.get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"reset"));
        if statement.contains(&b'=') || last.ends_with(b"*/") {
            self.pins.add(Pin::Settings);
        } else {
            self.note_set(name, (!resets).then_some(last));
        }
    }

    fn note_set(&mut self, name: &[u8], value: Option<&[u8]>) {
        let (Ok(name), Ok(value)) = (str::from_utf8(name), value.map(str::from_utf8).transpose()) else {
            self.pins.add(Pin::Settings);
            return;
        };
        // What the server reports needs no following: its reports are exact.
        let exact = reported_name(name).is_some_and(|known| self.vars.get(known).is_some());
        if exact || name.ends_with("transaction_read_only") {
            return;
        }
        if !self.undo.put(name, value) {
            self.pins.add(Pin::Settings);
        }
    }

    /// The transaction is over; settings made in it hold or do not.
    pub(super) fn note_fate(&mut self, committed: bool) {
        if self.undo.is_empty() {
            return;
        }
        let seed = self.core.hub.seed.clone();
        let uncertain = match (committed, self.lease.server()) {
            (true, Some(server)) => self.undo.commit([&mut self.vars, &mut server.vars], &seed),
            _ => self.undo.roll_back(),
        };
        if uncertain {
            self.pins.add(Pin::Settings);
            self.me.pinned.set(self.pins.word());
        }
    }

    fn forget_prepared(&mut self) {
        self.names.forget_all();
        self.inner.clear();
        if let Some(server) = self.lease.server() {
            server.prepared.clear();
        }
    }

    /// Reads statements the way the server will.
    pub(super) fn lex_context(&self) -> LexContext {
        LexContext {
            strings: self
                .vars
                .reported("standard_conforming_strings")
                .map_or(StandardStrings::Unknown, StandardStrings::from_setting),
            encoding: self.vars.reported("client_encoding").map_or_else(Encoding::default, Encoding::from_name),
        }
    }
}
