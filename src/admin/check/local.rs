//! What this process knows by itself: its state file, the gate, the monitor's view of the servers, its sessions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Findings;
use crate::admin::show::seen::Seen;
use crate::config::StateFile;
use crate::gate::Mode;
use crate::shared::{Database, ProxyState};
use crate::topology::{Cluster, Role};

/// PostgreSQL 14 is the first that reports a guard that fell.
const FIRST_REPORTING: u64 = 140_000;

/// Whether the mode can be saved: without that no flip happens.
pub(super) async fn state_file(proxy: &ProxyState, findings: &mut Findings) {
    const CHECK: &str = "state file";
    let path = match &proxy.setup.load().config.process.state_file {
        StateFile::Path(path) => path.clone(),
        StateFile::Ephemeral => {
            findings.warn(CHECK, "the mode is kept in memory alone: a restart opens the gate", "Set state_file.");
            return;
        }
    };
    let shown = path.display().to_string();
    // A disk may be slow, and on this thread clients are served.
    let tried = tokio::task::spawn_blocking(move || crate::gate::try_to_write_beside(&path)).await;
    match tried.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
        Ok(()) => findings.ok(CHECK, format!("{shown} can be written")),
        Err(error) => findings.fail(
            CHECK,
            format!("{shown} cannot be written: {error}"),
            "Give pgsluice's user the right to write into that folder, and room on the disk.",
        ),
    }
}

/// Whether the members of the fleet answer: a flip waits for each that could still write.
pub(super) fn fleet(proxy: &ProxyState, findings: &mut Findings) {
    const CHECK: &str = "fleet";
    let Some(fleet) = proxy.fleet.get() else { return };
    let shown = fleet.now();
    let view = &shown.view;
    if !shown.is_member {
        let why = if shown.error.is_empty() { "it has no lease" } else { shown.error.as_str() };
        findings.fail(
            CHECK,
            format!("this member, {}, is not in it: {why}", fleet.id),
            "Let it reach etcd (fleet.endpoints): until then no command goes through, and nothing is written here.",
        );
        return;
    }
    let left: BTreeSet<&str> = view.unfenced().map(|((id, _), _)| id.as_str()).collect();
    let left: Vec<String> =
        left.into_iter().map(|id| format!("{id} has gone and may have left writes at work")).collect();
    let behind = view.members.values().flat_map(|member| {
        let waits =
            view.desired.iter().filter(|(place, _)| !member.apart.contains(*place)).filter(|(_, (_, desired))| {
                desired.is_draining() && !view.ack(&desired.place, desired.epoch, member).is_some_and(|ack| ack.passed)
            });
        waits.map(|(place, _)| format!("{} has not acknowledged the mode of {place}", member.id)).collect::<Vec<_>>()
    });
    let silent: Vec<String> = left.into_iter().chain(behind).collect();
    let members: Vec<&str> = view.members.keys().map(String::as_str).collect();
    findings.warn_of(
        CHECK,
        &silent,
        &format!("all {} members answer: {}; this one is {}", members.len(), members.join(", "), fleet.id),
        "SHOW FLEET tells more: MAINTENANCE ON waits for each of them, or until its lease is over.",
    );
}

/// Whether the gate is open, and nobody moves it.
pub(super) fn gate(proxy: &ProxyState, database: &Database, findings: &mut Findings) {
    const CHECK: &str = "gate";
    let under_way =
        proxy.gates.show().into_iter().find(|row| *row.database == *database.name).and_then(|row| row.under_way);
    match (under_way, database.gate.state().mode) {
        (Some((verb, who)), _) => {
            findings.warn(CHECK, format!("{verb} by {who} is under way"), "Wait for it: SHOW MAINTENANCE tells.")
        }
        (None, Mode::ReadWrite) => findings.ok(CHECK, "open"),
        (None, mode) => {
            findings.warn(CHECK, format!("closed already: {mode}"), "SHOW MAINTENANCE tells who closed it.")
        }
    }
}

/// The servers as the monitor sees them; gives the primary.
pub(super) fn servers(database: &Database, findings: &mut Findings) -> Option<usize> {
    let cluster = database.setup().cluster.clone();
    let claims = |at: &usize| cluster.claims_to_be_primary(*at) && !cluster.is_retired_server(*at);
    let claim = (0..cluster.upstreams.len()).filter(claims).count();
    let primary = cluster.primary();
    match primary.and_then(|at| cluster.upstreams.get(at)) {
        Some(upstream) if upstream.is_read_only() => findings.warn(
            "primary",
            format!("{} is read-only by its own default_transaction_read_only", upstream.address),
            "ALTER SYSTEM or ALTER DATABASE … RESET default_transaction_read_only, if that is not intended.",
        ),
        Some(upstream) if claim > 1 => findings.warn(
            "primary",
            format!(
                "contested: {claim} servers claim to be the primary; {} was promoted last, and is used",
                upstream.address
            ),
            "Stop the old primary, or start it again as a replica.",
        ),
        Some(upstream) => findings.ok("primary", upstream.address.to_string()),
        None if claim > 1 => findings.fail(
            "primary",
            format!("contested: {claim} servers claim to be the primary"),
            "Stop or demote all but one: until then nothing is written anywhere.",
        ),
        None => {
            findings.fail("primary", "none is known", "SHOW UPSTREAMS tells why: start it, or let the monitor log in.")
        }
    }
    replicas(&cluster, findings);
    for upstream in &cluster.upstreams {
        if (1..FIRST_REPORTING).contains(&upstream.version()) {
            findings.fail(
                "unguardable",
                format!(
                    "{} has version {}, which does not report a guard that fell",
                    upstream.address,
                    upstream.version()
                ),
                "Use PostgreSQL 14 or newer.",
            );
        }
    }
    primary
}

fn replicas(cluster: &Cluster, findings: &mut Findings) {
    const CHECK: &str = "replica";
    const LATE: &str = "Let it catch up: until it has replayed the last write, the primary serves the reads.";
    const RETIRED: &str = "Stop it, and start it as a replica of the new primary: the last row of SHOW MOVE says how.";
    let mut found = false;
    for (at, upstream) in cluster.upstreams.iter().enumerate() {
        let address = &upstream.address;
        match upstream.role() {
            Role::Primary if cluster.is_retired_server(at) => {
                let reason = cluster.reason_of(at, std::time::Instant::now());
                findings.warn(CHECK, format!("{address} is retired: {reason}"), RETIRED);
                continue;
            }
            Role::Primary => continue,
            Role::Replica => {
                let (bytes, time) = (upstream.lag_bytes(), upstream.lag());
                let detail = behind(address, bytes, time);
                let late = cluster.max_lag_bytes > 0 && bytes > cluster.max_lag_bytes
                    || !cluster.max_lag.is_zero() && time > cluster.max_lag;
                if late { findings.warn(CHECK, detail, LATE) } else { findings.ok(CHECK, detail) }
            }
            Role::Down => findings.warn(
                CHECK,
                format!("{address} cannot be reached: {}", upstream.error()),
                "See what it says: it may be stopped, out of reach, or refuse monitor_user. It gets nothing until it answers.",
            ),
            Role::Unknown => {
                findings.warn(CHECK, format!("{address} has not been seen yet"), "Look again in a moment.")
            }
        }
        found = true;
    }
    if !found {
        findings.warn(
            CHECK,
            "none: the primary serves the reads, and nobody does while it is stopped",
            "Add a replica to upstreams if the primary is to be stopped.",
        );
    }
}

/// Which other names close with it.
pub(super) fn names(proxy: &ProxyState, database: &Database, names: &[Arc<Database>], findings: &mut Findings) {
    const CHECK: &str = "names";
    let clusters = proxy.databases.clusters();
    let unsaid = |cluster: &&Arc<Cluster>| {
        let at = cluster.primary().and_then(|at| cluster.upstreams.get(at));
        at.is_some_and(|primary| primary.instance().is_none())
    };
    let unsaid: Vec<_> = clusters.iter().filter(unsaid).map(|cluster| cluster.name.as_str()).collect();
    if clusters.len() > 1 && !unsaid.is_empty() {
        findings.warn(
            CHECK,
            format!("it cannot be told whether other clusters lead to the same servers as {}", quoted(&unsaid)),
            "GRANT EXECUTE ON FUNCTION pg_control_system() to monitor_user",
        );
    }
    let others: Vec<_> = names.iter().filter(|other| other.name != database.name).map(|one| &*one.name).collect();
    match others.as_slice() {
        [] => findings.ok(CHECK, "no other name leads to the same database"),
        others => findings.ok(CHECK, format!("closes together with {}", quoted(others))),
    }
}

/// `"a", "b"`
fn quoted(names: &[&str]) -> String {
    names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

/// How far a replica is behind, in words.
fn behind(address: &crate::server::Address, bytes: u64, time: Duration) -> String {
    let (size, age) = (about_size(bytes), about_duration(time));
    match (bytes, time.as_millis()) {
        (0, 0) => format!("{address} has replayed everything, 0 behind"),
        (0, _) => format!("{address} is {age} behind"),
        (_, 0) => format!("{address} is {size} behind"),
        _ => format!("{address} is {size} and {age} behind"),
    }
}

fn about_size(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} bytes"),
        10_000..10_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{} MB", bytes / 1_000_000),
    }
}

fn about_duration(time: Duration) -> String {
    match time.as_millis() {
        millis @ 0..10_000 => format!("{millis} ms"),
        millis => format!("{} s", millis / 1_000),
    }
}

/// Sessions that are not like the others.
pub(super) fn sessions(names: &[Arc<Database>], seen: &Seen, findings: &mut Findings) {
    let is_of = |name: &str| names.iter().any(|database| *database.name == *name);
    let ours = || seen.clients.iter().filter(|client| !client.console && is_of(&client.database));
    let mut pinned: BTreeMap<&str, usize> = BTreeMap::new();
    for client in ours().filter(|client| !client.operator && !client.pinned.is_empty()) {
        *pinned.entry(client.pinned).or_default() += 1;
    }
    let pinned: Vec<_> = pinned.into_iter().map(|(why, count)| format!("{count} by {why}")).collect();
    findings.warn_of(
        "pinned sessions",
        &pinned,
        "none",
        "They stay, guarded in place on the primary: if that is to be stopped, they are lost. SHOW CLIENTS names them.",
    );
    match ours().filter(|client| client.operator).count() {
        0 => findings.ok("operators", "none connected"),
        count => findings.warn(
            "operators",
            format!("{count} connected: the gate does not stop them"),
            "See that no application uses a role in operators. SHOW CLIENTS names them.",
        ),
    }
}
