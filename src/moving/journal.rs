//! The journal: a file beside the state file, replaced as a whole and fsynced.
//!
//! A file that is there and cannot be understood is kept as `….damaged`, and said loudly. Nothing is opened because of it: what a
//! move had closed is closed in the state file, too, and stays so until a person opens it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::entry::{Entry, LatestPrimary, Retired};
use super::migration::Migration;
use crate::gate::{StateFile, sealed};

const VERSION: u32 = 1;
/// What is longer is not ours (bytes).
const LONGEST: u64 = 16 << 20;
/// Moves that are over and still shown.
const KEPT: usize = 50;

/// All that is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Document {
    /// The number of the last move.
    pub(super) last: u64,
    /// Moves, oldest first.
    pub(super) moves: Vec<Entry>,
    /// Servers that are the primary no longer.
    #[serde(default)]
    pub(super) retired: Vec<Retired>,
    /// How far the primary of each cluster has come.
    #[serde(default)]
    pub(super) primaries: Vec<LatestPrimary>,
    /// Databases that have two sides.
    #[serde(default)]
    pub(super) migrations: Vec<Migration>,
}

impl Document {
    /// Keeps what is known of a move now.
    pub(super) fn put(&mut self, entry: &Entry) {
        match self.moves.iter_mut().find(|known| known.id == entry.id) {
            Some(known) => known.clone_from(entry),
            None => self.moves.push(entry.clone()),
        }
        while self.moves.len() > KEPT
            && let Some(at) = self.moves.iter().position(|known| known.end.is_some())
        {
            self.moves.remove(at);
        }
    }
}

/// The document in force and the place where it is kept.
#[derive(Debug)]
pub(super) struct Journal {
    path: Option<PathBuf>,
    document: Mutex<Document>,
}

impl Journal {
    /// Reads what is there, under the lock of the state file; the second value says what is wrong with it.
    pub(super) fn open(state_file: &StateFile) -> (Self, Option<String>) {
        let Some(path) = state_file.path().map(|path| sealed::beside(path, ".moves")) else {
            return (Self { path: None, document: Mutex::default() }, None);
        };
        match read(&path) {
            Ok(document) => (Self { path: Some(path), document: Mutex::new(document) }, None),
            Err(why) => {
                let mut alarm = format!(
                    "the journal of moves \"{}\" cannot be used: {why}; whatever a move had closed stays closed until MAINTENANCE OFF",
                    path.display()
                );
                let kept = fs::hard_link(&path, sealed::unused(&sealed::beside(&path, ".damaged")));
                let journal = Self { path: Some(path), document: Mutex::default() };
                // Evidence first: a journal whose damage could not be kept is not written over.
                let written = kept.and_then(|()| journal.write(&Document::default()).map_err(io::Error::other));
                if let Err(error) = written {
                    alarm.push_str(&format!("; this could not be saved: {error}"));
                }
                (journal, Some(alarm))
            }
        }
    }

    /// A copy of what is in force.
    pub(super) fn document(&self) -> Document {
        self.document.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn write(&self, document: &Document) -> Result<(), String> {
        let Some(path) = &self.path else { return Ok(()) };
        let bytes = sealed::seal(VERSION, document).map_err(|error| error.to_string())?;
        sealed::replace(path, &bytes, false).map_err(|error| format!("\"{}\": {error}", path.display()))
    }

    /// Makes a change durable; blocks on the disk. After an error the document is as before.
    fn change_now(&self, change: impl FnOnce(&mut Document)) -> Result<(), String> {
        let mut document = self.document.lock().unwrap_or_else(PoisonError::into_inner);
        let mut next = document.clone();
        change(&mut next);
        if next != *document {
            self.write(&next)?;
            *document = next;
        }
        Ok(())
    }

    /// Makes a change durable.
    pub(super) async fn change(
        self: Arc<Self>,
        change: impl FnOnce(&mut Document) + Send + 'static,
    ) -> Result<(), String> {
        let written = tokio::task::spawn_blocking(move || self.change_now(change)).await;
        written.unwrap_or_else(|_| Err("the process is stopping".into()))
    }
}

fn read(path: &Path) -> Result<Document, String> {
    let length = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Document::default()),
        Err(error) => return Err(error.to_string()),
        Ok(meta) => meta.len(),
    };
    if length > LONGEST {
        return Err("it is too long".into());
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let (_, body) = sealed::open(&bytes, VERSION..=VERSION)?;
    serde_json::from_str(body.get()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_journal_is_kept_and_said_and_another_one_begins() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFile::Path(folder.path().join("state.json"));
        let (journal, alarm) = Journal::open(&state);
        assert!(alarm.is_none());
        let retired = Retired { cluster: "c".into(), server: "h:1".into(), timeline: 3, fenced: true };
        journal.change_now(|document| document.retired.push(retired.clone())).unwrap();
        let (again, alarm) = Journal::open(&state);
        assert_eq!((again.document().retired, alarm), (vec![retired], None));

        let path = folder.path().join("state.json.moves");
        let whole = fs::read(&path).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 5] {
            fs::write(&path, &whole[..cut]).unwrap();
            let (journal, alarm) = Journal::open(&state);
            assert!(alarm.unwrap().contains("cannot be used"), "cut at {cut}");
            assert_eq!(journal.document(), Document::default());
            assert!(Journal::open(&state).1.is_none(), "it was replaced");
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 5, "each damaged one is kept");
    }
}
