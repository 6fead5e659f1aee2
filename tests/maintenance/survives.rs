//! What a maintenance survives: kill -9 of the proxy, the loss of the replica, the loss of the console.

use crate::stand::{LONG, Stand, query, sqlstate};
use pgsluice_fixtures::wait;

fn maintenance(stand: &Stand) -> (String, String, String) {
    let mut raw = stand.connect("dba", "dba", "pgsluice");
    let frames = query(&mut raw, "SHOW MAINTENANCE");
    let names: Vec<String> =
        frames.iter().find(|frame| frame.tag == b'T').map(|frame| columns(&frame.body)).expect("a header");
    let rows = stand.console("SHOW MAINTENANCE");
    let row = rows.iter().find(|row| row[0].as_deref() == Some("app")).expect("a row for app");
    let field = |name: &str| {
        let at =
            names.iter().position(|known| known == name).unwrap_or_else(|| panic!("no column {name} in {names:?}"));
        row[at].clone().unwrap_or_default()
    };
    (field("mode"), field("epoch"), field("message"))
}

fn columns(body: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = &body[2..];
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = &rest[end + 19..];
    }
    names
}

#[test]
fn kill_minus_nine_leaves_the_gate_closed() {
    let mut stand = Stand::new("");
    stand.on();
    let before = maintenance(&stand);
    assert_eq!((before.0.as_str(), before.2.as_str()), ("read_only", "moving house"));
    stand.proxy.kill_9();
    stand.proxy.start_again().expect("started again");
    let after = wait::until(LONG, "read_only again", || Some(maintenance(&stand)).filter(|now| now.0 == "read_only"));
    assert_eq!(after, before);
    let mut app = stand.app();
    let frames = query(&mut app, "INSERT INTO t VALUES (700, 'x')");
    let error = frames.iter().find_map(pgsluice_fixtures::Frame::error).expect("an error");
    assert_eq!(error.code(), "25006");
    assert_eq!(error.message(), "cannot execute INSERT in a read-only transaction");
    assert_eq!(error.detail(), Some("database \"app\" is in maintenance: moving house"));
    assert_eq!(error.hint(), Some("Writes are expected back at 2031-12-01 14:00:00+00."));
    stand.off();
    assert_eq!(sqlstate(&query(&mut app, "INSERT INTO t VALUES (700, 'x')")), "");
}

#[test]
fn reads_go_on_when_the_replica_dies_and_use_it_again_when_it_is_back() {
    let stand = Stand::new("default_pool_size = 10");
    stand.on();
    let replica = |raw: &mut pgsluice_fixtures::Raw| {
        let frames = query(raw, "SELECT count(*) FROM t WHERE now() IS NOT NULL");
        assert_eq!(sqlstate(&frames), "");
    };
    let mut app = stand.app();
    let served = |stand: &Stand| {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
        stand.cluster.replica(0).psql(sql).map_or(0, |text| text.parse::<u32>().unwrap_or(0))
    };
    wait::until(LONG, "reads on the replica", || {
        replica(&mut app);
        (served(&stand) > 0).then_some(())
    });
    let before = stand.everything();
    stand.cluster.replica(0).kill_9();
    for _ in 0..200 {
        replica(&mut app);
        assert_eq!(sqlstate(&query(&mut app, "DELETE FROM t")), "25006");
    }
    assert_eq!(sqlstate(&query(&mut app, "SELECT writes()")), "25006");
    stand.cluster.replica(0).start().expect("started");
    wait::until(LONG, "reads on the replica again", || {
        replica(&mut app);
        (served(&stand) > 0).then_some(())
    });
    assert_eq!(stand.everything(), before);
}

#[test]
fn an_operator_changes_the_schema_in_the_middle_of_it() {
    let stand = Stand::new("");
    let mut app = stand.app();
    assert_eq!(sqlstate(&query(&mut app, "SELECT * FROM t")), "");
    stand.on();
    let mut operator = stand.operator();
    assert_eq!(sqlstate(&query(&mut operator, "ALTER TABLE t ADD COLUMN added int DEFAULT 1")), "");
    assert_eq!(sqlstate(&query(&mut operator, "INSERT INTO t VALUES (701, 'operator')")), "");
    assert_eq!(sqlstate(&query(&mut app, "UPDATE t SET v = 'x'")), "25006");
    wait::until(LONG, "the new column", || sqlstate(&query(&mut app, "SELECT added FROM t")).is_empty().then_some(()));
    stand.off();
    assert_eq!(sqlstate(&query(&mut app, "UPDATE t SET added = 2")), "");
}

#[test]
fn a_transaction_that_has_written_is_rolled_back_when_its_time_is_up() {
    let stand = Stand::new("");
    let (mut idle, mut running, mut ends) = (stand.app(), stand.app(), stand.app());
    for raw in [&mut idle, &mut running, &mut ends] {
        assert_eq!(sqlstate(&query(raw, "BEGIN")), "");
    }
    assert_eq!(sqlstate(&query(&mut idle, "INSERT INTO t VALUES (710, 'idle')")), "");
    assert_eq!(sqlstate(&query(&mut running, "INSERT INTO t VALUES (711, 'running')")), "");
    assert_eq!(sqlstate(&query(&mut ends, "INSERT INTO t VALUES (712, 'ends')")), "");
    running.send(&pgsluice_fixtures::raw::message::query("SELECT pg_sleep(600)")).expect("sent");
    let mut console = stand.connect("dba", "dba", "pgsluice");
    let command = "MAINTENANCE ON app WITH (drain_timeout '2s', on_timeout cancel, message 'now')";
    console.send(&pgsluice_fixtures::raw::message::query(command)).expect("sent");
    wait::until(LONG, "the drain", || (maintenance(&stand).0 == "draining").then_some(()));
    assert_eq!(sqlstate(&query(&mut ends, "COMMIT")), "", "what ends in time is committed");
    let frames = console.frames_until_ready(LONG).expect("quiesced");
    assert_eq!(sqlstate(&frames), "");
    let frames = running.frames_until_ready(LONG).expect("an answer");
    assert_eq!(sqlstate(&frames), "25006");
    let frames = query(&mut idle, "SELECT 1");
    assert_eq!(sqlstate(&frames), "25006");
    for raw in [&mut idle, &mut running] {
        assert_eq!(sqlstate(&query(raw, "SELECT 1")), "25P02");
        let frames = query(raw, "COMMIT");
        assert!(frames.iter().any(|frame| frame.tag == b'C' && frame.body == b"ROLLBACK\0"), "COMMIT answers ROLLBACK");
        assert_eq!(sqlstate(&query(raw, "SELECT 1")), "");
    }
    let rows =
        stand.cluster.primary().psql_in("app", "SELECT string_agg(v, ',') FROM t WHERE id >= 710").expect("rows");
    assert_eq!(rows, "ends");
    stand.off();
}
