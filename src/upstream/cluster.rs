//! The servers of a cluster and what the monitor knows of each.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::Address;
use crate::gate::Lsn;

/// What an upstream is, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not asked yet.
    Unknown,
    /// Takes writes.
    Primary,
    /// In recovery.
    Replica,
    /// Cannot be reached.
    Down,
}

impl Role {
    fn from_u8(byte: u8) -> Self {
        match byte {
            1 => Self::Primary,
            2 => Self::Replica,
            3 => Self::Down,
            _ => Self::Unknown,
        }
    }

    /// As SHOW commands print it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Down => "down",
        }
    }
}

/// One server. Everything but the address is what the monitor last saw.
pub struct Upstream {
    /// Where it is.
    pub address: Address,
    role: AtomicU8,
    lsn: AtomicU64,
    lag_bytes: AtomicU64,
    lag_ms: AtomicU64,
    version: AtomicU64,
    read_only: AtomicBool,
    /// Transactions that run on it now, where there is a choice between replicas.
    pub busy: AtomicUsize,
    error: Mutex<String>,
    pub(super) hurry: Notify,
}

/// What the monitor saw in one look.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// Primary or replica.
    pub role: Role,
    /// Write position of a primary, replay position of a replica.
    pub lsn: Lsn,
    /// How long ago the last replayed transaction was committed; 0 on a primary.
    pub lag: Duration,
    /// `server_version_num`.
    pub version: u64,
    /// Its own `default_transaction_read_only`.
    pub read_only: bool,
}

impl Upstream {
    /// An upstream of which nothing is known.
    pub fn new(address: Address) -> Self {
        Self {
            address,
            role: AtomicU8::new(0),
            lsn: AtomicU64::new(0),
            lag_bytes: AtomicU64::new(0),
            lag_ms: AtomicU64::new(0),
            version: AtomicU64::new(0),
            read_only: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            error: Mutex::default(),
            hurry: Notify::new(),
        }
    }

    /// Its role.
    pub fn role(&self) -> Role {
        Role::from_u8(self.role.load(SeqCst))
    }

    /// Its write or replay position.
    pub fn lsn(&self) -> Lsn {
        Lsn(self.lsn.load(SeqCst))
    }

    /// Bytes of WAL that a replica has not replayed.
    pub fn lag_bytes(&self) -> u64 {
        self.lag_bytes.load(SeqCst)
    }

    /// Time a replica is behind; 0 when it has replayed everything.
    pub fn lag(&self) -> Duration {
        Duration::from_millis(self.lag_ms.load(SeqCst))
    }

    /// `server_version_num`, 0 when not known.
    pub fn version(&self) -> u64 {
        self.version.load(SeqCst)
    }

    /// Its own `default_transaction_read_only`.
    pub fn is_read_only(&self) -> bool {
        self.read_only.load(SeqCst)
    }

    /// Why it cannot be reached.
    pub fn error(&self) -> String {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Asks the monitor to look now.
    pub fn look_now(&self) {
        self.hurry.notify_one();
    }
}

/// Servers with the same data.
pub struct Cluster {
    /// Its name in the configuration.
    pub name: String,
    /// Its servers.
    pub upstreams: Vec<Upstream>,
    /// Most bytes a replica may be behind for reads in read_write, 0 for any.
    pub max_lag_bytes: u64,
    /// Most time a replica may be behind for reads in read_write, 0 for any.
    pub max_lag: Duration,
    /// Catalogs of its databases are read one after the other: there may be hundreds, and each takes a log-in.
    pub catalog_turn: tokio::sync::Mutex<()>,
    changed: watch::Sender<u64>,
}

impl Cluster {
    /// A cluster whose servers' roles are not known yet.
    pub fn new(name: String, addresses: Vec<Address>, max_lag_bytes: u64, max_lag: Duration) -> Self {
        let upstreams = addresses.into_iter().map(Upstream::new).collect();
        Self {
            name,
            upstreams,
            max_lag_bytes,
            max_lag,
            catalog_turn: tokio::sync::Mutex::default(),
            changed: watch::Sender::new(0),
        }
    }

    /// The server that takes writes. None while none is known, and while two claim to be it: writes go to neither then.
    #[inline]
    pub fn primary(&self) -> Option<usize> {
        let mut found = None;
        for (at, upstream) in self.upstreams.iter().enumerate() {
            if upstream.role() == Role::Primary {
                if found.is_some() {
                    return None;
                }
                found = Some(at);
            }
        }
        found
    }

    /// The least loaded replica that is fit: not further behind than the cluster allows and, with `at_least`, one that has
    /// replayed that position.
    pub fn replica(&self, at_least: Option<Lsn>, avoid: Option<usize>) -> Option<usize> {
        let fit = |upstream: &Upstream| match at_least {
            Some(lsn) => upstream.lsn() >= lsn,
            None => {
                (self.max_lag_bytes == 0 || upstream.lag_bytes() <= self.max_lag_bytes)
                    && (self.max_lag.is_zero() || upstream.lag() <= self.max_lag)
            }
        };
        self.upstreams
            .iter()
            .enumerate()
            .filter(|(at, upstream)| upstream.role() == Role::Replica && Some(*at) != avoid && fit(upstream))
            .min_by_key(|(_, upstream)| upstream.busy.load(SeqCst))
            .map(|(at, _)| at)
    }

    /// Tells when anything was seen to change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Notes what was seen of an upstream.
    pub fn seen(&self, at: usize, look: &Look) {
        let Some(upstream) = self.upstreams.get(at) else { return };
        let before = upstream.role();
        upstream.lsn.store(look.lsn.0, SeqCst);
        upstream.version.store(look.version, SeqCst);
        upstream.read_only.store(look.read_only, SeqCst);
        let ahead = self.primary().and_then(|at| self.upstreams.get(at)).map_or(0, |primary| primary.lsn().0);
        let behind = if look.role == Role::Replica { ahead.saturating_sub(look.lsn.0) } else { 0 };
        upstream.lag_bytes.store(behind, SeqCst);
        // A replica of an idle primary is not late, however long ago the last transaction was.
        let lag = if behind == 0 { 0 } else { u64::try_from(look.lag.as_millis()).unwrap_or(u64::MAX) };
        upstream.lag_ms.store(lag, SeqCst);
        upstream.role.store(look.role as u8, SeqCst);
        if before != look.role {
            upstream.error.lock().unwrap_or_else(PoisonError::into_inner).clear();
            tracing::info!(cluster = %self.name, upstream = %upstream.address, from = before.word(), to = look.role.word(), "role");
        }
        self.changed.send_modify(|n| *n += 1);
    }

    /// Notes that an upstream cannot be reached. It is out of use until the monitor has seen it again.
    pub fn lost(&self, at: usize, why: &str) {
        let Some(upstream) = self.upstreams.get(at) else { return };
        let before = upstream.role.swap(Role::Down as u8, SeqCst);
        why.clone_into(&mut upstream.error.lock().unwrap_or_else(PoisonError::into_inner));
        if before != Role::Down as u8 {
            tracing::warn!(cluster = %self.name, upstream = %upstream.address, error = why, "upstream lost");
            upstream.look_now();
        }
        self.changed.send_modify(|n| *n += 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(roles: &[(Role, u64)]) -> Cluster {
        let addresses = roles.iter().map(|_| Address::Tcp { host: "h".into(), port: 1 }).collect();
        let cluster = Cluster::new("c".into(), addresses, 100, Duration::ZERO);
        for (at, (role, lsn)) in roles.iter().enumerate() {
            let look = Look { role: *role, lsn: Lsn(*lsn), lag: Duration::ZERO, version: 150_000, read_only: false };
            cluster.seen(at, &look);
        }
        cluster
    }

    #[test]
    fn two_primaries_are_none() {
        assert_eq!(cluster(&[(Role::Replica, 1), (Role::Primary, 1)]).primary(), Some(1));
        assert_eq!(cluster(&[(Role::Primary, 1), (Role::Primary, 1)]).primary(), None);
    }

    #[test]
    fn a_replica_is_fit_by_lag_or_by_position() {
        let cluster = cluster(&[(Role::Primary, 1000), (Role::Replica, 850), (Role::Replica, 950)]);
        assert_eq!(cluster.replica(None, None), Some(2));
        assert_eq!(cluster.replica(Some(Lsn(960)), None), None);
        assert_eq!(cluster.replica(Some(Lsn(850)), Some(1)), Some(2));
        cluster.lost(2, "gone");
        assert_eq!(cluster.replica(None, None), None);
    }
}
