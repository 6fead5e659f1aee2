//! The network between pgsluice and the primary is cut while statements run there: nobody knows whether they commit, so a
//! database does not count as quiesced before the server has said that they are gone.

use crate::stand::{LONG, Stand, query, sqlstate};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Mode, Raw, wait};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const WHOLE: u8 = 0;
/// What is sent arrives when it is whole again.
const SILENT: u8 = 1;
/// pgsluice's ends are closed, the server's stay open.
const BROKEN: u8 = 2;
const OVER: u8 = 3;
/// A middleman that hangs up on pgsluice as soon as that has said its last word, and not on the server.
const HASTY: u8 = 4;

#[derive(Default)]
struct Wires {
    state: AtomicU8,
    /// Both ends of each: pgsluice's and the server's.
    open: Mutex<Vec<(TcpStream, TcpStream)>>,
}

/// A network between pgsluice and a server that can be cut.
struct Relay {
    port: u16,
    wires: Arc<Wires>,
}

impl Relay {
    fn to(server: u16) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("a listener");
        let port = listener.local_addr().expect("an address").port();
        let wires = Arc::<Wires>::default();
        let shared = wires.clone();
        thread::spawn(move || {
            while shared.state.load(SeqCst) != OVER {
                let Ok((near, _)) = listener.accept() else {
                    thread::sleep(Duration::from_millis(2));
                    continue;
                };
                if shared.state.load(SeqCst) != BROKEN {
                    shared.join(near, TcpStream::connect(("127.0.0.1", server)).expect("the server"));
                }
            }
        });
        Relay { port, wires }
    }

    fn turn(&self, state: u8) {
        self.wires.state.store(state, SeqCst);
        if matches!(state, BROKEN | OVER) {
            for (near, far) in self.wires.open.lock().expect("the list").iter() {
                let _ = near.shutdown(Shutdown::Both);
                if state == OVER {
                    let _ = far.shutdown(Shutdown::Both);
                }
            }
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.turn(OVER);
    }
}

impl Wires {
    fn join(self: &Arc<Self>, near: TcpStream, far: TcpStream) {
        near.set_nonblocking(false).expect("a stream");
        let again = |stream: &TcpStream| stream.try_clone().expect("a stream");
        self.open.lock().expect("the list").push((again(&near), again(&far)));
        for (from, to, is_near) in [(again(&near), again(&far), true), (far, near, false)] {
            let wires = self.clone();
            thread::spawn(move || wires.pump(from, to, is_near));
        }
    }

    fn pump(&self, mut from: TcpStream, mut to: TcpStream, is_near: bool) {
        let mut room = [0; 4096];
        loop {
            let read = from.read(&mut room).unwrap_or(0);
            while self.state.load(SeqCst) == SILENT {
                thread::sleep(Duration::from_millis(2));
            }
            if read == 0 || to.write_all(&room[..read]).is_err() {
                match self.state.load(SeqCst) {
                    BROKEN => {}
                    HASTY if is_near => _ = from.shutdown(Shutdown::Both),
                    _ => _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both)),
                }
                return;
            }
        }
    }
}

fn modes() -> [&'static str; 2] {
    ["default_pool_size = 60", "default_pool_size = 60\npool_mode = \"session\""]
}

fn stand(mode: &str) -> (Stand, Relay) {
    let mut stand = Stand::new(mode);
    let relay = Relay::to(stand.cluster.primary().port());
    stand.lead_through(relay.port);
    (stand, relay)
}

fn block(id: u32, seconds: u32) -> String {
    format!("DO $$ BEGIN PERFORM pg_sleep({seconds}); INSERT INTO t VALUES ({id}, 'block'); END $$")
}

fn batch(sql: &str) -> Vec<u8> {
    [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0), message::sync()].concat()
}

fn send(stand: &Stand, bytes: &[u8]) -> Raw {
    let mut raw = stand.app();
    raw.send(bytes).expect("sent");
    raw
}

fn at_work(stand: &Stand, count: u32) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'";
    stand.cluster.primary().wait_until(sql, &count.to_string(), LONG).unwrap();
}

/// What MAINTENANCE ON says on the console.
fn close(stand: &Stand, options: &str) -> Vec<Frame> {
    query(&mut stand.connect("dba", "dba", "pgsluice"), &format!("MAINTENANCE ON app WITH ({options})"))
}

fn assert_not_quiesced(stand: &Stand, options: &str, named: &str) {
    let began = Instant::now();
    let frames = close(stand, options);
    let error = frames.iter().find_map(Frame::error).expect("an error");
    assert!(error.code() == "55P03" && error.message().contains(named), "{options}: {error}");
    assert!(began.elapsed() >= Duration::from_secs(3), "{options}");
    assert_eq!(stand.mode(), "read_write", "{options}");
}

/// Nothing of the application's is at work, and all that was committed was so before the database counted as quiesced.
fn assert_truly_quiesced(stand: &Stand, row: &[Option<String>]) {
    assert_eq!(row[1].as_deref(), Some("read_only"), "{row:?}");
    let at = row[5].as_deref().expect("quiesced_at");
    stand.assert_nothing_at_work();
    let late = format!("SELECT count(*) FROM t WHERE pg_xact_commit_timestamp(xmin) > '{at}'");
    assert_eq!(stand.cluster.primary().psql_in("app", &late).expect("a count"), "0", "{row:?}");
}

#[test]
fn what_is_at_work_behind_a_cut_network_keeps_a_database_from_being_quiesced() {
    for mode in modes() {
        let (stand, relay) = stand(mode);
        let mut cut = [
            send(&stand, &message::query(&block(801, 60))),
            send(&stand, &batch(&block(802, 60))),
            send(&stand, &batch("INSERT INTO t SELECT 803, 'one' FROM pg_sleep(60)")),
            send(&stand, &message::query(&format!("BEGIN; {}; COMMIT", block(804, 3)))),
        ];
        at_work(&stand, 4);
        relay.turn(BROKEN);
        for raw in &mut cut {
            let frames = raw.frames_until(LONG, |frame| frame.tag == b'E').expect("an error");
            assert_eq!(sqlstate(&frames), "08006");
        }
        let named = "4 statements whose server cannot be reached";
        assert_not_quiesced(&stand, "drain_timeout '7s', on_timeout revert", named);
        assert_not_quiesced(&stand, "drain_timeout '1s', on_timeout cancel", named);
        // The network comes back in the midst of a drain.
        thread::scope(|scope| {
            let closes = scope.spawn(|| stand.console("MAINTENANCE ON app WITH (drain_timeout '60s')"));
            wait::until(LONG, "the drain", || (stand.mode() == "draining").then_some(()));
            relay.turn(WHOLE);
            assert_truly_quiesced(&stand, &closes.join().expect("the answer")[0]);
        });
        let committed = "SELECT count(*) FROM t WHERE id > 800";
        assert_eq!(stand.cluster.primary().psql_in("app", committed).expect("a count"), "1", "the short one");
    }
}

#[test]
fn a_network_that_has_gone_silent_is_no_quiet() {
    let (stand, relay) = stand("");
    let clients = [send(&stand, &message::query(&block(811, 60))), send(&stand, &batch(&block(812, 60)))];
    at_work(&stand, 2);
    relay.turn(SILENT);
    assert_not_quiesced(&stand, "drain_timeout '4s', on_timeout revert", "2 transactions still open");
    assert_not_quiesced(&stand, "drain_timeout '1s', on_timeout cancel", "2 ");
    // Their clients go too: what they have left is given up, and looked for.
    drop(clients);
    assert_not_quiesced(&stand, "drain_timeout '4s', on_timeout revert", "2 ");
    relay.turn(WHOLE);
    let rows = stand.console("MAINTENANCE ON app WITH (drain_timeout '40s')");
    assert_truly_quiesced(&stand, &rows[0]);
}

#[test]
fn where_nothing_is_at_work_the_gate_closes_without_a_primary() {
    let (stand, relay) = stand("");
    let mut idle = stand.app();
    assert_eq!(sqlstate(&query(&mut idle, "INSERT INTO t VALUES (821, 'before')")), "");
    relay.turn(BROKEN);
    let rows = stand.console("MAINTENANCE ON app WITH (drain_timeout '3s')");
    assert_eq!((rows[0][1].as_deref(), rows[0][6].as_deref()), (Some("read_only"), None), "{rows:?}");
}

/// A server that shuts down says so to each back end's client: what was open has been rolled back.
#[test]
fn what_a_server_has_ended_itself_is_not_waited_for() {
    let (stand, relay) = stand("");
    let mut clients = [send(&stand, &message::query(&block(831, 60))), send(&stand, &batch(&block(832, 60)))];
    at_work(&stand, 2);
    stand.cluster.primary().stop(Mode::Fast).expect("stopped");
    for raw in &mut clients {
        raw.frames_until(LONG, |frame| frame.tag == b'E').expect("an error");
    }
    let rows = stand.console("MAINTENANCE ON app WITH (drain_timeout '3s')");
    assert_eq!(rows[0][1].as_deref(), Some("read_only"), "{rows:?}");
    drop(relay);
}

/// Catches two requests to cancel it, and writes.
const WRITES_ALL_THE_SAME: &str = "CREATE FUNCTION writes_all_the_same(id int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 1..3 LOOP
        BEGIN
            PERFORM pg_sleep(1);
        EXCEPTION WHEN query_canceled THEN NULL;
        END;
    END LOOP;
    INSERT INTO public.t VALUES (id, 'late');
END $$";

/// A client vanishes, and somebody between pgsluice and the server closes the connection: the server has not said that it is over.
#[test]
fn the_end_of_a_connection_is_not_taken_for_the_end_of_its_back_end() {
    for mode in modes() {
        let (stand, relay) = stand(mode);
        stand.operator().query(WRITES_ALL_THE_SAME, LONG).expect("a function");
        let clients = [
            send(&stand, &message::query("SELECT writes_all_the_same(841)")),
            send(&stand, &batch("SELECT writes_all_the_same(842)")),
            send(&stand, &message::query("BEGIN; SELECT writes_all_the_same(843); COMMIT; SELECT pg_sleep(60)")),
        ];
        at_work(&stand, 3);
        relay.turn(HASTY);
        drop(clients);
        let rows = stand.console("MAINTENANCE ON app WITH (drain_timeout '10s')");
        let row = &rows[0];
        assert_eq!(row[1].as_deref(), Some("read_only"), "{row:?}");
        let at_work = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state <> 'idle'";
        assert_eq!(stand.cluster.primary().psql(at_work).expect("a count"), "0", "{row:?}");
        let at = row[5].as_deref().expect("quiesced_at");
        let late = format!("SELECT count(*) FROM t WHERE pg_xact_commit_timestamp(xmin) > '{at}'");
        assert_eq!(stand.cluster.primary().psql_in("app", &late).expect("a count"), "0", "{row:?}");
        let foreign = row[11].as_deref().unwrap_or_default();
        assert!(foreign.is_empty() || foreign == "{}", "nobody else writes: {row:?}");
        wait::until(LONG, "the clients go", || (stand.clients("abandoned") == 0).then_some(()));
    }
}
