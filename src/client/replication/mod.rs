//! Replication connections: pg_basebackup, pg_receivewal, pg_recvlogical, subscribers and standbys.
//!
//! Each has a server connection of its own for all its life, whatever the pool mode is, within the pool's limits. What
//! passes is not followed as a [`crate::client::Session`] follows it: only the simple protocol is spoken here, so one query after
//! the other is looked at ([`command`]), and the rest, the streams above all, passes unread.
//!
//! While the gate is closed streams go on, and new ones may begin, base backups too: they write down what has happened
//! and change nothing. Slots are not made and not dropped, and SQL, which runs on `replication=database`, is refused:
//! whatever the words of a query are, none of the proofs of [`crate::client::maintenance::check::write_check`] stands behind it here. While it is open,
//! SQL is registered with the gate until its transaction ends, so that a drain waits for it.

mod command;
pub(super) mod relay;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::startup::negotiate::Guest;
use super::startup::open::{introduce, until_turn};
use super::startup::startup_parameters::StartupParameters;
use crate::client::errors;
use crate::client::replication::relay::Relay;
use crate::protocol::{Report, Severity, TxStatus, backend};
use crate::server::{AcquireError, CancelTarget, Server};
use crate::shared::{Database, Phase, WorkerState};

/// What kind of replication connection a start-up packet asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replication {
    /// `replication=true`: the whole cluster's WAL.
    Physical,
    /// `replication=database`: one database's changes, and SQL.
    Logical,
}

impl Replication {
    /// Reads the parameter; None for an ordinary connection.
    ///
    /// # Errors
    /// It is neither a truth value nor `database`.
    pub fn read(value: Option<&str>) -> Result<Option<Self>, Report> {
        match value {
            None => Ok(None),
            Some("database") => Ok(Some(Self::Logical)),
            Some(value) => match super::startup::startup_parameters::truth(value) {
                Some(true) => Ok(Some(Self::Physical)),
                Some(false) => Ok(None),
                None => {
                    let text = format!("invalid value for parameter \"replication\": \"{value}\"");
                    let hint = "Valid values are: \"false\", 0, \"true\", 1, \"database\".";
                    Err(errors::invalid_parameter(text, hint))
                }
            },
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Physical => "true",
            Self::Logical => "database",
        }
    }
}

/// Opens the server connection of a client that has been let in, and makes it known.
pub(super) async fn begin(
    core: &Rc<WorkerState>,
    guest: &Guest,
    db: &Arc<Database>,
    kind: Replication,
    deadline: Instant,
) -> Result<(Relay, Vec<u8>), Report> {
    let setup = core.setup();
    let wanted = StartupParameters::read(guest.start(), &setup.config.startup.ignore_startup_parameters);
    let (mut parameters, name) = wanted.into_parameters();
    parameters.push(("replication".to_owned(), kind.word().to_owned()));
    let operator = setup.config.auth.operators.iter().any(|name| **name == **guest.user());
    let entering = introduce(core, guest, db, operator, name.unwrap_or_default())?;
    let (server, reported) = entering.wait(guest, open(core, guest, db, &parameters, deadline)).await?;
    let me = entering.get_in();
    me.pinned.set("replication");
    *me.cancel.borrow_mut() = Some(CancelTarget::new(&server));
    me.enter(Phase::Idle);
    let mut greeting = Vec::with_capacity(512);
    backend::authentication_ok(&mut greeting);
    for (name, value) in &reported {
        backend::parameter_status(&mut greeting, name, value);
    }
    // The server process is its own: it is told that one's number. Nobody else has been told the same secret, as far as chance goes.
    let _ = core.proxy.keys.add(server.key.0, &me.secret, me.id);
    backend::backend_key(&mut greeting, server.key.0, &me.secret);
    backend::ready(&mut greeting, TxStatus::Idle);
    let largest = setup.config.memory.max_message_size.bytes();
    Ok((Relay::new(core.clone(), me, db.clone(), server, kind, largest), greeting))
}

type Opened = (Box<Server>, Vec<(String, String)>);

async fn open(
    core: &Rc<WorkerState>,
    guest: &Guest,
    db: &Arc<Database>,
    parameters: &[(String, String)],
    deadline: Instant,
) -> Result<Opened, Report> {
    loop {
        let cluster = db.setup().cluster.clone();
        let refusal = match cluster.primary().and_then(|at| db.pool(guest.user(), at, guest.credential())) {
            Some(pool) => match until_turn(&cluster, pool.open_apart(core.index, deadline, parameters)).await {
                None => continue,
                Some(Ok(opened)) => return Ok(opened),
                Some(Err(error)) if matches!(&error, AcquireError::Login(error) if error.is_transient()) => {
                    super::startup::no_server::fatal(core, &error)
                }
                Some(Err(error)) => return Err(super::startup::no_server::fatal(core, &error)),
            },
            None => errors::no_server(Severity::Fatal),
        };
        if Instant::now() + super::startup::open::RETRY >= deadline {
            return Err(refusal);
        }
        let mut changes = cluster.changes();
        let _ = tokio::time::timeout(super::startup::open::RETRY, changes.changed()).await;
    }
}
