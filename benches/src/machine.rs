//! On what it was measured.

use std::fs;
use std::process::Command;

/// Cores, processor and kernel, in one line, and how the kernel shares the cores out: by sessions, the servers' being one and the
/// proxies' and their clients' another, or by threads.
pub fn words() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    let model = model.map_or("unknown processor", |(_, name)| name.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let by_sessions = fs::read_to_string("/proc/sys/kernel/sched_autogroup_enabled").unwrap_or_default();
    let shared = match by_sessions.trim() {
        "" => String::new(),
        value => format!(", sched_autogroup_enabled = {value}"),
    };
    format!("{cores} cores, {model}, Linux {}{shared}", kernel.trim())
}

/// The load averages of the last one, five and fifteen minutes.
pub fn load() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

/// Whether others used more than half of the cores, going by load averages of before.
pub fn is_busy(load: &str) -> bool {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let last_minute: f64 = load.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
    last_minute > cores as f64 / 2.0
}

/// Today.
pub fn date() -> String {
    said_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"]).unwrap_or_default()
}

/// The commit that was measured.
pub fn commit() -> Option<String> {
    said_by("git", &["describe", "--always", "--dirty"]).filter(|said| !said.starts_with("fatal"))
}

/// The first line that a program prints, wherever to.
pub fn said_by(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}
