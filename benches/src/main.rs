//! pgsluice, PgBouncer, haproxy and a direct connection in front of one PostgreSQL, loaded in turn by pgbench.
//!
//! What is compared is measured within seconds of each other: every round loads each contender once, ratios are taken
//! within a round, and the median of the rounds is what is told. Processor time of the proxy for each transaction is the
//! steadiest figure, since it does not depend on what else the machine does; transactions per second and latencies do.
//!
//! `contender` starts who takes part, `workload` says what they do, `measure` looks at their processes, `idle` asks what
//! waiting clients cost, `figures` keeps what came out, and `report` tells it.

mod contender;
mod figures;
mod idle;
mod machine;
mod measure;
mod options;
mod report;
mod workload;

use std::process::ExitCode;

use clap::Parser as _;

use crate::contender::Stage;
use crate::figures::Figures;
use crate::options::Options;
use crate::workload::Workload;

/// What fails here is told to a person who can look at the machine.
type Failure = Box<dyn std::error::Error>;

/// Clients with prepared statements that are weighed.
const WITH_NAMES: u32 = 1000;

fn main() -> ExitCode {
    let options = Options::parse();
    match compare(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn compare(options: &Options) -> Result<(), Failure> {
    measure::raise_open_files()?;
    let workloads = Workload::chosen(options)?;
    let stage = Stage::set(options)?;
    let names: Vec<&str> = stage.contenders.iter().map(|contender| contender.name.as_str()).collect();
    eprintln!("{}; {} rounds of {} s", names.join(", "), options.rounds, options.seconds);

    if options.stand {
        stage.wait_for_end_of_input();
        return Ok(());
    }
    let mut figures = Figures::new(stage.contenders.iter().map(|contender| contender.name.clone()).collect());
    let load_before = machine::load();
    for contender in &stage.contenders {
        // Pools fill and caches warm up where nobody counts.
        workload::warm_up(&stage, contender)?;
    }
    for workload in &workloads {
        for round in 0..options.rounds {
            for (index, contender) in stage.contenders.iter().enumerate() {
                if !workload.suits(contender) {
                    continue;
                }
                let outcome = workload.run(&stage, contender, options.seconds, &[]);
                figures.note(workload, index, round, outcome);
            }
            eprint!("\r{:<24} round {} of {} ", workload.title(), round + 1, options.rounds);
        }
        for (index, contender) in stage.contenders.iter().enumerate() {
            if workload.suits(contender) && contender.pid.is_some() {
                figures.note_calls(workload, index, workload.count_calls(&stage, contender));
            }
        }
        eprintln!();
    }
    for (index, contender) in stage.contenders.iter().enumerate() {
        if !options.only.is_empty() || contender.pid.is_none() || !contender.weighs {
            continue;
        }
        for clients in options.idle.iter().filter(|clients| **clients > 0) {
            figures.note_idle(index, idle::weigh(contender, *clients, 0));
        }
        // Others do not follow names in transaction mode, or none without being told to.
        if contender.name == "pgsluice" && options.names > 0 {
            figures.note_idle(index, idle::weigh(contender, WITH_NAMES, options.names));
        }
    }
    let report = report::Report {
        figures: &figures,
        workloads: &workloads,
        options,
        contenders: &stage.contenders,
        server: stage.version(),
        load: (load_before, machine::load()),
    };
    println!("{}", report.summary());
    let path = &options.output;
    std::fs::write(path, report.document()).map_err(|error| format!("write {}: {error}", path.display()))?;
    eprintln!("written: {}", path.display());
    Ok(())
}
