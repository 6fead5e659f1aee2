//! Tests of the cluster.

use super::*;
use crate::topology::server::Instance;

pub(in crate::topology) fn look(role: Role, lsn: u64) -> Look {
    Look {
        number: 1,
        role,
        lsn: Lsn(lsn),
        inserted: Lsn(lsn),
        timeline: 1,
        lag: Duration::ZERO,
        version: 150_000,
        read_only: false,
    }
}

pub(in crate::topology) fn cluster(roles: &[(Role, u64)]) -> Cluster {
    let addresses = roles.iter().map(|_| Address::Tcp { host: "h".into(), port: 1 }).collect();
    let cluster = Cluster::new("c".into(), addresses, 100, Duration::ZERO, Some(Duration::from_secs(10)));
    for (at, (role, lsn)) in roles.iter().enumerate() {
        cluster.seen(at, &look(*role, *lsn));
    }
    cluster
}

#[test]
fn two_primaries_are_none() {
    assert_eq!(cluster(&[(Role::Replica, 1), (Role::Primary, 1)]).primary(), Some(1));
    let contested = cluster(&[(Role::Primary, 1), (Role::Primary, 1)]);
    assert_eq!(contested.primary(), None);
    assert!(contested.is_contested());
    assert_eq!(contested.standing(Some(0)), Standing::Contested);
}

#[test]
fn a_replica_is_fit_by_lag_and_by_position() {
    let cluster = cluster(&[(Role::Primary, 1000), (Role::Replica, 950), (Role::Replica, 850), (Role::Replica, 960)]);
    let mut avoid = Avoid::default();
    assert_eq!(cluster.replica(Some(Lsn(955)), avoid), Some(3));
    assert_eq!(cluster.replica(Some(Lsn(990)), avoid), None);
    assert_eq!(cluster.replica(None, avoid), Some(1));
    avoid.add(1);
    assert_eq!(cluster.replica(None, avoid), Some(3));
    cluster.lost(3, "gone", Silence::Gone);
    assert_eq!(cluster.replica(None, avoid), None, "the third is too far behind");
    assert_eq!(cluster.replica(Some(Lsn(1)), avoid), None, "in maintenance too");
}

#[test]
fn what_a_dead_primary_had_not_on_disk_is_not_asked_of_replicas() {
    let cluster = cluster(&[(Role::Primary, 90), (Role::Replica, 100)]);
    assert_eq!(cluster.read_floor(Lsn(120)), Some(Lsn(120)), "nothing was seen of a disk");
    cluster.seen(0, &Look { inserted: Lsn(120), ..look(Role::Primary, 100) });
    assert_eq!(cluster.read_floor(Lsn(120)), Some(Lsn(120)), "the primary will write it");
    cluster.lost(0, "gone", Silence::Gone);
    assert_eq!(cluster.read_floor(Lsn(120)), Some(Lsn(100)));
    assert_eq!(cluster.read_floor(Lsn(95)), Some(Lsn(95)));
}

#[test]
fn what_an_old_primary_commits_does_not_count_once_another_was_promoted() {
    let addresses = [1, 2].map(|port| Address::Tcp { host: "h".into(), port }).to_vec();
    let cluster = Cluster::new("c".into(), addresses, 0, Duration::ZERO, None);
    assert_eq!((cluster.may_still_commit("h:1"), cluster.may_still_commit("h:3")), (Some(true), None));
    cluster.seen(0, &look(Role::Primary, 1000));
    cluster.seen(1, &look(Role::Replica, 1000));
    assert_eq!((cluster.may_still_commit("h:1"), cluster.may_still_commit("h:2")), (Some(true), Some(false)));
    cluster.lost(0, "cut off", Silence::Gone);
    assert_eq!(cluster.may_still_commit("h:1"), Some(true), "nobody has taken its place");
    cluster.seen(1, &Look { timeline: 2, ..look(Role::Primary, 1000) });
    assert_eq!((cluster.may_still_commit("h:1"), cluster.may_still_commit("h:2")), (Some(false), Some(true)));
    cluster.lost(1, "cut off too", Silence::Gone);
    assert_eq!((cluster.may_still_commit("h:1"), cluster.may_still_commit("h:2")), (Some(false), Some(true)));
    cluster.seen(0, &Look { timeline: 3, ..look(Role::Primary, 1001) });
    assert_eq!(cluster.may_still_commit("h:1"), Some(true), "it is the primary again");
}

#[test]
fn what_runs_on_a_server_is_counted_where_it_began() {
    let cluster = cluster(&[(Role::Primary, 1000), (Role::Replica, 950), (Role::Replica, 950)]);
    let first = cluster.upstreams[1].lend();
    assert_eq!((cluster.upstreams[1].busy(), cluster.replica(None, Avoid::default())), (1, Some(2)));
    drop(first);
    assert_eq!(cluster.upstreams[1].busy(), 0);
}

#[test]
fn connections_are_out_of_date_as_soon_as_their_server_is_lost_or_contested() {
    let cluster = cluster(&[(Role::Primary, 1000), (Role::Replica, 950)]);
    let turns = |at: usize| cluster.upstreams[at].watch.turns();
    let before = (turns(0), turns(1));
    assert!(!cluster.seen(0, &look(Role::Primary, 1001)));
    assert_eq!((turns(0), turns(1)), before);
    assert!(cluster.seen(1, &look(Role::Primary, 1001)));
    assert!(turns(0) > before.0 && turns(1) > before.1);
    assert_eq!(cluster.primary(), None);
    let contested = turns(0);
    assert!(cluster.lost(1, "gone", Silence::Gone));
    assert_eq!(cluster.primary(), Some(0));
    assert!(turns(0) > contested);
    assert!(cluster.lost(0, "gone", Silence::Gone) && !cluster.lost(0, "gone", Silence::Gone));
    assert_eq!(cluster.standing(Some(0)), Standing::Lost);
}

#[test]
fn one_that_comes_back_is_the_primary_once_the_others_have_been_asked_since() {
    let cluster = cluster(&[(Role::Primary, 1000), (Role::Replica, 1000)]);
    let under_way = cluster.upstreams[1].begin_look();
    cluster.lost(0, "gone", Silence::Gone);
    cluster.seen(0, &look(Role::Primary, 1000));
    assert_eq!((cluster.primary(), cluster.standing(Some(0))), (None, Standing::Lost));
    cluster.upstreams[1].end_look(under_way);
    cluster.seen(1, &look(Role::Replica, 1000));
    assert_eq!(cluster.primary(), None, "that look may have been before the other's promotion");
    let after = cluster.upstreams[1].begin_look();
    cluster.upstreams[1].end_look(after);
    cluster.seen(1, &look(Role::Replica, 1000));
    assert_eq!(cluster.primary(), Some(0));
    // The same if the other one was promoted, does not let the monitor in, or is lost.
    for (what, expected) in [("refused", Some(0)), ("lost", Some(0)), ("promoted", Some(1))] {
        cluster.seen(1, &look(Role::Replica, 1000));
        cluster.lost(0, "gone", Silence::Gone);
        cluster.seen(0, &look(Role::Primary, 1000));
        assert_eq!(cluster.primary(), None, "{what}");
        let number = cluster.upstreams[1].begin_look();
        cluster.upstreams[1].end_look(number);
        match what {
            "promoted" => cluster.seen(1, &Look { timeline: 2, ..look(Role::Primary, 1000) }),
            "refused" => cluster.refused(1, "too many connections", false),
            _ => cluster.lost(1, "gone", Silence::Gone),
        };
        assert_eq!(cluster.primary(), expected, "{what}");
    }
    assert!(!cluster.is_contested() && cluster.is_disputed(0));
}

#[test]
fn one_that_has_come_back_and_was_chosen_is_contested_like_any_other() {
    let cluster = cluster(&[(Role::Primary, 1000), (Role::Replica, 1000)]);
    cluster.lost(0, "gone", Silence::Gone);
    cluster.seen(0, &look(Role::Primary, 1000));
    let number = cluster.upstreams[1].begin_look();
    cluster.upstreams[1].end_look(number);
    cluster.seen(1, &look(Role::Replica, 1000));
    assert_eq!(cluster.primary(), Some(0));
    cluster.seen(1, &Look { timeline: 2, ..look(Role::Primary, 1000) });
    assert!(cluster.is_contested(), "both may have been written to");
}

#[test]
fn a_server_that_does_not_let_the_monitor_in_is_not_lost() {
    let cluster = cluster(&[(Role::Primary, 1000)]);
    assert!(!cluster.refused(0, "too many connections", false));
    assert_eq!((cluster.primary(), cluster.upstreams[0].error().as_str()), (Some(0), "too many connections"));
    assert!(cluster.lost(0, "gone", Silence::Gone) && !cluster.refused(0, "too many connections", false));
    assert_eq!(cluster.primary(), None);
}

#[test]
fn a_leader_that_says_which_server_it_is_stays_the_leader_and_is_counted_once() {
    let cluster = cluster(&[(Role::Primary, 1000), (Role::Replica, 1000)]);
    let say = |at: usize, words: &str| {
        cluster.upstreams[at].put_instance(Some(Instance { words: words.to_owned(), primary: true }));
    };
    say(0, "7 1");
    say(1, "7 2");
    for _ in 0..3 {
        cluster.seen(0, &look(Role::Primary, 1001));
        assert_eq!(cluster.primary(), Some(0));
    }
    cluster.seen(1, &Look { timeline: 2, ..look(Role::Primary, 1001) });
    assert!(cluster.is_contested());
    // Another address of the same server is no other server.
    say(1, "7 1");
    cluster.seen(1, &look(Role::Primary, 1001));
    assert_eq!(cluster.primary(), Some(0));
}
