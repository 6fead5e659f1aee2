//! Login event triggers, which PostgreSQL 17 and later have, run at each log-in of a server connection. Where they may write none
//! is opened while the gate is closed: nothing of theirs is written, reads go on, and operators get in.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message::{bind, execute, parse, sync};
use pgsluice_fixtures::{Frame, Postgres, Raw, wait};

/// What a trigger may do: a row, a message in the write-ahead log, a large object; hidden in functions that it calls.
const WRITERS: [(&str, &str); 4] = [
    ("a row", "IF NOT pg_is_in_recovery() THEN INSERT INTO logins (who) VALUES (session_user); END IF"),
    ("a message", "IF NOT pg_is_in_recovery() THEN PERFORM emits(); END IF"),
    ("a large object", "IF NOT pg_is_in_recovery() THEN PERFORM lo_create(0); END IF"),
    ("text", "IF NOT pg_is_in_recovery() THEN EXECUTE 'INSERT INTO lo' || 'gins (who) VALUES (session_user)'; END IF"),
];

const SCHEMA: &str = "
CREATE TABLE logins (who text);
GRANT INSERT ON logins TO PUBLIC;
CREATE FUNCTION emits() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_logical_emit_message(true, session_user, 'in'); END $$;
CREATE PUBLICATION all_of_it FOR ALL TABLES;
";

/// All that a log-in of the application has left behind.
const TRACES: &str = "SELECT concat_ws(' ', (SELECT count(*) FROM logins WHERE who <> 'dba'), \
    (SELECT count(*) FROM pg_largeobject_metadata), \
    (SELECT count(*) FROM pg_logical_slot_peek_binary_changes('watch', NULL, NULL, \
        'proto_version', '1', 'publication_names', 'all_of_it', 'messages', 'true') WHERE position('app'::bytea IN data) > 0))";

/// The majors to try; none where the tests run against a server that has no such triggers.
fn majors() -> Vec<u32> {
    match std::env::var("PGSLUICE_TEST_POSTGRES").ok().and_then(|major| major.parse().ok()) {
        None => vec![18],
        Some(major) if major >= 17 => vec![major],
        Some(major) => {
            println!("SKIPPED: PostgreSQL {major} has no login event triggers");
            Vec::new()
        }
    }
}

fn stand(major: u32, mode: &str, right: &str) -> Stand {
    let installation = Postgres::major(major).expect("that PostgreSQL");
    let stand = Stand::with_server(installation, &format!("pool_mode = \"{mode}\"\ndefault_pool_size = 5"), right);
    stand.cluster.primary().psql_in("app", SCHEMA).expect("the schema");
    let slot = "SELECT pg_create_logical_replication_slot('watch', 'pgoutput')";
    stand.cluster.primary().psql_in("app", slot).expect("a slot");
    stand
}

/// From here on log-ins run that.
fn create_trigger(stand: &Stand, body: &str) {
    let sql = format!(
        "CREATE OR REPLACE FUNCTION at_login() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN {body}; END $$; \
         DROP EVENT TRIGGER IF EXISTS at_login; CREATE EVENT TRIGGER at_login ON login EXECUTE FUNCTION at_login(); \
         ALTER EVENT TRIGGER at_login ENABLE ALWAYS"
    );
    stand.cluster.primary().psql_in("app", &sql).expect("a trigger");
}

fn traces(stand: &Stand) -> String {
    stand.cluster.primary().psql_in("postgres", "SELECT 1").expect("it lives");
    // That log-in runs none: the superuser's has them off.
    stand.cluster.primary().psql_in("app", TRACES).expect("traces")
}

#[track_caller]
fn reads(app: &mut Raw) {
    for sql in ["SELECT count(*) FROM t", "SELECT 1", "SHOW work_mem", "BEGIN; SELECT 1; COMMIT"] {
        let frames = query(app, sql);
        assert_eq!(sqlstate(&frames), "", "{sql}: {:?}", frames.iter().find_map(Frame::error));
    }
    let batch =
        [parse("", "SELECT count(*) FROM t WHERE id > $1", &[]), bind("", "", &[Some(b"0")]), execute("", 0), sync()];
    assert_eq!(sqlstate(&talk(app, &batch.concat(), 1)), "");
}

#[track_caller]
fn writes(app: &mut Raw, expected: &str) {
    assert_eq!(sqlstate(&query(app, "UPDATE t SET v = v")), expected);
    let batch = [parse("", "UPDATE t SET v = v", &[]), bind("", "", &[]), execute("", 0), sync()].concat();
    assert_eq!(sqlstate(&talk(app, &batch, 1)), expected);
}

fn check(stand: &Stand) -> (String, String) {
    let rows = stand.console("MAINTENANCE CHECK app");
    let row = rows.iter().find(|row| row[1].as_deref() == Some("login triggers")).expect("that check");
    (row[2].clone().unwrap(), row[3].clone().unwrap())
}

fn holds(stand: &Stand, mode: &str, what: &str, body: &str) {
    create_trigger(stand, body);
    let (status, detail) = check(stand);
    assert!(status == "warn" && detail.contains("at_login"), "{what}: {status}: {detail}");
    let mut early = stand.app();
    writes(&mut early, "");
    let mut open = stand.app();
    query(&mut open, "BEGIN; INSERT INTO t VALUES (900, 'x')");
    std::thread::scope(|scope| {
        let closes = scope.spawn(|| {
            query(
                &mut stand.connect("dba", "dba", "pgsluice"),
                "MAINTENANCE ON app WITH (message 'moving house', reads primary)",
            )
        });
        let flipped = |early: &mut Raw| sqlstate(&query(early, "UPDATE t SET v = v WHERE false")) == "25006";
        wait::until(LONG, "the flip", || flipped(&mut early).then_some(()));
        assert_eq!(sqlstate(&query(&mut open, "COMMIT")), "", "{what}");
        let told = closes.join().expect("an answer");
        let named = told.iter().any(|frame| String::from_utf8_lossy(&frame.body).contains("login event triggers"));
        assert!(named, "{what}: {:?}", told.last_chunk::<4>());
    });
    let before = (traces(stand), stand.everything());
    reads(&mut early);
    writes(&mut early, "25006");
    for sql in [
        "DISCARD ALL",
        "RESET ALL",
        "SET default_transaction_read_only = on",
        "SET default_transaction_read_only = off",
    ] {
        assert_eq!(sqlstate(&query(&mut early, sql)), "", "{what}, {mode}: {sql}");
        writes(&mut early, "25006");
    }
    reads(&mut open);
    if mode != "session" {
        // A new client, more clients than connections, and each again and again.
        let mut late = stand.app();
        reads(&mut late);
        writes(&mut late, "25006");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let mut app = stand.app();
                    for _ in 0..5 {
                        reads(&mut app);
                        writes(&mut app, "25006");
                    }
                });
            }
        });
    }
    assert_eq!((traces(stand), stand.everything()), before, "{what}, {mode}");
    let mut operator = stand.operator();
    assert_eq!(sqlstate(&query(&mut operator, "DELETE FROM t WHERE id = 900")), "", "{what}");
    stand.off();
    writes(&mut early, "");
    let mut fresh = stand.app();
    writes(&mut fresh, "");
    assert_eq!(sqlstate(&query(&mut fresh, "SHOW default_transaction_read_only")), "");
}

#[test]
fn nothing_is_written_by_a_log_in_while_the_gate_is_closed_and_reads_go_on() {
    for major in majors() {
        for mode in ["transaction", "session"] {
            let stand = stand(major, mode, "SUPERUSER");
            stand.cluster.primary().psql("ALTER ROLE postgres SET event_triggers = off").expect("a quiet superuser");
            WRITERS.iter().for_each(|(what, body)| holds(&stand, mode, what, body));
        }
    }
}

#[test]
fn a_role_without_any_connection_is_told_why_and_how_it_can_get_in() {
    for major in majors() {
        let mut stand = stand(major, "transaction", "SUPERUSER");
        stand.cluster.primary().psql("ALTER ROLE postgres SET event_triggers = off").expect("a quiet superuser");
        create_trigger(&stand, WRITERS[0].1);
        // It has never been here, and is let in ahead of the flip.
        stand.on_primary();
        let before = traces(&stand);
        reads(&mut stand.app());
        stand.proxy.kill_9();
        stand.proxy.start_again().expect("started again");
        let mut operator = stand.operator();
        let refused = wait::until(LONG, "the catalog is known", || {
            let refused = stand.try_app().err()?.to_string();
            refused.contains("25006").then_some(refused)
        });
        assert!(refused.contains("login event trigger") || refused.contains("nothing may be written"), "{refused}");
        assert_eq!(traces(&stand), before);
        assert_eq!(sqlstate(&query(&mut operator, "ALTER ROLE app SET event_triggers = off")), "");
        let mut app = wait::until(LONG, "the role gets in", || stand.try_app().ok());
        reads(&mut app);
        writes(&mut app, "25006");
        assert_eq!(traces(&stand), before);
    }
}

#[test]
fn a_log_in_that_writes_nothing_is_as_ever() {
    for major in majors() {
        let stand = stand(major, "transaction", "SUPERUSER");
        create_trigger(&stand, "PERFORM set_config('app.seen', 'yes', false), count(*) FROM t; RAISE NOTICE 'welcome'");
        assert_eq!(check(&stand).0, "ok");
        stand.on_primary();
        stand.console("RECONNECT app");
        reads(&mut stand.app());
    }
}

#[test]
fn where_the_monitors_own_log_ins_would_write_the_gate_closes_only_if_that_is_accepted() {
    for major in majors() {
        let stand = stand(major, "transaction", "CONNECTION LIMIT 50");
        stand.cluster.primary().psql("GRANT pg_monitor TO monitor").expect("a monitor");
        create_trigger(&stand, WRITERS[0].1);
        assert_eq!(check(&stand).0, "fail");
        let on = |with: &str| query(&mut stand.connect("dba", "dba", "pgsluice"), &format!("MAINTENANCE ON app{with}"));
        let frames = on(" WITH (reads primary)");
        assert_eq!(sqlstate(&frames), "55000");
        let error = frames.iter().find_map(Frame::error).expect("an error");
        assert!(format!("{error:?}").contains("accept_unchecked"), "{error:?}");
        assert_eq!(stand.mode(), "read_write");
        writes(&mut stand.app(), "");
        assert_eq!(sqlstate(&on(" WITH (reads primary, accept_unchecked)")), "");
        assert_eq!(stand.mode(), "read_only");
        stand.off();
        stand.cluster.primary().psql("ALTER ROLE monitor SET event_triggers = off").expect("a quiet monitor");
        assert_eq!(check(&stand).0, "warn");
        assert_eq!(sqlstate(&on(" WITH (reads primary)")), "");
        reads(&mut stand.app());
    }
}
