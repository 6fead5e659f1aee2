//! What it costs to be scraped: processor time of each transaction with a scrape each second and without, in turn, in one process.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::stand::Stand;

/// Transactions for each second by which the price is told.
const RATE: f64 = 30_000.0;

struct Load(Child);

impl Load {
    fn start(stand: &Stand, seconds: u64) -> Load {
        let pgbench = stand.cluster.installation().program("pgbench").unwrap();
        let direct = stand.cluster.primary().port().to_string();
        let made = Command::new(&pgbench)
            .args(["-i", "-q", "-s", "5", "-h", "127.0.0.1", "-U", "dba", "-p", &direct, "app"])
            .env("PGPASSWORD", "dba")
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        stand.cluster.primary().psql_in("app", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO app").unwrap();
        let port = stand.proxy.port().to_string();
        let child = Command::new(&pgbench)
            .args([
                "-S",
                "-n",
                "-s",
                "5",
                "-c",
                "32",
                "-T",
                &seconds.to_string(),
                "-h",
                "127.0.0.1",
                "-U",
                "app",
                "-p",
                &port,
                "app",
            ])
            .env("PGPASSWORD", "app")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Load(child)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Processor time of all threads of the proxy.
fn cpu(stand: &Stand) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", stand.proxy.pid().unwrap())).unwrap();
    let ran = |task: fs::DirEntry| {
        let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|nanos| nanos.parse::<u64>().ok()).unwrap_or(0)
    };
    Duration::from_nanos(tasks.flatten().map(ran).sum())
}

fn transactions(stand: &Stand) -> f64 {
    let rows = stand.console("SHOW STATS_TOTALS");
    let app = rows.iter().find(|row| row[0].as_deref() == Some("app")).unwrap();
    app[2].as_deref().unwrap().parse().unwrap()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// By default a few seconds, and nothing but that it can be measured. `make conformance-limits` asks for more and for the figure.
#[test]
fn a_scrape_costs_little_beside_what_transactions_cost() {
    let pairs: u64 = std::env::var("PGSLUICE_TEST_PAIRS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let stand = Stand::new("", "[metrics]\npublic = true\n");
    let load = Load::start(&stand, 2 * pairs + 20);
    pgsluice_fixtures::wait::until(Duration::from_secs(10), "a load", || (transactions(&stand) > 1000.0).then_some(()));
    let second = |scrapes: bool| {
        let (began, before) = (Instant::now(), (cpu(&stand), transactions(&stand)));
        if scrapes {
            assert_eq!(stand.ask("GET", "/metrics", "", "", "").status, 200);
        }
        sleep(Duration::from_secs(1).saturating_sub(began.elapsed()));
        let done = transactions(&stand) - before.1;
        ((cpu(&stand) - before.0).as_secs_f64() * 1e6 / done, done / began.elapsed().as_secs_f64())
    };
    let (mut with, mut without, mut more, mut rates) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for pair in 0..pairs {
        // Whichever is first has no advantage of it.
        let (scraped, alone) = if pair % 2 == 0 {
            let scraped = second(true);
            (scraped, second(false))
        } else {
            let alone = second(false);
            (second(true), alone)
        };
        more.push(scraped.0 / alone.0 - 1.0);
        with.push(scraped.0);
        without.push(alone.0);
        rates.push(alone.1);
    }
    drop(load);
    // The same, of a scrape alone: what it takes where nothing else runs.
    sleep(Duration::from_millis(500));
    let before = cpu(&stand);
    let scrapes = 20;
    (0..scrapes).for_each(|_| drop(stand.ask("GET", "/metrics", "", "", "")));
    let each = (cpu(&stand) - before).as_secs_f64() / f64::from(scrapes);
    let (with, without) = (median(with), median(without));
    let share = |every: f64| each / every / (RATE * without / 1e6);
    println!(
        "{:.0} transactions a second; each takes {without:.2} µs of processor time, {with:.2} µs with a scrape each second \
         ({:+.2} % in the median of {pairs} pairs)",
        median(rates),
        median(more) * 100.0
    );
    println!(
        "a scrape alone takes {:.2} ms: {:.2} % of what {RATE} transactions a second take if it comes each second, {:.3} % each 15 s",
        each * 1e3,
        share(1.0) * 100.0,
        share(15.0) * 100.0
    );
    if pairs >= 10 {
        assert!(share(15.0) <= 0.01, "{} of the processor time", share(15.0));
    }
}
