//! What must hold between several keys.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::nearest::nearest;
use crate::config::file::reader::join;
use crate::config::file::report::Report;
use crate::config::keys::general::{ServerTls, StateFile};
use crate::config::keys::words::{AuthType, Negotiation, SslMode};
use crate::config::values::address::{ListenAddr, Upstream, socket_path, socket_path_too_long};
use crate::config::values::units::{quoted, show_duration};
use crate::config::{Cluster, Config, Credentials, Database};

/// Databases that are the console itself.
pub(crate) const RESERVED: [&str; 2] = ["pgsluice", "pgbouncer"];

/// The shortest key that a signature may have.
const SHORTEST_SECRET: usize = 16;

/// The longest name that PostgreSQL keeps (NAMEDATALEN - 1).
const LONGEST_NAME: usize = 63;

/// Reports all that does not fit together.
pub(crate) fn check(config: &Config, report: &Report<'_>) {
    listeners(config, report);
    roles(config, report);
    limits(config, report);
    client_tls(config, report);
    http(config, report);
    refusals(config, report);
    webhooks(config, report);
    fleet(config, report);
    clusters(config, report);
    databases(config, report);
    for name in config.users.keys() {
        valid_name("users", name, report);
    }
}

fn listeners(config: &Config, report: &Report<'_>) {
    let listen = &config.listen;
    if listen.listen_addr.is_empty() && listen.unix_socket_dir.is_none() {
        report.error("listen_addr", "nothing to listen on: give an address here or a folder as unix_socket_dir");
    }
    if listen.listen_addr.len() > 1 && listen.listen_addr.contains(&ListenAddr::All) {
        report.error("listen_addr", "\"*\" already means every address: leave the others out");
    }
    let socket = listen.unix_socket_dir.as_deref().map(|dir| socket_path(dir, listen.listen_port));
    if let Some(why) = socket.as_deref().and_then(socket_path_too_long) {
        report.error("unix_socket_dir", why);
    }
    if config.process.state_file == StateFile::Ephemeral {
        report.warn("state_file", "none: a restart opens every gate that was closed");
    }
    let open = listen.listen_addr.iter().any(|addr| !is_loopback(addr));
    match config.auth.auth_type {
        AuthType::Trust | AuthType::Any if open => {
            report.warn("auth_type", "\"trust\" lets in everybody who reaches the address it listens on")
        }
        AuthType::Plain if open && !config.client_tls.client_tls_sslmode.insists() => report.warn(
            "auth_type",
            "\"plain\" sends passwords in clear text over the network: set client_tls_sslmode = \"require\"",
        ),
        _ => {}
    }
}

fn is_loopback(addr: &ListenAddr) -> bool {
    match addr {
        ListenAddr::All => false,
        ListenAddr::Ip(ip) => ip.is_loopback(),
        ListenAddr::Name(name) => name == "localhost",
    }
}

fn roles(config: &Config, report: &Report<'_>) {
    let auth = &config.auth;
    let lacks = auth.auth_type.needs_secrets() && !config.asks_servers();
    if lacks && config.credentials == Credentials::None {
        let needs = format!("missing: auth_type \"{}\" needs the users' secrets", auth.auth_type);
        report.error("auth_file", needs);
    }
    if auth.auth_type == AuthType::Hba && auth.auth_hba_file.is_none() {
        report.error("auth_type", "\"hba\" needs auth_hba_file");
    }
    if auth.auth_type == AuthType::Cert && !config.client_tls.client_tls_sslmode.verifies() {
        report.error("auth_type", "\"cert\" needs client_tls_sslmode = \"verify-full\"");
    }
    reserved_auth_dbname("auth_dbname", &auth.auth_dbname, report);
    for name in &auth.stats_users {
        if auth.admin_users.contains(name) {
            let why = format!("{} is in admin_users already, which allows more", quoted(name));
            report.warn("stats_users", why);
        }
    }
}

fn reserved_auth_dbname(path: &str, name: &str, report: &Report<'_>) {
    if RESERVED.contains(&name) {
        report.error(path, format!("cannot use the reserved \"{name}\" database as an auth_dbname"));
    }
}

fn limits(config: &Config, report: &Report<'_>) {
    let pooling = &config.pooling;
    let sizes = ["min_pool_size", "default_pool_size"].map(|key| report.is_sound(key));
    if pooling.min_pool_size > pooling.default_pool_size && sizes == [true, true] {
        report.error(
            "min_pool_size",
            format!(
                "must not be larger than default_pool_size, {}; found {}",
                pooling.default_pool_size, pooling.min_pool_size
            ),
        );
    }
    let total = pooling.max_server_connections;
    if total.get().is_some_and(|total| total <= pooling.operator_reserved) && report.is_sound("operator_reserved") {
        report.error(
            "max_server_connections",
            format!(
                "must be larger than operator_reserved, {}, or nothing is left for applications",
                pooling.operator_reserved
            ),
        );
    }
    let memory = &config.memory;
    if memory.max_message_size < memory.buffer_size {
        report.warn("max_message_size", "smaller than buffer_size: reads larger than a message gain nothing");
    }
    if memory.client_memory_limit < memory.max_message_size && report.is_sound("client_memory_limit") {
        report.warn("client_memory_limit", "smaller than max_message_size: no message of that size can be read");
    }
}

fn client_tls(config: &Config, report: &Report<'_>) {
    let tls = &config.client_tls;
    let mode = tls.client_tls_sslmode;
    key_pair(
        report,
        "",
        ("client_tls_cert_file", tls.client_tls_cert_file.is_some()),
        ("client_tls_key_file", tls.client_tls_key_file.is_some()),
    );
    let none = tls.client_tls_cert_file.is_none() && tls.client_tls_key_file.is_none();
    if mode != SslMode::Disable && none {
        report.error("client_tls_sslmode", format!("\"{mode}\" needs client_tls_cert_file and client_tls_key_file"));
    } else if mode.verifies() && tls.client_tls_ca_file.is_none() {
        report.error("client_tls_sslmode", format!("\"{mode}\" needs client_tls_ca_file"));
    }
}

/// A certificate and its key: both or none.
fn key_pair(report: &Report<'_>, path: &str, cert: (&str, bool), key: (&str, bool)) {
    let (given, missing) = match (cert, key) {
        ((cert, true), (key, false)) => (cert, key),
        ((cert, false), (key, true)) => (key, cert),
        _ => return,
    };
    if report.is_sound(&join(path, missing)) {
        report.error(&join(path, given), format!("needs {missing} too"));
    }
}

fn server_tls(path: &str, tls: &ServerTls, report: &Report<'_>) {
    key_pair(
        report,
        path,
        ("server_tls_cert_file", tls.server_tls_cert_file.is_some()),
        ("server_tls_key_file", tls.server_tls_key_file.is_some()),
    );
    let mode = tls.server_tls_sslmode;
    if tls.server_tls_negotiation == Negotiation::Direct && !mode.insists() {
        let needs = format!("\"direct\" needs server_tls_sslmode \"require\" or stronger, not \"{mode}\"");
        report.error(&join(path, "server_tls_negotiation"), needs);
    }
    let ca = join(path, "server_tls_ca_file");
    if mode.verifies() && tls.server_tls_ca_file.is_none() && report.is_sound(&ca) {
        let needs = format!("\"{mode}\" needs server_tls_ca_file");
        report.error(&join(path, "server_tls_sslmode"), needs);
    }
}

fn fleet(config: &Config, report: &Report<'_>) {
    let fleet = &config.fleet;
    if fleet.cert_file.is_some() != fleet.key_file.is_some() {
        report.error("fleet.cert_file", "fleet.cert_file and fleet.key_file go together");
    }
    let reserved = |text: &str| text.len() > LONGEST_NAME || text.chars().any(char::is_control);
    if reserved(&fleet.member) {
        report.error("fleet.member", format!("must be one line of at most {LONGEST_NAME} bytes"));
    }
    if !fleet.endpoints.is_empty() && config.process.state_file == StateFile::Ephemeral {
        report
            .warn("fleet.endpoints", "without a state_file a start while etcd is away knows of no gate that is closed");
    }
}

fn webhooks(config: &Config, report: &Report<'_>) {
    for (at, webhook) in config.webhooks.iter().enumerate() {
        let key = |name: &str| format!("webhook.{}.{name}", at + 1);
        let sound = |name: &str| report.is_sound(&key(name));
        if webhook.url.is_empty() && sound("url") {
            report.error(&key("url"), "missing: where requests go");
        }
        if webhook.secret.expose().len() < SHORTEST_SECRET && sound("secret") {
            report.error(&key("secret"), format!("must have at least {SHORTEST_SECRET} characters"));
        }
        if config.webhooks.iter().take(at).any(|other| other.url == webhook.url) && !webhook.url.is_empty() {
            report.error(&key("url"), "another webhook has the same URL");
        }
        for name in &webhook.databases {
            if !config.databases.contains_key(name) && !config.databases.contains_key("*") {
                report.warn(&key("databases"), format!("there is no database {}", quoted(name)));
            }
        }
    }
}

fn http(config: &Config, report: &Report<'_>) {
    let http = &config.http;
    let by_certificate = !http.read_certificates.is_empty() || !http.operate_certificates.is_empty();
    let nobody = http.token.is_empty() && http.read_tokens.is_empty() && http.operate_tokens.is_empty();
    let public = http.banner_public || config.metrics.public;
    if http.listen.0.is_some() && !public && nobody && !by_certificate {
        let text =
            "nothing but health can be read: give read_tokens for the API, or set banner_public or metrics.public";
        report.warn("http.listen", text);
    }
    if http.tls && config.client_tls.client_tls_sslmode == SslMode::Disable {
        report.error(
            "http.tls",
            "needs client_tls_cert_file, client_tls_key_file and a client_tls_sslmode other than \"disable\"",
        );
    }
    if by_certificate && !(http.tls && config.client_tls.client_tls_ca_file.is_some()) {
        report.error(
            "http.read_certificates",
            "read_certificates and operate_certificates need tls and client_tls_ca_file",
        );
    }
    let is_loopback = |addr: &ListenAddr| match addr {
        ListenAddr::Ip(ip) => ip.is_loopback(),
        ListenAddr::Name(name) => name == "localhost",
        ListenAddr::All => false,
    };
    if let Some((addr, _)) = &http.listen.0
        && !is_loopback(addr)
        && !http.tls
        && !http.operate_tokens.is_empty()
    {
        report.warn(
            "http.operate_tokens",
            "tokens that open and close the gate cross the network in plain text: set tls",
        );
    }
    if let Some((addr, port)) = &http.listen.0
        && *port == config.listen.listen_port
        && config.listen.listen_addr.iter().any(|other| other == addr || *other == ListenAddr::All)
    {
        report.error("http.listen", "this is where clients connect (listen_port): choose another port");
    }
}

fn refusals(config: &Config, report: &Report<'_>) {
    for name in &config.refusals.remove_functions {
        if config.refusals.add_functions.contains(name) {
            let why = format!("{} is in add_functions too", quoted(name.as_str()));
            report.error("refusals.remove_functions", why);
        }
    }
}

pub(crate) fn clusters(config: &Config, report: &Report<'_>) {
    if config.clusters.is_empty() && report.is_sound_below("clusters") {
        report.error("clusters", "none given: add a table such as [clusters.main] with upstreams and monitor_user");
    }
    let general = &config.server_tls;
    if config.clusters.is_empty() || config.clusters.values().any(|c| c.server_tls == *general) {
        server_tls("", general, report);
    }
    let mut seen: BTreeMap<&Upstream, &str> = BTreeMap::new();
    for (name, cluster) in &config.clusters {
        let path = join("clusters", name);
        valid_name("clusters", name, report);
        one_cluster(config, &path, cluster, report);
        if cluster.server_tls != *general {
            server_tls(&path, &cluster.server_tls, report);
        }
        for upstream in &cluster.upstreams {
            if let Some(other) = seen.insert(upstream, name) {
                let why = format!("{upstream} is a server of cluster {} too", quoted(other));
                report.warn(&join(&path, "upstreams"), why);
            }
        }
        if !config.databases.values().any(|db| db.cluster == *name) && !config.databases.is_empty() {
            report.warn(&path, "no database uses this cluster");
        }
    }
}

fn one_cluster(config: &Config, path: &str, cluster: &Cluster, report: &Report<'_>) {
    let upstreams = join(path, "upstreams");
    if cluster.upstreams.is_empty() {
        report.error(&upstreams, "no server given: write upstreams = [\"host:5432\"]");
    }
    for upstream in &cluster.upstreams {
        if is_own(config, upstream) {
            report.error(&upstreams, format!("{upstream} is pgsluice's own address: it would connect to itself"));
        }
    }
    if cluster.monitor_user.is_empty() {
        report.warn(
            &join(path, "monitor_user"),
            "not set: the servers are watched through a role that pools use; MAINTENANCE CHECK says what it does not see",
        );
    }
    if cluster.monitor_database.is_empty() {
        report.error(&join(path, "monitor_database"), "must not be empty");
    }
    if cluster.monitor_timeout.as_secs() >= 60 && cluster.monitor_timeout > cluster.monitor_interval * 60 {
        let why = format!("a dead server is noticed only after {}", show_duration(cluster.monitor_timeout));
        report.warn(&join(path, "monitor_timeout"), why);
    }
}

fn is_own(config: &Config, upstream: &Upstream) -> bool {
    let listen = &config.listen;
    match upstream {
        Upstream::Unix { folder, port } => {
            *port == listen.listen_port && listen.unix_socket_dir.as_ref() == Some(folder)
        }
        Upstream::Tcp { host, port } => {
            let ip: Option<IpAddr> = host.parse().ok();
            let local = host == "localhost" || ip.is_some_and(|ip| ip.is_loopback());
            let same = |addr: &ListenAddr| match addr {
                ListenAddr::All => local,
                ListenAddr::Ip(own) => {
                    ip == Some(*own) || (own.is_unspecified() && local) || (host == "localhost" && own.is_loopback())
                }
                ListenAddr::Name(own) => own == host,
            };
            *port == listen.listen_port && listen.listen_addr.iter().any(same)
        }
    }
}

fn databases(config: &Config, report: &Report<'_>) {
    if config.databases.is_empty() && report.is_sound_below("databases") {
        report
            .error("databases", "none given: add a table such as [databases.app], or [databases.\"*\"] for every name");
    }
    for (name, database) in &config.databases {
        let path = join("databases", name);
        valid_name("databases", name, report);
        if RESERVED.contains(&name.as_str()) {
            report.error(&path, "this name is the console's: give the database another one");
        }
        reserved_auth_dbname(&join(&path, "auth_dbname"), database.auth_dbname.as_deref().unwrap_or_default(), report);
        cluster_of(config, &path, database, report);
        database_login(config, &path, database, report);
        database_sizes(&path, database, report);
        if database.dbname.len() > LONGEST_NAME {
            report.error(&join(&path, "dbname"), format!("must have at most {LONGEST_NAME} bytes"));
        }
    }
}

fn cluster_of(config: &Config, path: &str, database: &Database, report: &Report<'_>) {
    if config.clusters.is_empty() || config.clusters.contains_key(&database.cluster) {
        return;
    }
    let key = join(path, "cluster");
    let known: Vec<String> = config.clusters.keys().map(|name| quoted(name)).collect();
    let known = known.join(", ");
    if database.cluster.is_empty() {
        report.error(&key, format!("missing: name one of the clusters {known}"));
        return;
    }
    let near = nearest(&database.cluster, config.clusters.keys().map(String::as_str));
    let hint = match near {
        Some(name) => format!("did you mean {}?", quoted(name)),
        None => format!("there is {known}"),
    };
    report.error(&key, format!("no cluster is called {}; {hint}", quoted(&database.cluster)));
}

fn database_login(config: &Config, path: &str, database: &Database, report: &Report<'_>) {
    if database.user.is_empty() && !database.password.is_empty() {
        report.error(&join(path, "password"), "needs user too");
    }
    if !database.user.is_empty() && database.password.is_empty() && config.auth.auth_file.is_none() {
        let why = "has no password, and there is no auth_file to take one from";
        report.warn(&join(path, "user"), why);
    }
}

fn database_sizes(path: &str, database: &Database, report: &Report<'_>) {
    let (size, least) = (join(path, "pool_size"), join(path, "min_pool_size"));
    let written = [&size, &least].map(|key| report.was_written(key));
    let sound = report.is_sound(&size) && report.is_sound(&least);
    // Where both come from the top of the file they have been compared there.
    if database.min_pool_size > database.pool_size && sound && written != [false, false] {
        let (min, max) = (database.min_pool_size, database.pool_size);
        if written[1] {
            let reason = format!("must not be larger than pool_size, {max}; found {min}");
            report.error(&least, reason);
        } else {
            let reason = format!("must not be smaller than min_pool_size, {min}; found {max}");
            report.error(&size, reason);
        }
    }
    if database.max_db_connections.get().is_some_and(|most| most < database.pool_size) && sound {
        report.warn(
            &join(path, "max_db_connections"),
            format!("smaller than pool_size, {}: a pool cannot fill", database.pool_size),
        );
    }
}

fn valid_name(table: &str, name: &str, report: &Report<'_>) {
    let path = join(table, name);
    if name.is_empty() {
        report.error(&path, "a name must not be empty");
    } else if name.len() > LONGEST_NAME {
        report.error(&path, format!("a name must have at most {LONGEST_NAME} bytes"));
    } else if name.contains('\0') {
        report.error(&path, "a name must not contain a NUL");
    } else if name == "*" && table != "databases" {
        report.error(&path, "\"*\" is only possible in [databases.\"*\"]");
    }
}
