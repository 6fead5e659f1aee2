//! PostgreSQL 15's own regression and isolation suites, run by its own pg_regress: directly, and through pgsluice in each manner of
//! pooling.
//!
//! The figures are in docs/CONFORMANCE.md. What a manner is known to fail stands here with its reason; anything else that fails
//! fails the test. Results and differences stay in the cache, in `regress-` and the manner's name.

mod pipeline;
mod stand;
mod suite;

use stand::{ISOLATION, REGRESSION, Stand};
use suite::Suite;

/// A file that fails, and why.
type Known = (&'static str, &'static str);

/// A server process that serves one client after another is not a new one, whatever is reset.
const USED: [Known; 3] = [
    ("guc", "expects that plpgsql has not been loaded: LOAD cannot be undone"),
    (
        "temp",
        "expects that the server process has made no temporary schema yet: it is kept for the next temporary table",
    ),
    ("stats", "counts sessions, and reads what its own server process has not reported yet"),
];

/// In transaction mode another server process may serve the next transaction.
const MOVED: [Known; 3] = [
    ("triggers", "a C library (regress.so, refint) keeps a state of its own in the server process"),
    ("constraints", "currval before pgsluice knows that the program asks for it"),
    ("sequence", "currval before pgsluice knows that the program asks for it"),
];

#[track_caller]
fn runs(manner: &str, config: Option<&str>, known: &[Known]) {
    let Some(suite) = Suite::fetch() else { return };
    let stand = Stand::start(REGRESSION, config);
    let report = suite.run(manner, &stand);
    println!("{manner}: {} of {} passed", report.passed(), report.total);
    for file in &report.failed {
        let reason = known.iter().find(|(name, _)| name == file).map_or("NOT KNOWN", |(_, reason)| reason);
        println!("  {file}: {reason}");
    }
    assert_eq!(report.total, 217, "files of the suite");
    let unknown: Vec<_> = report.failed.iter().filter(|file| known.iter().all(|(name, _)| name != file)).collect();
    assert!(unknown.is_empty(), "{unknown:?}: see {}", report.differences.display());
}

#[test]
#[ignore = "a minute: make conformance-regress"]
fn suite_a_direct() {
    runs("direct", None, &[]);
}

#[test]
#[ignore = "a minute: make conformance-regress"]
fn suite_b_session_mode_with_fresh_server_connections() {
    runs("session-fresh", Some("pool_mode = \"session\"\nserver_fresh = true"), &[]);
}

#[test]
#[ignore = "a minute: make conformance-regress"]
fn suite_c_session_mode_with_used_server_connections() {
    runs("session", Some("pool_mode = \"session\""), &USED);
}

#[test]
#[ignore = "a minute: make conformance-regress"]
fn suite_d_transaction_mode() {
    runs("transaction", Some(""), &[&USED[..], &MOVED].concat());
}

/// Runs those specs of the isolation suite, or all.
#[track_caller]
fn isolates(manner: &str, config: Option<&str>, specs: &[&str]) {
    let Some(suite) = Suite::fetch_files() else { return };
    let stand = Stand::start(ISOLATION, config);
    let report = suite.isolate(manner, specs, &stand);
    println!("isolation, {manner}: {} of {} passed", report.passed(), report.total);
    assert!(report.failed.is_empty(), "{:?}: see {}", report.failed, report.differences.display());
    assert!(report.total >= if specs.is_empty() { 100 } else { specs.len() }, "{} specs ran", report.total);
}

/// Specs of each kind that take no time: blocked statements, deadlocks, snapshots, notifications, predicate locks.
const SLICE: [&str; 10] = [
    "read-write-unique",
    "two-ids",
    "simple-write-skew",
    "deadlock-simple",
    "lock-update-delete",
    "fk-deadlock",
    "eval-plan-qual-trigger",
    "nowait",
    "skip-locked",
    "async-notify",
];

#[test]
fn isolation_in_transaction_mode_is_that_of_direct_connections() {
    isolates("slice", Some(""), &SLICE);
}

#[test]
#[ignore = "two minutes: make conformance-isolation"]
fn isolation_a_direct() {
    isolates("direct", None, &[]);
}

#[test]
#[ignore = "two minutes: make conformance-isolation"]
fn isolation_b_transaction_mode() {
    isolates("transaction", Some(""), &[]);
}

#[test]
#[ignore = "two minutes: make conformance-isolation"]
fn isolation_c_session_mode() {
    isolates("session", Some("pool_mode = \"session\""), &[]);
}

#[track_caller]
fn pipelines(config: Option<&str>, others: usize) {
    let Some(suite) = Suite::fetch() else { return };
    let failed = pipeline::run(&suite, &Stand::start(REGRESSION, config), others);
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
#[ignore = "seconds, but it builds and fetches: make conformance-pipeline"]
fn pipeline_a_direct() {
    pipelines(None, 0);
}

#[test]
#[ignore = "seconds, but it builds and fetches: make conformance-pipeline"]
fn pipeline_b_transaction_mode() {
    pipelines(Some(""), 0);
}

#[test]
#[ignore = "seconds, but it builds and fetches: make conformance-pipeline"]
fn pipeline_c_transaction_mode_on_one_server_connection_with_two_others() {
    pipelines(Some("default_pool_size = 1"), 2);
}
