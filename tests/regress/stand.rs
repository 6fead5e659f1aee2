//! A server as `make installcheck` wants it, and pgsluice before it.

use pgsluice_fixtures::cluster::SUPERUSER;
use pgsluice_fixtures::raw::Address;
use pgsluice_fixtures::{Cluster, Login, Postgres, Proxy, Raw};

/// See the module.
pub struct Stand {
    // Before the cluster, so that it goes first.
    proxy: Option<Proxy>,
    cluster: Cluster,
    pub database: &'static str,
}

/// As the fixture's are not, and PostgreSQL's own are: plans depend on some of these.
const SETTINGS: [(&str, &str); 2] = [("shared_buffers", "128MB"), ("max_prepared_transactions", "0")];

/// What pg_regress says of its database itself when it makes it.
const DATABASE: [&str; 8] = [
    "CREATE DATABASE $name TEMPLATE template0",
    "ALTER DATABASE $name SET lc_messages TO 'C'",
    "ALTER DATABASE $name SET lc_monetary TO 'C'",
    "ALTER DATABASE $name SET lc_numeric TO 'C'",
    "ALTER DATABASE $name SET lc_time TO 'C'",
    "ALTER DATABASE $name SET bytea_output TO 'hex'",
    "ALTER DATABASE $name SET timezone_abbreviations TO 'Default'",
    "CHECKPOINT",
];

/// The database of the regression suite.
pub const REGRESSION: &str = "regression";

/// That of the isolation suite: a spec names it.
pub const ISOLATION: &str = "isolation_regression";

impl Stand {
    /// A server with that database alone, or with pgsluice before it whose configuration has these lines.
    pub fn start(database: &'static str, config: Option<&str>) -> Stand {
        let mut builder = Cluster::builder()
            .installation(Postgres::major(15).unwrap())
            .hba(["local all all trust", "host all all 127.0.0.1/32 trust"]);
        for (name, value) in SETTINGS {
            builder = builder.setting(name, value);
        }
        let cluster = builder.start().unwrap();
        for sql in DATABASE {
            cluster.primary().psql(&sql.replace("$name", database)).unwrap();
        }
        let proxy = config.map(|top| {
            let config = format!(
                "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nworkers = 2\nauth_type = \"trust\"\n{top}\n\
                 [clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\nmonitor_user = \"{SUPERUSER}\"\n[databases.{database}]\n",
                cluster.primary().port()
            );
            let binary = pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice"));
            Proxy::builder(binary).config(config).start().unwrap()
        });
        Stand { proxy, cluster, database }
    }

    /// A client, of the proxy if there is one.
    pub fn client(&self) -> Raw {
        Raw::connect(&Address::local(self.port()), &Login::new(SUPERUSER, self.database)).unwrap()
    }

    /// Where clients connect.
    pub fn port(&self) -> u16 {
        self.proxy.as_ref().map_or_else(|| self.cluster.primary().port(), Proxy::port)
    }
}
