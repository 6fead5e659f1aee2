//! What to say of an unknown key: the nearest known one, or where the thing that was meant is set.

use super::nearest::nearest;
use super::pgbouncer;
use crate::config::{Cluster, Config, Database, Maintenance, User};

/// Keys that people bring along: the table they write them in (its first word; `""` is the top), the key, and where it belongs.
const MOVED: &[(&str, &str, &str)] = &[
    ("maintenance", "until", UNTIL),
    ("maintenance", "expire", EXPIRE),
    ("databases", "until", UNTIL),
    ("databases", "expire", EXPIRE),
    ("databases", "host", SERVERS),
    ("databases", "port", SERVERS),
    ("databases", "hostaddr", SERVERS),
    ("databases", "upstreams", SERVERS),
    ("", "max_connections", CLIENTS),
    ("", "max_clients", CLIENTS),
    ("", "verbose", "write log_level = \"debug\""),
    ("", "max_packet_size", "pgsluice calls it max_message_size"),
    ("", "pkt_buf", "pgsluice calls it buffer_size"),
    ("", "upstreams", SERVERS),
];

const UNTIL: &str = "it belongs to one maintenance, not to the configuration: \
    MAINTENANCE ON ... WITH (until '2026-12-01 14:00Z')";
const EXPIRE: &str = "it belongs to one maintenance, not to the configuration: MAINTENANCE ON ... WITH (expire '2h')";
const SERVERS: &str =
    "servers are listed in [clusters.NAME] as upstreams = [\"host:5432\"], and a database names its cluster";
const CLIENTS: &str = "did you mean \"max_client_conn\"?";

/// The reason for an unknown key in the table at `path`, where `known` are the keys that there are.
pub(crate) fn unknown_key(path: &str, key: &str, known: &[&'static str]) -> String {
    let words: Vec<&str> = path.split('.').collect();
    let (first, last) = (words.first().copied().unwrap_or(""), words.last().copied().unwrap_or(""));
    let moved = MOVED.iter().find(|(table, name, _)| *name == key && (*table == first || *table == last));
    if let Some((_, _, hint)) = moved {
        return format!("unknown key; {hint}");
    }
    if let Some(hint) = pgbouncer::key(key) {
        return format!("unknown key; {hint}");
    }
    if let Some(home) = home_of(key).filter(|_| !known.contains(&key)) {
        return format!("unknown key here; it belongs {home}");
    }
    if let Some(word) = nearest(key, known.iter().copied()) {
        return format!("unknown key; did you mean \"{word}\"?");
    }
    if known.len() <= 10 {
        return format!("unknown key; the keys here are {}", known.join(", "));
    }
    "unknown key; \"pgsluice example-config\" shows them all".to_owned()
}

/// The table that has this key.
fn home_of(key: &str) -> Option<&'static str> {
    let has = |keys: &[crate::config::keys::setting::Key]| keys.iter().any(|k| k.name == key);
    if matches!(
        key,
        "clusters" | "databases" | "users" | "maintenance" | "http" | "metrics" | "refusals" | "fleet" | "webhook"
    ) || Config::general_keys().any(|k| k.name == key)
    {
        Some("at the top of the file, before the first [table]")
    } else if has(Cluster::KEYS) {
        Some("in [clusters.NAME]")
    } else if has(Database::KEYS) {
        Some("in [databases.NAME]")
    } else if has(Maintenance::KEYS) {
        Some("in [maintenance] or [databases.NAME.maintenance]")
    } else if has(User::KEYS) {
        Some("in [users.NAME]")
    } else {
        None
    }
}
