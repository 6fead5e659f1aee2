//! The configuration: one commented TOML file, read into plain typed structs in which everything is resolved.
//!
//! Each section of the file is declared once (`section`, `general`, `tables`): the struct, its defaults and its
//! table of keys are the same lines. The TOML text becomes values with their places (`syntax`), one reader walks
//! them (`reader`, `setting`), checks between keys follow (`check`, `files`), and all that is wrong is
//! reported at once with file, line, key and what would be right (`error`). From the same tables come SHOW CONFIG
//! (`entries`), what a RELOAD changes (`changes`), and the example file and documentation (`example`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

mod checks;
mod file;
mod keys;
mod overlay;
mod pgbouncer;
#[cfg(test)]
mod tests;
mod values;

pub use crate::config::checks::changes::{Changes, KeyChange, NamesChanged};
pub use crate::config::file::error::{ConfigErrors, Finding, Place};
pub use crate::config::keys::entries::{ConfigEntry, ConfigNote};
pub use crate::config::keys::example::{documentation, example};
pub use crate::config::keys::fleet::{EtcdUrl, Fleet, KeyPrefix};
pub use crate::config::keys::general::{
    Auth, ClientTls, Listen, Log, Memory, Pooling, Process, ServerTls, Startup, StateFile, Timeouts,
};
pub use crate::config::keys::list::FunctionName;
pub use crate::config::keys::setting::{Key, Kind, toml_text};
pub use crate::config::keys::tables::{
    Cluster, Database, Http, HttpListen, Maintenance, Metrics, Peer, Refusals, ServerLogin, User,
};
pub use crate::config::keys::tls_choice::{TlsCiphers, TlsProtocols};
pub use crate::config::keys::webhook::{EventName, Webhook, WebhookUrl};
pub use crate::config::keys::words::{
    AuthType, Causal, Ddl, LogFormat, LogLevel, MaintenanceReads, Negotiation, OnLoss, OnTimeout, PoolMode, Reads,
    SslMode, Start, SyslogFacility, Writes,
};
pub use crate::config::pgbouncer::import_pgbouncer;
pub use crate::config::values::address::{ListenAddr, POSTGRES_PORT, RestUrl, Upstream};
pub use crate::config::values::plain::{Limit, Secret, Size, SocketMode, Timeout};
pub use crate::config::values::token::{SHORTEST_TOKEN, TokenHash};
pub use crate::config::values::units::{parse_duration, parse_size, show_duration, show_size};
pub use crate::config::values::write_rules::{RuleAction, RuleStatement, RuleTable, WriteRule};

use crate::config::file::reader::Reader;
use crate::config::file::report::Report;
use crate::config::file::section::Settings;
use crate::config::file::syntax::Parsed;

/// Far more than any configuration; less than what would hurt.
const LARGEST_FILE: u64 = 16 << 20;
/// PgBouncer's limit: a peer's number has to fit into the keys that clients get.
const MOST_PEERS: u32 = 16_383;

/// Everything that a person has decided, checked and resolved: a [`Database`] carries the values that hold for it,
/// wherever they were written.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The file it was read from; none for a text or a URL.
    pub file: Option<PathBuf>,
    /// Where clients connect.
    pub listen: Listen,
    /// The process itself.
    pub process: Process,
    /// Who may come in.
    pub auth: Auth,
    /// Where the secrets of clients are.
    pub credentials: Credentials,
    /// Pools and limits; those of one database are in [`Database`].
    pub pooling: Pooling,
    /// How long things may take.
    pub timeouts: Timeouts,
    /// Memory.
    pub memory: Memory,
    /// TLS towards clients.
    pub client_tls: ClientTls,
    /// TLS towards servers; what holds for a cluster is in [`Cluster`].
    pub server_tls: ServerTls,
    /// The log.
    pub log: Log,
    /// Start-up packets of clients.
    pub startup: Startup,
    /// Defaults of MAINTENANCE ON; those of one database are in [`Database`].
    pub maintenance: Maintenance,
    /// The HTTP endpoint.
    pub http: Http,
    /// Metrics.
    pub metrics: Metrics,
    /// Changes to the list of refused functions.
    pub refusals: Refusals,
    /// The other members of the fleet, through etcd.
    pub fleet: Fleet,
    /// Who is told of events.
    pub webhooks: Vec<Webhook>,
    /// By name; at least one.
    pub clusters: BTreeMap<String, Cluster>,
    /// By name, `*` among them; at least one. To find a client's, ask [`Config::database`].
    pub databases: BTreeMap<String, Database>,
    /// By name. To learn what holds for a session, ask [`Config::session`].
    pub users: BTreeMap<String, User>,
    /// Other processes that clients of one address come to, by their numbers.
    pub peers: BTreeMap<u32, Peer>,
    /// What has become of the keys of a pgbouncer.ini that our own keys do not show.
    pub notes: Vec<ConfigNote>,
    /// What is doubtful in it, in the order of the file.
    pub warnings: Vec<Finding>,
}

/// Where and how the secret of a user is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthQuery<'c> {
    /// The database that is asked, by its name in the configuration.
    pub database: String,
    /// Its cluster.
    pub cluster: &'c str,
    /// Its name on the server.
    pub dbname: String,
    /// The role that asks.
    pub user: &'c str,
    /// What it asks.
    pub query: &'c str,
}

/// Where the secrets of clients are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// Nowhere: auth_type is trust and no file was named.
    None,
    /// In this file.
    File(PathBuf),
    /// One user with one password, from the URL of `--upstream`.
    One {
        /// The role.
        user: String,
        /// Its password in clear text.
        password: Secret,
    },
}

/// What the command line says and the file must not change back, at a reload neither.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Listen on this address and port instead.
    pub listen: Option<(ListenAddr, u16)>,
    /// Log this much instead.
    pub log_level: Option<LogLevel>,
    /// Keys at the top of the file and their values, as SET on the console has given them.
    pub set: Vec<(String, String)>,
}

/// What holds for one session: the user's own values where there are any, the database's else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SessionSettings {
    /// When a server connection goes back to the pool.
    pub pool_mode: PoolMode,
    /// Server connections for this pair of user and database.
    pub pool_size: u32,
    /// Where reads go while the gate is open.
    pub reads: Reads,
    /// One statement.
    pub query_timeout: Timeout,
    /// Silence inside a transaction.
    pub idle_transaction_timeout: Timeout,
    /// One transaction.
    pub transaction_timeout: Timeout,
    /// Silence outside a transaction.
    pub client_idle_timeout: Timeout,
    /// How long it waits for a server connection.
    pub query_wait_timeout: Timeout,
    /// Further server connections for those who have waited.
    pub reserve_pool_size: u32,
}

impl Config {
    /// Reads and checks a file. Relative paths in it are relative to its folder.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load(path: &Path) -> Result<Self, ConfigErrors> {
        Self::load_with(path, &Overrides::default())
    }

    /// As [`Config::load`], with what the command line says put in the place of what the file says.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place.
    pub fn load_with(path: &Path, overrides: &Overrides) -> Result<Self, ConfigErrors> {
        let name = path.display().to_string();
        let text = read_file(path).map_err(|(place, reason)| ConfigErrors {
            errors: vec![Finding { file: name.clone(), place, key: String::new(), reason }],
            warnings: Vec::new(),
        })?;
        Self::parse(&text, &name, Some(path), overrides)
    }

    /// Reads and checks a text without looking at the files it names. Relative paths in it stay as they are.
    ///
    /// # Errors
    /// Everything that is wrong, each with its place; `file_name` is the file named there.
    #[allow(clippy::should_implement_trait, reason = "the trait has no place for the name of the file")]
    pub fn from_str(text: &str, file_name: &str) -> Result<Self, ConfigErrors> {
        Self::parse(text, file_name, None, &Overrides::default())
    }

    /// The configuration of `pgsluice run --upstream URL`: that server (or servers), every database name, nothing
    /// kept on disk, listening on 127.0.0.1:6432. If the URL has a password, clients log in as its user with it
    /// (SCRAM-SHA-256), and that user is admin; otherwise everybody is trusted.
    ///
    /// # Errors
    /// What is wrong with the URL; its password is never repeated.
    pub fn for_upstream(url: &str, overrides: &Overrides) -> Result<Self, ConfigErrors> {
        crate::config::values::url::config_for(url, overrides)
    }

    /// The server that a URL names, with its log-in as the monitor's.
    ///
    /// # Errors
    /// What is wrong with the URL; its password is never repeated.
    pub fn server_of_url(url: &str) -> Result<Cluster, String> {
        crate::config::values::url::server_of(url)
    }

    fn parse(text: &str, name: &str, path: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigErrors> {
        if pgbouncer::is_ini(text, path) {
            // The last of two counts there.
            let set: String = overrides.set.iter().map(|(key, value)| format!("\n{key} = {value}")).collect();
            let text = if set.is_empty() { text.to_owned() } else { format!("{text}\n[pgbouncer]{set}\n") };
            let overrides = Overrides { set: Vec::new(), ..overrides.clone() };
            return pgbouncer::parse(&text, name, path, &overrides);
        }
        Self::parse_toml(text, name, path, overrides)
    }

    fn parse_toml(text: &str, name: &str, path: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigErrors> {
        let report = Report::new(name, text);
        let set = overlay::text(&overrides.set);
        let Some(mut parsed) = Parsed::new(text, &report) else {
            return Err(report.into_errors());
        };
        overlay::lay_over(&mut parsed, &set);
        let folder = path.and_then(Path::parent).unwrap_or(Path::new(""));
        let reader = Reader::new(parsed.table.get_ref(), &report, folder);
        let mut config = Self::read(reader, &report);
        config.file = path.map(Path::to_path_buf);
        config.apply(overrides);
        crate::config::checks::between_keys::check(&config, &report);
        if path.is_some() {
            crate::config::file::referenced_files::check_files(&config, &report);
        }
        parsed.report_errors(text, &report);
        config.warnings = report.finish()?;
        Ok(config)
    }

    /// Defaults, and nothing to serve.
    fn empty() -> Self {
        Self {
            file: None,
            listen: Listen::default(),
            process: Process::default(),
            auth: Auth::default(),
            credentials: Credentials::None,
            pooling: Pooling::default(),
            timeouts: Timeouts::default(),
            memory: Memory::default(),
            client_tls: ClientTls::default(),
            server_tls: ServerTls::default(),
            log: Log::default(),
            startup: Startup::default(),
            maintenance: Maintenance::default(),
            http: Http::default(),
            metrics: Metrics::default(),
            refusals: Refusals::default(),
            fleet: Fleet::default(),
            webhooks: Vec::new(),
            clusters: BTreeMap::new(),
            databases: BTreeMap::new(),
            users: BTreeMap::new(),
            peers: BTreeMap::new(),
            notes: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn read(top: Reader<'_, '_>, report: &Report<'_>) -> Self {
        let mut config = Self {
            listen: Listen::default().read(&top),
            process: Process::default().read(&top),
            auth: Auth::default().read(&top),
            pooling: Pooling::default().read(&top),
            timeouts: Timeouts::default().read(&top),
            memory: Memory::default().read(&top),
            client_tls: ClientTls::default().read(&top),
            server_tls: ServerTls::default().read(&top),
            log: Log::default().read(&top),
            startup: Startup::default().read(&top),
            ..Self::empty()
        };
        config.maintenance = read_table(&top, "maintenance", Maintenance::default());
        config.http = read_table(&top, "http", Http::default());
        config.metrics = read_table(&top, "metrics", Metrics::default());
        config.refusals = read_table(&top, "refusals", Refusals::default());
        config.fleet = read_table(&top, "fleet", Fleet::default());
        for reader in top.items("webhook") {
            config.webhooks.push(Webhook::default().read(&reader));
            reader.finish();
        }
        for (name, reader) in top.children("clusters") {
            let mut cluster = Cluster::default().read(&reader);
            cluster.server_tls = config.server_tls.clone().read(&reader);
            reader.finish();
            config.clusters.insert(name, cluster);
        }
        for (name, reader) in top.children("databases") {
            let database = config.read_database(&name, reader);
            config.databases.insert(name, database);
        }
        for (name, reader) in top.children("users") {
            let user = User::default().read(&reader);
            reader.finish();
            config.users.insert(name, user);
        }
        for (name, reader) in top.children("peers") {
            let peer = Peer::default().read(&reader);
            match name.parse() {
                Ok(number) if (1..=MOST_PEERS).contains(&number) => _ = config.peers.insert(number, peer),
                _ => report.error(
                    &crate::config::file::reader::join("peers", &name),
                    format!("a peer is named by its peer_id, 1 to {MOST_PEERS}"),
                ),
            }
            reader.finish();
        }
        top.finish();
        let needed = config.auth.auth_type.needs_secrets() && !config.asks_servers();
        let named = report.was_written("auth_file") || needed;
        config.credentials = match &config.auth.auth_file {
            Some(path) if named => Credentials::File(path.clone()),
            _ => Credentials::None,
        };
        config
    }

    fn read_database(&self, name: &str, reader: Reader<'_, '_>) -> Database {
        let mut base = Database::inherited(name, &self.pooling, &self.timeouts, &self.maintenance);
        if let (Some(only), 1) = (self.clusters.keys().next(), self.clusters.len()) {
            base.cluster.clone_from(only);
        }
        let mut database = base.read(&reader);
        database.maintenance = read_table(&reader, "maintenance", database.maintenance);
        reader.finish();
        database
    }

    fn apply(&mut self, overrides: &Overrides) {
        if let Some((addr, port)) = &overrides.listen {
            self.listen.listen_addr = vec![addr.clone()];
            self.listen.listen_port = *port;
        }
        if let Some(level) = overrides.log_level {
            self.log.log_level = level;
        }
    }

    /// The path of a table, such as `databases."my db"`, as it is written in the file.
    pub fn table_path(table: &str, name: &str) -> String {
        crate::config::file::reader::join(table, name)
    }

    /// Whether there is a key of that name at the top of the file, in ours or in PgBouncer's.
    pub fn has_key(name: &str) -> bool {
        Self::general_keys().any(|key| key.name == name) || pgbouncer::is_known(name)
    }

    /// The key that a name is most likely meant for.
    pub fn nearest_key(name: &str) -> Option<&'static str> {
        checks::nearest::nearest(name, Self::general_keys().map(|key| key.name))
    }

    /// Why a key cannot be changed while the process runs, if so.
    pub fn is_fixed(name: &str) -> bool {
        Self::general_keys().any(|key| key.name == name && key.restart)
    }

    /// The database that a client means: the one of that name, or `*`. Never the console's names.
    pub fn database(&self, name: &str) -> Option<&Database> {
        if crate::config::checks::between_keys::RESERVED.contains(&name) || name == "*" {
            return None;
        }
        self.databases.get(name).or_else(|| self.databases.get("*"))
    }

    /// Whether users may log in whom only a server knows.
    pub fn asks_servers(&self) -> bool {
        let of_database = self.databases.values().filter_map(|database| database.auth_user.as_ref());
        of_database.chain([&self.auth.auth_user]).any(|user| !user.is_empty())
    }

    /// Where the secret of a user is asked for who wants that database and is not in auth_file. None: nowhere.
    pub fn auth_query(&self, database: &str) -> Option<AuthQuery<'_>> {
        let own = self.database(database);
        let user = own.and_then(|own| own.auth_user.as_deref()).unwrap_or(&self.auth.auth_user);
        let through = own.and_then(|own| own.auth_dbname.as_deref()).unwrap_or(&self.auth.auth_dbname);
        let through = if through.is_empty() { database } else { through };
        let at = self.database(through).filter(|_| !user.is_empty())?;
        let query = own.and_then(|own| own.auth_query.as_deref()).filter(|query| !query.is_empty());
        let query = query.unwrap_or(&self.auth.auth_query);
        Some(AuthQuery {
            database: through.to_owned(),
            cluster: &at.cluster,
            dbname: at.server_dbname(through).to_owned(),
            user,
            query,
        })
    }

    /// The database that auth_dbname names for that one, if it names any.
    pub fn auth_dbname(&self, database: &str) -> Option<&str> {
        let own = self.database(database).and_then(|own| own.auth_dbname.as_deref());
        Some(own.unwrap_or(&self.auth.auth_dbname)).filter(|name| !name.is_empty())
    }

    /// Most server connections of that user over all databases.
    pub fn max_user_connections(&self, user: &str) -> Limit {
        let own = self.users.get(user).and_then(|user| user.max_user_connections);
        own.unwrap_or(self.pooling.max_user_connections)
    }

    /// What holds for a session of that user on that database.
    pub fn session(&self, database: &Database, user: &str) -> SessionSettings {
        let none = User::default();
        let user = self.users.get(user).unwrap_or(&none);
        SessionSettings {
            pool_mode: user.pool_mode.unwrap_or(database.pool_mode),
            pool_size: user.pool_size.unwrap_or(database.pool_size),
            reads: user.reads.unwrap_or(database.reads),
            query_timeout: user.query_timeout.unwrap_or(self.timeouts.query_timeout),
            idle_transaction_timeout: user.idle_transaction_timeout.unwrap_or(self.timeouts.idle_transaction_timeout),
            transaction_timeout: user.transaction_timeout.unwrap_or(self.timeouts.transaction_timeout),
            client_idle_timeout: user.client_idle_timeout.unwrap_or(self.timeouts.client_idle_timeout),
            query_wait_timeout: user.query_wait_timeout.unwrap_or(database.query_wait_timeout),
            reserve_pool_size: user.reserve_pool_size.unwrap_or(database.reserve_pool_size),
        }
    }

    /// Most client connections of that user over all databases.
    pub fn max_user_client_connections(&self, user: &str) -> Limit {
        let own = self.users.get(user).and_then(|user| user.max_user_client_connections);
        own.unwrap_or(self.pooling.max_user_client_connections)
    }

    /// Warnings for admins, stats users and operators of whom `exists` says that auth_file does not have them: they
    /// could never log in.
    pub fn check_roles(&self, exists: impl Fn(&str) -> bool) -> Vec<Finding> {
        let file = self.file.as_ref().map_or(String::new(), |f| f.display().to_string());
        let lists = [
            ("admin_users", &self.auth.admin_users),
            ("stats_users", &self.auth.stats_users),
            ("operators", &self.auth.operators),
        ];
        lists
            .into_iter()
            .flat_map(|(key, names)| names.iter().map(move |name| (key, name)))
            .filter(|(_, name)| !exists(name))
            .map(|(key, name)| Finding {
                file: file.clone(),
                place: None,
                key: key.to_owned(),
                reason: format!("{} is not in auth_file and cannot log in", crate::config::values::units::quoted(name)),
            })
            .collect()
    }

    /// Warnings for clusters whose monitor has no password to log in with: `is_verifier` says that auth_file has a SCRAM verifier of
    /// the role, by which others can be let in and nothing else.
    pub fn check_monitors(&self, is_verifier: impl Fn(&str) -> bool) -> Vec<Finding> {
        let file = self.file.as_ref().map_or(String::new(), |f| f.display().to_string());
        let without = |cluster: &Cluster| cluster.monitor_password.is_empty() && is_verifier(&cluster.monitor_user);
        self.clusters
            .iter()
            .filter(|(_, cluster)| without(cluster))
            .map(|(name, cluster)| Finding {
                file: file.clone(),
                place: None,
                key: format!("{}.monitor_password", Self::table_path("clusters", name)),
                reason: format!(
                    "none, and auth_file has a SCRAM verifier of {} in place of its password: a server that asks for one does not let the monitor in",
                    crate::config::values::units::quoted(&cluster.monitor_user)
                ),
            })
            .collect()
    }
}

fn read_table<S: Settings>(above: &Reader<'_, '_>, name: &'static str, base: S) -> S {
    match above.table(name) {
        Some(reader) => {
            let settings = base.read(&reader);
            reader.finish();
            settings
        }
        None => base,
    }
}

fn read_file(path: &Path) -> Result<String, (Option<Place>, String)> {
    let cannot = |error: std::io::Error| {
        (None, format!("cannot read it: {}", crate::config::file::referenced_files::plain(&error)))
    };
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(cannot)?.take(LARGEST_FILE + 1);
    file.read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > LARGEST_FILE {
        let most = show_size(LARGEST_FILE);
        return Err((None, format!("is larger than {most}: not a configuration")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let text = String::from_utf8_lossy(error.as_bytes().get(..good).unwrap_or_default()).into_owned();
        let place = Report::new("", &text).place(good);
        (Some(place), "not valid TOML: not UTF-8 text".to_owned())
    })
}
