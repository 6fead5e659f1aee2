//! Random conversations in maintenance: what a client sees through the proxy is, byte for byte but for DETAIL and HINT
//! of refusals, what a server with default_transaction_read_only=on tells it.

use crate::cases;
use crate::stand::Stand;
use pgsluice_fixtures::mutate::Dice;
use pgsluice_fixtures::raw::message::*;
use pgsluice_fixtures::{Frame, Raw, RawError};
use std::cell::Cell;
use std::time::Duration;

/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(3);

const TEXTS: &[&str] = &[
    "SELECT 1",
    "SELECT id FROM t ORDER BY id",
    "SELECT 1/0",
    "SELECT no_such_column FROM t",
    "INSERT INTO t VALUES (100, 'x')",
    "INSERT INTO t VALUES (101, 'x') RETURNING id",
    "UPDATE t SET v = 'y'",
    "DELETE FROM t WHERE false",
    "WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x",
    "SELECT * FROM t FOR UPDATE",
    "SELECT nextval('s')",
    "CREATE TABLE n (a int)",
    "CREATE TEMP TABLE n (a int)",
    "TRUNCATE t",
    "COPY t FROM STDIN",
    "COPY t TO STDOUT",
    "EXPLAIN ANALYZE INSERT INTO t VALUES (102, 'x')",
    "BEGIN",
    "BEGIN READ ONLY",
    "START TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET LOCAL transaction_isolation = 'repeatable read'",
    "COMMIT",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "ROLLBACK AND CHAIN",
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "RELEASE a",
    "SET work_mem = '1MB'",
    "SET LOCAL work_mem = '2MB'",
    "SHOW work_mem",
    "RESET ALL",
    "PREPARE x AS SELECT count(*) FROM t",
    "PREPARE y AS INSERT INTO t VALUES (103, 'x')",
    "EXECUTE x",
    "EXECUTE y",
    "DEALLOCATE x",
    "DECLARE c CURSOR FOR SELECT id FROM t ORDER BY id",
    "FETCH 1 FROM c",
    "FETCH 1 FROM h",
    "CLOSE ALL",
    "LISTEN x",
    "NOTIFY x",
    "DISCARD ALL",
    "LOCK TABLE t IN ACCESS SHARE MODE",
    "DO $$ BEGIN PERFORM 1; END $$",
    "DO $$ BEGIN INSERT INTO t VALUES (104, 'x'); END $$",
    "not sql",
];

/// Refused among other statements of one message.
const ALONE: &str = "DECLARE h CURSOR WITH HOLD FOR SELECT id FROM t ORDER BY id";

/// Names of portals. Not the unnamed one: PostgreSQL 15.18 crashes when an Execute asks, in an aborted transaction, for
/// the one that a failed simple query has left.
const PORTALS: &[&str] = &["a", "b"];

/// `parsed` statements have names so far: `s0`, `s1` and so on.
fn message(dice: &mut Dice, parsed: &mut usize) -> Vec<u8> {
    let text = *dice.of::<&str>(TEXTS);
    let (name, portal) = (format!("s{}", dice.below(*parsed + 1)), *dice.of::<&str>(PORTALS));
    match dice.below(20) {
        0 => query(ALONE),
        1..=5 => query(text),
        6 => query(&format!("{text}; {}", dice.of::<&str>(TEXTS))),
        7 | 8 => {
            *parsed += usize::from(dice.below(3) > 0);
            parse(&format!("s{}", parsed.saturating_sub(1)), text, &[])
        }
        9 | 10 => [parse("", text, &[]), bind("", "", &[]), execute("", 0)].concat(),
        11 | 12 if dice.below(4) == 0 => bind(portal, "", &[]),
        11 | 12 => bind(portal, &name, &[]),
        // None with a name: in an aborted transaction, one that has to be prepared anew on another connection cannot be.
        13 => describe_statement(""),
        14 => describe_portal(portal),
        15 | 16 => execute(portal, dice.below(3) as i32),
        17 if dice.below(2) == 0 => close_statement(&name),
        17 => close_portal(portal),
        18 => match dice.below(4) {
            0 => copy_data(b"1\tx\n"),
            1 => copy_done(),
            2 => copy_fail("no"),
            _ => flush(),
        },
        _ => sync(),
    }
}

fn names(message: &[u8], words: &[&str]) -> bool {
    words.iter().any(|word| memchr::memmem::find(message, word.as_bytes()).is_some())
}

/// Messages that are sent at once.
type Batch = Vec<Vec<u8>>;

fn batch(dice: &mut Dice, parsed: &mut usize) -> Batch {
    let mut batch = Batch::new();
    for _ in 0..1 + dice.below(5) {
        let message = message(dice, parsed);
        // A query that has to be read whole: a question may be put ahead of it.
        if message.first() == Some(&b'Q') && names(&message, &["DISCARD", "not sql"]) {
            batch.push(sync());
        }
        batch.push(message);
    }
    let holds = |words: &[&str]| batch.iter().any(|bytes| names(bytes, words));
    // Behind a DO in its batch these find a block, where PostgreSQL 15 says that there is none.
    if holds(&["DO $$"]) && holds(&["LOCK", "DECLARE", "SET LOCAL", "DISCARD ALL"]) {
        batch.retain(|bytes| bytes.first() == Some(&b'Q'));
    }
    batch
}

fn seen(frames: &[Frame]) -> Vec<String> {
    let told = frames.iter().filter(|frame| !matches!(frame.tag, b'S' | b'A'));
    told.map(|frame| match frame.tag {
        b'E' | b'N' => {
            let mut fields = frame.error_fields();
            // Where in the server's source: what is sent in parts ends its transaction in another function.
            fields.retain(|letter, _| !matches!(letter, 'F' | 'L' | 'R'));
            if fields.get(&'C').is_some_and(|code| code == "25006") {
                fields.retain(|letter, _| !matches!(letter, 'D' | 'H'));
            }
            format!("{} {fields:?}", frame.tag as char)
        }
        tag => format!("{} {}", tag as char, frame.body.escape_ascii()),
    })
    .collect()
}

/// What comes back for a batch; with it, whether the conversation can go on. After it go a Sync, which ends whatever is
/// skipped, and an empty query, whose answer no other message has.
fn say(raw: &mut Raw, batch: &Batch) -> (Vec<String>, bool) {
    let bytes = [batch.concat(), sync(), query("")].concat();
    let empty = Cell::new(false);
    let last = |frame: &Frame| {
        empty.set(empty.get() || frame.tag == b'I');
        empty.get() && frame.tag == b'Z'
    };
    let answer = raw.send(&bytes).and_then(|()| raw.frames_until(PATIENCE, last));
    match answer {
        Ok(frames) => (seen(&frames), true),
        Err(RawError::Timeout { frames, .. }) => ([seen(&frames), vec!["silence".into()]].concat(), false),
        Err(RawError::Closed { frames }) => ([seen(&frames), vec!["closed".into()]].concat(), false),
        Err(error) => (vec![error.to_string()], false),
    }
}

/// Both conversations up to where they part.
fn difference(stand: &Stand, talk: &[Batch]) -> Option<String> {
    let (mut proxied, mut direct) = (stand.proxied(), stand.truth());
    for (at, batch) in talk.iter().enumerate() {
        let ((ours, more), (theirs, _)) = (say(&mut proxied, batch), say(&mut direct, batch));
        if ours != theirs {
            return Some(format!("batch {at}:\n  proxy  {ours:#?}\n  direct {theirs:#?}"));
        }
        if !more {
            return None;
        }
    }
    None
}

/// Leaves out what the difference does not need.
fn shrunk(stand: &Stand, mut talk: Vec<Batch>) -> Vec<Batch> {
    loop {
        let places: Vec<_> = (0..talk.len()).flat_map(|b| (0..talk[b].len()).map(move |m| (b, m))).collect();
        let smaller = places.into_iter().rev().find_map(|(b, m)| {
            let mut less = talk.clone();
            less[b].remove(m);
            less.retain(|batch| !batch.is_empty());
            difference(stand, &less).is_some().then_some(less)
        });
        match smaller {
            Some(less) => talk = less,
            None => return talk,
        }
    }
}

#[test]
fn any_conversation_is_that_of_a_read_only_server() {
    for extra in ["", "pool_mode = \"session\""] {
        let stand = Stand::new(extra);
        stand.psql("CREATE TABLE t (id int, v text); INSERT INTO t SELECT i, 'v' FROM generate_series(1, 3) i; CREATE SEQUENCE s");
        stand.on();
        cases("protocol", |dice| {
            let mut parsed = 0;
            let talk: Vec<_> = (0..1 + dice.below(8)).map(|_| batch(dice, &mut parsed)).collect();
            if difference(&stand, &talk).is_some() {
                let least = shrunk(&stand, talk);
                let shown = least.iter().map(|batch| {
                    batch.iter().map(|bytes| format!("    {}\n", bytes.escape_ascii())).collect::<String>() + "    --\n"
                });
                let shown: String = shown.collect();
                panic!("{extra}\n{shown}{}", difference(&stand, &least).unwrap_or_default());
            }
        });
        let rows = "SELECT concat_ws(' ', (SELECT md5(string_agg(t::text, ',')) FROM t), (SELECT is_called FROM s), (SELECT count(*) FROM pg_class))";
        let before = stand.psql(rows);
        assert_eq!(stand.psql("SELECT count(*) FROM t"), "3", "{before}");
        stand.off();
    }
}
