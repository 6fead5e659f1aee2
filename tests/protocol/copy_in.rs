//! COPY FROM STDIN among other messages: what PostgreSQL ignores in copy-in mode, skips after an error, and answers. Sequences by
//! hand and at random, against a direct connection; and nobody's server connection is lost by them.

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Address, Frame, Raw, RawError, wait};

use crate::stand::{SOON, Stand, ask, login};

/// One message, or a few that belong together, by a letter of their own.
fn words(letter: char) -> Vec<u8> {
    let batch =
        |sql: &str| [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0)].concat();
    match letter {
        'Q' => message::query("COPY copies FROM STDIN"),
        '2' => message::query("COPY copies FROM STDIN; COPY copies FROM STDIN; SELECT 8"),
        'V' => message::query("COPY vetoed FROM STDIN"),
        'X' => batch("COPY copies FROM STDIN"),
        'W' => batch("COPY vetoed FROM STDIN"),
        'N' => batch("COPY no_such_table FROM STDIN"),
        'd' => message::copy_data(b"7\n"),
        'b' => message::copy_data(b"no number\n"),
        'c' => message::copy_done(),
        'f' => message::copy_fail("no thanks"),
        'S' => message::sync(),
        'H' => message::flush(),
        'q' => message::query("SELECT 1"),
        'x' => batch("SELECT 2"),
        'e' => batch("SELECT 1/0"),
        'p' => message::parse("", "SELECT 3", &[]),
        'B' => message::query("BEGIN"),
        'R' => message::query("ROLLBACK"),
        other => panic!("{other}"),
    }
}

/// What is told for a sequence, behind which the COPY and the batch are ended; or up to the end of the connection.
fn told(address: &Address, database: &str, sequence: &str, at_once: bool) -> Vec<String> {
    let mut client = Raw::connect(address, &login(database, &[])).unwrap();
    let mut parts: Vec<Vec<u8>> = sequence.chars().map(words).collect();
    parts.push([words('c'), words('c'), words('S'), words('R'), message::query("SELECT 'the end'")].concat());
    if at_once {
        parts = vec![parts.concat()];
    }
    for part in parts {
        if client.send(&part).is_err() {
            break;
        }
    }
    let is_end = |frame: &Frame| frame.tag == b'D' && frame.values() == [Some(b"the end".to_vec())];
    let frames = match client.frames_until(SOON, is_end) {
        Ok(mut frames) => {
            frames.extend(client.frames_until_ready(SOON).unwrap());
            frames
        }
        Err(RawError::Closed { mut frames }) => {
            frames.push(Frame { tag: b'X', body: Vec::new() });
            frames
        }
        Err(error) => panic!("{sequence} at {address:?}: {error}"),
    };
    let _ = client.send(&message::terminate());
    let words = |frame: &Frame| match frame.error_fields() {
        fields if fields.is_empty() => format!("{}{:?}", frame.tag as char, frame.strings()),
        fields => format!("E{:?} {:?}", fields.get(&'C'), fields.get(&'M')),
    };
    frames.iter().map(words).collect()
}

fn compare(stand: &Stand, sequence: &str) {
    let right = told(&stand.server(), "copies", sequence, true);
    for database in ["copies", "copies_session"] {
        for at_once in [true, false] {
            let answer = told(&stand.proxy.tcp(), database, sequence, at_once);
            assert!(
                answer == right,
                "{sequence} on {database}, at once: {at_once}:\n{}\nfor\n{}",
                answer.join(" "),
                right.join(" ")
            );
        }
    }
}

fn stand() -> std::sync::Arc<Stand> {
    let stand = Stand::shared();
    let create = "SELECT pg_advisory_lock(7); CREATE TABLE IF NOT EXISTS copies (n int); CREATE TABLE IF NOT EXISTS vetoed (n int);
        CREATE OR REPLACE FUNCTION veto() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION $$veto$$; END';
        CREATE OR REPLACE TRIGGER veto BEFORE INSERT ON vetoed FOR EACH STATEMENT EXECUTE FUNCTION veto();
        GRANT ALL ON copies, vetoed TO app";
    stand.cluster.primary().psql_in("copies", create).unwrap();
    stand
}

/// Sequences that PostgreSQL answers in a way of its own.
const SEQUENCES: &[&str] = &[
    "QSdcq",
    "QdScq",
    "QHdcq",
    "QSdSHScq",
    "QbScq",
    "QbSScq",
    "QdSbcSq",
    "QSbcq",
    "QbcSq",
    "VSdcSq",
    "VdSSq",
    "QdfSq",
    "QfcSq",
    "QcfSq",
    "QccSq",
    "QScSdcSq",
    "2dcdcq",
    "2dcSdSSfq",
    "2dcbSSq",
    "2Sdcdcq",
    "2SdcSdcq",
    "XSdcSq",
    "XdcSq",
    "XSdScSq",
    "XcfSq",
    "XfcSq",
    "XdfcSq",
    "XSbcSq",
    "XbScSq",
    "XbSScSq",
    "XSdSbcSSq",
    "XbSxSq",
    "XdSSbcSq",
    "WSdcSq",
    "WdcSq",
    "WSSxSq",
    "NdcSq",
    "NSdcSq",
    "QbpSq",
    "QbxSq",
    "QbeSq",
    "QbeSdcq",
    "QbSeSq",
    "QbSxSq",
    "Qbq",
    "QbSqq",
    "Xbq",
    "XbSqSq",
    "Qdq",
    "QdxS",
    "QSdq",
    "XdxS",
    "XSdeS",
    "XdB",
    "QdSSpS",
    "BQdcRq",
    "BQbSSq",
    "BXbSSdcSq",
    "BXSdcSRq",
    "eSXSdcSq",
    "eXdcSq",
    "xXdcSq",
    "XdcxSq",
    "XSdcxSq",
    "XdceSXSdcSq",
    "qqQdcqqQSdcq",
    "eSQdcq",
    "eQdcSq",
    "dcfSq",
    "SScdq",
];

#[test]
fn messages_among_copy_data_are_answered_as_by_postgresql() {
    let stand = stand();
    for sequence in SEQUENCES {
        compare(&stand, sequence);
    }
}

#[test]
fn messages_among_copy_data_at_random_are_answered_as_by_postgresql() {
    let stand = stand();
    let letters: Vec<char> = "Q2VXXWNdddbbccfSSSSHqxep".chars().collect();
    let mut state = 20_240_607_u64;
    let mut throw = |most: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % most
    };
    for _ in 0..150 {
        let mut sequence = String::from(['Q', 'X', '2', 'x', 'V', 'W'][throw(6)]);
        for _ in 0..=throw(8) {
            sequence.push(letters[throw(letters.len())]);
        }
        compare(&stand, &sequence);
    }
}

#[test]
fn a_client_that_goes_among_copy_messages_leaves_no_server_connection_behind() {
    let stand = stand();
    for terminates in [true, false] {
        for sequence in SEQUENCES {
            let mut client = Raw::connect(&stand.proxy.tcp(), &login("copies", &[])).unwrap();
            client.send(&sequence.chars().flat_map(words).collect::<Vec<u8>>()).unwrap();
            if terminates {
                let _ = client.send(&message::terminate());
            } else {
                let _ = client.shut_down_writing();
            }
            client.frames_until_closed(SOON).unwrap_or_else(|error| panic!("{sequence}, {terminates}: {error}"));
            let mut next = Raw::connect(&stand.proxy.tcp(), &login("copies", &[])).unwrap();
            assert_eq!(ask(&mut next, "SELECT 1"), "1", "{sequence}, terminates: {terminates}");
        }
    }
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'copies' AND state <> 'idle' AND pid <> pg_backend_pid()";
    wait::until(SOON, "the end of all", || {
        (stand.cluster.primary().psql_in("copies", left).unwrap() == "0").then_some(())
    });
}

#[test]
fn an_error_without_sync_is_told_though_the_client_says_no_more() {
    let stand = stand();
    for (what, words) in [("Parse", message::parse("", "SELEC", &[])), ("Execute", words('e')), ("COPY", words('N'))] {
        let heard = |address: &Address| {
            let mut client = Raw::connect(address, &login("copies", &[])).unwrap();
            client.send(&[words.clone(), message::terminate()].concat()).unwrap();
            let frames = client.frames_until_closed(SOON).unwrap();
            frames.iter().filter_map(Frame::error).map(|error| error.code().to_owned()).collect::<Vec<_>>()
        };
        let (right, answer) = (heard(&stand.server()), heard(&stand.proxy.tcp()));
        assert_eq!(answer, right, "{what}");
        assert_eq!(right.len(), 1, "{what}");
    }
}
