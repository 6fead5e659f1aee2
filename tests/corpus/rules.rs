//! The differences that are meant: what PostgreSQL 15 runs in READ ONLY although it writes or lifts READ ONLY.
//!
//! Every difference has to fall under one of these; docs/CONFORMANCE.md lists them with their reasons.

use crate::compare::{Answer, Outcome};

/// Statements that pgsluice alone refuses, by PostgreSQL's tag.
const COMMANDS: &[&str] = &[
    "ALTER SYSTEM",
    "ANALYZE",
    "CHECKPOINT",
    "CLUSTER",
    "COMMIT PREPARED",
    "COPY TO",
    "CREATE MATERIALIZED VIEW",
    "CREATE TABLE AS",
    "PREPARE TRANSACTION",
    "REINDEX",
    "ROLLBACK PREPARED",
    "SELECT INTO",
    "VACUUM",
];

/// The rule under which the proxy may say this where PostgreSQL says that; `so_far` is the rule of an earlier
/// difference since when both sessions are no longer in the same state.
pub fn rule(sql: &str, direct: &Answer, proxy: &Answer, so_far: Option<&str>) -> Option<String> {
    let Outcome::Error(code, message) = &proxy.outcome else {
        return so_far.map(|rule| format!("in what follows: {rule}"));
    };
    if code == "25006" && !direct.refused() {
        let what = message.strip_prefix("cannot execute ")?.strip_suffix(" in a read-only transaction");
        // What pgsluice alone refuses is refused before a server has seen that it is wrong besides.
        if let (Some(what), Outcome::Error(code, _)) = (what, &direct.outcome)
            && (what.ends_with("()")
                || matches!(what, "EXECUTE" | "an ambiguous statement")
                || what == "EXPLAIN" && sql.to_lowercase().contains("execute")
                || COMMANDS.contains(&what))
        {
            return Some(format!("wrong in itself too ({})", class(code)));
        }
        match what {
            Some(function) if function.ends_with("()") => return Some(function.to_owned()),
            // With `pg_temp` first in the search_path PostgreSQL makes the schema of the session's temporary tables for it.
            Some("SELECT") if sql.contains("current_schema") => {
                return Some("current_schema() that makes a schema".to_owned());
            }
            Some("DO") => return Some("DO of one of these commands".to_owned()),
            Some(command) if COMMANDS.contains(&command) => return Some(command.to_owned()),
            _ => {}
        }
    }
    if code == "42602" && message.starts_with("invalid configuration parameter name \"plpgsql.") {
        // Nothing undoes a LOAD: the server process may have served somebody who has run some PL/pgSQL.
        return Some("a server process that has loaded plpgsql".to_owned());
    }
    if direct.refused() && proxy.refused() && ["INSERT", "UPDATE", "DELETE"].iter().any(|tag| message.contains(tag)) {
        // Only the catalog knows.
        return Some("a rule rewrites it: PostgreSQL names what it becomes".to_owned());
    }
    so_far.map(|rule| format!("in what follows: {rule}"))
}

/// What a SQLSTATE's class says.
fn class(code: &str) -> &'static str {
    match code.get(..2) {
        Some("42") => "42, syntax, names or rights",
        Some("22") => "22, data",
        Some("0A") => "0A, not supported",
        Some("25") => "25, transaction state",
        Some("55") => "55, lock or object state",
        _ => "another class",
    }
}

/// Name of the rule for what lifts READ ONLY.
pub const LIFTING: &str = "lifting READ ONLY";

/// Whether a statement asks for READ WRITE: on a direct connection that is in force, through the proxy it is accepted.
pub fn asks_read_write(sql: &str) -> bool {
    let sql = sql.to_lowercase();
    let off = ["off", "false", "reset", "default", "0", "no"].iter().any(|word| sql.contains(word));
    sql.contains("read write") || sql.contains("transaction_read_only") && off
}

/// The rule for what lifts READ ONLY.
pub fn lifts(proxy: &Answer) -> Option<String> {
    match &proxy.outcome {
        Outcome::Error(code, message)
            if code == "25006" && message.starts_with("cannot set transaction read-write") =>
        {
            Some(LIFTING.to_owned())
        }
        _ => None,
    }
}
