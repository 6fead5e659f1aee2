//! One server with two databases that are alike: one behind pgsluice, with one server connection, the other without.

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Cluster, Frame, Login, Proxy, Raw, RawError, Role};
use std::cell::Cell;
use std::time::Duration;

/// An answer that takes longer does not come.
const PATIENCE: Duration = Duration::from_secs(5);
/// Messages that mark the end of a step: more than there are in a step.
const END: usize = 20;

/// What every case begins with.
const SCHEMA: &str = "DROP SCHEMA IF EXISTS public, other CASCADE; CREATE SCHEMA public; CREATE SCHEMA other; \
    GRANT ALL ON SCHEMA public, other TO PUBLIC; \
    CREATE TABLE t (id int PRIMARY KEY, v text); INSERT INTO t SELECT i, 'v' || i FROM generate_series(1, 5) i; \
    CREATE TABLE other.t (id int, w int); INSERT INTO other.t VALUES (7, 8); CREATE SEQUENCE s; \
    CREATE FUNCTION sets() RETURNS text LANGUAGE sql SET work_mem = '9MB' AS $$ SELECT current_setting('work_mem') $$; \
    GRANT ALL ON ALL TABLES IN SCHEMA public, other TO PUBLIC; GRANT ALL ON SEQUENCE s TO PUBLIC; \
    SELECT lo_unlink(oid) FROM pg_largeobject_metadata";

/// See the module.
pub struct Stand {
    // Before the cluster, so that it goes first.
    proxy: Proxy,
    cluster: Cluster,
}

impl Stand {
    pub fn new() -> Stand {
        let cluster = Cluster::builder()
            .hba(["host all all 127.0.0.1/32 trust"])
            .roles([
                Role::new("dba").superuser(),
                Role::new("app").superuser(),
                Role::new("alice"),
                Role::new("monitor"),
            ])
            .databases(["near", "far"])
            .start()
            .unwrap();
        let config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_type = \"trust\"\nadmin_users = [\"dba\"]\n\
             query_wait_timeout = \"20s\"\ndefault_pool_size = 1\n[clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\n\
             monitor_user = \"monitor\"\nmonitor_interval = \"1s\"\n[databases.near]\n",
            cluster.primary().port()
        );
        let binary = pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice"));
        let proxy = Proxy::builder(binary).config(config).start().unwrap();
        Stand { proxy, cluster }
    }
}

/// Two clients of pgsluice, two of the server.
pub struct Twins {
    near: [Raw; 2],
    far: [Raw; 2],
}

impl Twins {
    pub fn new(stand: &Stand) -> Twins {
        // The server connection of the case before is not used again: a case is found again by its number alone.
        let mut console = Raw::connect(&stand.proxy.tcp(), &Login::new("dba", "pgsluice")).unwrap();
        console.query("RECONNECT near", PATIENCE).unwrap();
        for database in ["near", "far"] {
            let login = Login::new("dba", database);
            let mut raw = Raw::connect(&stand.cluster.primary().tcp(), &login).unwrap();
            raw.query(SCHEMA, PATIENCE).unwrap();
        }
        let near = || Raw::connect(&stand.proxy.tcp(), &Login::new("app", "near")).unwrap();
        let far = || Raw::connect(&stand.cluster.primary().tcp(), &Login::new("app", "far")).unwrap();
        let mut twins = Twins { near: [near(), near()], far: [far(), far()] };
        for raw in twins.near.iter_mut().chain(&mut twins.far) {
            // A server process that has known a setting of that kind knows it for ever: SHOW says nothing instead of failing.
            raw.query("SET my.key = ''; RESET my.key", PATIENCE).unwrap();
        }
        twins
    }

    /// What one of the two and its twin are told.
    pub fn say(&mut self, who: usize, step: &[Vec<u8>]) -> (Vec<String>, Vec<String>) {
        (say(&mut self.near[who], step), say(&mut self.far[who], step))
    }
}

/// Closes nothing, many times over: no answer of a step looks like that, and it changes nothing whatever state it meets.
fn end() -> Vec<u8> {
    [message::sync(), message::close_statement("of nobody").repeat(END), message::sync()].concat()
}

fn say(raw: &mut Raw, step: &[Vec<u8>]) -> Vec<String> {
    let closed = Cell::new(0);
    let last = |frame: &Frame| {
        let before = closed.get();
        closed.set(if frame.tag == b'3' { before + 1 } else { 0 });
        frame.tag == b'Z' && before >= END
    };
    let answer = raw.send(&[step.concat(), end()].concat()).and_then(|()| raw.frames_until(PATIENCE, last));
    match answer {
        Ok(frames) => seen(&frames),
        Err(RawError::Timeout { frames, .. }) => [seen(&frames), vec!["silence".into()]].concat(),
        Err(RawError::Closed { frames }) => [seen(&frames), vec!["closed".into()]].concat(),
        Err(_) => vec!["lost".into()],
    }
}

fn seen(frames: &[Frame]) -> Vec<String> {
    let told = |frame: &Frame| match frame.tag {
        b'E' | b'N' => {
            let mut fields = frame.error_fields();
            // Where in the server's source it comes from.
            fields.retain(|letter, _| !matches!(letter, 'F' | 'L' | 'R'));
            format!("{} {fields:?}", frame.tag as char)
        }
        // Who notifies is another process.
        b'A' => format!("A {}", frame.body.get(4..).unwrap_or_default().escape_ascii()),
        b'T' => format!("T {}", without_tables(&frame.body)),
        tag => format!("{} {}", tag as char, frame.body.escape_ascii()),
    };
    let frames = frames.iter().rev().skip(END + 1).rev();
    frames.map(told).collect()
}

/// A RowDescription without the numbers of the tables, which differ.
fn without_tables(body: &[u8]) -> String {
    let mut out = String::new();
    let mut rest = body.get(2..).unwrap_or_default();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let (name, tail) = rest.split_at(end);
        let Some((field, next)) = tail.split_at_checked(19) else { break };
        out.push_str(&format!("{} {};", name.escape_ascii(), field[5..].escape_ascii()));
        rest = next;
    }
    out
}
