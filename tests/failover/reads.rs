//! Reads on replicas: how far they may be behind, and what becomes of those that are cancelled.

use std::time::Instant;

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, wait};

use crate::stand::{LONG, Later, SOON, Stand, fine, sqlstate};

#[test]
fn in_maintenance_reads_are_never_behind_what_an_operator_has_committed() {
    let stand = Stand::new("");
    stand.console("MAINTENANCE ON app");
    let mut app = stand.connect("app");
    fine(&mut app, "SELECT count(*) FROM t");
    stand.cluster.wait_for_replay(LONG).unwrap();
    stand.cluster.replica(0).pause_replay().unwrap();
    let mut operator = stand.connect("dba");
    for at in 0..10 {
        fine(&mut operator, &format!("ALTER TABLE t ADD COLUMN c{at} int DEFAULT {at}"));
        assert_eq!(fine(&mut app, &format!("SELECT c{at} FROM t LIMIT 1")), [[at.to_string()]]);
    }
    // By the extended protocol, and in a block.
    let sql = [
        message::parse("", "ALTER TABLE t ADD COLUMN d int DEFAULT 1", &[]),
        message::bind("", "", &[]),
        message::execute("", 0),
        message::sync(),
    ];
    let frames = operator.round_trip(&sql.concat(), LONG).unwrap();
    assert!(frames.iter().find_map(Frame::error).is_none());
    assert_eq!(fine(&mut app, "SELECT d FROM t LIMIT 1"), [["1"]]);
    fine(&mut operator, "BEGIN; ALTER TABLE t ADD COLUMN e int DEFAULT 2");
    fine(&mut operator, "COMMIT");
    assert_eq!(fine(&mut app, "SELECT e FROM t LIMIT 1"), [["2"]]);
    stand.cluster.replica(0).resume_replay().unwrap();
    assert_eq!(fine(&mut app, "SELECT e FROM t LIMIT 1"), [["2"]]);
}

#[test]
fn in_maintenance_a_replica_that_is_too_far_behind_gets_no_reads() {
    let stand = Stand::with("", "max_lag_bytes = \"64kB\"", "", &[]);
    stand.console("MAINTENANCE ON app");
    stand.cluster.wait_for_replay(LONG).unwrap();
    let mut app = stand.connect("app");
    let reads = |app: &mut pgsluice_fixtures::Raw| {
        fine(app, "SELECT count(*) FROM w");
        stand.console("SHOW STATS")
    };
    reads(&mut app);
    stand.cluster.replica(0).pause_replay().unwrap();
    // By nobody who comes through here.
    stand.cluster.primary().psql_in("app", "INSERT INTO w(who) SELECT 'x' FROM generate_series(1, 20000)").unwrap();
    wait::until_ok(SOON, "reads that see it", || {
        let rows = fine(&mut app, "SELECT count(*) FROM w");
        if rows == [["20000"]] { Ok(()) } else { Err(format!("{rows:?}")) }
    });
    stand.cluster.replica(0).resume_replay().unwrap();
}

#[test]
fn a_read_that_the_replica_cancels_for_replay_is_run_again_elsewhere() {
    // The replica waits for nobody, and the read takes much longer than the change needs to get there.
    let settings = [("max_standby_streaming_delay", "0"), ("hot_standby_feedback", "off")];
    let stand = Stand::with("", "", "reads = \"prefer_replica\"", &settings);
    let mut app = stand.connect("app");
    fine(&mut app, "SELECT 1");
    let long = "SELECT count(*) FROM t, generate_series(1, 5000000) i WHERE t.id <= 3 AND i % 7 <> 9";
    let runs = Later::ask("app", app, long);
    let busy =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT count(*) FROM t, gen%' AND state = 'active'";
    let at_replica = wait::until(LONG, "the read to run", || {
        stand.cluster.servers().find(|one| one.psql_in("postgres", busy).is_ok_and(|n| n == "1")).map(|one| one.name())
    });
    assert_eq!(at_replica, stand.cluster.replica(0).name());
    stand
        .cluster
        .primary()
        .psql_in("app", "ALTER TABLE t ALTER COLUMN v SET DEFAULT 'y'; LOCK TABLE t")
        .unwrap_or_default();
    let (_, frames) = runs.by(Instant::now() + LONG);
    assert_eq!(sqlstate(&frames), "");
    assert!(stand.cluster.replica(0).log().contains("due to conflict with recovery"), "it was in the way");
}

#[test]
fn a_read_on_a_replica_that_dies_is_run_again_on_the_primary() {
    let stand = Stand::with("", "", "reads = \"prefer_replica\"", &[]);
    let app = stand.connect("app");
    let runs =
        Later::ask("app", app, "SELECT count(*) FROM t, generate_series(1, 3000000) i WHERE t.id <= 3 AND i % 7 <> 9");
    let busy =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT count(*) FROM t, gen%' AND state = 'active'";
    stand.cluster.replica(0).wait_until(busy, "1", LONG).unwrap();
    stand.cluster.replica(0).stop(pgsluice_fixtures::cluster::Mode::Fast).unwrap();
    drop(runs.succeeds_by(Instant::now() + LONG));
}

#[test]
fn names_of_settings_that_are_nobodys_are_not_accepted() {
    let stand = Stand::new("");
    let mut app = stand.connect("app");
    for sql in [
        "SET pgsluice.reads = replica",
        "SET LOCAL pgsluice.x TO 1",
        "RESET pgsluice.x",
        "SHOW pgsluice.x",
        "SELECT set_config('pgsluice.x', '1', false)",
        "SELECT set_config('pgsluice.x', 'a' || 'b', false)",
        "SELECT pg_catalog.set_config('pgsluice.x', (SELECT 'a'), true)",
        "WITH w AS (SELECT set_config('pgsluice.x', current_user, false)) SELECT * FROM w",
        "SELECT 1; SET pgsluice.x = 1",
    ] {
        let frames = crate::stand::query(&mut app, sql);
        let error = frames.iter().find_map(Frame::error).unwrap_or_else(|| panic!("{sql}: accepted"));
        assert_eq!(error.code(), "42704", "{sql}");
        assert!(error.message().starts_with("unrecognized configuration parameter \"pgsluice."), "{}", error.message());
        let batch =
            [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()];
        let frames = app.round_trip(&batch.concat(), LONG).unwrap();
        if !sql.contains(';') {
            assert_eq!(sqlstate(&frames), "42704", "extended: {sql}");
        }
    }
    let batch = [
        message::parse("", "SELECT set_config('pgsluice.x', $1, false)", &[]),
        message::bind("", "", &[Some(b"1")]),
        message::execute("", 0),
        message::sync(),
    ];
    assert_eq!(sqlstate(&app.round_trip(&batch.concat(), LONG).unwrap()), "42704");
    crate::stand::query(&mut app, "BEGIN");
    assert_eq!(sqlstate(&crate::stand::query(&mut app, "SET pgsluice.x = 1")), "42704");
    assert_eq!(sqlstate(&crate::stand::query(&mut app, "SELECT 1")), "25P02");
    fine(&mut app, "ROLLBACK");
    for login in [("options", "-c pgsluice.x=1"), ("pgsluice.x", "1")] {
        let login = pgsluice_fixtures::Login::new("app", "app").parameter(login.0, login.1);
        let error = pgsluice_fixtures::Raw::connect(&stand.proxy.tcp(), &login).expect_err("a refusal");
        assert_eq!(error.sqlstate(), Some("42704"), "{error}");
    }
    assert_eq!(fine(&mut app, "SHOW pgsluice.mode"), [["read_write"]]);
    assert_eq!(sqlstate(&crate::stand::query(&mut app, "SET pgsluice.mode = 'x'")), "55P02");
}
