//! Which database of which cluster a name stands for: that is what a gate belongs to, whatever clients call it.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A database of a cluster's servers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServerDatabase {
    /// The cluster's name in the configuration; empty where only a name is known.
    pub cluster: String,
    /// The database's name on the servers.
    pub dbname: String,
}

impl ServerDatabase {
    /// A database of which only the clients' name is known, as in a state file of version 1.
    pub fn named(name: &str) -> ServerDatabase {
        ServerDatabase { cluster: String::new(), dbname: name.to_owned() }
    }
}

/// What a person calls it on the console when no name of the configuration leads to it.
impl fmt::Display for ServerDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.cluster.is_empty() { f.write_str(&self.dbname) } else { write!(f, "{}.{}", self.cluster, self.dbname) }
    }
}

/// A database as clients name it, and what that stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDatabase {
    /// The clients' name.
    pub name: String,
    /// What it stands for.
    pub database: ServerDatabase,
    /// As long as nobody has given a command for it, it is offline.
    pub starts_offline: bool,
}

impl From<&NamedDatabase> for NamedDatabase {
    fn from(database: &NamedDatabase) -> NamedDatabase {
        database.clone()
    }
}

impl From<&String> for NamedDatabase {
    fn from(name: &String) -> NamedDatabase {
        NamedDatabase { name: name.clone(), database: ServerDatabase::named(name), starts_offline: false }
    }
}
