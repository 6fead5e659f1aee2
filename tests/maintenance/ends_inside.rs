//! CALL and DO that end their own transaction: in maintenance they do what they do in a READ ONLY session, and what might write
//! all the same stays in one transaction, which is rolled back.

use crate::stand::{LONG, Stand, query, talk};
use pgsluice_fixtures::raw::message::{self, bind, execute, parse, sync};
use pgsluice_fixtures::{Frame, Installation, Postgres, Raw};

const CODE: &str = "
CREATE TABLE audited (a int);
CREATE FUNCTION counts() RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN (SELECT count(*) FROM t); END $$;
CREATE FUNCTION large() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM lo_create(0); RETURN 1; END $$;
CREATE FUNCTION row_written() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM lo_create(0); RETURN NEW; END $$;
CREATE TRIGGER audit BEFORE INSERT ON audited FOR EACH ROW EXECUTE FUNCTION row_written();
CREATE VIEW settings AS SELECT * FROM pg_settings;
CREATE TABLE ruled (a int);
CREATE RULE makes AS ON INSERT TO ruled DO INSTEAD SELECT large();
CREATE RULE lifts AS ON UPDATE TO ruled DO INSTEAD UPDATE pg_settings SET setting = 'off' WHERE name = 'default_transaction_read_only';
CREATE FUNCTION lowers() RETURNS void LANGUAGE plpgsql AS $$ BEGIN SET default_transaction_read_only = off; END $$;
CREATE PROCEDURE p_reads(n int) LANGUAGE plpgsql AS $$ BEGIN FOR i IN 1..n LOOP PERFORM count(*) FROM t; COMMIT; END LOOP; END $$;
CREATE PROCEDURE p_calls() LANGUAGE plpgsql AS $$ BEGIN CALL p_reads(2); COMMIT; PERFORM counts(); ROLLBACK; END $$;
CREATE PROCEDURE p_writes_first() LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (2001, 'x'); COMMIT; END $$;
CREATE PROCEDURE p_writes_last() LANGUAGE plpgsql AS $$ BEGIN PERFORM 1; COMMIT; INSERT INTO t VALUES (2002, 'x'); COMMIT; END $$;
CREATE PROCEDURE p_updates() LANGUAGE plpgsql AS $$ BEGIN COMMIT; UPDATE t SET v = 'x'; COMMIT; END $$;
CREATE PROCEDURE p_audits() LANGUAGE plpgsql AS $$ BEGIN COMMIT; INSERT INTO audited VALUES (1); COMMIT; END $$;
CREATE PROCEDURE p_if(n int) LANGUAGE plpgsql AS $$ BEGIN IF n > 5 THEN INSERT INTO t VALUES (2003, 'x'); END IF; COMMIT; END $$;
CREATE PROCEDURE p_catches() LANGUAGE plpgsql AS $$ BEGIN
    COMMIT; BEGIN INSERT INTO t VALUES (2004, 'x'); EXCEPTION WHEN OTHERS THEN RAISE NOTICE '%', SQLSTATE; END; COMMIT; END $$;
CREATE PROCEDURE p_inout(INOUT a int, INOUT b text) LANGUAGE plpgsql AS $$ BEGIN COMMIT; a := a + counts(); b := b || a; COMMIT; END $$;
CREATE PROCEDURE p_cursor() LANGUAGE plpgsql AS $$ DECLARE r record; BEGIN FOR r IN SELECT id FROM t LOOP COMMIT; END LOOP; END $$;
CREATE PROCEDURE p_sets() LANGUAGE plpgsql AS $$ BEGIN SET LOCAL lock_timeout = '5s'; PERFORM 1; COMMIT;
    SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; PERFORM 1; ROLLBACK AND CHAIN; PERFORM 1; COMMIT; END $$;
CREATE PROCEDURE p_fails() LANGUAGE plpgsql AS $$ BEGIN COMMIT; PERFORM 1 / 0; END $$;
CREATE PROCEDURE p_executes() LANGUAGE plpgsql AS $$ BEGIN EXECUTE 'SELECT 1'; COMMIT; EXECUTE 'INSERT INTO t VALUES (2005)'; END $$;
CREATE PROCEDURE s_reads() LANGUAGE sql AS 'SELECT counts()';
CREATE PROCEDURE s_writes() LANGUAGE sql AS 'INSERT INTO t VALUES (2006)';
CREATE PROCEDURE p_lifts() LANGUAGE plpgsql AS $$ BEGIN COMMIT; SET TRANSACTION READ WRITE; INSERT INTO t VALUES (3001, 'x'); COMMIT; END $$;
CREATE PROCEDURE p_defaults() LANGUAGE plpgsql AS $$ BEGIN
    SET default_transaction_read_only = off; COMMIT; INSERT INTO t VALUES (3002, 'x'); COMMIT; END $$;
CREATE PROCEDURE p_lowers() LANGUAGE plpgsql AS $$ BEGIN PERFORM lowers(); COMMIT; INSERT INTO t VALUES (3003, 'x'); COMMIT; END $$;
CREATE PROCEDURE p_calls_lifting() LANGUAGE plpgsql AS $$ BEGIN COMMIT; CALL p_lifts(); END $$;
CREATE PROCEDURE p_large() LANGUAGE plpgsql AS $$ BEGIN PERFORM large(); COMMIT; END $$;
CREATE PROCEDURE p_built(s text) LANGUAGE plpgsql AS $$ BEGIN COMMIT; EXECUTE s; COMMIT; EXECUTE s; COMMIT; END $$;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
";

/// What a READ ONLY session runs, or refuses by itself.
const ALIKE: &[&str] = &[
    "CALL p_reads(3)",
    "CALL p_reads(counts())",
    "CALL p_calls()",
    "CALL p_writes_first()",
    "CALL p_writes_last()",
    "CALL p_updates()",
    "CALL p_if(1)",
    "CALL p_if(9)",
    "CALL p_catches()",
    "CALL p_inout(1, 'b')",
    "CALL p_cursor()",
    "CALL p_sets()",
    "CALL p_fails()",
    "CALL p_executes()",
    "CALL s_reads()",
    "CALL s_writes()",
    "CALL nosuch()",
    "DO $$ BEGIN COMMIT; END $$",
    "DO $$ BEGIN ROLLBACK; END $$",
    "DO LANGUAGE plpgsql $$ BEGIN FOR i IN 1..3 LOOP PERFORM counts(); COMMIT; END LOOP; CALL p_calls(); END $$",
    "DO $$ BEGIN COMMIT; DELETE FROM t; END $$",
    "DO $$ BEGIN COMMIT; RAISE 'mine' USING ERRCODE = 'P0007'; END $$",
    "DO $$ BEGIN BEGIN COMMIT; EXCEPTION WHEN OTHERS THEN RAISE; END; END $$",
    "DO $$ BEGIN EXECUTE 'CALL p_reads(2)'; COMMIT; END $$",
];

/// What may write in a READ ONLY session, or what only its catalog could tell.
const REFUSED: &[&str] = &[
    "CALL p_lifts()",
    "CALL p_defaults()",
    "CALL p_lowers()",
    "CALL p_calls_lifting()",
    "CALL p_large()",
    "CALL p_audits()",
    "CALL p_built('SELECT lo_create(0)')",
    "CALL p_built('SET TRANSACTION READ WRITE')",
    "CALL p_reads(large())",
    "DO $$ BEGIN COMMIT; SET TRANSACTION READ WRITE; INSERT INTO t VALUES (3004, 'x'); END $$",
    "DO $$ BEGIN COMMIT; EXECUTE 'SET TRANSACTION READ' || ' WRITE'; INSERT INTO t VALUES (3005, 'x'); END $$",
    "DO $$ BEGIN COMMIT; SET transaction_read_only = off; INSERT INTO t VALUES (3006, 'x'); END $$",
    "DO $$ BEGIN RESET transaction_read_only; COMMIT; INSERT INTO t VALUES (3007, 'x'); END $$",
    "DO $$ BEGIN RESET ALL; COMMIT; INSERT INTO t VALUES (3008, 'x'); END $$",
    "DO $$ BEGIN SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE; COMMIT; INSERT INTO t VALUES (3009, 'x'); END $$",
    "DO $$ BEGIN UPDATE pg_settings SET setting = 'off' WHERE name = 'default_transaction_read_only'; COMMIT; \
     INSERT INTO t VALUES (3010, 'x'); END $$",
    "DO $$ BEGIN UPDATE settings SET setting = 'off' WHERE name = 'default_transaction_read_only'; COMMIT; \
     INSERT INTO t VALUES (3011, 'x'); END $$",
    "DO $$ BEGIN UPDATE ruled SET a = 1; COMMIT; INSERT INTO t VALUES (3012, 'x'); END $$",
    "DO $$ BEGIN INSERT INTO ruled VALUES (1); COMMIT; END $$",
    "DO $$ BEGIN PERFORM set_config('default_transaction_read_only', 'off', false); COMMIT; INSERT INTO t VALUES (3013, 'x'); END $$",
    "DO $$ BEGIN PERFORM large(); COMMIT; END $$",
    "DO $$ BEGIN ANALYZE t; COMMIT; END $$",
    "DO $$ DECLARE r record; BEGIN FOR r IN EXPLAIN ANALYZE CREATE TABLE x AS SELECT 1 LOOP COMMIT; END LOOP; END $$",
];

fn stand(mode: &str, installation: Option<Installation>) -> Stand {
    let extra = format!("pool_mode = \"{mode}\"");
    let stand = match installation {
        Some(installation) => Stand::with_server(installation, &extra, "SUPERUSER"),
        None => Stand::new(&extra),
    };
    stand.operator().query(CODE, LONG).expect("the procedures");
    stand
}

/// Tags, SQLSTATEs and rows of an answer.
fn told(frames: &[Frame]) -> Vec<String> {
    let told = |frame: &Frame| match frame.tag {
        b'E' => Some(format!("error {}", frame.error()?.code())),
        b'N' => Some(format!("notice {}", frame.error()?.code())),
        b'C' | b'D' | b'Z' => Some(format!("{}{}", char::from(frame.tag), String::from_utf8_lossy(&frame.body))),
        _ => None,
    };
    frames.iter().filter_map(told).collect()
}

/// Simple; extended; behind a read in its pipeline, and ahead of one; in a block; among others in one message.
fn forms(sql: &str) -> Vec<(Vec<u8>, usize)> {
    let one = |sql: &str| [parse("", sql, &[]), bind("", "", &[]), execute("", 0)].concat();
    let named =
        [parse("ends", sql, &[]), bind("ends", "ends", &[]), execute("ends", 0), message::close_statement("ends")]
            .concat();
    vec![
        (message::query(sql), 1),
        ([one(sql), sync()].concat(), 1),
        ([named, sync()].concat(), 1),
        ([one("SELECT 1"), one(sql), sync()].concat(), 1),
        ([one(sql), one("SELECT count(*) FROM t"), sync()].concat(), 1),
        ([one("SELECT 1"), sync(), one(sql), sync(), one(sql), sync()].concat(), 3),
        (message::query(&format!("BEGIN; {sql}; ROLLBACK")), 1),
        (message::query(&format!("SELECT 1; {sql}")), 1),
    ]
}

fn compare(mode: &str, installation: Option<Installation>) {
    let stand = stand(mode, installation);
    stand.on_primary();
    let (mut app, mut direct) = (stand.app(), stand.direct(true));
    let before = stand.everything();
    for sql in ALIKE {
        for (form, (bytes, readies)) in forms(sql).into_iter().enumerate() {
            let expected = told(&talk(&mut direct, &bytes, readies));
            assert_eq!(told(&talk(&mut app, &bytes, readies)), expected, "{mode}: {sql}, form {form}");
            for session in [&mut app, &mut direct] {
                query(session, "ROLLBACK");
            }
        }
    }
    for sql in REFUSED {
        for (form, (bytes, readies)) in forms(sql).into_iter().enumerate() {
            let mut app = stand.app();
            let frames = talk(&mut app, &bytes, readies);
            let error = frames.iter().find_map(Frame::error).map(|error| error.code().to_owned());
            assert!(error.is_some(), "{mode}: {sql}, form {form}: {:?}", told(&frames));
            let alone = form < 3 || form == 5;
            // From 16 on the server has a word of its own for this.
            let own = sql.contains("RESET transaction_read_only") && error.as_deref() == Some("0A000");
            assert!(
                !alone || own || error.as_deref() == Some("25006"),
                "{mode}: {sql}, form {form}: {:?}",
                told(&frames)
            );
            writes_nothing(&mut app);
        }
        assert_eq!(stand.everything(), before, "{mode}: {sql}");
    }
}

/// What a statement may have left behind in its session does not write either.
fn writes_nothing(app: &mut Raw) {
    let _ = app.query("ROLLBACK", LONG);
    if let Ok(answer) = app.query("INSERT INTO t VALUES (4001, 'later')", LONG) {
        panic!("{answer:?}");
    }
}

#[test]
fn what_ends_its_own_transaction_is_as_in_a_read_only_session_transaction_mode() {
    compare("transaction", None);
}

#[test]
fn what_ends_its_own_transaction_is_as_in_a_read_only_session_session_mode() {
    compare("session", None);
}

#[test]
fn what_ends_its_own_transaction_is_as_in_a_read_only_session_on_18() {
    compare("transaction", Some(Postgres::major(18).unwrap()));
}

/// A procedure that is replaced while the gate is closed is read before it runs.
#[test]
fn a_procedure_that_an_operator_replaces_is_looked_at_anew() {
    let stand = stand("transaction", None);
    stand.on_primary();
    let mut app = stand.app();
    let before = stand.everything();
    assert!(app.query("CALL p_reads(2)", LONG).is_ok());
    let lifts = "CREATE OR REPLACE PROCEDURE p_reads(n int) LANGUAGE plpgsql AS $$ BEGIN \
        COMMIT; SET TRANSACTION READ WRITE; INSERT INTO t VALUES (5001, 'x'); COMMIT; END $$";
    stand.operator().query(lifts, LONG).expect("replaced");
    let refused = app.query("CALL p_reads(2)", LONG).expect_err("refused");
    assert!(refused.to_string().contains("25006"), "{refused}");
    assert_eq!(stand.everything()[..10], before[..10]);
}
