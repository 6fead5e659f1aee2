//! What the kernel knows of a process.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::time::ClockId;
use nix::unistd::Pid;

/// Lets this process and its children open as many files as the system grants.
///
/// # Errors
/// The limit can be neither read nor set.
pub fn raise_open_files() -> nix::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
}

/// Processor time that all threads of a process have used so far, user and system: what utime and stime of
/// `/proc/PID/stat` say, but not rounded to ticks of 10 ms.
pub fn cpu_time(pid: i32) -> Option<Duration> {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid)).ok()?;
    clock.now().ok().map(Duration::from)
}

/// Resident memory (VmRSS) in KiB.
pub fn resident_kib(pid: i32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Counts the system calls of a process with `perf stat`, where there is one that may.
#[derive(Debug)]
pub struct CallCounter(Child);

impl CallCounter {
    /// Begins to count.
    pub fn start(pid: i32) -> Option<CallCounter> {
        let mut command = Command::new("perf");
        command.args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "-p", &pid.to_string()]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().ok()?;
        Some(CallCounter(child))
    }

    /// Ends it: how many there were.
    pub fn stop(self) -> Option<u64> {
        let _ = kill(Pid::from_raw(self.0.id().cast_signed()), Signal::SIGINT);
        let told = self.0.wait_with_output().ok()?;
        let told = String::from_utf8_lossy(&told.stderr);
        let line = told.lines().find(|line| line.contains("raw_syscalls:sys_enter"))?;
        line.split(',').next()?.parse().ok()
    }
}
