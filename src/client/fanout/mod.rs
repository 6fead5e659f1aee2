//! DDL on all servers of a cluster with several primaries at once: `SET pgsluice.fanout = on` in an operator's session.
//!
//! From then on the session talks with every server, over connections of its own, until `SET pgsluice.fanout = off`. What it sends
//! as a simple query runs on all of them, as one unit of work: a statement by itself, or a transaction block. [`Sides::commit`]
//! ends it on all or on none. What changes something is committed only while the gate is closed: then nobody writes through
//! pgsluice, and what waits is sent once it opens. The servers' subscriptions take in new tables behind each unit.
//!
//! - [`side`]: one of the servers.
//! - [`unit`](mod@unit): a unit of work and its end.
//! - [`leftover`]: units that a crash has left prepared.
//! - `open`: who may, and the connections.

mod leftover;
mod open;
mod side;
mod unit;

use std::future::{Future, poll_fn};
use std::rc::Rc;
use std::task::Poll;

use self::open::Opener;
use self::side::{Failure, Heard, on_all};
use self::unit::{Ended, Sides};
use crate::client::conversation::client_messages::Progress;
use crate::client::{End, Session};
use crate::protocol::frame::{Header, WireError, peek_front};
use crate::protocol::{Report, TxStatus, answer, backend};
use crate::shared::{ChangeUnderWay, Phase};
use crate::sql::cache::verdicts::Cached;
use crate::sql::own_statements::fanout as sql;
use crate::sql::own_statements::transaction::{ARM, DISARM, DISARM_TO_DEFAULT};
use crate::sql::{FanoutUse, Kind, Own, OwnUse, Statement, TransactionVerb, fanout_use};

/// A fan-out for as long as it is on.
struct FanOut {
    sides: Sides,
    opener: Opener,
    /// The open unit may change the catalog.
    changes: Option<ChangeUnderWay>,
}

/// Whether the fan-out goes on.
enum After {
    GoesOn,
    IsOff,
}

impl Session {
    /// What an operator's query does with `pgsluice.fanout`.
    pub(in crate::client) fn fanout_use_of(&self, cached: &Cached) -> Option<FanoutUse> {
        fanout_use(cached.analysis.single()?, &cached.text)
    }

    /// Whether an operator's query begins a fan-out, and its session has no server connection yet.
    pub(in crate::client) fn awaits_fanout(&self, cached: &Cached) -> bool {
        self.me.operator && self.lease.is_none() && self.fanout_use_of(cached).is_some()
    }

    /// Answers it where there is no fan-out, or has one begin.
    pub(in crate::client) fn begin_or_answer_fanout(
        &mut self,
        header: Header,
        cached: Rc<Cached>,
        asked: FanoutUse,
    ) -> Progress {
        if !self.is_between_transactions() {
            if self.conversation.status() == TxStatus::Idle {
                return Progress::AwaitReplies;
            }
            // The transaction fails with it, which the server does best.
            let report = Report::error("25001", "SET pgsluice.fanout cannot run inside a transaction block");
            return self.send_poisoned(header, Vec::new(), cached, report);
        }
        match asked {
            FanoutUse::On => Progress::FanOut,
            FanoutUse::Off => {
                self.drop_bytes(header.total);
                self.say_now(|out| answer::command_complete(out, "SET"));
                self.say_now(|out| answer::ready(out, TxStatus::Idle));
                Progress::Consumed
            }
            FanoutUse::Wrong(value) => {
                self.answer_error(header, &wrong(&value));
                Progress::Consumed
            }
        }
    }

    /// Runs from the SET that begins a fan-out to the one that ends it.
    ///
    /// # Errors
    /// The session is over.
    pub(in crate::client) async fn fan_out(&mut self) -> Result<(), End> {
        let header = self.next_message().await?;
        self.skip_message(header);
        self.me.enter(Phase::Active);
        let begun = self.open_fan_out().await;
        let mut fan = match begun {
            Ok((sides, opener, told)) => {
                told.iter().for_each(|report| self.say_now(|out| report.write(out)));
                self.say_now(|out| answer::command_complete(out, "SET"));
                FanOut { sides, opener, changes: None }
            }
            Err(report) => {
                self.log_error(&report);
                self.say_now(|out| report.write(out));
                self.say_now(|out| answer::ready(out, TxStatus::Idle));
                return Ok(());
            }
        };
        let own = self.me.cancel.borrow_mut().clone();
        if let Some(lead) = fan.sides.all.first() {
            *self.me.cancel.borrow_mut() = Some(lead.target());
        }
        tracing::info!(
            event = "fanout_begun", user = %self.account.user(), database = %self.db.name, client = %self.me.address_words(),
            servers = %fan.names(), "an operator's statements go to several servers"
        );
        let result = self.serve_fan_out(&mut fan).await;
        *self.me.cancel.borrow_mut() = own;
        tracing::info!(event = "fanout_ended", user = %self.account.user(), database = %self.db.name, "they go to one server again");
        fan.sides.all.into_iter().for_each(side::Side::close);
        result
    }

    async fn serve_fan_out(&mut self, fan: &mut FanOut) -> Result<(), End> {
        let mut skip = false;
        self.say_ready(fan);
        loop {
            let header = self.next_message().await?;
            match header.tag {
                b'X' => return Err(End::Goodbye),
                b'S' => {
                    skip = false;
                    self.skip_message(header);
                    self.say_ready(fan);
                }
                _ if skip => self.skip_message(header),
                b'Q' => {
                    self.me.enter(Phase::Active);
                    let cached = self.read_query(header)?;
                    self.skip_message(header);
                    if matches!(self.answer_everywhere(fan, &cached).await?, After::IsOff) {
                        self.say_now(|out| answer::ready(out, TxStatus::Idle));
                        return Ok(());
                    }
                    self.say_ready(fan);
                }
                b'P' | b'B' | b'D' | b'E' | b'C' | b'F' => {
                    self.skip_message(header);
                    let report = Report::error("0A000", "a fan-out takes simple queries only");
                    let hint = "SET pgsluice.fanout = off ends it.".to_owned();
                    self.say_now(|out| report.with_hint(Some(hint)).write(out));
                    fan.fail_block();
                    skip = header.tag != b'F';
                    if !skip {
                        self.say_ready(fan);
                    }
                }
                b'H' | b'd' | b'c' | b'f' => self.skip_message(header),
                other => return Err(WireError::UnknownFrontend(other).into()),
            }
        }
    }

    /// Answers a query, but for the ReadyForQuery.
    async fn answer_everywhere(&mut self, fan: &mut FanOut, cached: &Rc<Cached>) -> Result<After, End> {
        if let Some(asked) = self.fanout_use_of(cached) {
            return self.answer_fanout_use(fan, asked).await;
        }
        if let Some(OwnUse::Shows(own)) = self.own_use_of(cached) {
            self.say_shown(own, (own == Own::Fanout).then_some("on"));
            return Ok(After::GoesOn);
        }
        let statements = &cached.analysis.statements;
        let controls = |statement: &Statement| matches!(statement.kind, Kind::Transaction(_));
        if statements.len() > 1 && statements.iter().any(controls) {
            self.fail_fan_out(fan, &Report::error("0A000", "in a fan-out a transaction is begun and ended by itself"));
            return Ok(After::GoesOn);
        }
        if let Some(Statement { kind: Kind::Transaction(verb), .. }) = cached.analysis.single() {
            return self.control(fan, verb, &cached.text).await;
        }
        if fan.sides.status == TxStatus::Failed {
            let text = "current transaction is aborted, commands ignored until end of transaction block";
            self.fail_fan_out(fan, &Report::error("25P02", text));
            return Ok(After::GoesOn);
        }
        if cached.analysis.is_proven_read() {
            return self.read_on_first(fan, &cached.text).await;
        }
        if fan.sides.status == TxStatus::Block {
            self.note_change(fan);
            return self.run_in_block(fan, &cached.text).await;
        }
        let outside = |statement: &Statement| matches!(statement.kind, Kind::Session);
        if statements.iter().all(outside) {
            return self.run_in_block(fan, &cached.text).await;
        }
        self.note_change(fan);
        let after = self.run_as_unit(fan, cached).await;
        fan.changes = None;
        after
    }

    async fn answer_fanout_use(&mut self, fan: &mut FanOut, asked: FanoutUse) -> Result<After, End> {
        match asked {
            FanoutUse::Wrong(value) => self.fail_fan_out(fan, &wrong(&value)),
            FanoutUse::On => self.say_now(|out| answer::command_complete(out, "SET")),
            FanoutUse::Off if fan.sides.status != TxStatus::Idle => {
                let report = Report::error("25001", "SET pgsluice.fanout cannot run inside a transaction block");
                self.fail_fan_out(fan, &report);
            }
            FanoutUse::Off => {
                self.say_now(|out| answer::command_complete(out, "SET"));
                return Ok(After::IsOff);
            }
        }
        Ok(After::GoesOn)
    }

    async fn control(&mut self, fan: &mut FanOut, verb: &TransactionVerb, text: &[u8]) -> Result<After, End> {
        match verb {
            TransactionVerb::Begin(modes) => {
                let begins = fan.sides.status == TxStatus::Idle;
                let after = self.run_in_block(fan, text).await?;
                if begins && fan.sides.status == TxStatus::Block && modes.read_only.is_none() {
                    _ = self.guarded(on_all(&mut fan.sides.all, sql::READ_WRITE.as_bytes())).await?;
                }
                Ok(after)
            }
            TransactionVerb::Commit { chain: false } if fan.sides.status == TxStatus::Block => {
                let after = self.commit(fan, "COMMIT").await;
                fan.changes = None;
                after
            }
            TransactionVerb::Commit { chain: false } if fan.sides.status == TxStatus::Failed => {
                fan.sides.roll_back().await;
                fan.changes = None;
                self.say_now(|out| answer::command_complete(out, "ROLLBACK"));
                Ok(After::GoesOn)
            }
            TransactionVerb::Rollback { chain: false } => {
                let after = self.run_in_block(fan, text).await;
                fan.changes = None;
                after
            }
            TransactionVerb::Commit { chain: false } | TransactionVerb::RollbackTo(_) => {
                self.run_in_block(fan, text).await
            }
            TransactionVerb::Savepoint(_) | TransactionVerb::Release(_) if fan.sides.status != TxStatus::Failed => {
                self.run_in_block(fan, text).await
            }
            TransactionVerb::Savepoint(_) | TransactionVerb::Release(_) => {
                let text = "current transaction is aborted, commands ignored until end of transaction block";
                self.fail_fan_out(fan, &Report::error("25P02", text));
                Ok(After::GoesOn)
            }
            _ => {
                self.fail_fan_out(fan, &Report::error("0A000", "this is not possible in a fan-out"));
                Ok(After::GoesOn)
            }
        }
    }

    /// A read is asked of the first server alone.
    async fn read_on_first(&mut self, fan: &mut FanOut, text: &[u8]) -> Result<After, End> {
        let Some(first) = fan.sides.all.get_mut(..1) else { return Ok(After::IsOff) };
        let told = self.guarded(on_all(first, text)).await?.into_iter().next();
        let name = fan.first();
        match told.map(Failure::of) {
            Some(Ok(heard)) => self.say_now(|out| out.extend_from_slice(&heard.messages)),
            Some(Err(failure)) => return Ok(self.failed(fan, &failure, &format!("on {name}"))),
            None => {}
        }
        Ok(After::GoesOn)
    }

    /// Runs a text everywhere as it is, within the open transaction or outside of any.
    async fn run_in_block(&mut self, fan: &mut FanOut, text: &[u8]) -> Result<After, End> {
        match self.guarded(fan.sides.run(text)).await? {
            Ok(heard) => {
                fan.sides.status = heard.first().and_then(|heard| heard.status).unwrap_or(TxStatus::Failed);
                self.say_heard(fan, heard);
                Ok(After::GoesOn)
            }
            Err((failure, name)) => Ok(self.failed(fan, &failure, &format!("on {name}"))),
        }
    }

    /// Runs a text as a unit of its own.
    async fn run_as_unit(&mut self, fan: &mut FanOut, cached: &Cached) -> Result<After, End> {
        let begun = self.guarded(fan.sides.run(sql::BEGIN_READ_WRITE.as_bytes())).await?;
        let ran = match begun {
            Ok(_) => self.guarded(fan.sides.run(&cached.text)).await?,
            Err(failed) => Err(failed),
        };
        match ran {
            Ok(heard) => {
                // The command is done once it is committed: only then is its tag told.
                let (before, tag) = fan.without_tag(heard);
                self.say_now(|out| out.extend_from_slice(&before));
                self.commit(fan, &tag).await
            }
            Err((failure, name)) => {
                fan.sides.roll_back().await;
                let alone = cached.analysis.single().is_some();
                if alone && failure.code() == Some(b"25001") && self.may_change() {
                    return self.run_one_by_one(fan, &cached.text).await;
                }
                Ok(self.failed(fan, &failure, &format!("on {name}; rolled back on every server")))
            }
        }
    }

    /// Runs what cannot run in a transaction on one server after the other, and tells where it stopped.
    async fn run_one_by_one(&mut self, fan: &mut FanOut, text: &[u8]) -> Result<After, End> {
        let mut done: Vec<String> = Vec::new();
        for at in 0..fan.sides.all.len() {
            let Some(side) = fan.sides.all.get_mut(at..=at) else { break };
            let told = self.guarded(on_all(side, text)).await?.into_iter().next();
            let name = side.first().map(|side| side.name.clone()).unwrap_or_default();
            match told.map(Failure::of) {
                Some(Ok(heard)) if at == 0 => self.say_now(|out| out.extend_from_slice(&heard.messages)),
                Some(Ok(_)) | None => {}
                Some(Err(failure)) => {
                    let on = if done.is_empty() { "no server".to_owned() } else { done.join(", ") };
                    return Ok(self.failed(fan, &failure, &format!("on {name}; it is done on {on}")));
                }
            }
            done.push(name);
        }
        self.say_now(|out| Report::notice(format!("done on {}, one after the other", done.join(", "))).write(out));
        self.raise_floors();
        Ok(After::GoesOn)
    }

    /// Ends the unit that is open, and says so.
    async fn commit(&mut self, fan: &mut FanOut, tag: &str) -> Result<After, End> {
        let mut number = [0; 8];
        if let Err(error) = getrandom::fill(&mut number) {
            return Err(Report::fatal("58000", error.to_string()).into());
        }
        let may_change = self.may_change();
        // It is carried to its end, even if the client disconnects.
        let ended = fan.sides.commit(may_change, u64::from_be_bytes(number), &fan.opener).await;
        match ended {
            Ended::Unchanged => {}
            Ended::Committed(names) => {
                self.raise_floors();
                let text = format!("committed on {}", names.join(", "));
                self.say_now(|out| Report::notice(text).write(out));
                for report in fan.refresh().await {
                    self.say_now(|out| report.write(out));
                }
            }
            Ended::RolledBack(failure, name) => {
                return Ok(self.failed(fan, &failure, &format!("on {name}; rolled back on every server")));
            }
            Ended::Refused => {
                let text = format!(
                    "database \"{}\" takes writes: what changes all servers needs its gate closed",
                    self.db.name
                );
                let hint = format!("MAINTENANCE ON {} WITH (writes hold) closes it.", self.db.name);
                self.fail_fan_out(fan, &Report::error("55000", text).with_hint(Some(hint)));
                return Ok(After::GoesOn);
            }
            Ended::Torn(report) => {
                tracing::error!(
                    event = "fanout_torn", database = %self.db.name, user = %self.account.user(), reason = %report.message,
                    detail = report.detail.as_deref().unwrap_or_default(), "a unit is not on all servers alike"
                );
                self.raise_floors();
                self.say_now(|out| report.write(out));
                return Ok(After::IsOff);
            }
        }
        self.say_now(|out| answer::command_complete(out, tag));
        Ok(After::GoesOn)
    }

    /// Whether changes may be committed: only while the gate keeps other writes out.
    fn may_change(&self) -> bool {
        use crate::gate::Mode;
        matches!(self.db.gate.state().mode, Mode::ReadOnly { .. } | Mode::Offline)
    }

    fn note_change(&self, fan: &mut FanOut) {
        fan.changes.get_or_insert_with(|| self.core.proxy.databases.begin_catalog_change(&self.db));
    }

    /// Tells the client of a failure. A connection that has gone ends the fan-out.
    fn failed(&mut self, fan: &mut FanOut, failure: &Failure, detail: &str) -> After {
        self.say_now(|out| failure.write(out, detail));
        fan.fail_block();
        match failure {
            Failure::Error(_) => After::GoesOn,
            Failure::Lost(_) => After::IsOff,
        }
    }

    fn fail_fan_out(&mut self, fan: &mut FanOut, report: &Report) {
        self.log_error(report);
        self.say_now(|out| report.write(out));
        fan.fail_block();
    }

    /// Passes on the first server's answer, and warns where others differ.
    fn say_heard(&mut self, fan: &FanOut, heard: Vec<Heard>) {
        let differs = fan.differences(&heard);
        if let Some(first) = heard.into_iter().next() {
            self.say_now(|out| out.extend_from_slice(&first.messages));
        }
        if let Some(report) = differs {
            self.say_now(|out| report.write(out));
        }
    }

    fn say_ready(&mut self, fan: &FanOut) {
        let status = fan.sides.status;
        self.me.enter(if status == TxStatus::Idle { Phase::Idle } else { Phase::IdleInTransaction });
        if self.maintenance.take_notification() {
            self.notify_mode();
        }
        self.say_now(|out| backend::ready(out, status));
    }

    /// Writes a message of our own, behind what waits for the client.
    fn say_now(&mut self, say: impl FnOnce(&mut Vec<u8>)) {
        say(self.io.for_client());
    }

    fn skip_message(&mut self, header: Header) {
        self.io.requests_mut().skip(header.total);
    }

    /// Waits for a whole message of the client's.
    async fn next_message(&mut self) -> Result<Header, End> {
        loop {
            let bytes = self.io.requests().unread();
            match peek_front(bytes, self.account.largest())? {
                Some(header) if header.total <= bytes.len() => {
                    self.io.requests_mut().want(0);
                    return Ok(header);
                }
                Some(header) => self.io.requests_mut().want(header.total),
                None => self.io.requests_mut().want(0),
            }
            if poll_fn(|cx| self.poll_client(cx)).await? {
                self.answer_asks().await?;
            }
        }
    }

    /// Waits for servers, for as long as the client is there.
    async fn guarded<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        let mut work = Box::pin(work);
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(done));
            }
            loop {
                match self.poll_client(cx) {
                    Poll::Ready(Err(end)) => return Poll::Ready(Err(end)),
                    Poll::Ready(Ok(false)) => {}
                    // What is asked of the session is answered behind the statement.
                    Poll::Ready(Ok(true)) | Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }
}

impl FanOut {
    fn names(&self) -> String {
        self.sides.all.iter().map(|side| &*side.name).collect::<Vec<_>>().join(", ")
    }

    fn first(&self) -> String {
        self.sides.all.first().map(|side| side.name.clone()).unwrap_or_default()
    }

    fn fail_block(&mut self) {
        if self.sides.status == TxStatus::Block {
            self.sides.status = TxStatus::Failed;
        }
    }

    /// What the first server has said, without its command's end, and that.
    fn without_tag(&self, heard: Vec<Heard>) -> (Vec<u8>, String) {
        let differs = self.differences(&heard);
        let Some(first) = heard.into_iter().next() else { return Default::default() };
        let mut messages = first.messages;
        let length = first.tag.len() + crate::protocol::frame::HEADER + 1;
        if messages.ends_with(&[first.tag.as_bytes(), &[0]].concat()) {
            messages.truncate(messages.len().saturating_sub(length));
        }
        if let Some(report) = differs {
            report.write(&mut messages);
        }
        (messages, first.tag)
    }

    /// A warning if the servers have not done the same.
    fn differences(&self, heard: &[Heard]) -> Option<Report> {
        let first = heard.first()?;
        if heard.iter().all(|one| one.tag == first.tag) {
            return None;
        }
        let each = self.sides.all.iter().zip(heard).map(|(side, heard)| format!("{}: {}", side.name, heard.tag));
        let text = "the servers have not done the same";
        Some(Report::warning("01000", text).with_detail(Some(each.collect::<Vec<_>>().join("\n"))))
    }

    /// Has each server's subscriptions take in what is new at their publishers. Gives what went wrong.
    async fn refresh(&mut self) -> Vec<Report> {
        let mut told = Vec::new();
        for side in &mut self.sides.all {
            let names = match side.ask(sql::SUBSCRIPTIONS).await {
                Ok(heard) => heard.rows.into_iter().filter_map(|row| row.into_iter().next()?).collect::<Vec<_>>(),
                Err(_) => continue,
            };
            // It is refreshed outside of any block, which a database that is down does not let write.
            let again = match side.ask(sql::READS_ONLY).await {
                Ok(heard) if !names.is_empty() => {
                    heard.rows.first().map(|row| row.first().is_some_and(|own| own.as_deref() == Some("t")))
                }
                _ => None,
            };
            if again.is_some() {
                let _ = side.ask(DISARM).await;
            }
            for name in names {
                if let Err(failure) = side.ask(&sql::refresh(&name)).await {
                    let text = format!("subscription \"{name}\" on {} could not be refreshed", side.name);
                    told.push(Report::warning("01000", text).with_detail(Some(failure.summary())));
                }
            }
            if let Some(own) = again {
                let _ = side.ask(if own { ARM } else { DISARM_TO_DEFAULT }).await;
            }
        }
        told
    }
}

fn wrong(value: &str) -> Report {
    let text = format!("parameter \"pgsluice.fanout\" requires a Boolean value: \"{value}\"");
    Report::error("22023", text)
}
