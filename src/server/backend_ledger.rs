//! Back ends that this proxy has opened and that may write, known by name: on disk too, so that a later life of the process
//! recognises what an earlier one has left at work on a server.
//!
//! One that may write is noted before it is used. As long as its connection lives a session or a pool answers for it. When
//! that is lost, or the process dies, the back end is a [`Stray`]: nobody knows whether it still works. The file survives
//! kill -9; it is a list of lines that grows and is written anew from time to time, and a line too many costs no more than a look
//! at the server. What is noted of a server on another machine is on the disk before that connection is used, since its back ends outlive
//! a crash of this machine; those of a server on this machine die with it, and survive no more than the process. One fsync serves all that
//! were noted before it. The file has room at its end that is written already, so that a full disk keeps nothing from being noted. The secret of its cancel key is noted as well: who has it reaches that very back end and no other.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::fleet::Guard;

/// Lines beyond those that are needed, before the file is written anew.
const SPARE: usize = 256;
/// Room at the end of the file that is there already (bytes): a back end can be noted though the disk is full.
const ROOM: usize = 256 * 1024;
/// Longest file that is taken for one of ours (bytes).
const LONGEST: u64 = 64 << 20;

/// How one back end is recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// The server, as the configuration names it.
    pub address: String,
    /// Its process id.
    pub pid: u32,
    /// The secret of its cancel key.
    pub secret: Vec<u8>,
    /// The role that logged in.
    pub user: String,
    /// The database on the server.
    pub dbname: String,
    /// Our end of the connection, as far as we see it.
    pub local: Option<SocketAddr>,
    /// Between these two moments it began (microseconds of Unix time, by our clock).
    pub began: (u64, u64),
}

/// A moment as [`Backend::began`] has it.
pub fn micros(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_micros()).unwrap_or(u64::MAX)
}

/// What was last seen of a back end that no connection of ours leads to any more.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Sight {
    /// Nobody has looked yet.
    #[default]
    NotYet,
    /// It runs nothing.
    Idle,
    /// It runs this, for people.
    Running(String),
    /// Its server could not be asked: whatever it runs may still commit.
    Unreachable,
}

/// One that no connection of ours leads to any more.
#[derive(Debug)]
pub struct Stray {
    /// Which.
    pub backend: Backend,
    /// Since when it is known to be one.
    pub since: Instant,
    /// What was last seen of it.
    seen: Mutex<Sight>,
}

impl Stray {
    fn new(backend: Backend) -> Arc<Self> {
        Arc::new(Self { backend, since: Instant::now(), seen: Mutex::default() })
    }

    /// Notes what was seen of it.
    pub fn note(&self, sight: Sight) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = sight;
    }

    /// What was last seen of it.
    pub fn sight(&self) -> Sight {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[derive(Debug, Default)]
struct Known {
    live: HashMap<u64, Backend>,
    strays: Vec<Arc<Stray>>,
}

#[derive(Debug)]
struct OnDisk {
    path: PathBuf,
    file: Arc<File>,
    lines: usize,
    /// Where the next line goes.
    end: u64,
    /// A line could not be written: the file is to be written anew.
    lacks: bool,
    /// Lines noted in all.
    noted: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    known: Mutex<Known>,
    disk: Mutex<Option<OnDisk>>,
    /// How many lines are known to be on the disk. Held while they are brought there: who comes meanwhile mostly finds it done.
    synced: Mutex<u64>,
    /// Rung when a back end has become a stray.
    news: Notify,
    /// Until when this proxy may write, if it is one of a fleet.
    guard: Arc<Guard>,
}

impl Ledger {
    /// One that is kept in that file. What stands there are the strays of an earlier life.
    ///
    /// # Errors
    /// It cannot be read or written.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut known = Known::default();
        match fs::symlink_metadata(path) {
            Ok(meta) if meta.len() > LONGEST => return Err(io::Error::other("it is too long")),
            Ok(_) => {
                let bytes = fs::read(path)?;
                // The last line may be torn: that back end was never used.
                let lines = bytes.split(|byte| *byte == b'\n');
                let backends = lines.filter_map(|line| serde_json::from_slice::<Backend>(line).ok());
                known.strays = backends.map(Stray::new).collect();
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let disk = OnDisk::write(path, &known)?;
        Ok(Self { known: Mutex::new(known), disk: Mutex::new(Some(disk)), ..Self::default() })
    }

    /// Until when this proxy may write.
    pub fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    /// Every back end that may write: those in use, and strays.
    pub fn all(&self) -> Vec<Backend> {
        let known = self.known();
        known.live.values().chain(known.strays.iter().map(|stray| &stray.backend)).cloned().collect()
    }

    /// That of a process that takes over from another one, whose back ends are still in use: they become strays with
    /// [`Self::outlives`].
    ///
    /// # Errors
    /// It cannot be written.
    pub fn beside(path: &Path) -> io::Result<Self> {
        let known = Known::default();
        let disk = OnDisk::write(path, &known)?;
        Ok(Self { known: Mutex::new(known), disk: Mutex::new(Some(disk)), ..Self::default() })
    }

    /// From now on it is kept in that file, and the one before is left as it is.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn move_to(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(on_disk) = disk.as_mut() {
            let noted = on_disk.noted;
            *on_disk = OnDisk { noted, ..OnDisk::write(path, &self.known())? };
        }
        Ok(())
    }

    /// The process that has kept that file is gone: what stands there and has not come here is a stray. The file goes.
    pub fn outlives(&self, path: &Path) {
        let Ok(bytes) = fs::read(path) else { return };
        let backends =
            bytes.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<Backend>(line).ok());
        let mut known = self.known();
        for backend in backends {
            let here = known.live.values().any(|live| live.pid == backend.pid && live.address == backend.address);
            if !here {
                known.strays.push(Stray::new(backend));
            }
        }
        drop(known);
        self.news.notify_one();
        let _ = fs::remove_file(path);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a back end under a number of the process's own; `elsewhere`: its server is on another machine. Blocks on the disk; a disk
    /// that fails is logged.
    pub fn add(self: &Arc<Self>, id: u64, backend: Backend, elsewhere: bool) -> Noted {
        let line = line(&backend);
        let needed = {
            let mut known = self.known();
            known.live.insert(id, backend);
            known.live.len() + known.strays.len()
        };
        let mut disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(on_disk) = disk.as_mut() {
            let noted = on_disk.noted + 1;
            let anew = (on_disk.lacks || on_disk.lines > 2 * needed + SPARE)
                .then(|| OnDisk::write(&on_disk.path, &self.known()));
            let written = match anew {
                Some(Ok(anew)) => {
                    *on_disk = anew;
                    Ok(())
                }
                _ => on_disk.append(&line),
            };
            on_disk.lacks |= written.is_err();
            on_disk.noted = noted;
            let path = on_disk.path.clone();
            drop(disk);
            let synced = written.and_then(|()| if elsewhere { self.sync(noted) } else { Ok(()) });
            if let Err(error) = synced {
                tracing::warn!(event = "server_connection_not_noted", path = %path.display(), %error, "a server connection could not be noted");
            }
        }
        Noted { ledger: self.clone(), id, ended: false }
    }

    /// Waits until line number `noted` is on the disk.
    fn sync(&self, noted: u64) -> io::Result<()> {
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if *synced >= noted {
            return Ok(());
        }
        let now = {
            let disk = self.disk.lock().unwrap_or_else(PoisonError::into_inner);
            disk.as_ref().map(|disk| (disk.file.clone(), disk.noted))
        };
        let Some((file, noted)) = now else { return Ok(()) };
        file.sync_data()?;
        *synced = noted;
        Ok(())
    }

    /// Every stray.
    pub fn strays(&self) -> Vec<Arc<Stray>> {
        self.known().strays.clone()
    }

    /// Whether there is any.
    pub fn has_strays(&self) -> bool {
        !self.known().strays.is_empty()
    }

    /// Ends when another back end has become a stray.
    pub async fn another_stray(&self) {
        self.news.notified().await;
    }

    /// Forgets those: they have ended.
    pub fn forget(&self, ended: &[Arc<Stray>]) {
        self.known().strays.retain(|known| !ended.iter().any(|one| Arc::ptr_eq(known, one)));
    }

    fn leave(&self, id: u64, ended: bool) {
        let mut known = self.known();
        if let Some(backend) = known.live.remove(&id)
            && !ended
        {
            known.strays.push(Stray::new(backend));
            self.news.notify_one();
        }
    }
}

impl OnDisk {
    fn write(path: &Path, known: &Known) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&new)?;
        let all = known.live.values().chain(known.strays.iter().map(|stray| &stray.backend));
        let lines: Vec<Vec<u8>> = all.map(line).collect();
        let mut bytes = lines.concat();
        let end = bytes.len();
        bytes.resize(end + ROOM, b' ');
        file.write_all(&bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        // The name too.
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        let (path, file, lines) = (path.to_owned(), Arc::new(file), lines.len());
        Ok(Self { path, file, lines, end: end as u64, lacks: false, noted: 0 })
    }

    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.write_all_at(line, self.end)?;
        self.end += line.len() as u64;
        self.lines += 1;
        Ok(())
    }
}

fn line(backend: &Backend) -> Vec<u8> {
    let mut line = serde_json::to_vec(backend).unwrap_or_default();
    line.push(b'\n');
    line
}

/// A live back end's place in the ledger.
#[derive(Debug)]
pub struct Noted {
    ledger: Arc<Ledger>,
    id: u64,
    ended: bool,
}

impl Noted {
    /// How it is recognised.
    pub fn backend(&self) -> Option<Backend> {
        self.ledger.known().live.get(&self.id).cloned()
    }

    /// The connection was closed with nothing under way: the back end ends by itself.
    pub fn end(&mut self) {
        self.ended = true;
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        self.ledger.leave(self.id, self.ended);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(pid: u32) -> Backend {
        let text = |text: &str| text.to_owned();
        let (address, user, dbname) = (text("127.0.0.1:5432"), text("a\n\"b"), text("app"));
        Backend { address, pid, secret: vec![1, 2, 3, 4], user, dbname, local: None, began: (1, 2) }
    }

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("pgsluice-ledger-{}-{name}", std::process::id()))
    }

    #[test]
    fn what_was_in_use_is_astray_in_the_next_life() {
        let path = path("next");
        let ledger = Arc::new(Ledger::open(&path).unwrap());
        let (one, mut two) = (ledger.add(1, backend(11), true), ledger.add(2, backend(12), false));
        // As after kill -9, in the midst of a line.
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"address\":\"127").unwrap();
        let next = Ledger::open(&path).unwrap();
        let pids: Vec<u32> = next.strays().iter().map(|stray| stray.backend.pid).collect();
        assert_eq!(pids, [11, 12]);
        assert_eq!(next.strays()[0].backend, backend(11));
        two.end();
        drop((one, two));
        assert_eq!(ledger.strays().iter().map(|stray| stray.backend.pid).collect::<Vec<_>>(), [11]);
        ledger.forget(&ledger.strays());
        assert!(!ledger.has_strays());
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn one_sync_serves_all_that_were_noted_before_it() {
        let path = path("synced");
        let ledger = Arc::new(Ledger::open(&path).unwrap());
        let synced = || *ledger.synced.lock().unwrap();
        let here: Vec<_> = (0..5).map(|id| ledger.add(id, backend(1), false)).collect();
        assert_eq!(synced(), 0, "they die with this machine");
        let elsewhere = ledger.add(5, backend(2), true);
        assert_eq!(synced(), 6);
        ledger.sync(3).unwrap();
        assert_eq!(synced(), 6);
        std::thread::scope(|scope| {
            for id in 6..30 {
                let ledger = &ledger;
                scope.spawn(move || drop(ledger.add(id, backend(3), true)));
            }
        });
        assert_eq!(synced(), 30);
        drop((here, elsewhere));
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_back_end_is_noted_where_the_disk_has_no_room_left() {
        let path = path("full");
        let ledger = Arc::new(Ledger::open(&path).unwrap());
        let length = || fs::metadata(&path).unwrap().len();
        let before = length();
        let noted: Vec<_> = (0..200).map(|id| ledger.add(id, backend(id as u32), false)).collect();
        assert_eq!(length(), before, "nothing more is asked of the disk");
        let pids = Ledger::open(&path).unwrap().strays().iter().map(|stray| stray.backend.pid).collect::<Vec<_>>();
        assert_eq!(pids, (0..200).collect::<Vec<u32>>());
        drop(noted);
        fs::remove_file(&path).unwrap();
    }

    #[test]
    fn the_file_does_not_grow_without_end() {
        let path = path("grows");
        let ledger = Arc::new(Ledger::open(&path).unwrap());
        for id in 0..2000 {
            ledger.add(id, backend(1), id % 100 == 0).end();
        }
        assert!(fs::read_to_string(&path).unwrap().lines().count() < 2 * SPARE);
        fs::remove_file(&path).unwrap();
    }
}
