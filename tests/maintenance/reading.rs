//! Behind whatever may change how text is read, nothing in the same batch is judged as it was read before.

use pgsluice_fixtures::raw::message::{bind, execute, frame, parse, query as q, sync};
use pgsluice_fixtures::{Address, Login, Raw};

use crate::stand::{Stand, query, sqlstate, talk};

fn run(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0)].concat()
}

fn run_bytes(sql: &[u8]) -> Vec<u8> {
    [frame(b'P', &[b"\0", sql, b"\0\0\0"].concat()), bind("", "", &[]), execute("", 0)].concat()
}

/// A constant under `on`; under `off` it emits a message, which leaves no trace that could be asked for.
const UNDER_OFF: &str = r"SELECT 'a\'', pg_logical_emit_message(false, $$x$$, $$y$$)::text --'";
/// The other way round.
const UNDER_ON: &str = r"SELECT 'a\', pg_logical_emit_message(false, $$x$$, $$y$$)::text, '--'";

/// Ways to turn standard_conforming_strings off that a batch can begin with.
const TURNS_OFF: [&str; 6] = [
    "SET standard_conforming_strings = off",
    "SET LOCAL standard_conforming_strings = off",
    "SELECT set_config('standard_conforming_strings', 'off', false)",
    "SELECT hides('standard_conforming_strings', 'off')",
    "DO $$ BEGIN PERFORM set_config('standard_conforming_'||'strings', 'off', false); END $$",
    "EXECUTE turns_off",
];

fn refuses(mode: &str) {
    let stand = Stand::new(mode);
    let mut app = stand.app();
    query(&mut app, "SELECT 1");
    stand.on_primary();
    for first in TURNS_OFF {
        for begins in ["", "BEGIN"] {
            let mut app = stand.app();
            query(&mut app, "PREPARE turns_off AS SELECT set_config('standard_conforming_strings', 'off', false)");
            let begin = if begins.is_empty() { Vec::new() } else { run(begins) };
            let batches = [
                [run(UNDER_OFF), sync()].concat(),
                q(UNDER_OFF),
                [parse("n", UNDER_OFF, &[]), bind("", "n", &[]), execute("", 0), sync()].concat(),
            ];
            for rest in batches {
                let frames = talk(&mut app, &[begin.clone(), run(first), rest].concat(), 1);
                assert_eq!(sqlstate(&frames), "25006", "{begins}; {first}");
                query(&mut app, "ROLLBACK");
                query(&mut app, "RESET standard_conforming_strings");
            }
            // What every reading agrees on is not refused.
            let frames =
                talk(&mut app, &[begin, run(first), run(r"SELECT 'C:\dir', 'é', E'it\'s'"), sync()].concat(), 1);
            assert_eq!(sqlstate(&frames), "", "{begins}; {first}");
            query(&mut app, "ROLLBACK");
        }
    }
    let off = Login::new("app", "app").password("app").parameter("options", "-c standard_conforming_strings=off");
    for first in ["SET standard_conforming_strings = on", "RESET ALL; SET standard_conforming_strings = on"] {
        let mut app = Raw::connect(&Address::local(stand.proxy.port()), &off).unwrap();
        let first: Vec<u8> = first.split("; ").flat_map(run).collect();
        let frames = talk(&mut app, &[first, run(UNDER_ON), sync()].concat(), 1);
        assert_eq!(sqlstate(&frames), "25006");
    }
    // Undone within the batch.
    let mut app = Raw::connect(&Address::local(stand.proxy.port()), &off).unwrap();
    query(&mut app, "BEGIN; SET LOCAL standard_conforming_strings = on");
    let frames = talk(&mut app, &[run("ROLLBACK"), run(UNDER_OFF), sync()].concat(), 1);
    assert_eq!(sqlstate(&frames), "25006");

    let sjis = b"SELECT E'\x83\\', pg_logical_emit_message(false, $$x$$, chr(65))::text --'";
    for first in ["SET client_encoding TO SJIS", "SET NAMES 'SJIS'", "SELECT hides('client_encoding', 'SJIS')"] {
        let mut app = stand.app();
        let frames = talk(&mut app, &[run(first), run_bytes(sjis), sync()].concat(), 1);
        assert_eq!(sqlstate(&frames), "25006", "{first}");
    }
    // One message that is sent in parts.
    let mut app = stand.app();
    let parts = format!("BEGIN; SET standard_conforming_strings = off; COMMIT; {UNDER_OFF}");
    assert_eq!(sqlstate(&query(&mut app, &parts)), "25006");
}

#[test]
fn a_batch_that_changes_how_text_is_read_hides_nothing_in_transaction_mode() {
    refuses("");
}

#[test]
fn a_batch_that_changes_how_text_is_read_hides_nothing_in_session_mode() {
    refuses("pool_mode = \"session\"");
}
