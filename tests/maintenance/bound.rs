//! The protocol binds what SQL-level PREPARE has prepared: a way to EXECUTE without saying so.

use crate::stand::{Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message::{bind, execute, parse, sync};

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
