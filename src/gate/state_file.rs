//! The state that survives kill -9 and reboot: written and fsynced before it takes effect.
//!
//! One JSON document: `{"version":1,"checksum":"…","body":{…}}`, the checksum being over the bytes of `body`. It is replaced
//! as a whole by rename, and the version before stays beside it as `….bak`. Only a file that has never been there means "first
//! start, read_write". A file that is there but cannot be understood, or one that is gone while its `.bak` is still there,
//! means that every database is read_only, with an epoch that cannot have been used: above everything that the backup
//! knows, and at least the Unix time in seconds (an epoch starts at 0 and no one flips once a second for decades).
//! The damaged file is kept as `….damaged`.

use super::detail::{Cause, OnTimeout, Quiesced, Reads, Switches, Terms, Who};
use super::error::GateError;
use super::mode::{Epoch, Writes};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const VERSION: u32 = 1;
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

/// What is kept of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) epoch: Epoch,
    pub(crate) since: Timestamp,
    pub(crate) switches: Switches,
    pub(crate) quiesced: Option<Quiesced>,
}

impl Record {
    pub(crate) fn fresh(now: Timestamp) -> Record {
        Record { epoch: Epoch(0), since: now, switches: Switches::default(), quiesced: None }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Document {
    /// What holds for every database without a record of its own: set by commands on `*`.
    pub(crate) all: Record,
    pub(crate) databases: BTreeMap<String, Record>,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    checksum: String,
    body: Box<RawValue>,
}

/// CRC-32C: finds every torn write and flipped bit that a disk produces in practice.
fn checksum(bytes: &[u8]) -> String {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg()))
    });
    format!("{:08x}", !crc)
}

fn encode(document: &Document) -> Result<Vec<u8>, serde_json::Error> {
    let body = RawValue::from_string(serde_json::to_string_pretty(document)?)?;
    let envelope = Envelope { version: VERSION, checksum: checksum(body.get().as_bytes()), body };
    let mut bytes = serde_json::to_vec(&envelope)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<Document, String> {
    let envelope: Envelope = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if envelope.version != VERSION {
        return Err(format!("its version is {}, this pgsluice knows {VERSION}", envelope.version));
    }
    if envelope.checksum != checksum(envelope.body.get().as_bytes()) {
        return Err("its checksum is wrong".into());
    }
    serde_json::from_str(envelope.body.get()).map_err(|e| e.to_string())
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

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Every database read_only, above any epoch that may have been used.
fn lost(backup: Option<&Document>, now: Timestamp) -> Document {
    let used = backup.iter().flat_map(|d| d.databases.values().chain([&d.all])).map(|r| r.epoch).max();
    // The backup is one write older than what was lost, and a write raises an epoch by one.
    let after_used = used.unwrap_or_default().next().next();
    let by_time = Epoch(u64::try_from(now.as_second()).unwrap_or(0));
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
    Document { all: Record { epoch, since: now, switches, quiesced: None }, databases: BTreeMap::new() }
}

#[derive(Debug)]
enum Place {
    Nowhere,
    /// The lock is held as long as the file is open.
    File {
        path: PathBuf,
        _lock: File,
    },
}

/// The document in force and the place where it is kept.
#[derive(Debug)]
pub(crate) struct Store {
    place: Place,
    document: Mutex<Document>,
}

impl Store {
    /// Opens, locks and reads; the second value is the loud message if the state was lost.
    pub(crate) fn open(file: &StateFile, now: Timestamp) -> Result<(Store, Option<String>), GateError> {
        let fresh = Document { all: Record::fresh(now), databases: BTreeMap::new() };
        let StateFile::Path(path) = file else {
            return Ok((Store { place: Place::Nowhere, document: Mutex::new(fresh) }, None));
        };
        let lock = lock(path)?;
        let place = Place::File { path: path.clone(), _lock: lock };
        let (bak, damaged) = (beside(path, ".bak"), beside(path, ".damaged"));
        let reason = match read(path) {
            Found::Document(document) => return Ok((Store { place, document: Mutex::new(*document) }, None)),
            Found::Nothing if matches!(read(&bak), Found::Nothing) => {
                return Ok((Store { place, document: Mutex::new(fresh) }, None));
            }
            Found::Nothing => "it is gone, though its backup is there".to_owned(),
            Found::Damaged(reason) => reason,
        };
        let backup = match read(&bak) {
            Found::Document(document) => Some(document),
            Found::Nothing | Found::Damaged(_) => None,
        };
        let document = lost(backup.as_deref(), now);
        let mut alarm = format!(
            "state file \"{}\" cannot be used: {reason}; EVERY DATABASE IS READ-ONLY from epoch {} on, until \
             MAINTENANCE OFF opens it",
            path.display(),
            document.all.epoch
        );
        let store = Store { place, document: Mutex::new(document.clone()) };
        // Evidence first. Without it, or without the right to write, the safe state stays in memory and every later start
        // finds the same damage and says the same.
        let kept = if path.exists() { fs::hard_link(path, unused(&damaged)) } else { Ok(()) };
        match kept.map_err(|e| e.to_string()).and_then(|()| store.write(&document, false)) {
            Ok(()) => {}
            Err(e) => alarm.push_str(&format!("; this could not be saved: {e}")),
        }
        Ok((store, Some(alarm)))
    }

    /// A copy of what is in force.
    pub(crate) fn document(&self) -> Document {
        self.document.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is kept of a database; one without a record is as [`Document::all`].
    pub(crate) fn own_record(&self, database: &str) -> Option<Record> {
        self.document.lock().unwrap_or_else(PoisonError::into_inner).databases.get(database).cloned()
    }

    /// Makes a change durable; blocks on the disk. After an error the document is as before.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Document)) -> Result<(), GateError> {
        let mut document = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = document.clone();
        change(&mut next);
        if next != *document {
            self.write(&next, true).map_err(GateError::StateFile)?;
            *document = next;
        }
        Ok(())
    }

    fn write(&self, document: &Document, backup: bool) -> Result<(), String> {
        let Place::File { path, .. } = &self.place else { return Ok(()) };
        let bytes = encode(document).map_err(|e| e.to_string())?;
        replace(path, &bytes, backup).map_err(|e| format!("\"{}\": {e}", path.display()))
    }
}

fn lock(path: &Path) -> Result<File, GateError> {
    // A file of its own: the state file is another one after each rename.
    let name = beside(path, ".lock");
    let failed = |e: io::Error| GateError::StateFile(format!("\"{}\": {e}", name.display()));
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(GateError::StateFileInUse(path.display().to_string())),
        Err(TryLockError::Error(e)) => Err(failed(e)),
    }
}

/// A name not taken yet, so that older evidence stays; after a hundred the last one is given up.
fn unused(path: &Path) -> PathBuf {
    let numbered = (1..100).map(|n| beside(path, &format!(".{n}")));
    let free = [path.to_owned()].into_iter().chain(numbered).find(|p| !p.exists());
    free.unwrap_or_else(|| beside(path, &format!(".{}", std::process::id())))
}

fn replace(path: &Path, bytes: &[u8], backup: bool) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let new = beside(path, ".new");
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    if backup && path.exists() {
        // By a second name for the old file, never by moving it: there is no moment without a state file.
        let link = beside(path, ".bak.new");
        match fs::remove_file(&link) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        fs::hard_link(path, &link)?;
        fs::rename(&link, beside(path, ".bak"))?;
    }
    fs::rename(&new, path)?;
    File::open(folder)?.sync_all()
}

#[cfg(test)]
#[path = "state_file_tests.rs"]
mod tests;
