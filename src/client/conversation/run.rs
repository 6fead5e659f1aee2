//! The loop of a session, and its input and output.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use crate::client::checkout::acquire::NO_DEADLINE;
use crate::client::errors;
use crate::client::goodbye::log_end;
use crate::client::io::Read;
use crate::client::startup::open::has_own_server;
use crate::client::{End, Lease, Session};
use crate::protocol::TxStatus;
use crate::routing::TransactionClass;
use crate::shared::Phase;
use crate::shared::client::Moves;

/// How long a server may be silent behind a client's last word before it is asked whether it owes anything.
const LAST_WORD_PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// What the loop does after it has looked at everything there is.
pub(in crate::client) enum Next {
    /// Wait for the sockets.
    Wait,
    /// Take a server connection for a transaction of that nature.
    Acquire(TransactionClass),
    /// The lease is over.
    Release,
    /// Hold the message at hand.
    Hold,
    /// Send it, and what follows, to several servers.
    FanOut,
    /// Wait for the sockets, and for news of the server, but not for ever.
    News,
    /// The client has said its last word: wait for what it is owed.
    LastWord,
}

/// What woke the loop.
enum Woken {
    Io,
    Asked,
    ServerLost(io::Error),
}

impl Session {
    /// Runs until the client goes or is sent away.
    pub async fn run(mut self: Box<Self>) -> End {
        let own = has_own_server(self.account.pool_mode(), self.me.operator);
        let begun = if own { Box::pin(self.begin_as_own()).await } else { Ok(()) };
        let served = match begun {
            Ok(()) => self.serve().await,
            Err(end) => Err(end),
        };
        self.end(served).await
    }

    /// The same of one that another process has handed over.
    pub async fn resume(mut self: Box<Self>) -> End {
        let served = self.serve().await;
        self.end(served).await
    }

    async fn end(mut self: Box<Self>, served: Result<std::convert::Infallible, End>) -> End {
        if matches!(served, Err(End::HandedOver)) {
            log_end(&self.core, &self.me, &End::HandedOver);
            return End::HandedOver;
        }
        self.forget_key();
        let end = match served {
            Ok(never) => match never {},
            Err(end) => end,
        };
        log_end(&self.core, &self.me, &end);
        if let End::Report(report) = &end {
            self.core.worded(report).write(self.io.for_client());
        }
        Box::pin(self.io.say_last_words()).await;
        Box::pin(self.leave()).await;
        // What came after its last word is nobody's; the memory is the next client's.
        self.io.requests_mut().forget_read();
        self.io.replies_mut().forget_read();
        self.rest();
        end
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        loop {
            if self.me.moves.get() == Moves::Goes {
                self.move_over().await?;
            }
            let next = self.look()?;
            match next {
                Next::Wait | Next::News | Next::LastWord => {}
                Next::Release => {
                    if !self.release_now() {
                        self.release().await?;
                    }
                    continue;
                }
                Next::Hold => {
                    Box::pin(self.hold()).await?;
                    continue;
                }
                Next::FanOut => {
                    Box::pin(self.fan_out()).await?;
                    continue;
                }
                Next::Acquire(nature) => {
                    if !self.acquire_now(nature) {
                        self.acquire(nature).await?;
                    }
                    continue;
                }
            }
            let woken = match next {
                Next::News => self.io_or_late().await?,
                Next::LastWord => self.io_or_last_word().await?,
                _ => poll_fn(|cx| self.poll_io(cx)).await?,
            };
            match woken {
                Woken::Io => {}
                Woken::Asked => self.answer_asks().await?,
                Woken::ServerLost(error) => self.server_lost(&error)?,
            }
        }
    }

    /// The client's message waits for news of the server, as for a server connection.
    #[cold]
    fn io_or_late(&mut self) -> impl Future<Output = Result<Woken, End>> {
        let deadline = self.io.now() + self.account.query_wait().unwrap_or(NO_DEADLINE);
        let late = errors::query_wait_timeout();
        let io = poll_fn(move |cx| self.poll_io(cx));
        Box::pin(async move { tokio::time::timeout_at(deadline.into(), io).await.unwrap_or_else(|_| Err(late.into())) })
    }

    /// The client has said its last word. What it has asked for without a Sync is not waited for longer than it takes to say what
    /// is wrong with it. Of the rest the server knows whether there is any: it is asked behind it, once it has been silent.
    #[cold]
    fn io_or_last_word(&mut self) -> impl Future<Output = Result<Woken, End>> {
        let deadline = std::cmp::max(self.io.now(), self.core.clock.now()) + LAST_WORD_PATIENCE;
        Box::pin(async move {
            let io = poll_fn(|cx| self.poll_io(cx));
            if let Ok(woken) = tokio::time::timeout_at(deadline.into(), io).await {
                return woken;
            }
            if self.conversation.replies.readies() == 0 {
                return Err(End::ClientGone);
            }
            if self.conversation.ask_last() {
                self.ask_whether_copy_is_over(None);
            }
            Ok(Woken::Io)
        })
    }

    /// Looks at all that was read.
    fn look(&mut self) -> Result<Next, End> {
        if !self.lease.is_none()
            && let Err(error) = self.process_server_input()?
        {
            self.server_lost(&error)?;
        }
        if self.is_over() {
            return Ok(Next::Release);
        }
        if !self.io.requests().unread().is_empty()
            && self.has_turned()
            && let Some(next) = self.after_turned()?
        {
            return Ok(next);
        }
        self.process_client_input()
    }

    /// Moves bytes as far as the sockets let it: first out, so that there is room, then in. Ready when there is something
    /// to look at.
    #[inline(always)]
    fn poll_io(&mut self, cx: &mut Context<'_>) -> Poll<Result<Woken, End>> {
        self.me.wakes(cx);
        if self.me.is_asked() {
            return Poll::Ready(Ok(Woken::Asked));
        }
        let wrote_server = match self.write_server(cx) {
            Ok(wrote) => wrote,
            Err(error) => return Poll::Ready(Ok(Woken::ServerLost(error))),
        };
        let Ok(wrote_client) = self.write_client(cx) else { return Poll::Ready(Err(End::ClientGone)) };
        match self.read_server(cx) {
            Ok(false) => {}
            Ok(true) => return Poll::Ready(Ok(Woken::Io)),
            Err(error) => return Poll::Ready(Ok(Woken::ServerLost(error))),
        }
        match self.read_client(cx) {
            Ok(true) => return Poll::Ready(Ok(Woken::Io)),
            Ok(false) => {}
            Err(_) => return Poll::Ready(Err(End::ClientGone)),
        }
        if wrote_client && self.io.is_half_closed() {
            return Poll::Ready(Ok(Woken::Io));
        }
        // Room has come for messages that were held back.
        if (wrote_server || wrote_client) && self.io.requests().is_held_back() {
            return Poll::Ready(Ok(Woken::Io));
        }
        self.rest();
        Poll::Pending
    }

    /// Gives back memory that nothing is in; a client without a server connection keeps none.
    pub(in crate::client) fn rest(&mut self) {
        self.io.reclaim(&self.core.buffers);
        if self.lease.is_none() {
            self.settings.forget_read();
            self.io.reclaim_words(&self.core.buffers);
            self.conversation.replies.reclaim();
        }
    }

    #[inline(always)]
    fn write_server(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Some(server) = self.lease.server() else { return Ok(false) };
        if self.io.has_nothing_for(&server.stream) {
            return Ok(false);
        }
        if self.has_turned() && !self.maintenance.aborts() && self.holds_bytes_back() {
            return Ok(false);
        }
        let Some(server) = self.lease.server() else { return Ok(false) };
        self.io.write_server(cx, &mut server.stream)
    }

    #[inline]
    fn write_client(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let sent = self.io.write_client(cx)?;
        if sent > 0 {
            self.conversation.lease.note_told();
            if let Some(stats) = self.db.stats.of(self.core.index) {
                stats.sent.add(sent as u64);
            }
        }
        Ok(sent > 0)
    }

    /// True if something came.
    #[inline(always)]
    fn read_server(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Some(server) = self.lease.server() else { return Ok(false) };
        match self.io.read_server(cx, &mut server.stream, &self.core.buffers)? {
            Read::Nothing => Ok(false),
            Read::Closed => Err(io::ErrorKind::UnexpectedEof.into()),
            Read::Some(_) => {
                self.io.note_time(self.core.clock.now());
                Ok(true)
            }
        }
    }

    /// True if something came.
    fn read_client(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        match self.io.read_client(cx, &self.core.buffers)? {
            Read::Nothing => Ok(false),
            // It says nothing more, but may still listen: what it has asked for is answered, as by PostgreSQL.
            Read::Closed if !self.lease.is_none() || !self.io.requests().unread().is_empty() => {
                self.io.close_half();
                Ok(true)
            }
            Read::Closed => Err(io::ErrorKind::UnexpectedEof.into()),
            Read::Some(n) => {
                self.io.note_time(self.core.clock.now());
                if let Some(stats) = self.db.stats.of(self.core.index) {
                    stats.received.add(n as u64);
                }
                Ok(true)
            }
        }
    }

    /// Ready when the client has gone or something is asked of the session, while it waits for a server connection.
    pub(in crate::client) fn poll_interrupt(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        self.me.wakes(cx);
        if self.me.is_asked() {
            return Poll::Ready(Ok(()));
        }
        if self.write_client(cx).is_err() {
            return Poll::Ready(Err(End::ClientGone));
        }
        loop {
            // Whoever closes its side while nothing runs for it has most likely gone.
            if self.io.is_half_closed() {
                return Poll::Ready(Err(End::ClientGone));
            }
            match self.read_client(cx) {
                Ok(true) => {}
                Ok(false) => return Poll::Pending,
                Err(_) => return Poll::Ready(Err(End::ClientGone)),
            }
        }
    }

    /// Writes what waits for the client, and reads what it has sent: false. True if something is asked of the session first.
    pub(in crate::client) fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, End>> {
        self.me.wakes(cx);
        if self.me.is_asked() {
            return Poll::Ready(Ok(true));
        }
        if self.write_client(cx).is_err() || self.io.is_half_closed() {
            return Poll::Ready(Err(End::ClientGone));
        }
        match self.read_client(cx) {
            Ok(true) => Poll::Ready(Ok(false)),
            Ok(false) => Poll::Pending,
            Err(_) => Poll::Ready(Err(End::ClientGone)),
        }
    }

    /// Whether the client has had the answers to all that it has asked for, up to its last Sync.
    pub(in crate::client) fn has_answered(&self) -> bool {
        let io = &self.io;
        let conversation = &self.conversation;
        let unended = conversation.batch.is_open() && !conversation.replies.is_empty();
        let owed = conversation.replies.readies() > 0
            || unended
            || !conversation.message.split.is_empty()
            || io.replies().is_within_message();
        !owed && !io.replies().has_unsent()
    }

    /// The client has said its last word: waits for what it is owed, or ends.
    pub(in crate::client) fn after_last_word(&mut self, end: End) -> Result<Next, End> {
        if self.conversation.in_copy() || self.has_answered() {
            return Err(end);
        }
        self.hurry_answers();
        Ok(Next::LastWord)
    }

    /// The server connection has failed: the client is told, or its read is asked of another server.
    pub(in crate::client) fn server_lost(&mut self, error: &io::Error) -> Result<(), End> {
        self.look_at_server_now();
        let idle = self.conversation.replies.is_empty()
            && self.conversation.status() == TxStatus::Idle
            && !self.conversation.batch.is_open();
        if !idle && self.replay_elsewhere() {
            return Ok(());
        }
        if let Some(server) = self.lease.server() {
            server.closing_because = "server conn crashed?";
            server.left_running |= !idle && !server.ends;
        }
        self.close_lease();
        if idle && self.bindings.pins().is_empty() {
            return Ok(());
        }
        Err(errors::server_lost(Some(error.to_string())).into())
    }

    /// Asks for a look at the server of the lease: it may not be what it was.
    pub(in crate::client) fn look_at_server_now(&mut self) {
        if let Some(server) = self.lease.server() {
            server.permit.pool().watch().look_now();
        }
    }

    /// Puts a transaction that could only read, and of which the client has seen nothing yet, in front of the client's input.
    pub(in crate::client) fn replay_elsewhere(&mut self) -> bool {
        let Lease::Guarded { conn, .. } = &mut self.lease else { return false };
        let failed = conn.server().permit.pool().upstream;
        let again = self.conversation.lease.has_told()
            || !self.io.has_replay()
            || self.checkout.avoids_any()
            || self.io.is_half_closed();
        if again || !self.bindings.pins().is_empty() || self.conversation.status() != TxStatus::Idle {
            return false;
        }
        self.close_lease();
        self.io.ask_again(&self.core.buffers);
        self.conversation.forget();
        self.checkout.avoid(failed);
        true
    }

    /// Notes what the client does now, for SHOW CLIENTS.
    pub(in crate::client) fn note_phase(&self) {
        let phase = match (&self.lease, self.conversation.replies.is_empty() && !self.conversation.batch.is_open()) {
            (Lease::None, _) => Phase::Idle,
            (_, false) => Phase::Active,
            (_, true) if self.conversation.status() == TxStatus::Idle => Phase::Idle,
            (_, true) => Phase::IdleInTransaction,
        };
        self.me.enter_at(phase, self.io.now());
        self.me.prepared.set(self.names.len());
    }
}
