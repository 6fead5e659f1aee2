//! Statements that set, reset and read settings on a client's connection.

use crate::sql::lex::quote::{ascii_literal, ident, literal, setting_name};

/// How a statement begins that restores a client's defaults.
pub const DEFAULTS: &str = "SELECT /* pgsluice: defaults of this client */ ";
/// Settings that begin anew with each transaction, and those that only count while a connection is opened.
const NOT_KEPT: &str = "'{transaction_isolation,transaction_read_only,transaction_deferrable,\
     default_transaction_read_only,client_encoding,application_name,session_authorization}'::pg_catalog.text[]";

/// Asks for the schemas in which names without one are looked for. It takes no snapshot, as the two behind it take none.
pub const SHOW_PATH: &str = "SHOW search_path";
/// Asks for the role that a session has taken: `none` if it has taken none.
pub const SHOW_ROLE: &str = "SHOW role";
/// Asks who a session is that has taken no role.
pub const SHOW_AUTHORIZATION: &str = "SHOW session_authorization";

/// Sets a setting to what a client has written behind TO.
pub fn set(name: &str, spelled: &str) -> String {
    format!("SET {} TO {spelled}", setting_name(name))
}

/// Sets a setting to a value.
pub fn set_to(name: &str, value: &str) -> String {
    set(name, &literal(value))
}

/// Sets a setting until the transaction ends.
pub fn set_local(name: &str, value: LocalValue<'_>) -> String {
    let value = match value {
        LocalValue::Default => "DEFAULT".to_owned(),
        LocalValue::Spelled(value) => value.to_owned(),
        LocalValue::Is(value) => literal(value),
    };
    format!("SET LOCAL {} TO {value}", setting_name(name))
}

/// What [`set_local`] sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalValue<'a> {
    /// The session's default.
    Default,
    /// What a client has written behind TO.
    Spelled(&'a str),
    /// The value itself.
    Is(&'a str),
}

/// The call that sets a setting to a value, lists too.
pub fn set_config(name: &str, value: &str, local: bool) -> String {
    format!("pg_catalog.set_config({}, {}, {local})", literal(name), literal(value))
}

/// A statement of that call.
pub fn select_set_config(name: &str, value: &str) -> String {
    format!("SELECT {}", set_config(name, value, false))
}

/// Resets a setting.
pub fn reset(name: &str) -> String {
    format!("RESET {}", setting_name(name))
}

/// Which role a statement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    /// `SET ROLE`
    Role,
    /// `SET SESSION AUTHORIZATION`
    Authorization,
}

impl RoleKind {
    fn words(self) -> &'static str {
        match self {
            Self::Role => "ROLE",
            Self::Authorization => "SESSION AUTHORIZATION",
        }
    }
}

/// Resets the role.
pub fn reset_role(kind: RoleKind) -> String {
    format!("RESET {}", kind.words())
}

/// Takes the role that a client has written.
pub fn set_role(kind: RoleKind, spelled: &str) -> String {
    format!("SET {} {spelled}", kind.words())
}

/// Takes the role of that name.
pub fn set_role_to(kind: RoleKind, role: &str) -> String {
    // A string constant means the same as a name, "none" included.
    set_role(kind, &literal(role))
}

/// Reads settings: the place in `names`, the value, and, of PostgreSQL's own, whether the session has set it. Those have a
/// value anyway. With `all`, under that place, also each of PostgreSQL's own that the session has set: `name=value`.
pub fn read<'a>(names: impl Iterator<Item = &'a str>, all: Option<usize>) -> String {
    let mut parts: Vec<String> = names.enumerate().map(|(at, name)| read_one(at, name)).collect();
    parts.extend(all.map(read_all));
    parts.join(" UNION ALL ")
}

fn read_all(at: usize) -> String {
    format!(
        "SELECT {at}, pg_catalog.lower(name) OPERATOR(pg_catalog.||) '='::pg_catalog.text \
         OPERATOR(pg_catalog.||) pg_catalog.current_setting(name), true FROM pg_catalog.pg_settings \
         WHERE source OPERATOR(pg_catalog.=) 'session'::pg_catalog.text \
         AND pg_catalog.left(name, 12) OPERATOR(pg_catalog.<>) 'transaction_'::pg_catalog.text"
    )
}

fn read_one(at: usize, name: &str) -> String {
    let (literal, own) = (literal(name), !name.contains('.'));
    let set = format!(
        "(SELECT source OPERATOR(pg_catalog.=) 'session'::pg_catalog.text FROM pg_catalog.pg_settings \
         WHERE pg_catalog.lower(name) OPERATOR(pg_catalog.=) {literal}::pg_catalog.text)"
    );
    let set = if own { &set } else { "NULL::pg_catalog.bool" };
    format!("SELECT {at}, pg_catalog.current_setting({literal}, true), {set}")
}

/// Reads what a start-up packet has set, and the custom settings named. Values lie in the server as they came, whatever
/// `client_encoding` says.
pub fn read_startup(custom: &[String]) -> String {
    let names: Vec<String> = custom.iter().map(|name| literal(name)).collect();
    format!(
        "SET client_encoding TO 'UTF8'; \
         SELECT pg_catalog.lower(name), setting FROM pg_catalog.pg_settings \
         WHERE source OPERATOR(pg_catalog.=) 'client'::pg_catalog.text \
         AND context OPERATOR(pg_catalog.<>) ALL ('{{backend,superuser-backend}}'::pg_catalog.text[]) \
         AND name OPERATOR(pg_catalog.<>) ALL ({NOT_KEPT}) \
         UNION SELECT n, pg_catalog.current_setting(n, true) \
         FROM pg_catalog.unnest(ARRAY[{}]::pg_catalog.text[]) AS n",
        names.join(", ")
    )
}

/// A value under a column's name, in the place of a SHOW of a setting of pgsluice's own. Begins with [`SHOWN`].
pub fn shown(name: &str, value: &str) -> String {
    format!("{SHOWN}{} AS {}", ascii_literal(value), ident(name))
}

/// In the place of one SHOW too many: no server knows it.
pub const TOO_MANY_SHOWN: &str = "SHOW pgsluice.too_many";
/// How [`shown`] begins.
pub const SHOWN: &str = "SELECT/*pgsluice SHOW*/ ";
/// How [`cannot_be_set`] begins.
pub const CANNOT_BE_SET: &str = "SET/*pgsluice*/server_version TO ";

/// Fails in every database with 55P02, in the place of a SET of a setting of pgsluice's own.
pub fn cannot_be_set(name: &str) -> String {
    format!("{CANNOT_BE_SET}{}", literal(name))
}

/// See [`crate::sql::own_statements::all`].
pub(super) fn all() -> Vec<(&'static str, String)> {
    let names = ["app.user", "work_mem", "app.all"];
    vec![
        ("set", set("app.user", "'x'")),
        ("set_local", format!("BEGIN; {}", set_local("standard_conforming_strings", LocalValue::Is("off")))),
        ("set_local, default", set_local("standard_conforming_strings", LocalValue::Default)),
        ("set_local, spelled", format!("{}; ROLLBACK", set_local("DateStyle", LocalValue::Spelled("'ISO'")))),
        ("set_to", set_to("app.current_user", "a\\'b")),
        ("select_set_config", select_set_config("order.id", "a\\'b")),
        ("read", read(names.into_iter(), Some(9))),
        ("read all", read(std::iter::empty(), Some(0))),
        ("reset", reset("app.user")),
        ("reset_role", reset_role(RoleKind::Role)),
        ("set_role", set_role_to(RoleKind::Role, "none")),
        ("reset session_authorization", reset_role(RoleKind::Authorization)),
        ("defaults", format!("{DEFAULTS}{}", set_config("app.user", "x", false))),
        ("read_startup", read_startup(&names.map(str::to_owned))),
        ("shown", shown("pgsluice.mode", "read_only")),
    ]
}
