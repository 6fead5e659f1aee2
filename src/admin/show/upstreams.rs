//! SHOW UPSTREAMS: what the monitor last saw of each server.

use std::time::Instant;

use crate::admin::table::{Cell, Column, Table, columns};
use crate::shared::ProxyState;
use crate::topology::{Cluster, Role, Upstream};

/// All of it pgsluice's own.
pub const COLUMNS: &[Column] = columns![
    cluster Text, upstream Text, role Text, lsn Text, lag_bytes Int8, lag_ms Int8, version Int4, read_only Bool, error Text,
    state Text, reason Text, timeline Int8, system_identifier Text, connections_left Int8, read_only_databases Text,
];

/// The rows.
pub fn table(proxy: &ProxyState) -> Table {
    let mut table = Table::new(COLUMNS);
    for cluster in proxy.databases.clusters() {
        for (at, upstream) in cluster.upstreams.iter().enumerate() {
            table.push(row(&cluster, at, upstream));
        }
    }
    table
}

fn row(cluster: &Cluster, at: usize, upstream: &Upstream) -> [Cell; 15] {
    let role = upstream.role();
    let seen = upstream.version() > 0;
    let up = matches!(role, Role::Primary | Role::Replica);
    let when = |condition: bool, cell: Cell| if condition { cell } else { Cell::Null };
    let error = upstream.error();
    let (now, facts) = (Instant::now(), upstream.facts());
    let follows = facts.follows.filter(|_| role == Role::Replica);
    let timeline = follows.or(Some(upstream.timeline()).filter(|timeline| *timeline > 0));
    let databases = facts.own.databases().join(", ");
    [
        cluster.name.as_str().into(),
        upstream.address.to_string().into(),
        cluster.role_word(at).into(),
        when(seen, upstream.lsn().to_string().into()),
        when(up, upstream.lag_bytes().into()),
        when(up, u64::try_from(upstream.lag().as_millis()).unwrap_or(u64::MAX).into()),
        when(seen, upstream.version().into()),
        when(seen, upstream.is_read_only().into()),
        when(!error.is_empty(), error.into()),
        cluster.state_of(at, now).word().into(),
        cluster.reason_of(at, now).into(),
        timeline.map(u64::from).into(),
        upstream.system_identifier().into(),
        facts.room.map(|room| u64::try_from(room).unwrap_or(0)).into(),
        when(!databases.is_empty(), databases.into()),
    ]
}
