//! Flips under writers and readers while members are killed, stopped or cut off, and etcd's own as well, at random.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Address, Fault, Frame, Login, Raw, Signal, wait};

use crate::stand::{LONG, Stand, Writers, program, verify};

/// What happens to a flip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    Nothing,
    Killed,
    /// For twice the lease.
    Stopped,
    CutOff,
    /// The member of etcd that leads is killed.
    Etcd,
}

const LEASE: Duration = Duration::from_secs(3);

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }
}

/// Readers, and what was refused to them by members that were up.
struct Readers {
    stop: Arc<AtomicBool>,
    up: Vec<Arc<AtomicU64>>,
    threads: Vec<JoinHandle<(u64, Vec<String>)>>,
}

impl Readers {
    fn start(stand: &Stand) -> Readers {
        let stop = Arc::new(AtomicBool::new(false));
        // Even: it is up. Grows with each change.
        let up: Vec<_> = stand.members.iter().map(|_| Arc::new(AtomicU64::new(0))).collect();
        let begin = |(member, up): (&crate::stand::Member, &Arc<AtomicU64>)| {
            let (address, stop, up) = (member.address(), stop.clone(), up.clone());
            thread::spawn(move || read(&address, &stop, &up))
        };
        let threads = stand.members.iter().zip(&up).map(begin).collect();
        Readers { stop, up, threads }
    }

    fn change(&self, member: usize) {
        self.up[member].fetch_add(1, SeqCst);
    }

    fn stop(self) -> (u64, Vec<String>) {
        self.stop.store(true, SeqCst);
        let all: Vec<_> = self.threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        (all.iter().map(|(count, _)| count).sum(), all.into_iter().flat_map(|(_, failed)| failed).collect())
    }
}

fn read(address: &Address, stop: &AtomicBool, up: &AtomicU64) -> (u64, Vec<String>) {
    let (mut count, mut failed, mut connection) = (0, Vec::new(), None::<Raw>);
    while !stop.load(SeqCst) {
        thread::sleep(Duration::from_millis(10));
        let before = up.load(SeqCst);
        let asked = match &mut connection {
            Some(raw) => raw.round_trip(&message::query("SELECT count(*) FROM w WHERE n < 10"), LONG),
            None => match Raw::connect(address, &Login::new("app", "app")) {
                Ok(raw) => {
                    connection = Some(raw);
                    continue;
                }
                Err(error) => Err(error),
            },
        };
        let error = match &asked {
            Ok(frames) => frames.iter().filter(|frame| frame.tag == b'E').find_map(Frame::error).map(|e| e.to_string()),
            Err(error) => Some(error.to_string()),
        };
        match error {
            None => count += 1,
            Some(error) => {
                connection = None;
                if before.is_multiple_of(2) && up.load(SeqCst) == before {
                    failed.push(error);
                }
            }
        }
    }
    (count, failed)
}

/// The LSN as a number.
fn number(lsn: &str) -> u64 {
    let (high, low) = lsn.split_once('/').unwrap_or_else(|| panic!("{lsn:?} is no LSN"));
    (u64::from_str_radix(high, 16).unwrap() << 32) + u64::from_str_radix(low, 16).unwrap()
}

/// Ends of all commits that are in the log of the server.
fn commits(stand: &Stand) -> Vec<u64> {
    let sql = "SELECT lsn FROM pg_logical_slot_get_changes('all', NULL, NULL, 'skip-empty-xacts', '1') \
               WHERE data LIKE 'COMMIT%'";
    stand.sql(sql).lines().map(|line| number(line.trim())).collect()
}

fn from_environment(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn flips_under_writers_with_a_member_killed_stopped_or_cut_off_or_the_leader_of_etcd_killed() {
    let Some(program) = program() else { return };
    let rounds = from_environment("PGSLUICE_TEST_FLEET_FAULTS", 5);
    let seconds = from_environment("PGSLUICE_TEST_FLEET_SECONDS", 900);
    let count = from_environment("PGSLUICE_TEST_FLEET_MEMBERS", 3);
    let seed = from_environment("PGSLUICE_TEST_SEED", 7);
    let mut random = Random(seed as u64 * 0x9e37_79b9 + 1);
    let mut stand = Stand::with_lease(program, 3, count, LEASE);
    stand.sql("SELECT pg_create_logical_replication_slot('all', 'test_decoding')");
    let (writers, readers) = (Writers::start(&stand, 2), Readers::start(&stand));
    let all = [Blow::Nothing, Blow::Killed, Blow::Stopped, Blow::CutOff, Blow::Etcd];
    let (began, mut slowest, mut closed, mut tally) = (Instant::now(), Duration::ZERO, Vec::new(), [0_usize; 5]);
    let mut slowest_undisturbed = Duration::ZERO;
    for round in 0..rounds {
        if began.elapsed().as_secs() > seconds as u64 {
            break;
        }
        // Each at least once, then at random.
        let kind = if round < all.len() { round } else { random.below(all.len()) };
        let (blow, giver) = (all[kind], random.below(count));
        let victim = (giver + 1 + random.below(count - 1)) % count;
        tally[kind] += 1;
        // Before the command, or in the middle of it.
        let delay = Duration::from_millis([0, 0, 20, 60, 150][random.below(5)]);
        let address = stand.members[giver].address();
        let command = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            let began = Instant::now();
            let mut console = Raw::connect(&address, &Login::new("dba", "pgsluice")).unwrap();
            let sql = "MAINTENANCE ON app WITH (drain_timeout '40s')";
            let frames = console.round_trip(&message::query(sql), Duration::from_secs(90)).unwrap();
            (frames, began.elapsed())
        });
        thread::sleep(delay);
        let struck = Instant::now();
        let etcd = strike(&mut stand, &readers, blow, victim);
        let (frames, took) = command.join().unwrap();
        if let Some(error) = frames.iter().filter(|frame| frame.tag == b'E').find_map(Frame::error) {
            panic!("round {round}, {blow:?} of {victim}: {error}\n{}", stand.members[giver].proxy.log());
        }
        let rows = crate::stand::rows(&frames);
        slowest = slowest.max(took);
        if blow == Blow::Nothing {
            slowest_undisturbed = slowest_undisturbed.max(took);
        }
        println!("round {round}: {blow:?} after {delay:?}, quiesced in {took:?} at {}", rows[0][6]);
        let still = stand.sql("SELECT count(*) FROM w");
        thread::sleep((LEASE * 2).saturating_sub(struck.elapsed()).min(if blow == Blow::Stopped {
            LONG
        } else {
            Duration::from_millis(200)
        }));
        heal(&mut stand, blow, victim, etcd);
        thread::sleep(Duration::from_millis(700));
        stand.wait_for_members(count);
        touched(blow, victim).for_each(|member| readers.change(member));
        assert_eq!(stand.sql("SELECT count(*) FROM w"), still, "a row behind the quiesced LSN");
        closed.push((number(&rows[0][6]), number(&stand.sql("SELECT pg_current_wal_insert_lsn()"))));
        stand.members[(giver + round) % count].console("MAINTENANCE OFF app");
        let before = writers.acknowledged.load(SeqCst);
        wait::until_ok(LONG, "writes", || {
            let now = writers.acknowledged.load(SeqCst);
            if now > before + 10 { Ok(()) } else { Err(now.to_string()) }
        });
    }
    let written = writers.stop();
    let (reads, failed) = readers.stop();
    verify(&stand, &written);
    let commits = commits(&stand);
    for (from, to) in &closed {
        let late: Vec<_> = commits.iter().filter(|lsn| *lsn > from && *lsn <= to).collect();
        assert!(late.is_empty(), "commits behind the quiesced LSN {from:X}: {late:X?}");
    }
    assert!(failed.is_empty(), "reads failed on members that are up: {failed:?}");
    let rows: usize = written.iter().map(|one| one.sure.len()).sum();
    println!(
        "seed {seed}: {} flips over {count} members in {:?}, of {all:?} {tally:?}; {rows} rows acknowledged, none lost or doubled; \
         {} commits, none behind one of {} quiesced LSNs; {reads} reads, 0 failed on members that are up; \
         ON to quiesced at most {slowest:?}, where nothing failed {slowest_undisturbed:?}",
        closed.len(),
        began.elapsed(),
        commits.len(),
        closed.len()
    );
}

/// Members that are not up by it: those that are cut off from etcd, or lose their lease with it, go on reading.
fn touched(blow: Blow, victim: usize) -> std::ops::Range<usize> {
    match blow {
        Blow::Nothing | Blow::CutOff | Blow::Etcd => 0..0,
        Blow::Killed | Blow::Stopped => victim..victim + 1,
    }
}

/// Does it; the member of etcd that was killed.
fn strike(stand: &mut Stand, readers: &Readers, blow: Blow, victim: usize) -> usize {
    touched(blow, victim).for_each(|member| readers.change(member));
    match blow {
        Blow::Nothing => {}
        Blow::Killed => stand.members[victim].proxy.kill_9(),
        Blow::Stopped => stand.members[victim].proxy.signal(Signal::SIGSTOP).unwrap(),
        Blow::CutOff => stand.members[victim].cut_off(Fault::BlackHole),
        Blow::Etcd => {
            let leader = wait::until(LONG, "etcd has a leader", || stand.etcd.leader());
            stand.etcd.kill(leader);
            return leader;
        }
    }
    0
}

fn heal(stand: &mut Stand, blow: Blow, victim: usize, etcd: usize) {
    match blow {
        Blow::Nothing => {}
        Blow::Killed => stand.members[victim].proxy.start_again().unwrap(),
        Blow::Stopped => stand.members[victim].proxy.signal(Signal::SIGCONT).unwrap(),
        Blow::CutOff => stand.members[victim].cut_off(Fault::None),
        Blow::Etcd => {
            stand.etcd.run(etcd).unwrap();
            stand.etcd.wait_until_ready().unwrap();
        }
    }
}
