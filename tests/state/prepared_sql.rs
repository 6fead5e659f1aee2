//! Statements of SQL's PREPARE, and what they have in common with those of the protocol: their names.

use crate::stand::{Client, Place};
use pgsluice_fixtures::raw::message::{
    bind, close_statement, describe_portal, describe_statement, execute, parse, query, sync,
};

/// Whatever it is, a client of pgsluice is told what one of the server is.
#[track_caller]
fn same(near: &mut Client, far: &mut Client, messages: &[Vec<u8>]) -> Vec<String> {
    let told = near.told(messages);
    assert_eq!(told, far.told(messages), "{messages:?}");
    told
}

fn q(sql: &str) -> [Vec<u8>; 1] {
    [query(sql)]
}

/// Parse, Bind, Describe and Execute of the unnamed statement.
fn batch(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), describe_portal(""), execute("", 0)].concat()
}

fn run(name: &str) -> [Vec<u8>; 2] {
    [[bind("", name, &[]), describe_portal(""), execute("", 0)].concat(), sync()]
}

#[test]
fn one_name_is_each_clients_own_and_keeps_no_server_connection() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    one.ask("CREATE TABLE t (id int, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    one.ask("PREPARE x (int) AS SELECT v FROM t WHERE id = $1");
    other.ask("PREPARE x AS SELECT count(*) FROM t");
    for _ in 0..3 {
        assert_eq!(one.value("EXECUTE x(2)"), "b");
        assert_eq!(other.value("EXECUTE x"), "2");
    }
    assert_eq!(place.pins(), [""; 0]);
    assert_eq!(one.value("BEGIN; EXECUTE x(1); COMMIT; EXECUTE x(2)"), "b");
    other.ask("DEALLOCATE x");
    assert!(other.refused("EXECUTE x").contains("prepared statement \"x\" does not exist"));
    assert!(other.refused("DEALLOCATE x").contains("prepared statement \"x\" does not exist"));
    assert_eq!(one.value("CREATE TABLE kept AS EXECUTE x(1); SELECT v FROM kept"), "a");
    assert!(one.refused("PREPARE x AS SELECT 1").contains("prepared statement \"x\" already exists"));
    other.ask("PREPARE y AS SELECT 1");
    one.ask("DISCARD ALL");
    assert!(one.refused("EXECUTE x(1)").contains("26000"));
    assert_eq!(other.value("EXECUTE y"), "1", "what ends all ends one's own");
    other.ask("DISCARD PLANS");
    assert_eq!(other.value("EXECUTE y"), "1");
    other.ask("DEALLOCATE PREPARE ALL");
    assert!(other.refused("EXECUTE y").contains("26000"));
}

#[test]
fn it_is_as_on_a_connection_of_ones_own() {
    let place = Place::new();
    let (mut near, mut far) = (place.client(), place.direct());
    let mut other = place.client();
    near.ask("CREATE TABLE t (id int, v text); INSERT INTO t VALUES (1, 'a'); CREATE TABLE gone (a int)");
    for sql in [
        "PREPARE x AS SELECT * FROM t",
        "PREPARE g AS\n SELECT a FROM gone",
        "PREPARE i AS INSERT INTO t VALUES (9, 'z')",
    ] {
        same(&mut near, &mut far, &q(sql));
    }
    let takes_the_names =
        "DEALLOCATE ALL; PREPARE x AS SELECT 'other'; PREPARE g AS SELECT 'other'; PREPARE h AS SELECT 'other'";
    let steps: &[&[&str]] = &[
        &[
            "EXECUTE x",
            "EXECUTE h",
            "EXPLAIN (COSTS OFF) EXECUTE x",
            "PREPARE x AS SELECT 1",
            "PREPARE h AS SELECT 1",
            "DEALLOCATE h",
        ],
        // It is not transactional.
        &[
            "BEGIN",
            "PREPARE r AS SELECT 5",
            "DEALLOCATE x",
            "SELECT 1/0",
            "EXECUTE r",
            "ROLLBACK; EXECUTE r; EXECUTE x",
        ],
        &["EXECUTE r", "PREPARE x AS SELECT * FROM t"],
        &["BEGIN", "SAVEPOINT s", "EXECUTE h", "ROLLBACK TO s; EXECUTE r", "COMMIT"],
        &["BEGIN; SAVEPOINT s; SELECT 1/0", "ROLLBACK"],
        &[
            "PREPARE m AS SELECT 6; EXECUTE m; DEALLOCATE m; EXECUTE m",
            "PREPARE m AS SELECT 7; SELECT 1/0",
            "EXECUTE m",
        ],
        &["DEALLOCATE m; PREPARE m AS SELECT 8; EXECUTE m", "EXECUTE m; DEALLOCATE ALL; EXECUTE m"],
    ];
    for turn in steps {
        other.ask(takes_the_names);
        for sql in *turn {
            same(&mut near, &mut far, &q(sql));
        }
    }
    let again =
        ["PREPARE x AS SELECT * FROM t", "PREPARE g AS\n SELECT a FROM gone", "PREPARE r AS SELECT $1::int + 1"];
    for sql in again {
        same(&mut near, &mut far, &q(sql));
    }
    for messages in [
        &[batch("EXECUTE x"), batch("EXECUTE r (2)"), sync()][..],
        &[batch("BEGIN"), batch("EXECUTE x"), batch("ROLLBACK"), batch("EXECUTE x"), batch("EXECUTE h"), sync()],
        &[batch("EXECUTE h"), batch("EXECUTE x"), sync()],
        &[
            batch("PREPARE late AS SELECT 3"),
            batch("EXECUTE late"),
            batch("DEALLOCATE late"),
            batch("EXECUTE late"),
            sync(),
        ],
        &[query("PREPARE late AS SELECT 3"), query("EXECUTE late"), query("DEALLOCATE late"), query("EXECUTE late")],
    ] {
        other.ask(takes_the_names);
        let queries = messages.iter().filter(|one| one[0] == b'Q').count();
        if queries == 0 {
            same(&mut near, &mut far, messages);
        } else {
            // Sent at once, each has its own end.
            for client in [&mut near, &mut far] {
                client.0.send(&messages.concat()).unwrap();
            }
            for _ in 0..queries {
                assert_eq!(near.told(&[]), far.told(&[]));
            }
        }
    }
    // What it was prepared from has gone: the error is that of the statement, with its place in the PREPARE.
    near.ask("DROP TABLE gone");
    other.ask(takes_the_names);
    let told = same(&mut near, &mut far, &q("EXECUTE g"));
    assert!(told[0].contains("42P01") && told[0].contains("'P': \"29\""), "{told:?}");
    // In a batch it comes as soon as it is known, and not only when the statement runs.
    let failed = [batch("EXECUTE g"), batch("EXECUTE x"), sync()];
    let (ours, theirs) = (near.told(&failed), far.told(&failed));
    assert_eq!(ours, theirs[2..], "without ParseComplete and BindComplete");
    for sql in ["BEGIN", "EXECUTE g", "SELECT 1", "ROLLBACK", "EXECUTE x"] {
        same(&mut near, &mut far, &q(sql));
    }
}

#[test]
fn both_kinds_share_their_names() {
    let place = Place::new();
    let (mut near, mut far) = (place.client(), place.direct());
    let mut other = place.client();
    near.ask("CREATE TABLE t (id int, v text); INSERT INTO t VALUES (1, 'a'), (2, 'b')");
    let s = [parse("s", "SELECT v FROM t WHERE id = $1", &[23]), sync()];
    same(&mut near, &mut far, &s);
    same(&mut near, &mut far, &q("PREPARE x AS SELECT id FROM t ORDER BY 1"));
    let takes = [parse("s", "SELECT 'other'", &[]), parse("x", "SELECT 'other'", &[]), sync()];
    let ends = [close_statement("s"), close_statement("x"), sync()];
    let turn = |other: &mut Client| {
        other.told(&ends);
        other.ask("PREPARE s AS SELECT 'other'; PREPARE x AS SELECT 'other'");
        other.ask("DEALLOCATE ALL");
        other.told(&takes);
        other.ask("EXECUTE s; EXECUTE x");
    };
    let ask = |sql: &str| q(sql).to_vec();
    let steps: Vec<Vec<Vec<u8>>> = vec![
        ask("EXECUTE s(2)"),
        ask("SELECT 1; EXECUTE s(1)"),
        run("x").to_vec(),
        vec![describe_statement("x"), sync()],
        vec![batch("EXECUTE s(1)"), run("x").concat()],
        vec![parse("x", "SELECT 1", &[]), sync()],
        ask("PREPARE s AS SELECT 1"),
        vec![close_statement("x"), sync()],
        ask("EXECUTE x"),
        ask("PREPARE x AS SELECT 2"),
        run("x").to_vec(),
        ask("DEALLOCATE s"),
        ask("EXECUTE s(1)"),
        vec![parse("s", "SELECT 3", &[]), sync()],
        ask("EXECUTE s"),
        ask("DEALLOCATE x"),
        vec![parse("x", "SELECT 4", &[]), bind("", "x", &[]), execute("", 0), sync()],
        ask("EXECUTE x"),
        // Skipped, it is not closed.
        vec![batch("SELECT 1/0"), close_statement("x"), sync()],
        ask("EXECUTE x"),
        ask("PREPARE y AS SELECT 5"),
        vec![batch("SELECT 1/0"), close_statement("y"), sync()],
        ask("EXECUTE y"),
        ask("BEGIN; SELECT 1/0"),
        vec![close_statement("y"), bind("", "x", &[]), sync()],
        ask("DEALLOCATE x"),
        ask("ROLLBACK"),
        ask("EXECUTE y"),
        ask("EXECUTE x"),
    ];
    for (at, messages) in steps.iter().enumerate() {
        if at % 2 == 0 && at < 23 {
            turn(&mut other);
        }
        same(&mut near, &mut far, messages);
    }
}

#[test]
fn nobody_is_shown_anothers_prepared_statements() {
    let place = Place::new();
    let (mut near, mut far) = (place.client(), place.direct());
    let mut other = place.client();
    let shown = "SELECT name, statement, parameter_types, from_sql FROM pg_prepared_statements ORDER BY name";
    near.ask("CREATE TABLE t (id int, v text)");
    other.ask("PREPARE mine AS SELECT 1");
    other.told(&[parse("p", "SELECT 'other'", &[]), sync()]);
    same(&mut near, &mut far, &q(shown));
    same(&mut near, &mut far, &q("PREPARE q (int) AS SELECT v FROM t WHERE id = $1 ;"));
    same(&mut near, &mut far, &[parse("p", "INSERT INTO t VALUES ($1, $2)", &[]), parse("b", "BEGIN", &[]), sync()]);
    for _ in 0..2 {
        let told = same(&mut near, &mut far, &q(shown));
        assert_eq!(told.iter().filter(|frame| frame.starts_with('D')).count(), 3, "{told:?}");
        same(&mut near, &mut far, &[batch(shown), sync()]);
        same(&mut near, &mut far, &q(&format!("BEGIN; {shown}; COMMIT")));
        assert_eq!(other.value("SELECT string_agg(name, ' ' ORDER BY name) FROM pg_prepared_statements"), "mine p");
        assert_eq!(other.value("EXECUTE mine"), "1");
    }
    same(&mut near, &mut far, &q(&format!("PREPARE all_of_them AS {shown}")));
    other.ask("DEALLOCATE ALL");
    same(&mut near, &mut far, &q("EXECUTE all_of_them"));
    same(&mut near, &mut far, &run("all_of_them"));
    same(&mut near, &mut far, &q("DEALLOCATE q"));
    same(&mut near, &mut far, &q("EXECUTE all_of_them"));
    // Where one cannot be prepared any more, nothing else suffers.
    near.ask("DROP TABLE t");
    other.ask("DEALLOCATE ALL; PREPARE all_of_them AS SELECT 1");
    near.ask("BEGIN");
    let told = near.ask("SELECT name FROM pg_prepared_statements ORDER BY name");
    assert_eq!(told, ["all_of_them", "b"]);
    near.ask("COMMIT");
}

/// Prepared anew on another server connection it would run, and the client would take the rows for what they were.
#[test]
fn rows_that_have_become_others_are_refused_whether_described_or_not() {
    let place = Place::new();
    let (mut near, mut far) = (place.client(), place.direct());
    let mut other = place.client();
    other.ask("CREATE TABLE t (a int); INSERT INTO t VALUES (1)");
    let prepares = [parse("s", "SELECT * FROM t", &[]), parse("w", "DELETE FROM t WHERE a = 7", &[]), sync()];
    same(&mut near, &mut far, &prepares);
    same(&mut near, &mut far, &q("PREPARE x AS SELECT * FROM t"));
    same(&mut near, &mut far, &q("PREPARE r AS UPDATE t SET a = 1 RETURNING *"));
    let uses: Vec<Vec<Vec<u8>>> =
        vec![run("s").to_vec(), q("EXECUTE x").to_vec(), q("EXECUTE s").to_vec(), run("x").to_vec(), run("w").to_vec()];
    let check = |near: &mut Client, far: &mut Client| {
        uses.iter().map(|messages| same(near, far, messages).concat().contains("0A000")).collect::<Vec<_>>()
    };
    assert_eq!(check(&mut near, &mut far), [false; 5]);
    other.ask("DEALLOCATE ALL");
    assert_eq!(check(&mut near, &mut far), [false; 5]);
    other.ask("ALTER TABLE t ADD b int");
    for _ in 0..2 {
        assert_eq!(check(&mut near, &mut far), [true, true, true, true, false]);
        // The rows of EXPLAIN are its own: only running it fails.
        let explain = batch("EXPLAIN (COSTS OFF) EXECUTE x");
        let described = explain.strip_suffix(execute("", 0).as_slice()).unwrap().to_vec();
        assert!(!same(&mut near, &mut far, &[described, sync()]).concat().contains("0A000"));
        assert!(same(&mut near, &mut far, &[explain, sync()]).concat().contains("0A000"));
        other.ask("DEALLOCATE ALL; PREPARE s AS SELECT 1; PREPARE x AS SELECT 1");
    }
    same(&mut near, &mut far, &[query("BEGIN")]);
    assert!(same(&mut near, &mut far, &q("EXECUTE r")).concat().contains("0A000"));
    same(&mut near, &mut far, &[query("ROLLBACK")]);
    other.ask("DEALLOCATE ALL");
    for client in [&mut near, &mut far] {
        client.ask("PREPARE wide AS SELECT * FROM t; ALTER TABLE t ADD c int");
        assert!(client.refused("EXECUTE wide").contains("0A000"));
        client.ask("ALTER TABLE t DROP c");
    }
    // Whoever prepares it now has the rows of now, and does not suffer from what stands there from before.
    let mut late = place.client();
    let mut direct = place.direct();
    same(&mut late, &mut direct, &prepares);
    same(&mut late, &mut direct, &run("s"));
    other.ask("ALTER TABLE t DROP b");
    same(&mut near, &mut far, &run("w"));
    assert!(!check(&mut near, &mut far)[1], "it is what it was again");
    assert!(same(&mut late, &mut direct, &run("s")).concat().contains("0A000"));
}

#[test]
fn what_it_runs_does_to_the_session_is_followed() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    one.ask("PREPARE l AS SELECT pg_advisory_lock(5)");
    one.ask("PREPARE c AS SELECT set_config('work_mem', '7MB', false)");
    assert_eq!(place.pins(), [""; 0]);
    one.ask("EXECUTE c");
    other.ask("SELECT 1");
    assert_eq!((one.value("SHOW work_mem"), other.value("SHOW work_mem")), ("7MB".into(), "4MB".into()));
    one.ask("EXECUTE l");
    assert_eq!(place.pins(), ["advisory lock"]);
    one.ask("SELECT pg_advisory_unlock_all()");
    one.ask("SELECT 1");
    one.told(&run("l"));
    assert_eq!(place.pins(), ["advisory lock"], "bound by protocol it runs as well");
    one.ask("SELECT pg_advisory_unlock_all()");
    one.ask("SELECT 1");
    assert_eq!(other.value("SELECT 1"), "1");
}

#[test]
fn what_another_search_path_would_have_made_of_it_is_not_taken_for_it() {
    let place = Place::new();
    let (mut near, mut far) = (place.client(), place.direct());
    let mut other = place.client();
    near.ask(
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE SCHEMA o; CREATE TABLE o.t (a int); \
              INSERT INTO o.t VALUES (2); CREATE SCHEMA p; CREATE TABLE p.t (a text, b int)",
    );
    same(&mut near, &mut far, &q("PREPARE x AS SELECT * FROM t"));
    for path in ["o", "p", "public", "nowhere", "o"] {
        same(&mut near, &mut far, &q(&format!("SET search_path = {path}")));
        other.ask("DEALLOCATE ALL");
        same(&mut near, &mut far, &q("EXECUTE x"));
    }
}

#[test]
fn a_text_that_would_be_read_otherwise_now_is_prepared_as_it_was_read() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    one.ask(r"PREPARE x AS SELECT 'a\b'");
    one.ask("PREPARE y AS SELECT 1");
    other.ask("DEALLOCATE ALL");
    assert_eq!(one.value("EXECUTE x"), r"a\b");
    other.ask("DEALLOCATE ALL");
    one.ask("SET standard_conforming_strings = off");
    assert_eq!(one.value("EXECUTE x"), r"a\b");
    assert_eq!(one.value("EXECUTE y"), "1");
    one.ask("RESET standard_conforming_strings");
    assert_eq!(one.value("EXECUTE x"), r"a\b");
}

#[test]
fn a_function_that_is_told_to_execute_it_finds_it() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    one.ask("CREATE FUNCTION runs(q text) RETURNS int LANGUAGE plpgsql AS $$ DECLARE r int; BEGIN EXECUTE q INTO r; RETURN r; END $$");
    one.ask("PREPARE p(int) AS SELECT 7 + $1");
    other.ask("PREPARE p(int) AS SELECT 70 + $1");
    for _ in 0..2 {
        assert_eq!(one.value("SELECT runs('execute p(1)')"), "8");
        assert_eq!(other.value("SELECT runs('EXECUTE  \"p\" (1)')"), "71");
    }
    other.ask("DEALLOCATE p");
    assert!(other.refused("SELECT runs('execute p(1)')").contains("26000"));
    assert_eq!(one.value("SELECT runs('execute p(1)')"), "8");
}
