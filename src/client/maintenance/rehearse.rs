//! Counting, for a rehearsal, what would be refused if the gate were closed: what [`decide`] says of it then.
//!
//! Only what the reader of statements is certain of: a SELECT of a function that writes would be refused by the server, and is
//! not known before.

use super::write_rules::WriteDisposition;
use crate::client::Session;
use crate::client::checkout::lease::Lease;
use crate::client::decide::{Decision, Form, Situation, Statement as Asked, Why, decide};
use crate::client::state::pins::Pin;
use crate::shared::maintenance::rehearsal::Refused;
use crate::sql::cache::verdicts::Cached;
use crate::sql::{Name, Refusal, SessionEffect, Statement, normalised};

/// Bytes of a statement that are kept.
const LONGEST: usize = 500;

/// Whether what comes to a closed gate, and would become that of as a write, is refused.
fn is_refused_once_closed(form: Form, write: Option<WriteDisposition>) -> bool {
    decide(&Asked::unread(form, write), &Situation::ONCE_CLOSED) == Decision::Refuse(Why::Write)
}

impl Session {
    /// Counts what would be refused of the statements that are about to run.
    pub(in crate::client) fn rehearse(&self, cached: &Cached) {
        if !matches!(self.lease, Lease::Write { .. }) {
            return;
        }
        if cached.analysis.ambiguous {
            self.note_rehearsed("an ambiguous statement", &cached.text);
            return;
        }
        for (at, statement) in cached.analysis.statements.iter().enumerate() {
            let earlier = cached.analysis.statements.get(..at).unwrap_or_default();
            if is_refused_once_closed(Form::Query, self.write_once_closed(cached, statement, earlier)) {
                self.note_rehearsed(statement.tag, statement.text(&cached.text));
            }
        }
    }

    /// What would become of a statement as a write.
    fn write_once_closed(
        &self,
        cached: &Cached,
        statement: &Statement,
        earlier: &[Statement],
    ) -> Option<WriteDisposition> {
        let alone = cached.analysis.statements.len() == 1;
        let ruled = alone.then(|| self.disposition(statement, cached));
        match ruled {
            Some(ruled @ (WriteDisposition::Discard { .. } | WriteDisposition::Allow)) => Some(ruled),
            _ => (self.is_refusal(&statement.refusal) || self.executes_refused(statement, earlier))
                .then_some(WriteDisposition::Reject),
        }
    }

    /// The same for a function-call message.
    pub(in crate::client) fn rehearse_function(&self, oid: u32) {
        let Some(name) = self.refused_function_name(oid) else { return };
        if matches!(self.lease, Lease::Write { .. })
            && is_refused_once_closed(Form::Call, Some(WriteDisposition::Reject))
        {
            self.note_rehearsed("function call", format!("{name}()").as_bytes());
        }
    }

    fn is_refusal(&self, refusal: &Refusal) -> bool {
        match refusal {
            Refusal::Allowed | Refusal::AsksReadWrite(_) => false,
            Refusal::ByPostgres { unless_temporary } => {
                !(*unless_temporary && self.bindings.pins().has(Pin::Temporary))
            }
            Refusal::ByPgsluice(_) => true,
        }
    }

    /// Whether it executes what SQL-level PREPARE has prepared, before or in this very message.
    fn executes_refused(&self, statement: &Statement, earlier: &[Statement]) -> bool {
        let prepared = |wanted: &Name| {
            let here = earlier.iter().rev().flat_map(|one| &one.effects).find_map(|effect| match effect {
                SessionEffect::Prepare { name, inner } if name == wanted => Some(&inner.refusal),
                _ => None,
            });
            here.or_else(|| self.names.sql(wanted).map(|inner| inner.refusal()))
                .is_some_and(|refusal| self.is_refusal(refusal))
        };
        statement.effects.iter().any(|effect| matches!(effect, SessionEffect::Execute(name) if prepared(name)))
    }

    fn note_rehearsed(&self, tag: &str, text: &[u8]) {
        self.db.rehearsal.count(Refused {
            user: self.account.user().clone(),
            application_name: self.me.application_name.borrow().clone(),
            tag: tag.to_owned(),
            statement: normalised(text, self.lex_context(), LONGEST),
        });
    }
}
