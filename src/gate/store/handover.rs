//! The state and its lock pass from a process to the one that takes over.
//!
//! The lock belongs to the open file and not to a process: while both have it open nobody else can have it, and it is free once
//! the last of them has ended. The former one writes nothing from then on.

use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::atomic::Ordering::SeqCst;

use super::lock_file::LockFile;
use super::state_file::{Document, Place, StateFile, Store};
use crate::gate::error::GateError;

/// What a process is given by the one before it.
#[derive(Debug)]
pub struct InheritedState {
    /// The lock beside the state file; None where the state is in memory alone.
    pub lock: Option<OwnedFd>,
    /// The state, as it stands in the file.
    pub document: String,
}

/// Where a process has its state from.
#[derive(Debug)]
pub struct StateSource {
    /// Where it is kept.
    pub file: StateFile,
    /// From the process before this one, if it takes over from one.
    pub inherited: Option<InheritedState>,
}

impl From<&StateFile> for StateSource {
    fn from(file: &StateFile) -> Self {
        Self { file: file.clone(), inherited: None }
    }
}

impl Store {
    /// The state of the process before this one.
    pub(crate) fn inherit(file: &StateFile, inherited: InheritedState) -> Result<Store, GateError> {
        let unusable = |what: &str| GateError::StateFile(format!("what the former process has handed over: {what}"));
        let document: Document =
            serde_json::from_str(&inherited.document).map_err(|error| unusable(&error.to_string()))?;
        let place = match (file, inherited.lock) {
            (StateFile::Ephemeral, None) => Place::Nowhere,
            (StateFile::Path(path), Some(lock)) => Place::File { path: path.clone(), lock: LockFile::inherited(lock) },
            _ => return Err(unusable("its state is kept elsewhere")),
        };
        let unsaved = matches!(&place, Place::File { lock, .. } if lock.unsaved_epoch().is_some());
        let store = Store::new(place, document);
        store.unsaved.store(unsaved, SeqCst);
        Ok(store)
    }

    /// Writes nothing from now on, and gives what the next process needs.
    pub(crate) fn hand_over(&self) -> Result<InheritedState, GateError> {
        let unusable = |what: String| GateError::StateFile(what);
        let lock = match &self.place {
            Place::Nowhere => None,
            Place::File { lock, .. } => {
                Some(lock.file().as_fd().try_clone_to_owned().map_err(|error| unusable(error.to_string()))?)
            }
        };
        let held = self.in_force();
        self.frozen.store(true, SeqCst);
        let document = serde_json::to_string(&*held).map_err(|error| unusable(error.to_string()))?;
        Ok(InheritedState { lock, document })
    }

    /// The other process has not taken over: what has changed meanwhile is written.
    pub(crate) fn take_back(&self) {
        let held = self.in_force();
        if self.frozen.swap(false, SeqCst) {
            self.write_or_note(&held, true);
        }
    }
}
