//! A primary that is read-only by its administrators' own setting.

use std::time::Duration;

use crate::help::{WRITE, reads_go_on, until_refused, until_told, until_written, wait_for_mode};
use crate::stand::{LONG, Stand, fine};

/// Two intervals of the stand's monitor, and time for a machine at work.
const TWO_INTERVALS: Duration = Duration::from_millis(1600);

/// Over connections that the setting does not concern.
fn by_superuser(stand: &Stand, statements: &[&str]) {
    for sql in statements {
        stand.cluster.primary().psql_in("postgres", sql).unwrap();
    }
}

/// The scene of fatcat: the application runs on, and nobody restarts it.
fn fenced(set: &[&str], reset: &[&str]) {
    let stand = Stand::new("");
    let mut app = stand.connect("app");
    let mut idle = stand.connect("app");
    let mut session = stand.connect("sess");
    for raw in [&mut app, &mut idle, &mut session] {
        fine(raw, WRITE);
    }
    for _ in 0..2 {
        by_superuser(&stand, set);
        let told = until_refused(&mut app, TWO_INTERVALS);
        assert!(told.is_empty() || told.contains("default_transaction_read_only"), "{set:?}: {told}");
        wait_for_mode(&stand, "read_only", "own_setting");
        assert!(until_refused(&mut app, TWO_INTERVALS).contains("is read-only by its own setting"), "{set:?}");
        until_told(&mut idle, "on");
        until_refused(&mut session, TWO_INTERVALS);
        reads_go_on(&mut app);
        let mut fresh = stand.connect("app");
        until_refused(&mut fresh, TWO_INTERVALS);
        by_superuser(&stand, reset);
        until_written(&mut app, TWO_INTERVALS);
        until_written(&mut session, TWO_INTERVALS);
        until_written(&mut fresh, TWO_INTERVALS);
        wait_for_mode(&stand, "read_write", "");
        until_told(&mut idle, "off");
        until_written(&mut idle, TWO_INTERVALS);
    }
    let log = stand.proxy.log();
    assert!(log.contains("degraded") && log.contains("recovered"), "{log}");
}

#[test]
fn fatcat_alter_database_while_the_application_runs_on() {
    fenced(
        &["ALTER DATABASE app SET default_transaction_read_only = true"],
        &["ALTER DATABASE app SET default_transaction_read_only = false"],
    );
}

#[test]
fn a_setting_of_the_server_is_followed_both_ways() {
    fenced(
        &["ALTER SYSTEM SET default_transaction_read_only = 'yes'", "SELECT pg_reload_conf()"],
        &["ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()"],
    );
}

#[test]
fn a_setting_of_every_role_that_uses_the_database_is_followed_both_ways() {
    fenced(
        &[
            "ALTER ROLE app SET default_transaction_read_only = on",
            "ALTER ROLE sess IN DATABASE app SET default_transaction_read_only = 1",
        ],
        &["ALTER ROLE app RESET default_transaction_read_only", "ALTER ROLE sess IN DATABASE app RESET ALL"],
    );
}

#[test]
fn a_setting_of_one_role_among_others_is_that_roles_affair() {
    let stand = Stand::new("");
    let (mut app, mut late) = (stand.connect("app"), stand.connect("late"));
    fine(&mut app, WRITE);
    fine(&mut late, WRITE);
    stand.cluster.primary().psql_in("postgres", "ALTER ROLE late SET default_transaction_read_only = on").unwrap();
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| until_refused(&mut late, TWO_INTERVALS)));
    assert!(refused.is_ok(), "{}\n{:?}", stand.proxy.log(), stand.console("SHOW UPSTREAMS"));
    fine(&mut app, WRITE);
    wait_for_mode(&stand, "read_write", "");
    stand.cluster.primary().psql_in("postgres", "ALTER ROLE late RESET default_transaction_read_only").unwrap();
    until_written(&mut late, TWO_INTERVALS);
    fine(&mut app, WRITE);
}

/// GeoNetwork's own test: the pool keeps no idle connection, the setting is made and taken back, each time seen by a heartbeat of the
/// application, while a page is shown whose view is counted by a discarded write.
#[test]
fn geonetwork_a_page_is_shown_while_the_database_is_read_only_and_its_counter_waits() {
    let stand = Stand::with(
        "server_idle_timeout = \"1s\"\n",
        "",
        "[databases.app.maintenance]\nwrite_rules = [\"discard(1) update on t\"]\n",
        &[],
    );
    let mut page = stand.connect("app");
    let view = |raw: &mut pgsluice_fixtures::Raw| {
        fine(raw, "UPDATE t SET v = v || '.' WHERE id = 1");
        assert_eq!(fine(raw, "SELECT count(*) FROM t"), [["10"]]);
    };
    view(&mut page);
    let counted = || stand.cluster.primary().psql_in("app", "SELECT v FROM t WHERE id = 1").unwrap();
    assert_eq!(counted(), "row 1.");
    for _ in 0..2 {
        let before = counted();
        stand
            .cluster
            .primary()
            .psql_in("postgres", "ALTER DATABASE app SET default_transaction_read_only = true")
            .unwrap();
        wait_for_mode(&stand, "read_only", "own_setting");
        view(&mut page);
        assert_eq!(counted(), before, "the counter waits");
        stand
            .cluster
            .primary()
            .psql_in("postgres", "ALTER DATABASE app SET default_transaction_read_only = false")
            .unwrap();
        wait_for_mode(&stand, "read_write", "");
        until_written(&mut page, LONG);
        view(&mut page);
        assert_eq!(counted(), before + ".");
    }
}
