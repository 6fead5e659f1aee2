//! What drivers want to know of a server before they talk to it, and what they send in passing.

use super::language::words::Token;
use super::table::{Cell, Column, Type};
use crate::config::Config;

/// What is reported as `server_version`: the release whose manners the console has, then our own.
pub const SERVER_VERSION: &str = concat!("16.0-pgsluice-", env!("CARGO_PKG_VERSION"));

/// Parameters that the greeting reports, as a server does.
pub const REPORTED: &[(&str, &str)] = &[
    ("server_version", SERVER_VERSION),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("default_transaction_read_only", "off"),
    ("in_hot_standby", "off"),
    ("is_superuser", "off"),
];

/// Settings that are not reported, but asked for.
const ASKED: &[(&str, &str)] = &[
    ("transaction_isolation", "read committed"),
    ("default_transaction_isolation", "read committed"),
    ("transaction_read_only", "off"),
    ("search_path", ""),
    ("application_name", ""),
    ("max_identifier_length", "63"),
    ("server_version_num", "160000"),
    ("statement_timeout", "0"),
];

/// A setting and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The only column of its SHOW.
    pub column: &'static [Column],
    /// What stands there.
    pub value: &'static str,
}

macro_rules! one_column {
    ($name:expr) => {
        &[Column { name: $name, kind: Type::Text }]
    };
}

/// SHOW TRANSACTION ISOLATION LEVEL
pub const TRANSACTION_ISOLATION: Setting =
    Setting { column: one_column!("transaction_isolation"), value: "read committed" };
/// SHOW TIME ZONE
pub const TIME_ZONE: Setting = Setting { column: one_column!("TimeZone"), value: "UTC" };

/// The setting of a name, in any case.
pub fn setting(name: &str) -> Option<Setting> {
    let known = REPORTED.iter().chain(ASKED).find(|(known, _)| known.eq_ignore_ascii_case(name));
    known.map(|(known, value)| Setting { column: column_of(known), value })
}

/// PostgreSQL calls the column as the setting is spelled.
fn column_of(name: &str) -> &'static [Column] {
    match name {
        "server_version" => one_column!("server_version"),
        "server_encoding" => one_column!("server_encoding"),
        "client_encoding" => one_column!("client_encoding"),
        "DateStyle" => one_column!("DateStyle"),
        "IntervalStyle" => one_column!("IntervalStyle"),
        "TimeZone" => one_column!("TimeZone"),
        "integer_datetimes" => one_column!("integer_datetimes"),
        "standard_conforming_strings" => one_column!("standard_conforming_strings"),
        "default_transaction_read_only" => one_column!("default_transaction_read_only"),
        "in_hot_standby" => one_column!("in_hot_standby"),
        "is_superuser" => one_column!("is_superuser"),
        "transaction_isolation" => one_column!("transaction_isolation"),
        "default_transaction_isolation" => one_column!("default_transaction_isolation"),
        "transaction_read_only" => one_column!("transaction_read_only"),
        "search_path" => one_column!("search_path"),
        "application_name" => one_column!("application_name"),
        "max_identifier_length" => one_column!("max_identifier_length"),
        "server_version_num" => one_column!("server_version_num"),
        "statement_timeout" => one_column!("statement_timeout"),
        _ => one_column!("?column?"),
    }
}

/// Whether it is a key of pgsluice's own configuration, and not a setting that sessions of PostgreSQL have too.
pub fn is_configuration(name: &str) -> bool {
    Config::has_key(name)
}

/// What drivers and psql set in passing, beside [`REPORTED`] and [`ASKED`]; words that begin a SET of another form, too.
const SET_IN_PASSING: &[&str] = &[
    "application_name",
    "bytea_output",
    "characteristics",
    "client_min_messages",
    "constraints",
    "extra_float_digits",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "jit",
    "lc_messages",
    "lc_monetary",
    "lc_numeric",
    "lc_time",
    "lock_timeout",
    "log_min_duration_statement",
    "log_statement",
    "names",
    "role",
    "row_security",
    "schema",
    "session_authorization",
    "authorization",
    "time",
    "timezone",
    "transaction",
    "transaction_timeout",
    "tcp_user_timeout",
    "synchronous_commit",
    "work_mem",
    "xml",
    "xmloption",
    "geqo",
    "escape_string_warning",
    "backslash_quote",
    "default_transaction_deferrable",
    "transaction_deferrable",
    "session_replication_role",
    "ssl_renegotiation_limit",
];

/// Whether a setting is one of sessions of PostgreSQL, which means nothing here; with a point in its name it is anybody's own.
pub fn belongs_to_sessions(name: &str) -> bool {
    let in_passing = || SET_IN_PASSING.iter().any(|known| known.eq_ignore_ascii_case(name));
    name.contains('.') || setting(name).is_some() || in_passing()
}

/// A SELECT of one value, as drivers send it to see whether a connection lives and whom it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// `SELECT 1`
    Number(i32),
    /// `SELECT version()`
    Version,
    /// `SELECT current_database()`
    Database,
    /// `SELECT current_schema()`: there are none.
    Schema,
    /// `SELECT current_user`, and its like.
    User,
    /// `SELECT pg_is_in_recovery()`
    InRecovery,
    /// `SELECT pg_backend_pid()`
    Pid,
}

impl Scalar {
    /// Reads a whole SELECT, if it is one of those.
    pub fn of(tokens: &[Token]) -> Option<Self> {
        let call = |tokens: &[Token]| matches!(tokens, [] | [Token::Mark('('), Token::Mark(')')]);
        let [Token::Word(select), Token::Word(what), rest @ ..] = tokens else { return None };
        if !select.eq_ignore_ascii_case("select") || !call(rest) {
            return None;
        }
        if let Ok(number) = what.parse() {
            return rest.is_empty().then_some(Self::Number(number));
        }
        let what = what.to_ascii_lowercase();
        match (what.strip_prefix("pg_catalog.").unwrap_or(&what), rest.is_empty()) {
            ("version", false) => Some(Self::Version),
            ("current_database", false) | ("current_catalog", true) => Some(Self::Database),
            ("current_schema", _) => Some(Self::Schema),
            ("current_user" | "session_user" | "user", true) => Some(Self::User),
            ("pg_is_in_recovery", false) => Some(Self::InRecovery),
            ("pg_backend_pid", false) => Some(Self::Pid),
            _ => None,
        }
    }

    /// Its only column.
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Number(_) => &[Column { name: "?column?", kind: Type::Int4 }],
            Self::Version => one_column!("version"),
            Self::Database => one_column!("current_database"),
            Self::Schema => one_column!("current_schema"),
            Self::User => one_column!("current_user"),
            Self::InRecovery => &[Column { name: "pg_is_in_recovery", kind: Type::Bool }],
            Self::Pid => &[Column { name: "pg_backend_pid", kind: Type::Int4 }],
        }
    }

    /// Its value, for a client of that user, database and number.
    pub fn value(self, user: &str, database: &str, id: u64) -> Cell {
        match self {
            Self::Number(number) => Cell::Int(number.into()),
            Self::Version => Cell::Text(format!("pgsluice {}", env!("CARGO_PKG_VERSION"))),
            Self::Database => Cell::from(database),
            Self::Schema => Cell::Null,
            Self::User => Cell::from(user),
            Self::InRecovery => Cell::Bool(false),
            Self::Pid => Cell::Int(i64::try_from(id).unwrap_or(0)),
        }
    }
}

/// Whether a query asks the system catalogs, which the console does not have.
pub fn asks_catalog(tokens: &[Token]) -> bool {
    tokens.iter().any(|token| match token {
        Token::Word(word) => {
            let word = word.to_ascii_lowercase();
            word.starts_with("pg_") || word.starts_with("information_schema.")
        }
        Token::Quoted(word) => word.starts_with("pg_") || word == "information_schema",
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::language::words::statements;

    #[test]
    fn probes_are_known() {
        let read = |text: &str| Scalar::of(&statements(text).unwrap().first().unwrap().tokens);
        assert_eq!(read("select 1"), Some(Scalar::Number(1)));
        assert_eq!(read("SELECT -7"), Some(Scalar::Number(-7)));
        assert_eq!(read("select pg_catalog.version()"), Some(Scalar::Version));
        assert_eq!(read("select current_user"), Some(Scalar::User));
        for text in ["select 1()", "select version", "select 1, 2", "select 99999999999", "select f()"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn every_setting_has_a_column_of_its_own_name() {
        for (name, value) in REPORTED.iter().chain(ASKED) {
            let found = setting(&name.to_uppercase()).unwrap();
            assert_eq!((found.column[0].name, found.value), (*name, *value));
        }
        assert!(setting("pool_mode").is_none() && is_configuration("pool_mode"));
    }
}
