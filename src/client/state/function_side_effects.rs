//! What functions, and DO blocks, leave behind in the session: nothing of it stands in the statement that calls them.
//!
//! The catalog says what a function may alter ([`SideEffects`](crate::sql::hidden_writers::SideEffects)). Whether it has is for the server to say,
//! once the transaction is over: what it tells of settings is followed as if the client had made them itself; what binds a session
//! is a pin until the server says that nothing is left; and what nobody can be asked for is one until DISCARD ALL.

use super::pins::Pin;
use crate::client::Session;
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility, WriteCheckStep};
use crate::client::prepared::protocol_names::Known;
use crate::config::PoolMode;
use crate::protocol::frame::Header;
use crate::protocol::frontend;
use crate::server::state::session_vars::Value;
use crate::sql::cache::verdicts::Cached;
use crate::sql::hidden_writers::{Kinds, Left, Marks, StatementReading};
use crate::sql::own_statements::settings;
use crate::sql::{LexContext, Name, SessionEffect};

/// Settings that are asked for at once; more of them bind the session.
const MOST_ASKED: usize = 128;

/// What the server is asked at the end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether anything is left of this.
    Pin(Pin),
    /// What settings are.
    Settings,
}

/// What a row of which the client knows nothing is about.
#[derive(PartialEq, Eq)]
enum Row {
    Cursor,
    Settings,
    Path,
}

/// Settings that may have been given a value.
#[derive(Default)]
pub(in crate::client) struct Unasked {
    names: Vec<Box<str>>,
    /// Any of PostgreSQL's own may have been given one.
    all: bool,
    /// The server has been asked for all.
    asked_all: bool,
    /// What it said: names and values.
    set: Vec<(Box<str>, Box<str>)>,
    /// How many of them the server has been asked for.
    asked: usize,
    /// What it said: their places and values; None for what the session has not set.
    answers: Vec<(usize, Option<Box<str>>)>,
}

impl Session {
    /// A text is about to run.
    pub(in crate::client) fn note_left(&mut self, cached: &Cached, context: LexContext) {
        if !self.db.catalog.leaves() || self.account.pool_mode() == PoolMode::Session {
            return;
        }
        self.take_marks(self.marks_of_run(cached, context));
    }

    /// What a text leaves behind, with what it runs of what was prepared.
    pub(in crate::client) fn marks_of_run(&self, cached: &Cached, context: LexContext) -> Marks {
        let mut marks = self.marks(cached, context);
        for effect in cached.analysis.statements.iter().flat_map(|one| &one.effects) {
            let SessionEffect::Execute(name) = effect else { continue };
            match self.names.known(name) {
                Some(Known::Protocol(prepared)) => marks.extend(self.marks(&prepared.cached, prepared.context())),
                Some(Known::Sql(inner)) => {
                    if let Some(prepared) = inner.statement() {
                        marks.extend(self.marks_of_prepared(&prepared.cached, prepared.context()));
                    }
                }
                None => {}
            }
            // It may have been prepared in this very text.
            marks.extend(self.marks_of_prepared(cached, context));
        }
        marks
    }

    /// A function is about to be called by number.
    pub(in crate::client) fn note_left_by_call(&mut self, oid: u32) {
        if self.account.pool_mode() != PoolMode::Session
            && !self.lease.is_operator()
            && let Some(kinds) = left_by_own(oid)
        {
            self.pin_perhaps(kinds, Pin::Settings);
        }
        if self.db.catalog.leaves() && self.account.pool_mode() != PoolMode::Session {
            let marks = self.db.catalog.reading().leavings.of_function(oid);
            self.take_marks(marks);
        }
    }

    fn take_marks(&mut self, marks: Marks) {
        if marks.is_nothing() {
            return;
        }
        self.conversation.may_change_reading();
        self.pin_perhaps(marks.kinds(), Pin::Function);
        let reading = self.db.catalog.reading();
        let names: Vec<Name> = reading.leavings.settings(marks).cloned().collect();
        drop(reading);
        names.iter().for_each(|name| self.ask_for(name));
    }

    /// What a text leaves behind by what it names; it is read once for each reading of the catalog.
    pub(in crate::client) fn marks(&self, cached: &Cached, context: LexContext) -> Marks {
        let reading = self.db.catalog.reading();
        let (number, known) = cached.known_marks();
        if number == reading.number {
            return known;
        }
        let analyzer = self.core.proxy.setup.load().analyzer.clone();
        let mut marks = Marks::default();
        for one in &cached.analysis.statements {
            marks.extend(reading.leavings.of(&StatementReading::new(&analyzer, &cached.text, context, one)));
        }
        cached.note_marks(reading.number, marks);
        marks
    }

    /// The same for a PREPARE, whose statement runs now.
    fn marks_of_prepared(&self, cached: &Cached, context: LexContext) -> Marks {
        let reading = self.db.catalog.reading();
        let analyzer = self.core.proxy.setup.load().analyzer.clone();
        let mut marks = Marks::default();
        for effect in cached.analysis.statements.iter().flat_map(|one| &one.effects) {
            if let SessionEffect::Prepare { inner, .. } = effect {
                marks.extend(reading.leavings.of(&StatementReading::new(&analyzer, &cached.text, context, inner)));
            }
        }
        marks
    }

    /// A statement has run that leaves this behind.
    pub(in crate::client) fn note_leaves(&mut self, left: &Left) {
        if self.account.pool_mode() == PoolMode::Session {
            return;
        }
        self.pin_perhaps(left.kinds, Pin::Settings);
        left.names.iter().for_each(|name| self.ask_for(name));
    }

    pub(in crate::client) fn ask_for(&mut self, name: &Name) {
        let Ok(name) = str::from_utf8(name) else {
            self.bindings.pins.add(Pin::Settings);
            return;
        };
        self.ask_for_setting(name);
    }

    /// The server is to be asked for a setting when the transaction is over.
    pub(in crate::client) fn ask_for_setting(&mut self, name: &str) {
        let unasked = self.bindings.unasked.get_or_insert_default();
        let fresh = unasked.names.get(unasked.asked..).unwrap_or_default();
        if fresh.iter().any(|known| **known == *name) {
            return;
        }
        if unasked.names.len() >= MOST_ASKED {
            self.bindings.pins.add(Pin::Settings);
            return;
        }
        unasked.names.push(name.into());
    }

    /// Asks the server what settings are, if the transaction is over and nothing else under way.
    pub(in crate::client) fn ask_settings(&mut self) {
        let Some(unasked) = &self.bindings.unasked else { return };
        if unasked.asked > 0
            || unasked.asked_all
            || !self.is_between_transactions()
            || !self.conversation.lease().has_begun()
            || !self.conversation.message().split().is_empty()
        {
            return;
        }
        let (asked, all) = (unasked.names.len(), unasked.all);
        let question = settings::read(unasked.names.iter().map(|name| &**name), all.then_some(ALL));
        frontend::write_query(self.io.for_server(), question.as_bytes());
        self.expect(PendingReply::hidden(Request::Left(Question::Settings), Visibility::Hidden));
        if let Some(unasked) = &mut self.bindings.unasked {
            unasked.asked = asked;
            unasked.asked_all = std::mem::take(&mut unasked.all);
        }
    }

    /// Any of PostgreSQL's own settings may have been given a value.
    pub(in crate::client) fn ask_for_all_settings(&mut self) {
        self.bindings.unasked.get_or_insert_default().all = true;
    }

    /// These are PostgreSQL's own settings that the session has set: they follow the client, and no others do.
    fn follow_all_settings(&mut self, set: Vec<(Box<str>, Box<str>)>) {
        let seed = self.core.proxy.seed.clone();
        let own = |name: &str| !name.contains('.') && name != "role" && name != "session_authorization";
        let gone = self.settings.vars.iter().filter(|(name, value)| {
            own(name) && !value.is_default() && !set.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
        });
        let gone: Vec<Box<str>> = gone.map(|(name, _)| name.into()).collect();
        for name in gone {
            self.settings.vars.unset(&seed, &name);
            if let Some(server) = self.lease.server() {
                server.vars.unset(&seed, &name);
            }
        }
        for (name, value) in set {
            if self.answered_whose(&name, Some(&value)) {
                continue;
            }
            self.settings.vars.put(&seed, &name, Some(Value::Flat(value.clone())));
            if let Some(server) = self.lease.server() {
                server.vars.put(&seed, &name, Some(Value::Flat(value)));
            }
        }
    }

    /// A row that the client does not see.
    pub(in crate::client) fn answered_row(&mut self, header: Header) {
        let row = match self.conversation.replies().front().map(|front| (front.request(), front.write_check_step())) {
            Some((_, WriteCheckStep::Declared)) => Row::Cursor,
            Some((_, WriteCheckStep::Path)) => Row::Path,
            Some((Request::Left(Question::Settings), _)) => Row::Settings,
            _ => return,
        };
        let body = self.io.replies().body(header);
        if row == Row::Cursor {
            let declaration = body.get(6..).and_then(|text| str::from_utf8(text).ok()).map(Into::into);
            return self.note_declaration(declaration);
        }
        if row == Row::Path {
            let row = body.to_vec();
            return self.note_path(&row);
        }
        // What is too large to follow the client binds the session.
        let answer = answer(body).filter(|_| self.has_room_for_setting(body.len()));
        match (answer, &mut self.bindings.unasked) {
            (Some((ALL, Some(set))), Some(unasked)) if unasked.set.len() < MOST_SET => {
                unasked.set.extend(set.split_once('=').map(|(name, value)| (name.into(), value.into())));
            }
            (Some(answer), Some(unasked)) if answer.0 != ALL => unasked.answers.push(answer),
            // In another encoding, most likely.
            _ => self.bindings.pins.add(Pin::Settings),
        }
    }

    /// The server has answered.
    pub(in crate::client) fn answered_settings(&mut self) {
        let Some(unasked) = self.bindings.unasked.take() else { return };
        let seed = self.core.proxy.seed.clone();
        for (at, value) in unasked.answers {
            let Some(name) = unasked.names.get(at) else { continue };
            if self.answered_whose(name, value.as_deref()) {
                continue;
            }
            // Nobody has ever given it one here, or it is as good as that.
            let none = value.as_ref().is_none_or(|value| value.is_empty() && self.settings.vars.get(name).is_none());
            let value = value.filter(|_| !none).map(Value::Flat);
            self.settings.vars.put(&seed, name, value.clone());
            if let Some(server) = self.lease.server() {
                server.vars.put(&seed, name, value);
            }
        }
        if unasked.asked_all {
            self.follow_all_settings(unasked.set);
        }
        let (late, all) = (unasked.names.into_iter().skip(unasked.asked).collect::<Vec<_>>(), unasked.all);
        if !late.is_empty() || all {
            self.bindings.unasked = Some(Box::new(Unasked { names: late, all, ..Unasked::default() }));
        }
        self.note_idle_limit();
        self.me.pinned.set(self.bindings.pins.word());
    }
}

/// What functions of PostgreSQL's own leave behind, by the OIDs of its catalog.
fn left_by_own(oid: u32) -> Option<Kinds> {
    match oid {
        // set_config, setseed.
        2078 | 1599 => Some(Kinds::OTHER),
        // pg_advisory_lock and its like, pg_advisory_unlock.
        2880..=2892 => {
            let mut kinds = Kinds::LOCK;
            kinds.add(Kinds::ENDS);
            Some(kinds)
        }
        // What runs a text: query_to_xml, ts_rewrite, ts_stat.
        2924 | 2925 | 2927 | 2928 | 2930 | 3684 | 3685 | 3689 | 3690 => Some(Kinds::OTHER),
        _ => None,
    }
}

/// In the place of a name's: the row tells of any setting that the session has set.
const ALL: usize = 1_000_000;

/// Settings of a session that are followed at once.
const MOST_SET: usize = 1000;

/// The place and the value in a row of that.
fn answer(body: &[u8]) -> Option<(usize, Option<Box<str>>)> {
    let mut rest = body.get(2..)?;
    let mut column = || -> Option<Option<&str>> {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            rest = behind;
            return Some(None);
        };
        let (value, behind) = behind.split_at_checked(length)?;
        rest = behind;
        Some(Some(str::from_utf8(value).ok()?))
    };
    let at = column()??.parse().ok()?;
    let value = column()?;
    let unset = column()? == Some("f");
    Some((at, value.filter(|_| !unset).map(Into::into)))
}
