//! What is looked after once a second: clients that take too long, averages, and memory. Pools are in `pool_care`.

use std::collections::HashSet;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use tokio::time::interval;

use crate::config::{Config, SessionSettings, Timeout};
use crate::protocol::{Report, Severity};
use crate::shared::client::Ask;
use crate::shared::stats::Totals;
use crate::shared::{CLIENTS_AT_ONCE, Client, Phase, ProxyState, WorkerState};

const TICK: Duration = Duration::from_secs(1);
/// How often a disk that has refused the state of the gates is tried again.
const SAVE_AGAIN: Duration = Duration::from_secs(2);
/// PgBouncer's words for it.
const QUEUED: &str = "No server connection available in postgres backend, client being queued";

/// Sends away the clients of a core that have used up their time.
pub async fn watch_clients(core: Rc<WorkerState>) {
    let mut tick = interval(TICK);
    // Those that wait and have been told so.
    let mut told: HashSet<u64> = HashSet::new();
    loop {
        tick.tick().await;
        told.retain(|id| core.client(*id).is_some_and(|client| waits(&client)));
        // Ten thousand take a while, in which others want to be served.
        for some in core.client_ids().chunks(CLIENTS_AT_ONCE) {
            let setup = core.setup();
            let clients = some.iter().filter_map(|id| core.client(*id));
            clients.for_each(|client| look_after(&client, &setup.config, &mut told));
            tokio::task::yield_now().await;
        }
    }
}

fn waits(client: &Client) -> bool {
    client.phase.get() == Phase::Waiting
}

fn look_after(client: &Rc<Client>, config: &Config, told: &mut HashSet<u64>) {
    if waits(client) {
        let notify = config.timeouts.query_wait_notify.get();
        if notify.is_some_and(|notify| client.phase_since.get().elapsed() > notify) && told.insert(client.id) {
            let notice = Report { severity: Severity::Notice, ..Report::error("00000", QUEUED) };
            client.ask(Ask::Notice(Some(notice.into())));
        }
        // It looks at its deadline by itself.
        client.wake();
    }
    if client.operator {
        return;
    }
    let Some(database) = &client.database else { return };
    if config.pooling.server_fast_close && has_stale_server(client) {
        let report = Report::fatal("57P01", "database configuration changed");
        client.ask(Ask::End { report, now: false });
        return;
    }
    let limits = config.session(&database.peek_setup().settings, &client.user);
    if let Some(report) = overdue(client, &limits, config.process.pgbouncer_compatible) {
        if client.phase.get() == Phase::Active {
            drop(client.send_cancel());
        }
        client.ask(Ask::End { report, now: true });
    }
}

/// Whether it is idle and keeps a server connection that RECONNECT or RELOAD has marked for closing.
fn has_stale_server(client: &Client) -> bool {
    let held = client.cancel.borrow();
    let stale = held.as_ref().is_some_and(|held| held.pool.closes(held.server.generation));
    stale && client.phase.get() == Phase::Idle
}

/// What a client is told that has used up its time, in PostgreSQL's words where it has any. PgBouncer takes the wait for a server
/// connection for a part of the query.
fn overdue(client: &Client, limits: &SessionSettings, waits_count: bool) -> Option<Report> {
    let over = |since: Instant, limit: Timeout| limit.get().is_some_and(|limit| since.elapsed() > limit);
    let in_phase = client.phase_since.get();
    if client.transaction_since.get().is_some_and(|since| over(since, limits.transaction_timeout)) {
        return Some(Report::fatal("25P04", "terminating connection due to transaction timeout"));
    }
    match client.phase.get() {
        Phase::Active if over(in_phase, limits.query_timeout) => Some(Report::fatal("57014", "query_timeout")),
        Phase::Waiting if waits_count && over(in_phase, limits.query_timeout) => {
            Some(Report::fatal("57014", "query_timeout: no server connection"))
        }
        Phase::IdleInTransaction if over(in_phase, limits.idle_transaction_timeout) => {
            Some(Report::fatal("25P03", "terminating connection due to idle-in-transaction timeout"))
        }
        Phase::Idle
            if over(in_phase, limits.client_idle_timeout)
                || client.idle_limit.get().is_some_and(|limit| in_phase.elapsed() > limit) =>
        {
            Some(Report::fatal("57P05", "terminating connection due to idle-session timeout"))
        }
        _ => None,
    }
}

/// Saves the state of the gates as soon as the disk takes what it has refused.
pub async fn watch_state(proxy: Arc<ProxyState>) {
    loop {
        tokio::time::sleep(SAVE_AGAIN).await;
        if proxy.gates.save_again().await {
            tracing::warn!(event = "state_saved", "the state of the gates is saved again, as it is in force");
        }
    }
}

/// Ends the periods over which averages are taken.
pub async fn watch_stats(proxy: Arc<ProxyState>) {
    loop {
        let (length, log) = {
            let setup = proxy.setup.load();
            (setup.config.log.stats_period, setup.config.log.log_stats)
        };
        tokio::time::sleep(length).await;
        let mut sum = Totals::default();
        proxy.console_stats.end_period();
        for database in proxy.databases.all() {
            database.stats.end_period();
            sum += database.stats.last_period().0;
        }
        if log {
            log_stats(&sum, length);
        }
    }
}

fn log_stats(sum: &Totals, period: Duration) {
    let micros = period.as_micros().max(1);
    let per_second = |count: u64| u64::try_from(u128::from(count) * 1_000_000 / micros).unwrap_or(u64::MAX);
    let each = |time: u64, count: u64| time.checked_div(count).unwrap_or(0);
    tracing::info!(
        event = "stats",
        xacts_per_s = per_second(sum.xacts),
        queries_per_s = per_second(sum.queries),
        received_per_s = per_second(sum.received),
        sent_per_s = per_second(sum.sent),
        client_parses_per_s = per_second(sum.client_parses),
        server_parses_per_s = per_second(sum.server_parses),
        binds_per_s = per_second(sum.binds),
        logins_per_s = per_second(sum.logins),
        xact_us = each(sum.xact_time, sum.xacts),
        query_us = each(sum.query_time, sum.queries),
        wait_us = each(sum.wait_time, sum.assignments),
        "stats"
    );
}

/// Gives the memory of a crowd that has left back to the system, and logs refused writes that were not logged at once.
pub async fn watch_memory(proxy: Arc<ProxyState>) {
    let mut tick = interval(TICK);
    let mut crowd = Crowd::default();
    loop {
        tick.tick().await;
        proxy.refused_statements.log_due();
        // A crowd can come and go between two looks.
        let most = proxy.most_clients.swap(0, SeqCst);
        if crowd.has_left(most, proxy.clients.load(SeqCst)) {
            super::system::allocator::trim();
        }
    }
}

/// How many clients there have been since memory was given back.
#[derive(Default)]
struct Crowd {
    most: usize,
    before: usize,
}

impl Crowd {
    /// Fewer that have left are no crowd: their memory serves the next ones.
    const LEAST: usize = 256;

    /// Whether a quarter or more of them have left, and no more are leaving.
    fn has_left(&mut self, most: usize, now: usize) -> bool {
        let falls = now < std::mem::replace(&mut self.before, now);
        self.most = self.most.max(most).max(now);
        let left = self.most - now >= Self::LEAST.max(self.most / 4);
        if left && !falls {
            self.most = now;
        }
        left && !falls
    }
}

#[cfg(test)]
mod tests {
    use super::Crowd;

    #[test]
    fn memory_is_given_back_once_when_a_crowd_has_left() {
        let mut crowd = Crowd::default();
        let mut ticks = |counts: &[usize]| counts.iter().map(|now| crowd.has_left(*now, *now)).collect::<Vec<_>>();
        assert_eq!(
            ticks(&[0, 2000, 900, 100, 100, 100, 0, 0]),
            [false, false, false, false, true, false, false, false]
        );
        assert_eq!(ticks(&[255, 0, 0, 256, 0, 0, 0]), [false, false, false, false, false, true, false]);
        assert_eq!(ticks(&[10_000, 7_600, 7_600, 7_500, 7_500]), [false, false, false, false, true]);
        // One that comes and goes between two looks.
        let mut crowd = Crowd::default();
        assert!(!crowd.has_left(3, 3) && crowd.has_left(2000, 3) && !crowd.has_left(3, 3));
    }
}
