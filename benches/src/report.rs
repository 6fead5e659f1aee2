//! What is told: on the terminal in short, in the document with everything, and in the picture beside it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::contender::{Contender, Kind, Manner};
use crate::figures::{Figures, Metric};
use crate::glance;
use crate::machine;
use crate::nanos::Nanos;
use crate::options::Options;
use crate::plot::{self, Panel};
use crate::tables::{markdown, number, words};
use crate::targets;
use crate::workload::{CLIENTS, Protocol, Work, Workload};

/// What a reader must know to read the ratios.
const HOW: &str = "A ratio is taken within a round, where the contenders follow each other within seconds, and is the median \
    over the rounds; in brackets are the lowest and the highest. Processor time is that of the proxy's process, user and system \
    (what utime and stime of /proc/PID/stat count, read in nanoseconds), from when all clients of a load are connected. \
    The 99th percentile at half load is of transactions that begin when it is their time, whether the one before is over or \
    not. System calls are counted by the kernel (perf's `raw_syscalls:sys_enter`) in loads of their own, without log-ins.\n\n";

/// All that is told.
pub struct Report<'a> {
    /// What was measured.
    pub figures: &'a Figures,
    /// Under what.
    pub workloads: &'a [Workload],
    /// As it was asked for.
    pub options: &'a Options,
    /// Who took part.
    pub contenders: &'a [Contender],
    /// PostgreSQL's version.
    pub server: String,
    /// The machine's load averages before and after.
    pub load: (String, String),
    /// What criterion has measured.
    pub nanos: Vec<Nanos>,
}

/// Where the picture of a document goes: beside it, by the same name in small letters.
pub fn picture_of(document: &Path) -> PathBuf {
    let stem = document.file_stem().map(|stem| stem.to_string_lossy().to_lowercase()).unwrap_or_default();
    document.with_file_name(format!("{stem}.svg"))
}

impl Report<'_> {
    /// What matters most, for a terminal.
    pub fn summary(&self) -> String {
        let mut text = self.targets();
        for (base, name) in self.bases() {
            for metric in [Metric::Cpu, Metric::PerSecond, Metric::P99] {
                text.push_str(&self.ratios(base, name, metric));
            }
        }
        text + &self.price() + &self.calls() + &self.idle()
    }

    /// The whole document, with links to its pictures.
    pub fn document(&self, picture: &Path) -> String {
        let short = glance::picture_of(picture);
        let picture = picture.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let mut text = String::from(
            "# Benchmarks\n\n\
             pgsluice side by side with PgBouncer, haproxy (as a plain TCP relay) and Pgpool-II, loaded in turn by pgbench and psql.\n\n",
        );
        let _ = write!(
            text,
            "{}{}## Targets\n\n{}## Ratios\n\n{HOW}![Ratios to PgBouncer as bars]({picture})\n\n",
            self.glance(&short),
            self.head(),
            self.targets()
        );
        let all = [Metric::Cpu, Metric::ServerCpu, Metric::PerSecond, Metric::P50, Metric::P99, Metric::Resident];
        for metric in all {
            for (base, name) in self.bases() {
                text.push_str(&self.ratios(base, name, metric));
            }
        }
        if let Some(direct) = self.find(Kind::Direct) {
            text.push_str(&self.ratios(direct, "direct", Metric::PerSecond));
        }
        text.push_str(&self.price());
        text.push_str(&self.calls());
        text.push_str(&self.connections());
        text.push_str(&self.idle());
        text.push_str(&self.small_costs());
        text.push_str("## Figures\n");
        text.push_str(&self.absolutes());
        text.push_str(&self.notes());
        text
    }

    /// Ratios to PgBouncer, or to who is first, as bars.
    pub fn picture(&self) -> String {
        let (base, name) = self.bases().first().copied().unwrap_or((0, "the first"));
        let panel = |metric: Metric| {
            let bars = |workload: &Workload| -> Vec<_> {
                // The one is a line.
                let all = (0..self.contenders.len()).filter(|at| *at != base);
                all.filter_map(|at| Some((at, self.figures.ratio(workload, at, base, metric)?))).collect()
            };
            let tells = |workload: &Workload| match metric {
                Metric::Cpu => true,
                // At half load everyone has the same.
                Metric::PerSecond => workload.is_main() && workload.work != Work::Half,
                _ => workload.is_main(),
            };
            let shown = self.workloads.iter().filter(|workload| tells(workload));
            let groups = shown.map(|workload| (workload.title(), bars(workload)));
            Panel {
                title: format!("{}, {name} = 1 ({})", metric.title(), metric.direction()),
                groups: groups.filter(|(_, bars)| !bars.is_empty()).collect(),
            }
        };
        plot::svg(&self.figures.names, &[Metric::Cpu, Metric::PerSecond, Metric::P99].map(panel))
    }

    fn head(&self) -> String {
        let mut text = String::from(
            "## How it was measured\n\nAll figures are of one run of `make bench` and are only worth comparing with each other.\n\n",
        );
        let commit = machine::commit().map(|it| format!(", commit {it}")).unwrap_or_default();
        let _ = writeln!(text, "- Date: {}{commit}", machine::date());
        let (before, after) = &self.load;
        let _ = writeln!(text, "- Machine: {}; load average {before} before and {after} after", machine::words());
        if machine::is_busy(before) {
            text.push_str(
                "- Other programs kept the machine busy meanwhile: transactions per second and latencies say little, and \
                 processor time for each transaction is higher than on a quiet machine, for all alike\n",
            );
        }
        let names: Vec<&str> = self.contenders.iter().map(|contender| contender.name.as_str()).collect();
        let _ = writeln!(text, "- PostgreSQL {}; {}", self.server, names.join("; "));
        if let Some(built) = &self.options.built {
            let _ = writeln!(text, "- pgsluice was built {built}");
        }
        // Where criterion's folder lies is benches/run's affair.
        let args = std::env::args().skip(1).take_while(|word| word != "--micro");
        let args: Vec<String> = args.map(|word| without_folders(&word)).collect();
        let _ = writeln!(text, "- Command: `{}`", format!("benches/run {}", args.join(" ")).trim());
        let rounds = self.options.rounds();
        let _ = writeln!(
            text,
            "- {rounds} rounds of {} s ({} at half load) for the workloads that have a target or 32 clients, {} for the others; {} server connections \
             for each pooler in transaction mode; worker threads by default; trust authentication, no TLS where nothing else \
             is said; TCP over loopback\n",
            self.options.seconds,
            self.options.seconds * crate::TAIL,
            (rounds * 3).div_ceil(5),
            self.options.pool
        );
        text
    }

    fn find(&self, kind: Kind) -> Option<usize> {
        self.contenders.iter().position(|contender| contender.kind == kind)
    }

    /// Whom others are compared with.
    fn bases(&self) -> Vec<(usize, &'static str)> {
        let both = [(Kind::PgBouncer, "PgBouncer"), (Kind::HaProxy, "haproxy")];
        both.into_iter().filter_map(|(kind, name)| Some((self.find(kind)?, name))).collect()
    }

    fn targets(&self) -> String {
        let mut rows = vec![words(&["", "target", "measured", ""])];
        let all = targets::all(self.figures, self.contenders, &self.nanos);
        rows.extend(
            all.into_iter().map(|one| vec![one.what.clone(), one.goal.words(), one.measured(), one.verdict().into()]),
        );
        markdown(&rows)
    }

    fn ratios(&self, base: usize, name: &str, metric: Metric) -> String {
        let table = self.table(metric.is_of_a_process(), |workload, index| {
            if index == base {
                let value = self.figures.median(workload, index, metric)?;
                return Some(format!("1 ({})", metric.with_unit(value)));
            }
            let ratio = self.figures.ratio(workload, index, base, metric)?;
            Some(format!("**{:.2}** ({:.2} to {:.2})", ratio.median, ratio.low, ratio.high))
        });
        table.map_or_else(String::new, |table| {
            format!("{}, {name} = 1 ({}):\n\n{table}", metric.title(), metric.direction())
        })
    }

    /// Reads through a closed gate beside the same through an open one, both on the primary.
    fn price(&self) -> String {
        let both = (self.find(Kind::Pgsluice(Manner::ReadOnly)), self.find(Kind::Pgsluice(Manner::Open)));
        let (Some(closed), Some(open)) = both else { return String::new() };
        let metrics = [Metric::PerSecond, Metric::ServerCpu, Metric::Cpu, Metric::P50, Metric::P99];
        let head = ["".to_owned()].into_iter().chain(metrics.map(|metric| metric.title().to_owned()));
        let mut rows: Vec<Vec<String>> = vec![head.collect()];
        for workload in self.workloads {
            let cell = |metric| {
                let ratio = self.figures.ratio(workload, closed, open, metric)?;
                Some(format!("**{:.2}** ({:.2} to {:.2})", ratio.median, ratio.low, ratio.high))
            };
            let cells = metrics.map(cell);
            if cells.iter().any(Option::is_some) {
                let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "-".into()));
                rows.push(std::iter::once(workload.title()).chain(cells).collect());
            }
        }
        if rows.len() < 2 {
            return String::new();
        }
        format!("What a closed gate costs, gate open = 1, reads on the primary:\n\n{}", markdown(&rows))
    }

    /// Workloads down, contenders across; None where there is nothing to tell.
    fn table(&self, of_a_process: bool, cell: impl Fn(&Workload, usize) -> Option<String>) -> Option<String> {
        let all = self.contenders.iter().enumerate();
        let takes: Vec<(usize, &Contender)> =
            all.filter(|(_, contender)| !of_a_process || contender.place.pid.is_some()).collect();
        let head = std::iter::once(String::new()).chain(takes.iter().map(|(_, contender)| contender.name.clone()));
        let mut rows: Vec<Vec<String>> = vec![head.collect()];
        for workload in self.workloads {
            let cells: Vec<Option<String>> = takes.iter().map(|(index, _)| cell(workload, *index)).collect();
            if cells.iter().any(Option::is_some) {
                let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "-".into()));
                rows.push(std::iter::once(workload.title()).chain(cells).collect());
            }
        }
        (rows.len() > 1).then(|| markdown(&rows))
    }

    fn calls(&self) -> String {
        let table =
            self.table(true, |workload, index| self.figures.calls(workload, index).map(|calls| format!("{calls:.2}")));
        match table {
            Some(table) => format!("System calls of the proxy for each transaction:\n\n{table}"),
            None if self.workloads.iter().any(Workload::counts_calls) && !self.options.smoke => {
                "System calls were not counted: perf is not here, or it may not.\n\n".into()
            }
            None => String::new(),
        }
    }

    /// What is left of a connection for each transaction when the transaction is taken off.
    fn connections(&self) -> String {
        let mut rows = vec![words(&["", "CPU µs/connection", "with SCRAM", "SCRAM log-ins/s"])];
        for (index, contender) in self.contenders.iter().enumerate() {
            let cpu = |workload: Workload| self.figures.median(&workload, index, Metric::Cpu);
            let transaction = cpu(Workload::select(Protocol::Simple, CLIENTS));
            let beyond = |work: Work| Some(cpu(Workload::other(work))? - transaction?);
            let scram = self.figures.median(&Workload::other(Work::Scram), index, Metric::PerSecond);
            let cells = [number(beyond(Work::Churn), 1), number(beyond(Work::Scram), 1), number(scram, 0)];
            if cells.iter().any(|cell| cell != "-") {
                rows.push(std::iter::once(contender.name.clone()).chain(cells).collect());
            }
        }
        if rows.len() == 1 {
            return String::new();
        }
        format!(
            "New connections (-S -C without what -S costs; with SCRAM, clients are busy for most of the time):\n\n{}",
            markdown(&rows)
        )
    }

    fn idle(&self) -> String {
        if self.figures.idle.is_empty() {
            return String::new();
        }
        let mut rows = vec![words(&[
            "",
            "idle clients",
            "prepared statements each",
            "KiB each",
            "KiB at the start",
            "KiB with them",
            "KiB after they left",
            "above the start",
        ])];
        for (index, weight) in &self.figures.idle {
            rows.push(vec![
                self.contenders[*index].name.clone(),
                weight.clients.to_string(),
                weight.names.to_string(),
                format!("{:.1}", weight.each()),
                weight.before.to_string(),
                weight.with.to_string(),
                weight.after.to_string(),
                format!("{:+.0}%", weight.kept() * 100.0),
            ]);
        }
        format!(
            "Resident memory and idle clients, after one query each; prepared statements are of 20 texts. Each row is of a process \
             that was just started and had served 32 clients for a second; memory is what is resident up to five seconds after \
             clients have left:\n\n{}",
            markdown(&rows)
        )
    }

    fn small_costs(&self) -> String {
        if self.nanos.is_empty() {
            return String::new();
        }
        let mut rows = vec![words(&["", "ns"])];
        rows.extend(self.nanos.iter().map(|one| vec![one.name.clone(), number(Some(one.nanoseconds), 1)]));
        format!(
            "## Small costs\n\nOf the classifier, of finding messages, and of the gate, one by one (medians of `cargo bench -p \
             pgsluice-benches --bench micro`):\n\n{}",
            markdown(&rows)
        )
    }

    fn absolutes(&self) -> String {
        let mut text = String::new();
        for workload in self.workloads {
            let _ = writeln!(text, "\n### {}\n", workload.title());
            let metrics = [Metric::PerSecond, Metric::Cpu, Metric::Average, Metric::P50, Metric::P99, Metric::Resident];
            let mut rows = vec![words(&[
                "",
                "transactions/s",
                "CPU µs/transaction",
                "average ms",
                "p50 ms",
                "p99 ms",
                "VmRSS KiB",
                "system calls",
            ])];
            for (index, contender) in self.contenders.iter().enumerate().filter(|(_, it)| workload.suits(it)) {
                let value = |metric: Metric| {
                    let value = self.figures.median(workload, index, metric);
                    value.map_or_else(|| "-".into(), |value| metric.with_unit(value))
                };
                let calls = number(self.figures.calls(workload, index), 2);
                rows.push([contender.name.clone()].into_iter().chain(metrics.map(value)).chain([calls]).collect());
            }
            text.push_str(markdown(&rows).trim_end());
            text.push('\n');
        }
        text
    }

    fn notes(&self) -> String {
        let mut text = String::new();
        for note in self.contenders.iter().filter_map(|contender| contender.note.as_ref()) {
            let _ = writeln!(text, "- {note}");
        }
        for (what, error) in self.figures.failures() {
            let _ = writeln!(text, "- Failed: {what} rounds ({error}).");
        }
        if text.is_empty() { text } else { format!("\n## Notes\n\n{text}") }
    }
}

/// Of a program, its name: where it lies says nothing to a reader.
fn without_folders(word: &str) -> String {
    let (name, path) = word.split_once('=').map_or(("", word), |(name, path)| (name, path));
    let (path, lines) = path.split_once(',').unwrap_or((path, ""));
    let file = path.rsplit('/').next().unwrap_or(path);
    let before = if name.is_empty() { String::new() } else { format!("{name}=") };
    let word = format!("{before}{file}{}{lines}", if lines.is_empty() { "" } else { "," });
    if word.contains([' ', ';']) { format!("'{word}'") } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_told_without_folders() {
        assert_eq!(without_folders("--rounds"), "--rounds");
        assert_eq!(without_folders("/opt/x/pgbouncer"), "pgbouncer");
        assert_eq!(without_folders("simple,copy"), "simple,copy");
        assert_eq!(without_folders("one worker=/opt/pgsluice,workers = 1"), "'one worker=pgsluice,workers = 1'");
        assert_eq!(picture_of(Path::new("docs/BENCHMARKS.md")), Path::new("docs/benchmarks.svg"));
    }
}
