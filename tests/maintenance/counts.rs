//! The check ahead of COMMIT counts changed rows. What an earlier transaction of the same server process has changed, and was rolled back
//! or committed before the gate closed, is not the next one's.

use crate::stand::{LONG, Stand, query, sqlstate};
use pgsluice_fixtures::{Frame, Installation, Postgres, Raw};

const HIDDEN: &str =
    "CREATE FUNCTION large() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM lo_create(0); RETURN 1; END $$";

/// Statements that give their transaction an id and change no row that is kept.
const HARMLESS: [&str; 3] = [
    "SELECT txid_current()",
    "BEGIN; LOCK TABLE t IN ACCESS SHARE MODE; SELECT txid_current(); COMMIT",
    "SELECT count(*), txid_current() FROM t",
];

fn stand(mode: &str, installation: Installation) -> Stand {
    let stand = Stand::with_server(installation, &format!("pool_mode = \"{mode}\""), "SUPERUSER");
    stand.operator().query(HIDDEN, LONG).expect("a function");
    stand
}

#[track_caller]
fn passes(app: &mut Raw, sql: &str) {
    let frames = query(app, sql);
    assert!(frames.iter().all(|frame| frame.tag != b'E'), "{sql}: {:?}", frames.iter().find_map(Frame::error));
}

fn refused_writes_are_forgotten(major: u32) {
    for mode in ["transaction", "session"] {
        let stand = stand(mode, Postgres::major(major).unwrap());
        stand.on_primary();
        let mut app = stand.app();
        for harmless in HARMLESS {
            for refused in ["SELECT large()", "BEGIN; SELECT large(); COMMIT", "DO $$ BEGIN PERFORM large(); END $$"] {
                assert_eq!(sqlstate(&query(&mut app, refused)), "25006", "{refused}");
                passes(&mut app, harmless);
                passes(&mut app, harmless);
            }
        }
    }
}

#[test]
fn a_write_that_was_refused_does_not_count_for_what_follows() {
    refused_writes_are_forgotten(15);
}

/// It has no word for that, and forgets late by itself.
#[test]
fn a_write_that_was_refused_does_not_count_for_what_follows_on_14() {
    refused_writes_are_forgotten(14);
}

fn earlier_writes_are_forgotten(major: u32) {
    let stand = stand("session", Postgres::major(major).unwrap());
    for harmless in HARMLESS {
        let mut app = stand.app();
        passes(&mut app, "UPDATE t SET v = v WHERE id = 1");
        stand.on_primary();
        passes(&mut app, harmless);
        assert_eq!(sqlstate(&query(&mut app, "SELECT large()")), "25006");
        stand.off();
    }
}

#[test]
fn what_a_session_wrote_before_the_flip_does_not_count_behind_it() {
    earlier_writes_are_forgotten(15);
}

#[test]
fn what_a_session_wrote_before_the_flip_does_not_count_behind_it_on_14() {
    earlier_writes_are_forgotten(14);
}
