//! How far each receiver has come, on disk.

use std::collections::BTreeMap;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// The position of one.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Position {
    /// The last event that was dealt with.
    id: u64,
    /// Events that were given up.
    dead: u64,
}

/// See the module.
pub(super) struct Positions {
    path: Option<PathBuf>,
    all: Mutex<BTreeMap<String, Position>>,
    /// Held while the file is written.
    writing: Mutex<()>,
}

/// What a receiver is known by in the file.
pub(super) fn key(url: &str) -> String {
    Sha256::digest(url.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

impl Positions {
    pub(super) fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let text = match &path {
            Some(path) => match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
                Err(error) => return Err(named(path, &error)),
            },
            None => String::new(),
        };
        // What cannot be read is as if nobody had been told: rather twice than never.
        let all = serde_json::from_str(&text).unwrap_or_default();
        Ok(Self { path, all: Mutex::new(all), writing: Mutex::default() })
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Position>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The largest id in it.
    pub(super) fn newest(&self) -> u64 {
        self.all().values().map(|one| one.id).max().unwrap_or(0)
    }

    /// Begins behind that id, unless it is known where it is.
    pub(super) fn begin(&self, key: &str, id: u64) {
        self.all().entry(key.to_owned()).or_insert(Position { id, dead: 0 });
    }

    /// The last event that it has dealt with.
    pub(super) fn get(&self, key: &str) -> u64 {
        self.all().get(key).map_or(0, |one| one.id)
    }

    /// How many it was not told of.
    pub(super) fn dead(&self, key: &str) -> u64 {
        self.all().get(key).map_or(0, |one| one.dead)
    }

    /// It has dealt with that one. `dead`: by giving it up.
    pub(super) fn advance(&self, key: &str, id: u64, dead: bool) {
        if let Some(one) = self.all().get_mut(key) {
            one.id = one.id.max(id);
            one.dead += u64::from(dead);
        }
    }

    /// Forgets all others.
    pub(super) fn keep_only<'k>(&self, keys: impl Iterator<Item = &'k str>) {
        let keys: Vec<&str> = keys.collect();
        self.all().retain(|key, _| keys.contains(&key.as_str()));
    }

    /// Writes the file. Blocks on the file system.
    pub(super) fn save(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.all().is_empty() && !path.exists() {
            return Ok(());
        }
        let text = serde_json::to_vec(&*self.all()).map_err(io::Error::other)?;
        replace(path, &text).map_err(|error| named(path, &error))
    }
}

pub(super) fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Puts another content in the place of a file, all of it or nothing.
pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let next = PathBuf::from(name);
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(content)?;
    file.sync_data()?;
    std::fs::rename(&next, path)
}
