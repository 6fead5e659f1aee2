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
