//! PostgreSQL's own replication programs through the proxy, beside pools in transaction mode; and what the gate makes of
//! them.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Cluster, Frame, Login, Proxy, Raw, Role, proxy::binary, wait};

use crate::stand::{SOON, ask, refusal, simple};

/// A cluster whose changes can be decoded, and a role that may stream them.
struct Stand {
    // Before the cluster, so that it goes first.
    proxy: Proxy,
    cluster: Cluster,
}

impl Stand {
    fn new() -> Stand {
        let cluster = Cluster::builder()
            .roles([
                Role::new("streamer").password("streamer").option("REPLICATION"),
                Role::new("dba").password("dba").superuser(),
                Role::new("monitor").password("monitor").option("IN ROLE pg_monitor"),
            ])
            .databases(["app"])
            .setting("wal_level", "logical")
            .start()
            .expect("a cluster");
        let config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_file = \"userlist.txt\"\n\
             admin_users = [\"dba\"]\noperators = [\"dba\"]\ndefault_pool_size = 3\nquery_wait_timeout = \"1s\"\n\
             [maintenance]\ndrain_timeout = \"2s\"\non_timeout = \"cancel\"\n\
             [clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"monitor\"\n\
             monitor_password = \"monitor\"\nmonitor_interval = \"200ms\"\n\
             [databases.app]\n[databases.replication]\ndbname = \"app\"\n",
            cluster.primary().port(),
        );
        let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice")))
            .config(config)
            .file("userlist.txt", "\"streamer\" \"streamer\"\n\"dba\" \"dba\"\n")
            .start()
            .expect("a proxy");
        let stand = Stand { proxy, cluster };
        let sql = "CREATE TABLE t (n int); GRANT ALL ON t TO streamer";
        stand.cluster.primary().psql_in("app", sql).unwrap();
        stand
    }

    fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.cluster.installation().program(name).unwrap());
        command
            .args(["-h", "127.0.0.1", "-p", &self.proxy.port().to_string(), "-U", "streamer", "-w"])
            .env("PGPASSWORD", "streamer")
            .env("PGSSLMODE", "disable")
            .stdin(Stdio::null());
        command
    }

    fn console(&self, sql: &str) {
        let login = Login::new("dba", "pgsluice").password("dba");
        let mut console = Raw::connect(&self.proxy.tcp(), &login).expect("the console");
        console.query(sql, SOON).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    fn streamer(&self, replication: &str) -> Login {
        let name = if replication == "database" { "app" } else { "replication" };
        Login::new("streamer", name).password("streamer").parameter("replication", replication)
    }

    fn connect(&self, replication: &str) -> Raw {
        Raw::connect(&self.proxy.tcp(), &self.streamer(replication)).expect("a replication connection")
    }
}

#[track_caller]
fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn holds_files(folder: &Path, least: usize) -> bool {
    std::fs::read_dir(folder).is_ok_and(|files| files.count() >= least)
}

/// Runs a program that streams until it is told to stop, and stops it once `until` holds.
fn stream(mut command: Command, until: impl Fn() -> bool) {
    let mut child = command.stdout(Stdio::null()).spawn().unwrap();
    wait::until(SOON, "what is streamed", || (until() || child.try_wait().unwrap().is_some()).then_some(()));
    assert!(until(), "{command:?} has ended too early");
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn postgresql_s_programs_work_through_the_proxy_and_in_maintenance() {
    let stand = Stand::new();
    if let Err(missing) = stand.cluster.installation().program("pg_basebackup") {
        return eprintln!("SKIPPED: {missing}");
    }
    let folder = tempfile::tempdir().unwrap();
    let into = |name: &str| folder.path().join(name);
    let receive = |name: &str| {
        std::fs::create_dir(into(name)).unwrap();
        let mut command = stand.program("pg_receivewal");
        command.args(["--no-loop", "--synchronous", "-D"]).arg(into(name));
        // Where nothing is written there is nothing to receive.
        let write = || stand.cluster.primary().psql("SELECT pg_logical_emit_message(true, 'test', 'x')").unwrap();
        stream(command, || !write().is_empty() && holds_files(&into(name), 1));
    };
    let decode = |name: &str, row: u32| {
        let mut command = stand.program("pg_recvlogical");
        command.args(["-d", "app", "--slot", "changes", "--start", "--no-loop", "-F", "1", "-f"]).arg(into(name));
        let marks = format!("INSERT INTO t VALUES ({row})");
        stand.cluster.primary().psql_in("app", &marks).unwrap();
        let seen = || std::fs::read_to_string(into(name)).is_ok_and(|text| text.contains(&format!("n[integer]:{row}")));
        stream(command, seen);
    };
    let mut slot = stand.program("pg_recvlogical");
    slot.args(["-d", "app", "--slot", "changes", "--create-slot", "-P", "test_decoding"]);
    succeed(&mut slot);
    for (round, closed) in [(1, false), (2, true)] {
        if closed {
            stand.console("MAINTENANCE ON app");
            stand.console("MAINTENANCE ON replication");
        }
        succeed(
            stand
                .program("pg_basebackup")
                .args(["-c", "fast", "-X", "stream", "-D"])
                .arg(into(&format!("base{round}"))),
        );
        assert!(into(&format!("base{round}")).join("PG_VERSION").exists());
        receive(&format!("wal{round}"));
        decode(&format!("changes{round}"), round);
    }
    // Slots are not made and not dropped while nothing may change.
    let mut drop = stand.program("pg_recvlogical");
    drop.args(["-d", "app", "--slot", "changes", "--drop-slot"]);
    let refused = String::from_utf8_lossy(&drop.output().unwrap().stderr).into_owned();
    assert!(refused.contains("cannot execute DROP_REPLICATION_SLOT in a read-only transaction"), "{refused}");
    stand.console("MAINTENANCE OFF app");
    succeed(&mut drop);
}

#[test]
fn sql_of_replication_connections_does_not_pass_a_closed_gate() {
    let stand = Stand::new();
    let error =
        |frames: &[Frame]| frames.iter().find_map(Frame::error).map(|error| error.to_string()).unwrap_or_default();
    let mut before = stand.connect("database");
    assert_eq!(error(&simple(&mut before, "INSERT INTO t VALUES (1)")), "");
    // A transaction that has written is waited for, a connection that streams or is idle is not.
    let mut writer = stand.connect("database");
    simple(&mut writer, "BEGIN; INSERT INTO t VALUES (2)");
    std::thread::scope(|scope| {
        let flip = scope.spawn(|| {
            let began = Instant::now();
            stand.console("MAINTENANCE ON app");
            began.elapsed()
        });
        let busy = || error(&simple(&mut before, "INSERT INTO t VALUES (3)")).contains("25006").then_some(());
        wait::until(SOON, "a closed gate", busy);
        assert_eq!(error(&simple(&mut writer, "INSERT INTO t VALUES (4)")), "");
        simple(&mut writer, "COMMIT");
        assert!(flip.join().unwrap() < Duration::from_secs(2), "the drain ended with the transaction");
    });
    let count = || stand.cluster.primary().psql_in("app", "SELECT count(*) FROM t").unwrap();
    let after = count();
    let mut anew = stand.connect("database");
    for client in [&mut before, &mut writer, &mut anew] {
        for sql in [
            "INSERT INTO t VALUES (5)",
            "SELECT lo_create(0)",
            "SELECT * FROM t",
            "BEGIN READ WRITE; INSERT INTO t VALUES (5)",
            "CREATE_REPLICATION_SLOT s PHYSICAL",
            "SET default_transaction_read_only = off",
        ] {
            assert!(error(&simple(client, sql)).contains("25006"), "{sql}");
        }
        // In a block the error aborts it, as any error does.
        assert_eq!(simple(client, "BEGIN").last().unwrap().body, b"T");
        let frames = simple(client, "INSERT INTO t VALUES (6)");
        assert!(error(&frames).contains("cannot execute INSERT in a read-only transaction"), "{frames:?}");
        assert_eq!(frames.last().unwrap().body, b"E");
        assert!(error(&simple(client, "INSERT INTO t VALUES (6)")).contains("25P02"));
        simple(client, "ROLLBACK");
        assert_eq!(error(&simple(client, "SELECT pg_catalog.set_config('search_path', '', false);")), "");
        assert_eq!(error(&simple(client, "IDENTIFY_SYSTEM")), "");
    }
    assert_eq!(count(), after);
    stand.console("MAINTENANCE OFF app");
    assert_eq!(error(&simple(&mut before, "INSERT INTO public.t VALUES (7)")), "");
    drop(anew);
    // What does not end in time is broken off.
    assert_eq!(simple(&mut writer, "BEGIN; INSERT INTO public.t VALUES (8)").last().unwrap().body, b"T");
    let rows = count();
    stand.console("MAINTENANCE ON app");
    assert_eq!(count(), rows);
    let gone = writer.frames_until_closed(SOON).unwrap();
    assert!(error(&gone).contains("57P01"), "{gone:?}");
}

#[test]
fn limits_count_and_what_is_wrong_is_refused_as_postgresql_does() {
    let stand = Stand::new();
    let mut open: Vec<Raw> = (0..3).map(|_| stand.connect("database")).collect();
    let one_more = refusal(&stand.proxy.tcp(), &stand.streamer("database"));
    assert!(one_more.contains(&('M', "query_wait_timeout".into())), "{one_more:?}");
    drop(open.pop());
    open.push(wait::until_ok(SOON, "a place", || Raw::connect(&stand.proxy.tcp(), &stand.streamer("database"))));
    drop(open);
    let said = |refused: Vec<(char, String)>| -> Vec<(char, String)> {
        refused.into_iter().filter(|(letter, _)| !"FLR".contains(*letter)).collect()
    };
    let server = pgsluice_fixtures::Address::local(stand.cluster.primary().port());
    for replication in ["perhaps", "databases"] {
        let login = stand.streamer(replication);
        assert_eq!(said(refusal(&stand.proxy.tcp(), &login)), said(refusal(&server, &login)), "{replication}");
    }
    stand.cluster.primary().psql("ALTER ROLE streamer NOREPLICATION").unwrap();
    let login = stand.streamer("database");
    assert_eq!(refusal(&stand.proxy.tcp(), &login), refusal(&server, &login));
    stand.cluster.primary().psql("ALTER ROLE streamer REPLICATION").unwrap();
    let mut own = stand.connect("database");
    let pid = own.key().unwrap().pid.to_string();
    assert_eq!(ask(&mut own, "SELECT pg_backend_pid()"), pid);
    own.send(&message::query("SELECT pg_sleep(30)")).unwrap();
    let answer = wait::until(SOON, "an end", || {
        own.cancel(SOON).unwrap();
        own.frame(Duration::from_millis(50)).ok().filter(|frame| frame.tag == b'E')
    });
    assert_eq!(answer.error().unwrap().code(), "57014");
    let mut plain = Raw::connect(&stand.proxy.tcp(), &stand.streamer("off")).unwrap();
    assert_eq!(ask(&mut plain, "SELECT 1"), "1");
}
