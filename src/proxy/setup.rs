//! From a configuration to what the proxy works with.

use std::sync::Arc;

use super::takeover::give;
use crate::auth::hba::{Connection, Hba, IdentMaps, Rule, RuleMethod};
use crate::auth::{Credential, Decoy, Secret, Userlist};
use crate::config;
use crate::config::{AuthType, Config, Credentials};
use crate::events::Bus;
use crate::gate::StateFile;
use crate::server::Address;
use crate::server::backend_ledger::Ledger;
use crate::server::login::{Login, MONITOR, MOVER};
use crate::shared::sockets::server_tcp_options;
use crate::shared::{LoginRules, Setup};
use crate::sql::{Analyzer, RefusalList};
use crate::tls::client::{CaSource, ServerTlsConfig};
use crate::tls::server::ClientTlsConfig;
use crate::tls::{Choice, ClientTls, ServerTls, SslMode, TlsFiles};
use crate::topology::roles::Role;
use crate::topology::{Cluster, Upstream};

/// Roles that are tried to watch a cluster through.
const MOST_ROLES: usize = 20;

/// What cannot be made of a configuration that is right in itself: files that do not hold what they should.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SetupError(pub String);

fn error(text: impl std::fmt::Display) -> SetupError {
    SetupError(text.to_string())
}

fn mode(mode: config::SslMode) -> SslMode {
    match mode {
        config::SslMode::Disable => SslMode::Disable,
        config::SslMode::Allow => SslMode::Allow,
        config::SslMode::Prefer => SslMode::Prefer,
        config::SslMode::Require => SslMode::Require,
        config::SslMode::VerifyCa => SslMode::VerifyCa,
        config::SslMode::VerifyFull => SslMode::VerifyFull,
    }
}

fn choice(protocols: &config::TlsProtocols, ciphers: &config::TlsCiphers, ciphers13: &config::TlsCiphers) -> Choice {
    Choice {
        tls12: protocols.tls12,
        tls13: protocols.tls13,
        suites12: ciphers.suites.clone(),
        suites13: ciphers13.suites.clone(),
    }
}

/// Reads the files a configuration names and makes a setup of it all. Slow: secrets are prepared.
///
/// # Errors
/// A file cannot be read or does not hold what it should.
pub fn setup(config: Config, decoy: &Decoy) -> Result<Setup, SetupError> {
    let userlist = match &config.credentials {
        Credentials::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| error(format_args!("{}: {e}", path.display())))?;
            Userlist::parse(&text).map_err(|e| error(format_args!("{}: {e}", path.display())))?
        }
        Credentials::None | Credentials::One { .. } => Userlist::default(),
    };
    userlist.prepare(decoy);
    let rules = login_rules(&config.auth)?;
    let files = client_tls(&config, rules.is_some());
    let tls: ClientTls =
        files.load().map_err(|why| error(format_args!("client_tls_cert_file and client_tls_key_file: {why}")))?;
    let mut list = RefusalList::default();
    let names =
        |names: &[config::FunctionName]| names.iter().map(|name| format!("{}()", name.as_str())).collect::<Vec<_>>();
    for name in names(&config.refusals.add_functions) {
        list.widen(&name).map_err(error)?;
    }
    for name in names(&config.refusals.remove_functions) {
        list.narrow(&name).map_err(error)?;
    }
    let analyzer = Arc::new(Analyzer::new(Arc::new(list)));
    Ok(Setup { config, led: std::collections::BTreeMap::new(), userlist, rules, tls, analyzer })
}

/// TLS towards clients; `asks` for certificates where the log-in may want one.
pub fn client_tls(config: &Config, asks: bool) -> ClientTlsConfig {
    let tls = &config.client_tls;
    ClientTlsConfig {
        mode: mode(tls.client_tls_sslmode),
        key_file: tls.client_tls_key_file.clone(),
        cert_file: tls.client_tls_cert_file.clone(),
        ca_file: tls.client_tls_ca_file.clone(),
        asks,
        choice: choice(&tls.client_tls_protocols, &tls.client_tls_ciphers, &tls.client_tls13_ciphers),
    }
}

/// TLS towards the servers of a cluster.
pub fn server_tls(config: &config::Cluster) -> ServerTlsConfig {
    let tls = &config.server_tls;
    ServerTlsConfig {
        mode: mode(tls.server_tls_sslmode),
        ca: tls.server_tls_ca_file.clone().map(CaSource::File),
        cert_file: tls.server_tls_cert_file.clone(),
        key_file: tls.server_tls_key_file.clone(),
        direct: tls.server_tls_negotiation == config::Negotiation::Direct,
        choice: choice(&tls.server_tls_protocols, &tls.server_tls_ciphers, &tls.server_tls13_ciphers),
    }
}

/// What auth_type and the files that it needs say of who logs in how.
fn login_rules(auth: &config::Auth) -> Result<Option<LoginRules>, SetupError> {
    let hba = match (auth.auth_type, &auth.auth_hba_file) {
        (AuthType::Hba, Some(path)) => Hba::load(path).map_err(|why| error(format_args!("auth_hba_file: {why}")))?,
        (AuthType::Cert, _) => Hba::everybody(RuleMethod::Cert),
        _ => return Ok(None),
    };
    let maps = match &auth.auth_ident_file {
        Some(path) => IdentMaps::load(path).map_err(|why| error(format_args!("auth_ident_file: {why}")))?,
        None => IdentMaps::default(),
    };
    for line in &hba.lines {
        let clear = |rule: &Rule| rule.method == RuleMethod::Password && rule.connection != Connection::HostSsl;
        if line.rule.as_ref().is_ok_and(|rule| clear(rule) && rule.connection != Connection::Local) {
            let (file, number) = (line.file.display(), line.number);
            tracing::warn!(
                event = "configuration", %file, line = number,
                "the method password lets passwords travel in clear text: write hostssl instead of host"
            );
        }
    }
    Ok(Some(LoginRules { hba, maps }))
}

/// A cluster and TLS towards its servers, as the configuration has it; what happens to them is published as `events`.
///
/// # Errors
/// A certificate or key cannot be read.
pub fn cluster(
    name: &str,
    config: &config::Cluster,
    events: &Bus,
) -> Result<(Arc<Cluster>, Arc<ServerTls>), SetupError> {
    let addresses = config.upstreams.iter().map(address).collect();
    let bytes = config.max_lag_bytes.bytes() as u64;
    let lost_after = config.primary_lost_after.get();
    let cluster = Cluster::new(name.to_owned(), addresses, bytes, config.max_lag, lost_after)
        .with_several_primaries(config.multi_primary)
        .following_settings(config.follow_read_only_setting)
        .publishing(events.clone());
    let files = server_tls(config);
    Ok((Arc::new(cluster), Arc::new(files.load().map_err(error)?)))
}

fn address(upstream: &config::Upstream) -> Address {
    match upstream {
        config::Upstream::Tcp { host, port } => Address::Tcp { host: host.clone(), port: *port },
        config::Upstream::Unix { folder, port } => Address::Unix { dir: folder.clone(), port: *port },
    }
}

/// How the monitor logs in to an upstream of a cluster: as its own role, else as one that pools use.
pub fn monitor_login(setup: &Setup, cluster: &Cluster, tls: Arc<ServerTls>, at: usize) -> Option<Login> {
    monitor_logins(setup, cluster, tls, at).into_iter().next()
}

/// All ways to log in to an upstream as a monitor, the most promising first.
pub fn monitor_logins(setup: &Setup, cluster: &Cluster, tls: Arc<ServerTls>, at: usize) -> Vec<Login> {
    let Some(config) = setup.config.clusters.get(&cluster.name) else { return Vec::new() };
    let Some(upstream) = cluster.upstreams.get(at) else { return Vec::new() };
    let roles = monitor_roles(setup, cluster, config).into_iter();
    roles.map(|role| login_of(setup, config, upstream, tls.clone(), (role, MONITOR))).collect()
}

fn monitor_roles(setup: &Setup, cluster: &Cluster, config: &config::Cluster) -> Vec<Role> {
    if config.monitor_user.is_empty() { borrowed_roles(setup, cluster) } else { vec![own_role(setup, config)] }
}

fn login_of(
    setup: &Setup,
    config: &config::Cluster,
    upstream: &Upstream,
    tls: Arc<ServerTls>,
    (role, application): (Role, &str),
) -> Login {
    Login {
        address: upstream.address.clone(),
        tcp: server_tcp_options(&setup.config.listen),
        tls,
        user: role.user,
        credential: role.credential.into(),
        dbname: role.dbname,
        parameters: vec![("application_name".into(), application.into())],
        timeout: config.monitor_timeout,
        own: upstream.own_processes(),
    }
}

/// How a move logs in to an upstream of a cluster: as the role for that, else as the monitor does.
pub fn move_login(setup: &Setup, cluster: &Cluster, tls: Arc<ServerTls>, at: usize) -> Option<Login> {
    let config = setup.config.clusters.get(&cluster.name)?;
    let role = if config.switchover_user.is_empty() {
        monitor_roles(setup, cluster, config).into_iter().next()?
    } else {
        let password = config.switchover_password.expose();
        let credential = if password.is_empty() {
            setup.userlist.get(&config.switchover_user).map_or(Credential::None, Secret::credential)
        } else {
            Credential::password(password)
        };
        Role { user: config.switchover_user.as_str().into(), credential, dbname: config.monitor_database.clone() }
    };
    let upstream = cluster.upstreams.get(at)?;
    Some(login_of(setup, config, upstream, tls, (role, MOVER)))
}

/// Logs in once to the servers of a URL: what they refuse now they would refuse for ever. A server that is not there may come.
/// Gives the refusal, if there is one.
///
/// # Errors
/// A file of the configuration does not hold what it should.
pub async fn try_upstreams(setup: &Setup) -> Result<Option<String>, SetupError> {
    for (name, config) in &setup.config.clusters {
        let (cluster, tls) = cluster(name, config, &Bus::default())?;
        let mut refusal = None;
        for at in 0..cluster.upstreams.len() {
            let Some(login) = monitor_login(setup, &cluster, tls.clone(), at) else { continue };
            match login.run(&[]).await {
                Err(error) if error.is_lasting() => {
                    let text = format!("cannot log in to {} as \"{}\": {error}", login.address, login.user);
                    refusal.get_or_insert(text);
                }
                Ok(_) | Err(_) => {
                    refusal = None;
                    break;
                }
            }
        }
        if let Some(why) = refusal {
            return Ok(Some(why));
        }
    }
    Ok(None)
}

fn own_role(setup: &Setup, config: &config::Cluster) -> Role {
    let credential = if config.monitor_password.is_empty() {
        setup.userlist.get(&config.monitor_user).map_or(Credential::None, Secret::credential)
    } else {
        Credential::password(config.monitor_password.expose())
    };
    Role { user: config.monitor_user.as_str().into(), credential, dbname: config.monitor_database.clone() }
}

/// PgBouncer needs no role of its own to watch servers. Whatever a pool may log in as serves: the role that has been let in
/// already, those of databases with a user of their own, and those of auth_file.
fn borrowed_roles(setup: &Setup, cluster: &Cluster) -> Vec<Role> {
    let config = &setup.config;
    // Who looks after servers sees more of them than an application does.
    let (dbname, mut roles) = ("postgres", Vec::new());
    let users = |users: &[String]| users.to_vec();
    let own = users(&config.auth.admin_users).into_iter().chain(users(&config.auth.stats_users));
    for user in own.chain(["postgres".to_owned()]) {
        if let Some(secret) = setup.userlist.get(&user) {
            roles.push(Role { user: user.as_str().into(), credential: secret.credential(), dbname: dbname.to_owned() });
        }
    }
    let here = || config.databases.iter().filter(|(_, database)| database.cluster == cluster.name);
    for (name, database) in here() {
        let config::ServerLogin::Forced { user, password } = database.server_login() else { continue };
        let credential = match password {
            Some(password) => Credential::password(password.expose()),
            None => setup.userlist.get(user).map_or(Credential::None, Secret::credential),
        };
        let name = if name == "*" { user } else { name };
        roles.push(Role { user: user.into(), credential, dbname: database.server_dbname(name).to_owned() });
    }
    // A name of its own is more likely to be there than what clients may ask for by "*".
    let named = here().find(|(name, _)| *name != "*").map(|(name, database)| database.server_dbname(name));
    let any = here().next().map(|(_, database)| database.dbname.as_str()).filter(|name| !name.is_empty());
    let dbname = named.or(any).unwrap_or("postgres");
    for user in setup.userlist.names() {
        let credential = setup.userlist.get(user).map_or(Credential::None, Secret::credential);
        roles.push(Role { user: user.into(), credential, dbname: dbname.to_owned() });
    }
    // What can prove itself goes before what only a server that trusts it lets in; the order stays otherwise.
    roles.sort_by_key(|role| matches!(role.credential, Credential::None));
    let mut once: Vec<Role> = Vec::new();
    for role in cluster.roles.known().into_iter().chain(roles) {
        if once.len() < MOST_ROLES && !once.iter().any(|known| known.is_same_as(&role)) {
            once.push(role);
        }
    }
    once
}

/// Beside the state file, under the same lock. `inherits`: the process before this one still uses what stands there.
///
/// # Errors
/// It cannot be read or written.
pub fn ledger(file: &StateFile, inherits: bool) -> std::io::Result<Ledger> {
    let Some(path) = file.path() else { return Ok(Ledger::default()) };
    let own = give::ledger(path);
    let opened = if inherits { Ledger::beside(&own) } else { Ledger::open(&own) };
    let ledger = opened.map_err(|error| std::io::Error::new(error.kind(), format!("{}: {error}", own.display())))?;
    if !inherits {
        // Both processes of an upgrade have been killed.
        ledger.outlives(&give::former_ledger(path));
    }
    Ok(ledger)
}
