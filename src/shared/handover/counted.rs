//! What a process has counted, for the one that takes over from it: counters and the lists of a maintenance go on there.
//!
//! It is told once, when the former process has served its last client: until then each of the two shows its own part.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;

use serde::{Deserialize, Serialize};

use crate::gate::Epoch;
use crate::shared::ProxyState;
use crate::shared::maintenance::refusal_counters::Layers;
use crate::shared::stats::Counted as CountedStats;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counted {
    /// Of each database.
    pub databases: BTreeMap<String, CountedDatabase>,
    /// What has kept writes out, by the words of SHOW STATE.
    pub layers: BTreeMap<String, u64>,
    /// Log-ins that were refused.
    pub failed_logins: u64,
    /// Those of them that max_client_conn has refused.
    pub too_many_clients: u64,
}

/// Of one database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CountedDatabase {
    /// As SHOW STATS has it.
    pub stats: CountedStats,
    /// What its gate has kept out.
    pub kept_out: CountedKeptOut,
    /// What a rehearsal has found.
    pub rehearsal: Vec<CountedStatement>,
}

/// What a gate has kept out in one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CountedKeptOut {
    /// Which.
    pub epoch: Epoch,
    /// Each write, and its fate.
    pub writes: Vec<(String, CountedStatement)>,
    /// Errors of other kinds, by SQLSTATE.
    pub errors: BTreeMap<String, u64>,
    /// Clients whose connection was ended.
    pub dropped: u64,
}

/// How often somebody has sent a statement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CountedStatement {
    /// The role.
    pub user: String,
    /// As the client had set it.
    pub application_name: String,
    /// PostgreSQL's tag, where it is known.
    pub tag: String,
    /// The statement without its constants; None for those that found no room.
    pub statement: Option<String>,
    /// How often.
    pub count: u64,
    /// For the first and the last time (microseconds of Unix time).
    pub times: (i64, i64),
}

impl ProxyState {
    /// What was counted here, and what this process was given when it began.
    pub fn counted(&self) -> Counted {
        let databases = self.databases.all().into_iter().map(|database| {
            let counted = CountedDatabase {
                stats: database.stats.counted(),
                kept_out: database.kept_out.counted(),
                rehearsal: database.rehearsal.counted(),
            };
            (database.name.to_string(), counted)
        });
        let layers = Layers::WORDS.iter().map(|(layer, word)| ((*word).to_owned(), self.layers.get(*layer)));
        Counted {
            databases: databases.collect(),
            layers: layers.collect(),
            failed_logins: self.stats.failed_logins.load(SeqCst),
            too_many_clients: self.stats.too_many_clients.load(SeqCst),
        }
    }

    /// What the process before this one has counted goes with what was counted here.
    pub fn take_counted(&self, counted: &Counted) {
        let Counted { databases, layers, failed_logins, too_many_clients } = counted;
        for (name, counted) in databases {
            let Some(database) = self.databases.get(name) else { continue };
            let CountedDatabase { stats, kept_out, rehearsal } = counted;
            database.stats.take_counted(stats);
            database.kept_out.take_counted(kept_out);
            database.rehearsal.take_counted(rehearsal);
        }
        for (layer, word) in Layers::WORDS {
            self.layers.count_many(layer, layers.get(word).copied().unwrap_or(0));
        }
        self.stats.failed_logins.fetch_add(*failed_logins, SeqCst);
        self.stats.too_many_clients.fetch_add(*too_many_clients, SeqCst);
    }
}
