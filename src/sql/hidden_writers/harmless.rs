//! What is known to write nothing: functions of PostgreSQL's own, and words that look like their calls.

use super::mentions::Mention;
use super::reach::{Names, Reach};
use crate::sql::classify::analyzer::Scope;
use crate::sql::classify::builtins;

/// Functions that are volatile, or depend on the server or the session, and write nothing that outlives the transaction. The sequence
/// functions are among them since PostgreSQL refuses those itself. Sorted.
const VOLATILE: [&str; 42] = [
    "array_sample",
    "array_shuffle",
    "clock_timestamp",
    "current_setting",
    "currval",
    "gen_random_uuid",
    "inet_client_addr",
    "inet_client_port",
    "inet_server_addr",
    "inet_server_port",
    "lastval",
    "nextval",
    "pg_backend_pid",
    "pg_column_compression",
    "pg_column_size",
    "pg_conf_load_time",
    "pg_current_snapshot",
    "pg_current_wal_flush_lsn",
    "pg_current_wal_insert_lsn",
    "pg_current_wal_lsn",
    "pg_current_xact_id",
    "pg_current_xact_id_if_assigned",
    "pg_database_size",
    "pg_is_in_recovery",
    "pg_is_wal_replay_paused",
    "pg_last_wal_receive_lsn",
    "pg_last_wal_replay_lsn",
    "pg_last_xact_replay_timestamp",
    "pg_postmaster_start_time",
    "pg_relation_size",
    "pg_sleep",
    "pg_sleep_for",
    "pg_sleep_until",
    "pg_table_size",
    "pg_total_relation_size",
    "random",
    "random_normal",
    "setval",
    "timeofday",
    "txid_current",
    "uuidv4",
    "uuidv7",
];

/// Words with a parenthesis behind them that open a clause, or a statement of PL/pgSQL. Sorted.
const CLAUSES: [&str; 23] = [
    "assert",
    "bernoulli",
    "by",
    "cube",
    "elseif",
    "elsif",
    "exit",
    "filter",
    "if",
    "materialized",
    "next",
    "over",
    "perform",
    "query",
    "repeatable",
    "return",
    "rollup",
    "rows",
    "sets",
    "system",
    "varying",
    "while",
    "zone",
];

/// Functions of PostgreSQL's own that are immutable or stable, and whose arguments may name a type or a relation that is run.
const BY_ARGUMENT: [&str; 20] = [
    "anyarray_in",
    "anycompatiblearray_in",
    "array_in",
    "array_recv",
    "domain_in",
    "domain_recv",
    "database_to_xml",
    "database_to_xml_and_xmlschema",
    "multirange_in",
    "multirange_recv",
    "pg_input_error_info",
    "pg_input_is_valid",
    "range_in",
    "range_recv",
    "record_in",
    "record_recv",
    "schema_to_xml",
    "schema_to_xml_and_xmlschema",
    "table_to_xml",
    "table_to_xml_and_xmlschema",
];

/// Functions that create the session's schema for temporary objects, if that comes first in search_path and is not there yet. The
/// rows of that schema stay (`fetch_search_path` in PostgreSQL's `namespace.c`).
const CREATES_TEMPORARY_SCHEMA: [&str; 2] = ["current_schema", "current_schemas"];

/// Whether a text may call one of those, by name or by the keyword `CURRENT_SCHEMA`.
pub(super) fn may_create_temporary_schema(text: &[u8]) -> bool {
    let [name, _] = CREATES_TEMPORARY_SCHEMA;
    let spelled = text.windows(name.len()).any(|word| word.eq_ignore_ascii_case(name.as_bytes()));
    // An identifier with escapes may be that name as well.
    spelled || text.windows(3).any(|word| word.eq_ignore_ascii_case(b"u&\""))
}

/// Whether all functions of PostgreSQL's own with that name write nothing.
pub(super) fn is_harmless(name: &[u8]) -> bool {
    let has = |list: &[&str]| list.binary_search_by(|known| known.as_bytes().cmp(name)).is_ok();
    let known = builtins::is_plain_read(name) || has(&VOLATILE) || has(&CLAUSES);
    known && !CREATES_TEMPORARY_SCHEMA.iter().any(|creates| creates.as_bytes().eq_ignore_ascii_case(name))
}

/// Whether what a text names does nothing but read: `asked` is what of a database's own may do more, `clean` its functions that do not.
pub(super) fn only_reads(mention: &Mention<'_, '_>, scope: Scope<'_>, asked: &Reach, clean: &Names) -> bool {
    match *mention {
        Mention::Call(schema, name, ref behind) => {
            let own = matches!(schema, None | Some(b"pg_catalog")) && is_harmless(name);
            let known = own && scope.list.function(name, schema).is_none() || clean.has(schema, name);
            known && name.is_ascii() && asked.functions.called(schema, name, behind).is_none()
        }
        Mention::Field(name) => (name.is_ascii() || !asked.wide) && asked.fields.field(name).is_none(),
        Mention::Relation(..) | Mention::Type(..) | Mention::AnyType | Mention::Operator(..) | Mention::Implied(..) => {
            asked.named(mention).is_none()
        }
        // The call is told as well.
        Mention::Hands(..) => true,
        Mention::Writes
        | Mention::Builds(_)
        | Mention::RunsText
        | Mention::AnyRelation
        | Mention::Utility(_)
        | Mention::Executes
        | Mention::QuotedCommand(_)
        | Mention::Command(_) => false,
    }
}

/// The condition, over a row `p` of pg_proc, that a function of PostgreSQL's own is handed text that it runs, or the name of what it makes.
pub(super) fn takes_text() -> String {
    format!(
        "(p.proname = ANY ('{{{}}}'::name[]) OR p.proname ~ '_to_xml|populate_record' OR p.proname IN ('ts_stat', 'ts_rewrite'))",
        BY_ARGUMENT.join(",")
    )
}

/// The condition, over a row `p` of pg_proc, that a function of PostgreSQL's own may write.
pub(super) fn may_write() -> String {
    let array = |names: &[&str]| format!("'{{{}}}'::name[]", names.join(","));
    format!(
        "(p.provolatile = 'v' AND p.proname <> ALL ({}) OR p.proname = ANY ({}))",
        array(&VOLATILE),
        array(&BY_ARGUMENT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_writes_nothing_is_known_by_name() {
        assert!(VOLATILE.is_sorted() && CLAUSES.is_sorted());
        for name in ["lower", "random", "nextval", "over", "varchar", "pg_sleep"] {
            assert!(is_harmless(name.as_bytes()), "{name}");
        }
        for name in ["lo_create", "set_config", "query_to_xml", "table_to_xml", "array_in", "my_own", "pg_notify"] {
            assert!(!is_harmless(name.as_bytes()), "{name}");
        }
    }
}
