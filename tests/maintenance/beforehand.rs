//! MAINTENANCE CHECK finds what is in the way, and MAINTENANCE REHEARSE counts what would be refused; both change nothing.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message::{bind, describe_portal, execute, function_call, parse, sync};
use pgsluice_fixtures::{Address, Login, Raw, wait};

/// Status and detail of each row of a check.
fn check(stand: &Stand, wanted: &str) -> Vec<(String, String)> {
    let rows = stand.console("MAINTENANCE CHECK app");
    let found = rows.iter().filter(|row| row[1].as_deref() == Some(wanted));
    found.map(|row| (row[2].clone().unwrap(), row[3].clone().unwrap())).collect()
}

#[track_caller]
fn finds(stand: &Stand, wanted: &str, status: &str, words: &str) {
    let found = check(stand, wanted);
    let fits = found.iter().any(|(is, detail)| is == status && detail.contains(words));
    assert!(fits, "{wanted} is not {status} with {words:?}: {found:?}");
}

#[test]
fn a_check_names_what_is_in_the_way() {
    let stand = Stand::new("");
    let before = stand.everything();
    let epoch = stand.console("SHOW MAINTENANCE app");
    let (mut app, mut pinned) = (stand.app(), stand.app());
    query(&mut app, "SELECT 1");
    wait::until(LONG, "a quiet database", || {
        let rows = stand.console("MAINTENANCE CHECK app");
        let quiet =
            |row: &Vec<Option<String>>| row[2].as_deref() == Some("ok") || row[1].as_deref() == Some("operators");
        rows.iter().all(quiet).then_some(())
    });
    for (what, words) in [
        ("state file", "can be written"),
        ("gate", "open"),
        ("primary", "127.0.0.1:"),
        ("replica", "0 behind"),
        ("primary answers", "PostgreSQL 1"),
        ("monitor's rights", "sees the activity of all"),
        ("longest transaction", "none is open"),
        ("long writers", "none"),
        ("DDL under way", "none"),
        ("foreign writers", "none"),
        ("sessions past pgsluice", "none"),
        ("prepared transactions", "none"),
        ("max_prepared_transactions", "5"),
        ("pinned sessions", "none"),
    ] {
        finds(&stand, what, "ok", words);
    }

    query(&mut app, "BEGIN; INSERT INTO t VALUES (400, 'x')");
    finds(&stand, "longest transaction", "ok", "user \"app\", application \"\", from 127.0.0.1, through pgsluice");
    finds(&stand, "foreign writers", "ok", "none");
    query(&mut app, "LOCK TABLE m IN SHARE MODE; LOCK TABLE t IN SHARE MODE");
    query(&mut app, "ROLLBACK");
    query(&mut app, "BEGIN; LOCK TABLE t IN SHARE MODE");
    finds(&stand, "DDL under way", "warn", "through pgsluice");
    query(&mut app, "ROLLBACK");
    query(&mut pinned, "LISTEN news");
    finds(&stand, "pinned sessions", "warn", "1 by listen");
    let _operator = stand.operator();
    finds(&stand, "operators", "warn", "1 connected");

    let mut direct = stand.direct(false);
    query(&mut direct, "SET application_name = 'cron'");
    finds(&stand, "sessions past pgsluice", "warn", "user \"app\", application \"cron\"");
    query(&mut direct, "BEGIN; UPDATE t SET v = v");
    finds(&stand, "foreign writers", "warn", "application \"cron\"");
    query(&mut direct, "PREPARE TRANSACTION 'left'");
    finds(&stand, "prepared transactions", "warn", "'left' of user \"app\"");
    query(&mut direct, "ROLLBACK PREPARED 'left'");

    assert_eq!(stand.everything(), before, "nothing has changed");
    assert_eq!(stand.console("SHOW MAINTENANCE app"), epoch);
    stand.on();
    finds(&stand, "gate", "warn", "closed already");
    stand.off();

    stand.cluster.replica(0).kill_9();
    stand.cluster.primary().kill_9();
    wait::until(LONG, "both are missed", || {
        (check(&stand, "primary")[0].0 == "fail" && check(&stand, "replica").len() == 2).then_some(())
    });
}

#[test]
fn a_check_tells_what_the_monitor_may_not_see_and_how_long_is_long() {
    let stand = Stand::with_monitor("", "CONNECTION LIMIT 50");
    let mut app = stand.app();
    query(&mut app, "BEGIN; INSERT INTO t VALUES (401, 'x')");
    finds(&stand, "monitor's rights", "warn", "\"monitor\" does not see");
    stand.operator().query("GRANT pg_monitor TO monitor", LONG).unwrap();
    finds(&stand, "monitor's rights", "ok", "\"monitor\" sees");
    stand.cluster.primary().psql("SELECT pg_sleep(1.2)").unwrap();
    finds(&stand, "longest transaction", "warn", "longer than drain_timeout (1s)");
    finds(&stand, "long writers", "warn", "application \"\"");
}

/// Tag, statement and count of each row of the rehearsal.
fn rehearsed(stand: &Stand) -> Vec<(String, String, String)> {
    let rows = stand.console("SHOW REHEARSAL");
    let text = |row: &[Option<String>], at: usize| row[at].clone().unwrap_or_default();
    let mut rows: Vec<_> = rows.iter().map(|row| (text(row, 3), text(row, 4), text(row, 5))).collect();
    rows.sort();
    rows
}

#[test]
fn a_rehearsal_counts_what_would_be_refused_and_refuses_nothing() {
    let stand = Stand::new("");
    let login = Login::new("app", "app").password("app").parameter("application_name", "shop");
    let mut app = Raw::connect(&Address::local(stand.proxy.port()), &login).unwrap();
    let ok = |raw: &mut Raw, sql: &str| assert_eq!(sqlstate(&query(raw, sql)), "", "{sql}");
    ok(&mut app, "INSERT INTO t VALUES (500, 'before')");
    assert!(rehearsed(&stand).is_empty());

    let answer = stand.console("MAINTENANCE REHEARSE app FOR '10min'");
    assert_eq!((answer[0][0].as_deref(), answer[0][1].as_deref()), (Some("app"), Some("t")));
    for id in [501, 502] {
        ok(&mut app, &format!("INSERT INTO t VALUES ({id}, 'secret')"));
    }
    ok(
        &mut app,
        "SELECT 1; UPDATE t SET v = 'it''s' /* why */ WHERE id = 501; DELETE FROM t WHERE id = 502; SHOW work_mem",
    );
    ok(&mut app, "PREPARE p (int) AS INSERT INTO t VALUES ($1, 'p')");
    for id in [503, 504] {
        ok(&mut app, &format!("EXECUTE p ({id})"));
    }
    ok(&mut app, "PREPARE q AS DELETE FROM t WHERE id = 503; EXECUTE q; DEALLOCATE ALL");
    // Counted when it runs, as often as it runs.
    let upsert = "INSERT INTO t VALUES ($1::int, 'y') ON CONFLICT DO NOTHING";
    let one = [bind("", "s", &[Some(b"505")]), describe_portal(""), execute("", 0)].concat();
    let frames = talk(&mut app, &[parse("s", upsert, &[]), one.clone(), one, sync()].concat(), 1);
    assert_eq!(sqlstate(&frames), "");
    talk(&mut app, &[parse("never", "DELETE FROM t", &[]), sync()].concat(), 1);
    // A session's own temporary table may be written, and what fails anyway is counted as well.
    ok(&mut app, "BEGIN READ ONLY; SELECT 1; COMMIT");
    // lo_unlink by message.
    assert_eq!(sqlstate(&talk(&mut app, &function_call(964, &[Some(&4711_u32.to_be_bytes())]), 1)), "");
    let row = |tag: &str, statement: &str, count: &str| (tag.to_owned(), statement.to_owned(), count.to_owned());
    assert_eq!(
        rehearsed(&stand),
        [
            row("DELETE", "DELETE FROM t WHERE id = $1", "1"),
            row("EXECUTE", "EXECUTE p ($1)", "2"),
            row("EXECUTE", "EXECUTE q", "1"),
            row("INSERT", "INSERT INTO t VALUES ($1, $2)", "2"),
            row("INSERT", "INSERT INTO t VALUES ($1::int, $2) ON CONFLICT DO NOTHING", "2"),
            row("UPDATE", "UPDATE t SET v = $1 WHERE id = $2", "1"),
            row("function call", "lo_unlink()", "1"),
        ]
    );
    let rows = stand.console("SHOW REHEARSAL");
    assert!(rows.iter().all(|row| row[1].as_deref() == Some("app") && row[2].as_deref() == Some("shop")), "{rows:?}");
    assert!(rows.iter().all(|row| row[6] <= row[7]));

    stand.console("MAINTENANCE REHEARSE app STOP");
    ok(&mut app, "INSERT INTO t VALUES (506, 'after')");
    assert_eq!(rehearsed(&stand).len(), 7, "it can still be read");
    stand.console("MAINTENANCE REHEARSE app FOR '1h'");
    assert!(rehearsed(&stand).is_empty(), "a new one begins anew");
    stand.console("MAINTENANCE REHEARSE app FOR '0'");
    ok(&mut app, "INSERT INTO t VALUES (507, 'after')");
    assert!(rehearsed(&stand).is_empty());
    // What was counted as refused is what is refused.
    stand.on();
    assert_eq!(sqlstate(&query(&mut app, "UPDATE t SET v = 'x' WHERE id = 501")), "25006");
    stand.off();
}

#[test]
fn a_rehearsal_does_not_count_what_is_refused_with_the_gate_open_too() {
    let stand = Stand::new("pin_sessions = false");
    let mut app = stand.app();
    stand.console("MAINTENANCE REHEARSE app FOR '10min'");
    let pins_and_writes = "SELECT lo_create(0), pg_advisory_lock(1)";
    assert_eq!(sqlstate(&query(&mut app, pins_and_writes)), "0A000");
    let batch = [parse("", pins_and_writes, &[]), bind("", "", &[]), execute("", 0), sync()].concat();
    assert_eq!(sqlstate(&talk(&mut app, &batch, 1)), "0A000");
    assert_eq!(rehearsed(&stand), []);
    let batch = [parse("", "SELECT lo_create(0)", &[]), bind("", "", &[]), execute("", 0), sync()].concat();
    assert_eq!(sqlstate(&talk(&mut app, &batch, 1)), "");
    assert_eq!(rehearsed(&stand).len(), 1);
    stand.console("MAINTENANCE REHEARSE app STOP");
}

#[test]
fn what_a_rule_would_discard_or_allow_is_not_refused() {
    let stand = Stand::new("[maintenance]\nwrite_rules = [\"discard update on t\", \"hold delete on t\"]");
    let mut app = stand.app();
    stand.console("MAINTENANCE REHEARSE * FOR '1min'");
    for sql in ["UPDATE t SET v = 'x' WHERE id = 1", "DELETE FROM t WHERE id = 2", "INSERT INTO t VALUES (600, 'x')"] {
        assert_eq!(sqlstate(&query(&mut app, sql)), "", "{sql}");
    }
    let tags: Vec<_> = rehearsed(&stand).into_iter().map(|(tag, ..)| tag).collect();
    assert_eq!(tags, ["DELETE", "INSERT"]);
}
