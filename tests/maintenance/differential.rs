//! After a refused write a client sees, byte for byte, what a server with default_transaction_read_only=on sends it, DETAIL
//! and HINT aside.

use crate::stand::{Stand, talk};
use pgsluice_fixtures::raw::message::{
    bind, close_statement, copy_data, copy_done, copy_fail, describe_portal, describe_statement, execute, flush, parse,
    query, sync,
};
use pgsluice_fixtures::{Frame, Raw};

/// Messages to send at once, and the ReadyForQuery to wait for.
type Step = (Vec<u8>, usize);

struct Scene {
    name: String,
    /// Before the gate closes.
    before: Vec<Step>,
    /// After it.
    after: Vec<Step>,
}

fn q(sql: &str) -> Step {
    (query(sql), 1)
}

fn run(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), describe_portal(""), execute("", 0)].concat()
}

fn one(sql: &str) -> Step {
    ([run(sql), sync()].concat(), 1)
}

fn scene(name: &str, before: Vec<Step>, after: Vec<Step>) -> Scene {
    Scene { name: name.to_owned(), before, after }
}

const INSERT: &str = "INSERT INTO t VALUES (500, 'x')";

/// Refused by the server itself in READ ONLY, one of each kind.
const REFUSED: &[&str] = &[
    INSERT,
    "INSERT INTO t VALUES (501, 'x') RETURNING id",
    "UPDATE t SET v = 'y' WHERE id = 1",
    "UPDATE t SET v = 'y' WHERE false",
    "DELETE FROM t",
    "WITH x AS (DELETE FROM t RETURNING id) SELECT count(*) FROM x",
    "MERGE INTO t USING (SELECT 1 AS k) x ON t.id = x.k WHEN MATCHED THEN UPDATE SET v = 'z'",
    "SELECT * FROM t FOR UPDATE",
    "SELECT * FROM t FOR SHARE",
    "SELECT nextval('s')",
    "SELECT setval('s', 7)",
    "SELECT writes()",
    "INSERT INTO w VALUES (502, 'rule')",
    "SELECT * INTO n FROM t",
    "CREATE TABLE n (a int)",
    "CREATE TEMP TABLE n (a int)",
    "CREATE TABLE n AS SELECT 1",
    "CREATE INDEX ON t (v)",
    "ALTER TABLE t ADD COLUMN c int",
    "DROP TABLE t",
    "TRUNCATE t",
    "COMMENT ON TABLE t IS 'x'",
    "GRANT SELECT ON t TO PUBLIC",
    "REFRESH MATERIALIZED VIEW m",
    "LOCK TABLE t IN SHARE MODE; INSERT INTO t VALUES (1)",
    "EXPLAIN ANALYZE INSERT INTO t VALUES (503, 'x')",
    "COPY t FROM STDIN",
    "CALL just_writes()",
    "DO $$ BEGIN INSERT INTO t VALUES (504, 'do'); END $$",
    "PREPARE p AS INSERT INTO t VALUES (505, 'p'); EXECUTE p",
    "CREATE ROLE r",
    "NOTIFY c, 'allowed'; DELETE FROM t",
    "INSERT INTO missing VALUES (1)",
    "this is not sql",
    "SELECT 1/0",
];

fn scenes() -> Vec<Scene> {
    let mut scenes = vec![
        scene(
            "prepared before the flip",
            vec![([parse("p", INSERT, &[]), describe_statement("p"), sync()].concat(), 1)],
            vec![
                ([bind("", "p", &[]), execute("", 0), sync()].concat(), 1),
                (
                    [describe_statement("p"), bind("", "p", &[]), describe_portal(""), execute("", 0), sync()].concat(),
                    1,
                ),
                q("SELECT 1"),
                ([close_statement("p"), sync()].concat(), 1),
            ],
        ),
        scene(
            "prepared before the flip, executed in a block",
            vec![([parse("p", INSERT, &[]), sync()].concat(), 1)],
            vec![
                q("BEGIN"),
                q("SELECT count(*) FROM t"),
                ([bind("", "p", &[]), execute("", 0), sync()].concat(), 1),
                ([bind("", "p", &[]), execute("", 0), sync()].concat(), 1),
                q("SELECT 2"),
                q("COMMIT"),
                q("SELECT 3"),
            ],
        ),
        scene(
            "prepared in SQL before the flip",
            vec![
                q(&format!("PREPARE p AS {INSERT}")),
                q("PREPARE s AS SELECT count(*) FROM t"),
                q("PREPARE w AS SELECT writes()"),
                ([parse("b", INSERT, &[]), sync()].concat(), 1),
            ],
            vec![
                q("EXECUTE p"),
                q("EXECUTE s"),
                one("EXECUTE p"),
                one("EXECUTE s"),
                q("EXECUTE w"),
                q("EXECUTE b"),
                q("SELECT 1; EXECUTE p"),
                q("EXPLAIN ANALYZE EXECUTE p"),
                q("CREATE TABLE n AS EXECUTE s"),
                ([bind("", "p", &[]), execute("", 0), sync()].concat(), 1),
                ([bind("", "s", &[]), describe_portal(""), execute("", 0), sync()].concat(), 1),
                q("BEGIN"),
                q("EXECUTE s"),
                q("EXECUTE p"),
                q("EXECUTE s"),
                q("ROLLBACK; EXECUTE s"),
                q("BEGIN; EXECUTE s; COMMIT; EXECUTE p"),
                q("PREPARE n AS SELECT 7; EXECUTE n; DEALLOCATE n"),
                q("DEALLOCATE p"),
                q("EXECUTE p"),
                q("SELECT name, statement, from_sql FROM pg_prepared_statements ORDER BY name"),
            ],
        ),
        scene(
            "Parse without Execute",
            vec![],
            vec![
                ([parse("", INSERT, &[]), sync()].concat(), 1),
                ([parse("a", INSERT, &[]), describe_statement("a"), sync()].concat(), 1),
                ([bind("", "a", &[]), sync()].concat(), 1),
                q("SELECT 1"),
            ],
        ),
        scene(
            "a pipeline with one Sync",
            vec![],
            vec![([run("SELECT 1"), run(INSERT), run("SELECT 2"), sync()].concat(), 1), q("SELECT 3")],
        ),
        scene(
            "a pipeline with many",
            vec![],
            vec![
                ([run("SELECT 1"), sync(), run(INSERT), run("SELECT 2"), sync(), run("SELECT 3"), sync()].concat(), 3),
                (
                    [run("BEGIN"), sync(), run(INSERT), sync(), run("SELECT 4"), sync(), run("ROLLBACK"), sync()]
                        .concat(),
                    4,
                ),
                q("SELECT 5"),
            ],
        ),
        scene(
            "a pipeline that commits in its middle",
            vec![],
            vec![
                ([run("BEGIN"), run("SELECT 1"), run("COMMIT"), run("SELECT 2"), sync()].concat(), 1),
                ([run("BEGIN"), run("SELECT 1"), run("COMMIT"), run(INSERT), run("SELECT 2"), sync()].concat(), 1),
                ([run("BEGIN"), run(INSERT), run("COMMIT"), run("SELECT 2"), sync()].concat(), 1),
                q("SELECT 3"),
                q("ROLLBACK"),
            ],
        ),
        scene(
            "queries pipelined",
            vec![],
            vec![(
                [query("SELECT 1"), query(INSERT), query("SELECT 2"), query("BEGIN"), query(INSERT), query("COMMIT")]
                    .concat(),
                6,
            )],
        ),
        scene(
            "flush",
            vec![],
            vec![([run("SELECT 1"), flush(), run(INSERT), flush(), sync()].concat(), 1), q("SELECT 3")],
        ),
        scene(
            "several statements in one message",
            vec![],
            vec![
                q("SELECT 1; INSERT INTO t VALUES (1); SELECT 2"),
                q("SELECT 1; SELECT 2"),
                q("BEGIN; SELECT 1; COMMIT; SELECT 2; BEGIN; SELECT 3; ROLLBACK; SELECT 4"),
                q("BEGIN; SELECT 1; COMMIT; INSERT INTO t VALUES (1); SELECT 2"),
                q("BEGIN; INSERT INTO t VALUES (1); COMMIT; SELECT 2"),
                q("SELECT 1"),
                q("ROLLBACK"),
                q("BEGIN; SELECT 1; COMMIT; BEGIN; SELECT 5"),
                q("SELECT 6"),
                q("COMMIT AND CHAIN"),
                q("INSERT INTO t VALUES (1)"),
                q("ROLLBACK AND CHAIN"),
                q("SELECT 7"),
                q("COMMIT"),
                q(""),
                q(";;"),
            ],
        ),
        scene(
            "savepoints",
            vec![],
            vec![
                q("BEGIN"),
                q("SAVEPOINT a"),
                q(INSERT),
                q("SELECT 1"),
                q("ROLLBACK TO a"),
                q("SELECT 2"),
                one(INSERT),
                q("ROLLBACK TO a"),
                q("RELEASE a"),
                q("COMMIT"),
            ],
        ),
        scene(
            "COPY FROM, simple",
            vec![],
            vec![
                ([query("COPY t FROM STDIN"), copy_data(b"600\tx\n"), copy_done(), query("SELECT 1")].concat(), 2),
                ([query("COPY t FROM STDIN"), copy_fail("no")].concat(), 1),
                ([query("SELECT 1; COPY t FROM STDIN; SELECT 2"), copy_data(b"600\tx\n"), copy_done()].concat(), 1),
                (
                    [query("BEGIN"), query("COPY t FROM STDIN"), copy_data(b"600\tx\n"), copy_done(), query("COMMIT")]
                        .concat(),
                    3,
                ),
                q("COPY t TO STDOUT"),
                q("COPY (SELECT 1) TO STDOUT"),
            ],
        ),
        scene(
            "COPY FROM, extended",
            vec![],
            vec![
                (
                    [
                        parse("", "COPY t FROM STDIN", &[]),
                        bind("", "", &[]),
                        execute("", 0),
                        copy_data(b"1\tx\n"),
                        copy_done(),
                        sync(),
                    ]
                    .concat(),
                    1,
                ),
                q("SELECT 1"),
            ],
        ),
        scene(
            "what PostgreSQL allows",
            vec![],
            vec![
                q("SET work_mem = '1MB'"),
                q("SHOW work_mem"),
                q("LISTEN c"),
                q("NOTIFY c"),
                q("PREPARE x AS SELECT 1"),
                q("EXECUTE x"),
                q("BEGIN"),
                q("DECLARE k CURSOR FOR SELECT id FROM t ORDER BY id"),
                q("FETCH 2 FROM k"),
                q("COMMIT"),
                q("EXPLAIN (COSTS off) INSERT INTO t VALUES (1)"),
                q("DO $$ BEGIN PERFORM count(*) FROM t; END $$"),
                one("DO $$ BEGIN PERFORM count(*) FROM t; END $$"),
                q("LOCK TABLE t"),
                q("BEGIN; LOCK TABLE t IN ACCESS SHARE MODE; COMMIT"),
                q("SET default_transaction_read_only = on"),
                q("BEGIN READ ONLY"),
                q("SET TRANSACTION READ ONLY"),
                q("COMMIT"),
                q("DISCARD ALL"),
                q("SELECT 1"),
            ],
        ),
    ];
    for sql in REFUSED {
        scenes.push(scene(
            &format!("in a block: {sql}"),
            vec![],
            vec![q("BEGIN"), q(sql), q("SELECT 1"), q("COMMIT"), q("SELECT 2")],
        ));
        if !sql.contains(';') || sql.starts_with("DO") {
            scenes.push(scene(&format!("extended: {sql}"), vec![], vec![one(sql), q("SELECT 2")]));
            scenes.push(scene(
                &format!("extended, in a block: {sql}"),
                vec![],
                vec![one("BEGIN"), one(sql), one("SELECT 1"), one("COMMIT"), one("SELECT 2")],
            ));
        }
        scenes.push(scene(
            &format!("after a read: {sql}"),
            vec![],
            vec![q(&format!("SELECT 1; {sql}")), q("SELECT 2")],
        ));
    }
    scenes
}

/// What a client sees, with DETAIL and HINT of refusals left out and settings that were pushed aside.
fn seen(frames: &[Frame]) -> Vec<String> {
    let mut seen = Vec::new();
    for frame in frames {
        match frame.tag {
            // Settings are pushed, notifications come when they come.
            b'S' | b'A' => {}
            b'E' => {
                let mut fields = frame.error_fields();
                if fields.get(&'C').is_some_and(|code| code == "25006") {
                    fields.remove(&'D');
                    fields.remove(&'H');
                }
                seen.push(format!("E {fields:?}"));
            }
            tag => seen.push(format!("{} {}", tag as char, frame.body.escape_ascii())),
        }
    }
    seen
}

fn play(raw: &mut Raw, steps: &[Step]) -> Vec<Vec<String>> {
    steps.iter().map(|(bytes, readies)| seen(&talk(raw, bytes, *readies))).collect()
}

/// Scenes that are open at a time: in session mode each has a server connection from its log-in on.
const AT_A_TIME: usize = 60;

fn compare(stand: &Stand) {
    let scenes = scenes();
    let wrong: Vec<_> = scenes.chunks(AT_A_TIME).flat_map(|some| differences(stand, some)).collect();
    assert!(wrong.is_empty(), "{} of {} scenes differ:\n{}", wrong.len(), scenes.len(), wrong.join("\n"));
}

fn differences(stand: &Stand, scenes: &[Scene]) -> Vec<String> {
    let mut pairs = Vec::new();
    for scene in scenes {
        let mut direct = stand.direct(false);
        let mut proxied = stand.app();
        assert_eq!(
            play(&mut proxied, &scene.before),
            play(&mut direct, &scene.before),
            "{}: before the flip",
            scene.name
        );
        pairs.push((proxied, direct));
    }
    stand.on();
    let before = stand.everything();
    let mut wrong = Vec::new();
    for (scene, (mut proxied, mut direct)) in scenes.iter().zip(pairs) {
        println!("{}", scene.name);
        talk(&mut direct, &query("SET default_transaction_read_only = on"), 1);
        for (at, step) in scene.after.iter().enumerate() {
            let step = std::slice::from_ref(step);
            let (ours, theirs) = (play(&mut proxied, step), play(&mut direct, step));
            if ours != theirs {
                wrong.push(format!("{}, step {at}:\n  proxy  {ours:?}\n  direct {theirs:?}", scene.name));
            }
        }
    }
    assert_eq!(stand.everything(), before, "something was written");
    stand.off();
    wrong
}

#[test]
fn refusals_leave_the_protocol_where_a_server_leaves_it() {
    compare(&Stand::new("default_pool_size = 100"));
}

#[test]
fn the_same_in_session_mode() {
    compare(&Stand::new("default_pool_size = 200\npool_mode = \"session\""));
}
