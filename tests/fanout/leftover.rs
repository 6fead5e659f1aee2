//! A process or a server that dies between the two halves of a commit.

use pgsluice_fixtures::wait;

use crate::stand::{LONG, Stand, frames, outcome, words};

/// The number by which a unit names its deciding server (FNV-1a).
fn mark(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

impl Stand {
    /// Leaves a unit prepared on both servers, which the first decides.
    fn leave_prepared(&self, number: u64, sql: &str) -> String {
        let here = self.servers[0].primary();
        let mut session = here.connect("dba", "bot").unwrap();
        session.query("BEGIN READ WRITE", LONG).unwrap();
        session.query(sql, LONG).unwrap();
        let id = session.query("SELECT pg_current_xact_id()::text", LONG).unwrap()[0].rows[0][0].clone().unwrap();
        let gid = format!("pgsluice_fanout_{number:016x}_{id}_{:016x}", mark(&self.name(0)));
        session.query(&format!("PREPARE TRANSACTION '{gid}'"), LONG).unwrap();
        let mut session = self.servers[1].primary().connect("dba", "bot").unwrap();
        session.query("BEGIN READ WRITE", LONG).unwrap();
        session.query(sql, LONG).unwrap();
        session.query(&format!("PREPARE TRANSACTION '{gid}'"), LONG).unwrap();
        gid
    }
}

#[test]
fn what_nobody_had_decided_is_rolled_back_and_what_was_decided_is_finished() {
    let stand = Stand::new("5");
    stand.leave_prepared(1, "CREATE TABLE undecided (id int)");
    let decided = stand.leave_prepared(2, "CREATE TABLE decided (id int)");
    let undone = stand.leave_prepared(3, "CREATE TABLE undone (id int)");
    let here = stand.servers[0].primary();
    here.psql_in("bot", &format!("COMMIT PREPARED '{decided}'")).unwrap();
    here.psql_in("bot", &format!("ROLLBACK PREPARED '{undone}'")).unwrap();
    let mut operator = stand.connect("dba", "bot");
    let told = words(&frames(&mut operator, "SET pgsluice.fanout = on"));
    assert!(told.contains("committed on") && told.contains("rolled back on"), "{told}");
    assert_eq!(stand.both("SELECT count(*) FROM pg_prepared_xacts"), ["0", "0"]);
    for (table, is) in [("undecided", "f"), ("decided", "t"), ("undone", "f")] {
        assert_eq!(stand.both(&format!("SELECT to_regclass('{table}') IS NOT NULL")), [is, is], "{table}");
    }
}

/// The process is killed again and again while an operator's script runs through it.
#[test]
fn a_kill_of_the_process_at_any_moment_leaves_a_unit_on_all_servers_or_on_none() {
    let mut stand = Stand::new("5");
    stand.console("MAINTENANCE ON bot");
    for round in 0..8_u64 {
        let table = format!("round_{round}");
        let mut operator = stand.connect("dba", "bot");
        assert_eq!(outcome(&mut operator, "SET pgsluice.fanout = on"), "SET");
        let create = format!("CREATE TABLE {table} (id int)");
        operator.send(&pgsluice_fixtures::raw::message::query(&create)).unwrap();
        // Another moment each time, over all of a unit's few milliseconds.
        std::thread::sleep(std::time::Duration::from_micros(1500 * round));
        stand.proxy.kill_9();
        drop(operator);
        stand.proxy.start_again().unwrap();
        wait::until(LONG, "a fan-out again", || {
            let mut operator = stand.connect("dba", "bot");
            (outcome(&mut operator, "SET pgsluice.fanout = on") == "SET").then_some(())
        });
        let exist = stand.both(&format!("SELECT to_regclass('{table}') IS NOT NULL"));
        assert_eq!(exist[0], exist[1], "{table}");
        assert_eq!(stand.both("SELECT count(*) FROM pg_prepared_xacts"), ["0", "0"]);
    }
}
