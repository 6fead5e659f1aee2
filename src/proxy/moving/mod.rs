//! The steps of moves: what [`crate::moving`] writes down is done here.
//!
//! [`switchover`] makes another server of a cluster its primary, [`activate`] has another one of several primaries used, [`migrate`]
//! leads a database to another cluster. [`hold`] closes and opens gates for a move, [`talk`] asks the servers
//! that it is about, [`options`] reads what a command is given, [`lines`] words what is found. A move runs as a task of its own ([`life`]): whoever gave the command follows it, and it goes on without them.
//! What can be refused is refused before a move is begun; one that was begun ends, whatever happens. What an
//! earlier life of the process has left unfinished is taken up at the start ([`resume`]). [`retired`] looks after servers that were
//! the primary before.

pub mod activate;
mod hold;
mod life;
mod lines;
pub mod migrate;
pub(in crate::proxy) mod options;
mod retired;
pub mod switchover;
mod talk;

use std::sync::Arc;

use crate::events::{Event, Kind, publish};
use crate::gate::{Gate, Who};
use crate::moving::{MoveKind, MoveOf, Moves, Scope, Step};
use crate::protocol::Report;
use crate::shared::ProxyState;
use crate::topology::Cluster;

pub use crate::proxy::moving::retired::watch_retired;

/// By whom gates are closed for a move: nobody else opens them.
fn mover() -> Who {
    Who { user: "pgsluice switchover".into(), address: None }
}

/// Begins a move of every database of these clusters. `database` is the one that was named.
///
/// # Errors
/// 55006: another one is under way.
fn begin_of_clusters<K: Clone + Into<MoveKind>>(
    proxy: &ProxyState,
    known: K,
    clusters: &[Arc<Cluster>],
    database: &str,
    who: Who,
) -> Result<MoveOf<K>, Report> {
    let gates = hold::gates_of(proxy, clusters);
    let scope = Scope {
        clusters: clusters.iter().map(|cluster| cluster.name.clone()).collect(),
        databases: gates.iter().map(|gate| gate.place().clone()).collect(),
    };
    let names = gates.iter().flat_map(|gate| gate.names()).collect();
    let begun = proxy.moves.begin(known.clone().into(), scope, (database, names), who);
    let begun = begun.map_err(|error| Report::error(error.sqlstate(), error.to_string()).with_hint(error.hint()))?;
    Ok(MoveOf::new(begun, known))
}

/// Tells a cluster that is new here what moves, failovers and people's decisions have left: which of its servers are the primary no
/// longer, and which is about to become it.
pub fn prepare(moves: &Moves, cluster: &Cluster) {
    if let Some(latest) = moves.latest_primary(&cluster.name) {
        cluster.remember_primary(latest.system_identifier, latest.timeline);
    }
    for retired in moves.retired().iter().filter(|retired| retired.cluster == cluster.name) {
        if let Some(at) = cluster.find_server(&retired.server) {
            cluster.retire_server(at, retired.timeline);
        }
    }
    for entry in moves.all().into_iter().filter(|entry| entry.end.is_none()) {
        let (name, began) = match &entry.what {
            MoveKind::Switchover(one) => (&one.cluster, one.step >= Step::Fence),
            MoveKind::Activate(one) => (&one.cluster, one.step >= Step::Down),
            MoveKind::Migrate(_) => continue,
        };
        let ends = (cluster.find_server(entry.what.from()), cluster.find_server(entry.what.to()));
        if let (true, true, (Some(from), Some(to))) = (*name == cluster.name, began, ends) {
            cluster.begin_handover(from, to);
        }
    }
}

/// Takes up what an earlier life has left unfinished, and says which databases were closed by a move that nobody knows any more.
pub fn resume(proxy: &Arc<ProxyState>) {
    let names = |scope: &Scope| -> Vec<Arc<str>> {
        let all = proxy.databases.all().into_iter();
        all.filter(|database| scope.has(database.setup().gate.place())).map(|database| database.name.clone()).collect()
    };
    let mut known: Vec<Arc<Gate>> = Vec::new();
    for one in proxy.moves.take_up(names) {
        let what = one.entry().what;
        known.extend(what.closed().iter().filter_map(|name| proxy.gates.get(name)));
        let (proxy, shared) = (proxy.clone(), one.clone());
        match what {
            MoveKind::Switchover(known) => life::start(&shared, switchover::resume(proxy, MoveOf::new(one, known))),
            MoveKind::Activate(known) => life::start(&shared, activate::resume(proxy, MoveOf::new(one, known))),
            MoveKind::Migrate(known) => life::start(&shared, migrate::resume(proxy, MoveOf::new(one, *known))),
        }
    }
    for row in proxy.gates.show() {
        let by_move = row.terms.as_ref().is_some_and(|terms| terms.who == mover());
        let gate = proxy.gates.get(&row.database);
        if by_move && !gate.is_some_and(|gate| known.iter().any(|one| Arc::ptr_eq(one, &gate))) {
            let text = "closed by a move of which nothing is known any more: look at the servers, then MAINTENANCE OFF opens it";
            publish!(proxy.events, error, Event::new(Kind::MovesLost, text).about(&row.database));
        }
    }
}
