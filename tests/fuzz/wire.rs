//! Bytes from a peer: whatever they are, frames are found or refused, and what was written is read back.

use crate::cases;
use pgsluice::protocol::error_fields::ErrorFields;
use pgsluice::protocol::{frame, frontend, startup_packet};
use pgsluice_fixtures::mutate::Dice;

/// As PostgreSQL reads lengths: signed, and counting themselves.
fn expected_total(bytes: &[u8]) -> Option<usize> {
    let length = i32::from_be_bytes(bytes.get(1..5)?.try_into().ok()?);
    (length >= 4).then(|| length as usize + 1)
}

fn some_bytes(dice: &mut Dice, longest: usize) -> Vec<u8> {
    (0..dice.below(longest))
        .map(|_| if dice.below(3) == 0 { dice.next() as u8 } else { *dice.of(b"\0\0\0\x04SPQab'") })
        .collect()
}

/// A message that may be sound: a tag of the protocol, a length that is right most of the time.
fn message(dice: &mut Dice) -> Vec<u8> {
    let body = some_bytes(dice, 60);
    let length = match dice.below(6) {
        0 => dice.next() as u32,
        1 => dice.below(8) as u32,
        _ => body.len() as u32 + 4,
    };
    let mut message = vec![*dice.of(b"QPBDEFCSHXdcfpZARTKNX1\0\xff")];
    message.extend(length.to_be_bytes());
    message.extend(body);
    message.truncate(1 + dice.below(message.len() + 20));
    message
}

#[test]
fn any_bytes_are_frames_or_refused() {
    cases("wire", |dice| {
        let bytes = message(dice);
        let largest = [0, 10, 1000, 1 << 30][dice.below(4)];
        if let Ok(Some(header)) = frame::peek_front(&bytes, largest) {
            assert_eq!(Some(header.total), expected_total(&bytes));
            assert!(header.body() <= largest);
        }
        if let Ok(Some(header)) = frame::peek_back(&bytes) {
            assert_eq!(Some(header.total), expected_total(&bytes));
        }
        // More bytes make a verdict possible, they never turn one around.
        for end in 0..bytes.len() {
            if frame::peek_front(&bytes[..end], largest).is_err() {
                assert!(frame::peek_front(&bytes, largest).is_err(), "{}", bytes.escape_ascii());
            }
        }
        let body = some_bytes(dice, 80);
        if let Ok(text) = frontend::query(&body) {
            assert!(text.len() + 1 == body.len() && !text.contains(&0));
            let mut again = Vec::new();
            frontend::write_query(&mut again, text);
            assert_eq!(again[5..], body);
        }
        if let Ok(parse) = frontend::parse(&body) {
            let mut again = Vec::new();
            frontend::write_parse(&mut again, parse.name, parse.text, parse.oids);
            assert_eq!(again[5..], body);
        }
        if let Ok(bind) = frontend::bind(&body) {
            let mut again = Vec::new();
            frontend::write_bind(&mut again, bind.portal, bind.statement, bind.rest);
            assert_eq!(again[5..], body);
        }
        if let Ok(target) = frontend::target(&body) {
            let mut again = Vec::new();
            frontend::write_target(&mut again, b'D', target);
            assert_eq!(again[5..], body);
        }
        let _ = (frontend::execute(&body), frontend::function_oid(&body), startup_packet::first(&body));
        let fields = ErrorFields::new(&body);
        let _ = (fields.iter().count(), fields.summary(), fields.place());
        if let Ok(Some(length)) = startup_packet::length(&body) {
            assert!(length >= 8, "{length}");
        }
    });
}
