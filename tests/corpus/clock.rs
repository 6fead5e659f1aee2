//! Processor time: what a text costs, however busy the machine is.

use std::time::Duration;

/// What this thread has used so far.
pub fn processor_time() -> Duration {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID);
    time.map(Duration::from).unwrap_or_default()
}
