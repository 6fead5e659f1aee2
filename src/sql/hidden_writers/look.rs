//! What a text names, mention by mention, and whether any of it leads to an unseen writer.

use super::mentions::arguments::arguments;
use super::mentions::{Mention, mentions_of_value};
use super::reach::{Finding, Names};
use super::run_text::built::Built;
use super::run_text::languages::{Queries, queries};
use super::run_text::remote;
use super::verdict::{Found, HiddenWriters};
use crate::sql::classify::analyzer::{Analyzer, Scope};
use crate::sql::classify::function_calls;
use crate::sql::classify::readonly_exceptions::Rule;
use crate::sql::lex::lexer::{Lexer, Shape, Token};
use crate::sql::lex::literal::{decode, name};

/// Why text that nobody can read is refused, for people.
const UNREADABLE: &str = "text that nobody can read, which for this role could be an ANALYZE or the like, or put a message into the write-ahead log";

/// What the mentions of a text amount to.
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
pub(super) struct Look<'a> {
    unseen: &'a HiddenWriters,
    pub scope: Scope<'a>,
    /// It is for a role that reaches a writer by text alone.
    keeps: bool,
    found: Option<Found>,
    /// Names a relation that must not be written.
    relation: bool,
    writes: bool,
    pub runs_text: bool,
    /// Constants are read that a function may run.
    pub handed: bool,
}

impl<'a> Look<'a> {
    pub fn new(unseen: &'a HiddenWriters, analyzer: &'a Analyzer, keeps: bool, runs_text: bool) -> Self {
        let scope = analyzer.scope();
        Self { unseen, scope, keeps, found: None, relation: false, writes: false, runs_text, handed: false }
    }

    pub fn result(self) -> Option<Found> {
        self.found.or_else(|| (self.writes && self.relation).then_some(Found::Statement))
    }

    pub fn see(&mut self, mention: Mention<'_, '_>) {
        if self.found.is_none() {
            self.found = self.judge(&mention);
        }
    }

    fn judge(&mut self, mention: &Mention<'_, '_>) -> Option<Found> {
        let (unseen, refused) = (self.unseen, &self.unseen.refused);
        let tainted = |function: Option<&[u8]>, why: Option<&Finding>| {
            let function = function.map(|name| String::from_utf8_lossy(name).into());
            why.map(|why| Found::Tainted(function, why.clone()))
        };
        let open = unseen.open.named(mention).filter(|_| self.keeps);
        match *mention {
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
                    .or_else(|| tainted(Some(name), open))
                    .or_else(|| tainted(Some(name), self.lacks_arguments(schema, name, behind).as_ref()))
            }
            Mention::Hands(schema, name, Built::Open) => tainted(Some(name), self.runs_given(schema, name).as_ref()),
            Mention::Field(name) => {
                tainted(Some(name), refused.fields.field(name)).or_else(|| tainted(Some(name), open))
            }
            Mention::Relation(schema, name) => {
                self.relation |=
                    refused.written.has(schema, name) || self.keeps && unseen.open.written.has(schema, name);
                tainted(None, refused.named(mention)).or_else(|| tainted(None, open))
            }
            Mention::Type(..)
            | Mention::AnyType
            | Mention::AnyRelation
            | Mention::Operator(..)
            | Mention::Implied(..) => tainted(None, refused.named(mention)).or_else(|| tainted(None, open)),
            Mention::Builds(built) => {
                let why = match unseen.within_reach {
                    true => "text that is put together at run time",
                    false if self.keeps && unseen.is_unreadable(built) => UNREADABLE,
                    false => return None,
                };
                Some(Found::Tainted(None, why.into()))
            }
            Mention::Writes => {
                self.writes = true;
                None
            }
            Mention::RunsText => {
                self.runs_text = true;
                None
            }
            Mention::Utility(_) | Mention::Executes | Mention::Hands(..) => None,
            // Spelled out, the reader of statements knows those.
            Mention::Command(_) | Mention::QuotedCommand(_) => self.handed.then_some(Found::Statement),
        }
    }

    /// Why a function must not be given what nobody can read.
    fn runs_given(&self, schema: Option<&[u8]>, name: &[u8]) -> Option<Finding> {
        let unseen = self.unseen;
        let runs = self.keeps && unseen.given.has(schema, name) || unseen.given_lent.has(schema, name);
        runs.then(|| UNREADABLE.into())
    }

    /// The same where arguments are left out: nobody has read what they are by default.
    fn lacks_arguments(&self, schema: Option<&[u8]>, name: &[u8], behind: &Lexer<'_>) -> Option<Finding> {
        self.runs_given(schema, name)?;
        let given = arguments(behind.clone());
        let lacks = |names: &Names| names.find(schema, name, |signature| signature.lacks(&given)).is_some();
        (lacks(&self.unseen.given_lent) || lacks(&self.unseen.given)).then(|| UNREADABLE.into())
    }
}

/// Looks at what a DO runs that is in a language which nobody here reads.
pub(super) fn look_at_other_language(look: &mut Look<'_>, mut lexer: Lexer<'_>) {
    let text = lexer.text();
    let (mut before, mut language, mut body) = (Token::NONE, None, Vec::new());
    loop {
        let token = lexer.next();
        match token.shape {
            Shape::End => break,
            _ if before.text(text).eq_ignore_ascii_case(b"language") => {
                language = Some(if token.is_str() { decode(token, text) } else { name(token, text) });
            }
            Shape::Str(_) => body = decode(token, text),
            _ => {}
        }
        before = token;
    }
    let Some(language) = language.filter(|language| !matches!(&**language, b"plpgsql" | b"sql")) else { return };
    match queries(&language, &body) {
        Queries::Any => look.see(Mention::Builds(Built::Open)),
        Queries::Constant(all) => {
            look.handed = true;
            let scope = look.scope;
            for query in all {
                mentions_of_value(Lexer::new(query, true), scope, &mut |mention| look.see(mention));
            }
            look.handed = false;
        }
    }
}

/// Whether a call is on the refusal list, and nobody could tell from the tables that it has been made.
pub(super) fn leaves_no_row(scope: Scope<'_>, schema: Option<&[u8]>, name: &[u8], arguments: Lexer<'_>) -> bool {
    scope.list.function(name, schema).is_some_and(|(why, rule)| {
        why.leaves_no_row()
            && !(rule == Rule::UnlessPlainRead && function_calls::remote_text_is_plain_read(name, arguments, scope))
    })
}
