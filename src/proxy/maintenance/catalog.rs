//! Asking a database's catalog what leads to unseen writers: ahead of a flip, after the drain, and while the gate is closed
//! whenever something in it has changed, since operators work on it. While the gate is open it is asked less often, for what leaves
//! something behind in a session.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use tokio::sync::MutexGuard;
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep, timeout};

use super::guarantees::{Guarantees, When, hold_log_ins};
use crate::config::PoolMode;
use crate::protocol::ErrorFields;
use crate::proxy::setup::monitor_login;
use crate::server::Pool;
use crate::server::login::{Fresh, Login, LoginError, cancel};
use crate::server::own_query::Row;
use crate::shared::database::DatabaseSetup;
use crate::shared::maintenance::catalog_state::{CatalogState, Reading};
use crate::shared::{Database, ProxyState, Setup};
use crate::sql::own_statements::servers::GUARANTEES;
use crate::sql::own_statements::settings;
use crate::sql::{Analyzer, hidden_writers};
use crate::topology::{Avoid, Cluster};

/// How often databases are looked for whose gates have closed.
const TICK: Duration = Duration::from_millis(50);
/// How often the catalog of one whose gate is closed is looked at for changes, at least.
const LOOK: Duration = Duration::from_secs(1);
/// How often at most, as long as looking takes little of the time: what has been changed past this proxy counts from then on.
const OFTEN: Duration = Duration::from_millis(100);
/// Looking takes at most this share of it.
const SHARE: u32 = 20;
/// How long a server may take to say whether anything was committed, before what is known of its catalog no longer counts.
const PROMPT: Duration = Duration::from_secs(1);
/// How many of one cluster's closed databases are looked at in a second.
const LOOKS_EACH_SECOND: usize = 10;
/// The first version that has login event triggers.
pub(in crate::proxy) const HAS_LOGIN_TRIGGERS: u64 = 170_000;
/// How long one question may take: MAINTENANCE ON waits for it.
const PATIENCE: Duration = Duration::from_secs(15);
/// Most that is read of a catalog (bytes).
const MOST_BYTES: usize = 64 << 20;

/// The catalog is read as if nothing in the database could change how.
const PARAMETERS: [(&str, &str); 5] = [
    ("standard_conforming_strings", "on"),
    ("client_encoding", "UTF8"),
    ("search_path", "pg_catalog, pg_temp"),
    ("default_transaction_read_only", "on"),
    ("statement_timeout", "15000"),
];

/// A connection to the database, and what it was made for.
struct Link {
    fresh: Fresh,
    login: Login,
    /// Which transactions had ended when it was last asked.
    ended: Option<String>,
    /// How often the database had been left when this was opened.
    times_left: u64,
    at: usize,
    database: Arc<DatabaseSetup>,
    setup: Arc<Setup>,
}

/// The server to ask: the primary, or a replica while there is none.
fn whom(database: &Database) -> Option<usize> {
    let cluster = database.setup().cluster.clone();
    cluster.primary().or_else(|| cluster.replica(None, Avoid::default()))
}

fn login(proxy: &ProxyState, setup: &Setup, database: &DatabaseSetup, name: &str, at: usize) -> Result<Login, String> {
    let (_, tls) = proxy.databases.cluster(&database.cluster.name).ok_or("its cluster is gone")?;
    let mut login = monitor_login(setup, &database.cluster, tls, at).ok_or("no way to log in")?;
    login.dbname = database.settings.server_dbname(name).to_owned();
    Ok(login)
}

/// Logs in without login event triggers if the role may switch them off. If they do not run where nothing may be written, the
/// session gets its settings after they have run.
async fn log_in(login: &Login, version: u64) -> Result<Fresh, LoginError> {
    let refused = |answer: &Result<Fresh, LoginError>, code: &[u8]| matches!(answer, Err(LoginError::Refused(body)) if ErrorFields::new(body).code() == code);
    if version < HAS_LOGIN_TRIGGERS {
        return login.run(&PARAMETERS).await;
    }
    let mut parameters = PARAMETERS.to_vec();
    parameters.push(("event_triggers", "off"));
    let quiet = login.run(&parameters).await;
    if !refused(&quiet, b"42501") {
        return quiet;
    }
    let guarded = login.run(&PARAMETERS).await;
    if !matches!(&guarded, Err(LoginError::Refused(body)) if may_be_by_trigger(ErrorFields::new(body).code())) {
        return guarded;
    }
    let mut fresh = login.run(&[]).await?;
    let settings = PARAMETERS.map(|(name, value)| settings::set_to(name, value)).join("; ");
    fresh.rows(&settings).await?;
    Ok(fresh)
}

/// Whether a log-in that was refused so may have failed in a trigger, and not at who logs in or what the server has room for.
fn may_be_by_trigger(code: &[u8]) -> bool {
    ![&b"08"[..], b"28", b"3D", b"53", b"57"].iter().any(|other| code.starts_with(other))
}

impl Link {
    async fn open(proxy: &ProxyState, database: &Database, at: usize) -> Result<Self, String> {
        let times_left = database.catalog.times_left();
        let (setup, of) = (proxy.setup.load_full(), database.setup());
        let login = login(proxy, &setup, &of, &database.name, at)?;
        let version = of.cluster.upstreams.get(at).map_or(0, |upstream| upstream.version());
        let fresh = timeout(PATIENCE, log_in(&login, version)).await.map_err(|_| "it does not answer".to_owned())?;
        let fresh = fresh.map_err(|error| error.to_string())?;
        Ok(Self { fresh, login, ended: None, times_left, at, database: of, setup })
    }

    /// What is asked of it, unless somebody is about to drop the database: then the server is told that nobody waits for an answer.
    async fn unless_left<T>(
        &mut self,
        database: &Database,
        asked: impl AsyncFnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        let times = self.times_left;
        tokio::select! {
            answer = asked(self) => return answer,
            () = database.catalog.left_since(times) => {}
        }
        let (pid, secret) = &self.fresh.key;
        let _ = cancel(&self.login, *pid, secret).await;
        Err("the database was about to be dropped".into())
    }

    fn is_for(&self, proxy: &ProxyState, database: &Database) -> bool {
        Some(self.at) == whom(database)
            && Arc::ptr_eq(&self.database, &database.setup())
            && Arc::ptr_eq(&self.setup, &proxy.setup.load())
    }

    /// Whether no transaction that could have changed anything has ended since this was last asked.
    async fn is_quiet(&mut self) -> Result<bool, String> {
        let rows = self.fresh.rows(hidden_writers::ENDED).await.map_err(|error| error.to_string())?;
        let ended = rows.into_iter().flatten().next().flatten();
        let quiet = ended.is_some() && ended == self.ended;
        self.ended = ended;
        Ok(quiet)
    }

    /// What is read while the gate is closed, and what it depends on.
    async fn look_at_all(
        &mut self,
        read: &mut Option<String>,
        changed: impl FnOnce() + Send + Sync,
    ) -> Result<(Option<Both>, Guarantees), String> {
        let both = self.look(read, both, changed).await?;
        let version = self.database.cluster.upstreams.get(self.at).map_or(0, |upstream| upstream.version());
        let found = if version < HAS_LOGIN_TRIGGERS { Guarantees::default() } else { self.guarantees().await? };
        Ok((both, found))
    }

    async fn guarantees(&mut self) -> Result<Guarantees, String> {
        let rows = self.fresh.rows(GUARANTEES).await.map_err(|error| error.to_string())?;
        Ok(Guarantees::read(&rows))
    }

    /// Reads the catalog if it is not as it was when it had the fingerprint `read`, and calls `changed` ahead of that; None if it is.
    async fn look<T: Send + 'static>(
        &mut self,
        read: &mut Option<String>,
        judge: fn(&[Row], &Analyzer) -> Result<T, String>,
        changed: impl FnOnce() + Send,
    ) -> Result<Option<T>, String> {
        let ask = |error: crate::server::login::LoginError| error.to_string();
        let print = self.fresh.rows(&hidden_writers::fingerprint()).await.map_err(ask)?;
        let print = print.into_iter().flatten().next().flatten().unwrap_or_default();
        // The same catalog says something else of another cluster, and by another list.
        let print = format!("{print} {:p} {:p} {}", self.database, self.setup, self.at);
        if read.as_ref() == Some(&print) {
            return Ok(None);
        }
        *read = None;
        changed();
        let version = self.fresh.parameters.iter().find(|(name, _)| name == "server_version");
        let sql = hidden_writers::question(self.setup.analyzer.list(), version.map_or("", |(_, value)| value));
        let rows = self.fresh.rows_within(&sql, MOST_BYTES).await.map_err(ask)?;
        let analyzer = self.setup.analyzer.clone();
        // Long bodies take a while to read, and others run on this thread.
        let found = tokio::task::spawn_blocking(move || judge(&rows, &analyzer)).await;
        let found = found.map_err(|error| error.to_string())??;
        *read = Some(print);
        Ok(Some(found))
    }
}

/// What a closed gate depends on in a database, asked over a connection of its own.
pub(in crate::proxy) async fn guarantees(
    proxy: &ProxyState,
    database: &Database,
    at: usize,
) -> Result<Guarantees, String> {
    let asked = async { Link::open(proxy, database, at).await?.guarantees().await };
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("it does not answer".into()))
}

/// What is read while the gate is closed.
type Both = (hidden_writers::HiddenWriters, ForSessions);

/// What is read for sessions in every mode.
type ForSessions = (hidden_writers::SideEffects, hidden_writers::Routing);

fn both(rows: &[Row], analyzer: &Analyzer) -> Result<Both, String> {
    Ok((hidden_writers::read(rows, analyzer)?, hidden_writers::read_leavings(rows, analyzer)?))
}

/// What the catalog says now, without anything being kept of it. Says why it could not be asked.
pub async fn look(proxy: &ProxyState, database: &Database) -> Result<hidden_writers::HiddenWriters, String> {
    let at = whom(database).ok_or("no server is known")?;
    let cluster = database.setup().cluster.clone();
    let _turn = cluster.catalog_turn.lock().await;
    let asked = async {
        let mut link = Link::open(proxy, database, at).await?;
        link.unless_left(database, async |link| link.look(&mut None, hidden_writers::read, || ()).await).await
    };
    let answer = timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("it does not answer".into()))?;
    Ok(answer.unwrap_or_default())
}

/// Reads the catalog over a connection of its own. Says why it could not.
pub(in crate::proxy) async fn read(
    proxy: &Arc<ProxyState>,
    database: &Arc<Database>,
    when: When,
) -> Result<(), String> {
    let database = &first_name(proxy, database);
    let Some(at) = whom(database) else { return Err("no server is known".into()) };
    let cluster = database.setup().cluster.clone();
    let _turn = cluster.catalog_turn.lock().await;
    let mut last = database.catalog.asking.lock().await;
    forget_unless_known(database, &mut last);
    let ahead = Ahead::of(proxy, database, at);
    let asked = async {
        let mut link = Link::open(proxy, database, at).await?;
        link.unless_left(database, async |link| link.look_at_all(&mut last, || ahead.forget()).await).await
    };
    let answer = timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("it does not answer".into()));
    let answer = hold_back(proxy, database, answer, when).await;
    learn(proxy, database, answer, &ahead)
}

/// The names of a database, and how many changes of its catalog each had seen ahead of a reading from that server.
struct Ahead {
    made: Vec<(Arc<Database>, u64)>,
    server: usize,
}

impl Ahead {
    fn of(proxy: &ProxyState, database: &Arc<Database>, server: usize) -> Self {
        let made = |name: Arc<Database>| {
            let made = name.catalog.changes.made();
            (name, made)
        };
        Self { made: names_of(proxy, database).into_iter().map(made).collect(), server }
    }

    /// What was known does not count any more.
    fn forget(&self) {
        self.made.iter().for_each(|(name, _)| name.catalog.changes.forget());
    }

    /// What is known was as the server has it.
    fn has_read(&self) {
        self.made.iter().for_each(|(name, made)| name.catalog.changes.has_read(*made, self.server));
    }
}

/// What is known of it does not count until it has been read again.
pub(in crate::proxy) fn outdate(proxy: &ProxyState, database: &Arc<Database>) {
    Ahead::of(proxy, database, 0).made.iter().for_each(|(name, _)| name.catalog.changes.outdate());
}

/// All names of a database.
fn names_of(proxy: &ProxyState, database: &Arc<Database>) -> Vec<Arc<Database>> {
    let mut names = proxy.databases.of_gate(&database.gate);
    if names.is_empty() {
        names.push(database.clone());
    }
    names
}

/// The catalog is read once for all names of a database: for the first of them.
fn first_name(proxy: &ProxyState, database: &Arc<Database>) -> Arc<Database> {
    proxy.databases.of_gate(&database.gate).into_iter().next().unwrap_or_else(|| database.clone())
}

/// Before anybody goes by what was read, log-ins that might write are held back.
async fn hold_back(
    proxy: &Arc<ProxyState>,
    database: &Arc<Database>,
    answer: Result<(Option<Both>, Guarantees), String>,
    when: When,
) -> Result<Option<Both>, String> {
    let (read, found) = answer?;
    hold_log_ins(proxy, database, &found, read.as_ref().map(|(unseen, _)| unseen), when).await;
    Ok(read)
}

/// A fingerprint is of no use without what was read.
fn forget_unless_known(database: &Database, last: &mut Option<String>) {
    if !matches!(**database.catalog.known(), CatalogState::Known(_)) {
        *last = None;
    }
}

/// What was known before holds no longer; who depends on it waits until it is read again.
pub(in crate::proxy) fn forget(proxy: &ProxyState, database: &Arc<Database>) {
    learn_for_all(proxy, database, &Arc::new(CatalogState::Pending));
}

/// How many databases of a cluster are closed.
pub(in crate::proxy) fn closed_in(proxy: &ProxyState, cluster: &Arc<Cluster>) -> usize {
    let all = proxy.databases.all();
    let closed = all.iter().filter(|one| is_closed(one) && Arc::ptr_eq(&one.peek_setup().cluster, cluster));
    closed.map(|one| Arc::as_ptr(&one.gate)).collect::<HashSet<_>>().len()
}

/// Reads it ahead of a flip. What was known of an earlier one is forgotten if it cannot be read now.
pub(in crate::proxy) async fn prepare(proxy: &Arc<ProxyState>, database: &Arc<Database>) {
    let database = &first_name(proxy, database);
    if whom(database).is_none() {
        learn_for_all(proxy, database, &Arc::new(CatalogState::Pending));
    }
    *database.catalog.asking.lock().await = None;
    let _ = read(proxy, database, When::AheadOfFlip).await;
}

/// Every name of the database knows it.
fn learn_for_all(proxy: &ProxyState, database: &Arc<Database>, knowledge: &Arc<CatalogState>) {
    database.catalog.learn(knowledge.clone());
    for other in proxy.databases.of_gate(&database.gate).iter().filter(|other| !Arc::ptr_eq(other, database)) {
        other.catalog.learn(knowledge.clone());
    }
}

fn learn(
    proxy: &ProxyState,
    database: &Arc<Database>,
    answer: Result<Option<Both>, String>,
    ahead: &Ahead,
) -> Result<(), String> {
    match answer {
        Ok(None) => {
            ahead.has_read();
            Ok(())
        }
        Ok(Some((mut found, leavings))) => {
            found.number = proxy.readings.fetch_add(1, SeqCst);
            learn_for_all(proxy, database, &Arc::new(CatalogState::Known(Box::new(found))));
            ahead.has_read();
            learn_leavings(proxy, database, leavings);
            Ok(())
        }
        Err(why) => {
            let known = matches!(**database.catalog.known(), CatalogState::Known(_));
            tracing::warn!(event = "catalog_unknown", database = %database.name, known, error = why, "the catalog cannot be asked for unseen writers");
            learn_for_all(proxy, database, &Arc::new(CatalogState::Unknown(why.clone())));
            Err(why)
        }
    }
}

fn learn_leavings(proxy: &ProxyState, database: &Arc<Database>, (leavings, routing): ForSessions) {
    let reading = Arc::new(Reading { number: proxy.readings.fetch_add(1, SeqCst), leavings, routing });
    database.catalog.learn_leavings(reading.clone());
    for other in proxy.databases.of_gate(&database.gate).iter().filter(|other| !Arc::ptr_eq(other, database)) {
        other.catalog.learn_leavings(reading.clone());
    }
}

/// Has the catalogs of all databases whose gates are closed looked at; never ends by itself.
pub(in crate::proxy) async fn watch(proxy: Weak<ProxyState>) {
    let mut tick = interval(TICK);
    let mut attended: HashMap<Arc<str>, JoinHandle<()>> = HashMap::new();
    loop {
        tick.tick().await;
        let Some(strong) = proxy.upgrade() else { return };
        attended.retain(|_, task| !task.is_finished());
        // Nobody has to be asked about one that is open and not in use: most, where there are hundreds.
        let wanted = |database: &Arc<Database>| {
            !database.pools().is_empty() || is_closed(database) || database.catalog.is_awaited()
        };
        let those = strong.databases.those(wanted).into_iter();
        let mut all: Vec<_> = those.map(|database| (database.pools().is_empty(), database)).collect();
        // Those that clients use come first.
        all.sort_by_key(|(unused, _)| *unused);
        let mut firsts: HashMap<_, Arc<Database>> = HashMap::new();
        for (_, used) in all {
            let gate = Arc::as_ptr(&used.gate);
            let seen = firsts.contains_key(&gate);
            let database = firsts.entry(gate).or_insert_with(|| first_name(&strong, &used)).clone();
            if !used.catalog.has_been_tried() && database.catalog.has_been_tried() {
                // This name was not known when it was read.
                used.catalog.learn_leavings(database.catalog.reading().clone());
            }
            if seen || attended.contains_key(&database.name) {
                continue;
            }
            if is_closed(&database) {
                let task = tokio::spawn(attend(proxy.clone(), database.clone()));
                attended.insert(database.name.clone(), task);
            } else if is_followed(&strong, &database) {
                let task = tokio::spawn(follow(proxy.clone(), database.clone()));
                attended.insert(database.name.clone(), task);
            }
        }
    }
}

fn is_closed(database: &Database) -> bool {
    database.gate.state().mode.reports_read_only()
}

/// The right to ask, which those get first that statements or log-ins wait for.
async fn take_turn<'a>(proxy: &ProxyState, cluster: &'a Cluster, database: &Database) -> MutexGuard<'a, ()> {
    loop {
        let turn = cluster.catalog_turn.lock().await;
        let awaited = || proxy.databases.of_gate(&database.gate).iter().any(|name| name.catalog.is_awaited());
        if cluster.catalogs_awaited.load(SeqCst) == 0 || awaited() {
            return turn;
        }
        drop(turn);
        sleep(TICK).await;
    }
}

/// Looks at one database's catalog until its gate opens.
async fn attend(proxy: Weak<ProxyState>, database: Arc<Database>) {
    let mut link: Option<Link> = None;
    while is_closed(&database) {
        let Some(proxy) = proxy.upgrade() else { return };
        let cluster = database.setup().cluster.clone();
        let Some(at) = whom(&database) else {
            // What was known stays true as long as nobody can be asked: nobody can change it either.
            link = None;
            drop(proxy);
            let _ = timeout(LOOK, cluster.changes().changed()).await;
            continue;
        };
        let turn = take_turn(&proxy, &cluster, &database).await;
        let (closed, began) = (closed_in(&proxy, &cluster), Instant::now());
        let looked = look_again(&proxy, &database, at, &mut link).await;
        let often = if closed > 1 || looked.is_err() { LOOK } else { OFTEN.max(began.elapsed() * SHARE).min(LOOK) };
        if closed > 1 || looked.is_err() {
            link = None;
        }
        let known_as = Ahead::of(&proxy, &database, at);
        if looked.is_err() {
            known_as.forget();
        }
        drop((turn, proxy));
        // Statements are asked about until it has been read again; not at every statement of a migration, all the same.
        sleep(if closed > 1 { LOOK } else { TICK }).await;
        // Hundreds are looked at in turn, and the server has other things to do.
        let turns = LOOK * u32::try_from(closed / LOOKS_EACH_SECOND).unwrap_or(u32::MAX);
        if !turns.is_zero() {
            known_as.forget();
        }
        let rest = if closed > 1 { turns } else { often.saturating_sub(TICK) };
        let opened = async {
            while is_closed(&database) {
                sleep(LOOK).await;
            }
        };
        let times = link.as_ref().map_or_else(|| database.catalog.times_left(), |link| link.times_left);
        tokio::select! {
            () = sleep(rest) => {}
            () = database.catalog.altered() => {}
            () = database.catalog.left_since(times) => link = None,
            () = opened => {}
        }
    }
}

/// Sees to it that what is known is what the catalog says now. An error: it could not be asked.
async fn look_again(
    proxy: &Arc<ProxyState>,
    database: &Arc<Database>,
    at: usize,
    link: &mut Option<Link>,
) -> Result<(), String> {
    let mut last = database.catalog.asking.lock().await;
    forget_unless_known(database, &mut last);
    let ahead = Ahead::of(proxy, database, at);
    let asked = async {
        if link.as_ref().is_none_or(|link| !link.is_for(proxy, database)) {
            *link = Some(Link::open(proxy, database, at).await?);
        }
        let Some(link) = link else { return Err("it cannot be reached".into()) };
        let quiet = timeout(PROMPT, link.is_quiet()).await.map_err(|_| "it does not answer".to_owned())??;
        if quiet && last.is_some() {
            return Ok(None);
        }
        let look = async |link: &mut Link| link.look_at_all(&mut last, || ahead.forget()).await;
        link.unless_left(database, look).await.map(Some)
    };
    let answer = timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("it does not answer".into()));
    let answer = match answer {
        Ok(Some(read)) => hold_back(proxy, database, Ok(read), When::Closed).await,
        other => other.map(|_| None),
    };
    // What is known is better than nothing: who cannot be asked cannot be changed by many.
    let known = matches!(**database.catalog.known(), CatalogState::Known(_));
    match answer {
        Err(why) if known => Err(why),
        answer => learn(proxy, database, answer, &ahead),
    }
}

/// Whether sessions of that database are followed from one server connection to the next, whatever name they have for it.
fn is_followed(proxy: &ProxyState, database: &Arc<Database>) -> bool {
    let setup = proxy.setup.load();
    let pooled = |name: &Database| {
        let of = name.setup();
        let mode = |pool: &Pool| setup.config.session(&of.settings, &pool.user).pool_mode;
        name.pools().iter().any(|pool| mode(pool) != PoolMode::Session && pool.is_open())
    };
    setup.config.timeouts.catalog_check_interval.get().is_some()
        && names_of(proxy, database).iter().any(|name| pooled(name) || name.catalog.is_awaited())
}

/// Looks at one database's catalog for what leaves something behind in a session, until its gate closes.
async fn follow(proxy: Weak<ProxyState>, database: Arc<Database>) {
    let mut last = None;
    let mut said = None;
    loop {
        let interval = {
            let Some(proxy) = proxy.upgrade() else { return };
            let known = proxy.databases.all().iter().any(|one| Arc::ptr_eq(one, &database));
            let setup = proxy.setup.load_full();
            let Some(interval) = setup.config.timeouts.catalog_check_interval.get() else { return };
            if !known || is_closed(&database) {
                return;
            }
            if is_followed(&proxy, &database) {
                let why = read_leavings(&proxy, &database, &mut last).await.err();
                if let Some(why) = &why
                    && said != Some(why.clone())
                {
                    tracing::warn!(event = "catalog_unknown", database = %database.name, error = why, "the catalog cannot be asked what functions leave behind");
                }
                said = why;
                names_of(&proxy, &database).iter().for_each(|name| name.catalog.tried_leavings());
            }
            interval
        };
        let closed = async {
            while !is_closed(&database) {
                sleep(TICK).await;
            }
        };
        // Not at every statement of a migration.
        sleep(LOOK.min(interval)).await;
        tokio::select! {
            () = sleep(interval.saturating_sub(LOOK)) => {}
            () = database.catalog.altered() => {}
            () = closed => return,
        }
    }
}

/// Reads it over a connection that lasts no longer: nobody is to be kept from dropping a database.
async fn read_leavings(proxy: &ProxyState, database: &Arc<Database>, last: &mut Option<String>) -> Result<(), String> {
    let Some(at) = whom(database) else { return Ok(()) };
    let cluster = database.setup().cluster.clone();
    // Log-ins wait for the first reading: it comes before those that are only repeated.
    let _turn = take_turn(proxy, &cluster, database).await;
    let asked = async {
        let mut link = Link::open(proxy, database, at).await?;
        link.unless_left(database, async |link| link.look(last, hidden_writers::read_leavings, || ()).await).await
    };
    let answer = timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("it does not answer".into()))?;
    if let Some(leavings) = answer {
        learn_leavings(proxy, database, leavings);
    }
    Ok(())
}
