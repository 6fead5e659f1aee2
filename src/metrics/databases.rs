//! Counters and durations of each database.

use std::sync::Arc;

use super::families::{Families, Labels};
use crate::shared::stats::{Counters, Times, Totals};
use crate::shared::{Database, ProxyState};

type Help = &'static str;

fn of(database: &Database) -> Labels {
    vec![("database", database.name.to_string())]
}

pub(super) fn add(families: &mut Families, proxy: &ProxyState) {
    let databases: Vec<(Arc<Database>, Totals)> =
        proxy.databases.all().into_iter().map(|one| (one.clone(), one.stats.totals())).collect();
    let mut whole = |name, help: Help, get: fn(&Totals) -> u64| {
        families.counter(name, help, |out| databases.iter().for_each(|(one, totals)| out.whole(of(one), get(totals))));
    };
    whole("pgsluice_transactions", "Transactions.", |totals| totals.xacts);
    whole("pgsluice_replica_transactions", "Transactions that ran on a replica.", |totals| totals.replica_xacts);
    whole("pgsluice_queries", "Statements, or pipelines up to a Sync.", |totals| totals.queries);
    whole("pgsluice_received_bytes", "Bytes from clients.", |totals| totals.received);
    whole("pgsluice_sent_bytes", "Bytes to clients.", |totals| totals.sent);
    whole("pgsluice_server_assignments", "Server connections handed to clients.", |totals| totals.assignments);
    whole("pgsluice_client_parses", "Parse messages of clients.", |totals| totals.client_parses);
    whole("pgsluice_server_parses", "Parse messages that were sent to servers.", |totals| totals.server_parses);
    whole("pgsluice_binds", "Bind messages.", |totals| totals.binds);
    // What nobody has used yet has no durations: there may be hundreds of databases.
    let mut times = |name, help: Help, get: fn(&Counters) -> &Times, sum: fn(&Totals) -> u64| {
        families.histogram(name, help, |out| {
            for (one, totals) in &databases {
                let counts = one.stats.times(get);
                if counts.iter().any(|count| *count > 0) {
                    out.times(of(one), sum(totals) as f64 / 1e6, counts);
                }
            }
        });
    };
    times("pgsluice_query_duration_seconds", "How long queries took.", |one| &one.query_times, |all| all.query_time);
    times(
        "pgsluice_transaction_duration_seconds",
        "How long transactions took.",
        |one| &one.xact_times,
        |all| all.xact_time,
    );
    let help = "How long clients waited for a server connection, if none was idle.";
    times("pgsluice_wait_duration_seconds", help, |one| &one.wait_times, |all| all.wait_time);
}
