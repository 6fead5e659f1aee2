//! Gates that are closed for a move, with writes held, and opened again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::mover;
use crate::gate::{
    Gate, GateError, Given, Mode, OnDefaults, OnOptions, OnTimeout, Reads, Target, TransitionHandle, Verb, Wait, Writes,
};
use crate::moving::Move;
use crate::shared::ProxyState;
use crate::topology::Cluster;

/// Between two looks at a gate that drains.
const LOOK: Duration = Duration::from_millis(2);

/// How gates are closed.
pub(super) struct Terms {
    /// Told to whoever is refused after all.
    pub(super) message: String,
    /// How long a write waits.
    pub(super) hold_timeout: Duration,
    /// How long open transactions may take to end.
    pub(super) drain_timeout: Duration,
    /// What happens to those that do not.
    pub(super) on_timeout: OnTimeout,
}

impl Terms {
    fn options(&self) -> OnOptions {
        OnOptions {
            message: Given::Value(self.message.clone()),
            until: Given::Nothing,
            expire: Given::Nothing,
            writes: Some(Writes::Hold),
            hold_timeout: Some(self.hold_timeout),
            drain_timeout: Some(self.drain_timeout),
            on_timeout: Some(self.on_timeout),
            reads: Some(Reads::Any),
            // What the check does not see, the server keeps out: it is made read-only.
            accept_unchecked: true,
            ..OnOptions::new(OnDefaults::default())
        }
    }
}

/// The gates of all databases that these clusters' servers have, each once.
pub(super) fn gates_of(proxy: &ProxyState, clusters: &[Arc<Cluster>]) -> Vec<Arc<Gate>> {
    let mut gates: Vec<Arc<Gate>> = Vec::new();
    for database in proxy.databases.all() {
        let setup = database.setup();
        let here = clusters.iter().any(|cluster| Arc::ptr_eq(cluster, &setup.cluster));
        if here && !gates.iter().any(|known| Arc::ptr_eq(known, &setup.gate)) {
            gates.push(setup.gate.clone());
        }
    }
    gates
}

/// Whether a person has closed it: then it is not a move's to close and open.
pub(super) fn is_closed_by_a_person(gate: &Gate) -> bool {
    gate.view().switches.in_force().is_some_and(|terms| terms.who != mover())
}

/// Closes those gates and waits until nothing is written behind them. Some may be closed after an error; `one` may be called off.
pub(super) async fn close(proxy: &ProxyState, one: &Move, names: &[String], terms: &Terms) -> Result<(), GateError> {
    let mut handles = Vec::new();
    let mut failed = None;
    for name in names {
        match proxy.gates.maintenance_on(Target::One(name.clone()), terms.options(), mover(), Wait::Quiesced) {
            Ok(handle) => handles.push(handle),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    let closed = async {
        for handle in &mut handles {
            all_of(handle).await?;
        }
        Ok(())
    };
    let gates: Vec<_> = names.iter().filter_map(|name| proxy.gates.get(name)).collect();
    let closed = tokio::select! {
        biased;
        closed = closed => closed,
        // The commands still ask for what a maintenance wants to know: a move looks for itself.
        () = until_drained(proxy, &gates) => Ok(()),
        by = one.called_off() => {
            let database = names.first().cloned().unwrap_or_default();
            Err(GateError::CalledOff { database, verb: Verb::On, by })
        }
    };
    failed.map_or(closed, Err)
}

/// Waits until no transaction that may write is open behind closed gates, nor one that has lost its connection.
async fn until_drained(proxy: &ProxyState, gates: &[Arc<Gate>]) {
    while !gates.iter().all(|gate| !is_open(gate) && gate.in_flight() == 0) || proxy.ledger.has_strays() {
        sleep(LOOK).await;
    }
}

fn is_open(gate: &Gate) -> bool {
    gate.state().mode == Mode::ReadWrite
}

/// The first of those gates that is open.
pub(super) fn find_open(proxy: &ProxyState, names: &[String]) -> Option<String> {
    names.iter().find(|name| proxy.gates.get(name).is_none_or(|gate| is_open(&gate))).cloned()
}

async fn all_of(handle: &mut TransitionHandle) -> Result<(), GateError> {
    for (_, outcome) in handle.outcome().await {
        outcome?;
    }
    Ok(())
}

/// Opens those of the gates that a move has closed. What a person has closed meanwhile stays.
pub(super) async fn open(proxy: &ProxyState, names: &[String]) -> Result<(), GateError> {
    // One that was given up on may be about to close its gate.
    let closes = |gate: &Gate| gate.under_way().is_some_and(|(verb, who)| verb == Verb::On && who == mover());
    let is_closed = |gate: &Gate| gate.view().switches.maintenance.as_ref().is_some_and(|terms| terms.who == mover());
    let is_ours = |name: &&String| proxy.gates.get(name.as_str()).is_some_and(|gate| closes(&gate) || is_closed(&gate));
    let mut handles = Vec::new();
    let mut failed = None;
    for name in names.iter().filter(is_ours) {
        match proxy.gates.maintenance_off(Target::One(name.clone()), mover()) {
            Ok(handle) => handles.push(handle),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    for handle in &mut handles {
        if let Err(error) = all_of(handle).await {
            failed = failed.or(Some(error));
        }
    }
    failed.map_or(Ok(()), Err)
}
