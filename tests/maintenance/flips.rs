//! Flips under load: no connection dropped, no read failed, every failed write is PostgreSQL's 25006, and from `quiesced` to
//! OFF nothing changes.

use crate::stand::{EndsAt, LONG, Stand};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Raw, wait};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

#[derive(Default)]
struct Tally {
    reads: AtomicU64,
    writes: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
}

/// Flips of each test; 50 are the acceptance's, fewer find what there is to find in most runs.
pub fn flips() -> usize {
    std::env::var("PGSLUICE_TEST_FLIPS").ok().and_then(|text| text.parse().ok()).unwrap_or(8)
}

/// What a client thinks before its next script. Without it the clients fill every core, and Linux's autogroup scheduling
/// then leaves PostgreSQL's backends, each a session of its own, without processor time for 20 seconds and more.
const THINKS: Duration = Duration::from_millis(1);
/// The same where each client has a backend of its own, all of them awake at once.
const THINKS_LONGER: Duration = Duration::from_millis(10);

/// What one client does over and over; half of it writes.
const SCRIPTS: &[&[&str]] = &[
    &["SELECT count(*) FROM t"],
    &["UPDATE t SET v = v || '.' WHERE id = (SELECT 1 + (random() * 9)::int) AND length(v) < 100"],
    &["BEGIN", "SELECT v FROM t WHERE id = 3", "UPDATE t SET v = 'row 3' WHERE id = 3", "COMMIT"],
    &["SELECT v FROM t WHERE id = 5"],
    &["SELECT writes() WHERE false", "SELECT 1"],
    &["INSERT INTO t VALUES (2000 + (random() * 100000)::int, 'new') ON CONFLICT DO NOTHING; SELECT 2"],
];

fn client(stand: &Stand, script: &[&str], extended: bool, thinks: Duration, over: &AtomicBool, tally: &Tally) {
    let mut raw: Raw = stand.app();
    while !over.load(SeqCst) {
        std::thread::sleep(thinks);
        for sql in script {
            let bytes = if extended && !sql.contains(';') {
                [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()]
                    .concat()
            } else {
                message::query(sql)
            };
            let Ok(frames) = raw.round_trip(&bytes, LONG) else {
                tally.broken.fetch_add(1, SeqCst);
                return;
            };
            let writes = ["UPDATE", "INSERT"].iter().any(|word| sql.starts_with(word));
            let error = frames.iter().find_map(pgsluice_fixtures::Frame::error);
            match error {
                None if writes => _ = tally.writes.fetch_add(1, SeqCst),
                None => _ = tally.reads.fetch_add(1, SeqCst),
                Some(error) => {
                    let words = [
                        "cannot execute UPDATE in a read-only transaction",
                        "cannot execute INSERT in a read-only transaction",
                    ];
                    assert!(writes, "a read failed: {sql}: {error}");
                    assert_eq!(error.code(), "25006", "{sql}: {error}");
                    assert!(words.contains(&error.message()), "{sql}: {error}");
                    tally.refused.fetch_add(1, SeqCst);
                    if script.len() > 2 {
                        // The block has failed: its end is the next thing to say.
                        if raw.round_trip(&message::query("ROLLBACK"), LONG).is_err() {
                            tally.broken.fetch_add(1, SeqCst);
                            return;
                        }
                        break;
                    }
                }
            }
        }
    }
}

fn flip(stand: &Stand, flips: usize, clients: usize, thinks: Duration) {
    let tally = Tally::default();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = EndsAt(&over);
        for at in 0..clients {
            let (tally, over) = (&tally, &over);
            scope.spawn(move || client(stand, SCRIPTS[at % SCRIPTS.len()], at % 2 == 0, thinks, over, tally));
        }
        for flip in 0..flips {
            let row = stand.on();
            let closed = stand.everything();
            assert_eq!(row[1].as_deref(), Some("read_only"));
            assert!(row[6].as_deref().is_some_and(|lsn| lsn.contains('/')), "no LSN in {row:?}");
            // Under load for a moment, by the clients' own count.
            let (reads, refused) = (tally.reads.load(SeqCst), tally.refused.load(SeqCst));
            wait::until(LONG, "reads and refusals in maintenance", || {
                let more = tally.reads.load(SeqCst) > reads + 20 && tally.refused.load(SeqCst) > refused;
                (more || tally.broken.load(SeqCst) > 0).then_some(())
            });
            assert_eq!(stand.everything(), closed, "flip {flip}: something changed in maintenance");
            let writes = tally.writes.load(SeqCst);
            stand.off();
            wait::until(LONG, "writes after it", || {
                (tally.writes.load(SeqCst) > writes || tally.broken.load(SeqCst) > 0).then_some(())
            });
        }
    });
    assert_eq!(tally.broken.load(SeqCst), 0, "connections were dropped");
    assert!(tally.writes.load(SeqCst) > 0 && tally.refused.load(SeqCst) > 0 && tally.reads.load(SeqCst) > 0);
    println!(
        "{flips} flips, {clients} clients: {} reads, {} writes, {} refused, {} dropped",
        tally.reads.load(SeqCst),
        tally.writes.load(SeqCst),
        tally.refused.load(SeqCst),
        tally.broken.load(SeqCst)
    );
}

#[test]
fn flips_under_load_in_transaction_mode() {
    flip(&Stand::patient("default_pool_size = 12"), flips(), 24, THINKS);
}

#[test]
fn flips_under_load_in_session_mode() {
    flip(&Stand::patient("default_pool_size = 60\npool_mode = \"session\""), flips(), 18, THINKS_LONGER);
}

/// pgbench's own clients beside them: it ends a client at the first error or lost connection, so that it is still there
/// with all 32 after the flips says that no read failed.
#[test]
fn flips_beside_pgbench() {
    let stand = Stand::new("default_pool_size = 12");
    let script = stand.proxy.dir().join("reads.sql");
    let text = "\\set id random(1, 10)\nSELECT v FROM t WHERE id = :id;\nSELECT count(*) FROM t;\n";
    std::fs::write(&script, text).expect("a script");
    let errors = stand.proxy.dir().join("pgbench.err");
    let mut bench = std::process::Command::new(stand.cluster.installation().program("pgbench").expect("pgbench"))
        .args(["-n", "-c", "32", "-j", "2", "-T", "600", "-M", "prepared", "-f"])
        .arg(&script)
        .arg(format!("host=127.0.0.1 port={} user=app password=app dbname=app", stand.proxy.port()))
        .stdout(std::process::Stdio::null())
        .stderr(std::fs::File::create(&errors).expect("a file"))
        .spawn()
        .expect("pgbench");
    flip(&stand, flips(), 6, THINKS);
    let still_there = bench.try_wait().expect("a status").is_none();
    let _ = bench.kill();
    let _ = bench.wait();
    let errors = std::fs::read_to_string(&errors).expect("its errors");
    assert!(still_there, "pgbench has ended: {errors}");
    assert!(!errors.contains("ERROR") && !errors.contains("aborted"), "{errors}");
}
