//! What leads to an unseen writer in one database, and whether a statement names any of it.

use std::borrow::Cow;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::super::analyzer::{Analyzer, Scope};
use super::super::cache::Cached;
use super::super::calls;
use super::super::encoding::{LexContext, StandardStrings, mask};
use super::super::lexer::{Lexer, Shape};
use super::super::literal::{name, without_dotted_i};
use super::super::refused::{Rule, Why};
use super::super::statement::{Kind, Proven, Refusal, SessionEffect, Statement};
use super::super::target::{Target, Verb};
use super::defaults::Defaults;
use super::harmless::{may_create_temporary_schema, only_reads};
use super::mentions::{Depth, Mention, mentions};
use super::reach::{Finding, Names, Reach};
use super::remote::{self, Here, names_more};
use super::stopped::Stopped;

/// See the module.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Unseen {
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
    /// Functions of extensions that the refusal list names, and others that only have such a name.
    pub(super) listed: Names,
    pub(super) namesakes: Names,
    /// Text that nobody has read may lead anyone to a writer that leaves no row behind.
    pub(super) within_reach: bool,
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

impl Unseen {
    /// Whether nothing leads to a writer that leaves no row behind.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.is_by_function_alone() && self.refused.functions.is_empty() && self.builders.is_empty()
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

    /// The function of that OID, if it leads to an unseen writer, or could by what it is handed.
    pub fn function(&self, oid: u32) -> Option<&str> {
        let handed = || {
            let any = self.within_reach || !self.refused.is_empty();
            self.builder_oids.get(&oid).or_else(|| self.takes_text.get(&oid)).filter(|_| any)
        };
        self.refused.function_oids.get(&oid).or_else(handed).map(|name| &**name)
    }

    /// Whether the function of that OID, run by itself, might write, refused or not.
    pub fn may_write(&self, oid: u32) -> bool {
        self.writers.contains(&oid)
    }

    /// Whether all that the statement names of the refusal list are functions which only have such a name: what they lead to is another
    /// matter.
    pub fn absolves(&self, analyzer: &Analyzer, text: &[u8], context: LexContext, one: &Statement) -> bool {
        if self.namesakes.is_empty() {
            return false;
        }
        let scope = analyzer.scope();
        let (masked, _) = mask(text, context.encoding);
        let read = |standard| {
            let lexer = Lexer::new(&masked, standard).part(one.span.start, one.span.end);
            let Some(named) = names_of_extensions(lexer.clone(), scope) else { return false };
            let (mut calls, mut harmless) = (0, one.tag != "DO");
            mentions(lexer, scope, false, Depth::Words, &mut |mention| match mention {
                Mention::Call(schema, name, _) if scope.list.function(name, schema).is_some() => {
                    calls += 1;
                    harmless &= !self.listed.has(schema, name) && self.namesakes.has(schema, name);
                }
                Mention::RunsText | Mention::Builds => harmless = false,
                _ => {}
            });
            // Wherever else such a name stands, what it is there is not known.
            harmless && calls == named
        };
        match context.strings {
            StandardStrings::On => read(true),
            StandardStrings::Off => read(false),
            StandardStrings::Unknown => read(true) && read(false),
        }
    }

    /// The type that a statement names and that leads to a writer: its constants are values of it as soon as the server reads them.
    pub fn find_type(&self, analyzer: &Analyzer, text: &[u8], context: LexContext, one: &Statement) -> Option<Found> {
        if self.refused.types.is_empty() {
            return None;
        }
        let (masked, _) = mask(text, context.encoding);
        let mut found = None;
        let mut look = |standard| {
            let lexer = Lexer::new(&masked, standard).part(one.span.start, one.span.end);
            mentions(lexer, analyzer.scope(), false, Depth::Words, &mut |mention| {
                if matches!(mention, Mention::Type(..)) && found.is_none() {
                    found = self.refused.named(&mention).cloned();
                }
            });
        };
        match context.strings {
            StandardStrings::On => look(true),
            StandardStrings::Off => look(false),
            StandardStrings::Unknown => [true, false].into_iter().for_each(look),
        }
        found.map(|why| Found::Tainted(None, why))
    }

    /// Whether some function only has that name of the refusal list.
    pub fn has_namesake(&self, name: &str) -> bool {
        self.namesakes.has(None, name.as_bytes())
    }

    /// Whether it goes on with what was begun over another connection: what that was nobody knows, and the end of a cursor may commit it.
    pub fn goes_on_elsewhere(&self, analyzer: &Analyzer, text: &[u8], context: LexContext, one: &Statement) -> bool {
        if !self.listed.has(None, b"dblink_close") {
            return false;
        }
        let scope = analyzer.scope();
        let (masked, _) = mask(text, context.encoding);
        [true, false].into_iter().any(|standard| {
            let mut found = false;
            let lexer = Lexer::new(&masked, standard).part(one.span.start, one.span.end);
            mentions(lexer, analyzer.scope(), false, Depth::Constants, &mut |mention| {
                let Mention::Call(schema, name, ref behind) = mention else { return };
                let more = || calls::remote_text(name, behind.clone()).is_none_or(|sql| names_more(&sql, scope));
                let by_name = || match calls::remote_connection(name, behind.clone()) {
                    calls::Connection::Open => true,
                    calls::Connection::Text(text) => !text.contains(&b'='),
                    calls::Connection::Computed => false,
                };
                found |= self.listed.has(schema, name)
                    && match name {
                        b"dblink_close" | b"dblink_fetch" => true,
                        b"dblink" | b"dblink_open" | b"dblink_send_query" => by_name() && more(),
                        _ => false,
                    };
            });
            found
        })
    }

    /// Whether it hands values to something that runs text.
    pub fn hands_on(&self, analyzer: &Analyzer, text: &[u8], context: LexContext, one: &Statement) -> bool {
        let (masked, _) = mask(text, context.encoding);
        let mut found = false;
        let lexer = Lexer::new(&masked, context.strings != StandardStrings::Off).part(one.span.start, one.span.end);
        mentions(lexer, analyzer.scope(), false, Depth::Words, &mut |mention| {
            found |= match mention {
                Mention::Call(schema, name, _) => self.builders.has(schema, name),
                one => matches!(one, Mention::RunsText),
            };
        });
        found
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
                Mention::Builds | Mention::RunsText | Mention::AnyRelation | Mention::AnyType => false,
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

    /// What is known of a statement of this text, with parameters of these types (four bytes each). The one place where that is
    /// decided.
    pub fn risk(
        &self,
        analyzer: &Analyzer,
        text: &[u8],
        context: LexContext,
        one: &Statement,
        parameters: &[u8],
    ) -> WriteRisk {
        if self.types(parameters) {
            return WriteRisk::Refused(Found::Statement);
        }
        if let Some(found) = self.find(analyzer, text, context, one) {
            return WriteRisk::Refused(found);
        }
        let clean = self.is_clean(analyzer, text, context, one) && !self.asked.has_type(parameters);
        if clean { WriteRisk::Clean } else { WriteRisk::MayWrite }
    }

    /// Whether the only statement of a text is clean. What was found out is kept with the text.
    pub fn is_text_clean(&self, analyzer: &Analyzer, cached: &Cached, context: LexContext, parameters: &[u8]) -> bool {
        let Some(one) = cached.analysis.single().filter(|_| !cached.analysis.ambiguous) else { return false };
        let clean = match cached.known_clean(self.number) {
            Some(clean) => clean,
            None => {
                let clean = self.risk(analyzer, &cached.text, context, one, &[]) == WriteRisk::Clean;
                cached.note_clean(self.number, clean);
                clean
            }
        };
        clean && !self.types(parameters) && !self.asked.has_type(parameters)
    }

    /// Whether it is a query all of which is known, to the end of all chains, to write nothing.
    fn is_clean(&self, analyzer: &Analyzer, text: &[u8], context: LexContext, one: &Statement) -> bool {
        let query = one.kind == Kind::Read && one.tag == "SELECT";
        let plain = query && one.refusal == Refusal::Allowed && !one.locks_rows && !one.contained;
        if !plain || !one.effects.is_empty() || self.asked.everywhere || may_create_temporary_schema(text) {
            return false;
        }
        if one.route == Proven::Read && self.asked.is_by_function_alone() && self.asked.functions.is_empty() {
            return true;
        }
        let scope = analyzer.scope();
        let (masked, _) = mask(text, context.encoding);
        let shown = |standard| {
            let mut clean = true;
            let lexer = Lexer::new(&masked, standard).part(one.span.start, one.span.end);
            mentions(lexer, scope, false, Depth::Words, &mut |mention| clean &= self.is_harmless(scope, &mention));
            clean
        };
        match context.strings {
            StandardStrings::On => shown(true),
            StandardStrings::Off => shown(false),
            StandardStrings::Unknown => shown(true) && shown(false),
        }
    }

    pub(super) fn is_harmless(&self, scope: Scope<'_>, mention: &Mention<'_, '_>) -> bool {
        only_reads(mention, scope, &self.asked, &self.clean)
    }

    /// What of it a statement of this text names.
    pub fn find(&self, analyzer: &Analyzer, text: &[u8], context: LexContext, one: &Statement) -> Option<Found> {
        if self.is_empty() || matches!(one.kind, Kind::Transaction(_)) {
            return None;
        }
        if self.is_by_function_alone() && one.route == Proven::Read {
            return None;
        }
        if one.effects.iter().any(|effect| matches!(effect, SessionEffect::Prepare { .. })) {
            // EXECUTE is asked for the rest.
            return self.find_type(analyzer, text, context, one);
        }
        if self.refused.everywhere && one.kind != Kind::Session {
            return Some(Found::Statement);
        }
        let (masked, _) = mask(text, context.encoding);
        let read =
            |standard| self.read(analyzer, Lexer::new(&masked, standard).part(one.span.start, one.span.end), one);
        match context.strings {
            StandardStrings::On => read(true),
            StandardStrings::Off => read(false),
            StandardStrings::Unknown => read(true).or_else(|| read(false)),
        }
    }

    fn read(&self, analyzer: &Analyzer, lexer: Lexer<'_>, one: &Statement) -> Option<Found> {
        let body = one.tag == "DO";
        let scope = analyzer.scope();
        let mut look =
            Look { unseen: self, scope, found: None, relation: false, writes: false, runs_text: body, handed: false };
        let first = if body { Depth::Constants } else { Depth::Words };
        mentions(lexer.clone(), scope, false, first, &mut |mention| look.see(mention));
        if look.runs_text && !body {
            // What it hands to something that runs text is read as well, for what the refusal list names too.
            look.handed = true;
            mentions(lexer, scope, false, Depth::Constants, &mut |mention| look.see(mention));
        }
        look.found.or_else(|| (look.writes && look.relation).then_some(Found::Statement))
    }
}

#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
struct Look<'a> {
    unseen: &'a Unseen,
    scope: Scope<'a>,
    found: Option<Found>,
    /// Names a relation that must not be written.
    relation: bool,
    writes: bool,
    runs_text: bool,
    /// Constants are read that a function may run.
    handed: bool,
}

impl Look<'_> {
    fn see(&mut self, mention: Mention<'_, '_>) {
        let (unseen, refused) = (self.unseen, &self.unseen.refused);
        let tainted = |function: Option<&[u8]>, why: Option<&Finding>| {
            let function = function.map(|name| String::from_utf8_lossy(name).into());
            why.map(|why| Found::Tainted(function, why.clone()))
        };
        let found = match mention {
            Mention::Call(schema, name, ref behind) => {
                let listed = self.handed && leaves_no_row(self.scope, schema, name, behind.clone());
                self.runs_text |= unseen.builders.has(schema, name);
                let wide = refused.wide && !name.is_ascii();
                let called = || tainted(Some(name), refused.functions.called(schema, name, behind));
                let remote = || remote::leads_on(unseen, self.scope, (schema, name), behind);
                (listed || wide)
                    .then(|| Found::Function(String::from_utf8_lossy(name).into()))
                    .or_else(called)
                    .or_else(|| tainted(Some(name), remote().as_ref()))
            }
            Mention::Field(name) => tainted(Some(name), refused.fields.field(name)),
            Mention::Relation(schema, name) => {
                self.relation |= refused.written.has(schema, name);
                tainted(None, refused.named(&mention))
            }
            Mention::Type(..)
            | Mention::AnyType
            | Mention::AnyRelation
            | Mention::Operator(..)
            | Mention::Implied(..) => tainted(None, refused.named(&mention)),
            Mention::Builds => {
                let why: Finding = "text that is put together at run time".into();
                unseen.within_reach.then_some(Found::Tainted(None, why))
            }
            Mention::Writes => {
                self.writes = true;
                None
            }
            Mention::RunsText => {
                self.runs_text = true;
                None
            }
            Mention::Utility(_) | Mention::Executes => None,
            // Spelled out, the reader of statements knows those.
            Mention::Command(_) | Mention::QuotedCommand(_) => self.handed.then_some(Found::Statement),
        };
        if self.found.is_none() {
            self.found = found;
        }
    }
}

/// How many names a text has that the refusal list names as extensions'; None: it has others of the list.
fn names_of_extensions(mut lexer: Lexer<'_>, scope: Scope<'_>) -> Option<usize> {
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
                found += scope.list.is_extensions(&name).then_some(1)?;
            }
        }
    }
}

/// Whether a call is on the refusal list, and nobody could tell from the tables that it has been made.
pub(super) fn leaves_no_row(scope: Scope<'_>, schema: Option<&[u8]>, name: &[u8], arguments: Lexer<'_>) -> bool {
    scope.list.function(name, schema).is_some_and(|(why, rule)| {
        why != Why::LargeObject
            && !(rule == Rule::UnlessPlainRead && calls::remote_text_is_plain_read(name, arguments, scope))
    })
}

impl Unseen {
    /// To be called once all names are in.
    pub(super) fn seal(mut self) -> Self {
        self.refused.seal();
        self.asked.seal();
        self.writing.seal();
        if let Some(stopped) = &mut self.stopped {
            stopped.beyond.seal();
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::super::reach::operators;
    use super::*;

    fn unseen() -> Unseen {
        let mut unseen = Unseen::default();
        unseen.refused.functions.add("app", "logs");
        unseen.refused.fields.add("app", "logs");
        unseen.refused.read.add("app", "journal");
        unseen.refused.written.add("pg_temp_3", "mine");
        unseen.refused.types.add("app", "checked");
        unseen.refused.operators.add("", "<~>");
        unseen.builders.add("app", "runs");
        unseen.seal()
    }

    fn found(unseen: &Unseen, sql: &str) -> Option<String> {
        let analyzer = Analyzer::default();
        let analysis = analyzer.analyze(sql.as_bytes(), LexContext::default());
        let mut all = analysis.statements.iter();
        all.find_map(|one| Some(unseen.find(&analyzer, sql.as_bytes(), LexContext::default(), one)?.message(one.tag)))
    }

    #[test]
    fn what_is_named_is_found() {
        for (sql, what) in [
            ("SELECT logs(1)", "logs()"),
            ("SELECT \"logs\" (1)", "logs()"),
            ("SELECT app.logs(1)", "logs()"),
            ("CALL logs(1)", "logs()"),
            ("SELECT t.logs FROM t", "logs()"),
            ("SELECT 1; SELECT 2 FROM f(logs(3))", "logs()"),
            ("DO $$ BEGIN PERFORM logs(1); END $$", "logs()"),
            ("DO $$ BEGIN EXECUTE 'SELECT logs(1)'; END $$", "logs()"),
            ("SELECT runs('SELECT logs(1)')", "logs()"),
            ("SELECT runs('SELECT pg_logical_emit_message(false, $1, $2)')", "pg_logical_emit_message()"),
            ("SELECT query_to_xml('SELECT * FROM journal', true, true, '')", "SELECT"),
            ("SELECT table_to_xml('journal', true, true, '')", "SELECT"),
            ("SELECT * FROM t, journal j", "SELECT"),
            ("COPY journal TO STDOUT", "COPY"),
            ("INSERT INTO mine VALUES (1)", "INSERT"),
            ("COPY mine FROM STDIN", "COPY"),
            ("INSERT INTO pg_temp.mine VALUES (1)", "INSERT"),
            ("SELECT '1'::checked", "SELECT"),
            ("SELECT checked '1'", "SELECT"),
            ("SELECT 1 <~> -2", "SELECT"),
        ] {
            let what = match found(&unseen(), sql) {
                None => panic!("{sql}"),
                Some(message) if message.starts_with("cannot execute COPY") => "COPY".into(),
                Some(message) if message.contains(what) => what.to_owned(),
                Some(message) => message,
            };
            assert!(sql.contains(what.trim_end_matches("()")), "{sql}: {what}");
        }
    }

    #[test]
    fn what_only_resembles_it_is_not() {
        for sql in [
            "SELECT logs FROM t",
            "SELECT other.logs(1)",
            "SELECT 'logs(1)'",
            "SELECT journal FROM t",
            "SELECT journal.x, t.journal FROM t AS journal_of_days",
            "SELECT * FROM other.journal",
            "SELECT * FROM mine",
            "SELECT checked FROM t",
            "SELECT 1 <~ 2, 1 ~> 2",
            "SELECT f('SELECT logs(1)')",
            "SELECT runs('SELECT 1')",
            "SELECT runs('SELECT lo_create(0)')",
            "PREPARE x AS SELECT logs(1)",
            "BEGIN",
        ] {
            assert_eq!(found(&unseen(), sql), None, "{sql}");
        }
        assert_eq!(found(&Unseen::default(), "SELECT logs(1)"), None);
    }

    #[test]
    fn text_put_together_counts_where_a_writer_is_within_reach() {
        let sql = "DO $$ BEGIN EXECUTE 'SELECT ' || x; END $$";
        assert_eq!(found(&unseen(), sql), None);
        let reach = Unseen { within_reach: true, ..unseen() };
        assert!(found(&reach, sql).is_some());
        assert!(found(&reach, "SELECT query_to_xml($1, true, true, '')").is_some());
        assert_eq!(found(&reach, "SELECT query_to_xml('SELECT 1', true, true, '')"), None);
    }

    #[test]
    fn runs_of_operator_characters_are_cut_as_postgresql_cuts_them() {
        let cut =
            |run: &'static str| operators(run.as_bytes()).map(|one| str::from_utf8(one).unwrap()).collect::<Vec<_>>();
        assert_eq!(cut("<~>-"), ["<~>-"]);
        assert_eq!(cut("<-"), ["<", "-"]);
        assert_eq!(cut("=+-"), ["=", "+", "-"]);
        assert_eq!((cut("!="), cut("-")), (vec!["<>"], vec!["-"]));
    }
}
