//! `[databases]`: connection strings become databases, and the servers that they name become clusters.

use std::path::Path;

use super::emit::{list, text};
use super::ini::{Entry, pairs};
use super::values::{Form, literal, number};
use super::{Translation, one_line};
use crate::config::Database;
use crate::config::checks::nearest::nearest;

/// Parameters of a database, with the key that each becomes.
const PARAMETERS: &[(&str, &str, Form)] = &[
    ("dbname", "dbname", Form::Text),
    ("user", "user", Form::Text),
    ("password", "password", Form::Text),
    ("pool_mode", "pool_mode", Form::Word),
    ("pool_size", "pool_size", Form::Count),
    ("min_pool_size", "min_pool_size", Form::Count),
    ("reserve_pool", "reserve_pool_size", Form::Count),
    ("reserve_pool_size", "reserve_pool_size", Form::Count),
    ("max_db_connections", "max_db_connections", Form::Count),
    ("max_db_client_connections", "max_db_client_connections", Form::Count),
    ("server_lifetime", "server_lifetime", Form::Seconds),
    ("query_wait_timeout", "query_wait_timeout", Form::Seconds),
    ("connect_query", "connect_query", Form::Text),
    ("client_encoding", "client_encoding", Form::Text),
    ("datestyle", "datestyle", Form::Text),
    ("timezone", "timezone", Form::Text),
    ("application_name", "application_name", Form::Text),
    ("auth_user", "auth_user", Form::Text),
    ("auth_query", "auth_query", Form::Text),
    ("auth_dbname", "auth_dbname", Form::Text),
];

/// Whether PgBouncer has such a parameter of a database.
pub(in crate::config) fn is_known(name: &str) -> bool {
    matches!(name, "host" | "port" | "load_balance_hosts") || PARAMETERS.iter().any(|(known, ..)| *known == name)
}

/// Servers that databases name together.
pub(super) struct Servers {
    name: String,
    upstreams: Vec<String>,
    entry: Entry,
}

/// A database as it is to be written.
pub(super) struct Named {
    entry: Entry,
    cluster: usize,
    keys: Vec<(&'static str, String)>,
    left: Vec<(String, &'static str)>,
    balanced: bool,
}

impl Translation<'_> {
    /// Reads the section: the clusters and the databases on them. Of a name that stands there twice the last counts.
    pub(super) fn read_databases(&mut self, entries: &[Entry]) -> (Vec<Servers>, Vec<Named>) {
        let (mut clusters, mut databases): (Vec<Servers>, Vec<Named>) = (Vec::new(), Vec::new());
        let last = entries.iter().enumerate().filter(|(at, entry)| {
            let rest = entries.get(at + 1..).unwrap_or_default();
            rest.iter().all(|other| other.key != entry.key)
        });
        for (_, entry) in last {
            match pairs(&entry.value) {
                Ok(pairs) => databases.extend(self.database(entry, &pairs, &mut clusters)),
                Err(why) => self.error(entry, why),
            }
        }
        // Of which no database is left: each one was wrong, and that has been said.
        name_clusters(&mut clusters);
        (clusters, databases)
    }

    fn database(&mut self, entry: &Entry, pairs: &[(String, String)], clusters: &mut Vec<Servers>) -> Option<Named> {
        let get = |name: &str| pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let port = match get("port").map(number) {
            None => 5432,
            Some(Ok(port)) => port,
            Some(Err(why)) => {
                self.error(entry, format!("port {why}"));
                return None;
            }
        };
        let hosts = match self.upstreams(get("host"), port) {
            Ok(hosts) => hosts,
            Err(why) => {
                self.error(entry, why);
                return None;
            }
        };
        let mut keys = Vec::new();
        let mut left = Vec::new();
        for (key, value) in pairs {
            match PARAMETERS.iter().find(|(known, ..)| known == key) {
                Some((_, "password", _)) if get("user").is_none() => {
                    left.push((key.clone(), "there is no user for it"))
                }
                Some((_, name, form)) if Database::KEYS.iter().any(|known| known.name == *name) => {
                    match self.value(name, value, *form, get("pool_size")) {
                        Ok(Some(literal)) => keys.push((*name, literal)),
                        Ok(None) => {}
                        Err(why) => self.error(entry, format!("{key} {why}")),
                    }
                }
                Some(_) => left.push((key.clone(), "pgsluice does not have it for a single database")),
                None if is_known(key) => {}
                None => {
                    let near = nearest(key, PARAMETERS.iter().map(|(known, ..)| *known).chain(["host", "port"]));
                    let hint = near.map_or_else(String::new, |known| format!("; did you mean \"{known}\"?"));
                    self.error(entry, format!("unrecognized connection parameter {}{hint}", text(key)));
                }
            }
        }
        // Of a parameter that stands there twice the last counts.
        let mut once: Vec<(&'static str, String)> = Vec::new();
        for (name, literal) in keys {
            once.retain(|(known, _)| *known != name);
            once.push((name, literal));
        }
        let balanced = match get("load_balance_hosts").map(str::to_ascii_lowercase).as_deref() {
            None | Some("round-robin") => hosts.len() > 1,
            Some("disable") => false,
            Some(_) => {
                self.error(entry, "load_balance_hosts must be \"disable\" or \"round-robin\"");
                false
            }
        };
        let cluster = clusters.iter().position(|known| known.upstreams == hosts).unwrap_or_else(|| {
            clusters.push(Servers { name: String::new(), upstreams: hosts, entry: entry.clone() });
            clusters.len() - 1
        });
        Some(Named { entry: entry.clone(), cluster, keys: once, left, balanced })
    }

    fn value(&self, name: &str, value: &str, form: Form, size: Option<&str>) -> Result<Option<String>, String> {
        let size = || size.and_then(|size| number(size).ok()).filter(|size| *size >= 0).unwrap_or(self.size).max(1);
        Ok(match name {
            // Below 0: as elsewhere.
            "pool_size" | "min_pool_size" | "reserve_pool_size" if number(value)? < 0 => None,
            "pool_size" => Some(number(value)?.max(1).to_string()),
            "min_pool_size" => Some(number(value)?.min(size()).to_string()),
            _ => match literal(value, form, self.folder)? {
                zero if name == "server_lifetime" && zero == "0" => Some(super::general::USED_ONCE.to_owned()),
                literal => Some(literal),
            },
        })
    }

    /// The servers of a host list, each once.
    fn upstreams(&self, host: Option<&str>, port: i64) -> Result<Vec<String>, String> {
        let Some(host) = host else {
            let usual = || Path::new("/var/run/postgresql");
            let folder = match &self.socket_folder {
                Some(folder) => folder.clone(),
                None if usual().is_dir() => usual().to_owned(),
                None => "/tmp".into(),
            };
            return Ok(vec![format!("unix:{}:{port}", folder.display())]);
        };
        let mut all: Vec<String> = Vec::new();
        for one in host.split(',').map(str::trim).filter(|one| !one.is_empty()) {
            let upstream = match one {
                folder if folder.starts_with('/') => format!("unix:{folder}:{port}"),
                "" => continue,
                hidden if hidden.starts_with('@') => {
                    return Err("a socket in Linux's abstract namespace cannot be a server: name its folder".to_owned());
                }
                ip if ip.contains(':') && !ip.starts_with('[') => format!("[{ip}]:{port}"),
                name => format!("{name}:{port}"),
            };
            if !all.contains(&upstream) {
                all.push(upstream);
            }
        }
        if all.is_empty() { Err("host names no server".to_owned()) } else { Ok(all) }
    }

    /// Writes the clusters; `more` are keys that hold for each of them.
    pub(super) fn write_clusters(&mut self, clusters: &[Servers], more: &[(Entry, String)]) {
        for cluster in clusters {
            self.out.table("clusters", &cluster.name, Some(&cluster.entry));
            let upstreams = list(cluster.upstreams.iter().map(String::as_str));
            self.out.key("upstreams", &upstreams, Some(&cluster.entry));
            for (entry, literal) in more {
                self.out.same(&entry.key, literal, entry);
            }
            if !more.iter().any(|(entry, _)| entry.key == "monitor_user") {
                self.out.comment(
                    "PgBouncer has no role that watches servers: they are watched through a role that pools use.",
                );
                self.out.comment(
                    "A role with pg_monitor sees more (MAINTENANCE CHECK says what): monitor_user, monitor_password.",
                );
            }
        }
    }

    /// Writes the databases.
    pub(super) fn write_databases(&mut self, clusters: &[Servers], databases: &[Named]) {
        for Named { entry, cluster, keys, left, balanced } in databases {
            self.out.table("databases", &entry.key, Some(entry));
            if let Some(cluster) = clusters.get(*cluster) {
                self.out.key("cluster", &text(&cluster.name), Some(entry));
            }
            for (name, literal) in keys {
                self.out.key(name, literal, Some(entry));
            }
            if *balanced {
                self.out.comment("load_balance_hosts: reads go to any server, writes to the one that takes them.");
                self.out.key("reads", "\"prefer_replica\"", Some(entry));
            }
            for (key, why) in left {
                self.out.comment(&format!("not taken: {key}: {why}"));
                self.warn(entry, format!("{} is not taken: {why}", one_line(key)));
                self.account(
                    &Entry { key: format!("{}.{key}", entry.key), ..entry.clone() },
                    format!("not taken: {why}"),
                );
            }
        }
    }
}

/// `main` if it is the only one, else the first server of each.
fn name_clusters(clusters: &mut [Servers]) {
    let count = clusters.len();
    let mut taken: Vec<String> = Vec::new();
    for cluster in clusters {
        let first = cluster.upstreams.first().map_or("", String::as_str);
        let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' };
        let name: String = first.chars().map(plain).collect::<String>().trim_matches('-').chars().take(50).collect();
        let name = if count == 1 { "main".to_owned() } else { name };
        let free = (1..).map(|n| if n == 1 { name.clone() } else { format!("{name}-{n}") });
        let name = free.into_iter().find(|name| !taken.contains(name)).unwrap_or_default();
        taken.push(name.clone());
        cluster.name = name;
    }
}
