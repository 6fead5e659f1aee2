//! Idle server connections are not in the way of who wants a database for itself.

use crate::stand::{SOON, Stand};
use std::time::{Duration, Instant};

#[test]
fn idle_connections_leave_a_database_that_is_dropped_renamed_or_copied() {
    // Databases of its own: the names of the shared stand's are other tests'.
    let stand = Stand::start("default_pool_size = 1", 3);
    let mut client = stand.client("dba", "d0");
    let visit = |database: &str| stand.client("dba", database).value("SELECT current_database()");
    assert_eq!(visit("d1"), "d1");
    client.ask("CREATE DATABASE copy TEMPLATE d1");
    assert_eq!(visit("d1"), "d1");
    client.ask("ALTER DATABASE d1 RENAME TO gone");
    client.ask("ALTER DATABASE gone RENAME TO d1");
    assert_eq!(visit("d1"), "d1");
    assert_eq!(visit("d2"), "d2");
    client.ask("DROP DATABASE d1");
    client.ask("CREATE DATABASE d1");
    assert_eq!(visit("d1"), "d1");

    // Who is in the midst of something is somebody: PostgreSQL's own answer.
    let mut busy = stand.client("dba", "d2");
    busy.ask("BEGIN");
    let refused = client.refused("DROP DATABASE d2");
    assert!(refused.contains("is being accessed by other users"), "{refused}");
    assert_eq!(busy.value("SELECT current_database()"), "d2");
    busy.ask("COMMIT");
    client.ask("DROP DATABASE d2");
}

/// A client has gone in the midst of a transaction: its server connection is being cleaned, and comes back meanwhile.
#[test]
fn one_that_is_being_cleaned_does_not_stay() {
    let stand =
        Stand::start("default_pool_size = 1\nserver_reset_query = \"SELECT pg_sleep(1)\"\npool_mode = \"session\"", 2);
    let mut client = stand.client("dba", "d0");
    assert_eq!(stand.client("dba", "d1").value("SELECT 1"), "1");
    client.ask("DROP DATABASE d1");
}

#[test]
fn the_same_by_the_extended_protocol() {
    let stand = Stand::start("default_pool_size = 1", 2);
    let mut client = stand.client("dba", "d0");
    assert_eq!(stand.client("dba", "d1").value("SELECT 1"), "1");
    client.prepared("DROP DATABASE d1");
    assert_eq!(client.value("SELECT count(*) FROM pg_database WHERE datname = 'd1'"), "0");
}

/// pgsluice itself asks a database's catalog, and that may take a while.
#[test]
fn a_database_is_dropped_while_its_catalog_is_being_read() {
    let stand = Stand::start("default_pool_size = 1\ncatalog_check_interval = \"1s\"", 2);
    let mut client = stand.client("dba", "d0");
    let mut visitor = stand.client("dba", "d1");
    assert_eq!(visitor.value("SELECT 1"), "1");
    // Whoever reads a catalog wants to know who is a member of what.
    let mut locks = stand.direct("dba", "postgres");
    locks.ask("BEGIN; LOCK TABLE pg_auth_members IN ACCESS EXCLUSIVE MODE");
    visitor.ask("CREATE TABLE altered (a int)");
    drop(visitor);
    let waiting = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = 'd1' AND wait_event_type = 'Lock'";
    let deadline = Instant::now() + SOON;
    while locks.value(waiting) != "t" {
        assert!(Instant::now() < deadline, "nobody reads the catalog");
        // What is seen of the others is that of the transaction otherwise.
        locks.ask("SELECT pg_stat_clear_snapshot()");
        std::thread::sleep(Duration::from_millis(20));
    }
    client.ask("DROP DATABASE d1");
}

/// So it does all the time that a gate is closed.
#[test]
fn an_operator_drops_a_database_whose_gate_is_closed() {
    let stand = Stand::start("default_pool_size = 1\noperators = [\"dba\"]", 2);
    assert_eq!(stand.client("alice", "d1").value("SELECT 1"), "1");
    stand.client("dba", "pgsluice").ask("MAINTENANCE ON d1 WITH (reads primary)");
    assert_eq!(stand.client("alice", "d1").value("SELECT 1"), "1");
    let mut client = stand.client("dba", "d0");
    let watched = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = 'd1' AND usename = 'monitor'";
    let deadline = Instant::now() + SOON;
    while client.value(watched) != "t" {
        assert!(Instant::now() < deadline, "nobody looks at its catalog");
        std::thread::sleep(Duration::from_millis(20));
    }
    client.ask("DROP DATABASE d1");
}
