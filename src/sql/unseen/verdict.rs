//! What leads to an unseen writer in one database, and whether a statement names any of it.

use std::borrow::Cow;

use super::super::analyzer::{Analyzer, Scope};
use super::super::cache::Cached;
use super::super::calls;
use super::super::encoding::{LexContext, StandardStrings, mask};
use super::super::lexer::Lexer;
use super::super::refused::{Rule, Why};
use super::super::statement::{Kind, Proven, Refusal, SessionEffect, Statement};
use super::harmless::is_harmless;
use super::mentions::{Depth, Mention, mentions};
use super::reach::{Names, Reach};

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
    /// Functions that run text which is put together at run time, whatever it leads to.
    pub(super) builders: Names,
    /// Text that nobody has read may lead anyone to a writer that leaves no row behind.
    pub(super) within_reach: bool,
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
}

impl Found {
    /// PostgreSQL's primary message for it, for a statement with this tag.
    pub fn message(&self, tag: &str) -> String {
        let what: Cow<'_, str> = match self {
            Self::Function(name) => format!("{name}()").into(),
            Self::Statement => tag.into(),
        };
        format!("cannot execute {what} in a read-only transaction")
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

    /// What was found, for people: one text each.
    pub fn findings(&self) -> &[String] {
        &self.findings
    }

    /// The function of that OID, if it leads to an unseen writer.
    pub fn function(&self, oid: u32) -> Option<&str> {
        self.refused.function_oids.get(&oid).map(|name| &**name)
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
        let query = one.kind == Kind::Read && !matches!(one.tag, "FETCH" | "MOVE");
        let plain = query && one.refusal == Refusal::Allowed && !one.locks_rows && !one.contained;
        if !plain || !one.effects.is_empty() || self.asked.everywhere {
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

    fn is_harmless(&self, scope: Scope<'_>, mention: &Mention<'_, '_>) -> bool {
        let asked = &self.asked;
        match *mention {
            Mention::Call(schema, name, _) => {
                let own = matches!(schema, None | Some(b"pg_catalog")) && is_harmless(name);
                let known = own && scope.list.function(name, schema).is_none() || self.clean.has(schema, name);
                known && name.is_ascii() && !asked.functions.has(schema, name)
            }
            Mention::Field(name) => (name.is_ascii() || !asked.wide) && !asked.fields.has(None, name),
            Mention::Relation(schema, name) => !asked.read.has(schema, name),
            Mention::Type(schema, name) => !asked.types.has(schema, name),
            Mention::Operator(run) => !operators(run).any(|one| asked.operators.contains(one)),
            Mention::Implied(operator) => !asked.operators.contains(operator.as_bytes()),
            Mention::Writes
            | Mention::Builds
            | Mention::RunsText
            | Mention::AnyRelation
            | Mention::Utility
            | Mention::Executes
            | Mention::QuotedCommand(_)
            | Mention::Command(_) => false,
        }
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
            // EXECUTE is asked.
            return None;
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
        let found = match mention {
            Mention::Call(schema, name, arguments) => {
                let listed = self.handed && leaves_no_row(self.scope, schema, name, arguments);
                self.runs_text |= unseen.builders.has(schema, name);
                let wide = refused.wide && !name.is_ascii();
                (listed || refused.functions.has(schema, name) || wide)
                    .then(|| Found::Function(String::from_utf8_lossy(name).into()))
            }
            Mention::Field(name) => {
                refused.fields.has(None, name).then(|| Found::Function(String::from_utf8_lossy(name).into()))
            }
            Mention::Relation(schema, name) => {
                self.relation |= refused.written.has(schema, name);
                refused.read.has(schema, name).then_some(Found::Statement)
            }
            Mention::Type(schema, name) => refused.types.has(schema, name).then_some(Found::Statement),
            Mention::Operator(run) => {
                operators(run).any(|one| refused.operators.contains(one)).then_some(Found::Statement)
            }
            Mention::Implied(operator) => refused.operators.contains(operator.as_bytes()).then_some(Found::Statement),
            Mention::AnyRelation => (!refused.read.is_empty()).then_some(Found::Statement),
            Mention::Builds => unseen.within_reach.then_some(Found::Statement),
            Mention::Writes => {
                self.writes = true;
                None
            }
            Mention::RunsText => {
                self.runs_text = true;
                None
            }
            Mention::Utility | Mention::Executes => None,
            // Spelled out, the reader of statements knows those.
            Mention::Command(_) | Mention::QuotedCommand(_) => self.handed.then_some(Found::Statement),
        };
        if self.found.is_none() {
            self.found = found;
        }
    }
}

/// Whether a call is on the refusal list, and nobody could tell from the tables that it has been made.
pub(super) fn leaves_no_row(scope: Scope<'_>, schema: Option<&[u8]>, name: &[u8], arguments: Lexer<'_>) -> bool {
    scope.list.function(name, schema).is_some_and(|(why, rule)| {
        why != Why::LargeObject
            && !(rule == Rule::UnlessPlainRead && calls::remote_text_is_plain_read(arguments, scope))
    })
}

/// The operators in a run of their characters: PostgreSQL ends one before a `+` or `-` at its end, unless it has a character
/// that no operator of standard SQL has.
pub(super) fn operators(run: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let special = |part: &[u8]| part.iter().any(|byte| b"~!@#%^&|`?".contains(byte));
        let mut end = rest.len();
        while let Some([ahead @ .., b'+' | b'-']) = rest.get(..end) {
            if ahead.is_empty() || special(ahead) {
                break;
            }
            end -= 1;
        }
        let (one, behind) = rest.split_at_checked(end)?;
        rest = behind;
        match one {
            [] => None,
            b"!=" => Some(&b"<>"[..]),
            one => Some(one),
        }
    })
}

impl Unseen {
    /// To be called once all names are in.
    pub(super) fn seal(mut self) -> Self {
        self.refused.seal();
        self.asked.seal();
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unseen() -> Unseen {
        let mut unseen = Unseen::default();
        unseen.refused.functions.add("app", "logs");
        unseen.refused.fields.add("app", "logs");
        unseen.refused.read.add("app", "journal");
        unseen.refused.written.add("pg_temp_3", "mine");
        unseen.refused.types.add("app", "checked");
        unseen.refused.operators.insert((*b"<~>").into());
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
        assert_eq!(cut("!="), ["<>"]);
        assert_eq!(cut("-"), ["-"]);
    }
}
