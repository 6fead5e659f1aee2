//! Statements prepared by protocol.

use crate::stand::{Client, Place, SOON};
use pgsluice_fixtures::raw::message::{
    bind, bind_with_formats, close_statement, describe_statement, execute, parse, sync,
};

/// The SQLSTATEs of a batch's errors.
fn run(client: &mut Client, messages: &[Vec<u8>]) -> Vec<String> {
    let frames = client.0.round_trip(&messages.concat(), SOON).unwrap();
    frames.iter().filter_map(|frame| frame.error()).map(|error| error.code().to_owned()).collect()
}

#[test]
fn what_follows_the_end_of_all_in_a_batch_may_take_its_names() {
    let place = Place::new();
    let mut one = place.client();
    let uses = |name: &str| [bind("", name, &[]), execute("", 0)].concat();
    let all = [parse("", "DEALLOCATE ALL", &[]), bind("", "", &[]), execute("", 0)].concat();
    assert!(run(&mut one, &[parse("s", "SELECT 1", &[]), sync()]).is_empty());
    assert!(run(&mut one, &[all.clone(), parse("s", "SELECT 2", &[]), uses("s"), sync()]).is_empty());
    assert!(run(&mut one, &[uses("s"), sync()]).is_empty());
    assert_eq!(run(&mut one, &[all.clone(), uses("s"), sync()]), ["26000"]);

    // It is not run: nothing has ended.
    assert!(run(&mut one, &[parse("s", "SELECT 1", &[]), sync()]).is_empty());
    let fails = [parse("", "SELECT 1/0", &[]), bind("", "", &[]), execute("", 0)].concat();
    assert_eq!(run(&mut one, &[fails, all, parse("s", "SELECT 2", &[]), sync()]), ["22012"]);
    assert!(run(&mut one, &[uses("s"), sync()]).is_empty());
    assert_eq!(run(&mut one, &[parse("s", "SELECT 2", &[]), sync()]), ["42P05"]);
}

#[test]
fn errors_name_a_statement_as_the_client_does() {
    let place = Place::new();
    let mut one = place.client();
    assert!(run(&mut one, &[parse("mine", "SELECT $1::int", &[]), sync()]).is_empty());
    let frames = one.0.round_trip(&[bind("", "mine", &[]), sync()].concat(), SOON).unwrap();
    let error = frames.iter().find_map(|frame| frame.error()).unwrap();
    assert_eq!(error.message(), "bind message supplies 0 parameters, but prepared statement \"mine\" requires 1");
}

/// Prepared anew on another server connection it would run, and the client would take the rows for what it was told.
#[test]
fn a_statement_whose_rows_have_become_others_is_refused_as_by_postgresql() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    other.ask("CREATE TABLE shaped (a int); INSERT INTO shaped VALUES (1)");
    let parse = [parse("s", "SELECT * FROM shaped", &[]), describe_statement("s"), sync()].concat();
    let run = [bind("", "s", &[]), execute("", 0), sync()].concat();
    let code = |one: &mut Client, bytes: &[u8]| {
        let frames = one.0.round_trip(bytes, SOON).unwrap();
        frames.iter().find_map(|frame| frame.error()).map(|error| (error.code().to_owned(), error.message().to_owned()))
    };
    assert_eq!((code(&mut one, &parse), code(&mut one, &run)), (None, None));
    other.ask("DEALLOCATE ALL");
    assert_eq!(code(&mut one, &run), None, "prepared anew it is what it was");
    other.ask("ALTER TABLE shaped ALTER a TYPE text");
    other.ask("DEALLOCATE ALL");
    let refused = Some(("0A000".to_owned(), "cached plan must not change result type".to_owned()));
    for _ in 0..2 {
        assert_eq!(code(&mut one, &run), refused);
    }
    let frames = one.0.round_trip(&run, SOON).unwrap();
    let error = frames.iter().find_map(|frame| frame.error()).unwrap();
    assert_eq!(error.field('R'), Some("RevalidateCachedQuery"), "by which asyncpg and pgjdbc know it");
    let anew = [close_statement("s"), parse].concat();
    assert_eq!((code(&mut one, &anew), code(&mut one, &run)), (None, None), "prepared by its client it runs");
}

/// Names, values, and what is expected of the table behind it: each runs on a connection of one's own.
#[test]
fn who_prepares_after_a_change_of_the_schema_has_what_the_text_means_now() {
    let place = Place::new();
    let (mut first, mut alters) = (place.client(), place.client());
    let mut past = place.direct();
    let ways: [fn(&str) -> String; 3] =
        [str::to_owned, |sql| format!("DO $d$BEGIN {sql}; END$d$"), |sql| format!("/**/{sql}")];
    for (nth, way) in ways.into_iter().enumerate() {
        alters.ask(
            "DROP TABLE IF EXISTS rp, keyed, moods; DROP TYPE IF EXISTS mood;
             CREATE TABLE rp (id int); CREATE TABLE keyed (id int, v text); INSERT INTO keyed VALUES (1);
             CREATE TYPE mood AS ENUM ('fine'); CREATE TABLE moods (m mood)",
        );
        let texts = [
            ("insert into rp(id) values($1)", "7", "3000000000"),
            ("update keyed set v = 'x' where id = $1", "1", "one"),
            ("insert into moods values ($1)", "fine", "better"),
            ("delete from rp where id = $1", "8", "4000000000"),
            ("select v from keyed where id = $1", "1", "one"),
        ];
        let use_it = |client: &mut Client, name: &str, sql: &str, value: &str| {
            let prepared = [parse(name, sql, &[]), bind("", name, &[Some(value.as_bytes())]), execute("", 0), sync()];
            run(client, &prepared)
        };
        for (at, (sql, before, _)) in texts.iter().enumerate() {
            assert!(use_it(&mut first, &format!("s{nth}_{at}"), sql, before).is_empty(), "{sql}");
        }
        for sql in [
            "ALTER TABLE rp ALTER id TYPE bigint",
            "ALTER TABLE keyed ALTER id TYPE text",
            "UPDATE keyed SET id = 'one'",
            "DROP TYPE mood CASCADE",
            "CREATE TYPE mood AS ENUM ('better')",
            "ALTER TABLE moods ADD m mood",
        ] {
            let by = if nth == 2 { &mut past } else { &mut alters };
            by.ask(&way(sql));
        }
        for (at, (sql, _, after)) in texts.iter().enumerate() {
            let (mut new, mut direct) = (place.client(), place.direct());
            let name = format!("n{at}");
            assert_eq!(use_it(&mut direct, &name, sql, after), [""; 0], "{sql}");
            assert_eq!(use_it(&mut new, &name, sql, after), [""; 0], "{sql}");
            let mut later = place.client();
            assert!(run(&mut later, &[parse(&name, sql, &[]), describe_statement(&name), sync()]).is_empty(), "{sql}");
            let uses = [bind("", &name, &[Some(after.as_bytes())]), execute("", 0), sync()].concat();
            assert_eq!(run(&mut later, std::slice::from_ref(&uses)), [""; 0], "by itself, {sql}");
            let mut block = place.client();
            block.ask("BEGIN");
            assert_eq!(run(&mut block, &[parse(&name, sql, &[]), uses]), [""; 0], "in a block, {sql}");
            block.ask("COMMIT");
            assert!(
                use_it(&mut first, &format!("a{nth}_{at}"), sql, after).is_empty(),
                "prepared anew by its own, {sql}"
            );
        }
        assert_eq!(alters.value("SELECT count(*) FROM rp WHERE id = 3000000000"), "5", "none has run twice");
    }
}

/// What a client has prepared has the types that it had, wherever it is prepared again for it.
#[test]
fn a_statement_keeps_its_types_for_whoever_has_prepared_it() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    other.ask("CREATE TABLE kept (id int)");
    let text = parse("s", "insert into kept values ($1)", &[]);
    assert!(run(&mut one, &[text.clone(), describe_statement("s"), sync()]).is_empty());
    other.ask("ALTER TABLE kept ALTER id TYPE bigint");
    other.ask("DEALLOCATE ALL");
    let uses = |value: &str| [bind("", "s", &[Some(value.as_bytes())]), execute("", 0), sync()].concat();
    assert_eq!(run(&mut one, &[uses("3000000000")]), ["22003"], "as on a connection of its own");
    assert!(run(&mut one, &[uses("5")]).is_empty());
    assert!(run(&mut other, &[text, uses("3000000000")]).is_empty());
    assert_eq!(run(&mut one, &[uses("3000000000")]), ["22003"]);
}

/// Parses without a name, is told what that is, and binds it behind a Sync, as drivers do that know no names.
fn describe_unnamed(client: &mut Client, sql: &str) {
    assert_eq!(run(client, &[parse("", sql, &[]), describe_statement(""), sync()]), [""; 0], "{sql}");
}

/// What a client was told of its unnamed statement holds for the Bind that follows behind a Sync: it may be in binary form.
#[test]
fn an_unnamed_statement_keeps_the_types_that_its_client_was_told() {
    let place = Place::new();
    let (mut one, mut other, mut third) = (place.client(), place.client(), place.client());
    other.ask("CREATE TABLE told (id int)");
    let sql = "insert into told values ($1)";
    let binary = |value: &[u8]| [bind_with_formats("", "", &[1], &[Some(value)], &[]), execute("", 0), sync()].concat();
    describe_unnamed(&mut one, sql);
    other.ask("ALTER TABLE told ALTER id TYPE bigint");
    assert_eq!(run(&mut one, &[binary(&5_i32.to_be_bytes())]), [""; 0]);
    // Who is told now is told of what is now, and neither gets in the other's way.
    describe_unnamed(&mut third, sql);
    other.ask("SELECT 1");
    assert_eq!(run(&mut third, &[binary(&3_000_000_000_i64.to_be_bytes())]), [""; 0]);
    assert_eq!(run(&mut one, &[binary(&6_i32.to_be_bytes())]), [""; 0]);
    // Who was told nothing has what the text means now.
    assert_eq!(run(&mut third, &[parse("", sql, &[]), sync()]), [""; 0]);
    other.ask("SELECT 1");
    let uses = [bind("", "", &[Some(b"3000000001")]), execute("", 0), sync()].concat();
    assert_eq!(run(&mut third, &[uses]), [""; 0]);
    assert_eq!(other.value("SELECT count(*) FROM told"), "4");
}

/// What a client is told, errors by SQLSTATE and message without numbers: those of types differ.
fn outcome(client: &mut Client, bytes: &[u8]) -> Vec<String> {
    let frames = client.0.round_trip(bytes, SOON).unwrap();
    let told = frames.iter().map(|frame| match frame.error() {
        Some(error) => format!("{} {}", error.code(), error.message().replace(|c: char| c.is_ascii_digit(), "")),
        None => format!("{} {}", frame.tag as char, frame.body.escape_ascii()),
    });
    told.collect()
}

/// Each change of the schema between the Parse of an unnamed statement and its Bind: as on a connection of the client's own.
#[test]
fn an_unnamed_statement_meets_a_change_of_the_schema_as_on_a_connection_of_its_own() {
    let make = "CREATE TYPE colour AS ENUM ('red'); CREATE TABLE un (id int, note text, c colour); \
        INSERT INTO un VALUES (1, 'a', 'red'); CREATE VIEW seen AS SELECT id FROM un";
    let wipe = "DROP VIEW seen; DROP TABLE un; DROP TYPE colour";
    let texts = [
        ("insert into un(id) values($1)", Some("7")),
        ("insert into un(id) values($1)", Some("3000000000")),
        ("insert into un(id) values($1) returning *", Some("8")),
        ("update un set note = 'x' where id = $1", Some("1")),
        ("update un set c = $1", Some("red")),
        ("select * from un", None),
        ("select * from un where id = $1", Some("1")),
        ("select id from seen", None),
        ("select id, note from un", None),
        ("delete from un where id = $1 returning note", Some("1")),
    ];
    let changes = [
        "ALTER TABLE un ADD COLUMN more int",
        "DO $$ BEGIN EXECUTE 'ALTER TABLE un ADD COLUMN more int'; END $$",
        "DROP VIEW seen; ALTER TABLE un ALTER id TYPE bigint; CREATE VIEW seen AS SELECT id FROM un",
        "DROP VIEW seen; ALTER TABLE un ALTER id TYPE text; CREATE VIEW seen AS SELECT id FROM un",
        "ALTER TABLE un RENAME note TO noted",
        "DROP TYPE colour CASCADE; CREATE TYPE colour AS ENUM ('blue'); ALTER TABLE un ADD COLUMN c colour",
        "ALTER TABLE un DROP COLUMN note",
        "CREATE OR REPLACE VIEW seen AS SELECT id, note FROM un",
        "DROP VIEW seen; CREATE VIEW seen AS SELECT note AS id FROM un",
        "SELECT 1",
    ];
    let place = Place::new();
    let (mut alters, mut past) = (place.client(), place.direct());
    for change in changes {
        for (sql, value) in texts {
            for by_past in [false, true] {
                let uses = |formats: &[i16]| {
                    let values: Vec<Option<&[u8]>> = value.iter().map(|value| Some(value.as_bytes())).collect();
                    [bind_with_formats("", "", &[], &values, formats), execute("", 0), sync()].concat()
                };
                let mut seen = Vec::new();
                for direct in [true, false] {
                    alters.ask(make);
                    let mut one = if direct { place.direct() } else { place.client() };
                    describe_unnamed(&mut one, sql);
                    if by_past { &mut past } else { &mut alters }.ask(change);
                    // On the pool's only server connection another has prepared meanwhile.
                    describe_unnamed(&mut alters, "select 42");
                    let told = [(); 2].map(|()| outcome(&mut one, &uses(&[])));
                    seen.push(told);
                    drop(one);
                    alters.ask(wipe);
                }
                assert_eq!(seen[0], seen[1], "{sql}, {change}");
            }
        }
    }
}
