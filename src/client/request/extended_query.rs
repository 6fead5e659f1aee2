//! The extended protocol: Parse, Bind, Describe, Execute, Close, Flush, Sync.
//!
//! Every prepared statement, the unnamed one too, is remembered with what was read in it, and the verdict is asked again
//! when it is executed: its Parse may be older than the maintenance.

use std::rc::Rc;

use crate::client::conversation::client_messages::Progress;
use crate::client::conversation::pending_replies::{LocalReply, PendingReply, Request, Visibility, WriteCheckStep};
use crate::client::decide::{Decision, Need, decide};
use crate::client::errors;
use crate::client::maintenance::read_only_block::WRAPPER;
use crate::client::maintenance::transition::what_ran::{takes_snapshot, takes_snapshot_to_parse};
use crate::client::prepared::result_shape::depends_on_schema;
use crate::client::prepared::sql_prepare::Stage;
use crate::client::request::read_ahead::{Ahead, ReadAhead};
use crate::client::state::sequences::asks;
use crate::client::{End, Session};
use crate::config::Reads;
use crate::protocol::frame::{HEADER, Header};
use crate::protocol::frontend;
use crate::protocol::frontend::Target;
use crate::protocol::{Report, TxStatus, backend};
use crate::routing::TransactionClass;
use crate::shared::client::Running;
use crate::shared::prepared_statement::server_name;
use crate::shared::{Phase, Statement};
use crate::sql;

impl Session {
    pub(in crate::client) fn extended(&mut self, header: Header) -> Result<Progress, End> {
        // The Sync of a batch in a block that the client does not see ends that block in any form.
        let ends_block = header.tag == b'S' && self.conversation.transaction().is_in_our_block();
        if !ends_block && frontend::check(header.tag, self.body(header)).is_err() {
            return Ok(self.malformed(header));
        }
        if let Some(handled) = self.own_extended(header)? {
            return Ok(handled);
        }
        if !self.has_right_lease() {
            match header.tag {
                b'S' => {
                    self.conversation.batch_mut().set_skip(false);
                    self.names.end_portals();
                    self.is_held_no_more();
                    self.drop_bytes(header.total);
                    backend::ready(self.io.for_client(), TxStatus::Idle);
                    return Ok(Progress::Consumed);
                }
                b'H' => {
                    self.drop_bytes(header.total);
                    return Ok(Progress::Consumed);
                }
                _ => {
                    if let Some(handled) = self.check_out_for_batch(header)? {
                        return Ok(handled);
                    }
                }
            }
        }
        if self.lease.in_maintenance() && self.holds_batch() {
            return Ok(Progress::HoldForGate);
        }
        if matches!(header.tag, b'P' | b'B' | b'D' | b'E' | b'C') && self.may_lack_names() {
            return Ok(Progress::AwaitReplies);
        }
        if self.conversation.names().forgets() && matches!(header.tag, b'P' | b'B' | b'D' | b'E' | b'C') {
            if self.awaits_answers() {
                return Ok(Progress::AwaitReplies);
            }
            self.conversation.names_mut().end_forgets();
        }
        if self.conversation.transaction().declares() {
            if self.awaits_answers() {
                return Ok(Progress::AwaitReplies);
            }
            self.conversation.transaction_mut().end_declares();
        }
        let handled = match header.tag {
            b'P' => self.parse(header)?,
            b'B' => self.bind(header)?,
            b'D' => self.describe(header)?,
            b'E' => self.execute(header)?,
            b'C' => self.close(header)?,
            b'S' => self.sync(header)?,
            _ => {
                self.pass(header, None);
                Progress::Consumed
            }
        };
        if !matches!(handled, Progress::AwaitReplies) {
            self.forget_path();
        }
        Ok(handled)
    }

    /// Takes a server connection for the batch that begins with this message. None: there is one, and the batch can go on.
    fn check_out_for_batch(&mut self, header: Header) -> Result<Option<Progress>, End> {
        let now = self.situation();
        match decide(&self.asked_by_batch(now.connection()), &now) {
            Decision::Hold => return Ok(Some(Progress::HoldForGate)),
            Decision::Refuse(why) => {
                let report = self.report_of(why, None);
                self.answer_error(header, &report);
                return Ok(Some(Progress::Consumed));
            }
            Decision::CheckOut(Need::Allowed) => return Ok(Some(Progress::NeedsServer(TransactionClass::Allowed))),
            _ => {}
        }
        self.note_batch(header)?;
        let nature = self.nature_of_batch();
        if !self.acquire_now(nature) && !self.acquire_guarded_now(nature) {
            return Ok(Some(Progress::NeedsServer(nature)));
        }
        Ok((!self.can_forward_now()).then_some(Progress::Consumed))
    }

    /// Notes what a batch that begins with this message asks that only a certain server connection can tell.
    fn note_batch(&mut self, header: Header) -> Result<(), End> {
        let body = self.body(header);
        let cached = match header.tag {
            b'P' => Some(self.read_text(frontend::parse(body)?.text, self.lex_context())),
            b'B' => self.names.statement(frontend::bind(body)?.statement).map(|one| one.cached.clone()),
            _ => None,
        };
        self.bindings.asks_for_sequence_next(cached.as_ref().is_some_and(|cached| asks(&cached.analysis)));
        self.note_next(cached.as_deref(), self.lex_context());
        if header.tag == b'P' {
            let context = self.lex_context();
            self.settings.set_read(cached.map(|cached| (context, cached)));
        }
        Ok(())
    }

    /// Looks ahead to the next Sync. Only a batch that is here whole can be proven to be a read.
    fn nature_of_batch(&self) -> TransactionClass {
        if self.account.reads() == Reads::Primary && !self.db.gate.state().mode.reports_read_only() {
            // Wherever it goes, it goes to the primary.
            return TransactionClass::Any;
        }
        let mut ahead = ReadAhead::new(self.io.requests().unread(), self.account.largest());
        let context = self.lex_context();
        let mut verdict = None;
        while let Ok(message) = ahead.next() {
            let one = match message {
                Ahead::Parse(_, text) => Some(self.class_of(&self.read_text(text, context), context)),
                Ahead::Bind(name) | Ahead::Describe(name) => {
                    // A name that this very batch prepares has been looked at already.
                    let known = self.names.statement(name);
                    known.map(|statement| self.class_of(&statement.cached, statement.context()))
                }
                Ahead::Sync => return verdict.unwrap_or(TransactionClass::Any),
                Ahead::Other => None,
            };
            match one {
                Some(TransactionClass::Any | TransactionClass::Allowed) => return TransactionClass::Any,
                Some(TransactionClass::Primary) => return TransactionClass::Primary,
                Some(TransactionClass::Read) => verdict = Some(TransactionClass::Read),
                None => {}
            }
        }
        TransactionClass::Any
    }

    /// Whether statements keep their names on the server: the connection is this session's alone.
    pub(in crate::client) fn keeps_names(&self) -> bool {
        self.lease.is_operator()
    }

    /// Whether a name was changed in an earlier batch that has not been answered: if something before it failed there, it was not.
    fn may_lack_names(&self) -> bool {
        self.conversation.replies().may_lack_names()
    }

    fn parse(&mut self, header: Header) -> Result<Progress, End> {
        let parse = frontend::parse(self.body(header))?;
        let statement = self.statement_of(parse);
        let name: Box<[u8]> = parse.name.into();
        if let Some(handled) = self.names_for_batch(header, &statement.cached, Stage::Before) {
            return Ok(handled);
        }
        if self.awaits_path_of(&statement, true) {
            return Ok(Progress::AwaitReplies);
        }
        if let Some(stats) = self.prepared_counters() {
            stats.client_parses.add(1);
        }
        if let Some(report) = self.refused_unseen_parse(&statement) {
            self.conversation.batch_mut().go_on();
            return Ok(self.fail_in_place(header, report));
        }
        self.begin_work(Running::Prepared(statement.clone()));
        self.conversation.transaction_mut().history_mut().prepares(&statement.cached);
        self.conversation.batch_mut().go_on();
        self.note_snapshot(&statement, takes_snapshot_to_parse);
        if !name.is_empty()
            && let Some(report) = self.lacks_memory_for(&name, &statement)
        {
            return Ok(self.fail_in_place(header, report));
        }
        if self.keeps_names() {
            self.names.forget(&name);
            self.pass(header, Some(PendingReply::seen(Request::Parse(0))));
            return Ok(Progress::Consumed);
        }
        if name.is_empty() {
            self.pass(header, Some(PendingReply::seen(Request::Parse(0)).renaming(b"", self.names.known(b""))));
            if let Some(server) = self.lease.server() {
                server.unnamed = statement.id;
            }
            self.names.prepare(b"", statement);
            return Ok(Progress::Consumed);
        }
        self.lend_words();
        if self.names.known(&name).is_some() {
            self.drop_bytes(header.total);
            // The server reads the text before it looks for the name.
            self.parse_for_errors(&statement);
            self.fail_here(taken(&name));
            return Ok(Progress::Consumed);
        }
        self.drop_bytes(header.total);
        if !name.is_ascii() {
            self.have_name_checked(&name);
        }
        let stands = self.lease.server().is_some_and(|server| server.prepared.touch(statement.id));
        let may_change = depends_on_schema(&statement);
        if stands && may_change {
            // The schema may have been changed since, in whatever way: the server reads the text for whoever prepares it.
            self.close_on_server(&statement);
        }
        let id = statement.id;
        if stands && !may_change {
            if self.conversation.status() == TxStatus::Failed || self.conversation.replies().readies() > 0 {
                // The transaction may be aborted, which is the server's to say.
                self.parse_for_errors(&statement);
            }
            self.say(PendingReply::seen(Request::Local(LocalReply::ParseComplete)).renaming(&name, None));
        } else {
            let parse = PendingReply::seen(Request::Parse(id)).renaming(&name, None);
            self.prepare_on_server(&statement, &statement.oids, parse);
            if may_change {
                self.learn_meaning(&name, &statement);
            }
        }
        self.names.prepare(&name, statement);
        if stands {
            self.note_parsed(&name);
        }
        Ok(Progress::Consumed)
    }

    /// What stands on the server has perhaps been overtaken: it is closed, and prepared anew by whoever needs it.
    pub(in crate::client) fn close_on_server(&mut self, statement: &Statement) {
        if let Some(server) = self.lease.server() {
            server.prepared.remove(statement.id);
        }
        frontend::write_target(self.io.for_server(), b'C', Target::Statement(statement.server_name().as_bytes()));
        self.expect(PendingReply::hidden(Request::Close(statement.id), Visibility::ErrorsOnly));
    }

    /// Has the server read a name, which is kept here: whether its bytes are any in the client's encoding is for the server to say.
    #[cold]
    fn have_name_checked(&mut self, name: &[u8]) {
        let nobodys = [NOBODYS_NAME, name].concat();
        self.own_messages().close_statement(&nobodys);
    }

    /// Sends a Parse of which the client sees only an error.
    fn parse_for_errors(&mut self, statement: &Statement) {
        let own = self.own_messages().close_statement(WRAPPER);
        let own = own.hiding(Visibility::ErrorsAndNotices).parse_statement(WRAPPER, statement);
        own.hiding(Visibility::ErrorsOnly).close_statement(WRAPPER);
    }

    /// Sends the Parse of a named statement; one that was used longest ago makes room.
    pub(in crate::client) fn prepare_on_server(&mut self, statement: &Statement, types: &[u8], expected: PendingReply) {
        let most = self.account.most_prepared() as usize;
        let Some(server) = self.lease.server() else { return };
        let overtaken = server.prepared.take_overtaken(statement.id).then_some(statement.id);
        let gone = server.prepared.add(statement.id, most);
        if let Some(stats) = self.prepared_counters() {
            stats.server_parses.add(1);
        }
        for gone in overtaken.into_iter().chain(gone) {
            frontend::write_target(self.io.for_server(), b'C', Target::Statement(server_name(gone).as_bytes()));
            self.expect(PendingReply::hidden(Request::Close(gone), Visibility::ErrorsOnly));
        }
        let name = statement.server_name();
        frontend::write_parse(self.io.for_server(), name.as_bytes(), &statement.cached.text, types);
        self.expect(expected);
    }

    fn bind(&mut self, header: Header) -> Result<Progress, End> {
        let bind = frontend::bind(self.body(header))?;
        if let Some(stats) = self.prepared_counters() {
            stats.binds.add(1);
        }
        let Some(statement) = self.names.statement(bind.statement).cloned() else {
            let (portal, name) = (bind.portal.into(), bind.statement.into());
            return Ok(self.bind_unknown(header, portal, name));
        };
        let (portal, name): (Box<[u8]>, Box<[u8]>) = (bind.portal.into(), bind.statement.into());
        if let Some(handled) = self.names_for_batch(header, &statement.cached, Stage::Before) {
            return Ok(handled);
        }
        if self.awaits_path_of(&statement, false) {
            return Ok(Progress::AwaitReplies);
        }
        // Reading it anew checks its constants, and planning it runs what is called immutable.
        self.conversation.batch_mut().note_bound();
        self.note_snapshot(&statement, takes_snapshot_to_parse);
        let unseen = self.refused_unseen_prepared(&statement);
        let bound = self.io.requests().body(header);
        let values = || self.refused_unseen_values(&statement, frontend::bind(bound).ok()?.rest);
        if let Some(report) = unseen.or_else(values) {
            self.names.forget_portal(&portal);
            if let Some(name) = statement.cached.analysis.single().and_then(|one| self.executes_unknown(one)) {
                return Ok(self.fail_unless_unknown(header, name, report));
            }
            return Ok(self.fail_in_place(header, report));
        }
        let (slot, statement) = match self.fits_what_was_told(header, &name, statement) {
            Ok(fits) => fits,
            Err(handled) => return Ok(handled),
        };
        if let Some(report) = self.lacks_memory_to_bind(&portal, &statement) {
            return Ok(self.fail_in_place(header, report));
        }
        self.note_doubt_of(&statement);
        self.begin_work(Running::Prepared(statement.clone()));
        self.send_bind(header, BindNames { portal, name, slot }, statement)
    }

    /// Passes a Bind on, or writes one to the name under which its statement stands on the server.
    fn send_bind(
        &mut self,
        header: Header,
        BindNames { portal, name, slot }: BindNames,
        asked: Rc<Statement>,
    ) -> Result<Progress, End> {
        let statement = self.note_bound(header, asked.clone())?;
        let as_parsed = !Rc::ptr_eq(&asked, &statement) && self.reads_as_parsed(&name, &asked);
        let stands = self.keeps_names()
            || slot.is_empty() && self.lease.server().is_some_and(|server| server.unnamed == statement.id);
        if stands {
            self.pass(header, Some(PendingReply::seen(Request::Bind(Some(statement.clone())))));
        } else {
            // Our own words go before the message; its rest is copied once.
            self.lend_words();
            let server_name = match self.ensure_prepared(&slot, &statement) {
                Ok(server_name) => server_name,
                // In the place of one that asks for READ WRITE.
                Err(_) if as_parsed => self.prepare_again(&name, &statement),
                Err(report) => return Ok(self.fail_in_place(header, report)),
            };
            let missing = self.missing(header.total);
            let (out, bytes) = self.io.requests_mut().splice();
            let here = bytes.get(HEADER..header.total.min(bytes.len())).unwrap_or_default();
            let rest = frontend::bind(here)?.rest;
            frontend::write_bind_start(out, &portal, server_name.as_bytes(), rest, missing);
            self.drop_bytes(header.total);
            // What is still to come of it goes on as it comes.
            self.io.pass_rest(missing);
            self.expect(PendingReply::seen(Request::Bind(Some(statement.clone()))).of(name));
        }
        self.names.bind(&portal, statement);
        Ok(Progress::Consumed)
    }

    /// A Bind by a name that the protocol knows nothing of.
    fn bind_unknown(&mut self, header: Header, portal: Box<[u8]>, name: Box<[u8]>) -> Progress {
        let refused = self.refused_bind(&name);
        self.names.forget_portal(&portal);
        self.conversation.batch_mut().note_bound();
        self.conversation.batch_mut().note_snapshot(true);
        if let Some(report) = refused.or_else(|| self.lacks_unnamed(&name)) {
            return self.fail_unless_unknown(header, &name, report);
        }
        if let Some(handled) = self.name_for_batch(header, &name) {
            return handled;
        }
        self.conversation.transaction_mut().history_mut().sends_unknown();
        self.note_doubt(None);
        // SQL's PREPARE has made it, or the server has words for it.
        let runs = self.prepared_in_sql(&name);
        if let Some(report) = runs.as_ref().and_then(|statement| self.lacks_memory_to_bind(&portal, statement)) {
            return self.fail_in_place(header, report);
        }
        self.pass(header, Some(PendingReply::seen(Request::Bind(runs.clone()))));
        if let Some(statement) = runs {
            self.names.bind(&portal, statement);
        }
        Progress::Consumed
    }

    fn describe(&mut self, header: Header) -> Result<Progress, End> {
        self.conversation.batch_mut().go_on();
        if let Target::Statement(name) = frontend::target(self.body(header))?
            && !self.keeps_names()
            && let Some(statement) = self.names.statement(name).cloned()
        {
            let name: Box<[u8]> = name.into();
            if let Some(handled) = self.names_for_batch(header, &statement.cached, Stage::Describe) {
                return Ok(handled);
            }
            // It may have to be prepared anew.
            if let Some(report) = self.refused_unseen_parse(&statement) {
                return Ok(self.fail_in_place(header, report));
            }
            let told = self.names.told(&name);
            if let Some(handled) = self.has_other_shape(header, &name, &statement, told) {
                return Ok(handled);
            }
            let server_name = match self.ensure_prepared(&name, &statement) {
                Ok(server_name) => server_name,
                Err(report) => return Ok(self.fail_in_place(header, report)),
            };
            self.drop_bytes(header.total);
            frontend::write_target(self.io.for_server(), b'D', Target::Statement(server_name.as_bytes()));
            self.expect(PendingReply::seen(Request::Describe(Some(statement))).of(name));
            return Ok(Progress::Consumed);
        }
        if let Target::Statement(name) = frontend::target(self.body(header))? {
            if let Some(report) = self.lacks_unnamed(name) {
                return Ok(self.fail_in_place(header, report));
            }
            let name: Box<[u8]> = name.into();
            if let Some(handled) = self.name_for_batch(header, &name) {
                return Ok(handled);
            }
        }
        if let Target::Portal(name) = frontend::target(self.body(header))?
            && let Some(statement) = self.names.portal(name).cloned()
            && let Some(handled) = self.names_for_batch(header, &statement.cached, Stage::Describe)
        {
            return Ok(handled);
        }
        self.pass(header, Some(PendingReply::seen(Request::Describe(None))));
        Ok(Progress::Consumed)
    }

    fn execute(&mut self, header: Header) -> Result<Progress, End> {
        let (portal, _) = frontend::execute(self.body(header))?;
        let statement = self.names.portal(portal).cloned();
        self.conversation.batch_mut().note_bound();
        if let Some(statement) = &statement
            && let Some(handled) = self.names_for_batch(header, &statement.cached, Stage::Execute)
        {
            return Ok(handled);
        }
        if let Some(statement) = &statement
            && self.awaits_path_of(statement, false)
        {
            return Ok(Progress::AwaitReplies);
        }
        match &statement {
            Some(statement) => self.note_snapshot(statement, takes_snapshot),
            None => self.conversation.batch_mut().note_snapshot(true),
        }
        self.note_execute(statement.as_ref());
        let now = self.situation();
        let cached = statement.as_ref().map(|statement| &statement.cached);
        match decide(&self.asked_by_execute(cached, now.connection()), &now) {
            Decision::AwaitReplies => return Ok(Progress::AwaitReplies),
            Decision::Discard { verb, rows, .. } => return Ok(self.discard_execute(header, verb, rows)),
            Decision::Refuse(why) => {
                self.ends_at(why)?;
                let report = self.report_of(why, cached.map(|cached| &**cached));
                return Ok(self.fail_in_place(header, report));
            }
            _ => {}
        }
        match &statement {
            Some(statement) if self.db.rehearsal.is_on() => self.rehearse(&statement.cached),
            Some(_) => {}
            None => self.note_doubt(None),
        }
        if let Some(statement) = statement.as_ref().filter(|_| !self.lease.is_operator()) {
            self.note_left(&statement.cached, statement.context());
            self.note_reading(&statement.cached);
        }
        if statement.is_none() {
            self.conversation.may_change_reading();
        }
        let outside = self.is_outside_blocks();
        if self.lease.in_maintenance()
            && let Some(statement) = &statement
            && let Some(handled) = self.guarded_execute(header, statement)
        {
            return Ok(handled);
        }
        if let Some(statement) = &statement {
            self.leave_databases(&statement.cached);
            self.note_sequences(&statement.cached, true);
        }
        let wrapped = outside && self.conversation.transaction().is_in_our_block();
        let proof = if wrapped { WriteCheckStep::Wrapped } else { WriteCheckStep::None };
        self.pass(header, Some(PendingReply::seen(Request::Execute(statement.clone())).in_write_check(proof)));
        if let Some(statement) = statement.as_ref().and_then(|statement| statement.cached.analysis.single()) {
            self.keep_defaults_in_batch(statement);
        }
        if let Some(statement) = statement {
            self.end_batch_with_transaction(&statement);
        }
        Ok(Progress::Consumed)
    }

    /// Notes whether a message of the batch takes a snapshot for its statement.
    fn note_snapshot(&mut self, statement: &Statement, takes: fn(&sql::Statement) -> bool) {
        self.conversation.batch_mut().note_snapshot(statement.cached.analysis.single().is_some_and(takes));
    }

    /// Notes that a portal is about to be executed.
    fn note_execute(&mut self, statement: Option<&Rc<Statement>>) {
        self.note_operator_runs(statement.map(|statement| &statement.cached.analysis));
        // A portal that was bound before its last Sync: nothing has told yet that the client is at work again.
        if self.me.phase.get() != Phase::Active {
            match statement {
                Some(statement) => self.begin_work(Running::Prepared(statement.clone())),
                None => self.me.enter(Phase::Active),
            }
        }
    }

    fn close(&mut self, header: Header) -> Result<Progress, End> {
        self.conversation.batch_mut().go_on();
        if let Target::Statement(name) = frontend::target(self.body(header))?
            && !self.keeps_names()
            && let Some(before) = self.names.known(name)
        {
            // On the server it may serve others; the least used of all goes one day.
            let (name, before): (Box<[u8]>, _) = (name.into(), Some(before));
            self.names.forget(&name);
            self.drop_bytes(header.total);
            self.say(PendingReply::seen(Request::Local(LocalReply::CloseComplete)).renaming(&name, before));
            return Ok(Progress::Consumed);
        }
        let name: Option<Box<[u8]>> = match frontend::target(self.body(header))? {
            Target::Statement(name) if !self.keeps_names() => Some(name.into()),
            Target::Portal(name) => {
                let name: Box<[u8]> = name.into();
                self.names.forget_portal(&name);
                None
            }
            Target::Statement(_) => None,
        };
        if name.is_some_and(|name| self.is_anothers(&name)) {
            self.drop_bytes(header.total);
            self.say(PendingReply::seen(Request::Local(LocalReply::CloseComplete)));
            return Ok(Progress::Consumed);
        }
        self.pass(header, Some(PendingReply::seen(Request::Close(0))));
        Ok(Progress::Consumed)
    }

    fn sync(&mut self, header: Header) -> Result<Progress, End> {
        let skipped = self.conversation.batch_mut().take_skip();
        self.conversation.batch_mut().end();
        self.is_held_no_more();
        if !skipped {
            self.prove_batch();
        }
        if self.conversation.transaction_mut().leave_our_block() {
            self.drop_bytes(header.total);
            self.end_wrapped_batch();
            return Ok(Progress::Consumed);
        }
        self.pass(header, Some(PendingReply::seen(Request::Sync)));
        Ok(Progress::Consumed)
    }

    /// An answer of our own, at its place among the server's.
    pub(in crate::client) fn say(&mut self, say: PendingReply) {
        self.push_local(say);
        self.say_what_is_due();
    }
}

/// The names of a Bind.
struct BindNames {
    portal: Box<[u8]>,
    /// The client's, of the statement.
    name: Box<[u8]>,
    /// That under which the statement is to stand on the server.
    slot: Box<[u8]>,
}

/// What stands before a client's name to make one of it that no statement has.
const NOBODYS_NAME: &[u8] = b"pgsluice: ";

/// PostgreSQL's error for a Parse of a name that is taken, with the client's name in it.
pub(in crate::client) fn taken(name: &[u8]) -> Report {
    errors::statement_exists(name)
}
