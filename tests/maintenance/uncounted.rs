//! The check ahead of COMMIT counts changed rows, which the server does only with `track_counts`. Wherever that is switched off,
//! nothing hides, and CHECK and MAINTENANCE ON say so.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message::{self, bind, execute, parse, sync};
use pgsluice_fixtures::{Frame, Raw};

/// Functions that make a large object, which PostgreSQL runs in READ ONLY, without a count of it; and others that are harmless.
const HIDDEN: &str = "
CREATE FUNCTION large() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM lo_create(0); RETURN 1; END $$;
CREATE FUNCTION by_clause() RETURNS int SECURITY DEFINER SET track_counts = off LANGUAGE plpgsql AS
    $$ BEGIN PERFORM lo_create(0); RETURN 1; END $$;
CREATE FUNCTION by_clause_of_caller() RETURNS int SECURITY DEFINER SET track_counts TO 'f' LANGUAGE sql AS 'SELECT large()';
CREATE FUNCTION by_body() RETURNS int SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    SET LOCAL track_counts = off; PERFORM lo_create(0); RESET track_counts; RETURN 1; END $$;
CREATE FUNCTION in_pieces() RETURNS int SECURITY DEFINER LANGUAGE plpgsql AS $$ BEGIN
    PERFORM set_config('track_' || 'counts', 'off', true); PERFORM lo_create(0);
    PERFORM set_config('track_' || 'counts', 'on', true); RETURN 1; END $$;
CREATE FUNCTION off_only() RETURNS text SECURITY DEFINER LANGUAGE sql AS $$ SELECT set_config('track_counts', 'off', true) $$;
CREATE VIEW by_view AS SELECT by_clause();
CREATE FUNCTION reads_by_clause() RETURNS int SECURITY DEFINER SET track_counts = off LANGUAGE sql AS 'SELECT count(*)::int FROM t';
CREATE FUNCTION counted() RETURNS text LANGUAGE sql AS $$ SELECT current_setting('track_counts') $$;
";

/// Ways in which only the setting matters.
const BY_SETTING: [&str; 2] = ["SELECT large()", "SELECT count(*), large() FROM t"];
const BY_FUNCTION: [&str; 6] = [
    "SELECT by_clause()",
    "SELECT by_clause_of_caller()",
    "SELECT by_body()",
    "SELECT in_pieces()",
    "SELECT off_only(), large()",
    "SELECT * FROM by_view",
];

fn stand(mode: &str) -> Stand {
    let stand = Stand::new(&format!("pool_mode = \"{mode}\""));
    stand.operator().query(HIDDEN, LONG).expect("the functions");
    stand
}

/// Simple, extended, in a block, in one message with others.
fn forms(sql: &str) -> [Vec<u8>; 4] {
    [
        message::query(sql),
        [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat(),
        message::query(&format!("BEGIN; SELECT 1; {sql}; COMMIT")),
        message::query(&format!("SELECT 1; {sql}")),
    ]
}

#[track_caller]
fn is_refused(app: &mut Raw, sql: &str) {
    for (form, bytes) in forms(sql).iter().enumerate() {
        assert_eq!(sqlstate(&talk(app, bytes, 1)), "25006", "{sql}, form {form}");
        query(app, "ROLLBACK");
    }
}

#[track_caller]
fn passes(app: &mut Raw, sql: &str) {
    let frames = query(app, sql);
    assert!(frames.iter().all(|frame| frame.tag != b'E'), "{sql}: {:?}", frames.iter().find_map(Frame::error));
}

fn check(stand: &Stand, name: &str) -> (String, String) {
    let rows = stand.console("MAINTENANCE CHECK app");
    let row = rows.iter().find(|row| row[1].as_deref() == Some(name)).expect("that check");
    (row[2].clone().unwrap(), row[3].clone().unwrap())
}

#[test]
fn a_setting_that_switches_the_count_off_hides_nothing() {
    for mode in ["transaction", "session"] {
        let stand = stand(mode);
        let server = stand.cluster.primary();
        for (set, reset) in [
            ("ALTER DATABASE app SET track_counts = off", "ALTER DATABASE app RESET track_counts"),
            ("ALTER ROLE app SET track_counts = 'fa'", "ALTER ROLE app RESET track_counts"),
            (
                "ALTER ROLE app IN DATABASE app SET track_counts = 0",
                "ALTER ROLE app IN DATABASE app RESET track_counts",
            ),
            ("ALTER SYSTEM SET track_counts = off", "ALTER SYSTEM RESET track_counts"),
        ] {
            server.psql(set).expect(set);
            server.reload().expect("a reload");
            server.wait_until("SELECT pg_sleep(0.05) IS NULL", "f", LONG).expect("it has been read");
            stand.console("RECONNECT app");
            let mut app = stand.app();
            let (status, detail) = check(&stand, "write check");
            assert!(status == "warn" && detail.contains("track_counts"), "{set}: {status}: {detail}");
            let before = stand.everything();
            let frames = query(
                &mut stand.connect("dba", "dba", "pgsluice"),
                "MAINTENANCE ON app WITH (message 'moving house', reads primary)",
            );
            let told = frames.iter().any(|frame| String::from_utf8_lossy(&frame.body).contains("track_counts"));
            assert!(told, "{set}: {frames:?}");
            passes(&mut app, "SHOW track_counts");
            BY_SETTING.iter().chain(&BY_FUNCTION).for_each(|sql| is_refused(&mut app, sql));
            for sql in ["SELECT count(*) FROM t", "SELECT reads_by_clause()", "SELECT counted()", "SELECT 1"] {
                passes(&mut app, sql);
            }
            let mut after = stand.everything();
            assert_eq!(after.len(), before.len());
            after.iter_mut().zip(&before).for_each(|(now, then)| assert_eq!(now, then, "{set}"));
            stand.off();
            server.psql(reset).expect(reset);
            server.reload().expect("a reload");
        }
    }
}

#[test]
fn a_function_that_switches_the_count_off_is_refused_and_named() {
    for mode in ["transaction", "session", "statement"] {
        let stand = stand(mode);
        let mut app = stand.app();
        let (status, detail) = check(&stand, "unseen writers");
        assert!(status == "warn" && detail.contains("track_counts"), "{status}: {detail}");
        assert_eq!(check(&stand, "write check").0, "ok");
        stand.on_primary();
        let before = stand.everything();
        for sql in BY_FUNCTION {
            assert_eq!(sqlstate(&query(&mut app, sql)), "25006", "{sql}");
        }
        passes(&mut app, "SELECT reads_by_clause(), counted()");
        // The rest of what is counted is found as before.
        assert_eq!(sqlstate(&query(&mut app, "SELECT large()")), "25006");
        assert_eq!(stand.everything(), before, "{mode}");
    }
}

#[test]
fn a_session_that_may_switch_the_count_off_hides_nothing() {
    for mode in ["transaction", "session"] {
        let stand = stand(mode);
        stand.cluster.primary().psql("ALTER ROLE app SUPERUSER").expect("a superuser");
        let mut app = stand.app();
        stand.on_primary();
        let before = stand.everything();
        for sql in [
            "SET LOCAL track_counts = off; SELECT large(); SET LOCAL track_counts = on",
            "SET LOCAL track_counts = off; SELECT large(); RESET track_counts",
            "SET LOCAL track_counts = off; SELECT large(); SET LOCAL track_counts TO DEFAULT",
            "SELECT set_config('track_counts', 'off', true), large(), set_config('track_counts', 'on', true)",
            "SELECT set_config('track_counts', 'off', true), large(); RESET ALL",
            "SET LOCAL track_counts = off; SELECT large()",
            "DO $$ BEGIN EXECUTE 'SET LOCAL track' || '_counts = off'; PERFORM lo_create(0); RESET ALL; END $$",
        ] {
            for text in [format!("BEGIN; {sql}; COMMIT"), sql.to_owned()] {
                let frames = query(&mut app, &text);
                assert_eq!(sqlstate(&frames), "25006", "{text}");
                query(&mut app, "ROLLBACK");
            }
            // Each in a message of its own.
            query(&mut app, "BEGIN");
            let states: Vec<_> = sql.split_inclusive("; ").map(|one| sqlstate(&query(&mut app, one))).collect();
            let last = sqlstate(&query(&mut app, "COMMIT"));
            assert!(states.iter().chain([&last]).any(|state| state == "25006"), "{sql}: {states:?} {last}");
            query(&mut app, "ROLLBACK");
        }
        query(&mut app, "SET track_counts = off");
        is_refused(&mut app, "SELECT large()");
        query(&mut app, "RESET track_counts");
        passes(&mut app, "SELECT count(*) FROM t");
        assert_eq!(stand.everything(), before, "{mode}");
    }
}
