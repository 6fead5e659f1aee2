//! Holding: a write waits for the gate to open while its client hears nothing.
//!
//! The message stays where it was read, so that nothing is sent before the gate is open and everything is sent once. The session
//! keeps no server connection meanwhile. A block that has only read so far is rolled back and begun anew when its write
//! may run, and set up anew: at READ COMMITTED each statement sees the newest data anyway, and at other levels it must have shown
//! none. A block that has done more cannot be moved, and its writes are refused. The wait is part of the statement: the session's
//! own statement_timeout, lock_timeout and transaction_timeout end it.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::transition::transaction_history::{Beginning, Step};
use super::write_rules::WriteDisposition;
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility};
use crate::client::decide::HoldOutcome;
use crate::client::errors;
use crate::client::request::read_ahead::{Ahead, ReadAhead};
use crate::client::{End, Session};
use crate::config::parse_duration;
use crate::events::{Event, Kind as EventKind, publish};
use crate::gate::NewTransaction;
use crate::protocol::frontend;
use crate::protocol::{Report, TxStatus};
use crate::shared::Phase;
use crate::shared::maintenance::catalog_state::CatalogState;
use crate::shared::maintenance::kept_out::Fate;
use crate::sql::block_setup::value_of;
use crate::sql::cache::verdicts::Cached;
use crate::sql::own_statements::transaction::{READ_COMMITTED, ROLLBACK};
use crate::sql::{Kind, Name, Refusal, Statement, TransactionVerb};

/// Between two events about the same database.
const OVERFLOW_PAUSE: Duration = Duration::from_secs(10);

/// What a session knows of its held message.
#[derive(Default)]
pub struct Holding {
    /// The block that has to be begun before the message is sent.
    anew: Option<Box<Beginning>>,
    /// When that block was begun.
    since: Option<Instant>,
    /// It has waited enough: it gets its error now.
    over: Option<Over>,
    /// A cancel request has come.
    pub(in crate::client::maintenance) cancelled: bool,
}

/// Why a message is held no longer although the gate is closed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Over {
    /// hold_timeout, or too many are held: PostgreSQL's 25006.
    Refuse,
    /// 57014.
    Cancel,
    /// The session's own statement_timeout: 57014.
    StatementTimeout,
    /// Its lock_timeout: 55P03.
    LockTimeout,
    /// Its transaction_timeout, which ends the session: 25P04.
    TransactionTimeout,
}

/// A value of a setting that is a time, in milliseconds where it has no unit. None: there is no such limit.
pub(in crate::client) fn limit(value: &[u8]) -> Option<Duration> {
    let text = str::from_utf8(value).ok()?.trim().trim_matches('\'').trim();
    let limit = match text.parse() {
        Ok(millis) => Duration::from_millis(millis),
        Err(_) => parse_duration(text).ok()?,
    };
    (!limit.is_zero()).then_some(limit)
}

/// What a block has set a time to, and has not taken back by going back to a savepoint.
fn set_in_block(block: &Beginning, setting: &str) -> Option<Option<Duration>> {
    let texts = std::iter::once(&block.begun).chain(block.steps.iter().map(|step| match step {
        Step::Query(cached) => cached,
        Step::Bound(statement, _) => &statement.cached,
    }));
    // A savepoint stands among the times as its name.
    let mut made: Vec<Result<Option<Duration>, &Name>> = Vec::new();
    for cached in texts {
        for statement in &cached.analysis.statements {
            let found = match &statement.kind {
                Kind::Transaction(TransactionVerb::RollbackTo(name) | TransactionVerb::Release(name)) => {
                    made.iter().rposition(|one| *one == Err(name))
                }
                _ => None,
            };
            match &statement.kind {
                Kind::Transaction(TransactionVerb::Savepoint(name)) => made.push(Err(name)),
                Kind::Transaction(TransactionVerb::RollbackTo(_)) => made.truncate(found.map_or(0, |at| at + 1)),
                Kind::Transaction(TransactionVerb::Release(_)) => drop(found.map(|at| made.remove(at))),
                _ => made.extend(value_of(statement, &cached.text, setting.as_bytes()).map(|value| Ok(limit(value)))),
            }
        }
    }
    made.into_iter().rev().find_map(Result::ok)
}

impl Holding {
    /// Whether a block has to be begun anew for the message, which nobody else can do.
    pub(in crate::client) fn has_block(&self) -> bool {
        self.anew.is_some() || self.over.is_some()
    }
}

impl Session {
    /// Whether a simple query is to be held instead of being looked at further.
    pub(in crate::client) fn holds_query(&self, cached: &Cached) -> bool {
        self.may_hold() && cached.analysis.statements.iter().any(|statement| self.holds_statement(statement, cached))
    }

    /// Whether the batch whose first message is at hand is to be held. One that is not here whole counts as executing what
    /// it prepares.
    pub(in crate::client) fn holds_batch(&self) -> bool {
        if !self.may_hold() {
            return false;
        }
        let context = self.lex_context();
        let (mut prepares, mut runs) = (Vec::new(), false);
        let holds = |cached: &Cached| cached.analysis.statements.iter().any(|one| self.holds_statement(one, cached));
        let mut ahead = ReadAhead::of_names(self.io.requests().unread());
        while let Ok(message) = ahead.next() {
            match message {
                Ahead::Parse(name, text) => {
                    let cached = self.core.verdicts.borrow_mut().get_or_analyze(text, context);
                    if holds(&cached) {
                        prepares.push(name);
                    }
                }
                Ahead::Bind(name) => {
                    runs |= prepares.contains(&name)
                        || self.names.statement(name).is_some_and(|statement| holds(&statement.cached));
                }
                Ahead::Sync => return runs,
                Ahead::Describe(_) | Ahead::Other => {}
            }
        }
        runs || !prepares.is_empty()
    }

    /// Whether this is a place where a message can be held: between transactions, or in a block that can be begun anew.
    fn may_hold(&self) -> bool {
        let quiet = self.conversation.replies().is_empty()
            && !self.conversation.batch().is_open()
            && !self.conversation.batch().skips();
        let place = match self.conversation.status() {
            TxStatus::Idle => true,
            TxStatus::Block => self.conversation.transaction().history().can_begin_anew() && self.names.no_portals(),
            TxStatus::Failed => false,
        };
        let treated = self.treats_writes() || self.outlasts_hold();
        quiet && place && self.maintenance.holding.over.is_none() && treated
    }

    /// Whether a block was begun to read only behind a gate that is open now and whose writes waited. Had the write come a moment
    /// earlier, it would have waited too: it is begun anew like that one.
    pub(in crate::client) fn outlasts_hold(&self) -> bool {
        self.lease.in_maintenance()
            && self.conversation.status() == TxStatus::Block
            && !self.me.operator
            && self.db.gate.state().mode.new_transaction() == NewTransaction::WriteCapable
            && self.db.gate.holding.writes_waited()
    }

    fn holds_statement(&self, statement: &Statement, cached: &Cached) -> bool {
        self.is_certain_write(statement) && self.disposition(statement, cached) == WriteDisposition::Hold
    }

    /// Whether it is refused whatever the server says.
    pub(in crate::client) fn is_certain_write(&self, statement: &Statement) -> bool {
        match &statement.refusal {
            Refusal::Allowed => self.is_ours_to_refuse(statement),
            Refusal::ByPostgres { unless_temporary } => {
                !(*unless_temporary && self.bindings.pins().has(crate::client::state::pins::Pin::Temporary))
            }
            Refusal::AsksReadWrite(_) => false,
            Refusal::ByPgsluice(_) => !self.may_be_namesake(&statement.refusal),
        }
    }

    /// Holds the message at hand. In a block that is first rolled back: the loop comes here again when that is done.
    pub(in crate::client) async fn hold(&mut self) -> Result<(), End> {
        if self.conversation.status() == TxStatus::Block {
            if self.conversation.transaction().history().has_to_ask_isolation() {
                frontend::write_query(self.io.for_server(), READ_COMMITTED.as_bytes());
                self.expect(PendingReply::hidden(Request::Isolation, Visibility::Hidden));
            } else {
                frontend::write_query(self.io.for_server(), ROLLBACK.as_bytes());
                self.maintenance.holding.anew = self.conversation.transaction_mut().history_mut().take_beginning();
                self.settings.roll_back();
                self.maintenance.holding.since = self.me.transaction_since.take();
                self.expect(PendingReply::hidden(Request::Query(None), Visibility::Hidden));
            }
            return Ok(());
        }
        let most = self.db.setup().settings.maintenance.hold_limit as usize;
        match self.db.gate.holding.enter(most) {
            Some(place) => {
                self.note_message_kept_out(Fate::Held);
                self.me.enter(Phase::Held);
                self.maintenance.holding.over = self.until_open().await?;
                drop(place);
                // Limits of what comes next, a wait for a server connection first of all, count from here.
                self.io.note_time(Instant::now());
                self.note_phase();
                self.maintenance.holding.since = None;
                if self.maintenance.holding.over == Some(Over::TransactionTimeout) {
                    return Err(errors::transaction_timeout().into());
                }
            }
            None => {
                self.publish_hold_overflow(most);
                self.maintenance.holding.over = Some(Over::Refuse);
            }
        }
        if self.maintenance.holding.over.is_some() && !self.lease.is_none() {
            self.resend_begin();
        }
        Ok(())
    }

    fn publish_hold_overflow(&self, most: usize) {
        let (events, name) = (&self.core.proxy.events, &self.db.name);
        if let Some(times) = events.is_time_for(EventKind::HoldOverflow, name, OVERFLOW_PAUSE) {
            let text = "more writes wait for the gate than hold_limit allows: further ones are refused";
            publish!(events, warn, Event::new(EventKind::HoldOverflow, text).about(name), limit = most, times = times);
        }
    }

    /// Waits until the gate opens, or something ends the wait before.
    async fn until_open(&mut self) -> Result<Option<Over>, End> {
        let patience = self.db.gate.view().in_force().map(|terms| terms.hold_timeout).unwrap_or_default();
        let own = [("statement_timeout", Over::StatementTimeout), ("lock_timeout", Over::LockTimeout)];
        let own = own.into_iter().filter_map(|(setting, over)| Some((self.own_limit(setting)?, over)));
        let open = self.maintenance.holding.since.map_or(Duration::ZERO, |since| since.elapsed());
        let whole =
            self.own_limit("transaction_timeout").map(|limit| (limit.saturating_sub(open), Over::TransactionTimeout));
        let all = own.chain(whole).chain([(patience, Over::Refuse)]);
        let (patience, over) = all.min_by_key(|(limit, _)| *limit).unwrap_or((patience, Over::Refuse));
        // Since another process has begun to hold it, if it has come from one.
        let until = self.me.phase_since.get() + patience;
        let mut sleep = Box::pin(tokio::time::sleep_until(until.into()));
        self.maintenance.holding.cancelled = false;
        while matches!(self.db.gate.state().mode.new_transaction(), NewTransaction::Guarded { .. }) {
            let timed_out = poll_fn(|cx| {
                if sleep.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Ok(true));
                }
                self.poll_interrupt(cx).map_ok(|()| false)
            })
            .await?;
            if timed_out {
                return Ok(Some(over));
            }
            self.answer_asks().await?;
            if std::mem::take(&mut self.maintenance.holding.cancelled) {
                return Ok(Some(Over::Cancel));
            }
        }
        Ok(None)
    }

    /// A time that the session has set for itself, in its block or before, or with which it began.
    fn own_limit(&self, setting: &str) -> Option<Duration> {
        let local = self.maintenance.holding.anew.as_deref().and_then(|anew| set_in_block(anew, setting));
        let session = || match self.settings.vars().get(setting) {
            Some(value) => limit(value.text().as_bytes()),
            None => match &**self.db.catalog.known() {
                CatalogState::Known(unseen) => limit(unseen.default_of(self.account.user(), setting)?.as_bytes()),
                CatalogState::Pending | CatalogState::Unknown(_) => None,
            },
        };
        local.unwrap_or_else(session)
    }

    /// The block of a held message is begun anew, and set up anew, on the connection that was just taken.
    pub(in crate::client) fn resend_begin(&mut self) {
        let Some(anew) = self.maintenance.holding.anew.take() else { return };
        let Beginning { begun, steps } = *anew;
        self.send_again(Step::Query(begun));
        steps.into_iter().for_each(|step| self.send_again(step));
    }

    fn send_again(&mut self, step: Step) {
        let closed = self.lease.in_maintenance();
        match step {
            Step::Query(cached) => {
                let sent = if closed { self.as_read_only(cached.clone(), self.lex_context()) } else { cached.clone() };
                frontend::write_query(self.io.for_server(), &sent.text);
                self.conversation.transaction_mut().history_mut().sends(&cached);
                self.expect(PendingReply::hidden(Request::Query(Some(sent)), Visibility::Hidden));
            }
            Step::Bound(statement, values) => {
                let sent = self.bound_as_read_only(statement.clone());
                let out = self.io.for_server();
                frontend::write_parse(out, b"", &sent.cached.text, &sent.oids);
                frontend::write_bind(out, b"", b"", &values);
                frontend::write_execute(out, b"");
                frontend::write_sync(out);
                self.conversation.transaction_mut().history_mut().binds(&statement, &values);
                if let Some(server) = self.lease.server() {
                    server.unnamed = 0;
                }
                for what in
                    [Request::Parse(0), Request::Bind(Some(sent.clone())), Request::Execute(Some(sent)), Request::Sync]
                {
                    self.expect(PendingReply::hidden(what, Visibility::Hidden));
                }
            }
        }
    }

    /// Whether a block has to be begun before anything else.
    pub(in crate::client) fn has_to_begin(&self) -> bool {
        self.maintenance.holding.anew.is_some()
    }

    /// The message is over, whatever became of it: the next one may be held again.
    pub(in crate::client) fn is_held_no_more(&mut self) {
        self.maintenance.holding.over = None;
    }

    /// Whether the message at hand has been held.
    pub(in crate::client) fn was_held(&self) -> bool {
        self.maintenance.holding.over.is_some()
    }

    /// Forgets the block that was to be begun anew.
    pub(in crate::client) fn forget_held(&mut self) {
        self.maintenance.holding.anew = None;
        self.maintenance.holding.over = None;
    }

    /// How the wait of the message at hand has ended, as far as that makes it an error.
    pub(in crate::client) fn hold_outcome(&self) -> HoldOutcome {
        match self.maintenance.holding.over {
            None | Some(Over::Refuse | Over::TransactionTimeout) => HoldOutcome::None,
            Some(_) if self.has_to_begin() => HoldOutcome::EndedInBlock,
            Some(_) => HoldOutcome::Ended,
        }
    }

    /// The error of a held message whose wait its client, or a time-out of its own, has ended.
    pub(in crate::client) fn cancelled_hold(&self) -> Option<Report> {
        let (code, why) = match self.maintenance.holding.over? {
            Over::Refuse | Over::TransactionTimeout => return None,
            Over::Cancel => ("57014", "user request"),
            Over::StatementTimeout => ("57014", "statement timeout"),
            Over::LockTimeout => ("55P03", "lock timeout"),
        };
        Some(errors::cancelled(code, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_postgresql_reads_them() {
        for (text, millis) in [("1000", 1000), ("'1s'", 1000), ("' 250 ms '", 250), ("2min", 120_000), ("'500'", 500)] {
            assert_eq!(limit(text.as_bytes()), Some(Duration::from_millis(millis)), "{text}");
        }
        assert!(limit(b"0").is_none() && limit(b"'0'").is_none() && limit(b"x").is_none());
    }
}
