//! How much memory the process may come to need, told at the start: an idle client costs little, one at work has buffers.

use crate::config::Config;

/// What an idle client takes, with its place in the kernel.
const IDLE: u64 = 6 << 10;
/// The program itself, its threads and what it keeps.
const BASE: u64 = 16 << 20;

/// An estimate in bytes, with every client that may come and as many at work as there may be server connections.
fn estimate(config: &Config) -> u64 {
    let (pooling, memory) = (&config.pooling, &config.memory);
    let names = u32::try_from(config.databases.len()).unwrap_or(u32::MAX);
    let servers = pooling.max_server_connections.get().unwrap_or(pooling.default_pool_size.saturating_mul(names));
    let busy = u64::from(servers.min(pooling.max_client_conn));
    // One buffer towards each side.
    let buffers = busy.saturating_mul(2 * memory.buffer_size.bytes() as u64);
    let caches = memory.verdict_cache_size.bytes() as u64 * u64::from(config.process.workers.max(1));
    BASE + u64::from(pooling.max_client_conn) * IDLE + buffers + caches
}

/// The number behind a word in a file of the kernel's, in kB.
fn kilobytes(file: &str, word: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_whitespace().next()?.parse().ok()
}

/// What there is for it: what the system has free, or what a control group allows.
fn available() -> Option<u64> {
    let free = kilobytes("/proc/meminfo", "MemAvailable:").map(|kilobytes| kilobytes << 10);
    let group = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|text| text.trim().parse().ok());
    free.into_iter().chain(group).min()
}

/// Says how much memory the limits of the configuration may come to, and whether there is as much.
pub fn tell(config: &Config) {
    let (estimate_mb, available_mb) = (estimate(config) >> 20, available().map(|bytes| bytes >> 20));
    if available_mb.is_some_and(|available| available < estimate_mb) {
        tracing::warn!(
            event = "memory_estimate",
            estimate_mb,
            available_mb,
            max_client_conn = config.pooling.max_client_conn,
            "memory may not do for max_client_conn: lower it, or buffer_size, or give more memory"
        );
    } else {
        tracing::debug!(event = "memory_estimate", estimate_mb, available_mb, "memory that the limits may come to");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_clients_and_larger_buffers_need_more() {
        let config = |top: &str| {
            let text = format!("{top}\n[clusters.main]\nupstreams = ['h']\n[databases.app]\n");
            Config::from_str(&text, "t.toml").unwrap()
        };
        let few = estimate(&config("max_client_conn = 100"));
        let many = estimate(&config("max_client_conn = 100000"));
        assert!(many - few > 500 << 20 && few < 64 << 20, "{few} {many}");
        assert!(estimate(&config("max_client_conn = 100\nbuffer_size = '16MB'")) > few + (600 << 20));
        assert!(available().is_some());
    }
}
