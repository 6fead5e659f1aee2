//! What has run in the open transaction, as far as the gate has to know: whether it can be fenced, and whether it can be begun
//! anew elsewhere, and whether it can write at all.

use std::rc::Rc;

use crate::sql::cache::Cached;
use crate::sql::{CopyDirection, Isolation, Kind, Name, Proven, SessionEffect, Statement, TransactionVerb};

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

/// The most that the statements of a transaction may have done, as far as their texts tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ran {
    /// They read, and call nothing but what is PostgreSQL's own.
    #[default]
    Reads,
    /// They call who knows what.
    Calls,
    /// They write.
    Writes,
}

/// See the module.
#[derive(Debug)]
pub struct Past {
    /// The message that began the block, while nothing ran in it that could not run again in another one.
    begun: Option<Rc<Cached>>,
    /// Something ran that may have taken a snapshot.
    queried: bool,
    savepoints: Savepoints,
    /// A cursor WITH HOLD may have been declared: its query runs within COMMIT.
    holds: bool,
    /// What ran.
    ran: Ran,
    /// READ ONLY or READ WRITE as the block's own statements have it; None if they do not say.
    read_only: Option<bool>,
    /// A savepoint has been sent: going back to it takes settings back.
    saved: bool,
    /// A statement that takes a snapshot was sent while there was no savepoint to go back to.
    snapshot: bool,
    /// Whether its isolation level is READ COMMITTED, once that was asked.
    pub read_committed: Option<bool>,
}

impl Default for Past {
    fn default() -> Self {
        Self {
            begun: None,
            queried: false,
            savepoints: Savepoints::Known(Vec::new()),
            holds: false,
            ran: Ran::Reads,
            read_only: None,
            saved: false,
            snapshot: false,
            read_committed: None,
        }
    }
}

impl Past {
    /// The transaction is over; if anything of the next one is `under_way` already, it is not known what.
    pub fn end(&mut self, under_way: bool) {
        *self = Self { queried: under_way, ..Self::default() };
    }

    /// A message is sent.
    #[inline]
    pub fn sends(&mut self, cached: &Rc<Cached>) {
        if cached.analysis.is_plain() && cached.analysis.is_proven_read() {
            self.reads();
        } else {
            self.sends_other(cached);
        }
    }

    #[inline]
    fn reads(&mut self) {
        self.queried = true;
        self.snapshot |= !self.saved;
    }

    fn sends_other(&mut self, cached: &Rc<Cached>) {
        if let Some(Statement { kind: Kind::Transaction(TransactionVerb::Begin(modes)), .. }) =
            cached.analysis.single().filter(|_| !cached.analysis.ambiguous)
        {
            let same = matches!(modes.isolation, None | Some(Isolation::ReadCommitted | Isolation::ReadUncommitted));
            self.begun = (same && !self.queried && modes.read_only != Some(true)).then(|| cached.clone());
            self.becomes(modes.read_only);
            return;
        }
        if cached.analysis.ambiguous {
            self.sends_unknown();
            return;
        }
        for statement in &cached.analysis.statements {
            self.holds |= statement.effects.iter().any(|effect| matches!(effect, SessionEffect::DeclareWithHold(_)));
            self.ran = self.ran.max(ran(statement));
            match &statement.kind {
                Kind::Read if statement.route == Proven::Read && statement.effects.is_empty() => self.reads(),
                // `done` follows those.
                Kind::Transaction(TransactionVerb::Savepoint(_)) => self.saved = true,
                Kind::Transaction(TransactionVerb::Release(_) | TransactionVerb::RollbackTo(_)) => {}
                Kind::Transaction(TransactionVerb::SetTransaction { snapshot: false, modes }) => {
                    self.begun = None;
                    self.becomes(modes.read_only);
                }
                Kind::Session if only_sets(statement) => {
                    self.begun = None;
                    if statement.effects.iter().any(sets_access) {
                        self.becomes(Some(false));
                    }
                }
                Kind::Unknown => self.sends_unknown(),
                kind => {
                    (self.begun, self.queried) = (None, true);
                    match kind {
                        Kind::Read | Kind::Copy(CopyDirection::ToClient) => self.reads(),
                        Kind::Transaction(TransactionVerb::Begin(modes)) => self.becomes(modes.read_only),
                        // What follows may be another transaction.
                        Kind::Transaction(_) => (self.read_only, self.snapshot) = (None, false),
                        _ => {}
                    }
                }
            }
        }
    }

    fn becomes(&mut self, read_only: Option<bool>) {
        // What is set behind a savepoint may be taken back with it.
        if read_only == Some(false) || read_only.is_some() && !self.saved {
            self.read_only = read_only;
        }
    }

    /// A message is sent of which nothing is known.
    pub fn sends_unknown(&mut self) {
        let savepoints = Savepoints::Unknown;
        *self = Self { queried: true, savepoints, holds: true, ran: Ran::Writes, saved: true, ..Self::default() };
    }

    /// A statement has been executed.
    pub fn done(&mut self, statement: &Statement) {
        let Kind::Transaction(verb) = &statement.kind else { return };
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
            _ => {}
        }
    }

    /// Whether a snapshot may have been taken.
    pub fn queried(&self) -> bool {
        self.queried
    }

    /// The most that ran.
    pub fn ran(&self) -> Ran {
        self.ran
    }

    /// Whether an open block is READ ONLY and can never be lifted: PostgreSQL forbids that once a snapshot is taken. Nothing
    /// that is still under way may be transaction control.
    pub fn is_read_only_for_good(&self) -> bool {
        self.read_only == Some(true) && self.snapshot
    }

    /// Whether a cursor WITH HOLD may have been declared.
    pub fn holds(&self) -> bool {
        self.holds
    }

    /// Whether a savepoint may be open.
    pub fn in_savepoint(&self) -> bool {
        !matches!(&self.savepoints, Savepoints::Known(names) if names.is_empty())
    }

    /// The message that began the block, if the block can be begun anew and nobody could tell.
    pub fn begun(&self) -> Option<&Rc<Cached>> {
        self.begun.as_ref().filter(|_| !self.in_savepoint() && self.read_committed != Some(false))
    }
}

fn ran(statement: &Statement) -> Ran {
    match &statement.kind {
        Kind::Write | Kind::Ddl | Kind::Unknown => Ran::Writes,
        Kind::Copy(CopyDirection::FromClient | CopyDirection::FromServer | CopyDirection::ToServer) => Ran::Writes,
        Kind::Read if statement.route == Proven::Read && statement.effects.is_empty() => Ran::Reads,
        Kind::Transaction(_) => Ran::Reads,
        Kind::Session if only_sets(statement) => Ran::Reads,
        Kind::Utility if statement.tag == "SHOW" => Ran::Reads,
        Kind::Read | Kind::Session | Kind::Utility | Kind::Copy(CopyDirection::ToClient) => Ran::Calls,
    }
}

/// Whether it makes settings and does nothing else. DECLARE CURSOR has no effect that is known.
fn only_sets(statement: &Statement) -> bool {
    !statement.effects.is_empty() && statement.effects.iter().all(|e| matches!(e, SessionEffect::Set { .. }))
}

/// Whether it sets what READ ONLY and READ WRITE set.
fn sets_access(effect: &SessionEffect) -> bool {
    matches!(effect, SessionEffect::Set { name, .. } if name.eq_ignore_ascii_case(b"transaction_read_only"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::cache::VerdictCache;
    use crate::sql::{Analyzer, LexContext};

    fn after(texts: &[&str]) -> Past {
        let mut cache = VerdictCache::new(Analyzer::default(), 1 << 20);
        let mut past = Past::default();
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
            (&["BEGIN", "FROBNICATE"], true),
        ] {
            assert_eq!(after(texts).in_savepoint(), open, "{texts:?}");
        }
    }

    #[test]
    fn a_block_can_be_begun_anew_while_it_has_only_read() {
        for (texts, anew) in [
            (&["BEGIN"][..], true),
            (&["BEGIN", "SELECT v FROM t"], true),
            (&["START TRANSACTION ISOLATION LEVEL READ COMMITTED", "SELECT 1"], true),
            (&["BEGIN ISOLATION LEVEL REPEATABLE READ"], false),
            (&["BEGIN READ ONLY"], false),
            (&["BEGIN", "SET LOCAL search_path = x"], false),
            (&["BEGIN", "SELECT f(1)"], false),
            (&["BEGIN", "DECLARE c CURSOR FOR SELECT 1"], false),
            (&["BEGIN", "SELECT 1", "LOCK t"], false),
            (&["BEGIN", "SAVEPOINT a"], false),
            (&["BEGIN", "SAVEPOINT a", "SELECT 1", "RELEASE a"], true),
            (&["BEGIN; SELECT 1"], false),
        ] {
            assert_eq!(after(texts).begun().is_some(), anew, "{texts:?}");
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
            (&["BEGIN READ ONLY", "SAVEPOINT a", "SELECT 1"], false),
            (&["BEGIN", "SAVEPOINT a", "SET TRANSACTION READ ONLY", "SELECT 1"], false),
            (&["BEGIN READ ONLY", "SELECT 1", "SAVEPOINT a", "SELECT 1"], true),
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
        assert!(after(&["BEGIN", "LOCK t"]).queried());
    }
}
