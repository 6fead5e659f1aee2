//! Reads are mirrored before the cut: what both sides answer otherwise is listed, and nothing else is.

use std::thread;
use std::time::Duration;

use pgsluice_fixtures::Raw;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::wait;

use crate::load::Load;
use crate::stand::{Answer, LONG, Stand, ask};
use crate::upgrade::verify;

/// Compared, and different, as SHOW MIGRATIONS has it.
fn counts(stand: &Stand) -> (u64, u64) {
    let rows = stand.command("SHOW MIGRATIONS").rows;
    let number = |at: usize| rows[0][at].parse().unwrap_or(0);
    (number(10), number(11))
}

/// What was found, in lines of the move.
fn found(stand: &Stand) -> Vec<String> {
    let rows = stand.command("SHOW MOVE app").fine().rows;
    rows.iter().filter(|row| row[2] == "mirror" && row[3] == "warn").map(|row| row[6].clone()).collect()
}

/// As drivers ask: one batch with a parameter.
fn ask_with(raw: &mut Raw, sql: &str, value: &str) -> Answer {
    let batch = [
        message::parse("", sql, &[]),
        message::bind("", "", &[Some(value.as_bytes())]),
        message::execute("", 0),
        message::sync(),
    ];
    raw.send(&batch.concat()).unwrap();
    Answer::of(&raw.frames_until_ready(LONG).unwrap())
}

fn both(stand: &Stand, sql: &str) {
    stand.blue(sql);
    stand.green(sql);
}

/// The same words in two collations, a missing row, a type of another width, a role that may not.
#[test]
fn planted_differences_are_listed_without_data_and_stop_the_cut_until_they_are_accepted() {
    let stand = Stand::new(5);
    both(&stand, "CREATE TABLE n (id int PRIMARY KEY, a int); GRANT ALL ON n TO PUBLIC");
    both(&stand, "CREATE TABLE c (v text COLLATE \"C\" PRIMARY KEY); GRANT ALL ON c TO PUBLIC");
    both(&stand, "CREATE TABLE p (id int PRIMARY KEY); GRANT ALL ON p TO PUBLIC");
    stand.blue("INSERT INTO n VALUES (1, 1); INSERT INTO c VALUES ('a'), ('B'), ('c')");
    let options = "WITH (prepare_only, mirror '100%')";
    stand.command(&format!("MIGRATE app TO green {options}")).fine();
    stand.green("ALTER TABLE n ALTER a TYPE bigint");
    let icu = stand.green("SELECT collname FROM pg_collation WHERE collname IN ('en-x-icu', 'en_US.utf8') LIMIT 1");
    let collation = if icu.is_empty() { None } else { Some(icu) };
    if let Some(name) = &collation {
        stand.green(&format!("ALTER TABLE c ALTER v TYPE text COLLATE \"{name}\""));
    }
    stand.green("DELETE FROM t WHERE id = 3");
    stand.green("REVOKE ALL ON p FROM PUBLIC");

    let mut client = stand.client("app");
    for id in 1..=5 {
        assert_eq!(ask_with(&mut client, "SELECT v FROM t WHERE id = $1", &id.to_string()).fine().rows.len(), 1);
    }
    ask(&mut client, "SELECT v FROM t WHERE v = 'row 3'").fine();
    ask(&mut client, "SELECT a FROM n").fine();
    ask(&mut client, "SELECT v FROM c ORDER BY v").fine();
    ask(&mut client, "SELECT count(*) FROM p").fine();
    let expected = if collation.is_some() { 5 } else { 4 };
    wait::until_ok(LONG, "what differs", || {
        let (counts, found) = (counts(&stand), found(&stand));
        if counts.1 == expected && counts.0 == 9 && found.len() as u64 == expected {
            Ok(())
        } else {
            Err(format!("{counts:?} {found:#?}"))
        }
    });
    let found = found(&stand);
    for words in [
        "rows: 1 rows on the old side, 0 rows on the new one: SELECT v FROM t WHERE id = $1",
        "rows: 1 rows on the old side, 0 rows on the new one: SELECT v FROM t WHERE v = $1",
        "columns: \"a\" of type 23 on the old side, \"a\" of type 20 on the new one: SELECT a FROM n",
        "error: 1 rows on the old side, error 42501 on the new one: SELECT count(*) FROM p",
    ] {
        assert!(found.iter().any(|line| line == words), "{words}: {found:#?}");
    }
    let ordered = found.iter().any(|line| line.starts_with("order: 3 rows, in another order"));
    assert_eq!(ordered, collation.is_some(), "{found:#?}");
    assert!(!found.concat().contains("row 3"), "nobody's data: {found:#?}");
    let events = stand.command("SHOW EVENTS").rows.concat().join(" ");
    assert!(events.contains("MIGRATE: mirror: rows: 1 rows"), "{events}");

    // They are in the way of the cut, as a check is, and of nobody else's.
    stand.green("ALTER TABLE n ALTER a TYPE int");
    let dry = stand.command("MIGRATE app TO green WITH (dry_run)").fine();
    assert_eq!(dry.status("mirror"), "fail", "{:?}", dry.row("mirror"));
    let refused = stand.command("MIGRATE app TO green");
    assert!(refused.sqlstate == "55000" && refused.message.contains("mirror"), "{refused:?}");
    assert!(refused.hint.contains("accept 'mirror'"), "{refused:?}");
    assert_eq!(stand.version_of_clients(), "15");
    let done = stand.command("MIGRATE app TO green WITH (accept 'mirror')").fine();
    assert!(!done.notices.iter().any(|notice| notice.contains("pgsluice mirror")), "{:?}", done.notices);
    assert_eq!(stand.version_of_clients(), "18");
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgsluice mirror'";
    assert_eq!((stand.blue(left), stand.green(left)), ("0".into(), "0".into()));
    assert_eq!(counts(&stand), (0, 0), "nothing is mirrored any more");
}

/// Rows that change all the time, and what has to be asked once only.
#[test]
fn lag_is_no_difference_and_what_is_volatile_locks_or_writes_is_asked_once() {
    let stand = Stand::new(100);
    stand.green("ALTER SYSTEM SET track_functions = 'all'");
    stand.green.primary().reload().unwrap();
    for sql in [
        "CREATE FUNCTION tick() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
        "CREATE FUNCTION calm() RETURNS int STABLE LANGUAGE plpgsql AS 'BEGIN RETURN 1; END'",
        "CREATE VIEW ticking AS SELECT id, tick() AS n FROM t; GRANT ALL ON ticking TO PUBLIC",
        "CREATE VIEW dice AS SELECT random() AS n; GRANT ALL ON dice TO PUBLIC",
        "CREATE SCHEMA other; CREATE TABLE other.u (id int PRIMARY KEY); GRANT ALL ON SCHEMA other TO PUBLIC; \
         GRANT ALL ON other.u TO PUBLIC",
    ] {
        both(&stand, sql);
    }
    stand.blue("INSERT INTO other.u VALUES (1), (2)");
    stand.command("MIGRATE app TO green WITH (prepare_only, mirror '100%')").fine();
    let mut client = stand.client("app");
    for sql in [
        "SELECT random()",
        "SELECT tick()",
        "SELECT * FROM ticking",
        "SELECT * FROM dice",
        "SELECT nextval('\"Down\"')",
        "SELECT id FROM t WHERE id = 1 FOR UPDATE",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT v FROM t LIMIT 1",
        "INSERT INTO other.u VALUES (3) RETURNING id",
        "BEGIN",
        "SELECT calm()",
        "COMMIT",
    ] {
        ask(&mut client, sql).fine();
    }
    // With the client's search_path and role.
    ask(&mut client, "SET search_path = other").fine();
    ask(&mut client, "SELECT id FROM u").fine();
    wait::until_ok(LONG, "one to be compared", || {
        let counts = counts(&stand);
        if counts == (1, 0) { Ok(()) } else { Err(format!("{counts:?} {:?}", found(&stand))) }
    });
    let calls = "SELECT count(*) FROM pg_stat_user_functions WHERE funcname = 'tick'";
    assert_eq!(stand.green(calls), "0");

    // Nothing that the copy merely has not got yet is a difference, not even behind a worker that waits.
    let load = Load::begin(&stand.proxy.tcp(), "a", 4, 2);
    let mut reader = stand.client("app");
    let mut lock = stand.green.primary().connect("dba", "app").unwrap();
    for round in 0..5 {
        ask(&mut lock, "BEGIN; LOCK TABLE t IN SHARE ROW EXCLUSIVE MODE").fine();
        ask(&mut reader, &format!("UPDATE t SET v = 'new {round}' WHERE id = 1")).fine();
        ask(&mut reader, "SELECT v FROM t WHERE id = 1").fine();
        ask(&mut reader, "SELECT count(*), max(id) FROM w").fine();
        thread::sleep(Duration::from_millis(300));
        ask(&mut lock, "ROLLBACK").fine();
    }
    wait::until_ok(LONG, "reads to be compared under load", || {
        let counts = counts(&stand);
        if counts.0 > 50 { Ok(()) } else { Err(format!("{counts:?}")) }
    });
    assert_eq!((counts(&stand).1, found(&stand)), (0, Vec::new()));
    // A person's maintenance finds no strangers in it.
    let on = stand.command("MAINTENANCE ON app").fine();
    assert!(!format!("{:?} {:?}", on.notices, on.rows).contains("pgsluice mirror"), "{on:?}");
    stand.command("MAINTENANCE OFF app").fine();
    stand.command("MIGRATE app TO green").fine();
    let (writers, readers) = load.end();
    let blocked = writers.errors.iter().all(|error| error.contains("25006"));
    assert!(blocked && readers.errors.is_empty(), "{:?} {:?}", writers.errors.first(), readers.errors);
    assert_eq!(stand.version_of_clients(), "18");
}

#[test]
fn a_share_is_compared_for_a_time_within_one_command() {
    let stand = Stand::new(1000);
    let load = Load::begin(&stand.proxy.tcp(), "a", 2, 3);
    let answer = stand.command("MIGRATE app TO green WITH (mirror '50%', mirror_time '2s')").fine();
    let (writers, readers) = load.end();
    verify(&stand.green("SELECT id FROM w"), &[&writers], &[&readers]);
    let row = answer.rows.iter().find(|row| row[0] == "mirror").expect("what came of it");
    assert!(row[2] == "ok" && !row[5].starts_with("0 reads were compared, 0 had"), "{row:?}");
    // It can be called off while it compares, and replication stays.
    stand.command("MIGRATE app BACK").fine();
    let cut = stand.begin("MIGRATE app TO green WITH (mirror '1%', mirror_time '1h')");
    stand.wait_for_step("mirror");
    stand.command("MAINTENANCE OFF app").fine();
    assert_eq!(cut.join().unwrap().sqlstate, "57014");
    assert_eq!(stand.version_of_clients(), "15");
    stand.command("MIGRATE app FINISH").fine();
    assert_eq!(stand.left_behind(), "");
}
