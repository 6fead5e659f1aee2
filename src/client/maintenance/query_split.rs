//! A simple query in maintenance, cut where one of its transactions ends.

use std::collections::VecDeque;
use std::rc::Rc;

use super::check::write_check::PossibleWrites;
use super::read_only_block::WRAPPER;
use crate::client::Session;
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility, WriteCheckStep};
use crate::protocol::frame::Header;
use crate::protocol::{ErrorFields, Report, TxStatus};
use crate::sql::cache::verdicts::Cached;
use crate::sql::own_statements::transaction::{BACK_TO_SAVEPOINT, BEGIN_READ_ONLY, SAVEPOINT};
use crate::sql::{CopyDirection, Kind, SessionEffect, Statement, TransactionVerb};

/// Some statements of a simple query.
#[derive(Debug)]
pub(in crate::client) enum Part {
    /// As they are; what they leave in doubt if a block is open behind them.
    Plain(Vec<u8>, PossibleWrites),
    /// A transaction of their own, which has to be proved.
    Proved(Vec<u8>, PossibleWrites),
    /// The same, but more follows before it ends: the server may ask for COPY data, or a cursor is declared there.
    Begun(Vec<u8>),
    /// The declaration of a cursor WITH HOLD in a block, with what it is in doubt of.
    Cursor(Box<Trial>, PossibleWrites),
    /// The end of what was begun.
    Finish(PossibleWrites),
    /// The client's COMMIT, with the proof ahead of it.
    Commit(Vec<u8>, PossibleWrites),
    /// What puts the client's defaults in the place of the server's.
    Defaults(Vec<u8>),
    /// What is made to fail, and what the client is told then.
    Poisoned(Vec<u8>, Box<Report>),
    /// The question whether the whole can be read: the server reads it all before it runs any of it.
    Spelling,
}

/// The declaration of a cursor WITH HOLD that is tried.
#[derive(Debug)]
pub(in crate::client) struct Trial {
    /// As the client wrote it.
    pub(super) text: Vec<u8>,
    /// The same, as one that keeps its rows.
    pub(super) once: Once,
    pub(super) tag: &'static str,
}

/// The declaration of a cursor that runs its query once.
#[derive(Debug)]
pub(in crate::client) struct Once {
    pub(super) text: Vec<u8>,
    pub(super) name: Box<str>,
    /// It cannot go back.
    pub(super) forward_only: bool,
}

impl Part {
    fn has_text(&self) -> bool {
        !matches!(self, Self::Finish(_) | Self::Spelling)
    }
}

/// What declares the cursor of a statement, if it is one WITH HOLD, for that place in the message.
type Tries<'t> = &'t dyn Fn(&Statement) -> Option<Trial>;

/// Cuts a query. `open` is what a block that is open is in doubt of, `failed` whether it has failed; `proves` whether
/// anything has to be proved.
fn divide(
    text: &[u8],
    statements: &[Statement],
    open: Option<PossibleWrites>,
    mut failed: bool,
    proves: bool,
    tries: Tries<'_>,
) -> VecDeque<Part> {
    let slice = |from: usize, to: usize| part_of(text, from, to);
    let mut parts = VecDeque::new();
    let mut in_block = open.is_some();
    let mut doubt = open.unwrap_or_default();
    let (mut from, mut savepoint) = (0, false);
    // A block of ours is open, since a cursor was declared outside of the client's.
    let mut begun = false;
    let mut group: Vec<&Statement> = Vec::new();
    for statement in statements {
        let (start, end) = (statement.span.start as usize, statement.span.end as usize);
        let Kind::Transaction(verb) = &statement.kind else {
            doubt.add(statement);
            match tries(statement).filter(|_| proves && !failed) {
                Some(trial) => {
                    if !in_block && !begun {
                        parts.push_back(Part::Begun(slice(from, start)));
                        begun = true;
                    } else if !group.is_empty() {
                        parts.push_back(Part::Plain(slice(from, start), doubt));
                    }
                    parts.push_back(Part::Cursor(Box::new(trial), doubt));
                    from = end;
                    group.clear();
                }
                None => group.push(statement),
            }
            continue;
        };
        match verb {
            TransactionVerb::Commit { .. } if proves && doubt.is_any() && !failed => {
                if !group.is_empty() {
                    push_group(&mut parts, slice(from, start), &group, doubt, in_block || savepoint);
                }
                parts.push_back(match in_block {
                    true => Part::Commit(slice(start, end), doubt),
                    // The server has a warning for it.
                    false => Part::Plain(slice(start, end), PossibleWrites::default()),
                });
            }
            _ if verb.ends_transaction() => parts.push_back(Part::Plain(slice(from, end), PossibleWrites::default())),
            _ => {
                in_block |= matches!(verb, TransactionVerb::Begin(_));
                failed &= !matches!(verb, TransactionVerb::RollbackTo(_));
                // In no block they fail, and everything with them.
                savepoint |= !in_block
                    && matches!(
                        verb,
                        TransactionVerb::Savepoint(_) | TransactionVerb::Release(_) | TransactionVerb::RollbackTo(_)
                    );
                group.push(statement);
                continue;
            }
        }
        let chains = |verb: &TransactionVerb| {
            matches!(verb, TransactionVerb::Commit { chain: true } | TransactionVerb::Rollback { chain: true })
        };
        in_block &= chains(verb);
        failed = false;
        (from, savepoint, doubt) = (end, false, PossibleWrites::default());
        group.clear();
    }
    let plain = in_block || savepoint || !proves || fails_alone(statements);
    push_rest(&mut parts, slice(from, text.len()), &group, doubt, Rest { begun, cut: from > 0 }, plain);
    parts
}

/// Where what is left of a message stands.
#[derive(Clone, Copy)]
struct Rest {
    /// In a block of ours.
    begun: bool,
    /// Behind a part that is sent by itself.
    cut: bool,
}

fn push_rest(
    parts: &mut VecDeque<Part>,
    rest: Vec<u8>,
    group: &[&Statement],
    doubt: PossibleWrites,
    at: Rest,
    plain: bool,
) {
    if at.begun {
        if !group.is_empty() {
            parts.push_back(Part::Plain(rest, doubt));
        }
        parts.push_back(Part::Finish(doubt));
    } else if at.cut && group.len() == 1 && !plain && !doubt.is_any() {
        // Whole, the message would run it in an implicit block, as LOCK and SET LOCAL need.
        parts.push_back(Part::Proved(rest, doubt));
    } else if !group.is_empty() || parts.is_empty() {
        push_group(parts, rest, group, doubt, plain);
    }
}

/// How far into a message (bytes) its parts keep their place: each is sent with as much white space ahead.
const MOST_PADDED: usize = 4096;

/// A part of a message. What stood ahead of it is white space now, so that an error's position is the whole message's, in
/// characters.
pub(in crate::client) fn part_of(text: &[u8], from: usize, to: usize) -> Vec<u8> {
    let ahead = text.get(..from).filter(|ahead| ahead.len() <= MOST_PADDED).unwrap_or_default();
    let mut part = vec![b' '; std::str::from_utf8(ahead).map_or(ahead.len(), |ahead| ahead.chars().count())];
    part.extend_from_slice(text.get(from..to).unwrap_or_default());
    part
}

/// DECLARE CURSOR needs a block: it must not be given one.
fn fails_alone(statements: &[Statement]) -> bool {
    let holds = |one: &Statement| one.effects.iter().any(|effect| matches!(effect, SessionEffect::DeclareWithHold(_)));
    matches!(statements, [only] if only.kind == Kind::Session && !only.contained && !holds(only))
}

fn push_group(parts: &mut VecDeque<Part>, text: Vec<u8>, group: &[&Statement], doubt: PossibleWrites, plain: bool) {
    let copies = |one: &&Statement| matches!(one.kind, Kind::Copy(CopyDirection::FromClient) | Kind::Unknown);
    if plain || !doubt.is_any() {
        parts.push_back(Part::Plain(text, doubt));
    } else if group.iter().any(copies) {
        parts.push_back(Part::Begun(text));
        parts.push_back(Part::Finish(doubt));
    } else {
        parts.push_back(Part::Proved(text, doubt));
    }
}

/// A simple query that is sent in parts.
#[derive(Default)]
pub(in crate::client) struct QuerySplit {
    /// What is left of it.
    parts: VecDeque<Part>,
    /// The query they are parts of.
    query: Option<Rc<Cached>>,
}

impl QuerySplit {
    /// Whether nothing is left to be sent.
    #[inline]
    pub(in crate::client) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What is sent next.
    pub(in crate::client) fn front(&self) -> Option<&Part> {
        self.parts.front()
    }

    /// The same, with the query: it is sent now.
    fn take_next(&mut self) -> Option<(Part, Rc<Cached>)> {
        Some((self.parts.pop_front()?, self.query.clone()?))
    }

    /// Nothing more of it is sent.
    pub(in crate::client) fn clear(&mut self) {
        self.parts.clear();
    }

    /// One part more comes behind the others.
    pub(in crate::client::maintenance) fn push(&mut self, part: Part, query: Rc<Cached>) {
        self.parts.push_back(part);
        self.query = Some(query);
    }
}

impl Session {
    /// Cuts a query for the lease that there is.
    pub(in crate::client) fn divide(&self, text: &[u8], statements: &[Statement]) -> VecDeque<Part> {
        let status = self.conversation.status();
        let open = status != TxStatus::Idle || self.makes_block_of_batch(statements);
        let open = open.then_some(self.conversation.transaction().doubt);
        let tries = |one: &Statement| self.trial_of(one, text, statements);
        divide(text, statements, open, status == TxStatus::Failed, self.must_prove(), &tries)
    }

    /// An error has come in a message that goes on: of its parts only the end of a block of ours is left.
    pub(in crate::client) fn skip_parts(&mut self) {
        let opens = |part: &Part| matches!(part, Part::Begun(_));
        let parts = &mut self.conversation.message_mut().split_mut().parts;
        let end = parts.iter().position(|part| matches!(part, Part::Finish(_)));
        let first = parts.iter().position(opens);
        match end.filter(|end| first.is_none_or(|first| first > *end)) {
            Some(end) => _ = parts.drain(..end),
            None => parts.clear(),
        }
    }

    /// Sends a query in parts.
    pub(in crate::client) fn send_parts(&mut self, header: Header, cached: Rc<Cached>, mut parts: VecDeque<Part>) {
        if parts.iter().filter(|part| part.has_text()).count() > 1 && !self.conversation.batch().is_open() {
            parts.push_front(Part::Spelling);
        }
        self.drop_bytes(header.total);
        self.send_split(cached, parts);
    }

    /// Sends the parts of a query whose message has been taken.
    pub(in crate::client) fn send_split(&mut self, cached: Rc<Cached>, parts: VecDeque<Part>) {
        *self.conversation.message_mut().split_mut() = QuerySplit { parts, query: Some(cached) };
        self.send_next_part();
    }

    /// Asks the server whether the query can be read, by a Parse, which has no place for several statements: it fails in
    /// either case, behind a savepoint where a transaction could be spoilt by that.
    fn ask_spelling(&mut self, text: &[u8]) {
        let in_block = self.conversation.status() == TxStatus::Block;
        let mut own = self.own_messages().hiding(Visibility::Hidden);
        if in_block {
            own = own.query(SAVEPOINT);
        }
        own = own.proving(WriteCheckStep::Spelling).parse(WRAPPER, text).proving(WriteCheckStep::None).sync();
        if in_block {
            own.query(BACK_TO_SAVEPOINT);
        }
    }

    /// The answer: only an error in the text has a position.
    pub(in crate::client) fn answered_spelling(&mut self, fields: ErrorFields<'_>) {
        self.skip_to_sync();
        self.conversation.batch_mut().set_skip(false);
        if fields.get(b'P').is_some() {
            // Whole, it gets the server's own error, and nothing of it runs.
            let doubt = self.conversation.transaction().doubt;
            let QuerySplit { parts, query } = &mut self.conversation.message_mut().split_mut();
            let text = query.as_ref().map_or_else(Vec::new, |cached| cached.text.to_vec());
            parts.clear();
            parts.push_back(Part::Plain(text, doubt));
        }
    }

    /// Sends the next part of a divided query.
    pub(in crate::client) fn send_next_part(&mut self) {
        let Some((part, cached)) = self.conversation.message_mut().split_mut().take_next() else { return };
        let hide =
            if self.conversation.message().split().is_empty() { Visibility::Full } else { Visibility::WithoutReady };
        if !self.conversation.names().is_plain() {
            self.names_for_part(&cached);
        }
        match part {
            Part::Spelling => self.ask_spelling(&cached.text),
            Part::Plain(text, doubt) => {
                self.conversation.transaction_mut().doubt = doubt;
                self.send_query(&text, PendingReply::hidden(Request::Query(Some(cached)), hide));
            }
            Part::Proved(text, doubt) => {
                self.send_in_block(&text, cached);
                self.prove_and_commit(doubt);
            }
            Part::Begun(text) if text.trim_ascii().is_empty() => {
                self.begin_block();
                self.send_next_part();
            }
            Part::Begun(text) => self.send_in_block(&text, cached),
            Part::Cursor(trial, doubt) => {
                self.conversation.transaction_mut().doubt = doubt;
                let last = if self.conversation.message().split().is_empty() {
                    Visibility::ReadyAndErrors
                } else {
                    Visibility::Hidden
                };
                self.send_trial(&trial, cached, last);
            }
            Part::Finish(doubt) => self.prove_and_commit(doubt),
            Part::Defaults(text) => {
                self.note_defaults();
                self.send_query(&text, PendingReply::hidden(Request::Query(None), Visibility::ReadyAndErrors));
            }
            Part::Poisoned(text, report) => {
                self.send_query(&text, PendingReply::hidden(Request::Query(Some(cached)), hide).refused_with(*report));
            }
            Part::Commit(text, doubt) => {
                self.prove(doubt, "COMMIT");
                self.send_query(
                    &text,
                    PendingReply::hidden(Request::Query(Some(cached)), hide).in_write_check(WriteCheckStep::End),
                );
            }
        }
    }

    /// Opens a block of ours. By messages of the extended protocol: if it fails (a cancel request may have come a moment too
    /// early), the server skips what stands behind it up to a Sync, where behind a simple query it would run it in no block.
    pub(in crate::client) fn begin_block(&mut self) {
        let own = self.own_messages().proving(WriteCheckStep::Begin).parse(b"", BEGIN_READ_ONLY.as_bytes());
        own.bind(b"").execute(b"", None);
        if let Some(server) = self.lease.server() {
            server.unnamed = 0;
        }
    }

    /// It could not be opened: the client has the error, and has to have its ReadyForQuery.
    pub(in crate::client) fn block_failed(&mut self) {
        self.conversation.batch_mut().set_skip(false);
        self.conversation.message_mut().split_mut().clear();
        self.own_messages().hiding(Visibility::ReadyAndErrors).sync();
    }

    fn send_in_block(&mut self, text: &[u8], cached: Rc<Cached>) {
        self.begin_block();
        self.send_query(
            text,
            PendingReply::hidden(Request::Query(Some(cached)), Visibility::WithoutReady)
                .in_write_check(WriteCheckStep::Subject),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Analyzer, LexContext};

    fn cut(sql: &str, open: Option<PossibleWrites>) -> Vec<String> {
        let analysis = Analyzer::default().analyze(sql.as_bytes(), LexContext::default());
        let word = |text: &[u8]| String::from_utf8_lossy(text).trim_matches([';', ' ']).to_owned();
        let tries = |one: &Statement| {
            let holds = one.effects.iter().any(|effect| matches!(effect, SessionEffect::DeclareWithHold(_)));
            let text = one.text(sql.as_bytes()).to_vec();
            holds.then(|| {
                let once = Once { text: Vec::new(), name: "c".into(), forward_only: false };
                Trial { text, once, tag: one.tag }
            })
        };
        let parts = divide(sql.as_bytes(), &analysis.statements, open, false, true, &tries);
        let words = parts.iter().map(|part| match part {
            Part::Plain(text, doubt) => format!("{}{}", word(text), if doubt.is_any() { " ?" } else { "" }),
            Part::Proved(text, _) => format!("[{}]", word(text)),
            Part::Begun(text) => format!("[{}", word(text)),
            Part::Finish(_) => "]".into(),
            Part::Cursor(trial, _) => format!("cursor {}", word(&trial.text)),
            Part::Defaults(_) => "defaults".into(),
            Part::Poisoned(..) => "poison".into(),
            Part::Spelling => "?".into(),
            Part::Commit(text, _) => format!("proof, {}", word(text)),
        });
        words.collect()
    }

    #[test]
    fn every_transaction_in_doubt_is_proved_before_it_ends() {
        for (sql, parts) in [
            ("SELECT f()", &["[SELECT f()]"][..]),
            ("SHOW all", &["SHOW all"]),
            ("", &[""]),
            ("DECLARE c CURSOR FOR SELECT f()", &["DECLARE c CURSOR FOR SELECT f() ?"]),
            ("SELECT f(); SELECT 1", &["[SELECT f(); SELECT 1]"]),
            ("BEGIN; SELECT f()", &["BEGIN; SELECT f() ?"]),
            ("BEGIN; SELECT f(); COMMIT", &["BEGIN; SELECT f() ?", "proof, COMMIT"]),
            ("BEGIN; SELECT f(); ROLLBACK; SELECT g()", &["BEGIN; SELECT f(); ROLLBACK", "[SELECT g()]"]),
            ("SELECT f(); COMMIT; SELECT g()", &["[SELECT f()]", "COMMIT", "[SELECT g()]"]),
            ("COMMIT; LOCK TABLE t", &["COMMIT", "[LOCK TABLE t]"]),
            ("SELECT f(); SAVEPOINT a", &["SELECT f(); SAVEPOINT a ?"]),
            ("COPY t FROM STDIN", &["[COPY t FROM STDIN", "]"]),
            (
                "BEGIN; DECLARE c CURSOR WITH HOLD FOR SELECT 1; FETCH c; COMMIT",
                &["BEGIN ?", "cursor DECLARE c CURSOR WITH HOLD FOR SELECT 1", "FETCH c ?", "proof, COMMIT"],
            ),
            (
                "SELECT 1; DECLARE c CURSOR WITH HOLD FOR SELECT 1; FETCH c",
                &["[SELECT 1", "cursor DECLARE c CURSOR WITH HOLD FOR SELECT 1", "FETCH c ?", "]"],
            ),
            (
                "BEGIN; SELECT f(); COMMIT AND CHAIN; SELECT g()",
                &["BEGIN; SELECT f() ?", "proof, COMMIT AND CHAIN", "SELECT g() ?"],
            ),
        ] {
            assert_eq!(cut(sql, None), parts, "{sql}");
        }
        let mut doubt = PossibleWrites::default();
        doubt.add_unknown();
        assert_eq!(cut("COMMIT", Some(doubt)), ["proof, COMMIT"]);
        assert_eq!(cut("COMMIT", Some(PossibleWrites::default())), ["COMMIT"]);
    }
}
