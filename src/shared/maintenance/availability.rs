//! Whether a database can be read and written now, and why not: for whoever asks whether it is ready.

use crate::config;
use crate::gate::{GateView, Mode};
use crate::protocol::Report;
use crate::shared::Database;
use crate::topology::{Cluster, Leader};

/// Whether one kind of statement is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Service {
    /// It is.
    Served,
    /// It is not, for this reason. Hosts are not named.
    NotServed(String),
}

impl Service {
    /// Whether it is served.
    pub fn is_served(&self) -> bool {
        *self == Self::Served
    }

    /// Why it is not.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Served => None,
            Self::NotServed(why) => Some(why),
        }
    }
}

/// What a database can do for its clients now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Availability {
    /// The mode in force.
    pub mode: Mode,
    /// Whether automation, and no person, has closed it.
    pub automatic: bool,
    /// Reads.
    pub reads: Service,
    /// Writes.
    pub writes: Service,
}

impl Database {
    /// What a client is told that may not come in, or may not even read: 57P03.
    pub fn offline_report(&self) -> Report {
        let view = self.gate.view().under(&self.name);
        Report::fatal("57P03", view.offline_text()).with_hint(view.offline_hint())
    }

    /// What it can do now.
    pub fn availability(&self) -> Availability {
        let setup = self.setup();
        let view = self.gate.view().under(&self.name);
        Availability {
            mode: view.state.mode,
            automatic: view.is_automatic(),
            reads: reads(&view, &setup.cluster, setup.settings.reads),
            writes: writes(&view, &setup.cluster),
        }
    }
}

fn not(why: impl Into<String>) -> Service {
    Service::NotServed(why.into())
}

fn without_primary(cluster: &Cluster) -> Service {
    match cluster.leader() {
        Leader::One(_) => Service::Served,
        Leader::Contested(_) => not("several servers claim to be the primary"),
        Leader::None => not("no primary is known"),
    }
}

fn writes(view: &GateView, cluster: &Cluster) -> Service {
    match view.state.mode {
        Mode::ReadWrite => without_primary(cluster),
        Mode::Offline => not(view.offline_text()),
        Mode::ReadOnly { .. } | Mode::Draining { .. } => not(view.refusal_detail().unwrap_or_default()),
    }
}

fn reads(view: &GateView, cluster: &Cluster, reads: config::Reads) -> Service {
    if !view.state.mode.admits_connections() {
        return not(view.offline_text());
    }
    let closed = view.state.mode != Mode::ReadWrite;
    let replica = || match (closed, reads) {
        (true, _) => view.read_floor().and_then(|floor| cluster.replica(Some(floor), Default::default())),
        (false, config::Reads::Primary) => None,
        (false, _) => cluster.replica(None, Default::default()),
    };
    match cluster.leader() {
        Leader::Contested(_) => Service::Served,
        _ if replica().is_some() => Service::Served,
        _ => without_primary(cluster),
    }
}
