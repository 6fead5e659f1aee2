//! The protocol binds what SQL-level PREPARE has prepared: a way to EXECUTE without saying so.

use crate::stand::{Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message::{bind, describe_statement, execute, parse, query as simple, sync};

#[test]
fn a_bind_of_what_sql_prepared_is_judged_too() {
    for mode in ["transaction", "session"] {
        let stand = Stand::new(&format!("pool_mode = \"{mode}\""));
        let mut app = stand.app();
        assert_eq!(sqlstate(&query(&mut app, "PREPARE x AS SELECT lo_unlink(4711)")), "");
        let before = stand.everything();
        stand.on();
        let frames = talk(&mut app, &[bind("", "x", &[]), execute("", 0), sync()].concat(), 1);
        let hidden = [parse("", "SELECT 1", &[]), bind("", "", &[]), bind("", "x", &[]), execute("", 0), sync()];
        let again = talk(&mut app, &hidden.concat(), 1);
        assert_eq!((sqlstate(&frames), sqlstate(&again)), ("25006".to_owned(), "25006".to_owned()));
        assert_eq!(stand.everything(), before);
        stand.off();
    }
}

/// A simple query ends the unnamed statement; the one that then stands on the server is somebody else's.
#[test]
fn the_unnamed_statement_is_nobody_elses() {
    let stand = Stand::new("default_pool_size = 1");
    for closed in [false, true] {
        if closed {
            stand.on();
        }
        let (mut one, mut other) = (stand.app(), stand.app());
        for ending in ["SELECT 1", "DELETE FROM t WHERE false", "BEGIN"] {
            talk(&mut other, &[parse("", "SELECT 'other'", &[]), sync()].concat(), 1);
            talk(&mut one, &simple(ending), 1);
            for asks in [bind("", "", &[]), describe_statement("")] {
                let frames = talk(&mut one, &[asks, execute("", 0), sync()].concat(), 1);
                let error = frames.iter().find_map(pgsluice_fixtures::Frame::error).expect("an error");
                assert_eq!((error.code(), error.message()), ("26000", "unnamed prepared statement does not exist"));
            }
        }
    }
}
