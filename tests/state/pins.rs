//! What keeps a session on its server connection, and that it does so no longer than it has to.

use crate::stand::{Client, Place, Stand};
use pgsluice_fixtures::wait;

/// The pins of the place, once the question after the last statement has been answered.
#[track_caller]
fn pinned(place: &Place, client: &mut Client, expected: &[&str]) {
    // It lies between that statement and this one.
    client.ask("SELECT 1");
    let mut last = Vec::new();
    wait::until(crate::stand::SOON, &format!("{expected:?}"), || {
        last = place.pins();
        (last == expected).then_some(())
    });
}

#[test]
fn a_pin_ends_with_what_it_is_for() {
    let place = Place::new();
    let mut one = place.client();
    let pins: [(&str, &str, &[&str]); 9] = [
        ("LISTEN a; LISTEN b", "listen", &["UNLISTEN a", "UNLISTEN b"]),
        ("LISTEN a", "listen", &["BEGIN; UNLISTEN *; ROLLBACK", "UNLISTEN *"]),
        (
            "CREATE TEMP TABLE t (n int); CREATE TEMP VIEW v AS SELECT 1",
            "temporary table",
            &["DROP TABLE t", "DROP VIEW v"],
        ),
        ("CREATE TEMP TABLE t (n int)", "temporary table", &["BEGIN; DROP TABLE t; ROLLBACK", "DISCARD TEMP"]),
        ("SELECT 1 AS n INTO TEMP t", "temporary table", &["INSERT INTO t VALUES (1)", "DROP TABLE t"]),
        ("CREATE FUNCTION pg_temp.f() RETURNS int RETURN 1", "temporary table", &["DROP FUNCTION pg_temp.f()"]),
        (
            "DECLARE c CURSOR WITH HOLD FOR SELECT 1; DECLARE d CURSOR WITH HOLD FOR SELECT 1",
            "cursor with hold",
            &["CLOSE c", "CLOSE d"],
        ),
        (
            "SELECT pg_advisory_lock(1), pg_advisory_lock(1)",
            "advisory lock",
            &["SELECT pg_advisory_unlock(1)", "SELECT pg_advisory_unlock(1)"],
        ),
        ("SELECT pg_try_advisory_lock(2)", "advisory lock", &["SELECT pg_advisory_unlock_all()"]),
    ];
    for (make, why, ends) in pins {
        one.ask(make);
        for end in ends {
            pinned(&place, &mut one, &[why]);
            one.ask(end);
        }
        pinned(&place, &mut one, &[]);
    }
}

#[test]
fn what_a_transaction_does_not_leave_behind_pins_nothing() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    for leaves_nothing in [
        "BEGIN; CREATE TEMP TABLE t (n int) ON COMMIT DROP; INSERT INTO t VALUES (1); COMMIT",
        "CREATE TEMP TABLE t (n int) ON COMMIT DROP",
    ] {
        one.ask(leaves_nothing);
        pinned(&place, &mut one, &[]);
    }
    for undone in ["CREATE TEMP TABLE t (n int)", "LISTEN a", "DECLARE c CURSOR WITH HOLD FOR SELECT 1"] {
        one.ask("BEGIN");
        one.ask(undone);
        one.ask("ROLLBACK");
        pinned(&place, &mut one, &[]);
        one.ask("BEGIN");
        one.ask("SAVEPOINT s");
        one.ask(undone);
        one.ask("ROLLBACK TO s");
        one.ask("COMMIT");
        pinned(&place, &mut one, &[]);
    }
    // A lock that another has.
    other.ask("BEGIN; SELECT pg_advisory_xact_lock(7)");
    let mut direct = place.direct();
    direct.ask("SELECT pg_advisory_lock(8)");
    other.ask("COMMIT");
    assert_eq!(one.value("SELECT pg_try_advisory_lock(8)"), "f");
    pinned(&place, &mut one, &[]);
    assert_eq!(other.value("SELECT 1"), "1");
}

#[test]
fn an_unnamed_statement_outlives_the_question() {
    use pgsluice_fixtures::raw::message::{bind, execute, parse, sync};
    let place = Place::new();
    let mut one = place.client();
    one.ask("LISTEN a");
    let batch = [parse("", "UNLISTEN a", &[]), bind("", "", &[]), execute("", 0), sync()].concat();
    one.0.round_trip(&batch, crate::stand::SOON).unwrap();
    let again = [bind("", "", &[]), execute("", 0), sync()].concat();
    let frames = one.0.round_trip(&again, crate::stand::SOON).unwrap();
    assert!(frames.iter().all(|frame| frame.error().is_none()), "{frames:?}");
    pinned(&place, &mut one, &[]);
}

#[test]
fn a_prepare_that_is_too_long_to_be_kept_pins_until_it_is_gone() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    let long = |what: &str| format!("PREPARE p AS SELECT {what} /* {} */", "x".repeat(64 * 1024));
    one.ask(&long("1"));
    one.ask("PREPARE q AS SELECT 3");
    pinned(&place, &mut one, &["prepare"]);
    assert_eq!(one.value("EXECUTE p"), "1");
    one.ask("DEALLOCATE q");
    pinned(&place, &mut one, &["prepare"]);
    one.ask("DEALLOCATE p");
    pinned(&place, &mut one, &[]);
    assert_eq!(other.value("PREPARE p AS SELECT 2; EXECUTE p"), "2");
    one.ask("DO $$ BEGIN EXECUTE 'PREPARE p AS SELECT 4'; END $$");
    pinned(&place, &mut one, &["settings"]);
}

#[test]
fn who_does_not_want_pins_refuses_them() {
    let stand = Stand::start("pin_sessions = false", 1);
    let mut one = stand.client("dba", "d0");
    let refused = [
        "LISTEN a",
        "SELECT 1; LISTEN a",
        "CREATE TEMP TABLE t (n int)",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "SELECT pg_advisory_lock(1)",
        "LOAD 'plpgsql'",
    ];
    for sql in refused {
        let said = one.refused(sql);
        assert!(said.contains("0A000") && said.contains("pooled by transaction"), "{sql}: {said}");
        if !sql.contains(';') {
            assert!(one.refused_prepared(sql).contains("pooled by transaction"), "{sql}");
        }
    }
    one.ask("BEGIN");
    one.refused("LISTEN a");
    assert!(one.refused("SELECT 1").contains("current transaction is aborted"));
    one.ask("ROLLBACK");
    for sql in [
        "BEGIN; CREATE TEMP TABLE t (n int) ON COMMIT DROP; COMMIT",
        "SELECT pg_advisory_xact_lock(1)",
        "NOTIFY a",
        "PREPARE p AS SELECT 1",
    ] {
        one.ask(sql);
    }
}
