//! DECLARE … WITH HOLD on a guarded primary: the cursor's query runs once before it counts.
//!
//! Such a query runs to its end within COMMIT, behind every question that could be asked. So it is declared, run through,
//! asked about, closed and declared anew, before anything is committed: what its query calls has shown what it does.

use std::rc::Rc;

use super::Session;
use super::expect::{Expected, Hide, Proof, What};
use super::proof::declares_hold;
use crate::hub::Statement as Prepared;
use crate::sql::cache::Cached;
use crate::sql::own_statements::transaction::{COMMIT, close_cursor, run_cursor};
use crate::sql::{SessionEffect, Statement};
use crate::wire::frame::Header;
use crate::wire::{TxStatus, front};

/// The name of the cursor it declares, if it can be sent again.
fn held_name(statement: &Statement) -> Option<&str> {
    statement.effects.iter().find_map(|effect| match effect {
        SessionEffect::DeclareWithHold(name) if name.is_ascii() => str::from_utf8(name).ok(),
        _ => None,
    })
}

impl Session {
    /// Whether a holdable cursor is declared where it cannot be run before: among other statements of one message.
    pub(super) fn cannot_try(&self, statement: &Statement, cached: Option<&Cached>) -> bool {
        let alone = cached.is_none_or(|cached| cached.analysis.single().is_some());
        self.must_prove() && declares_hold(statement) && (!alone || held_name(statement).is_none())
    }

    /// Tries a cursor that a simple query declares. False: it is no such query.
    pub(super) fn try_cursor(&mut self, header: Header, cached: &Rc<Cached>) -> bool {
        let Some(statement) = cached.analysis.single().filter(|_| self.must_prove()) else { return false };
        let Some(name) = held_name(statement).filter(|_| self.flow.status != TxStatus::Failed) else { return false };
        self.drop_bytes(header.total);
        let own_block = self.flow.status == TxStatus::Idle;
        if own_block {
            self.begin_block();
        }
        self.flow.doubt.add(statement);
        let declared = Expected::hidden(What::Query(Some(cached.clone())), Hide::Ready).proof(Proof::Subject);
        self.send_query(&cached.text, declared);
        let trial = |hide| Expected::hidden(What::Query(None), hide).proof(Proof::Trial);
        self.send_query(run_cursor(name).as_bytes(), trial(Hide::All));
        if let Some(question) = self.question(self.flow.doubt) {
            self.flow.asked = true;
            let mut expected = trial(Hide::All);
            expected.refusal = Some(Box::new(self.unproven(statement.tag)));
            self.send_query(question.as_bytes(), expected);
        }
        self.send_query(close_cursor(name).as_bytes(), trial(Hide::All));
        self.send_query(&cached.text, trial(if own_block { Hide::All } else { Hide::AllButReady }));
        if own_block {
            let end = Expected::hidden(What::Query(None), Hide::AllButReady).proof(Proof::End);
            self.send_query(COMMIT.as_bytes(), end);
        }
        true
    }

    /// Tries a cursor that an Execute declares. False: it does not.
    pub(super) fn try_executed_cursor(&mut self, header: Header, prepared: &Rc<Prepared>) -> bool {
        let Some(statement) = prepared.cached.analysis.single().filter(|_| self.must_prove()) else { return false };
        let Some(name) = held_name(statement) else { return false };
        self.pass(header, Some(Expected::seen(What::Execute(Some(prepared.clone())))));
        self.run_own(run_cursor(name).as_bytes(), Proof::Trial, None);
        if let Some(question) = self.question(self.flow.doubt) {
            self.flow.asked = true;
            let report = self.unproven(statement.tag);
            self.run_own(question.as_bytes(), Proof::Trial, Some(report));
        }
        self.run_own(close_cursor(name).as_bytes(), Proof::Trial, None);
        self.run_own(&prepared.cached.text, Proof::Trial, None);
        true
    }

    pub(super) fn send_query(&mut self, text: &[u8], expected: Expected) {
        front::write_query(&mut self.io.to_server, text);
        self.expect(expected);
    }
}
