//! What becomes of a write while the gate is closed: by the first rule that matches, else as the maintenance says.
//!
//! `discard` is answered here, as done with no row, and sent nowhere; only the names and types of the columns of RETURNING are
//! asked of a server. `allow` runs on an unguarded connection that gets this one message and nothing else.

use crate::client::Session;
use crate::client::conversation::client_messages::Progress;
use crate::client::conversation::pending_replies::{LocalReply, PendingReply, Request, Visibility};
use crate::client::request::read_ahead::{Ahead, ReadAhead, Unread};
use crate::config::{RuleAction, RuleStatement, WriteRule};
use crate::gate::{NewTransaction, Writes};
use crate::protocol::backend;
use crate::protocol::frame::Header;
use crate::shared::maintenance::kept_out::Fate;
use crate::sql::cache::verdicts::Cached;
use crate::sql::write_target::{Target, Verb, target};
use crate::sql::{StandardStrings, Statement};

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteDisposition {
    /// 25006.
    Reject,
    /// It waits.
    Hold,
    /// Answered as done.
    Discard {
        /// What it would have done.
        verb: Verb,
        /// Rows that the answer counts.
        rows: u32,
        /// It has RETURNING.
        returning: bool,
    },
    /// Run all the same.
    Allow,
}

/// Name of the statement and portal by which RETURNING is described.
const DESCRIBED: &[u8] = b"pgsluice_discarded";

impl Session {
    /// Whether writes are not simply refused: the gate is closed, and writes are held or there are rules.
    pub(in crate::client) fn treats_writes(&self) -> bool {
        match self.db.gate.state().mode.new_transaction() {
            NewTransaction::Guarded { writes: Writes::Hold } => !self.me.operator,
            NewTransaction::Guarded { writes: Writes::Reject } => {
                !self.me.operator && !self.db.setup().settings.maintenance.write_rules.is_empty()
            }
            _ => false,
        }
    }

    /// What becomes of a statement that is certain to be refused otherwise.
    pub(in crate::client) fn disposition(&self, statement: &Statement, cached: &Cached) -> WriteDisposition {
        let otherwise = match self.db.gate.state().mode.new_transaction() {
            NewTransaction::Guarded { writes: Writes::Hold } => WriteDisposition::Hold,
            _ if self.outlasts_hold() => WriteDisposition::Hold,
            _ => WriteDisposition::Reject,
        };
        let setup = self.db.setup();
        let rules = &setup.settings.maintenance.write_rules;
        if rules.is_empty() || !self.is_certain_write(statement) {
            return otherwise;
        }
        // Where strings are not standard ones, sqlparser would read another text than the server.
        let readable = !cached.analysis.ambiguous && self.lex_context().strings == StandardStrings::On;
        let target = readable.then(|| target(statement.text(&cached.text))).flatten();
        let Some(rule) = rules.iter().find(|rule| self.matches(rule, target.as_ref())) else { return otherwise };
        match (rule.action, &target) {
            (RuleAction::Hold, _) => WriteDisposition::Hold,
            (RuleAction::Discard { rows }, Some(target)) => {
                // Rows that RETURNING does not give are not counted either.
                let rows = if target.returning { 0 } else { rows };
                WriteDisposition::Discard { verb: target.verb, rows, returning: target.returning }
            }
            (RuleAction::Allow, Some(target)) if self.writes_alone(cached, statement, target) => {
                WriteDisposition::Allow
            }
            _ => WriteDisposition::Reject,
        }
    }

    fn matches(&self, rule: &WriteRule, target: Option<&Target>) -> bool {
        let is = |list: &[String], value: &str| list.is_empty() || list.iter().any(|one| one == value);
        let asked = match target {
            None => !rule.asks_for_target(),
            Some(target) => {
                let verb = match target.verb {
                    Verb::Insert => RuleStatement::Insert,
                    Verb::Update => RuleStatement::Update,
                    Verb::Delete => RuleStatement::Delete,
                };
                let table = |one: &crate::config::RuleTable| {
                    *one.name == *target.table.name
                        && (one.schema.is_none() || one.schema.as_deref() == target.table.schema.as_deref())
                };
                (rule.statements.is_empty() || rule.statements.contains(&verb))
                    && (rule.tables.is_empty() || rule.tables.iter().any(table))
            }
        };
        asked && is(&rule.users, self.account.user()) && is(&rule.applications, &self.me.application_name.borrow())
    }

    /// What becomes of the only statement of a text.
    pub(in crate::client) fn of_single(&self, cached: &Cached) -> WriteDisposition {
        let certain = cached.analysis.single().filter(|one| !cached.analysis.ambiguous && self.is_certain_write(one));
        certain.map_or(WriteDisposition::Reject, |statement| self.disposition(statement, cached))
    }

    /// Whether a rule has it run, or answered as done, with the gate closed.
    pub(in crate::client) fn is_ruled_to_pass(&self, cached: &Cached) -> bool {
        self.treats_writes()
            && matches!(self.of_single(cached), WriteDisposition::Allow | WriteDisposition::Discard { .. })
    }

    /// Answers a simple query as done, with no row and without a server.
    pub(in crate::client) fn discard_query(&mut self, header: Header, tag: &str) {
        self.names.forget_unnamed();
        self.db.gate.count_discarded();
        self.note_message_kept_out(Fate::Discarded);
        self.drop_bytes(header.total);
        backend::command_complete(self.io.for_client(), tag);
        backend::ready(self.io.for_client(), self.conversation.status());
    }

    /// Has the server describe the rows of RETURNING, and says that there are none.
    pub(in crate::client) fn describe_discarded(&mut self, header: Header, cached: &Cached, verb: Verb) {
        self.db.gate.count_discarded();
        self.note_kept_out(Fate::Discarded, &cached.text);
        self.names.forget_unnamed();
        self.drop_bytes(header.total);
        let own = self.own_messages().parse(DESCRIBED, &cached.text).bind(DESCRIBED);
        let own = own.hiding(Visibility::Full).describe_portal(DESCRIBED).say(LocalReply::Done(verb, 0));
        let own = own.hiding(Visibility::ErrorsOnly).close_portal(DESCRIBED).close_statement(DESCRIBED);
        own.hiding(Visibility::ReadyAndErrors).sync();
    }

    /// Answers an Execute as done, in its turn.
    pub(in crate::client) fn discard_execute(&mut self, header: Header, verb: Verb, rows: u32) -> Progress {
        self.db.gate.count_discarded();
        self.note_message_kept_out(Fate::Discarded);
        self.drop_bytes(header.total);
        self.conversation.lease_mut().note_begun(true);
        self.say(PendingReply::seen(Request::Local(LocalReply::Done(verb, rows))));
        Progress::Consumed
    }

    /// Whether the batch whose first message is at hand runs only what a rule allows, as far as it is here.
    pub(in crate::client) fn allows_batch(&self) -> bool {
        if !self.lease.is_none() || self.has_to_begin() || !self.treats_writes() {
            return false;
        }
        let context = self.lex_context();
        let mut ahead = ReadAhead::new(self.io.requests().unread(), self.account.largest());
        let mut found = false;
        loop {
            let disposition = match ahead.next() {
                Ok(Ahead::Parse(_, text)) => {
                    let cached = self.core.verdicts.borrow_mut().get_or_analyze(text, context);
                    Some(self.of_single(&cached))
                }
                Ok(Ahead::Bind(name)) => self
                    .names
                    .statement(name)
                    // A name that this very batch prepares has been looked at already.
                    .filter(|_| !found || !name.is_empty())
                    .map(|one| self.of_single(&one.cached)),
                Ok(Ahead::Describe(_) | Ahead::Other) => None,
                Ok(Ahead::Sync) | Err(Unread::Missing) => return found,
                Err(Unread::Foreign) => return false,
            };
            match disposition {
                Some(WriteDisposition::Allow) => found = true,
                Some(_) => return false,
                None => {}
            }
        }
    }
}
