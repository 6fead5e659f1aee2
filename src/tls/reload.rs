//! Certificate files that change while we run.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::error::TlsError;
use super::files;

/// A configuration made of files.
pub trait TlsFiles {
    /// What connections use.
    type Loaded;

    /// The files that [`load`](Self::load) reads.
    fn files(&self) -> Vec<&Path>;

    /// Reads the files. Blocks on the file system.
    ///
    /// # Errors
    /// [`TlsError`], naming the file and the reason.
    fn load(&self) -> Result<Self::Loaded, TlsError>;
}

/// A configuration and its newest good load. Reading it is lock-free.
pub struct Reloadable<C: TlsFiles> {
    files: C,
    hasher: RandomState,
    /// What the files held when `current` was loaded.
    seen: Mutex<Vec<Content>>,
    current: ArcSwap<C::Loaded>,
}

/// The hash of a file's content: times and inodes miss a file that is written twice within a second, or a mount that
/// swaps a link. Keyed, and used for nothing but "changed".
type Content = Result<u64, io::ErrorKind>;

/// What a look at the files has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// They are as they were.
    Unchanged,
    /// New connections use what they hold now.
    Loaded,
}

impl<C: TlsFiles> Reloadable<C> {
    /// Loads for the first time.
    ///
    /// # Errors
    /// As [`TlsFiles::load`].
    pub fn new(files: C) -> Result<Self, TlsError> {
        let hasher = RandomState::new();
        let seen = contents(&files, &hasher);
        let current = ArcSwap::from_pointee(files.load()?);
        Ok(Self { files, hasher, seen: Mutex::new(seen), current })
    }

    /// What a new connection is to use.
    #[must_use]
    pub fn current(&self) -> Arc<C::Loaded> {
        self.current.load_full()
    }

    /// Loads again if a file's content has changed. Blocks on the file system: not on an event loop.
    ///
    /// # Errors
    /// As [`TlsFiles::load`]; the last good load then stays, and the next call tries again: a key that is written a
    /// moment after its certificate is no accident.
    pub fn reload_if_changed(&self) -> Result<Reload, TlsError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the load: what changes in between is seen as changed next time.
        let now = contents(&self.files, &self.hasher);
        if *seen == now {
            return Ok(Reload::Unchanged);
        }
        self.current.store(Arc::new(self.files.load()?));
        *seen = now;
        Ok(Reload::Loaded)
    }
}

fn contents<C: TlsFiles>(files: &C, hasher: &RandomState) -> Vec<Content> {
    let content = |path: &Path| match files::read(path) {
        Ok(bytes) => Ok(hasher.hash_one(bytes.as_slice())),
        Err(error) => Err(error.kind()),
    };
    files.files().into_iter().map(content).collect()
}
