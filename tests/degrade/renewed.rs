//! A server that comes back with other settings, or in another version.

use pgsluice_fixtures::{Cluster, Installation, Proxy, Relay, Role, wait};

use crate::stand::{LONG, Stand, fine};

#[test]
fn a_server_that_comes_back_with_other_settings_tells_new_clients_of_them() {
    let stand = Stand::new("");
    let mut app = stand.connect("app");
    fine(&mut app, "PREPARE p AS SELECT count(*) FROM t");
    assert_eq!(fine(&mut app, "EXECUTE p"), [["10"]]);
    let before = app.parameters().get("IntervalStyle").cloned();
    assert_eq!(before.as_deref(), Some("postgres"));
    stand.cluster.primary().psql("ALTER SYSTEM SET intervalstyle = 'iso_8601'").unwrap();
    stand.cluster.primary().restart().unwrap();
    stand.wait_for_roles(&["primary", "replica"]);
    wait::until(LONG, "a new client that is told", || {
        let client = stand.connect("app");
        (client.parameters().get("IntervalStyle").map(String::as_str) == Some("iso_8601")).then_some(())
    });
    assert_eq!(fine(&mut app, "EXECUTE p"), [["10"]], "what was prepared is prepared again");
    assert_eq!(fine(&mut stand.connect("app"), "SHOW intervalstyle"), [["iso_8601"]]);
}

#[test]
fn a_server_that_comes_back_in_another_version_is_learnt_anew() {
    let majors: Vec<Installation> = pgsluice_fixtures::Postgres::discover();
    let Some(other) = majors.iter().find(|one| one.version.major != majors[0].version.major) else {
        println!("only one version of PostgreSQL is here");
        return;
    };
    let start = |installation: &Installation| {
        let builder = Cluster::builder().installation(installation.clone()).hba(["host all all 127.0.0.1/32 trust"]);
        let cluster =
            builder.roles([Role::new("app"), Role::new("monitor").option("IN ROLE pg_monitor")]).databases(["app"]);
        cluster.start().unwrap()
    };
    let (old, new) = (start(&majors[0]), start(other));
    let relay = Relay::to(old.primary().port()).unwrap();
    let config = format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nauth_type = \"trust\"\nadmin_users = [\"app\"]\n\
         [clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"monitor\"\nmonitor_interval = \"300ms\"\n\
         [databases.app]\n",
        relay.port()
    );
    let binary = pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice"));
    let proxy = Proxy::builder(binary).config(config).start().unwrap();
    let connect =
        || pgsluice_fixtures::Raw::connect(&proxy.tcp(), &pgsluice_fixtures::Login::new("app", "app")).unwrap();
    let version = |raw: &mut pgsluice_fixtures::Raw| {
        let number = fine(raw, "SHOW server_version_num").remove(0).remove(0);
        (number.parse::<u32>().unwrap() / 10_000, raw.parameters().get("server_version").cloned().unwrap())
    };
    let mut client = connect();
    fine(&mut client, "PREPARE p AS SELECT 1");
    assert_eq!(version(&mut client).0, majors[0].version.major);
    relay.lead_to(new.primary().port());
    relay.cut();
    wait::until(LONG, "the other version", || {
        let (number, told) = version(&mut connect());
        let is_new = number == other.version.major;
        (is_new && told.starts_with(&other.version.major.to_string())).then_some(())
    });
    assert_eq!(fine(&mut client, "EXECUTE p"), [["1"]]);
    assert_eq!(version(&mut client).0, other.version.major, "a client of before goes on");
}
