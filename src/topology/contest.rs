//! Several servers claim to be the primary: whether it can be known which of them is right.
//!
//! The newer timeline of one and the same cluster wins if the others have received no write through this proxy since: then nothing
//! is lost by leaving them. A person may decide as well. Else nobody does, and nothing is written to any of them.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::SeqCst;

use super::cluster::Cluster;
use super::election::{Claim, Leader, Objection};
use super::server::{Role, Upstream};
use crate::events::{Kind, publish};

/// What the sessions of this proxy have written in a cluster's databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Transactions let in to write, since the start.
    pub begun: u64,
    /// Those that are open.
    pub open: u64,
}

impl Activity {
    /// Whether nothing was written from `before` on until now, what was open then included.
    fn none_since(self, before: Activity) -> bool {
        before.open == 0 && self.open == 0 && self.begun == before.begun
    }
}

/// What a person has asked for cannot be done.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDecided {
    /// There is no such server.
    #[error("the cluster has no server \"{0}\"")]
    Unknown(String),
    /// It does not claim to be the primary.
    #[error("{0} does not say that it is the primary")]
    NoClaim(String),
    /// Nobody disputes it.
    #[error("only one server says that it is the primary")]
    Undisputed,
}

impl Cluster {
    /// Whether the newest of several that claim to be the primary can be told from the others, by what was written since it was last
    /// seen as a replica. Gives its number.
    pub fn newest_claim(&self, now: Activity) -> Option<usize> {
        if !self.is_contested() {
            return None;
        }
        let claims = || self.upstreams.iter().enumerate().filter(|(_, one)| one.role() == Role::Primary);
        let (at, newest) = claims().max_by_key(|(_, one)| one.timeline())?;
        let identifier = newest.system_identifier()?;
        let is_older = |one: &Upstream| {
            let timeline = one.timeline();
            timeline != 0 && timeline < newest.timeline() && one.system_identifier().as_ref() == Some(&identifier)
        };
        let others = claims().filter(|(other, _)| *other != at).all(|(_, one)| is_older(one));
        let quiet = newest.before_promotion().is_some_and(|before| now.none_since(before));
        (others && quiet).then_some(at)
    }

    /// The other servers have received no write since that one was promoted: they do not count any more.
    pub fn settle_contest(&self, at: usize) -> bool {
        for (_, other) in self.upstreams.iter().enumerate().filter(|(other, _)| *other != at) {
            other.note_superseded(other.role() == Role::Primary);
        }
        let text = "the newer timeline is the primary: the other one has received no write since";
        publish!(self.events, warn, self.event(Kind::ContestSettled, self.upstreams.get(at), text));
        self.elect_again()
    }

    /// A server of that data was the primary on that timeline, in an earlier life of the process too: one that is on an older timeline
    /// and was not chosen since does not count.
    pub fn remember_primary(&self, system_identifier: String, timeline: u32) {
        self.newest.fetch_max(timeline, SeqCst);
        // It is told once, before anybody uses the cluster.
        let _ = self.remembered.set((system_identifier, timeline));
    }

    /// The data and the timeline of the server that is used as the primary now; None where nobody may be asked, or none is used.
    pub fn latest_primary(&self) -> Option<(String, u32)> {
        let primary = self.upstreams.get(self.primary()?)?;
        primary.system_identifier().zip(Some(primary.timeline()).filter(|timeline| *timeline != 0))
    }

    /// Whether an earlier life of the process has seen a primary that was further than that server is.
    fn is_of_before(&self, claim: &Claim) -> bool {
        let Some(((identifier, timeline), one)) = self.remembered.get().zip(self.upstreams.get(claim.at)) else {
            return false;
        };
        let is_same = one.system_identifier().is_none_or(|known| known == *identifier);
        is_same && !one.was_chosen() && (1..*timeline).contains(&claim.timeline)
    }

    /// The claims, with what counts against them by what an earlier life of the process has seen.
    pub(super) fn with_objections_of_before(&self, mut claims: Vec<Claim>) -> Vec<Claim> {
        for claim in claims.iter_mut().filter(|claim| claim.doubt == Objection::None) {
            if self.is_of_before(claim) {
                claim.doubt = Objection::Returned;
            }
        }
        claims
    }

    /// The claims, with nothing counted against the only one where all other servers are replicas that are no further than it: whoever
    /// was promoted in its place has been made a replica again, and what it had written is given up.
    pub(super) fn without_outlived_objections(&self, mut claims: Vec<Claim>) -> Vec<Claim> {
        if let [claim] = claims.as_mut_slice()
            && claim.doubt != Objection::None
            && self.is_followed_by_all(claim.at, claim.timeline)
        {
            claim.doubt = Objection::None;
        }
        claims
    }

    /// Whether all others are replicas that receive that timeline, or an older one.
    fn is_followed_by_all(&self, at: usize, timeline: u32) -> bool {
        let others = || self.upstreams.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, one)| one);
        let receives = |one: &Upstream| one.facts().follows.is_some_and(|received| received <= timeline);
        let follows = |one: &Upstream| one.role() == Role::Replica && receives(one);
        others().all(follows)
    }

    /// A person says which one is the primary. The claims of the others do not count from now on, up to the timelines that they are
    /// on, and nothing of what happened before counts against it. Gives its number, and those timelines by the others' numbers.
    ///
    /// # Errors
    /// There is nothing to decide.
    pub fn decide(&self, host: &str) -> Result<(usize, Vec<(usize, u32)>), NotDecided> {
        let is = |one: &Upstream| one.address.to_string() == host || one.address.host_words() == host;
        let at = self.upstreams.iter().position(|one| is(one) && one.role() == Role::Primary);
        let Some(at) = at else {
            let known = self.upstreams.iter().any(is);
            return Err(if known { NotDecided::NoClaim(host.into()) } else { NotDecided::Unknown(host.into()) });
        };
        let claims = self.upstreams.iter().filter(|one| one.role() == Role::Primary).count();
        if claims < 2 && self.leader() == Leader::One(at) {
            return Err(NotDecided::Undisputed);
        }
        if let Some(upstream) = self.upstreams.get(at) {
            upstream.forget_retirement();
            upstream.note_superseded(false);
            upstream.settle();
        }
        let last_claim = |(other, one): (usize, &Upstream)| {
            let timeline = match one.role() {
                Role::Replica => return None,
                Role::Primary => one.timeline(),
                // It may come back with what it claimed before, in an earlier life of this process too.
                Role::Unknown | Role::Down => self.newest.load(SeqCst),
            };
            (other != at && timeline != 0 && !self.has_several_primaries()).then_some((other, timeline))
        };
        let rivals: Vec<(usize, u32)> = self.upstreams.iter().enumerate().filter_map(last_claim).collect();
        rivals.iter().for_each(|(other, timeline)| self.retire_server(*other, *timeline));
        // For those whose timeline is not known.
        *self.decided.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
        self.elect_again();
        Ok((at, rivals))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::server::Address;
    use crate::topology::cluster::tests::{cluster, look};
    use crate::topology::server::{Facts, Instance, Look};
    use crate::topology::state::Silence;

    fn activity(begun: u64, open: u64) -> Activity {
        Activity { begun, open }
    }

    fn contested(before: Activity, identifiers: [&str; 2]) -> Cluster {
        let cluster = cluster(&[(Role::Primary, 100), (Role::Replica, 100)]);
        for (at, words) in identifiers.into_iter().enumerate() {
            cluster.upstreams[at].put_instance(Some(Instance { words: format!("{words} {at}"), primary: true }));
        }
        cluster.upstreams[1].note_replica(before);
        cluster.seen(1, &Look { timeline: 2, ..look(Role::Primary, 100) });
        assert!(cluster.is_contested());
        cluster
    }

    #[test]
    fn the_newer_timeline_wins_if_the_other_has_received_no_write_since() {
        let cluster = contested(activity(5, 0), ["7", "7"]);
        assert_eq!(cluster.newest_claim(activity(5, 0)), Some(1));
        cluster.settle_contest(1);
        assert_eq!((cluster.primary(), cluster.is_disputed(0)), (Some(1), true));
        // Also after the next look at the other one; not if it has gone and come back with a newer timeline.
        cluster.seen(0, &look(Role::Primary, 100));
        assert_eq!(cluster.primary(), Some(1));
        cluster.lost(0, "gone", Silence::Gone);
        cluster.seen(0, &Look { timeline: 3, ..look(Role::Primary, 100) });
        assert!(cluster.is_contested());
    }

    #[test]
    fn it_does_not_win_after_a_write_an_open_transaction_or_in_another_cluster() {
        let quiet = activity(5, 0);
        assert_eq!(contested(quiet, ["7", "7"]).newest_claim(activity(6, 0)), None);
        assert_eq!(contested(quiet, ["7", "7"]).newest_claim(activity(5, 1)), None);
        assert_eq!(contested(activity(5, 1), ["7", "7"]).newest_claim(activity(5, 0)), None);
        assert_eq!(contested(quiet, ["7", "8"]).newest_claim(quiet), None);
    }

    #[test]
    fn a_person_decides_until_the_contest_is_over() {
        let addresses = [1, 2].map(|port| Address::Tcp { host: "h".into(), port }).to_vec();
        let cluster = Cluster::new("c".into(), addresses, 0, Duration::ZERO, None);
        cluster.seen(0, &look(Role::Primary, 100));
        assert_eq!(cluster.decide("h:1"), Err(NotDecided::Undisputed));
        assert_eq!(cluster.decide("h:2"), Err(NotDecided::NoClaim("h:2".into())));
        assert_eq!(cluster.decide("x"), Err(NotDecided::Unknown("x".into())));
        cluster.seen(1, &look(Role::Primary, 100));
        assert_eq!((cluster.decide("h:2"), cluster.primary()), (Ok((1, vec![(0, 1)])), Some(1)));
        cluster.seen(0, &look(Role::Primary, 101));
        assert_eq!(cluster.primary(), Some(1));
        assert_eq!(
            (cluster.decide("h:1"), cluster.primary()),
            (Ok((0, vec![(1, 1)])), Some(0)),
            "and may think better of it"
        );
        cluster.lost(1, "gone", Silence::Gone);
        cluster.seen(1, &look(Role::Primary, 102));
        assert_eq!(cluster.primary(), Some(0), "it makes the same claim again");
        cluster.seen(1, &look(Role::Replica, 100));
        cluster.seen(1, &look(Role::Primary, 100));
        assert!(cluster.is_contested(), "what was decided was about another contest");
    }

    #[test]
    fn one_that_was_promoted_and_is_a_replica_again_leaves_nothing_against_the_primary_of_before() {
        let back = |cluster: &Cluster, timeline| {
            cluster.lost(1, "gone", Silence::Gone);
            cluster.seen(0, &look(Role::Primary, 100));
            assert_eq!(cluster.primary(), None, "nobody knows what the other one has taken");
            cluster.upstreams[1].put_facts(Facts { follows: Some(timeline), ..Facts::default() });
            cluster.seen(1, &look(Role::Replica, 100));
            cluster.seen(0, &look(Role::Primary, 100));
            cluster.primary()
        };
        let settled = || {
            let cluster = contested(activity(5, 0), ["7", "7"]);
            cluster.settle_contest(1);
            cluster
        };
        assert_eq!(back(&settled(), 1), Some(0));
        assert_eq!(back(&settled(), 2), None, "it follows somebody else");
        // The primary of before was away while the other one was promoted.
        let failed_over = || {
            let cluster = cluster(&[(Role::Primary, 100), (Role::Replica, 100)]);
            cluster.lost(0, "gone", Silence::Gone);
            cluster.seen(1, &Look { timeline: 2, ..look(Role::Primary, 100) });
            cluster.seen(0, &look(Role::Primary, 100));
            assert_eq!(cluster.primary(), Some(1));
            cluster
        };
        assert_eq!(back(&failed_over(), 1), Some(0));
        // Or a person decides while the other one is gone.
        let cluster = failed_over();
        cluster.lost(1, "gone", Silence::Gone);
        assert_eq!(cluster.decide("h"), Ok((0, vec![(1, 2)])));
        assert_eq!(cluster.primary(), Some(0));
        cluster.seen(1, &Look { timeline: 2, ..look(Role::Primary, 100) });
        assert_eq!(cluster.primary(), Some(0), "what it claimed before does not count");
        cluster.seen(1, &Look { timeline: 2, ..look(Role::Replica, 100) });
        cluster.seen(1, &Look { timeline: 3, ..look(Role::Primary, 100) });
        assert!(cluster.is_contested(), "it was promoted once more");
    }

    #[test]
    fn a_restart_remembers_how_far_the_primary_had_come() {
        let fresh = |servers: &[(&str, Role, u32)]| {
            let addresses = (1..).map(|port| Address::Tcp { host: "h".into(), port }).take(servers.len()).collect();
            let cluster = Cluster::new("c".into(), addresses, 0, Duration::ZERO, None);
            cluster.remember_primary("7".into(), 2);
            for (at, (identifier, role, timeline)) in servers.iter().enumerate() {
                let words = format!("{identifier} {at}");
                cluster.upstreams[at].put_instance(Some(Instance { words, primary: *role == Role::Primary }));
                cluster.upstreams[at].put_facts(Facts { follows: Some(*timeline), ..Facts::default() });
                cluster.seen(at, &Look { timeline: *timeline, ..look(*role, 100) });
            }
            cluster
        };
        let (primary, replica) = (Role::Primary, Role::Replica);
        assert_eq!(fresh(&[("7", primary, 1), ("7", primary, 2)]).primary(), Some(1));
        assert_eq!(
            fresh(&[("7", primary, 1), ("7", replica, 2)]).primary(),
            None,
            "it waits for somebody else's promotion"
        );
        assert_eq!(fresh(&[("7", primary, 1), ("7", replica, 1)]).primary(), Some(0), "the other one was given up");
        assert_eq!(fresh(&[("8", primary, 1), ("7", replica, 2)]).primary(), Some(0), "other data");
        assert_eq!(fresh(&[("7", primary, 1)]).primary(), Some(0), "there is no other one");
        let cluster = fresh(&[("7", primary, 1), ("7", Role::Down, 0)]);
        assert_eq!((cluster.primary(), cluster.latest_primary()), (None, None));
        assert_eq!(cluster.decide("h:1"), Ok((0, vec![(1, 2)])));
        assert_eq!(cluster.latest_primary(), Some(("7".into(), 1)));
    }
}
