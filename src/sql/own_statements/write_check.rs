//! The check, ahead of COMMIT in maintenance, that a transaction has written nothing: a statement that fails (22012) if it has.

use std::borrow::Cow;

use super::transaction::declaration;
use crate::sql::lex::quote::literal;

/// Rows for tables, permanent ones, in which the open transaction has changed a row. Rows of catalogs that only went are those
/// of temporary tables (DISCARD TEMP), but for large objects and replication origins. Counts hold what a savepoint took back as well:
/// whether a large object was made is seen from its row, and that of its owner, which have this transaction's id or a later one.
macro_rules! changed {
    () => {
        "SELECT $q$x$q$::pg_catalog.tsvector FROM pg_catalog.pg_class \
         WHERE relkind OPERATOR(pg_catalog.=) ANY ($q${r,m,t}$q$::pg_catalog.char[]) \
         AND relpersistence OPERATOR(pg_catalog.<>) $q$t$q$ \
         AND (pg_catalog.pg_stat_get_xact_tuples_inserted(oid) OPERATOR(pg_catalog.>) 0 \
         AND (oid OPERATOR(pg_catalog.<>) ALL ($q${1214,2995}$q$::pg_catalog.oid[]) \
         OR EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata AS made \
         WHERE pg_catalog.age(made.xmin) OPERATOR(pg_catalog.<=) 0) \
         OR EXISTS (SELECT FROM pg_catalog.pg_shdepend AS made \
         WHERE pg_catalog.age(made.xmin) OPERATOR(pg_catalog.<=) 0)) \
         OR pg_catalog.pg_stat_get_xact_tuples_updated(oid) OPERATOR(pg_catalog.>) 0 \
         OR pg_catalog.pg_stat_get_xact_tuples_deleted(oid) OPERATOR(pg_catalog.>) 0 \
         AND (oid OPERATOR(pg_catalog.>=) 16384 \
         OR oid OPERATOR(pg_catalog.=) ANY ($q${2613,2995,6000}$q$::pg_catalog.oid[])))"
    };
}

/// A row if nothing can be told by such counts: the setting that they depend on is off, or this session has set it, perhaps
/// for a moment. Then whatever has a transaction id is taken for a write.
macro_rules! uncounted {
    () => {
        "SELECT $q$x$q$::pg_catalog.tsvector FROM pg_catalog.pg_show_all_settings() AS s \
         WHERE s.name OPERATOR(pg_catalog.=) $q$track_counts$q$ \
         AND (s.setting OPERATOR(pg_catalog.<>) $q$on$q$ OR s.source OPERATOR(pg_catalog.=) $q$session$q$)"
    };
}

/// The question is made of these. ts_stat() stands there for a sub-query that costs nothing as long as it is not needed: it is
/// planned only when it runs.
macro_rules! question {
    (head) => {
        "SELECT 1 OPERATOR(pg_catalog./) CASE"
    };
    (tail) => {
        concat!(
            " WHEN pg_catalog.txid_current_if_assigned() IS NULL THEN 1 \
             WHEN EXISTS (SELECT FROM pg_catalog.ts_stat($w$",
            changed!(),
            " UNION ALL ",
            uncounted!(),
            "$w$)) THEN 0 ELSE 1 END"
        )
    };
    (uncounted) => {
        " WHEN pg_catalog.txid_current_if_assigned() IS NULL THEN 1 ELSE 0 END"
    };
}

/// The question after what has named built-in functions only.
pub const PLAIN: &str = concat!(question!(head), question!(tail));

/// The question after what may have run anything. It fails too if this transaction has a cursor WITH HOLD, whose query COMMIT runs,
/// other than those whose queries have run: `known` has their declarations, and the one named `other` is being tried. Without
/// `counted` whatever has a transaction id is a write.
pub fn question<'a>(known: impl Iterator<Item = &'a str>, other: Option<&str>, counted: bool) -> Cow<'static, str> {
    let mut known = known.map(literal).collect::<Vec<_>>().join(",");
    if !known.is_empty() {
        known = format!(" AND {} OPERATOR(pg_catalog.<>) ALL (ARRAY[{known}]::pg_catalog.text[])", declaration!());
    }
    let other = other.map_or_else(String::new, |name| {
        format!(" AND name OPERATOR(pg_catalog.<>) {}::pg_catalog.text", literal(name))
    });
    format!(
        "{head} WHEN EXISTS (SELECT FROM pg_catalog.pg_cursor() WHERE is_holdable \
         AND creation_time OPERATOR(pg_catalog.>=) pg_catalog.transaction_timestamp(){known}{other}) THEN 0{tail}",
        head = question!(head),
        tail = if counted { question!(tail) } else { question!(uncounted) },
    )
    .into()
}

/// Deferred triggers, which only a temporary table can have set off, run within COMMIT: before the question instead.
pub const RUN_DEFERRED: &str = "SET CONSTRAINTS ALL IMMEDIATE";

/// Makes the server forget, with the next ReadyForQuery, what earlier transactions have changed: its counts hold those of
/// the last second or so too. PostgreSQL 15 and later have it.
pub const FORGET_COUNTS: &str = "SELECT pg_catalog.pg_stat_force_next_flush()";

/// The same for older versions: they forget by themselves, with the first ReadyForQuery half a second after they did so last.
pub const WAIT_UNTIL_COUNTS_ARE_FORGOTTEN: &str =
    "SET LOCAL statement_timeout TO 0; SELECT pg_catalog.pg_sleep(0.5::pg_catalog.float8)";

/// See [`crate::sql::own_statements::all`]. Within a transaction with an id, so that every part of the question runs.
pub(super) fn all() -> Vec<(&'static str, String)> {
    let mut all = super::named(&[
        ("FORGET_COUNTS", FORGET_COUNTS),
        ("WAIT_UNTIL_COUNTS_ARE_FORGOTTEN", WAIT_UNTIL_COUNTS_ARE_FORGOTTEN),
        ("a transaction with an id", "BEGIN; SELECT pg_catalog.pg_current_xact_id()"),
        ("RUN_DEFERRED", RUN_DEFERRED),
        ("PLAIN", PLAIN),
    ]);
    let cursors = ["1 a", "2 b'c"];
    all.push(("question", question(cursors.into_iter(), Some("x'y"), true).into_owned()));
    all.push(("question, where nothing is counted", question(cursors.into_iter(), None, false).into_owned()));
    all.push(("the end of that transaction", "ROLLBACK".to_owned()));
    all
}
