//! One connection to each upstream that asks it, again and again, what it is and how far it has come.

use std::future::{Future, pending, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, sleep_until, timeout};

use super::cluster::Cluster;
use super::contest::Activity;
use super::own_settings::OwnSetting;
use super::roles;
use super::server::{Facts, Instance, Look, Role};
use super::state::Silence;
use crate::auth::Credential;
use crate::events::{Kind, publish};
use crate::gate::Lsn;
use crate::protocol::ErrorFields;
use crate::server::Address;
use crate::server::login::{Fresh, Login, LoginError};
use crate::server::own_query::Row;
use crate::sql::own_statements::servers::{FACTS, IDENTITY, LOOK, POSITION, STARTED};

/// The interval between two looks while no primary is known: clients wait for a primary no longer than that.
const QUICK: Duration = Duration::from_millis(100);
/// How long the name service may take.
const LOOK_UP: Duration = Duration::from_secs(5);
/// For how long it is looked so often.
const QUICK_FOR: Duration = Duration::from_secs(60);
/// The longest interval while a server is lost: clients that wait are served soon after it is back.
const UNHURRIED: Duration = Duration::from_secs(1);

/// Between two questions for a position that reads wait for. The first one is asked at once.
const SEEK: Duration = Duration::from_millis(10);

/// Who has to know at once that a server is not what it was.
pub trait Follower: Send + Sync {
    /// A server of the cluster is about to be known as a primary: it may be another cluster's too.
    fn identified<'a>(&'a self) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
    /// The name of upstream number `at` leads to another place now: pools leave the former one as transactions end.
    fn moved(&self, cluster: &Arc<Cluster>, at: usize);
    /// Upstream number `at` has restarted: the parameters it reports at log-in may have changed.
    fn renewed(&self, cluster: &Arc<Cluster>, at: usize);
    /// What sessions have written in the cluster's databases.
    fn activity(&self, cluster: &Arc<Cluster>) -> Activity;
    /// Whether there are sessions there whose writes are not counted: those of operators.
    fn has_uncounted<'a>(&'a self, cluster: &'a Arc<Cluster>) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;
    /// The role of upstream number `at`, or the choice of a primary, has changed.
    fn turned<'a>(&'a self, cluster: &'a Arc<Cluster>, at: usize) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
}

/// How often each question is asked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The server itself.
    pub interval: Duration,
    /// The name service, where its name leads.
    pub dns_max_ttl: Duration,
}

/// The roles to log in as, the most promising first. Empty while no role is known.
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
pub async fn watch(cluster: Arc<Cluster>, at: usize, logins: Logins, pace: Pace, follower: Arc<dyn Follower>) {
    let Some(upstream) = cluster.upstreams.get(at) else { return };
    let mut connection: Option<Watched> = None;
    let mut alone_since: Option<Instant> = None;
    let mut ways = Ways::new(logins);
    let (mut failed, mut resolved) = (None::<LoginError>, Instant::now());
    let interval = pace.interval;
    if upstream.instance().is_some_and(|known| known.primary) {
        // It is known from another configuration: who shares it is found out for this one as well.
        follower.identified().await;
    }
    loop {
        let Some(login) = ways.current() else {
            // The first client to log in brings a role.
            cluster.roles.want(true);
            let _ = timeout(UNHURRIED, upstream.watch.hurried()).await;
            continue;
        };
        let (anew, patience) = (connection.is_none(), login.timeout);
        let number = upstream.begin_look();
        let before = follower.activity(&cluster);
        let looked = match failed.take() {
            Some(error) => Err(error),
            None => look_twice(&mut connection, login, number).await,
        };
        tracing::debug!(
            event = "monitor_look", cluster = %cluster.name, upstream = %upstream.address, number,
            role = looked.as_ref().ok().map(|look| look.role.word()), lsn = looked.as_ref().ok().map(|look| look.lsn.to_string()),
            error = looked.as_ref().err().map(ToString::to_string), "monitor look"
        );
        if let (Ok(look), Some(watched)) = (&looked, &connection) {
            let known = (watched.identity.clone(), watched.facts.clone());
            note_server(&cluster, at, look, known, before, &*follower).await;
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
            Err(error) => cluster.lost(at, &error.to_string(), silence(&error)),
        };
        let settled = !turned && settles_contest(&cluster, &*follower).await;
        if turned || settled {
            follower.turned(&cluster, at).await;
        }
        if resolved.elapsed() >= pace.dns_max_ttl {
            resolved = Instant::now();
            let peer = connection.as_ref().and_then(|one| one.fresh.stream.socket().peer_addr());
            if has_moved(&upstream.address, peer).await {
                let event = cluster.event(Kind::ServerMoved, Some(upstream), "the name leads to another place now");
                publish!(cluster.events, warn, event);
                connection = None;
                follower.moved(&cluster, at);
                continue;
            }
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
        failed = until_look(&cluster, at, &mut connection, pause, patience).await;
    }
}

/// Waits until it is time for another look. Meanwhile the server is asked for nothing but its position, if reads wait for that;
/// an error is what the look would have found.
async fn until_look(
    cluster: &Cluster,
    at: usize,
    connection: &mut Option<Watched>,
    pause: Duration,
    patience: Duration,
) -> Option<LoginError> {
    let upstream = cluster.upstreams.get(at)?;
    let due = tokio::time::Instant::now() + pause;
    let mut seek_from = tokio::time::Instant::now();
    loop {
        tokio::select! {
            () = sleep_until(due) => return None,
            // A floor under it: a storm of requests must not become a storm of queries.
            () = async { upstream.watch.hurried().await; sleep(Duration::from_millis(10)).await } => return None,
            // The server has closed it, or has something to say.
            () = async { spoken_to(connection.as_mut()).await; sleep(Duration::from_millis(10)).await } => return None,
            () = async { upstream.watch.sought().await; sleep_until(seek_from).await } => {}
        }
        seek_from = tokio::time::Instant::now() + SEEK;
        let watched = connection.as_mut()?;
        let number = upstream.begin_look();
        let asked = timeout(patience, watched.fresh.rows(POSITION)).await;
        let rows = match asked {
            Ok(Ok(rows)) => rows,
            // The connection may have been closed, which by itself says nothing of the server.
            Ok(Err(_)) => {
                *connection = None;
                return None;
            }
            Err(_) => {
                *connection = None;
                return Some(LoginError::Timeout(patience));
            }
        };
        let row = rows.into_iter().next().unwrap_or_default();
        let field = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
        let role = if field(0) == "t" { Role::Replica } else { Role::Primary };
        let lsn = field(1).parse::<Lsn>().unwrap_or(Lsn(0));
        let lsn = if role == Role::Primary { lsn.reachable() } else { lsn };
        if role == Role::Primary && cluster.primary() == Some(at) {
            cluster.note_on_disk(field(2).parse().unwrap_or(Lsn(0)));
        }
        tracing::debug!(
            event = "monitor_position", cluster = %cluster.name, upstream = %upstream.address, number, lsn = %lsn,
            "monitor position"
        );
        if !cluster.note_position(at, number, role, lsn) {
            return None;
        }
    }
}

/// Notes what a server says of itself, and tells who has to know.
async fn note_server(
    cluster: &Arc<Cluster>,
    at: usize,
    look: &Look,
    (words, facts): (Option<String>, Facts),
    before: Activity,
    follower: &dyn Follower,
) {
    let Some(upstream) = cluster.upstreams.get(at) else { return };
    let primary = look.role == Role::Primary;
    if !primary {
        upstream.note_replica(before);
    }
    upstream.put_facts(facts);
    let other_version = upstream.version() != 0 && upstream.version() != look.version;
    let other = upstream.put_instance(words.map(|words| Instance { words, primary }));
    if other && primary {
        follower.identified().await;
    }
    if other || other_version {
        follower.renewed(cluster, at);
    }
}

/// Whether the server's name does not lead to where the monitor is connected any more.
async fn has_moved(address: &Address, peer: Option<SocketAddr>) -> bool {
    let Some(peer) = peer else { return false };
    match timeout(LOOK_UP, address.look_up()).await {
        Ok(Ok(places)) => !places.is_empty() && !places.contains(&peer),
        // A server that cannot be asked does not count.
        Ok(Err(_)) | Err(_) => false,
    }
}

/// Whether a contest that was there at the last look already is over now. Nothing has been written since it began.
async fn settles_contest(cluster: &Arc<Cluster>, follower: &dyn Follower) -> bool {
    match cluster.newest_claim(follower.activity(cluster)) {
        Some(at) if !follower.has_uncounted(cluster).await => cluster.settle_contest(at),
        _ => false,
    }
}

/// A connection, and which server it leads to, if that says so.
struct Watched {
    fresh: Fresh,
    identity: Option<String>,
    facts: Facts,
}

/// What is known of a server that could not be asked.
fn silence(error: &LoginError) -> Silence {
    match error {
        LoginError::Refused(body) => {
            let fields = ErrorFields::new(body);
            let stops = String::from_utf8_lossy(fields.get(b'M').unwrap_or_default()).contains("shutting down");
            if fields.code() == b"57P03" && !stops { Silence::Starts } else { Silence::Gone }
        }
        _ => Silence::Gone,
    }
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
        Ok(Self { fresh, identity, facts: Facts::default() })
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
    let Watched { fresh, facts, .. } = match connection {
        Some(watched) => watched,
        None => connection.insert(Watched::open(login).await?),
    };
    let rows = timeout(login.timeout, fresh.rows(LOOK)).await.map_err(|_| LoginError::Timeout(login.timeout))??;
    let row = rows.into_iter().next().unwrap_or_default();
    match timeout(login.timeout, fresh.rows(FACTS)).await.map_err(|_| LoginError::Timeout(login.timeout))? {
        Ok(rows) => *facts = read_facts(&rows),
        // What is not said to everybody stays unknown.
        Err(LoginError::Refused(_)) => {}
        Err(error) => return Err(error),
    }
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

fn read_facts(rows: &[Row]) -> Facts {
    let mut facts = Facts::default();
    for row in rows {
        let field = |at: usize| row.get(at).and_then(Option::as_deref);
        let name = |at: usize| field(at).filter(|name| !name.is_empty()).map(str::to_owned);
        let is_on = field(3) == Some("t");
        match field(0) {
            Some("room") => facts.room = field(1).and_then(|text| text.parse().ok()),
            Some("follows") => facts.follows = field(1).and_then(|text| text.parse().ok()),
            Some("server") => facts.own.server = is_on,
            Some("setting") => facts.own.lines.push(OwnSetting { database: name(1), role: name(2), read_only: is_on }),
            _ => {}
        }
    }
    facts
}
