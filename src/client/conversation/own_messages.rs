//! Messages of our own to the server: each is written together with the reply that it will be answered with.

use std::rc::Rc;

use super::pending_replies::{PendingReply, Request, Visibility, WriteCheckStep};
use crate::client::Session;
use crate::protocol::{Report, frontend};
use crate::shared::Statement;

/// See the module. What is said of how replies are hidden, and of their part in a proof, holds for the messages behind it.
pub(in crate::client) struct OwnMessages<'s> {
    session: &'s mut Session,
    visibility: Visibility,
    write_check_step: WriteCheckStep,
}

impl Session {
    /// Messages of our own, of which the client sees errors only.
    pub(in crate::client) fn own_messages(&mut self) -> OwnMessages<'_> {
        OwnMessages { session: self, visibility: Visibility::ErrorsOnly, write_check_step: WriteCheckStep::None }
    }
}

impl OwnMessages<'_> {
    /// What the client does not see of the replies.
    pub(in crate::client) fn hiding(self, visibility: Visibility) -> Self {
        Self { visibility, ..self }
    }

    /// Their part in a proof.
    pub(in crate::client) fn proving(self, write_check_step: WriteCheckStep) -> Self {
        Self { write_check_step, ..self }
    }

    fn owed(self, request: Request) -> Self {
        self.session.expect(PendingReply::hidden(request, self.visibility).in_write_check(self.write_check_step));
        self
    }

    /// Parse of a text of ours.
    pub(in crate::client) fn parse(self, name: &[u8], text: &[u8]) -> Self {
        frontend::write_parse(self.session.io.for_server(), name, text, &[]);
        self.owed(if name.is_empty() { Request::Parse(0) } else { Request::OwnParse })
    }

    /// Parse of a client's statement, under a name of ours.
    pub(in crate::client) fn parse_statement(self, name: &[u8], statement: &Statement) -> Self {
        frontend::write_parse(self.session.io.for_server(), name, &statement.cached.text, &statement.oids);
        self.owed(Request::OwnParse)
    }

    /// Bind of the statement of that name, without parameters, to a portal of the same name.
    pub(in crate::client) fn bind(self, name: &[u8]) -> Self {
        frontend::write_bind(self.session.io.for_server(), name, name, frontend::NO_PARAMETERS);
        self.owed(Request::Bind(None))
    }

    /// Describe of a portal.
    pub(in crate::client) fn describe_portal(self, name: &[u8]) -> Self {
        frontend::write_target(self.session.io.for_server(), b'D', frontend::Target::Portal(name));
        self.owed(Request::Describe(None))
    }

    /// Execute of a portal, with the statement that runs, if it is of any matter.
    pub(in crate::client) fn execute(self, name: &[u8], statement: Option<Rc<Statement>>) -> Self {
        frontend::write_execute(self.session.io.for_server(), name);
        self.owed(Request::Execute(statement))
    }

    /// The same of what may be there to fail; the client is told `refusal` then.
    pub(in crate::client) fn execute_or(self, name: &[u8], refusal: Option<Report>) -> Self {
        frontend::write_execute(self.session.io.for_server(), name);
        let mut expected =
            PendingReply::hidden(Request::Execute(None), self.visibility).in_write_check(self.write_check_step);
        expected.refusal = refusal.map(Box::new);
        self.session.expect(expected);
        self
    }

    /// Close of a statement.
    pub(in crate::client) fn close_statement(self, name: &[u8]) -> Self {
        frontend::write_target(self.session.io.for_server(), b'C', frontend::Target::Statement(name));
        self.owed(Request::Close(0))
    }

    /// Close of a portal.
    pub(in crate::client) fn close_portal(self, name: &[u8]) -> Self {
        frontend::write_target(self.session.io.for_server(), b'C', frontend::Target::Portal(name));
        self.owed(Request::Close(0))
    }

    /// An answer of ours, at this place among the server's.
    pub(in crate::client) fn say(self, say: super::pending_replies::LocalReply) -> Self {
        self.owed(Request::Local(say))
    }

    /// Sync.
    pub(in crate::client) fn sync(self) -> Self {
        frontend::write_sync(self.session.io.for_server());
        self.owed(Request::Sync)
    }

    /// A simple query.
    pub(in crate::client) fn query(self, text: &str) -> Self {
        frontend::write_query(self.session.io.for_server(), text.as_bytes());
        self.owed(Request::Query(None))
    }
}
