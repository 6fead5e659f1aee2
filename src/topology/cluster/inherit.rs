//! Another configuration of a cluster begins with what is known of the servers that it has in common with the one before.
//!
//! Until the new monitor has been answered that is the best there is: were it forgotten, a monitor that is not let in would take from
//! clients a primary that serves them.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::SeqCst;

use super::{Cluster, Leader, encode};
use crate::gate::Lsn;
use crate::topology::outlook::Absence;
use crate::topology::server::Upstream;

impl Cluster {
    /// Takes over what `old` knows of servers at the same addresses. Nobody uses `self` yet.
    pub fn inherit(&self, old: &Cluster) {
        let looks = old.upstreams.iter().map(Upstream::looks).max().unwrap_or(0);
        let mut here = HashMap::new();
        for (at, upstream) in self.upstreams.iter().enumerate() {
            // All looks at all servers begin after those of before: ends of writes that are numbered by those stay true.
            upstream.begin_looks_behind(looks);
            let known = old.upstreams.iter().enumerate().find(|(_, one)| one.address == upstream.address);
            if let Some((before, known)) = known {
                upstream.inherit(known);
                here.insert(before, at);
            }
        }
        let find = |at: usize| here.get(&at).copied();
        let leader = match old.leader() {
            Leader::None => Leader::None,
            Leader::One(at) => find(at).map_or(Leader::None, Leader::One),
            Leader::Contested(at) => find(at).map_or(Leader::None, Leader::Contested),
        };
        let absence = match (leader, old.absence()) {
            (Leader::One(_) | Leader::Contested(_), _) => None,
            // A server that is not named any more may have been the primary that was lost.
            (Leader::None, Some(absence)) if here.len() == old.upstreams.len() => Some(absence),
            (Leader::None, _) => Some(Absence::begin(false)),
        };
        if absence.is_none_or(|absence| absence.had) {
            for (mine, known) in [(&self.served, &old.served), (&self.on_disk, &old.on_disk)] {
                mine.store(known.load(SeqCst), SeqCst);
            }
            self.newest.store(old.newest.load(SeqCst), SeqCst);
        }
        *self.absence.lock().unwrap_or_else(PoisonError::into_inner) = absence;
        self.leader.store(encode(leader), SeqCst);
        let decided = *old.decided.lock().unwrap_or_else(PoisonError::into_inner);
        *self.decided.lock().unwrap_or_else(PoisonError::into_inner) = decided.and_then(find);
        let last = old.last_writes.lock().unwrap_or_else(PoisonError::into_inner).clone();
        *self.last_writes.lock().unwrap_or_else(PoisonError::into_inner) = last;
        if old.floor.get() != Some(Lsn(0)) {
            self.raise_floor();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::server::Address;
    use crate::topology::cluster::tests::look;
    use crate::topology::server::{Look, Role};
    use crate::topology::state::Silence;
    use crate::topology::{Outlook, ReadFloor};

    fn of_ports(ports: &[u16]) -> Cluster {
        let addresses = ports.iter().map(|port| Address::Tcp { host: "h".into(), port: *port }).collect();
        Cluster::new("c".into(), addresses, 0, Duration::ZERO, Some(Duration::from_secs(10)))
    }

    /// Servers at ports 1, 2, …
    fn before(roles: &[(Role, u64)]) -> Cluster {
        let ports: Vec<u16> = (1..).take(roles.len()).collect();
        let cluster = of_ports(&ports);
        roles.iter().enumerate().for_each(|(at, (role, lsn))| _ = cluster.seen(at, &look(*role, *lsn)));
        cluster
    }

    /// A cluster at those ports, which follows that one.
    fn after(old: &Cluster, ports: &[u16]) -> Cluster {
        let new = of_ports(ports);
        new.inherit(old);
        new
    }

    #[test]
    fn what_is_known_of_the_same_servers_holds_until_they_are_asked_wherever_they_are_named() {
        let old = before(&[(Role::Primary, 100), (Role::Replica, 90)]);
        let ports = [1, 2];
        let new = after(&old, &[ports[1], 9, ports[0]]);
        let roles: Vec<_> = new.upstreams.iter().map(Upstream::role).collect();
        assert_eq!(roles, [Role::Replica, Role::Unknown, Role::Primary]);
        assert_eq!((new.primary(), new.upstreams[0].lsn()), (Some(2), Lsn(90)));
        // The monitor is refused: as before. The server is gone: so is the primary.
        assert!(!new.refused(2, "password authentication failed", true));
        assert_eq!(new.primary(), Some(2));
        assert!(new.lost(2, "gone", Silence::Gone));
        assert_eq!(new.primary(), None);
        // One that is somewhere else is nobody's.
        let other = after(&old, &[9]);
        assert_eq!((other.primary(), other.upstreams[0].role()), (None, Role::Unknown));
    }

    #[test]
    fn a_lost_primary_stays_lost_and_a_refusal_of_before_is_forgotten() {
        let old = before(&[(Role::Primary, 100), (Role::Replica, 90)]);
        let ports = [1, 2];
        (0..3).for_each(|_| _ = old.lost(0, "gone", Silence::Gone));
        let later = Instant::now() + Duration::from_secs(60);
        assert!(matches!(after(&old, &ports).outlook(later), Outlook::Lost { replicas: Some(Lsn(90)), .. }));
        // Without it, all that is left are replicas.
        assert!(matches!(after(&old, &ports[1..]).outlook(later), Outlook::Replicas { .. }));
        old.refused(0, "no such role", true);
        let new = after(&old, &ports);
        assert_eq!((new.upstreams[0].role(), new.upstreams[0].is_refused()), (Role::Unknown, false));
    }

    #[test]
    fn reads_see_what_was_written_before() {
        let old = before(&[(Role::Primary, 100), (Role::Replica, 100)]);
        let ports = [1, 2];
        let number = old.upstreams[0].begin_look();
        old.seen(0, &Look { number, ..look(Role::Primary, 100) });
        let last = old.last_write("app", crate::config::Causal::Session);
        last.note(old.write_ends());
        // The servers have changed places: the end of the write is of a number that is another server's now.
        let new = after(&old, &[ports[1], ports[0]]);
        assert_eq!(new.floor_behind(&new.last_write("app", crate::config::Causal::Session)), ReadFloor::Awaited);
        let number = new.upstreams[1].begin_look();
        new.seen(1, &Look { number, ..look(Role::Primary, 120) });
        let last = new.last_write("app", crate::config::Causal::Session);
        assert_eq!(new.floor_behind(&last), ReadFloor::At(Lsn(120)));
    }
}
