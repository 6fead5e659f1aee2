//! Function calls: `identifier [. identifier]* (` wherever it stands, and the field notation that calls one too.
//!
//! A call costs one look-up when it is an unqualified built-in that is known to read; only others are looked into.

use super::analyzer::Scope;
use super::builtins;
use super::read_write::{Instead, ReadWriteRequest};
use super::readonly_exceptions::Rule;
use crate::sql::guard_settings;
use crate::sql::hidden_writers::Left;
use crate::sql::lex::keyword::Keyword;
use crate::sql::lex::lexer::{Lexer, Shape, Token};
use crate::sql::lex::literal::{decode, name, without_dotted_i};
use crate::sql::statement::{Kind, Process, Proven, Reason, Refusal, SessionEffect};
use std::ops::Range;

/// What the calls of a statement amount to.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
pub(in crate::sql) struct Calls {
    pub refusal: Refusal,
    pub effects: Vec<SessionEffect>,
    /// Calls something that does not run in recovery, or must run on the primary to mean anything.
    pub primary_only: bool,
    /// Names `nextval()` or `setval()`.
    pub moves_sequence: bool,
    /// Names `currval()` or `lastval()`.
    pub asks_sequence: bool,
    /// Names `pg_backend_pid()` or `pg_notify()`.
    pub process: Process,
    /// Names what signals processes.
    pub signals: bool,
    /// Calls something that is not known to be a plain read.
    pub unknown: bool,
    /// Calls `set_config()`, of which all effects are known.
    pub sets: bool,
    /// Hands text to a function that runs it.
    pub runs_text: bool,
    /// That text is no constant.
    pub runs_computed: bool,
}

impl Calls {
    fn effect(&mut self, effect: SessionEffect) {
        if !self.effects.contains(&effect) {
            if self.effects.len() >= EFFECTS_MAX {
                self.effects = vec![TOO_MANY];
            }
            self.effects.push(effect);
        }
    }
}

/// More distinct effects than this in one statement are [`TOO_MANY`].
const EFFECTS_MAX: usize = 16;

/// The session has to stay where it is: which of them to follow would be too much to know.
const TOO_MANY: SessionEffect = SessionEffect::Holds("set_config");

/// Tokens looked at for constant arguments: three with casts, commas and names of parameters.
const ARGUMENT_TOKENS: usize = 24;

/// Functions that do not run in recovery or are about the primary alone, sorted.
const PRIMARY_ONLY: [&str; 15] = [
    "currval",
    "lastval",
    "nextval",
    // The process that a client is told of at its log-in is one of the primary's.
    "pg_backend_pid",
    "pg_current_wal_flush_lsn",
    "pg_current_wal_insert_lsn",
    "pg_current_wal_lsn",
    "pg_current_xact_id",
    "pg_export_snapshot",
    // A client asks for the whole, which is not in recovery while there is a primary.
    "pg_is_in_recovery",
    "pg_notify",
    "pg_walfile_name",
    "pg_walfile_name_offset",
    "setval",
    "txid_current",
];

/// Functions that run the SQL text they are given, sorted.
const RUN_TEXT: [&str; 12] = [
    "connectby",
    "crosstab",
    "crosstab2",
    "crosstab3",
    "crosstab4",
    "crosstabn",
    "query_to_xml",
    "query_to_xml_and_xmlschema",
    "query_to_xmlschema",
    "ts_rewrite",
    "ts_stat",
    "xpath_table",
];

/// Whether a function runs the SQL text it is given.
pub(in crate::sql) fn runs_text(name: &str) -> bool {
    RUN_TEXT.binary_search(&name).is_ok()
}

/// Whether the text that such a function runs is put together.
fn runs_computed(name: &str, lexer: Lexer) -> bool {
    let given = arguments(lexer).0;
    match (name, &*given) {
        // It replaces one constant query by another.
        ("ts_rewrite", [_, _, _]) => false,
        ("ts_rewrite", [_, text]) => *text == Argument::Computed,
        ("ts_stat" | "query_to_xml" | "query_to_xmlschema" | "query_to_xml_and_xmlschema", [text, ..]) => {
            *text == Argument::Computed
        }
        _ => given.contains(&Argument::Computed),
    }
}

/// Settings that differ between a primary and its replicas.
const SERVER_SETTINGS: [&str; 6] = [
    "default_transaction_read_only",
    "in_hot_standby",
    "session_replication_role",
    "transaction_isolation",
    "transaction_read_only",
    "wal_level",
];

/// Judges the call whose `(` the lexer has just passed; `before` are the tokens before it, youngest first.
#[inline]
pub(in crate::sql) fn call(calls: &mut Calls, before: &[Token; 4], lexer: &Lexer, scope: Scope<'_>) {
    let [function, dot, schema, _] = before;
    let unqualified = !dot.is(b'.');
    if function.shape == Shape::Word
        && unqualified
        && !scope.list.has_added()
        && builtins::is_plain_read(function.text(lexer.text()))
    {
        return;
    }
    // A column list after an alias, a common table expression or INTO; a type with modifiers.
    let names_columns =
        matches!(dot.keyword, Keyword::As | Keyword::With | Keyword::Recursive | Keyword::Into | Keyword::Tablesample);
    let names_type = dot.is(b':') && schema.is(b':') && dot.start == schema.end;
    if names_columns || names_type {
        return;
    }
    let schema = (!unqualified && schema.is_name()).then(|| name(*schema, lexer.text()));
    judge(calls, *function, schema.as_deref(), Some(lexer.clone()), lexer.text(), scope);
}

/// Judges `(expression).name`, which calls a function where there is no such field.
pub(in crate::sql) fn field(calls: &mut Calls, function: Token, lexer: &Lexer, scope: Scope<'_>) {
    judge(calls, function, None, None, lexer.text(), scope);
}

fn judge(
    calls: &mut Calls,
    function: Token,
    schema: Option<&[u8]>,
    arguments: Option<Lexer>,
    text: &[u8],
    scope: Scope<'_>,
) {
    let mut folded = name(function, text);
    let in_catalog = schema.is_none_or(|schema| schema == b"pg_catalog");
    if !folded.is_ascii() || folded.contains(&0xdd) {
        folded = without_dotted_i(folded);
        calls.unknown = true;
    }
    if let Some((why, rule)) = scope.list.function(&folded, schema) {
        calls.unknown = true;
        let plain = rule == Rule::UnlessPlainRead
            && arguments.is_some_and(|lexer| remote_text_is_plain_read(&folded, lexer, scope));
        if !plain {
            let name = String::from_utf8_lossy(&folded).into();
            calls.refusal.worsen(Refusal::ByPgsluice(Reason::Function { name, why }));
        }
        return;
    }
    let Ok(name) = std::str::from_utf8(&folded) else {
        calls.unknown = true;
        return;
    };
    if runs_text(name) {
        calls.runs_text = true;
        calls.runs_computed |= arguments.is_none_or(|lexer| runs_computed(name, lexer));
        calls.unknown = true;
    } else if let Some(object) = ["dblink_connect", "dblink_connect_u", "setseed"].iter().find(|f| **f == name) {
        calls.effect(SessionEffect::Holds(object));
        calls.unknown = true;
    } else if !in_catalog {
        calls.unknown = true;
    } else if matches!(name, "pg_cancel_backend" | "pg_terminate_backend") {
        // Processes that clients know of are the primary's.
        calls.primary_only = true;
        calls.signals = true;
        calls.unknown = true;
    } else if PRIMARY_ONLY.binary_search(&name).is_ok() {
        calls.primary_only = true;
        calls.moves_sequence |= matches!(name, "nextval" | "setval");
        calls.asks_sequence |= matches!(name, "currval" | "lastval");
        match name {
            "pg_backend_pid" => calls.process = Process::Asked,
            "pg_notify" => calls.process = calls.process.max(Process::Told),
            _ => {}
        }
    } else if name.starts_with("pg_advisory_") || name.starts_with("pg_try_advisory_") {
        calls.primary_only = true;
        if name.starts_with("pg_advisory_unlock") {
            calls.effect(SessionEffect::AdvisoryUnlock);
        } else if !name.contains("_xact_") {
            calls.effect(SessionEffect::AdvisoryLock);
        }
    } else if name == "set_config" {
        calls.sets = true;
        set_config(calls, arguments);
    } else if name == "current_setting" {
        calls.unknown |= !arguments.is_some_and(|lexer| reads_session_setting(lexer));
    } else {
        // A quoted name in capitals is another function.
        let exact = !folded.iter().any(u8::is_ascii_uppercase);
        calls.unknown |= !exact || !builtins::is_plain_read(&folded) || arguments.is_none();
    }
}

/// An argument as far as it is a constant.
#[derive(Debug, PartialEq)]
enum Argument {
    Text(Vec<u8>),
    Bool(bool),
    Null,
    Computed,
}

/// Constants, each with the number of the argument that it was seen in.
type Constants = Vec<(usize, Vec<u8>)>;

/// Up to three arguments of the call the lexer stands in, and any constants seen in those that are computed.
fn arguments(lexer: Lexer) -> (Vec<Argument>, Constants) {
    arguments_up_to(lexer, 3)
}

/// The same for so many.
fn arguments_up_to(lexer: Lexer, most: usize) -> (Vec<Argument>, Constants) {
    let (found, inside, _) = arguments_and_second(lexer, most);
    (found, inside)
}

/// The same, and where the second stands if it is a constant in quotes.
fn arguments_and_second(mut lexer: Lexer, most: usize) -> (Vec<Argument>, Constants, Option<Range<u32>>) {
    let text = lexer.text();
    let (mut found, mut inside, mut second) = (Vec::new(), Vec::new(), None);
    let mut current: Option<Argument> = None;
    let mut cast = false;
    // Of parentheses and brackets within an argument.
    let mut depth = 0_usize;
    for _ in 0..ARGUMENT_TOKENS {
        let token = lexer.next();
        match token.shape {
            Shape::Punct(b'(' | b'[') => {
                depth += 1;
                current = Some(Argument::Computed);
            }
            Shape::Punct(b')' | b']') if depth > 0 => depth -= 1,
            Shape::Punct(b',') if depth > 0 => {}
            Shape::Punct(b',' | b')') => {
                found.extend(current.take());
                if token.is(b')') || found.len() == most {
                    return (found, inside, second);
                }
                cast = false;
            }
            // `'x'::text` is still a constant.
            Shape::Punct(b':') if matches!(current, Some(Argument::Text(_))) => cast = true,
            Shape::Word if cast && matches!(current, Some(Argument::Text(_))) => {}
            Shape::Str(_) => {
                let value = decode(token, text);
                if current.is_none() && found.len() == 1 {
                    second = Some(token.start..token.end);
                }
                inside.push((found.len(), value.clone()));
                current = Some(if current.is_none() { Argument::Text(value) } else { Argument::Computed });
            }
            Shape::Word if current.is_none() => {
                current = Some(match token.keyword {
                    Keyword::True => Argument::Bool(true),
                    Keyword::False => Argument::Bool(false),
                    Keyword::Null => Argument::Null,
                    _ => Argument::Computed,
                });
            }
            Shape::End => break,
            _ => current = Some(Argument::Computed),
        }
    }
    found.push(Argument::Computed);
    (found, inside, second)
}

fn set_config(calls: &mut Calls, lexer: Option<Lexer>) {
    let named = lexer.as_ref().is_some_and(|lexer| names_arguments(lexer.clone()));
    let (given, constants, second) = lexer.map(|lexer| arguments_and_second(lexer, 3)).unwrap_or_default();
    // The first says which setting, unless they are given by name.
    let says = |is: fn(&[u8]) -> bool| constants.iter().any(|(at, constant)| (named || *at == 0) && is(constant));
    let (guarded, of_transaction) = (says(guard_settings::is_guard), says(guard_settings::is_transaction_read_only));
    let turns_on = |value: &Argument| match value {
        Argument::Text(value) => guard_settings::is_on(value),
        // The default of a guarded connection is on; that of its transaction is not.
        Argument::Null => !of_transaction,
        _ => false,
    };
    if guarded && !given.get(1).is_some_and(turns_on) {
        let off = matches!(given.get(1), Some(Argument::Text(value)) if guard_settings::is_off(value));
        calls.refusal.worsen(match second.filter(|_| off) {
            Some(at) => Refusal::AsksReadWrite(ReadWriteRequest::new(at, Instead::Literal)),
            None => Refusal::ByPgsluice(Reason::LiftsGuard),
        });
    }
    let local = |a: &Argument| match a {
        Argument::Bool(local) => Some(*local),
        Argument::Text(value) => Some(guard_settings::is_on(value)),
        _ => None,
    };
    let effect = match &*given {
        [Argument::Text(name), value @ (Argument::Text(_) | Argument::Null), scope] => {
            let name: Box<[u8]> = name.to_ascii_lowercase().into();
            match (local(scope), &*name) {
                (None | Some(false), b"seed") => SessionEffect::Holds("setseed"),
                (None, name) if stays(name) => SessionEffect::Holds("set_config"),
                (None, name) => SessionEffect::Leaves(Box::new(Left::setting(name))),
                (Some(local), b"role") => SessionEffect::SetRole { local },
                (Some(local), b"session_authorization") => SessionEffect::SetSessionAuthorization { local },
                (Some(local), _) => {
                    let value = if let Argument::Text(v) = value { Some(v.as_slice().into()) } else { None };
                    SessionEffect::SetConfig { name, value, local }
                }
            }
        }
        // Refused, whatever the value is.
        [Argument::Text(name), ..] if given.len() == 3 && crate::sql::pgsluice_settings::is_ours(name) => {
            SessionEffect::Leaves(Box::new(Left::setting(&name.to_ascii_lowercase())))
        }
        // What is computed may be anything, but it goes with its transaction.
        [.., scope] if given.len() == 3 && local(scope) == Some(true) => SessionEffect::Unknown,
        // The server can be asked for its value.
        [Argument::Text(name), ..] if given.len() == 3 && !stays(name) => {
            SessionEffect::Leaves(Box::new(Left::setting(&name.to_ascii_lowercase())))
        }
        _ => SessionEffect::Holds("set_config"),
    };
    calls.effect(effect);
}

/// Whether a call gives arguments by name.
fn names_arguments(mut lexer: Lexer) -> bool {
    let mut before = Token::NONE;
    for _ in 0..ARGUMENT_TOKENS {
        let token = lexer.next();
        let arrow = before.is(b'=') && token.is(b'>') || before.is(b':') && token.is(b'=');
        if arrow || token.shape == Shape::End {
            return arrow;
        }
        before = token;
    }
    true
}

/// A setting that nobody is asked for: what a role may do is no other session's, and older servers do not tell of a guard.
fn stays(setting: &[u8]) -> bool {
    [&b"role"[..], b"session_authorization", b"seed"].iter().any(|role| setting.eq_ignore_ascii_case(role))
        || guard_settings::is_guard(setting)
}

/// `current_setting('app.tenant')` answers alike on every server, since the session's settings are replayed there.
fn reads_session_setting(lexer: Lexer) -> bool {
    match arguments(lexer).0.first() {
        Some(Argument::Text(name)) => {
            !SERVER_SETTINGS.iter().any(|setting| setting.as_bytes().eq_ignore_ascii_case(name))
        }
        _ => false,
    }
}

/// What a function of dblink's sends to the other server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sql) enum Remote {
    /// A text of SQL.
    Sql,
    /// The name of a cursor, as it is.
    Cursor,
    /// Nothing: it opens a connection.
    Connect,
}

/// Over which connection.
pub(in crate::sql) enum Connection {
    /// One that is open, without a name.
    Open,
    /// That of a name or a connection string.
    Text(Vec<u8>),
    /// Nobody knows.
    Computed,
}

/// The connection that such a call is given.
pub(in crate::sql) fn remote_connection(name: &[u8], lexer: Lexer) -> Connection {
    let given = arguments_up_to(lexer, 4).0;
    let given: Vec<&Argument> = given.iter().filter(|one| !matches!(one, Argument::Bool(_))).collect();
    let one = match (name, given.as_slice()) {
        (b"dblink", [_]) | (b"dblink_open", [_, _]) => return Connection::Open,
        (b"dblink_connect" | b"dblink_connect_u", [one] | [_, one]) => one,
        (_, [one, ..]) => one,
        (_, []) => return Connection::Open,
    };
    if let Argument::Text(text) = one { Connection::Text(text.clone()) } else { Connection::Computed }
}

/// What that function sends, if it is one of them that sends what may only read.
pub(in crate::sql) fn remote(name: &[u8]) -> Option<Remote> {
    match name {
        b"dblink" | b"dblink_open" | b"dblink_send_query" => Some(Remote::Sql),
        b"dblink_fetch" | b"dblink_close" => Some(Remote::Cursor),
        b"dblink_connect" | b"dblink_connect_u" => Some(Remote::Connect),
        _ => None,
    }
}

/// The text that such a call would run elsewhere, if it is a constant. Where it stands depends on how many arguments there are.
pub(in crate::sql) fn remote_text(name: &[u8], lexer: Lexer) -> Option<Vec<u8>> {
    let given = arguments_up_to(lexer, 4).0;
    let sql = match (name, given.as_slice()) {
        // A cursor and a text, behind a connection, ahead of whether it fails.
        (b"dblink_open", [cursor, sql] | [cursor, sql, Argument::Bool(_)]) if is_name(cursor) => sql,
        (b"dblink_open", [_, cursor, sql] | [_, cursor, sql, Argument::Bool(_)]) if is_name(cursor) => sql,
        (b"dblink_open", _) => return None,
        (_, [sql] | [sql, Argument::Bool(_)]) => sql,
        (_, [_, sql] | [_, sql, Argument::Bool(_)]) => sql,
        _ => return None,
    };
    if let Argument::Text(sql) = sql { Some(sql.clone()) } else { None }
}

/// Whether the cursor that such a call names is a constant that is a name and nothing else: dblink puts it into its text as it is.
pub(in crate::sql) fn names_a_cursor(name: &[u8], lexer: Lexer) -> bool {
    let given = arguments_up_to(lexer, 4).0;
    match (name, given.as_slice()) {
        (b"dblink_close", [cursor] | [cursor, Argument::Bool(_)] | [_, cursor] | [_, cursor, Argument::Bool(_)]) => {
            is_name(cursor)
        }
        // What is counted is no text; of two texts the second is the cursor.
        (b"dblink_fetch", [first @ Argument::Text(_), second @ Argument::Text(_), ..]) => {
            is_name(first) && is_name(second)
        }
        (b"dblink_fetch", [cursor, Argument::Computed | Argument::Bool(_), ..]) => is_name(cursor),
        _ => false,
    }
}

/// Whether it is a constant that is a name and nothing else.
fn is_name(argument: &Argument) -> bool {
    match argument {
        Argument::Text(text) => text.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_'),
        _ => false,
    }
}

/// Whether what a dblink function would run elsewhere is a constant that only reads.
pub(in crate::sql) fn remote_text_is_plain_read(name: &[u8], lexer: Lexer, scope: Scope<'_>) -> bool {
    if remote(name) == Some(Remote::Cursor) {
        return names_a_cursor(name, lexer);
    }
    let Some(below) = scope.below() else { return false };
    let Some(sql) = remote_text(name, lexer) else { return false };
    // Both readings of a backslash, because the other server's setting is not known.
    [true, false].into_iter().all(|standard| {
        let read = super::analyzer::read(&sql, standard, below);
        !read.ambiguous
            && !read.statements.is_empty()
            && read.statements.iter().all(|s| s.kind == Kind::Read && s.route == Proven::Read)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_sorted() {
        assert!(PRIMARY_ONLY.is_sorted() && RUN_TEXT.is_sorted() && SERVER_SETTINGS.is_sorted());
    }

    #[test]
    fn constant_arguments() {
        let read = |text: &'static str| arguments(Lexer::new(text.as_bytes(), true)).0;
        assert_eq!(
            read("'a', E'b'::text, true)"),
            [Argument::Text(b"a".to_vec()), Argument::Text(b"b".to_vec()), Argument::Bool(true)]
        );
        assert_eq!(read("'a'||'b', $1)"), [Argument::Computed, Argument::Computed]);
        assert_eq!(
            read("lower('a'), f(1, g(2))[3], 'b')"),
            [Argument::Computed, Argument::Computed, Argument::Text(b"b".to_vec())]
        );
        assert_eq!(read("NULL)"), [Argument::Null]);
        assert_eq!(read(")"), []);
    }
}
