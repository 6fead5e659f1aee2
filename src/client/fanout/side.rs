//! One of the servers that a fan-out goes to.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use crate::net::Stream;
use crate::protocol::error_fields::Change;
use crate::protocol::frame::{HEADER, peek_back, take_str};
use crate::protocol::{ErrorFields, Report, TxStatus, WireError, frontend};
use crate::server::login::{LoginError, next_frame_within};
use crate::server::own_query::{Row, row};
use crate::server::{CancelTarget, Conn, Pool, Unguarded};

/// Most that one answer may have (bytes): answers are kept until every server has given its own.
const MOST: usize = 16 * 1024 * 1024;

/// A server, and the connection to it.
pub(super) struct Side {
    /// As the configuration has it.
    pub(super) name: String,
    /// Where connections to it come from.
    pub(super) pool: Arc<Pool>,
    conn: Conn<Unguarded>,
    target: Arc<CancelTarget>,
    input: Vec<u8>,
}

/// A server's whole answer to one message, without ReadyForQuery.
#[derive(Default)]
pub(super) struct Heard {
    /// The messages, as they came.
    pub(super) messages: Vec<u8>,
    /// The tag of the last command.
    pub(super) tag: String,
    /// The rows, if they were asked for by us.
    pub(super) rows: Vec<Row>,
    /// The error's fields.
    pub(super) error: Option<Vec<u8>>,
    /// The transaction status now.
    pub(super) status: Option<TxStatus>,
}

/// The outcome of a message on one server.
pub(super) type Told = Result<Heard, LoginError>;

impl Heard {
    /// The one value of its one row.
    pub fn value(self) -> Option<String> {
        self.rows.into_iter().next()?.into_iter().next()?
    }
}

/// Why a message has failed on a server.
pub(super) enum Failure {
    /// The server's own error.
    Error(Vec<u8>),
    /// The connection was lost, or broke the protocol.
    Lost(LoginError),
}

impl Failure {
    /// Whether it went well.
    pub fn of(told: Told) -> Result<Heard, Self> {
        match told {
            Ok(Heard { error: Some(error), .. }) => Err(Self::Error(error)),
            Ok(heard) => Ok(heard),
            Err(error) => Err(Self::Lost(error)),
        }
    }

    /// The server's SQLSTATE.
    pub fn code(&self) -> Option<&[u8]> {
        match self {
            Self::Error(body) => Some(ErrorFields::new(body).code()),
            Self::Lost(_) => None,
        }
    }

    /// Whether it was cancelled.
    pub fn is_cancel(&self) -> bool {
        self.code() == Some(b"57014")
    }

    /// On one line.
    pub fn summary(&self) -> String {
        match self {
            Self::Error(body) => ErrorFields::new(body).summary(),
            Self::Lost(error) => error.to_string(),
        }
    }

    /// Tells a client, and on which server it was.
    pub fn write(&self, out: &mut Vec<u8>, detail: &str) {
        match self {
            Self::Error(body) => {
                let fields = ErrorFields::new(body);
                let own = fields.get(b'D').map(|own| format!("{}\n{detail}", String::from_utf8_lossy(own)));
                let mut kept = Vec::with_capacity(body.len());
                for (code, value) in fields.iter().filter(|(code, _)| *code != b'D') {
                    kept.push(code);
                    kept.extend_from_slice(value);
                    kept.push(0);
                }
                kept.push(0);
                let change = Change { detail: Some(own.as_deref().unwrap_or(detail)), ..Change::default() };
                ErrorFields::new(&kept).write_with(out, &change);
            }
            Self::Lost(error) => {
                let detail = Some(format!("{error}\n{detail}"));
                Report::error("08006", "the connection to one of the servers was lost").with_detail(detail).write(out);
            }
        }
    }
}

impl Side {
    /// One over that connection.
    pub fn new(name: String, pool: Arc<Pool>, conn: Conn<Unguarded>) -> Self {
        let target = CancelTarget::new(conn.peek());
        Self { name, pool, conn, target, input: Vec::new() }
    }

    /// Takes another connection in place of one that was lost.
    pub fn replace(&mut self, conn: Conn<Unguarded>) {
        self.target = CancelTarget::new(conn.peek());
        self.input.clear();
        std::mem::replace(&mut self.conn, conn).close();
    }

    /// Where a cancel request for what it does goes.
    pub fn target(&self) -> Arc<CancelTarget> {
        self.target.clone()
    }

    /// Says goodbye.
    pub fn close(self) {
        self.conn.close();
    }

    /// Runs a text, and waits for the whole answer.
    ///
    /// # Errors
    /// The connection was lost, or its answer is too large. It cannot be used any more.
    pub async fn run(&mut self, text: &[u8]) -> Told {
        hear_out(&mut self.conn.server().stream, &mut self.input, text).await
    }

    /// Runs a statement of our own, and gives its rows.
    ///
    /// # Errors
    /// The server refuses it, or has gone.
    pub async fn ask(&mut self, text: &str) -> Result<Heard, Failure> {
        with_rows(self.run(text.as_bytes()).await)
    }
}

/// Sends a text, and waits for the whole answer.
pub(super) async fn hear_out(stream: &mut Stream, input: &mut Vec<u8>, text: &[u8]) -> Told {
    let mut out = Vec::with_capacity(text.len() + HEADER + 1);
    frontend::write_query(&mut out, text);
    stream.write_all(&out).await?;
    let mut heard = Heard::default();
    loop {
        let header = next_frame_within(stream, input, MOST).await?;
        let message = input.get(..header.total).unwrap_or_default();
        let body = message.get(HEADER..).unwrap_or_default();
        if heard.messages.len() + message.len() > MOST {
            return Err(WireError::Length.into());
        }
        match header.tag {
            b'Z' => heard.status = body.first().copied().and_then(TxStatus::from_byte),
            // COPY data cannot go to several servers: it fails there.
            b'G' | b'W' => {
                let mut fail = Vec::new();
                frontend::write_copy_fail(&mut fail, "COPY FROM STDIN goes to one server only");
                stream.write_all(&fail).await?;
            }
            b'E' => heard.error = Some(body.to_vec()),
            b'C' => {
                heard.tag = String::from_utf8_lossy(take_str(body)?.0).into_owned();
                heard.messages.extend_from_slice(message);
            }
            _ => heard.messages.extend_from_slice(message),
        }
        let fatal = header.tag == b'E' && ErrorFields::new(body).is_fatal();
        input.drain(..header.total);
        if fatal {
            return Err(LoginError::Refused(heard.error.unwrap_or_default()));
        }
        if header.tag == b'Z' {
            return Ok(heard);
        }
    }
}

/// Reads the rows of an answer.
pub(super) fn with_rows(told: Told) -> Result<Heard, Failure> {
    let mut heard = Failure::of(told)?;
    let mut rest = &*heard.messages;
    while let Ok(Some(header)) = peek_back(rest) {
        let Some((message, tail)) = rest.split_at_checked(header.total) else { break };
        if header.tag == b'D' {
            let read = row(message.get(HEADER..).unwrap_or_default());
            heard.rows.push(read.map_err(|error| Failure::Lost(error.into()))?);
        }
        rest = tail;
    }
    Ok(heard)
}

/// Runs a text on all of them at once. When it fails on one it is cancelled on those that still run it.
pub(super) async fn on_all(sides: &mut [Side], text: &[u8]) -> Vec<Told> {
    let targets: Vec<Arc<CancelTarget>> = sides.iter().map(Side::target).collect();
    let mut runs: Vec<Pin<Box<dyn Future<Output = Told> + '_>>> = Vec::with_capacity(sides.len());
    for side in sides {
        runs.push(Box::pin(side.run(text)));
    }
    let mut told: Vec<Option<Told>> = runs.iter().map(|_| None).collect();
    let mut cancels = Vec::new();
    poll_fn(|cx| {
        for (run, told) in runs.iter_mut().zip(&mut told).filter(|(_, told)| told.is_none()) {
            if let Poll::Ready(done) = run.as_mut().poll(cx) {
                *told = Some(done);
            }
        }
        let failed = |told: &Told| !matches!(told, Ok(Heard { error: None, .. }));
        if cancels.is_empty() && told.iter().flatten().any(failed) {
            for (target, _) in targets.iter().zip(&told).filter(|(_, told)| told.is_none()) {
                let target = target.clone();
                cancels.push(tokio::task::spawn_local(async move { _ = target.cancel().await }));
            }
        }
        if told.iter().any(Option::is_none) { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    // One that is still on its way would end what runs next.
    for cancel in cancels {
        _ = cancel.await;
    }
    told.into_iter().flatten().collect()
}
