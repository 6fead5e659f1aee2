//! Statements under the client's own names: those of SQL's PREPARE, and those of the protocol where SQL asks for them.
//!
//! PREPARE, EXECUTE and DEALLOCATE go to the server as the client wrote them. Ahead of them goes what makes the names that
//! they use stand there for what they are the client's: the PREPARE once more, a Parse, a Close of what is another's. So the
//! server says what it would say to a client that has it for itself, and it is the one that is asked. What stands on a server
//! connection under which name is in [`crate::server::state::client_names`]; what it is not sure of is closed before it is prepared.
//!
//! Here a client's message comes in; `bring` finds what has to go ahead of it, `stand` writes that, `answers` learns from what the
//! server says.

mod ensure;
mod responses;
mod statements;

use std::collections::HashMap;
use std::rc::Rc;

use super::protocol_names::{Inner, Known};
use crate::client::Session;
use crate::client::conversation::client_messages::Progress;
use crate::client::conversation::pending_replies::Visibility;
use crate::client::maintenance::check::write_check::PossibleWrites;
use crate::client::maintenance::query_split::{Part, part_of};
use crate::protocol::frame::Header;
use crate::protocol::{Report, TxStatus};
use crate::sql::cache::verdicts::Cached;
use crate::sql::{Kind, Name, SessionEffect, Statement, TransactionVerb};

/// What a client does with names, as far as it concerns the messages under way.
#[derive(Default)]
pub(in crate::client) struct UnderWay {
    /// A statement could not be made to stand: its name, and what the server said. That is the answer to whatever asks for it.
    unstood: Option<(Box<[u8]>, Vec<u8>)>,
    /// Names of statements that have just been prepared, and whose rows the server has not been asked for.
    unlearned: Vec<Box<[u8]>>,
    /// The statement that was prepared once more on this server connection, to see what its rows are now.
    pub(in crate::client::prepared) renewed: Option<u64>,
    /// The block has failed; names are seen to once the message under way has ended it.
    due: bool,
    /// What PREPAREs that are under way make whose EXECUTE is to be refused.
    pub(in crate::client::prepared) suspected: HashMap<Name, Rc<Inner>>,
}

/// What a statement does with a name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// It asks whether there is one.
    Asks,
    /// It runs it.
    Runs,
}

/// How it went to make names stand.
enum Brought {
    /// They do, once what was sent is done.
    Ready,
    /// Answers have to come first.
    Waits,
    /// Statement number so much cannot run.
    Refused(usize, Report),
}

/// Whether what is sent goes into the client's batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// It does.
    Batch,
    /// Ahead of a simple query, in messages that end by themselves.
    Simple,
    /// Ahead of a simple query that stands in a batch without a Sync: it waits until they have been answered.
    Amid,
}

/// How far the protocol has come with a statement.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::client) enum Stage {
    /// Parse, Bind.
    Before,
    Describe,
    Execute,
}

fn uses_names(cached: &Cached) -> bool {
    use SessionEffect as Effect;
    let uses = |effect: &Effect| {
        matches!(
            effect,
            Effect::Prepare { .. } | Effect::Execute(_) | Effect::Deallocate(Some(_)) | Effect::ShowsPrepared
        )
    };
    cached.analysis.statements.iter().any(|one| one.effects.iter().any(uses))
}

/// Whether a text has `EXECUTE name` somewhere, in a constant that is run perhaps.
fn says_execute(text: &[u8], name: &[u8]) -> bool {
    const VERB: &[u8] = b"execute";
    memchr::memchr2_iter(b'x', b'X', text).any(|at| {
        let from = at.saturating_sub(1);
        let rest = text.get(from..).unwrap_or_default();
        let Some((verb, behind)) = rest.split_at_checked(VERB.len()) else { return false };
        let blank = behind.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == b'"').count();
        let behind = behind.get(blank..).unwrap_or_default();
        verb.eq_ignore_ascii_case(VERB)
            && blank > 0
            && behind.get(..name.len()).is_some_and(|word| word.eq_ignore_ascii_case(name))
            && behind.get(name.len()).is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_')
    })
}

/// Whether EXECUTE runs it. PostgreSQL would run any statement that was prepared by protocol; one that is no query would do
/// to the session what only its own text tells.
fn can_run(known: &Known) -> bool {
    match known {
        Known::Sql(_) => true,
        Known::Protocol(statement) => {
            let analysis = &statement.cached.analysis;
            let queries = |one: &Statement| matches!(one.kind, Kind::Read | Kind::Write) && !one.contained;
            !analysis.ambiguous && analysis.single().is_some_and(queries)
        }
    }
}

/// What a name runs, with the text that it stands in.
fn runs(known: &Known) -> Option<(&Cached, &Statement)> {
    match known {
        Known::Sql(inner) => inner.runs().map(|(cached, _, one)| (cached, one)),
        Known::Protocol(statement) => statement.cached.analysis.single().map(|one| (&*statement.cached, one)),
    }
}

impl Session {
    fn under_way_names(&mut self) -> &mut UnderWay {
        self.conversation.names_mut().under_way.get_or_insert_default()
    }

    /// Makes the names that a simple query uses stand. Some: it has to wait, or has failed.
    pub(in crate::client) fn names_for_query(&mut self, header: Header, cached: &Rc<Cached>) -> Option<Progress> {
        let uses = uses_names(cached) || self.hands_on_names(cached);
        if !uses || self.keeps_names() {
            return None;
        }
        // Which names there are is known once everything before has been answered.
        if self.conversation.replies().iter().any(|one| one.visibility() != Visibility::Hidden) {
            self.awaits_answers();
            return Some(Progress::AwaitReplies);
        }
        if self.conversation.status() == TxStatus::Failed {
            // Nothing can be prepared now; and nothing runs, but behind what ends the block.
            self.under_way_names().due = cached.analysis.statements.len() > 1;
            return None;
        }
        let way = if self.conversation.batch().is_open() { Way::Amid } else { Way::Simple };
        match self.bring(cached, way, true) {
            Brought::Ready if way == Way::Amid && self.awaits_answers() => Some(Progress::AwaitReplies),
            Brought::Waits if way == Way::Amid => self.awaits_answers().then_some(Progress::AwaitReplies),
            Brought::Ready => None,
            Brought::Waits => Some(Progress::AwaitReplies),
            Brought::Refused(at, report) => {
                self.names.forget_unnamed();
                Some(self.poison(header, cached.clone(), at, report))
            }
        }
    }

    /// The parts of a query that first ends a block which has failed: names can be made to stand behind that.
    pub(in crate::client) fn parts_around_names(&self, cached: &Cached) -> Option<[Part; 2]> {
        let due = self.conversation.names().under_way.as_ref().is_some_and(|named| named.due);
        let first = cached.analysis.statements.first().filter(|_| due)?;
        let Kind::Transaction(verb) = &first.kind else { return None };
        if !verb.ends_transaction() && !matches!(verb, TransactionVerb::RollbackTo(_)) {
            return None;
        }
        let (text, cut) = (&cached.text, first.span.end as usize);
        let parts = [part_of(text, 0, cut), part_of(text, cut, text.len())];
        Some(parts.map(|text| Part::Plain(text, PossibleWrites::default())))
    }

    /// A part of a message is about to be sent.
    pub(in crate::client) fn names_for_part(&mut self, cached: &Cached) {
        let ended = self.conversation.status() != TxStatus::Failed;
        if self.conversation.names_mut().under_way.as_mut().is_some_and(|named| ended && std::mem::take(&mut named.due))
        {
            let _ = self.bring(cached, Way::Simple, true);
        }
    }

    /// The same for a message of the extended protocol. Some: it has to wait, or has failed.
    #[inline]
    pub(in crate::client) fn names_for_batch(
        &mut self,
        header: Header,
        cached: &Cached,
        stage: Stage,
    ) -> Option<Progress> {
        // A plain statement uses none, unless it hands one on that SQL has made.
        if cached.analysis.is_plain() && !self.names.has_sql() {
            return None;
        }
        self.used_names_for_batch(header, cached, stage)
    }

    fn used_names_for_batch(&mut self, header: Header, cached: &Cached, stage: Stage) -> Option<Progress> {
        let uses = uses_names(cached) || self.hands_on_names(cached);
        // Of several statements the protocol takes none.
        if !uses || self.keeps_names() || cached.analysis.single().is_none() {
            return None;
        }
        self.conversation.batch_mut().go_on();
        let brought = self.bring(cached, Way::Batch, stage == Stage::Execute);
        // What rows EXECUTE has is asked no sooner, and those of EXPLAIN are always the same.
        let own_rows = cached.analysis.single().is_some_and(|one| one.tag != "EXECUTE");
        match stage {
            Stage::Before => None,
            Stage::Describe if own_rows && matches!(brought, Brought::Refused(..)) => None,
            _ => self.in_batch(header, brought),
        }
    }

    /// The same for a Bind or a Describe of a name that was not prepared by protocol.
    pub(in crate::client) fn name_for_batch(&mut self, header: Header, name: &[u8]) -> Option<Progress> {
        if self.keeps_names() || name.is_empty() {
            return None;
        }
        self.conversation.batch_mut().go_on();
        match self.bring_name(name, Use::Runs, Way::Batch) {
            Brought::Refused(_, report) => Some(self.fail_with(header, name, report)),
            brought => self.in_batch(header, brought),
        }
    }

    fn in_batch(&mut self, header: Header, brought: Brought) -> Option<Progress> {
        match brought {
            Brought::Ready => None,
            Brought::Waits => self.awaits_answers().then_some(Progress::AwaitReplies),
            Brought::Refused(_, report) => Some(self.fail_in_place(header, report)),
        }
    }

    /// Names of SQL's PREPARE that a text has an EXECUTE of, for a function that it calls to run.
    fn handed_on<'a>(&'a self, cached: &'a Cached) -> impl Iterator<Item = &'a [u8]> {
        self.names.sql_names().filter(|name| says_execute(&cached.text, name))
    }

    fn hands_on_names(&self, cached: &Cached) -> bool {
        self.handed_on(cached).next().is_some()
    }
}
