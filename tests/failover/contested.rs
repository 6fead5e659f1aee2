//! Two servers claim to be the primary: nothing is written to either, reads go on.

use std::time::Instant;

use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::{Frame, wait};

use crate::stand::{LONG, Later, SOON, Stand, detail, fine, query, rows, sqlstate};

const CONTESTED: &str = "two servers claim to be the primary";

#[test]
fn nothing_is_written_to_either_of_two_primaries_by_whatever_session() {
    let stand = Stand::new("");
    let mut session = stand.connect("sess");
    let mut pinned = stand.connect("app");
    let mut block = stand.connect("app");
    let mut operator = stand.connect("dba");
    let mut plain = stand.connect("app");
    fine(&mut session, "PREPARE p AS INSERT INTO w(who) VALUES ('prepared')");
    fine(&mut pinned, "CREATE TEMPORARY TABLE mine (id int)");
    fine(&mut operator, "SELECT 1");
    fine(&mut plain, "SELECT 1");
    fine(&mut block, "BEGIN");
    fine(&mut block, "INSERT INTO w(who) VALUES ('block')");
    stand.cluster.replica(0).promote().unwrap();
    stand.wait_for_roles(&["contested", "contested"]);

    // A transaction that was open cannot commit.
    let frames = wait::until(SOON, "the end of the open transaction", || {
        Some(query(&mut block, "SELECT 1")).filter(|frames| !sqlstate(frames).is_empty())
    });
    assert_eq!(sqlstate(&frames), "25006");
    assert!(detail(&frames).contains(CONTESTED), "{}", detail(&frames));
    assert_eq!(fine(&mut block, "COMMIT"), Vec::<Vec<String>>::new());
    for (who, raw) in [("session", &mut session), ("pinned", &mut pinned), ("operator", &mut operator)] {
        let writes = ["INSERT INTO w(who) VALUES ('x')", "BEGIN; INSERT INTO w(who) VALUES ('x'); COMMIT"];
        for sql in writes {
            let frames = query(raw, sql);
            assert_eq!(sqlstate(&frames), "25006", "{who}: {sql}");
            assert!(detail(&frames).contains(CONTESTED), "{who}: {sql}: {}", detail(&frames));
            if frames.last().is_some_and(|ready| ready.body == b"E") {
                query(raw, "ROLLBACK");
            }
        }
        assert_eq!(fine(raw, "SELECT count(*) FROM t"), [["10"]], "{who}");
    }
    assert_eq!(sqlstate(&query(&mut session, "EXECUTE p")), "25006");
    assert_eq!(fine(&mut plain, "SELECT count(*) FROM t"), [["10"]], "reads go on");
    let mut other = stand.connect("dba");
    assert_eq!(fine(&mut other, "SELECT count(*) FROM t"), [["10"]], "operators get in and can look");
    assert_eq!(sqlstate(&query(&mut other, "INSERT INTO w(who) VALUES ('x')")), "25006");

    let findings: Vec<String> = stand.console("MAINTENANCE CHECK app").into_iter().flatten().collect();
    assert!(findings.iter().any(|text| text.contains("contested")), "{findings:?}");
    let log = stand.proxy.log();
    assert!(log.lines().any(|line| line.contains("ERROR") && line.contains("claim to be the primary")), "{log}");

    for server in stand.cluster.servers() {
        assert_eq!(server.psql_in("app", "SELECT count(*) FROM w").unwrap(), "0", "{}", server.name());
    }
    // A write waits; it is served once one of them is stopped.
    let waits = Later::ask("plain", plain, "INSERT INTO w(who) VALUES ('after')");
    stand.cluster.primary().stop(Mode::Fast).unwrap();
    drop(waits.succeeds_by(Instant::now() + SOON));
    fine(&mut stand.connect("sess"), "INSERT INTO w(who) VALUES ('session after')");
    assert_eq!(stand.written_on_the_new_one(), ["after", "session after"]);
}

#[test]
fn a_statement_that_runs_when_the_second_primary_is_seen_does_not_commit() {
    let stand = Stand::new("");
    let app = stand.connect("app");
    let runs = Later::ask("app", app, "INSERT INTO w(who) SELECT 'late' FROM pg_sleep(30)");
    let busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'INSERT INTO w%' AND state = 'active'";
    stand.cluster.primary().wait_until(busy, "1", LONG).unwrap();
    stand.cluster.replica(0).promote().unwrap();
    let (_, frames) = runs.by(Instant::now() + LONG);
    assert!(["25006", "57014"].contains(&&*sqlstate(&frames)), "{:?}", frames.iter().find_map(Frame::error));
    assert_eq!(stand.cluster.primary().psql_in("app", "SELECT count(*) FROM w").unwrap(), "0");
}

#[test]
fn sessions_write_again_on_their_own_server_when_the_contest_is_over() {
    let stand = Stand::new("");
    let mut session = stand.connect("sess");
    let mut operator = stand.connect("dba");
    fine(&mut session, "CREATE TEMPORARY TABLE mine (id int)");
    fine(&mut operator, "SELECT 1");
    stand.cluster.replica(0).promote().unwrap();
    stand.wait_for_roles(&["contested", "contested"]);
    assert_eq!(sqlstate(&query(&mut session, "INSERT INTO w(who) VALUES ('x')")), "25006");
    assert_eq!(sqlstate(&query(&mut operator, "INSERT INTO w(who) VALUES ('x')")), "25006");
    stand.cluster.replica(0).stop(Mode::Fast).unwrap();
    stand.wait_for_roles(&["primary", "down"]);
    fine(&mut session, "INSERT INTO w(who) VALUES ('session')");
    fine(&mut session, "INSERT INTO mine VALUES (1)");
    wait::until_ok(SOON, "the operator to write", || {
        let frames = query(&mut operator, "INSERT INTO w(who) VALUES ('operator') RETURNING who");
        if rows(&frames).len() == 1 { Ok(()) } else { Err(sqlstate(&frames)) }
    });
}
