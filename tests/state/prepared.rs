//! Statements prepared by protocol.

use crate::stand::{Client, Place, SOON};
use pgsluice_fixtures::raw::message::{bind, close_statement, describe_statement, execute, parse, sync};

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
