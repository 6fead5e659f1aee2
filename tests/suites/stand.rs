//! A server with a database for each suite, and pgsluice before it.

use pgsluice_fixtures::cluster::SUPERUSER;
use pgsluice_fixtures::{Cluster, Postgres, Proxy};

use crate::suite::Kind;

/// See the module.
pub struct Stand {
    // Before the cluster, so that it goes first.
    proxy: Proxy,
    cluster: Cluster,
}

impl Stand {
    /// One core, so that all clients share what lies idle.
    pub fn start() -> Stand {
        let cluster = Cluster::builder()
            .installation(Postgres::major(15).unwrap())
            .hba(["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"])
            .setting("max_prepared_transactions", "10")
            .setting("max_connections", "100")
            .setting("wal_level", "logical")
            .start()
            .unwrap();
        let names = Kind::ALL.iter().flat_map(|kind| kind.databases()).chain([&crate::jdbc::DATABASE]);
        for sql in names.map(|name| format!("CREATE DATABASE {name}")) {
            cluster.primary().psql(&sql).unwrap();
        }
        for kind in Kind::ALL {
            for sql in kind.schema() {
                cluster.primary().psql_in(kind.database(), sql).unwrap();
            }
        }
        let config = format!(
            "listen_port = {{port}}\nstate_file = \"{{dir}}/state.json\"\nauth_type = \"trust\"\nworkers = 1\n\
             query_wait_timeout = \"20s\"\n[clusters.main]\nupstreams = [\"127.0.0.1:{}\"]\n\
             monitor_user = \"{SUPERUSER}\"\n[databases.\"*\"]\n",
            cluster.primary().port()
        );
        let binary = pgsluice_fixtures::proxy::binary(env!("CARGO_BIN_EXE_pgsluice"));
        let proxy = Proxy::builder(binary).config(config).start().unwrap();
        Stand { proxy, cluster }
    }

    /// The server's port.
    pub fn direct(&self) -> u16 {
        self.cluster.primary().port()
    }

    /// That of pgsluice.
    pub fn through(&self) -> u16 {
        self.proxy.port()
    }
}
