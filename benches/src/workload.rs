//! What the contenders are asked to do.

use crate::Failure;
use crate::contender::{Contender, Kind, Manner};
use crate::options::Options;
use crate::others::PGPOOL_CLIENTS;

/// Clients of the workloads that are not about their number.
pub const CLIENTS: u32 = 32;
/// Clients that share few server connections.
pub const MANY: u32 = 500;
/// Clients that each fetch 10 MB at a time, or send long pipelines.
const FEW: u32 = 4;
/// Statements of one pipeline.
pub const PIPELINED: u32 = 50;

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// One message for each statement.
    Simple,
    /// Parse, Bind, Describe, Execute and Sync for each statement.
    Extended,
    /// The same without Parse.
    Prepared,
}

impl Protocol {
    /// All there are.
    pub const ALL: [Protocol; 3] = [Self::Simple, Self::Extended, Self::Prepared];

    /// As pgbench calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
            Self::Prepared => "prepared",
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// One row by its key (`pgbench -S`).
    Select(Protocol),
    /// `pgbench`'s own transaction of seven statements.
    TpcB,
    /// One row by its key and a connection for each (`pgbench -S -C`).
    Churn,
    /// The same with a password.
    Scram,
    /// 10 MB in rows of a kilobyte.
    Result,
    /// 100 MB into a table.
    Copy,
    /// Many statements before anyone waits for an answer.
    Pipeline,
    /// One row by its key, encrypted between the client and the contender.
    Tls,
    /// One row by its key, half as often as PgBouncer can.
    Half,
}

/// A workload with a number of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// What they do.
    pub work: Work,
    /// How many they are.
    pub clients: u32,
    /// Whether it is what a goal is about, or what --workload and --clients have asked for.
    main: bool,
}

impl Workload {
    /// One row by its key.
    pub fn select(protocol: Protocol, clients: u32) -> Workload {
        let main = clients == CLIENTS || (clients == MANY && protocol != Protocol::Prepared);
        Workload { work: Work::Select(protocol), clients, main }
    }

    /// Any other.
    pub fn other(work: Work) -> Workload {
        let clients = match work {
            Work::Result | Work::Pipeline => FEW,
            Work::Copy => 1,
            _ => CLIENTS,
        };
        let main = matches!(work, Work::TpcB | Work::Churn | Work::Result | Work::Half);
        Workload { work, clients, main }
    }

    /// Those that were asked for, in the order of the report.
    ///
    /// # Errors
    /// A name that there is not.
    pub fn chosen(options: &Options) -> Result<Vec<Workload>, Failure> {
        let clients = options.clients().iter();
        let mut all: Vec<Workload> =
            clients.flat_map(|&clients| Protocol::ALL.map(|protocol| Workload::select(protocol, clients))).collect();
        let main = [Work::TpcB, Work::Churn, Work::Result];
        let more = [Work::Scram, Work::Copy, Work::Pipeline, Work::Tls, Work::Half];
        all.extend(main.map(Workload::other));
        if !options.quick || !options.workload.is_empty() {
            all.extend(more.map(Workload::other));
        }
        if let Some(unknown) = options.workload.iter().find(|name| all.iter().all(|one| one.name() != **name)) {
            return Err(format!("--workload: there is no {unknown}").into());
        }
        if !options.workload.is_empty() {
            all.retain(|one| options.workload.iter().any(|name| name == one.name()));
        }
        if !options.workload.is_empty() || !options.clients.is_empty() {
            all.iter_mut().for_each(|one| one.main = true);
        }
        Ok(all)
    }

    fn name(&self) -> &'static str {
        match self.work {
            Work::Select(protocol) => protocol.word(),
            Work::TpcB => "tpcb",
            Work::Churn => "churn",
            Work::Scram => "scram",
            Work::Result => "result",
            Work::Copy => "copy",
            Work::Pipeline => "pipeline",
            Work::Tls => "tls",
            Work::Half => "half",
        }
    }

    /// What it is called in tables.
    pub fn title(&self) -> String {
        let what = match self.work {
            Work::Select(protocol) => format!("-S {}", protocol.word()),
            Work::TpcB => "TPC-B".into(),
            Work::Churn => "-S -C".into(),
            Work::Scram => "-S -C, SCRAM".into(),
            Work::Result => "10 MB result".into(),
            Work::Copy => "COPY in 100 MB".into(),
            Work::Pipeline => format!("pipeline of {PIPELINED}"),
            Work::Tls => "-S simple, TLS".into(),
            Work::Half => "-S simple, half load".into(),
        };
        format!("{what}, {}", self.clients)
    }

    /// Whether it is what a goal is about, or what was asked for.
    pub fn is_main(&self) -> bool {
        self.main
    }

    /// How often everyone is loaded with it.
    pub fn rounds(&self, options: &Options) -> u32 {
        let rounds = options.rounds();
        if self.main { rounds } else { (rounds * 3).div_ceil(5) }
    }

    /// Whether its clients connect once, before they begin.
    pub fn connects_once(&self) -> bool {
        !matches!(self.work, Work::Churn | Work::Scram | Work::Copy)
    }

    /// Whether system calls are counted: not for each number of clients.
    pub fn counts_calls(&self) -> bool {
        self.work != Work::Half && (self.main || !matches!(self.work, Work::Select(_))) && self.clients != MANY
    }

    /// Whether that contender takes part in it.
    pub fn suits(&self, contender: &Contender) -> bool {
        let kind = match contender.kind {
            Kind::Pgsluice(Manner::ReadOnly) if self.work == Work::Half => true,
            Kind::Pgsluice(Manner::ReadOnly | Manner::ReplicaReads) => {
                matches!(self.work, Work::Select(_)) && self.main && self.clients != MANY
            }
            // PgBouncer sets the pace, and haproxy shows what a relay adds to it.
            Kind::Pgpool => self.clients <= PGPOOL_CLIENTS && self.work != Work::Half,
            Kind::Direct | Kind::PgBouncer | Kind::HaProxy | Kind::Pgsluice(Manner::Open) | Kind::Other => true,
        };
        kind && match self.work {
            Work::Scram => contender.scram.is_some(),
            Work::Tls => contender.tls,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn names(args: &[&str]) -> Vec<String> {
        let options = Options::parse_from(std::iter::once(&"run").chain(args));
        Workload::chosen(&options).unwrap().iter().map(Workload::title).collect()
    }

    #[test]
    fn a_full_run_has_all_and_a_quick_one_the_main_ones() {
        assert_eq!(names(&[]).len(), 3 * 3 + 8);
        let main = ["-S simple, 32", "-S extended, 32", "-S prepared, 32", "TPC-B, 32", "-S -C, 32", "10 MB result, 4"];
        assert_eq!(names(&["--quick"]), main);
        assert_eq!(names(&["--quick", "--workload", "copy,tpcb"]), ["TPC-B, 32", "COPY in 100 MB, 1"]);
        let wrong = Options::parse_from(["run", "--workload", "tpc-b"]);
        assert!(Workload::chosen(&wrong).is_err());
    }
}
