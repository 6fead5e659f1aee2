//! Simple queries.
//!
//! What is nothing but a read or a write is sent at once, with the gate open. For everything else [`decide`] says what becomes of it.

use std::rc::Rc;

use crate::client::conversation::client_messages::Progress;
use crate::client::conversation::pending_replies::{PendingReply, Request};
use crate::client::decide::{Decision, Need, Why, decide};
use crate::client::maintenance::check::write_check::PossibleWrites;
use crate::client::maintenance::query_split::Part;
use crate::client::maintenance::transition::closing::Closing;
use crate::client::request::fast_path::edge_of_block;
use crate::client::state::sequences::asks;
use crate::client::{End, Session};
use crate::config::PoolMode;
use crate::protocol::frame::Header;
use crate::protocol::frontend;
use crate::routing::TransactionClass;
use crate::shared::client::Running;
use crate::sql::cache::verdicts::Cached;
use crate::sql::{Kind, Refusal, Statement};

impl Session {
    pub(in crate::client) fn query(&mut self, header: Header) -> Result<Progress, End> {
        if self.missing(header.total) > 0 {
            return self.unread_query(header);
        }
        if self.lease.is_operator() {
            return self.operators_query(header);
        }
        // Only its form can be wrong: the server has words for that.
        let Ok(cached) = self.read_query(header) else { return Ok(self.malformed(header)) };
        let plain = self.is_plain_query(header, &cached) || self.is_plain_edge(&cached);
        let goes_on = plain && self.can_forward_now();
        if goes_on || plain && self.can_start_now(&cached) {
            if goes_on || self.can_forward_now() {
                self.plain_query(header, cached);
            } else {
                // Its settings come first.
                self.settings.remember_read(self.lex_context(), cached);
            }
            return Ok(Progress::Consumed);
        }
        if self.lease.in_maintenance()
            && self.is_plain_query(header, &cached)
            && self.may_pass_clean(&cached, self.lex_context(), &[])
        {
            let alone = self.conversation.replies().is_clean_or_empty();
            self.plain_query(header, cached);
            self.conversation.replies_mut().note_clean(alone);
            return Ok(Progress::Consumed);
        }
        self.other_query(header, cached)
    }

    /// An operator's query: it may do anything, and is looked at for what others have to know of it.
    fn operators_query(&mut self, header: Header) -> Result<Progress, End> {
        if frontend::query(self.body(header)).is_err() {
            return Ok(self.malformed(header));
        }
        let cached = self.read_query(header)?;
        if self.may_be_own_query(header) {
            if let Some(asked) = self.fanout_use_of(&cached) {
                return Ok(self.begin_or_answer_fanout(header, cached, asked));
            }
            return self.other_query(header, cached);
        }
        self.note_operator_runs(Some(&cached.analysis));
        if self.may_empty_database(header) {
            self.leave_databases(&cached);
        }
        self.pass(header, Some(PendingReply::seen(Request::Query(None))));
        self.note_unread_copy(&cached);
        Ok(Progress::Consumed)
    }

    /// A query that has to be looked at more closely, or to wait.
    #[inline(never)]
    pub(in crate::client) fn other_query(&mut self, header: Header, cached: Rc<Cached>) -> Result<Progress, End> {
        let (mut header, mut cached) = (header, cached);
        loop {
            let decision = {
                let now = self.situation();
                decide(&self.asked_by_query(&cached, now.connection()), &now)
            };
            match decision {
                Decision::AwaitReplies => return Ok(Progress::AwaitReplies),
                Decision::Hold => return Ok(Progress::HoldForGate),
                Decision::AnswerLocally if self.awaits_fanout(&cached) => {
                    return Ok(Progress::NeedsServer(TransactionClass::Any));
                }
                Decision::AnswerLocally => return Ok(self.own_query(header, &cached)),
                Decision::Discard { verb, rows, returning } => {
                    match returning {
                        true => self.describe_discarded(header, &cached, verb),
                        false => self.discard_query(header, &verb.tag(rows)),
                    }
                    return Ok(Progress::Consumed);
                }
                Decision::Refuse(Why::Write) if !self.refuses_at_once(&cached) => {
                    // PostgreSQL is asked first whether anything else is wrong with it.
                    if let Some(handled) = self.check_out_for_query(&cached) {
                        return Ok(handled);
                    }
                }
                Decision::Refuse(why) => {
                    self.ends_at(why)?;
                    return Ok(self.refuse_query(header, cached, why));
                }
                Decision::CheckOut(Need::Any) => return Ok(Progress::NeedsServer(TransactionClass::Any)),
                Decision::CheckOut(Need::Allowed) => return Ok(Progress::NeedsServer(TransactionClass::Allowed)),
                Decision::CheckOut(Need::AsRead) => {
                    self.ask_no_server();
                    if let Some(handled) = self.check_out_for_query(&cached) {
                        return Ok(handled);
                    }
                }
                Decision::Split(end) => (header, cached) = self.cut_query(header, &cached, end),
                Decision::CheckForWrites | Decision::Forward => return self.run_query(header, cached),
            }
        }
    }

    /// Takes a server connection for a query. None: there is one, and the query can go on.
    fn check_out_for_query(&mut self, cached: &Rc<Cached>) -> Option<Progress> {
        self.bindings.asks_for_sequence_next(asks(&cached.analysis) || self.executes_asking(cached));
        self.note_next(Some(cached), self.lex_context());
        let nature = self.class_of(cached, self.lex_context());
        let leased = self.acquire_now(nature) || self.acquire_guarded_now(nature);
        if leased && self.can_forward_now() {
            return None;
        }
        self.settings.remember_read(self.lex_context(), cached.clone());
        Some(if leased { Progress::Consumed } else { Progress::NeedsServer(nature) })
    }

    /// Answers a query with an error: by the server, where one is at hand.
    fn refuse_query(&mut self, header: Header, cached: Rc<Cached>, why: Why) -> Progress {
        if why == Why::Write {
            // It has been answered.
            self.is_held_no_more();
            self.drop_bytes(header.total);
            return Progress::Consumed;
        }
        let report = self.report_of(why, Some(&cached));
        self.settings.forget_read();
        if why == Why::HoldEnded {
            self.is_held_no_more();
        }
        if why == Why::RolledBack {
            self.refuse_commit(header, report);
            return Progress::Consumed;
        }
        if self.has_right_lease() {
            return self.send_poisoned(header, Vec::new(), cached, report);
        }
        self.answer_error(header, &report);
        Progress::Consumed
    }

    /// Sends a query over the server connection that there is.
    fn run_query(&mut self, header: Header, cached: Rc<Cached>) -> Result<Progress, End> {
        if self.lease.is_operator() {
            self.note_operator_runs(Some(&cached.analysis));
            self.leave_databases(&cached);
            self.pass(header, Some(PendingReply::seen(Request::Query(None))));
            self.note_unread_copy(&cached);
            return Ok(Progress::Consumed);
        }
        if self.awaits_end_of_batch(&cached.analysis.statements) || self.awaits_path_of_query(&cached) {
            return Ok(Progress::AwaitReplies);
        }
        self.settings.forget_read();
        if self.keeps_defaults(header, &cached) {
            return Ok(Progress::Consumed);
        }
        if let Some(handled) = self.names_for_query(header, &cached) {
            return Ok(handled);
        }
        self.begin_work(Running::Simple(cached.clone()));
        if self.db.rehearsal.is_on() {
            self.rehearse(&cached);
        }
        self.note_sent(&cached, self.lex_context());
        self.note_left(&cached, self.lex_context());
        if self.lease.in_maintenance() {
            let ambiguous = self.is_ambiguous_in_parts(&cached);
            self.note_reading(&cached);
            if ambiguous {
                let report = self.refused("cannot execute an ambiguous statement in a read-only transaction");
                return Ok(self.send_poisoned(header, Vec::new(), cached, report));
            }
            let handled = self.guarded_query(header, cached);
            self.forget_path();
            return handled;
        }
        self.note_reading(&cached);
        self.forward_query(header, cached);
        Ok(Progress::Consumed)
    }

    /// Sends a query as it is, or in parts where something of ours has to go in between.
    fn forward_query(&mut self, header: Header, cached: Rc<Cached>) {
        self.leave_databases(&cached);
        self.note_sequences(&cached, false);
        if let Some(parts) = self.parts_around_names(&cached) {
            self.drop_bytes(header.total);
            self.send_split(cached, parts.into());
        } else if let Some(defaults) = self.after_discard(&cached) {
            self.drop_bytes(header.total);
            let parts = [Part::Plain(cached.text.to_vec(), PossibleWrites::default()), Part::Defaults(defaults)];
            self.send_split(cached, parts.into());
        } else {
            self.pass(header, Some(PendingReply::seen(Request::Query(Some(cached)))));
        }
        self.names.forget_unnamed();
    }

    /// Whether the transaction of a plain statement may begin at once: a server connection has been taken for it.
    pub(in crate::client) fn can_start_now(&mut self, cached: &Cached) -> bool {
        if !self.lease.is_none() || self.was_held() || self.has_to_begin() {
            return false;
        }
        self.bindings.asks_for_sequence_next(false);
        self.note_next(Some(cached), self.lex_context());
        let nature = self.class_of(cached, self.lex_context());
        let reads = |only: &Statement| only.kind == Kind::Read && only.refusal == Refusal::Allowed;
        self.acquire_now(nature) || cached.analysis.single().is_some_and(reads) && self.acquire_guarded_now(nature)
    }

    /// Whether nothing has to be seen to but that it is sent.
    fn is_plain_query(&self, header: Header, cached: &Cached) -> bool {
        // What calls who knows what may ask for a setting of pgsluice's own.
        let own = |one: &Statement| one.moves_sequences && self.may_be_own_query(header);
        cached.analysis.is_plain() && !self.names.has_sql() && !cached.analysis.single().is_some_and(own)
    }

    /// Whether a query opens or commits a block, and [`decide`] could only forward it.
    fn is_plain_edge(&self, cached: &Cached) -> bool {
        edge_of_block(cached).is_some()
            && !self.maintenance.aborts()
            && self.account.pool_mode() != PoolMode::Statement
            && !self.conversation.reading().has_changed()
            && self.closing() == Closing::No
    }

    /// What [`Self::query`] comes to for a statement that is nothing but a read or a write, or the edge of a block,
    /// with the gate open.
    fn plain_query(&mut self, header: Header, cached: Rc<Cached>) {
        self.settings.forget_read();
        self.begin_work(Running::Simple(cached.clone()));
        if self.db.rehearsal.is_on() {
            self.rehearse(&cached);
        }
        if self.core.proxy.mirrors.is_any() {
            self.keep_sample(&cached, self.lex_context(), &[], &[]);
        }
        self.note_sent(&cached, self.lex_context());
        self.note_left(&cached, self.lex_context());
        self.note_sequences(&cached, false);
        self.pass(header, Some(PendingReply::seen(Request::Query(Some(cached)))));
        self.names.forget_unnamed();
    }

    pub(in crate::client) fn read_query(&mut self, header: Header) -> Result<Rc<Cached>, End> {
        let text = frontend::query(self.body(header))?;
        Ok(self.read_text(text, self.lex_context()))
    }
}
