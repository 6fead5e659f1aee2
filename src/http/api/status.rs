//! `/v1/status`: all at a glance, for the status page. With `Accept: text/event-stream` it comes anew each second.
//!
//! Of many databases the closed ones are shown first, and a bounded number of them. What belongs to one database is told of the one
//! that is asked for. Clients are counted where they are, so that no list of them is made.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use utoipa::{IntoParams, ToSchema};

use super::asking::{Asked, wants_stream};
use super::databases::KeptOut;
use super::events;
use super::moving::progress::MoveView;
use super::operations::crowded;
use super::views::{DatabaseDetail, OperationView, Refused};
use crate::gate::{Mode, ServerDatabase};
use crate::http::Api;
use crate::http::access::{Identity, Reader, Role};
use crate::http::problem::Problem;
use crate::log::millis;
use crate::shared::{Client, Phase, ProxyState};
use crate::topology;

/// Databases in the list.
const DATABASES: usize = 100;
/// Rows of what is kept out.
const ROWS: usize = 50;
/// Members of a fleet that are named.
const MEMBERS: usize = 100;
/// Operators that are named.
const OPERATORS: usize = 50;
/// Pools with waiting clients that are named.
const POOLS: usize = 50;
/// Operations that are told of.
const OPERATIONS: usize = 5;
/// Events that are told of.
const EVENTS: usize = 60;
const TICK: Duration = Duration::from_secs(1);

/// What to tell of.
#[derive(Clone, Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Of {
    /// The database that all is told of.
    database: Option<String>,
    /// Databases whose names contain this.
    search: Option<String>,
}

/// How many databases are in each mode.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Modes {
    read_write: usize,
    draining: usize,
    read_only: usize,
    offline: usize,
}

/// A database in the list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Brief {
    database: String,
    mode: &'static str,
    /// Why it is not read_write, as `/v1/databases` has it.
    cause: Option<&'static str>,
    since: Option<String>,
    message: Option<String>,
}

/// A server, as the monitor last saw it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServerView {
    address: String,
    /// `primary`, `replica`, `contested`, `down` and so on.
    role: &'static str,
    lag_ms: Option<u64>,
    lag_bytes: Option<u64>,
    /// Connections that clients use now.
    in_use: usize,
    error: Option<String>,
}

/// An operator's session.
#[derive(Debug, Serialize, ToSchema)]
pub struct OperatorView {
    user: String,
    application_name: String,
    client_address: String,
    in_transaction: bool,
}

/// A pool for which clients wait.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaitingView {
    database: String,
    user: String,
    /// Clients that wait for a server connection.
    waiting: usize,
    /// Clients whose write waits for the gate.
    held: usize,
    longest_ms: u64,
}

/// Counters since the start of the process; the page makes rates of them.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct Traffic {
    transactions: u64,
    queries: u64,
    /// Transactions that ran on a replica.
    replica_transactions: u64,
    refused: u64,
}

/// A member of the fleet, and how far it has come with the database.
#[derive(Debug, Serialize, ToSchema)]
pub struct MemberView {
    member: String,
    address: String,
    version: String,
    clients: u64,
    /// `member`, `lost` or `gone`, as SHOW FLEET has it.
    state: &'static str,
    leads: bool,
    /// Whether it has done what the last command wants.
    passed: Option<bool>,
    waits_for: Option<String>,
}

/// One database in full.
#[derive(Debug, Serialize, ToSchema)]
pub struct Selected {
    #[serde(flatten)]
    database: DatabaseDetail,
    kept_out: Option<KeptOut>,
    /// The move that it takes part in, or took part in a moment ago.
    moving: Option<MoveView>,
    traffic: Traffic,
    servers: Vec<ServerView>,
    operators: Vec<OperatorView>,
    /// The members of the fleet; empty without one.
    members: Vec<MemberView>,
}

/// All at a glance.
#[derive(Debug, Serialize, ToSchema)]
pub struct Status {
    now: String,
    version: &'static str,
    /// When the process began to serve.
    began: Option<String>,
    /// Who asks, and what they may.
    user: String,
    role: Role,
    clients: usize,
    modes: Modes,
    /// Databases that were asked for; the list has the first hundred, closed ones first.
    total: usize,
    databases: Vec<Brief>,
    selected: Option<Selected>,
    waiting: Vec<WaitingView>,
    operations: Vec<OperationView>,
    /// The last events about the database that is asked for, or about all; oldest first.
    #[schema(value_type = Vec<Object>)]
    events: Vec<Box<RawValue>>,
}

/// All at a glance
///
/// Whoever accepts `text/event-stream` gets an event `status` each second.
#[utoipa::path(get, path = "/v1/status", operation_id = "status", tag = "process", params(Of), responses(
    (status = 200, description = "As it is now", content((Status = "application/json"), (String = "text/event-stream"))),
    (status = 503, description = "Too many requests wait already", body = Problem, content_type = "application/problem+json"),
    Refused))]
pub async fn get(
    Reader(mut identity): Reader,
    State(api): State<Arc<Api>>,
    Asked(of): Asked<Of>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !wants_stream(&headers) {
        return Ok(Json(look(&api, &identity, &of).await).into_response());
    }
    let place = api.long.clone().try_acquire_owned().map_err(|_| crowded())?;
    let (told, read) = mpsc::channel::<Result<Event, Infallible>>(2);
    tokio::spawn(async move {
        let _place = place;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = told.closed() => return,
            }
            // Whose token was taken away is told nothing more.
            let Some(role) = identity.role_now(&api) else { return };
            identity.role = role;
            let text = serde_json::to_string(&look(&api, &identity, &of).await).unwrap_or_default();
            if told.send(Ok(Event::default().event("status").data(text))).await.is_err() {
                return;
            }
        }
    });
    Ok(Sse::new(ReceiverStream::new(read)).into_response())
}

async fn look(api: &Api, identity: &Identity, of: &Of) -> Status {
    let proxy = &api.proxy;
    let mut rows = proxy.gates.show();
    let mut modes = Modes::default();
    for row in rows.iter().filter(|row| row.database != "*") {
        let count = match row.mode {
            Mode::ReadWrite => &mut modes.read_write,
            Mode::Draining { .. } => &mut modes.draining,
            Mode::ReadOnly { .. } => &mut modes.read_only,
            Mode::Offline => &mut modes.offline,
        };
        *count += 1;
    }
    let search = of.search.as_deref().unwrap_or_default().to_lowercase();
    rows.retain(|row| row.database.to_lowercase().contains(&search));
    let total = rows.len();
    // What changes first, what is closed next.
    rows.sort_by_key(|row| match row.mode {
        Mode::Draining { .. } => 0,
        Mode::ReadOnly { .. } | Mode::Offline => 1,
        Mode::ReadWrite => 2,
    });
    let databases = rows.into_iter().take(DATABASES).map(|row| Brief {
        database: row.database,
        mode: row.mode.as_str(),
        cause: row.terms.as_ref().map(|terms| terms.cause.word()),
        since: (row.epoch.0 > 0).then(|| row.since.to_string()),
        message: row.terms.and_then(|terms| terms.message),
    });
    let databases: Vec<Brief> = databases.collect();
    let crowd = count_clients(proxy, of.database.as_deref()).await;
    let selected = of.database.as_deref().and_then(|name| select(proxy, name, crowd.operators));
    let mut waiting: Vec<_> = crowd.waiting.into_values().collect();
    waiting.sort_by_key(|pool| std::cmp::Reverse(pool.longest_ms));
    waiting.truncate(POOLS);
    let operations = api.operations.all();
    let operations = operations.iter().take(OPERATIONS).map(|one| OperationView::of(proxy, one)).collect();
    Status {
        now: Timestamp::now().to_string(),
        version: env!("CARGO_PKG_VERSION"),
        began: Timestamp::try_from(proxy.began).ok().map(|at| at.to_string()),
        user: identity.who.user.clone(),
        role: identity.role,
        clients: crowd.clients,
        modes,
        total,
        databases,
        selected,
        waiting,
        operations,
        events: events::recent(proxy, of.database.as_deref(), EVENTS),
    }
}

fn select(proxy: &ProxyState, name: &str, operators: Vec<OperatorView>) -> Option<Selected> {
    let database = DatabaseDetail::find(proxy, name)?;
    let gate = proxy.gates.get(name);
    let members = gate.as_ref().map(|gate| members(proxy, gate.place())).unwrap_or_default();
    let names = gate.map(|gate| proxy.databases.of_gate(&gate)).unwrap_or_default();
    let mut traffic = Traffic::default();
    for one in &names {
        let totals = one.stats.totals();
        traffic.transactions += totals.xacts;
        traffic.queries += totals.queries;
        traffic.replica_transactions += totals.replica_xacts;
        traffic.refused += totals.refused;
    }
    let servers = names.first().map(|one| servers(&one.setup().cluster)).unwrap_or_default();
    let moving = names.first().and_then(|one| MoveView::concerning(proxy, one.gate.place()));
    Some(Selected { database, kept_out: KeptOut::of(proxy, name, ROWS), moving, traffic, servers, operators, members })
}

fn members(proxy: &ProxyState, place: &ServerDatabase) -> Vec<MemberView> {
    let Some(fleet) = proxy.fleet.get() else { return Vec::new() };
    let shown = fleet.now();
    let view = &shown.view;
    let desired = view.desired.get(place).map(|(_, desired)| desired);
    let known = view.members.values().map(|member| {
        let ack = desired.and_then(|desired| view.ack(place, desired.epoch, member));
        MemberView {
            member: member.id.clone(),
            address: member.address.clone(),
            version: member.version.clone(),
            clients: member.clients,
            state: if member.id == fleet.id && !shown.is_member { "lost" } else { "member" },
            leads: view.leader.as_ref().is_some_and(|(id, _)| *id == member.id),
            passed: desired.map(|_| ack.is_some_and(|ack| ack.passed)),
            waits_for: ack.and_then(|ack| ack.waits_for.clone()),
        }
    });
    let named = |id: &str, state| MemberView {
        member: id.to_owned(),
        address: String::new(),
        version: String::new(),
        clients: 0,
        state,
        leads: false,
        passed: None,
        waits_for: None,
    };
    let own = (!view.members.contains_key(&fleet.id)).then(|| named(&fleet.id, "lost"));
    let gone = view.unfenced().filter(|((id, _), _)| *id != fleet.id).map(|((id, _), _)| named(id, "gone"));
    known.chain(own).chain(gone).take(MEMBERS).collect()
}

fn servers(cluster: &topology::Cluster) -> Vec<ServerView> {
    let server = |(at, upstream): (usize, &topology::Upstream)| {
        let role = upstream.role();
        let up = matches!(role, topology::Role::Primary | topology::Role::Replica);
        let error = upstream.error();
        ServerView {
            address: upstream.address.to_string(),
            role: cluster.role_word(at),
            lag_ms: up.then(|| millis(upstream.lag())),
            lag_bytes: up.then(|| upstream.lag_bytes()),
            in_use: upstream.busy(),
            error: (!error.is_empty()).then_some(error),
        }
    };
    cluster.upstreams.iter().enumerate().map(server).collect()
}

/// What the clients of all cores come to.
#[derive(Default)]
struct Crowd {
    clients: usize,
    operators: Vec<OperatorView>,
    waiting: BTreeMap<(Arc<str>, Arc<str>), WaitingView>,
}

impl Crowd {
    fn see(&mut self, client: &Client, database: Option<&str>) {
        self.clients += 1;
        let phase = client.phase.get();
        if matches!(phase, Phase::Waiting | Phase::Held) {
            let key = (client.database_name.clone(), client.user.clone());
            let pool = self.waiting.entry(key).or_insert_with(|| WaitingView {
                database: client.database_name.to_string(),
                user: client.user.to_string(),
                waiting: 0,
                held: 0,
                longest_ms: 0,
            });
            if phase == Phase::Held {
                pool.held += 1
            } else {
                pool.waiting += 1
            }
            pool.longest_ms = pool.longest_ms.max(millis(client.phase_since.get().elapsed()));
        }
        if client.operator && self.operators.len() < OPERATORS && database == Some(&*client.database_name) {
            self.operators.push(OperatorView {
                user: client.user.to_string(),
                application_name: client.application_name.borrow().clone(),
                client_address: client.address_words(),
                in_transaction: matches!(phase, Phase::Active | Phase::IdleInTransaction),
            });
        }
    }

    fn add(&mut self, other: Self) {
        self.clients += other.clients;
        self.operators.extend(other.operators);
        self.operators.truncate(OPERATORS);
        for (key, pool) in other.waiting {
            match self.waiting.get_mut(&key) {
                Some(known) => {
                    known.waiting += pool.waiting;
                    known.held += pool.held;
                    known.longest_ms = known.longest_ms.max(pool.longest_ms);
                }
                None => _ = self.waiting.insert(key, pool),
            }
        }
    }
}

async fn count_clients(proxy: &ProxyState, database: Option<&str>) -> Crowd {
    let database: Option<Arc<str>> = database.map(Into::into);
    let parts = proxy.look_at_clients(move |clients| {
        let mut crowd = Crowd::default();
        clients.filter(|client| client.database.is_some()).for_each(|one| crowd.see(&one, database.as_deref()));
        crowd
    });
    let mut all = Crowd::default();
    parts.await.into_iter().for_each(|crowd| all.add(crowd));
    all
}
