//! What a client's start-up packet asks for are the defaults of its session: RESET, RESET ALL, DISCARD ALL and
//! SET … TO DEFAULT go back to them. Its server connections are others' too, with defaults of the server's own. So
//! behind each such statement runs one of ours that puts the client's defaults in their place, in the same message,
//! the same transaction and the same subtransaction: it shares the statement's fate. The client does not see it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::reported_parameters::READ_ONLY;
use crate::client::Session;
use crate::client::conversation::pending_replies::Request;
use crate::client::startup::startup_parameters::StartupParameters;
use crate::protocol::ErrorFields;
use crate::protocol::frame::Header;
use crate::protocol::frontend;
use crate::server::state::session_vars::{Value, reported_name};
use crate::server::{AcquireError, Pool};
use crate::shared::database::Resolved;
use crate::shared::handover::client::HandedSettings;
use crate::shared::{Database, WorkerState};
use crate::sql::cache::verdicts::Cached;
use crate::sql::own_statements::settings;
use crate::sql::own_statements::settings::RoleKind;
use crate::sql::{SessionEffect, Statement};

/// Name of the statement and portal that do so in a batch.
const NAME: &[u8] = b"pgsluice_defaults";

/// The defaults of one session.
#[derive(Clone, Default)]
pub(in crate::client) struct Defaults {
    /// By name in lower case, the values as `set_config()` takes them.
    settings: Option<Arc<Resolved>>,
    application_name: Box<str>,
    read_only: Option<bool>,
}

impl Defaults {
    pub(in crate::client) fn new(
        settings: Option<Arc<Resolved>>,
        application_name: &str,
        read_only: Option<bool>,
    ) -> Self {
        Self { settings, application_name: application_name.into(), read_only }
    }

    /// For the process that takes over.
    pub(in crate::client) fn hand_over(&self, handed: &mut HandedSettings) {
        let pair = |(name, value): &(Box<str>, Box<str>)| (name.to_string(), value.to_string());
        let Self { settings, application_name, read_only } = self;
        handed.defaults = settings.as_ref().map(|settings| settings.iter().map(pair).collect());
        handed.default_name = application_name.to_string();
        handed.default_read_only = *read_only;
    }

    /// As another process has handed them over.
    pub(in crate::client) fn take_over(handed: &HandedSettings) -> Self {
        let settings = handed.defaults.as_ref().map(|settings| {
            let pair = |(name, value): &(String, String)| (name.as_str().into(), value.as_str().into());
            Arc::new(settings.iter().map(pair).collect::<Resolved>())
        });
        Self::new(settings, &handed.default_name, handed.default_read_only)
    }

    /// The default_transaction_read_only that it asks for.
    pub(in crate::client) fn read_only(&self) -> Option<bool> {
        self.read_only
    }

    fn is_empty(&self) -> bool {
        self.settings.is_none() && self.application_name.is_empty() && self.read_only.is_none()
    }

    fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = (!self.application_name.is_empty()).then_some(("application_name", &*self.application_name));
        let read_only = self.read_only.map(|on| (READ_ONLY, if on { "on" } else { "off" }));
        let settings = self.settings.iter().flat_map(|settings| settings.iter());
        settings.map(|(name, value)| (&**name, &**value)).chain(named).chain(read_only)
    }

    /// What a server reports once they are in force again.
    pub(in crate::client) fn reported(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// What is to run behind a statement with these effects; None: nothing.
    fn behind(&self, statement: &Statement, in_maintenance: bool) -> Option<String> {
        use SessionEffect as Effect;
        let mut calls = String::new();
        let mut role = None;
        for effect in &statement.effects {
            let (one, local): (Option<&[u8]>, _) = match effect {
                Effect::ResetAll | Effect::DiscardAll => (None, false),
                Effect::Reset(name) | Effect::SetConfig { name, value: None, local: false } => (Some(name), false),
                Effect::SetConfig { name, value: None, local: true } => (Some(name), true),
                Effect::Set { name, local, default: true, .. } => (Some(name), *local),
                Effect::SetRole { local: false } if statement.tag == "RESET" => (Some(b"role"), false),
                _ => continue,
            };
            let all = matches!(effect, Effect::DiscardAll);
            for (name, value) in self.iter() {
                // The guard is not the client's to set: its own default is in force again when the gate opens.
                let wanted = one.is_none_or(|one| one.eq_ignore_ascii_case(name.as_bytes()))
                    && !(in_maintenance && name == READ_ONLY);
                match name {
                    _ if !wanted => {}
                    "role" if one.is_some() || all => role = Some(value),
                    "role" => {}
                    _ => {
                        let comma = if calls.is_empty() { "" } else { ", " };
                        calls.push_str(comma);
                        calls.push_str(&settings::set_config(name, value, local));
                    }
                }
            }
        }
        let mark = settings::DEFAULTS;
        match (calls.is_empty(), role) {
            (true, None) => None,
            (false, None) => Some(format!("{mark}{calls}")),
            // By itself: what may be set depends on it.
            (true, Some(role)) => Some(settings::set_role_to(RoleKind::Role, role)),
            (false, Some(role)) => Some(format!("{mark}{calls}, {}", settings::set_config("role", role, false))),
        }
    }
}

/// Whether it is a statement of ours.
fn is_ours(statement: &Statement, text: &[u8]) -> bool {
    statement.text(text).starts_with(settings::DEFAULTS.as_bytes())
}

/// Where a character of a rewritten text stood in the client's.
fn place_before(cached: &Cached, position: usize) -> usize {
    let chars = |bytes: &[u8]| std::str::from_utf8(bytes).map_or(bytes.len(), |text| text.chars().count());
    let upto = |end: usize| chars(cached.text.get(..end).unwrap_or_default());
    let ours = cached.analysis.statements.iter().filter(|statement| is_ours(statement, &cached.text));
    let ahead = ours.filter(|statement| upto(statement.span.end as usize) < position);
    // With the semicolon ahead of each.
    let added: usize = ahead.map(|statement| chars(statement.text(&cached.text)) + 1).sum();
    position.saturating_sub(added)
}

impl Session {
    /// Puts the client's defaults behind the statements of a query that go back to them. True: the message has been written
    /// anew, and is to be looked at again.
    pub(in crate::client) fn keeps_defaults(&mut self, header: Header, cached: &Cached) -> bool {
        if self.settings.defaults.is_empty() || self.lease.is_operator() || cached.analysis.ambiguous {
            return false;
        }
        let closed = self.lease.in_maintenance();
        let statements = &cached.analysis.statements;
        if statements.iter().all(|statement| statement.effects.is_empty())
            || statements.iter().any(|statement| is_ours(statement, &cached.text))
            || cached.analysis.single().is_some_and(discards_all)
        {
            return false;
        }
        let mut text = Vec::new();
        let mut from = 0;
        for statement in statements {
            let Some(behind) = self.settings.defaults.behind(statement, closed) else { continue };
            let end = statement.span.end as usize;
            text.extend_from_slice(cached.text.get(from..end).unwrap_or_default());
            text.push(b';');
            text.extend_from_slice(behind.as_bytes());
            from = end;
        }
        if from == 0 {
            return false;
        }
        text.extend_from_slice(cached.text.get(from..).unwrap_or_default());
        let mut message = Vec::with_capacity(text.len() + 6);
        frontend::write_query(&mut message, &text);
        self.io.requests_mut().replace(header.total, &message);
        self.conversation.message_mut().note_restores();
        true
    }

    /// Whether what the server answers now belongs to a statement of ours that puts defaults back.
    #[inline]
    pub(in crate::client) fn hides_defaults(&self) -> bool {
        self.conversation.message().restores() && self.answers_ours()
    }

    fn answers_ours(&self) -> bool {
        match self.conversation.replies().awaited() {
            Some(Request::Query(Some(cached))) => {
                let now = cached.analysis.statements.get(self.conversation.message().statement_index());
                now.is_some_and(|statement| is_ours(statement, &cached.text))
            }
            _ => false,
        }
    }

    /// An error's place in the text as the client sent it, where that was written anew.
    pub(in crate::client) fn place_in_clients_text(&self, error: ErrorFields<'_>) -> Option<String> {
        let Some(Request::Query(Some(cached))) = self.conversation.replies().awaited() else { return None };
        let position =
            str::from_utf8(error.get(b'P').filter(|_| self.conversation.message().restores())?).ok()?.parse().ok()?;
        Some(place_before(cached, position).to_string())
    }

    /// What has to follow a DISCARD ALL, which runs in no other's company: a message of its own.
    pub(in crate::client) fn after_discard(&self, cached: &Cached) -> Option<Vec<u8>> {
        let statement = cached.analysis.single().filter(|statement| discards_all(statement))?;
        if self.lease.is_operator() || self.conversation.status() != crate::protocol::TxStatus::Idle {
            return None;
        }
        self.settings.defaults.behind(statement, self.lease.in_maintenance()).map(String::into_bytes)
    }

    /// The defaults are in force again once what is being sent has run.
    pub(in crate::client) fn note_defaults(&mut self) {
        let mut put = Vec::new();
        for (name, value) in self.settings.defaults.iter().filter(|(name, _)| *name != READ_ONLY) {
            put.push(match reported_name(name).filter(|known| self.settings.vars.reported(known).is_some()) {
                Some(known) => (known.to_owned(), Value::Reported(value.into())),
                None => (name.to_owned(), Value::Flat(value.into())),
            });
        }
        for (name, value) in put {
            let _ = self.settings.undo.put(&name, Some(value));
        }
    }

    /// Puts the client's defaults behind an Execute of a statement that goes back to them.
    pub(in crate::client) fn keep_defaults_in_batch(&mut self, statement: &Statement) {
        if statement.effects.is_empty() || self.settings.defaults.is_empty() || self.lease.is_operator() {
            return;
        }
        let Some(text) = self.settings.defaults.behind(statement, self.lease.in_maintenance()) else { return };
        let context = self.lex_context();
        let cached = self.core.verdicts.borrow_mut().get_or_analyze(text.as_bytes(), context);
        let ours = self.core.statements.get(cached, &[], context, 0, &self.settings.vars);
        // One that failed has left its statement behind.
        let own = self.own_messages().close_statement(NAME).parse(NAME, text.as_bytes()).bind(NAME);
        own.execute(NAME, Some(ours)).close_portal(NAME).close_statement(NAME);
    }
}

fn discards_all(statement: &Statement) -> bool {
    statement.effects.contains(&SessionEffect::DiscardAll)
}

/// Asks a server what it makes of a start-up packet: in the packet of a connection of its own, so that what is wrong is
/// refused in PostgreSQL's words and what is right means what it means there, whatever form it was given in.
pub(in crate::client) async fn resolve(
    core: &Rc<WorkerState>,
    db: &Arc<Database>,
    pool: &Arc<Pool>,
    wanted: &StartupParameters,
    deadline: Instant,
) -> Result<Arc<Resolved>, AcquireError> {
    if let Some(known) = db.resolved(&pool.user, wanted.parameters()) {
        return Ok(known);
    }
    let (mut fresh, _place) = pool.try_parameters(core.index, deadline, wanted.parameters()).await?;
    let question = settings::read_startup(wanted.unlisted());
    // The search_path is one of the settings that are read: it stays as it is.
    let rows = fresh.ask(&question, |_| ()).await.map(|answer| answer.rows);
    let mut bye = Vec::new();
    frontend::write_terminate(&mut bye);
    fresh.stream.close(&bye);
    let reported = |name: &str| {
        let found = fresh.parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    };
    let mut resolved = Resolved::new();
    for row in rows? {
        if let [Some(name), Some(value)] = row.as_slice() {
            let value = reported(name).unwrap_or_else(|| value.clone());
            resolved.push((name.as_str().into(), value.into()));
        }
    }
    if let Some(encoding) = wanted.asks_encoding().then(|| reported("client_encoding")).flatten() {
        resolved.push(("client_encoding".into(), encoding.into()));
    }
    Ok(db.remember_resolved(&pool.user, wanted.parameters(), resolved))
}
