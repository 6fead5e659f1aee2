//! Which name leads to which gate. Names come and go with the configuration and, behind `*`, with the clients; a gate stays with
//! its database. A name that is led elsewhere while it is closed stays closed: only a person opens a gate.

use super::automatic::Automatic;
use super::command::execute;
use super::database::{Gate, Move};
use super::error::GateError;
use super::gates::World;
use super::reroute::{Reroute, Rerouting, closing_of};
use super::server_database::{NamedDatabase, ServerDatabase};
use super::state::mode::Mode;
use super::store::state_file::{Document, Kept, Record};
use std::collections::{BTreeMap, HashSet};
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
    /// Where the clients of databases are led to, instead of where the configuration says.
    pub(crate) reroutes: Vec<Reroute>,
    /// Those that are being put in force.
    pub(crate) rerouting: Vec<Arc<Rerouting>>,
    /// Clusters that lead to the same server as another one, and that one's name.
    same: BTreeMap<String, String>,
    /// A task is about to save the names of closed gates.
    saves_names: bool,
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
    pub(crate) fn new(all: Record, reroutes: Vec<Reroute>) -> Map {
        Map {
            gates: BTreeMap::new(),
            names: BTreeMap::new(),
            all,
            all_under_way: None,
            reroutes,
            rerouting: Vec::new(),
            same: BTreeMap::new(),
            saves_names: false,
        }
    }

    /// Whether a name of the configuration leads there.
    pub(crate) fn is_configured(&self, gate: &Arc<Gate>) -> bool {
        let mut names = self.names.values().filter(|entry| entry.origin == Origin::Configured);
        names.any(|entry| Arc::ptr_eq(&entry.gate, gate))
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

    /// Closed gates that no name leads to any more, and that a name of this gate led to when they were closed: who opens this one by
    /// its name means them too.
    pub(crate) fn left_by_names_of(&self, gate: &Arc<Gate>) -> Vec<Arc<Gate>> {
        let names = gate.known_names();
        let left = |other: &&Arc<Gate>| other.former_names().iter().any(|name| names.contains(name));
        self.nameless().filter(|other| !Arc::ptr_eq(other, gate)).filter(left).cloned().collect()
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
            if gate.name_count() == 0 && Arc::strong_count(&gate) <= 2 && !self.is_left(gate.place()) {
                self.gates.remove(gate.place());
            }
        }
    }

    /// What a database is called whose cluster may lead to another one's server.
    pub(crate) fn place_of(&self, database: &ServerDatabase) -> ServerDatabase {
        let cluster = self.same.get(&database.cluster).unwrap_or(&database.cluster).clone();
        ServerDatabase { cluster, dbname: database.dbname.clone() }
    }

    /// Whether the clients of a database are led elsewhere for a time: its gate is kept, since something of theirs may be open there.
    fn is_left(&self, place: &ServerDatabase) -> bool {
        self.reroutes.iter().flat_map(|one| &one.from).any(|from| self.place_of(from) == *place)
    }

    /// Why nothing is written to a database, since clients of another one are led to it.
    pub(crate) fn closing_of(&self, place: &ServerDatabase) -> Option<Automatic> {
        closing_of(&self.reroutes, place).or_else(|| {
            let to = self.reroutes.iter().map(|one| &one.to).find(|to| self.place_of(to) == *place)?;
            closing_of(&self.reroutes, to)
        })
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
        self.save_names(&mut map);
        told
    }

    /// Clusters lead to the same server as another one, or do not any more; names follow when they are led anew.
    pub(crate) fn set_same(&self, same: BTreeMap<String, String>) {
        self.map().same = same;
    }

    pub(crate) fn get_or_create(self: &Arc<World>, database: &NamedDatabase) -> Result<Arc<Gate>, GateError> {
        let mut map = self.map();
        if !map.names.contains_key(&database.name) && map.names.len() >= self.limits.databases {
            map.forget_unused();
            if map.names.len() >= self.limits.databases {
                return Err(GateError::TooManyDatabases(self.limits.databases));
            }
        }
        let known = map.names.contains_key(&database.name);
        let (gate, told) = self.lead(&mut map, database, Origin::OnTheFly);
        if !known && is_closed(&gate) {
            self.save_names(&mut map);
        }
        told.iter().for_each(|text| tracing::warn!(event = "names_changed", "{text}"));
        Ok(gate)
    }

    /// Has a name lead to the gate of that database.
    fn lead(self: &Arc<World>, map: &mut Map, to: &NamedDatabase, origin: Origin) -> (Arc<Gate>, Option<String>) {
        let name = to.name.as_str();
        let place = map.place_of(&to.database);
        let before = match map.names.get_mut(name) {
            Some(entry) if *entry.gate.place() == place => {
                if entry.origin == Origin::Removed || origin == Origin::Configured {
                    entry.origin = origin;
                }
                return (entry.gate.clone(), None);
            }
            Some(entry) => Some(entry.gate.clone()),
            None => None,
        };
        let kept = before.is_none().then(|| self.store.record_of_name(name)).flatten();
        let gate = self.gate_of(map, &place, to);
        let merged = before.as_ref().is_some_and(|before| map.place_of(before.place()) == place);
        if let Some(before) = &before {
            before.remove_name(name);
            let mut former = before.former_names();
            if is_closed(before) && !former.iter().any(|known| known == name) {
                former.push(name.to_owned());
                before.set_former_names(former);
            }
        }
        if gate.name_count() == 0 {
            gate.forget_found(self.now());
        }
        map.attach(name, &gate, origin);
        let told = self.bring_mode(&gate, name, before.as_ref(), kept, merged);
        if let Some(before) = before.filter(|before| before.name_count() == 0) {
            self.leave(map, &before, &gate, merged);
        }
        (gate, told)
    }

    /// A name that is closed closes what it leads to now. Of two names of one database (`merged`) the closed one closes the other,
    /// unless a person has opened that since.
    fn bring_mode(
        self: &Arc<World>,
        gate: &Arc<Gate>,
        name: &str,
        before: Option<&Arc<Gate>>,
        kept: Option<Record>,
        merged: bool,
    ) -> Option<String> {
        let closed = |record: &Record| record.switches.mode() != Mode::ReadWrite;
        let place = gate.place();
        if is_closed(gate) {
            let opens = merged && before.is_some_and(|before| !is_closed(before));
            return opens
                .then(|| format!("database \"{name}\" is on the same server as {place}: it is closed as that is"));
        }
        let record = before.map(|gate| gate.desk().record.clone()).or(kept).filter(closed)?;
        if merged && before.is_some_and(|before| before.came_closed()) && gate.desk().record.since > record.since {
            return Some(format!("database \"{name}\" is on the same server as {place}: it is open as that is"));
        }
        self.close_as(gate, &record);
        let leads = if merged { "is on the same server as" } else { "leads to" };
        let text = format!(
            "database \"{name}\" is closed and {leads} {place} now: that is closed too, until a person opens it"
        );
        Some(text)
    }

    /// A gate without a name goes, unless a person has closed it there. `next` is where its last name leads now; `merged`: that is the
    /// same database.
    fn leave(self: &Arc<World>, map: &mut Map, gate: &Arc<Gate>, next: &Arc<Gate>, merged: bool) {
        let left = map.is_left(gate.place()) && !is_closed(gate) && !merged;
        if !left && (merged || gate.came_closed() || gate.place().cluster.is_empty() || !is_closed(gate)) {
            map.gates.remove(gate.place());
            self.forget_record(gate, next);
        }
    }

    fn gate_of(self: &Arc<World>, map: &mut Map, place: &ServerDatabase, to: &NamedDatabase) -> Arc<Gate> {
        let name = to.name.as_str();
        if let Some(gate) = map.gates.get(place) {
            return gate.clone();
        }
        let kept = self.store.own_record(place);
        let came_closed = kept.as_ref().is_some_and(|kept| kept.came_closed);
        let own = kept.map(|kept| kept.record).or_else(|| self.store.record_of_name(name));
        let record =
            own.unwrap_or_else(|| if to.starts_offline { map.all.offline_from(self.now()) } else { map.all.clone() });
        let gate = Arc::new(Gate::with_record(place.clone(), Some(name), self.limits.shards, record));
        gate.note_came_closed(came_closed);
        gate.set_copy(map.closing_of(place), self.now());
        gate.start_unreachable(self.fleet_lost.load().as_deref());
        map.gates.insert(place.clone(), gate.clone());
        execute::resume(self, &gate);
        gate
    }

    /// The gate of a database; one that closes is made where there is none, so that a name which comes to it finds it closed.
    pub(crate) fn gate_at(self: &Arc<World>, place: &ServerDatabase, closes: bool) -> Option<Arc<Gate>> {
        let mut map = self.map();
        if let Some(gate) = map.gates.get(place) {
            return Some(gate.clone());
        }
        let record = self.store.own_record(place).map_or_else(|| map.all.clone(), |kept| kept.record);
        if !closes && record.switches.mode() == Mode::ReadWrite {
            return None;
        }
        let gate = Arc::new(Gate::with_record(place.clone(), None, self.limits.shards, record));
        map.gates.insert(place.clone(), gate.clone());
        Some(gate)
    }

    fn forget_record(self: &Arc<World>, gate: &Arc<Gate>, next: &Arc<Gate>) {
        let (world, place) = (self.clone(), gate.place().clone());
        let next = is_closed(next).then(|| next.clone());
        self.runtime.spawn(async move {
            // In one write: at no moment the disk has its name open.
            let change = move |document: &mut Document| {
                next.iter().for_each(|next| document.put_names(next, true));
                document.forget(&place);
            };
            if let Err(error) = world.change(change).await {
                tracing::warn!(event = "state_not_saved", "{error}");
            }
        });
    }

    /// The configured databases at the start, each in the mode that is on disk. What is closed there comes first, with its names:
    /// a name that the configuration leads elsewhere now is found closed, as by a reload, and a gate that no name leads to is shown
    /// and can be opened.
    pub(crate) fn start(self: &Arc<World>, databases: &[NamedDatabase]) {
        let mut closed = self.bring_back(self.store.closed());
        for text in self.sync(databases) {
            tracing::warn!(event = "names_changed", "{text}");
        }
        let names = self.store.closed_names();
        let unknown = |(place, _): &(ServerDatabase, Kept)| !self.map().names.contains_key(&place.dbname);
        closed.extend(self.bring_back(names.into_iter().filter(unknown).collect()));
        for gate in closed {
            let kept = self.map().gates.get(gate.place()).is_some_and(|known| Arc::ptr_eq(known, &gate));
            if kept {
                execute::resume(self, &gate);
            }
        }
    }

    /// Makes the gates of what is closed on disk.
    fn bring_back(self: &Arc<World>, closed: Vec<(ServerDatabase, Kept)>) -> Vec<Arc<Gate>> {
        let map = &mut *self.map();
        let mut gates = Vec::new();
        for (place, kept) in closed {
            if map.gates.contains_key(&place) {
                continue;
            }
            let gate = Arc::new(Gate::with_record(place.clone(), None, self.limits.shards, kept.record));
            gate.note_came_closed(kept.came_closed);
            gate.set_former_names(kept.former_names);
            gate.set_copy(map.closing_of(&place), self.now());
            for name in kept.names {
                if !map.names.contains_key(&name) {
                    map.attach(&name, &gate, Origin::Removed);
                }
            }
            map.gates.insert(place, gate.clone());
            gates.push(gate);
        }
        gates
    }

    /// Has the names of closed gates saved: after a restart they are found closed wherever they lead then.
    fn save_names(self: &Arc<World>, map: &mut Map) {
        if std::mem::replace(&mut map.saves_names, true) {
            return;
        }
        let world = self.clone();
        self.runtime.spawn(async move {
            let gates = world.closed_gates();
            let change = move |document: &mut Document| {
                gates.iter().for_each(|(gate, configured)| document.put_names(gate, *configured));
            };
            if let Err(error) = world.change(change).await {
                tracing::warn!(event = "names_not_saved", "the names of closed databases are not saved: {error}");
            }
        });
    }

    /// The closed gates, and whether a name of the configuration leads there; what changes from here on is saved anew.
    fn closed_gates(&self) -> Vec<(Arc<Gate>, bool)> {
        let mut map = self.map();
        map.saves_names = false;
        let configured = map.names.values().filter(|entry| entry.origin == Origin::Configured);
        let configured: HashSet<_> = configured.map(|entry| entry.gate.place()).collect();
        let closed = map.gates.values().filter(|gate| is_closed(gate));
        closed.map(|gate| (gate.clone(), configured.contains(gate.place()))).collect()
    }

    /// Closes a gate as another one is, at once; what is open is drained by a task of its own.
    fn close_as(self: &Arc<World>, gate: &Arc<Gate>, other: &Record) {
        let epoch = gate.desk().record.epoch.max(other.epoch).next();
        let record =
            Record { epoch, since: self.now(), switches: other.switches.clone(), quiesced: None, ..other.clone() };
        gate.note_came_closed(true);
        execute::close_now(self, gate, record);
    }
}
