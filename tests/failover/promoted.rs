//! A replica that is promoted in the middle of a maintenance lets no write through.

use pgsluice_fixtures::Raw;
use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::raw::message;

use crate::stand::{LONG, Stand, fine, query, sqlstate};

/// What the promoted replica holds after clients have tried to write at once.
fn nothing_written(pool_mode: &str) {
    let stand = Stand::new(&format!("pool_mode = \"{pool_mode}\"\n"));
    let mut idle = stand.connect("app");
    let mut pinned = stand.connect("app");
    let mut block = stand.connect("app");
    stand.console("MAINTENANCE ON app WITH (reads replica)");
    stand.cluster.wait_for_replay(LONG).unwrap();
    // The guard is taken down by what nobody can read in the text; one session keeps its connection before.
    for raw in [&mut idle, &mut pinned] {
        query(raw, "SELECT setseed(0.5)");
    }
    let blocks = pool_mode != "statement";
    if blocks {
        fine(&mut block, "BEGIN");
        fine(&mut block, "SELECT 1");
    }
    stand.cluster.primary().stop(Mode::Fast).unwrap();
    // In session mode it has ended with the primary's.
    if pinned.send(&message::query("SELECT rwoff()")).is_ok() {
        drop(pinned.frames_until_ready(LONG));
    }
    stand.cluster.replica(0).promote().unwrap();
    let mut writes: Vec<(&str, Raw)> = vec![("pinned", pinned), ("idle", idle)];
    if blocks {
        writes.push(("block", block));
    }
    for (who, mut raw) in writes {
        for sql in
            ["INSERT INTO w(who) VALUES ('x')", "SELECT lo_create(0)", "DO $$ BEGIN PERFORM lo_create(0); END $$"]
        {
            // A session whose guard has fallen ends with it.
            let Ok(()) = raw.send(&message::query(sql)) else { break };
            let Ok(frames) = raw.frames_until_ready(LONG) else { break };
            assert_ne!(sqlstate(&frames), "", "{who}: {sql}");
        }
    }
    assert_eq!(stand.written_on_the_new_one(), Vec::<String>::new(), "{pool_mode}");
    let objects = stand.cluster.replica(0).psql_in("app", "SELECT count(*) FROM pg_largeobject_metadata").unwrap();
    assert_eq!(objects, "0", "{pool_mode}");
}

#[test]
fn a_replica_promoted_in_mid_maintenance_lets_no_write_through_in_transaction_mode() {
    nothing_written("transaction");
}

#[test]
fn a_replica_promoted_in_mid_maintenance_lets_no_write_through_in_session_mode() {
    nothing_written("session");
}

#[test]
fn a_replica_promoted_in_mid_maintenance_lets_no_write_through_in_statement_mode() {
    nothing_written("statement");
}
