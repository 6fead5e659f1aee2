//! What the rest of the proxy sees of its fleet.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::view::View;
use crate::gate::{GateError, OnOptions, Outcome, Target, Verb, Wait, Who};

/// A command for all members.
pub struct Order {
    /// Which.
    pub verb: Verb,
    /// The databases.
    pub target: Target,
    /// Its options.
    pub options: OnOptions,
    /// Who gives it.
    pub who: Who,
    /// Whether to wait for its end.
    pub wait: Wait,
    /// Who is told. The command goes on without.
    pub reply: mpsc::Sender<Reply>,
}

/// What is told of a command.
#[derive(Debug)]
pub enum Reply {
    /// What it waits for.
    Progress(String),
    /// Its end.
    Done(Result<Vec<Answer>, GateError>),
}

/// What one member says of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberRow {
    /// Its name.
    pub member: String,
    /// What has become of it there.
    pub outcome: Outcome,
}

/// What has become of a command for one database.
#[derive(Debug)]
pub struct Answer {
    /// For all together.
    pub whole: Result<Outcome, GateError>,
    /// For each member.
    pub members: Vec<MemberRow>,
}

/// What is known of the fleet at a time.
#[derive(Debug, Clone, Default)]
pub struct Shown {
    /// What lies in etcd.
    pub view: View,
    /// Whether this member has a lease and follows.
    pub is_member: bool,
    /// Why etcd could not be reached last; empty if it could.
    pub error: String,
}

/// See the module.
pub struct Handle {
    /// The name of this member.
    pub id: String,
    /// The life of it.
    pub process: String,
    /// What is known.
    pub shown: watch::Receiver<Arc<Shown>>,
    /// Takes commands.
    pub orders: mpsc::Sender<Order>,
}

impl Handle {
    /// What is known now.
    pub fn now(&self) -> Arc<Shown> {
        self.shown.borrow().clone()
    }
}
