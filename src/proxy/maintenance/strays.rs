//! Back ends of this proxy's that no connection of ours leads to any more: those of an earlier life of the process, and those
//! whose connection was lost. What they run is nobody's; it is stopped, and a gate that closes waits until it is.
//!
//! The primary is asked which of them are still there. One is ours if its process has our role and database and began when ours
//! did, or talks to our port: nobody else's is touched, that of another proxy in front of the same server least of all. A cancel
//! request reaches a back end by its secret key; one that takes no notice is terminated, if the monitor's role may do that.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use tokio::time::{sleep, timeout};

use super::environment::{Logins, to_be_asked};
use crate::gate::OpenTransaction;
use crate::server::backend_ledger::{Backend, Sight, Stray, micros};
use crate::server::login::{Fresh, Login, cancel};
use crate::shared::{Database, ProxyState};
use crate::sql::own_statements::servers;
use crate::topology::Cluster;

/// How often they are looked at as long as there are any.
const LOOK: Duration = Duration::from_secs(2);
/// How soon behind another look one follows that somebody has become a stray: a back end needs a moment to go.
const SOON: Duration = Duration::from_millis(50);
/// How long one may go on after it was cancelled for the first time.
const PATIENCE: Duration = Duration::from_secs(4);
/// How much two clocks may disagree over a log-in (microseconds).
const TOLERANCE: u64 = 5_000_000;
/// Bytes of a statement that are shown to a person.
const SHOWN: usize = 200;

/// What the server says of one process.
struct Seen {
    user: String,
    dbname: String,
    /// None where the monitor's role may not see it.
    state: Option<String>,
    /// Since its start, in microseconds.
    age: Option<u64>,
    started: Option<String>,
    port: Option<u16>,
    query: Option<String>,
}

/// Those that are still at work for a database, each told to stop. Says why they could not be looked at: then nobody knows what they
/// still commit.
pub async fn look(
    proxy: &ProxyState,
    logins: &Logins,
    names: &[Arc<Database>],
    force: bool,
) -> Result<Vec<OpenTransaction>, String> {
    let Some(database) = to_be_asked(names) else { return Ok(Vec::new()) };
    let mine = of(proxy, names);
    if mine.is_empty() {
        return Ok(Vec::new());
    }
    let cluster = database.setup().cluster.clone();
    let looked = look_on_primary(proxy, logins, &cluster, mine.clone(), force).await;
    if looked.is_err() {
        mine.iter().for_each(|stray| stray.note(Sight::Unreachable));
    }
    looked
}

async fn look_on_primary(
    proxy: &ProxyState,
    logins: &Logins,
    cluster: &Cluster,
    mine: Vec<Arc<Stray>>,
    force: bool,
) -> Result<Vec<OpenTransaction>, String> {
    let at = cluster.primary().ok_or("no primary is known")?;
    let login = logins(cluster, at).ok_or("no way to log in")?;
    let asked = async {
        let _turn = cluster.question_turn.lock().await;
        let mut fresh = login.run(&[]).await.map_err(|error| error.to_string())?;
        stop(proxy, &login, &mut fresh, mine, force).await
    };
    timeout(login.timeout.min(PATIENCE), asked).await.map_err(|_| "the primary does not answer".to_owned())?
}

/// Those that were opened for any name of a database and may still commit something there.
fn of(proxy: &ProxyState, names: &[Arc<Database>]) -> Vec<Arc<Stray>> {
    let mut all = proxy.ledger.strays();
    if all.is_empty() {
        return all;
    }
    let setups: Vec<_> = names.iter().map(|one| (one, one.peek_setup())).collect();
    let dbnames: Vec<_> = setups.iter().map(|(one, setup)| setup.settings.server_dbname(&one.name)).collect();
    let clusters: Vec<_> = setups.iter().map(|(_, setup)| &setup.cluster).collect();
    all.retain(|stray| dbnames.contains(&stray.backend.dbname.as_str()) && concerns(proxy, &clusters, &stray.backend));
    all
}

/// Whether it may commit something on a server of these clusters. One whose address no cluster has any more may be anywhere.
fn concerns(proxy: &ProxyState, clusters: &[&Arc<Cluster>], backend: &Backend) -> bool {
    let known: Vec<bool> = clusters.iter().filter_map(|cluster| cluster.may_still_commit(&backend.address)).collect();
    if !known.is_empty() {
        return known.contains(&true);
    }
    !proxy.databases.all().iter().any(|other| other.peek_setup().cluster.may_still_commit(&backend.address).is_some())
}

async fn stop(
    proxy: &ProxyState,
    login: &Login,
    fresh: &mut Fresh,
    mine: Vec<Arc<Stray>>,
    force: bool,
) -> Result<Vec<OpenTransaction>, String> {
    let seen = ask(fresh, &mine).await?;
    let now = micros(SystemTime::now());
    let (mut gone, mut busy) = (Vec::new(), Vec::new());
    for stray in mine {
        let Some(seen) = seen.get(&stray.backend.pid).filter(|seen| is_it(&stray.backend, seen, now)) else {
            gone.push(stray);
            continue;
        };
        let idle = seen.state.as_deref() == Some("idle");
        let running = seen.query.clone().unwrap_or_default();
        stray.note(if idle { Sight::Idle } else { Sight::Running(running.clone()) });
        if !idle {
            busy.push(describe(&stray, Some(running)));
            if let Err(error) = cancel(login, stray.backend.pid, &stray.backend.secret).await {
                tracing::warn!(event = "back_end_not_cancelled", pid = stray.backend.pid, %error, "a back end without a client could not be cancelled");
            }
        }
        if let Some(started) = seen.started.as_ref().filter(|_| idle || force || stray.since.elapsed() > PATIENCE) {
            let sql = servers::terminate_if_started(stray.backend.pid, started);
            if let Err(error) = fresh.rows(&sql).await {
                tracing::warn!(event = "back_end_not_terminated", pid = stray.backend.pid, %error, "a back end without a client could not be terminated");
            }
        }
    }
    proxy.ledger.forget(&gone);
    Ok(busy)
}

async fn ask(fresh: &mut Fresh, mine: &[Arc<Stray>]) -> Result<HashMap<u32, Seen>, String> {
    let pids: Vec<u32> = mine.iter().map(|stray| stray.backend.pid).collect();
    let sql = servers::back_ends(&pids, SHOWN);
    let rows = fresh.rows(&sql).await.map_err(|error| error.to_string())?;
    let seen = rows.into_iter().filter_map(|row| {
        let mut fields = row.into_iter();
        let mut next = || fields.next().flatten();
        let pid = next()?.parse().ok()?;
        let (user, dbname, state) = (next().unwrap_or_default(), next().unwrap_or_default(), next());
        let age = next().and_then(|text| text.parse().ok());
        let (started, port) = (next(), next().and_then(|text| text.parse().ok()));
        Some((pid, Seen { user, dbname, state, age, started, port, query: next() }))
    });
    Ok(seen.collect())
}

/// Whether a process is that back end. Where its start cannot be seen, it is taken for it.
fn is_it(backend: &Backend, seen: &Seen, now: u64) -> bool {
    if seen.user != backend.user || seen.dbname != backend.dbname {
        return false;
    }
    let Some(age) = seen.age else { return true };
    let began = now.saturating_sub(age);
    let (first, last) = backend.began;
    let same_time = (first.saturating_sub(TOLERANCE)..=last.saturating_add(TOLERANCE)).contains(&began);
    let port = backend.local.map(|local| local.port());
    same_time || port.is_some() && port == seen.port
}

/// `running`: what it runs; None if its server cannot be reached.
fn describe(stray: &Stray, running: Option<String>) -> OpenTransaction {
    let age = Duration::from_micros(micros(SystemTime::now()).saturating_sub(stray.backend.began.1));
    OpenTransaction {
        user: stray.backend.user.clone(),
        application_name: String::new(),
        client_address: format!("(gone, back end {})", stray.backend.pid),
        age,
        unreachable: running.is_none(),
        statement: running,
    }
}

/// Those of a database that were at work when somebody last looked, or whose server could not be asked then.
pub fn known(proxy: &ProxyState, names: &[Arc<Database>]) -> Vec<OpenTransaction> {
    let known = of(proxy, names).into_iter().filter_map(|stray| match stray.sight() {
        Sight::NotYet | Sight::Idle => None,
        Sight::Running(statement) => Some(describe(&stray, Some(statement))),
        Sight::Unreachable => Some(describe(&stray, None)),
    });
    known.collect()
}

/// Looks after them as long as there are any; never ends by itself.
pub async fn watch(proxy: Weak<ProxyState>, logins: Logins) {
    let Some(ledger) = proxy.upgrade().map(|proxy| proxy.ledger.clone()) else { return };
    loop {
        let _ = timeout(LOOK, ledger.another_stray()).await;
        sleep(SOON).await;
        let Some(proxy) = proxy.upgrade() else { return };
        if !proxy.ledger.has_strays() {
            continue;
        }
        for database in proxy.databases.all() {
            if let Err(why) = look(&proxy, &logins, std::slice::from_ref(&database), false).await {
                tracing::debug!(event = "back_ends_unknown", database = %database.name, error = why, "back ends without a client cannot be looked at");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_back_end_is_known_by_its_start_or_its_port() {
        let local = Some(([127, 0, 0, 1], 4711).into());
        let text = |text: &str| text.to_owned();
        let began = (100_000_000, 100_100_000);
        let backend = Backend {
            address: text("x:1"),
            pid: 7,
            secret: vec![],
            user: text("app"),
            dbname: text("db"),
            local,
            began,
        };
        let seen = |user: &str, age: Option<u64>, port: Option<u16>| Seen {
            user: text(user),
            dbname: text("db"),
            state: None,
            age,
            started: None,
            port,
            query: None,
        };
        let now = 200_000_000;
        assert!(is_it(&backend, &seen("app", Some(100_000_000), None), now));
        assert!(is_it(&backend, &seen("app", Some(1_000), Some(4711)), now));
        assert!(is_it(&backend, &seen("app", None, None), now));
        assert!(!is_it(&backend, &seen("app", Some(1_000), Some(4712)), now));
        assert!(!is_it(&backend, &seen("other", Some(100_000_000), Some(4711)), now));
    }
}
