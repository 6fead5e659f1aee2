//! PostgreSQL's libpq_pipeline: libpq's pipelines, and the messages that libpq saw.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use crate::stand::Stand;
use crate::suite::Suite;

/// Whoever else uses the pool, at a pace that leaves the machine to the test.
fn bother(stand: &Stand, over: &AtomicBool) {
    let mut client = stand.client();
    while !over.load(SeqCst) {
        let asked = client.query("SET work_mem = '1MB'; SELECT 1", Duration::from_secs(60));
        assert!(asked.is_ok(), "{asked:?}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// What is different in what libpq saw, where PostgreSQL says what it should be.
fn compare(folder: &Path, test: &str, trace: &Path) -> Option<String> {
    let expected = fs::read_to_string(folder.join("traces").join(format!("{test}.trace"))).ok()?;
    let seen = fs::read_to_string(trace).unwrap_or_default();
    (seen != expected).then(|| format!("{test}: libpq saw\n{seen}and not\n{expected}"))
}

/// Every test of the program, with others busy on the pool if there is a proxy.
pub fn run(suite: &Suite, stand: &Stand, others: usize) -> Vec<String> {
    let folder = suite.folder().join("libpq_pipeline");
    let program = folder.join("libpq_pipeline");
    let place = format!("host=127.0.0.1 port={} user=postgres dbname=regression", stand.port());
    let listed = Command::new(&program).arg("tests").output().expect("a list of tests");
    let tests = String::from_utf8(listed.stdout).expect("names");
    let over = AtomicBool::new(false);
    let mut failed = Vec::new();
    thread::scope(|scope| {
        for _ in 0..others {
            scope.spawn(|| bother(stand, &over));
        }
        for test in tests.split_whitespace() {
            let trace = suite.scratch().join(format!("{test}.trace"));
            let ran = Command::new(&program)
                .args(["-r", "700", "-t"])
                .arg(&trace)
                .args([test, &place])
                .output()
                .expect("libpq_pipeline runs");
            let complaint = String::from_utf8_lossy(&ran.stderr).into_owned();
            let difference = if ran.status.success() {
                compare(&folder, test, &trace)
            } else {
                Some(format!("{test}: {}: {complaint}", ran.status))
            };
            println!("  {test}: {}", if difference.is_some() { "FAILED" } else { "ok" });
            failed.extend(difference);
        }
        over.store(true, SeqCst);
    });
    println!("{} of {} tests failed", failed.len(), tests.split_whitespace().count());
    failed
}
