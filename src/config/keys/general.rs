//! The keys at the top of the file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;

use super::setting::{Key, Kind, Setting, text};
use super::tls_choice::{TlsCiphers, TlsProtocols};
use super::words::{AuthType, LogFormat, LogLevel, Negotiation, PoolMode, SslMode, SyslogFacility};
use crate::config::file::section::settings;
use crate::config::values::address::ListenAddr;
use crate::config::values::plain::{Limit, Size, SocketMode, Timeout};
use crate::sql::own_statements::roles::AUTH_QUERY;

/// No count in the configuration needs to be larger, and sums of some cannot overflow.
const COUNT: u64 = 1_000_000;
const SECOND: u64 = 1_000_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;
const KB: u64 = 1 << 10;
const MB: u64 = 1 << 20;
const GB: u64 = 1 << 30;

/// Where modes and epochs are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateFile {
    /// In this file, written and fsynced before a change takes effect.
    Path(PathBuf),
    /// In memory alone: for a first try, forgotten with the process.
    Ephemeral,
}

impl Setting for StateFile {
    const KIND: Kind = Kind::new("path");
    fn from_value(value: &DeValue<'_>, key: &Key, folder: &Path) -> Result<Self, String> {
        if text(value)?.is_empty() {
            return Ok(Self::Ephemeral);
        }
        PathBuf::from_value(value, key, folder).map(Self::Path)
    }
    fn plain(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Ephemeral => String::new(),
        }
    }
}

settings! {
    /// Where clients connect.
    pub struct Listen titled "Where clients connect" {
        /// Addresses to listen on: one or several (a list, or one text with commas). "*" means all. Empty: no TCP.
        listen_addr: Vec<ListenAddr> = vec![ListenAddr::Ip(std::net::Ipv4Addr::LOCALHOST.into())], { restart: true };
        /// The port, which is also part of the unix socket's name. pgsluice does not start if another process listens there.
        listen_port: u16 = 6432, { min: 1, max: 65535, restart: true };
        /// The folder of the unix socket. Empty: no unix socket.
        unix_socket_dir: Option<PathBuf> = None, { restart: true };
        /// The unix socket's permissions.
        unix_socket_mode: SocketMode = SocketMode::new(0o777), { restart: true };
        /// The unix socket's group. Empty: that of the process.
        unix_socket_group: String = String::new(), { restart: true };
        /// How many connections may wait to be accepted.
        listen_backlog: u32 = 1024, { min: 1, max: COUNT, restart: true };
        /// Send TCP keepalive probes on both sides.
        tcp_keepalive: bool = true, { restart: true };
        /// How long a connection is silent before the first probe. 0: the system's default, towards servers 10 seconds.
        tcp_keepidle: Timeout = Timeout::OFF, { max: 9 * HOUR, restart: true };
        /// The time between probes. 0: the system's default, towards servers 5 seconds.
        tcp_keepintvl: Timeout = Timeout::OFF, { max: 9 * HOUR, restart: true };
        /// How many probes without an answer end a connection. 0: the system's default, towards servers 3.
        tcp_keepcnt: u32 = 0, { max: 127, restart: true };
        /// How long sent data may stay unacknowledged before a connection is given up, on both sides. 0: the system's default, towards
        /// servers 25 seconds unless tcp_keepalive is off or tcp_keepidle is given.
        tcp_user_timeout: Timeout = Timeout::OFF, { max: DAY, restart: true };
    }
}

settings! {
    /// The process itself.
    pub struct Process titled "The process" {
        /// How many threads serve clients. 0: one for every two cores.
        workers: u32 = 0, { max: 1024, restart: true };
        /// The file in which the mode of each database is kept, so that a restart does not open a closed gate.
        /// Empty: in memory alone, which is good for a first try only.
        state_file: StateFile = StateFile::Path("/var/lib/pgsluice/state.json".into()), { restart: true };
        /// The file that the process writes its number to while it runs. Empty: none.
        pidfile: Option<PathBuf> = None, { restart: true };
        /// The user to run as, when root starts it. Empty: whoever starts it.
        user: String = String::new(), { restart: true };
        /// How long SIGTERM waits for transactions to end before they are ended.
        shutdown_timeout: Duration = Duration::from_secs(60), { max: DAY };
        /// How long clients may take to go to the new process at `pgsluice upgrade`, each when its transaction is over. Who cannot go (TLS,
        /// replication) is served by the former process until then.
        upgrade_timeout: Duration = Duration::from_secs(60), { max: DAY };
        /// How long SUSPEND waits for transactions to end before it gives up. 0: as long as it takes.
        suspend_timeout: Timeout = Timeout::secs(10), { max: DAY };
        /// The number of this process among those of the table peers, which listen behind one address. It is part of the keys of cancel
        /// requests, so that one that comes to the wrong process is passed on. 0: there are none.
        peer_id: u32 = 0, { max: 16_383, restart: true };
        /// Behave as PgBouncer where its users would notice. Errors of pgsluice's own have PgBouncer's words and its SQLSTATE
        /// 08P01, SIGTERM waits for clients and SIGINT for servers, auth_type "trust" lets in only users that auth_file or
        /// auth_query knows, query_timeout counts the wait for a server connection too, and the console is a database among
        /// others in SHOW DATABASES, POOLS, STATS and TOTALS. What maintenance does stays as it is.
        pgbouncer_compatible: bool = false;
    }
}

settings! {
    /// Who may come in, and who may do what.
    pub struct Auth titled "Authentication" {
        /// How clients prove who they are.
        auth_type: AuthType = AuthType::ScramSha256;
        /// For auth_type "hba": which method holds for whom, in the format of PostgreSQL's pg_hba.conf.
        auth_hba_file: Option<PathBuf> = None, { example: "\"/etc/pgsluice/pg_hba.conf\"" };
        /// Maps of names for the methods cert and peer, in the format of PostgreSQL's pg_ident.conf.
        auth_ident_file: Option<PathBuf> = None, { example: "\"/etc/pgsluice/pg_ident.conf\"" };
        /// Users and their secrets in PgBouncer's format, one in each line: "user" "password, md5 hash or SCRAM verifier".
        /// Where auth_type needs secrets, this file or auth_user must be given.
        auth_file: Option<PathBuf> = Some("/etc/pgsluice/userlist.txt".into());
        /// The role that runs auth_query on the server, for users that are not in auth_file. Its own password comes from auth_file.
        /// Empty: the server is not asked.
        auth_user: String = String::new(), { example: "\"pgsluice_auth\"" };
        /// The query for the secret of one user: $1 is the name, the columns of the answer are name and secret. It runs in the
        /// client's database, read-only, over connections that no client ever uses.
        auth_query: String = AUTH_QUERY.into();
        /// The database (a name of this file) in which auth_query runs. Empty: the one that the client asks for.
        auth_dbname: String = String::new();
        /// For how long an answer to auth_query serves further log-ins. 0: the server is asked at each, so that a changed password
        /// works at once. Those who log in as one user at the same time share a question. While no server answers, the last answer
        /// serves in any case.
        auth_query_cache_time: Timeout = Timeout::OFF, { max: HOUR };
        /// Users who may run every command on the console (psql -d pgsluice).
        admin_users: Vec<String> = Vec::new();
        /// Users who may run SHOW commands on the console.
        stats_users: Vec<String> = Vec::new();
        /// Users whose sessions pass the gate in every mode, on the primary: those who run the migration.
        /// A RELOAD that takes a name out ends the open sessions of that role (57P01).
        operators: Vec<String> = Vec::new();
    }
}

settings! {
    /// Pools and limits.
    pub struct Pooling titled "Pools and limits" {
        /// When a server connection goes back to its pool.
        pool_mode: PoolMode = PoolMode::Transaction;
        /// The size of each pool: server connections for one pair of user and database.
        default_pool_size: u32 = 20, { min: 1, max: COUNT };
        /// How many server connections a pool keeps open even when idle.
        min_pool_size: u32 = 0, { max: COUNT };
        /// How many further server connections a pool opens for clients that have waited for reserve_pool_timeout.
        reserve_pool_size: u32 = 0, { max: COUNT };
        /// How long a client waits before the reserve is used for it. 0: the reserve is not used.
        reserve_pool_timeout: Timeout = Timeout::secs(5), { max: DAY };
        /// How many server connections of each database are for operators alone, beyond the pools.
        operator_reserved: u32 = 3, { max: COUNT };
        /// The most client connections in total. Further ones are refused (53300).
        max_client_conn: u32 = 10_000, { min: 1, max: COUNT };
        /// The most server connections of each database, over all users.
        max_db_connections: Limit = Limit::NONE, { max: COUNT };
        /// The most server connections of each user, over all databases.
        max_user_connections: Limit = Limit::NONE, { max: COUNT };
        /// The most client connections of each database. Further ones are refused (53300).
        max_db_client_connections: Limit = Limit::NONE, { max: COUNT };
        /// The most client connections of each user, over all databases. Further ones are refused (53300).
        max_user_client_connections: Limit = Limit::NONE, { max: COUNT };
        /// The most server connections in total.
        max_server_connections: Limit = Limit::NONE, { max: COUNT };
        /// How many named prepared statements each server connection keeps in transaction mode. The one used longest ago goes first.
        /// 0: named prepared statements are not shared.
        max_prepared_statements: u32 = 200, { max: COUNT };
        /// In transaction mode, a session keeps its server connection for what cannot follow it to another one (LISTEN,
        /// temporary tables, cursors WITH HOLD, advisory locks, LOAD). false: such statements are refused (0A000).
        pin_sessions: bool = true;
        /// What is sent to a server connection before another client gets it, in session mode. Empty: nothing.
        server_reset_query: String = "DISCARD ALL".into();
        /// In session mode, each client gets a server connection that is opened for it and closed when it leaves.
        /// No reset undoes everything: loaded libraries, what they remember, and the server's statistics stay.
        server_fresh: bool = false;
        /// RECONNECT, and a RELOAD that changes a database, end clients in session mode that have no transaction open at once, and
        /// do not wait until they leave.
        server_fast_close: bool = false;
        /// Send server_reset_query in the other pool modes too, each time a server connection comes back. It is not needed,
        /// because pgsluice follows what a client changes in its session.
        server_reset_query_always: bool = false;
        /// What is sent to a server connection that was idle for longer than server_check_delay, before a client gets it. One that
        /// does not answer is closed. Empty: nothing is sent, and pgsluice only looks whether the server has closed its end.
        /// `<empty>`: an empty query, which costs a round trip and nothing else.
        server_check_query: String = String::new(), { example: "\"SELECT 1\"" };
    }
}

settings! {
    /// How long things may take.
    pub struct Timeouts titled "Timeouts" {
        /// How long a client waits for a server connection. After that it is disconnected.
        query_wait_timeout: Timeout = Timeout::secs(120);
        /// How long a client waits for a server connection before it gets a NOTICE that it does. 0: none is sent.
        query_wait_notify: Timeout = Timeout::OFF;
        /// How long one statement may run. After that it is cancelled and the client is disconnected.
        query_timeout: Timeout = Timeout::OFF;
        /// How long one transaction may take, from its first statement to its end.
        transaction_timeout: Timeout = Timeout::OFF;
        /// How long a client may be silent inside a transaction.
        idle_transaction_timeout: Timeout = Timeout::OFF;
        /// How long a client may be silent outside a transaction.
        client_idle_timeout: Timeout = Timeout::OFF;
        /// How long a client's start may take: TLS, start-up packet, log-in, and the first server connection of its pool.
        client_login_timeout: Timeout = Timeout::secs(60);
        /// How long the connection that brings a cancel request is kept while the request is passed on to the server.
        cancel_wait_timeout: Timeout = Timeout::secs(10);
        /// How long it may take to connect and log in to a server.
        server_connect_timeout: Duration = Duration::from_secs(15), { min: 1_000, max: DAY };
        /// How long a server is not asked again after it has refused a role or a database twice. Clients get the same error meanwhile.
        /// RECONNECT ends the pause. A server that is not reached, starts up or has no room is tried again at once.
        server_login_retry: Duration = Duration::from_secs(15), { max: DAY };
        /// An idle server connection is closed after this.
        server_idle_timeout: Timeout = Timeout::secs(600);
        /// A server connection is closed when it is free and older than this. Less than a second: each is used once. 0: never.
        server_lifetime: Timeout = Timeout::secs(3600);
        /// A pool without clients and server connections is forgotten after this. SHOW POOLS has no row for it then. 0: never.
        pool_idle_timeout: Timeout = Timeout::OFF;
        /// How often pgsluice looks whether the functions of a database have changed, for clients in transaction mode: it follows
        /// those that alter the session. After DDL through pgsluice it looks at once. 0: functions are not looked at.
        catalog_check_interval: Timeout = Timeout::secs(30), { max: DAY };
        /// A server connection that was idle for longer is checked before a client gets it. 0: always.
        server_check_delay: Duration = Duration::from_secs(30), { max: DAY };
    }
}

settings! {
    /// Memory.
    pub struct Memory titled "Memory" {
        /// The largest statement (Query, Parse) that is read into memory. A larger one is an error (54000). Values (Bind) may be larger.
        max_message_size: Size = Size::new(256 * MB), { min: KB, max: GB };
        /// What pgsluice may keep for one client: its prepared statements, portals and settings, and a message that is read whole.
        /// What would exceed it is an error (54000), and the connection goes on.
        client_memory_limit: Size = Size::new(256 * MB), { min: 64 * KB, max: 1024 * GB };
        /// How many bytes are read at once. An idle connection has no buffer.
        buffer_size: Size = Size::new(128 * KB), { min: 4 * KB, max: 16 * MB };
        /// The memory of each worker for what it has read in statements. 0: none.
        verdict_cache_size: Size = Size::new(8 * MB), { max: 4 * GB };
    }
}

settings! {
    /// TLS towards clients.
    pub struct ClientTls titled "TLS towards clients" {
        /// Whether clients may or must use TLS. verify-ca and verify-full also ask for a client certificate.
        client_tls_sslmode: SslMode = SslMode::Disable;
        /// The private key (PEM).
        client_tls_key_file: Option<PathBuf> = None, { example: "\"/etc/pgsluice/server.key\"" };
        /// The certificate and its chain (PEM).
        client_tls_cert_file: Option<PathBuf> = None, { example: "\"/etc/pgsluice/server.crt\"" };
        /// The authorities that sign client certificates (PEM). With auth_type "hba" clients are asked for one in every mode.
        client_tls_ca_file: Option<PathBuf> = None, { example: "\"/etc/pgsluice/clients-ca.crt\"" };
        /// The versions of TLS: "secure" (1.2 and 1.3), "all", or "tlsv1.2", "tlsv1.3" with commas between them.
        client_tls_protocols: TlsProtocols = TlsProtocols::default();
        /// The cipher suites of TLS 1.2, by the names of OpenSSL or of IANA and with colons between them. "default": all that are there.
        client_tls_ciphers: TlsCiphers = TlsCiphers::default();
        /// The cipher suites of TLS 1.3, likewise. "default": all.
        client_tls13_ciphers: TlsCiphers = TlsCiphers::default();
    }
}

settings! {
    /// TLS towards servers.
    pub struct ServerTls titled "TLS towards servers" {
        /// Whether servers may or must use TLS, as in libpq.
        server_tls_sslmode: SslMode = SslMode::Prefer, { inherits: "server_tls_sslmode" };
        /// How TLS begins. "postgres" asks the server first. "direct" begins at once, which saves a round trip and needs
        /// PostgreSQL 17 or newer and a server_tls_sslmode of at least "require".
        server_tls_negotiation: Negotiation = Negotiation::Postgres, { inherits: "server_tls_negotiation" };
        /// The authorities that sign server certificates (PEM). verify-ca and verify-full need them.
        server_tls_ca_file: Option<PathBuf> = None, { inherits: "server_tls_ca_file", example: "\"/etc/pgsluice/servers-ca.crt\"" };
        /// The private key of the certificate that is shown to servers (PEM).
        server_tls_key_file: Option<PathBuf> = None, { inherits: "server_tls_key_file", example: "\"/etc/pgsluice/client.key\"" };
        /// The certificate that is shown to servers, and its chain (PEM).
        server_tls_cert_file: Option<PathBuf> = None, { inherits: "server_tls_cert_file", example: "\"/etc/pgsluice/client.crt\"" };
        /// The versions of TLS: "secure" (1.2 and 1.3), "all", or "tlsv1.2", "tlsv1.3" with commas between them.
        server_tls_protocols: TlsProtocols = TlsProtocols::default(), { inherits: "server_tls_protocols" };
        /// The cipher suites of TLS 1.2, by the names of OpenSSL or of IANA and with colons between them. "default": all that are there.
        server_tls_ciphers: TlsCiphers = TlsCiphers::default(), { inherits: "server_tls_ciphers" };
        /// The cipher suites of TLS 1.3, likewise. "default": all.
        server_tls13_ciphers: TlsCiphers = TlsCiphers::default(), { inherits: "server_tls13_ciphers" };
    }
}

settings! {
    /// What is logged.
    pub struct Log titled "The log" {
        /// How much is logged. SET log_level on the console changes it until the next RELOAD, for single parts too:
        /// 'info,client=debug'. Parameters never are logged, and statements only without their constants.
        log_level: LogLevel = LogLevel::Info;
        /// Lines for people ("text"), one JSON object in each line, ours ("json") or OpenTelemetry's log data model ("otel"), or lines
        /// as PgBouncer writes them ("pgbouncer").
        log_format: LogFormat = LogFormat::Text, { restart: true };
        /// Write the log to this file, which RELOAD and SIGHUP open anew (for logrotate). Empty: to standard error.
        logfile: Option<PathBuf> = None, { restart: true };
        /// Write the log to syslog, and not to standard error.
        syslog: bool = false, { restart: true };
        /// The name of the program in syslog.
        syslog_ident: String = "pgsluice".into(), { restart: true };
        /// The facility in syslog: daemon, user, authpriv, local0 to local7 and their like.
        syslog_facility: SyslogFacility = SyslogFacility::Daemon, { restart: true };
        /// Log the sums of SHOW STATS once in each stats_period.
        log_stats: bool = false;
        /// How often averages are taken, for SHOW STATS and log_stats.
        stats_period: Duration = Duration::from_secs(60), { min: SECOND, max: DAY };
        /// Log each client that has logged in.
        log_connections: bool = true;
        /// Log each client that leaves, and why.
        log_disconnections: bool = true;
        /// Log the errors that pgsluice itself sends to clients.
        log_pooler_errors: bool = true;
        /// Log each statement that takes as long, without its constants. 0: none.
        log_min_duration: Timeout = Timeout::OFF, { max: DAY };
        /// How many of a hundred such statements are logged.
        log_sample_percent: u32 = 100, { max: 100 };
    }
}

settings! {
    /// How start-up packets of clients are treated.
    pub struct Startup titled "Start-up packets of clients" {
        /// Add the client's address and port to its application_name.
        application_name_add_host: bool = false;
        /// A NOTICE that each client gets when it has logged in. Empty: none.
        login_notify_message: String = String::new(), { example: "\"You talk to pgsluice\"" };
        /// Start-up parameters that are accepted and dropped. Without this they would be refused.
        ignore_startup_parameters: Vec<String> = Vec::new();
    }
}
