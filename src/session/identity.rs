//! Who a client is told that it is: in session mode, the server process that serves it from its log-in on, so that
//! `pg_backend_pid()`, the process id in notifications and that of its cancel key are one.
//!
//! In transaction mode there is no such process: the key's process id is a number of pgsluice's own, also while the session
//! keeps a server connection for a while. The protocol has no word for another one later.

use super::{End, Session};
use crate::hub::Phase;
use crate::route::Nature;
use crate::wire::{Report, Severity, TxStatus, back};

impl Session {
    /// Takes the session's own server connection, before the client is told who it is.
    pub(super) async fn begin_as_own(&mut self) -> Result<(), End> {
        while self.lease.is_none() {
            self.acquire(Nature::Any).await.map_err(|end| match end {
                End::Report(report) => End::from(Report { severity: Severity::Fatal, ..*report }),
                other => other,
            })?;
        }
        // Nothing of the client's runs on it yet: it is kept without the right to write.
        self.flow.begun = true;
        self.me.enter(Phase::Idle);
        if let Some(server) = self.lease.server() {
            let pid = server.key.0;
            self.core.hub.keys.add(pid, &self.me.secret, self.me.id);
            self.told_pid = Some(pid);
            self.tell_key(pid);
        }
        Ok(())
    }

    /// The end of the greeting.
    fn tell_key(&mut self, pid: u32) {
        // What the server reports on the way may stand behind it.
        back::backend_key(&mut self.io.to_client, pid, &self.me.secret);
        back::ready(&mut self.io.to_client, TxStatus::Idle);
    }

    /// Nobody is to be found under its key any more.
    pub(super) fn forget_key(&mut self) {
        if let Some(pid) = self.told_pid.take() {
            self.core.hub.keys.remove(pid, self.me.id);
        }
    }
}
