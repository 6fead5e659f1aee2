//! Large messages: values stream through, and what must be read whole and is too large is an error, not the end.

use std::thread;

use pgsluice_fixtures::Frame;
use pgsluice_fixtures::raw::message::{
    bind, copy_data, copy_done, describe_portal, execute, flush, frame, function_call, parse, query, sync,
};

use crate::memory::{forget_peak, peak, resident};
use crate::stand::{LONG, Stand, answer, outcome};

/// Twenty times `max_message_size`.
const LARGE: usize = 20_000_000;
const TOP: &str = "max_message_size = \"1MB\"\ndefault_pool_size = 2";

fn only_value(frames: &[Frame]) -> String {
    assert!(frames.iter().all(|frame| frame.error().is_none()), "{:?}", frames.iter().find_map(Frame::error));
    let row = frames.iter().find(|frame| frame.tag == b'D').expect("a row");
    String::from_utf8(row.values().remove(0).expect("a value")).expect("text")
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
            // The server has words for a function call, which need not be read whole.
            let nosuch = outcome(&answer(&mut client, &[frame(b'F', &vec![0; 2_000_000])]));
            assert_eq!(nosuch, (vec!["42883".to_owned()], "I".to_owned()));
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

/// Longer than what is read of a text at all (16 MB).
const UNREAD: usize = 40_000_000;

#[test]
fn a_query_that_is_too_long_to_be_read_streams_and_so_do_copy_data_and_function_calls() {
    let top = "max_message_size = \"48MB\"\ndefault_pool_size = 4";
    let stand = Stand::new(1, 2, top, "[users.u1]\npool_mode = \"session\"\n");
    stand.superuser(0, "create table public.t(v text); grant all on public.t to public");
    let text = format!("select length('{}'), 7", "x".repeat(UNREAD));
    for user in [0, 1] {
        let mut clients: Vec<_> = (0..3).map(|_| stand.client(user, 0)).collect();
        clients.iter_mut().for_each(|client| assert_eq!(only_value(&answer(client, &[query("select 1")])), "1"));
        let before = resident(&stand);
        forget_peak(&stand);
        thread::scope(|scope| {
            for client in &mut clients {
                scope.spawn(|| {
                    assert_eq!(only_value(&answer(client, &[query(&text)])), UNREAD.to_string());
                    // In a block, behind others of a pipeline, and after an error.
                    answer(client, &[query("begin")]);
                    client.send(&[query("select 2"), query(&text), query("select 3")].concat()).expect("sent");
                    let all: Vec<_> = (0..3).map(|_| client.frames_until_ready(LONG).expect("an answer")).collect();
                    assert_eq!(
                        all.iter().map(|one| only_value(one)).collect::<Vec<_>>(),
                        ["2", &UNREAD.to_string(), "3"]
                    );
                    answer(client, &[query("nonsense")]);
                    assert_eq!(outcome(&answer(client, &[query(&text)])), (vec!["25P02".to_owned()], "E".to_owned()));
                    answer(client, &[query("rollback")]);
                    // One row of COPY, in one message that is larger than any other may be.
                    client.send(&query("copy public.t from stdin")).expect("sent");
                    client
                        .send(&[copy_data(&vec![b'y'; 60_000_000]), copy_data(b"\n"), copy_done()].concat())
                        .expect("sent");
                    assert_eq!(
                        outcome(&client.frames_until_ready(LONG).expect("an answer")),
                        (Vec::new(), "I".to_owned())
                    );
                    // pg_catalog.length(text), by its number.
                    let called = answer(client, &[function_call(1317, &[Some(&vec![b'z'; LARGE][..])])]);
                    let result = called.iter().find(|frame| frame.tag == b'V').expect("a result");
                    assert_eq!(result.body[4..], (LARGE as u32).to_be_bytes());
                    // What a batch skips behind its error is dropped as it comes.
                    client.send(&[parse("", "nonsense", &[]), flush()].concat()).expect("sent");
                    client.frames_until(LONG, |frame| frame.tag == b'E').expect("an error");
                    let skipped = [parse("", &text, &[]), bind("", "", &[]), query(&text), sync()];
                    assert_eq!(outcome(&answer(client, &skipped)), (Vec::new(), "I".to_owned()));
                    assert_eq!(only_value(&answer(client, &[query("select 1")])), "1");
                });
            }
        });
        let peak = peak(&stand);
        assert!(peak < before + 24_000_000, "{before} before, {peak} at most");
    }
}

#[test]
fn with_the_gate_closed_large_values_stream_too_and_long_queries_are_read() {
    let top = "max_message_size = \"48MB\"\ndefault_pool_size = 4";
    let stand = Stand::new(1, 2, top, "[users.u1]\npool_mode = \"session\"\n");
    stand.superuser(0, "create table public.t(v text); grant all on public.t to public");
    let value = vec![b'x'; LARGE];
    let value = Some(&value[..]);
    let length = LARGE.to_string();
    let run = [execute("", 0), sync()].concat();
    let refused = |ready: &str| (vec!["25006".to_owned()], ready.to_owned());
    let mut clients: Vec<_> = [0, 0, 1].into_iter().map(|user| stand.client(user, 0)).collect();
    for client in &mut clients {
        let named =
            [parse("reads", "select length($1::text)", &[]), parse("writes", "insert into public.t values ($1)", &[])];
        answer(client, &[named.concat(), sync()]);
    }
    stand.console("MAINTENANCE ON d0");
    let before = resident(&stand);
    forget_peak(&stand);
    for client in &mut clients {
        let unnamed =
            [parse("", "select length($1::text)", &[]), bind("", "", &[value]), describe_portal(""), run.clone()];
        assert_eq!(only_value(&answer(client, &[bind("", "reads", &[value]), run.clone()])), length);
        answer(client, &[query("begin")]);
        for _ in 0..2 {
            assert_eq!(only_value(&answer(client, &[bind("", "reads", &[value]), run.clone()])), length);
        }
        assert_eq!(outcome(&answer(client, &[bind("", "writes", &[value]), run.clone()])), refused("E"));
        answer(client, &[query("rollback")]);
        assert_eq!(outcome(&answer(client, &[bind("", "writes", &[value]), run.clone()])), refused("I"));
        // The Parse of a batch is looked at with what follows: it need not be here whole either.
        assert_eq!(only_value(&answer(client, &unnamed)), length);
    }
    let peak = peak(&stand);
    assert!(peak < before + 24_000_000, "{before} before, {peak} at most");
    // A query is read whole, up to max_message_size: a long read runs, and a long write is refused.
    let long = "x".repeat(UNREAD);
    for client in &mut clients {
        let read = format!("select length('{long}'), 7");
        assert_eq!(only_value(&answer(client, &[query(&read)])), UNREAD.to_string());
        let commented = format!("/* {long} */ select 5");
        assert_eq!(only_value(&answer(client, &[parse("", &commented, &[]), bind("", "", &[]), run.clone()])), "5");
        let write = format!("insert into public.t values ('{long}')");
        assert_eq!(outcome(&answer(client, &[query(&write)])), refused("I"));
        assert_eq!(only_value(&answer(client, &[query("select count(*) from public.t")])), "0");
    }
    stand.console("MAINTENANCE OFF d0");
    for client in &mut clients {
        assert_eq!(
            outcome(&answer(client, &[bind("", "writes", &[value]), run.clone()])),
            (Vec::new(), "I".to_owned())
        );
    }
}

#[test]
fn a_large_write_is_held_without_being_kept_whole() {
    let stand = Stand::new(1, 1, "max_message_size = \"48MB\"\ndefault_pool_size = 4", "");
    stand.superuser(0, "create table public.t(v text); grant all on public.t to public");
    let mut clients: Vec<_> = (0..3).map(|_| stand.client(0, 0)).collect();
    for client in &mut clients {
        answer(client, &[parse("writes", "insert into public.t values ($1)", &[]), sync()]);
    }
    stand.console("MAINTENANCE ON d0 WITH (writes hold, hold_timeout '60s')");
    let before = resident(&stand);
    forget_peak(&stand);
    thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| {
                let value = vec![b'x'; LARGE];
                let frames = answer(client, &[bind("", "writes", &[Some(&value)]), execute("", 0), sync()]);
                assert_eq!(outcome(&frames), (Vec::new(), "I".to_owned()));
            });
        }
        let held =
            || stand.console("SHOW CLIENTS").iter().filter(|row| row.iter().any(|cell| cell == "state=held")).count();
        pgsluice_fixtures::wait::until(LONG, "all are held", || (held() == 3).then_some(()));
        stand.console("MAINTENANCE OFF d0");
    });
    let peak = peak(&stand);
    assert!(peak < before + 24_000_000, "{before} before, {peak} at most");
    assert_eq!(only_value(&answer(&mut clients[0], &[query("select count(*) from public.t")])), "3");
}
