//! The two sides of a migration: a database of one cluster each, and connections to its primary.

use std::sync::Arc;
use std::time::Duration;

use crate::gate::ServerDatabase;
use crate::proxy::moving::switchover::Servers;
use crate::proxy::moving::talk::Talk;
use crate::proxy::setup::move_login;
use crate::shared::ProxyState;
use crate::topology::Cluster;

/// How long a server may take for an answer that is not that of a moment.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Side {
    pub(super) place: ServerDatabase,
    pub(super) cluster: Arc<Cluster>,
    /// The primary's number.
    pub(super) at: usize,
    /// In the database, as a session that may write even where the database is read-only by default.
    pub(super) talk: Talk,
    /// In the database, as any session that begins now.
    pub(super) plain: Talk,
    /// How a server of the other side reaches it.
    pub(super) conninfo: String,
}

impl Side {
    /// On that server, else on the cluster's primary. Fails if the cluster has none now, or no role could log in.
    pub(super) fn of(proxy: &Arc<ProxyState>, place: &ServerDatabase, server: Option<&str>) -> Result<Self, String> {
        let Some((cluster, _)) = proxy.databases.cluster(&place.cluster) else {
            return Err(format!("the configuration has no cluster \"{}\"", place.cluster));
        };
        let Some(at) = server.and_then(|server| cluster.find_server(server)).or_else(|| cluster.primary()) else {
            let why = if cluster.is_contested() { "several servers claim to be it" } else { "none is known" };
            return Err(format!("cluster \"{}\" has no primary now: {why}", place.cluster));
        };
        let talk = |writes| Talk::in_database(proxy, &cluster, at, &place.dbname, writes);
        let (Some(own), Some(plain)) = (talk(true), talk(false)) else {
            return Err(format!("no role is configured that could log in to cluster \"{}\"", place.cluster));
        };
        let conninfo = conninfo(proxy, &cluster, at, place);
        Ok(Self { place: place.clone(), cluster, at, talk: own, plain, conninfo })
    }

    /// The server, as SHOW UPSTREAMS names it.
    pub(super) fn server(&self) -> String {
        self.cluster.upstreams.get(self.at).map(|one| one.address.to_string()).unwrap_or_default()
    }

    /// Its version, as `server_version_num`.
    pub(super) fn version(&self) -> u64 {
        self.cluster.upstreams.get(self.at).map_or(0, |one| one.version())
    }

    /// For what is asked of the server itself.
    pub(super) fn servers(&self) -> Servers {
        Servers { cluster: self.cluster.clone(), from: self.at, to: self.at }
    }

    /// What was asked last may not have been answered.
    pub(super) fn hang_up(&mut self) {
        self.talk.hang_up();
        self.plain.hang_up();
    }
}

/// `'…'` as libpq reads it.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A connection string of libpq's: what pgsluice itself uses, and then what the configuration says of it.
fn conninfo(proxy: &Arc<ProxyState>, cluster: &Cluster, at: usize, place: &ServerDatabase) -> String {
    let setup = proxy.setup.load();
    let Some(config) = setup.config.clusters.get(&cluster.name) else { return String::new() };
    let Some((_, tls)) = proxy.databases.cluster(&cluster.name) else { return String::new() };
    let Some(login) = move_login(&setup, cluster, tls, at) else { return String::new() };
    let mut words = vec![
        format!("host={}", quoted(&login.address.host_words())),
        format!("port={}", login.address.port()),
        format!("user={}", quoted(&login.user)),
        format!("dbname={}", quoted(&place.dbname)),
    ];
    let own = if config.switchover_user.is_empty() { &config.monitor_password } else { &config.switchover_password };
    if !own.is_empty() {
        words.push(format!("password={}", quoted(own.expose())));
    }
    let more = config.replication_conninfo.expose().trim();
    if !more.is_empty() {
        words.push(more.to_owned());
    }
    words.join(" ")
}

/// The names of a migration's publications, subscriptions and slots, the same after a restart: there, and back.
pub(super) fn names(old: &ServerDatabase, new: &ServerDatabase) -> (String, String) {
    // FNV-1a: what a file of the servers keeps has to be the same in the next version of pgsluice.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for word in [&old.cluster, &old.dbname, &new.cluster, &new.dbname] {
        for byte in word.bytes().chain([0]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    let plain = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' };
    let word: String = old.dbname.to_ascii_lowercase().chars().map(plain).take(30).collect();
    let base = format!("pgsluice_{word}_{:08x}", hash & 0xffff_ffff);
    (format!("{base}_to"), format!("{base}_back"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_slots_names_and_differ_where_the_databases_do() {
        let place = |cluster: &str, dbname: &str| ServerDatabase { cluster: cluster.into(), dbname: dbname.into() };
        let (there, back) = names(&place("blue", "Größe und mehr, sehr lang, wirklich lang"), &place("green", "x"));
        for name in [&there, &back] {
            assert!(name.len() < 64 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'));
        }
        assert_ne!(there, names(&place("blue", "größe und mehr, sehr lang, wirklich lang"), &place("green", "x")).0);
        assert_eq!(names(&place("a", "app"), &place("b", "app")), names(&place("a", "app"), &place("b", "app")));
    }

    #[test]
    fn values_of_a_connection_string_are_quoted() {
        assert_eq!(quoted(r"it's a \ word"), r"'it\'s a \\ word'");
    }
}
