//! Where `pgsluice upgrade` asks: a unix socket beside the state file, for root and for the user that the process runs as.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::shared::Control;

/// Longest command (bytes).
const LONGEST: u64 = 64 * 1024;
/// How long a command may take to come.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Asked {
    /// The program that takes over; None: the one that runs, from where it lies.
    pub upgrade: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It is done.
    Done(String),
    /// It is not.
    Failed(String),
}

/// Where the socket of a process with that state file is.
pub fn path_beside(state_file: &Path) -> PathBuf {
    let mut name = state_file.as_os_str().to_owned();
    name.push(".control");
    name.into()
}

/// Opens it. The state file's lock keeps others from this path, so that what lies there was left behind.
///
/// # Errors
/// It cannot be opened.
pub fn open(path: &Path) -> io::Result<std::os::unix::net::UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves whoever asks, one after the other.
pub async fn serve(listener: std::os::unix::net::UnixListener, control: mpsc::Sender<Control>) {
    let Ok(listener) = UnixListener::from_std(listener) else { return };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let control = control.clone();
                tokio::spawn(async move { answer(stream, control).await });
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

async fn answer(mut stream: UnixStream, control: mpsc::Sender<Control>) -> Option<()> {
    let own = rustix::process::geteuid().as_raw();
    let uid = stream.peer_cred().ok()?.uid();
    if uid != 0 && uid != own {
        return None;
    }
    let (reads, mut writes) = stream.split();
    let mut line = String::new();
    let mut reads = BufReader::new(tokio::io::AsyncReadExt::take(reads, LONGEST));
    timeout(PATIENCE, reads.read_line(&mut line)).await.ok()?.ok()?;
    let outcome = match serde_json::from_str::<Asked>(&line) {
        Ok(asked) => {
            let (tell, told) = oneshot::channel();
            control.send(Control::Upgrade { program: asked.upgrade, tell }).await.ok()?;
            match told.await {
                Ok(Ok(text)) => Outcome::Done(text),
                Ok(Err(text)) => Outcome::Failed(text),
                Err(_) => Outcome::Failed("pgsluice is shutting down".to_owned()),
            }
        }
        Err(error) => Outcome::Failed(error.to_string()),
    };
    let mut text = serde_json::to_string(&outcome).ok()?;
    text.push('\n');
    writes.write_all(text.as_bytes()).await.ok()
}
