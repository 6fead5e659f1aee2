//! Counters for SHOW STATS, kept by each core on lines of its own.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// Counters of one database, PgBouncer's names; times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Server connections handed to clients.
    pub assignments: u64,
    /// Transactions.
    pub xacts: u64,
    /// Statements or pipelines up to a Sync.
    pub queries: u64,
    /// Bytes from clients.
    pub received: u64,
    /// Bytes to clients.
    pub sent: u64,
    /// Time in transactions.
    pub xact_time: u64,
    /// Time in queries.
    pub query_time: u64,
    /// Time clients waited for a server connection.
    pub wait_time: u64,
    /// Parse messages of clients.
    pub client_parses: u64,
    /// Parse messages sent to servers.
    pub server_parses: u64,
    /// Bind messages.
    pub binds: u64,
    /// Log-ins of clients.
    pub logins: u64,
    /// Statements refused because of maintenance.
    pub refused: u64,
    /// Transactions that ran on a replica.
    pub replica_xacts: u64,
    /// Transactions that were let in to write.
    pub write_tickets: u64,
}

macro_rules! counters {
    ($($name:ident),*) => {
        /// A core's counters of one database. One thread writes; any may read.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct Counters {
            $(#[doc = concat!("See [`Totals::", stringify!($name), "`].")] pub $name: Counter,)*
            /// How long queries took.
            pub query_times: Times,
            /// How long transactions took.
            pub xact_times: Times,
            /// How long clients waited for a server connection.
            pub wait_times: Times,
        }

        impl Counters {
            /// The numbers now.
            pub fn totals(&self) -> Totals {
                Totals { $($name: self.$name.get(),)* }
            }
        }

        impl Totals {
            /// By name, for the process that takes over.
            fn by_name(&self) -> BTreeMap<String, u64> {
                BTreeMap::from([$((stringify!($name).to_owned(), self.$name),)*])
            }

            /// As another process has named them.
            fn named(names: &BTreeMap<String, u64>) -> Self {
                Self { $($name: names.get(stringify!($name)).copied().unwrap_or(0),)* }
            }
        }

        impl std::ops::AddAssign for Totals {
            fn add_assign(&mut self, other: Self) { $(self.$name += other.$name;)* }
        }

        impl std::ops::Sub for Totals {
            type Output = Self;
            fn sub(self, other: Self) -> Self { Self { $($name: self.$name.saturating_sub(other.$name),)* } }
        }
    };
}

counters!(
    assignments,
    xacts,
    queries,
    received,
    sent,
    xact_time,
    query_time,
    wait_time,
    client_parses,
    server_parses,
    binds,
    logins,
    refused,
    replica_xacts,
    write_tickets
);

/// A number that one thread counts up.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it. Only its own core calls this, so that a load and a store do.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The number now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Buckets of [`Times`].
const BUCKETS: usize = 22;
/// Bits of the bound of the first one: 64 microseconds.
const FIRST_BITS: usize = 6;

/// Durations by size: each bucket has those below twice the bound of the one before. To count one is as cheap as a counter.
#[derive(Debug, Default)]
pub struct Times([Counter; BUCKETS]);

/// How many durations there were in each bucket.
pub type TimeCounts = [u64; BUCKETS];

impl Times {
    /// Counts a duration. Only its own core calls this.
    #[inline]
    pub fn add(&self, micros: u64) {
        let bits = (u64::BITS - micros.leading_zeros()) as usize;
        if let Some(bucket) = self.0.get(bits.saturating_sub(FIRST_BITS).min(BUCKETS - 1)) {
            bucket.add(1);
        }
    }

    /// The bounds of the buckets in seconds; the last has none.
    pub fn bounds() -> impl Iterator<Item = f64> {
        let bound =
            |at: usize| if at == BUCKETS - 1 { f64::INFINITY } else { (1_u64 << (at + FIRST_BITS)) as f64 / 1e6 };
        (0..BUCKETS).map(bound)
    }

    fn add_to(&self, counts: &mut TimeCounts) {
        self.0.iter().zip(counts).for_each(|(bucket, count)| *count += bucket.get());
    }
}

/// The counters of one database, one for each core.
#[derive(Debug)]
pub struct DatabaseStats {
    cores: Box<[Counters]>,
    period: Mutex<Period>,
    /// What processes before this one have counted.
    before: Mutex<Counted>,
}

/// What a process has counted of one database, for the one that takes over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counted {
    /// See [`Totals`].
    totals: BTreeMap<String, u64>,
    /// Durations of queries, transactions and waits by size.
    times: [Vec<u64>; 3],
}

impl Counters {
    /// In the order of [`Counted`].
    fn all_times(&self) -> [&Times; 3] {
        [&self.query_times, &self.xact_times, &self.wait_times]
    }
}

/// The counters at the bounds of the last whole period.
#[derive(Clone, Copy, Debug)]
struct Period {
    began: (Instant, Totals),
    /// None before the first one is over.
    ended: Option<(Instant, Totals)>,
}

impl DatabaseStats {
    /// Zeros.
    pub fn new(cores: usize) -> Arc<Self> {
        Arc::new(Self {
            cores: (0..cores.max(1)).map(|_| Counters::default()).collect(),
            period: Mutex::new(Period { began: (Instant::now(), Totals::default()), ended: None }),
            before: Mutex::default(),
        })
    }

    /// The counters of a core.
    #[inline]
    pub fn of(&self, core: usize) -> Option<&Counters> {
        self.cores.get(core)
    }

    /// A client of that core has logged in.
    pub fn note_login(&self, core: usize) {
        if let Some(counters) = self.of(core) {
            counters.logins.add(1);
        }
    }

    /// The sum over all cores.
    pub fn totals(&self) -> Totals {
        self.cores.iter().fold(Totals::named(&self.before().totals), |mut sum, counters| {
            sum += counters.totals();
            sum
        })
    }

    fn before(&self) -> MutexGuard<'_, Counted> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted, for the process that takes over.
    pub fn counted(&self) -> Counted {
        let times = [0, 1, 2].map(|which| {
            self.times(move |counters: &Counters| {
                counters.all_times().get(which).copied().unwrap_or(&counters.wait_times)
            })
        });
        Counted { totals: self.totals().by_name(), times: times.map(|counts| counts.to_vec()) }
    }

    /// What another process has counted before this one. It does not count as what happened in this period.
    pub fn take_counted(&self, counted: &Counted) {
        let mut before = self.before();
        for (name, count) in &counted.totals {
            *before.totals.entry(name.clone()).or_default() += count;
        }
        for (known, more) in before.times.iter_mut().zip(&counted.times) {
            known.resize(BUCKETS, 0);
            known.iter_mut().zip(more).for_each(|(known, more)| *known += more);
        }
        drop(before);
        let more = Totals::named(&counted.totals);
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        period.began.1 += more;
        if let Some(ended) = &mut period.ended {
            ended.1 += more;
        }
    }

    /// How long things took, over all cores.
    pub fn times(&self, of: impl Fn(&Counters) -> &Times) -> TimeCounts {
        let mut counts = TimeCounts::default();
        self.cores.iter().for_each(|counters| of(counters).add_to(&mut counts));
        let which = self
            .cores
            .first()
            .and_then(|first| first.all_times().into_iter().position(|times| std::ptr::eq(times, of(first))));
        let before = which.and_then(|which| self.before().times.get(which).cloned()).unwrap_or_default();
        counts.iter_mut().zip(before).for_each(|(count, before)| *count += before);
        counts
    }

    /// Ends a period; called once in each stats_period.
    pub fn end_period(&self) {
        let now = (Instant::now(), self.totals());
        let mut period = self.period.lock().unwrap_or_else(PoisonError::into_inner);
        *period = Period { began: period.ended.unwrap_or(period.began), ended: Some(now) };
    }

    /// What was counted in the last whole period, and how long that was; before the end of the first one, since its begin.
    pub fn last_period(&self) -> (Totals, Duration) {
        let period = *self.period.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, counted) = period.ended.unwrap_or_else(|| (Instant::now(), self.totals()));
        (counted - period.began.1, at.duration_since(period.began.0))
    }
}

/// Whole-process numbers that belong to no database.
#[derive(Debug)]
pub struct Stats {
    cores: usize,
    /// Log-ins that were refused.
    pub failed_logins: AtomicU64,
    /// Those of them that max_client_conn has refused.
    pub too_many_clients: AtomicU64,
}

impl Stats {
    /// Zeros.
    pub fn new(cores: usize) -> Self {
        Self { cores, failed_logins: AtomicU64::new(0), too_many_clients: AtomicU64::new(0) }
    }

    /// Zeros for a database.
    pub fn database(&self) -> Arc<DatabaseStats> {
        DatabaseStats::new(self.cores)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_counted_below_their_bound() {
        let stats = DatabaseStats::new(2);
        for (core, micros) in [(0, 0), (0, 63), (1, 64), (1, 1_000), (0, 66_000_000), (0, u64::MAX)] {
            stats.of(core).unwrap().query_times.add(micros);
        }
        let counts = stats.times(|counters| &counters.query_times);
        let below = |seconds: f64| -> u64 {
            Times::bounds().zip(counts).filter(|(bound, _)| *bound <= seconds).map(|(_, count)| count).sum()
        };
        assert_eq!([0.000_064, 0.000_128, 0.001_024, 67.2].map(below), [2, 3, 4, 5]);
        assert_eq!(below(f64::INFINITY), 6);
    }

    #[test]
    fn what_an_earlier_process_has_counted_goes_on_and_is_nothing_that_happens_now() {
        let (former, next) = (DatabaseStats::new(2), DatabaseStats::new(1));
        for (core, stats) in [(0, &former), (1, &former), (0, &next)] {
            let counters = stats.of(core).unwrap();
            counters.queries.add(3);
            counters.xact_times.add(100);
        }
        next.take_counted(&former.counted());
        assert_eq!((next.totals().queries, next.last_period().0.queries), (9, 3));
        let count = |times: TimeCounts| times.iter().sum::<u64>();
        assert_eq!(count(next.times(|counters| &counters.xact_times)), 3);
        assert_eq!(count(next.times(|counters| &counters.query_times)), 0);
        // And from there to the next one.
        let third = DatabaseStats::new(1);
        third.take_counted(&next.counted());
        assert_eq!((third.totals(), third.last_period().0), (next.totals(), Totals::default()));
    }

    #[test]
    fn averages_come_from_the_last_whole_period() {
        let stats = DatabaseStats::new(2);
        let count = |core: usize, n| stats.of(core).unwrap().xacts.add(n);
        let counted = || stats.last_period().0.xacts;
        count(0, 3);
        assert_eq!(counted(), 3, "before the first period is over, what there is");
        stats.end_period();
        count(1, 4);
        assert_eq!(counted(), 3);
        stats.end_period();
        assert_eq!(counted(), 4);
        stats.end_period();
        assert_eq!((counted(), stats.totals().xacts), (0, 7));
    }
}
