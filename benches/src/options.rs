//! What can be asked of the harness.

use std::path::PathBuf;
use std::str::FromStr;

use crate::contender::Manner;

/// Compares pgsluice with PgBouncer, haproxy and a direct connection in one run.
#[derive(Debug, clap::Parser)]
#[command(name = "benches/run")]
pub struct Options {
    /// How often every contender is loaded with a main workload, and three times in five with the others; medians are told.
    /// By default 5, or 3 with --quick.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: Option<u32>,

    /// Seconds of one load.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,

    /// About two minutes: simple, extended, prepared, tpcb, churn and result, without the direct connection and Pgpool-II.
    /// Nothing idle is weighed.
    #[arg(long)]
    pub quick: bool,

    /// Clients of the SELECT workloads; several numbers with commas make several workloads. 1,32,500, or 32 with --quick.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub clients: Vec<u32>,

    /// Only what a closed gate costs: pgsluice with its gate open and closed, in turn, under simple, extended, prepared and half.
    #[arg(long, conflicts_with_all = ["quick", "workload", "contenders"])]
    pub price: bool,

    /// Only these workloads: simple, extended, prepared, tpcb, churn, scram, result, copy, pipeline, tls, half. Then
    /// nothing idle is weighed.
    #[arg(long, alias = "only", value_delimiter = ',', value_name = "NAME")]
    pub workload: Vec<String>,

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

    /// Who takes part: direct, pgbouncer, haproxy, pgpool, pgsluice, read_only, replica; everyone by default. Who is given
    /// by --with or --also always does.
    #[arg(long, value_delimiter = ',')]
    pub contenders: Vec<String>,

    /// Where the report goes, and its picture beside it. A run of everything writes docs/BENCHMARKS.md by default, one of
    /// less only says what it has found.
    #[arg(long)]
    pub output: Option<PathBuf>,

    /// A folder in which criterion has left what it measured; its nanoseconds are told as well.
    #[arg(long, value_name = "FOLDER")]
    pub micro: Option<PathBuf>,

    /// Every workload with a handful of transactions on little data: whether all of it works. Figures mean nothing.
    #[arg(long, hide = true)]
    pub smoke: bool,

    /// How the pgsluice to measure was built, for the report.
    #[arg(long, value_name = "WORDS")]
    pub built: Option<String>,

    /// Load each pgsluice, and have it end in order, so that one which counts what runs (benches/release) writes that down.
    /// What is measured means nothing.
    #[arg(long, hide = true)]
    pub train: bool,

    /// Start everything, say where, and wait for the end of the input: for a profiler.
    #[arg(long)]
    pub stand: bool,
}

/// How much there is.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Rows of `pgbench_accounts` by 100,000: fits into memory many times over.
    pub scale: u32,
    /// Megabytes that one COPY sends.
    pub copied_mb: usize,
}

impl Options {
    /// As it was asked for, with what the short forms stand for.
    pub fn spelled_out(mut self) -> Options {
        if self.price {
            self.contenders = ["pgsluice", "read_only"].map(String::from).into();
            self.workload = ["simple", "extended", "prepared", "half"].map(String::from).into();
            self.clients = vec![32];
        }
        self
    }

    /// How much there is.
    pub fn size(&self) -> Size {
        if self.smoke { Size { scale: 1, copied_mb: 1 } } else { Size { scale: 10, copied_mb: 100 } }
    }

    /// Whether that one takes part.
    pub fn takes_part(&self, name: &str) -> bool {
        if self.contenders.is_empty() {
            return !(self.quick && ["direct", "pgpool"].contains(&name));
        }
        self.contenders.iter().any(|one| one == name)
    }

    /// Rounds of the main workloads.
    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 3 } else { 5 })
    }

    /// Clients of the SELECT workloads.
    pub fn clients(&self) -> &[u32] {
        match (self.clients.as_slice(), self.quick) {
            ([], true) => &[32],
            ([], false) => &[1, 32, 500],
            (given, _) => given,
        }
    }

    /// Whether the run leaves something out.
    pub fn is_partial(&self) -> bool {
        self.quick || self.smoke || !self.workload.is_empty() || !self.contenders.is_empty()
    }

    /// Where the report goes.
    pub fn document(&self) -> Option<PathBuf> {
        let whole = (!self.is_partial()).then(|| PathBuf::from("docs/BENCHMARKS.md"));
        self.output.clone().or(whole)
    }
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

impl Variant {
    /// What it is called in tables, and in which manner it runs.
    pub fn named(&self) -> (String, Manner) {
        let manner = Manner::ALL
            .iter()
            .find_map(|(manner, word)| Some((self.name.strip_suffix(word)?.strip_suffix(':')?, *manner)));
        match manner {
            Some((name, Manner::ReadOnly)) => (format!("{name}, read_only"), Manner::ReadOnly),
            Some((name, Manner::ReplicaReads)) => (format!("{name}, replica reads"), Manner::ReplicaReads),
            _ => (self.name.clone(), Manner::Open),
        }
    }
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
    use super::{Manner, Variant};

    #[test]
    fn a_variant_is_a_name_a_program_and_lines() {
        let variant: Variant = "one worker=target/old,workers = 1; listen_addr = \"127.0.0.1\"".parse().unwrap();
        assert_eq!((variant.name.as_str(), variant.binary.to_str()), ("one worker", Some("target/old")));
        assert_eq!(variant.config, ["workers = 1", "listen_addr = \"127.0.0.1\""]);
        assert!("a=b".parse::<Variant>().unwrap().config.is_empty());
        assert!("b".parse::<Variant>().is_err());
        let named = |text: &str| text.parse::<Variant>().unwrap().named();
        assert_eq!(named("old=p"), ("old".into(), Manner::Open));
        assert_eq!(named("old:read_only=p"), ("old, read_only".into(), Manner::ReadOnly));
        assert_eq!(named("old:replica=p"), ("old, replica reads".into(), Manner::ReplicaReads));
    }
}
