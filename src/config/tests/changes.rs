//! What a reload changes.

use super::{read, with};

#[test]
fn the_same_text_changes_nothing() {
    assert!(with("workers = 2\n").diff(&with("workers = 2\n")).is_empty());
    assert!(with("listen_port = 6432 # the default\n").diff(&with("")).is_empty());
}

#[test]
fn keys_that_need_a_restart_are_told_apart_and_kept() {
    let old = with("");
    let mut new = with(
        "listen_port = 7000\nworkers = 2\nlog_level = 'debug'\nstate_file = '/tmp/s'\nlisten_addr = '*'\nunix_socket_dir = '/run'\n",
    );
    let changes = new.diff(&old);
    let mut restart: Vec<&str> = changes.need_restart().map(|c| c.key.as_str()).collect();
    restart.sort_unstable();
    assert_eq!(restart, ["listen_addr", "listen_port", "state_file", "unix_socket_dir", "workers"]);
    let level = changes.keys.iter().find(|c| c.key == "log_level").unwrap();
    assert_eq!((level.old.as_str(), level.new.as_str(), level.restart), ("info", "debug", false));

    new.keep_fixed(&old);
    assert_eq!(new.diff(&old).keys.iter().map(|c| c.key.as_str()).collect::<Vec<_>>(), ["log_level"]);
}

#[test]
fn databases_clusters_and_users_come_go_and_change() {
    let base = "[clusters.main]\nupstreams = ['a']\nmonitor_user = 'w'\nmonitor_password = 'one'\n";
    let old = read(&format!("{base}[databases.a]\n[databases.b]\npool_size = 3\n[databases.c]\n[users.u]\n")).unwrap();
    let text = format!(
        "default_pool_size = 9\n{base}[databases.a]\n[databases.b]\npool_size = 3\n[databases.d]\n[users.u]\npool_size = 1\n[users.v]\n"
    );
    let new = read(&text.replace("'one'", "'two'")).unwrap();
    let changes = new.diff(&old);
    assert_eq!(changes.databases.added, ["d"]);
    assert_eq!(changes.databases.removed, ["c"]);
    assert_eq!(changes.databases.changed, ["a"], "b has a pool_size of its own");
    assert_eq!(changes.clusters.changed, ["main"], "the password");
    assert_eq!((changes.users.added, changes.users.changed), (vec!["v".to_owned()], vec!["u".to_owned()]));
    assert!(changes.users.removed.is_empty());
}

#[test]
fn maintenance_defaults_change_the_databases_that_use_them() {
    let own = "[databases.shop.maintenance]\nmessage = 'mine'\n";
    let changes = with(&format!("[maintenance]\nmessage = 'new'\n{own}")).diff(&with(own));
    assert_eq!(changes.keys[0].key, "maintenance.message");
    assert_eq!(changes.databases.changed, ["app"]);
}
