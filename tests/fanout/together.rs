//! On all servers or on none.

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Login, Raw, wait};

use crate::stand::{LONG, Stand, frames, go_through, outcome, words};

const EXISTS: &str = "SELECT to_regclass('news') IS NOT NULL";

/// StilleBot changes its tables: both sides down, writes queue, the change on both or on neither, subscriptions refreshed, up.
#[test]
fn stillebot_changes_its_tables_on_both_sides_while_writes_wait() {
    let stand = Stand::new("5");
    let mut bot = stand.connect("bot", "bot");
    bot.query("INSERT INTO w VALUES (1, 'before')", LONG).unwrap();
    let mut operator = stand.closed_and_fanned_out();
    bot.send(&message::query("INSERT INTO w VALUES (2, 'meanwhile')")).unwrap();
    for sql in ["BEGIN", "CREATE TABLE news (id int PRIMARY KEY, text text)", "GRANT ALL ON news TO bot"] {
        assert!(!outcome(&mut operator, sql).is_empty(), "{sql}");
    }
    assert_eq!(stand.both(EXISTS), ["f", "f"]);
    let told = frames(&mut operator, "COMMIT");
    let said = words(&told);
    assert!(said.contains(&stand.name(0)) && said.contains(&stand.name(1)), "{said}");
    assert_eq!(stand.both(EXISTS), ["t", "t"]);
    assert_eq!(stand.both("SELECT count(*) FROM pg_prepared_xacts"), ["0", "0"]);
    assert_eq!(outcome(&mut operator, "SET pgsluice.fanout = off"), "SET");
    stand.console("MAINTENANCE OFF bot");
    assert!(bot.frames_until_ready(LONG).unwrap().iter().any(|frame| frame.tag == b'C'));
    bot.query("INSERT INTO news VALUES (1, 'x')", LONG).unwrap();
    for server in &stand.servers {
        wait::until(LONG, "what was written on one to be on the other", || {
            let count = "SELECT (SELECT count(*) FROM news) || ' ' || (SELECT count(*) FROM w)";
            (server.primary().psql_in("bot", count).unwrap() == "1 2").then_some(())
        });
    }
}

#[test]
fn what_fails_on_one_server_is_done_on_none() {
    let stand = Stand::new("5");
    stand.servers[1].primary().psql_in("bot", "CREATE TABLE only_there (id int)").unwrap();
    let mut operator = stand.closed_and_fanned_out();
    // By itself, on whichever of them it fails.
    for (sql, code) in [
        ("CREATE TABLE only_there (id int)", "42P07"),
        ("ALTER TABLE only_there ADD x int", "42P01"),
        ("CREATE TABLE news (id int); CREATE TABLE only_there (id int)", "42P07"),
        ("CREATE TABLE news (id int); SELECT 1/0", "22012"),
        ("DO $$BEGIN CREATE TABLE news (id int); PERFORM nosuch(); END$$", "42883"),
    ] {
        assert!(outcome(&mut operator, sql).ends_with(code), "{sql}");
        assert_eq!(stand.both(EXISTS), ["f", "f"], "{sql}");
    }
    // In a block, which fails as a whole, and goes on from a savepoint.
    go_through(
        &mut operator,
        &[
            ("BEGIN", "BEGIN"),
            ("CREATE TABLE news (id int)", "CREATE TABLE"),
            ("SAVEPOINT s", "SAVEPOINT"),
            ("CREATE TABLE only_there (id int)", "42P07"),
            ("SELECT 1", "25P02"),
            ("ROLLBACK TO s", "ROLLBACK"),
            ("COMMENT ON TABLE news IS 'both'", "COMMENT"),
            ("COMMIT", "COMMIT"),
        ],
    );
    assert_eq!(stand.both("SELECT obj_description('news'::regclass)"), ["both", "both"]);
    go_through(
        &mut operator,
        &[
            ("BEGIN", "BEGIN"),
            ("DROP TABLE news", "DROP TABLE"),
            ("CREATE TABLE only_there (id int)", "42P07"),
            ("COMMIT", "ROLLBACK"),
        ],
    );
    assert_eq!(stand.both(EXISTS), ["t", "t"]);
    // Only its commit fails, on one of them.
    let check = "CREATE FUNCTION complain() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'no'; END$$; \
                 CREATE CONSTRAINT TRIGGER late AFTER INSERT ON news DEFERRABLE INITIALLY DEFERRED \
                 FOR EACH ROW EXECUTE FUNCTION complain()";
    stand.servers[1].primary().psql_in("bot", check).unwrap();
    for sql in ["INSERT INTO news VALUES (1)", "BEGIN; INSERT INTO news VALUES (1); COMMIT"] {
        let told = outcome(&mut operator, sql);
        assert!(told.contains("P0001") || told == "0A000", "{sql}: {told}");
        assert_eq!(stand.both("SELECT count(*) FROM news"), ["0", "0"], "{sql}");
        assert_eq!(stand.both("SELECT count(*) FROM pg_prepared_xacts"), ["0", "0"], "{sql}");
    }
}

#[test]
fn with_the_gate_open_only_what_changes_nothing_succeeds() {
    let stand = Stand::new("5");
    let mut operator = stand.connect("dba", "bot");
    assert_eq!(outcome(&mut operator, "SHOW pgsluice.fanout"), "SHOW");
    assert_eq!(outcome(&mut operator, "SET pgsluice.fanout = on"), "SET");
    let told = frames(&mut operator, "CREATE TABLE news (id int)");
    assert!(words(&told).contains("MAINTENANCE ON bot"), "{}", words(&told));
    assert_eq!(outcome(&mut operator, "CREATE TABLE IF NOT EXISTS w (id int)"), "CREATE TABLE");
    assert_eq!(outcome(&mut operator, "SELECT 1"), "SELECT 1");
    go_through(
        &mut operator,
        &[("BEGIN", "BEGIN"), ("CREATE TABLE news (id int)", "CREATE TABLE"), ("COMMIT", "55000")],
    );
    assert_eq!(stand.both(EXISTS), ["f", "f"]);
    stand.console("MAINTENANCE ON bot");
    assert_eq!(outcome(&mut operator, "CREATE TABLE news (id int)"), "CREATE TABLE");
    assert_eq!(stand.both(EXISTS), ["t", "t"]);
}

#[test]
fn what_no_transaction_takes_runs_on_one_after_the_other_and_tells_where_it_stopped() {
    let stand = Stand::new("5");
    let mut operator = stand.closed_and_fanned_out();
    let told = frames(&mut operator, "CREATE INDEX CONCURRENTLY who_first ON w (who)");
    assert!(words(&told).contains("one after the other"), "{}", words(&told));
    assert_eq!(stand.both("SELECT to_regclass('who_first') IS NOT NULL"), ["t", "t"]);
    stand.servers[1].primary().psql_in("bot", "CREATE INDEX who_second ON w (who)").unwrap();
    let told = frames(&mut operator, "CREATE INDEX CONCURRENTLY who_second ON w (who)");
    let said = words(&told);
    assert!(said.contains("already exists") && said.contains("it is done on"), "{said}");
}

#[test]
fn servers_that_prepare_no_transactions_are_committed_one_after_the_other() {
    let stand = Stand::new("0");
    stand.console("MAINTENANCE ON bot");
    let mut operator = stand.connect("dba", "bot");
    let told = frames(&mut operator, "SET pgsluice.fanout = on");
    assert!(words(&told).contains("max_prepared_transactions"), "{}", words(&told));
    assert_eq!(outcome(&mut operator, "CREATE TABLE news (id int)"), "CREATE TABLE");
    assert_eq!(stand.both(EXISTS), ["t", "t"]);
    assert_eq!(outcome(&mut operator, "CREATE TABLE news (id int)"), "42P07");
}

#[test]
fn the_sessions_settings_hold_on_every_server_and_databases_that_are_down_are_changed() {
    let stand = Stand::new("5");
    for server in &stand.servers {
        let sql = "CREATE ROLE owner; CREATE SCHEMA apart AUTHORIZATION owner; \
                   ALTER DATABASE bot SET default_transaction_read_only = on";
        server.primary().psql_in("bot", sql).unwrap();
    }
    // Which one is used changes until both are known to be down.
    let mut console = stand.connect("dba", "pgsluice");
    wait::until(LONG, "both sides to be seen to be down", || {
        let rows = console.query("SHOW UPSTREAMS", LONG).unwrap().remove(0).rows;
        rows.iter().all(|row| row.last().is_some_and(Option::is_some)).then_some(())
    });
    stand.console("MAINTENANCE ON bot");
    let mut operator = stand.connect("dba", "bot");
    operator.query("SET search_path = apart; SET ROLE owner", LONG).unwrap();
    assert_eq!(outcome(&mut operator, "SET pgsluice.fanout = on"), "SET");
    assert_eq!(outcome(&mut operator, "CREATE TABLE news (id int)"), "CREATE TABLE");
    let owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'apart.news'::regclass";
    assert_eq!(stand.both(owner), ["owner", "owner"]);
    // And what is set from now on.
    assert_eq!(outcome(&mut operator, "RESET ROLE"), "RESET");
    for sql in ["BEGIN", "CREATE TABLE apart.late (id int)", "COMMIT"] {
        outcome(&mut operator, sql);
    }
    assert_eq!(stand.both(&owner.replace("news", "late")), ["dba", "dba"]);
}

#[test]
fn who_may_not_and_what_cannot_is_told() {
    let stand = Stand::new("5");
    assert_eq!(outcome(&mut stand.connect("bot", "bot"), "SET pgsluice.fanout = on"), "42501");
    let mut operator = stand.closed_and_fanned_out();
    assert_eq!(outcome(&mut stand.connect("dba", "bot"), "SET pgsluice.fanout = on"), "55006");
    assert_eq!(outcome(&mut operator, "SET pgsluice.fanout = perhaps"), "22023");
    let shown = operator.query("SHOW pgsluice.fanout", LONG).unwrap();
    assert_eq!(shown[0].rows[0][0].as_deref(), Some("on"));
    for sql in ["PREPARE TRANSACTION 'x'", "BEGIN; CREATE TABLE news (id int); COMMIT"] {
        assert_eq!(outcome(&mut operator, sql), "0A000", "{sql}");
    }
    assert!(outcome(&mut operator, "COPY w FROM STDIN").contains("57014"));
    let parse = [message::parse("", "SELECT 1", &[]), message::sync()].concat();
    let told = operator.round_trip(&parse, LONG).unwrap();
    assert_eq!(told.iter().find_map(|frame| frame.error()).unwrap().code(), "0A000");
    go_through(&mut operator, &[("BEGIN", "BEGIN"), ("SET pgsluice.fanout = off", "25001"), ("ROLLBACK", "ROLLBACK")]);
    assert_eq!(outcome(&mut operator, "SET pgsluice.fanout = off"), "SET");
    assert_eq!(outcome(&mut operator, "SELECT 2"), "SELECT 1");
    go_through(&mut operator, &[("BEGIN", "BEGIN"), ("SET pgsluice.fanout = on", "25001"), ("ROLLBACK", "ROLLBACK")]);
    // The first has left, so that another one may.
    assert_eq!(outcome(&mut stand.connect("dba", "bot"), "SET pgsluice.fanout = on"), "SET");
}

#[test]
fn a_cluster_with_one_primary_has_nothing_to_fan_out_to() {
    let stand = Stand::with("5", "");
    wait::until(LONG, "a session", || {
        let mut operator = Raw::connect(&stand.proxy.tcp(), &Login::new("dba", "bot")).ok()?;
        (outcome(&mut operator, "SET pgsluice.fanout = on") == "55000").then_some(())
    });
}

#[test]
fn a_client_or_a_server_that_goes_leaves_nothing_behind() {
    let stand = Stand::new("5");
    let mut operator = stand.closed_and_fanned_out();
    for sql in ["BEGIN", "CREATE TABLE news (id int)"] {
        outcome(&mut operator, sql);
    }
    operator.reset().unwrap();
    let open = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'dba' AND state LIKE 'idle in tr%'";
    for server in &stand.servers {
        server.primary().wait_until(open, "0", LONG).unwrap();
    }
    // A cancel request ends what runs, everywhere.
    let mut operator = stand.closed_and_fanned_out();
    operator.send(&message::query("CREATE TABLE news AS SELECT 1 AS id FROM pg_sleep(60)")).unwrap();
    let runs = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'CREATE TABLE news%' AND state = 'active'";
    for server in &stand.servers {
        server.primary().wait_until(runs, "1", LONG).unwrap();
    }
    operator.cancel(LONG).unwrap();
    let told = operator.frames_until_ready(LONG).unwrap();
    assert_eq!(told.iter().find_map(|frame| frame.error()).unwrap().code(), "57014");
    assert_eq!(stand.both(runs), ["0", "0"]);
    // A server that dies amid a unit.
    for sql in ["BEGIN", "CREATE TABLE news (id int)"] {
        outcome(&mut operator, sql);
    }
    stand.servers[1].primary().kill_9();
    let told = outcome(&mut operator, "COMMIT");
    assert!(!told.contains("COMMIT"), "{told}");
    stand.servers[1].primary().start().unwrap();
    assert_eq!(stand.both(EXISTS), ["f", "f"]);
    assert_eq!(stand.both("SELECT count(*) FROM pg_prepared_xacts"), ["0", "0"]);
}
