//! Writers that run behind the check, within COMMIT or at a second run, and text that is spelled in pieces: none writes in
//! maintenance, and what is like them and harmless runs.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use crate::ways_around_schema::run;
use pgsluice_fixtures::raw::message::{bind, execute, parse, query as q, sync};
use pgsluice_fixtures::{Frame, Raw};

/// A writer that PostgreSQL runs in a READ ONLY transaction: a large object before version 16, a row of statistics since.
const WRITER: [&str; 2] = ["lo_create(0)", "pg_clear_relation_stats('public', 'measured')"];

const SCHEMA: &str = "
CREATE TABLE measured (a int);
INSERT INTO measured SELECT generate_series(1, 1000);
ANALYZE measured;
ALTER TABLE measured OWNER TO app;
CREATE FUNCTION hides_cursor(name text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE format('DECLARE %I CURSOR WITH HOLD FOR SELECT %s', name, '$writer'); RETURN 1; END $$;
CREATE FUNCTION swaps_cursor(name text) RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE format('CLOSE %I', name); PERFORM hides_cursor(name); RETURN 1; END $$;
CREATE FUNCTION declares_again(name_of text) RETURNS int LANGUAGE plpgsql AS $$ DECLARE s text; BEGIN
    SELECT statement INTO s FROM pg_cursors WHERE name = name_of; EXECUTE format('CLOSE %I', name_of); EXECUTE s; RETURN 1; END $$;
CREATE FUNCTION writes_at_run(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('my.runs', (coalesce(nullif(current_setting('my.runs', true), ''), '0')::int + 1)::text, false);
    IF current_setting('my.runs')::int >= n THEN PERFORM $writer; END IF; RETURN 1; END $$;
CREATE FUNCTION writes_with_lock() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    IF EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND objid = 77 AND pid = pg_backend_pid()) THEN PERFORM $writer;
    ELSE PERFORM pg_advisory_lock(77); END IF; RETURN 1; END $$;
CREATE FUNCTION writes_deferred() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM $writer; RETURN NULL; END $$;
CREATE FUNCTION defers_another() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET CONSTRAINTS ALL DEFERRED; INSERT INTO pg_temp.late VALUES (1); RETURN NULL; END $$;
CREATE FUNCTION defers_itself() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN SET CONSTRAINTS ALL DEFERRED;
    IF NEW.a > 0 THEN INSERT INTO pg_temp.itself VALUES (NEW.a - 1); ELSE PERFORM $writer; END IF; RETURN NULL; END $$;
CREATE FUNCTION looks_deferred() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM count(*) FROM t; RETURN NULL; END $$;
CREATE FUNCTION dyn(sql text) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN EXECUTE sql; RETURN 1; END $$;
CREATE FUNCTION analyzes_in_pieces() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'ANA' || 'LYZE measured'; RETURN 1; END $$;
CREATE FUNCTION emits_in_pieces() RETURNS int LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT pg_logical_' || 'emit_message(true, ''a'', ''b'')'; RETURN 1; END $$;
CREATE FUNCTION takes_back() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    BEGIN PERFORM lo_create(0); RAISE EXCEPTION 'no'; EXCEPTION WHEN OTHERS THEN RETURN 1; END; END $$;
CREATE FUNCTION takes_half_back() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    BEGIN PERFORM lo_create(0); EXCEPTION WHEN OTHERS THEN NULL; END;
    BEGIN PERFORM lo_create(0); RAISE EXCEPTION 'no'; EXCEPTION WHEN OTHERS THEN RETURN 1; END; END $$;
CREATE FUNCTION counts_runs() RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    RETURN set_config('my.runs', (coalesce(nullif(current_setting('my.runs', true), ''), '0')::int + 1)::text, false); END $$;
CREATE FUNCTION counts() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM t';
";

/// What a session makes for itself before the flip, and a table that nobody has seen being made.
const OWN: &[&str] = &[
    "CREATE TEMP TABLE late (a int)",
    "CREATE CONSTRAINT TRIGGER x AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION writes_deferred()",
    "CREATE TEMP TABLE chained (a int)",
    "CREATE CONSTRAINT TRIGGER x AFTER INSERT ON chained DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION defers_another()",
    "CREATE TEMP TABLE itself (a int)",
    "CREATE CONSTRAINT TRIGGER x AFTER INSERT ON itself DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION defers_itself()",
    "CREATE TEMP TABLE looked (a int)",
    "CREATE CONSTRAINT TRIGGER x AFTER INSERT ON looked DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION looks_deferred()",
    "DO $$ BEGIN EXECUTE 'CREATE TE' || 'MP TABLE unseen_one (a int)';
        EXECUTE 'CREATE CONSTRAINT TRIGGER x AFTER INSERT ON unseen_one DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION writes_deferred()'; END $$",
];

fn stand(mode: &str) -> Stand {
    let stand = Stand::new(&format!("default_pool_size = 60\npool_mode = \"{mode}\""));
    let version = stand.cluster.primary().psql_in("app", "SHOW server_version_num").expect("a version");
    let writer = WRITER[usize::from(version.trim().parse::<u32>().expect("a number") >= 180_000)];
    let in_text = writer.replace('\'', "''");
    let sql = SCHEMA.replace("'$writer'", &format!("'{in_text}'")).replace("$writer", writer);
    let frames = query(&mut stand.operator(), &sql);
    assert_eq!(sqlstate(&frames), "", "{:?}", frames.iter().find_map(Frame::error));
    stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
    stand
}

/// What an observer sees of all that the writers here write.
fn written(stand: &Stand) -> String {
    let sql = "SELECT concat_ws(' ', (SELECT count(*) FROM pg_largeobject_metadata), (SELECT count(*) FROM t), \
               (SELECT reltuples FROM pg_class WHERE relname = 'measured'))";
    stand.cluster.primary().psql_in("app", sql).expect("an observer")
}

fn extended(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0)].concat()
}

/// Sends the statements one by one, in one message each, by the extended protocol, and as one pipeline, each time as another session.
fn in_every_form(stand: &Stand, way: &[&str], mut session: impl FnMut() -> Raw) {
    let before = written(stand);
    type Form = fn(&[&str]) -> Vec<(Vec<u8>, usize)>;
    let forms: [(&str, Form); 4] = [
        ("simple", |way| way.iter().map(|sql| (q(sql), 1)).collect()),
        ("pipelined", |way| vec![(way.iter().flat_map(|sql| q(sql)).collect(), way.len())]),
        ("extended", |way| way.iter().map(|sql| ([extended(sql), sync()].concat(), 1)).collect()),
        ("one batch", |way| vec![(way.iter().flat_map(|sql| extended(sql)).chain(sync()).collect(), 1)]),
    ];
    for (name, form) in forms {
        let mut raw = session();
        for (bytes, readies) in form(way) {
            talk(&mut raw, &bytes, readies);
        }
        drop(raw);
        assert_eq!(written(stand), before, "{name}: {way:?}");
    }
}

fn cursors(mode: &str) {
    let stand = stand(mode);
    stand.on_primary();
    let ways: &[&[&str]] = &[
        &["SELECT hides_cursor('x')"],
        &["BEGIN", "DECLARE a CURSOR WITH HOLD FOR SELECT 1", "CLOSE a", "SELECT hides_cursor('b')", "COMMIT"],
        &["BEGIN", "DECLARE a CURSOR WITH HOLD FOR SELECT 1", "CLOSE a", "SELECT hides_cursor('a')", "COMMIT"],
        &["BEGIN", "DECLARE a CURSOR WITH HOLD FOR SELECT 1", "SELECT swaps_cursor('a')", "COMMIT"],
        &["BEGIN", "DECLARE a CURSOR WITH HOLD FOR SELECT writes_at_run(2)", "SELECT declares_again('a')", "COMMIT"],
        &["DECLARE c CURSOR WITH HOLD FOR SELECT writes_with_lock()"],
        &["DECLARE c NO SCROLL CURSOR WITH HOLD FOR SELECT writes_with_lock()", "FETCH ALL FROM c"],
        &["BEGIN", "DECLARE c SCROLL CURSOR WITH HOLD FOR SELECT writes_with_lock()", "FETCH c", "COMMIT", "FETCH c"],
        &["DECLARE c CURSOR WITH HOLD FOR SELECT hides_cursor('d')"],
        &["DECLARE c CURSOR WITH HOLD FOR SELECT swaps_cursor('c')"],
    ];
    for way in ways {
        in_every_form(&stand, way, || stand.app());
    }
    for n in 1..5 {
        let declare = format!("DECLARE c CURSOR WITH HOLD FOR SELECT writes_at_run({n})");
        let of_rows =
            format!("DECLARE c CURSOR WITH HOLD FOR SELECT id, writes_at_run({}) FROM t ORDER BY id", 10 * n + 1);
        in_every_form(&stand, &[&declare, "FETCH ALL FROM c"], || stand.app());
        in_every_form(&stand, &["BEGIN", &declare, "COMMIT", "FETCH ALL FROM c"], || stand.app());
        in_every_form(&stand, &[&of_rows, "FETCH ALL FROM c"], || stand.app());
    }
    // What only reads is there, from its first row on, and its query has run once.
    let mut app = stand.app();
    for (query_of, rows) in [
        ("SELECT counts()", 1),
        ("SELECT id, id AS id FROM t ORDER BY id DESC -- the end", 10),
        ("VALUES (1, NULL, 'x'), (2, 'y', ROW(1, 2)::text)", 2),
        ("WITH q AS (SELECT 1) (TABLE q)", 1),
        ("SELECT FROM t", 10),
        ("SELECT counts_runs()", 1),
        ("SELECT dyn('SELECT count(*) FROM t')", 1),
    ] {
        for extended_too in [false, true] {
            let declare = format!("DECLARE held CURSOR WITH HOLD FOR {query_of}");
            let bytes = if extended_too { [extended(&declare), sync()].concat() } else { q(&declare) };
            let frames = talk(&mut app, &bytes, 1);
            assert_eq!(sqlstate(&frames), "", "{mode}: {declare}: {:?}", frames.iter().find_map(Frame::error));
            let frames = query(&mut app, "FETCH ALL FROM held");
            assert_eq!(frames.iter().filter(|frame| frame.tag == b'D').count(), rows, "{mode}: {declare}");
            run(&mut app, "CLOSE held");
        }
    }
    let shown = query(&mut app, "SELECT current_setting('my.runs')");
    assert!(
        shown.iter().any(|frame| frame.tag == b'D' && frame.values()[0].as_deref() == Some(b"2")),
        "{mode}: {shown:?}"
    );
    for bytes in [
        q("DECLARE b BINARY CURSOR WITH HOLD FOR SELECT 258"),
        [extended("DECLARE e BINARY CURSOR WITH HOLD FOR SELECT 258"), sync()].concat(),
    ] {
        assert_eq!(sqlstate(&talk(&mut app, &bytes, 1)), "", "{mode}");
    }
    for name in ["b", "e"] {
        let frames = query(&mut app, &format!("FETCH {name}"));
        let four = frames.iter().any(|frame| frame.tag == b'D' && frame.values()[0].as_deref() == Some(&[0, 0, 1, 2]));
        assert!(four, "{mode}: {name}: {frames:?}");
    }
    run(&mut app, "BEGIN");
    run(&mut app, "DECLARE one CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id");
    run(&mut app, "FETCH 3 FROM one");
    run(&mut app, "DECLARE two CURSOR WITH HOLD FOR SELECT counts()");
    run(&mut app, "COMMIT");
    let frames = query(&mut app, "FETCH one");
    assert!(frames.iter().any(|frame| frame.tag == b'D' && frame.values()[0].as_deref() == Some(b"4")), "{mode}");
}

#[test]
fn no_cursor_with_hold_writes_within_commit_in_transaction_mode() {
    cursors("transaction");
}

#[test]
fn no_cursor_with_hold_writes_within_commit_in_session_mode() {
    cursors("session");
}

fn deferred_triggers(mode: &str) {
    let stand = stand(mode);
    let mut ready: Vec<Raw> = Vec::new();
    let tables = ["late", "chained", "itself", "unseen_one"];
    // Each form is tried by a session of its own.
    for _ in 0..tables.len() * 4 * 2 + 1 {
        let mut raw = stand.app();
        OWN.iter().for_each(|sql| run(&mut raw, sql));
        ready.push(raw);
    }
    stand.on_primary();
    for table in tables {
        let insert = format!("INSERT INTO {table} VALUES (3)");
        in_every_form(&stand, &[&insert], || ready.pop().expect("one for each"));
        let in_pieces = format!("DO $$ BEGIN EXECUTE 'INSERT ' || 'INTO {table} VALUES (3)'; END $$");
        in_every_form(&stand, &["BEGIN", &in_pieces, "COMMIT"], || ready.pop().expect("one for each"));
    }
    let mut app = ready.pop().expect("one more");
    run(&mut app, "INSERT INTO looked VALUES (1)");
    run(&mut app, "BEGIN; INSERT INTO looked VALUES (1); COMMIT");
    assert_eq!(sqlstate(&talk(&mut app, &[extended("INSERT INTO looked VALUES (1)"), sync()].concat(), 1)), "");
}

#[test]
fn no_deferred_trigger_writes_within_commit_in_transaction_mode() {
    deferred_triggers("transaction");
}

#[test]
fn no_deferred_trigger_writes_within_commit_in_session_mode() {
    deferred_triggers("session");
}

#[test]
fn a_name_that_is_spelled_in_pieces_is_read_as_one() {
    let stand = stand("transaction");
    let primary = stand.cluster.primary();
    primary.psql_in("app", "SELECT pg_create_logical_replication_slot('watch', 'test_decoding')").expect("a slot");
    let messages = || {
        let sql = "SELECT count(*) FROM pg_logical_slot_peek_changes('watch', NULL, NULL) WHERE data LIKE '%message%'";
        primary.psql_in("app", sql).expect("a slot")
    };
    stand.on_primary();
    primary.psql_in("app", "UPDATE pg_class SET reltuples = 7 WHERE relname = 'measured'").expect("another count");
    let before = messages();
    for way in [
        "SELECT dyn('ANA' || 'LYZE measured')",
        "SELECT dyn('ANA' || 'LYZE measured') / 0",
        "SELECT dyn(concat('VAC', 'UUM measured'))",
        "SELECT dyn('REIN' || 'DEX TABLE measured')",
        "DO $$ BEGIN EXECUTE 'ANA' || 'LYZE measured'; RAISE EXCEPTION 'x'; END $$",
        "SELECT analyzes_in_pieces() / 0",
        "SELECT emits_in_pieces()",
        "SELECT dyn('SELECT pg_logical_' || 'emit_message(true, ''a'', ''b'')')",
        "SELECT query_to_xml('SELECT pg_logical_' || 'emit_message(true, ''a'', ''b'')', true, true, '')",
    ] {
        in_every_form(&stand, &[way], || stand.app());
    }
    let mut app = stand.app();
    for value in ["SELECT pg_logical_emit_message(true, 'a', 'message')", " analyze measured", "SELECT count(*) FROM t"]
    {
        let batch =
            [parse("", "SELECT dyn($1)", &[25]), bind("", "", &[Some(value.as_bytes())]), execute("", 0), sync()];
        let harmless = value.contains("count");
        assert_eq!(sqlstate(&talk(&mut app, &batch.concat(), 1)), if harmless { "" } else { "25006" }, "{value}");
    }
    assert_eq!(messages(), before);
    for sql in [
        "SELECT dyn('SELECT count(*) FROM pg_indexes WHERE indexname = ''x''')",
        "SELECT dyn('SELECT ''ana'' || ''lyst''')",
        "DO $$ BEGIN EXECUTE 'SELECT ' || 'count(*) FROM t'; END $$",
    ] {
        run(&mut app, sql);
    }
}

#[test]
fn a_cursor_that_locks_rows_locks_no_more_behind_the_flip() {
    for mode in ["transaction", "session"] {
        let stand = stand(mode);
        let mut sessions: Vec<Raw> = Vec::new();
        for declare in [
            "DECLARE c CURSOR FOR SELECT * FROM t FOR UPDATE",
            "DECLARE c NO SCROLL CURSOR FOR SELECT * FROM t FOR KEY SHARE",
            "DO $$ BEGIN EXECUTE 'DECLARE c CURSOR FOR SELECT * FROM t FOR UP' || 'DATE'; END $$",
        ] {
            let mut raw = stand.app();
            run(&mut raw, "BEGIN");
            run(&mut raw, declare);
            sessions.push(raw);
        }
        stand.console("MAINTENANCE ON app WITH (reads primary, drain_timeout '1s', on_timeout cancel)");
        for raw in &mut sessions {
            assert_eq!(sqlstate(&query(raw, "FETCH 2 FROM c")), "25006", "{mode}");
        }
        let locked = "SELECT count(*) FROM t WHERE xmax <> 0";
        assert_eq!(stand.cluster.primary().psql_in("app", locked).expect("a count"), "0", "{mode}");
    }
}

#[test]
fn a_writer_whose_work_was_taken_back_has_written_nothing() {
    let stand = stand("transaction");
    stand.on_primary();
    in_every_form(&stand, &["SELECT takes_half_back()"], || stand.app());
    in_every_form(&stand, &["BEGIN", "SELECT takes_half_back()", "COMMIT"], || stand.app());
    let before = written(&stand);
    let mut app = stand.app();
    for way in [&["SELECT takes_back()"][..], &["BEGIN", "SELECT takes_back()", "SELECT takes_back()", "COMMIT"]] {
        for sql in way {
            run(&mut app, sql);
            let frames = talk(&mut app, &[extended(sql), sync()].concat(), 1);
            // BEGIN warns the second time.
            assert_eq!(sqlstate(&frames), "", "{sql}: {:?}", frames.iter().find_map(Frame::error));
        }
    }
    assert_eq!(written(&stand), before);
}

/// What a client is told: rows, tags, states, and errors by their SQLSTATE.
fn said(frames: &[Frame]) -> Vec<String> {
    let told = frames.iter().filter_map(|frame| match frame.tag {
        b'E' => Some(format!("E {}", frame.error().expect("an error").code())),
        b'D' | b'C' | b'Z' | b'I' => Some(format!("{} {}", frame.tag as char, frame.body.escape_ascii())),
        _ => None,
    });
    told.collect()
}

/// As on a connection that is READ ONLY: no query of a cursor WITH HOLD is refused for what stands around it.
#[test]
fn a_cursor_with_hold_is_declared_among_other_statements_of_one_message() {
    let declare = "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id";
    let messages = [
        format!("BEGIN; {declare}; FETCH 2 FROM c; COMMIT"),
        format!("{declare}; FETCH 2 FROM c"),
        format!("SELECT 1; {declare}; SELECT 2"),
        format!("SELECT 1; {declare}"),
        format!("BEGIN; SELECT 1; {declare}"),
        format!("BEGIN; SAVEPOINT a; {declare}; RELEASE a; COMMIT; SELECT 3"),
        format!("{declare}; DECLARE d CURSOR WITH HOLD FOR VALUES (1); FETCH d; FETCH c; CLOSE d"),
        format!("{declare}; SELECT 1/0; SELECT 2"),
        format!("BEGIN; {declare}; SELECT 1/0; COMMIT"),
        "DECLARE c CURSOR WITH HOLD FOR SELECT no_such FROM t; SELECT 2".to_owned(),
        format!("{declare}; INSERT INTO t VALUES (1000, 'x'); SELECT 2"),
    ];
    let behind = ["FETCH 2 FROM c", "ROLLBACK", "FETCH 1 FROM c", "SELECT count(*) FROM pg_cursors", "CLOSE ALL"];
    for mode in ["transaction", "session"] {
        let stand = stand(mode);
        stand.on_primary();
        for message in &messages {
            let (mut app, mut direct) = (stand.app(), stand.direct(true));
            for sql in std::iter::once(message.as_str()).chain(behind) {
                assert_eq!(said(&query(&mut app, sql)), said(&query(&mut direct, sql)), "{mode}, {message}: {sql}");
            }
        }
    }
}

/// A cursor that cannot go back is refused in PostgreSQL's words; its rows come in their order, in the block and behind it.
#[test]
fn a_cursor_with_hold_that_says_no_scroll_goes_forward_only() {
    let queries = [
        "SELECT id, v FROM t ORDER BY id DESC",
        "SELECT id FROM t WHERE false",
        "SELECT count(*), counts() FROM t",
        "SELECT FROM t",
        "SELECT a.id AS n, b.id AS n FROM t a JOIN t b USING (id) ORDER BY 1",
        "VALUES (1, 'a'), (2, NULL) LIMIT 2",
    ];
    let behind = [
        "FETCH 2 FROM c",
        "FETCH RELATIVE 1 FROM c",
        "FETCH BACKWARD 1 FROM c",
        "MOVE PRIOR IN c",
        "FETCH c",
        "SELECT name, is_holdable, is_binary, is_scrollable FROM pg_cursors",
        "CLOSE c",
    ];
    for mode in ["transaction", "session"] {
        let stand = stand(mode);
        stand.on_primary();
        for (at, rows) in queries.iter().enumerate() {
            let binary = if at % 2 == 1 { "BINARY " } else { "" };
            let declare = format!("DECLARE c {binary}INSENSITIVE NO SCROLL CURSOR WITH HOLD FOR {rows}");
            let (mut app, mut direct) = (stand.app(), stand.direct(true));
            let whole: &[&[&str]] = &[
                &[&declare],
                &["BEGIN", &declare, "FETCH 1 FROM c", "FETCH 0 FROM c", "ROLLBACK"],
                &["BEGIN", &declare, "FETCH 1 FROM c", "COMMIT"],
                &["BEGIN", &declare, "COMMIT"],
            ];
            for ahead in whole {
                for sql in ahead.iter().chain(&behind) {
                    assert_eq!(said(&query(&mut app, sql)), said(&query(&mut direct, sql)), "{mode}, {declare}: {sql}");
                }
            }
            let messages = [parse("", &declare, &[]), bind("", "", &[]), execute("", 0), sync()].concat();
            assert_eq!(
                said(&talk(&mut app, &messages, 1)),
                said(&talk(&mut direct, &messages, 1)),
                "{mode}, {declare}"
            );
            for sql in behind {
                assert_eq!(
                    said(&query(&mut app, sql)),
                    said(&query(&mut direct, sql)),
                    "{mode}, by messages, {declare}: {sql}"
                );
            }
        }
    }
}
