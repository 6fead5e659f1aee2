//! Programs of an operator's that fence and promote, and what they are trusted with.

use pgsluice_fixtures::cluster::Mode;

use crate::load::{Load, nothing_lost_or_doubled};
use crate::stand::{Stand, follow, script, signal};

/// Stops the old primary as pg_ctl does, by its postmaster's signal.
fn stops(stand: &Stand) -> String {
    let pid = stand.server(0).data_dir().join("postmaster.pid");
    script(stand.proxy.dir(), "stop", &format!("kill -INT $(head -1 {}) && echo \"stopped $1\"", pid.display()))
}

#[test]
fn a_program_stops_the_old_primary_which_then_follows_without_pg_rewind() {
    let stand = Stand::with("fence_command = [\"/bin/sh\", \"stop\", \"{host};{target_port}\"]\n");
    stops(&stand);
    let load = Load::start(&stand.proxy.tcp(), 6, 0);
    load.wait_for_more(30);
    let answer = stand.switch_to(1, "").fine();
    let fence = &answer.row("fence")[5];
    assert!(fence.contains(&format!("stopped 127.0.0.1;{}", stand.server(1).port())), "{fence}");
    load.wait_for_more(30);
    let seen = load.stop();
    assert!(seen.errors.is_empty(), "{:?}", seen.errors);
    nothing_lost_or_doubled(&seen, stand.ids(1));
    stand.server(0).stop(Mode::Fast).unwrap();
    follow(stand.server(0), stand.server(1));
    stand.wait_for_roles(&["replica", "primary"]);
}

#[test]
fn a_program_that_fails_or_fences_nothing_leads_back() {
    for (command, words) in [
        ("[\"/bin/false\"]", "fence_command has failed"),
        ("[\"/nowhere/at/all\"]", "cannot be started"),
        ("[\"/bin/sleep\", \"60\"]", "did not end"),
        ("[\"/bin/true\"]", "takes writes"),
    ] {
        let stand = Stand::with(&format!("fence_command = {command}\ncommand_timeout = \"1s\"\n"));
        let answer = stand.switch_to(1, "");
        assert!(answer.message.contains(words), "{command}: {}", answer.message);
        stand.wait_until_open();
        assert!(stand.writes(1).sqlstate.is_empty() && stand.is_writable(0), "{command}");
        assert_eq!(stand.last_move(), ("back".into(), "failed".into()));
    }
}

#[test]
fn a_promotion_program_that_fails_leads_back_and_one_that_works_is_waited_for() {
    let stand = Stand::with("promote_command = [\"/bin/sh\", \"promote\", \"{target_port}\"]\n");
    let dir = stand.proxy.dir().to_owned();
    script(&dir, "promote", "exit 7");
    let answer = stand.switch_to(1, "");
    assert!(answer.message.contains("promote_command has failed"), "{}", answer.message);
    stand.wait_until_open();
    assert!(stand.writes(1).sqlstate.is_empty() && stand.is_writable(0));

    let psql = stand.cluster.installation().program("psql").unwrap();
    let promote = format!("{} -h 127.0.0.1 -p $1 -U dba -d postgres -c 'select pg_promote(false)'", psql.display());
    script(&dir, "promote", &promote);
    stand.switch_to(1, "").fine();
    assert!(stand.writes(2).sqlstate.is_empty() && stand.is_writable(1) && !stand.is_writable(0));
    assert_eq!(stand.ids(1), [1, 2]);
}

#[test]
fn a_frozen_primary_is_not_taken_for_fenced_unless_a_program_makes_sure_of_it() {
    let stand = Stand::with("monitor_timeout = \"1s\"\nprimary_lost_after = \"0\"\n");
    let switch = {
        signal(stand.server(0), "-STOP");
        stand.begin_switch_to(1, "WITH (timeout '3s')")
    };
    let answer = switch.join().unwrap();
    assert!(!answer.sqlstate.is_empty(), "{:?}", answer.rows);
    assert!(!stand.is_writable(1), "the target is a replica still");
    signal(stand.server(0), "-CONT");
    stand.wait_until_open();
    assert!(stand.writes(1).sqlstate.is_empty() && stand.is_writable(0));
}
