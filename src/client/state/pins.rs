//! What binds a session to its server connection, and when it ends.
//!
//! What a session has made is read in its statements; whether any of it is left is for the server to say. A transaction that
//! was rolled back, `ON COMMIT DROP`, a lock that could not be had, the last of several tables that is dropped: once a
//! transaction is over in which something may have ended, the server is asked, in a statement that the client does not see.

use super::function_side_effects::Question;
use crate::client::Session;
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility};
use crate::client::errors;
use crate::client::prepared::protocol_names::LONGEST_SQL;
use crate::protocol::{Report, TxStatus, frontend};
use crate::sql::cache::verdicts::Cached;
use crate::sql::hidden_writers::Kinds;
use crate::sql::own_statements::transaction;
use crate::sql::{Analysis, SessionEffect, Statement};

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
    /// SQL-level PREPARE of what is too much to be kept.
    Prepared,
    /// LOAD, or settings that cannot be followed.
    Settings,
    /// Sequences moved on by a program that asks for `currval()`.
    Sequence,
    /// A function of the database's own has altered the session in a way that cannot be followed.
    Function,
}

impl Pin {
    const ALL: [(Self, &'static str); 9] = [
        (Self::SessionMode, "session mode"),
        (Self::Listen, "listen"),
        (Self::Temporary, "temporary table"),
        (Self::HoldCursor, "cursor with hold"),
        (Self::AdvisoryLock, "advisory lock"),
        (Self::Prepared, "prepare"),
        (Self::Settings, "settings"),
        (Self::Sequence, "sequence"),
        (Self::Function, "function"),
    ];
}

/// It is no pin: the server's session has opened a connection to another server while the gate was open.
const ELSEWHERE: u16 = 1 << 15;
const ELSEWHERE_WORD: &str = "elsewhere";

impl Pins {
    /// Whether nothing binds it.
    pub fn is_empty(self) -> bool {
        self.0 & !ELSEWHERE == 0
    }

    /// A connection to another server has been opened while nothing kept it from writing. DISCARD ALL does not close it.
    pub fn note_elsewhere(&mut self) {
        self.0 |= ELSEWHERE;
    }

    /// Whether there may be such a connection.
    pub fn is_elsewhere(self) -> bool {
        self.0 & ELSEWHERE != 0
    }

    /// Adds a reason.
    pub fn add(&mut self, pin: Pin) {
        self.0 |= 1 << pin as u16;
    }

    /// Adds every reason of another.
    pub fn extend(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Drops a reason.
    pub fn remove(&mut self, pin: Pin) {
        self.0 &= !(1 << pin as u16);
    }

    /// Whether the session's mode is the only reason.
    pub fn are_only_mode(self) -> bool {
        self.0 & !ELSEWHERE == 1 << Pin::SessionMode as u16
    }

    /// Drops every reason that DISCARD ALL ends.
    pub fn only_mode(&mut self) {
        self.0 &= 1 << Pin::SessionMode as u16 | ELSEWHERE;
    }

    /// Takes every reason out that has one answer only: the server's.
    fn take_first(&mut self) -> Option<Pin> {
        let first = Pin::ALL.iter().map(|(pin, _)| *pin).find(|pin| self.has(*pin))?;
        self.remove(first);
        Some(first)
    }

    /// Whether a reason is there.
    pub fn has(self, pin: Pin) -> bool {
        self.0 & 1 << pin as u16 != 0
    }

    /// Every reason, for the process that takes over.
    pub(in crate::client) fn hand_over(self) -> Vec<String> {
        let words = Pin::ALL.iter().filter(|(pin, _)| self.has(*pin)).map(|(_, word)| (*word).to_owned());
        words.chain(self.is_elsewhere().then(|| ELSEWHERE_WORD.to_owned())).collect()
    }

    /// As another process has handed them over. None: there is one that this one does not know.
    pub(in crate::client) fn take_over(words: &[String]) -> Option<Self> {
        words.iter().try_fold(Self::default(), |mut pins, word| {
            match Pin::ALL.iter().find(|(_, known)| known == word) {
                Some((pin, _)) => pins.add(*pin),
                None if word == ELSEWHERE_WORD => pins.note_elsewhere(),
                None => return None,
            }
            Some(pins)
        })
    }

    /// The first reason, in words for SHOW CLIENTS; empty for none.
    pub fn word(self) -> &'static str {
        Pin::ALL.iter().find(|(pin, _)| self.has(*pin)).map_or("", |(_, word)| word)
    }
}

impl Pin {
    /// The question whether anything is left of it, which has no row for an answer if not. None: there is nothing to ask.
    fn question(self) -> Option<&'static str> {
        Some(match self {
            Self::Listen => transaction::LISTENS,
            Self::Temporary => transaction::HAS_TEMPORARY,
            Self::HoldCursor => transaction::HAS_HELD_CURSOR,
            Self::AdvisoryLock => transaction::HAS_ADVISORY_LOCK,
            Self::SessionMode | Self::Prepared | Self::Settings | Self::Sequence | Self::Function => return None,
        })
    }
}

/// The statement that a session without a server connection of its own cannot run.
pub(in crate::client) fn pinning(analysis: &Analysis, text: &[u8]) -> Option<&'static str> {
    use SessionEffect as Effect;
    let binds = |statement: &Statement| {
        let passing = || statement.text(text).windows(DROP.len()).any(|words| words.eq_ignore_ascii_case(DROP));
        statement.effects.iter().any(|effect| match effect {
            Effect::Listen(_) | Effect::DeclareWithHold(_) => true,
            Effect::Prepare { .. } => statement.text(text).len() > LONGEST_SQL,
            Effect::AdvisoryLock | Effect::Load | Effect::Holds(_) => true,
            Effect::CreateTemp => !passing(),
            Effect::Leaves(left) => left.kinds.binds(),
            _ => false,
        })
    };
    analysis.statements.iter().find(|statement| binds(statement)).map(|statement| statement.tag)
}

/// How ON COMMIT DROP ends: what is gone with its transaction binds nobody.
const DROP: &[u8] = b"commit drop";

impl Session {
    /// The error for a text that would bind the session.
    pub(in crate::client) fn refused_pin(&self, cached: &Cached) -> Option<Report> {
        let tag = pinning(&cached.analysis, &cached.text)?;
        let report = errors::not_supported(format!("cannot execute {tag} in a session that is pooled by transaction"));
        let detail = "It would keep the server connection for this client alone, and pin_sessions is false.";
        Some(report.with_detail(Some(detail.to_owned())))
    }

    /// A statement has made something that binds the session. What may not last is asked about.
    pub(in crate::client) fn pin(&mut self, pin: Pin) {
        self.bindings.pins.add(pin);
        // In a block it may be rolled back; the others may have made nothing, or only for their transaction.
        if self.conversation.status() != TxStatus::Idle || matches!(pin, Pin::Temporary | Pin::AdvisoryLock) {
            self.bindings.doubted.add(pin);
        }
    }

    /// A statement may have ended what binds the session.
    pub(in crate::client) fn doubt(&mut self, pin: Pin) {
        self.bindings.doubted.add(pin);
    }

    /// The statement that is under way has failed, or only some of its rows have been fetched: what it has done in the session and
    /// is no part of the transaction stays.
    pub(in crate::client) fn note_unfinished(&mut self) {
        let (cached, at) = match self.conversation.replies().awaited() {
            Some(Request::Query(Some(cached))) => (cached.clone(), self.conversation.message().statement_index()),
            Some(Request::Execute(Some(statement))) => (statement.cached.clone(), 0),
            _ => return,
        };
        if self.lease.is_operator() || cached.analysis.is_plain() {
            return;
        }
        if let Some(one) = cached.analysis.statements.get(at) {
            self.note_lasting_effects(one, &cached.text);
        }
    }

    /// What a statement does in the session, whatever becomes of its transaction.
    pub(in crate::client) fn note_lasting_effects(&mut self, one: &Statement, text: &[u8]) {
        for effect in &one.effects {
            match effect {
                SessionEffect::AdvisoryLock | SessionEffect::Holds(_) | SessionEffect::Leaves(_) => {
                    self.note_effect(effect, one, text);
                }
                SessionEffect::Execute(name) => self.note_executed_in_part(name),
                _ => {}
            }
        }
        self.me.pinned.set(self.bindings.pins.word());
    }

    /// What runs may have made something that binds the session, or ended it: nothing of it is seen.
    pub(in crate::client) fn pin_perhaps(&mut self, kinds: Kinds, other: Pin) {
        for (kind, pin) in [
            (Kinds::LISTEN, Pin::Listen),
            (Kinds::TEMPORARY, Pin::Temporary),
            (Kinds::CURSOR, Pin::HoldCursor),
            (Kinds::LOCK, Pin::AdvisoryLock),
            // Under whose names others find theirs.
            (Kinds::PREPARED, other),
            (Kinds::OTHER, other),
            (Kinds::CREATES, Pin::Temporary),
            (Kinds::UNKNOWN, other),
        ] {
            if kinds.has(kind) {
                self.bindings.pins.add(pin);
                self.bindings.doubted.add(pin);
            }
        }
        if kinds.has(Kinds::ANY_SETTING) || kinds.has(Kinds::UNKNOWN) {
            self.ask_for_all_settings();
        }
        if kinds.has(Kinds::ENDS) {
            self.bindings.doubted.extend(self.bindings.pins);
        }
        self.me.pinned.set(self.bindings.pins.word());
    }

    /// Asks the server what is left, if the transaction is over and nothing else under way.
    pub(in crate::client) fn ask_what_is_left(&mut self) {
        if self.bindings.doubted.is_empty() || !self.is_between_transactions() || !self.conversation.lease().has_begun()
        {
            return;
        }
        if self.bindings.pins.has(Pin::SessionMode) || self.bindings.pins.is_empty() {
            self.bindings.doubted = Pins::default();
            return;
        }
        // Nothing of ours goes between what keeps the guard: it is asked when the gate is open again.
        if self.lease.in_maintenance() || self.lease.is_none() {
            return;
        }
        while let Some(pin) = self.bindings.doubted.take_first() {
            if let Some(question) = pin.question().filter(|_| self.bindings.pins.has(pin)) {
                frontend::write_query(self.io.for_server(), question.as_bytes());
                self.expect(PendingReply::hidden(Request::Left(Question::Pin(pin)), Visibility::Hidden));
            }
        }
    }

    /// The server has answered.
    pub(in crate::client) fn answered_left(&mut self, pin: Pin, tag: &[u8]) {
        if tag == b"SELECT 0\0" {
            self.bindings.pins.remove(pin);
            self.me.pinned.set(self.bindings.pins.word());
        }
    }
}
