//! What pgsluice is to reach, and whether it has.

use crate::contender::{Contender, Kind, Manner};
use crate::figures::{Figures, Metric};
use crate::nanos::Nanos;
use crate::workload::{CLIENTS, MANY, Protocol, Work, Workload};

/// Idle clients that the goal is about.
const IDLE: u32 = 2000;
/// Benchmarks of `micro` that goals are about: the gate's check, and a verdict. To enter and to leave, an atomic addition each, are
/// measured as well.
const GATE: &str = "gate/state";
const CACHED: &str = "verdict/cached, ORM";

/// One goal and what has come of it.
#[derive(Clone, Debug)]
pub struct Target {
    /// Of what.
    pub what: String,
    /// What is wanted.
    pub goal: Goal,
    /// What was measured, in the median.
    pub measured: Option<f64>,
    /// Why it cannot be compared, if it cannot.
    pub but: Option<&'static str>,
}

/// What is wanted, in how many digits it is told, and in what.
#[derive(Clone, Copy, Debug)]
pub struct Goal {
    bound: Bound,
    digits: usize,
    unit: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
    Under(f64),
}

impl Goal {
    const fn at_most(value: f64, digits: usize, unit: &'static str) -> Goal {
        Goal { bound: Bound::AtMost(value), digits, unit }
    }

    /// In words.
    pub fn words(&self) -> String {
        let (words, value) = match self.bound {
            Bound::AtMost(value) => ("at most", value),
            Bound::AtLeast(value) => ("at least", value),
            Bound::Under(value) => ("under", value),
        };
        format!("{words} {value:.*}{}", self.digits, self.unit)
    }

    /// As it is told: what looks equal is equal.
    fn is_met(&self, measured: f64) -> bool {
        let measured = format!("{measured:.*}", self.digits).parse().unwrap_or(measured);
        match self.bound {
            Bound::AtMost(value) => measured <= value,
            Bound::AtLeast(value) => measured >= value,
            Bound::Under(value) => measured < value,
        }
    }
}

impl Target {
    /// What was measured, in words.
    pub fn measured(&self) -> String {
        let (digits, unit) = (self.goal.digits, self.goal.unit);
        self.measured.map_or_else(|| "-".into(), |value| format!("{value:.digits$}{unit}"))
    }

    /// Met or not.
    pub fn verdict(&self) -> &'static str {
        match (self.measured, self.but) {
            (None, _) => "not measured",
            (Some(_), Some(but)) => but,
            (Some(value), None) if self.goal.is_met(value) => "met",
            (Some(_), None) => "**not met**",
        }
    }
}

/// All of them.
pub fn all(figures: &Figures, contenders: &[Contender], nanos: &[Nanos]) -> Vec<Target> {
    let find = |kind: Kind| contenders.iter().position(|contender| contender.kind == kind);
    let ours = |manner: Manner| find(Kind::Pgsluice(manner));
    let (open, pgbouncer) = (ours(Manner::Open), find(Kind::PgBouncer));
    let prepares = pgbouncer.and_then(|at| contenders.get(at)).is_none_or(|it| it.prepares);
    let ratio = |workload: Workload, who: Option<usize>, to: Option<usize>, metric: Metric| {
        Some(figures.ratio(&workload, who?, to?, metric)?.median)
    };
    let select = |protocol| Workload::select(protocol, CLIENTS);
    let mut all = Vec::new();
    let mut add = |what: String, goal, measured, but| all.push(Target { what, goal, measured, but });

    let cpu = [
        (select(Protocol::Simple), 1.00),
        (select(Protocol::Extended), 1.00),
        (select(Protocol::Prepared), 0.80),
        (Workload::other(Work::TpcB), 1.00),
        (Workload::other(Work::Churn), 1.00),
        (Workload::other(Work::Result), 0.32),
    ];
    for (workload, goal) in cpu {
        let sessions = workload.work == Work::Select(Protocol::Prepared) && !prepares;
        add(
            format!("CPU, PgBouncer = 1: {}", workload.title()),
            Goal::at_most(goal, 2, ""),
            ratio(workload, open, pgbouncer, Metric::Cpu),
            sessions.then_some("not comparable: PgBouncer in session mode"),
        );
    }
    add(
        "CPU, PgBouncer = 1: read_only, -S simple, 32".into(),
        Goal::at_most(1.30, 2, ""),
        ratio(select(Protocol::Simple), ours(Manner::ReadOnly), pgbouncer, Metric::Cpu),
        None,
    );
    for protocol in Protocol::ALL {
        add(
            format!("CPU, without replica reads = 1: replica reads, {}", select(protocol).title()),
            Goal::at_most(1.05, 2, ""),
            ratio(select(protocol), ours(Manner::ReplicaReads), open, Metric::Cpu),
            None,
        );
    }
    for protocol in [Protocol::Simple, Protocol::Extended] {
        let workload = Workload::select(protocol, MANY);
        add(
            format!("transactions/s, PgBouncer = 1: {}", workload.title()),
            Goal { bound: Bound::AtLeast(1.0), digits: 2, unit: "" },
            ratio(workload, open, pgbouncer, Metric::PerSecond),
            None,
        );
    }
    add(
        "99th percentile at half of PgBouncer's throughput, PgBouncer = 1".into(),
        Goal::at_most(1.0, 2, ""),
        ratio(Workload::other(Work::Half), open, pgbouncer, Metric::P99),
        None,
    );
    let closed = ours(Manner::ReadOnly);
    let price = [
        (Metric::PerSecond, "transactions/s", Goal { bound: Bound::AtLeast(0.95), digits: 2, unit: "" }),
        (Metric::ServerCpu, "CPU of PostgreSQL", Goal::at_most(1.03, 2, "")),
    ];
    for (metric, words, goal) in price {
        for protocol in Protocol::ALL {
            let workload = select(protocol);
            let what = format!("{words}, gate open = 1: gate closed, {}", workload.title());
            add(what, goal, ratio(workload, closed, open, metric), None);
        }
    }
    for (metric, words) in [(Metric::P50, "median"), (Metric::P99, "99th percentile")] {
        let half = Workload::other(Work::Half);
        let what = format!("{words}, gate open = 1: gate closed, {}", half.title());
        add(what, Goal::at_most(1.10, 2, ""), ratio(half, closed, open, metric), None);
    }
    let weight =
        figures.idle.iter().find(|(at, weight)| Some(*at) == open && (weight.clients, weight.names) == (IDLE, 0));
    let weight = weight.map(|(_, weight)| weight);
    add(format!("one of {IDLE} idle clients"), Goal::at_most(3.0, 1, " KiB"), weight.map(|it| it.each()), None);
    add(
        format!("memory above the start, after {IDLE} clients have left"),
        Goal::at_most(25.0, 0, "%"),
        weight.map(|it| it.kept() * 100.0),
        None,
    );
    for (manner, name) in Manner::ALL {
        for protocol in Protocol::ALL {
            let workload = select(protocol);
            add(
                format!("system calls: {name}, {}", workload.title()),
                Goal::at_most(4.2, 1, ""),
                ours(manner).and_then(|at| figures.calls(&workload, at)),
                None,
            );
        }
    }
    let time = |name: &str| nanos.iter().find(|one| one.name == name).map(|one| one.nanoseconds);
    add(GATE.replace('/', ": "), Goal { bound: Bound::Under(10.0), digits: 1, unit: " ns" }, time(GATE), None);
    add(CACHED.replace('/', ": "), Goal { bound: Bound::Under(100.0), digits: 0, unit: " ns" }, time(CACHED), None);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_in_the_digits_that_are_shown() {
        let target = |goal, measured| Target { what: String::new(), goal, measured, but: None }.verdict();
        let at_most = Goal::at_most(1.0, 2, "");
        assert_eq!(target(at_most, Some(1.004)), "met");
        assert_eq!(target(at_most, Some(1.006)), "**not met**");
        assert_eq!(target(at_most, None), "not measured");
        let under = Goal { bound: Bound::Under(10.0), digits: 1, unit: " ns" };
        assert_eq!((target(under, Some(9.96)), under.words()), ("**not met**", "under 10.0 ns".into()));
        let at_least = Goal { bound: Bound::AtLeast(1.0), digits: 2, unit: "" };
        assert_eq!((target(at_least, Some(0.99)), target(at_least, Some(1.2))), ("**not met**", "met"));
    }
}
