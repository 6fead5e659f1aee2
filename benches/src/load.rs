//! One load: pgbench or psql before a contender, and what it took.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::contender::{Contender, DATABASE, Place, SCRAM_PASSWORD, SCRAM_USER, USER};
use crate::figures::Sample;
use crate::measure;
use crate::stage::Stage;
use crate::workload::{PIPELINED, Protocol, Work, Workload};

/// Transactions for each client below which a load does not count.
const LEAST_FOR_EACH: u32 = 2;
const BIG_RESULT: &str = "select line from big;\n";
const COPY: &str = "copy copied from stdin";
/// How long a load may take beyond its time before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(2);

/// How long a load lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many seconds.
    Seconds(u32),
    /// So many transactions of each client.
    Each(u32),
}

/// How a workload is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// For how long.
    pub amount: Amount,
    /// Transactions per second of `Work::Half`.
    pub rate: u32,
}

impl Load {
    /// Loads a contender with it and measures.
    ///
    /// # Errors
    /// pgbench has failed; its last words.
    pub fn run(&self, workload: &Workload, stage: &Stage, contender: &Contender) -> Result<Sample, String> {
        let place = place(workload, contender)?;
        let told = self.perform(workload, stage, contender, None)?;
        if told.transactions < f64::from(workload.clients * self.least(workload)) {
            // Log-ins would be most of what is measured, and a ratio to it would be wild.
            return Err(format!("only {} transactions: the machine had no time", told.transactions));
        }
        let latency = |percent| percentile(&told.latencies, percent);
        Ok(Sample {
            per_second: told.per_second,
            average_ms: told.average_ms,
            p50_ms: latency(50),
            p99_ms: latency(99),
            cpu_us: told.cpu.map(|used| used.as_secs_f64() * 1e6 / told.transactions),
            server_us: told.server_cpu.map(|used| used.as_secs_f64() * 1e6 / told.transactions),
            resident_kib: place.resident(),
        })
    }

    /// System calls of the proxy for each transaction, from two runs of their own: what is more in the longer one, so
    /// that neither log-ins nor partings are in it.
    pub fn count_calls(&self, workload: &Workload, stage: &Stage, contender: &Contender) -> Option<f64> {
        let pid = place(workload, contender).ok()?.pid?;
        let file = stage.folder.join("calls");
        let count = |load: &Load| -> Option<(f64, f64)> {
            let counter = measure::counting(pid, &file);
            let told = load.perform(workload, stage, contender, Some(counter)).ok()?;
            let calls = measure::counted(&file);
            let _ = fs::remove_file(&file);
            Some((told.transactions, calls?))
        };
        let (many, calls) = count(self)?;
        if matches!(workload.work, Work::Copy | Work::Churn | Work::Scram) {
            // One transaction, beside which a log-in is nothing; or a log-in belongs to each.
            return Some(calls / many);
        }
        let (few, calls_of_few) = count(&Load { amount: Amount::Each(1), ..*self })?;
        (many > few).then(|| (calls - calls_of_few) / (many - few))
    }

    fn least(&self, workload: &Workload) -> u32 {
        match self.amount {
            Amount::Each(_) => 1,
            Amount::Seconds(_) if workload.work == Work::Copy => 1,
            Amount::Seconds(_) => LEAST_FOR_EACH,
        }
    }

    fn perform(
        &self,
        workload: &Workload,
        stage: &Stage,
        contender: &Contender,
        counter: Option<Vec<String>>,
    ) -> Result<Told, String> {
        if workload.work == Work::Copy {
            stage.forget_copied()?;
        }
        let place = place(workload, contender)?;
        let words = self.words(workload, stage, contender, place)?;
        // What is counted apart starts the load itself.
        let all: Vec<String> = counter.iter().flatten().chain(&words).cloned().collect();
        let (program, args) = all.split_first().ok_or("no command")?;
        let (out, err) = (stage.folder.join("out"), stage.folder.join("err"));
        let file = |path: &PathBuf| File::create(path).map_err(|error| error.to_string());
        let mut command = Command::new(program);
        command.args(args).stdout(file(&out)?).stderr(file(&err)?).stdin(Stdio::null());
        if workload.work == Work::Copy {
            command.stdin(File::open(stage.copied()).map_err(|error| error.to_string())?);
        }
        let tls = if workload.work == Work::Tls { "require" } else { "disable" };
        command.env("PGSSLMODE", tls).env("PGGSSENCMODE", "disable").env("PGPASSWORD", SCRAM_PASSWORD);

        let began = Instant::now();
        let (mut before, mut server_before) = (place.cpu(), stage.server_cpu());
        let mut child = command.spawn().map_err(|error| format!("{program}: {error}"))?;
        let mut connected: Option<Instant> = None;
        let mut told_to_end = false;
        let status = loop {
            if let Some(status) = child.try_wait().map_err(|error| error.to_string())? {
                break status;
            }
            match connected {
                None if !workload.connects_once() => {}
                None if measure::sockets(child.id()) >= workload.clients as usize => {
                    // From here on: how clients got in is not part of their transactions.
                    (before, server_before) = (place.cpu(), stage.server_cpu());
                    connected = Some(Instant::now());
                }
                Some(since) if self.time().is_some_and(|time| since.elapsed() >= time) && !told_to_end => {
                    measure::end_of_time(child.id());
                    told_to_end = true;
                }
                _ => {}
            }
            if began.elapsed() > PATIENCE + self.time().unwrap_or_default() {
                end(&mut child);
                return Err(format!("not over after {} s", began.elapsed().as_secs()));
            }
            std::thread::sleep(LOOK);
        };
        let took = began.elapsed();
        let cpu = place.cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
        // A server process that has ended would take its time with it.
        let server_cpu = stage.server_cpu().zip(server_before).and_then(|(after, before)| after.checked_sub(before));
        let latencies = take_latencies(&stage.folder);
        let read = |path: &PathBuf| fs::read_to_string(path).unwrap_or_default();
        let (out, err) = (read(&out), read(&err));
        if !status.success() {
            return Err(err.lines().find(|line| line.to_lowercase().contains("error")).unwrap_or("it failed").into());
        }
        if workload.work == Work::Copy {
            let seconds = took.as_secs_f64();
            let (per_second, average_ms) = (1.0 / seconds, seconds * 1e3);
            return Ok(Told { transactions: 1.0, per_second, average_ms, latencies, cpu, server_cpu });
        }
        Ok(Told {
            transactions: number_after(&out, "actually processed: ").ok_or("no number of transactions")?,
            per_second: number_after(&out, "tps = ").ok_or("no tps")?,
            average_ms: number_after(&out, "latency average = ").ok_or("no latency")?,
            latencies,
            cpu,
            server_cpu,
        })
    }

    fn time(&self) -> Option<Duration> {
        match self.amount {
            Amount::Seconds(seconds) => Some(Duration::from_secs(seconds.into())),
            Amount::Each(_) => None,
        }
    }

    /// The program and its arguments.
    fn words(
        &self,
        workload: &Workload,
        stage: &Stage,
        contender: &Contender,
        place: &Place,
    ) -> Result<Vec<String>, String> {
        let user = if workload.work == Work::Scram { SCRAM_USER } else { USER };
        let port = place.port.to_string();
        let to = ["-h", "127.0.0.1", "-p", &port, "-U", user];
        if workload.work == Work::Copy {
            let psql =
                [&*stage.psql.to_string_lossy(), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", COPY].map(String::from);
            return Ok(psql.into_iter().chain(to.map(String::from)).chain(["-d".into(), DATABASE.into()]).collect());
        }
        let script = |text: &str| -> Result<String, String> {
            let path = stage.folder.join("script.sql");
            fs::write(&path, text).map_err(|error| error.to_string())?;
            Ok(path.to_string_lossy().into_owned())
        };
        let mut words: Vec<String> = vec![stage.pgbench.to_string_lossy().into_owned()];
        let mut add = |more: &[&str]| words.extend(more.iter().map(ToString::to_string));
        match workload.work {
            Work::Select(protocol) => add(&["-S", "-M", protocol.word()]),
            Work::TpcB | Work::Copy => {}
            Work::Churn | Work::Scram => add(&["-S", "-C"]),
            Work::Result => add(&["-f", &script(BIG_RESULT)?]),
            Work::Pipeline => add(&["-M", "extended", "-f", &script(&pipeline(stage.accounts))?]),
            Work::Tls => add(&["-S"]),
            Work::Half => add(&["-S", "--rate", &self.rate.max(1).to_string()]),
        }
        let threads = match workload.work {
            // pgbench waits for each connection: a thread can open but one at a time.
            Work::Churn | Work::Scram => 8,
            _ if workload.clients > 100 => 2,
            _ => 1,
        };
        add(&["-n", "-c", &workload.clients.to_string(), "-j", &threads.to_string()]);
        match self.amount {
            // Its clock runs while clients connect: it is told when its time is over.
            Amount::Seconds(seconds) if workload.connects_once() => {
                add(&["-T", &(u64::from(seconds) + 2 * PATIENCE.as_secs()).to_string()]);
            }
            Amount::Seconds(seconds) => add(&["-T", &seconds.to_string()]),
            Amount::Each(count) => add(&["-t", &count.to_string()]),
        }
        add(&to);
        if !matches!(workload.work, Work::Churn | Work::Scram) {
            // A connection's time is not part of what -C logs: it has no percentile.
            add(&["--log", &format!("--log-prefix={}", stage.folder.join(LOG).display())]);
            if matches!(workload.work, Work::Select(_) | Work::Tls) && self.amount != Amount::Each(1) {
                add(&["--sampling-rate=0.2"]);
            }
        }
        add(&[if workload.work == Work::Select(Protocol::Prepared) { contender.prepared_database } else { DATABASE }]);
        Ok(words)
    }
}

const LOG: &str = "pgbench_log";

/// What a load has told.
struct Told {
    transactions: f64,
    per_second: f64,
    average_ms: f64,
    /// In microseconds, from the least on.
    latencies: Vec<u64>,
    cpu: Option<Duration>,
    /// Of the primary with all its processes.
    server_cpu: Option<Duration>,
}

fn place<'a>(workload: &Workload, contender: &'a Contender) -> Result<&'a Place, String> {
    match workload.work {
        Work::Scram => contender.scram.as_ref().ok_or_else(|| "knows nobody".into()),
        _ => Ok(&contender.place),
    }
}

fn pipeline(accounts: u32) -> String {
    let select = "SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n".repeat(PIPELINED as usize);
    format!("\\set aid random(1, {accounts})\n\\startpipeline\n{select}\\endpipeline\n")
}

/// Whatever it has started goes with it, if it is told so kindly.
fn end(child: &mut Child) {
    let _ = kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
    let until = Instant::now() + Duration::from_secs(2);
    while Instant::now() < until && !matches!(child.try_wait(), Ok(Some(_))) {
        std::thread::sleep(LOOK);
    }
    let _ = child.kill();
    let _ = child.wait();
}

fn number_after(text: &str, words: &str) -> Option<f64> {
    let rest = text.split_once(words)?.1;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}

/// Latencies in microseconds from pgbench's logs, which are removed.
fn take_latencies(folder: &Path) -> Vec<u64> {
    let mut latencies = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(LOG) {
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        latencies.extend(text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok()));
        let _ = fs::remove_file(entry.path());
    }
    latencies.sort_unstable();
    latencies
}

fn percentile(sorted: &[u64], percent: usize) -> Option<f64> {
    let at = (sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?);
    sorted.get(at).map(|&micros| micros as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_in_what_pgbench_says() {
        let said =
            "number of transactions actually processed: 12/100\nlatency average = 0.5 ms\ntps = 1234.5 (without)\n";
        assert_eq!(number_after(said, "actually processed: "), Some(12.0));
        assert_eq!(number_after(said, "tps = "), Some(1234.5));
        assert_eq!(number_after(said, "nothing"), None);
    }

    #[test]
    fn percentiles_are_of_what_there_is() {
        let all: Vec<u64> = (1..=1000).collect();
        assert_eq!(percentile(&all, 50), Some(0.501));
        assert_eq!(percentile(&all, 99), Some(0.991));
        assert_eq!(percentile(&[7000], 99), Some(7.0));
        assert_eq!(percentile(&[], 99), None);
    }

    #[test]
    fn a_pipeline_is_one_script() {
        let script = pipeline(100_000);
        assert_eq!(script.lines().count(), 3 + PIPELINED as usize);
        assert!(script.starts_with("\\set aid random(1, 100000)\n\\startpipeline\nSELECT"));
    }
}
