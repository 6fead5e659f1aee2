//! A batch of the extended protocol that is here whole and runs one plain statement, as drivers send it: `[Parse] Bind [Describe]
//! Execute Sync`. It is looked at once, sent as one, and its answer followed as one, with the gate open.
//!
//! Whatever is out of the ordinary, a message ahead of its answer, an error or a notice in it, a flip of the gate, turns what is
//! owed for it into what the messages would have been owed one by one ([`Session::unfold`]); from there on all is as in
//! [`crate::client::request::extended_query`], which does the same for every other batch.

use std::collections::VecDeque;
use std::ops::Range;
use std::rc::Rc;

use crate::client::Session;
use crate::client::checkout::lease::{InPlaceGuard, Lease};
use crate::client::conversation::pending_replies::{Before, PendingReply, Request, Visibility, WriteCheckStep};
use crate::config::PoolMode;
use crate::protocol::TxStatus;
use crate::protocol::frame::{HEADER, peek_front, run_of};
use crate::protocol::frontend;
use crate::protocol::frontend::{Parse, Target};
use crate::shared::Statement;
use crate::shared::client::Running;
use crate::sql::cache::verdicts::Cached;
use crate::sql::{Kind, TransactionVerb};

/// A whole batch that has been sent, and how far its answer has come.
pub struct WholeBatch {
    statement: Rc<Statement>,
    describes: bool,
    due: Due,
}

/// The answer that comes next.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Due {
    Parse,
    Bind,
    Describe,
    Execute,
    Sync,
}

impl WholeBatch {
    /// What it runs.
    pub(in crate::client) fn statement(&self) -> &Statement {
        &self.statement
    }

    /// What is due behind a message of that tag; None: the tag is not of what an ordinary answer goes on with.
    #[inline]
    fn behind(&self, tag: u8) -> Option<Due> {
        match (self.due, tag) {
            (Due::Parse, b'1') => Some(Due::Bind),
            (Due::Bind, b'2') if self.describes => Some(Due::Describe),
            (Due::Bind, b'2') | (Due::Describe, b'T' | b'n') | (Due::Execute, b'D') => Some(Due::Execute),
            (Due::Execute, b'C') => Some(Due::Sync),
            _ => None,
        }
    }
}

/// Where what matters of such a batch lies.
struct Batch {
    /// The text of its Parse, and the types of its parameters.
    parse: Option<[Range<usize>; 2]>,
    /// The name in Bind, and what follows it there.
    name: Range<usize>,
    values: Range<usize>,
    describes: bool,
    /// Bytes in all.
    total: usize,
}

/// Reads such a batch at the front of these bytes. None: they are something else, or not all here.
fn read(bytes: &[u8], largest: usize) -> Option<Batch> {
    let mut at = 0;
    // The body of the next message if it is of that kind, and where it lies.
    let mut next = |tag: u8| {
        let rest = bytes.get(at..)?;
        let header = peek_front(rest, largest).ok()?.filter(|header| header.tag == tag)?;
        let lies = at + HEADER..at + header.total;
        at = lies.end;
        Some((bytes.get(lies.clone())?, lies))
    };
    let parse = match next(b'P') {
        None => None,
        Some((body, lies)) => {
            let parse = frontend::parse(body).ok().filter(|parse| parse.name.is_empty())?;
            let text = lies.start + 1..lies.start + 1 + parse.text.len();
            Some([text, lies.end - parse.oids.len()..lies.end])
        }
    };
    let (body, lies) = next(b'B')?;
    let bind = frontend::bind(body).ok().filter(|bind| bind.portal.is_empty())?;
    let name = lies.start + 1..lies.start + 1 + bind.statement.len();
    let values = lies.end - bind.rest.len()..lies.end;
    let describe = next(b'D').map(|(body, _)| frontend::target(body));
    if describe.is_some_and(|target| target != Ok(Target::Portal(b""))) {
        return None;
    }
    let (portal, _) = frontend::execute(next(b'E')?.0).ok()?;
    let (sync, lies) = next(b'S')?;
    let fits = portal.is_empty() && sync.is_empty() && (parse.is_none() || name.is_empty());
    fits.then_some(Batch { parse, name, values, describes: describe.is_some(), total: lies.end })
}

impl Session {
    /// Sends the batch at the front of what the client has sent, if it is such a one and can be sent at once. False: nothing has
    /// happened, but that there may be a server connection now.
    pub(in crate::client) fn whole_batch(&mut self) -> bool {
        let now = &self.conversation;
        let batch = now.batch().is_open() || now.batch().skips();
        let quiet = now.replies().is_empty() && !batch && !now.in_copy() && !now.names().forgets();
        let held = self.was_held() || self.has_to_begin();
        let special = self.account.refuses_pins() || self.names.has_own() || self.names.has_sql();
        if !quiet || held || special || !now.transaction().is_in_no_block() || self.db.rehearsal.is_on() {
            return false;
        }
        let Some(batch) = read(self.io.requests().unread(), self.account.largest()) else { return false };
        let bytes = self.io.requests().unread();
        let part = |lies: &Range<usize>| bytes.get(lies.clone()).unwrap_or_default();
        let statement = match &batch.parse {
            None => self.names.statement(part(&batch.name)).cloned(),
            Some([text, oids]) => Some(self.statement_of(Parse { name: b"", text: part(text), oids: part(oids) })),
        };
        let Some(statement) = statement.filter(|statement| statement.cached.analysis.is_plain()) else { return false };
        if !self.can_forward_now() && !self.lease.in_maintenance() && !self.can_start_now(&statement.cached) {
            return false;
        }
        let may_pass = self.can_forward_now()
            || self.lease.in_maintenance()
                && self.may_pass_clean(&statement.cached, statement.context(), &statement.oids);
        // Of a connection that was just taken the settings may have to come first.
        if !may_pass || !self.conversation.replies().is_empty() {
            return false;
        }
        if self.core.proxy.mirrors.is_any() {
            let values = self.io.requests().unread().get(batch.values.clone()).unwrap_or_default();
            self.keep_sample(&statement.cached, statement.context(), &statement.oids, values);
        }
        self.send_whole(&batch, statement)
    }

    /// False: the statement has to be made to stand on the server first.
    fn send_whole(&mut self, batch: &Batch, statement: Rc<Statement>) -> bool {
        let (parses, total) = (batch.parse.is_some(), batch.total);
        let name = self.io.requests().unread().get(batch.name.clone()).unwrap_or_default();
        let Some(server) = self.lease.server() else { return false };
        let mut expected = PendingReply::seen(Request::Sync);
        if name.is_empty() {
            if !parses && server.unnamed != statement.id {
                return false;
            }
            server.unnamed = statement.id;
            if parses {
                expected = expected.renaming(b"", self.names.known(b""));
                self.names.prepare(b"", statement.clone());
            }
            self.keep_for_replay(total);
            self.io.requests_mut().pass(total);
        } else {
            let told = self.names.told(name);
            let stands = server.prepared.touch(statement.id);
            if !stands || told.is_some() && server.prepared.shape(statement.id) != told {
                return false;
            }
            expected = expected.of(name.into());
            self.keep_for_replay(total);
            self.io.requests_mut().lend_words(&self.core.buffers);
            let (out, bytes) = self.io.requests_mut().splice();
            let values = bytes.get(batch.values.clone()).unwrap_or_default();
            frontend::write_bind(out, b"", statement.server_name().as_bytes(), values);
            out.extend_from_slice(bytes.get(batch.values.end..total).unwrap_or_default());
            self.io.requests_mut().skip(total);
        }
        if let Some(stats) = self.prepared_counters() {
            stats.client_parses.add(u64::from(parses));
            stats.binds.add(1);
        }
        self.begin_work(Running::Prepared(statement.clone()));
        self.note_sent(&statement.cached, statement.context());
        self.note_left(&statement.cached, statement.context());
        self.note_sequences(&statement.cached, true);
        self.names.bind(b"", statement.clone());
        let due = if parses { Due::Parse } else { Due::Bind };
        self.expect(expected.about(Request::WholeBatch(WholeBatch { statement, describes: batch.describes, due })));
        true
    }

    /// Turns what is owed for a whole batch into what its messages are owed one by one, as far as they have not been answered.
    #[inline]
    pub(in crate::client) fn unfold(&mut self) {
        if matches!(self.conversation.replies().awaited(), Some(Request::WholeBatch(_))) {
            self.unfold_front();
        }
    }

    #[cold]
    fn unfold_front(&mut self) {
        self.conversation.replies_mut().expand_front(|front, replies| front.expand(replies));
    }
}

impl PendingReply {
    /// Puts what the messages of a whole batch are owed one by one at the front of a queue, in its own place.
    fn expand(self, expects: &mut VecDeque<Self>) {
        let (Request::WholeBatch(whole), before, named) = self.into_parts() else { return };
        let WholeBatch { statement, describes, due } = whole;
        expects.push_front(PendingReply::seen(Request::Sync));
        if due <= Due::Execute {
            expects.push_front(PendingReply::seen(Request::Execute(Some(statement.clone()))));
        }
        if due <= Due::Describe && describes {
            expects.push_front(PendingReply::seen(Request::Describe(None)));
        }
        if due <= Due::Bind {
            expects.push_front(PendingReply::one_of(Request::Bind(Some(statement)), Before::Same, named));
        }
        if due == Due::Parse {
            expects.push_front(PendingReply::one_of(Request::Parse(0), before, None));
        }
    }
}

impl Session {
    /// Passes on what the server has sent as far as it is the ordinary answer to a plain statement.
    #[inline]
    pub(in crate::client) fn pass_plain_answer(&mut self) {
        let (replies, message, transaction) = self.conversation.answering();
        let ends = match replies.front_mut().map(PendingReply::shown) {
            Some((Request::WholeBatch(whole), ..)) => {
                let (passed, next) =
                    run_of(self.io.replies().unread(), |tag| whole.behind(tag).map(|due| whole.due = due).is_some());
                self.io.replies_mut().pass(passed);
                let ends = whole.due == Due::Sync && next.is_some_and(|next| next.tag == b'Z');
                if !ends && next.is_some_and(|next| whole.behind(next.tag).is_none()) {
                    self.unfold();
                }
                ends
            }
            Some((Request::Query(Some(cached)), Visibility::Full, WriteCheckStep::None))
                if cached.analysis.is_plain()
                    && !message.is_withheld()
                    && !transaction.check_failed()
                    && !message.restores() =>
            {
                let (passed, next) = run_of(self.io.replies().unread(), |tag| {
                    if tag == b'C' {
                        message.complete_statement();
                    }
                    matches!(tag, b'T' | b'D' | b'C')
                });
                self.io.replies_mut().pass(passed);
                next.is_some_and(|next| next.tag == b'Z')
            }
            Some((Request::Query(Some(cached)), Visibility::Full, WriteCheckStep::None)) => {
                let edge = edge_of_block(cached).filter(|edge| self.io.replies().unread() == *edge);
                let Some(edge) = edge.filter(|_| self.on_fast_path()) else { return };
                let status = if edge.ends_with(b"T") { TxStatus::Block } else { TxStatus::Idle };
                self.io.replies_mut().pass(edge.len() - READY);
                self.end_fast_path(status);
                return;
            }
            _ => return,
        };
        if ends && !self.finish_fast_path() {
            self.unfold();
        }
    }

    /// What [`Self::ready_for_query`] comes to where there is nothing else to be done. False: there is.
    fn finish_fast_path(&mut self) -> bool {
        let &[b'Z', 0, 0, 0, 5, status] = self.io.replies().unread() else { return false };
        let (Some(status), true) = (TxStatus::from_byte(status), self.on_fast_path()) else { return false };
        self.end_fast_path(status);
        true
    }

    /// The ReadyForQuery that comes now ends the one statement that is under way.
    fn end_fast_path(&mut self, status: TxStatus) {
        if status == TxStatus::Idle {
            self.note_writes();
        }
        self.conversation.finish_plain(status);
        self.io.replies_mut().pass(READY);
        if status == TxStatus::Idle {
            self.names.end_portals();
        }
        self.count_query(true);
        // The gate may have begun to close.
        self.fence_if_due();
    }

    /// Whether nothing is under way but the one statement whose answer ends now.
    fn on_fast_path(&self) -> bool {
        self.conversation.is_plain()
            && !self.maintenance.has_notification()
            && !self.maintenance.aborts()
            && !self.bindings.are_doubted()
            && self.settings.is_committed()
            && self.account.pool_mode() != PoolMode::Statement
            && match &self.lease {
                Lease::Write { .. } | Lease::Guarded { maintenance: false, .. } => true,
                Lease::Guarded { conn, replica: None, .. } => conn.is_read_only_by_default(),
                Lease::InPlace { conn, guard: InPlaceGuard::Up } => conn.is_read_only_by_default(),
                _ => false,
            }
    }
}

/// Length of ReadyForQuery.
const READY: usize = 6;

/// The ordinary answer to what opens or commits a block and does nothing else.
pub(super) fn edge_of_block(cached: &Cached) -> Option<&'static [u8]> {
    let only = cached.analysis.single().filter(|only| !cached.analysis.ambiguous && only.effects.is_empty())?;
    match only.kind {
        Kind::Transaction(TransactionVerb::Begin(_)) => Some(b"C\0\0\0\x0aBEGIN\0Z\0\0\0\x05T"),
        Kind::Transaction(TransactionVerb::Commit { chain: false }) => Some(b"C\0\0\0\x0bCOMMIT\0Z\0\0\0\x05I"),
        _ => None,
    }
}
