//! A server with the table of the recipes, pgsluice before it, and programs that are ended with their test.

use std::io::{BufRead as _, BufReader};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use pgsluice_fixtures::proxy::binary;
use pgsluice_fixtures::{Address, Cluster, Login, Proxy, Raw, Role, wait};

pub const LONG: Duration = Duration::from_secs(60);

pub struct Stand {
    // Before the cluster, so that it goes first.
    pub proxy: Proxy,
    pub cluster: Cluster,
}

impl Stand {
    pub fn start() -> Stand {
        let cluster = Cluster::builder()
            .roles([Role::new("app").password("app"), Role::new("dba").password("dba").superuser()])
            .databases(["app"])
            .start()
            .unwrap();
        for sql in [
            "CREATE TABLE items (id serial PRIMARY KEY, name text)",
            "GRANT ALL ON items, items_id_seq TO app",
            "GRANT CREATE ON DATABASE app TO app",
        ] {
            cluster.primary().psql_in("app", sql).unwrap();
        }
        let config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 1\nauth_file = \"userlist.txt\"\n\
             admin_users = [\"dba\"]\noperators = [\"dba\"]\n[clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\n\
             monitor_user = \"dba\"\nmonitor_password = \"dba\"\nmonitor_interval = \"200ms\"\n[databases.app]\n",
            cluster.primary().port()
        );
        let proxy = Proxy::builder(binary(env!("CARGO_BIN_EXE_pgsluice")))
            .config(config)
            .file("userlist.txt", "\"app\" \"app\"\n\"dba\" \"dba\"\n")
            .start()
            .unwrap();
        Stand { proxy, cluster }
    }

    /// A program that finds the database by libpq's variables.
    pub fn command(&self, program: impl Into<PathBuf>) -> Command {
        let mut command = Command::new(program.into());
        let port = self.proxy.port().to_string();
        let found = [
            ("PGHOST", "127.0.0.1"),
            ("PGPORT", &port),
            ("PGUSER", "app"),
            ("PGPASSWORD", "app"),
            ("PGDATABASE", "app"),
        ];
        command.envs(found).current_dir(self.proxy.dir());
        command
    }

    /// What the document prints, as a file.
    pub fn printed(&self, name: &str) -> PathBuf {
        let path = self.proxy.dir().join(name);
        std::fs::write(&path, crate::printed(name)).unwrap();
        path
    }

    pub fn console(&self, sql: &str) {
        let address = Address::local(self.proxy.port());
        let mut console = Raw::connect(&address, &Login::new("dba", "pgsluice").password("dba")).unwrap();
        console.query(sql, LONG).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// What is in the table.
    pub fn items(&self) -> String {
        let sql = "SELECT coalesce(string_agg(name, ' ' ORDER BY name), '') FROM items";
        self.cluster.primary().psql_in("app", sql).unwrap()
    }

    pub fn wait_for_items(&self, expected: &str) {
        wait::until(LONG, &format!("{expected:?} in the table"), || (self.items() == expected).then_some(()));
    }
}

/// Ended when it is dropped.
pub struct Running(Child);

impl Running {
    pub fn start(command: &mut Command) -> Running {
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Running(child.unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Waits until the program has printed that line. Its output is read to the end, so that it never waits for us.
    pub fn wait_for_line(&mut self, line: &str) {
        let output = BufReader::new(self.stdout.take().expect("nobody else reads the output"));
        let (sender, printed) = mpsc::channel();
        let expected = line.to_owned();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if line == expected {
                    let _ = sender.send(());
                }
            }
        });
        printed.recv_timeout(LONG).unwrap_or_else(|error| panic!("{line:?} was not printed: {error}"));
    }
}

impl Deref for Running {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Running {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
