//! SHOW SERVERS: the connections that clients have, and those that lie idle. Connections that are being opened, or cleaned
//! behind a client, are in nobody's hands that could be asked: SHOW POOLS counts them.

use std::time::Duration;

use super::clients::{client_name, server_name};
use super::seen::{Seen, SeenClient, address, time_of};
use crate::admin::table::{Cell, Column, Table, columns};
use crate::server::connection::Facts;
use crate::server::{KindTag, Pool};
use crate::shared::ProxyState;

/// After `id`: what is pgsluice's own.
pub const COLUMNS: &[Column] = columns![
    type Text, user Text, database Text, replication Text, state Text, addr Text, port Int4, local_addr Text, local_port Int4,
    connect_time Text, request_time Text, wait Int4, wait_us Int4, close_needed Int4, ptr Text, link Text, remote_pid Int4,
    tls Text, application_name Text, prepared_statements Int4, id Int4, guarded Bool, role Text, operator Bool,
];

/// The rows.
pub fn table(proxy: &ProxyState, seen: &Seen) -> Table {
    let mut table = Table::new(COLUMNS);
    for client in &seen.clients {
        if let Some(held) = &client.server {
            let line = Line {
                pool: &held.pool,
                facts: &held.facts,
                state: "active",
                request: time_of(client.requested),
                prepared: held.prepared,
                client: Some(client),
            };
            table.push(line.row(proxy));
        }
    }
    let check_after = proxy.setup.load().config.timeouts.server_check_delay;
    for pool in proxy.databases.all().iter().flat_map(|database| database.pools()) {
        let mut idle = Vec::new();
        pool.each_idle(|conn| {
            let server = conn.peek();
            idle.push((server.facts.clone(), server.idle_since, server.prepared.len()));
        });
        for (facts, since, prepared) in idle {
            let state = if is_used(since.elapsed(), check_after) { "used" } else { "idle" };
            let request = time_of(since);
            let line = Line { pool: &pool, facts: &facts, state, request, prepared, client: None };
            table.push(line.row(proxy));
        }
    }
    table
}

/// PgBouncer's word for a connection that was idle for so long that it is looked at before a client gets it.
pub fn is_used(idle: Duration, check_after: Duration) -> bool {
    idle > check_after
}

struct Line<'a> {
    pool: &'a Pool,
    facts: &'a Facts,
    state: &'static str,
    request: String,
    prepared: usize,
    client: Option<&'a SeenClient>,
}

impl Line<'_> {
    fn row(self, proxy: &ProxyState) -> [Cell; 24] {
        let login = self.pool.login();
        let (addr, port) = match self.facts.remote {
            Some(_) => address(self.facts.remote, 0),
            None => ("unix".to_owned(), u64::from(login.address.port())),
        };
        let (local, local_port) = address(self.facts.local, login.address.port());
        let cluster = proxy.databases.get(&self.pool.database).map(|database| database.setup().cluster.clone());
        let at = |cluster: &crate::topology::Cluster| {
            // By address: a reload may have put another cluster in the place of the one it was opened for.
            cluster.upstreams.iter().find(|upstream| upstream.address == login.address).map(|upstream| upstream.role())
        };
        let role = cluster.as_deref().and_then(at).map_or("unknown", |role| role.word());
        [
            "S".into(),
            (*login.user).into(),
            (*self.pool.database).into(),
            "none".into(),
            self.state.into(),
            addr.into(),
            port.into(),
            local.into(),
            local_port.into(),
            time_of(self.facts.opened).into(),
            self.request.into(),
            Cell::Int(0),
            Cell::Int(0),
            Cell::Int(self.pool.closes(self.facts.generation).into()),
            server_name(self.facts.id).into(),
            self.client.map(|client| client_name(client.id)).unwrap_or_default().into(),
            u64::from(self.facts.pid).into(),
            self.facts.tls.clone().unwrap_or_default().into(),
            self.client.map(|client| client.application_name.clone()).unwrap_or_default().into(),
            self.prepared.into(),
            self.facts.id.into(),
            (self.facts.kind == KindTag::Guarded).into(),
            role.into(),
            self.client.is_some_and(|client| client.operator).into(),
        ]
    }
}
