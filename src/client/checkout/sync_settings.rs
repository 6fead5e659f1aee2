//! What begins and ends the time for which a session holds a server connection: its settings are made there, and it is
//! given back, cleaned or closed.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use super::lease::{InPlaceGuard, Lease};
use crate::client::conversation::parse_settings::is_sensitive;
use crate::client::conversation::pending_replies::{Visibility, WriteCheckStep};
use crate::client::state::pins::Pin;
use crate::client::state::sequences::are_anothers;
use crate::client::state::session_effects::IDLE_LIMIT;
use crate::client::{End, Session, Settling};
use crate::config::PoolMode;
use crate::protocol::TxStatus;
use crate::protocol::frame::peek_front;
use crate::server::{AnyConn, CancelTarget, Conn, InPlace};
use crate::shared::Phase;
use crate::shared::client::{Ask, Moves};
use crate::sql::own_statements::settings;
use crate::sql::own_statements::transaction::{ARM, DISARM, DISARM_TO_DEFAULT, FORGET_SEQUENCES};
use crate::topology::Avoid;

/// How long a server connection waits for cancel requests that are on their way to it.
const CANCEL_PATIENCE: Duration = Duration::from_secs(10);
/// How long the cleaning of a server connection may take.
const CLEAN_PATIENCE: Duration = Duration::from_secs(10);

impl Session {
    /// Brings the settings of a connection that was just taken to what the client has.
    pub(in crate::client) fn begin_lease(&mut self) {
        let quiet = self.io.replies().is_empty();
        let operator = self.lease.is_operator();
        self.conversation.begin_lease(!quiet);
        self.io.forget_replay();
        let may_write = matches!(self.lease, Lease::Write { .. } | Lease::Allowed { .. } | Lease::Operator { .. });
        let in_place = matches!(self.lease, Lease::InPlace { .. });
        let asks = self.bindings.take_asks_for_sequence();
        let Some(server) = self.lease.server() else { return };
        server.used = true;
        *self.me.cancel.borrow_mut() = Some(server.lend_target());
        if operator {
            // It was opened with what the client has asked for.
            server.vars.take_over(&self.core.proxy.seed, self.settings.vars());
            server.read_only_set = self.settings.read_only_set();
        }
        let fits = if may_write {
            server.read_only_set == self.settings.read_only_set()
                && server.default_read_only == self.settings.read_only_default()
        } else {
            !in_place
        };
        if asks || !fits || server.vars.hash() != self.settings.vars().hash() {
            self.bring_settings(may_write, in_place, asks);
        }
        if self.account.pool_mode() == PoolMode::Session && !operator {
            self.bindings.pin(Pin::SessionMode);
            self.me.pinned.set(self.bindings.pins().word());
        }
    }

    /// Has the server make its settings those of the session.
    #[cold]
    fn bring_settings(&mut self, may_write: bool, in_place: bool, asks: bool) {
        let Some(server) = self.lease.server() else { return };
        let seed = &self.core.proxy.seed;
        let (mut sql, mut ahead) = (String::new(), Vec::new());
        let mut learns = false;
        if server.vars.hash() != self.settings.vars().hash() {
            self.settings.vars_mut().keep_text_settings(seed, &server.vars);
            sql = server.vars.to_reach(self.settings.vars());
            if is_sensitive(sql.as_bytes()) {
                // A message is read as a whole before any of it runs.
                ahead = server.vars.reading_to_reach(self.settings.vars());
            }
            learns = server.vars.has_to_learn(self.settings.vars());
            server.vars.take_over(seed, self.settings.vars());
        }
        if asks && are_anothers(server, self.me.id) {
            sql.push_str(FORGET_SEQUENCES);
            server.sequences = None;
        }
        let arms = in_place && server.default_read_only != Some(true);
        if arms {
            sql.push_str(ARM);
            server.default_read_only = Some(true);
        }
        if may_write && server.read_only_set != self.settings.read_only_set() {
            sql.push_str(match self.settings.read_only_set() {
                Some(true) => ARM,
                Some(false) => DISARM,
                None => DISARM_TO_DEFAULT,
            });
            learns |= self.settings.read_only_set().is_none();
            server.read_only_set = self.settings.read_only_set();
            server.default_read_only = self.settings.read_only_set().or(server.default_read_only);
        }
        if learns {
            // Behind the answer: a value that changes is reported.
            self.conversation.lease_mut().reports_mut().learn();
        } else {
            self.tell_defaults();
        }
        if !sql.is_empty() {
            ahead.iter().for_each(|one| self.run_own(one.as_bytes(), WriteCheckStep::None, None));
            self.own_messages().hiding(Visibility::Hidden).query(&sql);
            let settling = if self.settings.vars().has_role() { Settling::Asked } else { Settling::Sent };
            self.conversation.lease_mut().set_settling(settling);
        }
        if arms {
            self.forget_counts_from_before();
        }
    }

    /// Has memory for words of our own.
    pub(in crate::client) fn lend_words(&mut self) {
        self.io.requests_mut().lend_words(&self.core.buffers);
        self.io.replies_mut().lend_words(&self.core.buffers);
    }

    /// The role has been taken; or it could not be, and the client's message has the server's words for an answer.
    pub(in crate::client) fn settle(&mut self) -> Result<(), End> {
        if let Settling::Refused(report) = self.conversation.lease_mut().take_settling() {
            self.close_lease();
            self.conversation.begin_lease(self.conversation.lease().has_told());
            match peek_front(self.io.requests().unread(), usize::MAX)? {
                Some(header) => self.answer_error(header, &report),
                None => return Err((*report).into()),
            }
        }
        Ok(())
    }

    /// Whether the lease has come to its end: the transaction is over and everything sent on.
    pub(in crate::client) fn is_over(&self) -> bool {
        let held = match &self.lease {
            Lease::Write { .. } | Lease::Allowed { .. } => true,
            Lease::Guarded { replica: None, .. } => true,
            Lease::Guarded { .. } | Lease::InPlace { .. } => self.bindings.pins().is_empty(),
            _ => false,
        };
        held && self.conversation.lease().has_begun()
            && self.is_between_transactions()
            && !self.io.replies().is_within_message()
            && self.io.replies().unread().is_empty()
            && !self.io.requests().has_unsent()
            && self.me.transaction_since.get().is_none()
    }

    /// Gives the server connection back where nothing has to be waited for, which is the usual case. False: nothing has
    /// happened.
    pub(in crate::client) fn release_now(&mut self) -> bool {
        let plain = self.me.cancelling.get() == 0 && self.bindings.pins().is_empty() && !self.me.is_asked();
        let plain = plain && self.me.moves.get() != Moves::Goes;
        if !plain || self.checkout.ending.is_some() {
            return false;
        }
        let conn = match self.lease.take() {
            Lease::Write { mut conn, ticket } => {
                self.me.write_capable.set(false);
                conn.server().take_target_back(self.note_gone());
                self.checkout.lane = ticket.leave();
                conn.into()
            }
            Lease::Guarded { mut conn, .. } => {
                conn.server().take_target_back(self.note_gone());
                conn.into()
            }
            other => {
                self.lease = other;
                return false;
            }
        };
        self.give_back(conn);
        self.io.forget_replay();
        self.checkout.avoid = Avoid::default();
        true
    }

    /// Gives the server connection back, or keeps it without the right to write.
    pub(in crate::client) async fn release(&mut self) -> Result<(), End> {
        if self.me.cancelling.get() > 0 {
            Box::pin(self.await_cancels()).await;
        }
        self.me.write_capable.set(false);
        if !self.bindings.pins().is_empty() {
            self.lease = match self.lease.take() {
                Lease::Write { conn, ticket } => {
                    self.checkout.lane = ticket.leave();
                    self.conversation.transaction_mut().end_closing();
                    Lease::Bound { conn }
                }
                Lease::Guarded { conn, replica: None, .. } => {
                    Lease::InPlace { conn: conn.bind(), guard: InPlaceGuard::Up }
                }
                other => other,
            };
            self.move_over().await?;
            return self.checkout.ending.take().map_or(Ok(()), |report| Err(End::Report(report)));
        }
        drop(self.note_gone());
        match self.lease.take() {
            Lease::Write { conn, ticket } => {
                self.checkout.lane = ticket.leave();
                self.give_back(conn.into());
            }
            Lease::Guarded { conn, .. } => self.give_back(conn.into()),
            Lease::Allowed { conn } => self.give_back(conn.into()),
            Lease::InPlace { conn, guard } => self.shelve(conn, guard),
            other => self.lease = other,
        }
        self.io.forget_replay();
        self.checkout.avoid = Avoid::default();
        if self.me.is_asked() {
            self.answer_asks().await?;
        }
        self.move_over().await?;
        self.checkout.ending.take().map_or(Ok(()), |report| Err(End::Report(report)))
    }

    /// A connection that was made read-only by force is of neither kind: it is closed, unless none can be opened in its place.
    fn shelve(&self, mut conn: Conn<InPlace>, guard: InPlaceGuard) {
        let closed = self.db.gate.state().mode.reports_read_only();
        let server = conn.server();
        let stays = closed && !server.born_guarded && server.permit.pool().is_barred();
        if stays && guard == InPlaceGuard::Up && server.default_read_only == Some(true) {
            self.give_back(conn.shelve().into());
        } else {
            conn.close();
        }
    }

    fn give_back(&self, mut conn: AnyConn) {
        if self.core.proxy.resets_always() {
            let reset = self.core.proxy.setup.load().config.pooling.server_reset_query.clone();
            tokio::task::spawn_local(clean_up(conn, reset, self.core.proxy.seed.clone()));
            return;
        }
        if self.me.idle_limit.get().is_some() {
            // The server would end a connection that waits in the pool, perhaps just when another client takes it.
            let reset = settings::reset(IDLE_LIMIT);
            tokio::task::spawn_local(clean_up(conn, reset, self.core.proxy.seed.clone()));
            return;
        }
        let mut known = self.checkout.pools.by_upstream.iter().flatten();
        let pool = conn.server().permit.pool();
        match known.find(|known| Arc::ptr_eq(known, pool)) {
            Some(pool) => pool.give_back_at(conn, self.io.now()),
            None => pool.clone().give_back_at(conn, self.io.now()),
        }
    }

    /// Notes that the lease ends now. Gives what the server connection has lent.
    fn note_gone(&mut self) -> Option<Arc<CancelTarget>> {
        let target = self.me.cancel.borrow_mut().take();
        let running = self.me.running.borrow_mut().take();
        self.give_back_text(running);
        target
    }

    /// Closes the server connection.
    pub(in crate::client) fn close_lease(&mut self) {
        if self.lease.is_none() {
            return;
        }
        drop(self.note_gone());
        self.me.write_capable.set(false);
        self.me.transaction_since.set(None);
        self.lease.close();
    }

    /// A cancel request on its way would hit the next client of this server connection.
    async fn await_cancels(&mut self) {
        let me = self.me.clone();
        let over = poll_fn(|cx| {
            me.wakes(cx);
            if me.cancelling.get() == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        });
        if tokio::time::timeout(CANCEL_PATIENCE, over).await.is_err() {
            self.close_lease();
        }
    }

    /// The session is over: its server connection is cleaned for the next one, or closed.
    pub(in crate::client) async fn leave(&mut self) {
        let clean = self.is_between_transactions()
            && self.io.replies().unread().is_empty()
            && !self.io.replies().is_within_message();
        if self.lease.is_none() {
            return;
        }
        let hurry = self.maintenance.aborts();
        if !self.is_between_transactions()
            && let Some(server) = self.lease.server()
        {
            self.io.requests_mut().forget_read();
            Box::pin(super::abandoned::end_work(&self.me, server, hurry)).await;
        }
        if self.me.cancelling.get() > 0 {
            Box::pin(self.await_cancels()).await;
        }
        drop(self.note_gone());
        let poolable = self.lease.server().is_some_and(|server| !server.born_guarded);
        let barred = self.lease.server().is_some_and(|server| server.permit.pool().is_barred());
        match self.lease.take() {
            Lease::Bound { conn } if clean && poolable && !self.account.fresh() => {
                let reset = self.core.setup().config.pooling.server_reset_query.clone();
                let seed = self.core.proxy.seed.clone();
                tokio::task::spawn_local(clean_up(conn.into(), reset, seed));
            }
            // Likewise: nobody could log in for another one.
            Lease::InPlace { conn, .. } if clean && poolable && barred => {
                let reset = self.core.setup().config.pooling.server_reset_query.clone();
                let seed = self.core.proxy.seed.clone();
                tokio::task::spawn_local(clean_up(conn.shelve().into(), reset, seed));
            }
            other => {
                self.lease = other;
                self.lease.close();
            }
        }
    }

    /// Does what others have asked of the session.
    pub(in crate::client) async fn answer_asks(&mut self) -> Result<(), End> {
        self.unfold();
        for ask in self.me.take_asks() {
            match ask {
                Ask::Flip => {
                    self.notify_flip();
                    self.note_closing();
                    self.fence_if_due();
                }
                Ask::End { report, now } => {
                    if now || self.lease.is_none() || self.is_between_transactions() {
                        return Err(report.into());
                    }
                    self.checkout.ending = Some(Box::new(report));
                }
                Ask::Notice(report) => self.tell_notice(report),
                Ask::RollBack => self.roll_back_for_gate()?,
                Ask::StopWriting { calls } => self.stop_writing(calls)?,
                Ask::BreakOff => self.break_off_again()?,
                Ask::Turn => self.after_turn()?,
                // It has got its server connection meanwhile.
                Ask::Cancel if self.me.phase.get() == Phase::Active => drop(self.me.send_cancel()),
                Ask::Cancel => self.maintenance.note_cancel(),
            }
        }
        self.move_over().await
    }

    /// Tells the client of the mode: at once, or just before the ReadyForQuery of what runs.
    pub(in crate::client) fn notify_flip(&mut self) {
        let busy = self.io.replies().is_within_message() || !self.conversation.replies().is_empty();
        if self.maintenance.notify_later(busy) {
            self.notify_mode();
        }
    }
}

pub(in crate::client) fn give_back(mut conn: AnyConn) {
    let pool = conn.server().permit.pool().clone();
    pool.give_back(conn);
}

async fn clean_up(mut conn: AnyConn, reset: String, seed: Arc<crate::server::state::session_vars::Seed>) {
    if !reset.is_empty() {
        let cleaned = tokio::time::timeout(CLEAN_PATIENCE, conn.server().run_quietly(&reset)).await;
        if !matches!(cleaned, Ok(Ok(TxStatus::Idle))) {
            conn.close();
            return;
        }
    }
    let server = conn.server();
    server.sequences = None;
    let says = |words: &str| reset.to_ascii_lowercase().contains(words);
    if says("discard all") {
        server.vars.unset_all(&seed);
        server.read_only_set = None;
    } else if says("reset all") {
        server.vars.reset_all(&seed);
        server.read_only_set = None;
    } else if says(IDLE_LIMIT) {
        server.vars.unset(&seed, IDLE_LIMIT);
    }
    if says("discard all") || says("deallocate all") {
        server.prepared.clear();
        server.named.clear();
    }
    server.unnamed = 0;
    give_back(conn);
}
