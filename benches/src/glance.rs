//! The first screen of the document: one picture and one table, for readers who want to know in a minute.

use std::path::{Path, PathBuf};

use crate::contender::{Kind, Manner};
use crate::figures::Metric;
use crate::plot::{self, Panel};
use crate::report::Report;
use crate::tables::markdown;
use crate::workload::{CLIENTS, MANY, Protocol, Work, Workload};

/// What each workload does, in words of the trade.
fn shown() -> [(Workload, &'static str); 8] {
    [
        (Workload::select(Protocol::Simple, CLIENTS), "simple selects, 32 clients"),
        (Workload::select(Protocol::Extended, CLIENTS), "extended protocol, 32 clients"),
        (Workload::select(Protocol::Prepared, CLIENTS), "prepared statements, 32 clients"),
        (Workload::select(Protocol::Simple, MANY), "simple selects, 500 clients"),
        (Workload::other(Work::TpcB), "read-write (TPC-B), 32 clients"),
        (Workload::other(Work::Churn), "a new connection each time, 32 clients"),
        (Workload::other(Work::Result), "results of 10 MB, 4 clients"),
        (Workload::other(Work::Tls), "simple selects by TLS, 32 clients"),
    ]
}

/// The picture's place: beside the large one.
pub fn picture_of(large: &Path) -> PathBuf {
    let stem = large.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    large.with_file_name(format!("{stem}-short.svg"))
}

impl Report<'_> {
    /// Who is shown: each program once, and PgBouncer as the one that all are compared with.
    fn programs(&self) -> (Option<usize>, Vec<usize>) {
        let programs = [Kind::HaProxy, Kind::Pgpool, Kind::Pgsluice(Manner::Open)];
        let find = |kind: Kind| self.contenders.iter().position(|contender| contender.kind == kind);
        (find(Kind::PgBouncer), programs.into_iter().filter_map(find).collect())
    }

    /// Processor time as bars, for the table's workloads.
    pub fn short_picture(&self) -> String {
        let (base, programs) = self.programs();
        let bars = |workload: &Workload| -> Vec<_> {
            let ratio = |at: usize| Some((at, self.figures.ratio(workload, at, base?, Metric::Cpu)?));
            programs.iter().copied().filter_map(ratio).collect()
        };
        let groups = shown().map(|(workload, words)| (words.to_owned(), bars(&workload)));
        let title = "Processor time of the proxy for each transaction, PgBouncer = 1 (lower is better)";
        let groups = groups.into_iter().filter(|(_, bars)| !bars.is_empty()).collect();
        plot::svg_of(&self.figures.names, &programs, 250.0, &[Panel { title: title.into(), groups }])
    }

    /// The picture and the table.
    pub fn glance(&self, picture: &Path) -> String {
        let (Some(base), programs) = self.programs() else { return String::new() };
        let picture = picture.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = |at: usize| self.contenders[at].name.clone();
        let mut head = vec!["PgBouncer = 1".to_owned()];
        head.extend(programs.iter().map(|at| format!("CPU: {}", name(*at))));
        head.push("transactions/s: pgsluice".into());
        let mut rows = vec![head];
        for (workload, words) in shown() {
            let ratio =
                |at: usize, metric| Some(format!("{:.2}", self.figures.ratio(&workload, at, base, metric)?.median));
            let mut cells: Vec<_> = programs.iter().map(|at| ratio(*at, Metric::Cpu)).collect();
            cells.push(programs.last().and_then(|at| ratio(*at, Metric::PerSecond)));
            if cells.iter().any(Option::is_some) {
                let cells = cells.into_iter().map(|cell| cell.unwrap_or_else(|| "-".into()));
                rows.push(std::iter::once(words.to_owned()).chain(cells).collect());
            }
        }
        format!(
            "![Processor time for each transaction as bars]({picture})\n\n{}\
             CPU is the processor time of the proxy for each transaction: lower is better. Of transactions per second more is \
             better.\n\n",
            markdown(&rows)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_picture_lies_beside_the_large_one() {
        assert_eq!(picture_of(Path::new("docs/benchmarks.svg")), Path::new("docs/benchmarks-short.svg"));
    }
}
