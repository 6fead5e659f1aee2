//! What is refused beforehand is no move, and a move that was begun ends: neither is in the way of the next command.

use pgsluice_fixtures::wait;

use crate::stand::{LONG, Stand, ask};

#[test]
fn what_is_refused_beforehand_is_no_move_and_is_in_nobodys_way() {
    let mut stand = Stand::new();
    let (primary, replica) = (stand.name(0), stand.name(1));
    let wrong = [
        "SWITCHOVER nosuch TO x".to_owned(),
        "SWITCHOVER app TO nosuch".to_owned(),
        format!("SWITCHOVER app TO '{primary}'"),
        format!("SWITCHOVER app TO '{replica}' WITH (timeout 'soon')"),
        format!("ACTIVATE app ON '{replica}'"),
    ];
    for sql in &wrong {
        let answer = stand.command(sql);
        assert!(!answer.sqlstate.is_empty() && answer.sqlstate != "55006", "{sql}: {}", answer.message);
    }
    assert!(stand.command("SHOW MOVES").rows.is_empty() && stand.command("SHOW MOVE").rows.is_empty());
    // Nobody is configured who could log in: watched through what clients come with, or not at all.
    let without =
        stand.config.replace("monitor_user = \"monitor\"\n", "").replace("switchover_user = \"switcher\"\n", "");
    assert!(!without.contains("monitor_user") && !without.contains("switchover_user"));
    stand.proxy.reconfigure(&without).unwrap();
    stand.command("RELOAD").fine();
    for _ in 0..2 {
        let answer = stand.switch_to(1, "");
        assert_eq!(answer.sqlstate, "55000", "{}", answer.message);
        let moves = stand.command("SHOW MOVES").rows;
        assert!(moves.iter().all(|row| row[5] == "failed"), "{moves:?}");
    }
    stand.command("MAINTENANCE ON app").fine();
    stand.command("MAINTENANCE OFF app").fine();
    // The role for moves is enough: it needs no monitor's role beside it.
    let own = without.replace("[clusters.main]\n", "[clusters.main]\nswitchover_user = \"switcher\"\n");
    stand.proxy.reconfigure(&own).unwrap();
    stand.command("RELOAD").fine();
    ask(&mut stand.client("app"), "SELECT 1").fine();
    stand.wait_for_roles(&["primary", "replica"]);
    stand.switch_to(1, "").fine();
    assert!(stand.writes(1).sqlstate.is_empty() && stand.is_writable(1));
}

#[test]
fn a_restart_without_the_servers_of_a_move_waits_for_them_and_the_move_can_be_given_up() {
    for gives_up in [true, false] {
        let mut stand = Stand::new();
        let mut slow = stand.client("app");
        ask(&mut slow, "BEGIN; INSERT INTO written VALUES (-1)").fine();
        let switch = stand.begin_switch_to(1, "WITH (drain_timeout '30s')");
        stand.wait_for_step("hold");
        stand.proxy.kill_9();
        switch.join().unwrap();
        let without = stand.config.replace(&format!(", \"{}\"", stand.name(1)), "");
        let whole = std::mem::replace(&mut stand.config, without);
        stand.proxy.reconfigure(&stand.config).unwrap();
        stand.proxy.start_again().unwrap();
        let told = wait::until(LONG, "what it lacks", || {
            let answer = stand.command("SHOW MOVE app");
            answer.rows.iter().any(|row| row[2] == "configuration").then_some(answer)
        });
        let last = told.rows.last().unwrap();
        assert_eq!((&*last[3], &*last[1]), ("running", "hold"));
        assert_eq!(stand.command("MAINTENANCE ON app").sqlstate, "55006");
        // Whether the gates had begun to close when the process was killed is not known: at this step it goes back either way.
        if gives_up {
            stand.command("MAINTENANCE OFF *").fine();
            assert_eq!(stand.last_move(), ("hold".into(), "failed".into()));
        } else {
            stand.proxy.reconfigure(&whole).unwrap();
            stand.command("RELOAD").fine();
            assert_eq!(stand.wait_for_end(), ("back".into(), "failed".into()));
        }
        stand.wait_until_open();
        assert!(stand.writes(2).sqlstate.is_empty() && stand.is_writable(0) && !stand.is_writable(1));
        assert_eq!(stand.ids(0), [2]);
    }
}
