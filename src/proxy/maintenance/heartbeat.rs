//! The write heartbeat: whether a server that claims to take writes really does.
//!
//! Each database that wants it has a task that writes one row, in a session of its own each time, so that it meets the settings that
//! a new session would. A beat is a write like any other: it holds a ticket of the gate, so that nothing is written once a person has
//! closed it. While automation keeps the gate closed, the write is only tried, and taken back.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::environment::Logins;
use crate::events::{Event, Kind, publish};
use crate::gate::{Mode, WriteTicket};
use crate::protocol::ErrorFields;
use crate::server::login::{Fresh, LoginError};
use crate::server::own_query::Row;
use crate::shared::{Database, ProxyState};
use crate::sql::own_statements::heartbeat::{BEAT, TRIAL};

/// How often it is looked which databases want it.
const LOOK: Duration = Duration::from_millis(500);
/// Between two beats once one has failed, until it is clear whether that lasts.
const AGAIN: Duration = Duration::from_secs(1);
/// How long the server may take to end the statement by itself, and how long it is waited for.
const STATEMENT: &str = "4s";
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the ticket of a write without an answer is kept.
const LAST_WORD: Duration = Duration::from_secs(30);
/// Beats that have to fail in a row until that is taken for lasting.
const FEWEST: u32 = 3;

/// What a beat has come to.
#[derive(Debug, PartialEq, Eq)]
enum Beat {
    /// There was nothing to be tried: no primary, or the gate is closed by a person.
    Skipped,
    /// It was written, or could have been.
    Works,
    /// The server has refused it, or said nothing.
    Fails(String),
    /// It cannot be tried: the table or the right to write it is missing.
    NotSetUp(String),
}

/// Keeps a task for each database that wants one.
pub async fn watch(proxy: Weak<ProxyState>, logins: Logins) {
    let mut tasks: HashMap<Arc<str>, JoinHandle<()>> = HashMap::new();
    loop {
        sleep(LOOK).await;
        let Some(proxy) = proxy.upgrade() else { break };
        let wanted: Vec<Arc<Database>> =
            proxy.databases.all().into_iter().filter(|one| one.setup().settings.heartbeat).collect();
        tasks.retain(|name, task| {
            let stays = wanted.iter().any(|one| one.name == *name);
            if !stays {
                task.abort();
                proxy.databases.all().iter().filter(|one| one.name == *name).for_each(|one| one.heartbeat.note(None));
            }
            stays && !task.is_finished()
        });
        for database in wanted {
            let (proxy, logins) = (proxy.clone(), logins.clone());
            tasks.entry(database.name.clone()).or_insert_with(|| {
                let of = Arc::downgrade(&database);
                tokio::spawn(beats(Arc::downgrade(&proxy), of, logins))
            });
        }
    }
    tasks.into_values().for_each(|task| task.abort());
}

/// Since when beats fail.
struct Trouble {
    since: Timestamp,
    begun: Instant,
    beats: u32,
}

async fn beats(proxy: Weak<ProxyState>, database: Weak<Database>, logins: Logins) {
    let Some(first) = database.upgrade().map(|one| one.setup().settings.heartbeat_initial_delay) else { return };
    sleep(first).await;
    let mut trouble: Option<Trouble> = None;
    let mut told = None;
    loop {
        let (Some(proxy), Some(database)) = (proxy.upgrade(), database.upgrade()) else { return };
        let beat = beat(&database, &logins).await;
        let event = |kind: Kind, text: &str| Event::new(kind, text).about(&database.name);
        match beat {
            Beat::Skipped => {}
            Beat::Works => {
                told = None;
                database.heartbeat.note(None);
                if let Some(before) = trouble.take() {
                    let text = "the heartbeat can write again: the database is switched to read-write";
                    publish!(proxy.events, warn, event(Kind::HeartbeatWorks, text), beats = before.beats);
                }
            }
            Beat::Fails(error) => {
                let now = || Trouble { since: Timestamp::now(), begun: Instant::now(), beats: 0 };
                let known = trouble.get_or_insert_with(now);
                known.beats += 1;
                let lasts = database.setup().cluster.lost_after.is_some_and(|after| known.begun.elapsed() >= after);
                let lasting = lasts && known.beats >= FEWEST;
                let text = match (known.beats, lasting) {
                    (1, _) => "the heartbeat cannot write",
                    (_, true) => "the heartbeat cannot write: the database remains read-only",
                    (_, false) => "the heartbeat still cannot write",
                };
                if lasting {
                    database.heartbeat.note(Some(known.since));
                }
                publish!(proxy.events, warn, event(Kind::HeartbeatFailed, text), error = error, beats = known.beats);
            }
            Beat::NotSetUp(error) => {
                if told.replace(error.clone()).as_ref() != Some(&error) {
                    let text = "the heartbeat is not set up: pgsluice heartbeat init makes its table";
                    publish!(proxy.events, error, event(Kind::HeartbeatFailed, text), error = error);
                }
            }
        }
        let interval = database.setup().settings.heartbeat_interval;
        let unclear = trouble.is_some() && database.heartbeat.failing().is_none();
        drop((proxy, database));
        sleep(if unclear { interval.min(AGAIN) } else { interval }).await;
    }
}

/// Writes, or tries to.
async fn beat(database: &Database, logins: &Logins) -> Beat {
    let setup = database.setup();
    let (view, gate) = (setup.gate.view().clone(), setup.gate.clone());
    if view.state.mode != Mode::ReadWrite && !view.is_automatic() {
        return Beat::Skipped;
    }
    let Some(mut login) = setup.cluster.primary().and_then(|at| logins(&setup.cluster, at)) else {
        return Beat::Skipped;
    };
    login.dbname = setup.settings.server_dbname(&database.name).to_owned();
    login.parameters.push(("statement_timeout".to_owned(), STATEMENT.to_owned()));
    let mut fresh = match login.run(&[]).await {
        Ok(fresh) => fresh,
        Err(LoginError::Refused(body)) => return refused(&body),
        // Whether a server can be reached is the monitor's to say.
        Err(_) => return Beat::Skipped,
    };
    let ticket = match (view.state.mode, gate.enter(0)) {
        (_, Ok(ticket)) => Some(ticket),
        // It has closed while this logged in.
        (Mode::ReadWrite, Err(_)) => return Beat::Skipped,
        (_, Err(_)) => None,
    };
    let sql = if ticket.is_some() { BEAT } else { TRIAL };
    match timeout(PATIENCE, fresh.rows(sql)).await {
        Ok(Ok(rows)) => written(&rows),
        Ok(Err(LoginError::Refused(body))) => refused(&body),
        Ok(Err(_)) => Beat::Skipped,
        Err(_) => {
            tokio::spawn(last_word(fresh, ticket));
            Beat::Fails(format!("no answer within {PATIENCE:?}"))
        }
    }
}

/// A write that has no answer yet may still be committed: its ticket is given back once the server has said something.
async fn last_word(mut fresh: Fresh, ticket: Option<WriteTicket>) {
    let _ = timeout(LAST_WORD, std::future::poll_fn(|cx| fresh.stream.poll_readable(cx))).await;
    drop(fresh);
    drop(ticket);
}

fn written(rows: &[Row]) -> Beat {
    if rows.is_empty() { Beat::NotSetUp("the table has no row".to_owned()) } else { Beat::Works }
}

fn refused(body: &[u8]) -> Beat {
    let fields = ErrorFields::new(body);
    let words = fields.summary().to_string();
    match fields.code() {
        // No such table or schema, no right to it, no such column; no right to log in, no such database, no room.
        b"42P01" | b"3F000" | b"42501" | b"42703" | b"3D000" | b"53300" => Beat::NotSetUp(words),
        code if code.starts_with(b"28") => Beat::NotSetUp(words),
        // It starts or stops: the monitor knows.
        code if code.starts_with(b"57P") => Beat::Skipped,
        _ => Beat::Fails(words),
    }
}
