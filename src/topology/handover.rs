//! A planned change of the primary: another server is about to be promoted, and the one that it replaces takes no writes any more
//! but goes on saying that it is the primary.
//!
//! Until the other one is seen to be it, the old one stays the primary, and serves reads. From then on its claim does not count,
//! and neither does it later, up to the timeline on which it was replaced: it may be left running, and the proxy may be started
//! again beside it.

use std::sync::PoisonError;

use super::cluster::Cluster;
use super::election::{Claim, Objection};
use super::server::Role;

impl Cluster {
    /// Number `to` is about to become the primary in the place of number `from`.
    pub fn begin_handover(&self, from: usize, to: usize) {
        // Whatever it was before, it is a replica now.
        self.upstreams.iter().enumerate().filter(|(at, _)| *at == to).for_each(|(_, one)| one.forget_retirement());
        *self.handover.lock().unwrap_or_else(PoisonError::into_inner) = Some((from, to));
    }

    /// Of several primaries that one is used from now on. The handover is still to be ended.
    pub fn use_primary(&self, to: usize) {
        self.begin_handover(to, to);
        self.elect_again();
    }

    /// The server that is used as long as a handover between several primaries goes on, whatever their settings are meanwhile.
    pub(super) fn held_primary(&self, claims: &[Claim]) -> Option<usize> {
        let (from, _) = (*self.handover.lock().unwrap_or_else(PoisonError::into_inner))?;
        claims.iter().map(|claim| claim.at).find(|at| *at == from)
    }

    /// That is over: the old one is not the primary any more up to that timeline, or nothing has come of it.
    pub fn end_handover(&self, timeline: Option<u32>) {
        let ended = self.handover.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let (Some((from, _)), Some(timeline)) = (ended, timeline) {
            self.retire_server(from, timeline);
        }
        self.elect_again();
    }

    /// Whether the primary is about to be another one.
    pub fn is_handing_over(&self) -> bool {
        self.handover.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Up to that timeline a server is not the primary, whatever it says.
    pub fn retire_server(&self, at: usize, timeline: u32) {
        if let Some(upstream) = self.upstreams.get(at) {
            upstream.retire(timeline);
        }
    }

    /// Has both looked at now, and says whether the new one is known as the primary.
    pub fn look_for(&self, to: usize) -> bool {
        let is_it = self.primary() == Some(to);
        if !is_it && let Some(upstream) = self.upstreams.get(to) {
            upstream.look_now();
        }
        is_it
    }

    /// The number of a server, by its address as SHOW UPSTREAMS prints it, or by its host alone where only one has it.
    pub fn find_server(&self, name: &str) -> Option<usize> {
        if let Some(at) = self.upstreams.iter().position(|one| one.address.to_string() == name) {
            return Some(at);
        }
        let mut by_host = self.upstreams.iter().enumerate().filter(|(_, one)| one.address.host_words() == name);
        match (by_host.next(), by_host.next()) {
            (Some((at, _)), None) => Some(at),
            _ => None,
        }
    }

    /// The claims, with that of a server doubted whose successor has made one.
    pub(super) fn without_its_predecessor(&self, mut claims: Vec<Claim>) -> Vec<Claim> {
        let handover = *self.handover.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((from, to)) = handover
            // It may have been away and have come back meanwhile: it is the one that was to be promoted all the same.
            && claims.iter().any(|claim| claim.at == to && claim.doubt != Objection::Superseded)
        {
            let old = claims.iter_mut().filter(|claim| claim.at == from);
            old.for_each(|claim| claim.doubt = Objection::Superseded);
        }
        claims
    }

    /// Whether a server says that it is the primary.
    pub fn claims_to_be_primary(&self, at: usize) -> bool {
        self.upstreams.get(at).is_some_and(|one| one.role() == Role::Primary)
    }
}

#[cfg(test)]
mod tests {
    use crate::topology::cluster::tests::{cluster, look};
    use crate::topology::server::{Look, Role};
    use crate::topology::state::Silence;

    fn promoted(timeline: u32) -> Look {
        Look { timeline, ..look(Role::Primary, 100) }
    }

    #[test]
    fn the_old_primary_leads_until_its_successor_is_seen_and_then_never_again() {
        let cluster = cluster(&[(Role::Primary, 100), (Role::Replica, 100)]);
        cluster.seen(0, &promoted(1));
        cluster.begin_handover(0, 1);
        cluster.seen(0, &promoted(1));
        assert_eq!(cluster.primary(), Some(0));
        cluster.seen(1, &promoted(2));
        assert_eq!((cluster.primary(), cluster.is_contested()), (Some(1), false));
        cluster.end_handover(Some(1));
        cluster.seen(0, &promoted(1));
        assert_eq!((cluster.primary(), cluster.has_rivals()), (Some(1), false));
        // Not when the new one is lost, either.
        cluster.lost(1, "gone", Silence::Gone);
        assert_eq!(cluster.primary(), None);
        // It follows, and is promoted in its turn.
        cluster.seen(1, &promoted(2));
        cluster.seen(0, &look(Role::Replica, 100));
        cluster.begin_handover(1, 0);
        cluster.seen(0, &promoted(3));
        cluster.end_handover(Some(2));
        assert_eq!((cluster.primary(), cluster.is_contested()), (Some(0), false));
    }

    #[test]
    fn a_successor_that_was_away_while_it_was_promoted_is_not_contested() {
        let cluster = cluster(&[(Role::Primary, 100), (Role::Replica, 100)]);
        cluster.seen(0, &promoted(1));
        cluster.begin_handover(0, 1);
        cluster.lost(1, "gone", Silence::Gone);
        cluster.seen(1, &promoted(2));
        assert_eq!((cluster.primary(), cluster.is_contested()), (Some(1), false));
    }

    #[test]
    fn a_restart_knows_which_one_was_replaced_and_a_handover_that_failed_changes_nothing() {
        let cluster = cluster(&[(Role::Unknown, 0), (Role::Unknown, 0)]);
        cluster.retire_server(0, 1);
        cluster.seen(0, &promoted(1));
        assert_eq!(cluster.primary(), None);
        cluster.seen(1, &promoted(2));
        assert_eq!((cluster.primary(), cluster.is_contested()), (Some(1), false));

        cluster.seen(0, &look(Role::Replica, 100));
        cluster.begin_handover(1, 0);
        cluster.end_handover(None);
        cluster.seen(1, &promoted(2));
        assert_eq!(cluster.primary(), Some(1));
    }

    #[test]
    fn of_several_primaries_the_one_that_is_left_is_used_until_the_other_one_is_up() {
        let cluster = cluster(&[(Role::Primary, 100), (Role::Primary, 100)]).with_several_primaries(true);
        cluster.elect_again();
        assert_eq!(cluster.primary(), Some(0));
        cluster.begin_handover(0, 1);
        let down = Look { read_only: true, ..look(Role::Primary, 100) };
        cluster.seen(0, &down);
        assert_eq!(cluster.primary(), Some(0));
        cluster.use_primary(1);
        assert_eq!(cluster.primary(), Some(1));
        cluster.end_handover(None);
        assert_eq!(cluster.primary(), Some(1));
        cluster.seen(0, &look(Role::Primary, 100));
        assert_eq!(cluster.primary(), Some(1));
    }
}
