//! What the kernel knows of a process.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill, killpg};
use nix::time::ClockId;
use nix::unistd::Pid;

/// The kernel's name of what is counted.
const EVENT: &str = "raw_syscalls:sys_enter";

/// Lets this process and its children open as many files as the system grants.
///
/// # Errors
/// The limit can be neither read nor set.
pub fn raise_open_files() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

/// A process and its children, and theirs.
fn family(pid: i32) -> Vec<i32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(parent) = all.get(at) {
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        all.extend(children.split_whitespace().filter_map(|word| word.parse::<i32>().ok()));
        at += 1;
    }
    all
}

/// Whether a process has children.
pub fn has_children(pid: i32) -> bool {
    family(pid).len() > 1
}

/// Kills what is left of a process's group; the fixtures give each process that they start a group of its own.
pub fn kill_group(pid: i32) {
    let _ = killpg(Pid::from_raw(pid), Signal::SIGKILL);
}

/// Processor time that all threads of a process and its children have used so far, user and system, threads that have
/// ended among them: what utime and stime of `/proc/PID/stat` say, but not rounded to ticks of 10 ms.
pub fn cpu_time(pid: i32) -> Option<Duration> {
    let of = |pid: i32| {
        let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).ok()?;
        clock.now().ok().map(Duration::from)
    };
    let own = of(pid)?;
    Some(family(pid).into_iter().skip(1).filter_map(of).sum::<Duration>() + own)
}

/// Resident memory (VmRSS) in KiB; of a family of processes, what each has a share in is divided between them (PSS).
pub fn resident_kib(pid: i32) -> Option<u64> {
    let field = |file: &str, name: &str, pid: i32| -> Option<u64> {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
        let line = text.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    let family = family(pid);
    if family.len() == 1 {
        return field("status", "VmRSS:", pid);
    }
    Some(family.into_iter().filter_map(|pid| field("smaps_rollup", "Pss:", pid)).sum())
}

/// How many sockets a process and its children have open.
pub fn sockets(pid: u32) -> usize {
    let is_socket =
        |file: &fs::DirEntry| fs::read_link(file.path()).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"));
    let of = |pid: i32| fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    family(pid.cast_signed()).into_iter().flat_map(of).filter(is_socket).count()
}

/// Tells pgbench, which that process is or has started, that its time (`-T`) is over, as its own timer would.
pub fn end_of_time(pid: u32) {
    if let Some(pgbench) = family(pid.cast_signed()).last() {
        let _ = kill(Pid::from_raw(*pgbench), Signal::SIGALRM);
    }
}

/// What goes before a command so that the system calls of a process are counted while the command runs: from before it
/// starts until it has ended, by a counter in the kernel, which stops nobody.
pub fn counting(pid: i32, into: &Path) -> Vec<String> {
    let pids = family(pid).iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    ["perf", "stat", "-x", ",", "-o", &into.to_string_lossy(), "-e", EVENT, "-p", &pids, "--"].map(String::from).into()
}

/// How many there were.
pub fn counted(file: &Path) -> Option<f64> {
    let told = fs::read_to_string(file).ok()?;
    let line = told.lines().find(|line| line.contains(EVENT))?;
    line.split(',').next()?.parse().ok()
}
