//! What the answers tell of names.

use std::num::NonZeroU64;
use std::rc::Rc;

use super::{Way, runs};
use crate::client::Session;
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility};
use crate::client::prepared::protocol_names::Known;
use crate::client::prepared::result_shape::{OVERTAKEN, has_rows};
use crate::client::state::pins::Pin;
use crate::protocol::ErrorFields;
use crate::protocol::frontend;
use crate::protocol::frontend::Target;
use crate::server::state::client_names::Stands;
use crate::shared::Statement as Prepared;
use crate::sql::cache::verdicts::Cached;
use crate::sql::{LexContext, Name, SessionEffect, Statement};

impl Session {
    /// What the rows of a statement are that stands under the client's name: the answer has come.
    pub(in crate::client) fn note_own_shape(&mut self, shape: NonZeroU64) {
        let Some(name) = self.conversation.replies().front().and_then(PendingReply::name_of_shape) else { return };
        let Some(server) = self.lease.server() else { return };
        let own = match (server.named.get(name), self.names.known(name)) {
            (Some(Stands::Sql(id)), Some(Known::Sql(inner))) => {
                inner.statement().is_some_and(|statement| statement.id == id)
            }
            (Some(Stands::Protocol(id)), Some(Known::Protocol(statement))) => statement.id == id,
            _ => false,
        };
        server.named.note_shape(name, shape);
        if own && self.names.told(name).is_none() {
            self.names.tell(name, shape);
        }
    }

    /// Asks what the rows are of what has just been prepared, if nothing else is under way.
    pub(in crate::client) fn learn_shapes(&mut self) {
        // In a block the question, if it failed, would be the end of that.
        let between = self.is_between_transactions();
        let named =
            self.conversation.names_mut().under_way.as_mut().filter(|named| between && !named.unlearned.is_empty());
        let Some(named) = named else { return };
        let mut asks = false;
        for name in std::mem::take(&mut named.unlearned) {
            let Some(server) = self.lease.server() else { return };
            if server.named.get(&name).is_some() && self.names.told(&name).is_none() {
                frontend::write_target(self.io.for_server(), b'D', Target::Statement(&name));
                self.expect_named(Request::Shape, Some(&name), Way::Simple);
                asks = true;
            }
        }
        if asks {
            self.end_own(Way::Simple);
        }
    }

    /// A PREPARE has run.
    pub(in crate::client) fn note_prepare(
        &mut self,
        name: &Name,
        inner: &Statement,
        statement: &Statement,
        text: &[u8],
    ) {
        // A message is read as a whole before any of it runs; in a batch what ran ahead may have changed how.
        let context =
            if self.conversation.reading().parsed_unsure() { LexContext::UNSURE } else { self.reported_context() };
        let mut cached = self.core.verdicts.borrow_mut().get_or_analyze(text, context);
        if cached.analysis.single().is_none() {
            cached = self.core.verdicts.borrow_mut().get_or_analyze(statement.text(text), context);
        }
        let path = self.path().wrapping_add(self.parse_settings().into());
        let prepared = self.core.statements.get(cached, &[], context, path, self.settings.vars());
        let moves = !Self::is_bound_to_its_server(&prepared) && self.lacks_memory_for(name, &prepared).is_none();
        let id = prepared.id;
        let kept = self.names.prepare_sql(name, inner.refusal.clone(), prepared, moves);
        if !kept {
            self.pin(Pin::Prepared);
        }
        if let Some(server) = self.lease.server() {
            server.named.put(name, if kept { Stands::Sql(id) } else { Stands::Unknown });
        }
        if kept && has_rows(inner, text) {
            self.under_way_names().unlearned.push(name.clone());
        }
    }

    /// A DEALLOCATE has run.
    pub(in crate::client) fn note_deallocate(&mut self, name: &Name) {
        self.names.forget(name);
        if let Some(server) = self.lease.server() {
            server.named.remove(name);
        }
        if self.bindings.pins().has(Pin::Prepared) && !self.names.lacks_sql() {
            self.bindings.unpin(Pin::Prepared);
        }
    }

    /// An EXECUTE has run: what it ran may have done something to the session.
    pub(in crate::client) fn note_executed(&mut self, name: &Name) {
        let Some(known) = self.names.known(name) else { return };
        let Some((cached, one)) = runs(&known) else { return };
        for effect in one.effects.iter().filter(|effect| !matches!(effect, SessionEffect::Execute(_))) {
            self.note_effect(effect, one, &cached.text);
        }
    }

    /// The same of one that has not come to its end.
    pub(in crate::client) fn note_executed_in_part(&mut self, name: &Name) {
        let Some(known) = self.names.known(name) else { return };
        let Some((cached, one)) = runs(&known) else { return };
        if !one.effects.iter().any(|effect| matches!(effect, SessionEffect::Execute(_))) {
            self.note_lasting_effects(one, &cached.text);
        }
    }

    /// Whether a text runs, by name, what asks for what a sequence last gave.
    pub(in crate::client) fn executes_asking(&self, cached: &Cached) -> bool {
        let asks = |effect: &SessionEffect| match effect {
            SessionEffect::Execute(name) => {
                let known = self.names.known(name);
                let runs = known.as_ref().and_then(runs);
                runs.is_some_and(|(_, one)| one.effects.contains(&SessionEffect::AsksSequence))
            }
            _ => false,
        };
        cached.analysis.statements.iter().any(|one| one.effects.iter().any(asks))
    }

    /// What a Bind of a name of SQL's binds: the statement that its PREPARE has in it.
    pub(in crate::client) fn prepared_in_sql(&self, name: &[u8]) -> Option<Rc<Prepared>> {
        let (cached, context, inner) = self.names.sql(name)?.runs()?;
        let text = self.core.verdicts.borrow_mut().get_or_analyze(inner.text(&cached.text), context);
        Some(self.core.statements.get(text, &[], context, 0, self.settings.vars()))
    }

    /// Takes in an error of the server's for a message of ours that goes ahead of a simple query. False: it is none.
    pub(in crate::client) fn stand_failed(&mut self, body: &[u8]) -> bool {
        let Some(expected) = self.conversation.replies().front().filter(|one| one.visibility() == Visibility::Hidden)
        else {
            return false;
        };
        let Some(name) = expected.named().map(Box::<[u8]>::from) else { return false };
        let (asks, simple) =
            (matches!(expected.request(), Request::Shape), matches!(expected.request(), Request::Query(None)));
        if let Some(server) = self.lease.server() {
            server.named.doubt(&name);
        }
        if asks && ErrorFields::new(body).code() == b"0A000" && self.names.told(&name).is_none() {
            // The message that has prepared it has changed the schema too.
            self.names.tell(&name, OVERTAKEN);
        }
        if !asks && !ErrorFields::new(body).is_fatal() {
            self.under_way_names().unstood.get_or_insert((name, body.to_vec()));
        }
        if !simple {
            let skip = self.conversation.batch().skips();
            self.skip_to_sync();
            self.conversation.batch_mut().set_skip(skip);
            if self.conversation.replies().is_empty() {
                // The batch has failed; what has waited, a simple query, is another transaction's.
                self.conversation.batch_mut().end();
                self.end_own(Way::Simple);
            }
        }
        true
    }

    /// What the server said when a statement could not be made to stand, in place of the error that comes of that.
    pub(in crate::client) fn unstood(&mut self, code: &[u8]) -> Option<Vec<u8>> {
        let client = self.conversation.replies().front().is_some_and(|one| one.visibility() != Visibility::Hidden);
        let named = self.conversation.names_mut().under_way.as_mut()?;
        if !client || !matches!(code, b"26000" | b"25P02") {
            return None;
        }
        named.unstood.take().map(|(_, body)| body)
    }

    /// The client has its ReadyForQuery.
    pub(in crate::client) fn end_names(&mut self) {
        if let Some(named) = &mut self.conversation.names_mut().under_way {
            (named.unstood, named.renewed, named.due) = (None, None, false);
        }
    }
}
