//! Who asks where.

use std::sync::Arc;
use std::time::Duration;

use crate::auth::{Credential, Decoy, Secret};
use crate::net::TcpOptions;
use crate::server::login::{Fresh, Login, LoginError};
use crate::server::pool::{LogIns, LoginBar};
use crate::shared::ProxyState;
use crate::shared::sockets::server_tcp_options;
use crate::tls::ServerTls;
use crate::topology::{Cluster, Leader, Role};

/// The application_name of these connections.
const APPLICATION: &str = "pgsluice auth_query";

/// What makes one place different from another.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    cluster: String,
    dbname: String,
    user: String,
    query: String,
}

/// A database on a cluster, and who asks there.
pub(super) struct Place {
    pub(super) key: Key,
    cluster: Arc<Cluster>,
    tls: Arc<ServerTls>,
    tcp: TcpOptions,
    credential: Credential,
    bar: Option<Arc<LoginBar>>,
    /// How long connecting, and then each question, may take.
    pub(super) timeout: Duration,
    /// How long an answer serves others.
    pub(super) cache_time: Duration,
    pub(super) decoy: Decoy,
}

impl Place {
    pub(super) fn of_auth_query(proxy: &ProxyState, database: &str) -> Option<Self> {
        let setup = proxy.setup.load();
        let asked = setup.config.auth_query(database)?;
        let credential = setup.userlist.get(asked.user).map_or(Credential::None, Secret::credential);
        let key = Key {
            cluster: asked.cluster.to_owned(),
            dbname: asked.dbname,
            user: asked.user.to_owned(),
            query: asked.query.to_owned(),
        };
        // Not brought into being for it: nobody has been let in yet.
        let bar = proxy.databases.known(&asked.database).map(|database| database.log_ins.clone());
        Self::new(proxy, key, credential, bar)
    }

    /// Who may ask for secrets may ask for roles; else the monitor does.
    pub(super) fn of_roles(proxy: &ProxyState, database: &str) -> Option<Self> {
        if let Some(place) = Self::of_auth_query(proxy, database) {
            return Some(place);
        }
        let setup = proxy.setup.load();
        let config = &setup.config;
        let only = || config.clusters.keys().next().filter(|_| config.clusters.len() == 1);
        let name = config.database(database).map(|database| &database.cluster).or_else(only)?;
        let cluster = config.clusters.get(name).filter(|cluster| !cluster.monitor_user.is_empty())?;
        let credential = if cluster.monitor_password.is_empty() {
            setup.userlist.get(&cluster.monitor_user).map_or(Credential::None, Secret::credential)
        } else {
            Credential::password(cluster.monitor_password.expose())
        };
        let key = Key {
            cluster: name.clone(),
            dbname: cluster.monitor_database.clone(),
            user: cluster.monitor_user.clone(),
            query: String::new(),
        };
        Self::new(proxy, key, credential, None)
    }

    fn new(proxy: &ProxyState, key: Key, credential: Credential, bar: Option<Arc<LoginBar>>) -> Option<Self> {
        let setup = proxy.setup.load();
        let (cluster, tls) = proxy.databases.cluster(&key.cluster)?;
        Some(Self {
            key,
            cluster,
            tls,
            tcp: server_tcp_options(&setup.config.listen),
            credential,
            bar,
            timeout: setup.config.timeouts.server_connect_timeout,
            cache_time: setup.config.auth.auth_query_cache_time.get().unwrap_or_default(),
            decoy: proxy.decoy.clone(),
        })
    }

    pub(super) fn query(&self) -> &str {
        &self.key.query
    }

    /// For the log.
    pub(super) fn words(&self) -> (&str, &str) {
        (&self.key.dbname, &self.key.user)
    }

    /// Servers in the order in which they are asked: the primary knows what was changed last.
    fn servers(&self) -> Vec<usize> {
        let leader = match self.cluster.leader() {
            Leader::One(at) | Leader::Contested(at) => Some(at),
            Leader::None => None,
        };
        let rank = |at: &usize| match self.cluster.upstreams.get(*at).map(|upstream| upstream.role()) {
            _ if leader == Some(*at) => 0,
            Some(Role::Primary | Role::Replica) => 1,
            Some(Role::Unknown) => 2,
            Some(Role::Down) | None => 3,
        };
        let mut servers: Vec<usize> = (0..self.cluster.upstreams.len()).collect();
        servers.sort_by_key(rank);
        servers
    }

    /// Whether the server with that number is the one to ask now.
    pub(super) fn is_first(&self, at: usize) -> bool {
        self.servers().first() == Some(&at)
    }

    /// A connection on which nothing can be written, to the first server that lets us in; and which one that is.
    pub(super) async fn connect(&self) -> Result<(usize, Fresh), LoginError> {
        let mut first = None;
        for at in self.servers() {
            let Some(upstream) = self.cluster.upstreams.get(at) else { continue };
            let mut more = vec![("default_transaction_read_only", "on"), ("application_name", APPLICATION)];
            let bar = self.bar.as_ref().filter(|bar| bar.is_up() && upstream.role() != Role::Replica);
            match bar.map(|bar| bar.of(&self.key.user)) {
                None | Some(LogIns::Free) => {}
                Some(LogIns::WithoutTriggers) => more.push(("event_triggers", "off")),
                Some(LogIns::Barred) => {
                    first.get_or_insert(LoginError::Barred);
                    continue;
                }
            }
            let login = Login {
                address: upstream.address.clone(),
                tcp: self.tcp,
                tls: self.tls.clone(),
                user: self.key.user.as_str().into(),
                credential: self.credential.clone().into(),
                dbname: self.key.dbname.clone(),
                parameters: Vec::new(),
                timeout: self.timeout,
                own: upstream.own_processes(),
            };
            match login.run(&more).await {
                Ok(fresh) => return Ok((at, fresh)),
                Err(error) => _ = first.get_or_insert(error),
            }
        }
        Err(first.unwrap_or_else(|| LoginError::Io(std::io::ErrorKind::NotConnected.into())))
    }
}
