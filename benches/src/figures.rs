//! What came out, by workload, contender and round.

use crate::idle::Weight;
use crate::workload::Workload;

/// One load of one contender.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Transactions per second.
    pub per_second: f64,
    /// Average latency in milliseconds.
    pub average_ms: f64,
    /// Half of the latencies are below it, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99th percentile of the latency in milliseconds.
    pub p99_ms: Option<f64>,
    /// The proxy's processor time for each transaction, in microseconds.
    pub cpu_us: Option<f64>,
    /// The server's, in microseconds.
    pub server_us: Option<f64>,
    /// Resident memory right after the load, in KiB.
    pub resident_kib: Option<u64>,
}

/// What can be asked of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The proxy's processor time for each transaction.
    Cpu,
    /// PostgreSQL's processor time for each transaction.
    ServerCpu,
    /// Transactions per second.
    PerSecond,
    /// Average latency.
    Average,
    /// Median of the latency.
    P50,
    /// 99th percentile of the latency.
    P99,
    /// Resident memory.
    Resident,
}

impl Metric {
    /// Over a table.
    pub fn title(self) -> &'static str {
        match self {
            Self::Cpu => "Processor time for each transaction",
            Self::ServerCpu => "PostgreSQL's processor time for each transaction",
            Self::PerSecond => "Transactions per second",
            Self::Average => "Average latency",
            Self::P50 => "Median of the latency",
            Self::P99 => "99th percentile of the latency",
            Self::Resident => "Resident memory after the load",
        }
    }

    /// What is good.
    pub fn direction(self) -> &'static str {
        if self == Self::PerSecond { "higher is better" } else { "lower is better" }
    }

    /// Whether who has no process has none.
    pub fn is_of_a_process(self) -> bool {
        matches!(self, Self::Cpu | Self::Resident)
    }

    /// As it is told.
    pub fn with_unit(self, value: f64) -> String {
        match self {
            Self::Cpu | Self::ServerCpu => format!("{value:.1} µs"),
            Self::PerSecond if value < 100.0 => format!("{value:.1}"),
            Self::PerSecond | Self::Resident => format!("{value:.0}"),
            Self::Average | Self::P50 | Self::P99 => format!("{value:.2}"),
        }
    }

    fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::Cpu => sample.cpu_us,
            Self::ServerCpu => sample.server_us,
            Self::PerSecond => Some(sample.per_second),
            Self::Average => Some(sample.average_ms),
            Self::P50 => sample.p50_ms,
            Self::P99 => sample.p99_ms,
            Self::Resident => sample.resident_kib.map(|kib| kib as f64),
        }
    }
}

/// One cell: a contender under a workload.
#[derive(Debug)]
struct Cell {
    workload: Workload,
    contender: usize,
    rounds: Vec<(u32, Result<Sample, String>)>,
    calls: Option<f64>,
}

/// Everything that was measured.
#[derive(Debug)]
pub struct Figures {
    /// Who took part.
    pub names: Vec<String>,
    cells: Vec<Cell>,
    /// What idle clients weigh, by contender.
    pub idle: Vec<(usize, Weight)>,
}

impl Figures {
    /// None yet.
    pub fn new(names: Vec<String>) -> Figures {
        Figures { names, cells: Vec::new(), idle: Vec::new() }
    }

    fn cell(&self, workload: &Workload, contender: usize) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.workload == *workload && cell.contender == contender)
    }

    fn cell_mut(&mut self, workload: &Workload, contender: usize) -> &mut Cell {
        let found = self.cells.iter().position(|cell| cell.workload == *workload && cell.contender == contender);
        let at = found.unwrap_or_else(|| {
            self.cells.push(Cell { workload: *workload, contender, rounds: Vec::new(), calls: None });
            self.cells.len() - 1
        });
        &mut self.cells[at]
    }

    /// Notes one load.
    pub fn note(&mut self, workload: &Workload, contender: usize, round: u32, outcome: Result<Sample, String>) {
        if let Err(error) = &outcome {
            eprintln!("\n{}, {}: {error}", self.names[contender], workload.title());
        }
        self.cell_mut(workload, contender).rounds.push((round, outcome));
    }

    /// Notes system calls for each transaction.
    pub fn note_calls(&mut self, workload: &Workload, contender: usize, calls: Option<f64>) {
        self.cell_mut(workload, contender).calls = calls;
    }

    /// Notes what idle clients weigh.
    pub fn note_idle(&mut self, contender: usize, weight: Option<Weight>) {
        self.idle.extend(weight.map(|weight| (contender, weight)));
    }

    /// System calls for each transaction.
    pub fn calls(&self, workload: &Workload, contender: usize) -> Option<f64> {
        self.cell(workload, contender)?.calls
    }

    /// Failed loads and the last words of one.
    pub fn failures(&self) -> impl Iterator<Item = (String, &str)> {
        self.cells.iter().filter_map(|cell| {
            let errors: Vec<&String> = cell.rounds.iter().filter_map(|(_, outcome)| outcome.as_ref().err()).collect();
            let last = errors.last()?;
            let what = format!(
                "{}, {}: {} of {}",
                self.names[cell.contender],
                cell.workload.title(),
                errors.len(),
                cell.rounds.len()
            );
            Some((what, last.as_str()))
        })
    }

    /// The median over the rounds.
    pub fn median(&self, workload: &Workload, contender: usize, metric: Metric) -> Option<f64> {
        let samples = self.cell(workload, contender)?.rounds.iter();
        median(samples.filter_map(|(_, outcome)| metric.of(outcome.as_ref().ok()?)).collect())
    }

    /// The median of the ratios to another contender in the same round, and the lowest and highest of them.
    pub fn ratio(&self, workload: &Workload, contender: usize, other: usize, metric: Metric) -> Option<Ratio> {
        let mine = &self.cell(workload, contender)?.rounds;
        let theirs = &self.cell(workload, other)?.rounds;
        let value = |rounds: &[(u32, Result<Sample, String>)], round: u32| {
            let (_, outcome) = rounds.iter().find(|(at, _)| *at == round)?;
            metric.of(outcome.as_ref().ok()?)
        };
        let ratios: Vec<f64> = mine
            .iter()
            .filter_map(|(round, _)| Some(value(mine, *round)? / value(theirs, *round)?))
            .filter(|ratio| ratio.is_finite())
            .collect();
        let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let high = ratios.iter().copied().fold(0.0, f64::max);
        median(ratios).map(|median| Ratio { median, low, high })
    }
}

/// A ratio over the rounds.
#[derive(Clone, Copy, Debug)]
pub struct Ratio {
    /// The one in the middle.
    pub median: f64,
    /// The lowest.
    pub low: f64,
    /// The highest.
    pub high: f64,
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*values.get(middle - 1)?, upper))
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
