//! Messages of our own to the server: each is written together with the reply that it will be answered with.

use std::rc::Rc;

use super::pending_replies::{Expected, Hide, Proof, What};
use crate::client::Session;
use crate::protocol::{Report, frontend};
use crate::shared::Statement;

/// See the module. What is said of how replies are hidden, and of their part in a proof, holds for the messages behind it.
pub(in crate::client) struct OwnMessages<'s> {
    session: &'s mut Session,
    hide: Hide,
    proof: Proof,
}

impl Session {
    /// Messages of our own, of which the client sees errors only.
    pub(in crate::client) fn own_messages(&mut self) -> OwnMessages<'_> {
        OwnMessages { session: self, hide: Hide::Success, proof: Proof::None }
    }
}

impl OwnMessages<'_> {
    /// What the client does not see of the replies.
    pub(in crate::client) fn hiding(self, hide: Hide) -> Self {
        Self { hide, ..self }
    }

    /// Their part in a proof.
    pub(in crate::client) fn proving(self, proof: Proof) -> Self {
        Self { proof, ..self }
    }

    fn owed(self, what: What) -> Self {
        self.session.expect(Expected::hidden(what, self.hide).with_proof(self.proof));
        self
    }

    /// Parse of a text of ours.
    pub(in crate::client) fn parse(self, name: &[u8], text: &[u8]) -> Self {
        frontend::write_parse(self.session.io.for_server(), name, text, &[]);
        self.owed(if name.is_empty() { What::Parse(0) } else { What::OwnParse })
    }

    /// Parse of a client's statement, under a name of ours.
    pub(in crate::client) fn parse_statement(self, name: &[u8], statement: &Statement) -> Self {
        frontend::write_parse(self.session.io.for_server(), name, &statement.cached.text, &statement.oids);
        self.owed(What::OwnParse)
    }

    /// Bind of the statement of that name, without parameters, to a portal of the same name.
    pub(in crate::client) fn bind(self, name: &[u8]) -> Self {
        frontend::write_bind(self.session.io.for_server(), name, name, frontend::NO_PARAMETERS);
        self.owed(What::Bind(None))
    }

    /// Describe of a portal.
    pub(in crate::client) fn describe_portal(self, name: &[u8]) -> Self {
        frontend::write_target(self.session.io.for_server(), b'D', frontend::Target::Portal(name));
        self.owed(What::Describe(None))
    }

    /// Execute of a portal, with the statement that runs, if it is of any matter.
    pub(in crate::client) fn execute(self, name: &[u8], statement: Option<Rc<Statement>>) -> Self {
        frontend::write_execute(self.session.io.for_server(), name);
        self.owed(What::Execute(statement))
    }

    /// The same of what may be there to fail; the client is told `refusal` then.
    pub(in crate::client) fn execute_or(self, name: &[u8], refusal: Option<Report>) -> Self {
        frontend::write_execute(self.session.io.for_server(), name);
        let mut expected = Expected::hidden(What::Execute(None), self.hide).with_proof(self.proof);
        expected.refusal = refusal.map(Box::new);
        self.session.expect(expected);
        self
    }

    /// Close of a statement.
    pub(in crate::client) fn close_statement(self, name: &[u8]) -> Self {
        frontend::write_target(self.session.io.for_server(), b'C', frontend::Target::Statement(name));
        self.owed(What::Close(0))
    }

    /// Close of a portal.
    pub(in crate::client) fn close_portal(self, name: &[u8]) -> Self {
        frontend::write_target(self.session.io.for_server(), b'C', frontend::Target::Portal(name));
        self.owed(What::Close(0))
    }

    /// An answer of ours, at this place among the server's.
    pub(in crate::client) fn say(self, say: super::pending_replies::Say) -> Self {
        self.owed(What::Say(say))
    }

    /// Sync.
    pub(in crate::client) fn sync(self) -> Self {
        frontend::write_sync(self.session.io.for_server());
        self.owed(What::Sync)
    }

    /// A simple query.
    pub(in crate::client) fn query(self, text: &str) -> Self {
        frontend::write_query(self.session.io.for_server(), text.as_bytes());
        self.owed(What::Query(None))
    }
}
