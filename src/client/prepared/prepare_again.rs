//! A statement is prepared again on another server connection than the one that its client has prepared it on: under the settings
//! that it was parsed under, and hidden from the client.

use std::rc::Rc;

use crate::client::Session;
use crate::client::conversation::parse_settings::Other;
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility, WriteCheckStep};
use crate::client::errors;
use crate::protocol::{Report, frontend};
use crate::shared::Statement as Prepared;

impl Session {
    /// The error where a statement would have to be parsed once more, and cannot be.
    pub(in crate::client) fn cannot_parse_again(&self, name: &[u8], statement: &Prepared) -> Option<Report> {
        let unsure = self.conversation.reading().is_unsure() && !self.other_settings(statement).is_empty();
        if !unsure && !Self::is_bound_to_its_server(statement) {
            return None;
        }
        let name = String::from_utf8_lossy(name);
        let text = format!("prepared statement \"{name}\" cannot be moved to another server connection");
        let detail = "It was prepared in one batch with a change of client_encoding or standard_conforming_strings, \
                      and its text might not be read now as it was then.";
        Some(errors::not_supported(text).with_detail(Some(detail.to_owned())))
    }

    /// Has the server know a statement, and gives its name there. What is ready has gone into our own queue.
    pub(in crate::client) fn ensure_prepared<'s>(
        &mut self,
        name: &[u8],
        statement: &'s Rc<Prepared>,
    ) -> Result<&'s str, Report> {
        let Some(server) = self.lease.server() else { return Ok("") };
        let server_name = if name.is_empty() { "" } else { statement.server_name() };
        let stands = if name.is_empty() { server.unnamed == statement.id } else { server.prepared.touch(statement.id) };
        if stands {
            return Ok(server_name);
        }
        if let Some(report) = self.cannot_parse_again(name, statement) {
            return Err(report);
        }
        Ok(self.prepare_again(name, statement))
    }

    /// Whether the server reads a text now as it reads that of a Parse which it has just been sent: nothing runs in between.
    pub(in crate::client) fn reads_as_parsed(&self, name: &[u8], statement: &Prepared) -> bool {
        let parsed = if name.is_empty() { 0 } else { statement.id };
        for expected in self.conversation.replies().iter().rev() {
            match expected.request() {
                Request::Parse(id) if expected.visibility() == Visibility::Full => return *id == parsed,
                Request::Bind(_)
                | Request::Describe(_)
                | Request::Close(_)
                | Request::OwnParse
                | Request::Shape
                | Request::Local(_) => {}
                _ => return false,
            }
        }
        false
    }

    /// Sends the Parse of a statement; gives its name on the server.
    pub(in crate::client) fn prepare_again<'s>(&mut self, name: &[u8], statement: &'s Rc<Prepared>) -> &'s str {
        let server_name = if name.is_empty() { "" } else { statement.server_name() };
        let others = self.other_settings(statement);
        self.set_as_parsed(&others);
        if !name.is_empty() {
            self.prepare_on_server(
                statement,
                statement.types(),
                PendingReply::hidden(Request::Parse(statement.id), Visibility::ErrorsOnly),
            );
        } else if let Some(server) = self.lease.server() {
            server.unnamed = statement.id;
            let types = if self.names.is_unnamed_described() { statement.types() } else { &statement.oids };
            frontend::write_parse(self.io.for_server(), b"", &statement.cached.text, types);
            self.expect(PendingReply::hidden(Request::Parse(0), Visibility::ErrorsOnly));
        }
        self.set_as_before(&others);
        server_name
    }

    /// Sets what a statement was parsed under, ahead of its Parse.
    pub(in crate::client) fn set_as_parsed(&mut self, others: &[Other]) {
        for other in others {
            self.run_own(other.as_parsed().as_bytes(), WriteCheckStep::None, None);
        }
    }

    /// Takes that back, behind its Parse.
    pub(in crate::client) fn set_as_before(&mut self, others: &[Other]) {
        for other in others.iter().rev() {
            self.run_own(other.as_before().as_bytes(), WriteCheckStep::None, None);
        }
    }
}
