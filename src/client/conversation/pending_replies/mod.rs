//! What the server still owes for the messages that were sent to it, in order.

pub mod pool;
pub(in crate::client) mod queue;

use std::rc::Rc;

use crate::client::prepared::protocol_names::Known;
use crate::protocol::Report;
use crate::shared::Statement;
use crate::sql::SessionEffect;
use crate::sql::cache::verdicts::Cached;
use crate::sql::write_target::Verb;

/// A message whose answer is awaited.
pub enum Request {
    /// A simple query; ends with ReadyForQuery.
    Query(Option<Rc<Cached>>),
    /// The question whether a transaction has written; ends with ReadyForQuery.
    Fence,
    /// The question for a transaction's isolation level; ends with ReadyForQuery.
    Isolation,
    /// The question whether anything is left that binds the session, or what settings are; ends with ReadyForQuery.
    Left(crate::client::state::function_side_effects::Question),
    /// A function call; ends with ReadyForQuery.
    Call,
    /// Parse of a statement that then stands on the server under this number, 0 for the unnamed one.
    Parse(u64),
    /// Parse of a statement of ours, under a name of ours that nobody takes for granted.
    OwnParse,
    /// Bind, of that statement.
    Bind(Option<Rc<Statement>>),
    /// Describe, of that statement.
    Describe(Option<Rc<Statement>>),
    /// Describe, of ours, of what stands under a name of the client's own.
    Shape,
    /// Describe of which the client sees the parameters only: the rows are refused.
    Parameters,
    /// Execute, with the statement that runs.
    Execute(Option<Rc<Statement>>),
    /// Close of the statement that stands on the server under this number, 0 for any other Close.
    Close(u64),
    /// Sync; ends with ReadyForQuery.
    Sync,
    /// The question whether a COPY is over; ends with ReadyForQuery.
    CopyQuestion(crate::client::conversation::copy_in::CopyQuestion),
    /// A whole batch that runs one plain statement; ends with ReadyForQuery.
    WholeBatch(crate::client::request::fast_path::WholeBatch),
    /// An answer of our own that belongs at this place.
    Local(LocalReply),
}

/// Answers that pgsluice gives for the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalReply {
    /// ParseComplete: the statement stands on the server already.
    ParseComplete,
    /// CloseComplete: the name was pgsluice's to forget.
    CloseComplete,
    /// The warning that a COMMIT or ROLLBACK has found no transaction block.
    NoTransaction,
    /// Part of an answer to SHOW of a setting of pgsluice's own.
    Own(crate::client::request::pgsluice_settings::Part),
    /// CommandComplete of a statement that was discarded.
    Done(Verb, u32),
}

/// How much of an answer the client is not to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// It sees all.
    Full,
    /// It sees nothing: the message is our own.
    Hidden,
    /// It sees an error only: a Parse that a message of its own needs.
    ErrorsOnly,
    /// It sees errors and notices only: a Parse that stands for its own, which is answered otherwise.
    ErrorsAndNotices,
    /// It sees all but notices.
    WithoutNotices,
    /// It sees all but ReadyForQuery: more of the same message follows.
    WithoutReady,
    /// It sees ReadyForQuery and errors: the end of a message that began earlier.
    ReadyAndErrors,
}

/// The part of a message in the proof that its transaction has written nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteCheckStep {
    /// None.
    None,
    /// It opens the block for that. Where that fails nothing behind it runs.
    Begin,
    /// It is what has to be proved: the end of its answer is held back.
    Subject,
    /// The same, and the question stands behind it in its own message.
    Together,
    /// It is a CALL or DO for which a block was put around its batch.
    Wrapped,
    /// What may fail of itself ahead of the question: deferred triggers.
    Deferred,
    /// It is the question, which fails if the transaction has written; with the tag of the statement that is refused then.
    Question(&'static str),
    /// It belongs to the trial of a cursor: an error is the answer to the statement that declares it.
    Trial,
    /// The same, and its row says which declaration of the cursor that is.
    Declared,
    /// It asks for the search path; its rows are the answer.
    Path,
    /// It ends the transaction that was proved.
    End,
    /// It is the question whether a query can be read.
    Spelling,
}

/// What the client's names were before a message, in case the server never gets to it.
pub enum Before {
    /// As they are behind it.
    Same,
    /// What the unnamed statement was.
    Unnamed(Option<Known>),
    /// What a name stood for.
    Named(Box<(Box<[u8]>, Option<Known>)>),
}

/// See the module.
pub struct PendingReply {
    /// The message.
    pub(in crate::client::conversation) request: Request,
    /// What is hidden.
    pub(in crate::client::conversation) visibility: Visibility,
    /// What the client is told in place of the error that the message was made to raise.
    pub(in crate::client::conversation) refusal: Option<Box<Report>>,
    /// Its part in a proof.
    pub(in crate::client::conversation) write_check_step: WriteCheckStep,
    /// What the message changed among the client's names.
    pub(in crate::client::conversation) before: Before,
    /// The client's name for the statement that it is about. In a message of ours, other than Bind and Describe: that name is
    /// what it changes on the server.
    pub(in crate::client::conversation) named: Option<Box<[u8]>>,
}

impl PendingReply {
    /// An answer that the client sees.
    pub fn seen(request: Request) -> Self {
        Self::hidden(request, Visibility::Full)
    }

    /// An answer of which `visibility` is hidden.
    pub fn hidden(request: Request, visibility: Visibility) -> Self {
        Self {
            request,
            visibility,
            refusal: None,
            write_check_step: WriteCheckStep::None,
            before: Before::Same,
            named: None,
        }
    }

    /// One among several that one message stood for.
    pub fn one_of(request: Request, before: Before, named: Option<Box<[u8]>>) -> Self {
        Self { before, named, ..Self::seen(request) }
    }

    /// What one message stood for.
    pub fn into_parts(self) -> (Request, Before, Option<Box<[u8]>>) {
        (self.request, self.before, self.named)
    }

    /// It is for another message.
    pub fn about(mut self, request: Request) -> Self {
        self.request = request;
        self
    }

    /// Gives it a part in a proof.
    pub fn in_write_check(mut self, write_check_step: WriteCheckStep) -> Self {
        self.write_check_step = write_check_step;
        self
    }

    /// Has the client told this in place of the error that the message is made to raise.
    pub fn refused_with(mut self, report: Report) -> Self {
        self.refusal = Some(Box::new(report));
        self
    }

    /// The message.
    #[inline]
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// What is hidden.
    #[inline]
    pub fn visibility(&self) -> Visibility {
        self.visibility
    }

    /// Its part in a proof.
    #[inline]
    pub fn write_check_step(&self) -> WriteCheckStep {
        self.write_check_step
    }

    /// The message, what is hidden of its answer, and its part in a proof.
    #[inline]
    pub fn shown(&mut self) -> (&mut Request, Visibility, WriteCheckStep) {
        (&mut self.request, self.visibility, self.write_check_step)
    }

    /// That much is hidden.
    pub fn set_visibility(&mut self, visibility: Visibility) {
        self.visibility = visibility;
    }

    /// That much is hidden, and that is its part in a proof.
    pub fn set_part(&mut self, visibility: Visibility, write_check_step: WriteCheckStep) {
        (self.visibility, self.write_check_step) = (visibility, write_check_step);
    }

    /// The client's name for its statement, or what a message of ours changes on the server.
    pub fn named(&self) -> Option<&[u8]> {
        self.named.as_deref()
    }

    /// That is its name.
    pub fn set_named(&mut self, name: &[u8]) {
        self.named = Some(name.into());
    }

    /// The name whose rows are asked for, if that is what it is about.
    pub fn name_of_shape(&self) -> Option<&[u8]> {
        self.named().filter(|_| matches!(self.request, Request::Shape))
    }

    /// Notes what the client's name stood for before this message.
    pub fn renaming(mut self, name: &[u8], stood_for: Option<Known>) -> Self {
        self.before = match name {
            [] => Before::Unnamed(stood_for),
            name => Before::Named(Box::new((name.into(), stood_for))),
        };
        self
    }

    /// The name of a statement or portal that changes by it, unless that is the unnamed one.
    pub fn renamed(&self) -> Option<&[u8]> {
        match &self.before {
            Before::Named(named) => Some(&named.0),
            _ => None,
        }
    }

    /// Whether a name changes by it, or a statement comes to stand on the server.
    pub fn renames(&self) -> bool {
        !matches!(self.before, Before::Same)
            || matches!(self.request, Request::Parse(id) | Request::Close(id) if id != 0)
            || self.changes_name().is_some()
    }

    /// The name of a client's own under which it changes what stands on the server.
    pub fn changes_name(&self) -> Option<&[u8]> {
        let may = matches!(
            self.request,
            Request::Query(None) | Request::Parse(0) | Request::Execute(None) | Request::Close(0) | Request::Shape
        );
        self.named.as_deref().filter(|_| may)
    }

    /// The client's name for its statement, with that.
    pub fn of_statement(&self) -> Option<(&[u8], &Statement)> {
        match &self.request {
            Request::Bind(Some(statement)) | Request::Describe(Some(statement)) => {
                Some((self.named.as_deref()?, statement))
            }
            _ => None,
        }
    }

    /// Notes the client's name for its statement.
    pub fn of(mut self, name: Box<[u8]>) -> Self {
        self.named = Some(name);
        self
    }

    /// The text that runs by it, if that is known.
    #[inline]
    pub fn text(&self) -> Option<&Cached> {
        match &self.request {
            Request::Query(Some(cached)) => Some(cached),
            Request::Execute(Some(statement)) => Some(&statement.cached),
            _ => None,
        }
    }

    /// Whether prepared statements get or lose their names by it, in SQL.
    pub fn forgets_names(&self) -> bool {
        use SessionEffect as Effect;
        let Some(cached) = self.text() else { return false };
        let forgets =
            |effect: &Effect| matches!(effect, Effect::Prepare { .. } | Effect::Deallocate(_) | Effect::DiscardAll);
        cached.analysis.statements.iter().any(|statement| statement.effects.iter().any(forgets))
    }

    /// Whether ReadyForQuery ends it.
    pub fn ends_ready(&self) -> bool {
        use Request::{Call, CopyQuestion, Fence, Isolation, Left, Query, Sync, WholeBatch};
        matches!(self.request, Query(_) | Fence | Isolation | Left(_) | Call | Sync | CopyQuestion(_) | WholeBatch(_))
    }

    /// Whether its answers, ReadyForQuery left aside, go to the client.
    pub fn shows(&self) -> bool {
        matches!(self.visibility, Visibility::Full | Visibility::WithoutNotices | Visibility::WithoutReady)
    }

    /// Whether its error goes to the client.
    pub fn shows_error(&self) -> bool {
        self.visibility != Visibility::Hidden
    }

    /// Whether its ReadyForQuery goes to the client.
    pub fn shows_ready(&self) -> bool {
        matches!(self.visibility, Visibility::Full | Visibility::WithoutNotices | Visibility::ReadyAndErrors)
    }
}
