//! The messages that prepare under a client's name, close, and ask.

use super::Way;
use crate::client::Session;
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility, WriteCheckStep};
use crate::protocol::frontend;
use crate::protocol::frontend::Target;
use crate::server::state::client_names::Stands;
use crate::shared::Statement as Prepared;
use crate::shared::prepared_statement::NAME_ON_SERVERS;

impl Session {
    /// Whether what stands under a name that the client does not have is not the client's to close.
    pub(in crate::client) fn is_anothers(&mut self, name: &[u8]) -> bool {
        let own = name.starts_with(NAME_ON_SERVERS.as_bytes());
        own || self.lease.server().is_some_and(|server| server.named.get(name).is_some())
    }

    /// Sees to it that nothing stands under a name.
    pub(super) fn clear_away(&mut self, name: &[u8], way: Way) {
        let Some(server) = self.lease.server() else { return };
        let known = server.named.get(name).is_some();
        server.named.remove(name);
        // A name of pgsluice's own is nobody's.
        let number = name.strip_prefix(NAME_ON_SERVERS.as_bytes()).and_then(|id| str::from_utf8(id).ok());
        let id = number.and_then(|id| u64::from_str_radix(id, 16).ok());
        if let Some(id) = id {
            server.prepared.remove(id);
        }
        if known || id.is_some() {
            self.close_own(name, Request::Close(0), Some(name), way);
        }
    }

    pub(super) fn hide(way: Way) -> Visibility {
        match way {
            Way::Batch => Visibility::ErrorsOnly,
            Way::Simple | Way::Amid => Visibility::Hidden,
        }
    }

    pub(super) fn expect_named(&mut self, what: Request, name: Option<&[u8]>, way: Way) {
        let expected = PendingReply::hidden(what, Self::hide(way));
        self.expect(match name {
            Some(name) => expected.of(name.into()),
            None => expected,
        });
    }

    pub(super) fn close_own(&mut self, on_server: &[u8], what: Request, name: Option<&[u8]>, way: Way) {
        frontend::write_target(self.io.for_server(), b'C', Target::Statement(on_server));
        self.expect_named(what, name, way);
    }

    pub(super) fn parse_under(&mut self, name: &[u8], text: &[u8], oids: &[u8], stands: Stands, way: Way) {
        frontend::write_parse(self.io.for_server(), name, text, oids);
        self.expect_named(Request::Parse(0), Some(name), way);
        if let Some(server) = self.lease.server() {
            server.named.put(name, stands);
        }
    }

    /// Prepares a statement under a name, in the place of whatever is there.
    pub(super) fn stand(&mut self, name: &[u8], stands: Stands, statement: &Prepared, way: Way) {
        self.clear_away(name, way);
        let text = &statement.cached.text;
        let others = self.other_settings(statement);
        match (stands, way) {
            (Stands::Sql(_), Way::Simple) if others.is_empty() => {
                frontend::write_query(self.io.for_server(), text);
                self.expect_named(Request::Query(None), Some(name), way);
            }
            (Stands::Sql(_), _) => {
                self.hidden_in(way, |session| session.set_as_parsed(&others));
                self.run_own_named(text, name, way);
                self.hidden_in(way, |session| session.set_as_before(&others));
                self.end_own(way);
            }
            _ => {
                self.hidden_in(way, |session| session.set_as_parsed(&others));
                self.parse_under(name, text, &statement.oids, stands, way);
                self.hidden_in(way, |session| session.set_as_before(&others));
                // Its error would be the end of what follows, up to a Sync.
                self.end_own(way);
            }
        }
        if let Some(server) = self.lease.server() {
            server.named.put(name, stands);
        }
    }

    /// Sends statements of our own, hidden as the way demands.
    fn hidden_in(&mut self, way: Way, sends: impl FnOnce(&mut Self)) {
        let before = self.conversation.replies().len();
        sends(self);
        self.conversation
            .replies_mut()
            .added_since(before)
            .for_each(|expected| expected.set_visibility(Self::hide(way)));
    }

    /// Runs a PREPARE in the client's batch.
    pub(super) fn run_own_named(&mut self, text: &[u8], name: &[u8], way: Way) {
        let before = self.conversation.replies().len();
        self.run_own(text, WriteCheckStep::None, None);
        for expected in self.conversation.replies_mut().added_since(before) {
            expected.set_visibility(Self::hide(way));
            if !matches!(expected.request(), Request::Bind(_)) {
                expected.set_named(name);
            }
        }
        self.conversation.replies_mut().note_renamed();
    }

    pub(super) fn ask_shape(&mut self, name: &[u8], asks: bool, way: Way) {
        if !asks {
            return;
        }
        frontend::write_target(self.io.for_server(), b'D', Target::Statement(name));
        self.expect_named(Request::Shape, Some(name), way);
        self.end_own(way);
    }

    /// Ahead of a simple query, messages of the extended protocol end with a Sync.
    pub(super) fn end_own(&mut self, way: Way) {
        if way == Way::Simple {
            self.own_messages().hiding(Visibility::Hidden).sync();
        }
    }
}
