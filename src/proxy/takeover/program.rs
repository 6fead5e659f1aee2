//! The new process is started: the same arguments, another program or the same one anew.

use std::fs::Metadata;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use socket2::{Domain, SockRef};

/// Says to a process that its standard input is the link to the one that it takes over from.
const MARK: &str = "PGSLUICE_TAKEOVER";
/// Who but its owner may write to the program.
const OTHERS_MAY_WRITE: u32 = 0o022;

/// The path that this program was started by: a package may have put another one there since.
pub fn own_path() -> io::Result<PathBuf> {
    let path = std::env::current_exe()?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

/// Only what the administrator of the machine, or the user of this process, has put there is run.
fn check(path: &Path) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("\"{}\" {what}", path.display()));
    if !path.is_absolute() {
        return wrong("is not an absolute path");
    }
    let found: Metadata = std::fs::metadata(path).map_err(|error| format!("\"{}\": {error}", path.display()))?;
    let own = rustix::process::geteuid().as_raw();
    if !found.is_file() || found.mode() & 0o111 == 0 {
        return wrong("is not a program");
    }
    if found.uid() != 0 && found.uid() != own || found.mode() & OTHERS_MAY_WRITE != 0 {
        return wrong(
            "could have been changed by somebody else: it must belong to root or to the user of this process, who alone may write to it",
        );
    }
    Ok(())
}

/// A new process; killed when dropped before it is let go.
pub struct Program(Option<Child>);

impl Program {
    /// Starts it, and gives this side of the link.
    ///
    /// # Errors
    /// It is not to be started, or cannot be.
    pub fn start(path: &Path) -> Result<(Self, UnixStream), String> {
        check(path)?;
        let failed = |error: io::Error| format!("\"{}\" cannot be started: {error}", path.display());
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let mut command = Command::new(path);
        command.args(std::env::args_os().skip(1)).env(MARK, "1").stdin(Stdio::from(OwnedFd::from(theirs)));
        // They are about this process.
        for name in ["WATCHDOG_PID", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            command.env_remove(name);
        }
        let child = command.spawn().map_err(failed)?;
        Ok((Self(Some(child)), ours))
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.0.as_ref().map_or(0, Child::id)
    }

    /// It goes on without this process.
    pub fn let_go(mut self) {
        self.0 = None;
    }

    /// Kills it, and gives how it ended.
    pub fn end(&mut self) -> Option<std::process::ExitStatus> {
        let mut child = self.0.take()?;
        let _ = child.kill();
        child.wait().ok()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.end();
    }
}

/// The link to the process that this one takes over from; None: it is started in the ordinary way.
pub fn inherited_link() -> Option<UnixStream> {
    std::env::var_os(MARK)?;
    let stdin = std::io::stdin();
    if SockRef::from(&stdin).domain().ok()? != Domain::UNIX {
        return None;
    }
    let link = UnixStream::from(stdin.as_fd().try_clone_to_owned().ok()?);
    // What reads from there finds nothing.
    if let Ok(nothing) = std::fs::File::open("/dev/null") {
        let _ = rustix::stdio::dup2_stdin(nothing);
    }
    Some(link)
}
