//! Messages that do not have the form they should have: PostgreSQL's words, and its way on.

use pgsluice_fixtures::raw::message::{self, bind, execute, frame, parse, query, sync};
use pgsluice_fixtures::{Address, Frame, Raw, RawError};

use crate::stand::{SOON, Stand, login};

/// What a message is answered with, tag by tag, with the fields of errors.
fn words(frames: &[Frame]) -> Vec<String> {
    let word = |frame: &Frame| match frame.tag {
        b'E' => {
            let mut fields = frame.error_fields();
            fields.retain(|letter, _| !matches!(letter, 'F' | 'L' | 'R'));
            format!("E {fields:?}")
        }
        b'Z' => format!("Z {:?}", frame.body),
        b'S' => String::new(),
        tag => format!("{} {}", tag as char, frame.body.escape_ascii()),
    };
    frames.iter().map(word).filter(|word| !word.is_empty()).collect()
}

fn answers(address: &Address, before: &str, bytes: &[u8]) -> (Vec<String>, Vec<String>) {
    let mut raw = Raw::connect(address, &login("errors", &[])).unwrap();
    raw.query(before, SOON).unwrap();
    let frames = match raw.round_trip(bytes, SOON) {
        Ok(frames) => frames,
        Err(RawError::Closed { frames }) => return (words(&frames), vec!["closed".to_owned()]),
        Err(error) => panic!("{before}: {:?}: {error}", bytes.escape_ascii().to_string()),
    };
    let after = raw.round_trip(&query("SELECT 1"), SOON).unwrap();
    (words(&frames), words(&after))
}

/// Messages that PostgreSQL answers with an ERROR, and goes on.
fn malformed() -> Vec<Vec<u8>> {
    vec![
        frame(b'Q', b"SELECT 1"),
        frame(b'Q', b""),
        frame(b'Q', b"SELECT 1\0SELECT 2\0"),
        frame(b'P', b"cut"),
        frame(b'P', b"\0SELECT 1\0"),
        frame(b'P', b"\0SELECT 1\0\0\x02\0\0\0\x17"),
        frame(b'P', b"\0SELECT 1\0\0\0more"),
        frame(b'B', b""),
        frame(b'B', b"cut"),
        frame(b'B', b"\0\0"),
        frame(b'B', b"\0\0\0\0\0\x01"),
        frame(b'B', b"\0\0\0\x02\0\0\0\x01\0\0\0\0\0\0"),
        frame(b'B', b"\0\0\0\x01\0\x07\0\0\0\0"),
        frame(b'B', b"\0\0\0\0\0\x01\0\0\0\x09x\0\0"),
        frame(b'B', b"\0\0\0\0\0\0\0\x05\0\0"),
        frame(b'D', b""),
        frame(b'D', b"X\0"),
        frame(b'D', b"Scut"),
        frame(b'D', b"S\0more"),
        frame(b'C', b"X\0"),
        frame(b'C', b""),
        frame(b'C', b"P\0more"),
        frame(b'E', b""),
        frame(b'E', b"\0\0\0"),
        frame(b'E', b"\0\0\0\0\0more"),
        frame(b'F', b"\0"),
        frame(b'H', b"more"),
        frame(b'S', b"more"),
        frame(b'S', b"\0"),
    ]
}

#[test]
fn malformed_messages_are_answered_as_by_postgresql() {
    let stand = Stand::shared();
    let compare = |before: &str, bytes: &[u8]| {
        let expected = answers(&stand.server(), before, bytes);
        let found = answers(&stand.proxy.tcp(), before, bytes);
        assert_eq!(found, expected, "{before}; {}", bytes.escape_ascii());
    };
    let good = [parse("", "SELECT 7", &[]), bind("", "", &[]), execute("", 0)].concat();
    for bad in malformed() {
        // A simple query, a function call and a Sync are answered with ReadyForQuery by themselves.
        let ends = matches!(bad[0], b'Q' | b'F' | b'S');
        let sync = if ends { Vec::new() } else { sync() };
        for before in ["SELECT 1", "BEGIN", "BEGIN; SELECT 1"] {
            compare(before, &[bad.clone(), sync.clone()].concat());
        }
        if !ends {
            compare("SELECT 1", &[good.clone(), bad.clone(), good.clone(), sync.clone()].concat());
            compare("BEGIN", &[bad.clone(), good.clone(), sync.clone()].concat());
        }
        if bad[0] == b'S' {
            for before in ["SELECT 1", "BEGIN"] {
                compare(before, &[good.clone(), bad.clone()].concat());
                compare(before, &[good.clone(), frame(b'D', b"X\0"), good.clone(), bad.clone()].concat());
            }
        }
    }
}

#[test]
fn messages_that_postgresql_ends_a_session_for_end_it() {
    let stand = Stand::shared();
    for bytes in [&b"?\0\0\0\x04"[..], b"z\0\0\0\x08xxxx"] {
        let expected = answers(&stand.server(), "SELECT 1", bytes);
        assert_eq!(answers(&stand.proxy.tcp(), "SELECT 1", bytes), expected, "{}", bytes.escape_ascii());
    }
}

/// What is told for all of it, up to the end of the connection.
fn until_closed(address: &Address, bytes: &[u8]) -> Vec<String> {
    let mut raw = Raw::connect(address, &login("errors", &[])).unwrap();
    raw.send(bytes).unwrap();
    words(&raw.frames_until_closed(SOON).unwrap())
}

#[test]
fn names_of_statements_and_portals_are_cut_and_checked_as_by_postgresql() {
    let stand = Stand::shared();
    let (long, cut) = ("n".repeat(200), "n".repeat(63));
    let bad = [frame(b'P', b"\xff\xfe\0SELECT 1\0\0\0"), message::sync()].concat();
    let run = |portal: &str, name: &str| [message::bind(portal, name, &[]), message::execute(portal, 0)].concat();
    let cases = [
        [message::parse(&long, "SELECT 9", &[]), run("", &cut), message::sync(), query(&format!("EXECUTE {long}"))]
            .concat(),
        [message::parse(&long, "SELECT 9", &[]), run(&long, &long), message::close_portal(&cut), message::sync()]
            .concat(),
        [message::parse(&long, "SELECT 9", &[]), message::close_statement(&cut), run("", &long), message::sync()]
            .concat(),
        [message::parse("ä name", "SELECT 9", &[]), run("ö", "ä name"), message::sync(), query("EXECUTE \"ä name\"")]
            .concat(),
        [bad.clone(), query("SELECT 1")].concat(),
        [message::parse("s", "SELECT 9", &[]), bad, run("", "s"), message::sync()].concat(),
    ];
    for (nth, case) in cases.iter().enumerate() {
        let bytes = [case.clone(), message::terminate()].concat();
        let (right, answer) = (until_closed(&stand.server(), &bytes), until_closed(&stand.proxy.tcp(), &bytes));
        assert_eq!(answer, right, "case {nth}");
    }
}

#[test]
fn a_length_that_no_message_has_ends_the_connection_without_a_word() {
    let stand = Stand::shared();
    for bytes in [
        &b"Q\0\0\0\x03"[..],
        b"Q\0\0\0\0",
        b"Q\xff\xff\xff\xff",
        b"P\x7f\xff\xff\xff",
        b"S\0\0\x7f\xff",
        b"Q\x3f\xff\xff\xff",
    ] {
        let right = until_closed(&stand.server(), bytes);
        assert_eq!(until_closed(&stand.proxy.tcp(), bytes), right, "{}", bytes.escape_ascii());
        assert!(right.is_empty(), "{right:?}");
    }
}
