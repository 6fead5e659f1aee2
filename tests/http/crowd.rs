//! Many clients and databases: what is asked over HTTP is answered soon, and queries do not wait for it.

use std::time::{Duration, Instant};

use crate::stand::{LONG, Stand};

fn number(name: &str, usual: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// By default few of each; the limits are for PGSLUICE_TEST_IDLE=10000 and PGSLUICE_TEST_DATABASES=500 on a quiet machine.
#[test]
fn many_clients_and_databases_are_listed_while_queries_go_on() {
    let (clients, databases) = (number("PGSLUICE_TEST_IDLE", 300), number("PGSLUICE_TEST_DATABASES", 50));
    let names: String = (0..databases).map(|n| format!("[databases.d{n}]\ndbname = \"app\"\n")).collect();
    let stand = Stand::with("max_client_conn = 20000", "", &format!("[databases.app]\n[databases.other]\n{names}"), "");
    let crowd: Vec<_> = (0..clients).map(|_| stand.connect("app", "app")).collect();
    let paths = [
        "/v1/clients",
        "/v1/clients?limit=1000&offset=5000",
        "/v1/pools",
        "/v1/databases",
        "/v1/status?database=app",
        "/status",
        "/metrics",
    ];
    let commands = ["SHOW CLIENTS", "SHOW POOLS", "SHOW DATABASES", "SHOW STATS"];
    // What a query takes beside nothing, on the same machine at the same time.
    let mut quiet: Vec<_> = {
        let mut app = stand.connect("app", "app");
        (0..2000)
            .map(|_| {
                let began = Instant::now();
                app.query("SELECT 1", LONG).unwrap();
                began.elapsed()
            })
            .collect()
    };
    quiet.sort();
    let done = std::sync::atomic::AtomicBool::new(false);
    let mut slowest = Vec::new();
    let stalls = std::thread::scope(|scope| {
        let queries = scope.spawn(|| {
            let mut app = stand.connect("app", "app");
            let mut times = Vec::new();
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let began = Instant::now();
                app.query("SELECT 1", LONG).unwrap();
                times.push(began.elapsed());
            }
            times.sort();
            times
        });
        for path in paths {
            let times = (0..5).map(|_| {
                let began = Instant::now();
                let answer = stand.ask("GET", path, crate::stand::READ, "Accept: text/html, application/json\r\n", "");
                assert_eq!(answer.status, 200, "{answer:?}");
                began.elapsed()
            });
            slowest.push((path, times.max().unwrap()));
        }
        let mut console = stand.connect("dba", "pgsluice");
        for command in commands {
            let times = (0..5).map(|_| {
                let began = Instant::now();
                console.query(command, LONG).unwrap();
                began.elapsed()
            });
            slowest.push((command, times.max().unwrap()));
        }
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        queries.join().unwrap()
    });
    let at = |share: f64| stalls[((stalls.len() - 1) as f64 * share) as usize];
    let baseline = |share: f64| quiet[((quiet.len() - 1) as f64 * share) as usize];
    println!("a query alone: median {:?}, 99% {:?}, longest {:?}", baseline(0.5), baseline(0.99), baseline(1.0));
    println!("{clients} clients, {databases} databases: {slowest:?}");
    println!("{} queries beside: median {:?}, 99% {:?}, longest {:?}", stalls.len(), at(0.5), at(0.99), at(1.0));
    let most = Duration::from_millis(number("PGSLUICE_TEST_ANSWER_MS", 5000) as u64);
    assert!(slowest.iter().all(|(_, time)| *time < most), "{slowest:?}");
    drop(crowd);
}
