//! Counters for SHOW STATS, kept by each core on lines of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

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
    /// Statements refused because of maintenance.
    pub refused: u64,
    /// Transactions that ran on a replica.
    pub replica_xacts: u64,
}

macro_rules! counters {
    ($($name:ident),*) => {
        /// A core's counters of one database. One thread writes; any may read.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        pub struct Counters { $(#[doc = concat!("See [`Totals::", stringify!($name), "`].")] pub $name: Counter,)* }

        impl Counters {
            /// The numbers now.
            pub fn totals(&self) -> Totals {
                Totals { $($name: self.$name.get(),)* }
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
    refused,
    replica_xacts
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

/// The counters of one database, one for each core.
#[derive(Debug)]
pub struct DatabaseStats(Box<[Counters]>);

impl DatabaseStats {
    /// Zeros.
    pub fn new(cores: usize) -> Arc<Self> {
        Arc::new(Self((0..cores.max(1)).map(|_| Counters::default()).collect()))
    }

    /// The counters of a core.
    #[inline]
    pub fn of(&self, core: usize) -> Option<&Counters> {
        self.0.get(core)
    }

    /// The sum over all cores.
    pub fn totals(&self) -> Totals {
        self.0.iter().fold(Totals::default(), |mut sum, counters| {
            sum += counters.totals();
            sum
        })
    }
}

/// Whole-process numbers that belong to no database.
#[derive(Debug)]
pub struct Stats {
    cores: usize,
    /// Log-ins that were refused.
    pub failed_logins: AtomicU64,
}

impl Stats {
    /// Zeros.
    pub fn new(cores: usize) -> Self {
        Self { cores, failed_logins: AtomicU64::new(0) }
    }

    /// Zeros for a database.
    pub fn database(&self) -> Arc<DatabaseStats> {
        DatabaseStats::new(self.cores)
    }
}
