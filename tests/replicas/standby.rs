//! What means nothing on a standby, or something else, is not read there.

use pgsluice_fixtures::Frame;
use pgsluice_fixtures::raw::message;

use crate::own_writes::{on_replicas, reads_there};
use crate::stand::{LONG, Stand, fine, query, rows, sqlstate};

/// Statements that a primary answers in a READ ONLY block and a standby does not, or answers otherwise.
const OF_PRIMARY: [&str; 11] = [
    "LISTEN news",
    "NOTIFY news",
    "SELECT pg_notify('news', 'x')",
    "LOCK TABLE t IN SHARE MODE",
    "SELECT txid_current() > 0",
    "SELECT pg_current_xact_id()::text::int8 > 0",
    "SELECT pg_advisory_xact_lock(7)",
    "SELECT pg_try_advisory_lock(8)",
    "SELECT last_value FROM w_id_seq",
    "SELECT pg_is_in_recovery()",
    "SHOW in_hot_standby",
];

#[test]
fn what_differs_on_a_standby_goes_to_the_primary() {
    let stand = Stand::with("", "", "reads = \"prefer_replica\"", &[]);
    let mut app = stand.connect("app");
    for sql in OF_PRIMARY.into_iter().chain(["SELECT nextval('w_id_seq') > 0"]) {
        if sql.starts_with("LOCK") {
            continue;
        }
        let before = on_replicas(&stand);
        fine(&mut stand.connect("app"), sql);
        let batch =
            [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()];
        let frames = stand.connect("app").round_trip(&batch.concat(), LONG).unwrap();
        assert_eq!(sqlstate(&frames), "", "{sql}");
        assert_eq!(on_replicas(&stand), before, "{sql}");
    }
    let direct = stand.cluster.primary().psql_in("app", "SELECT last_value FROM w_id_seq").unwrap();
    assert_eq!(fine(&mut app, "SELECT last_value FROM w_id_seq"), [[direct]]);
}

#[test]
fn a_read_only_block_that_needs_the_primary_after_all_is_begun_anew_there() {
    let stand = Stand::with("", "", "reads = \"prefer_replica\"", &[]);
    for sql in OF_PRIMARY {
        for extended in [false, true] {
            let mut app = stand.connect("app");
            let before = on_replicas(&stand);
            fine(&mut app, "BEGIN READ ONLY");
            fine(&mut app, "SET LOCAL application_name = 'mine'");
            assert_eq!(fine(&mut app, "SELECT count(*) FROM t"), [["10"]]);
            let frames = if extended {
                let batch = [
                    message::parse("", sql, &[]),
                    message::bind("", "", &[]),
                    message::execute("", 0),
                    message::sync(),
                ];
                app.round_trip(&batch.concat(), LONG).unwrap()
            } else {
                query(&mut app, sql)
            };
            let error = frames.iter().find_map(Frame::error);
            assert!(error.is_none(), "{sql}, extended {extended}: {error:?}");
            assert_eq!(frames.last().map(|frame| frame.body.clone()), Some(vec![b'T']), "{sql}");
            assert_eq!(fine(&mut app, "SHOW application_name"), [["mine"]], "{sql}");
            assert_eq!(fine(&mut app, "SHOW transaction_read_only"), [["on"]], "{sql}");
            assert_eq!(sqlstate(&query(&mut app, "INSERT INTO w(who) VALUES ('x')")), "25006", "{sql}");
            fine(&mut app, "ROLLBACK");
            assert!(on_replicas(&stand) >= before, "{sql}");
            assert_eq!(fine(&mut app, "SELECT count(*) FROM t"), [["10"]]);
        }
    }
    // What has seen one snapshot stays where it has seen it, and says so.
    let mut app = stand.connect("app");
    fine(&mut app, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    fine(&mut app, "SELECT count(*) FROM t");
    assert_ne!(sqlstate(&query(&mut app, "LISTEN news")), "");
    fine(&mut app, "ROLLBACK");
    // Nothing seen yet: it may.
    fine(&mut app, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    fine(&mut app, "LISTEN news");
    assert_eq!(fine(&mut app, "SHOW transaction_isolation"), [["repeatable read"]]);
    fine(&mut app, "COMMIT");
}

#[test]
fn a_read_only_block_that_is_made_read_write_is_begun_anew_on_the_primary() {
    let stand = Stand::with("", "", "reads = \"prefer_replica\"", &[]);
    for sql in
        ["SET TRANSACTION READ WRITE", "SET transaction_read_only = off", "SET LOCAL transaction_read_only TO false"]
    {
        let mut app = stand.connect("app");
        fine(&mut app, "BEGIN READ ONLY");
        fine(&mut app, sql);
        fine(&mut app, &format!("INSERT INTO w(who) VALUES ($${sql}$$)"));
        fine(&mut app, "COMMIT");
        assert_eq!(fine(&mut app, &format!("SELECT count(*) FROM w WHERE who = $${sql}$$")), [["1"]], "{sql}");
    }
    let mut app = stand.connect("app");
    fine(&mut app, "BEGIN READ ONLY");
    assert_eq!(rows(&query(&mut app, "SELECT count(*) FROM t")), [["10"]]);
    assert_ne!(sqlstate(&query(&mut app, "SET TRANSACTION READ WRITE")), "", "a query has been run");
    fine(&mut app, "ROLLBACK");
    assert!(reads_there(&stand, &mut stand.connect("late"), "SELECT count(*) FROM t", 2) == 2);
}
