//! Sync Gateway: databases that are created offline, go offline and come back by themselves and by hand, and read their own
//! configuration again on the way.

use std::time::Instant;

use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::{Login, Raw, wait};

use crate::help::{maintenance, wait_for_mode};
use crate::stand::{LONG, Stand, detail, fine, query, sqlstate};

const FEED: &str = "[databases.feed]\nstart = \"offline\"\npool_size = 7\n";

fn connect(stand: &Stand, database: &str) -> Result<Raw, pgsluice_fixtures::RawError> {
    Raw::connect(&stand.proxy.tcp(), &Login::new("app", database))
}

fn refused(stand: &Stand, database: &str) -> String {
    let error = connect(stand, database).expect_err("a refusal");
    assert_eq!(error.sqlstate(), Some("57P03"), "{error}");
    error.to_string()
}

fn mode(stand: &Stand, database: &str) -> String {
    stand.console(&format!("SHOW MAINTENANCE {database}"))[0][1].clone()
}

/// The size of the pools of a database.
fn pool_size(stand: &Stand, database: &str) -> String {
    let rows = stand.console("SHOW DATABASES");
    rows.into_iter().find(|row| row[0] == database).expect("the database")[5].clone()
}

#[test]
fn sync_gateway_a_database_is_created_offline_and_comes_online_with_its_configuration_read_again() {
    let mut stand = Stand::by_defaults(FEED);
    stand.cluster.primary().psql("CREATE DATABASE feed").unwrap();
    let mut app = stand.connect("app");
    // Nobody reaches it; the others are not touched; and it can be looked at.
    assert!(refused(&stand, "feed").contains("database \"feed\" is offline"));
    fine(&mut app, "INSERT INTO w(who) VALUES ('x')");
    assert_eq!((mode(&stand, "feed"), mode(&stand, "app")), ("offline".into(), "read_write".into()));
    assert_eq!(pool_size(&stand, "feed"), "7");
    // Online and back, each twice: the second time nothing changes.
    let changed = |sql: &str| stand.console(sql)[0][1..3].join(" ");
    assert_eq!([changed("ONLINE feed"), changed("ONLINE feed")], ["read_write t", "read_write f"]);
    fine(&mut connect(&stand, "feed").unwrap(), "CREATE TEMP TABLE works (a int)");
    assert_eq!([changed("OFFLINE feed"), changed("OFFLINE feed")], ["offline t", "offline f"]);
    refused(&stand, "feed");
    // Its configuration is changed while it is offline, and that of another database, and of the whole, too.
    let upstreams = [stand.cluster.primary(), stand.cluster.replica(0)].map(|one| one.port());
    stand.rewrite(
        &upstreams,
        &[("pool_size = 7", "pool_size = 3"), ("[databases.app]", "[databases.app]\npool_size = 4")],
    );
    let before = pool_size(&stand, "app");
    assert_eq!(pool_size(&stand, "feed"), "7", "not before it is put online");
    stand.console("ONLINE feed");
    assert_eq!(
        (pool_size(&stand, "feed"), pool_size(&stand, "app")),
        ("3".into(), before),
        "its own, and nothing else"
    );
    fine(&mut connect(&stand, "feed").unwrap(), "SELECT 1");
    fine(&mut app, "SELECT 1");
    // What a person said holds over a restart: it is not created a second time.
    stand.proxy.kill_9();
    stand.proxy.start_again().unwrap();
    wait::until(LONG, "the database", || connect(&stand, "feed").ok());
    assert_eq!(mode(&stand, "feed"), "read_write");
    // A configuration that is wrong leaves it offline, and says why.
    stand.console("OFFLINE feed");
    stand.rewrite(&upstreams, &[("pool_size = 7", "pool_size = \"many\"")]);
    let mut console =
        connect(&stand, "pgsluice").or_else(|_| Raw::connect(&stand.proxy.tcp(), &Login::new("dba", "pgsluice")));
    let frames = query(console.as_mut().unwrap(), "ONLINE feed");
    assert_ne!(sqlstate(&frames), "");
    let error = frames.iter().find_map(pgsluice_fixtures::Frame::error).unwrap();
    assert!(format!("{} {}", error.message(), detail(&frames)).contains("pool_size"), "{error}");
    assert_eq!(mode(&stand, "feed"), "offline");
}

#[test]
fn sync_gateway_a_database_whose_servers_are_lost_goes_offline_by_itself_with_a_warning_and_comes_back() {
    let stand = Stand::with("", "primary_lost_after = \"8s\"", "", &[]);
    let mut app = stand.connect("app");
    fine(&mut app, "INSERT INTO w(who) VALUES ('x')");
    // A loss that is over in a moment changes nothing.
    stand.cluster.primary().restart().unwrap();
    wait::until(LONG, "a write", || {
        let mut again = connect(&stand, "app").ok()?;
        sqlstate(&query(&mut again, "INSERT INTO w(who) VALUES ('y')")).is_empty().then_some(())
    });
    assert_eq!(maintenance(&stand)[0], "read_write");
    assert!(!stand.proxy.log().contains("degraded"), "{}", stand.proxy.log());

    stand.cluster.replica(0).stop(Mode::Fast).unwrap();
    stand.cluster.primary().stop(Mode::Fast).unwrap();
    wait_for_mode(&stand, "offline", "primary_lost");
    let asked = Instant::now();
    assert!(refused(&stand, "app").contains("the primary has been lost since"));
    assert!(asked.elapsed().as_secs() < 2, "at once");
    let log = stand.proxy.log();
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains("degraded")), "{log}");
    let events = stand.console("SHOW EVENTS");
    assert!(events.iter().any(|row| row.iter().any(|cell| cell == "degraded")), "an event");
    stand.cluster.primary().start().unwrap();
    wait_for_mode(&stand, "read_write", "");
    fine(&mut connect(&stand, "app").unwrap(), "INSERT INTO w(who) VALUES ('z')");
    assert!(stand.proxy.log().contains("recovered"));
}
