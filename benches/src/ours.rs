//! pgsluice, in each of its manners.

use std::path::{Path, PathBuf};
use std::time::Duration;

use pgsluice_fixtures::{Address, Login, Proxy, Raw};

use crate::Failure;
use crate::contender::{Contender, DATABASE, Kind, Manner, Place, USER, until};
use crate::stage::Behind;

/// How often a server has read the small table from end to end.
const SCANS: &str = "select coalesce(sum(seq_scan), 0) from pg_stat_user_tables where relname = 'pgbench_branches'";

/// The pgsluice that was built with this program.
///
/// # Errors
/// There is none.
pub fn beside_us() -> Result<PathBuf, Failure> {
    let us = std::env::current_exe()?;
    let binary = us.with_file_name("pgsluice");
    if binary.is_file() { Ok(binary) } else { Err(format!("{} is not built", binary.display()).into()) }
}

/// Starts one, with lines of configuration of its own, and brings it into the state it is to be measured in.
///
/// # Errors
/// It does not start, or does not come into that state.
pub fn start(
    behind: &Behind<'_>,
    name: &str,
    manner: Manner,
    binary: &Path,
    config: &[String],
) -> Result<Contender, Failure> {
    let reads = if manner == Manner::ReplicaReads { "replica" } else { "primary" };
    let run = |auth: &str| -> Result<Place, Failure> {
        let (certificate, key) = &behind.certificate;
        let proxy = Proxy::builder(binary)
            .config(configuration(behind, auth, reads, config))
            .file("server.crt", certificate)
            .file("server.key", key)
            .file("users", &behind.scram_line);
        Ok(proxy.start()?.into())
    };
    let mut contender = Contender::new(name, Kind::Pgsluice(manner), run("trust")?);
    contender.tls = true;
    contender.wait_for("select 1", "")?;
    match manner {
        Manner::Open => contender.scram = Some(run("scram-sha-256")?),
        Manner::ReadOnly => close_gate(&contender)?,
        Manner::ReplicaReads => see_replica(behind, &contender)?,
    }
    Ok(contender)
}

fn configuration(behind: &Behind<'_>, auth: &str, reads: &str, config: &[String]) -> String {
    let servers = behind.cluster.servers().map(|server| format!("\"127.0.0.1:{}\"", server.port()));
    let servers = servers.collect::<Vec<_>>().join(", ");
    let mut lines: Vec<String> = [
        "listen_port = {port}",
        "state_file = \"{dir}/state.json\"",
        &format!("auth_type = \"{auth}\""),
        "auth_file = \"{dir}/users\"",
        &format!("admin_users = [\"{USER}\"]"),
        "max_client_conn = 16000",
        &format!("default_pool_size = {}", behind.options.pool),
        "client_tls_sslmode = \"allow\"",
        "client_tls_cert_file = \"{dir}/server.crt\"",
        "client_tls_key_file = \"{dir}/server.key\"",
        "server_tls_sslmode = \"disable\"",
        "log_connections = false",
        "log_disconnections = false",
    ]
    .map(String::from)
    .into();
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    for line in behind.options.pgsluice_config.iter().chain(config) {
        lines.retain(|ours| key(ours) != key(line));
        lines.push(line.clone());
    }
    format!(
        "{}\n[clusters.main]\nupstreams = [{servers}]\nmonitor_user = \"{USER}\"\n[databases.{DATABASE}]\nreads = \"{reads}\"\n",
        lines.join("\n")
    )
}

fn close_gate(contender: &Contender) -> Result<(), Failure> {
    let mut console = Raw::connect(&Address::local(contender.place.port), &Login::new(USER, "pgsluice"))?;
    console.query(&format!("MAINTENANCE ON {DATABASE} WITH (reads 'primary')"), Duration::from_secs(40))?;
    contender.wait_for("show transaction_read_only", "\"on\"")
}

/// The replica's statistics tell where reads go: answers are the same everywhere.
fn see_replica(behind: &Behind<'_>, contender: &Contender) -> Result<(), Failure> {
    let scans = || behind.cluster.replica(0).psql_in(DATABASE, SCANS).map_err(Failure::from);
    let before = scans()?;
    until(|| {
        contender.wait_for("select count(*) from pgbench_branches", "")?;
        if scans()? == before { Err("reads do not reach the replica".into()) } else { Ok(()) }
    })
}
