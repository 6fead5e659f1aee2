//! pgsluice, PgBouncer, haproxy, Pgpool-II and a direct connection in front of one PostgreSQL, loaded in turn.
//!
//! What is compared is measured within seconds of each other: every round loads each contender once, ratios are taken
//! within a round, and the median of the rounds is what is told. Processor time of the proxy for each transaction is the
//! steadiest figure, since it does not depend on what else the machine does; transactions per second and latencies do.
//!
//! `stage` starts the servers and who takes part (`contender`: `ours` and `others`), `workload` says what they do, `load`
//! has it done, `measure` looks at processes, `idle` asks what waiting clients cost, `figures` keeps what came out, `nanos`
//! what criterion has measured, `targets` compares with what is wanted, and `report` tells it, with `plot`'s pictures and the first screen of `glance`.

mod contender;
mod figures;
mod glance;
mod idle;
mod load;
mod machine;
mod measure;
mod nanos;
mod options;
mod others;
mod ours;
mod plot;
mod report;
mod stage;
mod tables;
mod targets;
mod workload;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::contender::Kind;
use crate::figures::{Figures, Metric};
use crate::load::{Amount, Load};
use crate::options::Options;
use crate::stage::Stage;
use crate::workload::{CLIENTS, Protocol, Work, Workload};

/// What fails here is told to a person who can look at the machine.
type Failure = Box<dyn std::error::Error>;

/// How much longer the load is that a 99th percentile is taken of.
pub const TAIL: u32 = 5;
/// Clients with prepared statements that are weighed.
const WITH_NAMES: u32 = 1000;
const LEAST_WITH_NAMES: u32 = 10;

fn main() -> ExitCode {
    let options = Options::parse().spelled_out();
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
    let mut stage = Stage::set(options)?;
    let names: Vec<&str> = stage.contenders.iter().map(|contender| contender.name.as_str()).collect();
    eprintln!("{}; {} rounds of {} s", names.join(", "), options.rounds(), options.seconds);

    if options.stand {
        stage.wait_for_end_of_input();
        return Ok(());
    }
    let mut figures = Figures::new(stage.contenders.iter().map(|contender| contender.name.clone()).collect());
    let load_before = machine::load();
    for index in 0..stage.contenders.len() {
        // Pools fill and caches warm up where nobody counts.
        warm_up(options, &stage, index)?;
    }
    for workload in &workloads {
        compare_under(workload, options, &stage, &mut figures)?;
    }
    if options.train {
        return stage.end_in_order();
    }
    if !options.quick && options.workload.is_empty() {
        weigh(options, &mut stage, &mut figures)?;
    }
    let report = report::Report {
        figures: &figures,
        workloads: &workloads,
        options,
        contenders: &stage.contenders,
        server: stage.version(),
        load: (load_before, machine::load()),
        nanos: options.micro.as_deref().map(nanos::read).unwrap_or_default(),
    };
    println!("{}", report.summary());
    if let Some(path) = options.document() {
        let picture = report::picture_of(&path);
        let write = |path: &std::path::Path, text: String| {
            std::fs::write(path, text).map_err(|error| format!("write {}: {error}", path.display()))
        };
        write(&path, report.document(&picture))?;
        write(&picture, report.picture())?;
        write(&glance::picture_of(&picture), report.short_picture())?;
        eprintln!("written: {}, {}", path.display(), picture.display());
    }
    Ok(())
}

fn amount(options: &Options) -> Amount {
    if options.smoke { Amount::Each(3) } else { Amount::Seconds(options.seconds) }
}

fn warm_up(options: &Options, stage: &Stage, index: usize) -> Result<(), Failure> {
    let contender = &stage.contenders[index];
    let amount = if options.smoke { amount(options) } else { Amount::Seconds(1) };
    let workload = Workload::select(Protocol::Simple, CLIENTS);
    let done = Load { amount, rate: 0 }.run(&workload, stage, contender);
    done.map_err(|error| format!("{}: {error}", contender.name))?;
    Ok(())
}

fn compare_under(workload: &Workload, options: &Options, stage: &Stage, figures: &mut Figures) -> Result<(), Failure> {
    let rate = if workload.work == Work::Half { half(options, stage, figures)? } else { 0 };
    let amount = match (workload.work, amount(options)) {
        // The slowest of a hundred are few, and what they hang on comes in gusts.
        (Work::Half, Amount::Seconds(seconds)) => Amount::Seconds(seconds * TAIL),
        (_, amount) => amount,
    };
    let load = Load { amount, rate };
    let rounds = workload.rounds(options);
    for round in 0..rounds {
        for (index, contender) in stage.contenders.iter().enumerate() {
            if workload.suits(contender) {
                figures.note(workload, index, round, load.run(workload, stage, contender));
            }
        }
        eprint!("\r{:<26} round {} of {rounds} ", workload.title(), round + 1);
    }
    // Whether counting works is soon told.
    let counts = !options.train
        && workload.counts_calls()
        && (!options.smoke || workload.work == Work::Select(Protocol::Simple));
    for (index, contender) in stage.contenders.iter().enumerate() {
        if counts && workload.suits(contender) {
            figures.note_calls(workload, index, load.count_calls(workload, stage, contender));
        }
    }
    eprintln!();
    Ok(())
}

/// Half of what PgBouncer, or who is first, has done in this run.
fn half(options: &Options, stage: &Stage, figures: &Figures) -> Result<u32, Failure> {
    let workload = Workload::select(Protocol::Simple, CLIENTS);
    let first = stage.contenders.iter().position(|contender| contender.kind == Kind::PgBouncer).unwrap_or(0);
    let known = figures.median(&workload, first, Metric::PerSecond);
    let full = match known {
        Some(full) => full,
        None => Load { amount: amount(options), rate: 0 }.run(&workload, stage, &stage.contenders[first])?.per_second,
    };
    Ok((full / 2.0) as u32)
}

/// In processes that have done nothing else, so that what they learned before does not weigh.
fn weigh(options: &Options, stage: &mut Stage, figures: &mut Figures) -> Result<(), Failure> {
    let gives_back = if options.smoke { Duration::ZERO } else { idle::GIVES_BACK };
    for index in 0..stage.contenders.len() {
        let contender = &stage.contenders[index];
        if contender.place.pid.is_none() || !contender.weighs() {
            continue;
        }
        let mut all: Vec<(u32, u32)> =
            options.idle.iter().filter(|count| **count > 0).map(|count| (*count, 0)).collect();
        // Others do not follow names in transaction mode, or none without being told to.
        if options.names > 0 && matches!(contender.kind, Kind::Pgsluice(_)) {
            all.push((if options.smoke { LEAST_WITH_NAMES } else { WITH_NAMES }, options.names));
        }
        if !contender.pools() {
            // More than a handful it does not take: once is enough.
            all.truncate(1);
        }
        for (clients, names) in all {
            stage.contenders[index].place.restart()?;
            warm_up(options, stage, index)?;
            eprint!("\r{clients} idle clients of {:<40}", stage.contenders[index].name);
            figures.note_idle(index, idle::weigh(&stage.contenders[index], clients, names, gives_back));
        }
    }
    eprintln!();
    Ok(())
}
