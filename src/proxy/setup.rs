//! From a configuration to what the proxy works with.

use std::sync::Arc;

use crate::auth::hba::{Connection, Hba, IdentMaps, Rule, RuleMethod};
use crate::auth::{Credential, Decoy, Secret, Userlist};
use crate::config;
use crate::config::{AuthType, Config, Credentials};
use crate::events::Bus;
use crate::server::Address;
use crate::server::login::{Login, MONITOR};
use crate::shared::sockets::tcp_options;
use crate::shared::{LoginRules, Setup};
use crate::sql::{Analyzer, RefusalList};
use crate::tls::client::{CaSource, ServerTlsConfig};
use crate::tls::server::ClientTlsConfig;
use crate::tls::{ClientTls, ServerTls, SslMode, TlsFiles};
use crate::topology::Cluster;

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
    let files = ClientTlsConfig {
        mode: mode(config.client_tls.client_tls_sslmode),
        key_file: config.client_tls.client_tls_key_file.clone(),
        cert_file: config.client_tls.client_tls_cert_file.clone(),
        ca_file: config.client_tls.client_tls_ca_file.clone(),
        asks: rules.is_some(),
    };
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
    Ok(Setup { config, userlist, rules, tls, analyzer: Arc::new(Analyzer::new(Arc::new(list))) })
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
    let cluster = Cluster::new(name.to_owned(), addresses, bytes, config.max_lag).publishing(events.clone());
    let files = ServerTlsConfig {
        mode: mode(config.server_tls.server_tls_sslmode),
        ca: config.server_tls.server_tls_ca_file.clone().map(CaSource::File),
        cert_file: config.server_tls.server_tls_cert_file.clone(),
        key_file: config.server_tls.server_tls_key_file.clone(),
        direct: config.server_tls.server_tls_negotiation == config::Negotiation::Direct,
    };
    Ok((Arc::new(cluster), Arc::new(files.load().map_err(error)?)))
}

fn address(upstream: &config::Upstream) -> Address {
    match upstream {
        config::Upstream::Tcp { host, port } => Address::Tcp { host: host.clone(), port: *port },
        config::Upstream::Unix { folder, port } => Address::Unix { dir: folder.clone(), port: *port },
    }
}

/// How the monitor logs in to an upstream of a cluster.
pub fn monitor_login(setup: &Setup, cluster: &Cluster, tls: Arc<ServerTls>, at: usize) -> Option<Login> {
    let config = setup.config.clusters.get(&cluster.name)?;
    let credential = if config.monitor_password.is_empty() {
        setup.userlist.get(&config.monitor_user).map_or(Credential::None, Secret::credential)
    } else {
        Credential::password(config.monitor_password.expose())
    };
    Some(Login {
        address: cluster.upstreams.get(at)?.address.clone(),
        tcp: tcp_options(&setup.config.listen),
        tls,
        user: config.monitor_user.as_str().into(),
        credential: credential.into(),
        dbname: config.monitor_database.clone(),
        parameters: vec![("application_name".into(), MONITOR.into())],
        timeout: config.monitor_timeout,
    })
}
