//! Which databases a statement changes as objects of the whole server: by DROP, ALTER, COMMENT, GRANT or a role's settings there.
//! It may do so from within any other database.

use super::classify::readonly_exceptions::names_in_pieces;
use super::lex::encoding::{LexContext, StandardStrings, mask};
use super::lex::keyword::Keyword as K;
use super::lex::lexer::{Lexer, Shape, Token};
use super::lex::literal::name;
use super::statement::{Analysis, Kind, Statement};

/// Whether a statement may change databases in that way.
fn may_change(one: &Statement) -> bool {
    match one.kind {
        Kind::Ddl => matches!(
            one.tag,
            "ALTER DATABASE"
                | "DROP DATABASE"
                | "ALTER ROLE"
                | "COMMENT"
                | "GRANT"
                | "REVOKE"
                | "SECURITY LABEL"
                | "DROP OWNED"
                | "REASSIGN OWNED"
        ),
        _ => one.tag == "DO",
    }
}

/// Whether a text has that word somewhere, in whatever case.
fn has_word(text: &[u8], word: &[u8]) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    text.windows(word.len()).enumerate().any(|(at, found)| {
        found.eq_ignore_ascii_case(word)
            && !is_part(at.checked_sub(1).and_then(|before| text.get(before)))
            && !is_part(text.get(at + word.len()))
    })
}

/// Whether a body may change databases in that way, by what it says or by constants that it puts together.
pub fn may_change_databases(body: &str) -> bool {
    const VERBS: [&[u8]; 6] = [b"alter", b"drop", b"comment", b"grant", b"revoke", b"label"];
    let body = body.to_ascii_lowercase().replace("current_database", "").into_bytes();
    let has = |word: &[u8]| names_in_pieces(&body, word);
    has(b"database") && VERBS.iter().any(|verb| has(verb))
        || has_word(&body, b"owned") && (has(b"drop") || has(b"reassign"))
}

/// Whether a statement names that database behind DATABASE.
fn names(mut lexer: Lexer<'_>, dbname: &[u8]) -> bool {
    let text = lexer.text();
    loop {
        let token = lexer.next();
        if token.shape == Shape::End {
            return false;
        }
        if token.keyword == K::Database && lists(&mut lexer, text, dbname) {
            return true;
        }
    }
}

/// Whether it is among the names that stand here, with commas between them.
fn lists(lexer: &mut Lexer<'_>, text: &[u8], dbname: &[u8]) -> bool {
    let mut token = lexer.next();
    if token.keyword == K::If {
        lexer.next();
        token = lexer.next();
    }
    loop {
        if token.is_name() && name(token, text) == dbname {
            return true;
        }
        let comma: Token = lexer.clone().next();
        if !comma.is(b',') {
            return false;
        }
        lexer.next();
        token = lexer.next();
    }
}

/// The tag of the first statement of a text that changes that database. A DO is taken to, if it says DATABASE and the name; what
/// belongs to a role may be anywhere.
pub fn changes<'a>(analysis: &'a Analysis, text: &[u8], context: LexContext, dbname: &[u8]) -> Option<&'a str> {
    let mut suspects = analysis.statements.iter().filter(|one| may_change(one)).peekable();
    suspects.peek()?;
    let (masked, _) = mask(text, context.encoding);
    let readings: &[bool] = match context.strings {
        StandardStrings::On => &[true],
        StandardStrings::Off => &[false],
        StandardStrings::Unknown => &[true, false],
    };
    let found = suspects.find(|one| match one.tag {
        "DROP OWNED" | "REASSIGN OWNED" => true,
        "DO" => has_word(one.text(text), b"database") && has_word(one.text(text), dbname),
        _ => readings
            .iter()
            .any(|standard| names(Lexer::new(&masked, *standard).part(one.span.start, one.span.end), dbname)),
    });
    found.map(|one| one.tag)
}

/// Whether a text could change any.
#[inline]
pub fn may_change_any(analysis: &Analysis) -> bool {
    analysis.statements.iter().any(may_change)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str, dbname: &str) -> bool {
        let analysis = crate::sql::analyze(sql.as_bytes(), LexContext::default());
        changes(&analysis, sql.as_bytes(), LexContext::default(), dbname.as_bytes()).is_some()
    }

    #[test]
    fn a_body_may_change_databases() {
        for body in [
            "BEGIN ALTER DATABASE shop SET work_mem = '1MB'; END",
            "BEGIN EXECUTE format('alter role %I in database %I reset all', $1, $2); END",
            "BEGIN EXECUTE 'AL' || 'TER DATA' || 'BASE ' || $1 || ' reset all'; END",
            "BEGIN EXECUTE 'ALTER DATABASE ' || quote_ident(current_database()) || ' RESET ALL'; END",
            "BEGIN EXECUTE 'DROP OWNED BY ' || $1; END",
        ] {
            assert!(may_change_databases(body), "{body}");
        }
        for body in [
            "BEGIN RETURN current_database(); END",
            "BEGIN ALTER TABLE t ADD COLUMN d text DEFAULT current_database(); END",
            "BEGIN RAISE 'the database is in maintenance'; END",
            "BEGIN DROP TABLE IF EXISTS owners; END",
        ] {
            assert!(!may_change_databases(body), "{body}");
        }
    }

    #[test]
    fn a_database_is_named_in_what_changes_it() {
        for sql in [
            "DROP DATABASE shop",
            "drop database if exists \"shop\" with (force)",
            "ALTER DATABASE Shop RENAME TO x",
            "alter database shop set work_mem = '1MB'",
            "alter database shop reset all",
            "alter database shop owner to a",
            "alter database shop connection limit 3",
            "alter role a in database shop set work_mem = '1MB'",
            "alter user all in database shop reset all",
            "comment on database shop is 'x'",
            "grant connect on database other, shop to a",
            "revoke all on database shop from a cascade",
            "security label on database shop is 'x'",
            "select 1; drop database shop",
            "drop owned by a",
            "reassign owned by a to b",
            "do $$ begin alter database shop set work_mem = '1MB'; end $$",
            "do $$ begin execute format('alter database %I reset all', 'shop'); end $$",
        ] {
            assert!(of(sql, "shop"), "{sql}");
        }
        for sql in [
            "drop database other",
            "alter database other set work_mem = 'shop'",
            "comment on table shop is 'database shop'",
            "grant select on shop to database",
            "alter role shop set work_mem = '1MB'",
            "create database shop2 template other",
            "select 'drop database shop'",
            "do $$ begin perform current_database(), 'shop'; end $$",
            "do $$ begin perform 'shopping in a database'; end $$",
            "alter table shop add column database int",
        ] {
            assert!(!of(sql, "shop"), "{sql}");
        }
    }
}
