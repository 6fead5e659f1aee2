//! The configuration as rows of SHOW CONFIG.

use std::collections::HashSet;

use super::fleet::Fleet;
use super::setting::Key;
use super::tables::{Cluster, Database, Http, Metrics, Peer, Refusals, User};
use super::webhook::Webhook;
use crate::config::file::reader::join;
use crate::config::file::section::{Section, Shown};
use crate::config::{
    Auth, ClientTls, Config, Listen, Log, Maintenance, Memory, Pooling, Process, ServerTls, Startup, Timeouts,
};

/// One row of SHOW CONFIG, with PgBouncer's columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The dotted path of the key.
    pub key: String,
    /// The value that holds; passwords are asterisks.
    pub value: String,
    /// What would hold if the key were not written.
    pub default: String,
    /// Whether RELOAD changes it; else it needs a restart.
    pub changeable: bool,
}

/// One row of SHOW CONFIG NOTES: what has become of a key of a pgbouncer.ini that is not taken as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigNote {
    /// The key as it stands in the file, after its section where that is not the main one.
    pub key: String,
    /// What is written, without passwords.
    pub value: String,
    /// What pgsluice makes of it.
    pub note: String,
}

impl ConfigNote {
    fn as_entry(&self) -> ConfigEntry {
        ConfigEntry { key: self.key.clone(), value: self.value.clone(), default: String::new(), changeable: false }
    }
}

impl Config {
    /// Every key with the value that holds: those at the top of the file first, then table by table. Keys that only a pgbouncer.ini
    /// has come last.
    pub fn entries(&self) -> Vec<ConfigEntry> {
        let mut rows = self.general_entries();
        rows.extend(rows_of("maintenance", &self.maintenance, &Maintenance::default()));
        rows.extend(rows_of("http", &self.http, &Http::default()));
        rows.extend(rows_of("metrics", &self.metrics, &Metrics::default()));
        rows.extend(rows_of("refusals", &self.refusals, &Refusals::default()));
        rows.extend(rows_of("fleet", &self.fleet, &Fleet::default()));
        for (at, webhook) in self.webhooks.iter().enumerate() {
            rows.extend(rows_of(&format!("webhook.{}", at + 1), webhook, &Webhook::default()));
        }
        for (name, cluster) in &self.clusters {
            let path = join("clusters", name);
            rows.extend(rows_of(&path, cluster, &Cluster::default()));
            rows.extend(rows_of(&path, &cluster.server_tls, &self.server_tls));
        }
        for (name, database) in &self.databases {
            let path = join("databases", name);
            let base = Database::inherited(name, &self.pooling, &self.timeouts, &self.maintenance);
            rows.extend(rows_of(&path, database, &base));
            let path = join(&path, "maintenance");
            rows.extend(rows_of(&path, &database.maintenance, &self.maintenance));
        }
        for (name, user) in &self.users {
            rows.extend(rows_of(&join("users", name), user, &User::default()));
        }
        for (number, peer) in &self.peers {
            rows.extend(rows_of(&join("peers", &number.to_string()), peer, &Peer::default()));
        }
        let known: HashSet<&str> = rows.iter().map(|row| row.key.as_str()).collect();
        let foreign = self.notes.iter().filter(|note| !known.contains(note.key.as_str()));
        let foreign: Vec<_> = foreign.map(ConfigNote::as_entry).collect();
        rows.extend(foreign);
        rows
    }

    /// The keys at the top of the file.
    pub(crate) fn general_entries(&self) -> Vec<ConfigEntry> {
        let defaults = Self::empty();
        let pairs = self.sections().into_iter().zip(defaults.sections());
        pairs.flat_map(|(now, default)| rows_of("", now, default)).collect()
    }

    /// The sections at the top of the file, in the order of the documentation.
    pub(crate) fn sections(&self) -> [&dyn Section; 10] {
        [
            &self.listen,
            &self.process,
            &self.auth,
            &self.pooling,
            &self.timeouts,
            &self.memory,
            &self.client_tls,
            &self.server_tls,
            &self.log,
            &self.startup,
        ]
    }

    /// The table of keys at the top of the file.
    pub(crate) fn general_keys() -> impl Iterator<Item = &'static Key> {
        [
            Listen::KEYS,
            Process::KEYS,
            Auth::KEYS,
            Pooling::KEYS,
            Timeouts::KEYS,
            Memory::KEYS,
            ClientTls::KEYS,
            ServerTls::KEYS,
            Log::KEYS,
            Startup::KEYS,
        ]
        .into_iter()
        .flatten()
    }
}

pub(crate) fn rows_of(path: &str, now: &dyn Section, default: &dyn Section) -> Vec<ConfigEntry> {
    let row = |(now, default): (Shown, Shown)| ConfigEntry {
        key: join(path, now.key.name),
        value: now.plain,
        default: default.plain,
        changeable: !now.key.restart,
    };
    now.shown().into_iter().zip(default.shown()).map(row).collect()
}
