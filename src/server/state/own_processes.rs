//! Server processes that serve connections of this proxy, by the ids that the server has given: whoever looks at the server's
//! sessions tells its own from others by them. Anybody could take a name.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a process may still be there after its connection was closed.
const LINGERS: Duration = Duration::from_secs(5);

/// Those on one server.
#[derive(Debug, Default)]
pub struct OwnProcesses(Mutex<HashMap<u32, Known>>);

#[derive(Clone, Copy, Debug)]
struct Known {
    /// Connections to it: a server may give an id again before the loss of its former connection is noticed.
    open: u32,
    closed: Instant,
}

impl Known {
    /// Whether it may be there.
    fn is_there(&self) -> bool {
        self.open > 0 || self.closed.elapsed() < LINGERS
    }
}

/// Counts one among them for as long as it lives.
#[derive(Debug)]
pub struct OwnProcess {
    of: Arc<OwnProcesses>,
    pid: u32,
}

impl OwnProcesses {
    /// A connection to the process of that id is open.
    pub fn enter(self: &Arc<Self>, pid: u32) -> OwnProcess {
        let mut known = self.known();
        known.retain(|_, one| one.is_there());
        known.entry(pid).or_insert_with(|| Known { open: 0, closed: Instant::now() }).open += 1;
        OwnProcess { of: self.clone(), pid }
    }

    /// Their ids.
    pub fn pids(&self) -> HashSet<u32> {
        self.known().iter().filter(|(_, one)| one.is_there()).map(|(pid, _)| *pid).collect()
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u32, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OwnProcess {
    fn drop(&mut self) {
        if let Some(one) = self.of.known().get_mut(&self.pid) {
            *one = Known { open: one.open.saturating_sub(1), closed: Instant::now() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_while_a_connection_leads_to_it_and_a_moment_longer() {
        let all: Arc<OwnProcesses> = Arc::default();
        let (one, again) = (all.enter(7), all.enter(7));
        drop(one);
        assert!(all.pids().contains(&7) && !all.pids().contains(&8));
        drop(again);
        assert!(all.pids().contains(&7), "it may still be ending");
        let long_ago = Instant::now().checked_sub(LINGERS).unwrap();
        all.known().values_mut().for_each(|one| one.closed = long_ago);
        assert!(all.pids().is_empty());
        let _other = all.enter(8);
        assert_eq!(all.known().len(), 1);
    }
}
