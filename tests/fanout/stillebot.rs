//! StilleBot changes its tables, step by step as its document has it: both sides down while they replicate, writes queue, the change on
//! both or on neither, subscriptions refreshed, both up.

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::wait;

use crate::stand::{LONG, Stand, go_through, outcome};

/// What `dbctl down` and `dbctl up` do to the database of each server.
fn dbctl(stand: &Stand, on: &str) {
    stand.both(&format!("BEGIN READ WRITE; ALTER DATABASE bot SET default_transaction_read_only = {on}; COMMIT"));
}

/// What `dbctl stat` is repeated for: no session of the application is left that could write.
fn stat_is_clear(stand: &Stand) {
    for server in &stand.servers {
        let open = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'bot' AND datname = 'bot' \
                    AND backend_xid IS NOT NULL";
        server.primary().wait_until(open, "0", LONG).unwrap();
    }
}

fn eventually(stand: &Stand, sql: &str, expected: &str) {
    for server in &stand.servers {
        wait::until_ok(LONG, sql, || {
            let now = server.primary().psql_in("bot", sql).unwrap();
            if now == expected { Ok(()) } else { Err(format!("{now} instead of {expected}")) }
        });
    }
}

#[test]
fn stillebot_changes_its_tables_step_by_step_as_its_document_has_it() {
    let stand = Stand::new("5");
    let mut bot = stand.connect("bot", "bot");
    bot.query("INSERT INTO w VALUES (1, 'before')", LONG).unwrap();
    eventually(&stand, "SELECT count(*) FROM w", "1");

    // While a side is read-write, what would change something errors out; what changes nothing succeeds without a word.
    let mut operator = stand.connect("dba", "bot");
    assert_eq!(outcome(&mut operator, "SET pgsluice.fanout = on"), "SET");
    assert_eq!(outcome(&mut operator, "CREATE TABLE news (id int PRIMARY KEY, text text)"), "55000");
    assert_eq!(outcome(&mut operator, "CREATE TABLE IF NOT EXISTS w (id int)"), "CREATE TABLE");
    assert_eq!(stand.both("SELECT to_regclass('news') IS NULL"), ["t", "t"]);
    drop(operator);

    // Both sides down: writes queue in the program, here in pgsluice.
    stand.console("MAINTENANCE ON bot WITH (writes hold)");
    dbctl(&stand, "on");
    stat_is_clear(&stand);
    assert_eq!(stand.both("SHOW default_transaction_read_only"), ["on", "on"]);
    // The side that is used goes over as soon as one is seen to be down before the other: that is over.
    wait::until(LONG, "both sides seen to be down", || {
        let rows = stand.connect("dba", "pgsluice").query("SHOW UPSTREAMS", LONG).unwrap().remove(0).rows;
        rows.iter().all(|row| row[14].as_deref().is_some_and(|names| names.contains("bot"))).then_some(())
    });
    let slots = "SELECT bool_and(active) FROM pg_replication_slots";
    eventually(&stand, slots, "t");
    bot.send(&message::query("INSERT INTO w VALUES (2, 'queued')")).unwrap();
    let mut reader = stand.connect("bot", "bot");
    assert_eq!(outcome(&mut reader, "SELECT count(*) FROM w"), "SELECT 1");

    // The change, in a session that begins now: on neither, if it fails on one of them; then on both.
    let mut operator = stand.connect("dba", "bot");
    assert_eq!(outcome(&mut operator, "SET pgsluice.fanout = on"), "SET");
    stand.servers[1].primary().psql_in("bot", "BEGIN READ WRITE; CREATE TABLE odd (id int); COMMIT").unwrap();
    assert_eq!(outcome(&mut operator, "CREATE TABLE news (id int); CREATE TABLE odd (id int)"), "42P07");
    assert_eq!(stand.both("SELECT to_regclass('news') IS NULL"), ["t", "t"]);
    stand.servers[1].primary().psql_in("bot", "BEGIN READ WRITE; DROP TABLE odd; COMMIT").unwrap();
    go_through(
        &mut operator,
        &[
            ("BEGIN", "BEGIN"),
            ("CREATE TABLE news (id int PRIMARY KEY, text text)", "CREATE TABLE"),
            ("ALTER TABLE w ADD COLUMN at timestamptz", "ALTER TABLE"),
            ("GRANT ALL ON news TO bot", "GRANT"),
            ("COMMIT", "COMMIT"),
        ],
    );
    assert_eq!(stand.both("SELECT count(*) FROM pg_prepared_xacts"), ["0", "0"]);
    // Twice is as once, and without a word.
    assert_eq!(outcome(&mut operator, "CREATE TABLE IF NOT EXISTS news (id int)"), "CREATE TABLE");

    // Subscriptions are refreshed: the new table is followed both ways.
    let followed = "SELECT count(*) FROM pg_subscription_rel WHERE srrelid = 'news'::regclass";
    assert_eq!(stand.both(followed), ["1", "1"]);

    // Up: what queued is written, once, and replicates.
    assert_eq!(outcome(&mut operator, "SET pgsluice.fanout = off"), "SET");
    dbctl(&stand, "off");
    stand.console("MAINTENANCE OFF bot");
    assert!(bot.frames_until_ready(LONG).unwrap().iter().any(|frame| frame.tag == b'C'), "the queued write");
    assert_eq!(outcome(&mut bot, "INSERT INTO news VALUES (1, 'x')"), "INSERT 0 1");
    assert_eq!(outcome(&mut bot, "INSERT INTO w VALUES (3, 'after', now())"), "INSERT 0 1");
    let all = "SELECT (SELECT string_agg(id::text, ' ' ORDER BY id) FROM w) || '/' || (SELECT count(*) FROM news)";
    eventually(&stand, all, "1 2 3/1");
}
