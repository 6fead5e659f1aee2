//! The tables of the file: maintenance, refusals, clusters, databases and users.

use std::time::Duration;

use std::net::IpAddr;
use std::path::Path;

use toml::de::DeValue;

use super::general::{Pooling, ServerTls, Timeouts};
use super::list::FunctionName;
use super::setting::{Key, Kind, Setting, text};
use super::words::{Causal, Ddl, MaintenanceReads, OnLoss, OnTimeout, PoolMode, Reads, Start, Writes};
use crate::config::file::section::settings;
use crate::config::values::address::{ListenAddr, RestUrl, Upstream};
use crate::config::values::plain::{Limit, Secret, Size, Timeout};
use crate::config::values::token::TokenHash;
use crate::config::values::write_rules::WriteRule;

const COUNT: u64 = 1_000_000;
const MILLISECOND: u64 = 1_000;
const HOUR: u64 = 3_600_000_000;
const DAY: u64 = 24 * HOUR;

settings! {
    /// The defaults of `MAINTENANCE ON ... WITH (...)`, for all databases or for one.
    pub struct Maintenance titled "Defaults of MAINTENANCE ON ... WITH (...)" {
        /// How long open transactions that have written may take to finish.
        drain_timeout: Duration = Duration::from_secs(30), { min: MILLISECOND, max: DAY };
        /// What happens after that: "revert" opens the gate again and says what was in the way, "cancel" cancels what is left.
        on_timeout: OnTimeout = OnTimeout::Revert;
        /// What becomes of writes: "reject" gives PostgreSQL's read-only error (25006) at once, "hold" lets them wait for the gate.
        writes: Writes = Writes::Reject;
        /// How long a held write waits before it gets the error after all.
        hold_timeout: Duration = Duration::from_secs(10), { min: MILLISECOND, max: HOUR };
        /// How many writes of a database may be held at a time. One more gets the error at once.
        hold_limit: u32 = 1000, { max: COUNT };
        /// What becomes of certain writes instead. The first rule that matches counts: `ACTION [STATEMENT, ...] [on TABLE, ...]
        /// [by USER, ...] [from APPLICATION, ...]`. A statement is insert, update or delete. The action is "reject", "hold",
        /// "discard" (answered as done with no row, "discard(1)" as done with one row, never sent anywhere) or "allow" (runs
        /// all the same). For example ["discard(1) update on auth_user", "hold by batch from 'nightly import'"].
        write_rules: Vec<WriteRule> = Vec::new();
        /// Where reads go while the gate is closed.
        reads: MaintenanceReads = MaintenanceReads::Any;
        /// The message for applications, in the DETAIL of the error.
        message: String = String::new();
        /// Send a WARNING (01000) to every client that is connected when the gate closes, and when it opens again.
        notice: bool = false;
    }
}

/// Address and port of the HTTP endpoint; None for no such endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HttpListen(pub Option<(ListenAddr, u16)>);

impl Setting for HttpListen {
    const KIND: Kind = Kind::new("address:port");
    fn from_value(value: &DeValue<'_>, _: &Key, _: &Path) -> Result<Self, String> {
        match text(value)? {
            "" => Ok(Self(None)),
            text => ListenAddr::with_port(text).map(|listen| Self(Some(listen))),
        }
    }
    fn plain(&self) -> String {
        match &self.0 {
            Some((ListenAddr::Ip(IpAddr::V6(ip)), port)) => format!("[{ip}]:{port}"),
            Some((addr, port)) => format!("{addr}:{port}"),
            None => String::new(),
        }
    }
}

settings! {
    /// The HTTP endpoint: health, the banner of each database, the API and the status page.
    pub struct Http titled "HTTP: health, the banner for web sites, the API and the status page" {
        /// Where the endpoint listens, such as "127.0.0.1:6433". Empty: there is no endpoint.
        listen: HttpListen = HttpListen(None), { restart: true };
        /// Everybody who reaches the endpoint may read the banners: mode, message and until. false: only with token, or as one who
        /// may look.
        banner_public: bool = false;
        /// The token for the banners and the metrics alone, which requests carry in a header, Authorization: Bearer TOKEN. Empty:
        /// there is none.
        token: Secret = Secret::default();
        /// The endpoint speaks TLS, with client_tls_key_file and client_tls_cert_file. It needs a client_tls_sslmode other than
        /// "disable". With client_tls_ca_file, certificates of clients are asked for.
        tls: bool = false, { restart: true };
        /// Tokens of those who may look: databases, pools, clients, servers, metrics. Each is "NAME:HASH"; the hash of a token is made by
        /// pgsluice hash-token, and the name stands in the log and wherever a command is shown.
        read_tokens: Vec<TokenHash> = Vec::new();
        /// Tokens of those who may also give every command of the API: open and close the gate, and move databases.
        operate_tokens: Vec<TokenHash> = Vec::new();
        /// Names of client certificates (CN) that may look. It needs tls and client_tls_ca_file.
        read_certificates: Vec<String> = Vec::new();
        /// Names of client certificates (CN) that may also give every command of the API, as those of operate_tokens.
        operate_certificates: Vec<String> = Vec::new();
        /// The site whose pages may read the banner (Access-Control-Allow-Origin). Empty: only pages of the same site.
        banner_origin: String = "*".into();
    }
}

settings! {
    /// Metrics for Prometheus, at `/metrics` of the HTTP endpoint.
    pub struct Metrics titled "Metrics for Prometheus, at /metrics of the HTTP endpoint" {
        /// Everybody who reaches the endpoint may read the metrics. false: only with http.token, or as one who may look.
        public: bool = false;
        /// Give what pgbouncer_exporter gives beside it, under its names, so that its dashboards work.
        pgbouncer_names: bool = false;
    }
}

settings! {
    /// Changes to the list of functions that are refused in maintenance although PostgreSQL would run them.
    pub struct Refusals titled "Functions that are refused in maintenance although PostgreSQL would run them" {
        /// Further functions that are refused, with whatever of a database's own leads to them: those that write where PostgreSQL
        /// does not see it, by network for example.
        add_functions: Vec<FunctionName> = Vec::new();
        /// Functions that are not refused: those of the built-in list, and functions of a database's own that are found in the
        /// catalog although they are harmless.
        remove_functions: Vec<FunctionName> = Vec::new();
    }
}

settings! {
    /// A set of servers of which one takes writes; which one is found out, not configured.
    pub struct Cluster titled "A set of servers" {
        /// The servers: a primary and its replicas, in any order. pgsluice finds out which is which.
        upstreams: Vec<Upstream> = Vec::new(), { example: "[\"127.0.0.1:5432\", \"unix:/run/postgresql:5432\", \"[::1]:5433\"]" };
        /// The role that watches the servers. It needs no more than pg_monitor. Empty: a role that pools use, which sees less
        /// (MAINTENANCE CHECK says what).
        monitor_user: String = String::new(), { example: "\"pgsluice\"" };
        /// The password of that role.
        monitor_password: Secret = Secret::default();
        /// The database that it connects to.
        monitor_database: String = "postgres".into();
        /// The role that carries a SWITCHOVER or a MIGRATE out: it makes the old primary read-only and promotes the new one
        /// (docs/MOVING.md says what it has to be granted). Empty: monitor_user.
        switchover_user: String = String::new();
        /// The password of that role. Empty: the secret that auth_file has for it.
        switchover_password: Secret = Secret::default();
        /// How another cluster's primary reaches this one's when a database is migrated, in words of libpq's that go behind
        /// pgsluice's own, such as "host=10.1.0.1 sslmode=require password=…".
        replication_conninfo: Secret = Secret::default();
        /// What makes the old primary take no writes any more, in the place of a setting: a program and its arguments, which no shell
        /// reads. {host} and {port} are the old primary's, {target_host} and {target_port} the target's, {cluster} is this name.
        /// For example ["/usr/local/bin/stop-postgres", "{host}"].
        fence_command: Vec<String> = Vec::new();
        /// What promotes the target, in the place of pg_promote(), with the same words.
        promote_command: Vec<String> = Vec::new();
        /// How long each of these programs may take.
        command_timeout: Duration = Duration::from_secs(30), { min: MILLISECOND, max: HOUR };
        /// How often pgsluice looks at each server.
        monitor_interval: Duration = Duration::from_secs(1), { min: 50 * MILLISECOND, max: HOUR };
        /// How long pgsluice waits for the answer to such a look.
        monitor_timeout: Duration = Duration::from_secs(5), { min: 50 * MILLISECOND, max: HOUR };
        /// Several of the servers take writes, and replicate each other's by themselves. One of them is used at a time, and another
        /// one once this one's administrators make it read-only or it is lost. false: two that take writes are a split brain.
        multi_primary: bool = false;
        /// How long the primary must be lost until its databases are read-only, served by replicas, or offline where there is no
        /// replica. Until then clients wait. They are back by themselves as soon as there is a primary. A failover that takes longer
        /// than this makes writes fail with 25006 meanwhile. 0: clients wait.
        primary_lost_after: Timeout = Timeout::secs(10);
        /// A database whose administrators have set default_transaction_read_only for all its roles (by ALTER DATABASE, ROLE or
        /// SYSTEM) is read-only by itself until they take that back. false: the setting is the default that it is at a server,
        /// which a client may change for itself.
        follow_read_only_setting: bool = true;
        /// How often a server's name is looked up again while connections to it are good. After a failure it always is.
        dns_max_ttl: Duration = Duration::from_secs(15), { min: MILLISECOND, max: DAY };
        /// Each address of a name in upstreams is a server of its own, as behind a headless service. false: all addresses of a name
        /// lead to one server.
        expand_names: bool = false;
        /// Patroni's REST interface on one or several of its members, such as ["http://10.0.0.1:8008"]: the members that it tells of
        /// take the place of upstreams for as long as any of these answers.
        patroni: Vec<RestUrl> = Vec::new();
        /// A replica that is further behind than this in time gets no reads.
        max_lag: Duration = Duration::from_secs(10), { min: MILLISECOND, max: DAY };
        /// A replica that is further behind than this in bytes of WAL gets no reads.
        max_lag_bytes: Size = Size::new(16 << 20), { min: 1 };
    }
    with {
        /// TLS towards these servers: what is not written in the cluster comes from the top of the file.
        server_tls: ServerTls = ServerTls::default();
    }
}

/// The user that a database's server connections log in as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerLogin<'c> {
    /// The client's own.
    Client,
    /// Always this one.
    Forced {
        /// The role.
        user: &'c str,
        /// Its password; none: the secret that auth_file has for it.
        password: Option<&'c Secret>,
    },
}

settings! {
    /// A database as clients see it, with everything that holds for it: what is not written here has been taken from
    /// the top of the file.
    pub struct Database titled "A database that clients can name" {
        /// The cluster that the database is on. It may be left out when there is only one.
        cluster: String = String::new(), { inherits: "the only cluster", example: "\"main\"" };
        /// The database's name on the server. Empty: the name that the client gave.
        dbname: String = String::new(), { inherits: "the same name" };
        /// Log in to the server as this role, whoever the client is. Empty: as the client's user.
        user: String = String::new();
        /// The password of that role. Empty: the secret that auth_file has for it.
        password: Secret = Secret::default();
        /// The role that asks this database's server for the secrets of users. Empty: the server is not asked.
        auth_user: Option<String> = None, { inherits: "auth_user" };
        /// The query for the secret of one user, see auth_query at the top of the file.
        auth_query: Option<String> = None, { inherits: "auth_query" };
        /// The database in which auth_query runs. Empty: this one.
        auth_dbname: Option<String> = None, { inherits: "auth_dbname" };
        /// When a server connection goes back to its pool.
        pool_mode: PoolMode = Pooling::default().pool_mode, { inherits: "pool_mode" };
        /// The size of each pool: server connections for one user.
        pool_size: u32 = Pooling::default().default_pool_size, { min: 1, max: COUNT, inherits: "default_pool_size" };
        /// How many server connections a pool keeps open even when idle.
        min_pool_size: u32 = Pooling::default().min_pool_size, { max: COUNT, inherits: "min_pool_size" };
        /// How many further server connections a pool opens for clients that have waited for reserve_pool_timeout.
        reserve_pool_size: u32 = Pooling::default().reserve_pool_size, { max: COUNT, inherits: "reserve_pool_size" };
        /// The most server connections over all users.
        max_db_connections: Limit = Pooling::default().max_db_connections, { max: COUNT, inherits: "max_db_connections" };
        /// The most client connections over all users. Further ones are refused (53300).
        max_db_client_connections: Limit = Pooling::default().max_db_client_connections, { max: COUNT, inherits: "max_db_client_connections" };
        /// A server connection is closed when it is free and older than this.
        server_lifetime: Timeout = Timeouts::default().server_lifetime, { inherits: "server_lifetime" };
        /// What is sent to each new server connection before a client gets it. Settings that it makes are the session's defaults.
        connect_query: String = String::new();
        /// The encoding that new server connections ask for. Empty: the server's default.
        client_encoding: String = String::new();
        /// The date style that new server connections ask for. Empty: the server's default.
        datestyle: String = String::new();
        /// The time zone that new server connections ask for. Empty: the server's default.
        timezone: String = String::new();
        /// Where reads go while the gate is open.
        reads: Reads = Reads::Primary;
        /// Whose writes a read on a replica shows: "session", those of its own session; "database", those of every session of the
        /// database; "off", nobody's. Until a replica has them the primary shows them.
        causal: Causal = Causal::Session;
        /// How long a client waits for a server connection.
        query_wait_timeout: Timeout = Timeouts::default().query_wait_timeout, { inherits: "query_wait_timeout" };
        /// One row is written again and again, to prove that the database takes writes; `pgsluice heartbeat init` makes its table. If
        /// that fails for longer than primary_lost_after, the database is read-only by itself until it works.
        heartbeat: bool = false;
        /// When the first row is written after the start.
        heartbeat_initial_delay: Duration = Duration::from_secs(5), { min: MILLISECOND, max: DAY };
        /// Between two of them.
        heartbeat_interval: Duration = Duration::from_secs(60), { min: 50 * MILLISECOND, max: DAY };
        /// Who may run DDL.
        ddl: Ddl = Ddl::Anyone;
        /// "offline": a new database lets no client in until ONLINE is given, which reads its configuration again.
        start: Start = Start::Online;
        /// What becomes of it when this pgsluice cannot reach its fleet: "read_only" takes no writes until it can, "keep" goes on, and
        /// a flip elsewhere does not reach it meanwhile.
        on_loss: OnLoss = OnLoss::ReadOnly;
    }
    with {
        /// The name that clients give, or `*`.
        name: String = String::new();
        /// The defaults of MAINTENANCE ON for it.
        maintenance: Maintenance = Maintenance::default();
    }
}

impl Database {
    /// What holds for a database of which nothing is written.
    pub(crate) fn inherited(name: &str, pooling: &Pooling, timeouts: &Timeouts, maintenance: &Maintenance) -> Self {
        Self {
            name: name.to_owned(),
            pool_mode: pooling.pool_mode,
            pool_size: pooling.default_pool_size,
            min_pool_size: pooling.min_pool_size,
            reserve_pool_size: pooling.reserve_pool_size,
            max_db_connections: pooling.max_db_connections,
            query_wait_timeout: timeouts.query_wait_timeout,
            max_db_client_connections: pooling.max_db_client_connections,
            server_lifetime: timeouts.server_lifetime,
            maintenance: maintenance.clone(),
            ..Self::default()
        }
    }

    /// The name of the database on the server, for a client that asked for `requested`.
    pub fn server_dbname<'c>(&'c self, requested: &'c str) -> &'c str {
        match self.dbname.as_str() {
            "" => requested,
            name => name,
        }
    }

    /// Who logs in to the server.
    pub fn server_login(&self) -> ServerLogin<'_> {
        match self.user.as_str() {
            "" => ServerLogin::Client,
            user => ServerLogin::Forced { user, password: Some(&self.password).filter(|p| !p.is_empty()) },
        }
    }
}

settings! {
    /// What is different for one user; `None` means as in the database.
    pub struct User titled "What is different for one user" {
        /// When a server connection goes back to its pool.
        pool_mode: Option<PoolMode> = None, { inherits: "the database's", example: "\"session\"" };
        /// The size of each pool: server connections for one database.
        pool_size: Option<u32> = None, { min: 1, max: COUNT, inherits: "the database's", example: "5" };
        /// The most server connections over all databases.
        max_user_connections: Option<Limit> = None, { max: COUNT, inherits: "max_user_connections", example: "10" };
        /// How many further server connections a pool opens for clients that have waited for reserve_pool_timeout.
        reserve_pool_size: Option<u32> = None, { max: COUNT, inherits: "the database's", example: "2" };
        /// The most client connections over all databases. Further ones are refused (53300).
        max_user_client_connections: Option<Limit> = None, { max: COUNT, inherits: "max_user_client_connections", example: "100" };
        /// Where reads go while the gate is open.
        reads: Option<Reads> = None, { inherits: "the database's", example: "\"prefer_replica\"" };
        /// How long one statement may run.
        query_timeout: Option<Timeout> = None, { inherits: "query_timeout", example: "\"5min\"" };
        /// How long a client may be silent inside a transaction.
        idle_transaction_timeout: Option<Timeout> = None, { inherits: "idle_transaction_timeout", example: "\"1min\"" };
        /// How long one transaction may take.
        transaction_timeout: Option<Timeout> = None, { inherits: "transaction_timeout", example: "\"1h\"" };
        /// How long a client may be silent outside a transaction.
        client_idle_timeout: Option<Timeout> = None, { inherits: "client_idle_timeout", example: "\"1h\"" };
        /// How long a client waits for a server connection.
        query_wait_timeout: Option<Timeout> = None, { inherits: "the database's", example: "\"10s\"" };
    }
}

settings! {
    /// Another pgsluice, or a PgBouncer, behind the same address.
    pub struct Peer titled "Another process behind the same address" {
        /// Its address, or the folder of its unix socket.
        host: String = String::new(), { example: "\"10.0.0.2\"" };
        /// Its port.
        port: u16 = 6432, { min: 1, max: 65535 };
    }
}
