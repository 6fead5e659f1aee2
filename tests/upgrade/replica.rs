//! Whoever has written reads what was written, whichever process has served the write and whichever serves the read.

use pgsluice_fixtures::{Cluster, Login, Raw, Role, wait};

use crate::stand::{SOON, Stand, rows, value};

/// A primary and a replica, and a proxy that reads from the replica if it can.
fn stand(causal: &str, top: &str) -> (Stand, Cluster) {
    let cluster = Cluster::builder()
        .replicas(1)
        .hba(["host all all 127.0.0.1/32 trust"])
        .roles([Role::new("app").password("app")])
        .databases(["app"])
        .init_sql("create table w (writer text, n int); grant all on w to app")
        .start()
        .unwrap();
    cluster.wait_for_replay(SOON).unwrap();
    let config = format!(
        r#"
listen_port = {{port}}
state_file = "{{dir}}/state.json"
pidfile = "{{dir}}/pid"
auth_file = "{{dir}}/users"
admin_users = ["admin"]
workers = 2
{top}
[clusters.main]
upstreams = ["127.0.0.1:{}", "127.0.0.1:{}"]
monitor_user = "postgres"
monitor_interval = "300ms"
[databases.app]
reads = "prefer_replica"
causal = "{causal}"
"#,
        cluster.primary().port(),
        cluster.replica(0).port()
    );
    let stand = Stand::new(&config);
    wait::until(SOON, "the replica", || stand.proxy.log().contains("to=\"replica\"").then_some(()));
    (stand, cluster)
}

fn client(stand: &Stand) -> Raw {
    Raw::connect(&stand.proxy.tcp(), &Login::new("app", "app").password("app")).unwrap()
}

/// Transactions that have run on the replica.
fn on_replica(stand: &Stand) -> u64 {
    let totals = rows(&mut stand.raw("admin", "pgsluice"), "show stats_totals");
    let app = totals.into_iter().find(|row| row[0].as_deref() == Some("app"));
    app.and_then(|row| row.last()?.as_ref()?.parse().ok()).unwrap_or(0)
}

/// Whether a read of that client is served by the replica.
fn reads_there(stand: &Stand, raw: &mut Raw) -> bool {
    let before = on_replica(stand);
    drop(value(raw, "select count(*) from w"));
    on_replica(stand) > before
}

#[test]
fn a_session_that_has_written_reads_its_writes_in_the_new_process_and_others_go_on_reading_from_the_replica() {
    let (stand, cluster) = stand("session", "");
    cluster.replica(0).pause_replay().unwrap();
    let (mut early, mut late, mut never) = (client(&stand), client(&stand), client(&stand));
    rows(&mut early, "insert into w values ('early', 1)");
    // Its position is known by then.
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(value(&mut early, "select count(*) from w"), "1");
    assert!(reads_there(&stand, &mut never));
    for nth in 0..3 {
        rows(&mut late, &format!("insert into w values ('late', {nth})"));
        // At once: nobody knows its position yet.
        stand.upgrade();
        let count = (nth + 2).to_string();
        assert_eq!(value(&mut late, "select count(*) from w"), count, "upgrade {nth}");
        assert_eq!(value(&mut early, "select count(*) from w where writer = 'early'"), "1", "upgrade {nth}");
        assert!(
            !reads_there(&stand, &mut early) && !reads_there(&stand, &mut late),
            "upgrade {nth}: the replica is behind"
        );
        assert!(reads_there(&stand, &mut never), "upgrade {nth}: it has not written");
    }
    cluster.replica(0).resume_replay().unwrap();
    for raw in [&mut early, &mut late] {
        wait::until(SOON, "reads on the replica again", || reads_there(&stand, raw).then_some(()));
        assert_eq!(value(raw, "select count(*) from w"), "4");
    }
}

#[test]
fn reads_that_show_everybodys_writes_show_those_that_the_other_process_lets_through() {
    let (stand, cluster) = stand("database", "upgrade_timeout = '60s'");
    let (mut reader, mut writer) = (client(&stand), client(&stand));
    wait::until(SOON, "reads on the replica", || reads_there(&stand, &mut reader).then_some(()));
    cluster.replica(0).pause_replay().unwrap();
    // It stays on the former process until its transaction is over.
    rows(&mut writer, "begin; insert into w values ('stays', 1)");
    let former = stand.pid();
    stand.try_upgrade(&[]).unwrap();
    let mut new = client(&stand);
    assert_eq!(value(&mut new, "select count(*) from w"), "0");
    rows(&mut writer, "commit");
    for raw in [&mut new, &mut reader] {
        assert_eq!(value(raw, "select count(*) from w"), "1");
    }
    stand.await_end_of(former);
    for raw in [&mut new, &mut reader, &mut writer] {
        assert_eq!(value(raw, "select count(*) from w"), "1");
        assert!(!reads_there(&stand, raw), "the replica is behind");
    }
    // One that fails: who goes on here reads what was written there.
    stand.try_upgrade(&["--binary", "/bin/false"]).unwrap_err();
    rows(&mut writer, "insert into w values ('again', 1)");
    assert_eq!(value(&mut reader, "select count(*) from w"), "2");
    cluster.replica(0).resume_replay().unwrap();
    wait::until(SOON, "reads on the replica again", || reads_there(&stand, &mut reader).then_some(()));
    assert_eq!(value(&mut reader, "select count(*) from w"), "2");
}
