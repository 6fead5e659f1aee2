//! `SHOW pgsluice.mode` and its like, answered without a server.
//!
//! In the simple protocol the answer takes its place among those that the server still owes, and is made when its turn has
//! come: then the state of the transaction is known, and with it whether the answer is 25P02. Several statements in one
//! message become one text in which each SHOW is a SELECT of the value, and each SET one that cannot succeed. In the extended
//! protocol ([`batch`]) these statements and their portals are pgsluice's alone; who pipelines is held back until the batches
//! before have been answered. Only in a failed transaction the server is asked, since it refuses everything.

mod batch;

use std::rc::Rc;

use crate::client::Session;
use crate::client::conversation::client_messages::Progress;
use crate::client::conversation::pending_replies::{LocalReply, PendingReply, Request};
use crate::client::errors;
use crate::gate::print_timestamp;
use crate::protocol::frame::Header;
use crate::protocol::frontend;
use crate::protocol::{Report, TxStatus, answer};
use crate::sql::cache::verdicts::Cached;
use crate::sql::own_statements::settings;
use crate::sql::{Own, OwnUse, Statement, may_use_own, own_use, set_name};

/// SHOWs of one message that are answered; of others the server knows nothing. A value may be long, and a client must not be
/// able to have it written without end.
const MOST: usize = 100;
/// text
const TEXT: u32 = 25;
/// An operator's query that is longer is not looked at.
const LONGEST_OPERATOR: usize = 300;

/// Part of an answer of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The whole answer to a simple query, with ReadyForQuery.
    WholeBatch(Own),
    /// BindComplete.
    Bound,
    /// The answer to Describe of a statement.
    Statement(OwnUse),
    /// The answer to Describe of a portal.
    Portal {
        /// What it runs.
        used: OwnUse,
        /// Its result was asked for in binary form.
        binary: bool,
    },
    /// The answer to Execute.
    Row(Own),
    /// The answer to Execute of a SET or RESET, by its tag.
    Set(&'static str),
    /// The whole answer to a simple query of that, with ReadyForQuery.
    WholeSet(&'static str),
}

fn aborted() -> Report {
    errors::transaction_aborted()
}

fn cannot_be_changed(own: Own) -> Report {
    if own == Own::Fanout {
        // An operator's SET of it never comes here.
        return errors::parameter_not_permitted(own.name());
    }
    if own == Own::Cluster {
        return errors::too_late_in_transaction(format!(
            "SET {} stands by itself, outside of a transaction block",
            own.name()
        ));
    }
    errors::parameter_not_changeable(own.name())
}

/// A name in the form in which PostgreSQL prints it.
fn in_words(name: &[u8]) -> String {
    String::from_utf8_lossy(name).to_ascii_lowercase()
}

/// PostgreSQL's error for a setting that nobody knows.
fn unrecognized(name: &str) -> Report {
    errors::unrecognized_parameter(name)
}

/// The error for giving another value to a setting of that name, which is in the space of our own.
pub(in crate::client) fn refused_setting(name: &str) -> Report {
    Own::of(name.as_bytes()).map_or_else(|| unrecognized(name), cannot_be_changed)
}

fn unknown(statement: &Statement) -> Report {
    unrecognized(&set_name(statement).map(in_words).unwrap_or_default())
}

impl Session {
    pub(in crate::client) fn own_use_of(&self, cached: &Cached) -> Option<OwnUse> {
        own_use(cached.analysis.single()?, &cached.text, self.lex_context())
    }

    /// Whether an operator's query is worth being read for this.
    pub(in crate::client) fn may_be_own_query(&self, header: Header) -> bool {
        header.total < LONGEST_OPERATOR && may_use_own(self.body(header))
    }

    /// Whether anything in a simple query reads or sets a setting of our own.
    #[inline]
    pub(in crate::client) fn uses_own_settings(&self, cached: &Cached) -> bool {
        let context = self.lex_context();
        cached.analysis.statements.iter().any(|statement| own_use(statement, &cached.text, context).is_some())
    }

    /// Answers a simple query that uses settings of our own, or has it read anew in a form that the server can answer.
    pub(in crate::client) fn own_query(&mut self, header: Header, cached: &Rc<Cached>) -> Progress {
        let quiet = self.lease.is_none() || self.is_between_transactions();
        let used = self.own_use_of(cached);
        match (used, cached.analysis.single()) {
            (Some(OwnUse::Shows(own)), _) => {
                self.drop_bytes(header.total);
                self.say(PendingReply::seen(Request::Local(LocalReply::Own(Part::WholeBatch(own)))));
            }
            (Some(OwnUse::Sets(Own::Cluster)), Some(statement)) if quiet => {
                match self.set_cluster(statement, &cached.text) {
                    Ok(()) => {
                        self.drop_bytes(header.total);
                        self.say(PendingReply::seen(Request::Local(LocalReply::Own(Part::WholeSet(statement.tag)))));
                    }
                    Err(report) => self.answer_error(header, &report),
                }
            }
            (Some(OwnUse::Sets(own)), _) if quiet => self.answer_error(header, &cannot_be_changed(own)),
            (Some(OwnUse::SetsUnknown), Some(statement)) if quiet => self.answer_error(header, &unknown(statement)),
            // In a transaction, that has to fail with it.
            _ => {
                let text = self.own_spliced(cached);
                // Read anew, as if the client had written it so.
                let mut message = Vec::with_capacity(text.len() + 6);
                frontend::write_query(&mut message, &text);
                self.io.requests_mut().replace(header.total, &message);
            }
        }
        Progress::Consumed
    }

    /// The text with a SELECT in place of each SHOW of ours, and in place of each SET one that fails in the same way.
    fn own_spliced(&self, cached: &Cached) -> Vec<u8> {
        let context = self.lex_context();
        let uses = cached.analysis.statements.iter().filter_map(|statement| {
            let span = statement.span.start as usize..statement.span.end as usize;
            let used = own_use(statement, &cached.text, context)?;
            Some((span, used, set_name(statement).map(in_words).unwrap_or_default()))
        });
        let (mut text, mut from) = (Vec::with_capacity(cached.text.len() + 64), 0);
        for (at, (span, used, name)) in uses.enumerate() {
            text.extend_from_slice(cached.text.get(from..span.start).unwrap_or_default());
            match used {
                OwnUse::Sets(_) | OwnUse::SetsUnknown => {
                    text.extend_from_slice(settings::cannot_be_set(&name).as_bytes());
                }
                OwnUse::Shows(_) if at >= MOST => text.extend_from_slice(settings::TOO_MANY_SHOWN.as_bytes()),
                OwnUse::Shows(own) => {
                    text.extend_from_slice(settings::shown(own.name(), &self.own_value(own)).as_bytes());
                }
            }
            from = span.end;
        }
        text.extend_from_slice(cached.text.get(from..).unwrap_or_default());
        text
    }

    /// The statement of a simple query that the server's next word is about.
    fn under_way(&self) -> Option<&[u8]> {
        match self.conversation.replies().awaited() {
            Some(Request::Query(Some(cached))) => cached
                .analysis
                .statements
                .get(self.conversation.message().statement_index())
                .map(|statement| statement.text(&cached.text)),
            _ => None,
        }
    }

    /// Whether the CommandComplete that has come is of a SELECT that stands for a SHOW.
    pub(in crate::client) fn completes_own(&self) -> bool {
        let among_others = match self.conversation.replies().awaited() {
            Some(Request::Query(Some(cached))) => cached.analysis.statements.len() > 1,
            _ => false,
        };
        among_others && self.under_way().is_some_and(|text| text.starts_with(settings::SHOWN.as_bytes()))
    }

    /// The error in place of one that a statement was made to raise which stands for a SET.
    pub(in crate::client) fn own_refusal(&self, code: &[u8]) -> Option<Report> {
        let name = self.under_way().filter(|_| code == b"55P02")?.strip_prefix(settings::CANNOT_BE_SET.as_bytes())?;
        let name = name.strip_prefix(b"'").and_then(|name| name.strip_suffix(b"'"));
        Some(match name.and_then(Own::of) {
            Some(own) => cannot_be_changed(own),
            None => unrecognized(&in_words(name.unwrap_or_default())),
        })
    }

    /// Says an answer whose turn has come.
    pub(in crate::client) fn say_own(&mut self, part: Part) {
        match part {
            Part::WholeBatch(own) => {
                let status = self.conversation.status();
                if status == TxStatus::Failed {
                    answer::report(self.io.for_client(), &aborted());
                } else {
                    describe(self.io.for_client(), OwnUse::Shows(own), false);
                    self.say_row(own);
                }
                answer::ready(self.io.for_client(), status);
            }
            Part::Set(tag) => answer::command_complete(self.io.for_client(), tag),
            Part::WholeSet(tag) => {
                answer::command_complete(self.io.for_client(), tag);
                let status = self.conversation.status();
                answer::ready(self.io.for_client(), status);
            }
            Part::Bound => answer::bind_complete(self.io.for_client()),
            Part::Statement(used) => {
                answer::parameter_description(self.io.for_client(), &[]);
                describe(self.io.for_client(), used, false);
            }
            Part::Portal { used, binary } => describe(self.io.for_client(), used, binary),
            Part::Row(own) => self.say_row(own),
        }
    }

    /// Says the whole answer to SHOW but for the ReadyForQuery; the value, if it is not what [`Self::own_value`] says.
    pub(in crate::client) fn say_shown(&mut self, own: Own, value: Option<&str>) {
        let value = value.map_or_else(|| self.own_value(own), str::to_owned);
        describe(self.io.for_client(), OwnUse::Shows(own), false);
        self.say_value(value);
    }

    fn say_row(&mut self, own: Own) {
        let value = self.own_value(own);
        self.say_value(value);
    }

    fn say_value(&mut self, mut value: String) {
        if !matches!(self.settings.vars().reported("client_encoding"), None | Some("UTF8" | "SQL_ASCII")) {
            value = value.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect();
        }
        let out = self.io.for_client();
        answer::data_row(out, std::iter::once(Some(value)));
        answer::command_complete(out, "SHOW");
    }

    /// The value now.
    fn own_value(&self, own: Own) -> String {
        let view = self.db.gate.view();
        let terms = view.in_force();
        match own {
            Own::Mode => view.state.mode.as_str().to_owned(),
            Own::Message => terms.and_then(|terms| terms.message.clone()).unwrap_or_default(),
            Own::Until => terms.and_then(|terms| terms.until).map(print_timestamp).unwrap_or_default(),
            Own::Epoch => view.state.epoch.to_string(),
            Own::Fanout => "off".to_owned(),
            Own::Cluster => self.cluster_name(),
        }
    }
}

/// The answer to Describe: one column of text, or none.
fn describe(out: &mut Vec<u8>, used: OwnUse, binary: bool) {
    match used {
        // Text is the same in both forms; the description tells which was asked for.
        OwnUse::Shows(own) => {
            answer::row_description(out, [answer::Column { name: own.name(), oid: TEXT, size: -1, binary }]);
        }
        _ => answer::no_data(out),
    }
}
