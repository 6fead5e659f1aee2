//! What is looked at before a switchover: each a line with what it means and what can be done about it. Pure functions of what the
//! servers have said.

use super::findings::{Findings, Server, text};
use super::options::Options;
use super::program::Program;
use super::{Servers, fence};
use crate::moving::{Line, Status};
use crate::proxy::moving::lines::{fail, listed, ok, warn};
use crate::topology::{Role, Upstream};

/// Settings whose value on the target should be no lower.
const NO_LOWER: [&str; 5] = [
    "max_connections",
    "max_worker_processes",
    "max_prepared_transactions",
    "max_wal_senders",
    "max_replication_slots",
];
/// Settings that may differ without harm, or have a line of their own.
const MAY_DIFFER: [&str; 8] = [
    "primary_slot_name",
    "recovery_min_apply_delay",
    "synchronous_standby_names",
    "server_version",
    "server_version_num",
    "data_checksums",
    "wal_log_hints",
    "hot_standby",
];
/// Checks that a replica fails for a moment when it begins to follow.
const PASS: [&str; 2] = ["streaming", "lag"];

/// What decides how the old primary is fenced and the target promoted.
pub(super) struct Means<'a> {
    pub(super) fence: &'a Program,
    pub(super) promote: &'a Program,
    /// The role on both servers.
    pub(super) role: &'a str,
}

/// All lines.
pub(super) fn all(servers: &Servers, options: &Options, means: &Means<'_>, found: &Findings) -> Vec<Line> {
    let Some((from, to)) = servers.cluster.upstreams.get(servers.from).zip(servers.cluster.upstreams.get(servers.to))
    else {
        return vec![Line::check("target", Status::Fail, "the cluster has other servers now")];
    };
    let mut lines = vec![identity(options, from), target(to), same_system(from, to)];
    let (primary, target) = match (&found.primary, &found.target) {
        (Ok(primary), Ok(target)) => (primary, target),
        (primary, target) => {
            let why = |name: &str, server: &Upstream, answer: &Result<Server, String>| {
                let why = answer.as_ref().err()?;
                let text = format!("{} cannot be asked as \"{}\": {why}", server.address, means.role);
                let remedy = "Give switchover_user a role that may log in to both servers.";
                Some(Line::check(name, Status::Fail, text).with_remedy(remedy))
            };
            lines.extend(why("primary", from, primary).into_iter().chain(why("target", to, target)));
            return lines;
        }
    };
    lines.extend(rights(means, primary, target));
    lines.push(version(primary, target));
    lines.push(streaming(from, to, target));
    lines.push(lag(servers, to));
    lines.push(replay(target));
    lines.push(target_read_only(found));
    lines.push(overrides(primary));
    lines.push(transactions(primary));
    lines.push(sessions(primary));
    lines.push(pinned(found));
    lines.push(rules(found));
    lines.push(prepared(primary));
    lines.push(room(found, target));
    lines.push(slots(primary));
    lines.push(senders(primary, to));
    lines.push(subscriptions(primary));
    lines.push(archiving(primary, target));
    lines.push(synchronous(target));
    lines.push(rewind(means, primary));
    lines.push(settings(primary, target));
    lines
}

/// Whether something is in the way that may be gone in a moment, and nothing else.
pub(super) fn may_pass(lines: &[Line]) -> bool {
    let mut failed = lines.iter().filter(|line| line.status == Status::Fail).peekable();
    failed.peek().is_some() && failed.all(|line| PASS.contains(&line.name.as_str()))
}

/// What is about to be fenced, and whether the person who gave the command has named it.
fn identity(options: &Options, from: &Upstream) -> Line {
    let (address, version) = (from.address.to_string(), fence::version_words(from.version()));
    let system = from.system_identifier().unwrap_or_else(|| "unknown".into());
    let text = format!("{address} will be fenced: version {version}, system identifier {system}");
    let given = [
        (&options.primary, [address, from.address.host_words()].to_vec(), "primary"),
        (&options.system_identifier, vec![system], "system_identifier"),
        (&options.version, vec![version, from.version().to_string()], "version"),
    ];
    for (said, right, option) in &given {
        if let Some(said) = said.as_ref().filter(|said| !right.contains(*said)) {
            let text = format!("{text}; but the command says {option} \"{said}\"");
            return fail("primary", text, "Look at SHOW UPSTREAMS: it is another server than you think.");
        }
    }
    ok("primary", text)
}

fn target(to: &Upstream) -> Line {
    let role = to.role();
    let text = format!("{} is a {}", to.address, role.word());
    match role {
        Role::Replica => ok("target", text),
        Role::Down => fail("target", format!("{} cannot be reached: {}", to.address, to.error()), "Start it."),
        Role::Primary | Role::Unknown => {
            fail("target", text, "It has to be a replica of the primary that is in recovery.")
        }
    }
}

fn same_system(from: &Upstream, to: &Upstream) -> Line {
    match (from.system_identifier(), to.system_identifier()) {
        (Some(one), Some(other)) if one == other => ok("system_identifier", format!("both have {one}")),
        (Some(one), Some(other)) => fail(
            "system_identifier",
            format!("the primary has {one}, the target has {other}"),
            "The target is a copy of another cluster: see MIGRATE or REROUTE.",
        ),
        _ => warn(
            "system_identifier",
            "the servers do not say it to the monitor's role",
            "GRANT EXECUTE ON FUNCTION pg_control_system() to monitor_user, or pg_monitor.",
        ),
    }
}

/// What the role lacks, with the GRANT for it.
fn rights(means: &Means<'_>, primary: &Server, target: &Server) -> Vec<Line> {
    let role = means.role;
    let mut missing = Vec::new();
    let mut needs = |server: &Server, what: &str, grant: String| {
        if server.may(what) != Some(true) {
            missing.push(grant);
        }
    };
    let quoted = format!("\"{}\"", role.replace('"', "\"\""));
    if !means.fence.is_given() {
        let alter = format!("GRANT ALTER SYSTEM ON PARAMETER default_transaction_read_only TO {quoted}");
        needs(primary, "alter system", alter);
        needs(primary, "reload", format!("GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {quoted}"));
        needs(primary, "signal", format!("GRANT pg_signal_backend TO {quoted}"));
    }
    if !means.promote.is_given() {
        needs(target, "promote", format!("GRANT EXECUTE ON FUNCTION pg_promote(boolean, integer) TO {quoted}"));
    }
    let mut lines = Vec::new();
    if missing.is_empty() {
        lines.push(ok("rights", format!("role \"{role}\" may do what is needed")));
    } else {
        let text = format!("role \"{role}\" lacks rights");
        lines.push(fail(
            "rights",
            text,
            format!("{}; before version 15 it has to be a superuser.", missing.join("; ")),
        ));
    }
    if primary.may("monitor") != Some(true) {
        let text = format!("role \"{role}\" does not see what other sessions do");
        lines.push(warn("rights_to_see", text, format!("GRANT pg_monitor TO {quoted}")));
    }
    lines
}

fn version(primary: &Server, target: &Server) -> Line {
    let words = |server: &Server| server.setting("server_version").to_owned();
    let text = format!("{} on the primary, {} on the target", words(primary), words(target));
    let major = |server: &Server| server.number("server_version_num").map(|version| version / 10_000);
    if major(primary) == major(target) { ok("version", text) } else { fail("version", text, "Use MIGRATE.") }
}

fn streaming(from: &Upstream, to: &Upstream, target: &Server) -> Line {
    let Some(row) = target.of("receiver").next() else {
        let remedy = "Look at primary_conninfo and at the log of the target.";
        return fail("streaming", format!("{} receives no WAL", to.address), remedy);
    };
    let (status, host, port) = (text(row, 0), text(row, 2), text(row, 3));
    if status.is_empty() {
        let text = format!("the role does not see what {} receives", to.address);
        return fail("streaming", text, "GRANT pg_monitor to it.");
    }
    let text = format!("{} is {status} from {host}:{port}", to.address);
    if status != "streaming" {
        return fail("streaming", text, "Wait until it streams.");
    }
    let timeline = row.get(4).and_then(Option::as_deref).and_then(|text| text.parse::<u32>().ok());
    if from.timeline() != 0 && timeline.is_some_and(|timeline| timeline != from.timeline()) {
        return fail(
            "streaming",
            format!("{text}, on another timeline"),
            "It follows another server: have it follow the primary.",
        );
    }
    if !port.is_empty() && port != from.address.port().to_string() {
        let remedy =
            format!("Fine if that address leads to {}; a replica of a replica is promoted as well.", from.address);
        return warn("streaming", format!("{text}, which is not how the primary is named here"), remedy);
    }
    ok("streaming", text)
}

fn lag(servers: &Servers, to: &Upstream) -> Line {
    let (bytes, time) = (to.lag_bytes(), to.lag());
    let text = format!("{bytes} bytes and {} ms behind", time.as_millis());
    let most = servers.cluster.max_lag_bytes;
    if most != 0 && bytes > most {
        return fail("lag", text, format!("Wait until it is less than max_lag_bytes ({most}) behind."));
    }
    if bytes > most / 16 {
        warn("lag", text, "Writes are held for as long as it takes to catch up.")
    } else {
        ok("lag", text)
    }
}

fn replay(target: &Server) -> Line {
    if target.first("paused").is_some_and(|paused| paused == "true" || paused == "t") {
        return fail("replay", "its replay is paused", "On the target: SELECT pg_wal_replay_resume().");
    }
    let delay = target.setting("recovery_min_apply_delay");
    if !delay.is_empty() && delay != "0" {
        let text = format!("it replays late: recovery_min_apply_delay is {delay} ms");
        return fail("replay", text, "ALTER SYSTEM SET recovery_min_apply_delay = 0 on the target, and reload it.");
    }
    ok("replay", "it goes on")
}

fn target_read_only(found: &Findings) -> Line {
    let name = "target_read_only";
    let Some(row) = &found.target_read_only else { return ok(name, "not known") };
    let (value, source, file) = (text(row, 0), text(row, 1), text(row, 2));
    if value != "on" {
        return ok(name, "new sessions of the target may write");
    }
    if fence::is_liftable(source, file) {
        return ok(name, "default_transaction_read_only is on there by ALTER SYSTEM: it will be reset");
    }
    let text = format!("default_transaction_read_only is on there, by {source} {file}");
    fail(name, text.trim_end(), "Take it out of the target's configuration, and reload it.")
}

fn overrides(primary: &Server) -> Line {
    let rows = primary.of("override").map(|row| match (text(row, 0), text(row, 1)) {
        ("", role) => format!("role \"{role}\""),
        (database, "") => format!("database \"{database}\""),
        (database, role) => format!("role \"{role}\" in database \"{database}\""),
    });
    let words = listed(rows);
    if words.is_empty() {
        return ok("overrides", "nobody has a default_transaction_read_only of its own");
    }
    warn(
        "overrides",
        format!("default_transaction_read_only = off is set for {words}: those could write past the fence"),
        "ALTER ROLE or ALTER DATABASE … RESET default_transaction_read_only, or use fence_command.",
    )
}

fn transactions(primary: &Server) -> Line {
    let rows = primary.of("transaction").map(|row| {
        let writes = if matches!(text(row, 4), "true" | "t") { ", has written" } else { "" };
        format!("process {} of \"{}\" ({} s{writes})", text(row, 0), text(row, 1), text(row, 3))
    });
    let words = listed(rows);
    if words.is_empty() {
        return ok("transactions", "none is open for more than a second");
    }
    let remedy = "Let them end. Writers are waited for until drain_timeout, and others are held meanwhile.";
    warn("transactions", format!("open for long: {words}"), remedy)
}

fn sessions(primary: &Server) -> Line {
    let rows = primary.of("session").map(|row| {
        let writes = if matches!(text(row, 4), "true" | "t") { ", writes now" } else { "" };
        format!("process {} of \"{}\" from {} ({}{writes})", text(row, 0), text(row, 1), text(row, 3), text(row, 2))
    });
    let words = listed(rows);
    if words.is_empty() {
        return ok("sessions", "nobody is on the primary past this proxy");
    }
    warn("sessions", format!("past this proxy: {words}"), "They are ended when the primary is fenced.")
}

fn pinned(found: &Findings) -> Line {
    let words = listed(found.pinned.iter().map(|(reason, count)| format!("{count} by {reason}")));
    if words.is_empty() {
        return ok("clients", "none keeps its server connection");
    }
    warn("clients", format!("some keep their server connection: {words}"), "Those sessions end with it.")
}

/// What goes past the gate is not held.
fn rules(found: &Findings) -> Line {
    if found.allowing.is_empty() {
        return ok("rules", "no write rule lets writes through");
    }
    let names = found.allowing.join(", ");
    warn(
        "rules",
        format!("write rules let some writes through: {names}"),
        "Those fail with 25006 while the primary is fenced.",
    )
}

fn prepared(primary: &Server) -> Line {
    let words = listed(primary.of("prepared").map(|row| format!("{} of \"{}\"", text(row, 0), text(row, 1))));
    if words.is_empty() {
        return ok("prepared", "no transaction is prepared");
    }
    warn("prepared", format!("prepared transactions: {words}"), "They go along, and can be ended on the new primary.")
}

fn room(found: &Findings, target: &Server) -> Line {
    let used = target.first("connections").and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let most = target.number("max_connections").unwrap_or(0);
    let left = most.saturating_sub(target.number("superuser_reserved_connections").unwrap_or(0)).saturating_sub(used);
    let needed = found.used as u64;
    let text = format!("the target has room for {left} more connections; {needed} are open to the primary");
    if left < needed {
        fail("connections", text, "Raise max_connections of the target.")
    } else {
        ok("connections", text)
    }
}

fn slots(primary: &Server) -> Line {
    let logical = primary.of("slot").filter(|row| text(row, 1) == "logical");
    let words = listed(logical.map(|row| format!("\"{}\" ({}, {})", text(row, 0), text(row, 3), text(row, 4))));
    if words.is_empty() {
        return ok("slots", "no logical replication slot");
    }
    warn(
        "slots",
        format!("logical replication slots that the target does not have: {words}"),
        "Their subscribers break: make the slots on the new primary before writes go on, or have them synchronised (failover slots, version 17 and later).",
    )
}

fn senders(primary: &Server, to: &Upstream) -> Line {
    let all: Vec<_> = primary.of("sender").collect();
    let text = listed(all.iter().map(|row| format!("\"{}\" from {}", text(row, 1), text(row, 4))));
    match all.len() {
        0 => warn(
            "followers",
            "nobody receives WAL from the primary",
            format!("{} may receive it from another replica.", to.address),
        ),
        1 => ok("followers", format!("the primary sends WAL to {text}")),
        _ => warn(
            "followers",
            format!("the primary sends WAL to {text}"),
            "Have the others follow the new primary (primary_conninfo).",
        ),
    }
}

fn subscriptions(primary: &Server) -> Line {
    let words = listed(primary.of("subscription").map(|row| format!("\"{}\"", text(row, 0))));
    if words.is_empty() {
        return ok("subscriptions", "the primary subscribes to nothing");
    }
    warn(
        "subscriptions",
        format!("the primary subscribes: {words}"),
        "The new primary goes on with them. Keep the old one stopped: both would take from one slot.",
    )
}

fn archiving(primary: &Server, target: &Server) -> Line {
    let (here, there) = (primary.setting("archive_mode"), target.setting("archive_mode"));
    if here != there {
        let text = format!("archive_mode is {here} on the primary and {there} on the target");
        return warn("archiving", text, "Archive from the new primary as well, or backups have a gap.");
    }
    let row = primary.of("archiver").next();
    if here != "off" && row.is_some_and(|row| matches!(text(row, 1), "true" | "t")) {
        let file = row.map(|row| text(row, 2)).unwrap_or_default();
        return warn("archiving", format!("archiving fails ({file})"), "Mend archive_command first.");
    }
    ok("archiving", format!("archive_mode is {here} on both"))
}

/// A primary that waits for a standby which is not there never ends a commit.
fn synchronous(target: &Server) -> Line {
    let names = target.setting("synchronous_standby_names");
    let waits = !matches!(target.setting("synchronous_commit"), "off" | "local");
    if names.is_empty() {
        return ok("synchronous", "the target waits for no standby");
    }
    let text = format!("synchronous_standby_names is \"{names}\" on the target");
    let remedy = "ALTER SYSTEM SET synchronous_standby_names = '' on the target, and reload it: else its commits wait.";
    if waits && target.count("follower") == 0 {
        return fail("synchronous", format!("{text}, and no standby follows it"), remedy);
    }
    warn("synchronous", text, "Its commits wait for those standbys.")
}

/// Whether the old primary can follow the new one without being copied anew.
fn rewind(means: &Means<'_>, primary: &Server) -> Line {
    let on = |name: &str| primary.setting(name) == "on";
    if on("data_checksums") || on("wal_log_hints") {
        return ok("rewind", "pg_rewind can bring the old primary back as a replica");
    }
    let remedy = "Set wal_log_hints = on and restart the primary some day before; or copy it anew with pg_basebackup afterwards.";
    let stopped = if means.fence.is_given() { ", unless fence_command stops it cleanly" } else { "" };
    warn("rewind", format!("pg_rewind cannot bring the old primary back{stopped}"), remedy)
}

fn settings(primary: &Server, target: &Server) -> Line {
    let lower = NO_LOWER.iter().filter(|name| target.number(name) < primary.number(name)).copied();
    let mut differ: Vec<&str> = primary
        .settings()
        .filter(|name| !MAY_DIFFER.contains(name) && primary.setting(name) != target.setting(name))
        .collect();
    differ.sort_unstable();
    let lower: Vec<&str> = lower.collect();
    let shown = |names: &[&str]| {
        listed(names.iter().map(|name| format!("{name} ({}, target {})", primary.setting(name), target.setting(name))))
    };
    if lower.contains(&"max_prepared_transactions") && primary.count("prepared") > 0 {
        return fail("settings", format!("lower on the target: {}", shown(&lower)), "Raise them on the target.");
    }
    match (lower.is_empty(), differ.is_empty()) {
        (_, true) => ok("settings", "the same on both, as far as it matters"),
        (false, _) => warn("settings", format!("lower on the target: {}", shown(&lower)), "Raise them on the target."),
        (true, false) => {
            warn("settings", format!("different: {}", shown(&differ)), "Make them the same, if that is not on purpose.")
        }
    }
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
