//! Session state that lives on a server connection: what follows the client, and what binds it.

use std::ops::Range;

use super::pins::Pin;
use super::reported_parameters::READ_ONLY;
use crate::client::conversation::parse_settings::is_sensitive;
use crate::protocol::frame::Header;
use crate::server::state::session_vars::{Value, is_role, reported_name};
use crate::sql::cache::verdicts::Cached;
use crate::sql::hidden_writers::Kinds;
use crate::sql::{Encoding, Isolation, Kind, LexContext, SessionEffect, StandardStrings, Statement, TransactionVerb};

/// An operator's text that is longer than this is no single command (bytes).
const LONGEST_UNREAD: usize = 8 * 1024;

/// How long a session may be idle: between two server connections that is for us to see to.
pub(in crate::client) const IDLE_LIMIT: &str = "idle_session_timeout";

/// Settings that begin anew with each transaction.
const OF_ONE_TRANSACTION: [&str; 2] = ["transaction_isolation", "transaction_deferrable"];

/// Whether it is one quoted name or constant from end to end.
fn is_one_quoted(text: &[u8]) -> bool {
    let [quote, inner @ .., last] = text else { return false };
    // Inside, a quote is written twice.
    let runs = inner.chunk_by(|a, b| (a == quote) == (b == quote));
    quote == last && runs.into_iter().all(|run| run.first() != Some(quote) || run.len() % 2 == 0)
}

impl crate::client::Session {
    /// Whether a text is to be read for [`Self::leave_databases`] where it would not be read at all.
    pub(in crate::client) fn may_empty_database(&self, header: Header) -> bool {
        header.total < LONGEST_UNREAD && self.body(header).windows(8).any(|word| word.eq_ignore_ascii_case(b"database"))
    }

    /// A statement is about to run that fails while anybody is in a database: idle connections are not anybody.
    pub(in crate::client) fn leave_databases(&self, cached: &Cached) {
        for effect in cached.analysis.statements.iter().flat_map(|statement| &statement.effects) {
            if let SessionEffect::Empties(name) = effect
                && let Ok(name) = str::from_utf8(name)
            {
                self.core.proxy.databases.leave(&self.db.setup().cluster, name);
            }
        }
    }

    /// Takes in what a statement that has run does to the session.
    pub(in crate::client) fn note_effects(&mut self, statement: &Statement, text: &[u8]) {
        match &statement.kind {
            Kind::Transaction(TransactionVerb::Savepoint(name)) => {
                let remembered = self.settings.undo.savepoint(name);
                self.pin_unless(remembered);
            }
            Kind::Transaction(TransactionVerb::Release(name)) => self.settings.undo.release(name),
            Kind::Transaction(TransactionVerb::RollbackTo(name)) => self.settings.undo.roll_back_to(name),
            _ => {}
        }
        self.note_schema(statement, text);
        if statement.tag.starts_with("DROP ") {
            self.doubt(Pin::Temporary);
        }
        if statement.makes_object() {
            self.pin_perhaps(Kinds::CREATES, Pin::Temporary);
        }
        let altered = statement.kind == Kind::Ddl && !statement.effects.contains(&SessionEffect::CreateTemp);
        self.conversation.transaction_mut().note_altered(altered);
        for effect in &statement.effects {
            use SessionEffect as Effect;
            self.conversation.transaction_mut().note_resets(matches!(
                effect,
                Effect::Reset(_) | Effect::ResetAll | Effect::DiscardAll | Effect::Set { default: true, .. }
            ));
            self.note_read_only_default(effect);
            self.note_effect(effect, statement, text);
        }
        self.me.pinned.set(self.bindings.pins.word());
    }

    pub(in crate::client) fn note_effect(&mut self, effect: &SessionEffect, statement: &Statement, text: &[u8]) {
        use SessionEffect as Effect;
        let words = |range: &Range<u32>| text.get(range.start as usize..range.end as usize).unwrap_or_default();
        match effect {
            // That was seen to before it ran.
            Effect::Empties(_) => {}
            Effect::None | Effect::Unknown | Effect::DiscardPlans | Effect::AsksSequence | Effect::ShowsPrepared => {}
            Effect::Execute(name) => self.note_executed(name),
            Effect::DiscardSequences => self.forget_sequences(),
            Effect::Set { name, local: true, .. } | Effect::SetConfig { name, local: true, .. } => {
                self.names_setting(str::from_utf8(name).ok());
            }
            Effect::SetRole { local: true } | Effect::SetSessionAuthorization { local: true } => {}
            Effect::Set { name, value, default, .. } => self.note_set(name, (!default).then(|| words(value))),
            Effect::SetConfig { name, value, .. } => {
                self.note_value(name, value.as_deref(), Value::Flat);
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
                if modes.read_only.is_some() {
                    self.names_setting(Some(READ_ONLY));
                }
                if let Some(deferrable) = modes.deferrable {
                    self.note_set(b"default_transaction_deferrable", Some(if deferrable { b"on" } else { b"off" }));
                }
            }
            Effect::Reset(name) => self.note_set(name, None),
            Effect::ResetAll => {
                self.names_setting(None);
                let remembered = self.settings.undo.reset_all();
                self.pin_unless(remembered);
            }
            Effect::DiscardAll => {
                self.names_setting(None);
                // Whatever else it forgets, it has forgotten this.
                let _ = self.settings.undo.forget_all();
                // It commits at once, also in a batch that goes on and fails.
                self.note_fate(true);
                self.bindings.pins.only_mode();
                self.forget_prepared();
                self.forget_sequences();
            }
            Effect::DiscardTemp => self.doubt(Pin::Temporary),
            Effect::Listen(_) => self.pin(Pin::Listen),
            Effect::Unlisten(_) => self.doubt(Pin::Listen),
            Effect::Prepare { name, inner } => self.note_prepare(name, inner, statement, text),
            Effect::Deallocate(None) => {
                self.bindings.pins.remove(Pin::Prepared);
                self.forget_prepared();
            }
            Effect::Deallocate(Some(name)) => self.note_deallocate(name),
            Effect::DeclareWithHold(_) => self.pin(Pin::HoldCursor),
            Effect::CloseCursor(None) => self.bindings.pins.remove(Pin::HoldCursor),
            Effect::CreateTemp => self.pin(Pin::Temporary),
            Effect::AdvisoryLock => self.pin(Pin::AdvisoryLock),
            Effect::Leaves(left) => self.note_leaves(left),
            Effect::Load => self.bindings.pins.add(Pin::Settings),
            Effect::Holds(what) => {
                self.bindings.pins.add(Pin::Settings);
                if what.starts_with("dblink") && !self.db.gate.state().mode.reports_read_only() {
                    self.bindings.pins.note_elsewhere();
                }
            }
            Effect::CloseCursor(Some(_)) => self.doubt(Pin::HoldCursor),
            Effect::AdvisoryUnlock => self.doubt(Pin::AdvisoryLock),
        }
    }

    fn note_role(&mut self, name: &[u8], statement: &[u8]) {
        // `SET ROLE x`, `SET SESSION AUTHORIZATION x`: the last word is the role in every form but the setting's own.
        let statement = statement.trim_ascii();
        let bare = || statement.rsplit(u8::is_ascii_whitespace).find(|word| !word.is_empty()).unwrap_or_default();
        let quote = statement.iter().position(|byte| matches!(byte, b'"' | b'\''));
        let last = quote.map_or_else(bare, |at| statement.get(at..).unwrap_or_default());
        let whole = quote
            .is_none_or(|at| statement.get(..at).is_some_and(|before| before.ends_with(b" ")) && is_one_quoted(last));
        let resets = [&b"default"[..], b"none"].iter().any(|word| last.eq_ignore_ascii_case(word))
            || statement.get(..5).is_some_and(|word| word.eq_ignore_ascii_case(b"reset"));
        let sets = [&b"set"[..], b"reset"].iter().any(|word| {
            let (verb, rest) = statement.split_at_checked(word.len()).unwrap_or_default();
            verb.eq_ignore_ascii_case(word) && rest.first().is_some_and(u8::is_ascii_whitespace)
        });
        // Spelled as an assignment, with a comment, or by set_config.
        if !sets
            || !whole
            || quote.is_none() && statement.contains(&b'=')
            || last.ends_with(b"*/")
            || last.ends_with(b";")
        {
            self.bindings.pins.add(Pin::Settings);
        } else {
            self.note_set(name, (!resets).then_some(last));
            if name == b"session_authorization" {
                // Whoever the session is from now on, it has no other role.
                self.note_set(b"role", None);
            }
        }
    }

    /// What cannot be remembered stays where it is.
    pub(in crate::client) fn pin_unless(&mut self, remembered: bool) {
        if !remembered {
            self.bindings.pins.add(Pin::Settings);
        }
    }

    fn note_set(&mut self, name: &[u8], value: Option<&[u8]>) {
        self.note_value(name, value, Value::Spelled);
    }

    fn note_value(&mut self, name: &[u8], value: Option<&[u8]>, kind: fn(Box<str>) -> Value) {
        let (Ok(name), Ok(value)) = (str::from_utf8(name), value.map(str::from_utf8).transpose()) else {
            self.bindings.pins.add(Pin::Settings);
            return;
        };
        self.names_setting(Some(name));
        if name.ends_with("transaction_read_only") || OF_ONE_TRANSACTION.contains(&name) {
            return;
        }
        let spelled = value.map(|value| kind(value.into()));
        let room = self.has_room_for_setting(name.len() + value.map_or(0, str::len));
        // What the server reports it tells itself, in its own spelling.
        if let Some(known) = reported_name(name).filter(|known| self.settings.vars.reported(known).is_some()) {
            let remembered = room && self.settings.undo.put(known, value.map(|value| Value::Reported(value.into())));
            self.pin_unless(remembered);
            return;
        }
        if let (Some(Value::Spelled(text)), false) = (&spelled, is_role(name))
            && is_sensitive(text.as_bytes())
        {
            // What it is under how text is read now it might not be later.
            self.ask_for(&name.as_bytes().into());
            return;
        }
        let remembered = room && self.settings.undo.put(name, spelled);
        self.pin_unless(remembered);
    }

    /// The transaction is over; settings made in it hold or do not.
    pub(in crate::client) fn note_fate(&mut self, committed: bool) {
        if self.settings.undo.is_empty() {
            return;
        }
        if let Some(default) = self.settings.undo.read_only_default().filter(|_| committed) {
            self.settings.read_only_set = default.or(self.settings.defaults.read_only());
            self.settings.read_only_default = self.settings.read_only_set.or(self.settings.session_role.read_only());
        }
        let seed = self.core.proxy.seed.clone();
        match (committed, self.lease.server()) {
            (true, Some(server)) => self.settings.undo.commit([&mut self.settings.vars, &mut server.vars], &seed),
            _ => self.settings.undo.roll_back(),
        }
        self.note_idle_limit();
    }

    /// The session's settings have changed: how long it may be idle.
    pub(in crate::client) fn note_idle_limit(&self) {
        let limit = self
            .settings
            .vars
            .get(IDLE_LIMIT)
            .and_then(|value| crate::client::maintenance::hold::limit(value.text().as_bytes()));
        self.me.idle_limit.set(limit);
    }

    fn forget_prepared(&mut self) {
        self.names.forget_all();
        if let Some(server) = self.lease.server() {
            server.prepared.clear();
            server.named.clear();
        }
    }

    /// Reads statements the way the server will.
    #[inline]
    pub(in crate::client) fn lex_context(&self) -> LexContext {
        if self.conversation.reading().is_unsure() { LexContext::UNSURE } else { self.reported_context() }
    }

    /// Reads statements the way the server would if nothing were under way.
    #[inline]
    pub(in crate::client) fn reported_context(&self) -> LexContext {
        match self.settings.reading.get() {
            (hash, context, _) if hash == self.settings.vars.hash() => context,
            _ => self.lex_context_anew().0,
        }
    }

    /// A number for the settings that the server parses statements under.
    #[inline]
    pub(in crate::client) fn parse_settings(&self) -> u32 {
        match self.settings.reading.get() {
            (hash, _, number) if hash == self.settings.vars.hash() => number,
            _ => self.lex_context_anew().1,
        }
    }

    #[cold]
    fn lex_context_anew(&self) -> (LexContext, u32) {
        let context = LexContext {
            strings: self
                .settings
                .vars
                .reported("standard_conforming_strings")
                .map_or(StandardStrings::Unknown, StandardStrings::from_setting),
            encoding: self
                .settings
                .vars
                .reported("client_encoding")
                .map_or_else(Encoding::default, Encoding::from_name),
        };
        let number = self.settings_number(&self.settings.vars);
        self.settings.reading.set((self.settings.vars.hash(), context, number));
        (context, number)
    }
}
