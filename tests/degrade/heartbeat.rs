//! GeoNetwork: whether a database takes writes is asked by a heartbeat, which is told of in the log in both directions.

use std::process::Command;
use std::time::{Duration, Instant};

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::wait;

use crate::help::{WRITE, maintenance, until_refused, until_told, until_written, wait_for_mode};
use crate::stand::{LONG, Stand, fine, query, sqlstate};

const BEATS: &str = "heartbeat = true\nheartbeat_initial_delay = \"300ms\"\nheartbeat_interval = \"400ms\"";

/// By the program's own command, as its operator does it.
fn init(stand: &Stand) {
    let url = format!("postgres://dba@127.0.0.1:{}/app", stand.cluster.primary().port());
    let done = Command::new(binary(env!("CARGO_BIN_EXE_pgsluice")))
        .args(["heartbeat", "init", "--upstream", &url, "--role", "monitor"])
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(String::from_utf8_lossy(&done.stdout).contains("pgsluice.heartbeat"));
}

/// The row, with where it lies: any write gives it another place.
fn row(stand: &Stand) -> String {
    stand.cluster.primary().psql_in("app", "SELECT ctid, xmin, at FROM pgsluice.heartbeat").unwrap()
}

fn until_it_beats(stand: &Stand) {
    let before = row(stand);
    wait::until(LONG, "a beat", || (row(stand) != before).then_some(()));
}

fn by_superuser(stand: &Stand, sql: &str) {
    stand.cluster.primary().psql_in("postgres", sql).unwrap();
}

#[test]
fn geonetwork_the_heartbeat_is_off_unless_asked_for_and_makes_nothing_by_itself() {
    let stand = Stand::with("", "", BEATS, &[]);
    let text = "the heartbeat is not set up";
    wait::until(LONG, "a line of the log", || stand.proxy.log().contains(text).then_some(()));
    let made = "SELECT count(*) FROM pg_namespace WHERE nspname = 'pgsluice'";
    assert_eq!(stand.cluster.primary().psql_in("app", made).unwrap(), "0");
    assert_eq!(maintenance(&stand)[0], "read_write", "what is not set up proves nothing");
    init(&stand);
    init(&stand);
    until_it_beats(&stand);
    assert_eq!(stand.cluster.primary().psql_in("app", "SELECT count(*) FROM pgsluice.heartbeat").unwrap(), "1");
    drop(stand);

    let stand = Stand::with("", "", "", &[]);
    init(&stand);
    let before = row(&stand);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(row(&stand), before, "off by default");
}

#[test]
fn geonetwork_alter_database_is_told_of_in_the_log_in_both_directions() {
    for (follows, cause) in [("true", "own_setting"), ("false", "writes_fail")] {
        let of_cluster = format!("primary_lost_after = \"1500ms\"\nfollow_read_only_setting = {follows}");
        let stand = Stand::with("", &of_cluster, BEATS, &[]);
        init(&stand);
        let (mut app, mut idle) = (stand.connect("app"), stand.connect("app"));
        for raw in [&mut app, &mut idle] {
            fine(raw, WRITE);
        }
        until_it_beats(&stand);
        by_superuser(&stand, "ALTER DATABASE app SET default_transaction_read_only = true");
        wait_for_mode(&stand, "read_only", cause);
        until_told(&mut idle, "on");
        until_refused(&mut app, LONG);
        wait::until(LONG, "the log", || {
            let log = stand.proxy.log();
            let failed = log.contains("cannot execute UPDATE in a read-only transaction");
            (failed && log.contains("heartbeat cannot write: the database remains read-only")).then_some(())
        });
        by_superuser(&stand, "ALTER DATABASE app RESET default_transaction_read_only");
        wait_for_mode(&stand, "read_write", "");
        wait::until(LONG, "the log", || {
            stand.proxy.log().contains("can write again: the database is switched to read-write").then_some(())
        });
        until_written(&mut app, LONG);
        until_told(&mut idle, "off");
    }
}

#[test]
fn writes_that_fail_lastingly_close_the_database_and_a_persons_mode_wins() {
    let stand = Stand::with("", "primary_lost_after = \"1500ms\"", BEATS, &[]);
    init(&stand);
    let mut app = stand.connect("app");
    until_it_beats(&stand);
    let full = "CREATE FUNCTION pgsluice.full() RETURNS trigger LANGUAGE plpgsql AS
            'BEGIN RAISE EXCEPTION ''could not extend file: No space left on device'' USING ERRCODE = ''53100''; END';
        CREATE TRIGGER full_disk BEFORE UPDATE ON pgsluice.heartbeat FOR EACH ROW EXECUTE FUNCTION pgsluice.full()";
    stand.cluster.primary().psql_in("app", full).unwrap();
    let begun = Instant::now();
    wait_for_mode(&stand, "read_only", "writes_fail");
    assert!(begun.elapsed() >= Duration::from_millis(1200), "a moment is not lasting");
    let detail = until_refused(&mut app, LONG);
    assert!(detail.contains("its heartbeat has not been able to write since "), "{detail}");
    assert!(stand.proxy.log().contains("could not extend file"), "PostgreSQL's message");
    assert_eq!(fine(&mut app, "SELECT count(*) FROM t"), [["10"]]);
    stand.console("MAINTENANCE ON app WITH (message 'upgrade')");
    wait_for_mode(&stand, "read_only", "command");
    stand.console("MAINTENANCE OFF app");
    wait_for_mode(&stand, "read_only", "writes_fail");
    stand.cluster.primary().psql_in("app", "DROP TRIGGER full_disk ON pgsluice.heartbeat").unwrap();
    wait_for_mode(&stand, "read_write", "");
    until_written(&mut app, LONG);
}

#[test]
fn nothing_is_written_while_a_person_has_closed_the_gate() {
    let stand = Stand::with("", "primary_lost_after = \"1500ms\"", BEATS, &[]);
    init(&stand);
    until_it_beats(&stand);
    let mut app = stand.connect("app");
    for (close, open) in [("MAINTENANCE ON app", "MAINTENANCE OFF app"), ("OFFLINE app", "ONLINE app")] {
        for _ in 0..5 {
            stand.console(close);
            let before = row(&stand);
            std::thread::sleep(Duration::from_millis(900));
            assert_eq!(row(&stand), before, "{close}");
            stand.console(open);
            until_it_beats(&stand);
        }
    }
    assert_eq!(sqlstate(&query(&mut stand.connect("app"), WRITE)), "");
    drop(app.shut_down_writing());
}
