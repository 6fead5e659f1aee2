//! What a cluster can serve: whether its primary is lost for longer than a moment, and whether replicas can take its place for reads.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use jiff::Timestamp;

use super::cluster::Cluster;
use super::election::Leader;
use super::server::{Role, Upstream};
use super::state::{Loss, Silence};
use crate::gate::Lsn;

/// Since when a cluster has no primary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Absence {
    pub since: Instant,
    pub when: Timestamp,
    /// It has had one before, that is known.
    pub had: bool,
}

impl Absence {
    pub(super) fn begin(had: bool) -> Self {
        Self { since: Instant::now(), when: Timestamp::now(), had }
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Not enough is known to change anything.
    Undecided,
    /// A server takes writes, or several claim to, which the election deals with.
    Led,
    /// All its servers answer, and are replicas: it has had no primary for as long as it is watched.
    Replicas {
        /// Since when.
        since: Timestamp,
    },
    /// The primary is lost, and that is not over in a moment.
    Lost {
        /// Since when.
        since: Timestamp,
        /// The position that a replica must have replayed, if any can serve reads.
        replicas: Option<Lsn>,
    },
}

impl Cluster {
    /// What can be said now.
    pub fn outlook(&self, now: Instant) -> Outlook {
        if self.leader() != Leader::None {
            self.raise_served(None);
            return Outlook::Led;
        }
        let Some(absence) = self.absence() else { return Outlook::Undecided };
        let replicas = || self.upstreams.iter().filter(|one| one.role() == Role::Replica);
        if !absence.had && self.upstreams.iter().all(|one| one.role() == Role::Replica) {
            return Outlook::Replicas { since: absence.when };
        }
        let Some(after) = self.lost_after else { return Outlook::Undecided };
        let long = now.duration_since(absence.since) >= after;
        // A server that answers and does not let the monitor in may well be the primary.
        let may_lead = |one: &Upstream| one.outage().is_some_and(|outage| outage.kind == Silence::Refuses);
        let unknown = |one: &Upstream| one.role() == Role::Unknown;
        if !long || self.upstreams.iter().any(|one| may_lead(one) || unknown(one)) {
            return Outlook::Undecided;
        }
        let furthest = replicas().map(Upstream::lsn).max();
        let floor = self.raise_served(furthest);
        let serves = |one: &Upstream| match one.outage() {
            // It may be back in a moment.
            Some(outage) => one.was_replica() && outage.loss(Some(after), now) == Loss::Transient,
            None => one.role() == Role::Replica && one.lsn() >= floor,
        };
        let served = self.upstreams.iter().any(serves);
        Outlook::Lost { since: absence.when, replicas: served.then_some(floor) }
    }

    /// Notes how far the furthest replica is that may have served reads while the primary is lost; None: it is not lost any more.
    fn raise_served(&self, furthest: Option<Lsn>) -> Lsn {
        match furthest {
            Some(lsn) => Lsn(self.served.fetch_max(lsn.0, SeqCst).max(lsn.0)),
            None if self.leader() != Leader::None => {
                self.served.store(0, SeqCst);
                Lsn(0)
            }
            None => Lsn(self.served.load(SeqCst)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::topology::cluster::tests::{cluster, look};

    const LATER: Duration = Duration::from_secs(60);

    fn outlook(cluster: &Cluster) -> Outlook {
        cluster.outlook(Instant::now() + LATER)
    }

    fn lose(cluster: &Cluster, at: usize) {
        (0..3).for_each(|_| _ = cluster.lost(at, "gone", Silence::Gone));
    }

    #[test]
    fn a_cluster_of_replicas_is_known_at_once_and_a_lost_primary_after_a_while() {
        let only = cluster(&[(Role::Replica, 100), (Role::Replica, 90)]);
        assert!(matches!(only.outlook(Instant::now()), Outlook::Replicas { .. }));
        let lost = cluster(&[(Role::Primary, 100), (Role::Replica, 90)]);
        assert_eq!(outlook(&lost), Outlook::Led);
        lose(&lost, 0);
        assert_eq!(lost.outlook(Instant::now()), Outlook::Undecided, "a moment");
        assert!(matches!(outlook(&lost), Outlook::Lost { replicas: Some(Lsn(90)), .. }));
        lost.seen(1, &look(Role::Primary, 95));
        assert_eq!(outlook(&lost), Outlook::Led);
    }

    #[test]
    fn reads_do_not_step_back_when_the_furthest_replica_is_lost_too() {
        let cluster = cluster(&[(Role::Primary, 100), (Role::Replica, 95), (Role::Replica, 90)]);
        lose(&cluster, 0);
        assert!(matches!(outlook(&cluster), Outlook::Lost { replicas: Some(Lsn(95)), .. }));
        lose(&cluster, 1);
        let soon = cluster.outlook(Instant::now() + Duration::from_secs(11));
        assert!(matches!(soon, Outlook::Lost { replicas: None, .. }), "{soon:?}");
        cluster.seen(2, &look(Role::Replica, 95));
        assert!(matches!(outlook(&cluster), Outlook::Lost { replicas: Some(Lsn(95)), .. }));
    }

    #[test]
    fn a_server_that_answers_and_lets_nobody_in_is_not_lost() {
        let cluster = cluster(&[(Role::Primary, 100)]);
        lose(&cluster, 0);
        cluster.refused(0, "too many connections", false);
        assert_eq!(outlook(&cluster), Outlook::Undecided);
        lose(&cluster, 0);
        assert!(matches!(outlook(&cluster), Outlook::Lost { replicas: None, .. }));
    }
}
