//! REROUTE: the clients of one database are led to another one, and back.
//!
//! A reroute belongs to what names lead to by the configuration, not to the names: every name of the database goes along, those
//! too that come into being later. The gate that holds meanwhile is that of the database where the clients are. While that is to
//! be read only, it is closed beside a person's switches, as by automation ([`Gate::set_copy`]): MAINTENANCE OFF does not open it,
//! and BACK does not open what a person has closed. The gate of the database that was left stays as it was.

use super::automatic::{Automatic, Closes};
use super::database::Gate;
use super::detail::{Cause, Counters, GateView, Terms, Who};
use super::error::GateError;
use super::gates::Gates;
use super::server_database::{NamedDatabase, ServerDatabase};
use super::state::lsn::Lsn;
use super::state::mode::Mode;
use crate::events::{Event, Kind, publish};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::time::timeout;

/// Where the clients of a database are led to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reroute {
    /// What its names lead to by the configuration: several only where clusters lead to one server.
    pub from: Vec<ServerDatabase>,
    /// Where they lead.
    pub to: ServerDatabase,
    /// Whether clients may write there.
    pub writable: bool,
    /// Told to applications whose writes are refused.
    pub message: Option<String>,
    /// Who has said so.
    pub who: Who,
    /// When.
    pub since: Timestamp,
}

impl Reroute {
    /// Why nothing is written where the clients are led to; None: they may write.
    fn closing(&self) -> Option<Automatic> {
        let found = Automatic::new(Closes::Writes, Cause::Rerouted, self.since, Lsn(0));
        let terms = Terms { who: self.who.clone(), message: self.message.clone(), ..found.terms };
        (!self.writable).then_some(Automatic { terms, ..found })
    }
}

/// A REROUTE that is being put in force.
#[derive(Debug)]
pub(crate) struct Rerouting {
    name: String,
    places: Vec<ServerDatabase>,
    who: Who,
    since: Timestamp,
}

/// The right to lead the clients of some databases elsewhere; given back when dropped.
pub struct RerouteClaim {
    world: Arc<super::gates::World>,
    own: Arc<Rerouting>,
}

impl Drop for RerouteClaim {
    fn drop(&mut self) {
        self.world.map().rerouting.retain(|one| !Arc::ptr_eq(one, &self.own));
    }
}

/// The reroute of what the configuration leads a name to, if there is one.
pub fn reroute_of<'r>(reroutes: &'r [Reroute], place: &ServerDatabase) -> Option<&'r Reroute> {
    reroutes.iter().find(|one| one.from.contains(place))
}

/// Why nothing is written to a database, since clients of another one are led to it.
pub(crate) fn closing_of(reroutes: &[Reroute], place: &ServerDatabase) -> Option<Automatic> {
    reroutes.iter().filter(|one| one.to == *place).find_map(Reroute::closing)
}

impl Gate {
    /// Clients of another database are led here to read only, or not any more. Gives what was before and what is shown now, if
    /// that is news.
    pub(crate) fn set_copy(&self, copy: Option<Automatic>, now: Timestamp) -> Option<(Arc<GateView>, Arc<GateView>)> {
        let mut desk = self.desk();
        if desk.copy == copy {
            return None;
        }
        let before = self.view().clone();
        desk.copy = copy;
        if desk.mode() != before.state.mode && desk.record.switches.mode() == Mode::ReadWrite {
            desk.record.epoch = desk.record.epoch.next();
            desk.record.since = now;
        }
        Some((before, self.show(&desk, Counters::default())))
    }
}

impl Gates {
    /// The reroutes in force, in the order in which they were made.
    pub fn reroutes(&self) -> Vec<Reroute> {
        self.world().map().reroutes.clone()
    }

    /// Makes reroutes durable; they are put in force by [`Gates::reroute`], or by the next start.
    ///
    /// # Errors
    /// 58030: they could not be saved, and nothing is changed.
    pub async fn save_reroutes(&self, reroutes: Vec<Reroute>) -> Result<(), GateError> {
        self.world().change(move |document| document.reroutes = reroutes).await
    }

    /// Puts reroutes in force: `databases` is what all names of the configuration lead to with them. What must not be written to is
    /// closed before the first client comes; what may be written to again is opened by [`Gates::open_copies`], behind the last one.
    /// Tells what a person should know.
    pub fn reroute(&self, reroutes: Vec<Reroute>, databases: &[NamedDatabase]) -> Vec<String> {
        self.world().map().reroutes = reroutes;
        self.follow_copies(true);
        self.sync(databases)
    }

    /// Opens what no client is led to any more to read only.
    pub fn open_copies(&self) {
        self.follow_copies(false);
    }

    /// Makes a REROUTE the one command that may lead clients of these databases elsewhere.
    ///
    /// # Errors
    /// 55006: another one is under way, or a command of the gate.
    pub fn claim_reroute(
        &self,
        name: &str,
        from: &ServerDatabase,
        to: &ServerDatabase,
        who: &Who,
    ) -> Result<RerouteClaim, GateError> {
        // What is under way at the other end may follow from a reroute itself: a name that came closed closes what it leads to.
        if let Some(gate) = self.gate_at(from) {
            let under_way = gate.desk().under_way.clone();
            if let Some(other) = under_way {
                return Err(other.conflict(&gate.name()));
            }
        }
        let places = vec![from.clone(), to.clone()];
        let world = self.world().clone();
        let mut map = world.map();
        if let Some(other) = map.rerouting.iter().find(|one| one.places.iter().any(|place| places.contains(place))) {
            let (database, who, since) = (other.name.clone(), other.who.clone(), other.since);
            return Err(GateError::Rerouting { database, who, since });
        }
        let (name, who) = (name.to_owned(), who.clone());
        let own = Arc::new(Rerouting { name, places, who, since: world.now() });
        map.rerouting.push(own.clone());
        drop(map);
        Ok(RerouteClaim { world, own })
    }

    /// The gate of a database, if there is one.
    pub fn gate_at(&self, place: &ServerDatabase) -> Option<Arc<Gate>> {
        let map = self.world().map();
        map.gates.get(&map.place_of(place)).cloned()
    }

    /// Closes what is a copy now, or opens what is none any more.
    fn follow_copies(&self, closes: bool) {
        let world = self.world();
        let wanted: Vec<(Arc<Gate>, Option<Automatic>)> = {
            let map = world.map();
            let all = map.gates.values().map(|gate| (gate.clone(), map.closing_of(gate.place())));
            all.filter(|(_, closing)| closing.is_some() == closes).collect()
        };
        for (gate, closing) in wanted {
            if let Some((before, view)) = gate.set_copy(closing, world.now())
                && before.state.mode != view.state.mode
            {
                self.tell_copy(&gate, view);
            }
        }
    }

    /// What follows from a mode that a reroute has changed.
    fn tell_copy(&self, gate: &Arc<Gate>, view: Arc<GateView>) {
        let world = self.world().clone();
        let mode = view.state.mode.as_str();
        let event = Event::new(Kind::Mode, format!("mode: {mode}")).about_all(gate.names());
        let cause = view.in_force().map(|terms| terms.cause.word());
        publish!(world.events, warn, event, mode = mode, epoch = view.state.epoch.0, cause = cause);
        let gate = gate.clone();
        world.clone().runtime.spawn(async move {
            let record = gate.desk().record.clone();
            if let Some(why) = world.save_or_keep(&gate, record).await {
                let event = Event::new(Kind::NotSaved, why).about_all(gate.names());
                publish!(world.events, error, event);
            }
            let name = gate.name();
            let seen = world.field.flip_seen(&name, view);
            let _ = timeout(world.limits.field_timeout, seen).await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::detail::tests::terms;

    fn reroute(writable: bool) -> Reroute {
        let place = |cluster: &str| ServerDatabase { cluster: cluster.to_owned(), dbname: "app".to_owned() };
        Reroute {
            from: vec![place("a")],
            to: place("b"),
            writable,
            message: Some("moving".to_owned()),
            who: Who { user: "bob".to_owned(), address: None },
            since: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_copy_is_closed_beside_a_persons_switches_and_neither_opens_the_other() {
        let gate = Gate::new("app", 1);
        let copy = closing_of(&[reroute(false)], &reroute(false).to);
        assert_eq!(closing_of(&[reroute(true)], &reroute(true).to), None);
        assert!(gate.set_copy(copy.clone(), Timestamp::UNIX_EPOCH).is_some());
        assert!(gate.set_copy(copy.clone(), Timestamp::UNIX_EPOCH).is_none(), "no news");
        assert!(gate.enter(0).is_err());
        let detail = gate.view().refusal_detail();
        assert_eq!(detail.as_deref(), Some("database \"app\" is served by a read-only copy: moving"));

        let mut record = gate.desk().record.clone();
        record.switches.maintenance = Some(terms(Cause::Command));
        record.epoch = record.epoch.next();
        gate.publish(&mut record, Counters::default());
        let detail = gate.view().refusal_detail();
        let words = "database \"app\" is in maintenance and is served by a read-only copy: upgrade to 18";
        assert_eq!(detail.as_deref(), Some(words));
        record.switches.maintenance = None;
        record.epoch = record.epoch.next();
        gate.publish(&mut record, Counters::default());
        assert_eq!(gate.state().mode.as_str(), "read_only", "OFF does not open a copy");
        gate.set_copy(None, Timestamp::UNIX_EPOCH);
        assert!(gate.enter(0).is_ok());
    }
}
