//! Which name leads to which gate. Names come and go with the configuration and, behind `*`, with the clients; a gate stays with
//! its database. A name that is led elsewhere while it is closed stays closed: only a person opens a gate.

use super::commands;
use super::database::{Gate, Move};
use super::error::GateError;
use super::gates::World;
use super::mode::Mode;
use super::server_database::{NamedDatabase, ServerDatabase};
use super::state_file::Record;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Every gate, and every name.
#[derive(Debug)]
pub(crate) struct Map {
    pub(crate) gates: BTreeMap<ServerDatabase, Arc<Gate>>,
    pub(crate) names: BTreeMap<String, Entry>,
    /// What new gates are born with; as in the store, but under this lock, so that no gate is born between the listing of
    /// gates for `*` and the moment when `*` is in force.
    pub(crate) all: Record,
    /// The command on `*` that is being put into force.
    pub(crate) all_under_way: Option<Arc<Move>>,
}

/// A name.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) gate: Arc<Gate>,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    Configured,
    OnTheFly,
    /// No longer configured. While sessions hold the gate, or it is closed, it must go on closing with `*`, be there to be opened,
    /// and be the same one if the name comes back.
    Removed,
}

impl Map {
    pub(crate) fn new(all: Record) -> Map {
        Map { gates: BTreeMap::new(), names: BTreeMap::new(), all, all_under_way: None }
    }

    /// The gate that a person means. Names that are gone, and gates without a name, can be meant as long as they are closed.
    pub(crate) fn meant(&self, name: &str) -> Option<Arc<Gate>> {
        match self.names.get(name) {
            Some(entry) if entry.origin != Origin::Removed || is_closed(&entry.gate) => Some(entry.gate.clone()),
            Some(_) => None,
            None => self.nameless().find(|gate| *gate.name() == *name).cloned(),
        }
    }

    /// What a person is shown: names with their gates, in order, and closed gates that no name leads to any more.
    pub(crate) fn listed(&self) -> Vec<(String, Arc<Gate>)> {
        let named = self.names.iter().filter(|(_, one)| one.origin != Origin::Removed || is_closed(&one.gate));
        let named = named.map(|(name, entry)| (name.clone(), entry.gate.clone()));
        named.chain(self.nameless().map(|gate| (gate.name().to_string(), gate.clone()))).collect()
    }

    fn nameless(&self) -> impl Iterator<Item = &Arc<Gate>> {
        self.gates.values().filter(|gate| gate.name_count() == 0 && is_closed(gate))
    }

    /// Forgets names and gates that nobody but this map holds, so that nobody can miss them; their records are in the store.
    fn forget_unused(&mut self) {
        let held = |gate: &Arc<Gate>| Arc::strong_count(gate) > 1 + gate.name_count();
        let stays = |entry: &Entry| match entry.origin {
            Origin::Configured => true,
            Origin::OnTheFly => held(&entry.gate),
            Origin::Removed => held(&entry.gate) || is_closed(&entry.gate),
        };
        let (kept, gone) = std::mem::take(&mut self.names).into_iter().partition(|(_, entry)| stays(entry));
        self.names = kept;
        for (name, Entry { gate, .. }) in gone {
            gate.remove_name(&name);
            // Held by the map and by this loop.
            if gate.name_count() == 0 && Arc::strong_count(&gate) <= 2 {
                self.gates.remove(gate.place());
            }
        }
    }

    fn attach(&mut self, name: &str, gate: &Arc<Gate>, origin: Origin) {
        gate.add_name(name);
        self.names.insert(name.to_owned(), Entry { gate: gate.clone(), origin });
    }
}

/// Whether a person has closed it: by a record, whatever its drain has come to.
fn is_closed(gate: &Gate) -> bool {
    gate.desk().record.switches.mode() != Mode::ReadWrite
}

impl World {
    pub(crate) fn sync(self: &Arc<World>, databases: &[NamedDatabase]) -> Vec<String> {
        let mut map = self.map();
        for entry in map.names.values_mut().filter(|entry| entry.origin == Origin::Configured) {
            entry.origin = Origin::Removed;
        }
        let mut told = Vec::new();
        for database in databases {
            told.extend(self.lead(&mut map, database, Origin::Configured).1);
        }
        map.forget_unused();
        told
    }

    pub(crate) fn get_or_create(self: &Arc<World>, database: &NamedDatabase) -> Result<Arc<Gate>, GateError> {
        let mut map = self.map();
        if !map.names.contains_key(&database.name) && map.names.len() >= self.limits.databases {
            map.forget_unused();
            if map.names.len() >= self.limits.databases {
                return Err(GateError::TooManyDatabases(self.limits.databases));
            }
        }
        let (gate, told) = self.lead(&mut map, database, Origin::OnTheFly);
        told.iter().for_each(|text| tracing::warn!(event = "names_changed", "{text}"));
        Ok(gate)
    }

    /// Has a name lead to the gate of that database.
    fn lead(self: &Arc<World>, map: &mut Map, to: &NamedDatabase, origin: Origin) -> (Arc<Gate>, Option<String>) {
        let name = to.name.as_str();
        let before = match map.names.get_mut(name) {
            Some(entry) if *entry.gate.place() == to.database => {
                if entry.origin == Origin::Removed || origin == Origin::Configured {
                    entry.origin = origin;
                }
                return (entry.gate.clone(), None);
            }
            Some(entry) => Some(entry.gate.clone()),
            None => None,
        };
        let kept = before.is_none().then(|| self.store.record_of_name(name)).flatten();
        let gate = self.gate_of(map, &to.database, name);
        if let Some(before) = &before {
            before.remove_name(name);
        }
        map.attach(name, &gate, origin);
        let closed_before = before.as_ref().map(|gate| gate.desk().record.clone()).or(kept);
        let brings = closed_before.filter(|one| one.switches.mode() != Mode::ReadWrite && !is_closed(&gate));
        let told = brings.map(|record| {
            self.close_as(&gate, &record);
            format!(
                "database \"{name}\" is closed and leads to {} now: that is closed too, until a person opens it",
                gate.place()
            )
        });
        if let Some(before) = before.filter(|before| before.name_count() == 0) {
            self.leave(map, &before);
        }
        (gate, told)
    }

    /// A gate without a name goes, unless a person has closed it there.
    fn leave(self: &Arc<World>, map: &mut Map, gate: &Arc<Gate>) {
        if gate.came_closed() || gate.place().cluster.is_empty() || !is_closed(gate) {
            map.gates.remove(gate.place());
            self.forget_record(gate);
        }
    }

    fn gate_of(self: &Arc<World>, map: &mut Map, place: &ServerDatabase, name: &str) -> Arc<Gate> {
        if let Some(gate) = map.gates.get(place) {
            return gate.clone();
        }
        let kept = self.store.own_record(place);
        let came_closed = kept.as_ref().is_some_and(|kept| kept.came_closed);
        let own = kept.map(|kept| kept.record).or_else(|| self.store.record_of_name(name));
        let record = own.unwrap_or_else(|| map.all.clone());
        let gate = Arc::new(Gate::with_record(place.clone(), Some(name), self.limits.shards, record));
        gate.note_came_closed(came_closed);
        map.gates.insert(place.clone(), gate.clone());
        commands::resume(self, &gate);
        gate
    }

    fn forget_record(self: &Arc<World>, gate: &Arc<Gate>) {
        let (world, place) = (self.clone(), gate.place().clone());
        self.runtime.spawn(async move {
            if let Err(error) = world.change(move |document| document.forget(&place)).await {
                tracing::warn!("{error}");
            }
        });
    }

    /// At the start: what is closed on disk is shown and can be opened, though no configured name leads to it.
    pub(crate) fn bring_back_closed(self: &Arc<World>) {
        let map = &mut *self.map();
        for (place, kept) in self.store.closed() {
            let by_name = place.cluster.is_empty() && map.names.contains_key(&place.dbname);
            if map.gates.contains_key(&place) || by_name {
                continue;
            }
            let gate = Arc::new(Gate::with_record(place.clone(), None, self.limits.shards, kept.record));
            gate.note_came_closed(kept.came_closed);
            for name in kept.names {
                if !map.names.contains_key(&name) {
                    map.attach(&name, &gate, Origin::Removed);
                }
            }
            map.gates.insert(place, gate.clone());
            commands::resume(self, &gate);
        }
    }

    /// Closes a gate as another one is, at once; what is open is drained by a task of its own.
    fn close_as(self: &Arc<World>, gate: &Arc<Gate>, other: &Record) {
        let epoch = gate.desk().record.epoch.max(other.epoch).next();
        let record = Record { epoch, since: self.now(), switches: other.switches.clone(), quiesced: None };
        gate.note_came_closed(true);
        commands::close_now(self, gate, record);
    }
}
