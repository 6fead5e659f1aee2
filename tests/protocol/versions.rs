//! Versions of the protocol, and keys to cancel with.

use std::time::Instant;

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Address, Frame, Raw};

use crate::stand::{SOON, Stand, ask, login};

const V3_2: u32 = 3 << 16 | 2;
const V3_9: u32 = 3 << 16 | 9;

fn negotiated(frames: &[Frame]) -> Option<&Frame> {
    frames.iter().find(|frame| frame.tag == b'v')
}

#[test]
fn versions_are_negotiated_and_keys_are_as_long_as_the_version_allows() {
    let stand = Stand::shared();
    for (version, length, answer) in [(3 << 16, 4, None), (V3_2, 32, None), (V3_9, 32, Some([0, 3, 0, 2, 0, 0, 0, 0]))]
    {
        let mut client = Raw::open(&stand.proxy.tcp()).unwrap();
        let frames = client.log_in(&login("plain", &[]).protocol(version)).unwrap();
        assert_eq!(negotiated(&frames).map(|frame| &*frame.body), answer.as_ref().map(|body| &body[..]), "{version:x}");
        assert_eq!(client.key().unwrap().secret.len(), length, "{version:x}");
        cancels(&mut client);
        let mut cut = client.key().unwrap().clone();
        // Half a secret opens nothing.
        cut.secret.truncate(length - 1);
        if length > 4 {
            client.send(&message::query("SELECT pg_sleep(0.3)")).unwrap();
            let mut other = Raw::open(&stand.proxy.tcp()).unwrap();
            other.send(&message::cancel_request(cut.pid, &cut.secret)).unwrap();
            let answer = client.frames_until_ready(SOON).unwrap();
            assert!(answer.iter().all(|frame| frame.tag != b'E'), "{answer:?}");
        }
    }
    // Options of the protocol that nobody knows, as the server itself says it.
    let options = login("plain", &[("_pq_.one", "1"), ("_pq_.two", "2")]);
    let pair = [stand.server(), stand.proxy.tcp()].map(|address| {
        let mut client = Raw::open(&address).unwrap();
        let frames = client.log_in(&options).unwrap();
        negotiated(&frames).cloned().expect("an answer")
    });
    assert_eq!(pair[1], pair[0]);
}

fn cancels(client: &mut Raw) {
    client.send(&message::query("SELECT pg_sleep(30)")).unwrap();
    let began = Instant::now();
    let done = std::sync::atomic::AtomicBool::new(false);
    let frames = std::thread::scope(|scope| {
        let (key, address) = (client.key().unwrap().clone(), client.address().clone());
        let done = &done;
        scope.spawn(move || {
            // The statement may not have begun yet.
            while !done.load(std::sync::atomic::Ordering::SeqCst) && began.elapsed() < SOON {
                let mut other = Raw::open(&address).unwrap();
                other.send(&message::cancel_request(key.pid, &key.secret)).unwrap();
                let _ = other.frames_until_closed(SOON);
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        let frames = client.frames_until_ready(SOON).unwrap();
        done.store(true, std::sync::atomic::Ordering::SeqCst);
        frames
    });
    assert!(frames.iter().filter_map(Frame::error).any(|error| error.code() == "57014"), "{frames:?}");
    assert_eq!(ask(client, "SELECT 1"), "1");
}

#[test]
fn who_asks_for_encryption_waits_for_the_answer() {
    let stand = Stand::shared();
    let packet = || message::startup(3 << 16, &[("user", "app"), ("database", "plain")]);
    let answer = |address: &Address, request: Vec<u8>| {
        let mut client = Raw::open(address).unwrap();
        client.send(&[request, packet()].concat()).unwrap();
        assert_eq!(client.bytes(1, SOON).unwrap(), b"N");
        let frames = client.frames_until_closed(SOON).unwrap();
        let error = frames.iter().find_map(Frame::error).expect("a refusal");
        [error.severity(), error.code(), error.message(), error.detail().unwrap_or_default()].map(str::to_owned)
    };
    let [ours, theirs] = [stand.proxy.tcp(), stand.server()].map(|address| answer(&address, message::ssl_request()));
    assert_eq!(ours, theirs);
    // The server may have GSSAPI.
    let gss = theirs.map(|text| text.replace("SSL request", "GSSAPI encryption request"));
    assert_eq!(answer(&stand.proxy.tcp(), message::gssenc_request()), gss);
}

#[test]
fn what_is_no_protocol_is_refused_as_the_server_does() {
    let stand = Stand::shared();
    let answers = |bytes: &[u8], plain: bool| {
        [stand.server(), stand.proxy.tcp()].map(|address| {
            let mut client = Raw::open(&address).unwrap();
            if plain {
                client.send(&message::ssl_request()).unwrap();
                assert_eq!(client.bytes(1, SOON).unwrap(), b"N");
            }
            client.send(bytes).unwrap();
            let frames = client.frames_until_closed(SOON).unwrap();
            let error = frames.iter().find_map(Frame::error).expect("a refusal");
            let text = error.message().replace("3.0 to 3.2", "3.0 to 3.0");
            (error.severity().to_owned(), error.code().to_owned(), text)
        })
    };
    for (bytes, plain) in [
        (message::ssl_request(), true),
        (message::startup(4 << 16, &[("user", "app")]), false),
        (message::startup(3 << 16, &[("database", "plain")]), false),
    ] {
        let [right, answer] = answers(&bytes, plain);
        assert_eq!(answer, right, "{}", bytes.escape_ascii());
    }
}
