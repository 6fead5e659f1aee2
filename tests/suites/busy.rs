//! Two clients that alter in their sessions what can be altered, on the pool that a suite uses, and see to it that what they
//! set is what they find.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use pgsluice_fixtures::cluster::SUPERUSER;
use pgsluice_fixtures::raw::RawError;
use pgsluice_fixtures::raw::{Address, message};
use pgsluice_fixtures::{Login, Raw};

const SOON: Duration = Duration::from_secs(60);

/// Between statements: who never pauses starves others on a small machine.
const THINK: Duration = Duration::from_millis(2);

/// What a client says, and what the last value of the answer has to be, if anything.
const ROUND: [(&str, Option<&str>); 37] = [
    ("SET search_path = nowhere", None),
    ("SET work_mem = '77kB'; SET DateStyle = 'SQL, DMY'", None),
    ("SET TimeZone = 'Asia/Kathmandu'", None),
    ("SET bytea_output = 'escape'; SET IntervalStyle = 'iso_8601'; SET extra_float_digits = -9", None),
    ("SELECT '2001-02-03 04:05+00'::timestamptz::text", Some("03/02/2001 09:50:00 +0545")),
    ("SHOW search_path", Some("nowhere")),
    ("SET client_encoding = 'LATIN1'", None),
    ("SET standard_conforming_strings = off; SET escape_string_warning = off", None),
    ("SELECT '\\x41'", Some("A")),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY", None),
    ("SHOW transaction_read_only", Some("on")),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE", None),
    ("SET ROLE pg_read_all_data", None),
    ("SELECT current_user", Some("pg_read_all_data")),
    ("SET busy.mine = 'yes'; SET application_name = 'busy'", None),
    ("BEGIN; SET LOCAL work_mem = '88kB'; SET lock_timeout = '7s'", None),
    ("SELECT current_setting('work_mem')", Some("88kB")),
    ("ROLLBACK", None),
    ("SHOW work_mem", Some("77kB")),
    ("SHOW lock_timeout", Some("0")),
    ("RESET ROLE", None),
    ("CREATE TEMP TABLE busy_things (x int)", None),
    ("INSERT INTO busy_things VALUES (1), (2)", None),
    ("SELECT count(*) FROM busy_things", Some("2")),
    ("DISCARD TEMP", None),
    ("LISTEN busy", None),
    ("NOTIFY busy, 'here'", None),
    ("UNLISTEN *", None),
    ("BEGIN; DECLARE busy_cursor CURSOR WITH HOLD FOR SELECT generate_series(1, 9); COMMIT", None),
    ("FETCH 1 FROM busy_cursor", Some("1")),
    ("CLOSE ALL", None),
    ("PREPARE foobar AS SELECT 'busy'", None),
    ("EXECUTE foobar", Some("busy")),
    ("DEALLOCATE ALL", None),
    ("SELECT pg_advisory_lock_shared(7700)", None),
    ("SELECT current_setting('busy.mine')", Some("yes")),
    ("DISCARD ALL", None),
];

/// See the module.
pub struct Busy {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Result<usize, String>>>,
}

/// What they have come to.
pub struct Ended {
    /// How often they have gone through everything.
    pub rounds: usize,
    /// How often one's server process was ended, as by the tests that do that: it begins anew.
    pub lost: usize,
    /// What was not as it should be.
    pub complaints: Vec<String>,
}

/// Why a round was not finished.
enum Trouble {
    Lost,
    Wrong(String),
}

impl Trouble {
    fn of(what: &str, error: &RawError) -> Self {
        match error {
            RawError::Closed { .. } | RawError::Io { .. } => Self::Lost,
            other if matches!(other.sqlstate(), Some("57P01" | "08006")) => Self::Lost,
            other => Self::Wrong(format!("{what}: {other}")),
        }
    }
}

impl Busy {
    pub fn start(port: u16, database: &'static str) -> Busy {
        let stop = Arc::new(AtomicBool::new(false));
        let rounds = Arc::new(AtomicUsize::new(0));
        let client = |_| {
            let (stop, rounds) = (Arc::clone(&stop), Arc::clone(&rounds));
            std::thread::spawn(move || client(port, database, &stop, &rounds))
        };
        let clients = (0..2).map(client).collect();
        Busy { stop, rounds, clients }
    }

    pub fn stop(self) -> Ended {
        self.stop.store(true, SeqCst);
        let mut ended = Ended { rounds: self.rounds.load(SeqCst), lost: 0, complaints: Vec::new() };
        for client in self.clients {
            match client.join().expect("a busy client") {
                Ok(lost) => ended.lost += lost,
                Err(complaint) => ended.complaints.push(complaint),
            }
        }
        ended
    }
}

/// Gives how often its server process was ended.
fn client(port: u16, database: &str, stop: &AtomicBool, rounds: &AtomicUsize) -> Result<usize, String> {
    let mut lost = 0;
    loop {
        let connected = Raw::connect(&Address::local(port), &Login::new(SUPERUSER, database));
        let mut raw = connected.map_err(|error| format!("log-in: {error}"))?;
        match go_round(&mut raw, stop, rounds) {
            Ok(()) => return Ok(lost),
            Err(Trouble::Lost) => lost += 1,
            Err(Trouble::Wrong(what)) => return Err(what),
        }
    }
}

fn go_round(raw: &mut Raw, stop: &AtomicBool, rounds: &AtomicUsize) -> Result<(), Trouble> {
    while !stop.load(SeqCst) {
        for (sql, expected) in ROUND {
            let results = raw.query(sql, SOON).map_err(|error| Trouble::of(sql, &error))?;
            let value =
                results.last().and_then(|result| result.rows.first()).and_then(|row| row.first()).cloned().flatten();
            if expected.is_some_and(|expected| value.as_deref() != Some(expected)) {
                return Err(Trouble::Wrong(format!("{sql}: {value:?}, not {expected:?}")));
            }
            sleep(THINK);
        }
        prepared(raw)?;
        rounds.fetch_add(1, SeqCst);
    }
    Ok(())
}

/// Statements by the names that asyncpg gives to its own, with other texts.
fn prepared(raw: &mut Raw) -> Result<(), Trouble> {
    for number in 1..4 {
        let name = format!("__asyncpg_stmt_{number}__");
        let bytes = [
            message::parse(&name, &format!("SELECT 'busy {number}' || $1::text"), &[]),
            message::bind("", &name, &[Some(b"!")]),
            message::execute("", 0),
            message::sync(),
        ];
        let mut frames = raw.round_trip(&bytes.concat(), SOON).map_err(|error| Trouble::of(&name, &error))?;
        sleep(THINK);
        let again = [
            message::bind("", &name, &[Some(b"!")]),
            message::execute("", 0),
            message::close_statement(&name),
            message::sync(),
        ];
        frames.extend(raw.round_trip(&again.concat(), SOON).map_err(|error| Trouble::of(&name, &error))?);
        if let Some(error) = frames.iter().find_map(|frame| frame.error()) {
            return Err(match error.code() {
                "57P01" | "08006" => Trouble::Lost,
                _ => Trouble::Wrong(format!("{name}: {}", error.message())),
            });
        }
        let answers = frames.iter().flat_map(|frame| if frame.tag == b'D' { frame.values() } else { Vec::new() });
        let expected = format!("busy {number}!").into_bytes();
        if answers.flatten().filter(|value| *value == expected).count() != 2 {
            return Err(Trouble::Wrong(format!("{name}: another's answer")));
        }
        sleep(THINK);
    }
    Ok(())
}
