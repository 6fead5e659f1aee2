//! Two servers in logical replication both ways, and an operator.

use std::time::Duration;

use pgsluice_fixtures::raw::{Frame, message};
use pgsluice_fixtures::{Cluster, Login, Postgres, Proxy, Raw, Role, wait};

pub const LONG: Duration = Duration::from_secs(30);

pub struct Stand {
    pub servers: Vec<Cluster>,
    pub proxy: Proxy,
}

/// Of the hash below.
pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const TOKEN_HASH: &str = "3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9";

/// One that can tell its own writes from those of others is needed for both ways.
const MAJOR: u32 = 16;

impl Stand {
    pub fn new(most_prepared: &str) -> Self {
        Self::with(most_prepared, "multi_primary = true")
    }

    pub fn with(most_prepared: &str, of_cluster: &str) -> Self {
        let servers: Vec<Cluster> = (0..2)
            .map(|_| {
                let roles = [
                    Role::new("bot"),
                    Role::new("monitor").option("IN ROLE pg_monitor"),
                    Role::new("mover").superuser(),
                    Role::new("dba").superuser(),
                    Role::new("repl").superuser(),
                ];
                let builder = Cluster::builder()
                    .installation(Postgres::major(MAJOR).unwrap())
                    .hba(["host all all 127.0.0.1/32 trust"])
                    .databases(["bot"])
                    .roles(roles)
                    .setting("wal_level", "logical")
                    .setting("max_prepared_transactions", most_prepared);
                let cluster = builder.start().unwrap();
                let sql = "CREATE TABLE w (id int PRIMARY KEY, who text); GRANT ALL ON SCHEMA public TO bot; \
                           GRANT ALL ON w TO bot; CREATE PUBLICATION multihome FOR ALL TABLES";
                cluster.primary().psql_in("bot", sql).unwrap();
                cluster
            })
            .collect();
        for (here, there) in [(0, 1), (1, 0)] {
            let sql = format!(
                "CREATE SUBSCRIPTION from_other CONNECTION 'host=127.0.0.1 port={} user=repl dbname=bot' \
                 PUBLICATION multihome WITH (origin = none, copy_data = false)",
                servers[there].primary().port()
            );
            servers[here].primary().psql_in("bot", &sql).unwrap();
        }
        // A second one that is no replica would be a split brain.
        let used = if of_cluster.is_empty() { 1 } else { 2 };
        let upstreams: Vec<String> =
            servers.iter().take(used).map(|one| format!("\"127.0.0.1:{}\"", one.primary().port())).collect();
        let config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nauth_type = \"trust\"\n\
             admin_users = [\"dba\"]\noperators = [\"dba\", \"bot_owner\"]\n\
             [http]\nlisten = \"127.0.0.1:{{port:http}}\"\noperate_tokens = [\"ci:{TOKEN_HASH}\"]\n\
             [clusters.home]\nupstreams = [{}]\nmonitor_user = \"monitor\"\nswitchover_user = \"mover\"\nmonitor_interval = \"300ms\"\n{of_cluster}\n\
             [databases.bot]\n",
            upstreams.join(", ")
        );
        let binary = pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice"));
        let stand = Self { servers, proxy: Proxy::builder(binary).config(config).start().unwrap() };
        let mut console = stand.connect("dba", "pgsluice");
        wait::until(LONG, "both servers to be known", || {
            let rows = console.query("SHOW UPSTREAMS", LONG).unwrap().remove(0).rows;
            let known = |row: &Vec<Option<String>>| matches!(row[2].as_deref(), Some("primary" | "contested"));
            rows.iter().all(known).then_some(())
        });
        stand
    }

    pub fn connect(&self, user: &str, database: &str) -> Raw {
        Raw::connect(&self.proxy.tcp(), &Login::new(user, database)).unwrap()
    }

    /// An operator whose statements go to both, with the gate closed.
    pub fn closed_and_fanned_out(&self) -> Raw {
        self.console("MAINTENANCE ON bot WITH (writes hold)");
        let mut operator = self.connect("dba", "bot");
        assert_eq!(outcome(&mut operator, "SET pgsluice.fanout = on"), "SET");
        operator
    }

    pub fn console(&self, command: &str) {
        self.connect("dba", "pgsluice").query(command, LONG).unwrap();
    }

    /// What each server answers.
    pub fn both(&self, sql: &str) -> Vec<String> {
        self.servers.iter().map(|one| one.primary().psql_in("bot", sql).unwrap()).collect()
    }

    /// How each is called.
    pub fn name(&self, at: usize) -> String {
        format!("127.0.0.1:{}", self.servers[at].primary().port())
    }
}

/// All that came for a query.
pub fn frames(client: &mut Raw, sql: &str) -> Vec<Frame> {
    client.round_trip(&message::query(sql), LONG).unwrap()
}

/// Tags and SQLSTATEs, in order.
pub fn outcome(client: &mut Raw, sql: &str) -> String {
    let told = frames(client, sql);
    let words = told.iter().filter_map(|frame| match frame.tag {
        b'E' => frame.error().map(|error| error.code().to_owned()),
        b'C' => frame.strings().into_iter().next(),
        _ => None,
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Runs statements one after the other, each of which has to come to that outcome.
pub fn go_through(client: &mut Raw, steps: &[(&str, &str)]) {
    for (sql, expected) in steps {
        assert_eq!(outcome(client, sql), *expected, "{sql}");
    }
}

/// What notices and errors say, DETAIL too.
pub fn words(frames: &[Frame]) -> String {
    let mut all = String::new();
    for frame in frames.iter().filter(|frame| matches!(frame.tag, b'N' | b'E')) {
        let fields = frame.error_fields();
        for letter in ['M', 'D', 'H'] {
            all.push_str(fields.get(&letter).map_or("", String::as_str));
            all.push('\n');
        }
    }
    all
}
