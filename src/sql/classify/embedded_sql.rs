//! Constants that hold SQL: the body of a DO, what it EXECUTEs, what a function such as `query_to_xml` runs.
//!
//! What they call is judged wherever it stands. Commands of the refusal list are found where a statement of PL/pgSQL
//! can begin. A text that is put together when it runs is beyond what can be read.

use super::analyzer::Scope;
use super::one_statement;
use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::{Lexer, Shape, Token};
use crate::sql::lex::literal::{decode, name};
use crate::sql::lex::token_facts::scan;
use crate::sql::statement::{Reason, Refusal};

/// The worst of what the constants of a text would do if they were run as SQL, and the constants inside those.
pub(in crate::sql) fn refused_in_constants(lexer: Lexer, scope: Scope<'_>) -> Refusal {
    in_constants(lexer, scope, Place::Statement).out_of_reach()
}

/// What a constant is for the text around it.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Of the statement itself: a body, whose statements run.
    Statement,
    /// Of a body: run if EXECUTE says so, else mostly a text for people.
    Body,
}

fn in_constants(mut lexer: Lexer, scope: Scope<'_>, place: Place) -> Refusal {
    let mut worst = Refusal::Allowed;
    let Some(below) = scope.below() else { return worst };
    let text = lexer.text();
    let block = lexer.clone().next().keyword == K::Do;
    let mut before = Token::NONE;
    loop {
        let token = lexer.next();
        match token.shape {
            Shape::End => return worst,
            Shape::Str(_) => {
                let inner = decode(token, text);
                let inside = lexer.other(&inner);
                if inner.contains(&b'(') || inner.contains(&b'.') {
                    let mut statements = inside.clone();
                    loop {
                        let facts = scan(&mut statements, below);
                        worst.worsen(facts.calls.refusal);
                        if !facts.terminated {
                            break;
                        }
                    }
                }
                if place == Place::Statement || before.keyword == K::Execute {
                    worst.worsen(commands(inside.clone(), below, block && place == Place::Statement));
                }
                worst.worsen(in_constants(inside, below, Place::Body));
            }
            _ => {}
        }
        before = token;
    }
}

/// Whether a word behind which the lexer stands is a variable that is assigned to, or declared with a value: `analyze := true`,
/// `vacuum boolean DEFAULT false`. No command goes on so.
pub(in crate::sql) fn is_variable(mut lexer: Lexer) -> bool {
    let text = lexer.text();
    let assigns = |token: Token, next: Token| token.is(b'=') || token.is(b':') && next.is(b'=');
    let (mut token, mut next) = (lexer.next(), lexer.next());
    if assigns(token, next) {
        return true;
    }
    if !token.is_name() || !token.keyword.names() {
        return false;
    }
    if next.is(b'.') {
        next = if lexer.next().is_name() { lexer.next() } else { return false };
    }
    token = next;
    next = lexer.next();
    assigns(token, next)
        || token.keyword == K::Default
        || token.keyword == K::Not && next.keyword == K::Null
        || token.text(text).eq_ignore_ascii_case(b"default")
}

/// The worst command of the refusal list that a body runs; `block` for that of a DO, which declares its variables.
fn commands(mut lexer: Lexer, scope: Scope<'_>, block: bool) -> Refusal {
    let mut worst = Refusal::Allowed;
    let text = lexer.text();
    let (mut begins, mut declares) = (true, false);
    loop {
        let token = lexer.next();
        let listed = matches!(
            token.keyword,
            K::Analyze | K::Analyse | K::Checkpoint | K::Cluster | K::Copy | K::Explain | K::Reindex | K::Vacuum
        );
        match token.shape {
            Shape::End => return worst,
            Shape::Word if begins && listed && (declares || is_variable(lexer.clone())) => begins = false,
            Shape::Word if begins && listed => {
                let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
                let mut part = lexer.part(token.start, end);
                let facts = scan(&mut part, scope);
                let after = facts.end.max(token.end);
                if let refusal @ Refusal::ByPgsluice(Reason::Command(_)) =
                    one_statement::statement(&lexer, facts, scope, 0).refusal
                {
                    worst.worsen(refusal);
                }
                // Statement by statement, so that each is read once.
                lexer = lexer.part(after, end);
                begins = false;
            }
            Shape::Word => {
                let word = name(token, text);
                declares = block && (word == b"declare" || declares && word != b"begin");
                begins = matches!(word.as_slice(), b"begin" | b"then" | b"else" | b"loop" | b"in" | b"query");
            }
            shape => begins = shape == Shape::Punct(b';'),
        }
    }
}
