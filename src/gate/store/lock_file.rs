//! The lock beside the state file: one process at a time uses that. Its file is never replaced, so it also remembers that a
//! state has been saved: if state and backup are gone then, they were lost, and this is no first start. And it remembers how far
//! epochs have been used which could not be saved. That is written over what is there, for which a full disk has room.

use crate::gate::error::GateError;
use crate::gate::state::mode::Epoch;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What stands in the file once a state has been saved, for people who look into it.
const SAVED: &[u8] = b"A state has been saved beside this file. If it is gone, every database starts read-only.\n";

/// The same where epochs have been used since that could not be saved; the highest of them follows.
const UNSAVED: &str = "Epochs up to ";

/// As earlier versions say that, without a number.
const UNSAVED_BEFORE: &[u8] = b"A state was in force that could not be saved: ";

/// The whole line, no longer than [`SAVED`].
fn unsaved_line(highest: Epoch) -> String {
    format!("{UNSAVED}{:020} are used and not saved: a start goes on above.        \n", highest.0)
}

/// The number in such a line.
fn unsaved_epoch(line: &[u8]) -> Option<Epoch> {
    if line.starts_with(UNSAVED_BEFORE) {
        return Some(Epoch::default());
    }
    let digits = line.strip_prefix(UNSAVED.as_bytes())?.get(..20)?;
    str::from_utf8(digits).ok()?.parse().ok().map(Epoch)
}

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

    /// The highest epoch that has been used and not saved; None: all are saved.
    pub(in crate::gate) fn unsaved_epoch(&self) -> Option<Epoch> {
        let mut line = [0; SAVED.len()];
        self.0.read_exact_at(&mut line, 0).ok()?;
        unsaved_epoch(&line)
    }

    /// Epochs up to this are used and could not be saved.
    pub(in crate::gate) fn remember_unsaved_epoch(&self, highest: Epoch) -> io::Result<()> {
        if self.unsaved_epoch().is_some_and(|known| known >= highest && known > Epoch::default()) {
            return Ok(());
        }
        self.0.write_all_at(unsaved_line(highest).as_bytes(), 0)?;
        self.0.sync_all()
    }

    fn write_once(&self) -> io::Result<()> {
        if !self.remembers_a_state() || self.unsaved_epoch().is_some() {
            self.0.write_all_at(SAVED, 0)?;
            self.0.set_len(SAVED.len() as u64)?;
            self.0.sync_all()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_its_number_and_is_no_longer_than_what_it_stands_over() {
        for epoch in [0, 7, u64::MAX] {
            let line = unsaved_line(Epoch(epoch));
            assert_eq!((unsaved_epoch(line.as_bytes()), line.len()), (Some(Epoch(epoch)), SAVED.len()));
        }
        assert_eq!(unsaved_epoch(SAVED), None);
        assert!(unsaved_epoch(b"A state was in force that could not be saved: the epochs of the next start").is_some());
    }
}
