//! Large messages: values stream through, and what must be read whole and is too large is an error, not the end.

use pgsluice_fixtures::raw::message::{bind, describe_portal, execute, frame, parse, query, sync};
use pgsluice_fixtures::{Frame, Raw};

use crate::memory::resident;
use crate::stand::{LONG, Stand};

/// Twenty times `max_message_size`.
const LARGE: usize = 20_000_000;
const TOP: &str = "max_message_size = \"1MB\"\ndefault_pool_size = 2";

fn only_value(frames: &[Frame]) -> String {
    assert!(frames.iter().all(|frame| frame.error().is_none()), "{:?}", frames.iter().find_map(Frame::error));
    let row = frames.iter().find(|frame| frame.tag == b'D').expect("a row");
    String::from_utf8(row.values().remove(0).expect("a value")).expect("text")
}

fn answer(client: &mut Raw, messages: &[Vec<u8>]) -> Vec<Frame> {
    client.round_trip(&messages.concat(), LONG).expect("an answer, and the connection lives")
}

/// SQLSTATEs, and what the last ReadyForQuery says.
fn outcome(frames: &[Frame]) -> (Vec<String>, String) {
    let errors = frames.iter().filter_map(Frame::error).map(|error| error.code().to_owned()).collect();
    let ready = frames.iter().rfind(|frame| frame.tag == b'Z').expect("ReadyForQuery");
    (errors, String::from_utf8_lossy(&ready.body).into_owned())
}

#[test]
fn values_of_any_size_stream_through_however_they_are_bound() {
    let stand = Stand::new(1, 2, TOP, "[users.u1]\npool_mode = \"session\"\n");
    let value = vec![b'x'; LARGE];
    let value = Some(&value[..]);
    let length = LARGE.to_string();
    // Whatever the first ones leave is there before it is measured.
    let mut clients: Vec<_> = [0, 0, 1].into_iter().map(|user| stand.client(user, 0)).collect();
    let before = resident(&stand);
    for client in &mut clients {
        let text = "select length($1::text)";
        let run = [execute("", 0), sync()].concat();
        let unnamed = [parse("", text, &[]), bind("", "", &[value]), describe_portal(""), run.clone()];
        assert_eq!(only_value(&answer(client, &unnamed)), length);
        answer(client, &[parse("named", text, &[]), sync()]);
        for _ in 0..2 {
            assert_eq!(only_value(&answer(client, &[bind("", "named", &[value]), run.clone()])), length);
        }
        // In a block, and several in one batch.
        answer(client, &[query("begin")]);
        let twice = [bind("", "named", &[value]), execute("", 0), bind("", "named", &[value]), run.clone()];
        let frames = answer(client, &twice);
        assert_eq!(frames.iter().filter(|frame| frame.tag == b'D').count(), 2);
        answer(client, &[query("commit")]);
        // A name that nobody knows: the server has words for it, and the value goes nowhere.
        let (errors, ready) = outcome(&answer(client, &[bind("", "nosuch", &[value]), run.clone()]));
        assert_eq!((errors, ready), (vec!["26000".to_owned()], "I".to_owned()));
        assert_eq!(only_value(&answer(client, &[query("select 1")])), "1");
    }
    let after = resident(&stand);
    assert!(after < before + LARGE as u64 / 2, "{before} before, {after} after");
}

#[test]
fn what_is_larger_than_max_message_size_is_an_error_and_the_connection_goes_on() {
    let stand = Stand::new(1, 2, TOP, "[users.u1]\npool_mode = \"session\"\n");
    let text = format!("select length('{}')", "x".repeat(2_000_000));
    let too_large = |ready: &str| (vec!["54000".to_owned()], ready.to_owned());
    let good = [parse("", "select 7", &[]), bind("", "", &[]), execute("", 0)].concat();
    for user in [0, 1] {
        let mut client = stand.client(user, 0);
        for _ in 0..2 {
            let frames = answer(&mut client, &[query(&text)]);
            assert_eq!(outcome(&frames), too_large("I"));
            let detail = frames.iter().find_map(Frame::error).and_then(|error| error.detail().map(str::to_owned));
            assert!(detail.expect("a detail").contains("max_message_size"));
            assert_eq!(outcome(&answer(&mut client, &[parse("a", &text, &[]), good.clone(), sync()])), too_large("I"));
            assert_eq!(outcome(&answer(&mut client, &[frame(b'F', &vec![0; 2_000_000])])), too_large("I"));
            assert_eq!(only_value(&answer(&mut client, &[query("select 1")])), "1");
        }
        // Behind others in a pipeline, which are answered first.
        let frames = answer(&mut client, &[good.clone(), parse("a", &text, &[]), good.clone(), sync()]);
        assert_eq!(outcome(&frames), too_large("I"));
        assert_eq!(frames.iter().filter(|frame| frame.tag == b'D').count(), 1);
        let frames = answer(&mut client, &[query("select 1")]);
        assert_eq!(only_value(&frames), "1");
        // A transaction fails with it.
        for large in [query(&text), [parse("", &text, &[]), sync()].concat()] {
            answer(&mut client, &[query("begin")]);
            assert_eq!(outcome(&answer(&mut client, &[large])), too_large("E"));
            assert_eq!(outcome(&answer(&mut client, &[query("select 1")])), (vec!["25P02".to_owned()], "E".to_owned()));
            answer(&mut client, &[query("rollback")]);
        }
        assert_eq!(only_value(&answer(&mut client, &[query("select 1")])), "1");
    }
}
