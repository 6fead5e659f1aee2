//! Counting what the gate keeps out of this client's writes, for whoever watches the maintenance.

use crate::client::conversation::pending_replies::Request;
use crate::client::{End, Session};
use crate::gate::{DrainTo, Mode};
use crate::protocol::frame::{HEADER, peek_front};
use crate::protocol::frontend;
use crate::shared::Client;
use crate::shared::maintenance::kept_out::{Fate, KeptOutWrite};
use crate::sql::normalised;

/// Bytes of a statement that are kept.
const LONGEST: usize = 500;

impl Session {
    /// Counts a write whose text is known.
    pub(in crate::client) fn note_kept_out(&self, fate: Fate, text: &[u8]) {
        let write = KeptOutWrite {
            fate,
            user: self.account.user().clone(),
            application_name: self.me.application_name.borrow().clone(),
            statement: Some(normalised(text, self.lex_context(), LONGEST)),
        };
        self.db.kept_out.count(self.db.gate.state().epoch, write);
    }

    /// Counts the write that an answer is about, or that is at hand; `otherwise` names it where its text is not known.
    pub(in crate::client) fn note_answer_kept_out(&self, fate: Fate, otherwise: &[u8]) {
        match self.conversation.replies().awaited() {
            Some(Request::Query(Some(cached))) => self.note_kept_out(fate, &cached.text),
            Some(
                Request::Execute(Some(prepared)) | Request::Bind(Some(prepared)) | Request::Describe(Some(prepared)),
            ) => {
                self.note_kept_out(fate, &prepared.cached.text);
            }
            _ => self.note_kept_out(fate, otherwise),
        }
    }

    /// Counts the write in the message at hand.
    pub(in crate::client) fn note_message_kept_out(&self, fate: Fate) {
        let bytes = self.io.requests().unread();
        let Ok(Some(header)) = peek_front(bytes, usize::MAX) else { return };
        let body = bytes.get(HEADER..header.total).unwrap_or_default();
        let text = match header.tag {
            b'Q' => frontend::query(body).unwrap_or_default(),
            b'P' => frontend::parse(body).map(|parse| parse.text).unwrap_or_default(),
            b'B' | b'E' => {
                let statement = match header.tag {
                    b'B' => frontend::bind(body).ok().and_then(|bind| self.names.statement(bind.statement)),
                    _ => frontend::execute(body).ok().and_then(|(portal, _)| self.names.portal(portal)),
                };
                if let Some(statement) = statement {
                    self.note_kept_out(fate, &statement.cached.text);
                }
                return;
            }
            _ => return,
        };
        self.note_kept_out(fate, text);
    }

    /// Counts an error other than that of a refused write, if the gate is closed.
    pub(in crate::client) fn note_error(&self, sqlstate: &[u8]) {
        let state = self.db.gate.state();
        if state.mode != Mode::ReadWrite {
            self.db.kept_out.count_error(state.epoch, &String::from_utf8_lossy(sqlstate));
        }
    }
}

/// Counts a client whose connection has ended while its gate is closed, and not by its own wish.
pub(in crate::client) fn note_dropped(me: &Client, end: &End) {
    let Some(database) = &me.database else { return };
    let state = database.gate.state();
    let expected = matches!(state.mode, Mode::Offline | Mode::Draining { to: DrainTo::Offline });
    if matches!(end, End::Report(_) | End::ServerSaidFatal) && state.mode != Mode::ReadWrite && !expected {
        database.kept_out.count_dropped(state.epoch);
    }
}
