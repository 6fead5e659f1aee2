//! A transaction on a guarded primary is committed only after the server has said that it has written nothing.
//!
//! PostgreSQL 15 lets some writers run in a READ ONLY transaction: large objects, ANALYZE and REINDEX out of a function,
//! EXPLAIN ANALYZE of CREATE TABLE AS. Where they are spelled out the reader of statements refuses them; hidden in a function,
//! a view, a rule, a policy or text that is put together at run time nobody can see them. So a transaction that may have run
//! such code is asked, behind its last statement and ahead of its COMMIT, whether it has a transaction id, and, if it has,
//! whether it has changed a row of a table that is not temporary; the question is one that fails (22012) if it has. That it is
//! all sent at once costs no round trip.
//!
//! What a transaction id alone does not tell: writing to a temporary table, LOCK TABLE and txid_current() assign one too.
//! NOTIFY does only at COMMIT. What the question cannot see: what leaves no trace in tables (docs/GUIDE.md).

use std::borrow::Cow;

use jiff::{SignedDuration, Timestamp};

use crate::client::Session;
use crate::client::checkout::lease::Lease;
use crate::client::conversation::pending_replies::{PendingReply, Request, Visibility, WriteCheckStep};
use crate::client::state::pins::Pin;
use crate::protocol::frame::Header;
use crate::protocol::{ErrorFields, Report, TxStatus, frontend};
use crate::shared::Layer;
use crate::sql::own_statements::transaction::{COMMIT, ROLLBACK};
use crate::sql::own_statements::write_check;
use crate::sql::{Kind, Proven, Refusal, SessionEffect, Statement};

/// How far a transaction has to be looked into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Care {
    /// It ran nothing that could write.
    #[default]
    None,
    /// It named built-in functions only. A view, an operator or a policy may still have led elsewhere.
    Plain,
    /// It may have run anything, a DECLARE CURSOR WITH HOLD too: that one's query runs within COMMIT, behind the question.
    Full,
}

/// What a transaction may have done, as far as its statements tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::client) struct PossibleWrites {
    care: Care,
    /// It holds something that could end the transaction from inside.
    contained: bool,
    /// It has set what the counts of changed rows depend on.
    uncounted: bool,
    /// Tag of the statement that is in doubt most.
    tag: &'static str,
}

impl PossibleWrites {
    /// Of a statement by itself.
    pub(in crate::client) fn of(statement: &Statement) -> Self {
        let mut doubt = Self::default();
        doubt.add(statement);
        doubt
    }

    /// Whether there is any.
    pub(in crate::client) fn is_any(self) -> bool {
        self.care > Care::None || self.contained
    }

    /// Whether it comes of built-in functions that read, and of nothing else.
    pub(in crate::client) fn is_plain(self) -> bool {
        self.care == Care::Plain && !self.contained
    }

    /// Adds a statement that is about to run.
    pub(in crate::client) fn add(&mut self, statement: &Statement) {
        let care = care(statement);
        if care > self.care || self.tag.is_empty() {
            self.tag = statement.tag;
        }
        self.care = self.care.max(care);
        self.contained |= statement.contained;
        self.uncounted |= statement.effects.iter().any(sets_counting);
    }

    /// Adds the call of a function by its number, or of a statement that only the server knows.
    pub(in crate::client) fn add_unknown(&mut self) {
        self.care = Care::Full;
        self.tag = "SELECT";
    }
}

/// Whether it sets `track_counts`, which only few roles may. By a function that does: `unseen` finds it.
fn sets_counting(effect: &SessionEffect) -> bool {
    match effect {
        SessionEffect::Set { name, .. } | SessionEffect::SetConfig { name, .. } | SessionEffect::Reset(name) => {
            **name == *b"track_counts"
        }
        SessionEffect::ResetAll => true,
        _ => false,
    }
}

/// Whether it declares a cursor WITH HOLD.
pub(in crate::client) fn declares_hold(statement: &Statement) -> bool {
    statement.effects.iter().any(|effect| matches!(effect, SessionEffect::DeclareWithHold(_)))
}

/// Statements that run no code but PostgreSQL's own, and VACUUM and its like, which come here only where the configuration
/// lets them write.
const PLAIN_UTILITIES: [&str; 11] = [
    "SHOW",
    "NOTIFY",
    "LOCK TABLE",
    "VACUUM",
    "ANALYZE",
    "REINDEX",
    "CLUSTER",
    "CHECKPOINT",
    "COMMIT PREPARED",
    "ROLLBACK PREPARED",
    "ALTER SYSTEM",
];

/// Whether it may run anything, rather than what is PostgreSQL's own.
pub(in crate::client) fn calls_unknown(statement: &Statement) -> bool {
    care(statement) == Care::Full
}

fn care(statement: &Statement) -> Care {
    match (&statement.kind, &statement.refusal) {
        // Refused before anything of it runs.
        (_, Refusal::ByPostgres { unless_temporary: false }) | (Kind::Transaction(_), _) => Care::None,
        (Kind::Session, _) if statement.tag.starts_with("DECLARE") || statement.contained => Care::Full,
        (Kind::Session, _) => Care::None,
        (Kind::Utility, _) if PLAIN_UTILITIES.contains(&statement.tag) => Care::None,
        (Kind::Read, _) if statement.route == Proven::Read => Care::Plain,
        _ => Care::Full,
    }
}

/// The first version that has [`write_check::FORGET_COUNTS`].
const HAS_FORGET_COUNTS: u64 = 150_000;

/// How long an older one keeps them, and a little more.
const KEEPS_COUNTS: SignedDuration = SignedDuration::from_millis(700);

impl Session {
    /// Whether transactions of this lease have to prove that they have written nothing.
    pub(in crate::client) fn must_prove(&self) -> bool {
        // On a replica too, which may be promoted at any time.
        self.lease.in_maintenance()
    }

    /// Notes what is about to run in the open transaction.
    pub(in crate::client) fn note_doubt(&mut self, statement: Option<&Statement>) {
        if !self.must_prove() {
            return;
        }
        match statement {
            Some(statement) => self.conversation.transaction_mut().doubt.add(statement),
            None => self.conversation.transaction_mut().doubt.add_unknown(),
        }
    }

    /// The question in doubt; None where the configuration lets functions write that it would find.
    pub(in crate::client) fn question(&self, doubt: PossibleWrites) -> Option<Cow<'static, str>> {
        self.question_beside(doubt, None)
    }

    /// The same, while the cursor of that name is being tried.
    pub(in crate::client) fn question_beside(
        &self,
        doubt: PossibleWrites,
        cursor: Option<&str>,
    ) -> Option<Cow<'static, str>> {
        let allowed = self.core.proxy.setup.load().analyzer.list().allows_row_writers();
        if doubt.care == Care::None || allowed {
            return None;
        }
        if doubt.care < Care::Full && !doubt.uncounted {
            return Some(write_check::PLAIN.into());
        }
        let known = self.conversation.transaction().cursors.iter().flat_map(|declared| declared.iter());
        Some(write_check::question(known, cursor, !doubt.uncounted))
    }

    /// What a transaction that has written is told.
    pub(in crate::client) fn unproven(&self, tag: &str) -> Report {
        let mut report = self.refused(format!("cannot execute {tag} in a read-only transaction"));
        let what = "It called something that has written, and was rolled back.";
        report.detail = Some(report.detail.map_or_else(|| what.to_owned(), |detail| format!("{detail}\n{what}")));
        report
    }

    /// Whether triggers may be put off until COMMIT: those of temporary tables, which a function may have made as well.
    fn may_have_deferred(&self, doubt: PossibleWrites) -> bool {
        let by_function = matches!(self.lease, Lease::InPlace { .. }) && doubt.care == Care::Full;
        by_function || self.bindings.pins().has(Pin::Temporary)
    }

    /// Sends the question as a simple query.
    pub(in crate::client) fn prove(&mut self, doubt: PossibleWrites, tag: &'static str) {
        let Some(question) = self.question(doubt) else { return };
        self.conversation.transaction_mut().check_sent();
        if self.may_have_deferred(doubt) {
            self.send_query(
                write_check::RUN_DEFERRED.as_bytes(),
                PendingReply::hidden(Request::Query(None), Visibility::Hidden).in_write_check(WriteCheckStep::Deferred),
            );
        }
        self.own_messages().hiding(Visibility::Hidden).proving(WriteCheckStep::Question(tag)).query(&question);
    }

    /// Sends the question and COMMIT behind a statement that runs in a block of ours.
    pub(in crate::client) fn prove_and_commit(&mut self, doubt: PossibleWrites) {
        self.prove(doubt, doubt.tag);
        self.own_messages().hiding(Visibility::ReadyAndErrors).proving(WriteCheckStep::End).query(COMMIT);
    }

    /// The same question within a batch of the extended protocol.
    pub(in crate::client) fn prove_in_batch(&mut self, tag: Option<&'static str>) {
        let doubt = self.conversation.transaction().doubt;
        let Some(question) = self.question(doubt) else { return };
        self.conversation.transaction_mut().check_sent();
        if self.may_have_deferred(doubt) {
            self.run_own(write_check::RUN_DEFERRED.as_bytes(), WriteCheckStep::Deferred, None);
        }
        self.run_own(question.as_bytes(), WriteCheckStep::Question(tag.unwrap_or(doubt.tag)), None);
    }

    /// An error has come for the question or for the COMMIT behind it. Whether the client is to see it.
    pub(in crate::client) fn proof_failed(&mut self, proof: WriteCheckStep, fields: ErrorFields<'_>) -> bool {
        // The statement itself has failed, and its error been told.
        if self.conversation.message().has_failed() || fields.code() == b"25P02" {
            return false;
        }
        self.conversation.message_mut().withheld().clear();
        if !matches!(proof, WriteCheckStep::Trial | WriteCheckStep::Declared) {
            self.conversation.transaction_mut().fail_check();
        }
        true
    }

    /// ReadyForQuery has come behind a proof that failed in a block: as after a COMMIT that failed, there is no block any more.
    pub(in crate::client) fn ends_unproved(&mut self, hide: Visibility) -> bool {
        if !self.conversation.transaction_mut().take_failed_check() || self.conversation.status() == TxStatus::Idle {
            return false;
        }
        if !self.conversation.replies().is_empty() {
            // The COMMIT behind it, or the Sync, comes first.
            self.conversation.transaction_mut().fail_check();
            return false;
        }
        frontend::write_query(self.io.for_server(), ROLLBACK.as_bytes());
        let hide = if hide == Visibility::Hidden { Visibility::Hidden } else { Visibility::ReadyAndErrors };
        self.expect(PendingReply::hidden(Request::Query(None), hide).in_write_check(WriteCheckStep::End));
        true
    }

    /// The server's counts of changes hold some that are none of the next transaction's.
    pub(in crate::client) fn forget_counts(&mut self) {
        match self.primary_version() {
            0 => {}
            HAS_FORGET_COUNTS.. => self.run_hidden(write_check::FORGET_COUNTS),
            _ => self.run_hidden(write_check::WAIT_UNTIL_COUNTS_ARE_FORGOTTEN),
        }
    }

    /// The connection could write until now: what it has written is still among the counts.
    pub(in crate::client) fn forget_counts_from_before(&mut self) {
        let quiesced = self.db.gate.view().quiesced;
        let lately = quiesced.is_none_or(|quiesced| Timestamp::now().duration_since(quiesced.at) < KEEPS_COUNTS);
        if lately || self.primary_version() >= HAS_FORGET_COUNTS {
            self.forget_counts();
        }
    }

    /// 0 where it is not known.
    fn primary_version(&self) -> u64 {
        let setup = self.db.peek_setup();
        let primary = setup.cluster.primary().and_then(|at| setup.cluster.upstreams.get(at));
        primary.map_or(0, |primary| primary.version())
    }

    fn run_hidden(&mut self, words: &str) {
        if !self.lease.is_none() {
            self.own_messages().hiding(Visibility::Hidden).query(words);
        }
    }

    /// Releases what was held back of the last statement's answer.
    pub(in crate::client) fn release_withheld_reply(&mut self) {
        if self.conversation.message().is_withheld() {
            self.io.for_client().append(self.conversation.message_mut().withheld());
        }
    }

    /// Counts a refusal by what has refused it.
    pub(in crate::client) fn count_layer(&self, layer: Layer) {
        self.core.proxy.layers.count(layer);
    }

    /// Wraps a function call, whose code nobody has read, in a block that is proved.
    pub(in crate::client) fn guarded_call(&mut self, header: Header) {
        self.prove_open_batch();
        self.note_doubt(None);
        if self.conversation.status() != TxStatus::Idle {
            self.pass(header, Some(PendingReply::seen(Request::Call)));
            return;
        }
        self.begin_block();
        let whole = self.io.requests().message(header).to_vec();
        self.io.for_server().extend_from_slice(&whole);
        self.drop_bytes(header.total);
        self.expect(
            PendingReply::hidden(Request::Call, Visibility::WithoutReady).in_write_check(WriteCheckStep::Subject),
        );
        self.prove_and_commit(self.conversation.transaction().doubt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Analyzer, LexContext};

    fn doubt(sql: &str) -> PossibleWrites {
        let mut doubt = PossibleWrites::default();
        let analysis = Analyzer::default().analyze(sql.as_bytes(), LexContext::default());
        analysis.statements.iter().for_each(|statement| doubt.add(statement));
        doubt
    }

    #[test]
    fn only_what_runs_no_code_is_beyond_doubt() {
        for sql in
            ["SHOW all", "SET a.b = 1", "LISTEN x", "NOTIFY x", "LOCK TABLE t", "BEGIN", "PREPARE x AS SELECT f()"]
        {
            assert!(!doubt(sql).is_any(), "{sql}");
        }
        assert_eq!(doubt("SELECT lower(v) FROM t").care, Care::Plain);
        for sql in [
            "SELECT f()",
            "EXECUTE x",
            "DO 'x'",
            "CALL x()",
            "EXPLAIN SELECT f()",
            "COPY t TO STDOUT",
            "FETCH c",
            "DECLARE c CURSOR FOR SELECT 1",
            "INSERT INTO t VALUES (1)",
            "what is this",
        ] {
            assert_eq!(doubt(sql).care, Care::Full, "{sql}");
        }
    }
}
