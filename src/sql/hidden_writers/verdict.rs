//! What leads to an unseen writer in one database, and whether a statement names any of it.

use std::borrow::Cow;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::catalog::defaults::Defaults;
use super::catalog::keepers::Keepers;
use super::catalog::made_types::makes_types;
use super::harmless::{may_create_temporary_schema, only_reads};
use super::look::{Look, look_at_other_language};
use super::mentions::{Depth, Mention, mentions, mentions_of_value};
use super::reach::{Names, Reach};
use super::run_text::built::{Builder, Built, Place};
use super::run_text::remote::{Here, names_more};
use super::search_path::SearchPath;
use super::statement_forms::runs_nothing;
use super::statement_reading::StatementReading;
use super::stopped::Stopped;
use crate::sql::cache::verdicts::Cached;
use crate::sql::classify::analyzer::{Analyzer, Scope};
use crate::sql::classify::function_calls;
use crate::sql::lex::encoding::LexContext;
use crate::sql::lex::lexer::{Lexer, Shape};
use crate::sql::lex::literal::{name, without_dotted_i};
use crate::sql::statement::{Kind, Proven, Refusal, SessionEffect, Statement};
use crate::sql::write_target::{Target, Verb};

/// See the module.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct HiddenWriters {
    /// The number of its reading, which no other reading has; 0 for none.
    pub number: u64,
    /// What leads to writers that leave no row behind: nobody could ask for it afterwards.
    pub(super) refused: Reach,
    /// What leads to anything that is not shown to write nothing, what is refused among it.
    pub(super) asked: Reach,
    /// Functions of the database's own that are shown to write nothing.
    pub(super) clean: Names,
    /// What READ ONLY stops, where that is more than what writes nothing.
    pub(super) stopped: Option<Box<Stopped>>,
    /// What may change more than the table that a statement names, or a sequence, where nothing keeps it from writing.
    pub(super) writing: Reach,
    /// Functions that run text which is put together at run time, whatever it leads to.
    pub(super) builders: Names,
    pub(super) builder_oids: HashMap<u32, Box<str>, RandomState>,
    /// PostgreSQL's own functions that are handed text.
    pub(super) takes_text: HashMap<u32, Box<str>, RandomState>,
    /// Functions that the refusal list names, and others that only have such a name.
    pub(super) listed: Names,
    pub(super) namesakes: Names,
    /// Text that nobody has read may lead anyone to a writer that leaves no row behind.
    pub(super) within_reach: bool,
    /// Who could have text that nobody can read change a relation in place, behind every ROLLBACK.
    pub(super) keepers: Keepers,
    /// What leads to such text, and is refused for them.
    pub(super) open: Reach,
    /// Functions that run what they are given: refused for them where that cannot be read. And those that run it with the rights of
    /// such a role, refused for everybody then.
    pub(super) given: Names,
    pub(super) given_lent: Names,
    /// Functions that may write by themselves where PostgreSQL does not refuse it, or would if it could.
    pub(super) writers: HashSet<u32, RandomState>,
    /// Where this database is.
    pub(super) here: Here,
    /// Times with which sessions begin.
    pub(super) defaults: Defaults,
    /// For people.
    pub(super) findings: Vec<String>,
}

/// What is known of a statement that is about to run where nothing may be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteRisk {
    /// Nothing that it leads to writes, lowers the guard, or is left to COMMIT.
    Clean,
    /// It may have written: the transaction has to be asked.
    MayWrite,
    /// It leads to what must not run, since nobody could ask for it afterwards.
    Refused(Found),
}

/// What a statement names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A function, by its name.
    Function(Box<str>),
    /// Something else: PostgreSQL would name the statement.
    Statement,
    /// What the catalog tells of: a function by its name, or something else, and where that leads.
    Tainted(Option<Box<str>>, Arc<str>),
}

impl Found {
    /// PostgreSQL's primary message for it, for a statement with this tag.
    pub fn message(&self, tag: &str) -> String {
        let what: Cow<'_, str> = match self {
            Self::Function(name) | Self::Tainted(Some(name), _) => format!("{name}()").into(),
            Self::Statement | Self::Tainted(None, _) => tag.into(),
        };
        format!("cannot execute {what} in a read-only transaction")
    }

    /// Where it leads, for people: `app.loops() by dblink_exec`.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Tainted(_, why) if !why.is_empty() => Some(why),
            _ => None,
        }
    }

    /// The same, said of the statement.
    pub fn of_statement(self) -> Self {
        match self {
            Self::Tainted(_, why) => Self::Tainted(None, why),
            _ => Self::Statement,
        }
    }
}

impl HiddenWriters {
    /// Whether nothing leads to a writer that leaves no row behind.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.is_by_function_alone() && self.refused.functions.is_empty() && self.builders.is_empty()
    }

    /// What is left of it for a statement that hands no text on, under that path.
    pub fn under(&self, path: &SearchPath) -> Self {
        self.where_found(&|schema| path.has(schema))
    }

    /// The same where a name without a schema finds nothing: it leads to writers under every path.
    pub fn under_no_path(&self) -> Self {
        self.where_found(&|_| false)
    }

    fn where_found(&self, in_path: &dyn Fn(&[u8]) -> bool) -> Self {
        Self {
            refused: self.refused.under(in_path),
            open: self.open.under(in_path),
            given: self.given.under(in_path),
            given_lent: self.given_lent.under(in_path),
            ..self.clone()
        }
    }

    /// Whether that holds for a role, whatever text it puts together.
    #[inline]
    pub fn is_empty_for(&self, role: &str) -> bool {
        self.is_empty() && !self.keepers.has(role)
    }

    /// Whether a cursor of that role may lead to one.
    pub fn distrusts_cursors_of(&self, role: &str) -> bool {
        !self.is_empty() || !self.open.is_empty() && self.keepers.has(role)
    }

    /// Whether a statement that calls nothing but PostgreSQL's own functions cannot lead to one.
    #[inline]
    fn is_by_function_alone(&self) -> bool {
        self.refused.is_by_function_alone() && !self.within_reach
    }

    /// The time with which a session of that role begins, as that setting.
    pub fn default_of(&self, role: &str, setting: &str) -> Option<&str> {
        self.defaults.of(role, setting)
    }

    /// What was found, for people: one text each.
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// The function of that OID, if it leads to an unseen writer for that role, or could by what it is handed.
    pub fn function(&self, oid: u32, role: &str) -> Option<&str> {
        let handed = || {
            let any = self.within_reach || !self.refused.is_empty();
            self.builder_oids.get(&oid).or_else(|| self.takes_text.get(&oid)).filter(|_| any)
        };
        let open = || self.open.function_oids.get(&oid).filter(|_| self.keepers.has(role));
        self.refused.function_oids.get(&oid).or_else(open).or_else(handed).map(|name| &**name)
    }

    /// Whether the function of that OID runs what it is given.
    pub fn is_handed_text(&self, oid: u32) -> bool {
        self.builder_oids.contains_key(&oid) || self.takes_text.contains_key(&oid)
    }

    /// Whether the function of that OID, run by itself, might write, refused or not.
    pub fn may_write(&self, oid: u32) -> bool {
        self.writers.contains(&oid)
    }

    /// Whether all that the statement names of the refusal list are functions which only have such a name: what they lead to is another
    /// matter.
    pub fn absolves(&self, reading: &StatementReading<'_>) -> bool {
        if self.namesakes.is_empty() {
            return false;
        }
        let (scope, one) = (reading.scope(), reading.statement());
        reading.holds(|lexer| {
            let Some(named) = self.names_of_others(lexer.clone(), scope) else { return false };
            let (mut calls, mut harmless) = (0, one.tag != "DO");
            mentions(lexer, scope, false, Depth::Words, &mut |mention| match mention {
                Mention::Call(schema, name, ref behind) if scope.list.function(name, schema).is_some() => {
                    calls += 1;
                    harmless &= if scope.list.is_extensions(name) {
                        !self.listed.has(schema, name) && self.namesakes.has(schema, name)
                    } else {
                        // PostgreSQL's own of that name is there: only the arguments tell that it is not meant.
                        let own = self.listed.called(schema, name, behind);
                        own.is_none() && self.namesakes.called(schema, name, behind).is_some()
                    };
                }
                Mention::RunsText | Mention::Builds(_) => harmless = false,
                _ => {}
            });
            // Wherever else such a name stands, what it is there is not known.
            harmless && calls == named
        })
    }

    /// The type that a statement names and that leads to a writer: its constants are values of it as soon as the server reads them.
    pub fn find_type(&self, reading: &StatementReading<'_>) -> Option<Found> {
        if self.refused.types.is_empty() {
            return None;
        }
        let mut found = None;
        reading.each(|lexer| {
            mentions(lexer, reading.scope(), false, Depth::Words, &mut |mention| {
                if matches!(mention, Mention::Type(..)) && found.is_none() {
                    found = self.refused.named(&mention).cloned();
                }
            });
        });
        found.map(|why| Found::Tainted(None, why))
    }

    /// Whether some function only has that name of the refusal list.
    pub fn has_namesake(&self, name: &str) -> bool {
        self.namesakes.has(None, name.as_bytes())
    }

    /// Whether it goes on with what was begun over another connection: what that was nobody knows, and the end of a cursor may commit it.
    pub fn goes_on_elsewhere(&self, reading: &StatementReading<'_>) -> bool {
        if !self.listed.has(None, b"dblink_close") {
            return false;
        }
        let scope = reading.scope();
        let mut found = false;
        reading.in_every_way(|lexer| {
            mentions(lexer, scope, false, Depth::Constants, &mut |mention| {
                let Mention::Call(schema, name, ref behind) = mention else { return };
                let more =
                    || function_calls::remote_text(name, behind.clone()).is_none_or(|sql| names_more(&sql, scope));
                let by_name = || match function_calls::remote_connection(name, behind.clone()) {
                    function_calls::Connection::Open => true,
                    function_calls::Connection::Text(text) => !text.contains(&b'='),
                    function_calls::Connection::Computed => false,
                };
                found |= self.listed.has(schema, name)
                    && match name {
                        b"dblink_close" | b"dblink_fetch" => true,
                        b"dblink" | b"dblink_open" | b"dblink_send_query" => by_name() && more(),
                        _ => false,
                    };
            });
        });
        found
    }

    /// Whether it hands values to something that runs text.
    pub fn hands_on(&self, reading: &StatementReading<'_>) -> bool {
        let mut found = false;
        reading.once(|lexer| {
            mentions(lexer, reading.scope(), false, Depth::Words, &mut |mention| {
                found |= match mention {
                    Mention::Call(schema, name, _) => self.builders.has(schema, name),
                    one => matches!(one, Mention::RunsText),
                };
            });
        });
        found
    }

    /// Whether names may be looked up while it runs: by text that is run, by a type that a text names. Another path may hold by then.
    pub fn resolves_late(&self, reading: &StatementReading<'_>) -> bool {
        let mut late = !reading.statement().effects.is_empty() || self.hands_on(reading);
        reading.once(|lexer| {
            mentions(lexer, reading.scope(), false, Depth::Words, &mut |mention| {
                late |= match mention {
                    Mention::Call(_, name, _) => makes_types(name),
                    one => matches!(one, Mention::AnyType | Mention::AnyRelation | Mention::Builds(_)),
                };
            });
        });
        late
    }

    /// Whether a write to that table changes nothing but its own rows, and nothing that the statement names writes or is unknown.
    pub fn writes_alone(&self, analyzer: &Analyzer, text: &[u8], one: &Statement, target: &Target) -> bool {
        let reach = &self.writing;
        let table = (target.table.schema.as_deref().map(str::as_bytes), target.table.name.as_bytes());
        let carried = match target.verb {
            Verb::Insert => target.upserts && reach.updated.has(table.0, table.1),
            Verb::Update => reach.updated.has(table.0, table.1),
            Verb::Delete => reach.deleted.has(table.0, table.1),
        };
        if reach.everywhere || carried || reach.written.has(table.0, table.1) || reach.read.has(table.0, table.1) {
            return false;
        }
        let mut alone = true;
        let lexer = Lexer::new(text, true).part(one.span.start, one.span.end);
        mentions(lexer, analyzer.scope(), false, Depth::Words, &mut |mention| {
            alone &= match &mention {
                Mention::Writes => true,
                Mention::Builds(_) | Mention::RunsText | Mention::AnyRelation | Mention::AnyType => false,
                Mention::Command(_) | Mention::QuotedCommand(_) | Mention::Utility(_) => false,
                Mention::Relation(schema, name) => reach.read.find(*schema, name, |_| true).is_none(),
                _ => reach.named(&mention).is_none(),
            };
        });
        alone
    }

    /// Whether a parameter of one of these types, four bytes each, leads to one.
    pub fn types(&self, oids: &[u8]) -> bool {
        self.refused.has_type(oids)
    }

    /// What is known of a statement of this text, with parameters of these types (four bytes each), whoever runs it. The one place
    /// where that is decided.
    pub fn risk(&self, reading: &StatementReading<'_>, parameters: &[u8]) -> WriteRisk {
        if self.types(parameters) {
            return WriteRisk::Refused(Found::Statement);
        }
        if let Some(found) = self.find(reading, "") {
            return WriteRisk::Refused(found);
        }
        let clean = self.is_clean(reading) && !self.asked.has_type(parameters);
        if clean { WriteRisk::Clean } else { WriteRisk::MayWrite }
    }

    /// Whether the only statement of a text is clean. What was found out is kept with the text.
    pub fn is_text_clean(&self, analyzer: &Analyzer, cached: &Cached, context: LexContext, parameters: &[u8]) -> bool {
        let Some(one) = cached.analysis.single().filter(|_| !cached.analysis.ambiguous) else { return false };
        let clean = match cached.known_clean(self.number) {
            Some(clean) => clean,
            None => {
                let reading = StatementReading::new(analyzer, &cached.text, context, one);
                let clean = self.risk(&reading, &[]) == WriteRisk::Clean;
                cached.note_clean(self.number, clean);
                clean
            }
        };
        clean && !self.types(parameters) && !self.asked.has_type(parameters)
    }

    /// Whether it is a query all of which is known, to the end of all chains, to write nothing.
    fn is_clean(&self, reading: &StatementReading<'_>) -> bool {
        let one = reading.statement();
        let query = one.kind == Kind::Read && one.tag == "SELECT";
        let plain = query && one.refusal == Refusal::Allowed && !one.locks_rows && !one.contained;
        if !plain || !one.effects.is_empty() || self.asked.everywhere || may_create_temporary_schema(reading.text()) {
            return false;
        }
        if one.route == Proven::Read && self.asked.is_by_function_alone() && self.asked.functions.is_empty() {
            return true;
        }
        let scope = reading.scope();
        reading.holds(|lexer| {
            let mut clean = true;
            mentions(lexer, scope, false, Depth::Words, &mut |mention| clean &= self.is_harmless(scope, &mention));
            clean
        })
    }

    pub(super) fn is_harmless(&self, scope: Scope<'_>, mention: &Mention<'_, '_>) -> bool {
        only_reads(mention, scope, &self.asked, &self.clean)
    }

    /// What of it a statement of this text names that this role runs.
    pub fn find(&self, reading: &StatementReading<'_>, role: &str) -> Option<Found> {
        let one = reading.statement();
        let keeps = self.keepers.has(role);
        if self.is_empty() && !keeps || runs_nothing(one) {
            return None;
        }
        if self.is_by_function_alone() && (!keeps || self.open.is_by_function_alone()) && one.route == Proven::Read {
            return None;
        }
        if one.effects.iter().any(|effect| matches!(effect, SessionEffect::Prepare { .. })) {
            // EXECUTE is asked for the rest.
            return self.find_type(reading);
        }
        if (self.refused.everywhere || keeps && self.open.everywhere) && one.kind != Kind::Session {
            return Some(Found::Statement);
        }
        reading.find(|lexer| self.read(Look::new(self, reading.analyzer(), keeps, one.tag == "DO"), lexer, one))
    }

    /// What of it the constants of a statement name if they are run, as the arguments of EXECUTE are that a prepared statement hands on.
    pub fn find_handed(&self, reading: &StatementReading<'_>, role: &str) -> Option<Found> {
        reading.find(|lexer| {
            let mut look = Look::new(self, reading.analyzer(), self.keepers.has(role), true);
            look.handed = true;
            mentions(lexer.clone(), look.scope, false, Depth::Constants, &mut |mention| look.see(mention));
            let mut behind = lexer;
            let mut token = behind.next();
            while !matches!(token.shape, Shape::End | Shape::Punct(b'(')) {
                token = behind.next();
            }
            if token.is(b'(') {
                look.see(Mention::Builds(Builder::new(behind.clone(), Place::Statement).arguments(behind)));
            }
            look.result()
        })
    }

    /// What of it a value names that is handed to something which runs text.
    pub fn find_in_value(&self, analyzer: &Analyzer, value: &[u8], role: &str) -> Option<Found> {
        [true, false].into_iter().find_map(|standard| {
            let mut look = Look::new(self, analyzer, self.keepers.has(role), true);
            look.handed = true;
            mentions_of_value(Lexer::new(value, standard), look.scope, &mut |mention| look.see(mention));
            look.result()
        })
    }

    fn read(&self, mut look: Look<'_>, lexer: Lexer<'_>, one: &Statement) -> Option<Found> {
        let body = one.tag == "DO";
        let scope = look.scope;
        let first = if body { Depth::Constants } else { Depth::Words };
        mentions(lexer.clone(), scope, false, first, &mut |mention| look.see(mention));
        if body {
            look_at_other_language(&mut look, lexer.clone());
        }
        if look.runs_text && !body {
            // What it hands to something that runs text is read as well, for what the refusal list names too.
            look.handed = true;
            mentions(lexer, scope, false, Depth::Constants, &mut |mention| look.see(mention));
        }
        look.result()
    }

    /// Whether a text that is built so may lead who reaches a writer by text to one.
    pub(super) fn is_unreadable(&self, built: Built) -> bool {
        let named = !self.refused.read.is_empty() || !self.refused.types.is_empty();
        built == Built::Open || built == Built::Quoted && named
    }
}

impl HiddenWriters {
    /// How many names a text has that the refusal list names, and that others may have; None: it has some that only PostgreSQL's own
    /// functions have.
    fn names_of_others(&self, mut lexer: Lexer<'_>, scope: Scope<'_>) -> Option<usize> {
        let text = lexer.text();
        let mut found = 0;
        loop {
            let token = lexer.next();
            if token.shape == Shape::End {
                return Some(found);
            }
            if token.is_name() {
                let name = without_dotted_i(name(token, text));
                if scope.list.function(&name, None).is_some() {
                    let others = scope.list.is_extensions(&name) || self.namesakes.has(None, &name);
                    found += others.then_some(1)?;
                }
            }
        }
    }

    /// To be called once all names are in.
    pub(super) fn seal(mut self) -> Self {
        self.refused.seal();
        self.asked.seal();
        self.writing.seal();
        if let Some(stopped) = &mut self.stopped {
            stopped.beyond.seal();
        }
        self.open.seal();
        self
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
