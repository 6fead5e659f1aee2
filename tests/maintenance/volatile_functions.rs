//! Every function of PostgreSQL's own that may write has been judged, in whichever version: it is on the refusal list, or it is here.
//! A version that brings another one fails until somebody has looked at it.

use pgsluice::sql::{LexContext, Refusal, analyze};
use pgsluice_fixtures::Cluster;
use pgsluice_fixtures::raw::message::function_call;

use crate::stand::{Stand, sqlstate, talk};

/// What is marked volatile and writes nothing that stays, or what PostgreSQL itself refuses in a READ ONLY transaction. What runs a
/// text or sets a setting is judged by what it is given.
const HARMLESS: &str = "\
amvalidate array_sample array_shuffle clock_timestamp current_query currtid2 currval cursor_to_xml cursor_to_xmlschema \
gen_random_uuid lastval lo_close lo_get lo_lseek lo_lseek64 lo_open lo_tell lo_tell64 loread nextval pg_advisory_lock \
pg_advisory_lock_shared pg_advisory_unlock pg_advisory_unlock_all pg_advisory_unlock_shared pg_advisory_xact_lock \
pg_advisory_xact_lock_shared pg_available_wal_summaries pg_blocking_pids \
pg_cancel_backend pg_collation_actual_version pg_control_checkpoint pg_control_init pg_control_recovery \
pg_control_system pg_current_logfile pg_current_wal_flush_lsn pg_current_wal_insert_lsn pg_current_wal_lsn \
pg_database_collation_actual_version pg_database_size pg_export_snapshot pg_get_aios pg_get_backend_memory_contexts \
pg_get_loaded_modules pg_get_multixact_members pg_get_sequence_data pg_get_shmem_allocations \
pg_get_shmem_allocations_numa pg_get_wait_events pg_get_wal_replay_pause_state pg_get_wal_resource_managers \
pg_get_wal_summarizer_state pg_hba_file_rules pg_ident_file_mappings pg_indexes_size pg_is_in_backup pg_is_in_recovery \
pg_is_wal_replay_paused pg_isolation_test_session_is_blocked pg_jit_available pg_last_committed_xact \
pg_last_wal_receive_lsn pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_lock_status \
pg_log_backend_memory_contexts pg_logical_slot_peek_binary_changes pg_logical_slot_peek_changes \
pg_ls_archive_statusdir pg_ls_dir pg_ls_logdir pg_ls_logicalmapdir pg_ls_logicalsnapdir pg_ls_replslotdir \
pg_ls_summariesdir pg_ls_tmpdir pg_ls_waldir pg_notification_queue_usage pg_notify pg_partition_ancestors \
pg_partition_tree pg_prepared_xact pg_read_binary_file pg_read_file pg_read_file_old pg_relation_size \
pg_replication_origin_progress pg_replication_origin_session_is_setup pg_replication_origin_session_progress \
pg_safe_snapshot_blocking_pids pg_sequence_last_value pg_show_all_file_settings pg_show_replication_origin_status \
pg_sleep pg_sleep_for pg_sleep_until pg_stat_clear_snapshot pg_stat_file pg_stat_force_next_flush \
pg_stat_get_backend_io pg_stat_get_backend_wal pg_stat_get_io pg_stat_get_recovery_prefetch \
pg_stat_get_xact_blocks_fetched pg_stat_get_xact_blocks_hit pg_stat_get_xact_function_calls \
pg_stat_get_xact_function_self_time pg_stat_get_xact_function_total_time pg_stat_get_xact_numscans \
pg_stat_get_xact_tuples_deleted pg_stat_get_xact_tuples_fetched pg_stat_get_xact_tuples_hot_updated \
pg_stat_get_xact_tuples_inserted pg_stat_get_xact_tuples_newpage_updated pg_stat_get_xact_tuples_returned \
pg_stat_get_xact_tuples_updated pg_stat_have_stats pg_table_size \
pg_tablespace_size pg_terminate_backend pg_total_relation_size pg_try_advisory_lock pg_try_advisory_lock_shared \
pg_try_advisory_xact_lock pg_try_advisory_xact_lock_shared pg_wal_summary_contents pg_xact_commit_timestamp \
pg_xact_commit_timestamp_origin pg_xact_status query_to_xml query_to_xml_and_xmlschema query_to_xmlschema random \
random_normal set_config setseed setval timeofday timezone ts_rewrite ts_stat txid_status uuidv4 uuidv7 \
";

/// Whether it is on the refusal list.
fn refused(name: &str) -> bool {
    let analysis = analyze(format!("SELECT pg_catalog.{name}(1)").as_bytes(), LexContext::default());
    analysis.worst().is_some_and(|statement| matches!(statement.refusal, Refusal::ByPgsluice(_)))
}

#[test]
fn every_volatile_function_has_been_judged() {
    let cluster = Cluster::builder().start().expect("a server");
    let major = cluster.installation().version.major;
    // What pg_upgrade calls fails on any server but one that it has started itself. Triggers and what belongs to a language cannot be called.
    let sql = "SELECT DISTINCT proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND oid < 16384 \
        AND provolatile = 'v' AND proname !~ '^(binary_upgrade|plpgsql)_' AND prorettype NOT IN ('trigger'::regtype, 'internal'::regtype, \
        'event_trigger'::regtype, 'language_handler'::regtype, 'fdw_handler'::regtype, 'index_am_handler'::regtype, \
        'table_am_handler'::regtype, 'tsm_handler'::regtype)";
    let volatile = cluster.primary().psql(sql).expect("the catalog");
    let harmless: Vec<&str> = HARMLESS.split_ascii_whitespace().collect();
    let unknown: Vec<&str> = volatile.lines().filter(|name| !harmless.contains(name) && !refused(name)).collect();
    assert!(unknown.is_empty(), "volatile in PostgreSQL {major}, and nobody has said whether they write: {unknown:?}");
    let both: Vec<&&str> = harmless.iter().filter(|name| refused(name)).collect();
    assert!(both.is_empty(), "refused, and said to be harmless: {both:?}");
}

#[test]
fn every_function_of_the_list_is_refused_by_its_number_too() {
    let stand = Stand::new("default_pool_size = 5");
    let sql = "SELECT oid, proname FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND oid < 16384";
    let all = stand.cluster.primary().psql_in("app", sql).expect("the catalog");
    let listed: Vec<(u32, &str)> = all
        .lines()
        .filter_map(|line| line.split_once('|'))
        // It turns the server's log over, and its number has become another's.
        .filter(|(_, name)| refused(name) && *name != "pg_rotate_logfile_old")
        .map(|(oid, name)| (oid.parse().expect("a number"), name))
        .collect();
    assert!(listed.len() > 40, "{listed:?}");
    stand.on_primary();
    let mut app = stand.app();
    for (oid, name) in listed {
        assert_eq!(sqlstate(&talk(&mut app, &function_call(oid, &[]), 1)), "25006", "{name}, {oid}");
    }
}
