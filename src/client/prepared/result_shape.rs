//! What the rows of a client's prepared statements were when it prepared them, and what a server connection would send.
//!
//! PostgreSQL refuses to run a statement whose result has other columns than when it was prepared (`cached plan must not change
//! result type`), since the client would take them for what they were. Prepared anew on another server connection it would run.
//! So a server that prepares a named statement for its client is asked what its rows are, and the client is refused where
//! they would be others; each server connection is asked once for each statement.

use std::hash::BuildHasher;
use std::num::NonZeroU64;
use std::rc::Rc;

use crate::client::Session;
use crate::client::conversation::client_messages::Progress;
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility};
use crate::client::errors;
use crate::protocol::Report;
use crate::protocol::frame::{HEADER, Header, peek_front, take_str};
use crate::protocol::frontend;
use crate::protocol::frontend::Target;
use crate::server::state::session_vars::{Seed, Value};
use crate::shared::Statement;
use crate::shared::prepared_statement::Meaning;
use crate::sql;
use crate::sql::{Kind, SessionEffect, TransactionVerb};

/// Bytes of a RowDescription's field behind its name: table, column, type, length, modifier, format.
const FIELD: usize = 18;

/// Stands for rows that can be no more.
pub(in crate::client) const OVERTAKEN: NonZeroU64 = NonZeroU64::MAX;

/// A fingerprint of the columns in a RowDescription, by names and types; of NoData too.
fn shape(seed: &Seed, tag: u8, body: &[u8]) -> NonZeroU64 {
    let mut rest = body.get(2..).filter(|_| tag == b'T').unwrap_or_default();
    let mut hash = u64::from(tag);
    while let Ok((name, tail)) = take_str(rest) {
        let Some((field, next)) = tail.split_at_checked(FIELD) else { break };
        hash = seed.0.hash_one((hash, name, field.get(6..10), field.get(12..16)));
        rest = next;
    }
    NonZeroU64::new(hash).unwrap_or(NonZeroU64::MIN)
}

/// Whether a change of the schema can give it other rows: it is a query, and has any.
pub(in crate::client) fn has_rows(one: &sql::Statement, text: &[u8]) -> bool {
    let says = |wanted: &[u8]| one.text(text).windows(wanted.len()).any(|word| word.eq_ignore_ascii_case(wanted));
    match one.kind {
        Kind::Read => !matches!(one.tag, "FETCH" | "MOVE" | "EXPLAIN"),
        Kind::Write => says(b"returning"),
        Kind::Unknown => true,
        _ => false,
    }
}

/// The same of a prepared statement.
pub(in crate::client) fn has_rows_of(statement: &Statement) -> bool {
    statement.cached.analysis.single().is_none_or(|one| has_rows(one, &statement.cached.text))
}

/// PostgreSQL's error for a statement whose rows are not what they were. Drivers know it by its routine, and prepare the
/// statement anew.
pub(in crate::client) fn other_rows() -> Report {
    errors::plan_changed()
}

/// Settings on which it hangs in which schema a table is found.
const PATH: [&str; 3] = ["search_path", "role", "session_authorization"];

/// Whether it changes one of them.
fn moves_path(one: &sql::Statement) -> bool {
    use SessionEffect as Effect;
    one.effects.iter().any(|effect| match effect {
        Effect::Set { name, .. } | Effect::SetConfig { name, .. } | Effect::Reset(name) => **name == *b"search_path",
        Effect::ResetAll | Effect::DiscardAll | Effect::SetRole { .. } | Effect::SetSessionAuthorization { .. } => true,
        _ => false,
    })
}

/// Whether a change of the schema can make it another statement: it has parameters or rows.
pub(in crate::client) fn depends_on_schema(statement: &Statement) -> bool {
    let Some(one) = statement.cached.analysis.single() else { return true };
    let planned = matches!(one.kind, Kind::Read | Kind::Write | Kind::Unknown);
    has_rows_of(statement) || planned && memchr::memchr(b'$', &statement.cached.text).is_some()
}

impl Session {
    /// A number for where the session's statements look for tables now; 0: where the server says. A statement that stands on
    /// a server for others is good for a client only if theirs is the same.
    pub(in crate::client) fn path(&self) -> u64 {
        if let Some(path) = self.conversation.names().path {
            return path;
        }
        let set = PATH.iter().filter_map(|name| Some((*name, self.settings.vars().get(name)?)));
        set.fold(0, |path, (name, value)| {
            let (Value::Default(value) | Value::Reported(value) | Value::Spelled(value) | Value::Flat(value)) = value;
            self.core.proxy.seed.0.hash_one((path, name, value))
        })
    }

    /// A statement has run.
    pub(in crate::client) fn note_schema(&mut self, one: &sql::Statement, text: &[u8]) {
        let back = matches!(one.kind, Kind::Transaction(TransactionVerb::RollbackTo(_)))
            && self.conversation.names().path.is_some();
        if back || moves_path(one) {
            self.conversation.names_mut().path = Some(self.core.proxy.seed.0.hash_one((self.path(), one.text(text))));
        }
    }

    /// The transaction is over.
    #[inline]
    pub(in crate::client) fn end_schema(&mut self) {
        self.conversation.names_mut().path = None;
    }

    /// The answer to a Describe of a statement has come.
    pub(in crate::client) fn note_shape(&mut self, header: Header) {
        let asked = matches!(self.conversation.replies().awaited(), Some(Request::Describe(Some(_)) | Request::Shape));
        if !asked {
            return;
        }
        let body = self.io.replies().body(header);
        let shape = shape(&self.core.proxy.seed, header.tag, body);
        let Some((Request::Describe(Some(statement)), named)) =
            self.conversation.replies().front().map(|front| (front.request(), front.named()))
        else {
            self.note_own_shape(shape);
            return;
        };
        let (statement, name) = (statement.clone(), Box::<[u8]>::from(named.unwrap_or_default()));
        let types = std::mem::take(&mut self.conversation.names_mut().parameter_types);
        let meaning = Meaning { types, rows: shape };
        let same = statement.learn(&meaning);
        let hidden = self.conversation.replies().front().is_some_and(|one| one.visibility() != Visibility::Full);
        if name.is_empty() && !hidden {
            self.note_unnamed_described(&statement, &meaning, same);
            return;
        }
        // The name may stand for another by now.
        let names_it = !name.is_empty() && self.names.statement(&name).is_some_and(|now| now.id == statement.id);
        let new = names_it && self.names.told(&name).is_none();
        let tells = has_rows_of(&statement);
        if new && !same {
            // Others have prepared it before a change of the schema: theirs is apart from now on.
            let renewed = self.core.statements.renewed(&statement, &meaning);
            self.names.prepare(&name, renewed);
        }
        if new && tells {
            self.names.tell(&name, shape);
        }
        let Some(server) = self.lease.server() else { return };
        if new && !same {
            server.prepared.overtake(statement.id);
        } else if tells {
            server.prepared.note_shape(statement.id, shape);
        }
    }

    /// Asks what the parameters and rows are of a named statement that has just been prepared, if the client does not do so
    /// itself.
    pub(in crate::client) fn learn_meaning(&mut self, name: &[u8], statement: &Rc<Statement>) {
        let bytes = self.io.requests().unread();
        if let Ok(Some(next)) = peek_front(bytes, self.account.largest())
            && next.tag == b'D'
            && let Some(body) = bytes.get(HEADER..next.total)
            && frontend::target(body) == Ok(Target::Statement(name))
        {
            return;
        }
        frontend::write_target(self.io.for_server(), b'D', Target::Statement(statement.server_name().as_bytes()));
        self.expect(
            PendingReply::hidden(Request::Describe(Some(statement.clone())), Visibility::ErrorsOnly).of(name.into()),
        );
    }

    /// The client is told what its unnamed statement is. That may be something else than for others who have prepared the text.
    fn note_unnamed_described(&mut self, statement: &Rc<Statement>, meaning: &Meaning, same: bool) {
        if self.names.statement(b"").is_none_or(|now| now.id != statement.id) {
            return;
        }
        if same {
            return self.names.describe_unnamed(statement.clone());
        }
        let renewed = self.core.statements.renewed(statement, meaning);
        if let Some(server) = self.lease.server().filter(|server| server.unnamed == statement.id) {
            server.unnamed = renewed.id;
        }
        self.names.describe_unnamed(renewed);
    }

    /// The unnamed statement of a client that has been told what its rows are, on a server connection that it does not stand on:
    /// there it has a name, so that its rows are asked for once. None: it is to be prepared as what it is.
    fn moved_unnamed(&mut self, name: &[u8], statement: &Rc<Statement>) -> Option<Rc<Statement>> {
        let told = name.is_empty() && self.names.is_unnamed_described() && has_rows_of(statement);
        if !told || self.keeps_names() || self.lease.server()?.unnamed == statement.id {
            return None;
        }
        let path = self.path().wrapping_add(self.parse_settings().into());
        let known = self.names.moved().filter(|known| {
            let same = known.is(&statement.cached, &statement.oids, statement.context(), path);
            same && known.meaning() == statement.meaning()
        });
        if let Some(known) = known {
            return Some(known.clone());
        }
        let moved = self.core.statements.moved(statement, path);
        self.names.keep_moved(moved.clone());
        Some(moved)
    }

    /// Looks at a Bind: gives the statement that is bound, and under which of the client's names it is to stand on the server; for
    /// the unnamed statement that may be one of the server's. The error: its rows are not what the client was told, or that has to
    /// be asked first.
    pub(in crate::client) fn fits_what_was_told(
        &mut self,
        header: Header,
        name: &[u8],
        statement: Rc<Statement>,
    ) -> Result<(Box<[u8]>, Rc<Statement>), Progress> {
        let Some(moved) = self.moved_unnamed(name, &statement) else {
            let told = self.names.told(name);
            return match self.has_other_shape(header, name, &statement, told) {
                Some(handled) => Err(handled),
                None => Ok((name.into(), statement)),
            };
        };
        if let Some(report) = self.cannot_parse_again(name, &moved) {
            return Err(self.fail_in_place(header, report));
        }
        let slot: Box<[u8]> = moved.server_name().as_bytes().into();
        let told = moved.meaning().map(|meaning| meaning.rows);
        match self.has_other_shape(header, &slot, &moved, told) {
            Some(handled) => Err(handled),
            None => Ok((slot, moved)),
        }
    }

    /// A server has told the types of a statement's parameters.
    pub(in crate::client) fn note_types(&mut self, header: Header) {
        if matches!(self.conversation.replies().awaited(), Some(Request::Describe(Some(_)))) {
            let body = self.io.replies().body(header);
            self.conversation.names_mut().parameter_types = body.get(2..).unwrap_or_default().into();
        }
    }

    /// Looks at a Bind or a Describe of a named statement. Some: its rows are not what the client was told, or that has to be asked first.
    pub(in crate::client) fn has_other_shape(
        &mut self,
        header: Header,
        name: &[u8],
        statement: &Rc<Statement>,
        told: Option<NonZeroU64>,
    ) -> Option<Progress> {
        let told = told?;
        match self.lease.server()?.prepared.shape(statement.id) {
            Some(now) if now == told => return None,
            Some(_)
                if self.conversation.names_mut().under_way.get_or_insert_default().renewed.replace(statement.id)
                    == Some(statement.id) =>
            {
                self.core.statements.renew(statement);
                return Some(match self.ensure_prepared(name, statement) {
                    Ok(on_server) => self.fail_with(header, on_server.as_bytes(), other_rows()),
                    Err(report) => self.fail_in_place(header, report),
                });
            }
            // Which of the two has been overtaken: what the client was told, or what stands on the server?
            Some(_) => self.close_on_server(statement),
            None => {}
        }
        let asked =
            |one: &PendingReply| matches!(one.request(), Request::Describe(Some(known)) if known.id == statement.id);
        if !self.conversation.replies().iter().any(asked) {
            if self.lease.server().is_some_and(|server| server.prepared.touch(statement.id)) {
                // Nobody knows since when; asked now, it might fail.
                self.close_on_server(statement);
            }
            let on_server = match self.ensure_prepared(name, statement) {
                Ok(on_server) => on_server,
                Err(report) => return Some(self.fail_in_place(header, report)),
            };
            frontend::write_target(self.io.for_server(), b'D', Target::Statement(on_server.as_bytes()));
            self.expect(PendingReply::hidden(Request::Describe(Some(statement.clone())), Visibility::ErrorsOnly));
        }
        self.awaits_answers();
        Some(Progress::AwaitReplies)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, table: u8, kind: u8) -> Vec<u8> {
        let mut body = vec![0, 1];
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&[0, 0, 0, 0, table, 0, 1, 0, 0, 0, kind, 0, 4, 255, 255, 255, 255, 0, 0]);
        body
    }

    #[test]
    fn names_and_types_make_a_shape_and_tables_do_not() {
        let seed = Seed::default();
        let of = |body: &[u8]| shape(&seed, b'T', body);
        assert_eq!(of(&row("a", 1, 23)), of(&row("a", 2, 23)));
        assert_ne!(of(&row("a", 1, 23)), of(&row("b", 1, 23)));
        assert_ne!(of(&row("a", 1, 23)), of(&row("a", 1, 25)));
        assert_ne!(of(&[0, 0]), shape(&seed, b'n', &[]));
    }
}
