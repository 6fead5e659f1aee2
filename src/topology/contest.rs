//! Several servers claim to be the primary: whether it can be known which of them is right.
//!
//! The newer timeline of one and the same cluster wins if the others have received no write through this proxy since: then nothing
//! is lost by leaving them. A person may decide as well. Else nobody does, and nothing is written to any of them.

use std::sync::PoisonError;

use super::cluster::Cluster;
use super::election::Leader;
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

    /// A person says which one is the primary. Holds until it makes no claim any more, or no other does.
    ///
    /// # Errors
    /// There is nothing to decide.
    pub fn decide(&self, host: &str) -> Result<usize, NotDecided> {
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
        }
        *self.decided.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
        self.elect_again();
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::server::Address;
    use crate::topology::cluster::tests::{cluster, look};
    use crate::topology::server::{Instance, Look};
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
        assert_eq!((cluster.decide("h:2"), cluster.primary()), (Ok(1), Some(1)));
        cluster.seen(0, &look(Role::Primary, 101));
        assert_eq!(cluster.primary(), Some(1));
        assert_eq!((cluster.decide("h:1"), cluster.primary()), (Ok(0), Some(0)), "and may think better of it");
        cluster.seen(1, &look(Role::Replica, 100));
        cluster.seen(1, &look(Role::Primary, 100));
        assert!(cluster.is_contested(), "what was decided was about another contest");
    }
}
