//! What is read of a database for its first client keeps nobody waiting.

use std::time::{Duration, Instant};

use pgsluice_fixtures::{Login, Raw};

use crate::stand::Stand;

/// How long a log-in waits at most for the first reading.
const PATIENCE: Duration = Duration::from_secs(1);
/// Names of one database.
const NAMES: usize = 40;

/// How long a log-in takes.
fn log_in(stand: &Stand, database: &str) -> (Raw, Duration) {
    let began = Instant::now();
    let raw = stand.log_in(&Login::new("scram", database).password("scram-pw")).expect("a client");
    (raw, began.elapsed())
}

/// Whichever of its names a database is used by first, log-ins by it and by all others are through before a log-in gives up to wait.
#[test]
fn a_first_log_in_by_any_name_of_a_database_does_not_wait_out_the_patience_for_its_catalog() {
    let names: String = (0..NAMES).map(|at| format!("[databases.name{at}]\ndbname = \"app\"\n")).collect();
    let stand = Stand::new("auth_user = \"authuser\"\n", &format!("{names}[databases.other]\n"));
    stand.log_in(&Login::new("scram", "other").password("scram-pw")).expect("the cluster is known");
    let last = format!("name{}", NAMES - 1);
    let mut clients = Vec::new();
    let mut quickest = |names: &[&str]| {
        let times = names.iter().map(|name| {
            let (raw, time) = log_in(&stand, name);
            clients.push(raw);
            time
        });
        // Other tests may be in the way of one or the other.
        times.min().unwrap()
    };
    for names in [[&*last, &*last, &*last], ["name7", "name8", "name9"], ["app", "name0", "name1"]] {
        let time = quickest(&names);
        assert!(time < PATIENCE, "{names:?}: {time:?}");
    }
}
