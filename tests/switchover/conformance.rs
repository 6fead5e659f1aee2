//! The long run: a hundred switchovers under pgbench and verifying writers, and beside them what a script does with PgBouncer's PAUSE
//! and RESUME. Figures are printed.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use pgsluice_fixtures::port::Port;
use pgsluice_fixtures::raw::Address;
use pgsluice_fixtures::{Login, Raw, wait};

use crate::load::{Load, Seen, nothing_lost_or_doubled, percentile};
use crate::stand::{LONG, Stand, ask};

const PGBOUNCER: &str = "/usr/sbin/pgbouncer";

fn count(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn print(what: &str, pauses: &mut [Duration], seen: &mut Seen) {
    println!(
        "{what}: {} switchovers, {} writes acknowledged, errors {:?} {:?}; write pause p50 {:?}, p99 {:?}, longest {:?}; \
         {} reads, p99 {:?}, longest {:?}",
        pauses.len(),
        seen.acknowledged.len(),
        seen.errors,
        seen.read_errors,
        percentile(pauses, 0.5),
        percentile(pauses, 0.99),
        pauses.iter().max().copied().unwrap_or_default(),
        seen.reads.len(),
        percentile(&mut seen.reads, 0.99),
        seen.reads.iter().max().copied().unwrap_or_default(),
    );
}

/// The middle one of these, which are sorted.
fn percentile_of(times: &mut [u64]) -> u64 {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// pgbench with 32 clients at a fixed rate, on top of the verifying writers.
struct Bench {
    running: Running,
    log: PathBuf,
}

impl Bench {
    fn start(stand: &Stand, port: u16) -> Self {
        let pgbench = stand.cluster.installation().program("pgbench").expect("pgbench");
        let server = stand.server(0).port().to_string();
        let init = Command::new(&pgbench)
            .args(["-i", "-q", "-s", "5", "-h", "127.0.0.1", "-p", &server, "-U", "app", "app"])
            .output()
            .expect("pgbench");
        assert!(init.status.success(), "{}", String::from_utf8_lossy(&init.stderr));
        stand.cluster.wait_for_replay(LONG).expect("replay");
        let log = stand.proxy.dir().join("pgbench.log");
        let out = std::fs::File::create(&log).expect("a file");
        let child = Command::new(&pgbench)
            .args(["-n", "-c", "32", "-j", "2", "-T", "100000", "-P", "60", "-R", "300", "-h", "127.0.0.1"])
            .args(["-p", &port.to_string(), "-U", "app", "app"])
            .stdout(out.try_clone().expect("a file"))
            .stderr(out)
            .spawn()
            .expect("pgbench");
        Self { running: Running(child), log }
    }

    fn goes_on(&mut self) -> bool {
        self.running.0.try_wait().expect("its state").is_none()
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

#[test]
#[ignore = "takes a quarter of an hour: make conformance-switchover"]
fn a_hundred_switchovers_under_pgbench_and_verifying_writers() {
    let times = count("PGSLUICE_TEST_SWITCHOVERS", 100);
    let stand = Stand::new();
    let mut bench = Bench::start(&stand, stand.proxy.port());
    let load = Load::start(&stand.proxy.tcp(), 4, 2);
    load.wait_for_more(50);
    let (mut primary, mut replica) = (0, 1);
    let (mut pauses, mut steps) = (Vec::new(), std::collections::BTreeMap::<String, Vec<u64>>::new());
    for nth in 0..times {
        load.take_longest();
        let answer = stand.switch_to(replica, "").fine();
        for row in answer.rows.iter().filter(|row| row[0] != "check") {
            steps.entry(row[0].clone()).or_default().push(row[4].parse().expect("a time"));
        }
        load.wait_for_more(20);
        pauses.push(load.take_longest());
        assert!(!stand.is_writable(primary) && stand.is_writable(replica), "switchover {nth}");
        stand.bring_back(primary, replica);
        std::mem::swap(&mut primary, &mut replica);
        let roles = if primary == 0 { ["primary", "replica"] } else { ["replica", "primary"] };
        stand.wait_for_roles(&roles);
        assert!(bench.goes_on(), "switchover {nth}: {}", bench.said());
    }
    let mut seen = load.stop();
    let said = bench.said();
    print("pgsluice", &mut pauses, &mut seen);
    for (step, times) in &mut steps {
        println!("{step}: p50 {} ms, longest {} ms", percentile_of(times), times.last().copied().unwrap_or_default());
    }
    assert!(!said.contains("aborted") && !said.contains("ERROR"), "{said}");
    assert!(seen.errors.is_empty() && seen.read_errors.is_empty());
    nothing_lost_or_doubled(&seen, stand.ids(primary));
}

fn configuration(folder: &Path, port: u16, server: u16) {
    let dir = folder.display();
    let ini = format!(
        "[databases]\napp = host=127.0.0.1 port={server}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
         unix_socket_dir =\nauth_type = trust\nauth_file = {dir}/users\nadmin_users = dba\npool_mode = transaction\n\
         default_pool_size = 30\nlogfile = {dir}/log\n"
    );
    std::fs::write(folder.join("pgbouncer.ini"), ini).expect("a configuration");
}

#[test]
#[ignore = "needs PgBouncer: make conformance-switchover"]
fn a_hundred_beside_pause_and_resume_of_pgbouncer_by_a_script() {
    let times = count("PGSLUICE_TEST_PAUSES", 20);
    let stand = Stand::new();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).expect("its mode");
    std::fs::write(folder.path().join("users"), "\"app\" \"\"\n\"dba\" \"\"\n").expect("users");
    let port = Port::lease().expect("a port");
    configuration(folder.path(), port.number(), stand.server(0).port());
    let mut command = Command::new(PGBOUNCER);
    command.arg("-q").arg(folder.path().join("pgbouncer.ini")).stdout(Stdio::null()).stderr(Stdio::null());
    if nix::unistd::getuid().is_root() {
        // It refuses to run as root.
        command.uid(65_534).gid(65_534);
    }
    let _bouncer = Running(command.spawn().expect("PgBouncer"));
    let address = Address::local(port.number());
    wait::until(LONG, "PgBouncer", || Raw::open(&address).ok());
    let mut console = Raw::connect(&address, &Login::new("dba", "pgbouncer")).expect("its console");
    let mut bench = Bench::start(&stand, port.number());
    let load = Load::start(&address, 4, 2);
    load.wait_for_more(50);
    let (mut primary, mut replica) = (0, 1);
    let mut pauses = Vec::new();
    for _ in 0..times {
        load.take_longest();
        ask(&mut console, "PAUSE app").fine();
        let written = stand.server(primary).psql_in("postgres", "SELECT pg_current_wal_lsn()").expect("its position");
        let replayed = format!("SELECT pg_last_wal_replay_lsn() >= '{}'", written.trim());
        stand.server(replica).wait_until(&replayed, "t", LONG).expect("replay");
        stand.server(replica).promote().expect("a promotion");
        configuration(folder.path(), port.number(), stand.server(replica).port());
        ask(&mut console, "RELOAD").fine();
        ask(&mut console, "RESUME app").fine();
        load.wait_for_more(20);
        pauses.push(load.take_longest());
        stand.bring_back(primary, replica);
        std::mem::swap(&mut primary, &mut replica);
        assert!(bench.goes_on(), "{}", bench.said());
    }
    let mut seen = load.stop();
    print("PgBouncer", &mut pauses, &mut seen);
    nothing_lost_or_doubled(&seen, stand.ids(primary));
}
