//! What those who come from PgBouncer may ask for: statement mode, check queries, a reset after each transaction.

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Raw};

use crate::stand::{SOON, Stand, ask, extended, login, simple};

const REFUSED: &str = "transaction blocks not allowed in statement pooling mode";

fn errors(frames: &[Frame]) -> Vec<String> {
    frames.iter().filter_map(Frame::error).map(|error| format!("{} {}", error.severity(), error.message())).collect()
}

#[test]
fn statement_mode_has_no_transaction_blocks() {
    let stand = Stand::new("pool_mode = \"statement\"", "[databases.single]\n", &["single"]);
    let mut client = Raw::connect(&stand.proxy.tcp(), &login("single", &[])).unwrap();
    let refused = [format!("ERROR {REFUSED}")];
    ask(&mut client, "CREATE TABLE t (n int)");
    for sql in ["BEGIN", "START TRANSACTION READ ONLY", "INSERT INTO t VALUES (1); BEGIN; INSERT INTO t VALUES (2)"] {
        let frames = simple(&mut client, sql);
        assert_eq!(errors(&frames), refused, "{sql}");
        assert_eq!(frames.last().unwrap().body, b"I", "{sql}");
    }
    let frames = extended(&mut client, &["INSERT INTO t VALUES (3)", "BEGIN", "INSERT INTO t VALUES (4)"]);
    assert_eq!(errors(&frames), refused);
    // Sent without waiting, the refusal comes in its turn.
    let three = ["SELECT pg_sleep(0.1)", "BEGIN", "SELECT 7"].map(message::query).concat();
    client.send(&three).unwrap();
    let answers: Vec<Vec<Frame>> = (0..3).map(|_| client.frames_until_ready(SOON).unwrap()).collect();
    assert_eq!(answers.iter().map(|frames| errors(frames).len()).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!(ask(&mut client, "SELECT count(*) FROM t"), "0");
    assert_eq!(ask(&mut client, "BEGIN; INSERT INTO t VALUES (5); COMMIT; SELECT count(*) FROM t"), "1");
    // Between two statements the connection is anybody's.
    ask(&mut client, "SET work_mem TO '3MB'");
    let mut other = Raw::connect(&stand.proxy.tcp(), &login("single", &[])).unwrap();
    assert_eq!(ask(&mut other, "SHOW work_mem"), "4MB");
    assert_eq!(ask(&mut client, "SHOW work_mem"), "3MB");
}

#[test]
fn checks_and_resets_are_sent_where_they_are_wanted() {
    let top = "server_check_query = \"SELECT nextval('checks')\"\nserver_check_delay = 0\n\
               server_reset_query = \"SELECT nextval('resets'); DISCARD ALL\"\nserver_reset_query_always = true\n";
    let top = top.replace("; DISCARD ALL", "");
    let stand = Stand::new(&top, "[databases.asked]\n", &["asked"]);
    let primary = stand.cluster.primary();
    let sql = "CREATE SEQUENCE checks; CREATE SEQUENCE resets; GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app";
    primary.psql_in("asked", sql).unwrap();
    let count = |name: &str| -> u32 {
        let sql = format!("SELECT last_value - 1 + is_called::int FROM {name}");
        primary.psql_in("asked", &sql).unwrap().parse().unwrap()
    };
    let mut client = Raw::connect(&stand.proxy.tcp(), &login("asked", &[])).unwrap();
    let before = count("checks");
    for _ in 0..5 {
        assert_eq!(ask(&mut client, "SELECT 1"), "1");
    }
    assert!((5..=6).contains(&(count("checks") - before)), "{} checks", count("checks") - before);
    assert!(count("resets") >= 4, "{} resets", count("resets"));
    // One that does not pass is not lent.
    primary.psql_in("asked", "REVOKE ALL ON SEQUENCE checks FROM app").unwrap();
    let pid = ask(&mut client, "SELECT pg_backend_pid()");
    assert_ne!(ask(&mut client, "SELECT pg_backend_pid()"), pid);
}
