//! PgBouncer, haproxy and Pgpool-II.

use std::path::PathBuf;

use pgsluice_fixtures::Proxy;

use crate::Failure;
use crate::contender::{Contender, DATABASE, Kind, Place, USER};
use crate::machine::said_by;
use crate::stage::Behind;

/// PgBouncer's name of the same database in session mode.
const SESSION_DATABASE: &str = "bench_session";
/// PgBouncer knows prepared statements in transaction mode from this release on.
const PGBOUNCER_PREPARES: (u32, u32) = (1, 21);
/// Processes of Pgpool-II, one for each client that is there.
pub const PGPOOL_CLIENTS: u32 = 64;

/// Starts one of them.
pub type Maker = fn(&Behind<'_>) -> Result<Contender, Failure>;

/// Daemons are often not in an ordinary user's PATH.
fn program(name: &str) -> Result<PathBuf, Failure> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    folders.map(|folder| folder.join(name)).find(|path| path.is_file()).ok_or_else(|| format!("no {name} here").into())
}

/// The two numbers that a version begins with.
fn release(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// In transaction mode; one process more for SCRAM.
///
/// # Errors
/// It is not there or does not start.
pub fn pgbouncer(behind: &Behind<'_>) -> Result<Contender, Failure> {
    let binary = behind.options.pgbouncer.clone().map_or_else(|| program("pgbouncer"), Ok)?;
    let said = said_by(&binary.to_string_lossy(), &["--version"]).unwrap_or_default();
    let version = said.rsplit(' ').next().unwrap_or_default().to_owned();
    let prepares = release(&version) >= PGBOUNCER_PREPARES;
    let (server, pool) = (behind.port(), behind.options.pool);
    let prepared = if prepares { "max_prepared_statements = 200" } else { "" };
    let run = |auth: &str| -> Result<Place, Failure> {
        let config = format!(
            "[databases]\n\
             {DATABASE} = host=127.0.0.1 port={server} pool_size={pool}\n\
             {SESSION_DATABASE} = host=127.0.0.1 port={server} dbname={DATABASE} pool_mode=session pool_size=1000\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\nlisten_port = {{port}}\nunix_socket_dir =\nauth_type = {auth}\n\
             auth_file = {{dir}}/users\npool_mode = transaction\nmax_client_conn = 16000\n\
             client_tls_sslmode = allow\nclient_tls_key_file = {{dir}}/server.key\nclient_tls_cert_file = {{dir}}/server.crt\n\
             server_tls_sslmode = disable\n\
             log_connections = 0\nlog_disconnections = 0\nlog_stats = 0\n{prepared}\n"
        );
        let mut args = vec!["{config}"];
        if nix::unistd::Uid::effective().is_root() {
            // It refuses to be root.
            args = vec!["-u", "nobody", "{config}"];
        }
        let (certificate, key) = &behind.certificate;
        let proxy = Proxy::builder(&binary)
            .args(args)
            .config(config)
            .file("users", format!("\"{USER}\" \"\"\n{}", behind.scram_line))
            .file("server.crt", certificate)
            .file("server.key", key);
        Ok(proxy.start()?.into())
    };
    let mut contender = Contender::new(format!("PgBouncer {version}"), Kind::PgBouncer, run("trust")?);
    (contender.scram, contender.tls, contender.prepares) = (Some(run("scram-sha-256")?), true, prepares);
    if !prepares {
        contender.prepared_database = SESSION_DATABASE;
        contender.note = Some(format!(
            "PgBouncer {version} does not know prepared statements in transaction mode: that workload runs in session mode, \
             one server connection for each client."
        ));
    }
    Ok(contender)
}

/// As a plain relay, with as many threads as there are cores, which is its default.
///
/// # Errors
/// It is not there or does not start.
pub fn haproxy(behind: &Behind<'_>) -> Result<Contender, Failure> {
    let binary = program("haproxy")?;
    let said = said_by(&binary.to_string_lossy(), &["-v"]).unwrap_or_default();
    let version = said.split(' ').nth(2).and_then(|word| word.split('-').next()).unwrap_or_default();
    let server = behind.port();
    let config = |way: &str| {
        format!(
            "global\n    maxconn 4000\ndefaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1h\n    timeout server 1h\n\
             listen postgres\n    bind 127.0.0.1:{{port}}\n    server primary 127.0.0.1:{server}\n{way}"
        )
    };
    let run = || -> Result<Place, Failure> {
        Ok(Proxy::builder(&binary).args(["-db", "-f", "{config}"]).config(config("")).start()?.into())
    };
    let mut contender = Contender::new(format!("haproxy {version}"), Kind::HaProxy, run()?);
    contender.note = Some(format!(
        "haproxy {version} relays bytes: with TLS and with SCRAM it is PostgreSQL that does the work, and each of its \
         clients has a server connection."
    ));
    (contender.scram, contender.tls) = (Some(run()?), true);
    Ok(contender)
}

/// With a process and a server connection for each client; nothing parsed that need not be.
///
/// # Errors
/// It is not there or does not start.
pub fn pgpool(behind: &Behind<'_>) -> Result<Contender, Failure> {
    let binary = program("pgpool")?;
    let said = said_by(&binary.to_string_lossy(), &["--version"]).unwrap_or_default();
    let version = said.split(' ').nth(2).unwrap_or_default();
    let config = format!(
        "backend_clustering_mode = 'raw'\nlisten_addresses = '127.0.0.1'\nport = {{port}}\n\
         socket_dir = '{{dir}}'\npcp_listen_addresses = '127.0.0.1'\npcp_port = {{port:pcp}}\npcp_socket_dir = '{{dir}}'\n\
         wd_ipc_socket_dir = '{{dir}}'\npid_file_name = '{{dir}}/pgpool.pid'\nlogdir = '{{dir}}'\n\
         backend_hostname0 = '127.0.0.1'\nbackend_port0 = {}\nenable_pool_hba = off\npool_passwd = ''\n\
         num_init_children = {PGPOOL_CLIENTS}\nmax_pool = 1\nconnection_cache = on\nload_balance_mode = off\n\
         memory_cache_enabled = off\nlog_min_messages = 'error'\n",
        behind.port()
    );
    let args = ["-n", "-D", "-f", "{config}", "-F", "{dir}/pcp.conf", "-a", "{dir}/pool_hba.conf"];
    let proxy =
        Proxy::builder(&binary).args(args).config(config).file("pcp.conf", "").file("pool_hba.conf", "").start()?;
    let mut contender = Contender::new(format!("Pgpool-II {version}"), Kind::Pgpool, proxy.into());
    contender.note = Some(format!(
        "Pgpool-II {version} has {PGPOOL_CLIENTS} processes, one for each client, in raw mode: no load balancing, no query \
         cache. Its memory is the proportional share (PSS) of them all."
    ));
    contender.wait_for("select 1", "")?;
    Ok(contender)
}

#[cfg(test)]
mod tests {
    use super::{PGBOUNCER_PREPARES, release};

    #[test]
    fn releases_are_compared_by_number() {
        assert!(release("1.18.0") < PGBOUNCER_PREPARES);
        assert!(release("1.21.0") >= PGBOUNCER_PREPARES && release("1.25.1") >= PGBOUNCER_PREPARES);
        assert!(release("2.0") >= PGBOUNCER_PREPARES);
    }
}
