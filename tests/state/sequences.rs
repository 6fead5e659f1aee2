//! currval() and lastval(): a client is told of its own, or in PostgreSQL's words that there is nothing to tell.

use crate::stand::{Client, Place};

fn named(client: &mut Client, application: &str) {
    client.ask(&format!("SET application_name = '{application}'"));
}

#[test]
fn what_a_sequence_gave_is_the_clients_own() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    for client in [&mut one, &mut other] {
        named(client, "one that asks");
    }
    one.ask("CREATE SEQUENCE s; CREATE TABLE t (id serial, n int)");
    // Its server connection is not taken away from it for a sequence alone.
    one.ask("SELECT nextval('s')");
    assert!(place.pins().is_empty(), "{:?}", place.pins());
    // Whoever only reads does not disturb.
    other.ask("SELECT 1");
    assert_eq!(one.value("SELECT currval('s')"), "1");

    // What another has moved on is not mine.
    assert_eq!(place.pins(), ["sequence"]);
    drop(one);
    let undefined = other.refused("SELECT currval('s')");
    assert!(undefined.contains("is not yet defined in this session"), "{undefined}");
    assert!(other.refused("SELECT lastval()").contains("not yet defined"));
}

#[test]
fn a_program_that_asks_keeps_its_server_connection_until_it_discards() {
    let place = Place::new();
    let mut one = place.client();
    named(&mut one, "remembered");
    one.ask("CREATE TABLE t (id serial, n int)");
    one.refused("SELECT lastval()");
    let mut other = place.client();
    assert_eq!(other.value("SELECT 1"), "1");
    one.ask("INSERT INTO t (n) VALUES (7)");
    assert_eq!(place.pins(), ["sequence"]);
    assert_eq!(one.value("SELECT lastval()"), "1");
    one.ask("DISCARD SEQUENCES");
    assert!(place.pins().is_empty(), "{:?}", place.pins());
    other.ask("INSERT INTO t (n) VALUES (8)");
    assert!(place.pins().is_empty(), "another program: {:?}", place.pins());
    assert!(one.refused("SELECT lastval()").contains("not yet defined"));
    // In the midst of a transaction, and by the extended protocol.
    other.ask("INSERT INTO t (n) VALUES (9)");
    one.ask("BEGIN");
    assert!(one.refused("SELECT lastval()").contains("not yet defined"));
    one.ask("ROLLBACK");
    one.ask("INSERT INTO t (n) VALUES (10)");
    one.prepared("SELECT lastval()");
    assert_eq!(place.pins(), ["sequence"]);
}

#[test]
fn the_extended_protocol_tells_nobody_of_anothers_either() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    other.ask("CREATE SEQUENCE s");
    other.ask("SELECT nextval('s')");
    let refused = one.refused_prepared("SELECT currval('s')");
    assert!(refused.contains("is not yet defined in this session"), "{refused}");
}
