//! The state that survives kill -9 and reboot: written and fsynced before it takes effect.
//!
//! One JSON document: `{"version":2,"checksum":"…","body":{…}}`, the checksum being over the bytes of `body`. It is replaced
//! as a whole by rename, and the version before stays beside it as `….bak`. Only a file that has never been there means "first
//! start, read_write": it is written then, and the log says so. A file that is there but cannot be understood, or one that is
//! gone although its `.bak` is still there or its [lock](LockFile) remembers one, means that every database is read_only, with an epoch that cannot have been used: above everything that the backup
//! knows, and at least the Unix time in seconds (an epoch starts at 0 and no one flips once a second for decades).
//! The damaged file is kept as `….damaged`.

use super::lock_file::LockFile;
use super::sealed;
use super::sealed::{beside, replace, unused};
use crate::gate::database::Gate;
use crate::gate::detail::{Cause, OnTimeout, Quiesced, Reads, Switches, Terms, Who};
use crate::gate::error::GateError;
use crate::gate::reroute::Reroute;
use crate::gate::server_database::ServerDatabase;
use crate::gate::state::mode::{Epoch, Mode, Writes};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

const VERSION: u32 = 2;
/// Has a record for each name of clients instead of each database.
const VERSION_BY_NAME: u32 = 1;
/// Far more than ten thousand databases take; what is longer is not ours.
const LONGEST: u64 = 64 << 20;

/// Where the state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateFile {
    /// In this file; its folder must exist and be writable.
    Path(PathBuf),
    /// Nowhere: every start is read_write, whatever was said before.
    Ephemeral,
}

impl StateFile {
    /// The file, if there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Path(path) => Some(path),
            Self::Ephemeral => None,
        }
    }
}

/// What is kept of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) epoch: Epoch,
    pub(crate) since: Timestamp,
    pub(crate) switches: Switches,
    pub(crate) quiesced: Option<Quiesced>,
    /// The epoch of the fleet that was put in force last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) followed: Option<u64>,
    /// A command for this proxy alone has led to it since.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) apart: bool,
}

impl Record {
    pub(crate) fn fresh(now: Timestamp) -> Record {
        let switches = Switches::default();
        Record { epoch: Epoch(0), since: now, switches, quiesced: None, followed: None, apart: false }
    }

    /// The same, put offline by the configuration.
    pub(crate) fn offline_from(&self, now: Timestamp) -> Record {
        if self.switches.offline.is_some() {
            return self.clone();
        }
        let terms = Terms {
            cause: Cause::Command,
            who: Who::proxy(),
            since: now,
            message: None,
            until: None,
            expire_at: None,
            writes: Writes::Reject,
            hold_timeout: Duration::ZERO,
            drain_timeout: Duration::ZERO,
            on_timeout: OnTimeout::Cancel,
            reads: Reads::Any,
        };
        let switches = Switches { offline: Some(terms), ..self.switches.clone() };
        Record { epoch: self.epoch.next(), since: now, switches, quiesced: None, ..self.clone() }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    /// What holds for every database without a record of its own: set by commands on `*`.
    pub(crate) all: Record,
    #[serde(with = "as_list")]
    pub(crate) databases: BTreeMap<ServerDatabase, Kept>,
    /// From a file of version 1, until it is known which databases the names stand for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) by_name: BTreeMap<String, Record>,
    /// Where the clients of databases are led to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) reroutes: Vec<Reroute>,
}

/// What is kept of a database, and what clients call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// No name is kept for two databases.
    pub(crate) names: Vec<String>,
    /// Names that lead elsewhere now and led here when it was closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) former_names: Vec<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) came_closed: bool,
    pub(crate) record: Record,
}

/// A file of version 1.
#[derive(Deserialize)]
struct DocumentByName {
    all: Record,
    databases: BTreeMap<String, Record>,
}

/// JSON has no maps with keys of two parts.
mod as_list {
    use super::{BTreeMap, Kept, ServerDatabase};
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    struct Line<D, K> {
        #[serde(flatten)]
        database: D,
        #[serde(flatten)]
        kept: K,
    }

    pub(super) fn serialize<S: Serializer>(
        databases: &BTreeMap<ServerDatabase, Kept>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(databases.iter().map(|(database, kept)| Line { database, kept }))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<ServerDatabase, Kept>, D::Error> {
        let lines: Vec<Line<ServerDatabase, Kept>> = Deserialize::deserialize(deserializer)?;
        Ok(lines.into_iter().map(|line| (line.database, line.kept)).collect())
    }
}

impl Document {
    fn fresh(now: Timestamp) -> Document {
        Document { all: Record::fresh(now), databases: BTreeMap::new(), by_name: BTreeMap::new(), reroutes: vec![] }
    }

    /// Keeps records of gates.
    pub(crate) fn put(&mut self, records: &[(Arc<Gate>, Record)]) {
        for (gate, record) in records {
            let names: Vec<String> = gate.known_names();
            names.iter().for_each(|name| drop(self.by_name.remove(name)));
            self.take_names(gate.place(), &names);
            let closed = record.switches.mode() != Mode::ReadWrite;
            let former_names = if closed { gate.former_names() } else { Vec::new() };
            let kept = Kept { names, former_names, came_closed: gate.came_closed(), record: record.clone() };
            self.databases.insert(gate.place().clone(), kept);
        }
    }

    /// Keeps the names of a gate that is closed; a gate without a record gets one if it is `configured`.
    pub(crate) fn put_names(&mut self, gate: &Arc<Gate>, configured: bool) {
        match self.databases.get(gate.place()).map(|kept| kept.record.clone()) {
            Some(record) => self.put(&[(gate.clone(), record)]),
            None if configured && gate.name_count() > 0 => {
                let record = gate.desk().record.clone();
                self.put(&[(gate.clone(), record)]);
            }
            None => {}
        }
    }

    /// Has no other database keep a name of this one.
    fn take_names(&mut self, database: &ServerDatabase, names: &[String]) {
        let known: HashSet<_> = self.databases.get(database).iter().flat_map(|kept| kept.names.clone()).collect();
        let new: HashSet<&String> = names.iter().filter(|name| !known.contains(*name)).collect();
        if new.is_empty() {
            return;
        }
        for (_, kept) in self.databases.iter_mut().filter(|(other, _)| *other != database) {
            let (gone, left) = std::mem::take(&mut kept.names).into_iter().partition(|name| new.contains(name));
            kept.names = left;
            if kept.record.switches.mode() != Mode::ReadWrite {
                kept.former_names.extend::<Vec<_>>(gone);
            }
        }
    }

    /// Whether the gate's database has a record of its own.
    pub(crate) fn has(&self, gate: &Gate) -> bool {
        self.databases.contains_key(gate.place())
            || gate.known_names().iter().any(|name| self.by_name.contains_key(name))
    }

    /// A database is no longer kept.
    pub(crate) fn forget(&mut self, database: &ServerDatabase) {
        self.databases.remove(database);
    }

    /// Puts all epochs beyond any that may have been used without being saved, of which `used` is known.
    fn raise_epochs(&mut self, used: Epoch, now: Timestamp) {
        let kept = self.databases.values_mut().map(|kept| &mut kept.record);
        for record in kept.chain(self.by_name.values_mut()).chain([&mut self.all]) {
            record.epoch = record.epoch.max(used).next().max(epoch_of_time(now)).min(Epoch::MAX);
        }
    }

    fn highest_epoch(&self) -> Epoch {
        self.records().map(|record| record.epoch).max().unwrap_or_default()
    }

    fn records(&self) -> impl Iterator<Item = &Record> {
        self.databases.values().map(|kept| &kept.record).chain(self.by_name.values()).chain([&self.all])
    }
}

fn encode(document: &Document) -> Result<Vec<u8>, serde_json::Error> {
    sealed::seal(VERSION, document)
}

fn decode(bytes: &[u8]) -> Result<Document, String> {
    let (version, body) = sealed::open(bytes, VERSION_BY_NAME..=VERSION)?;
    if version == VERSION_BY_NAME {
        let old: DocumentByName = serde_json::from_str(body.get()).map_err(|e| e.to_string())?;
        let (databases, reroutes) = (BTreeMap::new(), Vec::new());
        return Ok(Document { all: old.all, databases, by_name: old.databases, reroutes });
    }
    serde_json::from_str(body.get()).map_err(|e| e.to_string())
}

enum Found {
    Nothing,
    Document(Box<Document>),
    Damaged(String),
}

fn read(path: &Path) -> Found {
    let length = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Found::Nothing,
        Err(e) => return Found::Damaged(e.to_string()),
        Ok(meta) => meta.len(),
    };
    if length > LONGEST {
        return Found::Damaged("it is too long".into());
    }
    match fs::read(path).map_err(|e| e.to_string()).and_then(|bytes| decode(&bytes)) {
        Ok(document) => Found::Document(Box::new(document)),
        Err(reason) => Found::Damaged(reason),
    }
}

/// An epoch that cannot have been used: nobody changes the mode once a second for decades.
fn epoch_of_time(now: Timestamp) -> Epoch {
    Epoch(u64::try_from(now.as_second()).unwrap_or(0))
}

/// Every database read_only, above any epoch that may have been used.
fn lost(backup: Option<&Document>, unsaved: Option<Epoch>, now: Timestamp) -> Document {
    let saved = backup.map(Document::highest_epoch).unwrap_or_default();
    // The backup is one write older than what was lost, and a write raises an epoch by one.
    let after_used = saved.next().max(unsaved.unwrap_or_default()).next();
    let by_time = epoch_of_time(now);
    let terms = Terms {
        cause: Cause::StateLost,
        who: Who::proxy(),
        since: now,
        message: Some("the proxy lost its saved state and stays read-only until an operator opens it".into()),
        until: None,
        expire_at: None,
        writes: Writes::Reject,
        hold_timeout: Duration::ZERO,
        drain_timeout: Duration::from_secs(30),
        on_timeout: OnTimeout::Cancel,
        reads: Reads::Any,
    };
    let switches = Switches { maintenance: Some(terms), offline: None };
    let epoch = after_used.max(by_time).min(Epoch::MAX);
    let reroutes = backup.map(|document| document.reroutes.clone()).unwrap_or_default();
    let all = Record { epoch, since: now, switches, ..Record::fresh(now) };
    Document { all, reroutes, ..Document::fresh(now) }
}

#[derive(Debug)]
pub(super) enum Place {
    Nowhere,
    File { path: PathBuf, lock: LockFile },
}

impl Place {
    fn remember_a_state(&self) {
        if let Place::File { path, lock } = self {
            lock.remember(path);
        }
    }
}

/// The document in force and the place where it is kept.
#[derive(Debug)]
pub(crate) struct Store {
    pub(super) place: Place,
    document: Mutex<Document>,
    queue: Mutex<Batch>,
    /// Another process writes the file.
    pub(super) frozen: AtomicBool,
    /// What is in force is not in the file.
    pub(super) unsaved: AtomicBool,
}

type Change = Box<dyn FnOnce(&mut Document) + Send>;

/// Changes that go to disk together: hundreds of databases are quiesced at once, and each write costs an fsync.
#[derive(Default)]
struct Batch {
    changes: Vec<Change>,
    result: Arc<OnceLock<Result<(), GateError>>>,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("changes", &self.changes.len()).finish_non_exhaustive()
    }
}

impl Store {
    pub(super) fn new(place: Place, document: Document) -> Store {
        let (frozen, unsaved) = (AtomicBool::new(false), AtomicBool::new(false));
        Store { place, document: Mutex::new(document), queue: Mutex::default(), frozen, unsaved }
    }

    /// Opens, locks and reads; the second value is the loud message if the state was lost.
    pub(crate) fn open(file: &StateFile, now: Timestamp) -> Result<(Store, Option<String>), GateError> {
        let fresh = Document::fresh(now);
        let StateFile::Path(path) = file else {
            return Ok((Store::new(Place::Nowhere, fresh), None));
        };
        // A file of its own: the state file is another one after each rename.
        let lock = LockFile::lock(&beside(path, ".lock"), path)?;
        let (had_state, unsaved) = (lock.remembers_a_state(), lock.unsaved_epoch());
        let place = Place::File { path: path.clone(), lock };
        let (bak, damaged) = (beside(path, ".bak"), beside(path, ".damaged"));
        let reason = match read(path) {
            Found::Document(document) => return Ok((Store::known(place, *document, now), None)),
            Found::Nothing if matches!(read(&bak), Found::Nothing) && !had_state => {
                return Ok((Store::first(place, fresh), None));
            }
            Found::Nothing if matches!(read(&bak), Found::Nothing) => {
                "it is gone, and its backup too, though a state has been saved".to_owned()
            }
            Found::Nothing => "it is gone, though its backup is there".to_owned(),
            Found::Damaged(reason) => reason,
        };
        let backup = match read(&bak) {
            Found::Document(document) => Some(document),
            Found::Nothing | Found::Damaged(_) => None,
        };
        let document = lost(backup.as_deref(), unsaved, now);
        let mut alarm = format!(
            "state file \"{}\" cannot be used: {reason}; EVERY DATABASE IS READ-ONLY from epoch {} on, until \
             MAINTENANCE OFF opens it",
            path.display(),
            document.all.epoch
        );
        let store = Store::new(place, document.clone());
        // Evidence first. Without it, or without the right to write, the safe state stays in memory and every later start
        // finds the same damage and says the same.
        let kept = if path.exists() { fs::hard_link(path, unused(&damaged)) } else { Ok(()) };
        match kept.map_err(|e| e.to_string()).and_then(|()| store.write(&document, false)) {
            Ok(()) => {}
            Err(e) => alarm.push_str(&format!("; this could not be saved: {}", store.note_unsaved(&document, e))),
        }
        Ok((store, Some(alarm)))
    }

    /// A file that can be read. If epochs have been used that are not in it, its own go beyond them.
    fn known(place: Place, mut document: Document, now: Timestamp) -> Store {
        let Place::File { path, lock } = &place else { return Store::new(place, document) };
        let Some(used) = lock.unsaved_epoch() else {
            place.remember_a_state();
            return Store::new(place, document);
        };
        document.raise_epochs(used, now);
        tracing::warn!(
            event = "epochs_raised",
            "the state that was in force last could not be saved: state file \"{}\" is older, and epochs go on from {} so that \
             none is given twice",
            path.display(),
            document.all.epoch
        );
        let store = Store::new(place, document.clone());
        store.write_or_note(&document, true);
        store
    }

    /// Every gate is open. That is said, and saved at once, so that only the very first start says it.
    fn first(place: Place, document: Document) -> Store {
        let store = Store::new(place, document.clone());
        if let Place::File { path, .. } = &store.place {
            tracing::warn!(
                event = "first_start",
                "state file \"{}\" is not there: this is taken for the first start, with every gate open and epoch 0",
                path.display()
            );
            store.write_or_note(&document, false);
        }
        store
    }

    /// A copy of what is in force.
    pub(crate) fn document(&self) -> Document {
        self.document.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn in_force(&self) -> MutexGuard<'_, Document> {
        self.document.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept of a database; one without a record is as [`Document::all`].
    pub(crate) fn own_record(&self, database: &ServerDatabase) -> Option<Kept> {
        self.in_force().databases.get(database).cloned()
    }

    /// What a file of version 1 has of a name.
    pub(crate) fn record_of_name(&self, name: &str) -> Option<Record> {
        self.in_force().by_name.get(name).cloned()
    }

    /// The databases that are closed.
    pub(crate) fn closed(&self) -> Vec<(ServerDatabase, Kept)> {
        let document = self.in_force();
        let all = document.databases.iter().map(|(database, kept)| (database.clone(), kept.clone()));
        all.filter(|(_, kept)| kept.record.switches.mode() != Mode::ReadWrite).collect()
    }

    /// What a file of version 1 has of names that are closed.
    pub(crate) fn closed_names(&self) -> Vec<(ServerDatabase, Kept)> {
        let document = self.in_force();
        let closed = document.by_name.iter().filter(|(_, record)| record.switches.mode() != Mode::ReadWrite);
        let kept = |(name, record): (&String, &Record)| {
            let (names, former_names) = (vec![name.clone()], Vec::new());
            (ServerDatabase::named(name), Kept { names, former_names, came_closed: false, record: record.clone() })
        };
        closed.map(kept).collect()
    }

    /// Makes a change durable; blocks on the disk. Changes that wait for the disk meanwhile go there together. After an error the
    /// document is as before.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Document) + Send + 'static) -> Result<(), GateError> {
        let result = {
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.changes.push(Box::new(change));
            queue.result.clone()
        };
        let mut document = self.in_force();
        if let Some(done) = result.get() {
            return done.clone();
        }
        let batch = std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner));
        let mut next = document.clone();
        batch.changes.into_iter().for_each(|change| change(&mut next));
        let written = if next == *document { Ok(()) } else { self.write(&next, true).map_err(GateError::StateFile) };
        if written.is_ok() {
            *document = next;
        }
        let _ = batch.result.set(written.clone());
        written
    }

    /// As [`Store::change`], but what cannot be made durable is in force all the same; says why it could not be.
    pub(crate) fn change_unsaved(&self, change: impl FnOnce(&mut Document)) -> Option<String> {
        let mut document = self.in_force();
        change(&mut document);
        self.write(&document, true).err().map(|why| self.note_unsaved(&document, why))
    }

    /// As [`Store::change_unsaved`] where the disk has just refused it.
    pub(crate) fn keep_unsaved(&self, change: impl FnOnce(&mut Document), why: String) -> String {
        let mut document = self.in_force();
        change(&mut document);
        self.note_unsaved(&document, why)
    }

    /// Notes that a document is in force that could not be saved, and says why with what that means.
    fn note_unsaved(&self, document: &Document, why: String) -> String {
        let Place::File { lock, .. } = &self.place else { return why };
        self.unsaved.store(true, SeqCst);
        match lock.remember_unsaved_epoch(document.highest_epoch()) {
            Ok(()) => why,
            Err(error) => format!("{why}; nor could that be noted, so that a restart may give epochs twice: {error}"),
        }
    }

    /// Writes what is in force whatever becomes of it.
    pub(super) fn write_or_note(&self, document: &Document, backup: bool) {
        if let Err(error) = self.write(document, backup) {
            let why = self.note_unsaved(document, error);
            tracing::error!(event = "state_not_saved", "the state could not be saved: {why}");
        }
    }

    /// Whether what is in force is not in the file.
    pub(crate) fn unsaved(&self) -> bool {
        self.unsaved.load(SeqCst)
    }

    /// Writes what could not be saved before, if the disk takes it now. False: there is nothing, or it still does not.
    pub(crate) fn save_again(&self) -> bool {
        if !self.unsaved.load(SeqCst) || self.frozen.load(SeqCst) {
            return false;
        }
        let document = self.in_force();
        self.write(&document, true).is_ok()
    }

    pub(super) fn write(&self, document: &Document, backup: bool) -> Result<(), String> {
        let Place::File { path, .. } = &self.place else { return Ok(()) };
        if self.frozen.load(SeqCst) {
            return Ok(());
        }
        let bytes = encode(document).map_err(|e| e.to_string())?;
        replace(path, &bytes, backup).map_err(|e| format!("\"{}\": {e}", path.display()))?;
        self.place.remember_a_state();
        self.unsaved.store(false, SeqCst);
        Ok(())
    }
}

/// Whether a file can be written in the folder of the state file. What is written has no name by then, so that it is gone even if the
/// disk is full or the process ends here.
///
/// # Errors
/// It cannot be written.
pub fn try_to_write_beside(path: &Path) -> io::Result<()> {
    let probe = beside(path, &format!(".check.{}", std::process::id()));
    let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&probe)?;
    fs::remove_file(&probe)?;
    let length = fs::metadata(path).map_or(0, |meta| meta.len()).clamp(4096, LONGEST);
    io::copy(&mut io::repeat(b'\n').take(length), &mut file)?;
    file.sync_all()
}

#[cfg(test)]
#[path = "state_file_tests.rs"]
mod tests;
