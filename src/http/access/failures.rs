//! Addresses that have sent wrong tokens: after some, they are not listened to for a while.
//!
//! Of IPv6 it is the network that counts (64 bits), because each client has one for itself. What an address has shown to be right
//! stays right, so that a program with a token that was replaced does not lock out the people behind the same proxy.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Wrong tokens that an address may send within [`PERIOD`].
const MOST: u32 = 10;
/// How long a wrong token counts.
const PERIOD: Duration = Duration::from_secs(60);
/// Addresses and tokens that are remembered.
const KEPT: usize = 1000;

#[derive(Clone, Copy)]
struct Count {
    since: Instant,
    failures: u32,
}

#[derive(Default)]
struct Seen {
    failures: HashMap<IpAddr, Count>,
    proven: HashMap<(IpAddr, [u8; 32]), Instant>,
}

/// What one client can send from, as one address.
fn origin(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => IpAddr::from((u128::from(address) & (u128::MAX << 64)).to_be_bytes()),
    }
}

/// See the module.
#[derive(Default)]
pub struct Failures(Mutex<Seen>);

impl Failures {
    /// For how many seconds more nobody is listened to who comes from there.
    pub fn is_barred(&self, address: IpAddr) -> Option<u64> {
        let seen = self.seen();
        let count = seen.failures.get(&origin(address)).filter(|count| count.failures >= MOST)?;
        let left = PERIOD.checked_sub(count.since.elapsed())?;
        Some(left.as_secs() + 1)
    }

    /// A wrong token has come from there.
    pub fn note(&self, address: IpAddr) {
        let address = origin(address);
        let now = Instant::now();
        let mut seen = self.seen();
        if seen.failures.len() >= KEPT && !seen.failures.contains_key(&address) {
            seen.failures.retain(|_, count| now.duration_since(count.since) < PERIOD);
            if seen.failures.len() >= KEPT {
                // Of so many, the one that has failed least is forgotten first.
                let least = seen.failures.iter().min_by_key(|(_, count)| count.failures).map(|(address, _)| *address);
                least.map(|address| seen.failures.remove(&address));
            }
        }
        let count = seen.failures.entry(address).or_insert(Count { since: now, failures: 0 });
        if now.duration_since(count.since) >= PERIOD {
            *count = Count { since: now, failures: 0 };
        }
        count.failures += 1;
    }

    /// The right token has come from there.
    pub fn prove(&self, address: IpAddr, hash: [u8; 32]) {
        let mut seen = self.seen();
        if seen.proven.len() >= KEPT && !seen.proven.contains_key(&(address, hash)) {
            let oldest = seen.proven.iter().min_by_key(|(_, at)| **at).map(|(key, _)| *key);
            oldest.map(|key| seen.proven.remove(&key));
        }
        seen.proven.insert((address, hash), Instant::now());
    }

    /// Whether that token has come from there before, and was right.
    pub fn is_proven(&self, address: IpAddr, hash: &[u8; 32]) -> bool {
        self.seen().proven.contains_key(&(address, *hash))
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_fails_often_is_barred_and_what_it_has_proven_is_not() {
        let failures = Failures::default();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        failures.prove(address(1), [1; 32]);
        for _ in 0..MOST {
            assert_eq!(failures.is_barred(address(1)), None);
            failures.note(address(1));
        }
        assert!(failures.is_barred(address(1)).is_some_and(|seconds| seconds <= 60));
        assert!(failures.is_barred(address(2)).is_none());
        assert!(failures.is_proven(address(1), &[1; 32]) && !failures.is_proven(address(2), &[1; 32]));
    }

    #[test]
    fn all_addresses_of_a_network_of_ipv6_count_as_one() {
        let failures = Failures::default();
        for n in 0..MOST {
            failures.note(format!("2001:db8:0:1::{n:x}").parse().unwrap());
        }
        assert!(failures.is_barred("2001:db8:0:1::ffff".parse().unwrap()).is_some());
        assert!(failures.is_barred("2001:db8:0:2::1".parse().unwrap()).is_none());
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let failures = Failures::default();
        for n in 0..5000_u32 {
            failures.note(IpAddr::from(n.to_be_bytes()));
            failures.prove(IpAddr::from(n.to_be_bytes()), [0; 32]);
        }
        let seen = failures.seen();
        assert_eq!((seen.failures.len(), seen.proven.len()), (KEPT, KEPT));
    }
}
