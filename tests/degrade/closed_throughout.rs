//! The gate is closed throughout: the primary is stopped for the work, a replica takes its place, the gate opens. Whatever a session
//! is, it is answered as soon as one that comes anew.

use std::time::{Duration, Instant};

use pgsluice_fixtures::cluster::Mode;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Login, Raw};

use crate::stand::{LONG, Stand, fine, sqlstate};

/// An answer may come this much later than that of a session that comes anew.
const SLACK: Duration = Duration::from_secs(1);

type Messages = Vec<Vec<u8>>;

fn executes(name: &str) -> Vec<u8> {
    [message::bind("", name, &[]), message::execute("", 0), message::sync()].concat()
}

fn queries(all: &[&str]) -> Messages {
    all.iter().map(|sql| message::query(sql)).collect()
}

/// Sessions of every kind, and what each of them asks.
fn sessions(stand: &Stand) -> Vec<(&'static str, Raw, Messages)> {
    let mut all = vec![
        ("plain", stand.connect("app"), queries(&["SELECT count(*) FROM t"])),
        ("block", stand.connect("app"), queries(&["BEGIN", "SELECT count(*) FROM t", "COMMIT"])),
        ("read only block", stand.connect("app"), queries(&["BEGIN READ ONLY", "SELECT count(*) FROM t", "COMMIT"])),
        ("show", stand.connect("app"), queries(&["SHOW work_mem"])),
        ("function", stand.connect("app"), queries(&["SELECT counts()"])),
        ("several", stand.connect("app"), queries(&["SELECT 1; SELECT counts(); SHOW work_mem"])),
        ("prepared", stand.connect("app"), vec![executes("named")]),
        ("sql prepared", stand.connect("app"), queries(&["EXECUTE named"])),
        ("pinned", stand.connect("app"), queries(&["SELECT counts()"])),
        ("session", stand.connect("sess"), queries(&["SELECT counts()"])),
        ("statement", stand.connect("stmt"), queries(&["SELECT counts()"])),
    ];
    for (kind, raw, _) in &mut all {
        fine(raw, "SELECT 1");
        match *kind {
            "prepared" => {
                let prepare = [message::parse("named", "SELECT counts()", &[]), message::sync()].concat();
                assert_eq!(sqlstate(&raw.round_trip(&prepare, LONG).unwrap()), "");
            }
            "sql prepared" => drop(fine(raw, "PREPARE named AS SELECT counts()")),
            "pinned" => drop(fine(raw, "SELECT setseed(0.5)")),
            _ => {}
        }
    }
    all
}

/// The answers to these messages, or that the session has ended.
fn answered(raw: &mut Raw, messages: &Messages) -> Result<Vec<Frame>, String> {
    let mut frames = Vec::new();
    for bytes in messages {
        frames.extend(raw.round_trip(bytes, LONG).map_err(|error| error.to_string())?);
    }
    Ok(frames)
}

/// All of them ask at once, and one that comes anew. None of them may take much longer, or fail; one that had something on the server
/// that has gone may be ended.
fn all_answer(stand: &Stand, when: &str, all: &mut Vec<(&'static str, Raw, Messages)>) {
    let begun = Instant::now();
    let address = stand.proxy.tcp();
    let fresh = std::thread::spawn(move || {
        let mut raw = Raw::connect(&address, &Login::new("late", "app")).map_err(|error| error.to_string())?;
        answered(&mut raw, &queries(&["SELECT counts()"])).map(|frames| (sqlstate(&frames), begun.elapsed()))
    });
    let threads: Vec<_> = std::mem::take(all)
        .into_iter()
        .map(|(kind, mut raw, messages)| {
            std::thread::spawn(move || {
                let answer = answered(&mut raw, &messages);
                (kind, raw, messages, answer, begun.elapsed())
            })
        })
        .collect();
    let (code, took) = fresh.join().unwrap().unwrap_or_else(|error| panic!("{when}, a new session: {error}"));
    assert_eq!(code, "", "{when}, a new session");
    for thread in threads {
        let (kind, mut raw, messages, answer, own) = thread.join().unwrap();
        assert!(own <= took + SLACK, "{when}, {kind}: {own:?}, a new session {took:?}");
        let bound = matches!(kind, "pinned" | "session");
        match answer {
            Ok(frames) if bound && !sqlstate(&frames).is_empty() => {
                raw = again(stand, kind);
            }
            Ok(frames) => {
                let error = frames.iter().find_map(Frame::error);
                assert!(error.is_none(), "{when}, {kind}: {error:?}");
            }
            Err(_) if bound => raw = again(stand, kind),
            Err(error) => panic!("{when}, {kind}: {error}"),
        }
        all.push((kind, raw, messages));
    }
}

/// Its server connection has gone, with what bound it there.
fn again(stand: &Stand, kind: &str) -> Raw {
    stand.connect(if kind == "session" { "sess" } else { "app" })
}

#[test]
fn with_the_gate_closed_throughout_every_kind_of_session_answers_as_soon_as_a_new_one() {
    let stand = Stand::by_defaults("[users.stmt]\npool_mode = \"statement\"\n");
    let mut all: Vec<_> =
        sessions(&stand).into_iter().filter(|(kind, ..)| !(kind.contains("block") && *kind == "statement")).collect();
    all_answer(&stand, "open", &mut all);
    stand.console("MAINTENANCE ON app");
    stand.cluster.wait_for_replay(LONG).unwrap();
    all_answer(&stand, "closed", &mut all);
    stand.cluster.primary().stop(Mode::Fast).unwrap();
    all_answer(&stand, "the primary is stopped", &mut all);
    all_answer(&stand, "and still is", &mut all);
    stand.cluster.replica(0).promote().unwrap();
    all_answer(&stand, "the replica is promoted", &mut all);
    stand.console("MAINTENANCE OFF app");
    all_answer(&stand, "the gate is open", &mut all);
    // And they write, on the new primary.
    let begun = Instant::now();
    let mut fresh = stand.connect("late");
    fine(&mut fresh, "INSERT INTO w(who) VALUES ('late')");
    let took = begun.elapsed();
    for (kind, mut raw, _) in all {
        let begun = Instant::now();
        fine(&mut raw, &format!("INSERT INTO w(who) VALUES ('{kind}')"));
        assert!(begun.elapsed() <= took + SLACK, "{kind}: {:?}", begun.elapsed());
    }
    assert_eq!(stand.written_on_the_new_one().len(), 12);
}
