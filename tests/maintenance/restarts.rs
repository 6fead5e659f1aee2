//! A proxy that dies leaves its statements at work on the server: its next life knows them, and stops them before the
//! database counts as quiesced. What belongs to others is not touched.

use crate::stand::{LONG, Stand, query, sqlstate};
use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Address, Login, Proxy, Raw, wait};
use std::time::{Duration, Instant};

fn modes() -> [&'static str; 2] {
    ["default_pool_size = 60", "default_pool_size = 60\npool_mode = \"session\""]
}

fn late(id: u32) -> String {
    format!("INSERT INTO t SELECT {id}, 'late' FROM pg_sleep(12)")
}

fn busy(stand: &Stand, count: usize) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'";
    stand.cluster.primary().wait_until(sql, &count.to_string(), LONG).unwrap();
}

/// Sends statements that take their time, in one form each.
fn at_work(stand: &Stand) -> Vec<Raw> {
    let batch =
        [message::parse("", &late(801), &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()];
    let forms = [
        message::query(&late(800)),
        batch.concat(),
        message::query("DO $$ BEGIN PERFORM pg_sleep(12); INSERT INTO t VALUES (802, 'late'); END $$"),
        message::query(&format!("BEGIN; {}; COMMIT", late(803))),
    ];
    let clients = forms.iter().map(|bytes| {
        let mut raw = stand.app();
        raw.send(bytes).expect("sent");
        raw
    });
    let clients: Vec<Raw> = clients.collect();
    busy(stand, forms.len());
    clients
}

#[test]
fn statements_of_an_earlier_life_are_over_before_quiesced() {
    for mode in modes() {
        let mut stand = Stand::new(mode);
        let clients = at_work(&stand);
        stand.proxy.kill_9();
        stand.proxy.start_again().expect("started again");
        let began = Instant::now();
        let row = stand.on();
        assert_eq!(row[1].as_deref(), Some("read_only"), "{row:?}");
        assert!(began.elapsed() < Duration::from_secs(9), "{row:?}");
        stand.assert_nothing_at_work();
        let foreign = row[11].as_deref().unwrap_or_default();
        assert!(foreign.is_empty() || foreign == "{}", "{row:?}");
        drop(clients);
    }
}

#[test]
fn a_drain_that_is_taken_up_again_knows_them_too() {
    let mut stand = Stand::new("");
    let clients = at_work(&stand);
    stand.console("MAINTENANCE ON app WITH (drain_timeout '60s') NOWAIT");
    stand.proxy.kill_9();
    stand.proxy.start_again().expect("started again");
    wait::until(LONG, "quiesced", || (stand.mode() == "read_only").then_some(()));
    stand.assert_nothing_at_work();
    drop(clients);
}

/// Another proxy in front of the same server, with the same role and database, and a direct client go on.
#[test]
fn what_belongs_to_others_is_not_touched() {
    let mut stand = Stand::new("");
    let config = format!(
        r#"listen_port = {{port}}
state_file = "{{dir}}/state.json"
workers = 1
auth_file = "userlist.txt"
[clusters.main]
upstreams = ["127.0.0.1:{}"]
monitor_user = "monitor"
monitor_password = "monitor"
monitor_interval = "100ms"
[databases.app]
"#,
        stand.cluster.primary().port()
    );
    let other = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice")))
        .config(&config)
        .file("userlist.txt", "\"app\" \"app\"\n")
        .start()
        .expect("another proxy");
    let mut theirs =
        Raw::connect(&Address::local(other.port()), &Login::new("app", "app").password("app")).expect("a connection");
    let mut direct = stand.direct(false);
    let clients = at_work(&stand);
    for (raw, id) in [(&mut theirs, 810), (&mut direct, 811)] {
        raw.send(&message::query(&format!("INSERT INTO t SELECT {id}, 'others' FROM pg_sleep(6)"))).expect("sent");
    }
    stand.proxy.kill_9();
    stand.proxy.start_again().expect("started again");
    stand.on();
    for raw in [&mut theirs, &mut direct] {
        assert_eq!(sqlstate(&raw.frames_until_ready(LONG).expect("an answer")), "");
    }
    let late = "SELECT count(*) FROM t WHERE v = 'late'";
    assert_eq!(stand.cluster.primary().psql_in("app", late).expect("a count"), "0");
    assert_eq!(sqlstate(&query(&mut theirs, "SELECT 1")), "");
    drop(clients);
}
