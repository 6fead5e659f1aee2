//! SHOW CLIENTS

use super::seen::{Seen, address, time, time_of};
use crate::admin::table::{Cell, Column, Table, columns};
use crate::shared::{Phase, ProxyState};

/// After `id`: what is pgsluice's own.
pub const COLUMNS: &[Column] = columns![
    type Text, user Text, database Text, replication Text, state Text, addr Text, port Int4, local_addr Text, local_port Int4,
    connect_time Text, request_time Text, wait Int4, wait_us Int4, close_needed Int4, ptr Text, link Text, remote_pid Int4,
    tls Text, application_name Text, prepared_statements Int4, id Int4, operator Bool, write_capable Bool, in_transaction Bool,
    pinned Text,
];

/// The rows.
pub fn table(proxy: &ProxyState, seen: &Seen) -> Table {
    let port = proxy.setup.load().config.listen.listen_port;
    let mut table = Table::new(COLUMNS);
    for client in &seen.clients {
        let (addr, addr_port) = address(client.address, port);
        let (local, local_port) = address(client.local, port);
        let state = match (client.phase, client.server.is_some() || client.console) {
            (Phase::Waiting, _) => "waiting",
            (Phase::Held, _) => "held",
            (Phase::Abandoned, _) => "abandoned",
            (_, true) => "active",
            (_, false) => "idle",
        };
        let waited = client.waited().unwrap_or_default();
        let link = client.server.as_ref().map(|held| server_name(held.facts.id)).unwrap_or_default();
        table.push([
            "C".into(),
            (*client.user).into(),
            (*client.database).into(),
            "none".into(),
            state.into(),
            addr.into(),
            addr_port.into(),
            local.into(),
            local_port.into(),
            time(client.since).into(),
            time_of(client.requested).into(),
            waited.as_secs().into(),
            u64::from(waited.subsec_micros()).into(),
            Cell::Int(0),
            client_name(client.id).into(),
            link.into(),
            Cell::Int(0),
            client.tls.clone().unwrap_or_default().into(),
            client.application_name.clone().into(),
            client.prepared.into(),
            client.id.into(),
            client.operator.into(),
            client.write_capable.into(),
            matches!(client.phase, Phase::Active | Phase::IdleInTransaction | Phase::Abandoned).into(),
            client.pinned.into(),
        ]);
    }
    table
}

/// What stands in `ptr`, and in `link` of its server connection.
pub fn client_name(id: u64) -> String {
    format!("c{id:x}")
}

/// The same for a server connection.
pub fn server_name(id: u64) -> String {
    format!("s{id:x}")
}
