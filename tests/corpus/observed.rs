//! The whole regression suite and a load of writers thrown at the closed gate, with an outside observer looking on.

use crate::compare::{Outcome, Protocol, run, run_by};
use crate::observer::{Slot, Snapshot};
use crate::regression::skipped;
use crate::source::{File, regression_suite};
use crate::split::{Statement, Step};
use crate::stand::{DATABASE, Stand, USER};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

/// The database as the suite leaves it, and pgbench's tables.
fn prepare(stand: &Stand, files: &[File]) {
    for file in files {
        let mut raw = stand.preparer();
        for step in &file.steps {
            match step {
                Step::Statement(statement) if !skipped(&statement.sql) => {
                    if matches!(run(&mut raw, statement).outcome, Outcome::Lost(_)) {
                        raw = stand.preparer();
                    }
                }
                Step::Statement(_) => {}
                Step::Reconnect => raw = stand.preparer(),
            }
        }
    }
    pgbench(stand, stand.cluster.primary().port(), &["-i", "-q", "-s", "1"]);
    // Of what the suite has prepared for commit nothing may be left: such a transaction would end later.
    for gid in stand.psql("SELECT gid FROM pg_prepared_xacts").lines() {
        let _ = run(&mut stand.preparer(), &statement(&format!("ROLLBACK PREPARED '{gid}'")));
    }
}

fn statement(sql: &str) -> Statement {
    Statement { sql: sql.to_owned(), ..Statement::default() }
}

/// What pgbench says, standard error with it.
fn pgbench(stand: &Stand, port: u16, args: &[&str]) -> String {
    let path = stand.cluster.installation().program("pgbench").expect("pgbench");
    let output = Command::new(path)
        .args(["-h", "127.0.0.1", "-U", USER, "-p", &port.to_string()])
        .args(args)
        .arg(DATABASE)
        .env("PGPASSWORD", "t")
        .output()
        .expect("pgbench runs");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[derive(Default)]
struct Counts {
    sent: AtomicUsize,
    ran: AtomicUsize,
    refused: AtomicUsize,
    lost: AtomicUsize,
}

impl Counts {
    /// Files by turns: every thread takes the next one.
    fn throw(&self, stand: &Stand, files: &[File], next: &AtomicUsize) {
        loop {
            let at = next.fetch_add(1, Ordering::SeqCst);
            let Some(file) = files.get(at % files.len()).filter(|_| at < 2 * files.len()) else { return };
            let protocol = if at < files.len() { Protocol::Simple } else { Protocol::Extended };
            let mut raw = stand.proxied();
            for step in &file.steps {
                let Step::Statement(statement) = step else {
                    raw = stand.proxied();
                    continue;
                };
                if skipped(&statement.sql) {
                    continue;
                }
                let answer = run_by(protocol, &mut raw, statement);
                self.sent.fetch_add(1, Ordering::Relaxed);
                match &answer.outcome {
                    Outcome::Done => drop(self.ran.fetch_add(1, Ordering::Relaxed)),
                    Outcome::Error(..) if answer.refused() => drop(self.refused.fetch_add(1, Ordering::Relaxed)),
                    Outcome::Error(..) => {}
                    Outcome::Lost(_) => {
                        self.lost.fetch_add(1, Ordering::Relaxed);
                        raw = stand.proxied();
                    }
                }
            }
        }
    }
}

/// pgbench again and again: each of its clients gives up at the first refusal. How often, and how often it was refused.
fn writers(stand: &Stand, done: &AtomicBool) -> (usize, usize) {
    let (mut runs, mut refused) = (0, 0);
    let protocols = ["simple", "extended", "prepared"];
    while !done.load(Ordering::SeqCst) {
        let protocol = protocols[runs % protocols.len()];
        let said = pgbench(stand, stand.proxy.port(), &["-n", "-c", "4", "-T", "5", "-M", protocol]);
        runs += 1;
        refused += said.matches("in a read-only transaction").count();
    }
    (runs, refused)
}

fn observe(extra: &str, name: &str) {
    let Some(files) = regression_suite() else { return };
    let stand = Stand::new(extra);
    prepare(&stand, &files);
    let slot = Slot::new(&stand);
    let (done, next, counts) = (AtomicBool::new(false), AtomicUsize::new(0), Counts::default());
    thread::scope(|scope| {
        let load = scope.spawn(|| writers(&stand, &done));
        // The gate closes under writers.
        pgsluice_fixtures::wait::until(crate::stand::LONG, "pgbench to write", || {
            (slot.changes().len() > 100).then_some(())
        });
        stand.on();
        let before = Snapshot::take(&stand);
        slot.changes();
        let throwers: Vec<_> = (0..3).map(|_| scope.spawn(|| counts.throw(&stand, &files, &next))).collect();
        for thrower in throwers {
            thrower.join().expect("a thrower");
        }
        let changes = slot.changes();
        let differences = Snapshot::take(&stand).differences(&before);
        stand.off();
        done.store(true, Ordering::SeqCst);
        let (runs, refused) = load.join().expect("writers");
        let get = |count: &AtomicUsize| count.load(Ordering::SeqCst);
        println!(
            "{name}: {} statements thrown, {} ran, {} refused (25006), {} connections lost; pgbench ran {runs} times and \
             was refused {refused} times; rows changed: {}; {} bytes of dumps and catalogs: {} differences",
            get(&counts.sent),
            get(&counts.ran),
            get(&counts.refused),
            get(&counts.lost),
            changes.len(),
            before.bytes(),
            differences.len()
        );
        assert!(changes.is_empty(), "rows changed: {:#?}", &changes[..changes.len().min(20)]);
        assert!(differences.is_empty(), "changed: {differences:#?}");
        assert!(refused > 0 && get(&counts.refused) > 0 && get(&counts.ran) > 0);
        // Writers write again.
        assert!(!pgbench(&stand, stand.proxy.port(), &["-n", "-t", "10"]).contains("read-only"));
        assert!(!slot.changes().is_empty(), "the observer is blind");
    });
}

#[test]
#[ignore = "minutes: make conformance-corpus"]
fn nothing_changes_in_transaction_mode() {
    observe("", "observed, transaction mode");
}

#[test]
#[ignore = "minutes: make conformance-corpus"]
fn nothing_changes_in_session_mode() {
    observe("pool_mode = \"session\"", "observed, session mode");
}
