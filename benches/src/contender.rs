//! Who takes part, and the servers behind them.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use pgsluice_fixtures::{Address, Cluster, Login, Proxy, Raw, Role};

use crate::Failure;
use crate::machine::said_by;
use crate::options::{Options, Running};

/// Everyone's user; a superuser, so that it can run what it likes.
pub const USER: &str = "bench";
/// Everyone's database.
pub const DATABASE: &str = "bench";
/// PgBouncer's name of the same database in session mode.
const SESSION_DATABASE: &str = "bench_session";
/// PgBouncer knows prepared statements in transaction mode from this release on.
const PGBOUNCER_PREPARES: (u32, u32) = (1, 21);

/// Rows of pgbench_accounts by 100,000: fits into memory many times over.
const SCALE: &str = "10";
/// Rows of a kilobyte that make one result of 10 MB.
const BIG_TABLE: &str = "create table big as select repeat(md5(n::text), 32) as line from generate_series(1, 10240) n";

/// How often a server has read the small table from end to end.
const SCANS: &str = "select coalesce(sum(seq_scan), 0) from pg_stat_user_tables where relname = 'pgbench_branches'";
/// For a proxy to come to the state it is to be measured in.
const PATIENCE: Duration = Duration::from_secs(15);

/// What stands between pgbench and the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Direct,
    /// What others are compared with.
    PgBouncer,
    /// A relay of bytes: what can be reached without looking at them.
    HaProxy,
    /// pgsluice with an open gate.
    Pgsluice,
    /// pgsluice in maintenance or with reads on the replica: takes only reads.
    ReadsOnly,
    /// Someone given by --with.
    Other,
}

/// One of those who are compared.
pub struct Contender {
    /// What it is called in tables.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where clients connect to on 127.0.0.1.
    pub port: u16,
    /// Whose processor time and memory count; None for a direct connection.
    pub pid: Option<i32>,
    /// Whether many clients share few server connections.
    pub pools: bool,
    /// Whether its memory is of interest: not twice for the same program.
    pub weighs: bool,
    /// The database in which prepared statements work.
    pub prepared_database: &'static str,
    /// What a reader must know of it.
    pub note: Option<String>,
    _proxy: Option<Proxy>,
}

/// The servers and the contenders, all gone when dropped.
pub struct Stage {
    /// Who takes part, in the order of each round.
    pub contenders: Vec<Contender>,
    /// pgbench.
    pub pgbench: PathBuf,
    /// A folder for scripts and logs.
    pub folder: PathBuf,
    // Last: the contenders end before what they are connected to.
    cluster: Cluster,
    _folder: pgsluice_fixtures::folder::Folder,
}

impl Stage {
    /// Starts everyone.
    ///
    /// # Errors
    /// No PostgreSQL, no pgbench, or no pgsluice; of the others who is not there is left out with a word.
    pub fn set(options: &Options) -> Result<Stage, Failure> {
        let port = options.server_port.map(|port| port.to_string());
        let mut cluster = Cluster::builder()
            .replicas(1)
            .roles([Role::new(USER).superuser()])
            .databases([DATABASE])
            .hba([
                "local all all trust",
                "host all all 127.0.0.1/32 trust",
                "host replication all 127.0.0.1/32 trust",
                "local replication all trust",
            ])
            .setting("max_connections", "1200")
            .setting("shared_buffers", "256MB")
            .setting("max_wal_size", "4GB")
            .setting("checkpoint_timeout", "1h")
            .setting("autovacuum", "off");
        if let Some(port) = port {
            cluster = cluster.setting("port", port);
        }
        let cluster = cluster.start()?;
        let pgbench = cluster.installation().program("pgbench")?;
        let folder = pgsluice_fixtures::folder::Folder::create()?;
        fill(&cluster, &pgbench)?;

        let server = cluster.primary().port();
        let takes_part = |word: &str| options.contenders.is_empty() || options.contenders.iter().any(|one| one == word);
        let mut contenders = Vec::new();
        if takes_part("direct") {
            contenders.push(Contender::new("direct", Kind::Direct, server, None));
        }
        if takes_part("pgbouncer") {
            contenders.extend(optional("PgBouncer", pgbouncer(options, server)));
        }
        if takes_part("haproxy") {
            contenders.extend(optional("haproxy", haproxy(server)));
        }
        contenders.extend(options.with.iter().map(other));
        let ours = |name: &str, binary: PathBuf, config: &[String]| {
            let config = options.pgsluice_config.iter().chain(config).cloned().collect();
            Ours { name: name.into(), binary, config, pool: options.pool, cluster: &cluster }
        };
        let standing = [("pgsluice", ""), ("pgsluice, read_only", "read_only"), ("pgsluice, replica reads", "replica")];
        for (name, manner) in standing {
            if takes_part(if manner.is_empty() { "pgsluice" } else { manner }) {
                let binary = options.pgsluice.clone().map_or_else(beside_us, Ok)?;
                contenders.push(ours(name, binary, &[]).start(manner)?);
            }
        }
        for variant in &options.also {
            let (name, manner) = match variant.name.split_once(':') {
                Some((name, manner)) => (format!("{name}, {manner}"), manner),
                None => (variant.name.clone(), ""),
            };
            contenders.push(ours(&name, variant.binary.clone(), &variant.config).start(manner)?);
        }
        Ok(Stage { contenders, pgbench, folder: folder.path().to_owned(), cluster, _folder: folder })
    }

    /// The server's version.
    pub fn version(&self) -> String {
        self.cluster.installation().version.to_string()
    }

    /// Says where everyone is and waits.
    pub fn wait_for_end_of_input(&self) {
        for contender in &self.contenders {
            println!("{:<28} port {:>5} pid {:?}", contender.name, contender.port, contender.pid);
        }
        println!("pgbench -h 127.0.0.1 -U {USER} -p PORT {DATABASE}");
        let _ = std::io::stdin().read(&mut [0_u8; 1]);
    }
}

impl Contender {
    fn new(name: &str, kind: Kind, port: u16, proxy: Option<Proxy>) -> Contender {
        Contender {
            name: name.into(),
            kind,
            port: proxy.as_ref().map_or(port, Proxy::port),
            pid: proxy.as_ref().and_then(Proxy::pid).map(u32::cast_signed),
            pools: !matches!(kind, Kind::Direct | Kind::HaProxy),
            weighs: !matches!(kind, Kind::Direct | Kind::ReadsOnly),
            prepared_database: DATABASE,
            note: None,
            _proxy: proxy,
        }
    }

    /// Waits until a query gives this answer.
    fn wait_for(&self, sql: &str, expected: &str) -> Result<(), Failure> {
        let login = Login::new(USER, DATABASE);
        let look = || -> Result<String, String> {
            let mut raw = Raw::connect(&Address::local(self.port), &login).map_err(|error| error.to_string())?;
            let results = raw.query(sql, Duration::from_secs(5)).map_err(|error| error.to_string())?;
            Ok(results.first().map(|result| format!("{result:?}")).unwrap_or_default())
        };
        let until = Instant::now() + PATIENCE;
        loop {
            let last = match look() {
                Ok(answer) if answer.contains(expected) => return Ok(()),
                Ok(answer) => answer,
                Err(error) => error,
            };
            if Instant::now() > until {
                return Err(format!("{sql}: {last}").into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

fn fill(cluster: &Cluster, pgbench: &Path) -> Result<(), Failure> {
    let port = cluster.primary().port().to_string();
    let made = Command::new(pgbench)
        .args(["-i", "-q", "-s", SCALE, "-h", "127.0.0.1", "-U", USER, "-p", &port, DATABASE])
        .output()?;
    if !made.status.success() {
        return Err(format!("pgbench -i: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    cluster.primary().psql_in(DATABASE, BIG_TABLE)?;
    cluster.primary().psql_in(DATABASE, "vacuum analyze")?;
    cluster.primary().psql_in(DATABASE, "checkpoint")?;
    cluster.wait_for_replay(Duration::from_secs(60))?;
    Ok(())
}

/// The contender, or a word why it does not take part.
fn optional(name: &str, contender: Result<Contender, Failure>) -> Option<Contender> {
    contender.inspect_err(|failure| eprintln!("without {name}: {failure}")).ok()
}

/// Daemons are often not in an ordinary user's PATH.
fn program(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file()).ok_or_else(|| format!("no {name} here").into())
}

fn pgbouncer(options: &Options, server: u16) -> Result<Contender, Failure> {
    let binary = options.pgbouncer.clone().map_or_else(|| program("pgbouncer"), Ok)?;
    let said = said_by(&binary.to_string_lossy(), &["--version"]).unwrap_or_default();
    let version = said.rsplit(' ').next().unwrap_or_default().to_owned();
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    let prepares = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= PGBOUNCER_PREPARES;
    let pool = options.pool;
    let prepared = if prepares { "max_prepared_statements = 200" } else { "" };
    let config = format!(
        "[databases]\n\
         {DATABASE} = host=127.0.0.1 port={server} pool_size={pool}\n\
         {SESSION_DATABASE} = host=127.0.0.1 port={server} dbname={DATABASE} pool_mode=session pool_size=1000\n\
         [pgbouncer]\n\
         listen_addr = 127.0.0.1\nlisten_port = {{port}}\nunix_socket_dir =\nauth_type = trust\n\
         auth_file = {{dir}}/users\npool_mode = transaction\nmax_client_conn = 16000\n\
         log_connections = 0\nlog_disconnections = 0\nlog_stats = 0\n{prepared}\n"
    );
    let mut args = vec!["{config}"];
    if nix::unistd::Uid::effective().is_root() {
        // It refuses to be root.
        args = vec!["-u", "nobody", "{config}"];
    }
    let users = format!("\"{USER}\" \"\"\n");
    let proxy = Proxy::builder(binary).args(args).config(config).file("users", users).start()?;
    let mut contender = Contender::new(&format!("PgBouncer {version}"), Kind::PgBouncer, 0, Some(proxy));
    if !prepares {
        contender.prepared_database = SESSION_DATABASE;
        contender.note = Some(format!(
            "PgBouncer {version} does not know prepared statements in transaction mode: that workload runs in session mode, \
             one server connection for each client."
        ));
    }
    Ok(contender)
}

fn haproxy(server: u16) -> Result<Contender, Failure> {
    let binary = program("haproxy")?;
    let said = said_by(&binary.to_string_lossy(), &["-v"]).unwrap_or_default();
    let version = said.split(' ').nth(2).and_then(|word| word.split('-').next()).unwrap_or_default();
    let config = format!(
        "global\n    maxconn 4000\ndefaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1h\n    timeout server 1h\n\
         listen postgres\n    bind 127.0.0.1:{{port}}\n    server primary 127.0.0.1:{server}\n"
    );
    let proxy = Proxy::builder(&binary).args(["-db", "-f", "{config}"]).config(config).start()?;
    Ok(Contender::new(&format!("haproxy {version}"), Kind::HaProxy, 0, Some(proxy)))
}

fn other(running: &Running) -> Contender {
    let mut contender = Contender::new(&running.name, Kind::Other, running.port, None);
    contender.pid = Some(running.pid);
    contender
}

fn beside_us() -> Result<PathBuf, Failure> {
    let us = std::env::current_exe()?;
    let binary = us.with_file_name("pgsluice");
    if binary.is_file() { Ok(binary) } else { Err(format!("{} is not built", binary.display()).into()) }
}

/// A pgsluice to be.
struct Ours<'a> {
    name: String,
    binary: PathBuf,
    config: Vec<String>,
    pool: u32,
    cluster: &'a Cluster,
}

impl Ours<'_> {
    fn start(&self, manner: &str) -> Result<Contender, Failure> {
        match manner {
            "" => self.open(Kind::Pgsluice, "primary"),
            "read_only" => self.guarded(),
            "replica" => self.routed(),
            other => Err(format!("{}: there is no {other}, only read_only and replica", self.name).into()),
        }
    }

    fn open(&self, kind: Kind, reads: &str) -> Result<Contender, Failure> {
        let servers = self.cluster.servers().map(|server| format!("\"127.0.0.1:{}\"", server.port()));
        let (servers, pool) = (servers.collect::<Vec<_>>().join(", "), self.pool);
        let mut lines: Vec<String> = [
            "listen_port = {port}",
            "state_file = \"{dir}/state.json\"",
            "auth_type = \"trust\"",
            &format!("admin_users = [\"{USER}\"]"),
            "max_client_conn = 16000",
            &format!("default_pool_size = {pool}"),
            "log_connections = false",
            "log_disconnections = false",
        ]
        .map(String::from)
        .into();
        let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
        for line in &self.config {
            lines.retain(|ours| key(ours) != key(line));
            lines.push(line.clone());
        }
        let config = format!(
            "{}\n[clusters.main]\nupstreams = [{servers}]\nmonitor_user = \"{USER}\"\n[databases.{DATABASE}]\nreads = \"{reads}\"\n",
            lines.join("\n")
        );
        let proxy = Proxy::builder(&self.binary).config(config).start()?;
        let contender = Contender::new(&self.name, kind, 0, Some(proxy));
        contender.wait_for("select 1", "")?;
        Ok(contender)
    }

    fn guarded(&self) -> Result<Contender, Failure> {
        let contender = self.open(Kind::ReadsOnly, "primary")?;
        let mut console = Raw::connect(&Address::local(contender.port), &Login::new(USER, "pgsluice"))?;
        console.query(&format!("MAINTENANCE ON {DATABASE} WITH (reads 'primary')"), Duration::from_secs(40))?;
        contender.wait_for("show transaction_read_only", "\"on\"")?;
        Ok(contender)
    }

    fn routed(&self) -> Result<Contender, Failure> {
        let contender = self.open(Kind::ReadsOnly, "replica")?;
        let scans = || self.cluster.replica(0).psql_in(DATABASE, SCANS);
        let before = scans()?;
        // The replica's statistics tell where reads go: answers are the same everywhere.
        let until = Instant::now() + PATIENCE;
        while scans()? == before {
            if Instant::now() > until {
                return Err("reads do not reach the replica".into());
            }
            contender.wait_for("select count(*) from pgbench_branches", "")?;
        }
        Ok(contender)
    }
}
