//! The lines of the log about a client that leaves. They stand there before the client is told, so that whoever reads both does not miss them.

use crate::client::startup::negotiate::shutting_down;
use crate::client::{End, Session};
use crate::log::clients;
use crate::log::clients::Who;
use crate::log::millis;
use crate::shared::{Client, WorkerState};

/// Logs that a session ends, and why.
pub(in crate::client) fn log_end(core: &WorkerState, me: &Client, end: &End) {
    let (_, exits, errors) = clients::wanted(&core.setup().config.log);
    let client = me.address_words();
    if exits {
        let why = match end {
            End::Goodbye => "client close request".to_owned(),
            End::ClientGone => "client unexpected eof".to_owned(),
            End::HandedOver => "handed over to another process".to_owned(),
            End::ServerSaidFatal => "server closed the connection".to_owned(),
            End::Report(report) => core.worded(report).message.clone(),
        };
        tracing::info!(
            event = "closing", user = %me.user, database = %me.database_name, client = %client,
            age_ms = millis(me.since.elapsed().unwrap_or_default()), reason = why, "closing"
        );
    }
    if let End::Report(report) = end
        && report.code != "57P01"
        && errors
    {
        let who = Who { user: Some(&me.user), database: Some(&me.database_name), client: &client };
        clients::ended(who, report, &core.worded(report).message);
    }
}

impl Session {
    /// Nobody waits for a paused database to be resumed while the process ends.
    pub(in crate::client) fn may_still_wait(&self) -> Result<(), End> {
        if self.core.is_door_closed() { Err(shutting_down().into()) } else { Ok(()) }
    }
}
