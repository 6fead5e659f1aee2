//! What the C library's allocator is told, so that memory that buffers have used once goes back to the system.

use crate::config::Config;

/// Buffers of this size or more are mapped one by one. Below it that would cost more than it saves.
#[cfg(target_env = "gnu")]
const LEAST_MAPPED: u64 = 64 * 1024;
/// glibc's own threshold, as it is at first.
#[cfg(target_env = "gnu")]
const MOST_MAPPED: u64 = 128 * 1024;

/// Buffers are mapped and unmapped one by one for as long as the process lives. glibc moves its threshold beyond the size of
/// whatever mapped memory is freed: from then on a buffer is cut out of a heap and written over with zeros, which makes
/// all of it resident for each client that waits with a query of some bytes.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "there is no safe way to mallopt")]
pub fn map_buffers(config: &Config) {
    let size = (config.memory.buffer_size.bytes() as u64).clamp(LEAST_MAPPED, MOST_MAPPED);
    // SAFETY: it is given no pointer; no other thread runs yet that could allocate meanwhile.
    let done = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, i32::try_from(size).unwrap_or(i32::MAX)) };
    if done == 0 {
        tracing::warn!(
            event = "allocator",
            "the allocator does not take a threshold for mapped memory: idle memory may stay resident"
        );
    }
}

/// See the other.
#[cfg(not(target_env = "gnu"))]
pub fn map_buffers(_: &Config) {}

/// The allocator gives back by itself what lies at the end of its heaps only; what sessions leave behind lies scattered.
#[cfg(target_env = "gnu")]
#[expect(unsafe_code, reason = "there is no safe way to malloc_trim")]
pub fn trim() {
    // SAFETY: it is given no pointer, and may be called at any time by any thread.
    unsafe { libc::malloc_trim(0) };
}

/// See the other.
#[cfg(not(target_env = "gnu"))]
pub fn trim() {}
