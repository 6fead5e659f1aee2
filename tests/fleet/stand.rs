//! A primary, etcd, and several pgsluice in front of them that are one fleet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Address, Cluster, Etcd, Frame, Login, Proxy, Raw, Relay, Role, wait};

/// Longest wait for anything here.
pub const LONG: Duration = Duration::from_secs(60);

/// The program; None: tests of fleets are skipped, and say so.
pub fn program() -> Option<std::path::PathBuf> {
    let built = std::path::Path::new(env!("CARGO_BIN_EXE_pgsluice"));
    let unpacked = built.parent()?.parent()?.join("fixtures/etcd");
    let found = pgsluice_fixtures::etcd::program(&unpacked);
    if found.is_none() {
        eprintln!("skipped: there is no etcd (make etcd unpacks it)");
    }
    found
}

/// See the module.
pub struct Stand {
    // Before what they use.
    pub members: Vec<Member>,
    pub etcd: Etcd,
    pub cluster: Cluster,
}

/// One pgsluice, and its way to etcd.
pub struct Member {
    pub name: String,
    pub proxy: Proxy,
    pub relays: Vec<Relay>,
}

/// What is written of one member.
fn config(name: &str, cluster: &Cluster, etcd: &[u16], more: &More) -> String {
    let More { top, fleet, tables, scheme, beside } = more;
    let mut endpoints: Vec<String> = etcd.iter().map(|port| format!("\"{scheme}://127.0.0.1:{port}\"")).collect();
    endpoints.splice(1..1, beside.iter().map(|port| format!("\"{scheme}://127.0.0.1:{port}\"")));
    let (primary, endpoints) = (cluster.primary().port(), endpoints.join(", "));
    format!(
        "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 1\nauth_type = \"trust\"\n\
         admin_users = [\"dba\"]\noperators = [\"dba\"]\n{top}\n\
         [fleet]\nendpoints = [{endpoints}]\nmember = \"{name}\"\naddress = \"127.0.0.1:{{port}}\"\n{fleet}\n\
         [maintenance]\ndrain_timeout = \"20s\"\non_timeout = \"cancel\"\n\
         [clusters.main]\nupstreams = [\"127.0.0.1:{primary}\"]\nmonitor_user = \"monitor\"\n\
         monitor_interval = \"300ms\"\n[databases.app]\n{tables}"
    )
}

impl Member {
    fn start(name: &str, cluster: &Cluster, etcd: &Etcd, more: &More) -> Member {
        let relays: Vec<Relay> = etcd.ports().into_iter().map(|port| Relay::to(port).unwrap()).collect();
        let ports: Vec<u16> = relays.iter().map(Relay::port).collect();
        let text = config(name, cluster, &ports, more);
        let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice"))).config(text).start().expect("a proxy");
        Member { name: name.to_owned(), proxy, relays }
    }

    pub fn address(&self) -> Address {
        self.proxy.tcp()
    }

    pub fn connect(&self, user: &str) -> Raw {
        Raw::connect(&self.address(), &Login::new(user, "app")).unwrap_or_else(|error| panic!("{user}: {error}"))
    }

    /// A command on the console: its rows, or its error.
    pub fn try_console(&self, sql: &str) -> Result<Vec<Vec<String>>, pgsluice_fixtures::ServerError> {
        let mut raw = Raw::connect(&self.address(), &Login::new("dba", "pgsluice")).expect("the console");
        let frames = raw.round_trip(&message::query(sql), LONG).expect("an answer");
        match frames.iter().filter(|frame| frame.tag == b'E').find_map(Frame::error) {
            Some(error) => Err(error),
            None => Ok(rows(&frames)),
        }
    }

    pub fn console(&self, sql: &str) -> Vec<Vec<String>> {
        self.try_console(sql).unwrap_or_else(|error| panic!("{}: {sql}: {error}\n{}", self.name, self.proxy.log()))
    }

    /// The mode of the database, as this member has it.
    pub fn mode(&self) -> String {
        self.console("SHOW MAINTENANCE app")[0][1].clone()
    }

    /// Cuts it off from etcd, without a word.
    pub fn cut_off(&self, fault: pgsluice_fixtures::Fault) {
        self.relays.iter().for_each(|relay| relay.set(fault));
    }
}

/// What stands in the configuration beside what all have.
#[derive(Debug, Clone)]
pub struct More {
    /// At the top of the file.
    pub top: String,
    /// In `[fleet]`.
    pub fleet: String,
    /// In `[databases.app]`, and behind it.
    pub tables: String,
    /// How etcd is spoken to.
    pub scheme: &'static str,
    /// Ports of other endpoints, behind the first of etcd.
    pub beside: Vec<u16>,
}

impl Default for More {
    fn default() -> Self {
        More { top: String::new(), fleet: String::new(), tables: String::new(), scheme: "http", beside: Vec::new() }
    }
}

impl Stand {
    /// That many members.
    pub fn start(program: std::path::PathBuf, etcd: usize, members: usize, top: &str, tables: &str) -> Stand {
        let more = More { top: top.to_owned(), tables: tables.to_owned(), ..More::default() };
        Stand::with(Etcd::start(program, etcd).expect("etcd"), members, &more)
    }

    /// The same with leases of that length.
    pub fn with_lease(program: std::path::PathBuf, etcd: usize, members: usize, lease: Duration) -> Stand {
        let more = More { fleet: format!("lease_ttl = \"{}s\"", lease.as_secs()), ..More::default() };
        Stand::with(Etcd::start(program, etcd).expect("etcd"), members, &more)
    }

    /// Before an etcd that is there.
    pub fn with(etcd: Etcd, members: usize, more: &More) -> Stand {
        let cluster = Cluster::builder()
            .hba(["host all all 127.0.0.1/32 trust"])
            .roles([
                Role::new("app"),
                Role::new("dba").superuser(),
                Role::new("monitor").option("IN ROLE pg_monitor, pg_signal_backend"),
            ])
            .databases(["app"])
            .setting("max_connections", "400")
            .setting("wal_level", "logical")
            .start()
            .expect("a cluster");
        cluster.primary().psql_in("app", SCHEMA).expect("the schema");
        let mut stand = Stand { members: Vec::new(), etcd, cluster };
        (0..members).for_each(|at| stand.join_with(&format!("m{at}"), more));
        stand.wait_for_members(members);
        stand
    }

    /// One member more.
    pub fn join(&mut self, name: &str) {
        self.join_with(name, &More::default());
    }

    /// The same with a configuration of its own.
    pub fn join_with(&mut self, name: &str, more: &More) {
        let member = Member::start(name, &self.cluster, &self.etcd, more);
        self.members.push(member);
    }

    /// Until every member knows of that many that are there.
    pub fn wait_for_members(&self, count: usize) {
        for member in &self.members {
            wait::until_ok(LONG, "the members", || {
                let rows = member.console("SHOW FLEET");
                let names: std::collections::BTreeSet<_> =
                    rows.iter().filter(|row| row[5] == "member").map(|row| row[0].clone()).collect();
                // Whoever is the first to join is not at once the one that leads.
                let leads = rows.iter().filter(|row| row[6] == "t").count() == 1;
                if names.len() == count && leads { Ok(()) } else { Err(format!("{rows:?}\n{}", member.proxy.log())) }
            });
        }
    }

    /// What the primary says.
    pub fn sql(&self, sql: &str) -> String {
        self.cluster.primary().psql_in("app", sql).expect("an answer")
    }
}

const SCHEMA: &str = "
CREATE TABLE w (member int, writer int, n bigint, PRIMARY KEY (member, writer, n));
GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC;
";

pub fn rows(frames: &[Frame]) -> Vec<Vec<String>> {
    let text =
        |value: Option<Vec<u8>>| value.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let rows = frames.iter().filter(|frame| frame.tag == b'D');
    rows.map(|frame| frame.values().into_iter().map(text).collect()).collect()
}

/// A statement that must succeed; its rows.
pub fn fine(raw: &mut Raw, sql: &str) -> Vec<Vec<String>> {
    let frames = raw.round_trip(&message::query(sql), LONG).unwrap_or_else(|error| panic!("{sql}: {error}"));
    if let Some(error) = frames.iter().filter(|frame| frame.tag == b'E').find_map(Frame::error) {
        panic!("{sql}: {error}");
    }
    rows(&frames)
}

/// A statement that must fail.
pub fn fails(raw: &mut Raw, sql: &str) -> pgsluice_fixtures::ServerError {
    let frames = raw.round_trip(&message::query(sql), LONG).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let error = frames.iter().filter(|frame| frame.tag == b'E').find_map(Frame::error);
    error.unwrap_or_else(|| panic!("{sql} has succeeded"))
}

/// Clients that write row after row and know what was acknowledged.
pub struct Writers {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Written>>,
    pub acknowledged: Arc<AtomicU64>,
}

/// What one writer knows.
pub struct Written {
    pub member: usize,
    pub writer: usize,
    /// Rows that were acknowledged.
    pub sure: Vec<u64>,
    /// Rows of which nobody knows, since the connection was lost.
    pub unsure: Vec<u64>,
}

impl Writers {
    /// So many for each member, in transactions of two statements.
    pub fn start(stand: &Stand, each: usize) -> Writers {
        Writers::start_with(stand, each, Duration::ZERO)
    }

    /// The same with that pause behind each row.
    pub fn start_with(stand: &Stand, each: usize, pause: Duration) -> Writers {
        let (stop, acknowledged) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut threads = Vec::new();
        for (member, one) in stand.members.iter().enumerate() {
            for writer in 0..each {
                let (address, stop, count) = (one.address(), stop.clone(), acknowledged.clone());
                threads.push(thread::spawn(move || write(&address, [member, writer], pause, &stop, &count)));
            }
        }
        Writers { stop, threads, acknowledged }
    }

    pub fn stop(self) -> Vec<Written> {
        self.stop.store(true, SeqCst);
        self.threads.into_iter().map(|thread| thread.join().expect("a writer")).collect()
    }
}

fn write(
    address: &Address,
    [member, writer]: [usize; 2],
    pause: Duration,
    stop: &AtomicBool,
    count: &AtomicU64,
) -> Written {
    let mut written = Written { member, writer, sure: Vec::new(), unsure: Vec::new() };
    let mut connection: Option<Raw> = None;
    let mut n = 0;
    while !stop.load(SeqCst) {
        let Some(raw) = &mut connection else {
            connection = Raw::connect(address, &Login::new("app", "app")).ok();
            if connection.is_none() {
                thread::sleep(Duration::from_millis(20));
            }
            continue;
        };
        thread::sleep(pause);
        n += 1;
        let sql = format!("INSERT INTO w VALUES ({member}, {writer}, {n})");
        // Several statements in one transaction, or one by itself.
        let outcome = if n % 3 == 0 {
            raw.round_trip(&message::query("BEGIN"), LONG)
                .and_then(|_| raw.round_trip(&message::query(&sql), LONG))
                .and_then(|frames| {
                    let end = if failed(&frames) { "ROLLBACK" } else { "COMMIT" };
                    raw.round_trip(&message::query(end), LONG)
                })
        } else {
            raw.round_trip(&message::query(&sql), LONG)
        };
        match outcome {
            Ok(frames) if failed(&frames) || tag(&frames) == "ROLLBACK" => {
                if frames.iter().any(|frame| frame.tag == b'Z') {
                    thread::sleep(Duration::from_millis(5));
                } else {
                    written.unsure.push(n);
                    connection = None;
                }
            }
            Ok(_) => {
                written.sure.push(n);
                count.fetch_add(1, SeqCst);
            }
            Err(_) => {
                written.unsure.push(n);
                connection = None;
            }
        }
    }
    written
}

fn failed(frames: &[Frame]) -> bool {
    frames.iter().any(|frame| frame.tag == b'E')
}

fn tag(frames: &[Frame]) -> String {
    let done = frames.iter().rev().find(|frame| frame.tag == b'C');
    done.map(|frame| frame.strings().concat()).unwrap_or_default()
}

/// No acknowledged row is lost, and none is there that was refused.
pub fn verify(stand: &Stand, all: &[Written]) {
    for written in all {
        let sql = format!(
            "SELECT string_agg(n::text, ',' ORDER BY n) FROM w WHERE member = {} AND writer = {}",
            written.member, written.writer
        );
        let text = stand.sql(&sql);
        let there: std::collections::BTreeSet<u64> =
            text.split(',').filter_map(|part| part.trim().parse().ok()).collect();
        let sure: std::collections::BTreeSet<u64> = written.sure.iter().copied().collect();
        let lost: Vec<_> = sure.difference(&there).collect();
        assert!(lost.is_empty(), "lost of m{}/{}: {lost:?}", written.member, written.writer);
        let more: Vec<_> = there.difference(&sure).filter(|n| !written.unsure.contains(n)).collect();
        assert!(more.is_empty(), "written though refused, m{}/{}: {more:?}", written.member, written.writer);
    }
}

/// Nothing is written between the moment of the answer and that of the check, which is some time later.
pub fn stays_still(stand: &Stand, lsn: &str, for_: Duration) {
    let count = stand.sql("SELECT count(*) FROM w");
    let until = Instant::now() + for_;
    while Instant::now() < until {
        assert_eq!(stand.sql("SELECT count(*) FROM w"), count, "a row behind the quiesced LSN {lsn}");
        thread::sleep(Duration::from_millis(20));
    }
}
