//! A batch of one statement that comes whole is looked at once: whatever happens in it, the client hears what a direct connection
//! says, and what it does next finds everything as it would there.

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Raw};

use crate::errors::heard;
use crate::stand::{SOON, Stand, ask, login};

/// Messages of the extended protocol, as a driver sends them; the text is Parse's, `$` begins a value of Bind.
fn batch(words: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in words.split('|').map(str::trim) {
        let (verb, rest) = word.split_once(' ').unwrap_or((word, ""));
        let values: Vec<Option<&[u8]>> =
            rest.split(' ').filter_map(|value| value.strip_prefix('$')).map(|value| Some(value.as_bytes())).collect();
        let name = rest.split(' ').find(|name| !name.starts_with('$')).unwrap_or_default();
        bytes.extend(match verb {
            "P" => message::parse("", rest, &[]),
            "PN" => rest.split_once(' ').map(|(name, sql)| message::parse(name, sql, &[])).unwrap(),
            "B" => message::bind("", name, &values),
            "BP" => message::bind(name, "", &values),
            "D" => message::describe_portal(""),
            "DS" => message::describe_statement(name),
            "E" => message::execute("", rest.parse().unwrap_or(0)),
            "EP" => message::execute(name, 0),
            "C" => message::close_statement(name),
            "S" => message::sync(),
            "H" => message::flush(),
            "Q" => message::query(rest),
            other => panic!("{other}"),
        });
    }
    bytes
}

/// Rounds of messages: each is sent at once, and ends with so many ReadyForQuery as it has Sync and Query.
const CONVERSATIONS: &[&[&str]] = &[
    // As it should be: with Describe and without, with values, in a block and outside.
    &["P SELECT 1, 'x' | B | D | E | S", "P SELECT 2 | B | E | S", "B | E | S", "B | D | E | S"],
    &["P SELECT $1::int + 1 | B $41 | D | E | S", "B $5 | E | S", "Q SELECT 1", "B $6 | E | S"],
    &[
        "Q BEGIN",
        "P INSERT INTO whole VALUES ($1) | B $1 | D | E | S",
        "P SELECT count(*) FROM whole | B | D | E | S",
        "Q ROLLBACK",
    ],
    &["P INSERT INTO whole VALUES (7) RETURNING v | B | D | E | S", "P DELETE FROM whole | B | D | E | S"],
    // Rows in parts, many rows, none, and of many bytes.
    &[
        "P SELECT generate_series(1, 5) | B | D | E 2 | S",
        "Q BEGIN",
        "P SELECT generate_series(1, 5) | B | D | E 2 | S",
        "E 2 | S",
        "E | S",
        "Q COMMIT",
    ],
    &[
        "P SELECT generate_series(1, 5000), repeat('y', 30) | B | D | E | S",
        "P SELECT repeat('z', 300000) | B | D | E | S",
    ],
    &["P SELECT 1 WHERE false | B | D | E | S", "P UPDATE whole SET v = 1 WHERE v = 99 | B | D | E | S"],
    // Errors at each message, and what stands afterwards.
    &["P SELECT 1 | B | E | S", "P SELEC 2 | B | D | E | S", "B | D | E | S", "P SELECT 3 | B | D | E | S"],
    &["P SELECT nowhere | B | D | E | S", "B | E | S"],
    &["P SELECT $1::int | B $x | D | E | S", "B $4 | D | E | S", "P SELECT $1::int | B | D | E | S", "B $5 | E | S"],
    &[
        "P SELECT 1 / (v - 3) FROM generate_series(1, 5) v | B | D | E | S",
        "P SELECT 1 | B | E | S",
        "P SELECT 1 / $1::int | B $0 | D | E | S",
        "B $1 | E | S",
    ],
    &[
        "Q BEGIN",
        "P SELECT 1 / $1::int | B $0 | D | E | S",
        "B $1 | E | S",
        "P SELECT 1 | B | D | E | S",
        "Q ROLLBACK",
        "P SELECT 1 | B | D | E | S",
    ],
    // Notices and settings in the midst of an answer.
    &[
        "P SELECT warns(1) | B | D | E | S",
        "P SELECT warns($1) | B $2 | E | S",
        "P SELECT sets('x') | B | D | E | S",
        "Q SHOW application_name",
        "Q RESET ALL",
    ],
    // Names.
    &["PN a SELECT $1::int | S", "B a $1 | D | E | S", "B a $2 | E | S", "C a | S", "B a $3 | D | E | S"],
    &[
        "PN a SELECT 1 / $1::int | DS a | S",
        "B a $0 | D | E | S",
        "B a $x | D | E | S",
        "B a $1 | D | E | S",
        "P SELECT 5 | B | E | S",
        "B a $1 | E | S",
        "B | E | S",
    ],
    &[
        "PN a SELECT * FROM whole | DS a | S",
        "B a | D | E | S",
        "Q ALTER TABLE whole ADD w int",
        "B a | D | E | S",
        "Q ALTER TABLE whole DROP w",
        "C a | S",
    ],
    &[
        "Q PREPARE b AS SELECT 8",
        "B b | D | E | S",
        "P SELECT 9 | B | D | E | S",
        "Q EXECUTE b",
        "Q DEALLOCATE b",
        "B b | D | E | S",
    ],
    // Several at once, and with others.
    &["P SELECT 1 | B | D | E | S | P SELECT 2 | B | D | E | S | P SELECT 3 | B | E | S"],
    &["P SELECT 1 | B | E | S | P SELECT 1 / 0 | B | E | S | B | E | S | P SELECT 3 | B | E | S | B | E | S"],
    &[
        "P SELECT 1 | B | D | E | S | Q SELECT 2",
        "Q SELECT 3 | P SELECT 4 | B | D | E | S",
        "P SELECT 5 | B | D | E | S | C a | S",
    ],
    &[
        "P SELECT 1 | B | D | E | H | S",
        "P SELECT 1 | B | D | E | P SELECT 2 | B | E | S",
        "S | P SELECT 1 | B | E | S",
    ],
    &["Q BEGIN", "P SELECT 1 | BP p | EP p | S", "P SELECT 2 | B | D | E | S", "EP p | S", "Q COMMIT"],
    // The edges of blocks.
    &["Q BEGIN", "Q BEGIN", "Q SELECT 1", "Q COMMIT", "Q COMMIT", "Q START TRANSACTION READ ONLY", "Q END"],
    &["Q BEGIN", "Q SELECT 1 / 0", "Q COMMIT", "Q BEGIN; SELECT 1", "Q COMMIT AND CHAIN", "Q COMMIT"],
    &["Q BEGIN | Q SELECT 1 | Q COMMIT | Q BEGIN | Q COMMIT", "Q BEGIN | P SELECT 1 | B | E | S | Q COMMIT"],
    &["Q BEGIN", "Q SET application_name = 'y'", "Q COMMIT", "Q SHOW application_name", "Q RESET application_name"],
    &[
        "Q BEGIN",
        "Q INSERT INTO late VALUES (1)",
        "Q COMMIT",
        "Q SELECT 1",
        "Q BEGIN",
        "Q PREPARE t AS SELECT 1",
        "Q COMMIT",
        "Q DEALLOCATE t",
    ],
    // What is not plain.
    &[
        "P BEGIN | B | D | E | S",
        "P SET search_path = pg_catalog | B | D | E | S",
        "P COMMIT | B | D | E | S",
        "Q SHOW search_path",
        "Q RESET search_path",
    ],
    &["P SHOW pgsluice_none | B | D | E | S", "P  | B | D | E | S", "P SELECT 1; SELECT 2 | B | D | E | S"],
];

#[test]
fn a_whole_batch_is_answered_as_on_a_connection_of_ones_own() {
    let stand = Stand::new("", "[databases.whole]\n", &["whole"]);
    for sql in [
        "CREATE TABLE whole (v int)",
        "CREATE TABLE late_of (v int PRIMARY KEY)",
        "GRANT SELECT ON late_of TO app",
        "CREATE TABLE late (v int REFERENCES late_of DEFERRABLE INITIALLY DEFERRED)",
        "GRANT ALL ON whole, late TO app",
        "ALTER TABLE whole OWNER TO app",
        "CREATE FUNCTION warns(v int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'of %', v; RETURN v; END $$",
        "CREATE FUNCTION sets(v text) RETURNS text LANGUAGE sql AS $$ SELECT set_config('application_name', v, false) $$",
    ] {
        stand.cluster.primary().psql_in("whole", sql).unwrap();
    }
    let login = login("whole", &[("application_name", "whole")]);
    let mut other = Raw::connect(&stand.proxy.tcp(), &login).unwrap();
    for conversation in CONVERSATIONS {
        let mut direct = Raw::connect(&stand.server(), &login).unwrap();
        let right = talk(&mut direct, conversation, &mut |_| {});
        let mut through = Raw::connect(&stand.proxy.tcp(), &login).unwrap();
        let said = talk(&mut through, conversation, &mut |last| {
            // The one server connection serves somebody else meanwhile, where it is free.
            if last.body == b"I" {
                assert_eq!(ask(&mut other, "SELECT 'other'"), "other");
                let its = other.round_trip(&batch("P SELECT 'its own' | B | D | E | S"), SOON).unwrap();
                assert!(its.iter().any(|frame| frame.tag == b'D' && frame.body.ends_with(b"its own")), "{its:?}");
            }
        });
        for ((round, said), (_, right)) in said.iter().zip(&right) {
            assert_eq!(said, right, "{round} of {conversation:?}");
        }
    }
}

/// Has a conversation, each round at once and then in two pieces; shows `after` the last frame of each.
fn talk<'a>(raw: &mut Raw, conversation: &[&'a str], after: &mut dyn FnMut(&Frame)) -> Vec<(&'a str, Vec<String>)> {
    let mut said = Vec::new();
    for round in conversation {
        let bytes = batch(round);
        let ends = round.split('|').filter(|word| matches!(word.trim().as_bytes(), b"S" | [b'Q', ..])).count();
        for cut in [bytes.len(), bytes.len() / 2] {
            let (first, rest) = bytes.split_at(cut);
            raw.send(first).unwrap();
            raw.send(rest).unwrap();
            let mut frames = Vec::new();
            for _ in 0..ends {
                frames.extend(raw.frames_until_ready(SOON).unwrap_or_else(|error| panic!("{round}: {error}")));
            }
            frames.last().into_iter().for_each(&mut *after);
            said.push((*round, heard(&frames)));
        }
    }
    said
}
