//! A server that all tests share, a proxy that is upgraded, and writers whose acknowledged writes are counted.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::{Address, Cluster, Login, Proxy, Raw, Role, wait};
use rustix::process::{Pid, Signal, kill_process};

/// Patience with what should be quick; the machine may be busy.
pub const SOON: Duration = Duration::from_secs(60);

/// The program under test.
pub fn pgsluice() -> PathBuf {
    binary(env!("CARGO_BIN_EXE_pgsluice"))
}

/// The server.
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| {
        let cluster = Cluster::builder()
            .roles([Role::new("app").password("app"), Role::new("op").password("op").superuser()])
            .databases(["app", "shut"])
            .setting("max_connections", "400")
            .init_sql(
                "create table w (writer text, n int, primary key (writer, n)); grant all on w to app; \
                 create schema other authorization app",
            )
            .start()
            .unwrap();
        let shut = "create table w (n int primary key); grant all on w to app";
        cluster.primary().psql_in("shut", shut).unwrap();
        cluster
    })
}

/// A configuration; `top` goes before the tables, `end` after them.
pub fn config(top: &str, end: &str) -> String {
    let server = cluster().primary().port();
    format!(
        r#"
listen_port = {{port}}
unix_socket_dir = "{{dir}}"
state_file = "{{dir}}/state.json"
pidfile = "{{dir}}/pid"
auth_file = "{{dir}}/users"
admin_users = ["admin"]
operators = ["op"]
workers = 2
default_pool_size = 40
max_client_conn = 5000
{top}
[clusters.main]
upstreams = ["127.0.0.1:{server}"]
monitor_user = "postgres"
monitor_password = "postgres"
monitor_interval = "100ms"
[databases.app]
[databases.session]
dbname = "app"
pool_mode = "session"
[databases.shut]
{end}
"#
    )
}

/// A proxy that is upgraded. The process that has taken over is no child of ours: it is ended by its number.
pub struct Stand {
    /// The first process, and the folder of all.
    pub proxy: Proxy,
}

impl Stand {
    /// A proxy with that configuration, which knows the primary.
    pub fn new(config: &str) -> Self {
        Self::with(config, &[])
    }

    /// The same with variables of the environment.
    pub fn with(config: &str, env: &[(&str, &str)]) -> Self {
        let users = "\"app\" \"app\"\n\"op\" \"op\"\n\"admin\" \"secret\"\n";
        let builder = Proxy::builder(pgsluice()).config(config).file("users", users);
        let builder = env.iter().fold(builder, |builder, (name, value)| builder.env(*name, *value));
        let proxy = builder.start().unwrap();
        wait::until(SOON, "the primary", || proxy.log().contains("to=\"primary\"").then_some(()));
        Self { proxy }
    }

    /// The number of the process that serves.
    pub fn pid(&self) -> u32 {
        wait::until(SOON, "the number of the process", || {
            std::fs::read_to_string(self.proxy.dir().join("pid")).ok()?.trim().parse().ok()
        })
    }

    /// Whether a process of that number runs here.
    pub fn runs(&self, pid: u32) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let ended = stat.rsplit(')').next().is_none_or(|rest| rest.trim_start().starts_with('Z'));
        let here = std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == self.proxy.dir());
        here && !ended
    }

    /// `pgsluice upgrade`, and what it says.
    pub fn try_upgrade(&self, more: &[&str]) -> Result<String, String> {
        let mut command = Command::new(pgsluice());
        let done =
            command.args(["upgrade", "--config"]).arg(self.proxy.dir().join("pgsluice.toml")).args(more).output();
        let done = done.unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if done.status.success() { Ok(text(&done.stdout)) } else { Err(text(&done.stderr)) }
    }

    /// Upgrades, and waits until the former process has ended.
    pub fn upgrade(&self) {
        let before = self.pid();
        let told = self.try_upgrade(&[]).unwrap_or_else(|error| panic!("{error}\n{}", self.proxy.log()));
        assert!(told.contains("has taken over"), "{told}");
        self.await_end_of(before);
        assert_ne!(self.pid(), before);
    }

    /// Waits until that process has ended.
    pub fn await_end_of(&self, pid: u32) {
        let until = Instant::now() + SOON;
        while self.runs(pid) {
            assert!(Instant::now() < until, "process {pid} does not end\n{}", self.proxy.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A connection.
    pub fn raw(&self, user: &str, database: &str) -> Raw {
        let password = if user == "admin" { "secret" } else { user };
        Raw::connect(&self.proxy.tcp(), &Login::new(user, database).password(password)).unwrap()
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.proxy.log());
        }
        let pid: Option<u32> =
            std::fs::read_to_string(self.proxy.dir().join("pid")).ok().and_then(|text| text.trim().parse().ok());
        if let Some(pid) = pid.filter(|pid| self.runs(*pid)) {
            let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL);
        }
    }
}

/// Runs SQL and gives the rows of the last result.
pub fn rows(raw: &mut Raw, sql: &str) -> Vec<Vec<Option<String>>> {
    raw.query(sql, SOON).unwrap_or_else(|error| panic!("{sql}: {error}")).pop().unwrap().rows
}

/// The only value of SQL's last result.
pub fn value(raw: &mut Raw, sql: &str) -> String {
    rows(raw, sql)[0][0].clone().unwrap_or_default()
}

/// Clients that write rows of their own, one after the other.
pub struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Written, String>>>,
}

/// What one of them has seen.
pub struct Written {
    /// Its name.
    pub writer: String,
    /// Writes that were acknowledged.
    pub acknowledged: u32,
    /// The longest that one has taken.
    pub longest: Duration,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Writers {
    /// That many, on a database of the proxy.
    pub fn start(stand: &Stand, count: usize, database: &str) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|_| {
            let (stop, mut raw) = (stop.clone(), stand.raw("app", database));
            std::thread::spawn(move || write_until(&mut raw, &stop))
        });
        Self { threads: threads.collect(), stop }
    }

    /// Stops them. Each has been served all the time, and each acknowledged write is there once.
    pub fn finish(self) -> Vec<Written> {
        self.stop.store(true, SeqCst);
        let all: Vec<_> = self.threads.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect();
        let server = cluster().primary();
        let mut direct = Raw::connect(&Address::local(server.port()), &server.login("postgres", "app")).unwrap();
        for one in &all {
            let sql = format!("select count(*), coalesce(max(n), 0) from w where writer = '{}'", one.writer);
            let found = rows(&mut direct, &sql);
            let count: u32 = found[0][0].as_deref().unwrap().parse().unwrap();
            assert_eq!(count, one.acknowledged, "writes of {}", one.writer);
            assert!(count > 0, "{} has written nothing", one.writer);
        }
        all
    }
}

fn write_until(raw: &mut Raw, stop: &AtomicBool) -> Result<Written, String> {
    let writer = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, SeqCst));
    let mut written = Written { writer, acknowledged: 0, longest: Duration::ZERO };
    while !stop.load(SeqCst) {
        let n = written.acknowledged + 1;
        let began = Instant::now();
        let sql = format!("insert into w values ('{}', {n})", written.writer);
        raw.query(&sql, SOON).map_err(|error| format!("write {n}: {error}"))?;
        written.acknowledged = n;
        written.longest = written.longest.max(began.elapsed());
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(written)
}
