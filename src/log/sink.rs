//! Where lines go: standard error, a file that can be opened anew, or syslog.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

use crate::config::{Log, SyslogFacility};

/// Where the system's log listens.
const SYSLOG: &str = "/dev/log";
/// Bytes of a line that syslog gets.
const LONGEST: usize = 8 * 1024;

/// See the module.
#[derive(Clone, Debug)]
pub enum Sink {
    /// Standard error.
    Stderr,
    /// A file.
    File(Arc<LogFile>),
    /// The system's log.
    Syslog(Arc<Syslog>),
}

/// A file, and what is needed to open it again after somebody has moved it away.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

/// The system's log.
#[derive(Debug)]
pub struct Syslog {
    socket: UnixDatagram,
    ident: String,
    facility: u8,
}

fn open(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.map_err(|error| io::Error::new(error.kind(), format!("logfile: cannot open {}: {error}", path.display())))
}

impl Sink {
    /// As the configuration has it.
    ///
    /// # Errors
    /// The file cannot be opened, or no syslog listens.
    pub fn of(log: &Log) -> io::Result<Self> {
        if log.syslog {
            let named = |error: io::Error| io::Error::new(error.kind(), format!("syslog: {SYSLOG}: {error}"));
            let socket = UnixDatagram::unbound()?;
            socket.connect(SYSLOG).map_err(named)?;
            let (ident, facility) = (log.syslog_ident.clone(), number(log.syslog_facility));
            return Ok(Self::Syslog(Arc::new(Syslog { socket, ident, facility })));
        }
        match &log.logfile {
            None => Ok(Self::Stderr),
            Some(path) => Ok(Self::File(Arc::new(LogFile { path: path.clone(), file: Mutex::new(open(path)?) }))),
        }
    }

    /// Opens the file again: a rotation may have moved it. Lines go on into the old one if that fails.
    pub fn reopen(&self) {
        let Self::File(log) = self else { return };
        match open(&log.path) {
            Ok(file) => *log.file.lock().unwrap_or_else(PoisonError::into_inner) = file,
            Err(error) => tracing::error!(event = "log_file", %error, "the log file cannot be opened again"),
        }
    }
}

fn number(facility: SyslogFacility) -> u8 {
    match facility {
        SyslogFacility::User => 1,
        SyslogFacility::Daemon => 3,
        SyslogFacility::Auth => 4,
        SyslogFacility::Authpriv => 10,
        SyslogFacility::Local0 => 16,
        SyslogFacility::Local1 => 17,
        SyslogFacility::Local2 => 18,
        SyslogFacility::Local3 => 19,
        SyslogFacility::Local4 => 20,
        SyslogFacility::Local5 => 21,
        SyslogFacility::Local6 => 22,
        SyslogFacility::Local7 => 23,
    }
}

/// A line under way.
#[derive(Debug)]
pub struct Line<'s> {
    sink: &'s Sink,
    severity: u8,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self.sink {
            Sink::Stderr => io::stderr().write_all(line)?,
            Sink::File(log) => log.file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line)?,
            Sink::Syslog(log) => {
                let text = line.trim_ascii_end();
                let text = text.get(..LONGEST.min(text.len())).unwrap_or(text);
                let head = format!("<{}>{}[{}]: ", log.facility << 3 | self.severity, log.ident, std::process::id());
                // A log that is down does not stop anybody.
                let _ = log.socket.send(&[head.as_bytes(), text].concat());
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'s> MakeWriter<'s> for Sink {
    type Writer = Line<'s>;

    fn make_writer(&'s self) -> Line<'s> {
        Line { sink: self, severity: 6 }
    }

    fn make_writer_for(&'s self, about: &Metadata<'_>) -> Line<'s> {
        let severity = match *about.level() {
            Level::ERROR => 3,
            Level::WARN => 4,
            Level::INFO => 6,
            Level::DEBUG | Level::TRACE => 7,
        };
        Line { sink: self, severity }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_moved_away_is_opened_anew() {
        let folder = tempfile::tempdir().unwrap();
        let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
        let sink = Sink::of(&Log { logfile: Some(path.clone()), ..Log::default() }).unwrap();
        let write = |text: &str| sink.make_writer().write_all(text.as_bytes()).unwrap();
        write("one\n");
        std::fs::rename(&path, &moved).unwrap();
        write("two\n");
        sink.reopen();
        write("three\n");
        assert_eq!(std::fs::read_to_string(moved).unwrap(), "one\ntwo\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "three\n");
        let nowhere = Log { logfile: Some(folder.path().join("no/log")), ..Log::default() };
        assert!(Sink::of(&nowhere).unwrap_err().to_string().contains("logfile"));
    }
}
