//! The lock beside the state file: one process at a time uses that. Its file is never replaced, so it also remembers that a
//! state has been saved: if state and backup are gone then, they were lost, and this is no first start. And it remembers that
//! epochs have been used which could not be saved. That is written over what is there, for which a full disk has room.

use crate::gate::error::GateError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What stands in the file once a state has been saved, for people who look into it.
const SAVED: &[u8] = b"A state has been saved beside this file. If it is gone, every database starts read-only.\n";

/// The same, as long, where epochs have been used since that could not be saved.
const UNSAVED: &[u8] =
    b"A state was in force that could not be saved: the epochs of the next start begin above it.  \n";

/// Held as long as it lives.
#[derive(Debug)]
pub(in crate::gate) struct LockFile(File);

impl LockFile {
    /// Locks that file; `state_file` is what it stands for.
    pub(in crate::gate) fn lock(name: &Path, state_file: &Path) -> Result<LockFile, GateError> {
        let failed = |e: io::Error| GateError::StateFile(format!("\"{}\": {e}", name.display()));
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(name).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(LockFile(file)),
            Err(TryLockError::WouldBlock) => Err(GateError::StateFileInUse(state_file.display().to_string())),
            Err(TryLockError::Error(e)) => Err(failed(e)),
        }
    }

    /// That of the process before, which has it open too.
    pub(in crate::gate) fn inherited(file: OwnedFd) -> LockFile {
        LockFile(file.into())
    }

    /// The file.
    pub(in crate::gate) fn file(&self) -> &File {
        &self.0
    }

    /// Whether a state has ever been saved.
    pub(in crate::gate) fn remembers_a_state(&self) -> bool {
        self.0.metadata().is_ok_and(|meta| meta.len() > 0)
    }

    /// A state has been saved.
    pub(in crate::gate) fn remember(&self, state_file: &Path) {
        if let Err(error) = self.write_once() {
            tracing::warn!(
                event = "lock_file",
                "the lock file beside \"{}\" cannot be written, so the loss of that file would not be noticed: {error}",
                state_file.display()
            );
        }
    }

    /// Whether epochs have been used since a state was saved.
    pub(in crate::gate) fn remembers_unsaved_epochs(&self) -> bool {
        let mut first = [0; UNSAVED.len()];
        self.0.read_exact_at(&mut first, 0).is_ok() && first == *UNSAVED
    }

    /// Epochs are used that could not be saved.
    pub(in crate::gate) fn remember_unsaved_epochs(&self) -> io::Result<()> {
        self.0.write_all_at(UNSAVED, 0)?;
        self.0.sync_all()
    }

    fn write_once(&self) -> io::Result<()> {
        if !self.remembers_a_state() || self.remembers_unsaved_epochs() {
            self.0.write_all_at(SAVED, 0)?;
            self.0.set_len(SAVED.len() as u64)?;
            self.0.sync_all()?;
        }
        Ok(())
    }
}
