//! What the server sends: rows pass as they lie; what tells of state is looked at.

use std::io;

use super::pending_replies::{Expected, Hide, Proof, Say, What};
use crate::client::maintenance::query_split::Part;
use crate::client::state::function_side_effects::Question;
use crate::client::{End, Session, Settling};
use crate::protocol::frame::{Header, peek_back, run_of};
use crate::protocol::{Report, TxStatus, backend};
use crate::server::own_query::parameter;
use crate::sql::cache::verdicts::Cached;
use crate::sql::{Kind, LexContext, TransactionVerb};

/// An error or a notice longer than this is passed on without being looked at (bytes).
const LONGEST_REPORT: usize = 1 << 20;

fn broken(error: crate::protocol::WireError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl Session {
    /// Looks at what the server has sent. The inner error means that its connection is of no more use.
    pub(in crate::client) fn look_at_server(&mut self) -> Result<Result<(), io::Error>, End> {
        loop {
            if let Some(n) = self.io.replies.ignored() {
                if n == 0 {
                    return Ok(Ok(()));
                }
                self.io.replies.pass(n);
                continue;
            }
            if self.io.replies.is_full() || self.lease.is_none() {
                return Ok(Ok(()));
            }
            self.pass_plain_answer();
            let bytes = self.io.replies.unread();
            let header = match peek_back(bytes) {
                Ok(Some(header)) => header,
                Ok(None) => {
                    self.io.replies.want(0);
                    return Ok(Ok(()));
                }
                Err(error) => return Ok(Err(broken(error))),
            };
            let shows = self.flow.expects.front().is_none_or(Expected::shows) && !self.hides_defaults();
            if !self.flow.held.is_empty() && shows && !matches!(header.tag, b'S' | b'N' | b'A' | b'Z') {
                // Not the last statement after all.
                self.release_held();
                continue;
            }
            match header.tag {
                // Rows and COPY data are most of all bytes: they need not even be whole.
                b'D' | b'd' | b'c' if shows => {
                    let rows = |tag| matches!(tag, b'D' | b'd' | b'c');
                    let (whole, next) = run_of(bytes, rows);
                    self.io.replies.pass(whole);
                    self.io.replies.ignore(next.filter(|next| rows(next.tag)).map_or(0, |next| next.total));
                    continue;
                }
                b'T' if shows && bytes.len() >= header.total => {
                    self.note_shape(header);
                    self.io.replies.pass(header.total);
                    self.answered_describe();
                    self.say_what_is_due();
                    continue;
                }
                b'E' | b'N' if header.total > LONGEST_REPORT => {
                    self.io.replies.ignore(header.total);
                    if header.tag == b'E' {
                        self.skip_to_sync();
                        self.copy_failed();
                    }
                    continue;
                }
                _ => {}
            }
            if bytes.len() < header.total {
                self.io.replies.want(header.total);
                return Ok(Ok(()));
            }
            self.io.replies.want(0);
            if let Err(error) = self.look_at_reply(header, shows)? {
                return Ok(Err(error));
            }
        }
    }

    #[inline(never)]
    #[expect(clippy::too_many_lines, reason = "to be divided")]
    fn look_at_reply(&mut self, header: Header, shows: bool) -> Result<Result<(), io::Error>, End> {
        if matches!(self.flow.expects.front(), Some(Expected { what: What::CopyQuestion(_), .. }))
            && self.answers_copy_question(header)
        {
            return Ok(Ok(()));
        }
        let part = self.flow.expects.front().map_or(Proof::None, |expected| expected.proof);
        // Neither a Close nor what the server says of itself begins a transaction command.
        self.flow.answered |= !matches!(header.tag, b'Z' | b'3' | b'S' | b'N' | b'A');
        let body = self.io.replies.body(header);
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
            b'C' => self.command_complete(header),
            b'A' => self.tell_notifier(header),
            b'D' => self.answered_row(header),
            // The answer to what was asked behind the client's last word: nothing more is to come.
            b'I' if self.flow.asked_last
                && matches!(self.flow.expects.front(), Some(Expected { what: What::Sync, .. })) =>
            {
                return Err(End::ClientGone);
            }
            b'I' => self.answered_execute(),
            b's' => {
                self.note_unfinished();
                self.answered_execute();
            }
            b'1' => {
                if matches!(self.flow.expects.front(), Some(Expected { what: What::Parse(_) | What::OwnParse, .. }))
                    && let Some(parsed) = self.flow.expects.pop_front()
                    && let Some(name) = parsed.renamed()
                {
                    self.note_parsed(name);
                }
            }
            b'2' | b'3' => {
                if matches!(self.flow.expects.front(), Some(Expected { what: What::Bind(_) | What::Close(_), .. })) {
                    self.flow.expects.pop_front();
                }
            }
            b't' => self.note_types(header),
            b'T' | b'n' => {
                self.note_shape(header);
                self.answered_describe()
            }
            b'G' => self.copy_begun(),
            b'W' => return Ok(Err(io::Error::new(io::ErrorKind::Unsupported, "COPY BOTH outside of replication"))),
            b'R' | b'K' | b'v' => return Ok(Err(broken(crate::protocol::WireError::UnknownBackend(header.tag)))),
            _ => {}
        }
        let shows =
            shows && !(header.tag == b'N' && self.flow.expects.front().is_some_and(|one| one.hide == Hide::Notices));
        let parameters =
            header.tag == b't' && matches!(self.flow.expects.front(), Some(Expected { what: What::Parameters, .. }));
        let shows = shows || parameters;
        let subject = matches!(part, Proof::Subject | Proof::Together);
        let holds = subject && shows && matches!(header.tag, b'C' | b'I' | b'V');
        let ends = !self.flow.broken && part == Proof::End;
        let warns = self.flow.expects.front().is_some_and(|one| one.hide == Hide::Completion);
        let message = (shows || ends || warns) && header.tag == b'N' || header.tag == b'A';
        if holds || message && !self.flow.held.is_empty() {
            let whole = self.io.replies.message(header);
            self.flow.held.extend_from_slice(whole);
            self.take_reply(header);
            if holds && part == Proof::Together {
                self.goes_on_as_question();
            }
            return Ok(Ok(()));
        }
        // After a proof that failed the COMMIT behind it has said ROLLBACK.
        let shows = shows && !(self.flow.unproved && header.tag == b'C');
        // Notifications have nothing to do with the statement they come with.
        if shows || message {
            self.io.replies.pass(header.total)
        } else {
            self.take_reply(header)
        }
        self.say_what_is_due();
        Ok(Ok(()))
    }

    /// Takes a message of the server out of what is passed on.
    pub(super) fn take_reply(&mut self, header: Header) {
        self.io.replies.skip(header.total);
    }

    fn answered_describe(&mut self) {
        if matches!(
            self.flow.expects.front(),
            Some(Expected { what: What::Describe(_) | What::Shape | What::Parameters, .. })
        ) {
            self.flow.expects.pop_front();
        }
    }

    fn answered_execute(&mut self) {
        if matches!(self.flow.expects.front(), Some(Expected { what: What::Execute(_), .. })) {
            self.flow.expects.pop_front();
        }
    }

    fn command_complete(&mut self, header: Header) {
        // Most are of what does nothing but read or write.
        match self.flow.expects.front() {
            Some(Expected { what: What::Query(Some(cached)), .. }) if cached.analysis.is_plain() => {
                self.flow.nth += 1;
                return;
            }
            Some(Expected { what: What::Execute(Some(statement)), .. }) if statement.cached.analysis.is_plain() => {
                self.flow.expects.pop_front();
                return;
            }
            _ => {}
        }
        let body = self.io.replies.body(header);
        match self.flow.expects.front() {
            Some(Expected { what: What::Fence, .. }) => {
                let tag = body.to_vec();
                self.answered_fence(&tag);
                return;
            }
            Some(Expected { what: What::Left(Question::Pin(pin)), .. }) => {
                let (pin, tag) = (*pin, body.to_vec());
                self.answered_left(pin, &tag);
                return;
            }
            Some(Expected { what: What::Left(Question::Settings), .. }) => return self.answered_settings(),
            Some(Expected { what: What::Isolation, .. }) => {
                let read_committed = body == b"SELECT 1\0";
                self.flow.past.note_read_committed(read_committed);
                return;
            }
            _ => {}
        }
        let rolled_back = body == b"ROLLBACK\0";
        self.flow.stale |= rolled_back;
        if let Some(Expected { what: What::Query(None), proof: Proof::End, .. }) = self.flow.expects.front() {
            self.note_fate(!rolled_back);
            return;
        }
        self.flow.parsed_unsure = false;
        let cached = match self.flow.expects.front() {
            Some(Expected { what: What::Query(Some(cached)), .. }) => cached.clone(),
            Some(Expected { what: What::Execute(Some(statement)), .. }) => {
                self.flow.parsed_unsure = statement.context() == LexContext::UNSURE;
                statement.cached.clone()
            }
            Some(Expected { what: What::Execute(None), .. }) => {
                self.flow.expects.pop_front();
                return;
            }
            _ => return,
        };
        let nth = match self.flow.expects.front() {
            Some(Expected { what: What::Execute(_), .. }) => {
                self.flow.expects.pop_front();
                self.leave_failed_block(&cached);
                0
            }
            _ => {
                self.flow.nth += 1;
                self.flow.nth - 1
            }
        };
        let Some(statement) = cached.analysis.statements.get(nth) else { return };
        self.flow.past.done(statement);
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
        if self.flow.status != TxStatus::Failed {
            return;
        }
        self.flow.status = match cached.analysis.single().map(|one| &one.kind) {
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
    }

    #[expect(clippy::too_many_lines, reason = "to be divided")]
    fn ready_for_query(&mut self, header: Header) -> Result<Result<(), io::Error>, End> {
        let body = self.io.replies.body(header);
        let status = match body {
            [byte] => TxStatus::from_byte(*byte),
            _ => None,
        };
        let Some(status) = status else { return Ok(Err(broken(crate::protocol::WireError::Format))) };
        let Some(expected) = self.flow.expects.pop_front().filter(Expected::ends_ready) else {
            return Ok(Err(io::Error::new(io::ErrorKind::InvalidData, "ReadyForQuery that nobody asked for")));
        };
        self.flow.readies = self.flow.readies.saturating_sub(1);
        let status = self.flow.with_transaction_left_open(status, &expected.what);
        self.flow.status = status;
        self.note_reading_reported();
        if matches!(self.flow.settling, Settling::Sent) {
            self.flow.settling = Settling::No;
        }
        if !matches!(self.flow.settling, Settling::No) && expected.hide == Hide::All {
            self.take_reply(header);
            self.flow.failed = false;
            self.check_guard()?;
            self.end_reports();
            return self.settle().map(Ok);
        }
        let failed = std::mem::take(&mut self.flow.failed);
        let rolls_back = self.ends_unproved(expected.hide);
        let more = !self.flow.parts.is_empty();
        if more && self.flow.broken {
            self.skip_parts();
        }
        let shows = !rolls_back
            && match expected.hide {
                Hide::Ready | Hide::AllButReady => (self.flow.broken || !more) && !self.continues(),
                _ => expected.shows_ready(),
            };
        if shows && let Some(report) = self.forbidden_block(status) {
            return Err(report.into());
        }
        if shows || expected.proof == Proof::End {
            self.release_held();
        }
        if shows && self.maintenance.take_notification() {
            self.tell_mode();
        }
        let cut = shows && self.goes_on_behind_cut();
        if shows && !cut {
            self.io.replies.pass(header.total)
        } else {
            self.take_reply(header)
        }
        if status == TxStatus::Idle {
            if self.me.operator && self.db.gate.state().mode.reports_read_only() {
                self.raise_floors();
            }
            self.note_fate(!failed);
            // A Bind that was sent behind it is the next transaction's.
            if !self.flow.expects.iter().any(|next| matches!(next.what, What::Bind(_))) {
                self.names.end_portals();
            }
            self.flow.past.end(!self.flow.expects.is_empty());
            self.flow.fencing = crate::client::maintenance::transition::fence::Fencing::No;
            self.flow.cursors = None;
            self.flow.reading_changed = false;
            self.end_catalog_change();
            self.end_schema();
            self.end_reports();
        } else {
            self.follow_into_next()?;
        }
        self.check_guard()?;
        if self.flow.parts.is_empty() {
            self.flow.nth = if matches!(expected.what, What::Query(None)) { self.flow.nth } else { 0 };
        } else if self.flow.expects.is_empty() {
            self.send_next_part();
        }
        if shows {
            self.end_message();
        }
        self.count_query(shows);
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
        if self.flow.expects.is_empty() && self.maintenance.take_notification() {
            self.tell_mode();
        }
        Ok(Ok(()))
    }

    /// Whether the message goes on with one of our own that will show its ReadyForQuery.
    fn continues(&self) -> bool {
        matches!(self.flow.parts.front(), Some(Part::Finish(_)))
            || self.flow.expects.iter().any(|next| next.hide == Hide::AllButReady)
    }

    /// The client has its ReadyForQuery.
    pub(in crate::client) fn end_message(&mut self) {
        self.flow.broken = false;
        self.flow.nth = 0;
        self.end_names();
        if self.flow.status != TxStatus::Idle {
            return;
        }
        let doubt = std::mem::take(&mut self.flow.doubt).is_any() | std::mem::take(&mut self.flow.asked);
        if std::mem::take(&mut self.flow.stale) && doubt && self.must_prove() {
            self.forget_counts();
        }
    }

    /// Says what pgsluice answers for the server, where its turn has come.
    #[inline]
    pub(in crate::client) fn say_what_is_due(&mut self) {
        if matches!(self.flow.expects.front(), Some(Expected { what: What::Say(_), .. })) {
            self.say_all_that_is_due();
        }
    }

    fn say_all_that_is_due(&mut self) {
        while let Some(Expected { what: What::Say(say), .. }) = self.flow.expects.front() {
            let say = *say;
            self.flow.expects.pop_front();
            match say {
                Say::ParseComplete => backend::parse_complete(self.io.for_client()),
                Say::CloseComplete => backend::close_complete(self.io.for_client()),
                Say::NoTransaction => {
                    Report::warning("25P01", "there is no transaction in progress").write(self.io.for_client());
                }
                Say::Own(part) => self.say_own(part),
                Say::Done(verb, rows) => backend::command_complete(self.io.for_client(), &verb.tag(rows)),
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
            if self.core.hub.slow_statements.is_slow(took) {
                self.log_slow(took);
            }
        }
        if self.flow.status == TxStatus::Idle {
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
