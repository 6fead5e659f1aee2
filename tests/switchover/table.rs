//! The table of failures: a switchover stands at each of its steps, something fails there, and it is looked where it has ended. Never
//! do two servers take writes, and never is an acknowledged write lost. `PGSLUICE_TEST_ROWS` chooses rows by their words.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use pgsluice_fixtures::raw::{Address, message};
use pgsluice_fixtures::{Login, Raw, wait};

use crate::load::{Load, nothing_lost_or_doubled};
use crate::stand::{Answer, LONG, Stand, ask, script, signal};

/// The step at which it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Hold,
    Fence,
    Replay,
    Promote,
    Verify,
    Repoint,
    Release,
}

/// What happens there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    ProxyKilled,
    TargetKilled,
    TargetGone,
    OldKilled,
    OldFrozen,
    ReplicationStopped,
    LockHeld,
    DiskFull,
    OperatorGone,
    CalledOff,
    WriterStays,
}

/// Who is the primary at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Back,
    There,
}

type Row = (At, Blow, Ends);

const ROWS: [Row; 42] = {
    use At::{Fence, Hold, Promote, Release, Replay, Repoint, Verify};
    use Blow::*;
    use Ends::{Back, There};
    [
        (Hold, ProxyKilled, Back),
        (Hold, TargetKilled, Back),
        (Hold, OldKilled, Back),
        (Hold, OldFrozen, Back),
        (Hold, ReplicationStopped, Back),
        (Hold, LockHeld, Back),
        (Hold, DiskFull, Back),
        (Hold, OperatorGone, There),
        (Hold, CalledOff, Back),
        (Hold, WriterStays, Back),
        (Fence, ProxyKilled, Back),
        (Fence, TargetKilled, Back),
        (Fence, DiskFull, Back),
        (Fence, OperatorGone, There),
        (Fence, CalledOff, Back),
        (Replay, ProxyKilled, Back),
        (Replay, TargetKilled, There),
        (Replay, OldKilled, Back),
        (Replay, OldFrozen, Back),
        (Replay, DiskFull, Back),
        (Replay, OperatorGone, There),
        (Replay, CalledOff, Back),
        (Promote, ProxyKilled, There),
        (Promote, TargetKilled, There),
        (Promote, TargetGone, Back),
        (Promote, OldKilled, There),
        (Promote, OldFrozen, There),
        (Promote, DiskFull, There),
        (Promote, OperatorGone, There),
        (Promote, CalledOff, There),
        (Verify, ProxyKilled, There),
        (Verify, TargetKilled, There),
        (Verify, TargetGone, Back),
        (Verify, OldKilled, There),
        (Verify, DiskFull, There),
        (Repoint, ProxyKilled, There),
        (Repoint, TargetKilled, There),
        (Repoint, TargetGone, Back),
        (Repoint, OldKilled, There),
        (Release, ProxyKilled, There),
        (Release, OperatorGone, There),
        (Release, CalledOff, There),
    ]
};

/// Looks all the time whether two servers take writes.
struct Watch {
    over: Arc<AtomicBool>,
    thread: JoinHandle<u64>,
}

impl Watch {
    fn start(stand: &Stand) -> Self {
        let over = Arc::<AtomicBool>::default();
        let (stop, addresses) = (over.clone(), [stand.server(0).tcp(), stand.server(1).tcp()]);
        let thread = thread::spawn(move || {
            let (mut sessions, mut looks) = ([None, None], 0);
            while !stop.load(SeqCst) {
                let mut takes_writes = |at: usize| takes_writes(&addresses[at], &mut sessions[at]);
                // Both at one moment: the first one before and after the second one.
                assert!(!(takes_writes(0) && takes_writes(1) && takes_writes(0)), "two servers take writes");
                looks += 1;
                thread::sleep(Duration::from_millis(5));
            }
            looks
        });
        Self { over, thread }
    }

    fn end(self) {
        self.over.store(true, SeqCst);
        assert!(self.thread.join().expect("never two") > 0);
    }
}

fn takes_writes(address: &Address, session: &mut Option<Raw>) -> bool {
    // A name that a fence leaves alone.
    let login = Login::new("app", "app").parameter("application_name", "pgsluice monitor");
    let Some(mut raw) = session.take().or_else(|| Raw::connect(address, &login).ok()) else { return false };
    let sql = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool";
    let asked = raw.send(&message::query(sql)).ok().and_then(|()| raw.frames_until_ready(Duration::from_secs(1)).ok());
    let Some(frames) = asked else { return false };
    *session = Some(raw);
    Answer::of(&frames).rows.first().is_some_and(|row| row[0] == "f")
}

/// A switchover that stands at a step.
struct Scene {
    row: Row,
    stand: Stand,
    load: Load,
    watch: Watch,
    console: Option<Raw>,
    slow: Option<Raw>,
    reader: Option<Raw>,
    off: Option<JoinHandle<Answer>>,
    /// The target's settings before its replication was stopped.
    settings: Option<String>,
}

impl Scene {
    fn go(stand: &Stand) -> PathBuf {
        stand.proxy.dir().join("go")
    }

    fn psql(stand: &Stand, at: usize, sql: &str) -> String {
        let psql = stand.cluster.installation().program("psql").unwrap();
        let port = stand.server(at).port();
        format!("{} -X -q -h 127.0.0.1 -p {port} -U dba -d postgres -c \"{sql}\"", psql.display())
    }

    /// Whether the program at the step `fence` fences.
    fn fences(row: Row) -> bool {
        matches!(row.1, Blow::TargetKilled | Blow::DiskFull | Blow::OperatorGone)
    }

    fn programs(stand: &Stand, row: Row) {
        let waits = format!("while [ ! -e {} ]; do sleep 0.02; done\n", Self::go(stand).display());
        let psql = |at, sql: &str| Self::psql(stand, at, sql) + "\n";
        let fence =
            psql(0, "ALTER SYSTEM SET default_transaction_read_only = on") + &psql(0, "SELECT pg_reload_conf()");
        let fence = if Self::fences(row) { fence } else { "exit 0".to_owned() };
        script(stand.proxy.dir(), "fence", &(waits.clone() + &fence));
        let promote = psql(1, "SELECT pg_promote(true)");
        let promote = match row.0 {
            At::Verify => {
                let stall = psql(1, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
                stall + &psql(1, "SELECT pg_reload_conf()") + "sleep 0.3\n" + &promote
            }
            At::Repoint => {
                let barred = psql(0, "BEGIN READ WRITE; ALTER ROLE monitor NOLOGIN; COMMIT") + "sleep 0.7\n";
                let ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'monitor'";
                barred + &psql(1, ended) + &promote
            }
            _ => promote,
        };
        let waits = if matches!(row.0, At::Promote | At::Release) { waits.as_str() } else { "" };
        script(stand.proxy.dir(), "promote", &(waits.to_owned() + &promote));
    }

    fn new(row: Row) -> Self {
        let mut own =
            "promote_command = [\"/bin/sh\", \"promote\"]\nmonitor_timeout = \"1s\"\ncommand_timeout = \"20s\"\n"
                .to_owned();
        if row.0 == At::Fence {
            own.push_str("fence_command = [\"/bin/sh\", \"fence\"]\n");
        }
        let stand = Stand::with(&own);
        Self::programs(&stand, row);
        let load = Load::start(&stand.proxy.tcp(), 4, 1);
        load.wait_for_more(20);
        let watch = Watch::start(&stand);
        let mut scene =
            Self { row, stand, load, watch, console: None, slow: None, reader: None, off: None, settings: None };
        scene.until_it_stands();
        scene
    }

    fn until_it_stands(&mut self) {
        if matches!(self.row.0, At::Hold | At::Replay) {
            if self.row.1 == Blow::LockHeld {
                // A long read on the target keeps it from replaying this lock.
                let login = Login::new("app", "app");
                let mut reader = Raw::connect(&self.stand.server(1).tcp(), &login).unwrap();
                ask(&mut reader, "BEGIN; SELECT count(*) FROM t").fine();
                self.reader = Some(reader);
            }
            let mut slow = self.stand.client("app");
            ask(&mut slow, "BEGIN; INSERT INTO written VALUES (-1)").fine();
            self.slow = Some(slow);
        }
        let mut console = self.stand.console();
        let options = "WITH (timeout '10s', drain_timeout '30s')";
        let sql = format!("SWITCHOVER app TO '{}' {options}", self.stand.name(1));
        console.send(&message::query(&sql)).unwrap();
        self.console = Some(console);
        match self.row.0 {
            At::Hold => self.stand.wait_for_step("hold"),
            At::Fence => self.stand.wait_for_step("fence"),
            At::Replay => {
                self.stand.wait_for_step("hold");
                self.stand.server(1).pause_replay().unwrap();
                ask(self.slow.as_mut().unwrap(), "COMMIT").fine();
                self.stand.wait_for_step("replay");
            }
            At::Promote => self.stand.wait_for_step("promote"),
            At::Verify => self.stand.wait_for_step("verify"),
            At::Repoint => self.stand.wait_for_step("repoint"),
            At::Release => {
                self.stand.wait_for_step("promote");
                // No file can be made there, as on a full disk: the gates cannot be opened.
                std::fs::create_dir(self.stand.proxy.dir().join("state.json.new")).unwrap();
                std::fs::write(Self::go(&self.stand), "").unwrap();
                self.stand.wait_for_step("release");
            }
        }
    }

    fn strike(&mut self) {
        let (at, blow, _) = self.row;
        let comes_back = at >= At::Replay;
        match blow {
            Blow::ProxyKilled => {
                self.stand.proxy.kill_9();
                self.stand.proxy.start_again().unwrap();
            }
            Blow::TargetKilled => {
                self.stand.server(1).kill_9();
                if at == At::Verify {
                    let auto = self.stand.server(1).data_dir().join("postgresql.auto.conf");
                    let text = std::fs::read_to_string(&auto).unwrap();
                    std::fs::write(&auto, text + "synchronous_standby_names = ''\n").unwrap();
                }
                if comes_back {
                    self.stand.server(1).start().unwrap();
                }
            }
            Blow::TargetGone => {
                self.stand.server(1).kill_9();
                std::fs::write(Self::go(&self.stand), "").unwrap();
                self.call_off();
            }
            Blow::OldKilled => {
                self.stand.server(0).kill_9();
                if at >= At::Promote {
                    self.stand.server(0).start().unwrap();
                }
            }
            Blow::OldFrozen => signal(self.stand.server(0), "-STOP"),
            Blow::ReplicationStopped => {
                let target = self.stand.server(1);
                self.settings = std::fs::read_to_string(target.data_dir().join("postgresql.auto.conf")).ok();
                target.psql_in("postgres", "ALTER SYSTEM SET primary_conninfo = ''").unwrap();
                target.reload().unwrap();
                target.wait_until("SELECT count(*) FROM pg_stat_wal_receiver", "0", LONG).unwrap();
            }
            Blow::LockHeld => {
                ask(self.slow.as_mut().unwrap(), "TRUNCATE TABLE t").fine();
            }
            Blow::DiskFull => std::fs::create_dir(self.full()).unwrap(),
            Blow::OperatorGone => self.console = None,
            Blow::CalledOff => self.call_off(),
            Blow::WriterStays => {}
        }
    }

    fn full(&self) -> PathBuf {
        self.stand.proxy.dir().join("state.json.moves.new")
    }

    fn call_off(&mut self) {
        let mut console = self.stand.console();
        self.off = Some(thread::spawn(move || ask(&mut console, "MAINTENANCE OFF app")));
    }

    /// Whether it can only end once what it stands at is over.
    fn waits(&self) -> bool {
        use Blow::{CalledOff, DiskFull, LockHeld, OperatorGone, ReplicationStopped, TargetGone, TargetKilled};
        match (self.row.0, self.row.1) {
            (At::Hold, blow) => matches!(blow, TargetKilled | ReplicationStopped | LockHeld | DiskFull | OperatorGone),
            (At::Fence | At::Replay, blow) => matches!(blow, TargetKilled | DiskFull | OperatorGone),
            (At::Promote | At::Release, _) => true,
            (At::Verify | At::Repoint, blow) => !matches!(blow, TargetGone | CalledOff),
        }
    }

    /// What it stands at is over; can be done twice.
    fn go_on(&mut self) {
        match self.row.0 {
            At::Hold => {
                if let Some(mut slow) = self.slow.take() {
                    let _ = slow.send(&message::query("COMMIT"));
                    let _ = slow.frames_until_ready(Duration::from_secs(5));
                }
            }
            At::Fence | At::Promote => std::fs::write(Self::go(&self.stand), "").unwrap(),
            At::Replay => _ = self.stand.server(1).resume_replay(),
            At::Verify => {
                let target = self.stand.server(1);
                let _ = target.psql_in("postgres", "ALTER SYSTEM RESET synchronous_standby_names");
                let _ = target.reload();
            }
            At::Repoint => {
                for at in [0, 1] {
                    let _ =
                        self.stand.server(at).psql_in("postgres", "BEGIN READ WRITE; ALTER ROLE monitor LOGIN; COMMIT");
                }
            }
            At::Release => _ = std::fs::remove_dir(self.stand.proxy.dir().join("state.json.new")),
        }
    }

    /// What has failed works again.
    fn cure(&mut self) {
        let (at, blow, ends) = self.row;
        self.go_on();
        self.reader = None;
        match blow {
            Blow::TargetKilled if self.stand.server(1).pid().is_none() => self.stand.server(1).start().unwrap(),
            Blow::OldKilled if self.stand.server(0).pid().is_none() => self.stand.server(0).start().unwrap(),
            Blow::OldFrozen => signal(self.stand.server(0), "-CONT"),
            Blow::DiskFull => std::fs::remove_dir(self.full()).unwrap(),
            _ => {}
        }
        if let Some(settings) = self.settings.take() {
            std::fs::write(self.stand.server(1).data_dir().join("postgresql.auto.conf"), settings).unwrap();
            self.stand.server(1).reload().unwrap();
        }
        if at == At::Fence && ends == Ends::Back && Self::fences(self.row) {
            // What a program has fenced, a person frees.
            self.stand.server(0).psql_in("postgres", "ALTER SYSTEM RESET default_transaction_read_only").unwrap();
            self.stand.server(0).reload().unwrap();
        }
    }

    fn end(mut self) -> String {
        let (at, blow, ends) = self.row;
        if self.waits() {
            self.go_on();
        }
        let (step, state) = self.stand.wait_for_end();
        let rows = self.stand.command("SHOW MOVES").rows;
        let why = rows[0][10].clone();
        assert_eq!(state, if ends == Ends::There { "done" } else { "failed" }, "{at:?} {blow:?}: {step}: {why}");
        self.cure();
        if let Some(off) = self.off.take() {
            off.join().unwrap();
        }
        self.stand.wait_until_open();
        self.load.wait_for_more(30);
        let (primary, other) = if ends == Ends::There { (1, 0) } else { (0, 1) };
        wait::until(LONG, "the one that is meant to take writes", || self.stand.is_writable(primary).then_some(()));
        self.watch.end();
        let seen = self.load.stop();
        let mine = self.stand.ids(primary);
        if self.stand.server(other).pid().is_some() {
            assert!(!self.stand.is_writable(other), "{at:?} {blow:?}: two take writes");
            let elsewhere: Vec<_> =
                self.stand.ids(other).into_iter().filter(|id| mine.binary_search(id).is_err()).collect();
            assert!(elsewhere.is_empty(), "{at:?} {blow:?}: written elsewhere alone: {elsewhere:?}");
        }
        nothing_lost_or_doubled(&seen, mine);
        let clients_notice = matches!(blow, Blow::ProxyKilled | Blow::OldKilled | Blow::OldFrozen);
        assert!(clients_notice || seen.errors.is_empty(), "{at:?} {blow:?}: {:?}", seen.errors);
        why
    }
}

impl PartialOrd for At {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        (*self as u8).partial_cmp(&(*other as u8))
    }
}

fn play(row: Row) {
    println!("{row:?}");
    let mut scene = Scene::new(row);
    scene.strike();
    let why = scene.end();
    println!("| {:?} | {:?} | {:?} | {why} |", row.0, row.1, row.2);
}

/// Rows that no other test has, a few of them.
#[test]
fn a_slice_of_the_table_of_failures() {
    let slice = [
        (At::Hold, Blow::ReplicationStopped),
        (At::Replay, Blow::OldKilled),
        (At::Promote, Blow::DiskFull),
        (At::Repoint, Blow::TargetGone),
        (At::Release, Blow::ProxyKilled),
    ];
    ROWS.into_iter().filter(|row| slice.contains(&(row.0, row.1))).for_each(play);
}

#[test]
#[ignore = "takes ten minutes: make conformance-switchover"]
fn the_whole_table_of_failures() {
    let wanted = std::env::var("PGSLUICE_TEST_ROWS").unwrap_or_default();
    let mut failed = Vec::new();
    for row in ROWS.into_iter().filter(|row| format!("{row:?}").contains(&wanted)) {
        // All are played, whatever becomes of one.
        if thread::spawn(move || play(row)).join().is_err() {
            println!("| {:?} | {:?} | FAILED |", row.0, row.1);
            failed.push(row);
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
