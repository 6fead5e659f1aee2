//! READ ONLY transactions that are open at the flip in a database whose catalog leads to unseen writers: a dump that only reads
//! is not waited for, what has reached for such a writer is.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use crate::ways_around_schema::run;
use pgsluice_fixtures::Raw;
use pgsluice_fixtures::raw::message::{bind, execute, function_call, parse, query as q, sync};

const SCHEMA: &str = "
CREATE FUNCTION emits() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_logical_emit_message(false, 'a', 'b'); RETURN 1; END $$;
CREATE VIEW emitting AS SELECT emits() AS x;
CREATE EXTENSION dblink;
CREATE FUNCTION counts() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM public.t';
CREATE VIEW counted AS SELECT counts() AS x;
GRANT SELECT ON ALL TABLES IN SCHEMA public TO app;
";

/// How a dump begins.
const DUMP: [&str; 4] = [
    "BEGIN",
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY",
    "SELECT pg_catalog.set_config('search_path', '', false)",
    "SELECT c.oid, pg_catalog.pg_get_userbyid(c.relowner) FROM pg_catalog.pg_class c WHERE c.relkind = 'r'",
];

fn extended(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat()
}

fn begun(stand: &Stand, more: &[&str], by_extended: bool) -> Raw {
    let mut raw = stand.app();
    for sql in DUMP.iter().chain(more) {
        let bytes = if by_extended { extended(sql) } else { q(sql) };
        assert_eq!(sqlstate(&talk(&mut raw, &bytes, 1)), "", "{sql}");
    }
    raw
}

fn open_at_the_flip(mode: &str) {
    let stand = Stand::new(&format!("default_pool_size = 40\npool_mode = \"{mode}\"\ncatalog_check_interval = \"1s\""));
    run(&mut stand.operator(), SCHEMA);
    stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
    let clean: [&[&str]; 5] = [
        &[],
        &["COPY public.t (id, v) TO stdout"],
        &["SELECT * FROM public.counted", "LOCK TABLE public.t IN ACCESS SHARE MODE"],
        &["DECLARE dumped CURSOR FOR SELECT * FROM ONLY public.t", "FETCH 2 FROM dumped"],
        &["SELECT public.counts()", "SAVEPOINT a", "SELECT 1", "RELEASE a"],
    ];
    let tainted: [&[&str]; 4] = [
        &["SELECT public.emits()"],
        &["SELECT * FROM public.emitting"],
        &["DECLARE c CURSOR FOR SELECT public.emits()"],
        &["SELECT public.dblink_exec('host=127.0.0.1 port=1', 'x') WHERE false"],
    ];
    let mut readers: Vec<Raw> = Vec::new();
    let mut busy: Vec<Raw> = Vec::new();
    for by_extended in [false, true] {
        for more in clean {
            readers.push(begun(&stand, more, by_extended));
            busy.push(begun(&stand, more, by_extended));
        }
    }
    let mut large = begun(&stand, &[], false);
    let frames =
        talk(&mut large, &function_call(952, &[Some(&4711_u32.to_be_bytes()), Some(&0x4_0000_u32.to_be_bytes())]), 1);
    assert_eq!(sqlstate(&frames), "");
    readers.push(large);
    let all = readers.len() + busy.len();
    let sleep = "COPY (SELECT pg_catalog.pg_sleep(5)) TO stdout";
    for (at, raw) in busy.iter_mut().enumerate() {
        raw.send(&if at % 2 == 0 { q(sleep) } else { extended(sleep) }).expect("sent");
    }
    let at_work =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active' AND usename = 'app'";
    stand.cluster.primary().wait_until(at_work, &busy.len().to_string(), LONG).expect("all at work");
    let rows = stand.console("MAINTENANCE ON app WITH (reads primary, drain_timeout '3s')");
    assert_eq!(rows[0][1].as_deref(), Some("read_only"), "{mode}: {rows:?}");
    assert_eq!(rows[0][9].as_deref(), Some(&*all.to_string()), "{mode}: all were fenced: {rows:?}");
    for raw in &mut busy {
        let frames = raw.frames_until(LONG, |frame| frame.tag == b'Z').expect("an answer");
        assert_eq!(sqlstate(&frames), "", "{mode}");
    }
    for raw in readers.iter_mut().chain(&mut busy) {
        for sql in ["SELECT count(*) FROM public.t", "COMMIT"] {
            assert_eq!(sqlstate(&query(raw, sql)), "", "{mode}: {sql}");
        }
    }
    stand.off();
    // What has reached for a writer is not let go on.
    for by_extended in [false, true] {
        for more in tainted {
            let mut raw = begun(&stand, more, by_extended);
            let rows = stand.console("MAINTENANCE ON app WITH (reads primary, drain_timeout '1s', on_timeout cancel)");
            assert_eq!(rows[0][9].as_deref(), Some("0"), "{mode}: {more:?}: {rows:?}");
            assert_eq!(sqlstate(&query(&mut raw, "SELECT 1")), "25006", "{mode}: {more:?}");
            drop(raw);
            stand.off();
        }
    }
}

#[test]
fn a_dump_is_not_waited_for_where_unseen_writers_are_in_transaction_mode() {
    open_at_the_flip("transaction");
}

#[test]
fn a_dump_is_not_waited_for_where_unseen_writers_are_in_session_mode() {
    open_at_the_flip("session");
}
