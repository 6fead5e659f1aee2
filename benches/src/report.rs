//! What is told: on the terminal in short, in the document with everything.

use std::fmt::Write as _;

use crate::contender::{Contender, Kind};
use crate::figures::{Figures, Metric};
use crate::machine;
use crate::options::Options;
use crate::workload::Workload;

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
}

impl Report<'_> {
    /// Ratios, for a terminal.
    pub fn summary(&self) -> String {
        format!("{}{}", self.ratios(), self.idle())
    }

    /// The whole document.
    pub fn document(&self) -> String {
        let mut text = String::from(
            "# Benchmarks\n\n\
             pgsluice side by side with PgBouncer, haproxy (as a plain TCP relay) and a direct connection, loaded in turn by pgbench. \
             All figures are of one run of `make bench` and are only worth comparing with each other.\n\n",
        );
        let _ = writeln!(
            text,
            "- Date: {}{}",
            machine::date(),
            machine::commit().map(|it| format!(", commit {it}")).unwrap_or_default()
        );
        let _ = writeln!(
            text,
            "- Machine: {}; load average {} before and {} after",
            machine::words(),
            self.load.0,
            self.load.1
        );
        if machine::is_busy(&self.load.0) {
            text.push_str(
                "- Other programs kept the machine busy meanwhile: transactions per second and latencies say little, and \
                 processor time for each transaction is higher than on a quiet machine, for all alike\n",
            );
        }
        let names: Vec<&str> = self.contenders.iter().map(|contender| contender.name.as_str()).collect();
        let _ = writeln!(text, "- PostgreSQL {}; {}", self.server, names.join("; "));
        let args: Vec<String> = std::env::args().skip(1).collect();
        let _ = writeln!(text, "- Command: `benches/run {}`", args.join(" ").trim());
        let _ = writeln!(
            text,
            "- {} rounds of {} s; {} server connections for each pooler in transaction mode; trust authentication; no TLS; TCP over loopback\n",
            self.options.rounds, self.options.seconds, self.options.pool
        );
        text.push_str(
            "A ratio is taken within a round, where the contenders follow each other within seconds, and is the median over the \
             rounds; in brackets are the lowest and the highest. Processor time is that of the proxy's threads, user and system \
             (what utime and stime of /proc/PID/stat count, read in nanoseconds).\n\n## Ratios\n\n",
        );
        text.push_str(&self.ratios());
        text.push_str(&self.idle());
        text.push_str("\n## Figures\n");
        text.push_str(&self.absolutes());
        let notes: Vec<&String> = self.contenders.iter().filter_map(|contender| contender.note.as_ref()).collect();
        let failures: Vec<(String, &str)> = self.figures.failures().collect();
        if !notes.is_empty() || !failures.is_empty() {
            text.push_str("\n## Notes\n\n");
        }
        for note in notes {
            let _ = writeln!(text, "- {note}");
        }
        for (what, error) in failures {
            let _ = writeln!(text, "- Failed: {what} rounds ({error}).");
        }
        text
    }

    fn find(&self, kind: Kind) -> Option<usize> {
        self.contenders.iter().position(|contender| contender.kind == kind)
    }

    fn ratios(&self) -> String {
        let mut text = String::new();
        for (kind, name) in [(Kind::PgBouncer, "PgBouncer"), (Kind::HaProxy, "haproxy")] {
            let Some(base) = self.find(kind) else { continue };
            let _ = writeln!(text, "Processor time for each transaction, {name} = 1 (lower is better):\n");
            text.push_str(&self.ratio_table(base, Metric::Cpu, |_, contender| contender.pid.is_some()));
        }
        for (kind, name) in [(Kind::PgBouncer, "PgBouncer"), (Kind::Direct, "direct")] {
            let Some(base) = self.find(kind) else { continue };
            let _ = writeln!(text, "Transactions per second, {name} = 1 (higher is better):\n");
            text.push_str(&self.ratio_table(base, Metric::PerSecond, |_, _| true));
        }
        if let Some(base) = self.find(Kind::PgBouncer) {
            text.push_str("99th percentile of the latency, PgBouncer = 1 (lower is better):\n\n");
            text.push_str(&self.ratio_table(base, Metric::P99, |_, _| true));
        }
        text.push_str("System calls of the proxy for each transaction:\n\n");
        text.push_str(&self.table(
            |_, contender| contender.pid.is_some(),
            |workload, index| self.figures.calls(workload, index).map(|calls| format!("{calls:.2}")),
        ));
        text
    }

    fn ratio_table(&self, base: usize, metric: Metric, takes: impl Fn(usize, &Contender) -> bool) -> String {
        self.table(takes, |workload, index| {
            let ratio = self.figures.ratio(workload, index, base, metric)?;
            if index == base {
                return self
                    .figures
                    .median(workload, index, metric)
                    .map(|value| format!("1 ({})", with_unit(value, metric)));
            }
            Some(format!("**{:.2}** ({:.2} to {:.2})", ratio.median, ratio.low, ratio.high))
        })
    }

    /// Contenders down, workloads across.
    fn table(
        &self,
        takes: impl Fn(usize, &Contender) -> bool,
        cell: impl Fn(&Workload, usize) -> Option<String>,
    ) -> String {
        let mut rows = vec![vec![String::new()]];
        rows[0].extend(self.workloads.iter().map(Workload::title));
        for (index, contender) in self.contenders.iter().enumerate().filter(|(index, it)| takes(*index, it)) {
            let cells = self.workloads.iter().map(|workload| cell(workload, index).unwrap_or_else(|| "-".into()));
            rows.push(std::iter::once(contender.name.clone()).chain(cells).collect());
        }
        markdown(&rows)
    }

    fn idle(&self) -> String {
        if self.figures.idle.is_empty() {
            return String::new();
        }
        let words = [
            "",
            "idle clients",
            "prepared statements each",
            "KiB each",
            "KiB before",
            "KiB with them",
            "KiB after they left",
            "not given back",
        ];
        let mut rows = vec![words.map(String::from).to_vec()];
        for (index, weight) in &self.figures.idle {
            let kept = weight.after as f64 / weight.before.max(1) as f64 - 1.0;
            rows.push(vec![
                self.contenders[*index].name.clone(),
                weight.clients.to_string(),
                weight.names.to_string(),
                format!("{:.1}", weight.each()),
                weight.before.to_string(),
                weight.with.to_string(),
                weight.after.to_string(),
                format!("{:+.0}%", kept * 100.0),
            ]);
        }
        format!(
            "Resident memory and idle clients, after one query each; prepared statements are of 20 texts:\n\n{}",
            markdown(&rows)
        )
    }

    fn absolutes(&self) -> String {
        let mut text = String::new();
        for workload in self.workloads {
            let _ = writeln!(text, "\n### {}\n", workload.title());
            let words =
                ["", "transactions/s", "CPU µs/transaction", "average ms", "p99 ms", "system calls", "VmRSS KiB"];
            let mut rows = vec![words.map(String::from).to_vec()];
            for (index, contender) in self.contenders.iter().enumerate() {
                let value = |metric| {
                    self.figures
                        .median(workload, index, metric)
                        .map_or_else(|| "-".into(), |value| with_unit(value, metric))
                };
                if !workload.suits(contender) {
                    continue;
                }
                let calls =
                    self.figures.calls(workload, index).map_or_else(|| "-".into(), |calls| format!("{calls:.2}"));
                rows.push(vec![
                    contender.name.clone(),
                    value(Metric::PerSecond),
                    value(Metric::Cpu),
                    value(Metric::Average),
                    value(Metric::P99),
                    calls,
                    value(Metric::Resident),
                ]);
            }
            text.push_str(&markdown(&rows));
        }
        text
    }
}

fn with_unit(value: f64, metric: Metric) -> String {
    match metric {
        Metric::Cpu => format!("{value:.1} µs"),
        Metric::PerSecond => format!("{value:.0}"),
        Metric::Average | Metric::P99 => format!("{value:.2}"),
        Metric::Resident => format!("{value:.0}"),
    }
}

/// A table whose first row is its head; also readable as it is.
fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).max(3)).collect();
    let mut text = String::new();
    for (nth, row) in rows.iter().enumerate() {
        for (cell, &width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if nth == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let _ = write!(text, "| {}{} ", "-".repeat(width - 1), if column == 0 { "-" } else { ":" });
            }
            text.push_str("|\n");
        }
    }
    text.push('\n');
    text
}
