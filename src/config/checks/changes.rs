//! What a reload changes.

use std::collections::BTreeMap;

use crate::config::Config;
use crate::config::file::section::Settings;
use crate::config::keys::entries::rows_of;
use crate::config::keys::fleet::Fleet;
use crate::config::keys::tables::{Http, Maintenance, Metrics, Refusals};

/// The difference between two configurations.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Changes {
    /// Keys at the top of the file and in `[maintenance]`, `[http]`, `[metrics]`, `[refusals]` and `[fleet]`.
    pub keys: Vec<KeyChange>,
    /// A cluster is changed when anything that holds for it is.
    pub clusters: NamesChanged,
    /// A database is changed when anything that holds for it is, wherever it is written.
    pub databases: NamesChanged,
    /// Users.
    pub users: NamesChanged,
}

/// One key whose value is another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyChange {
    /// The dotted path.
    pub key: String,
    /// The value before.
    pub old: String,
    /// The value now.
    pub new: String,
    /// Whether it takes effect only with a restart.
    pub restart: bool,
}

/// What came, went, or is different, by name and in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamesChanged {
    /// Only in the new configuration.
    pub added: Vec<String>,
    /// Only in the old one.
    pub removed: Vec<String>,
    /// In both, and different.
    pub changed: Vec<String>,
}

impl NamesChanged {
    fn between<T: PartialEq>(old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> Self {
        let without = |a: &BTreeMap<String, T>, b: &BTreeMap<String, T>| {
            a.keys().filter(|name| !b.contains_key(*name)).cloned().collect()
        };
        let differs =
            |(name, now): (&String, &T)| old.get(name).is_some_and(|before| before != now).then(|| name.clone());
        Self { added: without(new, old), removed: without(old, new), changed: new.iter().filter_map(differs).collect() }
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

impl Changes {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.clusters.is_empty() && self.databases.is_empty() && self.users.is_empty()
    }

    /// The keys that take effect only with a restart.
    pub fn need_restart(&self) -> impl Iterator<Item = &KeyChange> {
        self.keys.iter().filter(|change| change.restart)
    }
}

impl Config {
    /// What is different in this configuration from the `old` one. The contents of the files that it names are not
    /// compared.
    pub fn diff(&self, old: &Self) -> Changes {
        let rows = |config: &Self| {
            let mut rows = config.general_entries();
            rows.extend(rows_of("maintenance", &config.maintenance, &Maintenance::default()));
            rows.extend(rows_of("http", &config.http, &Http::default()));
            rows.extend(rows_of("metrics", &config.metrics, &Metrics::default()));
            rows.extend(rows_of("refusals", &config.refusals, &Refusals::default()));
            rows.extend(rows_of("fleet", &config.fleet, &Fleet::default()));
            rows
        };
        let webhooks = (old.webhooks != self.webhooks).then(|| {
            let of = |config: &Self| config.webhooks.iter().map(|one| one.url.shown()).collect::<Vec<_>>().join(", ");
            KeyChange { key: "webhook".to_owned(), old: of(old), new: of(self), restart: false }
        });
        let changed = rows(old).into_iter().zip(rows(self)).filter(|(before, now)| before.value != now.value).map(
            |(before, now)| KeyChange { key: now.key, old: before.value, new: now.value, restart: !now.changeable },
        );
        Changes {
            keys: changed.chain(webhooks).collect(),
            clusters: NamesChanged::between(&old.clusters, &self.clusters),
            databases: NamesChanged::between(&old.databases, &self.databases),
            users: NamesChanged::between(&old.users, &self.users),
        }
    }

    /// This one, with what another says of one database and of the cluster that it is on.
    pub fn with_database_of(&self, other: &Self, name: &str) -> Self {
        let mut config = self.clone();
        let key = if other.databases.contains_key(name) || self.databases.contains_key(name) { name } else { "*" };
        match other.databases.get(key) {
            Some(database) => {
                if let Some(cluster) = other.clusters.get(&database.cluster) {
                    config.clusters.insert(database.cluster.clone(), cluster.clone());
                }
                config.databases.insert(key.to_owned(), database.clone());
            }
            None => _ = config.databases.remove(key),
        }
        config
    }

    /// At a reload: takes the values that only a restart changes from the `running` configuration, so that what
    /// SHOW CONFIG says is what holds. Ask [`Config::diff`] before, to tell the operator.
    pub fn keep_fixed(&mut self, running: &Self) {
        self.fleet.keep_fixed(&running.fleet);
        self.http.keep_fixed(&running.http);
        self.listen.keep_fixed(&running.listen);
        self.process.keep_fixed(&running.process);
        self.auth.keep_fixed(&running.auth);
        self.pooling.keep_fixed(&running.pooling);
        self.timeouts.keep_fixed(&running.timeouts);
        self.memory.keep_fixed(&running.memory);
        self.client_tls.keep_fixed(&running.client_tls);
        self.server_tls.keep_fixed(&running.server_tls);
        self.log.keep_fixed(&running.log);
        self.startup.keep_fixed(&running.startup);
    }
}
