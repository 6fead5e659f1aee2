//! Two sockets and what passes between them, one query at a time.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Buf as _, BytesMut};

use super::Replication;
use super::command;
use super::command::Command;
use crate::client::End;
use crate::client::checkout::server_changed::{detail_of, led_elsewhere, standing_of};
use crate::client::errors;
use crate::gate::{Gate, Lane, WriteTicket};
use crate::log::{Refused, RefusedKind};
use crate::net::Stream;
use crate::protocol::frame::{HEADER, Header, peek_back, peek_front};
use crate::protocol::{Report, TxStatus, answer, frontend};
use crate::server::Server;
use crate::shared::client::{Ask, Running};
use crate::shared::{Client, Database, Phase, WorkerState};
use crate::sql::LexContext;
use crate::sql::own_statements::transaction::POISON;
use crate::topology::Standing;

/// Bytes that may wait for a peer before nothing more is read for it.
const BACKLOG: usize = 256 * 1024;
/// Bytes read at once.
const ROOM: usize = 64 * 1024;

/// See the module.
pub(in crate::client) struct Relay {
    core: Rc<WorkerState>,
    me: Rc<Client>,
    db: Arc<Database>,
    server: Option<Box<Server>>,
    kind: Replication,
    largest: usize,
    bytes: Bytes,
    /// A query is under way.
    busy: bool,
    status: TxStatus,
    gate: AtGate,
    /// What takes the place of the next error: the query was one of ours, made to fail.
    refusal: Option<Report>,
    server_gone: bool,
}

/// Bytes on their way in both directions, and our own words.
struct Bytes {
    from_client: BytesMut,
    from_server: BytesMut,
    to_client: BytesMut,
    to_server: BytesMut,
    /// Bytes of the server's current message that are still to come.
    rest: usize,
}

/// What a connection has at the gate of the database that its server connection leads to.
struct AtGate {
    gate: Arc<Gate>,
    /// Registered with the gate until the transaction ends.
    ticket: Option<WriteTicket>,
    lane: Option<Lane>,
}

impl Relay {
    /// Whom it serves.
    pub(in crate::client) fn client(&self) -> &Rc<Client> {
        &self.me
    }

    pub(super) fn new(
        core: Rc<WorkerState>,
        me: Rc<Client>,
        db: Arc<Database>,
        server: Box<Server>,
        kind: Replication,
        largest: usize,
    ) -> Self {
        Self {
            core,
            me,
            gate: AtGate { gate: Arc::clone(&db.gate), ticket: None, lane: None },
            db,
            server: Some(server),
            kind,
            largest,
            bytes: Bytes {
                from_client: BytesMut::new(),
                from_server: BytesMut::new(),
                to_client: BytesMut::new(),
                to_server: BytesMut::new(),
                rest: 0,
            },
            busy: false,
            status: TxStatus::Idle,
            refusal: None,
            server_gone: false,
        }
    }

    /// Runs until one of the two goes or the client is sent away.
    pub(in crate::client) async fn run(mut self, mut stream: Stream, greeting: Vec<u8>) -> End {
        self.bytes.to_client.extend_from_slice(&greeting);
        let end = loop {
            if let Err(end) = self.look() {
                break end;
            }
            if self.server_gone && self.bytes.to_client.is_empty() {
                break End::ServerSaidFatal;
            }
            match poll_fn(|cx| self.poll_io(cx, &mut stream)).await {
                Ok(()) => {}
                Err(end) => break end,
            }
        };
        crate::client::goodbye::log_end(&self.core, &self.me, &end);
        if let End::Report(report) = &end {
            answer::report(&mut self.bytes.to_client, &self.core.worded(report));
        }
        let patience = std::time::Duration::from_secs(1);
        let _ = tokio::time::timeout(patience, stream.write_all(&self.bytes.to_client)).await;
        stream.close(&[]);
        if let Some(server) = self.server.as_mut().filter(|_| self.gate.ticket.is_some()) {
            crate::client::checkout::abandoned::end_work(&self.me, server, false).await;
        }
        // First the connection, then the ticket: the gate must not think the transaction over before it is.
        *self.me.cancel.borrow_mut() = None;
        if let Some(server) = self.server.take() {
            self.core.proxy.keys.remove(server.key.0, self.me.id);
            server.close();
        }
        drop(self.gate.ticket.take());
        end
    }

    fn look(&mut self) -> Result<(), End> {
        if self.me.is_asked() {
            self.answer_asks()?;
        }
        self.process_server_input().map_err(|error| End::from(errors::server_lost(Some(error.to_string()))))?;
        self.process_client_input()
    }

    fn answer_asks(&mut self) -> Result<(), End> {
        for ask in self.me.take_asks() {
            match ask {
                Ask::End { report, now } if now || self.gate.ticket.is_none() => return Err(report.into()),
                // The drain waits for the transaction, and breaks it off in the end.
                Ask::End { .. } => {}
                Ask::RollBack | Ask::StopWriting { .. } if self.gate.ticket.is_some() => {
                    let view = self.gate.gate.view().under(&self.db.name);
                    return Err(errors::terminated(view.refusal_detail()).into());
                }
                Ask::Turn if self.gate.ticket.is_some() => _ = self.check_server()?,
                Ask::Notice(Some(report)) if !self.busy => answer::report(&mut self.bytes.to_client, &report),
                Ask::RollBack
                | Ask::StopWriting { .. }
                | Ask::BreakOff
                | Ask::Notice(_)
                | Ask::Flip
                | Ask::Cancel
                | Ask::Turn => {}
            }
        }
        Ok(())
    }

    /// Whether SQL may be sent to the server: it is known to be the primary. False: that is about to be known.
    fn check_server(&mut self) -> Result<bool, End> {
        let setup = self.db.setup();
        let Some(server) = self.server.as_mut() else { return Ok(true) };
        match standing_of(server, &setup.cluster) {
            Standing::Leads => Ok(true),
            Standing::Lost => Ok(false),
            // What is open may end there.
            Standing::Removed if self.gate.ticket.is_some() => Ok(true),
            standing => Err(errors::terminated(Some(detail_of(standing).to_owned())).into()),
        }
    }

    fn process_server_input(&mut self) -> io::Result<()> {
        let broken = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut at = 0;
        loop {
            let bytes = self.bytes.from_server.get(at..).unwrap_or_default();
            if self.bytes.rest > 0 {
                let n = self.bytes.rest.min(bytes.len());
                self.bytes.to_client.extend_from_slice(bytes.get(..n).unwrap_or_default());
                self.bytes.rest -= n;
                at += n;
                if n == 0 {
                    break;
                }
                continue;
            }
            let Some(header) = peek_back(bytes).map_err(broken)? else { break };
            let short = header.tag == b'Z' || header.tag == b'E' && self.refusal.is_some();
            if !short {
                self.bytes.rest = header.total;
                continue;
            }
            let Some(message) = bytes.get(..header.total) else { break };
            match self.refusal.take_if(|_| header.tag == b'E') {
                Some(report) => answer::report(&mut self.bytes.to_client, &report),
                None => self.bytes.to_client.extend_from_slice(message),
            }
            let status = message.get(HEADER).copied().and_then(TxStatus::from_byte).filter(|_| header.tag == b'Z');
            at += header.total;
            if let Some(status) = status {
                self.answered(status);
            }
        }
        self.bytes.from_server.advance(at.min(self.bytes.from_server.len()));
        Ok(())
    }

    /// ReadyForQuery has come.
    fn answered(&mut self, status: TxStatus) {
        self.busy = false;
        self.status = status;
        self.refusal = None;
        if status == TxStatus::Idle {
            self.gate.lane = self.gate.ticket.take().and_then(WriteTicket::leave).or(self.gate.lane.take());
            self.me.write_capable.set(false);
            self.me.transaction_since.set(None);
            *self.me.running.borrow_mut() = None;
        }
        self.me.enter(if status == TxStatus::Idle { Phase::Idle } else { Phase::IdleInTransaction });
    }

    fn process_client_input(&mut self) -> Result<(), End> {
        while self.bytes.to_server.len() <= BACKLOG {
            let Some(header) = peek_front(&self.bytes.from_client, self.largest)? else { break };
            if self.bytes.from_client.len() < header.total {
                break;
            }
            match header.tag {
                b'Q' if self.busy => break,
                b'Q' if !self.query(header)? => break,
                b'Q' => {}
                b'X' => return Err(End::Goodbye),
                tag => {
                    // The server has words for what is not spoken here. Their end is a ReadyForQuery too.
                    self.busy |= matches!(tag, b'S' | b'F');
                    self.pass(header);
                }
            }
        }
        Ok(())
    }

    fn pass(&mut self, header: Header) {
        let message = self.bytes.from_client.split_to(header.total);
        self.bytes.to_server.extend_from_slice(&message);
    }

    /// False: it waits for news of the server.
    fn query(&mut self, header: Header) -> Result<bool, End> {
        let body = self.bytes.from_client.get(HEADER..header.total).unwrap_or_default();
        let text = frontend::query(body)?;
        let cached = self.core.verdicts.borrow_mut().get_or_analyze(text, LexContext::default());
        let plain = text.trim_ascii();
        let plain = plain.strip_suffix(b";").unwrap_or(plain) == command::SECURES_SEARCH_PATH;
        let command = if plain { Command::Harmless } else { command::read(text, &cached.analysis) };
        *self.me.running.borrow_mut() = Some(Running::Simple(cached));
        let name = match command {
            Command::Changes(name) | Command::Sql(name) => name,
            Command::Streams | Command::Harmless => {
                self.send(header);
                if command == Command::Streams {
                    self.me.enter(Phase::Streams);
                }
                return Ok(true);
            }
        };
        if self.gate.ticket.is_none() && !Arc::ptr_eq(&self.gate.gate, &self.db.gate) {
            return Err(led_elsewhere(&self.db.name).into());
        }
        if !self.check_server()? {
            return Ok(false);
        }
        if self.me.operator || self.gate.ticket.is_some() || self.enter_gate() {
            self.send(header);
            return Ok(true);
        }
        let view = self.gate.gate.view().under(&self.db.name);
        let report = errors::read_only(format!("cannot execute {name} in a read-only transaction"))
            .with_detail(view.refusal_detail())
            .with_hint(view.refusal_hint());
        if let Some(stats) = self.db.stats.of(self.core.index) {
            stats.refused.add(1);
        }
        self.log_refused(name);
        self.bytes.from_client.advance(header.total);
        if self.status == TxStatus::Idle || self.kind == Replication::Physical {
            answer::report(&mut self.bytes.to_client, &report);
            answer::ready(&mut self.bytes.to_client, self.status);
        } else {
            // The server is made to fail in its place, so that the block is as after any error.
            let mut poison = Vec::new();
            frontend::write_query(&mut poison, POISON.as_bytes());
            self.bytes.to_server.extend_from_slice(&poison);
            self.busy = true;
            self.refusal = Some(report).filter(|_| self.status == TxStatus::Block);
        }
        Ok(true)
    }

    fn log_refused(&self, command: &str) {
        if self.core.setup().config.log.log_pooler_errors {
            let refused = Refused {
                database: self.db.name.clone(),
                user: self.me.user.clone(),
                application_name: self.me.application_name.borrow().clone(),
                kind: RefusedKind::Write(command.to_owned()),
            };
            self.core.proxy.refused_statements.log(&refused, &self.me.address_words());
        }
    }

    fn send(&mut self, header: Header) {
        self.busy = true;
        self.me.enter(Phase::Active);
        self.pass(header);
    }

    fn enter_gate(&mut self) -> bool {
        let lane = self.gate.lane.take().unwrap_or_else(|| self.gate.gate.lane(self.core.index));
        match lane.enter() {
            Ok(ticket) => {
                self.gate.ticket = Some(ticket);
                if let Some(stats) = self.db.stats.of(self.core.index) {
                    stats.write_tickets.add(1);
                }
                self.me.write_capable.set(true);
                self.me.transaction_since.set(Some(Instant::now()));
                true
            }
            Err((lane, _)) => {
                self.gate.lane = Some(lane);
                false
            }
        }
    }

    /// Ready when something has come or is asked.
    fn poll_io(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Result<(), End>> {
        self.me.wakes(cx);
        if self.me.is_asked() {
            return Poll::Ready(Ok(()));
        }
        let Some(server) = self.server.as_mut() else { return Poll::Ready(Err(End::ServerSaidFatal)) };
        let sent = self.bytes.to_client.len();
        if push(stream, cx, &mut self.bytes.to_client).is_err() {
            return Poll::Ready(Err(End::ClientGone));
        }
        if push(&mut server.stream, cx, &mut self.bytes.to_server).is_err() {
            self.server_gone = true;
        }
        if self.server_gone && self.bytes.to_client.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if let Some(stats) = self.db.stats.of(self.core.index) {
            stats.sent.add((sent - self.bytes.to_client.len()) as u64);
        }
        if !self.server_gone && self.bytes.to_client.len() <= BACKLOG {
            match pull(&mut server.stream, cx, &mut self.bytes.from_server) {
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) => {}
                Err(_) => {
                    self.server_gone = true;
                    return Poll::Ready(Ok(()));
                }
            }
        }
        // A query that waits for its turn stays within what one message may have.
        if self.bytes.to_server.len() <= BACKLOG && self.bytes.from_client.len() <= self.largest.saturating_add(HEADER)
        {
            match pull(stream, cx, &mut self.bytes.from_client) {
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) => {}
                Err(_) => return Poll::Ready(Err(End::ClientGone)),
            }
        }
        Poll::Pending
    }
}

/// Writes what the socket takes.
fn push(stream: &mut Stream, cx: &mut Context<'_>, bytes: &mut BytesMut) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        match stream.poll_write(cx, bytes.get(done..).unwrap_or_default(), &[])? {
            Poll::Pending => break,
            Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(n) => done += n,
        }
    }
    bytes.advance(done.min(bytes.len()));
    if bytes.is_empty() && bytes.capacity() > BACKLOG {
        *bytes = BytesMut::new();
    }
    let _ = stream.poll_flush(cx)?;
    Ok(())
}

/// Reads what there is: whether anything came.
fn pull(stream: &mut Stream, cx: &mut Context<'_>, bytes: &mut BytesMut) -> io::Result<bool> {
    if stream.poll_readable(cx).is_pending() {
        return Ok(false);
    }
    let held = bytes.len();
    bytes.resize(held + ROOM, 0);
    let read = stream.poll_read(cx, bytes.get_mut(held..).unwrap_or_default());
    let n = match &read {
        Poll::Ready(Ok(n)) => *n,
        _ => 0,
    };
    bytes.truncate(held + n);
    match read {
        Poll::Pending => Ok(false),
        Poll::Ready(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Poll::Ready(Ok(_)) => Ok(true),
        Poll::Ready(Err(error)) => Err(error),
    }
}
