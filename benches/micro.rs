//! The small costs on the way of a statement, one by one: reading it, finding its bounds, and asking the gate.
//!
//! `cargo bench -p pgsluice-benches --bench micro`

use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use pgsluice::gate::Gate;
use pgsluice::protocol::frame::{peek_back, peek_front};
use pgsluice::sql::cache::verdicts::VerdictCache;
use pgsluice::sql::{Analyzer, LexContext};

/// As the configuration's default.
const CACHE: usize = 8 << 20;
const LARGEST: usize = 256 << 20;

/// What `pgbench -S` sends.
const SHORT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 123456;";

/// What an object-relational mapper sends.
const ORM: &str = "SELECT \"orders\".\"id\", \"orders\".\"customer_id\", \"orders\".\"state\", \"orders\".\"total\", \
    \"orders\".\"notes\", \"orders\".\"created_at\" FROM \"orders\" INNER JOIN \"customers\" ON \"customers\".\"id\" = \"orders\".\"customer_id\" \
    WHERE \"customers\".\"region\" = $1 AND \"orders\".\"state\" IN ($2, $3) ORDER BY \"orders\".\"created_at\" DESC LIMIT $4";

/// About 10 kB of numbers.
fn long_list() -> String {
    let mut text = String::from("SELECT id, state FROM orders WHERE id IN (0");
    let mut n = 100_000;
    while text.len() < 10_000 {
        n += 7;
        let _ = write!(text, ", {n}");
    }
    text + ")"
}

fn texts() -> [(&'static str, String); 3] {
    [("pgbench -S", SHORT.into()), ("ORM", ORM.into()), ("10 kB IN list", long_list())]
}

fn classifier(c: &mut Criterion) {
    let context = LexContext::default();
    let mut group = c.benchmark_group("verdict");
    for (name, text) in texts() {
        group.throughput(Throughput::Bytes(text.len() as u64));
        let analyzer = Analyzer::default();
        group.bench_function(format!("read, {name}, {} bytes", text.len()), |b| {
            b.iter(|| analyzer.analyze(black_box(text.as_bytes()), context));
        });
        let mut cache = VerdictCache::new(Analyzer::default(), CACHE);
        group.bench_function(format!("cached, {name}"), |b| {
            b.iter(|| cache.get_or_analyze(black_box(text.as_bytes()), context));
        });
    }
    // Literals in the text: each is new, and a full cache makes room for each.
    let mut cache = VerdictCache::new(Analyzer::default(), CACHE);
    let mut n = 0_u64;
    let mut next = move || {
        n += 1;
        format!("SELECT abalance FROM pgbench_accounts WHERE aid = {n};")
    };
    for _ in 0..100_000 {
        cache.get_or_analyze(next().as_bytes(), context);
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("never seen before, cache full", |b| {
        b.iter_batched(&mut next, |text| cache.get_or_analyze(text.as_bytes(), context), BatchSize::SmallInput);
    });
    group.finish();
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
    [&[tag], length.to_be_bytes().as_slice(), body].concat()
}

fn frames(c: &mut Criterion) {
    // The answer to `pgbench -S`, and a buffer full of rows of 60 bytes.
    let answer =
        [message(b'T', &[0; 32]), message(b'D', &[0; 11]), message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat();
    let rows = message(b'D', &[0; 55]).repeat(1000);
    let batch = [
        message(b'P', format!("\0{SHORT}\0\0\0").as_bytes()),
        message(b'B', &[0; 20]),
        message(b'D', b"P\0"),
        message(b'E', &[0; 5]),
        message(b'S', b""),
    ]
    .concat();
    let mut group = c.benchmark_group("frames");
    for (name, bytes) in [("answer of four messages", &answer), ("1000 rows", &rows)] {
        group.bench_function(format!("server, {name}"), |b| {
            b.iter(|| {
                let mut rest = black_box(bytes.as_slice());
                let mut seen = 0;
                while let Ok(Some(header)) = peek_back(rest) {
                    seen += usize::from(header.tag);
                    rest = rest.get(header.total..).unwrap_or_default();
                }
                seen
            });
        });
    }
    group.bench_function("client, batch of five messages", |b| {
        b.iter(|| {
            let mut rest = black_box(batch.as_slice());
            let mut seen = 0;
            while let Ok(Some(header)) = peek_front(rest, LARGEST) {
                seen += usize::from(header.tag);
                rest = rest.get(header.total..).unwrap_or_default();
            }
            seen
        });
    });
    group.finish();
}

fn gate(c: &mut Criterion) {
    let gate = Gate::new("bench", 2);
    let mut group = c.benchmark_group("gate");
    group.bench_function("state", |b| b.iter(|| black_box(&gate).state()));
    let mut lane = Some(gate.lane(0));
    group.bench_function("lane, enter and leave", |b| {
        b.iter(|| {
            let Some(Ok(ticket)) = lane.take().map(pgsluice::gate::Lane::enter) else { return };
            lane = black_box(ticket).leave();
        });
    });
    assert!(lane.is_some(), "the gate was open all the time");
    group.finish();
}

criterion_group! {
    name = micro;
    // Short: the costs are of nanoseconds, and the machine is rarely quiet for long.
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = classifier, frames, gate
}
criterion_main!(micro);
