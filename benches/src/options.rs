//! What can be asked of the harness.

use std::path::PathBuf;
use std::str::FromStr;

/// Compares pgsluice with PgBouncer, haproxy and a direct connection in one run.
#[derive(Debug, clap::Parser)]
#[command(name = "benches/run")]
pub struct Options {
    /// How often every contender is loaded with every workload; medians are told.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,

    /// Seconds of one load.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,

    /// Clients of the SELECT workloads; several numbers with commas make several workloads, such as 1,32,500.
    #[arg(long, default_value = "32", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub clients: Vec<u32>,

    /// Only these workloads: simple, extended, prepared, tpcb, churn, result. Then nothing idle is weighed.
    #[arg(long, value_delimiter = ',')]
    pub only: Vec<String>,

    /// Server connections that each pooler may have.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub pool: u32,

    /// Idle clients to weigh; several numbers with commas are weighed one after the other; 0: none.
    #[arg(long, default_value = "2000,10000", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(0..=15_000))]
    pub idle: Vec<u32>,

    /// Prepared statements, of 20 texts between them, that each of 1000 further clients has when it is weighed; 0: none.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    pub names: u32,

    /// A further contender that runs already, as NAME=PORT:PID. It must let user `bench` into database `bench` without
    /// a password and lead to --server-port.
    #[arg(long = "with", value_name = "NAME=PORT:PID")]
    pub with: Vec<Running>,

    /// The port that the throwaway server shall have, so that the configuration of a --with can name it; free by default.
    #[arg(long)]
    pub server_port: Option<u16>,

    /// The pgsluice to measure; the one built beside this program by default.
    #[arg(long)]
    pub pgsluice: Option<PathBuf>,

    /// Where the report goes.
    #[arg(long, default_value = "docs/BENCHMARKS.md")]
    pub output: PathBuf,

    /// Start everything, say where, and wait for the end of the input: for a profiler.
    #[arg(long)]
    pub stand: bool,
}

/// A process that someone else has started.
#[derive(Clone, Debug)]
pub struct Running {
    /// What to call it.
    pub name: String,
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Whose processor time and memory are looked at.
    pub pid: i32,
}

impl FromStr for Running {
    type Err = String;

    fn from_str(text: &str) -> Result<Running, String> {
        let wrong = || format!("{text}: NAME=PORT:PID is wanted");
        let (name, place) = text.split_once('=').ok_or_else(wrong)?;
        let (port, pid) = place.split_once(':').ok_or_else(wrong)?;
        let (port, pid) = (port.parse().map_err(|_| wrong())?, pid.parse().map_err(|_| wrong())?);
        Ok(Running { name: name.into(), port, pid })
    }
}
