//! SHOW SOCKETS, ACTIVE_SOCKETS and FDS: what clients and servers are connected by. SHOW PEERS: who else cancel requests may be for. What PgBouncer
//! has beside and pgsluice does not, such as a cache of names, is always empty, and dashboards go on.

use super::seen::Seen;
use super::{clients, servers};
use crate::admin::language::command::Sockets;
use crate::admin::table::{Cell, Column, Table, columns};
use crate::shared::ProxyState;

/// SHOW SOCKETS. What PgBouncer tells of the fill of its buffers is 0: an idle connection has none here.
pub const SOCKETS: &[Column] = columns![
    type Text, user Text, database Text, replication Text, state Text, addr Text, port Int4, local_addr Text, local_port Int4,
    connect_time Text, request_time Text, wait Int4, wait_us Int4, close_needed Int4, ptr Text, link Text, remote_pid Int4,
    tls Text, application_name Text, prepared_statements Int4, id Int4, recv_pos Int4, pkt_pos Int4, pkt_remain Int4,
    send_pos Int4, send_remain Int4, pkt_avail Int4, send_avail Int4,
];
/// SHOW FDS
pub const FDS: &[Column] = columns![
    fd Int4, task Text, user Text, database Text, addr Text, port Int4, cancel Int8, link Int4, client_encoding Text,
    std_strings Text, datestyle Text, timezone Text, password Text, scram_client_key Text, scram_server_key Text,
];
/// SHOW PEERS
pub const PEERS: &[Column] = columns![peer_id Int4, host Text, port Int4, pool_size Int4];

/// SHOW DNS_HOSTS: names are looked up for each connection.
pub const DNS_HOSTS: &[Column] = columns![hostname Text, ttl Int8, addrs Text];
/// SHOW DNS_ZONES
pub const DNS_ZONES: &[Column] = columns![zonename Text, serial Int8, count Int4];
/// SHOW PEER_POOLS
pub const PEER_POOLS: &[Column] =
    columns![peer_id Int4, cl_active_cancel_req Int4, cl_waiting_cancel_req Int4, sv_active_cancel Int4, sv_login Int4];

/// Columns of [`SOCKETS`] that clients and servers have too.
const COMMON: usize = 21;
/// The place of `state` among them.
const STATE: usize = 4;

/// SHOW SOCKETS and ACTIVE_SOCKETS
pub fn table(proxy: &ProxyState, seen: &Seen, which: Sockets) -> Table {
    let mut table = Table::new(SOCKETS);
    let all = clients::table(proxy, seen).rows.into_iter().chain(servers::table(proxy, seen).rows);
    let active = |row: &Vec<Cell>| row.get(STATE) == Some(&Cell::from("active"));
    for mut row in all.filter(|row| which == Sockets::All || active(row)) {
        row.truncate(COMMON);
        row.resize(SOCKETS.len(), Cell::Int(0));
        table.rows.push(row);
    }
    table
}

/// SHOW FDS: numbers as far as the console's worker knows them. Descriptors are never passed on, and secrets never shown.
pub fn fds(proxy: &ProxyState, seen: &Seen) -> Table {
    let port = proxy.setup.load().config.listen.listen_port;
    let mut table = Table::new(FDS);
    let mut line = |task: &str, user: &str, database: &str, at: (String, u64), id: u64, link: u64| {
        let mut row = vec![Cell::from(id), task.into(), user.into(), database.into(), at.0.into(), at.1.into()];
        row.extend([Cell::Int(0), Cell::from(link)]);
        row.resize(FDS.len(), Cell::Null);
        table.rows.push(row);
    };
    for client in &seen.clients {
        let at = super::seen::address(client.address, port);
        let link = client.server.as_ref().map_or(0, |held| held.facts.id);
        line("client", &client.user, &client.database, at, client.id, link);
    }
    for client in &seen.clients {
        let Some(held) = &client.server else { continue };
        let login = held.pool.login();
        let at = super::seen::address(held.facts.remote, login.address.port());
        line("server", &login.user, &held.pool.database, at, held.facts.id, client.id);
    }
    table
}

/// SHOW PEERS
pub fn peers(proxy: &ProxyState) -> Table {
    let mut table = Table::new(PEERS);
    for (number, peer) in &proxy.setup.load().config.peers {
        table.push([u64::from(*number).into(), peer.host.as_str().into(), u64::from(peer.port).into(), Cell::Int(1)]);
    }
    table
}
