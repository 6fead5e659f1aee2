//! `client_memory_limit`: what one client may keep, in whatever way it fills memory, and that it goes on behind the error.

use std::io::Write as _;
use std::time::Duration;

use pgsluice_fixtures::raw::message::{
    bind, close_portal, close_statement, describe_portal, execute, parse, query, sync,
};
use pgsluice_fixtures::{Frame, Raw};

use crate::memory::{forget_peak, peak, resident};
use crate::stand::{LONG, Stand, answer, outcome};

const MIB: u64 = 1 << 20;
const LIMIT: &str = "client_memory_limit = \"4MB\"\nmax_message_size = \"64MB\"\ndefault_pool_size = 2";
const POOL_MODES: &str = "[users.u1]\npool_mode = \"session\"\n";

/// The one error in an answer, which has to be that of the limit; and what ReadyForQuery says.
#[track_caller]
fn limit_met(frames: &[Frame]) -> String {
    let errors: Vec<_> = frames.iter().filter_map(Frame::error).collect();
    let [error] = &errors[..] else { panic!("one error: {errors:?}") };
    assert_eq!((error.code(), error.severity()), ("54000", "ERROR"));
    assert!(error.message().contains("client_memory_limit"), "{}", error.message());
    outcome(frames).1
}

#[track_caller]
fn goes_on(client: &mut Raw) {
    let frames = answer(client, &[query("select 1")]);
    assert_eq!(outcome(&frames), (Vec::new(), "I".to_owned()));
}

/// A statement of 100 kB.
fn long_text(nth: usize) -> String {
    format!("select {nth}, '{}'", "x".repeat(100_000))
}

#[test]
fn prepared_statements_are_counted_and_one_too_many_is_an_error() {
    let stand = Stand::new(1, 2, LIMIT, POOL_MODES);
    for user in [0, 1] {
        let mut client = stand.client(user, 0);
        let prepare = |nth: usize| [parse(&format!("s{nth}"), &long_text(nth), &[]), sync()].concat();
        let met = (0..100).find(|nth| outcome(&answer(&mut client, &[prepare(*nth)])).0 != Vec::<String>::new());
        let met = met.expect("4 MB do not hold 10");
        assert!((30..42).contains(&met), "{met} of 100 kB in 4 MB");
        assert_eq!(limit_met(&answer(&mut client, &[prepare(met)])), "I");
        // In a pipeline everything up to Sync is skipped; in a transaction that fails.
        let run = [bind("", "s0", &[]), execute("", 0)].concat();
        let large = parse("more", &long_text(0), &[]);
        let frames = answer(&mut client, &[run.clone(), large.clone(), run.clone(), sync()]);
        assert_eq!(limit_met(&frames), "I");
        assert_eq!(frames.iter().filter(|frame| frame.tag == b'D').count(), 1);
        answer(&mut client, &[query("begin")]);
        assert_eq!(limit_met(&answer(&mut client, &[large.clone(), sync()])), "E");
        assert_eq!(outcome(&answer(&mut client, &[query("select 1")])).0, ["25P02"]);
        answer(&mut client, &[query("rollback")]);
        // What it has runs on, and what it gives up makes room.
        assert_eq!(outcome(&answer(&mut client, &[run.clone(), sync()])), (Vec::new(), "I".to_owned()));
        let close = [close_statement("s1"), close_statement("s2"), sync()].concat();
        answer(&mut client, &[close]);
        assert_eq!(outcome(&answer(&mut client, &[large.clone(), sync()])), (Vec::new(), "I".to_owned()));
        answer(&mut client, &[query("deallocate all")]);
        assert!((0..30).all(|nth| outcome(&answer(&mut client, &[prepare(nth)])).0.is_empty()));
        goes_on(&mut client);
    }
}

#[test]
fn portals_and_the_message_at_hand_are_counted_too() {
    let stand = Stand::new(1, 2, LIMIT, POOL_MODES);
    for user in [0, 1] {
        let mut client = stand.client(user, 0);
        // Each keeps its own text, though the unnamed statement is another one by now.
        answer(&mut client, &[query("begin")]);
        let portal = |nth: usize| [parse("", &long_text(nth), &[]), bind(&format!("p{nth}"), "", &[]), sync()].concat();
        let met = (0..100).map(|nth| answer(&mut client, &[portal(nth)])).find(|frames| !outcome(frames).0.is_empty());
        assert_eq!(limit_met(&met.expect("4 MB do not hold 10")), "E");
        answer(&mut client, &[query("rollback")]);
        // Closed portals count no more.
        answer(&mut client, &[query("begin")]);
        for nth in 0..60 {
            let closed = [portal(nth), close_portal(&format!("p{nth}")), sync()].concat();
            assert!(outcome(&client.round_trip(&closed, LONG).expect("an answer")).0.is_empty());
            client.frames_until_ready(LONG).expect("the other Sync");
        }
        answer(&mut client, &[query("rollback")]);
        // A statement that would have to be read whole.
        let text = format!("select length('{}')", "x".repeat(5_000_000));
        assert_eq!(limit_met(&answer(&mut client, &[query(&text)])), "I");
        let run = [bind("", "", &[]), execute("", 0), sync()].concat();
        assert_eq!(limit_met(&answer(&mut client, &[parse("", &text, &[]), run])), "I");
        answer(&mut client, &[query("begin")]);
        assert_eq!(limit_met(&answer(&mut client, &[query(&text)])), "E");
        answer(&mut client, &[query("rollback")]);
        goes_on(&mut client);
    }
}

#[test]
fn settings_and_sql_prepare_beyond_a_bound_stay_on_the_server_and_work() {
    let stand = Stand::new(1, 1, LIMIT, "");
    let mut client = stand.client(0, 0);
    let before = resident(&stand);
    let value = "v".repeat(300_000);
    for nth in 0..40 {
        answer(&mut client, &[query(&format!("set my.s{nth} = '{value}'"))]);
        let prepare = format!("prepare q{nth} as select {nth}, length('{}')", "y".repeat(60_000));
        assert!(outcome(&answer(&mut client, &[query(&prepare)])).0.is_empty());
    }
    for nth in [0, 39] {
        let shown = client.query(&format!("select length(current_setting('my.s{nth}'))"), LONG).expect("a value");
        assert_eq!(shown[0].rows[0][0].as_deref(), Some("300000"));
        let executed = client.query(&format!("execute q{nth}"), LONG).expect("it stands");
        assert_eq!(executed[0].rows[0][1].as_deref(), Some("60000"));
    }
    let after = resident(&stand);
    assert!(after < before + 24 * MIB, "{before} before, {after} after");
    answer(&mut client, &[query("discard all")]);
    goes_on(&mut client);
}

#[test]
fn answers_that_are_owed_are_bounded_and_all_come() {
    const MANY: usize = 300_000;
    let stand = Stand::new(1, 2, LIMIT, POOL_MODES);
    for user in [0, 1] {
        let mut client = stand.client(user, 0);
        answer(&mut client, &[parse("known", "select 1", &[]), parse("nap", "select pg_sleep(1)", &[]), sync()]);
        // Warm, so that what is measured is what is owed.
        goes_on(&mut client);
        let before = resident(&stand);
        forget_peak(&stand);
        // The server is busy meanwhile; it has no part in most of this.
        let mut writer = client.writer().expect("a writer");
        let flood = std::thread::spawn(move || {
            let nap = [bind("", "nap", &[]), execute("", 0)].concat();
            let some: Vec<u8> = (0..1000).flat_map(|_| close_statement("nosuch")).collect();
            let known: Vec<u8> =
                (0..1000).flat_map(|_| [close_statement("known"), parse("known", "select 1", &[])].concat()).collect();
            writer.write_all(&nap).expect("sent");
            for _ in 0..MANY / 3000 {
                writer.write_all(&some).expect("sent");
                writer.write_all(&known).expect("sent");
            }
            writer.write_all(&sync()).expect("sent");
        });
        // Nothing is read for a while.
        std::thread::sleep(Duration::from_millis(1500));
        let frames = client.frames_until_ready(LONG).expect("all answers");
        flood.join().expect("all is sent");
        assert_eq!(outcome(&frames), (Vec::new(), "I".to_owned()));
        let (closed, parsed) =
            (frames.iter().filter(|one| one.tag == b'3'), frames.iter().filter(|one| one.tag == b'1'));
        assert_eq!((closed.count(), parsed.count()), (MANY / 3000 * 2000, MANY / 3000 * 1000));
        let peak = peak(&stand);
        assert!(peak < before + 16 * MIB, "{before} before, {peak} at most");
        goes_on(&mut client);
    }
}

#[test]
fn statements_of_answers_that_are_owed_are_bounded() {
    let stand = Stand::new(1, 1, "default_pool_size = 2", "");
    let mut client = stand.client(0, 0);
    goes_on(&mut client);
    let before = resident(&stand);
    forget_peak(&stand);
    let mut writer = client.writer().expect("a writer");
    let flood = std::thread::spawn(move || {
        writer
            .write_all(&[parse("", "select pg_sleep(1)", &[]), bind("", "", &[]), execute("", 0)].concat())
            .expect("sent");
        for nth in 0..200 {
            let text = format!("select {nth}, length('{}')", "x".repeat(1_000_000));
            let batch = [parse("", &text, &[]), bind("", "", &[]), describe_portal(""), execute("", 0)].concat();
            writer.write_all(&batch).expect("sent");
        }
        writer.write_all(&sync()).expect("sent");
    });
    let frames = client.frames_until_ready(LONG).expect("all answers");
    flood.join().expect("all is sent");
    assert_eq!(outcome(&frames), (Vec::new(), "I".to_owned()));
    assert_eq!(frames.iter().filter(|frame| frame.tag == b'D').count(), 201);
    let peak = peak(&stand);
    assert!(peak < before + 64 * MIB, "{before} before, {peak} at most");
}
