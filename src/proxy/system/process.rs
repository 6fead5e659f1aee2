//! What the process is to the system: the user that it runs as, and the file with its number.

use std::io;
use std::path::{Path, PathBuf};

use crate::config::Process;

/// Accounts and groups that are looked at: a broken file must not keep the start for ever.
const MOST_LINES: usize = 100_000;

/// A field of the line of `/etc/passwd` or `/etc/group` that has this name.
fn field(file: &str, name: &str, at: usize) -> io::Result<u32> {
    let text = std::fs::read_to_string(file)?;
    let line = text.lines().take(MOST_LINES).find(|line| line.split(':').next() == Some(name));
    let number = line.and_then(|line| line.split(':').nth(at)?.parse().ok());
    number.ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{name} is not in {file}")))
}

/// The number of a group, by its name or as it is.
///
/// # Errors
/// There is no such group.
pub fn group(name: &str) -> io::Result<u32> {
    name.parse().or_else(|_| field("/etc/group", name, 2))
}

/// Becomes the user of the configuration, if root has started the process. Before any thread is there: each has rights of its own.
///
/// # Errors
/// There is no such user, or the process may not become it.
#[expect(unsafe_code, reason = "the C library sets the user of all threads at once")]
pub fn become_user(process: &Process) -> io::Result<()> {
    let name = process.user.as_str();
    if name.is_empty() {
        return Ok(());
    }
    let wrong = |error: io::Error| io::Error::new(error.kind(), format!("user: {error}"));
    let (uid, gid) = (field("/etc/passwd", name, 2).map_err(wrong)?, field("/etc/passwd", name, 3).map_err(wrong)?);
    let name = std::ffi::CString::new(name).map_err(io::Error::from)?;
    // SAFETY: no pointers but that of a string that lives longer than the call.
    let own = unsafe { libc::geteuid() };
    if own == uid {
        return Ok(());
    }
    // SAFETY: as above.
    let done = unsafe { libc::initgroups(name.as_ptr(), gid) == 0 && libc::setgid(gid) == 0 && libc::setuid(uid) == 0 };
    if done { Ok(()) } else { Err(wrong(io::Error::last_os_error())) }
}

/// The file with the number of the process; it goes with it.
#[derive(Debug)]
pub struct PidFile(PathBuf);

impl PidFile {
    /// Writes it, whoever has before: that process is taken over from.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn replace(path: &Path) -> io::Result<Self> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("pidfile: {}: {error}", path.display()));
        std::fs::write(path, format!("{}\n", std::process::id())).map_err(named)?;
        Ok(Self(path.to_owned()))
    }

    /// Writes it.
    ///
    /// # Errors
    /// It cannot be written, or another process that lives has written it.
    pub fn write(path: &Path) -> io::Result<Self> {
        let before = std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
        let alive = |pid: u32| pid != std::process::id() && Path::new(&format!("/proc/{pid}")).exists();
        if let Some(pid) = before.filter(|pid| alive(*pid)) {
            let text = format!("pidfile: {}: process {pid} has written it and is running", path.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
        }
        Self::replace(path)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let own = std::fs::read_to_string(&self.0).is_ok_and(|text| text.trim() == std::process::id().to_string());
        if own {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_a_living_process_is_not_overwritten_and_an_old_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        std::fs::write(&path, "1\n").unwrap();
        assert!(PidFile::write(&path).unwrap_err().to_string().contains("process 1"));
        std::fs::write(&path, "4000000\n").unwrap();
        let file = PidFile::write(&path).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().trim(), std::process::id().to_string());
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn groups_and_users_are_found_by_name() {
        assert_eq!(group("root").unwrap(), 0);
        assert_eq!(group("4711").unwrap(), 4711);
        assert!(group("no such group").is_err());
        let user = |user: &str| become_user(&Process { user: user.into(), ..Process::default() });
        assert!(user("").is_ok() && user("no such user").unwrap_err().to_string().contains("/etc/passwd"));
    }
}
