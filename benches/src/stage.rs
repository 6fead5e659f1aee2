//! The servers, the data in them, and everyone in front of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use pgsluice_fixtures::folder::Folder;
use pgsluice_fixtures::{Cluster, Role};

use crate::Failure;
use crate::contender::{Contender, DATABASE, Kind, Manner, Place, SCRAM_PASSWORD, SCRAM_USER, USER};
use crate::options::Options;
use crate::{measure, others, ours};

/// Rows of a kilobyte that make one result of 10 MB.
const BIG_TABLE: &str = "create table big as select repeat(md5(n::text), 32) as line from generate_series(1, 10240) n";
/// What COPY fills.
const COPIED: &str = "create unlogged table copied (line text)";
/// Bytes of a line of what is copied, with its end.
const LINE: usize = 1024;

/// The servers and the contenders, all gone when dropped.
#[derive(Debug)]
pub struct Stage {
    /// Who takes part, in the order of each round.
    pub contenders: Vec<Contender>,
    /// pgbench.
    pub pgbench: PathBuf,
    /// psql.
    pub psql: PathBuf,
    /// Rows of `pgbench_accounts`.
    pub accounts: u32,
    /// A folder for scripts and logs.
    pub folder: PathBuf,
    // Last: the contenders end before what they are connected to.
    cluster: Cluster,
    _folder: Folder,
}

/// What the makers of contenders need to know.
pub struct Behind<'a> {
    /// The servers.
    pub cluster: &'a Cluster,
    /// As it was asked for.
    pub options: &'a Options,
    /// The line of `SCRAM_USER` in a userlist: the very secret of the server, so that it can be passed on.
    pub scram_line: String,
    /// A certificate and its key, PEM.
    pub certificate: (String, String),
}

impl Behind<'_> {
    /// The primary's port.
    pub fn port(&self) -> u16 {
        self.cluster.primary().port()
    }
}

impl Stage {
    /// Has each contender end by itself.
    ///
    /// # Errors
    /// One does not.
    pub fn end_in_order(&mut self) -> Result<(), Failure> {
        let mut places =
            self.contenders.iter_mut().flat_map(|one| std::iter::once(&mut one.place).chain(&mut one.scram));
        places.try_for_each(Place::end)
    }

    /// Processor time that the primary has used so far, with those of its processes that are there.
    pub fn server_cpu(&self) -> Option<Duration> {
        measure::cpu_time(self.cluster.primary().pid()?.cast_signed())
    }

    /// Starts everyone.
    ///
    /// # Errors
    /// No PostgreSQL, no pgbench, or no pgsluice; of the others who is not there is left out with a word.
    pub fn set(options: &Options) -> Result<Stage, Failure> {
        let mut cluster = Cluster::builder()
            .replicas(1)
            .tls(true)
            .password_encryption("scram-sha-256")
            .roles([Role::new(USER).superuser(), Role::new(SCRAM_USER).password(SCRAM_PASSWORD).superuser()])
            .databases([DATABASE])
            .hba([
                "local all all trust".to_owned(),
                format!("host all {SCRAM_USER} 127.0.0.1/32 scram-sha-256"),
                "host all all 127.0.0.1/32 trust".to_owned(),
                "host replication all 127.0.0.1/32 trust".to_owned(),
                "local replication all trust".to_owned(),
            ])
            // Proxies that were loaded keep theirs for a while.
            .setting("max_connections", "2400")
            .setting("shared_buffers", "256MB")
            .setting("max_wal_size", "4GB")
            .setting("checkpoint_timeout", "1h")
            .setting("autovacuum", "off");
        if let Some(port) = options.server_port {
            cluster = cluster.setting("port", port.to_string());
        }
        let cluster = cluster.start()?;
        let folder = Folder::create()?;
        let pgbench = cluster.installation().program("pgbench")?;
        let psql = cluster.installation().program("psql")?;
        fill(&cluster, &pgbench, options)?;
        let line = format!("{}\n", "x".repeat(LINE - 1));
        fs::write(copied_file(folder.path()), line.repeat(options.size().copied_mb * 1024))?;

        let contenders = everyone(&behind(&cluster, options)?)?;
        let accounts = options.size().scale * 100_000;
        let path = folder.path().to_owned();
        Ok(Stage { contenders, pgbench, psql, accounts, folder: path, cluster, _folder: folder })
    }

    /// The server's version.
    pub fn version(&self) -> String {
        self.cluster.installation().version.to_string()
    }

    /// What COPY sends.
    pub fn copied(&self) -> PathBuf {
        copied_file(&self.folder)
    }

    /// Empties the table that COPY fills, past all contenders.
    ///
    /// # Errors
    /// psql's.
    pub fn forget_copied(&self) -> Result<(), String> {
        self.cluster.primary().psql_in(DATABASE, "truncate copied").map(drop).map_err(|error| error.to_string())
    }

    /// Says where everyone is and waits.
    pub fn wait_for_end_of_input(&self) {
        for contender in &self.contenders {
            println!("{:<28} port {:>5} pid {:?}", contender.name, contender.place.port, contender.place.pid);
        }
        println!("pgbench -h 127.0.0.1 -U {USER} -p PORT {DATABASE}");
        let _ = std::io::Read::read(&mut std::io::stdin(), &mut [0_u8; 1]);
    }
}

fn copied_file(folder: &Path) -> PathBuf {
    folder.join("copied.txt")
}

fn behind<'a>(cluster: &'a Cluster, options: &'a Options) -> Result<Behind<'a>, Failure> {
    let secret = format!("select rolpassword from pg_authid where rolname = '{SCRAM_USER}'");
    let secret = cluster.primary().psql(&secret)?;
    let tls = cluster.tls().ok_or("the servers have no certificate")?;
    Ok(Behind {
        cluster,
        options,
        scram_line: format!("\"{SCRAM_USER}\" \"{}\"\n", secret.trim()),
        certificate: (fs::read_to_string(&tls.server_cert)?, fs::read_to_string(&tls.server_key)?),
    })
}

fn everyone(behind: &Behind<'_>) -> Result<Vec<Contender>, Failure> {
    let options = behind.options;
    let mut all = Vec::new();
    if options.takes_part("direct") {
        let place = || Place::direct(behind.port());
        let mut direct = Contender::new("direct", Kind::Direct, place());
        (direct.scram, direct.tls) = (Some(place()), true);
        all.push(direct);
    }
    let makers: [(&str, others::Maker); 3] =
        [("pgbouncer", others::pgbouncer), ("haproxy", others::haproxy), ("pgpool", others::pgpool)];
    for (name, make) in makers.iter().filter(|(name, _)| options.takes_part(name)) {
        // Without one the comparison is poorer, not impossible.
        all.extend(make(behind).inspect_err(|failure| eprintln!("without {name}: {failure}")));
    }
    all.extend(
        options.with.iter().map(|one| Contender::new(&one.name, Kind::Other, Place::running(one.port, one.pid))),
    );
    let binary = || options.pgsluice.clone().map_or_else(ours::beside_us, Ok);
    for (manner, name) in Manner::ALL.iter().filter(|(_, name)| options.takes_part(name)) {
        let shown = match manner {
            Manner::Open => "pgsluice",
            Manner::ReadOnly => "pgsluice, read_only",
            Manner::ReplicaReads => "pgsluice, replica reads",
        };
        all.push(ours::start(behind, shown, *manner, &binary()?, &[]).map_err(|failure| format!("{name}: {failure}"))?);
    }
    for variant in &options.also {
        let ((name, manner), config) = (variant.named(), &variant.config);
        all.push(ours::start(behind, &name, manner, &variant.binary, config)?);
    }
    Ok(all)
}

fn fill(cluster: &Cluster, pgbench: &Path, options: &Options) -> Result<(), Failure> {
    let (port, scale) = (cluster.primary().port().to_string(), options.size().scale.to_string());
    let made = Command::new(pgbench)
        .args(["-i", "-q", "-s", &scale, "-h", "127.0.0.1", "-U", USER, "-p", &port, DATABASE])
        .output()?;
    if !made.status.success() {
        return Err(format!("pgbench -i: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    for sql in [BIG_TABLE, COPIED, "vacuum analyze", "checkpoint"] {
        cluster.primary().psql_in(DATABASE, sql)?;
    }
    cluster.wait_for_replay(Duration::from_secs(60))?;
    Ok(())
}
