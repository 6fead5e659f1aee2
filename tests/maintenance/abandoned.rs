//! Clients that vanish in the middle of something: what they left on the server is over before the database counts as
//! quiesced, and nobody takes it for a foreign writer.

use crate::stand::{LONG, Stand, query, sqlstate};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Raw, wait};
use std::time::{Duration, Instant};

fn modes() -> [&'static str; 2] {
    ["default_pool_size = 60", "default_pool_size = 60\npool_mode = \"session\""]
}

/// Sends this behind something whose answer is never read: closing resets the connection then.
fn leaves_unread(stand: &Stand, bytes: &[u8]) -> Raw {
    let mut raw = stand.app();
    raw.send(&message::query("SELECT 1")).expect("sent");
    raw.send(bytes).expect("sent");
    raw
}

fn busy(stand: &Stand, count: usize) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'";
    stand.cluster.primary().wait_until(sql, &count.to_string(), LONG).unwrap();
}

/// Nothing of the application's is at work, nothing late was written, and nobody else is blamed.
fn assert_quiet(stand: &Stand, row: &[Option<String>]) {
    assert_eq!(row[1].as_deref(), Some("read_only"), "{row:?}");
    let foreign = row[11].as_deref().unwrap_or_default();
    assert!(foreign.is_empty() || foreign == "{}", "nobody else writes: {row:?}");
    stand.assert_nothing_at_work();
}

#[test]
fn what_a_vanished_client_left_running_is_over_before_quiesced() {
    let extended = |sql: &str, end: Vec<u8>| {
        [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), end].concat()
    };
    let late = |id: u32| format!("INSERT INTO t SELECT {id}, 'late' FROM pg_sleep(30)");
    for mode in modes() {
        let stand = Stand::new(mode);
        let forms: Vec<Vec<u8>> = vec![
            message::query(&late(900)),
            message::query(&format!("BEGIN; {}; COMMIT", late(901))),
            ["BEGIN", "INSERT INTO t VALUES (902, 'late')", "SELECT pg_sleep(30)", "COMMIT"]
                .iter()
                .flat_map(|sql| message::query(sql))
                .collect(),
            extended(&late(903), message::sync()),
            extended(&late(904), message::flush()),
            message::query("DO $$ BEGIN PERFORM pg_sleep(30); INSERT INTO t VALUES (905, 'late'); END $$"),
            [message::query("COPY t FROM STDIN"), message::copy_data(b"906\tlate\n")].concat(),
            ["BEGIN", "INSERT INTO t VALUES (907, 'late')"].iter().flat_map(|sql| message::query(sql)).collect(),
        ];
        let clients: Vec<Raw> = forms.iter().map(|bytes| leaves_unread(&stand, bytes)).collect();
        busy(&stand, forms.len());
        drop(clients);
        let began = Instant::now();
        let row = stand.on();
        assert!(began.elapsed() < Duration::from_secs(9), "nobody waits for them to end by themselves: {row:?}");
        assert_quiet(&stand, &row);
        stand.off();
    }
}

#[test]
fn a_vanished_client_whose_function_catches_cancellations_is_over_too() {
    let stand = Stand::new("");
    stand.operator().query(CATCHES, LONG).expect("a function");
    let client = leaves_unread(&stand, &message::query("SELECT catches(910)"));
    busy(&stand, 1);
    drop(client);
    let row = stand.on();
    assert_quiet(&stand, &row);
}

/// A client that has only closed its side still listens: it has its answer, and what it did counts.
#[test]
fn a_half_closed_client_is_waited_for() {
    let stand = Stand::new("");
    let mut client = stand.app();
    client.send(&message::query("INSERT INTO t SELECT 920, 'in time' FROM pg_sleep(2)")).expect("sent");
    busy(&stand, 1);
    client.shut_down_writing().expect("shut down");
    let row = stand.on();
    assert_eq!((row[8].as_deref(), row[10].as_deref()), (Some("1"), Some("0")), "{row:?}");
    let frames = client.frames_until_ready(LONG).expect("an answer");
    assert_eq!(sqlstate(&frames), "");
    let seen = stand.cluster.primary().psql_in("app", "SELECT v FROM t WHERE id = 920").expect("a row");
    assert_eq!(seen, "in time");
}

/// While the gate is open as well: locks are gone with the client, and its place in the pool is free again.
#[test]
fn a_vanished_client_gives_up_its_locks_and_its_place() {
    let stand = Stand::new("default_pool_size = 1");
    let client = leaves_unread(&stand, &message::query("UPDATE t SET v = 'late' FROM pg_sleep(60) WHERE id = 1"));
    busy(&stand, 1);
    drop(client);
    assert_eq!(sqlstate(&query(&mut stand.app(), "UPDATE t SET v = 'next' WHERE id = 1")), "");
}

pub const CATCHES: &str = "CREATE FUNCTION catches(id int) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..60 LOOP
        BEGIN
            PERFORM pg_sleep(1);
        EXCEPTION WHEN query_canceled THEN NULL;
        END;
    END LOOP;
    INSERT INTO public.t VALUES (id, 'late');
    RETURN id;
END $$";

#[test]
fn a_back_end_that_is_frozen_holds_neither_client_nor_ticket_for_long_and_is_waited_for() {
    for mode in modes() {
        let stand = Stand::new(mode);
        let client = leaves_unread(&stand, &message::query("INSERT INTO t SELECT 930, 'late' FROM pg_sleep(3)"));
        busy(&stand, 1);
        let primary = stand.cluster.primary();
        let pid = "SELECT pid FROM pg_stat_activity WHERE usename = 'app' AND state = 'active'";
        let pid: i32 = primary.psql(pid).expect("a process").trim().parse().expect("its id");
        let signal = |signal: &str| {
            let sent = std::process::Command::new("kill").args([signal, &pid.to_string()]).status();
            assert!(sent.expect("kill runs").success());
        };
        signal("-STOP");
        drop(client);
        let on = |terms: &str| {
            query(&mut stand.connect("dba", "dba", "pgsluice"), &format!("MAINTENANCE ON app WITH ({terms})"))
        };
        let frames = on("drain_timeout '1s', on_timeout cancel");
        assert_eq!(sqlstate(&frames), "55P03", "nobody knows that it does not write");
        let named = frames
            .iter()
            .any(|frame: &Frame| String::from_utf8_lossy(&frame.body).contains(&format!("back end {pid}")));
        assert!(named, "{mode}: {:?}", frames.last_chunk::<3>());
        wait::until(LONG, "the client goes", || (stand.clients("abandoned") == 0).then_some(()));
        let said = stand.proxy.log().matches("takes no notice of cancel requests").count();
        assert!(said <= 2, "{mode}: said {said} times");
        signal("-CONT");
        assert_eq!(sqlstate(&on("drain_timeout '10s', on_timeout cancel")), "");
        stand.assert_nothing_at_work();
    }
}
