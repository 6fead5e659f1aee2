//! Whoever has written reads what was written, in whatever form and while a replica is behind.

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Raw, wait};

use crate::stand::{LONG, Stand, fine, query, sqlstate};

/// Transactions that have run on a replica.
pub fn on_replicas(stand: &Stand) -> u64 {
    let rows = stand.console("SHOW STATS_TOTALS");
    let app = rows.iter().find(|row| row[0] == "app").expect("a line for app");
    app.last().and_then(|text| text.parse().ok()).expect("a number")
}

/// The same for a session's reads: how many of `times` have run there.
pub fn reads_there(stand: &Stand, raw: &mut Raw, sql: &str, times: u64) -> u64 {
    let before = on_replicas(stand);
    (0..times).for_each(|_| drop(fine(raw, sql)));
    on_replicas(stand) - before
}

fn batch(sql: &str) -> Vec<u8> {
    [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()].concat()
}

fn asked(raw: &mut Raw, bytes: &[u8]) -> Vec<Frame> {
    let frames = raw.round_trip(bytes, LONG).expect("an answer");
    assert_eq!(sqlstate(&frames), "", "{:?}", frames.iter().find_map(Frame::error));
    frames
}

const SETTINGS: [(&str, &str); 1] = [("max_prepared_transactions", "10")];

#[test]
fn whoever_wrote_reads_it_in_every_form_while_the_replica_is_behind_and_others_read_from_there() {
    let stand = Stand::with("", "", "reads = \"prefer_replica\"", &SETTINGS);
    let forms = "CREATE FUNCTION writes(what text) RETURNS text LANGUAGE plpgsql AS
            'BEGIN INSERT INTO w(who) VALUES (what); RETURN what; END';
        CREATE PROCEDURE adds(what text) LANGUAGE plpgsql AS
            'BEGIN INSERT INTO w(who) VALUES (what); COMMIT; END';
        CREATE VIEW hidden AS SELECT writes(''hidden'') AS what; GRANT SELECT ON hidden TO PUBLIC;"
        .replace("''hidden''", "'hidden'");
    stand.cluster.primary().psql_in("app", &forms).unwrap();
    stand.cluster.wait_for_replay(LONG).unwrap();
    stand.cluster.replica(0).pause_replay().unwrap();
    let by_query = [
        "INSERT INTO w(who) VALUES ('insert')",
        "WITH n AS (INSERT INTO w(who) VALUES ('with') RETURNING who) SELECT * FROM n",
        "BEGIN; INSERT INTO w(who) VALUES ('block'); COMMIT",
        "SELECT writes('function')",
        "SELECT * FROM hidden",
        "CALL adds('call')",
        "DO $$ BEGIN INSERT INTO w(who) VALUES ('do'); END $$",
        "UPDATE w SET who = 'update' WHERE who = 'insert'",
        "EXECUTE p",
        "MERGE INTO t USING (VALUES (1)) AS v(id) ON t.id = v.id WHEN MATCHED THEN UPDATE SET v = 'merged'",
        "CREATE TABLE made AS SELECT 1 AS a",
        "TRUNCATE w",
    ];
    let major = stand.cluster.primary().version().major;
    for sql in by_query.into_iter().filter(|sql| major >= 15 || !sql.starts_with("MERGE")) {
        let mut raw = stand.connect("app");
        let mut before = stand.connect("late");
        assert_eq!(reads_there(&stand, &mut raw, "SELECT count(*) FROM t", 2), 2, "{sql}: it has not written yet");
        if sql == "EXECUTE p" {
            fine(&mut raw, "PREPARE p AS INSERT INTO w(who) VALUES ('prepared')");
        }
        fine(&mut raw, sql);
        let now = stand.cluster.primary().psql_in("app", "SELECT count(*) FROM w").unwrap();
        let seen = fine(&mut raw, "SELECT count(*) FROM w");
        assert_eq!(seen, [[now]], "{sql}");
        assert_eq!(reads_there(&stand, &mut raw, "SELECT count(*) FROM t", 3), 0, "{sql}: the replica is behind");
        // In a READ ONLY block, and by the extended protocol.
        fine(&mut raw, "BEGIN READ ONLY");
        assert_eq!(fine(&mut raw, "SELECT count(*) FROM w"), seen, "{sql}: in a block");
        fine(&mut raw, "COMMIT");
        let frames = asked(&mut raw, &batch("SELECT count(*) FROM w"));
        assert_eq!(crate::stand::rows(&frames), seen, "{sql}: extended");
        assert_eq!(reads_there(&stand, &mut before, "SELECT count(*) FROM t", 2), 2, "{sql}: others read there");
    }
    let copied = |raw: &mut Raw, extended: bool| {
        let sql = "COPY w(who) FROM STDIN";
        let begin = if extended {
            [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::flush()]
                .concat()
        } else {
            message::query(sql)
        };
        raw.send(&begin).unwrap();
        raw.frames_until(LONG, |frame| frame.tag == b'G').unwrap();
        let end = if extended { message::sync() } else { Vec::new() };
        asked(raw, &[message::copy_data(b"copied\n"), message::copy_done(), end].concat());
    };
    for extended in [false, true] {
        let mut raw = stand.connect("app");
        fine(&mut raw, "SELECT count(*) FROM w");
        copied(&mut raw, extended);
        let now = stand.cluster.primary().psql_in("app", "SELECT count(*) FROM w").unwrap();
        assert_eq!(fine(&mut raw, "SELECT count(*) FROM w"), [[now]], "COPY, extended: {extended}");
    }
    // Pipelined, the read behind the write and a write behind that; and a batch that is sent in two halves.
    let mut raw = stand.connect("app");
    let pipeline = [
        batch("INSERT INTO w(who) VALUES ('one')"),
        batch("SELECT count(*) FROM w WHERE who = 'one'"),
        batch("INSERT INTO w(who) VALUES ('two')"),
    ];
    raw.send(&pipeline.concat()).unwrap();
    let mut shown = Vec::new();
    (0..3).for_each(|_| shown.extend(raw.frames_until_ready(LONG).unwrap()));
    assert_eq!(crate::stand::rows(&shown), [["1"]]);
    assert_eq!(fine(&mut raw, "SELECT count(*) FROM w WHERE who = 'two'"), [["1"]]);
    stand.cluster.replica(0).resume_replay().unwrap();
    wait::until(LONG, "reads on the replica again", || {
        (reads_there(&stand, &mut raw, "SELECT count(*) FROM w", 1) == 1).then_some(())
    });
    assert_eq!(fine(&mut raw, "SELECT count(*) FROM w WHERE who = 'two'"), [["1"]]);
}

#[test]
fn a_write_that_another_session_commits_is_seen_by_the_one_that_prepared_it() {
    let stand = Stand::with("", "", "reads = \"prefer_replica\"", &SETTINGS);
    let (mut one, mut other) = (stand.connect("app"), stand.connect("app"));
    fine(&mut one, "BEGIN; INSERT INTO w(who) VALUES ('mine'); PREPARE TRANSACTION 'p'");
    wait::until(LONG, "reads on the replica again", || {
        (reads_there(&stand, &mut one, "SELECT count(*) FROM w", 1) == 1).then_some(())
    });
    stand.cluster.replica(0).pause_replay().unwrap();
    fine(&mut other, "COMMIT PREPARED 'p'");
    for raw in [&mut one, &mut other] {
        assert_eq!(fine(raw, "SELECT count(*) FROM w WHERE who = 'mine'"), [["1"]]);
    }
    stand.cluster.replica(0).resume_replay().unwrap();
}

#[test]
fn what_a_rule_lets_through_a_closed_gate_is_read_by_whoever_wrote_it() {
    let stand = Stand::by_defaults("");
    let mut app = stand.connect("app");
    stand.console("MAINTENANCE ON app WITH (reads any)");
    stand.cluster.wait_for_replay(LONG).unwrap();
    wait::until(LONG, "reads on the replica", || {
        (reads_there(&stand, &mut app, "SELECT count(*) FROM audit", 1) == 1).then_some(())
    });
    stand.cluster.replica(0).pause_replay().unwrap();
    for n in 1..=3 {
        fine(&mut app, "INSERT INTO audit VALUES ('x')");
        assert_eq!(fine(&mut app, "SELECT count(*) FROM audit"), [[n.to_string()]]);
    }
    stand.cluster.replica(0).resume_replay().unwrap();
    wait::until(LONG, "reads on the replica again", || {
        (reads_there(&stand, &mut app, "SELECT count(*) FROM audit", 1) == 1).then_some(())
    });
}

#[test]
fn causal_says_whose_writes_are_shown() {
    let stand = Stand::with("", "", "reads = \"prefer_replica\"\ncausal = \"database\"", &[]);
    let (mut writer, mut reader) = (stand.connect("app"), stand.connect("late"));
    for raw in [&mut writer, &mut reader] {
        wait::until(LONG, "reads on the replica", || {
            (reads_there(&stand, raw, "SELECT count(*) FROM w", 1) == 1).then_some(())
        });
    }
    stand.cluster.replica(0).pause_replay().unwrap();
    for (who, n) in [("app", 1), ("dba", 2)] {
        let mut writes = stand.connect(who);
        fine(&mut writes, "INSERT INTO w(who) VALUES ('x')");
        assert_eq!(fine(&mut reader, "SELECT count(*) FROM w"), [[n.to_string()]], "{who}");
        assert_eq!(
            fine(&mut stand.connect("app"), "SELECT count(*) FROM w"),
            [[n.to_string()]],
            "{who}: a new session"
        );
    }
    stand.cluster.replica(0).resume_replay().unwrap();
    wait::until(LONG, "reads on the replica again", || {
        (reads_there(&stand, &mut reader, "SELECT count(*) FROM w", 1) == 1).then_some(())
    });
    drop(stand);

    let stand = Stand::with("", "", "reads = \"prefer_replica\"\ncausal = \"off\"", &[]);
    let mut app = stand.connect("app");
    stand.cluster.replica(0).pause_replay().unwrap();
    fine(&mut app, "INSERT INTO w(who) VALUES ('x')");
    assert_eq!(reads_there(&stand, &mut app, "SELECT count(*) FROM w", 3), 3);
    stand.cluster.replica(0).resume_replay().unwrap();
}

#[test]
fn with_replicas_alone_to_read_from_the_primary_shows_what_they_do_not_have_yet() {
    let stand = Stand::with("", "", "reads = \"replica\"", &[]);
    let mut app = stand.connect("app");
    stand.cluster.replica(0).pause_replay().unwrap();
    fine(&mut app, "INSERT INTO w(who) VALUES ('x')");
    assert_eq!(fine(&mut app, "SELECT count(*) FROM w"), [["1"]]);
    stand.cluster.replica(0).resume_replay().unwrap();
    wait::until(LONG, "reads on the replica again", || {
        (reads_there(&stand, &mut app, "SELECT count(*) FROM w", 1) == 1).then_some(())
    });
}

#[test]
fn after_a_failover_own_writes_are_read_from_the_new_primary_and_its_replicas() {
    let stand = Stand::with("", "", "reads = \"prefer_replica\"", &[]);
    let mut app = stand.connect("app");
    fine(&mut app, "INSERT INTO w(who) VALUES ('before')");
    stand.cluster.wait_for_replay(LONG).unwrap();
    stand.cluster.primary().stop(pgsluice_fixtures::cluster::Mode::Fast).unwrap();
    stand.cluster.replica(0).promote().unwrap();
    assert_eq!(fine(&mut app, "SELECT count(*) FROM w"), [["1"]]);
    fine(&mut app, "INSERT INTO w(who) VALUES ('after')");
    assert_eq!(fine(&mut app, "SELECT count(*) FROM w"), [["2"]]);
    assert_eq!(sqlstate(&query(&mut app, "SELECT count(*) FROM w")), "");
}
