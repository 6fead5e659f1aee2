//! What a client sends together with its start-up packet: where nobody asks for a password, that may be its first query.

use crate::stand::{Place, SOON, USER};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Raw};

#[test]
fn what_comes_with_the_startup_packet_is_not_lost() {
    let place = Place::new();
    let mut client = Raw::open(&place.stand.proxy.tcp()).unwrap();
    let packet = message::startup(3 << 16, &[("user", USER), ("database", &place.database)]);
    client.send(&[packet, message::query("SELECT 41 + 1"), message::query("SELECT 'next'")].concat()).unwrap();
    let greeting = client.frames_until_ready(SOON).unwrap();
    assert!(greeting.iter().any(|frame| frame.tag == b'K'), "{greeting:?}");
    for expected in ["42", "next"] {
        let frames = client.frames_until_ready(SOON).unwrap();
        let row = frames.iter().find(|frame| frame.tag == b'D').expect("a row");
        assert!(row.body.ends_with(expected.as_bytes()), "{frames:?}");
    }
    client.send(&message::query("SELECT 1")).unwrap();
    assert!(!client.frames_until_ready(SOON).unwrap().iter().any(|frame| Frame::error(frame).is_some()));
}
