//! SHOW POOLS: one row for each pair of database and user, over all upstreams.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::seen::Seen;
use super::servers::is_used;
use crate::admin::table::{Cell, Column, Table, columns};
use crate::shared::{Phase, ProxyState};

/// After `load_balance_hosts`: what is pgsluice's own.
pub const COLUMNS: &[Column] = columns![
    database Text, user Text, cl_active Int4, cl_waiting Int4, cl_active_cancel_req Int4, cl_waiting_cancel_req Int4,
    sv_active Int4, sv_active_cancel Int4, sv_being_canceled Int4, sv_idle Int4, sv_used Int4, sv_tested Int4, sv_login Int4,
    maxwait Int4, maxwait_us Int4, pool_mode Text, load_balance_hosts Text, mode Text,
];

#[derive(Default)]
struct Counts {
    clients: usize,
    waiting: usize,
    cancelling: usize,
    active: usize,
    idle: usize,
    used: usize,
    tested: usize,
    login: usize,
    oldest: Duration,
}

type Key = (Arc<str>, Arc<str>);

/// The rows.
pub fn table(proxy: &ProxyState, seen: &Seen) -> Table {
    let setup = proxy.setup.load();
    let mut pools: BTreeMap<Key, Counts> = BTreeMap::new();
    for client in seen.clients.iter().filter(|client| !client.console) {
        let counts = pools.entry((client.database.clone(), client.user.clone())).or_default();
        match client.phase {
            Phase::Waiting | Phase::Held => counts.waiting += 1,
            _ => counts.clients += 1,
        }
        counts.cancelling += client.cancelling as usize;
        counts.active += usize::from(client.server.is_some());
        counts.oldest = counts.oldest.max(client.waited().unwrap_or_default());
    }
    let check_after = setup.config.timeouts.server_check_delay;
    let databases = proxy.databases.all();
    for pool in databases.iter().flat_map(|database| database.pools()) {
        let counts = pools.entry((pool.database.clone(), pool.user.clone())).or_default();
        let mut idle = 0;
        pool.each_idle(|conn| {
            idle += 1;
            counts.used += usize::from(is_used(conn.peek().idle_since.elapsed(), check_after));
        });
        let now = pool.counts();
        counts.idle += idle;
        counts.login += now.opening;
        // What is in nobody's hands is being cleaned or checked.
        counts.tested += now.open.saturating_sub(idle + now.opening);
    }
    let mut table = Table::new(COLUMNS);
    for ((database, user), counts) in pools {
        let Some(known) = databases.iter().find(|known| known.name == database) else { continue };
        let mode = setup.config.session(&known.setup().settings, &user).pool_mode;
        table.push([
            (*database).into(),
            (*user).into(),
            counts.clients.into(),
            counts.waiting.into(),
            counts.cancelling.into(),
            Cell::Int(0),
            counts.active.into(),
            counts.cancelling.into(),
            Cell::Int(0),
            (counts.idle - counts.used).into(),
            counts.used.into(),
            counts.tested.saturating_sub(counts.active).into(),
            counts.login.into(),
            counts.oldest.as_secs().into(),
            u64::from(counts.oldest.subsec_micros()).into(),
            mode.as_str().into(),
            Cell::Null,
            known.gate.state().mode.as_str().into(),
        ]);
    }
    table
}
