//! A read that would be refused for what one of its names could mean in some schema: the server is asked first in which schemas the
//! session's names are looked for.
//!
//! It is asked right ahead of the message, and the answer holds for that message only. PostgreSQL looks names up when it parses a
//! statement, and again when one is bound under another path. What looks names up while it runs is judged for all schemas: the path may be
//! another one by the time that it is run. Asking takes no snapshot.

use std::rc::Rc;

use crate::client::Session;
use crate::client::conversation::pending_replies::{Visibility, WriteCheckStep};
use crate::protocol::TxStatus;
use crate::shared::Statement as Prepared;
use crate::shared::maintenance::catalog_state::CatalogState;
use crate::sql::cache::verdicts::Cached;
use crate::sql::hidden_writers::{HiddenWriters, SearchPath, StatementReading};
use crate::sql::own_statements::settings::{SHOW_AUTHORIZATION, SHOW_PATH, SHOW_ROLE};
use crate::sql::{CopyDirection, Kind, LexContext, Statement};

/// What the server is asked, in this order.
const QUESTIONS: [&str; 3] = [SHOW_PATH, SHOW_ROLE, SHOW_AUTHORIZATION];

/// What the server has been asked of the search path, for the message at hand.
#[derive(Default)]
pub(in crate::client) enum AskedPath {
    /// Nothing.
    #[default]
    No,
    /// All of [`QUESTIONS`].
    Asked(Box<Values>),
}

/// The values that have come.
#[derive(Default)]
pub(in crate::client) struct Values(Vec<Box<[u8]>>);

impl AskedPath {
    /// The path, once all is answered.
    fn known(&self) -> Option<SearchPath> {
        let Self::Asked(values) = self else { return None };
        let [path, role, authorization] = values.0.as_slice() else { return None };
        SearchPath::read(path, if **role == *b"none" { authorization } else { role })
    }
}

/// The only column of a row.
fn value(row: &[u8]) -> Option<&[u8]> {
    row.get(6..)
}

impl Session {
    /// Whether the simple query at hand waits for that answer.
    pub(in crate::client) fn awaits_path_of_query(&mut self, cached: &Rc<Cached>) -> bool {
        let context = self.lex_context();
        self.awaits_path(|session, unseen| session.depends_on_path(unseen, cached, context))
    }

    /// Whether the message at hand, of a batch, waits for it: `only_read` of a Parse.
    pub(in crate::client) fn awaits_path_of(&mut self, statement: &Rc<Prepared>, only_read: bool) -> bool {
        self.awaits_path(|session, unseen| match only_read {
            true => session.types_depend_on_path(unseen, &statement.cached, statement.context()),
            false => session.depends_on_path(unseen, &statement.cached, statement.context()),
        })
    }

    fn awaits_path(&mut self, depends: impl Fn(&Self, &HiddenWriters) -> bool) -> bool {
        if !self.lease.in_maintenance() {
            return false;
        }
        if matches!(self.conversation.lease().path(), AskedPath::Asked(_)) {
            return self.awaits_answers();
        }
        let asks = match &**self.db.catalog.known() {
            CatalogState::Known(unseen) if unseen.is_empty_for(self.account.user()) => false,
            CatalogState::Known(unseen) => self.conversation.status() != TxStatus::Failed && depends(self, unseen),
            CatalogState::Pending | CatalogState::Unknown(_) => false,
        };
        if !asks {
            return false;
        }
        if !self.conversation.replies().is_empty() {
            // The transaction may have failed by then.
            return self.awaits_answers();
        }
        *self.conversation.lease_mut().path_mut() = AskedPath::Asked(Box::default());
        if self.conversation.batch().is_open() {
            QUESTIONS.iter().for_each(|one| self.run_own(one.as_bytes(), WriteCheckStep::Path, None));
            self.awaits_answers();
        } else {
            self.own_messages().hiding(Visibility::Hidden).proving(WriteCheckStep::Path).query(&QUESTIONS.join(";"));
        }
        true
    }

    /// A row of the answer has come.
    pub(in crate::client) fn note_path(&mut self, row: &[u8]) {
        if let (AskedPath::Asked(values), Some(value)) = (self.conversation.lease_mut().path_mut(), value(row)) {
            values.0.push(value.into());
        }
    }

    /// The message has been dealt with.
    pub(in crate::client) fn forget_path(&mut self) {
        *self.conversation.lease_mut().path_mut() = AskedPath::No;
    }

    /// What leads to unseen writers for the message at hand, if the path is known.
    pub(super) fn under_path(&self, unseen: &HiddenWriters) -> Option<HiddenWriters> {
        self.conversation.lease().path().known().map(|path| unseen.under(&path))
    }

    /// Whether a statement is refused under some path, and not under every one.
    fn depends_on_path(&self, unseen: &HiddenWriters, cached: &Cached, context: LexContext) -> bool {
        let reads = |one: &&Statement| {
            matches!(one.kind, Kind::Read | Kind::Copy(CopyDirection::ToClient))
                && !one.contained
                && !one.refusal.is_ours()
        };
        let Some(one) = cached.analysis.single().filter(reads).filter(|_| !cached.analysis.ambiguous) else {
            return false;
        };
        let analyzer = self.core.proxy.setup.load().analyzer.clone();
        let reading = StatementReading::new(&analyzer, &cached.text, context, one);
        let found = |unseen: &HiddenWriters| unseen.find(&reading, self.account.user()).is_some();
        found(unseen) && !unseen.resolves_late(&reading) && !found(&unseen.under_no_path())
    }

    /// The same of a statement that is only read.
    fn types_depend_on_path(&self, unseen: &HiddenWriters, cached: &Cached, context: LexContext) -> bool {
        let Some(one) = cached.analysis.single().filter(|_| !cached.analysis.ambiguous) else { return false };
        let analyzer = self.core.proxy.setup.load().analyzer.clone();
        let reading = StatementReading::new(&analyzer, &cached.text, context, one);
        let found = |unseen: &HiddenWriters| unseen.find_type(&reading).is_some();
        found(unseen) && !found(&unseen.under_no_path())
    }
}
