//! PgBouncer's command line, for whatever starts it by path: `pgsluice [-d] [-q] [-v] [-u USER] pgbouncer.ini`, or the same program
//! under the name `pgbouncer`.

use std::ffi::{OsStr, OsString};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use clap::Parser;

use super::exit::{Failure, complain};
use super::run::{former, refuse, serve_with};
use crate::config::{Config, LogLevel, Overrides};

/// The name that makes it PgBouncer whatever its arguments are.
const NAME: &str = "pgbouncer";
/// How often the process in the background is looked at until it is ready.
const LOOK: Duration = Duration::from_millis(100);

/// As PgBouncer reads its arguments.
#[derive(Debug, Parser)]
#[command(name = "pgsluice", version, about = "pgsluice with PgBouncer's command line", arg_required_else_help = true)]
struct Line {
    /// Run in the background.
    #[arg(short, long)]
    daemon: bool,
    /// Say nothing on standard error.
    #[arg(short, long)]
    quiet: bool,
    /// Take over from a running process.
    #[arg(short = 'R', long, action = clap::ArgAction::Count)]
    reboot: u8,
    /// Run as this user.
    #[arg(short, long, value_name = "USERNAME")]
    user: Option<String>,
    /// Log more.
    #[arg(short, long, action = clap::ArgAction::Count)]
    verbose: u8,
    /// The configuration.
    #[arg(value_name = "CONFIG_FILE")]
    file: PathBuf,
}

/// Whether these arguments are PgBouncer's and not a command of pgsluice's.
fn is_meant(args: &[OsString]) -> bool {
    let called = args.first().and_then(|program| Path::new(program).file_name());
    if called == Some(OsStr::new(NAME)) {
        return true;
    }
    let is_ini = |arg: &OsString| Path::new(arg).extension().is_some_and(|ext| ext.eq_ignore_ascii_case("ini"));
    let begins_otherwise = |arg: &OsString| arg.to_string_lossy().starts_with('-') || is_ini(arg);
    match args.get(1..) {
        Some([first, ..]) => begins_otherwise(first) && args.iter().skip(1).any(is_ini),
        _ => false,
    }
}

/// Runs what the arguments say, if they are PgBouncer's.
pub(super) fn run(args: Vec<OsString>) -> Option<ExitCode> {
    is_meant(&args).then(|| start(&Line::parse_from(args.clone()), args))
}

fn start(line: &Line, args: Vec<OsString>) -> ExitCode {
    if line.reboot > 0 {
        let text = "-R: the sockets of a running process cannot be taken over by this option";
        return Failure::Usage(text.to_owned()).report();
    }
    let overrides = Overrides { log_level: (line.verbose > 0).then_some(LogLevel::Debug), ..Overrides::default() };
    let mut config = match Config::load_with(&line.file, &overrides) {
        Ok(config) => config,
        Err(errors) => return refuse(&errors),
    };
    let log = &mut config.log;
    let silent = log.logfile.is_none() && !log.syslog;
    if line.daemon {
        if config.process.pidfile.is_none() {
            return Failure::Usage("-d needs a pidfile in the configuration".to_owned()).report();
        }
        if silent {
            return Failure::Usage("-d needs a logfile or syslog in the configuration".to_owned()).report();
        }
        let log =
            log.logfile.as_ref().map_or("the system's log (syslog)".to_owned(), |path| path.display().to_string());
        return in_background(args, &log).unwrap_or_else(|error| Failure::Other(format!("-d: {error}")).report());
    }
    if line.quiet && silent {
        log.logfile = Some("/dev/null".into());
    }
    if let Some(user) = &line.user {
        config.process.user.clone_from(user);
    }
    serve_with(config, overrides, former())
}

/// Starts the same without `-d`, in a process group of its own, and returns once that is ready or has given up.
fn in_background(args: Vec<OsString>, log: &str) -> std::io::Result<ExitCode> {
    let folder = std::env::temp_dir().join(format!("pgsluice-daemon-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let socket = UnixDatagram::bind(folder.join("notify"))?;
    socket.set_read_timeout(Some(LOOK))?;
    let is_flag = |arg: &OsString| {
        let arg = arg.to_string_lossy();
        arg == "--daemon" || arg.starts_with('-') && !arg.starts_with("--") && arg.contains('d')
    };
    // Short options may stand together.
    let without = |arg: OsString| {
        let text = arg.to_string_lossy().into_owned();
        if !is_flag(&arg) {
            return Some(arg);
        }
        let rest = if text == "--daemon" { String::new() } else { text.replacen('d', "", 1) };
        (rest.len() > 1).then(|| rest.into())
    };
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_default();
    let mut child = Command::new(std::env::current_exe()?)
        .arg0(program)
        .args(args.filter_map(without))
        .env("NOTIFY_SOCKET", folder.join("notify"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()?;
    let mut state = [0; 512];
    let code = loop {
        if let Ok(read) = socket.recv(&mut state)
            && state.get(..read).is_some_and(|state| state.starts_with(b"READY=1"))
        {
            break ExitCode::SUCCESS;
        }
        if let Some(status) = child.try_wait()? {
            complain(format_args!("pgsluice: the process in the background has ended: {status}; {log} says why"));
            break ExitCode::FAILURE;
        }
    };
    std::fs::remove_dir_all(&folder)?;
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<OsString> {
        line.split(' ').map(Into::into).collect()
    }

    #[test]
    fn a_line_of_pgbouncers_is_told_from_a_command() {
        for line in [
            "pgsluice a.ini",
            "/x/pgsluice -q a.ini",
            "pgsluice -dqu nobody a.ini",
            "pgbouncer x",
            "/usr/sbin/pgbouncer -V",
        ] {
            assert!(is_meant(&args(line)), "{line}");
        }
        for line in [
            "pgsluice",
            "pgsluice --version",
            "pgsluice -V",
            "pgsluice check-config a.ini",
            "pgsluice run --config a.ini",
        ] {
            assert!(!is_meant(&args(line)), "{line}");
        }
        let read = Line::try_parse_from(args("pgsluice -qvv -u nobody a.ini")).unwrap();
        assert!(read.quiet && !read.daemon && read.verbose == 2 && read.user.as_deref() == Some("nobody"));
        assert!(Line::try_parse_from(args("pgsluice -x a.ini")).is_err());
    }
}
