//! pgbench in every protocol, with and without a connection for each transaction, and through a maintenance.

use std::process::Command;

use crate::stand::{Stand, fail, succeed};

fn pgbench(stand: &Stand, args: &[&str]) -> Command {
    let mut pgbench = stand.tool("pgbench", "pgbench");
    pgbench.args(args);
    pgbench
}

#[test]
fn every_mode() {
    let stand = Stand::shared();
    succeed(&mut pgbench(&stand, &["-i", "-s", "1", "-q"]));
    let run = |args: &[&str], count: usize| {
        let said = succeed(&mut pgbench(&stand, &[args, &["-n"]].concat()));
        assert!(said.contains(&format!("actually processed: {count}/{count}\n")), "{args:?}: {said}");
        assert!(said.contains("number of failed transactions: 0 "), "{args:?}: {said}");
    };
    for mode in ["simple", "extended", "prepared"] {
        run(&["-M", mode, "-c", "6", "-j", "2", "-t", "40"], 240);
        run(&["-M", mode, "-S", "-c", "6", "-j", "2", "-t", "100"], 600);
        run(&["-M", mode, "-C", "-c", "3", "-t", "5"], 15);
    }
    let sums = "select (select sum(abalance) from pgbench_accounts) = (select sum(delta) from pgbench_history), \
                count(*) from pgbench_history";
    assert_eq!(stand.cluster.primary().psql_in("pgbench", sums).unwrap(), format!("t|{}", 3 * (240 + 15)));

    stand.maintenance_on("pgbench");
    for mode in ["simple", "extended", "prepared"] {
        run(&["-M", mode, "-S", "-c", "6", "-j", "2", "-t", "50"], 300);
        run(&["-M", mode, "-S", "-C", "-c", "2", "-t", "5"], 10);
        let said = fail(&mut pgbench(&stand, &["-M", mode, "-n", "-c", "2", "-t", "5"]));
        assert!(said.contains("ERROR:  cannot execute UPDATE in a read-only transaction"), "{mode}: {said}");
    }
    stand.maintenance_off("pgbench");
    run(&["-M", "prepared", "-c", "6", "-j", "2", "-t", "10"], 60);
    assert!(stand.server_connections("pgbench") <= 2);
}
