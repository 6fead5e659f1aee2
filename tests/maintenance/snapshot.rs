//! What is asked whether a transaction has written takes a snapshot. It never does so ahead of what the client says of its transaction:
//! SET TRANSACTION has to come before any query.

use crate::stand::{Stand, sqlstate, talk};
use pgsluice_fixtures::raw::message::{bind, execute, parse, query as q, sync};
use pgsluice_fixtures::{Frame, Postgres, Raw};

fn run(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0)].concat()
}

/// Messages that are sent at once, and how many ReadyForQuery they bring.
type Sent = (Vec<u8>, usize);

fn conversations() -> Vec<(&'static str, Vec<Sent>)> {
    let fetch = || run("FETCH 1 FROM h");
    let mut all = Vec::new();
    for begins in [
        "START TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE",
        "SHOW work_mem; BEGIN ISOLATION LEVEL REPEATABLE READ",
        "BEGIN ISOLATION LEVEL REPEATABLE READ; INSERT INTO t VALUES (900, 'x')",
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1; COMMIT",
        "FETCH 1 FROM h; BEGIN ISOLATION LEVEL REPEATABLE READ; COMMIT; SELECT 1",
        "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "SET LOCAL transaction_isolation = 'serializable'",
        "SHOW work_mem; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    ] {
        let sent = ([fetch(), q(begins)].concat(), 1);
        all.push((begins, vec![sent, (q("SHOW transaction_isolation"), 1), (q("ROLLBACK"), 1)]));
    }
    all.push((
        "a block that begins in the batch",
        vec![
            ([fetch(), run("BEGIN"), q("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")].concat(), 1),
            (q("SHOW transaction_isolation"), 1),
            (q("COMMIT"), 1),
        ],
    ));
    all.push((
        "a block that begins in the batch, behind its Sync",
        vec![
            ([fetch(), run("BEGIN"), sync()].concat(), 1),
            (q("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"), 1),
            (q("SHOW transaction_isolation"), 1),
            (q("COMMIT"), 1),
        ],
    ));
    for (what, before) in [
        ("a Bind behind what is asked about", [fetch(), parse("", "SELECT 1", &[]), bind("", "", &[])].concat()),
        ("a Parse behind it", [fetch(), parse("", "EXPLAIN SELECT 1", &[])].concat()),
        ("a Bind that takes none", [fetch(), parse("", "SHOW work_mem", &[]), bind("", "", &[])].concat()),
        ("an Execute behind it", [fetch(), run("PREPARE p AS SELECT 1")].concat()),
        ("what takes none", [fetch(), run("LISTEN x"), run("SET LOCAL work_mem = '1MB'")].concat()),
        ("an earlier batch that has", [run("SELECT 1"), sync(), fetch()].concat()),
    ] {
        let readies = if what.starts_with("an earlier") { 2 } else { 1 };
        for chooses in [
            "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "SET LOCAL transaction_isolation = 'repeatable read'",
            "SET TRANSACTION DEFERRABLE",
            "LISTEN y; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
        ] {
            let sent = ([&before[..], &q(chooses)].concat(), readies);
            all.push((what, vec![sent, (q("SHOW transaction_isolation"), 1), (q("ROLLBACK"), 1)]));
        }
    }
    all.push((
        "a chain",
        vec![
            (q("BEGIN"), 1),
            (q("FETCH 1 FROM h"), 1),
            (q("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"), 1),
            (q("COMMIT AND CHAIN"), 1),
            (q("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"), 1),
            (q("COMMIT"), 1),
        ],
    ));
    all
}

fn told(frames: &[Frame]) -> Vec<String> {
    let seen = frames.iter().filter(|frame| !matches!(frame.tag, b'S' | b'A' | b'N'));
    seen.map(|frame| match frame.error() {
        Some(error) => format!("E {} {}", error.code(), error.message()),
        None => format!("{} {}", char::from(frame.tag), frame.body.escape_ascii()),
    })
    .collect()
}

#[test]
fn a_question_of_ours_takes_no_snapshot_ahead_of_what_the_client_says_of_its_transaction() {
    for extra in ["", "pool_mode = \"session\""] {
        let stand = Stand::new(extra);
        stand.on_primary();
        let major = Postgres::any().expect("a server").version.major;
        for (what, conversation) in conversations() {
            // From 18 on a simple query behind a batch without Sync leaves its transaction open behind ReadyForQuery.
            if major >= 18 && !matches!(what, "a chain" | "a block that begins in the batch, behind its Sync") {
                continue;
            }
            let declare = "DECLARE h CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id";
            let (mut proxied, mut direct) = (stand.app(), stand.direct(true));
            for raw in [&mut proxied, &mut direct] {
                assert_eq!(sqlstate(&talk(raw, &q(declare), 1)), "", "{what}");
            }
            for (bytes, readies) in conversation {
                let (ours, theirs) = (talk(&mut proxied, &bytes, readies), talk(&mut direct, &bytes, readies));
                assert_eq!(told(&ours), told(&theirs), "{extra} {what}");
            }
        }
    }
}

/// At the flip an open block is asked whether it has written. That takes no snapshot either, where the client's own statements have
/// taken none.
#[test]
fn the_question_at_the_flip_takes_no_snapshot_ahead_of_what_the_client_says_of_its_transaction() {
    for extra in ["", "pool_mode = \"session\""] {
        let stand = Stand::new(extra);
        let declare = "DECLARE h CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id";
        for before in [
            "FETCH 1 FROM h",
            "MOVE 1 IN h",
            "LOCK TABLE t IN ACCESS SHARE MODE",
            "LISTEN x",
            "SHOW work_mem",
            "SET CONSTRAINTS ALL DEFERRED",
            "SET LOCAL work_mem = '1MB'",
            "SELECT 1",
            "DECLARE c CURSOR FOR SELECT id FROM t; FETCH c",
        ] {
            for by in [q as fn(&str) -> Vec<u8>, |sql: &str| [run(sql), sync()].concat()] {
                let batched = by("SHOW work_mem").first() == Some(&b'P');
                if batched && before.contains(';') {
                    continue;
                }
                let (mut proxied, mut direct) = (stand.app(), stand.direct(false));
                let told_both = |bytes: &[u8], proxied: &mut Raw, direct: &mut Raw| {
                    let (ours, theirs) = (talk(proxied, bytes, 1), talk(direct, bytes, 1));
                    assert_eq!(told(&ours), told(&theirs), "{extra} {before} {}", bytes.escape_ascii());
                };
                for sql in [declare, "BEGIN", before] {
                    let bytes = if sql == before { by(sql) } else { q(sql) };
                    told_both(&bytes, &mut proxied, &mut direct);
                }
                stand.on_primary();
                for sql in [
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
                    "SHOW transaction_isolation",
                    "FETCH 1 FROM h",
                    "COMMIT",
                ] {
                    told_both(&q(sql), &mut proxied, &mut direct);
                }
                let refused = sqlstate(&talk(&mut proxied, &q("UPDATE t SET v = 'late'"), 1));
                assert_eq!(refused, "25006", "{extra} {before}");
                stand.off();
            }
        }
    }
}

#[test]
fn a_block_made_of_a_batch_is_asked_about_at_its_commit() {
    let major = Postgres::any().expect("a server").version.major;
    if major >= 16 {
        return println!("SKIPPED: PostgreSQL {major} refuses by itself to write large objects");
    }
    let stand = Stand::new("");
    let makes = "CREATE FUNCTION makes() RETURNS oid LANGUAGE plpgsql AS $$ BEGIN RETURN lo_create(0); END $$";
    stand.cluster.primary().psql_in("app", makes).unwrap();
    stand.on_primary();
    let before = stand.everything();
    let ends: [&[&str]; 4] = [
        &["BEGIN", "COMMIT"],
        &["BEGIN; COMMIT"],
        &["START TRANSACTION ISOLATION LEVEL READ COMMITTED; SELECT 1; COMMIT"],
        &["SHOW work_mem; BEGIN", "SELECT 1", "COMMIT AND CHAIN", "COMMIT"],
    ];
    for queries in ends {
        let mut raw: Raw = stand.app();
        raw.send(&run("SELECT makes()")).unwrap();
        let mut codes = Vec::new();
        for sql in queries {
            codes.push(sqlstate(&talk(&mut raw, &q(sql), 1)));
        }
        assert!(codes.contains(&"25006".to_owned()), "{queries:?}: {codes:?}");
        assert_eq!(stand.everything(), before, "{queries:?}");
    }
}
