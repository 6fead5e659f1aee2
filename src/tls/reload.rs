//! Certificate files that change while we run.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io;
use std::path::{Path, PathBuf};

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

/// The hash of a file's content: times and inodes miss a file that is written twice within a second, or a mount that
/// swaps a link. Keyed, and used for nothing but "changed".
type Content = Result<u64, io::ErrorKind>;

/// Files that are read together, and what was seen of them.
#[derive(Debug, Default)]
pub struct FileWatch {
    hasher: RandomState,
    files: Vec<PathBuf>,
    /// What they held at the last look.
    seen: Vec<Content>,
    /// What they held when they were last read, whether that was of use or not.
    read: Vec<Content>,
}

impl FileWatch {
    /// Looks at the files. True if they hold something else than when they were last [read](Self::is_read), and did so at the last
    /// look already: what is copied, or replaced one file after the other, is not read in the middle of that. Blocks on the file
    /// system: not on an event loop.
    pub fn is_due(&mut self, files: &[&Path]) -> bool {
        let same = self.files.iter().map(PathBuf::as_path).eq(files.iter().copied());
        let now: Vec<Content> = files.iter().map(|path| self.content(path)).collect();
        if !same {
            // Other files than before have been read by whoever has named them.
            self.files = files.iter().map(|path| path.to_path_buf()).collect();
            self.read.clone_from(&now);
        }
        let settled = self.seen == now;
        self.seen = now;
        settled && self.seen != self.read
    }

    /// What was seen last has been read.
    pub fn is_read(&mut self) {
        self.read.clone_from(&self.seen);
    }

    fn content(&self, path: &Path) -> Content {
        match files::read(path) {
            Ok(bytes) => Ok(self.hasher.hash_one(bytes.as_slice())),
            Err(error) => Err(error.kind()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_due_once_it_has_come_to_rest() {
        let folder = tempfile::tempdir().unwrap();
        let [cert, key] = ["cert", "key"].map(|name| folder.path().join(name));
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        write(&cert, "one");
        write(&key, "one");
        let mut watch = FileWatch::default();
        let mut due = |reads: bool| {
            let due = watch.is_due(&[&cert, &key]);
            if due && reads {
                watch.is_read();
            }
            due
        };
        assert!(!due(true) && !due(true), "nothing has changed");
        write(&cert, "two");
        assert!(!due(true));
        write(&key, "two");
        assert!(!due(true), "they are still being replaced");
        assert!(due(true) && !due(true));
        std::fs::remove_file(&key).unwrap();
        assert!(!due(true) && due(false) && due(true) && !due(true));
    }
}
