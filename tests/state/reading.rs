//! A text means what it meant to the session that sent it, on whatever server connection, under whatever settings.

use pgsluice_fixtures::raw::message::{bind, execute, parse, query, sync};

use crate::stand::{Client, Place, SOON};

/// Read under standard_conforming_strings = on it is one constant; under off it calls a function.
const TWO_WAYS: &str = r"SELECT 'a\'' || upper($$x$$)::text --'";

/// The rows and errors of messages up to so many ReadyForQuery.
fn told(client: &mut Client, messages: &[Vec<u8>]) -> Vec<String> {
    let syncs = messages.iter().filter(|one| matches!(one[0], b'S' | b'Q')).count();
    client.0.send(&messages.concat()).unwrap();
    let mut told = Vec::new();
    for _ in 0..syncs {
        for frame in client.0.frames_until_ready(SOON).unwrap() {
            match frame.tag {
                b'D' => told.extend(frame.values().into_iter().flatten().map(|value| value.escape_ascii().to_string())),
                b'E' => told.push(frame.error().unwrap().to_string()),
                _ => {}
            }
        }
    }
    told
}

fn run(sql: &str) -> Vec<u8> {
    [parse("", sql, &[]), bind("", "", &[]), execute("", 0)].concat()
}

/// What a statement says that is prepared under one setting and run under another, on a connection on which it is not prepared.
fn moved(client: &mut Client, mut others: impl FnMut(), set: &[&str], in_block: bool) -> Vec<Vec<String>> {
    let (before, after) = (set[0], set[1]);
    let texts = [
        TWO_WAYS,
        "SELECT 'é'",
        "SELECT '01/02/2026'::date::text || '2026-01-01 00:00'::timestamptz::text",
        "SELECT NULL = NULL",
    ];
    let mut all = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let (name, sql_name) = (format!("p{at}"), format!("q{at}"));
        client.ask(&format!("RESET ALL; {before}"));
        all.push(told(client, &[parse(&name, text, &[]), sync()]));
        all.push(told(client, &[query(&format!("PREPARE {sql_name} AS {text}\n"))]));
        client.ask(after);
        others();
        if in_block {
            client.ask("BEGIN");
        }
        let executes = query(&format!("EXECUTE {sql_name}"));
        all.push(told(client, &[bind("", &name, &[]), execute("", 0), sync()]));
        all.push(told(client, std::slice::from_ref(&executes)));
        all.push(told(client, &[run(&format!("EXECUTE {sql_name}")), sync()]));
        // Nothing of that is left.
        all.push(told(client, &[query("SELECT concat_ws(' ', current_setting('standard_conforming_strings'), current_setting('DateStyle'), current_setting('client_encoding'), current_setting('transform_null_equals'))")]));
        if in_block {
            client.ask("COMMIT");
        }
        all.push(told(client, &[query("SHOW standard_conforming_strings"), query("SHOW DateStyle")]));
        client.ask("RESET ALL; DEALLOCATE ALL");
    }
    all
}

const CHANGES: [[&str; 2]; 6] = [
    ["SET standard_conforming_strings = on", "SET standard_conforming_strings = off"],
    ["SET standard_conforming_strings = off", "SET standard_conforming_strings = on"],
    ["SET client_encoding = 'UTF8'", "SET client_encoding = 'LATIN1'"],
    ["SET DateStyle = 'ISO, MDY'", "SET DateStyle = 'SQL, DMY'"],
    ["SET TimeZone = 'UTC'", "SET TimeZone = 'Asia/Tokyo'"],
    ["SET transform_null_equals = off", "SET transform_null_equals = on"],
];

#[test]
fn a_statement_is_prepared_elsewhere_under_the_settings_it_was_parsed_under() {
    let place = Place::new();
    for set in CHANGES {
        for in_block in [false, true] {
            let (mut one, mut other) = (place.client(), place.client());
            let found = moved(&mut one, || _ = other.ask("DEALLOCATE ALL"), &set, in_block);
            let expected = moved(&mut place.direct(), || (), &set, in_block);
            assert_eq!(found, expected, "{set:?}, in a block: {in_block}");
        }
    }
}

#[test]
fn clients_that_prepare_a_text_under_different_settings_share_no_statement() {
    let place = Place::new();
    for set in CHANGES {
        let (mut one, mut other) = (place.client(), place.client());
        for text in [TWO_WAYS, "SELECT '01/02/2026'::date::text", "SELECT NULL = NULL"] {
            for (client, set) in [(&mut one, set[0]), (&mut other, set[1])] {
                client.ask(set);
                let messages = [parse("same", text, &[]), bind("", "same", &[]), execute("", 0), sync()];
                let found = told(client, &messages);
                let mut direct = place.direct();
                direct.ask(set);
                assert_eq!(found, told(&mut direct, &messages), "{text} under {set}");
                client.ask("DEALLOCATE ALL");
            }
        }
    }
}

#[test]
fn what_stands_behind_a_change_of_reading_is_not_read_as_before() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    let sets = r"SELECT set_config('app.note', 'a\'b', false)";
    let off = "SET standard_conforming_strings = off";
    let pipelines = [
        vec![query(off), query(sets)],
        vec![run(off), sync(), run(sets), sync()],
        vec![run(off), run(sets), sync()],
        vec![run("SELECT set_config('standard_conforming_strings', 'off', false)"), run(sets), sync()],
    ];
    for pipeline in pipelines {
        assert!(told(&mut one, &pipeline).iter().all(|value| value == r"a\'b" || value == "off"));
        one.ask("DISCARD ALL");
        assert_eq!(told(&mut other, &[query("SELECT nullif(current_setting('app.note', true), '')")]), [""; 0]);
    }
    // A value that is spelled under one setting is that value under another.
    one.ask(off);
    one.ask(r"SET app.note = 'a\\b'");
    one.ask("SET standard_conforming_strings = on");
    other.ask("SELECT 1");
    assert_eq!(one.ask("SHOW app.note"), [r"a\b"]);
    other.ask("RESET ALL");
    assert_eq!(one.ask("SHOW app.note"), [r"a\b"]);
}

/// What may have changed it has been answered, though a message behind it has not: nothing that is prepared then is unsure, and
/// keeps no server connection.
#[test]
fn a_statement_parsed_amid_a_pipeline_behind_a_change_of_reading_binds_nobody() {
    let place = Place::new();
    let on = "SET standard_conforming_strings = on";
    for first in ["DO $$ BEGIN PERFORM 1; END $$", "SET standard_conforming_strings = off", on] {
        let pipelines = [
            vec![query(first), parse("a", "SELECT 1", &[]), parse("b", TWO_WAYS, &[]), sync()],
            vec![run(first), sync(), parse("a", "SELECT 1", &[]), run("SELECT 2"), parse("b", TWO_WAYS, &[]), sync()],
            vec![query("SELECT 1"), query(first), parse("a", "SELECT 1", &[]), parse("b", TWO_WAYS, &[]), sync()],
        ];
        for pipeline in pipelines {
            let (mut one, mut other, mut direct) = (place.client(), place.client(), place.direct());
            assert_eq!(told(&mut one, &pipeline), told(&mut direct, &pipeline), "{first}");
            assert_eq!(place.pins(), [""; 0], "{first}");
            // The pool's only server connection is free, and what was prepared means what it meant.
            assert_eq!(other.value("SELECT 1"), "1");
            other.ask("DEALLOCATE ALL");
            let uses = [bind("", "b", &[]), execute("", 0), sync()];
            assert_eq!(told(&mut one, &uses), told(&mut direct, &uses), "{first}");
        }
    }
}
