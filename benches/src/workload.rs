//! What the contenders are asked to do, by pgbench.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::contender::{Contender, DATABASE, Kind, Stage, USER};
use crate::figures::Sample;
use crate::measure::{CallCounter, cpu_time, resident_kib};
use crate::options::Options;

/// Clients of the workloads that are not about their number.
const CLIENTS: u32 = 32;
/// Clients that each fetch 10 MB at a time.
const FETCHERS: u32 = 4;
/// Transactions for each client below which a load does not count.
const LEAST_FOR_EACH: u32 = 2;
const BIG_RESULT: &str = "select line from big;\n";

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Simple,
    Extended,
    Prepared,
}

impl Protocol {
    fn word(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
            Self::Prepared => "prepared",
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// One row by its key (`pgbench -S`).
    Select(Protocol),
    /// `pgbench`'s own transaction of seven statements.
    TpcB,
    /// One row by its key and a connection for each (`pgbench -S -C`).
    Churn,
    /// 10 MB in rows of a kilobyte.
    Result,
}

/// A workload with a number of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    work: Work,
    clients: u32,
}

impl Workload {
    /// Those that were asked for, in the order of the report.
    ///
    /// # Errors
    /// A name that there is not.
    pub fn chosen(options: &Options) -> Result<Vec<Workload>, Failure> {
        let selects = [Protocol::Simple, Protocol::Extended, Protocol::Prepared];
        let mut all: Vec<Workload> = options
            .clients
            .iter()
            .flat_map(|&clients| selects.map(|protocol| Workload { work: Work::Select(protocol), clients }))
            .collect();
        all.push(Workload { work: Work::TpcB, clients: CLIENTS });
        all.push(Workload { work: Work::Churn, clients: CLIENTS });
        all.push(Workload { work: Work::Result, clients: FETCHERS });
        if let Some(unknown) = options.only.iter().find(|name| all.iter().all(|workload| workload.name() != *name)) {
            return Err(format!("--only: there is no workload {unknown}").into());
        }
        all.retain(|workload| options.only.is_empty() || options.only.iter().any(|name| name == workload.name()));
        Ok(all)
    }

    fn name(&self) -> &'static str {
        match self.work {
            Work::Select(protocol) => protocol.word(),
            Work::TpcB => "tpcb",
            Work::Churn => "churn",
            Work::Result => "result",
        }
    }

    /// What it is called in tables.
    pub fn title(&self) -> String {
        match self.work {
            Work::Select(protocol) => format!("-S {}, {}", protocol.word(), self.clients),
            Work::TpcB => format!("TPC-B, {}", self.clients),
            Work::Churn => format!("-S -C, {}", self.clients),
            Work::Result => format!("10 MB result, {}", self.clients),
        }
    }

    /// Whether that contender takes part in it.
    pub fn suits(&self, contender: &Contender) -> bool {
        contender.kind != Kind::ReadsOnly || matches!(self.work, Work::Select(_))
    }

    /// Loads a contender for so long and measures it.
    ///
    /// # Errors
    /// pgbench has failed; its last words.
    pub fn run(&self, stage: &Stage, contender: &Contender, seconds: u32, more: &[&str]) -> Result<Sample, String> {
        let log = stage.folder.join("pgbench_log");
        let script = stage.folder.join("result.sql");
        let mut args: Vec<String> = match self.work {
            Work::Select(protocol) => vec!["-S".into(), "-M".into(), protocol.word().into()],
            Work::TpcB => Vec::new(),
            Work::Churn => vec!["-S".into(), "-C".into()],
            Work::Result => {
                fs::write(&script, BIG_RESULT).map_err(|error| error.to_string())?;
                vec!["-f".into(), script.to_string_lossy().into_owned()]
            }
        };
        let database = match self.work {
            Work::Select(Protocol::Prepared) => contender.prepared_database,
            _ => DATABASE,
        };
        let threads = match self.work {
            // pgbench waits for each connection: a thread can open but one at a time.
            Work::Churn => 8,
            _ if self.clients > 100 => 2,
            _ => 1,
        };
        let port = contender.port.to_string();
        let (clients, threads, seconds) = (self.clients.to_string(), threads.to_string(), seconds.to_string());
        args.extend(["-n", "-c", &clients, "-j", &threads, "-T", &seconds].map(String::from));
        args.extend(["-h", "127.0.0.1", "-p", &port, "-U", USER].map(String::from));
        args.extend(more.iter().map(ToString::to_string));
        if matches!(self.work, Work::Select(_) | Work::TpcB | Work::Result) {
            // A connection's time is not part of what -C logs: it has no percentile.
            args.extend(["--log".into(), format!("--log-prefix={}", log.display())]);
            if matches!(self.work, Work::Select(_)) {
                args.push("--sampling-rate=0.2".into());
            }
        }
        args.push(database.into());

        let cpu = || contender.pid.and_then(cpu_time);
        let before = cpu();
        let output = Command::new(&stage.pgbench)
            .args(&args)
            .env("PGSSLMODE", "disable")
            .env("PGGSSENCMODE", "disable")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| error.to_string())?;
        let used = cpu().zip(before).map(|(after, before)| after.saturating_sub(before));
        let resident = contender.pid.and_then(resident_kib);
        let latencies = take_latencies(&stage.folder);
        let (told, words) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if !output.status.success() {
            return Err(words.lines().find(|line| line.contains("error")).unwrap_or("pgbench failed").into());
        }
        let transactions =
            number_after(&told, "number of transactions actually processed: ").ok_or("no number of transactions")?;
        if transactions < f64::from(self.clients * LEAST_FOR_EACH) {
            // Log-ins would be most of what is measured, and a ratio to it would be wild.
            return Err(format!("only {transactions} transactions in {seconds} s: the machine had no time"));
        }
        Ok(Sample {
            transactions,
            per_second: number_after(&told, "tps = ").ok_or("no tps")?,
            average_ms: number_after(&told, "latency average = ").ok_or("no latency")?,
            p99_ms: percentile(latencies, 99),
            cpu_us: used.map(|used| used.as_secs_f64() * 1e6 / transactions),
            resident_kib: resident,
        })
    }

    /// System calls of the proxy for each transaction, from a run of its own.
    pub fn count_calls(&self, stage: &Stage, contender: &Contender) -> Option<f64> {
        let counter = CallCounter::start(contender.pid?)?;
        let sample = self.run(stage, contender, 1, &[]);
        let calls = counter.stop()?;
        Some(calls as f64 / sample.ok()?.transactions)
    }
}

/// Fills pools and caches.
///
/// # Errors
/// The contender does not work at all.
pub fn warm_up(stage: &Stage, contender: &Contender) -> Result<(), Failure> {
    let workload = Workload { work: Work::Select(Protocol::Simple), clients: CLIENTS };
    workload.run(stage, contender, 1, &[]).map_err(|error| format!("{}: {error}", contender.name))?;
    Ok(())
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
        if !entry.file_name().to_string_lossy().starts_with("pgbench_log.") {
            continue;
        }
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        latencies.extend(text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u64>().ok()));
        let _ = fs::remove_file(entry.path());
    }
    latencies
}

fn percentile(mut latencies: Vec<u64>, percent: usize) -> Option<f64> {
    latencies.sort_unstable();
    let at = (latencies.len() * percent / 100).min(latencies.len().checked_sub(1)?);
    latencies.get(at).map(|&micros| micros as f64 / 1e3)
}
