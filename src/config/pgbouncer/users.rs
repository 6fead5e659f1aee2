//! `[users]`, `[peers]`, and `[pgsluice]`: keys of our own that somebody adds to a pgbouncer.ini.

use std::path::{Path, PathBuf};

use super::Translation;
use super::emit::text;
use super::ini::{Entry, pairs};
use super::values::{Form, literal, number};
use crate::config::checks::nearest::nearest;
use crate::config::{Cluster, Peer, User};

const PARAMETERS: &[(&str, Form)] = &[
    ("pool_mode", Form::Word),
    ("pool_size", Form::Count),
    ("reserve_pool_size", Form::Count),
    ("max_user_connections", Form::Count),
    ("max_user_client_connections", Form::Count),
    ("query_timeout", Form::Seconds),
    ("query_wait_timeout", Form::Seconds),
    ("idle_transaction_timeout", Form::Seconds),
    ("transaction_timeout", Form::Seconds),
    ("client_idle_timeout", Form::Seconds),
];

/// Each entry of which no later one has the same key.
fn last(entries: &[Entry]) -> impl Iterator<Item = &Entry> {
    entries.iter().enumerate().filter_map(|(at, entry)| {
        let rest = entries.get(at + 1..).unwrap_or_default();
        rest.iter().all(|other| other.key != entry.key).then_some(entry)
    })
}

impl Translation<'_> {
    /// Writes all tables; what `[pgsluice]` says at the top of the file goes before them.
    pub(super) fn tables(&mut self, own: &[Entry], databases: &[Entry], users: &[Entry], peers: &[Entry]) {
        let mut of_clusters = Vec::new();
        for entry in last(own) {
            let literal = toml_literal(&entry.value);
            if Cluster::KEYS.iter().any(|key| key.name == entry.key) {
                of_clusters.push((entry.clone(), literal));
            } else {
                self.out.same(&entry.key, &literal, entry);
            }
        }
        if !own.iter().any(|entry| entry.key == "state_file") {
            self.state_file();
        }
        let (clusters, databases) = self.read_databases(databases);
        self.write_clusters(&clusters, &of_clusters);
        self.write_databases(&clusters, &databases);
        for entry in last(users) {
            self.out.table("users", &entry.key, Some(entry));
            self.pairs(entry, |this, key, value| this.user(entry, key, value));
        }
        for entry in last(peers) {
            if number(&entry.key).is_err() {
                self.error(entry, "a peer is named by its peer_id, a number");
                continue;
            }
            self.out.table("peers", &entry.key, Some(entry));
            self.pairs(entry, |this, key, value| this.peer(entry, key, value));
        }
    }

    fn pairs(&mut self, entry: &Entry, mut each: impl FnMut(&mut Self, &str, &str)) {
        match pairs(&entry.value) {
            Ok(pairs) => {
                let once = pairs.iter().enumerate().filter(|(at, (key, _))| {
                    pairs.get(at + 1..).unwrap_or_default().iter().all(|(other, _)| other != key)
                });
                for (_, (key, value)) in once {
                    each(self, key, value);
                }
            }
            Err(why) => self.error(entry, why),
        }
    }

    fn user(&mut self, entry: &Entry, key: &str, value: &str) {
        let Some((_, form)) = PARAMETERS.iter().find(|(known, _)| *known == key) else {
            let near = nearest(key, PARAMETERS.iter().map(|(known, _)| *known));
            let hint = near.map_or_else(String::new, |known| format!("; did you mean \"{known}\"?"));
            self.error(entry, format!("unrecognized user parameter {}{hint}", text(key)));
            return;
        };
        if !User::KEYS.iter().any(|known| known.name == key) {
            self.warn(entry, format!("{key} is not taken: pgsluice does not have it for a single user"));
            return;
        }
        match literal(value, *form, self.folder) {
            // Below 0: as elsewhere.
            Ok(_) if *form == Form::Count && number(value).is_ok_and(|number| number < 0) => {}
            Ok(literal) if key == "pool_size" && literal == "0" => self.out.key(key, "1", Some(entry)),
            Ok(literal) => self.out.key(key, &literal, Some(entry)),
            Err(why) => self.error(entry, format!("{key} {why}")),
        }
    }

    fn peer(&mut self, entry: &Entry, key: &str, value: &str) {
        match key {
            "host" => self.out.key("host", &text(value), Some(entry)),
            "port" | "pool_size" if number(value).is_err() => {
                self.error(entry, format!("{key} must be a whole number"))
            }
            known if Peer::KEYS.iter().any(|key| key.name == known) => self.out.key(known, value, Some(entry)),
            "pool_size" => self.out.comment("pool_size: a connection is made for each cancel request"),
            _ => self.error(entry, format!("unrecognized peer parameter {}", text(key))),
        }
    }

    /// PgBouncer keeps no state, and a gate that was closed is to stay closed over a restart: in the place for it that there
    /// is, with the port in its name where it is not the usual one.
    fn state_file(&mut self) {
        let name = if self.port == 6432 { "state.json".to_owned() } else { format!("state-{}.json", self.port) };
        let given = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
        let folders = [given, Some("/var/lib/pgsluice".into()), Some(self.folder.to_owned())];
        let absolute =
            |folder: PathBuf| std::path::absolute(if folder.as_os_str().is_empty() { Path::new(".") } else { &folder });
        let place = folders
            .into_iter()
            .flatten()
            .filter_map(|folder| absolute(folder).ok())
            .map(|folder| folder.join(&name))
            .find(|path| path.parent().is_some_and(Path::is_dir) && crate::gate::try_to_write_beside(path).is_ok());
        match place {
            Some(path) => {
                self.out.comment("Where modes are kept over a restart; PgBouncer has no such thing.");
                self.out.key("state_file", &text(&path.display().to_string()), None);
            }
            None => {
                self.out
                    .comment("No folder for it can be written to (/var/lib/pgsluice): a restart opens a closed gate.");
                self.out.key("state_file", "\"\"", None);
            }
        }
    }
}

/// A value of our own: TOML as it is, else a text.
fn toml_literal(value: &str) -> String {
    let line = format!("x = {value}");
    if !value.is_empty() && toml::de::DeTable::parse(&line).is_ok_and(|table| table.get_ref().len() == 1) {
        value.to_owned()
    } else {
        text(value)
    }
}
