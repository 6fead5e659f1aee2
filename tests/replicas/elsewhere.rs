//! A read that meets a replica which dies, freezes or is cut off is run again on another server, in whatever form it was asked.

use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Fault, Relay};

use crate::stand::{LONG, Later, Stand, query, signal, sqlstate};

/// Long enough to be met under way, and told by its text.
const READ: &str = "SELECT count(*) FROM t, generate_series(1, 2000000) i WHERE t.id <= 3 AND i % 7 <> 9";
const BUSY: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT count(*) FROM t, gen%' AND state = 'active'";
/// Half a minute, with the time that the read itself takes.
const SOON: Duration = Duration::from_secs(30);

fn batch() -> Vec<u8> {
    [message::parse("", READ, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()].concat()
}

fn is_run_elsewhere(what: &str, fault: impl FnOnce(&Stand, &Relay)) {
    let mut stand = Stand::with("", "monitor_timeout = \"500ms\"", "reads = \"prefer_replica\"", &[]);
    let relay = Relay::to(stand.cluster.replica(0).port()).unwrap();
    let ports = [stand.cluster.primary().port(), relay.port()];
    stand.reload_with(&ports);
    stand.wait_for_roles(&["primary", "replica"]);
    let mut clients: Vec<_> = (0..4).map(|_| stand.connect("app")).collect();
    let mut next = || clients.pop().unwrap();
    let (simple, mut extended, mut pipelined, mut named) = (next(), next(), next(), next());
    let prepare = [message::parse("r", READ, &[]), message::sync()].concat();
    assert_eq!(sqlstate(&named.round_trip(&prepare, LONG).unwrap()), "");
    let named_read = [message::bind("", "r", &[]), message::execute("", 0), message::sync()].concat();
    let all = [
        Later::ask("a simple query", simple, READ),
        Later::run("a batch", move || {
            let frames = extended.round_trip(&batch(), LONG).map_err(|error| error.to_string())?;
            Ok((extended, frames))
        }),
        Later::run("a prepared statement", move || {
            let frames = named.round_trip(&named_read, LONG).map_err(|error| error.to_string())?;
            Ok((named, frames))
        }),
        Later::run("two batches at once", move || {
            pipelined.send(&[batch(), batch()].concat()).map_err(|error| error.to_string())?;
            let mut frames = pipelined.frames_until_ready(LONG).map_err(|error| error.to_string())?;
            frames.extend(pipelined.frames_until_ready(LONG).map_err(|error| error.to_string())?);
            Ok((pipelined, frames))
        }),
    ];
    stand.cluster.replica(0).wait_until(BUSY, "4", LONG).unwrap_or_else(|error| panic!("{what}: {error}"));
    fault(&stand, &relay);
    let deadline = Instant::now() + SOON;
    for one in all {
        let mut raw = one.succeeds_by(deadline);
        assert_eq!(sqlstate(&query(&mut raw, "SELECT count(*) FROM t")), "", "{what}");
    }
    if what == "frozen" {
        signal(stand.cluster.replica(0), "-CONT");
    }
}

#[test]
fn when_the_replica_is_killed() {
    is_run_elsewhere("killed", |stand, _| stand.cluster.replica(0).kill_9());
}

#[test]
fn when_the_replica_freezes() {
    is_run_elsewhere("frozen", |stand, _| signal(stand.cluster.replica(0), "-STOP"));
}

#[test]
fn when_the_way_to_the_replica_swallows_everything() {
    is_run_elsewhere("black-holed", |_, relay| relay.set(Fault::BlackHole));
}

#[test]
fn when_connections_to_the_replica_are_cut() {
    is_run_elsewhere("cut", |_, relay| {
        relay.set(Fault::BlackHole);
        relay.cut();
    });
}

#[test]
fn when_an_administrator_ends_its_back_ends() {
    is_run_elsewhere("ended", |stand, _| {
        let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query = '{READ}'");
        stand.cluster.replica(0).psql_in("postgres", &end).unwrap();
    });
}
