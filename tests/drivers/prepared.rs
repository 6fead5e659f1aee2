//! More statements than server connections may keep, from more clients than there are server connections.

use futures_util::future::join_all;
use pgsluice_fixtures::raw::message::{bind, close_statement, execute, parse, query, sync};
use pgsluice_fixtures::{Address, Login, Raw};

use crate::rust::connect;
use crate::stand::{PASSWORD, SOON, Stand, USER};

const CLIENTS: i32 = 8;
const STATEMENTS: i32 = 50;
/// The stand's max_prepared_statements.
const MOST: i64 = 10;

async fn client(stand: &Stand, number: i32) {
    let mut client = connect(stand, "app").await;
    // Half of the texts are every client's, half are its own.
    let own = |of: i32| if of % 2 == 0 { 0 } else { number };
    let texts = (0..STATEMENTS).map(|of| format!("select $1::int * {STATEMENTS} + {of} + 1000 * {}", own(of)));
    let texts: Vec<String> = texts.collect();
    let mut statements = Vec::new();
    for text in &texts {
        statements.push(client.prepare(text).await.unwrap());
    }
    // Each client goes through them in an order of its own, twice.
    for turn in 0..2 * STATEMENTS {
        let of = (turn * 7 + number * 13) % STATEMENTS;
        let right = turn * STATEMENTS + of + 1000 * own(of);
        let statement = &statements[of as usize];
        assert_eq!(client.query_one(statement, &[&turn]).await.unwrap().get::<_, i32>(0), right, "client {number}");
        if turn % 10 == 0 {
            let transaction = client.transaction().await.unwrap();
            for (of, statement) in statements.iter().enumerate().take(15) {
                let of = i32::try_from(of).unwrap();
                let got: i32 = transaction.query_one(statement, &[&0]).await.unwrap().get(0);
                assert_eq!(got, of + 1000 * own(of), "client {number} in a transaction");
            }
            // In a constant: who names the view is shown its own statements alone.
            let held = "select (xpath('//n/text()', query_to_xml('select count(*) as n from pg_prepared_statements \
                        where name like ''pgsluice\\_%''', false, false, '')))[1]::text";
            let held = transaction.simple_query(held).await.unwrap();
            let held = held.iter().find_map(|message| match message {
                tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0)?.parse::<i64>().ok(),
                _ => None,
            });
            assert!(held.is_some_and(|held| (1..=MOST).contains(&held)), "{held:?} on one server connection");
            transaction.commit().await.unwrap();
        }
        if turn % 30 == 29 {
            // Dropped and prepared again: a Close, and a Parse of what stands somewhere already.
            let at = (turn % STATEMENTS) as usize;
            statements[at] = client.prepare(&texts[at]).await.unwrap();
        }
    }
}

#[tokio::test]
async fn eight_clients_fifty_statements_two_connections() {
    let stand = Stand::shared();
    join_all((0..CLIENTS).map(|number| client(&stand, number))).await;
    let connections = stand.server_connections("app");
    assert!((1..=2).contains(&connections), "{connections} server connections");
}

/// Sends messages, and gives the tags of the answers, with the SQLSTATE of an error.
fn tags(raw: &mut Raw, messages: &[Vec<u8>]) -> String {
    let frames = raw.round_trip(&messages.concat(), SOON).unwrap();
    let tag = |frame: &pgsluice_fixtures::Frame| match frame.error() {
        Some(error) => format!("E{}", error.code()),
        None => char::from(frame.tag).to_string(),
    };
    frames.iter().map(tag).collect()
}

fn raw(stand: &Stand, database: &str) -> Raw {
    let socket = Address::socket(stand.proxy.dir(), stand.proxy.port());
    Raw::connect(&socket, &Login::new(USER, database).password(PASSWORD)).unwrap()
}

/// Binds and executes a named statement without parameters.
fn run(name: &str) -> Vec<u8> {
    [bind("", name, &[]), execute("", 0)].concat()
}

#[test]
fn a_statement_survives_what_fails_around_it() {
    let stand = Stand::shared();
    let (mut one, mut other) = (raw(&stand, "raw"), raw(&stand, "raw"));
    assert_eq!(tags(&mut one, &[parse("a", "select 1", &[]), sync()]), "1Z");
    // The server connection that has it is the other's now; on the next one it cannot be prepared in a failed block.
    assert_eq!(tags(&mut other, &[query("begin")]), "CZ");
    assert_eq!(tags(&mut one, &[query("begin")]), "CZ");
    assert_eq!(tags(&mut one, &[query("select 1/0")]), "E22012Z");
    assert_eq!(tags(&mut one, &[run("a"), sync()]), "E25P02Z");
    assert_eq!(tags(&mut one, &[query("rollback")]), "CZ");
    assert_eq!(tags(&mut other, &[query("rollback")]), "CZ");
    assert_eq!(tags(&mut one, &[run("a"), sync()]), "2DCZ");

    // What stands behind an error in a pipeline has not happened: neither a Parse nor a Close.
    for _ in 0..2 {
        let wrong = [parse("w", "no sql", &[]), parse("b", "select 2", &[]), close_statement("a"), sync()];
        assert_eq!(tags(&mut one, &wrong), "E42601Z");
    }
    let known = [parse("w", "no sql", &[]), parse("b", "select 1", &[]), sync()];
    assert_eq!(tags(&mut one, &known), "E42601Z");
    assert_eq!(tags(&mut one, &[run("a"), sync()]), "2DCZ");
    assert_eq!(tags(&mut one, &[run("b"), sync()]), "E26000Z");
    assert_eq!(tags(&mut one, &[parse("b", "select 2", &[]), run("b"), sync()]), "12DCZ");
    assert_eq!(tags(&mut one, &[parse("b", "select 2", &[]), sync()]), "E42P05Z");
    assert_eq!(tags(&mut one, &[parse("", "select 3", &[]), sync()]), "1Z");
    assert_eq!(tags(&mut one, &[run("nothing"), parse("", "select 4, 4", &[]), sync()]), "E26000Z");
    assert_eq!(tags(&mut one, &[run(""), sync()]), "2DCZ");
    assert_eq!(tags(&mut one, &[parse("", "no sql", &[]), sync()]), "E42601Z");
    assert_eq!(tags(&mut one, &[run(""), sync()]), "E26000Z");
    assert_eq!(tags(&mut one, &[close_statement("a"), run("b"), sync()]), "32DCZ");
    assert_eq!(tags(&mut one, &[run("a"), sync()]), "E26000Z");
    // DEALLOCATE that fails.
    assert_eq!(tags(&mut one, &[query("begin")]), "CZ");
    assert_eq!(tags(&mut one, &[query("select 1/0")]), "E22012Z");
    assert_eq!(tags(&mut one, &[query("deallocate b")]), "E25P02Z");
    assert_eq!(tags(&mut one, &[query("rollback")]), "CZ");
    assert_eq!(tags(&mut one, &[run("b"), sync()]), "2DCZ");
    assert_eq!(tags(&mut one, &[query("deallocate b")]), "CZ");
    assert_eq!(tags(&mut one, &[parse("b", "select 2", &[]), run("b"), sync()]), "12DCZ");
}

/// A statement that had to make room for one that then was not prepared stands where it stood.
#[test]
fn room_that_was_not_needed() {
    let stand = Stand::shared();
    let mut one = raw(&stand, "raw");
    for n in 0..30 {
        assert_eq!(tags(&mut one, &[parse(&format!("s{n}"), &format!("select {n}, 'room'"), &[]), sync()]), "1Z");
    }
    for n in 0..30 {
        let skipped = [parse("w", "no sql", &[]), parse(&format!("t{n}"), &format!("select {n}, 'new'"), &[]), sync()];
        assert_eq!(tags(&mut one, &skipped), "E42601Z");
        assert_eq!(tags(&mut one, &[run(&format!("s{n}")), run(&format!("s{}", 29 - n)), sync()]), "2DC2DCZ");
    }
}
