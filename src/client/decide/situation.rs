//! What [`decide`](super::decide) has to know: what a message asks for, and where.

use std::rc::Rc;

use super::{Connection, Form, OwnSettings, Pending, Policy, Situation, Statement, Why};
use crate::client::Session;
use crate::client::checkout::lease::Lease;
use crate::client::maintenance::write_rules::WriteDisposition;
use crate::client::request::statement_mode::block_refused;
use crate::gate::NewTransaction;
use crate::protocol::Report;
use crate::sql::cache::verdicts::Cached;

fn refused_if(refused: bool) -> Policy {
    if refused { Policy::Refused } else { Policy::Allowed }
}

impl Session {
    /// Where the next message comes.
    #[inline]
    pub(in crate::client) fn situation(&self) -> Situation {
        Situation {
            connection: self.connection(),
            transaction: self.conversation.status(),
            pending: if self.awaits_clean() { Pending::CleanReads } else { Pending::Nothing },
            hold: self.hold_outcome(),
            blocks: refused_if(self.has_no_blocks()),
            pins: refused_if(self.account.refuses_pins()),
            rollback: self.maintenance.rollback(),
            closing: self.closing(),
        }
    }

    fn connection(&self) -> Connection {
        if !self.has_right_lease() {
            return Connection::None;
        }
        match &self.lease {
            Lease::None | Lease::Bound { .. } => Connection::None,
            Lease::Write { .. } => Connection::Write,
            Lease::Guarded { maintenance: false, .. } => Connection::Read,
            Lease::Guarded { .. } | Lease::InPlace { .. } => Connection::Maintenance,
            Lease::Allowed { .. } => Connection::Allowed,
            Lease::Operator { .. } => Connection::Operator,
        }
    }

    /// What a simple query asks for.
    #[inline]
    pub(in crate::client) fn asked_by_query<'a>(&self, cached: &'a Cached, at: Connection) -> Statement<'a> {
        let own = self.uses_own_settings(cached);
        Statement {
            form: Form::Query,
            read: Some((&cached.analysis, &cached.text)),
            own_settings: if own { OwnSettings::Used } else { OwnSettings::Unused },
            elsewhere: refused_if(self.is_refused_elsewhere(cached) || self.is_refused_by_migration(cached)),
            write: match at {
                Connection::Write | Connection::Read | Connection::Operator => None,
                Connection::Allowed => Some(self.of_single(cached)),
                Connection::None | Connection::Maintenance => self.write_of_query(cached, at),
            },
        }
    }

    /// What becomes of a query as a write, with the gate closed.
    fn write_of_query(&self, cached: &Cached, at: Connection) -> Option<WriteDisposition> {
        let closed = matches!(self.db.gate.state().mode.new_transaction(), NewTransaction::Guarded { .. });
        if !closed {
            return (self.outlasts_hold() && self.holds_query(cached)).then_some(WriteDisposition::Hold);
        }
        if self.me.operator {
            return None;
        }
        if self.treats_writes() {
            let alone =
                self.conversation.replies().is_empty() && !self.conversation.batch().is_open() && !self.has_to_begin();
            match self.of_single(cached) {
                discard @ WriteDisposition::Discard { .. } if alone => return Some(discard),
                WriteDisposition::Allow if alone && self.lease.is_none() => return Some(WriteDisposition::Allow),
                _ if self.holds_query(cached) => return Some(WriteDisposition::Hold),
                _ => {}
            }
        }
        let single = cached.analysis.single().filter(|_| at == Connection::None && !cached.analysis.ambiguous)?;
        (self.is_certain_write(single) && !self.has_to_begin()).then_some(WriteDisposition::Reject)
    }

    /// What an Execute asks for; None: of a portal that only the server knows.
    pub(in crate::client) fn asked_by_execute<'a>(
        &self,
        cached: Option<&'a Rc<Cached>>,
        at: Connection,
    ) -> Statement<'a> {
        let write = match at {
            Connection::Allowed => cached.map(|cached| self.of_single(cached)),
            Connection::Maintenance if self.treats_writes() => cached
                .map(|cached| self.of_single(cached))
                .filter(|write| matches!(write, WriteDisposition::Discard { .. })),
            _ => None,
        };
        let read = cached.map(|cached| (&cached.analysis, &*cached.text));
        let refused = |cached: &Rc<Cached>| self.is_refused_elsewhere(cached) || self.is_refused_by_migration(cached);
        let elsewhere = refused_if(cached.is_some_and(refused));
        Statement { form: Form::Execute, read, own_settings: OwnSettings::Unused, write, elsewhere }
    }

    /// What the batch whose first message is at hand asks for.
    pub(in crate::client) fn asked_by_batch(&self, at: Connection) -> Statement<'static> {
        let write = match at {
            Connection::None | Connection::Maintenance if self.holds_batch() => Some(WriteDisposition::Hold),
            Connection::None if self.allows_batch() => Some(WriteDisposition::Allow),
            _ => None,
        };
        Statement::unread(Form::Batch, write)
    }

    /// The error of what is refused; a write that was found to be one has its own.
    pub(in crate::client) fn report_of(&mut self, why: Why, cached: Option<&Cached>) -> Report {
        let known = match why {
            Why::Block => Some(block_refused()),
            Why::RolledBack => self.take_unreported(),
            Why::Pins => cached.and_then(|cached| self.refused_pin(cached)),
            Why::Elsewhere => {
                cached.and_then(|cached| self.refused_elsewhere(cached).or_else(|| self.refused_by_migration(cached)))
            }
            Why::HoldEnded => self.cancelled_hold(),
            Why::NotAllowed | Why::Write => None,
        };
        known.unwrap_or_else(|| {
            let single = cached.and_then(|cached| cached.analysis.single());
            let tag = single.map_or("statement", |statement| statement.tag);
            self.refused(format!("cannot execute {tag} in a read-only transaction"))
        })
    }
}
