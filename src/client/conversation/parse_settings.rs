//! How a client's text is read: under `standard_conforming_strings` and `client_encoding`, and, where constants in it are taken
//! in, under settings such as `DateStyle`.
//!
//! The server reports the first two, but not before ReadyForQuery. From a message that may change them until all answers are
//! here, a text is read in every way that the server could read it, and is ambiguous unless they agree. Where nothing but the
//! answers has to be waited for, it waits for them.
//!
//! A prepared statement keeps the settings under which the client had it parsed. On another server connection it is parsed
//! under the same: they are set around its Parse, for the transaction only.

use std::hash::BuildHasher;

use crate::client::Session;
use crate::client::state::pins::Pin;
use crate::config::PoolMode;
use crate::protocol::frame::Header;
use crate::server::state::session_vars::{Value, Vars};
use crate::shared::Statement as Prepared;
use crate::sql::cache::verdicts::Cached;
use crate::sql::own_statements::settings;
use crate::sql::own_statements::settings::LocalValue;
use crate::sql::{Kind, LexContext, SessionEffect, StandardStrings, Statement, TransactionVerb};

/// Settings that decide where a text's tokens end.
const OF_TEXT: [&str; 2] = ["client_encoding", "standard_conforming_strings"];

/// Settings that decide what a statement means when it is parsed, in the order in which they are set.
const OF_PARSE: [&str; 9] = [
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "array_nulls",
    "lc_monetary",
    "transform_null_equals",
    "xmloption",
    "client_encoding",
    "standard_conforming_strings",
];

/// Whether a setting decides how a text is read.
pub(in crate::client) fn decides_reading(name: &[u8]) -> bool {
    OF_TEXT.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether a text may be read otherwise under another encoding or another kind of strings.
pub(in crate::client) fn is_sensitive(text: &[u8]) -> bool {
    memchr::memchr(b'\\', text).is_some() || !text.is_ascii()
}

/// Whether a text may mean something else when it is parsed under other settings.
fn depends_on_settings(text: &[u8]) -> bool {
    is_sensitive(text)
        || memchr::memchr2(b'\'', b'$', text).is_some()
        || text.windows(4).any(|word| word.eq_ignore_ascii_case(b"null"))
}

/// A setting that a statement was parsed under, and what it is now.
pub(in crate::client) struct Other {
    name: &'static str,
    then: Option<Value>,
    now: Option<Value>,
}

impl Other {
    /// The SET that is sent ahead of its Parse.
    pub(in crate::client) fn as_parsed(&self) -> String {
        settings::set_local(self.name, local(&self.then))
    }

    /// The SET that takes that back.
    pub(in crate::client) fn as_before(&self) -> String {
        settings::set_local(self.name, local(&self.now))
    }
}

fn local(value: &Option<Value>) -> LocalValue<'_> {
    match value {
        None => LocalValue::Default,
        Some(Value::Spelled(value)) => LocalValue::Spelled(value),
        Some(Value::Flat(value) | Value::Reported(value) | Value::Default(value)) => LocalValue::Is(value),
    }
}

/// Whether they mean the same. Whose a reported value is does not matter.
fn is_same(then: Option<&Value>, now: Option<&Value>) -> bool {
    match (then, now) {
        (Some(then), Some(now)) if then.is_reported() && now.is_reported() => then.text() == now.text(),
        _ => then == now,
    }
}

fn may_change(statement: &Statement) -> bool {
    use SessionEffect as Effect;
    let changes = |effect: &Effect| match effect {
        Effect::Set { name, .. } | Effect::Reset(name) | Effect::SetConfig { name, .. } => decides_reading(name),
        Effect::ResetAll
        | Effect::DiscardAll
        | Effect::Unknown
        | Effect::Execute(_)
        | Effect::Leaves(_)
        | Effect::Holds(_) => true,
        _ => false,
    };
    let calls = statement.kind == Kind::Read && statement.moves_sequences;
    statement.contained || calls || statement.kind == Kind::Unknown || statement.effects.iter().any(changes)
}

fn ends_or_undoes(statement: &Statement) -> bool {
    match &statement.kind {
        Kind::Transaction(verb) => verb.ends_transaction() || matches!(verb, TransactionVerb::RollbackTo(_)),
        _ => false,
    }
}

impl Session {
    /// A text is about to run: notes whether what follows may be read otherwise.
    #[inline(always)]
    pub(in crate::client) fn note_reading(&mut self, cached: &Cached) {
        match &*cached.analysis.statements {
            // BEGIN, COMMIT and plain writes change nothing of it.
            [Statement { kind: Kind::Transaction(_) | Kind::Write, effects, contained: false, .. }]
                if effects.is_empty() && !cached.analysis.ambiguous && !self.conversation.reading.has_changed() => {}
            _ => self.follow_reading(cached),
        }
    }

    fn follow_reading(&mut self, cached: &Cached) {
        let statements = &cached.analysis.statements;
        // In session mode nothing is known of what a view may lead to.
        let hidden = self.lease.in_maintenance() && self.account.pool_mode() == PoolMode::Session;
        let undone = self.conversation.reading.has_changed() && statements.iter().any(ends_or_undoes);
        if undone
            || cached.analysis.ambiguous
            || statements.iter().any(|one| may_change(one) || hidden && one.kind == Kind::Read)
        {
            self.conversation.may_change_reading();
        }
        if cached.analysis.ambiguous && self.conversation.reading.is_unsure() && !self.account.refuses_pins() {
            // What it has done to the session is not known either.
            self.bindings.pin(Pin::Settings);
        }
    }

    /// The server has reported a setting.
    pub(in crate::client) fn note_reported(&mut self, name: &str) {
        self.conversation.reading.note_reported(decides_reading(name.as_bytes()));
    }

    /// ReadyForQuery has come: everything before it has been reported.
    #[inline]
    pub(in crate::client) fn note_reading_reported(&mut self) {
        if self.conversation.reading.is_unsure() && self.conversation.has_settled_reading(!self.lease.in_maintenance())
        {
            self.conversation.reading.settle();
        }
    }

    /// Whether a message is to wait until it is known how its text is read.
    pub(in crate::client) fn awaits_reading(&self, header: Header) -> bool {
        let now = &self.conversation;
        if !now.reading.is_unsure() {
            return false;
        }
        let ends = if self.lease.in_maintenance() { !now.batch.is_open() } else { now.has_ended_unsure_round() };
        matches!(header.tag, b'Q' | b'P')
            && ends
            && !self.conversation.batch.skips()
            && self.conversation.replies.readies() > 0
            && is_sensitive(self.io.requests().body(header))
    }

    /// Whether what stands behind a statement that may change how text is read can be read in two ways, where it is sent by
    /// itself or holds a text that runs later.
    pub(in crate::client) fn is_ambiguous_in_parts(&self, cached: &Cached) -> bool {
        if !is_sensitive(&cached.text) {
            return false;
        }
        let changes =
            |one: &Statement| may_change(one) || self.conversation.reading.has_changed() && ends_or_undoes(one);
        let Some(first) = cached.analysis.statements.iter().find(|one| changes(one)) else { return false };
        let from = if first.contained { first.span.start } else { first.span.end };
        let rest = cached.text.get(from as usize..).unwrap_or_default();
        is_sensitive(rest)
            && self.core.verdicts.borrow_mut().get_or_analyze(rest, LexContext::UNSURE).analysis.ambiguous
    }

    /// A number for the settings that statements are parsed under now.
    pub(in crate::client) fn settings_number(&self, vars: &Vars) -> u32 {
        let set = OF_PARSE.iter().filter_map(|name| Some((*name, vars.get(name)?)));
        let print = set.fold(0_u64, |print, one| self.core.proxy.seed.0.hash_one((print, one.0, one.1.text())));
        print as u32
    }

    /// Whether it is not known how the server has read a statement: it can be prepared nowhere else.
    pub(in crate::client) fn is_bound_to_its_server(statement: &Prepared) -> bool {
        statement.context().strings == StandardStrings::Unknown && is_sensitive(&statement.cached.text)
    }

    /// A named statement is prepared on the server connection: where nobody knows how it could be prepared elsewhere, it stays there.
    pub(in crate::client) fn note_parsed(&mut self, name: &[u8]) {
        let bound = self.names.statement(name).is_some_and(|statement| Self::is_bound_to_its_server(statement));
        if bound && !self.account.refuses_pins() {
            self.bindings.pin(Pin::Prepared);
        }
    }

    /// Settings under which a statement was parsed that are others now.
    pub(in crate::client) fn other_settings(&self, statement: &Prepared) -> Vec<Other> {
        let then = statement.settings();
        if then.hash() == self.settings.vars().hash() || !depends_on_settings(&statement.cached.text) {
            return Vec::new();
        }
        // What the server does not report may have been changed in the open transaction.
        let known = |name: &&str| self.settings.is_committed() || self.settings.vars().reported(name).is_some();
        let others = OF_PARSE.into_iter().filter(known).map(|name| Other {
            name,
            then: then.get(name).cloned(),
            now: self.settings.vars().get(name).cloned(),
        });
        others.filter(|other| !is_same(other.then.as_ref(), other.now.as_ref())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Analyzer;

    fn changes(sql: &str) -> bool {
        let analysis = Analyzer::default().analyze(sql.as_bytes(), LexContext::default());
        analysis.statements.iter().any(may_change)
    }

    #[test]
    fn whatever_may_change_how_text_is_read_is_known() {
        for sql in [
            "SET standard_conforming_strings = off",
            "SET LOCAL client_encoding TO 'SJIS'",
            "SET NAMES 'SJIS'",
            "SELECT set_config('standard_conforming_strings', 'off', true)",
            "SELECT set_config($1, 'off', true)",
            "RESET standard_conforming_strings",
            "RESET ALL",
            "DISCARD ALL",
            "SELECT f(1)",
            "DO 'x'",
            "CALL p()",
            "EXECUTE x",
        ] {
            assert!(changes(sql), "{sql}");
        }
        for sql in ["SELECT lower('x')", "SET work_mem = '1MB'", "INSERT INTO t VALUES (1)", "BEGIN", "SHOW all"] {
            assert!(!changes(sql), "{sql}");
        }
    }
}
