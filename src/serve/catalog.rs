//! Asking a database's catalog what leads to unseen writers: ahead of a flip, after the drain, and while the gate is closed
//! whenever something in it has changed, since operators work on it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{interval, sleep, timeout};

use super::setup::monitor_login;
use crate::hub::database::DatabaseSetup;
use crate::hub::knowledge::Knowledge;
use crate::hub::{Database, Hub, Setup};
use crate::sql::unseen;
use crate::upstream::login::{Fresh, Login};

/// How often databases are looked for whose gates have closed.
const TICK: Duration = Duration::from_millis(50);
/// How often the catalog of one whose gate is closed is looked at for changes.
const LOOK: Duration = Duration::from_secs(1);
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
    at: usize,
    database: Arc<DatabaseSetup>,
    setup: Arc<Setup>,
}

/// The server to ask: the primary, or a replica while there is none.
fn whom(database: &Database) -> Option<usize> {
    let cluster = database.setup().cluster.clone();
    cluster.primary().or_else(|| cluster.replica(None, None))
}

fn login(hub: &Hub, setup: &Setup, database: &DatabaseSetup, name: &str, at: usize) -> Result<Login, String> {
    let tls = hub.databases.cluster_tls(&database.cluster.name).ok_or("its cluster is gone")?;
    let mut login = monitor_login(setup, &database.cluster, tls, at).ok_or("no way to log in")?;
    login.dbname = database.settings.server_dbname(name).to_owned();
    Ok(login)
}

impl Link {
    async fn open(hub: &Hub, database: &Database, at: usize) -> Result<Self, String> {
        let (setup, of) = (hub.setup.load_full(), database.setup());
        let login = login(hub, &setup, &of, &database.name, at)?;
        let fresh = timeout(PATIENCE, login.run(&PARAMETERS)).await.map_err(|_| "it does not answer".to_owned())?;
        let fresh = fresh.map_err(|error| error.to_string())?;
        Ok(Self { fresh, at, database: of, setup })
    }

    fn is_for(&self, hub: &Hub, database: &Database) -> bool {
        Some(self.at) == whom(database)
            && Arc::ptr_eq(&self.database, &database.setup())
            && Arc::ptr_eq(&self.setup, &hub.setup.load())
    }

    /// Reads the catalog if it is not as it was when it had the fingerprint `read`; None if it is.
    async fn look(&mut self, read: &mut Option<String>) -> Result<Option<unseen::Unseen>, String> {
        let ask = |error: crate::upstream::login::LoginError| error.to_string();
        let print = self.fresh.rows(&unseen::fingerprint()).await.map_err(ask)?;
        let print = print.into_iter().flatten().next().flatten().unwrap_or_default();
        // The same catalog says something else of another cluster, and by another list.
        let print = format!("{print} {:p} {:p} {}", self.database, self.setup, self.at);
        if read.as_ref() == Some(&print) {
            return Ok(None);
        }
        *read = None;
        let version = self.fresh.parameters.iter().find(|(name, _)| name == "server_version");
        let sql = unseen::question(self.setup.analyzer.list(), version.map_or("", |(_, value)| value));
        let rows = self.fresh.rows_within(&sql, MOST_BYTES).await.map_err(ask)?;
        let analyzer = self.setup.analyzer.clone();
        // Long bodies take a while to read, and others run on this thread.
        let found = tokio::task::spawn_blocking(move || unseen::read(&rows, &analyzer)).await;
        let found = found.map_err(|error| error.to_string())??;
        *read = Some(print);
        Ok(Some(found))
    }
}

/// What the catalog says now, without anything being kept of it. Says why it could not be asked.
pub async fn look(hub: &Hub, database: &Database) -> Result<unseen::Unseen, String> {
    let at = whom(database).ok_or("no server is known")?;
    let asked = async { Link::open(hub, database, at).await?.look(&mut None).await };
    let answer = timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("it does not answer".into()))?;
    Ok(answer.unwrap_or_default())
}

/// Reads the catalog over a connection of its own. Says why it could not.
pub(super) async fn read(hub: &Hub, database: &Database) -> Result<(), String> {
    let Some(at) = whom(database) else { return Err("no server is known".into()) };
    let mut last = database.catalog.asking.lock().await;
    forget_unless_known(database, &mut last);
    let asked = async { Link::open(hub, database, at).await?.look(&mut last).await };
    let answer = timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("it does not answer".into()));
    learn(database, answer)
}

/// A fingerprint is of no use without what was read.
fn forget_unless_known(database: &Database, last: &mut Option<String>) {
    if !matches!(**database.catalog.known(), Knowledge::Known(_)) {
        *last = None;
    }
}

/// Reads it ahead of a flip. What was known of an earlier one is forgotten if it cannot be read now.
pub(super) async fn prepare(hub: &Hub, database: &Database) {
    if whom(database).is_none() {
        database.catalog.learn(Knowledge::Pending);
    }
    *database.catalog.asking.lock().await = None;
    let _ = read(hub, database).await;
}

fn learn(database: &Database, answer: Result<Option<unseen::Unseen>, String>) -> Result<(), String> {
    match answer {
        Ok(None) => Ok(()),
        Ok(Some(found)) => {
            database.catalog.learn(Knowledge::Known(Box::new(found)));
            Ok(())
        }
        Err(why) => {
            let known = matches!(**database.catalog.known(), Knowledge::Known(_));
            tracing::warn!(database = %database.name, known, "the catalog cannot be asked for unseen writers: {why}");
            database.catalog.learn(Knowledge::Unknown(why.clone()));
            Err(why)
        }
    }
}

/// Has the catalogs of all databases whose gates are closed looked at; never ends by itself.
pub(super) async fn watch(hub: Weak<Hub>) {
    let mut tick = interval(TICK);
    let mut attended: HashMap<Arc<str>, JoinHandle<()>> = HashMap::new();
    loop {
        tick.tick().await;
        let Some(strong) = hub.upgrade() else { return };
        attended.retain(|_, task| !task.is_finished());
        for database in strong.databases.all() {
            if is_closed(&database) && !attended.contains_key(&database.name) {
                let task = tokio::spawn(attend(hub.clone(), database.clone()));
                attended.insert(database.name.clone(), task);
            }
        }
    }
}

fn is_closed(database: &Database) -> bool {
    database.gate.state().mode.reports_read_only()
}

/// Looks at one database's catalog until its gate opens.
async fn attend(hub: Weak<Hub>, database: Arc<Database>) {
    let mut link: Option<Link> = None;
    while is_closed(&database) {
        let Some(hub) = hub.upgrade() else { return };
        let Some(at) = whom(&database) else {
            // What was known stays true as long as nobody can be asked: nobody can change it either.
            link = None;
            sleep(TICK).await;
            continue;
        };
        let mut last = database.catalog.asking.lock().await;
        forget_unless_known(&database, &mut last);
        let asked = async {
            if link.as_ref().is_none_or(|link| !link.is_for(&hub, &database)) {
                link = Some(Link::open(&hub, &database, at).await?);
            }
            match &mut link {
                Some(link) => link.look(&mut last).await,
                None => Ok(None),
            }
        };
        let answer = timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err("it does not answer".into()));
        if answer.is_err() {
            link = None;
        }
        // What is known is better than nothing: who cannot be asked cannot be changed by many.
        let known = matches!(**database.catalog.known(), Knowledge::Known(_));
        if answer.is_ok() || !known {
            let _ = learn(&database, answer);
        }
        drop(last);
        drop(hub);
        sleep(LOOK).await;
    }
}
