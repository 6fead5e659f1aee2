//! The test suites of psycopg2, asyncpg, Django and SQLAlchemy, and checks of our own with pgjdbc: directly, through pgsluice in transaction mode, and the same
//! beside two busy clients on the same pool.
//!
//! The figures are in docs/CONFORMANCE.md. What is known to fail through pgsluice alone stands here with its reason; anything
//! else that a direct connection does not fail fails the test. What the suites say stays in the cache, in `suites-said`.

mod busy;
mod jdbc;
mod stand;
mod suite;

use std::collections::BTreeSet;

use busy::{Busy, Ended};
use stand::Stand;
use suite::{Kind, Suites};

/// A part of a test's name, and why it fails through pgsluice.
type Known = (&'static str, &'static str);

const PID: &str = "compares the process id of the log-in with that of the server process: another client may have that for longer than it \
    is waited for, or the question stands behind a BEGIN";
const TERMINATED: &str = "ends the server process of its last transaction and expects its session to end: in transaction mode that \
    process is nobody's, and may even be that of who ends it";

const BUSY: &str = "gives a cancel request half a second, log-in of that included: a busy machine does not";

const PSYCOPG2: [Known; 4] = [
    ("test_external_close_async", TERMINATED),
    ("test_notify.py::NotifiesTests::", PID),
    ("test_async.py::AsyncTests::test_notify", PID),
    ("TestConnectionInfo::test_backend_pid", PID),
];

const ASYNCPG: [Known; 10] = [
    ("TestListeners::test_listen_01", PID),
    ("TestListeners::test_listen_02", PID),
    ("TestListeners::test_listen_notletters", PID),
    ("test_pool_min_size_restored_after_idle_connection_loss", TERMINATED),
    ("test_pool_remote_close", TERMINATED),
    (
        "test_copy_records_to_table_no_stmt_cache",
        "counts pg_prepared_statements: others' stand on the server connection too",
    ),
    ("test_pool_handles_query_cancel_in_release", BUSY),
    ("test_close_has_one_timeout_budget", BUSY),
    ("test_executemany_server_failure_during_writes", "fails on direct connections too, at times"),
    ("test_pool_config_persistence", "fails on direct connections too, at times: a future is collected unread"),
];

/// A suite has some tests that end server processes, a busy client's among them.
const MOST_LOST: usize = 20;

#[track_caller]
fn compared(kind: Kind, known: &[Known]) {
    let Some(suites) = Suites::fetch() else { return };
    // Each on a server of its own: what a suite leaves behind makes its next run fail.
    let stand = Stand::start();
    let direct = suites.run(kind, stand.direct(), "direct");
    drop(stand);
    let stand = Stand::start();
    let alone = suites.run(kind, stand.through(), "through");
    drop(stand);
    let stand = Stand::start();
    let busy = Busy::start(stand.through(), kind.database());
    let beside = suites.run(kind, stand.through(), "beside");
    let Ended { rounds, lost, complaints } = busy.stop();
    println!("{}: {} tests", kind.name(), direct.total);
    println!("  directly: {} failed", direct.failed.len());
    println!("  through pgsluice: {} failed of {}", alone.failed.len(), alone.total);
    println!(
        "  beside two busy clients ({rounds} rounds, {lost} begun anew): {} failed of {}",
        beside.failed.len(),
        beside.total
    );
    let differing: BTreeSet<_> =
        alone.failed.union(&beside.failed).filter(|one| !direct.failed.contains(*one)).collect();
    let reason = |test: &str| known.iter().find(|(part, _)| test.contains(part)).map(|(_, reason)| *reason);
    for test in &differing {
        println!("  {test}: {}", reason(test).unwrap_or("NOT KNOWN"));
    }
    assert!(complaints.is_empty(), "the busy clients: {complaints:#?}");
    assert!(rounds > 0, "the busy clients did nothing");
    assert!(lost <= MOST_LOST, "the busy clients have lost their server processes {lost} times");
    let unknown: Vec<_> = differing.into_iter().filter(|test| reason(test).is_none()).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    // A suite that stops halfway has failed nothing.
    assert_eq!([alone.total, beside.total], [direct.total; 2], "tests run");
}

/// In transaction mode everything is as on a direct connection, beside busy clients too.
#[test]
#[ignore = "a minute: make conformance-drivers"]
fn jdbc() {
    let stand = Stand::start();
    let Some(direct) = jdbc::run(stand.direct()) else { return };
    drop(stand);
    let stand = Stand::start();
    let alone = jdbc::run(stand.through()).expect("the same driver");
    let busy = Busy::start(stand.through(), jdbc::DATABASE);
    let beside = jdbc::run(stand.through()).expect("the same driver");
    let Ended { rounds, lost, complaints } = busy.stop();
    println!("jdbc: {} checks", direct.total);
    println!("  directly: {:?} failed", direct.failed);
    println!("  through pgsluice: {:?} failed", alone.failed);
    println!("  beside two busy clients ({rounds} rounds, {lost} begun anew): {:?} failed", beside.failed);
    assert!(complaints.is_empty(), "the busy clients: {complaints:#?}");
    assert_eq!([&alone.failed, &beside.failed], [&direct.failed; 2]);
    assert_eq!([alone.total, beside.total], [direct.total; 2], "checks run");
}

#[test]
#[ignore = "three minutes: make conformance-drivers"]
fn psycopg2() {
    compared(Kind::Psycopg2, &PSYCOPG2);
}

#[test]
#[ignore = "five minutes: make conformance-drivers"]
fn asyncpg() {
    compared(Kind::Asyncpg, &ASYNCPG);
}

#[test]
#[ignore = "six minutes: make conformance-drivers"]
fn django() {
    compared(Kind::Django, &[]);
}

#[test]
#[ignore = "ten minutes: make conformance-drivers"]
fn sqlalchemy() {
    compared(Kind::Sqlalchemy, &[]);
}
