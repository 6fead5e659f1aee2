//! What is known of a failover, and what a person has decided, outlives the process: an old primary stays one.

use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::{Login, Raw, wait};

use crate::stand::{LONG, Stand, fine, query, sqlstate};

/// The replica is promoted after a kill, and the old primary is back beside it.
fn failed_over(top: &str) -> Stand {
    let stand = Stand::with(top, "primary_lost_after = \"2s\"\n", "", &[]);
    stand.cluster.primary().kill_9();
    stand.cluster.replica(0).promote().unwrap();
    stand.wait_for_roles(&["down", "primary"]);
    fine(&mut stand.connect("app"), "INSERT INTO w(who) VALUES ('new')");
    stand.cluster.primary().start().unwrap();
    stand.wait_for_roles(&["contested", "primary"]);
    stand
}

fn on_the_old_one(stand: &Stand) -> String {
    stand.cluster.primary().psql_in("app", "SELECT count(*) FROM w").unwrap()
}

#[test]
fn an_old_primary_is_written_to_neither_after_a_restart_nor_after_other_servers_are_named() {
    let mut stand = failed_over("query_wait_timeout = \"2s\"\n");
    // With both up the new one goes on.
    restarted(&mut stand);
    stand.wait_for_roles(&["contested", "primary"]);
    fine(&mut stand.connect("app"), "INSERT INTO w(who) VALUES ('again')");
    // Another address of the new one makes the cluster begin anew.
    let ports = [stand.cluster.primary().port(), stand.cluster.replica(0).port()];
    stand.rewrite(&ports, &[("monitor_interval = \"300ms\"", "monitor_interval = \"250ms\"")]);
    stand.console("RELOAD");
    stand.wait_for_roles(&["contested", "primary"]);
    fine(&mut stand.connect("app"), "INSERT INTO w(who) VALUES ('other')");

    // With the new one away nothing is written to the old one, by a process that has seen nothing but that.
    stand.cluster.replica(0).stop(Mode::Fast).unwrap();
    restarted(&mut stand);
    stand.wait_for_roles(&["contested", "down"]);
    let mut app = Raw::connect(&stand.proxy.tcp(), &Login::new("app", "app"));
    if let Ok(app) = &mut app {
        assert_ne!(sqlstate(&query(app, "INSERT INTO w(who) VALUES ('lost')")), "");
    }
    assert_eq!(on_the_old_one(&stand), "0");

    // A person who gives up the new one is obeyed at once, and after a restart, and when the new one is back.
    stand.console(&format!("CLUSTER main PRIMARY '127.0.0.1:{}'", ports[0]));
    stand.wait_for_roles(&["primary", "down"]);
    let writes = |stand: &Stand| {
        wait::until(LONG, "a write", || {
            let mut raw = Raw::connect(&stand.proxy.tcp(), &Login::new("app", "app")).ok()?;
            sqlstate(&query(&mut raw, "INSERT INTO w(who) VALUES ('decided')")).is_empty().then_some(())
        });
    };
    writes(&stand);
    restarted(&mut stand);
    writes(&stand);
    stand.cluster.replica(0).start().unwrap();
    stand.wait_for_roles(&["primary", "contested"]);
    writes(&stand);
    restarted(&mut stand);
    stand.wait_for_roles(&["primary", "contested"]);
    writes(&stand);
    assert_eq!(on_the_old_one(&stand), "4");
    assert_eq!(stand.written_on_the_new_one(), ["again", "new", "other"]);
}

#[test]
fn a_replica_that_was_promoted_by_mistake_and_follows_again_leaves_its_primary_alone() {
    let for_rewind = [("full_page_writes", "on"), ("wal_log_hints", "on")];
    let stand = Stand::with("", "primary_lost_after = \"2s\"\n", "", &for_rewind);
    let (old, new) = (stand.cluster.primary(), stand.cluster.replica(0));
    new.promote().unwrap();
    // Nothing was written meanwhile: the newer timeline is used.
    stand.wait_for_roles(&["contested", "primary"]);
    new.stop(Mode::Fast).unwrap();
    new.rewind(old).unwrap();
    new.follow(old).unwrap();
    new.start().unwrap();
    stand.wait_for_roles(&["primary", "replica"]);
    fine(&mut stand.connect("app"), "INSERT INTO w(who) VALUES ('after')");
    assert_eq!(on_the_old_one(&stand), "1");
}

fn restarted(stand: &mut Stand) {
    stand.proxy.kill_9();
    stand.proxy.start_again().unwrap();
}
