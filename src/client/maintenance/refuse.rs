//! Refusing what the gate does not let through.
//!
//! Outside a transaction a single statement is refused here and at once, without a server. Everywhere else the protocol's
//! state after an error is for the server to keep: the message is replaced by one that is certain to fail there
//! ([`POISON`](crate::sql::own_statements::transaction::POISON), [`NO_SUCH_PORTAL`]), and the error it raises by the gate's.

use std::time::Duration;

use crate::client::checkout::lease::Lease;
use crate::client::conversation::client_messages::Progress;
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility, WriteCheckStep};
use crate::client::errors;
use crate::client::prepared::protocol_names::Inner;
use crate::client::{End, Session};
use crate::gate::NewTransaction;
use crate::log::{Refused, RefusedKind};
use crate::protocol::error_fields::Change;
use crate::protocol::frame::{HEADER, Header};
use crate::protocol::frontend::Target;
use crate::protocol::{ErrorFields, Report, TxStatus, backend, frontend};
use crate::routing::{Route, TransactionClass};
use crate::shared::Layer;
use crate::shared::maintenance::kept_out::Fate;
use crate::sql::cache::verdicts::Cached;
use crate::sql::{LexContext, Reason, Refusal, SessionEffect, Statement};
use crate::topology::Avoid;

/// A portal that never exists (34000).
pub(in crate::client) const NO_SUCH_PORTAL: &[u8] = b"pgsluice_refused";
/// What those raise, function 0 too (42883), and what breaking off a transaction does (57014, 25P02).
const RAISED: [&[u8]; 5] = [b"22012", b"34000", b"42883", b"57014", b"25P02"];

/// `set_config(text, text, boolean)`: of a message nobody reads which setting it is about.
const SET_CONFIG: u32 = 2078;

/// PREPAREs of one message that are looked at before it is sent.
const MOST_SUSPECTED: usize = 10_000;

/// Most characters of a message that stand for the statement in the log.
const LOGGED: usize = 60;

/// What an EXECUTE is taken for whose statement is not known.
static UNKNOWN: Refusal = Refusal::ByPgsluice(Reason::LiftsGuard);

/// Whether a server is asked for the error of a write outside of a block, which may be wrong in itself too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::client) enum Asking {
    #[default]
    No,
    /// It waits for a server connection, no longer than [`ASKING_PATIENCE`].
    Waits,
    /// There was none: it is refused without.
    InVain,
}

/// How long a write that is refused anyway waits for a server connection to be told so.
pub(in crate::client) const ASKING_PATIENCE: Duration = Duration::from_secs(1);

impl Session {
    /// Makes the server raise an error at this place and puts ours in place of it, so that the transaction, and what follows
    /// in the pipeline, is as after any error. The server has no portal of that name.
    pub(in crate::client) fn fail_in_place(&mut self, header: Header, report: Report) -> Progress {
        self.drop_bytes(header.total);
        self.fail_here(report);
        Progress::Consumed
    }

    /// The same for a Bind or a Describe of what stands on the server: what else is wrong with a Bind comes first.
    pub(in crate::client) fn fail_with(&mut self, header: Header, on_server: &[u8], report: Report) -> Progress {
        let whole = self.missing(header.total) == 0;
        let (out, bytes) = self.io.requests_mut().splice();
        if header.tag == b'B'
            && whole
            && let Ok(bind) = frontend::bind(bytes.get(HEADER..header.total).unwrap_or_default())
        {
            frontend::write_bind(out, bind.portal, on_server, bind.rest);
            self.expect(PendingReply::hidden(Request::Bind(None), Visibility::ErrorsOnly));
        } else if header.tag == b'D' {
            frontend::write_target(out, b'D', Target::Statement(on_server));
            self.expect(PendingReply::hidden(Request::Parameters, Visibility::ErrorsOnly));
        }
        self.fail_in_place(header, report)
    }

    /// The same for a statement of which nobody knows whether it stands on the server: where it does not, that is the error.
    pub(in crate::client) fn fail_unless_unknown(&mut self, header: Header, name: &[u8], report: Report) -> Progress {
        if name.is_empty() || self.names.known(name).is_some() {
            return self.fail_in_place(header, report);
        }
        self.drop_bytes(header.total);
        frontend::write_target(self.io.for_server(), b'D', Target::Statement(name));
        self.expect(PendingReply::hidden(Request::Describe(None), Visibility::ErrorsOnly));
        self.fail_here(report);
        Progress::Consumed
    }

    /// The name that an EXECUTE gives for what neither the client has prepared nor anything else that was seen.
    pub(in crate::client) fn executes_unknown<'a>(&self, one: &'a Statement) -> Option<&'a [u8]> {
        let known = |name: &[u8]| {
            let suspected = self.conversation.names().suspected().is_some_and(|all| all.contains_key(name));
            suspected || self.names.forgets_sql() || self.names.known(name).is_some()
        };
        let name = one.effects.iter().find_map(|effect| match effect {
            SessionEffect::Execute(name) => Some(&**name),
            _ => None,
        })?;
        (one.tag == "EXECUTE" && !known(name)).then_some(name)
    }

    /// Refuses a simple query that is such an EXECUTE.
    fn refuse_unknown(&mut self, header: Header, name: &[u8], report: Report) -> Progress {
        let handled = self.fail_unless_unknown(header, name, report);
        self.own_messages().hiding(Visibility::Full).sync();
        handled
    }

    /// The same, of a query that is to be refused. Some: it is dealt with.
    pub(in crate::client) fn refused_as_unknown(
        &mut self,
        header: Header,
        cached: &Cached,
        report: &Report,
    ) -> Option<Progress> {
        let apart = !self.conversation.batch().is_open() && self.conversation.status() != TxStatus::Failed;
        let name = self.executes_unknown(cached.analysis.single().filter(|_| apart)?)?;
        Some(self.refuse_unknown(header, name, report.clone()))
    }

    pub(in crate::client) fn fail_here(&mut self, report: Report) {
        self.own_messages().hiding(Visibility::Full).execute_or(NO_SUCH_PORTAL, Some(report));
    }

    /// Whether the statement, with what was prepared under the name it executes, is refused though the server would run it.
    pub(in crate::client) fn is_ours_to_refuse(&self, statement: &Statement) -> bool {
        statement.refusal.is_ours() || self.prepared_refusal(statement).is_some()
    }

    fn prepared_refusal(&self, statement: &Statement) -> Option<&Refusal> {
        if statement.refusal == (Refusal::ByPostgres { unless_temporary: false }) {
            // CREATE TABLE AS EXECUTE: it has its own.
            return None;
        }
        statement.effects.iter().find_map(|effect| match effect {
            SessionEffect::Execute(name) => self.refusal_by_name(name),
            _ => None,
        })
    }

    /// Why what was prepared under that name is refused though the server would run it.
    fn refusal_by_name(&self, name: &[u8]) -> Option<&Refusal> {
        let suspected = self.conversation.names().suspected();
        let refusal = match suspected.and_then(|suspected| suspected.get(name)).or_else(|| self.names.sql(name)) {
            Some(inner) => Some(inner.refusal()),
            // There are more names than are remembered: any may stand for anything.
            None if self.names.forgets_sql() || suspected.is_some_and(|all| all.len() >= MOST_SUSPECTED) => {
                Some(&UNKNOWN)
            }
            None => {
                let statement = self.names.statement(name).filter(|_| !name.is_empty())?;
                statement.cached.analysis.statements.first().map(|one| &one.refusal)
            }
        };
        refusal.filter(|refusal| refusal.is_ours())
    }

    /// The error for a Bind of such a statement: the protocol runs it as EXECUTE does.
    pub(in crate::client) fn refused_bind(&self, name: &[u8]) -> Option<Report> {
        match self.refusal_by_name(name).filter(|_| self.lease.in_maintenance()) {
            Some(refusal) => Some(self.refused(refusal.message("EXECUTE")?)),
            None => self.refused_unseen_bind(name),
        }
    }

    /// A PREPARE whose EXECUTE is to be refused counts from the moment it is sent: the EXECUTE may stand right behind it.
    pub(in crate::client) fn note_dangerous_prepare(
        &mut self,
        statement: &Statement,
        text: &[u8],
        context: LexContext,
    ) {
        for effect in &statement.effects {
            if let SessionEffect::Prepare { name, inner } = effect
                && (inner.refusal.is_ours() || self.distrusts_cursors())
            {
                let text = self.core.verdicts.borrow_mut().get_or_analyze(statement.text(text), context);
                let statement = Some(self.core.statements.get(text, &[], context, 0, self.settings.vars()));
                let suspected = self.conversation.names_mut().suspect();
                if suspected.len() < MOST_SUSPECTED {
                    suspected.insert(name.clone(), Inner::new(inner.refusal.clone(), statement).into());
                }
            }
        }
    }

    /// A message begins, and all before it has been answered: what it prepared is known by name.
    pub(in crate::client) fn forget_suspected(&mut self) {
        self.conversation.names_mut().forget_suspected();
    }

    /// PostgreSQL's error for it, with the gate's DETAIL and HINT.
    pub(in crate::client) fn refusal(&self, statement: &Statement) -> Report {
        let message = self
            .prepared_refusal(statement)
            .and_then(|refusal| refusal.message(statement.tag))
            .or_else(|| statement.refusal_message())
            .unwrap_or_else(|| format!("cannot execute {} in a read-only transaction", statement.tag).into());
        self.refused(message)
    }

    /// A 25006 with the gate's DETAIL and HINT.
    pub(in crate::client) fn refused(&self, message: impl Into<String>) -> Report {
        let (detail, hint) = self.refusal_words();
        errors::read_only(message).with_detail(detail).with_hint(hint)
    }

    /// Refuses a function-call message.
    pub(in crate::client) fn refused_function(&self, oid: u32, arguments: &[u8]) -> Option<Report> {
        let Some(name) = self.refused_function_name(oid) else { return self.refused_unseen_call(oid, arguments) };
        Some(self.refused(format!("cannot execute {name}() in a read-only transaction")))
    }

    /// The function of PostgreSQL's own with that OID, if function-call messages may not call it in maintenance.
    pub(in crate::client) fn refused_function_name(&self, oid: u32) -> Option<&'static str> {
        match oid {
            SET_CONFIG => Some("set_config"),
            oid => self.core.proxy.setup.load().analyzer.list().function_by_oid(oid),
        }
    }

    /// Whether a guarded connection can be had for a write that is refused anyway, and nobody who reads has to wait for it.
    fn can_ask(&self) -> bool {
        let setup = self.db.setup();
        let at = match self.wish(&setup, Avoid::default()).route(TransactionClass::Any) {
            Route::GuardedPrimary => setup.cluster.primary(),
            Route::Replica(at) => Some(at),
            _ => None,
        };
        let pool = at.map(|at| self.checkout.pool(at));
        !self.db.is_paused() && pool.is_some_and(|pool| pool.is_none_or(|pool| !pool.is_crowded()))
    }

    /// Answers a simple query of one certain write without a server. True if it did. What PostgreSQL refuses may be wrong in
    /// itself too, an unknown table say: where a server can be asked at once it has the word.
    pub(in crate::client) fn refuses_at_once(&mut self, cached: &Cached) -> bool {
        let closed = matches!(self.db.gate.state().mode.new_transaction(), NewTransaction::Guarded { .. });
        let Some(statement) = cached.analysis.single().filter(|_| closed && !cached.analysis.ambiguous) else {
            return false;
        };
        let certain = self.is_certain_write(statement) && !self.has_to_begin();
        let by_postgres = matches!(statement.refusal, Refusal::ByPostgres { .. });
        let in_vain = std::mem::take(&mut self.maintenance.asking) == Asking::InVain;
        if by_postgres && !in_vain {
            let waits = self.lease.is_none() && self.can_ask();
            if waits || !self.lease.is_none() {
                self.maintenance.asking = if certain && waits { Asking::Waits } else { Asking::No };
                return false;
            }
        }
        // As the server said it before, to the last byte.
        let place = self.db.refusal_place();
        if !certain || !matches!(self.lease, Lease::None | Lease::Bound { .. } | Lease::InPlace { .. }) {
            return false;
        }
        let report = self.refusal(statement).with_place(place);
        self.names.forget_unnamed();
        self.count_refused(report.message.as_bytes());
        self.note_kept_out(Fate::Refused, &cached.text);
        self.count_layer(Layer::Reader);
        report.write(self.io.for_client());
        backend::ready(self.io.for_client(), TxStatus::Idle);
        true
    }

    /// The next server connection is not taken to ask about a write that is refused anyway.
    pub(in crate::client) fn ask_no_server(&mut self) {
        self.maintenance.asking = Asking::No;
    }

    /// Counts a refused write, that of the answer that is due next, and logs it; `message` is the error's.
    pub(in crate::client) fn count_refusal(&self, message: &[u8]) {
        self.count_refused(message);
        self.note_answer_kept_out(Fate::Refused, refused_statement(message).as_bytes());
    }

    fn count_refused(&self, message: &[u8]) {
        if let Some(stats) = self.db.stats.of(self.core.index) {
            stats.refused.add(1);
        }
        self.log_refused(|| RefusedKind::Write(refused_statement(message)));
    }

    /// Logs an error of ours that the client gets, and goes on.
    pub(in crate::client) fn log_error(&self, report: &Report) {
        self.note_error(report.code.as_bytes());
        self.log_refused(|| RefusedKind::error(report.code, &report.message));
    }

    fn log_refused(&self, kind: impl FnOnce() -> RefusedKind) {
        if !self.core.setup().config.log.log_pooler_errors {
            return;
        }
        let refused = Refused {
            database: self.db.name.clone(),
            user: self.account.user().clone(),
            application_name: self.me.application_name.borrow().clone(),
            kind: kind(),
        };
        self.core.proxy.refused_statements.log(&refused, &self.me.address_words());
    }

    /// The error for a CALL or DO that could not end its transaction because of a block that the client does not see.
    fn kept_from_ending(&self) -> Option<Report> {
        let expected = self.conversation.replies().front()?;
        let cached = match (expected.request(), expected.write_check_step()) {
            (Request::Query(Some(cached)), WriteCheckStep::Subject) => cached,
            (Request::Execute(Some(prepared)), WriteCheckStep::Wrapped) => &prepared.cached,
            _ => return None,
        };
        // Among others it could not have ended it anyway.
        let one = cached.analysis.single().filter(|one| one.contained)?;
        let mut report = self.refused(format!("cannot execute {} in a read-only transaction", one.tag));
        report.detail = Some(report.detail.map_or_else(|| KEPT.to_owned(), |detail| format!("{detail}\n{KEPT}")));
        Some(report)
    }

    /// Writes an error of the server to the client, as the gate wants it said. `refusal` takes the place of the error that a
    /// message of ours was made to raise.
    pub(in crate::client) fn write_error(&mut self, body: &[u8], refusal: Option<&Report>) -> Result<(), End> {
        let used = self
            .conversation
            .replies()
            .front()
            .and_then(crate::client::conversation::pending_replies::PendingReply::of_statement);
        let renamed = self.names.in_clients_words(body, used);
        let body = renamed.as_deref().unwrap_or(body);
        let fields = ErrorFields::new(body);
        let out = self.io.for_client();
        if let Some(report) = refusal.filter(|_| RAISED.contains(&fields.code())) {
            report.write(out);
            match report.code {
                "25006" => self.count_refusal(report.message.as_bytes()),
                _ => self.log_error(report),
            }
            return Ok(());
        }
        let recovering = self.lease.replica().is_some() && is_refusal_in_recovery(fields);
        if self.lease.in_maintenance() && (recovering || fields.code() == b"25006") {
            let place = fields.place().filter(|place| place.routine == b"PreventCommandIfReadOnly");
            if let Some(place) = place.filter(|_| self.db.refusal_place().is_none()) {
                self.db.remember_refusal_place(place);
            }
            let (detail, hint) = self.refusal_words();
            let moved = self.place_in_clients_text(fields);
            let change = Change {
                code: Some("25006"),
                detail: detail.as_deref(),
                hint: hint.as_deref(),
                position: moved.as_deref(),
                ..Change::default()
            };
            let out = self.io.for_client();
            fields.write_with(out, &change);
            self.count_refusal(fields.message());
            self.count_layer(Layer::Server);
            return Ok(());
        }
        if self.lease.in_maintenance() && fields.code() == b"2D000" {
            self.count_layer(Layer::Block);
            if let Some(report) = self.kept_from_ending() {
                report.write(self.io.for_client());
                self.count_refusal(report.message.as_bytes());
                return Ok(());
            }
        }
        self.note_error(fields.code());
        let moved = self.place_in_clients_text(fields);
        let out = self.io.for_client();
        match moved {
            Some(position) => fields.write_with(out, &Change { position: Some(&position), ..Change::default() }),
            None => backend::message(out, b'E', |out| out.extend_from_slice(body)),
        }
        if fields.is_fatal() { Err(End::ServerSaidFatal) } else { Ok(()) }
    }
}

/// Told where a block of ours has kept code from ending its transaction.
const KEPT: &str =
    "It ends its own transaction, and what else it runs might write although the transaction is READ ONLY.";

/// What was refused, by the error's message: `INSERT`, `lo_create()`.
fn refused_statement(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let named = text.strip_prefix("cannot execute ").and_then(|rest| rest.split_once(" in a read-only transaction"));
    let named = named.or_else(|| text.strip_prefix("cannot execute ")?.split_once(" during recovery"));
    let shown = match named {
        Some((statement, _)) => statement,
        None if text.starts_with("the transaction was rolled back") => "transaction",
        None => &text,
    };
    shown.chars().take(LOGGED).collect()
}

/// Whether a server in recovery refused a write, whatever SQLSTATE it chose.
fn is_refusal_in_recovery(fields: ErrorFields<'_>) -> bool {
    let message = fields.message();
    let says = |text: &[u8]| memchr::memmem::find(message, text).is_some();
    matches!(fields.code(), b"0A000" | b"55000" | b"XX000" | b"25006")
        && (says(b"during recovery") || says(b"recovery is in progress"))
}
