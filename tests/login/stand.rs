//! A server whose roles have secrets of every kind, and pgsluice before it.

use std::time::Duration;

use pgsluice_fixtures::raw::RawError;
use pgsluice_fixtures::{Cluster, Login, Proxy, Raw, Role};

/// Longest wait for anything here.
pub const LONG: Duration = Duration::from_secs(60);

/// Roles with secrets of every kind, and one that may ask for them.
const ROLES: &str = "SET password_encryption = 'scram-sha-256'; CREATE ROLE scram LOGIN PASSWORD 'scram-pw'; \
    CREATE ROLE \"Or'd \"\"er\" LOGIN PASSWORD 'quoted-pw'; \
    CREATE ROLE expired LOGIN PASSWORD 'expired-pw' VALID UNTIL '2001-01-01'; \
    CREATE ROLE later LOGIN PASSWORD 'later-pw' VALID UNTIL '2901-01-01'; \
    CREATE ROLE nologin NOLOGIN PASSWORD 'nologin-pw'; CREATE ROLE nopassword LOGIN; \
    SET password_encryption = 'md5'; CREATE ROLE hashed LOGIN PASSWORD 'hashed-pw'; \
    SET password_encryption = 'scram-sha-256';";

/// The function of PgBouncer's documentation, as superuser, and its role.
pub const LOOKUP: &str = "CREATE SCHEMA IF NOT EXISTS pgbouncer; \
    CREATE OR REPLACE FUNCTION pgbouncer.user_lookup(in i_username text, out uname text, out phash text) RETURNS record AS $$ \
    BEGIN SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END FROM pg_authid \
    WHERE rolname = i_username AND rolcanlogin INTO uname, phash; RETURN; END; $$ LANGUAGE plpgsql \
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp; \
    REVOKE ALL ON FUNCTION pgbouncer.user_lookup(text) FROM public; \
    GRANT USAGE ON SCHEMA pgbouncer TO pgbouncer; \
    GRANT EXECUTE ON FUNCTION pgbouncer.user_lookup(text) TO pgbouncer;";

/// What asks through it.
pub const LOOKUP_QUERY: &str = "auth_query = \"SELECT uname, phash FROM pgbouncer.user_lookup($1)\"\n";

/// See the module.
pub struct Stand {
    // Before the cluster, so that it goes first.
    pub proxy: Proxy,
    pub cluster: Cluster,
    pub config: String,
}

pub fn cluster() -> Cluster {
    Cluster::builder()
        .hba(["local all all trust", "host all all 127.0.0.1/32 md5"])
        .roles([
            Role::new("authuser").superuser().password("authuser-pw"),
            Role::new("pgbouncer").password("pgbouncer-pw"),
            Role::new("monitor").password("monitor-pw").option("IN ROLE pg_monitor"),
        ])
        .databases(["app", "other"])
        .init_sql(ROLES)
        .start()
        .expect("a cluster")
}

/// A configuration before that cluster, with `top` at its head and `end` at its end.
pub fn config(cluster: &Cluster, top: &str, end: &str) -> String {
    format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_file = \"{{dir}}/userlist.txt\"\n\
         {top}\n[clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"monitor\"\n\
         monitor_password = \"monitor-pw\"\nmonitor_interval = \"200ms\"\n[databases.app]\n{end}",
        cluster.primary().port()
    )
}

pub const USERLIST: &str = "\"authuser\" \"authuser-pw\"\n\"pgbouncer\" \"pgbouncer-pw\"\n\"listed\" \"listed-pw\"\n";

impl Stand {
    pub fn new(top: &str, end: &str) -> Stand {
        Self::over(cluster(), top, end)
    }

    pub fn over(cluster: Cluster, top: &str, end: &str) -> Stand {
        let config = config(&cluster, top, end);
        let binary = pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice"));
        let proxy = Proxy::builder(binary).config(&config).file("userlist.txt", USERLIST).start().expect("a proxy");
        Stand { proxy, cluster, config }
    }

    /// Runs SQL as the superuser on the server itself.
    pub fn sql(&self, sql: &str) -> String {
        self.cluster.primary().psql_in("app", sql).expect(sql)
    }

    /// Has the server log every statement.
    pub fn log_statements(&self) {
        self.sql("ALTER SYSTEM SET log_statement = 'all'");
        self.sql("SELECT pg_reload_conf()");
        self.cluster.primary().wait_until("SHOW log_statement", "all", LONG).unwrap();
    }

    /// Logs in through pgsluice.
    pub fn log_in(&self, login: &Login) -> Result<Raw, RawError> {
        Raw::connect(&self.proxy.tcp(), login)
    }

    /// Whom the server takes a session for, or SQLSTATE and text of the refusal.
    pub fn outcome(&self, user: &str, database: &str, password: &str) -> String {
        self.outcome_of(&Login::new(user, database).password(password))
    }

    pub fn outcome_of(&self, login: &Login) -> String {
        match self.log_in(login) {
            Ok(mut raw) => whom(&mut raw),
            Err(error) => refusal(&error),
        }
    }

    /// How often the server has been asked that, as its log says (`log_statement = all`).
    pub fn asked(&self, what: &str) -> usize {
        self.cluster.primary().log().matches(what).count()
    }
}

pub fn whom(raw: &mut Raw) -> String {
    match raw.query("SELECT session_user", LONG) {
        Ok(results) => results[0].rows[0][0].clone().unwrap(),
        Err(error) => refusal(&error),
    }
}

pub fn refusal(error: &RawError) -> String {
    match error {
        RawError::Server(error) => format!("{} {}", error.code(), error.message()),
        other => format!("{other}"),
    }
}

pub fn wrong(user: &str) -> String {
    format!("28P01 password authentication failed for user \"{user}\"")
}
