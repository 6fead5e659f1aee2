//! SHOW STATS and its parts: counters of each database since the start, and averages over the last whole period.

use std::time::Duration;

use super::databases::CONSOLE;
use crate::admin::table::{Cell, Column, Table, columns};
use crate::shared::ProxyState;
use crate::shared::stats::{DatabaseStats, Totals};

/// After `avg_client_login_count`: what is pgsluice's own.
pub const COLUMNS: &[Column] = columns![
    database Text, total_server_assignment_count Numeric, total_xact_count Numeric, total_query_count Numeric,
    total_received Numeric, total_sent Numeric, total_xact_time Numeric, total_query_time Numeric, total_wait_time Numeric,
    total_client_parse_count Numeric, total_server_parse_count Numeric, total_bind_count Numeric, total_client_login_count Numeric,
    avg_server_assignment_count Numeric, avg_xact_count Numeric, avg_query_count Numeric, avg_recv Numeric, avg_sent Numeric,
    avg_xact_time Numeric, avg_query_time Numeric, avg_wait_time Numeric, avg_client_parse_count Numeric,
    avg_server_parse_count Numeric, avg_bind_count Numeric, avg_client_login_count Numeric, total_refused_count Numeric, total_replica_xact_count Numeric,
];
/// SHOW STATS_TOTALS
pub const TOTALS: &[Column] = columns![
    database Text, server_assignment_count Numeric, xact_count Numeric, query_count Numeric, bytes_received Numeric,
    bytes_sent Numeric, xact_time Numeric, query_time Numeric, wait_time Numeric, client_parse_count Numeric,
    server_parse_count Numeric, bind_count Numeric, client_login_count Numeric, refused_count Numeric, replica_xact_count Numeric,
];
/// SHOW STATS_AVERAGES
pub const AVERAGES: &[Column] = columns![
    database Text, server_assignment_count Numeric, xact_count Numeric, query_count Numeric, bytes_received Numeric,
    bytes_sent Numeric, xact_time Numeric, query_time Numeric, wait_time Numeric, client_parse_count Numeric,
    server_parse_count Numeric, bind_count Numeric, client_login_count Numeric,
];
/// SHOW TOTALS
pub const SUMS: &[Column] = columns![name Text, value Int8];

/// Both in PgBouncer's order.
fn numbers(totals: &Totals) -> [u64; 12] {
    [
        totals.assignments,
        totals.xacts,
        totals.queries,
        totals.received,
        totals.sent,
        totals.xact_time,
        totals.query_time,
        totals.wait_time,
        totals.client_parses,
        totals.server_parses,
        totals.binds,
        totals.logins,
    ]
}

/// Counts are per second, times per event.
fn averages_of(counted: &Totals, period: Duration) -> [u64; 12] {
    let micros = period.as_micros().max(1);
    let rate = |count: u64| u64::try_from(u128::from(count) * 1_000_000 / micros).unwrap_or(u64::MAX);
    let each = |time: u64, count: u64| time.checked_div(count).unwrap_or(0);
    [
        rate(counted.assignments),
        rate(counted.xacts),
        rate(counted.queries),
        rate(counted.received),
        rate(counted.sent),
        each(counted.xact_time, counted.xacts),
        each(counted.query_time, counted.queries),
        each(counted.wait_time, counted.assignments),
        rate(counted.client_parses),
        rate(counted.server_parses),
        rate(counted.binds),
        rate(counted.logins),
    ]
}

fn line(name: &str, parts: &[&[u64]]) -> Vec<Cell> {
    let numbers = parts.iter().flat_map(|part| part.iter()).map(|number| Cell::from(*number));
    std::iter::once(Cell::from(name)).chain(numbers).collect()
}

fn rows(proxy: &ProxyState, columns: &'static [Column], row: impl Fn(&str, Totals, [u64; 12]) -> Vec<Cell>) -> Table {
    let mut table = Table::new(columns);
    for database in proxy.databases.all() {
        let (counted, period) = database.stats.last_period();
        table.rows.push(row(&database.name, database.stats.totals(), averages_of(&counted, period)));
    }
    if let Some(console) = console(proxy) {
        let (counted, period) = console.last_period();
        table.rows.push(row(CONSOLE, console.totals(), averages_of(&counted, period)));
    }
    table
}

/// PgBouncer's console is a database among others.
fn console(proxy: &ProxyState) -> Option<&DatabaseStats> {
    proxy.setup.load().config.process.pgbouncer_compatible.then(|| &*proxy.console_stats)
}

/// SHOW STATS
pub fn table(proxy: &ProxyState) -> Table {
    rows(proxy, COLUMNS, |name, totals, averages| {
        line(name, &[&numbers(&totals), &averages, &[totals.refused, totals.replica_xacts]])
    })
}

/// SHOW STATS_TOTALS
pub fn totals(proxy: &ProxyState) -> Table {
    rows(proxy, TOTALS, |name, totals, _| line(name, &[&numbers(&totals), &[totals.refused, totals.replica_xacts]]))
}

/// SHOW STATS_AVERAGES
pub fn averages(proxy: &ProxyState) -> Table {
    rows(proxy, AVERAGES, |name, _, averages| line(name, &[&averages]))
}

/// SHOW TOTALS: the sums over all databases, a row for each number.
pub fn sums(proxy: &ProxyState) -> Table {
    let mut sum = Totals::default();
    let mut recent = Totals::default();
    let mut period = Duration::ZERO;
    let databases = proxy.databases.all();
    for stats in databases.iter().map(|database| &*database.stats).chain(console(proxy)) {
        sum += stats.totals();
        let (counted, length) = stats.last_period();
        recent += counted;
        period = period.max(length);
    }
    let names = COLUMNS.iter().skip(1).map(|column| column.name);
    let values = numbers(&sum).into_iter().chain(averages_of(&recent, period)).chain([sum.refused, sum.replica_xacts]);
    let mut table = Table::new(SUMS);
    for (name, value) in names.zip(values) {
        table.push([name.into(), value.into()]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages_are_per_second_or_per_event() {
        let counted = Totals { xacts: 120, xact_time: 600, wait_time: 5, ..Totals::default() };
        let averages = averages_of(&counted, Duration::from_secs(60));
        assert_eq!(averages, [0, 2, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0]);
        assert_eq!(averages_of(&Totals::default(), Duration::ZERO), [0; 12]);
    }

    #[test]
    fn rows_are_as_wide_as_their_columns() {
        let totals = Totals::default();
        assert_eq!(line("x", &[&numbers(&totals), &[0; 12], &[0, 0]]).len(), COLUMNS.len());
        assert_eq!(line("x", &[&numbers(&totals), &[0, 0]]).len(), TOTALS.len());
        assert_eq!(line("x", &[&[0; 12]]).len(), AVERAGES.len());
    }
}
