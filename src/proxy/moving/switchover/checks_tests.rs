//! Each check is provoked, and says what to do.

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use Status::{Fail, Ok as Fine, Warn};

type Rows<'a> = &'a [&'a [&'a str]];
fn says(rows: Rows<'_>) -> Server {
    Server::saying(rows, &[])
}

fn found(read_only: Option<[&str; 3]>, used: usize, allowing: &[&str], pinned: &[(&'static str, usize)]) -> Findings {
    Findings {
        primary: Ok(Server::default()),
        target: Ok(Server::default()),
        target_read_only: read_only.map(|words| words.iter().map(|word| Some((*word).to_owned())).collect()),
        pinned: pinned.iter().copied().collect::<BTreeMap<_, _>>(),
        used,
        allowing: allowing.iter().map(|name| (*name).to_owned()).collect(),
    }
}

fn expect(line: &Line, status: Status, words: &str) {
    assert_eq!(line.status, status, "{line:?}");
    assert!(line.detail.contains(words), "{words}: {line:?}");
    assert_eq!(line.remedy.is_none(), status == Fine, "{line:?}");
}

#[test]
fn every_guardrail_of_one_server_says_ok_warn_or_fail_with_its_remedy() {
    type Check = fn(&Server) -> Line;
    let table: [(Check, Rows<'_>, Status, &str); 23] = [
        (replay, &[], Fine, "goes on"),
        (replay, &[&["paused", "true"]], Fail, "paused"),
        (replay, &[&["setting", "recovery_min_apply_delay", "60000"]], Fail, "60000 ms"),
        (overrides, &[], Fine, "nobody"),
        (overrides, &[&["override", "", "boss"]], Warn, "role \"boss\""),
        (overrides, &[&["override", "app", ""]], Warn, "database \"app\""),
        (overrides, &[&["override", "app", "boss"]], Warn, "role \"boss\" in database \"app\""),
        (transactions, &[], Fine, "none"),
        (
            transactions,
            &[&["transaction", "7", "app", "", "99", "true"]],
            Warn,
            "process 7 of \"app\" (99 s, has written)",
        ),
        (sessions, &[], Fine, "nobody"),
        (sessions, &[&["session", "7", "app", "psql", "10.0.0.9", "true"]], Warn, "from 10.0.0.9 (psql, writes now)"),
        (prepared, &[], Fine, "no transaction"),
        (prepared, &[&["prepared", "two", "app"]], Warn, "two of \"app\""),
        (slots, &[&["slot", "standby", "physical", "true", "", ""]], Fine, "no logical"),
        (slots, &[&["slot", "cdc", "logical", "true", "app", "pgoutput"]], Warn, "\"cdc\" (app, pgoutput)"),
        (subscriptions, &[], Fine, "nothing"),
        (subscriptions, &[&["subscription", "feed"]], Warn, "\"feed\""),
        (synchronous, &[], Fine, "no standby"),
        (synchronous, &[&["setting", "synchronous_standby_names", "b"]], Fail, "no standby follows"),
        (
            synchronous,
            &[&["setting", "synchronous_standby_names", "b"], &["follower", "7", "b"]],
            Warn,
            "synchronous_standby_names is \"b\"",
        ),
        (|server| rewind(&means(&none()), server), &[&["setting", "wal_log_hints", "on"]], Fine, "pg_rewind can"),
        (|server| rewind(&means(&none()), server), &[&["setting", "data_checksums", "off"]], Warn, "cannot bring"),
        (|server| rewind(&means(&given()), server), &[], Warn, "unless fence_command stops it"),
    ];
    for (check, rows, status, words) in table {
        expect(&check(&says(rows)), status, words);
    }
}

fn none() -> Program {
    Program { words: Vec::new(), patience: Duration::ZERO }
}

fn given() -> Program {
    Program { words: vec!["/bin/stop".to_owned()], ..none() }
}

fn means(program: &Program) -> Means<'_> {
    Means { fence: program, promote: program, role: "it's \"me\"" }
}

#[test]
fn what_the_role_lacks_is_named_with_its_grant_unless_a_program_does_it() {
    let all = [("alter system", "t"), ("reload", "t"), ("signal", "t"), ("promote", "t"), ("monitor", "t")];
    let may = |missing: &str| {
        let rights: Vec<_> = all.iter().copied().filter(|(what, _)| *what != missing).collect();
        Server::saying(&[], &rights)
    };
    expect(&rights(&means(&none()), &may(""), &may(""))[0], Fine, "may do what is needed");
    for (missing, grant) in [
        ("alter system", "GRANT ALTER SYSTEM ON PARAMETER default_transaction_read_only TO \"it's \"\"me\"\"\""),
        ("reload", "GRANT EXECUTE ON FUNCTION pg_reload_conf() TO"),
        ("signal", "GRANT pg_signal_backend TO"),
        ("promote", "GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO"),
    ] {
        let lines = rights(&means(&none()), &may(missing), &may(missing));
        expect(&lines[0], Fail, "lacks rights");
        assert!(lines[0].remedy.as_ref().unwrap().contains(grant), "{lines:?}");
        expect(&rights(&means(&given()), &may(missing), &may(missing))[0], Fine, "may do");
    }
    expect(&rights(&means(&none()), &may("monitor"), &may(""))[1], Warn, "does not see");
}

#[test]
fn what_both_servers_say_is_compared() {
    let version_of = |words: &str, number: &str| {
        says(&[&["setting", "server_version", words], &["setting", "server_version_num", number]])
    };
    expect(&version(&version_of("15", "150004"), &version_of("15.9", "150009")), Fine, "15.9 on the target");
    expect(&version(&version_of("15.4", "150004"), &version_of("16.1", "160001")), Fail, "16.1 on the target");

    let archives = |mode: &str| says(&[&["setting", "archive_mode", mode]]);
    expect(&archiving(&archives("on"), &archives("on")), Fine, "archive_mode is on on both");
    expect(&archiving(&archives("on"), &archives("off")), Warn, "on on the primary and off on the target");
    let failing = says(&[&["setting", "archive_mode", "on"], &["archiver", "3", "true", "00000001"]]);
    expect(&archiving(&failing, &archives("on")), Warn, "archiving fails (00000001)");

    let most = |connections: &str| says(&[&["setting", "max_connections", connections]]);
    expect(&settings(&most("100"), &most("100")), Fine, "the same");
    expect(&settings(&most("100"), &most("50")), Warn, "lower on the target: max_connections (100, target 50)");
    let two = |most: &str| says(&[&["setting", "max_prepared_transactions", most], &["prepared", "two", "app"]]);
    expect(&settings(&two("5"), &two("0")), Fail, "max_prepared_transactions");
}

#[test]
fn what_this_proxy_knows_is_a_guardrail_too() {
    let target = says(&[&["setting", "max_connections", "20"], &["connections", "5"]]);
    expect(&room(&found(None, 15, &[], &[]), &target), Fine, "room for 15 more");
    expect(&room(&found(None, 16, &[], &[]), &target), Fail, "16 are open to the primary");
    expect(&pinned(&found(None, 0, &[], &[])), Fine, "none");
    expect(&pinned(&found(None, 0, &[], &[("LISTEN", 2)])), Warn, "2 by LISTEN");
    expect(&rules(&found(None, 0, &[], &[])), Fine, "no write rule");
    expect(&rules(&found(None, 0, &["app"], &[])), Warn, "app");
    for (row, status, words) in [
        (None, Fine, "not known"),
        (Some(["off", "default", ""]), Fine, "may write"),
        (Some(["on", "configuration file", "/pg/postgresql.auto.conf"]), Fine, "will be reset"),
        (Some(["on", "configuration file", "/pg/postgresql.conf"]), Fail, "by configuration file /pg/postgresql.conf"),
        (Some(["on", "database", ""]), Fail, "by database"),
    ] {
        expect(&target_read_only(&found(row, 0, &[], &[])), status, words);
    }
}
