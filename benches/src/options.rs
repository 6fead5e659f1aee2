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

    /// A line of configuration for every pgsluice of this run, such as 'workers = 1'; may be given several times.
    #[arg(long = "pgsluice-config", value_name = "LINE")]
    pub pgsluice_config: Vec<String>,

    /// A further pgsluice, another build or with other lines of configuration, as a contender of its own. A NAME that ends
    /// in ':read_only' or ':replica' is one in maintenance, or one with reads on the replica.
    #[arg(long, value_name = "NAME=BINARY[,LINE[;LINE]]")]
    pub also: Vec<Variant>,

    /// The PgBouncer to measure; the one of the system's packages by default.
    #[arg(long)]
    pub pgbouncer: Option<PathBuf>,

    /// Who takes part: direct, pgbouncer, haproxy, pgsluice, read_only, replica; everyone by default. Who is given
    /// by --with or --also always does.
    #[arg(long, value_delimiter = ',')]
    pub contenders: Vec<String>,

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

/// Another pgsluice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// What to call it.
    pub name: String,
    /// Its program.
    pub binary: PathBuf,
    /// Lines of its configuration.
    pub config: Vec<String>,
}

impl FromStr for Variant {
    type Err = String;

    fn from_str(text: &str) -> Result<Variant, String> {
        let (name, rest) =
            text.split_once('=').ok_or_else(|| format!("{text}: NAME=BINARY[,LINE[;LINE]] is wanted"))?;
        let (binary, lines) = rest.split_once(',').unwrap_or((rest, ""));
        let config = lines.split(';').map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
        Ok(Variant { name: name.into(), binary: binary.into(), config })
    }
}

#[cfg(test)]
mod tests {
    use super::Variant;

    #[test]
    fn a_variant_is_a_name_a_program_and_lines() {
        let variant: Variant = "one worker=target/old,workers = 1; listen_addr = \"127.0.0.1\"".parse().unwrap();
        assert_eq!((variant.name.as_str(), variant.binary.to_str()), ("one worker", Some("target/old")));
        assert_eq!(variant.config, ["workers = 1", "listen_addr = \"127.0.0.1\""]);
        assert!("a=b".parse::<Variant>().unwrap().config.is_empty());
        assert!("b".parse::<Variant>().is_err());
    }
}
