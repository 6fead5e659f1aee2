//! CALL and DO that may end their own transaction in maintenance.
//!
//! A COMMIT inside makes permanent what ran before it, and nobody could ask any more whether that has written. So they run outside of
//! a block only if there is nothing to ask: whatever they lead to, to the end of all chains, only reads or writes by a statement that
//! PostgreSQL refuses in every READ ONLY transaction, and nothing of it changes how the next transaction begins.

use super::harmless::only_reads;
use super::mentions::{Depth, Mention, mentions};
use super::reach::{Names, Reach};
use super::statement_reading::StatementReading;
use super::verdict::HiddenWriters;
use crate::sql::classify::analyzer::Scope;
use crate::sql::classify::one_statement;
use crate::sql::guard_settings;
use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::{Lexer, Shape, Token};
use crate::sql::lex::literal::{decode, name};
use crate::sql::lex::token_facts::scan;
use crate::sql::statement::{Kind, Refusal, SessionEffect, TransactionModes, TransactionVerb};

/// A word in a body with which a command begins that is no query.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
pub(super) struct Utility {
    /// READ ONLY stops the command, or it changes nothing that outlives the session.
    pub stopped: bool,
    /// It ends the transaction.
    pub ends: bool,
    /// It stands in a constant: it is a command if the constant is run.
    pub quoted: bool,
}

impl Utility {
    /// That word, which begins a statement or stands in its middle; `lexer` is over the text.
    pub fn of(token: Token, begins: bool, quoted: bool, lexer: &Lexer<'_>, scope: Scope<'_>) -> Self {
        let ends = matches!(token.keyword, K::Commit | K::Rollback);
        let stopped = match token.keyword {
            K::Insert | K::Update | K::Delete | K::Merge | K::Call => true,
            // UPDATE … SET, ON CONFLICT DO.
            K::Set | K::Do if !begins => true,
            K::Set => sets_plainly(token, lexer, scope),
            _ => ends,
        };
        Self { stopped, ends, quoted }
    }
}

/// Whether a SET says nothing of READ ONLY, of the role, or of the counts that the check for writes depends on.
fn sets_plainly(token: Token, lexer: &Lexer<'_>, scope: Scope<'_>) -> bool {
    let end = u32::try_from(lexer.text().len()).unwrap_or(u32::MAX);
    let facts = scan(&mut lexer.part(token.start, end), scope);
    let one = one_statement::statement(lexer, facts, scope, 0);
    let plain = |name: &[u8]| {
        let transaction = name.starts_with(b"transaction_") || name.starts_with(b"default_transaction_");
        name.is_ascii() && !transaction && !guard_settings::is_guard(name) && name != b"track_counts"
    };
    match &one.kind {
        Kind::Transaction(TransactionVerb::SetTransaction {
            modes: TransactionModes { read_only: None, .. },
            snapshot: false,
        }) => true,
        Kind::Session => {
            !one.effects.is_empty()
                && one.effects.iter().all(|effect| matches!(effect, SessionEffect::Set { name, .. } if plain(name)))
        }
        _ => false,
    }
}

/// What a database's own code leads to, beyond what READ ONLY stops.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Stopped {
    /// What leads to more than that.
    pub beyond: Reach,
    /// Functions and procedures that do not.
    pub routines: Names,
}

impl HiddenWriters {
    /// Whether the only statement of a text, with parameters of these types (four bytes each), is a CALL or DO that may end its own
    /// transaction.
    pub fn may_end_transaction(&self, reading: &StatementReading<'_>, parameters: &[u8]) -> bool {
        let one = reading.statement();
        let (beyond, routines) = match &self.stopped {
            Some(stopped) => (&stopped.beyond, &stopped.routines),
            None => (&self.asked, &self.clean),
        };
        let plain = one.refusal == Refusal::Allowed && matches!(one.tag, "CALL" | "DO") && !beyond.everywhere;
        if !plain || self.types(parameters) || beyond.has_type(parameters) {
            return false;
        }
        let scope = reading.scope();
        reading.holds(|lexer| {
            let mut look = Look {
                beyond,
                routines,
                scope,
                stopped: true,
                writes: false,
                written: false,
                runs: false,
                quoted: false,
            };
            if one.tag == "CALL" {
                mentions(lexer, scope, false, Depth::Words, &mut |mention| look.see(&mention));
                return look.is_stopped();
            }
            let Some(body) = body_of_block(lexer.clone()) else { return false };
            // How its own constants are read, it may change itself.
            let readings: &[bool] = if body.contains(&b'\\') { &[true, false] } else { &[true] };
            for standard in readings {
                let inside = Lexer::new(&body, *standard);
                mentions(inside, scope, true, Depth::Constants, &mut |mention| look.see(&mention));
            }
            look.is_stopped()
        })
    }
}

#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
struct Look<'a> {
    beyond: &'a Reach,
    routines: &'a Names,
    scope: Scope<'a>,
    /// All that was seen is stopped.
    stopped: bool,
    writes: bool,
    /// It names a relation that must not be written.
    written: bool,
    /// It runs a constant.
    runs: bool,
    /// A constant is not stopped if it is run.
    quoted: bool,
}

impl Look<'_> {
    fn see(&mut self, mention: &Mention<'_, '_>) {
        match mention {
            Mention::Writes => self.writes = true,
            Mention::Executes => self.runs = true,
            Mention::Utility(utility) if utility.quoted => self.quoted |= !utility.stopped,
            Mention::Utility(utility) => self.stopped &= utility.stopped,
            mention => {
                if let Mention::Relation(schema, name) = *mention {
                    let lists = [&self.beyond.written, &self.beyond.deleted, &self.beyond.updated];
                    // A write to this view of PostgreSQL's sets settings.
                    self.written |= name == b"pg_settings" || lists.iter().any(|list| list.has(schema, name));
                }
                self.stopped &= only_reads(mention, self.scope, self.beyond, self.routines);
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stopped && !(self.writes && self.written) && !(self.runs && self.quoted)
    }
}

/// The body of a DO in PL/pgSQL.
fn body_of_block(mut lexer: Lexer<'_>) -> Option<Vec<u8>> {
    let text = lexer.text();
    if lexer.next().keyword != K::Do {
        return None;
    }
    let mut body = None;
    loop {
        let token = lexer.next();
        match token.shape {
            Shape::End => return body,
            Shape::Punct(b';') => return body.filter(|_| lexer.next().shape == Shape::End),
            Shape::Str(_) if body.is_none() => body = Some(decode(token, text)),
            Shape::Word if token.keyword == K::Language => {
                let language = lexer.next();
                let named = if language.is_str() { decode(language, text) } else { name(language, text) };
                if !language.is_str() && !language.is_name() || named != b"plpgsql" {
                    return None;
                }
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::classify::analyzer::Analyzer;
    use crate::sql::lex::encoding::LexContext;

    fn runs(unseen: &HiddenWriters, sql: &str) -> bool {
        let analyzer = Analyzer::default();
        let analysis = analyzer.analyze(sql.as_bytes(), LexContext::default());
        let one = analysis.statements.first().unwrap();
        unseen.may_end_transaction(&StatementReading::new(&analyzer, sql.as_bytes(), LexContext::default(), one), &[])
    }

    #[test]
    fn blocks_that_read_or_are_stopped_may_end_their_transaction() {
        let mut unseen = HiddenWriters::default();
        unseen.clean.add("app", "reads");
        unseen.asked.written.add("app", "audited");
        for sql in [
            "DO 'BEGIN COMMIT; END'",
            "DO $$ BEGIN PERFORM count(*) FROM t; COMMIT; INSERT INTO t VALUES (1); END $$",
            "DO LANGUAGE plpgsql $$ BEGIN FOR i IN 1..3 LOOP UPDATE t SET v = i; ROLLBACK; END LOOP; END $$;",
            "DO $$ BEGIN SET LOCAL lock_timeout = '5s'; PERFORM reads(); COMMIT AND CHAIN; END $$ LANGUAGE 'plpgsql'",
            "DO $$ BEGIN COMMIT; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; END $$",
            "DO $$ BEGIN RAISE NOTICE 'analyze it'; COMMIT; EXECUTE 'SELECT 1' ; END $$",
            "DO $$ BEGIN INSERT INTO t VALUES (1) ON CONFLICT DO UPDATE SET v = 1; COMMIT; END $$",
            "CALL reads()",
            "CALL app.reads(lower('x'), (SELECT count(*) FROM audited))",
        ] {
            let quoted = sql.contains("analyze");
            assert_eq!(runs(&unseen, sql), !quoted, "{sql}");
        }
        for sql in [
            "DO $$ BEGIN COMMIT; SET TRANSACTION READ WRITE; END $$",
            "DO $$ BEGIN SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; COMMIT; END $$",
            "DO $$ BEGIN SET default_transaction_read_only = off; COMMIT; END $$",
            "DO $$ BEGIN SET \"default_transaction_read_only\" = off; COMMIT; END $$",
            "DO $$ BEGIN COMMIT; SET LOCAL transaction_read_only = off; END $$",
            "DO $$ BEGIN COMMIT; RESET transaction_read_only; END $$",
            "DO $$ BEGIN COMMIT; RESET ALL; END $$",
            "DO $$ BEGIN COMMIT; DISCARD ALL; END $$",
            "DO $$ BEGIN SET ROLE dba; COMMIT; END $$",
            "DO $$ BEGIN SET track_counts = off; COMMIT; END $$",
            "DO $$ BEGIN PERFORM set_config('a.b', 'c', false); COMMIT; END $$",
            "DO $$ BEGIN EXECUTE 'SET TRANSACTION ' || x; COMMIT; END $$",
            "DO $$ BEGIN COMMIT; EXECUTE 'SET TRANSACTION READ WRITE'; END $$",
            "DO $$ BEGIN UPDATE pg_settings SET setting = 'off'; COMMIT; END $$",
            "DO $$ BEGIN ANALYZE t; COMMIT; END $$",
            "DO $$ BEGIN FOR r IN EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1 LOOP COMMIT; END LOOP; END $$",
            "DO $$ BEGIN PERFORM lo_create(0); COMMIT; END $$",
            "DO $$ BEGIN PERFORM other(); COMMIT; END $$",
            "DO $$ BEGIN INSERT INTO audited VALUES (1); COMMIT; END $$",
            "DO $$ BEGIN CALL other(); COMMIT; END $$",
            "DO LANGUAGE plperl $$ spi_commit(); $$",
            "DO $$ spi_commit(); $$ LANGUAGE \"plPerl\"",
            "CALL other()",
            "CALL reads(other())",
            "SELECT reads()",
        ] {
            assert!(!runs(&unseen, sql), "{sql}");
        }
    }
}
