//! The process id that a client is told: in session mode that of its server process.

use crate::stand::{SOON, Stand};
use pgsluice_fixtures::wait;

#[test]
fn in_session_mode_a_client_is_told_its_server_process() {
    let stand = Stand::start("pool_mode = \"session\"\ndefault_pool_size = 2", 2);
    let mut one = stand.client("dba", "d0");
    let mut other = stand.client("dba", "d0");
    let told = one.0.key().unwrap().pid;
    assert_eq!(one.value("SELECT pg_backend_pid()"), told.to_string());
    assert_ne!(other.0.key().unwrap().pid, told);
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'd0' AND state LIKE 'idle in%'";
    assert_eq!(stand.client("dba", "d1").value(idle), "0");

    // A notification tells that of its sender.
    one.ask("LISTEN news; NOTIFY news");
    let frames = one.0.round_trip(&pgsluice_fixtures::raw::message::query("NOTIFY news"), SOON).unwrap();
    let notified = frames.iter().find(|frame| frame.tag == b'A').expect("a notification");
    assert_eq!(notified.body[..4], told.to_be_bytes());

    // Its key cancels what it runs, and nothing of the other's.
    one.0.send(&pgsluice_fixtures::raw::message::query("SELECT pg_sleep(60)")).unwrap();
    let sleeps = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {told} AND wait_event = 'PgSleep'");
    wait::until(SOON, "the sleeper", || (other.value(&sleeps) == "1").then_some(()));
    other.0.cancel(SOON).unwrap();
    assert_eq!(other.value(&sleeps), "1");
    one.0.cancel(SOON).unwrap();
    let frames = one.0.frames_until_ready(SOON).unwrap();
    assert_eq!(frames.iter().find_map(|frame| frame.error()).expect("an error").code(), "57014");
    assert_eq!(one.value("SELECT pg_backend_pid()"), told.to_string());
}

#[test]
fn a_client_that_has_only_logged_in_does_not_keep_the_gate_open() {
    let stand = Stand::start("pool_mode = \"session\"", 1);
    let mut idle = stand.client("dba", "d0");
    let on = stand.client("dba", "pgsluice").value("MAINTENANCE ON d0 WITH (drain_timeout '10s', on_timeout revert)");
    assert!(on.starts_with("d0|read_only|t"), "{on}");
    let mut late = stand.client("dba", "d0");
    for client in [&mut idle, &mut late] {
        assert!(client.refused("CREATE TABLE written (n int)").contains("read-only transaction"));
        let told = client.0.key().unwrap().pid.to_string();
        assert_eq!(client.value("SELECT pg_backend_pid()"), told);
    }
    stand.client("dba", "pgsluice").ask("MAINTENANCE OFF d0");
    for client in [&mut idle, &mut late] {
        client.ask("CREATE TABLE IF NOT EXISTS written (n int)");
    }
}
