//! The process id that a client is told: in session mode that of its server process, in transaction mode that of a server
//! connection of its pool, which it has when it asks.

use crate::stand::{Client, SOON, Stand};
use pgsluice_fixtures::Frame;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::wait;

fn told(client: &Client) -> String {
    client.0.key().unwrap().pid.to_string()
}

/// Who notified, by the notifications among these frames.
fn notifiers(frames: &[Frame]) -> Vec<String> {
    let notified = frames.iter().filter(|frame| frame.tag == b'A');
    notified.map(|frame| u32::from_be_bytes(*frame.body.first_chunk().unwrap()).to_string()).collect()
}

/// Four clients of a pool of two server connections: the first two were told of one, the others of the other.
fn four(stand: &Stand) -> [Client; 4] {
    let [a, b, c, d] = [(); 4].map(|()| stand.client("dba", "d0"));
    assert_ne!(told(&a), told(&b), "there is room for two");
    if told(&c) == told(&a) { [a, c, b, d] } else { [a, d, b, c] }
}

#[test]
fn in_transaction_mode_a_client_is_told_a_process_that_it_has_when_it_asks() {
    let stand = Stand::start("default_pool_size = 2", 1);
    let mut clients = four(&stand);
    for round in 0..3 {
        for client in &mut clients {
            let told = told(client);
            assert_eq!(client.value("SELECT pg_backend_pid()"), told, "{round}");
            client.ask("BEGIN");
            assert_eq!(client.value("SELECT pg_backend_pid()"), told, "{round}, in a block");
            client.ask("COMMIT");
            let own = format!("SELECT state, query ~ 'pg_stat_activity' FROM pg_stat_activity WHERE pid = {told}");
            assert_eq!(client.value(&own), "active|t");
            let cancels = client.refused(&format!("SELECT pg_cancel_backend({told}), pg_sleep(10)"));
            assert!(cancels.contains("57014"), "it is the one: {cancels}");
        }
    }
}

#[test]
fn who_has_asked_before_rather_has_its_process_though_another_was_used_last() {
    let stand = Stand::start("default_pool_size = 2", 1);
    let [mut a, _, mut c, _] = four(&stand);
    assert_eq!(a.value("SELECT pg_backend_pid()"), told(&a));
    assert_eq!(c.value("SELECT pg_backend_pid()"), told(&c));
    // One that comes later is known by its program.
    let mut late = stand.client("dba", "d0");
    for _ in 0..3 {
        for client in [&mut a, &mut c, &mut late] {
            let told = told(client);
            client.ask("BEGIN");
            assert_eq!(client.value("SELECT pg_backend_pid()"), told);
            client.ask("COMMIT");
        }
    }
}

#[test]
fn a_process_that_another_has_for_a_moment_is_waited_for() {
    let stand = Stand::start("default_pool_size = 2", 1);
    let [mut a, mut b, mut c, _] = four(&stand);
    let told = told(&a);
    // It has no wish, and is given what lies on top: the one that was used last.
    b.ask("SELECT pg_backend_pid()");
    c.0.send(&message::query("SELECT pg_sleep(0.03)")).unwrap();
    assert_eq!(a.value("SELECT pg_backend_pid()"), told);
    c.0.frames_until_ready(SOON).unwrap();
}

#[test]
fn a_key_cancels_its_own_statement_though_others_were_told_the_same_process() {
    let stand = Stand::start("default_pool_size = 2", 1);
    let [mut a, mut b, mut c, _] = four(&stand);
    for client in [&mut a, &mut b] {
        client.0.send(&message::query("SELECT pg_sleep(60)")).unwrap();
    }
    let sleepers = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
    let mut direct = stand.direct("dba", "d0");
    wait::until(SOON, "both sleep", || (direct.value(sleepers) == "2").then_some(()));
    let ended = |client: &mut Client| {
        let frames = client.0.frames_until_ready(SOON).unwrap();
        frames.iter().find_map(|frame| frame.error()).map(|error| error.code().to_owned())
    };
    c.0.cancel(SOON).unwrap();
    assert_eq!(direct.value(sleepers), "2");
    b.0.cancel(SOON).unwrap();
    assert_eq!(ended(&mut b).as_deref(), Some("57014"));
    assert_eq!(direct.value(sleepers), "1");
    a.0.cancel(SOON).unwrap();
    assert_eq!(ended(&mut a).as_deref(), Some("57014"));
    assert_eq!(c.value("SELECT 1"), "1");
}

#[test]
fn a_notification_of_its_own_tells_its_own_process_wherever_it_listens() {
    let stand = Stand::start("default_pool_size = 2", 1);
    let [mut holder, mut listener, ..] = four(&stand);
    assert_eq!(told(&holder), told(&listener));
    // At home.
    listener.ask("LISTEN news");
    assert_eq!(notifiers(&listener.0.round_trip(&message::query("NOTIFY news"), SOON).unwrap()), [told(&listener)]);
    listener.ask("UNLISTEN *");
    // Elsewhere, since another has its home; and that one's notifications are not its own.
    assert_eq!(holder.value("SELECT pg_backend_pid()"), told(&holder));
    holder.ask("BEGIN");
    assert_eq!(holder.value("SELECT pg_backend_pid()"), told(&holder));
    listener.ask("LISTEN news");
    assert_eq!(notifiers(&listener.0.round_trip(&message::query("NOTIFY news"), SOON).unwrap()), [told(&listener)]);
    let elsewhere = listener.value("SELECT pg_backend_pid()");
    holder.ask("NOTIFY news; COMMIT");
    let frames = wait::until(SOON, "the other's notification", || {
        let frames = listener.0.round_trip(&message::query("SELECT 1"), SOON).unwrap();
        (!notifiers(&frames).is_empty()).then_some(frames)
    });
    assert_eq!(notifiers(&frames), [elsewhere]);
}

#[test]
fn who_has_lost_its_process_keeps_to_another() {
    let stand = Stand::start("default_pool_size = 2", 1);
    let [mut a, mut b, ..] = four(&stand);
    let lost = told(&a);
    let mut direct = stand.direct("dba", "d0");
    direct.ask(&format!("SELECT pg_terminate_backend({lost}, 10000)"));
    let next = a.value("SELECT pg_backend_pid()");
    assert_ne!(next, lost);
    for _ in 0..4 {
        // Something else lies on top now.
        a.ask("BEGIN");
        b.ask("SELECT 1");
        a.ask("COMMIT");
        b.ask("BEGIN");
        b.ask("COMMIT");
        assert_eq!(a.value("SELECT pg_backend_pid()"), next);
    }
}

#[test]
fn in_session_mode_a_client_is_told_its_server_process() {
    let stand = Stand::start("pool_mode = \"session\"\ndefault_pool_size = 2", 2);
    let mut one = stand.client("dba", "d0");
    let mut other = stand.client("dba", "d0");
    let told = one.0.key().unwrap().pid;
    assert_eq!(one.value("SELECT pg_backend_pid()"), told.to_string());
    assert_ne!(other.0.key().unwrap().pid, told);
    let idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'd0' AND state LIKE 'idle in%'";
    assert_eq!(stand.client("dba", "d1").value(idle), "0");

    // A notification tells that of its sender.
    one.ask("LISTEN news; NOTIFY news");
    let frames = one.0.round_trip(&pgsluice_fixtures::raw::message::query("NOTIFY news"), SOON).unwrap();
    let notified = frames.iter().find(|frame| frame.tag == b'A').expect("a notification");
    assert_eq!(notified.body[..4], told.to_be_bytes());

    // Its key cancels what it runs, and nothing of the other's.
    one.0.send(&pgsluice_fixtures::raw::message::query("SELECT pg_sleep(60)")).unwrap();
    let sleeps = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {told} AND wait_event = 'PgSleep'");
    wait::until(SOON, "the sleeper", || (other.value(&sleeps) == "1").then_some(()));
    other.0.cancel(SOON).unwrap();
    assert_eq!(other.value(&sleeps), "1");
    one.0.cancel(SOON).unwrap();
    let frames = one.0.frames_until_ready(SOON).unwrap();
    assert_eq!(frames.iter().find_map(|frame| frame.error()).expect("an error").code(), "57014");
    assert_eq!(one.value("SELECT pg_backend_pid()"), told.to_string());
}

#[test]
fn a_client_that_has_only_logged_in_does_not_keep_the_gate_open() {
    let stand = Stand::start("pool_mode = \"session\"", 1);
    let mut idle = stand.client("dba", "d0");
    let on = stand.client("dba", "pgsluice").value("MAINTENANCE ON d0 WITH (drain_timeout '10s', on_timeout revert)");
    assert!(on.starts_with("d0|read_only|t"), "{on}");
    let mut late = stand.client("dba", "d0");
    for client in [&mut idle, &mut late] {
        assert!(client.refused("CREATE TABLE written (n int)").contains("read-only transaction"));
        let told = client.0.key().unwrap().pid.to_string();
        assert_eq!(client.value("SELECT pg_backend_pid()"), told);
    }
    stand.client("dba", "pgsluice").ask("MAINTENANCE OFF d0");
    for client in [&mut idle, &mut late] {
        client.ask("CREATE TABLE IF NOT EXISTS written (n int)");
    }
}

#[test]
fn a_process_that_another_keeps_is_not_waited_for_twice() {
    let stand = Stand::start("default_pool_size = 2", 1);
    let [mut a, mut b, ..] = four(&stand);
    b.ask("SELECT pg_backend_pid()");
    b.ask("LISTEN news");
    assert_ne!(a.value("SELECT pg_backend_pid()"), told(&a), "the other keeps it");
    // A hundred of them would take ten seconds.
    let began = std::time::Instant::now();
    for _ in 0..100 {
        a.ask("SELECT pg_backend_pid()");
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(8), "{:?}", began.elapsed());
    b.ask("UNLISTEN *");
    wait::until(SOON, "its own again", || (a.value("SELECT pg_backend_pid()") == told(&a)).then_some(()));
}

#[test]
fn while_a_pool_has_room_each_client_has_a_process_of_its_own_without_asking() {
    let stand = Stand::start("default_pool_size = 5", 1);
    let mut clients = [(); 5].map(|()| stand.client("dba", "d0"));
    let mut pids: Vec<_> = clients.iter().map(told).collect();
    pids.sort();
    pids.dedup();
    assert_eq!(pids.len(), 5);
    for round in 0..3 {
        clients.iter_mut().for_each(|client| _ = client.ask("BEGIN"));
        for client in clients.iter_mut().rev() {
            assert_eq!(client.value("SELECT pg_backend_pid()"), told(client), "{round}");
            client.ask("COMMIT");
        }
    }
}

#[test]
fn a_process_that_another_keeps_is_nobody_elses_at_log_in() {
    let stand = Stand::start("default_pool_size = 3", 1);
    let mut listener = stand.client("dba", "d0");
    listener.ask("LISTEN news");
    // In a transaction, too.
    let mut busy = stand.client("dba", "d0");
    busy.ask("BEGIN");
    let mut sender = stand.client("dba", "d0");
    assert!(told(&sender) != told(&listener) && told(&sender) != told(&busy));
    sender.ask("NOTIFY news");
    let frames = wait::until(SOON, "the notification", || {
        let frames = listener.0.round_trip(&message::query("SELECT 1"), SOON).unwrap();
        (!notifiers(&frames).is_empty()).then_some(frames)
    });
    assert_eq!(notifiers(&frames), [told(&sender)]);
}

#[test]
fn what_signals_another_clients_process_does_not_run_on_it() {
    // With room for each, and without.
    for size in [5, 2] {
        let stand = Stand::start(&format!("default_pool_size = {size}"), 1);
        let mut direct = stand.direct("dba", "d0");
        let mut others: Vec<_> = (0..4).map(|_| stand.client("dba", "d0")).collect();
        for form in 0..6 {
            let mut caller = stand.client("dba", "d0");
            let lies_on_top = form % others.len();
            let other = others[lies_on_top].value("SELECT pg_backend_pid()");
            if told(&caller) == other {
                // Where log-ins take long the other has none of its own: the caller would mean itself.
                continue;
            }
            let pid: i32 = other.parse().unwrap();
            let parse = message::parse("", "SELECT pg_terminate_backend($1)", &[23]);
            let rest = [message::execute("", 0), message::sync()].concat();
            let frames = match form {
                0 => caller.0.round_trip(&message::query(&format!("SELECT pg_terminate_backend({other})")), SOON),
                1 => caller
                    .0
                    .round_trip(&message::query(&format!("SELECT 1; SELECT pg_cancel_backend('{other}')")), SOON),
                2 => {
                    let bind = message::bind("", "", &[Some(other.as_bytes())]);
                    caller.0.round_trip(&[parse, bind, rest].concat(), SOON)
                }
                3 => {
                    let value = pid.to_be_bytes();
                    let bind = message::bind_with_formats("", "", &[1], &[Some(&value)], &[]);
                    caller.0.round_trip(&[parse, bind, rest].concat(), SOON)
                }
                4 => {
                    caller
                        .0
                        .round_trip(
                            &[message::parse("k", "SELECT pg_cancel_backend($1)", &[23]), message::sync()].concat(),
                            SOON,
                        )
                        .unwrap();
                    let bind = message::bind("", "k", &[Some(other.as_bytes())]);
                    caller.0.round_trip(&[bind, rest].concat(), SOON)
                }
                _ => {
                    let text = format!("PREPARE k AS SELECT pg_terminate_backend({other})");
                    caller.ask(&text);
                    caller.0.round_trip(&message::query("SELECT pg_cancel_backend(0)"), SOON)
                }
            };
            let frames = frames.unwrap_or_else(|error| panic!("{size}, {form}: {error}"));
            assert!(frames.iter().all(|frame| frame.error().is_none()), "{size}, {form}: {frames:?}");
            if [0, 2, 3].contains(&form) {
                let gone = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {other}");
                wait::until(SOON, "the process ends", || (direct.value(&gone) == "0").then_some(()));
            }
            assert_eq!(others[lies_on_top].value("SELECT 1"), "1");
        }
    }
}

/// What is added to a process id, so that the sum is not by chance the id of the process beside it.
const FAR: i32 = 1_000_000;

/// Statements that signal that process, by forms in which it is not spelled out, and how they are sent.
fn signal_forms(pid: i32) -> Vec<(&'static str, Vec<u8>)> {
    let (far, mut forms) = (pid + FAR, Vec::new());
    for sql in [
        format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = {pid}"),
        format!("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE pid = {far} - {FAR}"),
        format!("SELECT pg_terminate_backend({far} - {FAR})"),
        format!("DO $$ BEGIN PERFORM pg_terminate_backend({pid}); END $$"),
        format!("DO $$ BEGIN PERFORM pg_terminate_backend({far} - {FAR}); END $$"),
        format!("DO $$ BEGIN EXECUTE 'SELECT pg_terminate_backend(' || {far} - {FAR} || ')'; END $$"),
        format!("SELECT 1; WITH p AS (SELECT {far} - {FAR} AS pid) SELECT pg_terminate_backend(pid) FROM p"),
        format!("SELECT finish({far})"),
        format!("SELECT query_to_xml('SELECT pg_terminate_backend({far} - {FAR})', true, true, '')"),
        format!("EXECUTE k({far})"),
        format!("SELECT pg_terminate_backend(p - {FAR}) FROM processes"),
        format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND pid = {pid}"
        ),
    ] {
        forms.push(("simple", message::query(&sql)));
        let run = [message::parse("", &sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()];
        if !sql.contains(';') || sql.starts_with("DO") {
            forms.push(("extended", run.concat()));
        }
    }
    let parse = message::parse("", &format!("SELECT pg_terminate_backend($1 - {FAR})"), &[23]);
    let bind = message::bind("", "", &[Some(far.to_string().as_bytes())]);
    forms.push(("parameter", [parse, bind, message::execute("", 0), message::sync()].concat()));
    forms.push(("call", message::function_call(2096, &[Some(&pid.to_be_bytes()), Some(&0_i64.to_be_bytes())])));
    forms
}

#[test]
fn what_signals_a_process_that_it_does_not_spell_out_does_not_run_on_it() {
    for (size, closed) in [("2", false), ("1", false), ("1\nmax_db_connections = 1", false), ("1", true)] {
        let stand = Stand::start(&format!("default_pool_size = {size}"), 1);
        let mut direct = stand.direct("dba", "d0");
        direct.ask(&format!(
            "CREATE TABLE processes (p int); CREATE FUNCTION finish(int) RETURNS bool LANGUAGE plpgsql AS \
                 $$ BEGIN RETURN pg_terminate_backend($1 - {FAR}); END $$"
        ));
        if closed {
            stand.client("dba", "pgsluice").ask("MAINTENANCE ON d0");
        }
        let forms = signal_forms(1).len();
        for form in 0..forms {
            let mut others: Vec<_> = (0..3).map(|_| stand.client("dba", "d0")).collect();
            let mut caller = stand.client("dba", "d0");
            caller.ask(&format!("PREPARE k(int) AS SELECT pg_terminate_backend($1 - {FAR})"));
            let target = form % others.len();
            // That of the server connection that was used last, which would be taken next.
            let pid: i32 = others[target].value("SELECT pg_backend_pid()").parse().unwrap();
            if told(&caller) == pid.to_string() {
                // Where log-ins take long the other has none of its own: the caller would mean itself.
                continue;
            }
            direct.ask(&format!("TRUNCATE processes; INSERT INTO processes VALUES ({pid} + {FAR})"));
            let (way, bytes) = signal_forms(pid).swap_remove(form);
            let at = format!("{size}, closed: {closed}, {way}: {}", bytes.escape_ascii());
            let frames = caller.0.round_trip(&bytes, SOON).unwrap_or_else(|error| panic!("{at}: {error}"));
            let errors: Vec<_> = frames.iter().filter_map(|frame| frame.error()).map(|e| e.to_string()).collect();
            // Text that nobody can read is refused with the gate closed.
            let refused = closed && errors.iter().any(|error| error.contains("25006"));
            assert!(errors.is_empty() || refused, "{at}: {errors:?}");
            if !refused && !bytes.windows(9).any(|word| word == b"pg_cancel") {
                let gone = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
                wait::until(SOON, &at, || (direct.value(&gone) == "0").then_some(()));
            }
            for client in others.iter_mut().chain([&mut caller]) {
                let answer = client.0.query("SELECT 1", SOON);
                assert!(answer.is_ok(), "{at}: {:?}", answer.err());
            }
        }
        // Who means itself has what it asks for.
        let mut own = stand.client("dba", "d0");
        assert!(own.0.query("SELECT pg_terminate_backend(pg_backend_pid())", SOON).is_err());
    }
}
