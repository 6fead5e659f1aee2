//! What is looked at beforehand, and commands that cannot be carried out: nothing is changed by either.

use pgsluice_fixtures::Login;
use pgsluice_fixtures::Raw;

use crate::stand::{LONG, Stand, ask};

#[test]
fn a_dry_run_tells_each_check_with_its_remedy_and_changes_nothing() {
    let stand = Stand::new();
    let answer = stand.switch_to(1, "WITH (dry_run)").fine();
    for name in ["primary", "target", "system_identifier", "rights", "version", "streaming", "lag", "replay", "rewind"]
    {
        assert_eq!(answer.status(name), "ok", "{:?}", answer.row(name));
    }
    assert!(answer.rows.iter().all(|row| row[0] == "check"), "{:?}", answer.rows);
    let twice = answer.notices.iter().find(|notice| notice.starts_with("streaming: "));
    assert_eq!(twice, None, "the table has it");
    assert_eq!(
        (stand.roles(), stand.modes()),
        (vec!["primary".into(), "replica".into()], vec!["read_write".into(); 2])
    );
    assert!(stand.command("SHOW MOVES").rows.is_empty());

    // What a person should know of: somebody past the proxy, a long transaction, a prepared one, a logical slot.
    let mut past = Raw::connect(&stand.server(0).tcp(), &Login::new("app", "app")).unwrap();
    ask(&mut past, "BEGIN; INSERT INTO written VALUES (-1)").fine();
    stand.server(0).psql_in("app", "BEGIN; INSERT INTO written VALUES (-2); PREPARE TRANSACTION 'waits'").unwrap();
    stand.server(0).psql_in("postgres", "ALTER ROLE app SET default_transaction_read_only = off").unwrap();
    pgsluice_fixtures::wait::until_ok(LONG, "warnings", || {
        let answer = stand.switch_to(1, "WITH (dry_run on)");
        let warned = ["sessions", "transactions", "prepared", "overrides"];
        let rows: Vec<_> = warned.iter().map(|name| answer.row(name).join(" | ")).collect();
        if rows.iter().all(|row| row.contains("| warn |")) { Ok(()) } else { Err(rows.join("\n")) }
    });
    let answer = stand.switch_to(1, "WITH (dry_run)");
    assert!(answer.row("prepared")[5].contains("waits") && answer.row("overrides")[5].contains("app"));
    assert!(answer.rows.iter().filter(|row| row[2] == "warn").all(|row| !row[6].is_empty()), "{:?}", answer.rows);
}

#[test]
fn a_check_that_fails_refuses_the_command_and_says_what_to_do() {
    let stand = Stand::build("", &[], false);
    let answer = stand.switch_to(1, "");
    assert_eq!(answer.sqlstate, "55000", "{}", answer.message);
    for words in [
        "GRANT ALTER SYSTEM ON PARAMETER default_transaction_read_only TO \"switcher\"",
        "GRANT pg_signal_backend TO \"switcher\"",
    ] {
        assert!(answer.hint.contains(words), "{}", answer.hint);
    }
    // What has failed, and no row beside it: without pg_monitor the role does not see the target's WAL receiver either.
    let failed: Vec<_> = answer.detail.lines().filter_map(|line| line.split_once(": ")).map(|(name, _)| name).collect();
    assert_eq!(failed, ["rights", "streaming"], "{}", answer.detail);
    assert!(stand.writes(1).sqlstate.is_empty() && stand.is_writable(0));

    stand.server(0).psql_in("postgres", "ALTER ROLE switcher SUPERUSER").unwrap();
    stand.cluster.wait_for_replay(LONG).unwrap();
    stand.server(1).pause_replay().unwrap();
    let answer = stand.switch_to(1, "");
    assert!(answer.sqlstate == "55000" && answer.message.contains("replay"), "{}", answer.message);
    stand.server(1).resume_replay().unwrap();

    for (option, value) in [("primary", "127.0.0.1:1"), ("system_identifier", "7"), ("version", "9.6")] {
        let answer = stand.switch_to(1, &format!("WITH ({option} '{value}')"));
        assert!(answer.sqlstate == "55000" && answer.message.contains(option), "{option}: {}", answer.message);
    }
    stand.server(1).psql_in("postgres", "ALTER SYSTEM SET synchronous_standby_names = 'nobody'").unwrap();
    stand.server(1).reload().unwrap();
    stand.server(1).wait_until("SHOW synchronous_standby_names", "nobody", LONG).unwrap();
    let answer = stand.switch_to(1, "");
    assert!(answer.sqlstate == "55000" && answer.hint.contains("synchronous_standby_names"), "{}", answer.hint);
    assert_eq!(stand.modes(), ["read_write", "read_write"]);
    assert!(stand.is_writable(0));
}

#[test]
fn what_is_named_wrongly_is_an_error_of_its_kind() {
    let stand = Stand::new();
    let (primary, replica) = (stand.name(0), stand.name(1));
    for (sql, sqlstate) in [
        ("SWITCHOVER nosuch TO x".to_owned(), "3D000"),
        ("SWITCHOVER app TO '127.0.0.1:1'".to_owned(), "42704"),
        (format!("SWITCHOVER app TO '{primary}'"), "55000"),
        (format!("SWITCHOVER app TO '{replica}' WITH (timeout 'soon')"), "22023"),
        (format!("SWITCHOVER app TO '{replica}' WITH (force)"), "42601"),
        (format!("SWITCHOVER app TO '{replica}' WITH (force on)"), "22023"),
        (format!("SWITCHOVER app TO '{replica}' WITH (dry_run, dry_run)"), "22023"),
        ("SWITCHOVER app".to_owned(), "42601"),
        ("SWITCHOVER app TO".to_owned(), "42601"),
        ("SWITCHOVER".to_owned(), "42601"),
    ] {
        let answer = stand.command(&sql);
        assert_eq!(answer.sqlstate, sqlstate, "{sql}: {}", answer.message);
    }
    // Bare, too.
    assert!(stand.command(&format!("switchover APP to {replica} with (DRY_RUN)")).fine().rows.len() > 10);
}
