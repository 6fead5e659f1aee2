//! A log-in that has to wait for a server connection: consoles see it, it can be sent away, and `client_login_timeout`
//! is its bound.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::timeout_at;

use super::negotiate::Guest;
use crate::client::errors;
use crate::protocol::Report;
use crate::shared::client::Ask;
use crate::shared::{Client, Phase, WorkerState};

/// The bound where client_login_timeout is off (a year).
const FOREVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What a client is told whose log-in has waited for too long.
pub(in crate::client) fn too_late() -> Report {
    errors::client_login_timeout()
}

/// A client that consoles see from here on. It is forgotten again unless it gets in.
pub(in crate::client) struct Entering {
    core: Rc<WorkerState>,
    me: Rc<Client>,
    is_in: bool,
}

impl Entering {
    pub(in crate::client) fn new(core: &Rc<WorkerState>, me: Rc<Client>) -> Self {
        core.enter(&me);
        Self { core: core.clone(), me, is_in: false }
    }

    /// Does the part of the log-in that takes a server.
    pub(in crate::client) async fn wait<T>(
        &self,
        guest: &Guest,
        work: impl Future<Output = Result<T, Report>>,
    ) -> Result<T, Report> {
        let patience = self.core.setup().config.timeouts.client_login_timeout.get();
        let deadline = guest.since + patience.unwrap_or(FOREVER);
        self.me.enter(Phase::Waiting);
        let mut work = pin!(timeout_at(deadline.into(), work));
        let done = poll_fn(|cx| {
            self.me.wakes(cx);
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(done.unwrap_or_else(|_| Err(too_late())));
            }
            if let Some(report) = self.sent_away() {
                return Poll::Ready(Err(report));
            }
            // Whoever waits is woken once a second.
            if guest.stream.socket().has_gone() {
                return Poll::Ready(Err(errors::client_gone()));
            }
            Poll::Pending
        })
        .await;
        self.me.enter(Phase::Idle);
        done
    }

    /// What is asked of it but to go is about nothing yet: its greeting will say how things stand.
    fn sent_away(&self) -> Option<Report> {
        if !self.me.is_asked() {
            return None;
        }
        self.me.take_asks().into_iter().find_map(|ask| match ask {
            Ask::End { report, .. } => Some(report),
            Ask::Flip
            | Ask::Notice(_)
            | Ask::Cancel
            | Ask::RollBack
            | Ask::StopWriting { .. }
            | Ask::BreakOff
            | Ask::Turn => None,
        })
    }

    /// The client.
    pub(in crate::client) fn client(&self) -> &Rc<Client> {
        &self.me
    }

    /// It is a client like any other now.
    pub(in crate::client) fn get_in(mut self) -> Rc<Client> {
        self.is_in = true;
        self.me.clone()
    }
}

impl Drop for Entering {
    fn drop(&mut self) {
        if !self.is_in {
            self.core.leave(self.me.id);
        }
    }
}
