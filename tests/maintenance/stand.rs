//! What every test here stands on.

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Address, Cluster, Frame, Installation, Login, Proxy, Raw, RawError, Role};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// Longest wait for anything here.
pub const LONG: Duration = Duration::from_secs(30);

/// A cluster with a proxy in front of it.
pub struct Stand {
    pub cluster: Cluster,
    pub proxy: Proxy,
    config: String,
}

impl Stand {
    /// With tables to write to, and what a way around the guard may need.
    pub fn new(extra: &str) -> Stand {
        Stand::start(extra, "SUPERUSER", "10s", None)
    }

    /// The same with a drain_timeout that a machine does not exceed on which log-ins to the server take seconds: the LSN is asked for over
    /// a connection of its own, and not beyond it.
    pub fn patient(extra: &str) -> Stand {
        Stand::start(extra, "SUPERUSER", "25s", None)
    }

    /// The same on that installation, with a monitor of that right.
    pub fn with_server(installation: Installation, extra: &str, right: &str) -> Stand {
        Stand::start(extra, right, "10s", Some(installation))
    }

    /// With a monitor of that right, and a drain_timeout of a second.
    pub fn with_monitor(extra: &str, right: &str) -> Stand {
        Stand::start(extra, right, "1s", None)
    }

    fn start(extra: &str, right: &str, drain_timeout: &str, installation: Option<Installation>) -> Stand {
        let builder = Cluster::builder();
        let builder = installation.into_iter().fold(builder, |builder, one| builder.installation(one));
        let cluster = builder
            .replicas(1)
            .roles([
                Role::new("app").password("app").option("CREATEROLE"),
                Role::new("dba").password("dba").superuser(),
                Role::new("monitor").password("monitor").option(right),
            ])
            .databases(["app"])
            .setting("max_prepared_transactions", "5")
            .setting("wal_level", "logical")
            .setting("track_commit_timestamp", "on")
            .start()
            .expect("a cluster");
        let (primary, replica) = (cluster.primary().port(), cluster.replica(0).port());
        let (top, maintenance) = extra.split_once("[maintenance]").unwrap_or((extra, ""));
        let config = format!(
            r#"listen_port = {{port}}
state_file = "{{dir}}/state.json"
workers = 2
auth_file = "userlist.txt"
admin_users = ["dba"]
operators = ["dba"]
{top}
[maintenance]
{maintenance}
drain_timeout = "{drain_timeout}"
on_timeout = "cancel"
[clusters.main]
upstreams = ["127.0.0.1:{primary}", "127.0.0.1:{replica}"]
monitor_user = "monitor"
monitor_password = "monitor"
monitor_interval = "100ms"
primary_lost_after = "0"
[databases.app]
"#
        );
        let users = "\"app\" \"app\"\n\"dba\" \"dba\"\n";
        let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice")))
            .config(&config)
            .file("userlist.txt", users)
            .start()
            .expect("a proxy");
        let stand = Stand { cluster, proxy, config };
        stand.operator().query(SCHEMA, LONG).expect("the schema");
        stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
        stand
    }

    /// Has the proxy reach the primary by that port, until it ends.
    pub fn lead_through(&mut self, port: u16) {
        let primary = format!("\"127.0.0.1:{}\"", self.cluster.primary().port());
        self.config = self.config.replace(&primary, &format!("\"127.0.0.1:{port}\""));
        self.configure("");
        self.console("RELOAD");
    }

    /// Writes the configuration again with this at its end, for the next RELOAD.
    pub fn configure(&mut self, end: &str) {
        self.proxy.reconfigure(&format!("{}{end}\n", self.config)).expect("a configuration");
    }

    pub fn address(&self) -> Address {
        Address::local(self.proxy.port())
    }

    /// An application's connection through the proxy.
    pub fn app(&self) -> Raw {
        self.connect("app", "app", "app")
    }

    /// The same, where the proxy may have gone.
    pub fn try_app(&self) -> Result<Raw, RawError> {
        Raw::connect(&self.address(), &Login::new("app", "app").password("app"))
    }

    /// An operator's connection through the proxy.
    pub fn operator(&self) -> Raw {
        self.connect("dba", "dba", "app")
    }

    pub fn connect(&self, user: &str, password: &str, database: &str) -> Raw {
        Raw::connect(&self.address(), &Login::new(user, database).password(password)).expect("a connection")
    }

    /// A direct connection of the application's role on which every transaction is READ ONLY.
    pub fn direct(&self, read_only: bool) -> Raw {
        let mut login = Login::new("app", "app").password("app");
        if read_only {
            login = login.parameter("options", "-c default_transaction_read_only=on");
        }
        Raw::connect(&Address::local(self.cluster.primary().port()), &login).expect("a direct connection")
    }

    /// A statement on the console; its rows.
    pub fn console(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let frames = query(&mut self.connect("dba", "dba", "pgsluice"), sql);
        if let Some(error) = frames.iter().find_map(Frame::error) {
            panic!("{sql}: {error}");
        }
        let text = |value: Option<Vec<u8>>| value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let rows = frames.iter().filter(|frame| frame.tag == b'D');
        rows.map(|frame| frame.values().into_iter().map(text).collect()).collect()
    }

    /// Closes the gate and waits until the database is quiesced.
    pub fn on(&self) -> Vec<Option<String>> {
        let rows = self.console("MAINTENANCE ON app WITH (message 'moving house', until '2031-12-01 14:00Z')");
        rows.into_iter().next().expect("one row")
    }

    /// Closes the gate; reads stay on the primary.
    pub fn on_primary(&self) {
        self.console("MAINTENANCE ON app WITH (message 'moving house', reads primary)");
    }

    /// A counter of SHOW STATE.
    pub fn layer(&self, word: &str) -> u64 {
        let rows = self.console("SHOW STATE");
        let row = rows.iter().find(|row| row[0].as_deref() == Some(word)).expect("a counter of that name");
        row[1].as_deref().unwrap_or_default().parse().expect("a number")
    }

    /// Closes the gate, holding writes for so long.
    pub fn on_with_hold(&self, timeout: &str) {
        self.console(&format!(
            "MAINTENANCE ON app WITH (message 'moving house', writes hold, hold_timeout '{timeout}')"
        ));
    }

    /// Clients in that state, as SHOW CLIENTS tells.
    pub fn clients(&self, state: &str) -> usize {
        let rows = self.console("SHOW CLIENTS");
        rows.iter().filter(|row| row.iter().any(|value| value.as_deref() == Some(state))).count()
    }

    /// No back end of the application's is at work, and nothing that was to be written late is there.
    pub fn assert_nothing_at_work(&self) {
        let primary = self.cluster.primary();
        let at_work = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'";
        assert_eq!(primary.psql(at_work).expect("a count"), "0");
        assert_eq!(primary.psql_in("app", "SELECT count(*) FROM t WHERE v = 'late'").expect("a count"), "0");
    }

    /// The mode that SHOW MAINTENANCE tells.
    pub fn mode(&self) -> String {
        let rows = self.console("SHOW MAINTENANCE");
        let row = rows.into_iter().find(|row| row[0].as_deref() == Some("app")).expect("a row for app");
        row[1].clone().unwrap_or_default()
    }

    /// Opens the gate.
    pub fn off(&self) {
        self.console("MAINTENANCE OFF app");
    }

    /// Waits until one client's pg_sleep() runs.
    pub fn wait_for_sleeper(&self) {
        let sleepers = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
        self.cluster.primary().wait_until(sleepers, "1", LONG).unwrap();
    }

    /// Whether every session keeps its server connection.
    pub fn pins_all(&self) -> bool {
        self.config.contains("pool_mode = \"session\"")
    }

    /// Everything that may change in the database, as the superuser sees it on a direct connection.
    pub fn everything(&self) -> Vec<String> {
        let sql = EVERYTHING.map(|sql| format!("SELECT ({sql})")).join(" UNION ALL ");
        let all = self.cluster.primary().psql_in("app", &sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        all.lines().map(str::to_owned).collect()
    }
}

/// Tells threads that it is over, also when a test fails: a scope waits for its threads before it reports a panic.
pub struct EndsAt<'a>(pub &'a AtomicBool);

impl Drop for EndsAt<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Sends messages and reads as many ReadyForQuery as they ask for.
pub fn talk(raw: &mut Raw, bytes: &[u8], readies: usize) -> Vec<Frame> {
    raw.send(bytes).expect("sent");
    let seen = Cell::new(0);
    let all = |frame: &Frame| {
        seen.set(seen.get() + usize::from(frame.tag == b'Z'));
        seen.get() >= readies
    };
    raw.frames_until(LONG, all).unwrap_or_else(|error| panic!("after {:?}: {error}", String::from_utf8_lossy(bytes)))
}

/// A simple query, whole answer.
pub fn query(raw: &mut Raw, sql: &str) -> Vec<Frame> {
    talk(raw, &message::query(sql), 1)
}

/// The SQLSTATE of the first error among frames, or an empty text.
pub fn sqlstate(frames: &[Frame]) -> String {
    frames.iter().find_map(Frame::error).map_or_else(String::new, |error| error.code().to_owned())
}

const SCHEMA: &str = "
CREATE TABLE t (id int PRIMARY KEY, v text);
INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 10) i;
CREATE SEQUENCE s;
CREATE VIEW w AS SELECT * FROM t;
CREATE RULE w_ins AS ON INSERT TO w DO INSTEAD INSERT INTO t VALUES (new.id, new.v);
CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM t;
CREATE FUNCTION writes() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (1000, ''f'') RETURNING id';
CREATE FUNCTION lifts() RETURNS text LANGUAGE sql AS 'SELECT set_config(''default_transaction_read_only'', ''off'', false)';
CREATE FUNCTION hides(name text, value text) RETURNS text LANGUAGE sql AS 'SELECT set_config(name, value, false)';
CREATE PROCEDURE commits() LANGUAGE plpgsql AS $$ BEGIN COMMIT; SET TRANSACTION READ WRITE; INSERT INTO t VALUES (1001, 'p'); COMMIT; END $$;
CREATE PROCEDURE just_writes() LANGUAGE sql AS 'INSERT INTO t VALUES (1002, ''p'')';
SELECT lo_create(4711), lo_put(4711, 0, 'keep');
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;
GRANT ALL ON SCHEMA public TO app;
ALTER TABLE t OWNER TO app;
ALTER MATERIALIZED VIEW m OWNER TO app;
ALTER LARGE OBJECT 4711 OWNER TO app;
";

pub const EVERYTHING: [&str; 12] = [
    "SELECT concat_ws(' ', count(*), md5(string_agg(t::text, '|' ORDER BY id))) FROM t",
    "SELECT concat_ws(' ', last_value, is_called) FROM s",
    "SELECT concat_ws(' ', count(*), md5(string_agg(oid::text, '|' ORDER BY oid))) FROM pg_largeobject_metadata",
    "SELECT concat_ws(' ', count(*), md5(string_agg(loid::text || encode(data, 'hex'), '|' ORDER BY loid, pageno))) FROM pg_largeobject",
    "SELECT concat_ws(' ', count(*), md5(string_agg(oid || relname || relfilenode, '|' ORDER BY oid))) FROM pg_class",
    "SELECT concat_ws(' ', count(*), md5(string_agg(rolname || rolsuper || coalesce(rolpassword, ''), '|' ORDER BY rolname))) FROM pg_authid",
    "SELECT concat_ws(' ', count(*), md5(string_agg(setdatabase || '/' || setrole || setconfig::text, '|' ORDER BY setdatabase, setrole))) FROM pg_db_role_setting",
    "SELECT count(*)::text FROM pg_prepared_xacts",
    "SELECT count(*)::text FROM pg_replication_slots",
    "SELECT concat_ws(' ', count(*), md5(string_agg(coalesce(name, '') || coalesce(setting, ''), '|' ORDER BY seqno))) FROM pg_file_settings",
    "SELECT concat_ws(' ', count(*), md5(string_agg(proname || prosrc, '|' ORDER BY oid))) FROM pg_proc WHERE oid >= 16384",
    "SELECT concat_ws(' ', count(*), md5(string_agg(description, '|' ORDER BY objoid))) FROM pg_description WHERE objoid >= 16384",
];
