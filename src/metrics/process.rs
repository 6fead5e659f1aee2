//! The process: clients in all, log-ins, memory, files, processor time, workers.

use std::sync::atomic::Ordering::SeqCst;
use std::time::SystemTime;

use super::cores::{OneCore, Seen};
use super::families::Families;
use crate::shared::ProxyState;

/// USER_HZ: Linux tells times in hundredths of a second, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn add(families: &mut Families, proxy: &ProxyState, seen: &Seen) {
    let setup = proxy.setup.load();
    families.gauge("pgsluice_build_info", "The version.", |out| {
        out.whole(vec![("version", env!("CARGO_PKG_VERSION").to_owned())], 1);
    });
    families.gauge("pgsluice_clients", "Clients that are connected, consoles too.", |out| {
        out.count(vec![], proxy.clients.load(SeqCst));
    });
    families.gauge("pgsluice_clients_limit", "max_client_conn.", |out| {
        out.whole(vec![], setup.config.pooling.max_client_conn.into());
    });
    families.gauge("pgsluice_consoles", "Consoles that are connected.", |out| out.count(vec![], seen.consoles));
    families.gauge("pgsluice_operators", "Operator sessions.", |out| out.count(vec![], seen.operators));
    families.gauge("pgsluice_servers", "Server connections.", |out| out.count(vec![], proxy.total.used()));
    families.counter("pgsluice_login_failures", "Log-ins that were refused.", |out| {
        out.whole(vec![], proxy.stats.failed_logins.load(SeqCst));
    });
    families.counter("pgsluice_too_many_clients", "Those of them that max_client_conn has refused.", |out| {
        out.whole(vec![], proxy.stats.too_many_clients.load(SeqCst));
    });
    fleet(families, proxy);
    workers(families, seen);
    system(families, proxy);
}

fn fleet(families: &mut Families, proxy: &ProxyState) {
    let known = proxy.fleet.get().map(|fleet| (fleet.id.as_str(), fleet.now()));
    let seen = |get: fn(&str, &crate::fleet::Shown) -> u64| known.as_ref().map_or(0, |(id, shown)| get(id, shown));
    families.gauge("pgsluice_fleet_members", "Members of the fleet; 0 without one.", |out| {
        out.whole(vec![], seen(|_, shown| shown.view.members.len() as u64));
    });
    families.gauge("pgsluice_fleet_lost", "1 while this proxy cannot reach its fleet.", |out| {
        out.whole(vec![], seen(|_, shown| u64::from(!shown.is_member)));
    });
    families.gauge("pgsluice_fleet_leads", "1 while this proxy leads the flips of its fleet.", |out| {
        let leads = |id: &str, shown: &crate::fleet::Shown| {
            u64::from(shown.view.leader.as_ref().is_some_and(|(leader, _)| leader == id))
        };
        out.whole(vec![], seen(leads));
    });
}

fn workers(families: &mut Families, seen: &Seen) {
    families.gauge("pgsluice_worker_clients", "Clients of each worker.", |out| {
        for (at, core) in seen.cores.iter().enumerate() {
            out.count(vec![("worker", at.to_string())], core.clients);
        }
    });
    let sum = |get: fn(&OneCore) -> u64| seen.cores.iter().map(get).sum::<u64>();
    families.gauge("pgsluice_verdict_cache_entries", "Texts of statements whose verdict is kept.", |out| {
        out.whole(vec![], sum(|core| core.verdicts as u64));
    });
    families.gauge("pgsluice_verdict_cache_bytes", "Memory of the verdicts that are kept.", |out| {
        out.whole(vec![], sum(|core| core.verdict_bytes as u64));
    });
    families.counter("pgsluice_verdict_cache_hits", "Texts whose verdict was known.", |out| {
        out.whole(vec![], sum(|core| core.hits));
    });
    families.counter("pgsluice_verdict_cache_misses", "Texts that had to be read.", |out| {
        out.whole(vec![], sum(|core| core.misses));
    });
    families.counter("pgsluice_verdict_cache_evictions", "Verdicts that had to make room.", |out| {
        out.whole(vec![], sum(|core| core.evictions));
    });
    families.gauge("pgsluice_prepared_statements", "Prepared statements that are shared.", |out| {
        out.whole(vec![], sum(|core| core.statements as u64));
    });
}

fn system(families: &mut Families, proxy: &ProxyState) {
    let began = proxy.began.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    families.gauge("process_start_time_seconds", "When the process began.", |out| {
        out.real(vec![], began.as_secs_f64());
    });
    let statistics = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may have blanks in it.
    let fields: Vec<&str> = statistics.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let field = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    if let (Some(user), Some(system)) = (field(11), field(12)) {
        families.counter("process_cpu_seconds", "Processor time.", |out| {
            out.real(vec![], (user + system) as f64 / TICKS_PER_SECOND);
        });
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    if let Some(kb) = number_behind(&status, "VmRSS:") {
        families.gauge("process_resident_memory_bytes", "Memory.", |out| out.whole(vec![], kb << 10));
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        families.gauge("process_open_fds", "Open files.", |out| out.count(vec![], files.count()));
    }
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    if let Some(most) = number_behind(&limits, "Max open files") {
        families.gauge("process_max_fds", "How many files may be open.", |out| out.whole(vec![], most));
    }
}

/// The number behind a word that begins a line.
fn number_behind(text: &str, word: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(word)?.split_whitespace().next()?.parse().ok())
}
