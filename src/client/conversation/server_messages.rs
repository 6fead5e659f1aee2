//! What the server sends: rows pass as they lie; what tells of state is looked at.

use std::io;

use super::pending_replies::{LocalReply, PendingReply, Request, Visibility, WriteCheckStep};
use crate::client::errors;
use crate::client::maintenance::query_split::Part;
use crate::client::state::function_side_effects::Question;
use crate::client::{End, Session, Settling};
use crate::protocol::frame::{Header, peek_back, run_of};
use crate::protocol::{ErrorFields, TxStatus, backend};
use crate::server::own_query::parameter;
use crate::sql::cache::verdicts::Cached;
use crate::sql::{Kind, TransactionVerb};

/// An error or a notice longer than this is passed on without being looked at (bytes).
const LONGEST_REPORT: usize = 1 << 20;

fn broken(error: crate::protocol::WireError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Session {
    /// Looks at what the server has sent. The inner error means that its connection is of no more use.
    pub(in crate::client) fn process_server_input(&mut self) -> Result<Result<(), io::Error>, End> {
        loop {
            if let Some(n) = self.io.replies_mut().ignored() {
                if n == 0 {
                    return Ok(Ok(()));
                }
                self.io.replies_mut().pass(n);
                continue;
            }
            if self.io.replies().is_full() || self.lease.is_none() {
                return Ok(Ok(()));
            }
            self.pass_plain_answer();
            let bytes = self.io.replies().unread();
            let header = match peek_back(bytes) {
                Ok(Some(header)) => header,
                Ok(None) => {
                    self.io.replies_mut().want(0);
                    return Ok(Ok(()));
                }
                Err(error) => return Ok(Err(broken(error))),
            };
            let shows = self.conversation.replies.front().is_none_or(PendingReply::shows) && !self.hides_defaults();
            if self.conversation.message.is_withheld() && shows && !matches!(header.tag, b'S' | b'N' | b'A' | b'Z') {
                // Not the last statement after all.
                self.release_withheld_reply();
                continue;
            }
            match header.tag {
                // Rows and COPY data are most of all bytes: they need not even be whole.
                b'D' | b'd' | b'c' if shows => {
                    let rows = |tag| matches!(tag, b'D' | b'd' | b'c');
                    let (whole, next) = run_of(bytes, rows);
                    self.io.replies_mut().pass(whole);
                    self.io.replies_mut().ignore(next.filter(|next| rows(next.tag)).map_or(0, |next| next.total));
                    continue;
                }
                b'T' if shows && bytes.len() >= header.total => {
                    self.note_shape(header);
                    self.io.replies_mut().pass(header.total);
                    self.answered_describe();
                    self.say_what_is_due();
                    continue;
                }
                b'E' | b'N' if header.total > LONGEST_REPORT => {
                    self.io.replies_mut().ignore(header.total);
                    if header.tag == b'E' {
                        self.skip_to_sync();
                        self.copy_failed();
                    }
                    continue;
                }
                _ => {}
            }
            if bytes.len() < header.total {
                self.io.replies_mut().want(header.total);
                return Ok(Ok(()));
            }
            self.io.replies_mut().want(0);
            if let Err(error) = self.look_at_reply(header, shows)? {
                return Ok(Err(error));
            }
        }
    }

    #[inline(never)]
    fn look_at_reply(&mut self, header: Header, shows: bool) -> Result<Result<(), io::Error>, End> {
        if matches!(self.conversation.replies.front(), Some(PendingReply { request: Request::CopyQuestion(_), .. }))
            && self.answers_copy_question(header)
        {
            return Ok(Ok(()));
        }
        let part = self.conversation.replies.front().map_or(WriteCheckStep::None, |expected| expected.write_check_step);
        // Neither a Close nor what the server says of itself begins a transaction command.
        self.conversation.note_answered(!matches!(header.tag, b'Z' | b'3' | b'S' | b'N' | b'A'));
        let body = self.io.replies().body(header);
        match header.tag {
            b'Z' => return self.ready_for_query(header),
            b'E' => {
                let body = body.to_vec();
                self.take_reply(header);
                self.error_response(&body)?;
                self.break_off_if_quiet();
                return Ok(Ok(()));
            }
            b'S' => {
                let Ok((name, value)) = parameter(body) else {
                    return Ok(Err(broken(crate::protocol::WireError::Format)));
                };
                let (name, value) = (name.to_owned(), value.to_owned());
                self.take_reply(header);
                self.parameter_status(&name, &value);
                return Ok(Ok(()));
            }
            b'C' if self.completes_own() => {
                self.command_complete(header);
                self.take_reply(header);
                backend::command_complete(self.io.for_client(), "SHOW");
                return Ok(Ok(()));
            }
            // The answer to what was asked behind the client's last word: nothing more is to come.
            b'I' if self.conversation.asked_last()
                && matches!(self.conversation.replies.front(), Some(PendingReply { request: Request::Sync, .. })) =>
            {
                return Err(End::ClientGone);
            }
            b'N' if self.has_turned() => {
                let body = body.to_vec();
                if self.is_committed_alone(ErrorFields::new(&body)) {
                    let standing = self.standing();
                    return Err(self.ends_with_server(standing));
                }
                self.note_reply(header);
            }
            b'W' => return Ok(Err(io::Error::new(io::ErrorKind::Unsupported, "COPY BOTH outside of replication"))),
            b'R' | b'K' | b'v' => return Ok(Err(broken(crate::protocol::WireError::UnknownBackend(header.tag)))),
            _ => self.note_reply(header),
        }
        self.show_reply(header, shows, part);
        Ok(Ok(()))
    }

    /// Takes in what a reply means for those that are owed.
    #[inline]
    fn note_reply(&mut self, header: Header) {
        match header.tag {
            b'C' => self.command_complete(header),
            b'A' => self.tell_notifier(header),
            b'D' => self.answered_row(header),
            b'I' => self.answered_execute(),
            b's' => {
                self.note_unfinished();
                self.answered_execute();
            }
            b'1' => {
                let parse = |next: &PendingReply| matches!(next.request, Request::Parse(_) | Request::OwnParse);
                if self.conversation.replies.front().is_some_and(parse)
                    && let Some(parsed) = self.conversation.replies.pop()
                    && let Some(name) = parsed.renamed()
                {
                    self.note_parsed(name);
                }
            }
            b'2' | b'3' => {
                let next = self.conversation.replies.front();
                if next.is_some_and(|next| matches!(next.request, Request::Bind(_) | Request::Close(_))) {
                    self.conversation.replies.pop();
                }
            }
            b't' => self.note_types(header),
            b'T' | b'n' => {
                self.note_shape(header);
                self.answered_describe()
            }
            b'G' => self.copy_begun(),
            _ => {}
        }
    }

    /// Passes a reply on, withholds it, or drops it.
    #[inline]
    fn show_reply(&mut self, header: Header, shows: bool, part: WriteCheckStep) {
        let (visibility, parameters) = match self.conversation.replies.front() {
            Some(next) => (next.visibility, matches!(next.request, Request::Parameters)),
            None => (Visibility::Full, false),
        };
        let shows = shows && !(header.tag == b'N' && visibility == Visibility::WithoutNotices)
            || header.tag == b't' && parameters;
        let subject = matches!(part, WriteCheckStep::Subject | WriteCheckStep::Together);
        let holds = subject && shows && matches!(header.tag, b'C' | b'I' | b'V');
        let ends = !self.conversation.message.has_failed() && part == WriteCheckStep::End;
        let warns = visibility == Visibility::ErrorsAndNotices;
        let message = (shows || ends || warns) && header.tag == b'N' || header.tag == b'A';
        if holds || message && self.conversation.message.is_withheld() {
            let whole = self.io.replies().message(header);
            self.conversation.message.withheld().extend_from_slice(whole);
            self.take_reply(header);
            if holds && part == WriteCheckStep::Together {
                self.goes_on_as_question();
            }
            return;
        }
        // After a proof that failed the COMMIT behind it has said ROLLBACK.
        let shows = shows && !(self.conversation.transaction.check_failed() && header.tag == b'C');
        // Notifications have nothing to do with the statement they come with.
        if shows || message {
            self.io.replies_mut().pass(header.total)
        } else {
            self.take_reply(header)
        }
        self.say_what_is_due();
    }

    /// Takes a message of the server out of what is passed on.
    pub(super) fn take_reply(&mut self, header: Header) {
        self.io.replies_mut().skip(header.total);
    }

    fn answered_describe(&mut self) {
        if matches!(
            self.conversation.replies.front(),
            Some(PendingReply { request: Request::Describe(_) | Request::Shape | Request::Parameters, .. })
        ) {
            self.conversation.replies.pop();
        }
    }

    fn answered_execute(&mut self) {
        if matches!(self.conversation.replies.front(), Some(PendingReply { request: Request::Execute(_), .. })) {
            self.conversation.replies.pop();
        }
    }

    fn command_complete(&mut self, header: Header) {
        // Most are of what does nothing but read or write.
        match self.conversation.replies.front() {
            Some(PendingReply { request: Request::Query(Some(cached)), .. }) if cached.analysis.is_plain() => {
                self.conversation.message.complete_statement();
                return;
            }
            Some(PendingReply { request: Request::Execute(Some(statement)), .. })
                if statement.cached.analysis.is_plain() =>
            {
                self.conversation.replies.pop();
                return;
            }
            _ => {}
        }
        let body = self.io.replies().body(header);
        match self.conversation.replies.front() {
            Some(PendingReply { request: Request::Fence, .. }) => {
                let tag = body.to_vec();
                self.answered_fence(&tag);
                return;
            }
            Some(PendingReply { request: Request::Left(Question::Pin(pin)), .. }) => {
                let (pin, tag) = (*pin, body.to_vec());
                self.answered_left(pin, &tag);
                return;
            }
            Some(PendingReply { request: Request::Left(Question::Settings), .. }) => return self.answered_settings(),
            Some(PendingReply { request: Request::Isolation, .. }) => {
                let read_committed = body == b"SELECT 1\0";
                self.conversation.transaction.history_mut().note_read_committed(read_committed);
                return;
            }
            _ => {}
        }
        let rolled_back = body == b"ROLLBACK\0";
        if rolled_back {
            self.conversation.transaction.note_rolled_back();
        }
        if let Some(PendingReply { request: Request::Query(None), write_check_step: WriteCheckStep::End, .. }) =
            self.conversation.replies.front()
        {
            self.note_fate(!rolled_back);
            return;
        }
        self.conversation.reading.note_parsed(None);
        let cached = match self.conversation.replies.front() {
            Some(PendingReply { request: Request::Query(Some(cached)), .. }) => cached.clone(),
            Some(PendingReply { request: Request::Execute(Some(statement)), .. }) => {
                let (context, cached) = (statement.context(), statement.cached.clone());
                self.conversation.reading.note_parsed(Some(context));
                cached
            }
            Some(PendingReply { request: Request::Execute(None), .. }) => {
                self.conversation.replies.pop();
                return;
            }
            _ => return,
        };
        let nth = match self.conversation.replies.front() {
            Some(PendingReply { request: Request::Execute(_), .. }) => {
                self.conversation.replies.pop();
                self.leave_failed_block(&cached);
                0
            }
            _ => {
                let index = self.conversation.message.statement_index();
                self.conversation.message.complete_statement();
                index
            }
        };
        self.note_done(&cached, nth, rolled_back);
    }

    /// Notes what the nth statement of a text has done, now that it is done.
    #[inline]
    fn note_done(&mut self, cached: &Cached, nth: usize, rolled_back: bool) {
        let Some(statement) = cached.analysis.statements.get(nth) else { return };
        self.conversation.transaction.history_mut().done(statement);
        match &statement.kind {
            Kind::Transaction(TransactionVerb::Commit { .. }) => self.note_fate(!rolled_back),
            Kind::Transaction(TransactionVerb::Rollback { .. } | TransactionVerb::PrepareTransaction) => {
                self.note_fate(false)
            }
            Kind::Read | Kind::Write => {
                if !statement.effects.is_empty() {
                    self.note_effects(statement, &cached.text);
                }
            }
            _ => self.note_effects(statement, &cached.text),
        }
    }

    /// A block that had failed is over, or lives again, within a batch: the next ReadyForQuery is still to come.
    fn leave_failed_block(&mut self, cached: &Cached) {
        if self.conversation.status() != TxStatus::Failed {
            return;
        }
        let status = match cached.analysis.single().map(|one| &one.kind) {
            Some(Kind::Transaction(
                TransactionVerb::Commit { chain: false } | TransactionVerb::Rollback { chain: false },
            )) => TxStatus::Idle,
            Some(Kind::Transaction(
                TransactionVerb::Commit { chain: true }
                | TransactionVerb::Rollback { chain: true }
                | TransactionVerb::RollbackTo(_),
            )) => TxStatus::Block,
            _ => TxStatus::Failed,
        };
        self.conversation.set_status(status);
    }

    fn ready_for_query(&mut self, header: Header) -> Result<Result<(), io::Error>, End> {
        let body = self.io.replies().body(header);
        let status = match body {
            [byte] => TxStatus::from_byte(*byte),
            _ => None,
        };
        let Some(status) = status else { return Ok(Err(broken(crate::protocol::WireError::Format))) };
        let Some(expected) = self.conversation.replies.pop().filter(PendingReply::ends_ready) else {
            return Ok(Err(io::Error::new(io::ErrorKind::InvalidData, "ReadyForQuery that nobody asked for")));
        };
        let status = self.conversation.with_transaction_left_open(status, &expected.request);
        self.conversation.set_status(status);
        self.note_reading_reported();
        let settings_only = matches!(self.conversation.lease.settling(), Settling::Sent);
        if settings_only {
            self.conversation.lease.set_settling(Settling::No);
        }
        if !matches!(self.conversation.lease.settling(), Settling::No) && expected.visibility == Visibility::Hidden {
            self.take_reply(header);
            self.conversation.take_failed();
            self.check_guard()?;
            self.end_reports();
            return self.settle().map(Ok);
        }
        let failed = self.conversation.take_failed();
        let shows = self.show_ready(header, &expected)?;
        if settings_only && !self.conversation.replies.is_empty() {
            // What was sent behind the settings is the client's: nothing of that has ended.
            self.end_reports();
        } else if status == TxStatus::Idle {
            self.end_transaction(failed);
        } else {
            self.follow_into_next()?;
        }
        self.check_guard()?;
        if self.conversation.message.split.is_empty() {
            if !matches!(expected.request, Request::Query(None)) {
                self.conversation.message.restart();
            }
        } else if self.conversation.replies.is_empty() {
            self.send_next_part();
        }
        if shows {
            self.end_message();
        }
        self.count_query(shows);
        self.go_on_behind_ready();
        Ok(Ok(()))
    }

    /// Passes ReadyForQuery on if it is the client's. Gives whether it is.
    fn show_ready(&mut self, header: Header, expected: &PendingReply) -> Result<bool, End> {
        let rolls_back = self.ends_unproved(expected.visibility);
        let more = !self.conversation.message.split.is_empty();
        if more && self.conversation.message.has_failed() {
            self.skip_parts();
        }
        let shows = !rolls_back
            && match expected.visibility {
                Visibility::WithoutReady | Visibility::ReadyAndErrors => {
                    (self.conversation.message.has_failed() || !more) && !self.continues()
                }
                _ => expected.shows_ready(),
            };
        if shows && let Some(report) = self.forbidden_block(self.conversation.status()) {
            return Err(report.into());
        }
        if shows || expected.write_check_step == WriteCheckStep::End {
            self.release_withheld_reply();
        }
        if shows && self.maintenance.take_notification() {
            self.notify_mode();
        }
        let cut = shows && self.goes_on_behind_cut();
        if shows && !cut {
            self.io.replies_mut().pass(header.total)
        } else {
            self.take_reply(header)
        }
        Ok(shows)
    }

    /// The transaction is over: what was noted of it goes.
    fn end_transaction(&mut self, failed: bool) {
        if self.me.operator && self.db.gate.state().mode.reports_read_only() {
            self.raise_floors();
        }
        self.note_fate(!failed);
        // A Bind that was sent behind it is the next transaction's.
        if !self.conversation.replies.iter().any(|next| matches!(next.request, Request::Bind(_))) {
            self.names.end_portals();
        }
        self.note_writes();
        let more = !self.conversation.replies.is_empty();
        self.conversation.transaction.end(more);
        self.conversation.reading.end_transaction();
        self.end_catalog_change();
        self.end_schema();
        self.end_reports();
    }

    /// What has waited for a ReadyForQuery.
    fn go_on_behind_ready(&mut self) {
        self.end_unseen();
        self.say_what_is_due();
        self.note_broken_off();
        self.note_fence();
        self.fence_if_due();
        self.break_off_if_quiet();
        // What was broken off may have been closed: a question would go to the next server connection, where nobody waits for it.
        if !self.lease.is_none() {
            self.ask_what_is_left();
            self.ask_settings();
            self.learn_shapes();
        }
        if self.conversation.replies.is_empty() && self.maintenance.take_notification() {
            self.notify_mode();
        }
    }

    /// Whether the message goes on with one of our own that will show its ReadyForQuery.
    fn continues(&self) -> bool {
        matches!(self.conversation.message.split.front(), Some(Part::Finish(_)))
            || self.conversation.replies.continues()
    }

    /// The client has its ReadyForQuery.
    pub(in crate::client) fn end_message(&mut self) {
        self.conversation.message.end();
        self.end_names();
        if self.conversation.status() != TxStatus::Idle {
            return;
        }
        if self.conversation.transaction.take_stale() && self.must_prove() {
            self.forget_counts();
        }
    }

    /// Says what pgsluice answers for the server, where its turn has come.
    #[inline]
    pub(in crate::client) fn say_what_is_due(&mut self) {
        if matches!(self.conversation.replies.front(), Some(PendingReply { request: Request::Local(_), .. })) {
            self.say_all_that_is_due();
        }
    }

    fn say_all_that_is_due(&mut self) {
        while let Some(PendingReply { request: Request::Local(say), .. }) = self.conversation.replies.front() {
            let say = *say;
            self.conversation.replies.pop();
            match say {
                LocalReply::ParseComplete => backend::parse_complete(self.io.for_client()),
                LocalReply::CloseComplete => backend::close_complete(self.io.for_client()),
                LocalReply::NoTransaction => {
                    errors::no_transaction().write(self.io.for_client());
                }
                LocalReply::Own(part) => self.say_own(part),
                LocalReply::Done(verb, rows) => backend::command_complete(self.io.for_client(), &verb.tag(rows)),
            }
        }
    }

    pub(in crate::client) fn count_query(&mut self, shows: bool) {
        let Some(stats) = self.db.stats.of(self.core.index).filter(|_| shows) else { return };
        stats.queries.add(1);
        let now = self.io.now();
        let micros =
            |since: std::time::Instant| u64::try_from(now.duration_since(since).as_micros()).unwrap_or(u64::MAX);
        if let Some(asked) = self.io.take_asked() {
            let took = micros(asked);
            stats.query_time.add(took);
            stats.query_times.add(took);
            if self.core.proxy.slow_statements.is_slow(took) {
                self.log_slow(took);
            }
            if self.core.proxy.mirrors.is_any() {
                self.hand_sample_over();
            }
        }
        if self.conversation.status() == TxStatus::Idle {
            stats.xacts.add(1);
            if let Some(since) = self.me.transaction_since.take() {
                let took = micros(since);
                stats.xact_time.add(took);
                stats.xact_times.add(took);
            }
            if self.lease.replica().is_some() {
                stats.replica_xacts.add(1);
            }
        }
        self.note_phase();
    }
}
