//! SHOW EVENTS and LISTEN, and the log's lines that go with them.

use std::process::Command;

use pgsluice_fixtures::raw::message::query;
use pgsluice_fixtures::{Cluster, Frame, Raw, wait};
use serde_json::{Value, json};

use crate::stand::{SOON, builder, config, config_for, console, proxy_with, raw, rows, shown};

/// Channel and payload of a NotificationResponse.
fn notification(frame: &Frame) -> (i32, String, Value) {
    let pid = i32::from_be_bytes(frame.body[..4].try_into().unwrap());
    let mut texts = frame.body[4..].split(|byte| *byte == 0).map(|text| String::from_utf8(text.to_vec()).unwrap());
    let (channel, payload) = (texts.next().unwrap(), texts.next().unwrap());
    (pid, channel, serde_json::from_str(&payload).unwrap())
}

/// The next notification, which comes by itself.
fn next(console: &mut Raw) -> Value {
    let frame = console.frame(SOON).unwrap();
    assert_eq!(frame.tag, b'A', "{frame:?}");
    notification(&frame).2
}

#[test]
fn a_maintenance_is_told_as_events_in_the_order_in_which_it_went() {
    let proxy = proxy_with(&config("", ""));
    let mut console = console(&proxy);
    let mut app = raw(&proxy, "app", "app");
    rows(&mut app, "begin; insert into t values (1)");
    console
        .query("MAINTENANCE ON app WITH (message 'up \"grade\"', drain_timeout '200ms', on_timeout revert)", SOON)
        .unwrap_err();
    rows(&mut app, "rollback");
    rows(&mut console, "MAINTENANCE ON app WITH (message 'up \"grade\"')");
    rows(&mut console, "MAINTENANCE OFF app");
    rows(&mut console, "MAINTENANCE ON third");
    let events = shown(&mut console, "app");
    let names: Vec<&str> = events.iter().map(|one| one.event.as_str()).collect();
    let expected =
        ["mode", "drain_began", "mode", "drain_gave_up", "mode", "drain_began", "mode", "drain_ended", "mode"];
    assert_eq!(names, expected);
    assert!(events.windows(2).all(|two| two[0].id < two[1].id));
    assert!(events.iter().all(|one| one.database.as_deref() == Some("app")));
    assert_eq!(events[3].severity, "warning");
    assert!(events[3].fields["detail"].as_str().unwrap().starts_with("In the way: user \"app\""), "{:?}", events[3]);
    let modes: Vec<&str> = [0, 2, 4, 6, 8].map(|at| events[at].message.as_str()).to_vec();
    assert_eq!(modes, ["mode: draining", "mode: read_write", "mode: draining", "mode: read_only", "mode: read_write"]);
    assert_eq!(events[6].fields["cause"], "MAINTENANCE ON");
    assert_eq!(events[6].fields["maintenance_message"], "up \"grade\"");
    assert_eq!(events[6].fields["user"], "admin");
    assert!(events[7].fields["waited_ms"].is_u64() && events[7].fields["quiesced_lsn"].is_string());
    // By another name of the same database they are the same.
    assert_eq!(shown(&mut console, "other").len(), events.len());
    // Every event is a line of the log, by the same name.
    let log = proxy.log();
    let lines = |name: &str| log.lines().filter(|line| line.contains(&format!("event=\"{name}\""))).count();
    for one in shown(&mut console, "") {
        let all = shown(&mut console, "").iter().filter(|other| other.event == one.event).count();
        assert_eq!(lines(&one.event), all, "{}: {log}", one.event);
    }
}

#[test]
fn listening_consoles_are_notified_while_idle_and_ahead_of_ready_but_not_in_a_transaction() {
    let proxy = proxy_with(&config("", ""));
    let (mut listens, mut other) = (raw(&proxy, "stats", "pgsluice"), console(&proxy));
    assert_eq!(listens.query("LISTEN others", SOON).unwrap_err().sqlstate(), Some("22023"));
    listens.query("LISTEN pgsluice_events", SOON).unwrap();
    rows(&mut other, "MAINTENANCE ANNOUNCE app 'soon'");
    let frame = listens.frame(SOON).unwrap();
    let (pid, channel, event) = notification(&frame);
    assert_eq!((pid, channel.as_str()), (listens.key().unwrap().pid, "pgsluice_events"));
    assert_eq!(
        (&event["event"], &event["database"], &event["severity"]),
        (&json!("announcement"), &json!("app"), &json!("warning"))
    );
    assert_eq!(event["fields"]["text"], "soon");

    listens.query("BEGIN", SOON).unwrap();
    rows(&mut other, "MAINTENANCE ANNOUNCE app 'in between'");
    listens.query("SHOW VERSION", SOON).unwrap();
    let frames = listens.round_trip(&query("COMMIT"), SOON).unwrap();
    let tags: Vec<char> = frames.iter().map(|frame| char::from(frame.tag)).collect();
    assert_eq!(tags, ['C', 'A', 'Z']);

    rows(&mut other, "MAINTENANCE ON app");
    for name in ["mode", "drain_began", "mode", "drain_ended"] {
        assert_eq!(next(&mut listens)["event"], name);
    }
    listens.query("UNLISTEN *", SOON).unwrap();
    rows(&mut other, "MAINTENANCE OFF app");
    let frames = listens.round_trip(&query("SHOW VERSION"), SOON).unwrap();
    assert!(frames.iter().all(|frame| frame.tag != b'A'), "{frames:?}");
}

#[test]
fn a_console_that_does_not_read_is_told_how_much_it_has_missed() {
    let proxy = proxy_with(&config("", ""));
    let (mut listens, mut other) = (console(&proxy), console(&proxy));
    listens.query("LISTEN pgsluice_events; BEGIN", SOON).unwrap();
    for at in 0..1010 {
        rows(&mut other, &format!("MAINTENANCE ANNOUNCE app '{at}'"));
    }
    assert_eq!(shown(&mut other, "").len(), 1000);
    let frames = listens.round_trip(&query("COMMIT"), SOON).unwrap();
    let first = frames.iter().find(|frame| frame.tag == b'A').map(notification).unwrap().2;
    assert_eq!(first, json!({ "missed": 10 }));
}

#[test]
fn psql_shows_notifications() {
    let proxy = proxy_with(&config("", ""));
    let output = Command::new("psql")
        .args(["-X", "-h", "127.0.0.1", "-p", &proxy.port().to_string(), "-U", "admin", "-d", "pgsluice"])
        .args(["-c", "LISTEN pgsluice_events", "-c", "MAINTENANCE ON app", "-c", "UNLISTEN pgsluice_events"])
        .env("PGPASSWORD", "secret")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("Asynchronous notification \"pgsluice_events\" with payload \"{\"id\":"), "{text}");
}

#[test]
fn servers_that_change_and_a_configuration_that_is_wrong_are_events() {
    let cluster = Cluster::builder().replicas(1).start().unwrap();
    let ports = [cluster.primary().port(), cluster.replica(0).port()];
    let text = config_for(&ports, "", "");
    let mut proxy = builder(&text).start().unwrap();
    let mut console = console(&proxy);
    let until = |console: &mut Raw, name: &str, field: &str, value: &str| {
        wait::until(SOON, &format!("{name} {field}={value}"), || {
            shown(console, "").into_iter().find(|one| {
                one.event == name
                    && (field.is_empty() || one.fields[field].as_str().unwrap_or_default().contains(value))
            })
        })
    };
    until(&mut console, "server_role", "to", "primary");
    until(&mut console, "server_role", "to", "replica");
    cluster.replica(0).promote().unwrap();
    let contested = until(&mut console, "primary_contested", "servers", &ports[1].to_string());
    assert_eq!(contested.severity, "error");
    cluster.primary().stop(pgsluice_fixtures::cluster::Mode::Immediate).unwrap();
    let lost = until(&mut console, "server_lost", "", "");
    assert_eq!(lost.upstream, Some(format!("127.0.0.1:{}", ports[0])));
    until(&mut console, "primary_no_longer_contested", "", "");

    proxy.reconfigure(&text.replace("monitor_interval", "monitor_intervall")).unwrap();
    console.query("RELOAD", SOON).unwrap_err();
    let refused = until(&mut console, "not_reloaded", "error", "monitor_intervall");
    assert_eq!(refused.severity, "error");
    proxy.reconfigure(&text).unwrap();
    console.query("RELOAD", SOON).unwrap();
    until(&mut console, "reloaded", "", "");
}

#[test]
fn more_held_writes_than_allowed_are_one_event_in_a_while() {
    let proxy = proxy_with(&config(
        "",
        "[databases.app.maintenance]\nwrites = \"hold\"\nhold_limit = 1\nhold_timeout = \"30s\"",
    ));
    let mut console = console(&proxy);
    rows(&mut console, "MAINTENANCE ON app");
    let mut held = raw(&proxy, "app", "app");
    held.send(&query("insert into t values (1)")).unwrap();
    wait::until(SOON, "a held write", || {
        (rows(&mut console, "SHOW MAINTENANCE app")[0][19].as_deref() == Some("1")).then_some(())
    });
    let mut more = raw(&proxy, "app", "app");
    for _ in 0..3 {
        assert_eq!(more.query("insert into t values (2)", SOON).unwrap_err().sqlstate(), Some("25006"));
    }
    let events = shown(&mut console, "app");
    let overflow: Vec<_> = events.iter().filter(|one| one.event == "hold_overflow").collect();
    assert_eq!(overflow.len(), 1, "{events:?}");
    assert_eq!((&overflow[0].fields["limit"], &overflow[0].fields["times"]), (&json!(1), &json!(1)));
}

#[test]
fn a_certificate_that_expires_soon_or_has_expired_is_an_event() {
    let proxies = [("soon", 13, "warning"), ("gone", -1, "error"), ("later", 15, "")].map(|(name, days, severity)| {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.not_before = time::OffsetDateTime::now_utc() - time::Duration::days(40);
        params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(days);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        let top = "client_tls_sslmode = \"prefer\"\nclient_tls_key_file = \"{dir}/key\"\nclient_tls_cert_file = \"{dir}/cert\"";
        let proxy = builder(&config(top, "")).file("key", key.serialize_pem()).file("cert", certificate).start().unwrap();
        (proxy, name, severity)
    });
    for (proxy, name, severity) in &proxies {
        let mut console = console(proxy);
        let told = |console: &mut Raw| shown(console, "").into_iter().find(|one| one.event == "certificate_expires");
        if severity.is_empty() {
            assert!(told(&mut console).is_none(), "the others have been told of meanwhile");
            continue;
        }
        let event = wait::until(SOON, name, || told(&mut console));
        assert_eq!((event.severity.as_str(), &event.fields["subject"]), (*severity, &json!(format!("CN={name}"))));
        assert!(event.fields["file"].as_str().unwrap().ends_with("/cert"));
    }
}
