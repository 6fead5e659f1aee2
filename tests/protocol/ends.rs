//! The ends of conversations, and what is sent without waiting: Terminate and half-closed sockets in each position,
//! Flush, pipelines longer than any memory.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Address, Frame, Raw, wait};

use crate::stand::{SOON, Stand, ask, login};

/// What a client may have said when it says no more.
fn last_words() -> Vec<(&'static str, Vec<u8>)> {
    let query = message::query;
    let batch =
        |sql: &str| [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0)].concat();
    vec![
        ("nothing", Vec::new()),
        ("a query", query("SELECT pg_sleep(0.05), 'answer'")),
        ("two queries", [query("SELECT pg_sleep(0.05)"), query("SELECT 'second'")].concat()),
        ("an error", query("SELECT 1/0")),
        ("an open block", [query("BEGIN"), query("INSERT INTO ends VALUES (1)")].concat()),
        ("an open block that has failed", [query("BEGIN"), query("SELECT 1/0"), query("SELECT 1")].concat()),
        ("a batch", [batch("SELECT pg_sleep(0.05), 'batch'"), message::sync()].concat()),
        ("two batches", [batch("SELECT 1"), message::sync(), batch("SELECT 2"), message::sync()].concat()),
        ("a batch without Sync", batch("INSERT INTO ends VALUES (2)")),
        ("COPY data", [query("COPY ends FROM STDIN"), message::copy_data(b"3\n"), message::copy_done()].concat()),
        ("rows", query("SELECT repeat('x', 100) FROM generate_series(1, 20000)")),
    ]
}

/// Everything that comes until the other side closes.
fn heard(address: &Address, words: &[u8], terminates: bool) -> Vec<Frame> {
    let mut client = Raw::connect(address, &login("ends", &[])).unwrap();
    client.send(words).unwrap();
    if terminates {
        client.send(&message::terminate()).unwrap();
    } else {
        client.shut_down_writing().unwrap();
    }
    let frames = client.frames_until_closed(SOON).unwrap();
    // The place in the source is the server's; what was not flushed when it went may be lost.
    frames.into_iter().filter(|frame| !matches!(frame.tag, b'1' | b'2')).collect()
}

#[test]
fn who_says_no_more_has_its_answers_all_the_same() {
    let stand = Stand::shared();
    let primary = stand.cluster.primary();
    primary.psql_in("ends", "CREATE TABLE ends (n int); GRANT ALL ON ends TO app").unwrap();
    for terminates in [true, false] {
        for (what, words) in last_words() {
            let right = heard(&stand.server(), &words, terminates);
            let count = || primary.psql_in("ends", "SELECT count(*) FROM ends").unwrap();
            primary.psql_in("ends", "TRUNCATE ends").unwrap();
            let answer = heard(&stand.proxy.tcp(), &words, terminates);
            let answers = |frames: &[Frame]| frames.iter().map(|frame| frame.tag as char).collect::<String>();
            if what.ends_with("without Sync") {
                assert!(!answers(&answer).contains('Z'), "{what}, terminates: {terminates}");
            } else {
                assert!(
                    answer == right,
                    "{what}, terminates: {terminates}: {} for {}",
                    answers(&answer),
                    answers(&right)
                );
            }
            let rows = if what == "COPY data" { "1" } else { "0" };
            wait::until(SOON, "the end of the transaction", || (count() == rows).then_some(()));
            // The one server connection is whole, and free.
            let mut next = Raw::connect(&stand.proxy.tcp(), &login("ends", &[])).unwrap();
            assert_eq!(ask(&mut next, "SELECT 1"), "1", "{what}, terminates: {terminates}");
        }
    }
}

#[test]
fn flush_brings_answers_before_the_end_of_a_batch() {
    let stand = Stand::shared();
    let [mut direct, mut proxied] =
        [stand.server(), stand.proxy.tcp()].map(|address| Raw::connect(&address, &login("plain", &[])).unwrap());
    for client in [&mut direct, &mut proxied] {
        let mut heard = String::new();
        let mut step = |client: &mut Raw, messages: Vec<Vec<u8>>, last: u8| {
            client.send(&messages.concat()).unwrap();
            let frames = client.frames_until(SOON, |frame| frame.tag == last).unwrap();
            heard.extend(frames.iter().map(|frame| frame.tag as char));
        };
        step(client, vec![message::parse("s", "SELECT generate_series(1, 3)", &[]), message::flush()], b'1');
        step(client, vec![message::describe_statement("s"), message::flush()], b'T');
        step(client, vec![message::bind("", "s", &[]), message::execute("", 2), message::flush()], b's');
        step(client, vec![message::flush(), message::execute("", 2), message::flush()], b'C');
        step(client, vec![message::close_statement("s"), message::flush()], b'3');
        step(client, vec![message::sync()], b'Z');
        assert_eq!(heard, "1tT2DDsDC3Z");
    }
}

/// Memory of a process (kB).
fn memory(pid: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_pipeline_without_bound_takes_bounded_memory() {
    const QUERIES: usize = 20_000;
    let stand = Stand::new("", "[databases.long]\n", &["long"]);
    let pid = stand.proxy.pid().unwrap();
    for extended in [false, true] {
        let sql = format!("SELECT repeat('x', 2000) /* {} */", "long ".repeat(200));
        let one = if extended {
            let steps = [message::parse("", &sql, &[]), message::bind("", "", &[])];
            [steps.concat(), message::execute("", 0), message::sync()].concat()
        } else {
            message::query(&sql)
        };
        let mut client = Raw::connect(&stand.proxy.tcp(), &login("long", &[])).unwrap();
        ask(&mut client, "SELECT 1");
        let before = memory(pid);
        let mut writer = client.writer().unwrap();
        let sent = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let sent = &sent;
            scope.spawn(move || {
                let many = one.repeat(100);
                for _ in 0..QUERIES / 100 {
                    std::io::Write::write_all(&mut writer, &many).unwrap();
                    sent.fetch_add(100, SeqCst);
                }
            });
            // Nobody reads: it comes to a stand where the sockets' buffers and the bounds are full.
            let (mut last, mut since) = (0, Instant::now());
            wait::until(SOON, "a stand", || {
                let now = sent.load(SeqCst);
                if now != last {
                    (last, since) = (now, Instant::now());
                }
                (now > 0 && since.elapsed() > Duration::from_millis(700)).then_some(())
            });
            assert!(last < QUERIES, "nothing held it back");
            let grown = memory(pid).saturating_sub(before);
            assert!(grown < 8 * 1024, "{grown} kB more, extended: {extended}, {last} sent");
            for at in 0..QUERIES {
                let frames = client.frames_until_ready(SOON).unwrap();
                let rows = frames.iter().filter(|frame| frame.tag == b'D').count();
                assert_eq!(rows, 1, "answer {at}: {frames:?}");
            }
        });
        println!("extended: {extended}: {} kB more at the end", memory(pid).saturating_sub(before));
    }
}
