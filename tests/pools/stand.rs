//! A server with databases `d0`, `d1`, … and roles `u0`, `u1`, …, and pgsluice before it.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Cluster, Frame, Login, Proxy, Raw, Role, wait};

/// Longest wait for anything here.
pub const LONG: Duration = Duration::from_secs(60);

/// See the module.
pub struct Stand {
    // Before the cluster, so that it goes first.
    pub proxy: Proxy,
    cluster: Cluster,
    config: String,
    top: String,
}

impl Stand {
    /// With so many databases and roles, `top` at the head of the configuration and `end` at its end.
    pub fn new(databases: usize, roles: usize, top: &str, end: &str) -> Stand {
        Self::with_connections(100, databases, roles, top, end)
    }

    /// The same with so many connections to the server.
    pub fn with_connections(connections: usize, databases: usize, roles: usize, top: &str, end: &str) -> Stand {
        let roles = (0..roles).map(|at| Role::new(format!("u{at}")));
        let cluster = Cluster::builder()
            .hba(["host all all 127.0.0.1/32 trust"])
            .roles(roles.chain([Role::new("dba").superuser(), Role::new("monitor")]))
            .databases((0..databases).map(|at| format!("d{at}")))
            .setting("max_connections", connections.to_string())
            .start()
            .expect("a cluster");
        let mut config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_type = \"trust\"\n\
             admin_users = [\"dba\"]\nTOP\n[clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"monitor\"\n",
            cluster.primary().port()
        );
        for at in 0..databases {
            let _ = writeln!(config, "[databases.d{at}]");
        }
        config.push_str(end);
        let binary = pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice"));
        let proxy = Proxy::builder(binary).config(config.replace("TOP", top)).start().expect("a proxy");
        Stand { proxy, cluster, config, top: top.to_owned() }
    }

    /// The port of the server itself.
    pub fn server_port(&self) -> u16 {
        self.cluster.primary().port()
    }

    /// Runs SQL as a superuser on the server itself.
    pub fn superuser(&self, database: usize, sql: &str) {
        let address = pgsluice_fixtures::raw::Address::local(self.server_port());
        let login = Login::new("dba", &format!("d{database}"));
        let mut direct = Raw::connect(&address, &login).expect("the server");
        direct.query(sql, LONG).expect(sql);
    }

    /// RELOAD with this at the head of the configuration.
    pub fn reload(&mut self, top: &str) {
        self.proxy.reconfigure(&self.config.replace("TOP", top)).expect("a new configuration");
        self.console("RELOAD");
    }

    /// Gives a database more keys: a table that begins as one that is there already.
    pub fn extend(&mut self, table: &str) {
        let (name, keys) = table.split_once('\n').expect("a name and keys");
        assert!(self.config.contains(name), "{name}");
        self.config = self.config.replacen(&format!("{name}\n"), &format!("{name}\n{keys}"), 1);
        let top = self.top.clone();
        self.reload(&top);
    }

    /// A client of database `d{database}` as `u{user}`.
    pub fn client(&self, user: usize, database: usize) -> Raw {
        Raw::connect(&self.proxy.tcp(), &Login::new(&format!("u{user}"), &format!("d{database}"))).expect("a client")
    }

    /// What a command on the console shows: rows of `column=value`.
    pub fn console(&self, command: &str) -> Vec<Vec<String>> {
        let mut console = Raw::connect(&self.proxy.tcp(), &Login::new("dba", "pgsluice")).expect("the console");
        let frames = console.round_trip(&message::query(command), LONG).expect(command);
        let columns = frames.iter().find(|frame| frame.tag == b'T').map(columns).unwrap_or_default();
        let rows = frames.iter().filter(|frame| frame.tag == b'D').map(Frame::values);
        let cell = |(name, value): (&String, Option<Vec<u8>>)| {
            format!("{name}={}", String::from_utf8_lossy(&value.unwrap_or_default()))
        };
        rows.map(|row| columns.iter().zip(row).map(cell).collect()).collect()
    }

    /// Waits until a row of what a command shows has all of these cells.
    pub fn wait_to_see(&self, command: &str, cells: &[&str]) {
        wait::until(LONG, &format!("{cells:?} in {command}"), || self.shows(command, cells).then_some(()));
    }

    /// Whether a row of what a command shows has all of these cells.
    pub fn shows(&self, command: &str, cells: &[&str]) -> bool {
        let has = |row: &Vec<String>| cells.iter().all(|cell| row.iter().any(|known| known == cell));
        self.console(command).iter().any(has)
    }
}

/// The names in a RowDescription.
fn columns(frame: &Frame) -> Vec<String> {
    let mut rest = &frame.body[2..];
    let mut names = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        names.push(String::from_utf8_lossy(&rest[..end]).into_owned());
        rest = &rest[end + 19..];
    }
    names
}

/// Sends a statement and does not wait for its answer.
pub fn begin(client: &mut Raw, sql: &str) {
    client.send(&message::query(sql)).expect("sent");
}

/// Waits for the answer to what was begun: how long that took. It must be no error.
#[track_caller]
pub fn end(client: &mut Raw) -> Duration {
    let began = Instant::now();
    let frames = client.frames_until_ready(LONG).expect("an answer");
    assert!(frames.iter().all(|frame: &Frame| frame.error().is_none()), "{frames:?}");
    began.elapsed()
}

/// What comes back for these messages, the last of which is a Sync or a query.
pub fn answer(client: &mut Raw, messages: &[Vec<u8>]) -> Vec<Frame> {
    client.round_trip(&messages.concat(), LONG).expect("an answer, and the connection lives")
}

/// SQLSTATEs, and what the last ReadyForQuery says.
pub fn outcome(frames: &[Frame]) -> (Vec<String>, String) {
    let errors = frames.iter().filter_map(Frame::error).map(|error| error.code().to_owned()).collect();
    let ready = frames.iter().rfind(|frame| frame.tag == b'Z').expect("ReadyForQuery");
    (errors, String::from_utf8_lossy(&ready.body).into_owned())
}
