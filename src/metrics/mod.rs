//! Metrics: what is counted anyway, gathered when somebody asks, as text for Prometheus.
//!
//! Nothing is kept for it on the hot path but plain counters of each core ([`crate::shared::stats`]). [`gather`] looks at them, asks
//! each core to count its clients, and gives [`Families`], which know how to be written. Labels are bounded: names of databases and
//! users come from the configuration or are cut off at [`MOST_POOLS`], those of applications at the log's bound.
//! [`pgbouncer`] has the names of prometheus-community's pgbouncer_exporter, so that its dashboards work.

mod cores;
mod databases;
mod families;
mod gate;
mod pgbouncer;
mod pools;
mod process;
mod servers;

pub use crate::metrics::families::{Families, Form};

use crate::shared::ProxyState;

/// Pairs of database and user that are told apart.
const MOST_POOLS: usize = 2000;
/// The label of what is not told apart any more.
const OTHERS: &str = "(others)";

/// Everything as it is now.
pub async fn gather(proxy: &ProxyState) -> Families {
    let setup = proxy.setup.load_full();
    let seen = cores::look(proxy).await;
    let mut families = Families::default();
    gate::add(&mut families, proxy, &seen);
    databases::add(&mut families, proxy);
    pools::add(&mut families, proxy, &seen);
    servers::add(&mut families, proxy);
    process::add(&mut families, proxy, &seen);
    if setup.config.metrics.pgbouncer_names {
        pgbouncer::add(&mut families, proxy, &setup, &seen);
    }
    families
}
