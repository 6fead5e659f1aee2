//! One connection to each upstream that asks it, again and again, what it is and how far it has come.

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::cluster::Cluster;
use super::roles;
use super::server::{Instance, Look, Role};
use crate::auth::Credential;
use crate::gate::Lsn;
use crate::server::login::{Fresh, Login, LoginError};
use crate::sql::own_statements::servers::{IDENTITY, LOOK, STARTED};

/// Between two looks while no primary is known: whoever waits for one waits no longer than that.
const QUICK: Duration = Duration::from_millis(100);
/// For how long it is looked so often.
const QUICK_FOR: Duration = Duration::from_secs(60);
/// And then, at most: whoever waits is to be served soon, however long it has been.
const UNHURRIED: Duration = Duration::from_secs(1);

/// Who has to know at once that a server is not what it was.
pub trait Follower: Send + Sync {
    /// A server of the cluster is about to be known as a primary: it may be another cluster's too.
    fn identified<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
    /// The role of upstream number `at`, or the choice of a primary, has changed.
    fn turned<'a>(&'a self, cluster: &'a Arc<Cluster>, at: usize) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// What to log in as, the most promising first. None while there is nobody to watch as.
pub type Logins = Box<dyn Fn() -> Vec<Login> + Send + Sync>;

/// The ways to log in to an upstream, and which of them have failed since one was found.
struct Ways {
    logins: Logins,
    current: Option<Login>,
    tried: Vec<(Arc<str>, String, Credential)>,
}

impl Ways {
    fn new(logins: Logins) -> Self {
        Self { logins, current: None, tried: Vec::new() }
    }

    fn current(&mut self) -> Option<&Login> {
        if self.current.is_none() {
            self.current = self.untried();
        }
        self.current.as_ref()
    }

    /// The first that has not failed: somebody may have brought another one meanwhile.
    fn untried(&self) -> Option<Login> {
        let has_failed = |login: &Login| {
            let same = |(user, dbname, credential): &(Arc<str>, String, Credential)| {
                *user == login.user && *dbname == login.dbname && credential.is_same(&login.credential.get())
            };
            self.tried.iter().any(same)
        };
        (self.logins)().into_iter().find(|login| !has_failed(login))
    }

    /// That one is not let in: the next one is tried. False: there is none.
    fn next(&mut self) -> bool {
        if let Some(login) = self.current.take() {
            self.tried.push((login.user.clone(), login.dbname.clone(), login.credential.get()));
        }
        self.current = self.untried();
        self.current.is_some()
    }

    /// All of them are tried again.
    fn again(&mut self) {
        self.current = None;
        self.tried.clear();
    }
}

/// Watches upstream number `at` of a cluster; never ends by itself.
pub async fn watch(cluster: Arc<Cluster>, at: usize, logins: Logins, interval: Duration, follower: Arc<dyn Follower>) {
    let Some(upstream) = cluster.upstreams.get(at) else { return };
    let mut connection: Option<Watched> = None;
    let mut alone_since: Option<Instant> = None;
    let mut ways = Ways::new(logins);
    loop {
        let Some(login) = ways.current() else {
            // Whoever comes first brings one.
            cluster.roles.want(true);
            let _ = timeout(UNHURRIED, upstream.watch.hurried()).await;
            continue;
        };
        let anew = connection.is_none();
        let number = upstream.begin_look();
        let looked = look_twice(&mut connection, login, number).await;
        tracing::debug!(
            event = "monitor_look", cluster = %cluster.name, upstream = %upstream.address, number,
            role = looked.as_ref().ok().map(|look| look.role.word()), lsn = looked.as_ref().ok().map(|look| look.lsn.to_string()),
            error = looked.as_ref().err().map(ToString::to_string), "monitor look"
        );
        if let Ok(look) = &looked {
            let primary = look.role == Role::Primary;
            let words = connection.as_ref().and_then(|one| one.identity.clone());
            if upstream.put_instance(words.map(|words| Instance { words, primary })) && primary {
                follower.identified().await;
            }
        }
        upstream.end_look(number);
        let is_refused = looked.as_ref().is_err_and(LoginError::is_refusal);
        match &looked {
            Ok(_) if anew => {
                let (user, dbname) = (login.user.clone(), login.dbname.clone());
                cluster.roles.let_in(roles::Role { user, credential: login.credential.get(), dbname });
            }
            Ok(_) => {}
            Err(error) if error.is_lasting() && ways.next() => continue,
            Err(_) => {
                ways.again();
                cluster.roles.want(is_refused);
            }
        }
        let turned = match looked {
            Ok(look) => cluster.seen(at, &look),
            Err(error) if is_refused => cluster.refused(at, &error.to_string(), error.is_lasting()),
            Err(error) => cluster.lost(at, &error.to_string()),
        };
        if turned {
            follower.turned(&cluster, at).await;
        }
        match cluster.primary() {
            Some(_) => alone_since = None,
            None => _ = alone_since.get_or_insert_with(Instant::now),
        }
        // Who is not let in does not knock more often than it was told to.
        let pause = match alone_since.filter(|_| !is_refused) {
            Some(since) => interval.min(if since.elapsed() < QUICK_FOR { QUICK } else { UNHURRIED }),
            None => interval,
        };
        tokio::select! {
            () = sleep(pause) => {}
            // A floor under it: a storm of requests must not become a storm of queries.
            () = async { upstream.watch.hurried().await; sleep(Duration::from_millis(10)).await } => {}
            // The server has closed it, or has something to say.
            () = async { spoken_to(connection.as_mut()).await; sleep(Duration::from_millis(10)).await } => {}
        }
    }
}

/// A connection, and which server it leads to, if that says so.
struct Watched {
    fresh: Fresh,
    identity: Option<String>,
}

impl Watched {
    async fn open(login: &Login) -> Result<Self, LoginError> {
        let mut fresh = login.run(&[]).await?;
        let mut identity = None;
        for question in [IDENTITY, STARTED] {
            let asked = timeout(login.timeout, fresh.rows(question)).await;
            match asked.map_err(|_| LoginError::Timeout(login.timeout))? {
                Ok(rows) => {
                    identity = rows.into_iter().next().and_then(|row| row.into_iter().next().flatten());
                    break;
                }
                // It need not be said to everybody.
                Err(LoginError::Refused(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Self { fresh, identity })
    }
}

async fn spoken_to(connection: Option<&mut Watched>) {
    match connection {
        Some(Watched { fresh, .. }) => _ = poll_fn(|cx| fresh.stream.poll_readable(cx)).await,
        None => pending().await,
    }
}

/// Looks; over a new connection if that of the last look has been closed, which by itself says nothing of the server.
async fn look_twice(connection: &mut Option<Watched>, login: &Login, number: u64) -> Result<Look, LoginError> {
    let had = connection.is_some();
    let first = look(connection, login, number).await;
    let Err(error) = first else { return first };
    *connection = None;
    if !had || matches!(error, LoginError::Timeout(_)) {
        return Err(error);
    }
    let second = look(connection, login, number).await;
    if second.is_err() {
        *connection = None;
    }
    second
}

async fn look(connection: &mut Option<Watched>, login: &Login, number: u64) -> Result<Look, LoginError> {
    let Watched { fresh, .. } = match connection {
        Some(watched) => watched,
        None => connection.insert(Watched::open(login).await?),
    };
    let rows = timeout(login.timeout, fresh.rows(LOOK)).await.map_err(|_| LoginError::Timeout(login.timeout))??;
    let row = rows.into_iter().next().unwrap_or_default();
    let field = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    let lsn = |at: usize| field(at).parse::<Lsn>().unwrap_or(Lsn(0));
    Ok(Look {
        number,
        role: if field(0) == "t" { Role::Replica } else { Role::Primary },
        lsn: lsn(1),
        inserted: lsn(5).reachable(),
        timeline: u32::from_str_radix(&field(6), 16).unwrap_or(0),
        lag: Duration::try_from_secs_f64(field(2).parse().unwrap_or(0.0)).unwrap_or_default(),
        version: field(3).parse().unwrap_or(0),
        read_only: field(4) == "on",
    })
}
