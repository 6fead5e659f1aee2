//! DECLARE … WITH HOLD on a guarded primary: the cursor's query runs once, before it counts.
//!
//! PostgreSQL runs such a query to its end within COMMIT, behind every question that could be asked, and runs it once more if it
//! has run before. So the cursor is declared as one that keeps its rows: its query runs through and is asked about, and what
//! COMMIT runs is a copy of the rows. Cursors that functions declare are none of those: the question fails for them, and it
//! knows each declaration, so that one cannot take another's name.

use std::rc::Rc;

use super::write_check::declares_hold;
use crate::client::Session;
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility, WriteCheckStep};
use crate::client::maintenance::query_split::{Once, Trial, part_of};
use crate::protocol::frame::Header;
use crate::protocol::{TxStatus, frontend};
use crate::shared::Statement as Prepared;
use crate::sql::cache::verdicts::Cached;
use crate::sql::own_statements::transaction::{
    COMMIT, close_cursor, declaration_of, declare_run_once, rewind_cursor, run_cursor,
};
use crate::sql::with_hold_cursor::declaration;
use crate::sql::{Kind, LexContext, SessionEffect, Statement, TransactionVerb};

/// Most declarations that are known in a transaction.
const MOST_CURSORS: usize = 1000;

/// Declarations of cursors whose queries have run.
#[derive(Default)]
pub(in crate::client) struct Declared(Vec<Box<str>>);

impl Declared {
    pub(in crate::client) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|one| &**one)
    }
}

fn is_plain(statement: &Statement) -> bool {
    !matches!(statement.kind, Kind::Transaction(_))
}

/// The name of the cursor it declares, if it can be sent again.
fn held_name(statement: &Statement) -> Option<&str> {
    statement.effects.iter().find_map(|effect| match effect {
        SessionEffect::DeclareWithHold(name) if name.is_ascii() => str::from_utf8(name).ok(),
        _ => None,
    })
}

/// The cursor's declaration as one that runs its query once.
fn run_once(statement: &Statement, text: &[u8], context: LexContext) -> Option<Once> {
    let name = held_name(statement)?;
    let declared = declaration(text, context, statement)?;
    let text = declare_run_once(name, declared);
    Some(Once { text, name: name.into(), forward_only: declared.forward_only })
}

impl Session {
    /// Whether a holdable cursor is declared where its query cannot be run before: among statements that open or end blocks, and in
    /// none.
    pub(in crate::client) fn cannot_try(&self, statement: &Statement, cached: &Cached, context: LexContext) -> bool {
        if !self.must_prove() || !declares_hold(statement) {
            return false;
        }
        let all = &cached.analysis.statements;
        run_once(statement, &cached.text, context).is_none()
            || cached.analysis.single().is_none() && !(self.stands_in_block(statement, all) || all.iter().all(is_plain))
    }

    /// Whether a block is open where that statement of a message stands.
    fn stands_in_block(&self, statement: &Statement, all: &[Statement]) -> bool {
        let before = all.iter().take_while(|one| one.span.start < statement.span.start);
        before.fold(self.conversation.status() == TxStatus::Block, |open, one| match &one.kind {
            Kind::Transaction(TransactionVerb::Begin(_)) => true,
            Kind::Transaction(TransactionVerb::Commit { chain } | TransactionVerb::Rollback { chain }) => {
                open && *chain
            }
            Kind::Transaction(verb) => open && !verb.ends_transaction(),
            _ => open,
        })
    }

    /// How the cursor is tried that a statement among others declares.
    pub(in crate::client) fn trial_of(&self, one: &Statement, text: &[u8], all: &[Statement]) -> Option<Trial> {
        if !declares_hold(one) || all.len() < 2 {
            return None;
        }
        let once = run_once(one, text, self.lex_context())?;
        let (start, end) = (one.span.start as usize, one.span.end as usize);
        Some(Trial { text: part_of(text, start, end), once, tag: one.tag })
    }

    /// Tries a cursor that a simple query declares. False: it is no such query.
    pub(in crate::client) fn try_cursor(&mut self, header: Header, cached: &Rc<Cached>) -> bool {
        let Some(statement) = cached.analysis.single().filter(|_| self.must_prove()) else { return false };
        let context = self.lex_context();
        let once =
            run_once(statement, &cached.text, context).filter(|_| self.conversation.status() != TxStatus::Failed);
        let Some(once) = once else { return false };
        self.drop_bytes(header.total);
        let own_block = self.conversation.status() == TxStatus::Idle;
        if own_block {
            self.begin_block();
        }
        self.conversation.transaction_mut().doubt.add(statement);
        let trial = Trial { text: cached.text.to_vec(), once, tag: statement.tag };
        self.send_trial(
            &trial,
            cached.clone(),
            if own_block { Visibility::Hidden } else { Visibility::ReadyAndErrors },
        );
        if own_block {
            let end = PendingReply::hidden(Request::Query(None), Visibility::ReadyAndErrors)
                .in_write_check(WriteCheckStep::End);
            self.send_query(COMMIT.as_bytes(), end);
        }
        true
    }

    /// Sends the statements that declare a cursor and try it; `last` is for the last of them.
    pub(in crate::client) fn send_trial(&mut self, tried: &Trial, cached: Rc<Cached>, last: Visibility) {
        let (name, forward_only) = (&*tried.once.name, tried.once.forward_only);
        let declared = PendingReply::hidden(Request::Query(Some(cached)), Visibility::WithoutReady)
            .in_write_check(WriteCheckStep::Subject);
        self.send_query(&tried.text, declared);
        let trial = |hide| PendingReply::hidden(Request::Query(None), hide).in_write_check(WriteCheckStep::Trial);
        self.send_query(close_cursor(name).as_bytes(), trial(Visibility::Hidden));
        self.send_query(&tried.once.text, trial(Visibility::Hidden));
        let declaration =
            PendingReply::hidden(Request::Query(None), Visibility::Hidden).in_write_check(WriteCheckStep::Declared);
        self.send_query(declaration_of(name).as_bytes(), declaration);
        self.send_query(run_cursor(name, forward_only).as_bytes(), trial(Visibility::Hidden));
        if let Some(question) = self.question_beside(self.conversation.transaction().doubt, Some(name)) {
            self.conversation.transaction_mut().check_sent();
            let unproven = self.unproven(tried.tag);
            self.send_query(question.as_bytes(), trial(Visibility::Hidden).refused_with(unproven));
        }
        self.send_query(rewind_cursor(name, forward_only).as_bytes(), trial(last));
    }

    /// Tries a cursor that an Execute declares. False: it does not.
    pub(in crate::client) fn try_executed_cursor(&mut self, header: Header, prepared: &Rc<Prepared>) -> bool {
        let Some(statement) = prepared.cached.analysis.single().filter(|_| self.must_prove()) else { return false };
        let once = run_once(statement, &prepared.cached.text, prepared.context());
        let Some(Once { text, name, forward_only }) = once else { return false };
        let name = &*name;
        self.pass(header, Some(PendingReply::seen(Request::Execute(Some(prepared.clone())))));
        self.run_own(close_cursor(name).as_bytes(), WriteCheckStep::Trial, None);
        self.run_own(&text, WriteCheckStep::Trial, None);
        self.run_own(declaration_of(name).as_bytes(), WriteCheckStep::Declared, None);
        self.run_own(run_cursor(name, forward_only).as_bytes(), WriteCheckStep::Trial, None);
        if let Some(question) = self.question_beside(self.conversation.transaction().doubt, Some(name)) {
            self.conversation.transaction_mut().check_sent();
            let report = self.unproven(statement.tag);
            self.run_own(question.as_bytes(), WriteCheckStep::Trial, Some(report));
        }
        self.run_own(rewind_cursor(name, forward_only).as_bytes(), WriteCheckStep::Trial, None);
        self.conversation.transaction_mut().note_declares();
        true
    }

    /// The server has said which declaration a cursor has that is being tried.
    pub(in crate::client) fn note_declaration(&mut self, declaration: Option<Box<str>>) {
        let Some(declaration) = declaration else { return };
        let cursors = &mut self.conversation.transaction_mut().cursors.get_or_insert_default().0;
        if cursors.len() >= MOST_CURSORS {
            cursors.remove(0);
        }
        cursors.push(declaration);
    }

    pub(in crate::client) fn send_query(&mut self, text: &[u8], expected: PendingReply) {
        frontend::write_query(self.io.for_server(), text);
        self.expect(expected);
    }
}
