//! What has run in the open transaction, as far as the gate has to know: whether it can be fenced, and whether it can be begun
//! anew elsewhere, and whether it can write at all.

use std::rc::Rc;

use super::what_ran::{Ran, Wrote, only_sets, ran, takes_snapshot, wrote};
use crate::shared::Statement as Prepared;
use crate::sql::block_setup::sets_up;
use crate::sql::cache::verdicts::Cached;
use crate::sql::classify::read_write::asks_of_transaction;
use crate::sql::{CopyDirection, Isolation, Kind, LexContext, Name, Proven, SessionEffect, Statement, TransactionVerb};

/// Savepoints that are followed by name; with more the transaction is waited for.
const MOST_SAVEPOINTS: usize = 64;

/// Savepoints that are open now.
#[derive(Debug, PartialEq, Eq)]
enum Savepoints {
    /// By name, the outermost first.
    Known(Vec<Name>),
    /// Some may be.
    Unknown,
}

/// A message of those that set a block up, as it is sent again.
#[derive(Clone)]
pub enum Step {
    /// A simple query.
    Query(Rc<Cached>),
    /// A prepared statement that was bound with these formats and values.
    Bound(Rc<Prepared>, Box<[u8]>),
}

/// How a block was begun and set up.
pub struct Beginning {
    /// The message with its BEGIN.
    pub(in crate::client::maintenance) begun: Rc<Cached>,
    /// What followed.
    pub(in crate::client::maintenance) steps: Vec<Step>,
}

/// Messages with which a block is set up that are remembered, and their bytes.
const MOST_STEPS: usize = 64;
const MOST_BYTES: usize = 64 * 1024;

/// Texts that ran in a READ ONLY block and are to be judged at the flip, and their bytes.
const MOST_TEXTS: usize = 512;
const MOST_TEXT_BYTES: usize = 256 * 1024;

/// What ran in a READ ONLY block, for the catalog to say at the flip whether any of it leads to an unseen writer.
#[derive(Clone)]
pub enum Unjudged {
    /// All of it, but for what was shown to be clean when it ran.
    Texts(Vec<(Rc<Cached>, LexContext)>, usize),
    /// Too much, or what nobody has read.
    Unknown,
}

impl Default for Unjudged {
    fn default() -> Self {
        Self::Texts(Vec::new(), 0)
    }
}

/// Whether another transaction has begun behind the one that is over, with no time between them in which nothing was open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// None has: one transaction is noted.
    None,
    /// One has, by AND CHAIN, and nothing has run in it.
    Chained,
    /// One has, and it is not known what of the message ran in it.
    Unknown,
}

/// Whether the block has shown data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Queried {
    /// It has not, and has taken no snapshot.
    #[default]
    No,
    /// It has not, but what set it up may have taken a snapshot.
    InSetup,
    /// It has, or what it did is not known.
    Yes,
}

/// What is known of the block's isolation level.
#[derive(Clone, Copy, Debug, Default)]
struct Level {
    /// It was said to be one at which all of the block sees the same data.
    one_snapshot: bool,
    /// Whether it is READ COMMITTED, once that was asked.
    read_committed: Option<bool>,
}

/// READ ONLY (true) or READ WRITE; None where nobody has said.
#[derive(Clone, Copy, Debug, Default)]
struct AccessMode {
    /// As the block's own statements have it.
    of_block: Option<bool>,
    /// As the client asked for it, whatever the server was told.
    asked: Option<bool>,
    /// It was begun READ ONLY, or made so: it holds no write that could wait.
    for_reading: bool,
}

/// What a savepoint could take back.
#[derive(Clone, Copy, Debug, Default)]
struct Snapshot {
    /// A savepoint has been sent: going back to it takes settings back.
    saved: bool,
    /// A statement that takes a snapshot was sent while there was no savepoint to go back to.
    taken: bool,
}

/// See the module.
pub struct TransactionHistory {
    /// The message that began the block, while nothing ran in it that could not run again in another one.
    begun: Option<Rc<Cached>>,
    /// What set it up since.
    steps: Option<Box<(Vec<Step>, usize)>>,
    queried: Queried,
    level: Level,
    savepoints: Savepoints,
    /// A cursor WITH HOLD may have been declared: its query runs within COMMIT.
    holds: bool,
    /// What ran.
    ran: Ran,
    /// Something may have been written since the last time that nothing was open or under way.
    wrote: Wrote,
    mode: AccessMode,
    /// What ran since the block is READ ONLY.
    unjudged: Option<Box<Unjudged>>,
    snapshot: Snapshot,
    next: Next,
}

impl Default for TransactionHistory {
    fn default() -> Self {
        Self {
            begun: None,
            steps: None,
            queried: Queried::No,
            level: Level::default(),
            savepoints: Savepoints::Known(Vec::new()),
            holds: false,
            ran: Ran::Reads,
            wrote: Wrote::Nothing,
            mode: AccessMode::default(),
            unjudged: None,
            snapshot: Snapshot::default(),
            next: Next::None,
        }
    }
}

impl TransactionHistory {
    /// The transaction is over; if anything of the next one is `under_way` already, it is not known what.
    #[inline]
    pub fn end(&mut self, under_way: bool) {
        let wrote = if under_way { self.wrote } else { Wrote::Nothing };
        let queried = if under_way { Queried::Yes } else { Queried::No };
        let ended = std::mem::replace(self, Self { queried, wrote, ..Self::default() });
        if ended.owns_nothing() {
            // Most transactions: the many looks of a drop are spared.
            std::mem::forget(ended);
        }
    }

    /// Whether none of its parts has memory of its own.
    fn owns_nothing(&self) -> bool {
        self.begun.is_none()
            && self.steps.is_none()
            && self.unjudged.is_none()
            && matches!(&self.savepoints, Savepoints::Known(names) if names.capacity() == 0)
    }

    /// Another transaction is open than the one of which this is noted. Nothing is under way.
    pub fn goes_on(&mut self) -> bool {
        match self.next {
            Next::None => return false,
            // It has the isolation level of the one before, and its READ ONLY.
            Next::Chained => {
                let level = Level { one_snapshot: self.level.one_snapshot, read_committed: None };
                *self = Self { level, mode: self.mode, wrote: self.wrote, ..Self::default() };
            }
            Next::Unknown => {
                (self.next, self.begun) = (Next::None, None);
                (self.mode.of_block, self.snapshot.taken) = (None, false);
            }
        }
        true
    }

    /// A message is sent.
    #[inline]
    pub fn sends(&mut self, cached: &Rc<Cached>) {
        let plain = cached.analysis.is_plain();
        if plain && cached.analysis.is_proven_read() {
            self.reads();
        } else if plain && matches!(&*cached.analysis.statements, [Statement { kind: Kind::Write, .. }]) {
            // What most transactions do, and what `sends_other` comes to for it.
            (self.begun, self.queried, self.ran) = (None, Queried::Yes, Ran::Writes);
            self.may_have_written();
        } else {
            self.sends_other(cached);
        }
    }

    #[inline]
    fn reads(&mut self) {
        self.queried = Queried::Yes;
        self.snapshot.taken |= !self.snapshot.saved;
    }

    /// A statement is prepared, which runs nothing yet.
    pub fn prepares(&mut self, cached: &Rc<Cached>) {
        if !self.sets_up(cached) {
            self.sends(cached);
        }
    }

    /// A statement is bound with these formats and values, and will be executed.
    pub fn binds(&mut self, statement: &Rc<Prepared>, values: &[u8]) {
        if self.sets_up(&statement.cached) {
            self.add(Step::Bound(statement.clone(), values.into()), values.len() + statement.cached.text.len());
        } else {
            self.sends(&statement.cached);
        }
    }

    /// Whether the message does nothing but set the block up. Notes what it says of its modes.
    fn sets_up(&mut self, cached: &Cached) -> bool {
        let statements = &cached.analysis.statements;
        let all = !cached.analysis.ambiguous
            && !statements.is_empty()
            && statements.iter().all(|statement| sets_up(statement, &cached.text));
        if all {
            statements.iter().for_each(|statement| self.note_modes(statement));
        }
        all
    }

    /// Notes what a statement that begins the block or sets it up says of its modes.
    fn note_modes(&mut self, statement: &Statement) {
        self.ran = self.ran.max(ran(statement));
        self.becomes(asks_of_transaction(statement));
        if statement.kind == Kind::Read {
            self.queried = self.queried.max(Queried::InSetup);
            self.snapshot.taken |= !self.snapshot.saved;
        }
        match &statement.kind {
            // `done` follows savepoints.
            Kind::Transaction(TransactionVerb::Savepoint(_)) => self.snapshot.saved = true,
            Kind::Transaction(TransactionVerb::Begin(modes) | TransactionVerb::SetTransaction { modes, .. }) => {
                self.level.one_snapshot |=
                    matches!(modes.isolation, Some(Isolation::RepeatableRead | Isolation::Serializable));
                self.mode.for_reading |= modes.read_only == Some(true);
            }
            _ => {}
        }
    }

    fn add(&mut self, step: Step, bytes: usize) {
        if self.begun.is_none() {
            return;
        }
        let (steps, all) = &mut **self.steps.get_or_insert_default();
        if steps.len() < MOST_STEPS && *all + bytes <= MOST_BYTES {
            steps.push(step);
            *all += bytes;
        } else {
            self.begun = None;
        }
    }

    fn sends_other(&mut self, cached: &Rc<Cached>) {
        if cached.analysis.ambiguous {
            self.sends_unknown();
            return;
        }
        if let Some((Statement { kind: Kind::Transaction(TransactionVerb::Begin(modes)), .. }, rest)) =
            cached.analysis.statements.split_first()
            && rest.iter().all(|statement| sets_up(statement, &cached.text))
        {
            let first = !self.queried();
            if first {
                self.mode.asked = modes.read_only.or(self.mode.asked);
            }
            self.begun = first.then(|| cached.clone());
            self.mode.for_reading = false;
            self.steps = None;
            cached.analysis.statements.iter().for_each(|statement| self.note_modes(statement));
            return;
        }
        if self.sets_up(cached) {
            self.add(Step::Query(cached.clone()), cached.text.len());
            return;
        }
        for statement in &cached.analysis.statements {
            self.holds |= statement.effects.iter().any(|effect| matches!(effect, SessionEffect::DeclareWithHold(_)));
            self.ran = self.ran.max(ran(statement));
            self.wrote = self.wrote.max(wrote(statement));
            self.becomes(asks_of_transaction(statement));
            match &statement.kind {
                Kind::Read if statement.route == Proven::Read && statement.effects.is_empty() => self.reads(),
                // `done` follows savepoints.
                Kind::Transaction(TransactionVerb::Savepoint(_)) => {
                    (self.begun, self.snapshot.saved) = (None, true);
                }
                Kind::Transaction(
                    TransactionVerb::Release(_)
                    | TransactionVerb::RollbackTo(_)
                    | TransactionVerb::SetTransaction { snapshot: false, .. },
                ) => self.begun = None,
                Kind::Session if only_sets(statement) => self.begun = None,
                // It shows no data, and would show the same in another block.
                Kind::Utility if statement.tag == "SHOW" => {}
                Kind::Unknown => self.sends_unknown(),
                // It cannot be run again, and has taken no snapshot.
                Kind::Read | Kind::Session | Kind::Utility if !takes_snapshot(statement) => self.begun = None,
                kind => {
                    (self.begun, self.queried) = (None, Queried::Yes);
                    match kind {
                        Kind::Read | Kind::Copy(CopyDirection::ToClient) => self.reads(),
                        Kind::Transaction(TransactionVerb::Begin(_)) => {}
                        // What follows may be another transaction.
                        Kind::Transaction(_) => {
                            (self.mode.of_block, self.snapshot.taken) = (None, false);
                        }
                        _ => {}
                    }
                }
            }
        }
    }

    fn becomes(&mut self, read_only: Option<bool>) {
        // What is set behind a savepoint may be taken back with it.
        if read_only == Some(false) || read_only.is_some() && !self.snapshot.saved {
            if self.mode.of_block != Some(true) && self.queried() {
                self.unjudged = Some(Box::new(Unjudged::Unknown));
            }
            self.mode.of_block = read_only;
        }
    }

    /// A message is sent of which nothing is known.
    pub fn sends_unknown(&mut self) {
        let savepoints = Savepoints::Unknown;
        let (snapshot, wrote) = (Snapshot { saved: true, taken: false }, self.wrote.max(Wrote::Perhaps));
        let queried = Queried::Yes;
        *self = Self { queried, savepoints, holds: true, ran: Ran::Writes, wrote, snapshot, ..Self::default() };
    }

    /// A statement has been executed.
    pub fn done(&mut self, statement: &Statement) {
        self.mode.asked = asks_of_transaction(statement).or(self.mode.asked);
        if self.next == Next::Chained {
            self.next = Next::Unknown;
        }
        let Kind::Transaction(verb) = &statement.kind else { return };
        if verb.ends_transaction() {
            self.next = match verb {
                TransactionVerb::Commit { chain: true } | TransactionVerb::Rollback { chain: true } => Next::Chained,
                _ => Next::Unknown,
            };
        }
        let Savepoints::Known(names) = &mut self.savepoints else { return };
        match verb {
            TransactionVerb::Savepoint(_) if names.len() >= MOST_SAVEPOINTS => self.savepoints = Savepoints::Unknown,
            TransactionVerb::Savepoint(name) => names.push(name.clone()),
            TransactionVerb::Release(name) => {
                let at = names.iter().rposition(|known| known == name).unwrap_or(names.len());
                names.truncate(at);
            }
            TransactionVerb::RollbackTo(name) => {
                let at = names.iter().rposition(|known| known == name).map_or(names.len(), |at| at + 1);
                names.truncate(at);
            }
            verb if verb.ends_transaction() => names.clear(),
            _ => {}
        }
    }

    /// Whether a snapshot may have been taken.
    pub fn queried(&self) -> bool {
        self.queried != Queried::No
    }

    /// Whether the client asked for READ ONLY (true) or READ WRITE.
    pub fn own_read_only(&self) -> Option<bool> {
        self.mode.asked
    }

    /// The most that ran.
    pub fn ran(&self) -> Ran {
        self.ran
    }

    /// Something runs that is not known to read only.
    #[inline]
    pub fn may_have_written(&mut self) {
        self.wrote = self.wrote.max(Wrote::Perhaps);
    }

    /// Whether anything was written.
    #[inline]
    pub fn wrote(&self) -> Wrote {
        self.wrote
    }

    /// Whether an open block is READ ONLY and can never be lifted: PostgreSQL forbids that once a snapshot is taken. Nothing
    /// that is still under way may be transaction control.
    pub fn is_read_only_for_good(&self) -> bool {
        self.mode.of_block == Some(true) && self.snapshot.taken
    }

    /// Whether what runs now is to be kept until the flip, for the catalog to judge.
    #[inline]
    pub fn keeps_texts(&self) -> bool {
        self.mode.of_block == Some(true)
    }

    /// A text runs in a READ ONLY block; nothing shows yet that it is clean.
    pub fn keep_text(&mut self, cached: &Rc<Cached>, context: LexContext) {
        let unjudged = self.unjudged.get_or_insert_default();
        let Unjudged::Texts(texts, bytes) = &mut **unjudged else { return };
        if texts.iter().any(|(known, at)| Rc::ptr_eq(known, cached) && *at == context) {
            return;
        }
        *bytes += cached.text.len();
        if cached.analysis.ambiguous || texts.len() >= MOST_TEXTS || *bytes > MOST_TEXT_BYTES {
            **unjudged = Unjudged::Unknown;
        } else {
            texts.push((cached.clone(), context));
        }
    }

    /// What is to be judged.
    pub fn unjudged(&self) -> Option<&Unjudged> {
        self.unjudged.as_deref()
    }

    /// A large object is read by function calls: nothing else is done.
    pub fn reads_large_object(&mut self) {
        self.begun = None;
        self.ran = self.ran.max(Ran::Calls);
        self.reads();
    }

    /// Whether a cursor WITH HOLD may have been declared.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// Whether a savepoint may be open.
    pub fn in_savepoint(&self) -> bool {
        !matches!(&self.savepoints, Savepoints::Known(names) if names.is_empty())
    }

    /// Whether the block can be begun anew and nobody could tell: it has shown nothing, or sees the newest data anyway.
    pub fn can_begin_anew(&self) -> bool {
        !self.mode.for_reading && self.can_move()
    }

    /// The same for what only reads: it can go on elsewhere.
    pub fn can_move(&self) -> bool {
        let sees_newest = !self.level.one_snapshot && self.level.read_committed != Some(false);
        self.begun.is_some() && (self.queried != Queried::Yes || sees_newest)
    }

    /// Whether that depends on the isolation level that nobody has named.
    pub fn has_to_ask_isolation(&self) -> bool {
        self.queried == Queried::Yes && self.level.read_committed.is_none()
    }

    /// The server has said whether its isolation level is READ COMMITTED.
    pub fn note_read_committed(&mut self, is: bool) {
        self.level.read_committed = Some(is);
    }

    /// How it was begun, for another one.
    pub fn take_beginning(&mut self) -> Option<Box<Beginning>> {
        let begun = self.begun.take()?;
        let steps = self.steps.take().map(|steps| steps.0).unwrap_or_default();
        Some(Box::new(Beginning { begun, steps }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::cache::verdicts::VerdictCache;
    use crate::sql::{Analyzer, LexContext};

    fn after(texts: &[&str]) -> TransactionHistory {
        let mut cache = VerdictCache::new(Analyzer::default(), 1 << 20);
        let mut past = TransactionHistory::default();
        for text in texts {
            let cached = cache.get_or_analyze(text.as_bytes(), LexContext::default());
            past.sends(&cached);
            cached.analysis.statements.iter().for_each(|statement| past.done(statement));
        }
        past
    }

    #[test]
    fn savepoints_open_and_close() {
        for (texts, open) in [
            (&["BEGIN", "SAVEPOINT a"][..], true),
            (&["BEGIN", "SAVEPOINT a", "RELEASE a"], false),
            (&["BEGIN", "SAVEPOINT a", "ROLLBACK TO a"], true),
            (&["BEGIN", "SAVEPOINT a", "SAVEPOINT b", "RELEASE a"], false),
            (&["BEGIN", "SAVEPOINT a", "SAVEPOINT b", "RELEASE b"], true),
            (&["BEGIN", "SAVEPOINT a", "SAVEPOINT a", "RELEASE a"], true),
            (&["BEGIN", "SAVEPOINT a; SELECT 1", "RELEASE SAVEPOINT a"], false),
            (&["BEGIN", "SAVEPOINT a", "COMMIT AND CHAIN"], false),
            (&["BEGIN", "SAVEPOINT a", "ROLLBACK; BEGIN; SAVEPOINT b"], true),
            (&["BEGIN", "FROBNICATE"], true),
        ] {
            assert_eq!(after(texts).in_savepoint(), open, "{texts:?}");
        }
    }

    #[test]
    fn a_block_can_be_begun_anew_while_it_has_only_read_or_been_set_up() {
        for (texts, anew) in [
            (&["BEGIN"][..], true),
            (&["BEGIN", "SHOW transaction_isolation"], true),
            (&["BEGIN", "SHOW search_path", "SET LOCAL work_mem = '1MB'", "SHOW work_mem"], true),
            (&["BEGIN", "SELECT v FROM t"], true),
            (&["START TRANSACTION ISOLATION LEVEL READ COMMITTED", "SELECT 1"], true),
            (&["BEGIN ISOLATION LEVEL REPEATABLE READ"], true),
            (&["BEGIN ISOLATION LEVEL REPEATABLE READ", "SELECT 1"], false),
            (&["BEGIN", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SELECT set_config('a.b', 'c', true)"], true),
            (&["BEGIN READ ONLY"], false),
            (&["BEGIN", "SET TRANSACTION READ ONLY"], false),
            (&["BEGIN", "SET LOCAL search_path = x"], true),
            (&["BEGIN; SET LOCAL search_path = x"], true),
            (&["BEGIN", "SAVEPOINT a; SELECT 1"], false),
            (&["BEGIN", "SELECT f(1)"], false),
            (&["BEGIN", "DECLARE c CURSOR FOR SELECT 1"], false),
            (&["BEGIN", "SELECT 1", "LOCK t"], false),
            (&["BEGIN", "SAVEPOINT a"], true),
            (&["BEGIN", "SAVEPOINT a", "SELECT 1", "RELEASE a"], true),
            (&["BEGIN; SELECT 1"], false),
        ] {
            assert_eq!(after(texts).can_begin_anew(), anew, "{texts:?}");
        }
    }

    #[test]
    fn read_only_for_good_is_what_cannot_be_lifted() {
        for (texts, for_good) in [
            (&["BEGIN READ ONLY", "SELECT 1"][..], true),
            (&["BEGIN", "SET TRANSACTION READ ONLY", "COPY t TO STDOUT"], true),
            (&["BEGIN", "SELECT 1", "SET TRANSACTION READ ONLY"], true),
            (&["BEGIN READ ONLY"], false),
            (&["BEGIN READ ONLY", "SHOW all"], false),
            (&["BEGIN READ ONLY", "DECLARE c CURSOR FOR SELECT 1"], false),
            (&["BEGIN", "SELECT 1"], false),
            (&["BEGIN READ WRITE", "SELECT 1"], false),
            (&["BEGIN READ ONLY", "SET TRANSACTION READ WRITE", "SELECT 1"], false),
            (&["BEGIN READ ONLY", "SET transaction_read_only = off", "SELECT 1"], false),
            (&["BEGIN READ ONLY", "RESET transaction_read_only", "SELECT 1"], false),
            (&["BEGIN READ ONLY", "SET transaction_read_only TO DEFAULT", "SELECT 1"], false),
            (&["BEGIN READ ONLY", "SELECT set_config('a.b', 'c', true)"], true),
            (&["BEGIN READ ONLY", "SAVEPOINT a", "SELECT 1"], false),
            (&["BEGIN", "SAVEPOINT a", "SET TRANSACTION READ ONLY", "SELECT 1"], false),
            (&["BEGIN READ ONLY", "SELECT 1", "SAVEPOINT a", "SELECT 1"], true),
            (&["BEGIN READ ONLY", "FETCH h"], false),
            (&["BEGIN READ ONLY", "SELECT 1", "COMMIT AND CHAIN"], false),
            (&["BEGIN READ ONLY", "FROBNICATE", "SELECT 1"], false),
        ] {
            assert_eq!(after(texts).is_read_only_for_good(), for_good, "{texts:?}");
        }
    }

    #[test]
    fn what_takes_a_snapshot() {
        assert!(!after(&["BEGIN", "SET search_path = x", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"]).queried());
        assert!(after(&["BEGIN", "SELECT 1"]).queried());
        assert!(!after(&["BEGIN", "FETCH h", "LOCK t", "LISTEN x", "SET CONSTRAINTS ALL DEFERRED"]).queried());
        assert!(after(&["BEGIN", "DECLARE c CURSOR FOR SELECT 1", "FETCH c"]).queried());
    }
}
