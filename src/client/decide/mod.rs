//! What becomes of a statement: one pure decision for a simple query, an Execute, a function call, a batch at its beginning,
//! and for what a rehearsal counts.
//!
//! [`decide`] holds the order of all checks. It looks at nothing but its two arguments, and changes nothing. Whoever asked
//! carries the decision out, in the way of its own protocol. [`situation`] puts the arguments together from a session.

mod situation;

use crate::client::maintenance::transition::abort_open_transaction::commits_first;
use crate::client::maintenance::transition::closing::{Closing, cut_point};
use crate::client::maintenance::write_rules::WriteDisposition;
use crate::client::request::statement_mode::leaves_block;
use crate::client::state::pins::pinning;
use crate::protocol::TxStatus;
use crate::sql::Analysis;
use crate::sql::write_target::Verb;

/// The message that asks for a statement to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Form {
    /// A simple query.
    Query,
    /// The Execute of a portal.
    Execute,
    /// A function call.
    Call,
    /// The first message of a batch, which no server connection has been taken for.
    Batch,
}

/// Whether a statement reads or sets a setting of pgsluice's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum OwnSettings {
    /// It does not.
    Unused,
    /// It does.
    Used,
}

/// What a client asks for.
#[derive(Clone, Copy)]
pub(in crate::client) struct Statement<'a> {
    /// How.
    form: Form,
    /// Its text, and what was read in it; None where only the server knows what runs.
    read: Option<(&'a Analysis, &'a [u8])>,
    /// Whether pgsluice itself has the answer.
    own_settings: OwnSettings,
    /// What becomes of it as a write with the gate closed; None: it is not certain to write, or nobody has to know.
    write: Option<WriteDisposition>,
    /// What it does to another database of the server, or to the schema of one that is being migrated.
    elsewhere: Policy,
}

impl Statement<'_> {
    /// A statement that nobody has read, and what becomes of it as a write.
    pub(in crate::client) fn unread(form: Form, write: Option<WriteDisposition>) -> Self {
        Self { form, read: None, own_settings: OwnSettings::Unused, write, elsewhere: Policy::Allowed }
    }
}

/// The server connection that is at hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Connection {
    /// None, or none that serves what comes next.
    None,
    /// One that may write.
    Write,
    /// One for reads, with the gate open.
    Read,
    /// One on which nothing may be written.
    Maintenance,
    /// One for a single message that a write rule allows.
    Allowed,
    /// An operator's.
    Operator,
}

/// Replies that are owed, as far as a message has to wait for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Pending {
    /// It need not.
    Nothing,
    /// Clean reads are under way in maintenance.
    CleanReads,
}

/// Whether the message has been held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum HoldOutcome {
    /// It has not, or goes on as any other.
    None,
    /// Its client, or a time-out of its own, has ended the wait.
    Ended,
    /// The same, in a block that has to be begun again first.
    EndedInBlock,
}

/// Whether something is allowed for this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Policy {
    /// It is.
    Allowed,
    /// It is an error.
    Refused,
}

/// Whether the client knows of everything that pgsluice has rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Rollback {
    /// It does.
    Reported,
    /// Its open transaction is gone, and nothing has said so yet.
    Unreported,
}

/// Where a client asks for it.
#[derive(Clone, Copy, Debug)]
pub(in crate::client) struct Situation {
    /// The server connection.
    connection: Connection,
    /// The transaction, as the server last said.
    transaction: TxStatus,
    /// What is under way.
    pending: Pending,
    /// The message's own wait for the gate.
    hold: HoldOutcome,
    /// Transaction blocks: pool_mode `statement` has none.
    blocks: Policy,
    /// Statements that bind the session to its server connection.
    pins: Policy,
    /// The open transaction.
    rollback: Rollback,
    /// The gate closes while the transaction is open.
    closing: Closing,
}

impl Situation {
    /// The server connection that is at hand.
    #[inline]
    pub(in crate::client) fn connection(&self) -> Connection {
        self.connection
    }

    /// A client that comes to a closed gate.
    pub(in crate::client) const ONCE_CLOSED: Self = Self {
        connection: Connection::None,
        transaction: TxStatus::Idle,
        pending: Pending::Nothing,
        hold: HoldOutcome::None,
        blocks: Policy::Allowed,
        pins: Policy::Allowed,
        rollback: Rollback::Reported,
        closing: Closing::No,
    };
}

/// Why a statement is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Why {
    /// It would leave a transaction block open.
    Block,
    /// It would commit what has been rolled back.
    RolledBack,
    /// No write rule allows it, on a connection that is for what one allows.
    NotAllowed,
    /// It would bind the session to its server connection.
    Pins,
    /// It changes another database, whose gate is closed, or the schema of one that is being migrated.
    Elsewhere,
    /// It has been held, and the wait was ended.
    HoldEnded,
    /// It writes.
    Write,
}

/// The server connection that is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Need {
    /// One for what the statement is.
    AsRead,
    /// Any that there is.
    Any,
    /// One that may write, for this message only.
    Allowed,
}

/// What becomes of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Decision {
    /// It is sent as it is.
    Forward,
    /// It is sent in a way that cannot write, and checked for writes.
    CheckForWrites,
    /// It is cut at this byte: a transaction ends there that may write, and the gate closes behind it.
    Split(usize),
    /// A server connection comes first.
    CheckOut(Need),
    /// It waits for what is under way.
    AwaitReplies,
    /// It waits for the gate.
    Hold,
    /// Answered as done.
    Discard {
        /// What it would have done.
        verb: Verb,
        /// Rows that the answer counts.
        rows: u32,
        /// It has RETURNING.
        returning: bool,
    },
    /// pgsluice has the answer.
    AnswerLocally,
    /// It is an error.
    Refuse(Why),
}

/// See the module.
#[inline]
pub(in crate::client) fn decide(statement: &Statement<'_>, now: &Situation) -> Decision {
    if now.connection == Connection::Maintenance && now.pending == Pending::CleanReads {
        return Decision::AwaitReplies;
    }
    if statement.own_settings == OwnSettings::Used {
        return Decision::AnswerLocally;
    }
    if now.connection == Connection::Operator {
        return Decision::Forward;
    }
    let reads = |is: fn(&Analysis) -> bool| statement.read.is_some_and(|(analysis, _)| is(analysis));
    if now.blocks == Policy::Refused && reads(leaves_block) {
        return Decision::Refuse(Why::Block);
    }
    if now.rollback == Rollback::Unreported && reads(commits_first) {
        return Decision::Refuse(Why::RolledBack);
    }
    let of_write = match now.connection {
        Connection::None => Some(without_connection(statement, now)),
        Connection::Maintenance => in_maintenance(statement, now),
        Connection::Allowed => allowed(statement),
        Connection::Write | Connection::Read | Connection::Operator => None,
    };
    if let Some(decision) = of_write {
        return decision;
    }
    if let (Form::Query, Connection::Write, Closing::OneByOne, Some((analysis, _))) =
        (statement.form, now.connection, now.closing, statement.read)
        && let Some(end) = cut_point(analysis)
    {
        return Decision::Split(end);
    }
    if now.pins == Policy::Refused && statement.read.is_some_and(|(analysis, text)| pinning(analysis, text).is_some()) {
        return Decision::Refuse(Why::Pins);
    }
    if statement.elsewhere == Policy::Refused {
        return Decision::Refuse(Why::Elsewhere);
    }
    match now.connection {
        Connection::Maintenance if now.hold != HoldOutcome::None && statement.form != Form::Batch => {
            Decision::Refuse(Why::HoldEnded)
        }
        Connection::Maintenance => Decision::CheckForWrites,
        _ => Decision::Forward,
    }
}

/// No server connection serves the statement: whether it needs one.
fn without_connection(statement: &Statement<'_>, now: &Situation) -> Decision {
    match statement.write {
        // The server describes the rows that there are none of.
        Some(WriteDisposition::Discard { returning: true, .. }) if now.transaction != TxStatus::Failed => {
            Decision::CheckOut(Need::Any)
        }
        Some(WriteDisposition::Discard { verb, rows, returning: false }) if now.transaction != TxStatus::Failed => {
            Decision::Discard { verb, rows, returning: false }
        }
        Some(WriteDisposition::Hold) => Decision::Hold,
        _ if now.hold == HoldOutcome::Ended => Decision::Refuse(Why::HoldEnded),
        Some(WriteDisposition::Allow) => Decision::CheckOut(Need::Allowed),
        Some(WriteDisposition::Reject) => Decision::Refuse(Why::Write),
        Some(WriteDisposition::Discard { .. }) | None if statement.form == Form::Call => Decision::CheckOut(Need::Any),
        Some(WriteDisposition::Discard { .. }) | None => Decision::CheckOut(Need::AsRead),
    }
}

/// On a connection where nothing may be written: what is not left to the server to refuse.
fn in_maintenance(statement: &Statement<'_>, now: &Situation) -> Option<Decision> {
    match statement.write? {
        // The Bind of an Execute has failed by then: the answer is skipped with the rest of its batch.
        WriteDisposition::Discard { verb, rows, returning }
            if now.transaction != TxStatus::Failed || statement.form == Form::Execute =>
        {
            Some(Decision::Discard { verb, rows, returning })
        }
        WriteDisposition::Hold => Some(Decision::Hold),
        _ => None,
    }
}

/// On a connection for what a write rule allows: the rules may have changed since it was taken, and a batch may go on with
/// what no rule allows.
fn allowed(statement: &Statement<'_>) -> Option<Decision> {
    match statement.write {
        Some(WriteDisposition::Allow) => None,
        Some(WriteDisposition::Discard { verb, rows, returning }) if statement.form == Form::Execute => {
            Some(Decision::Discard { verb, rows, returning })
        }
        _ if statement.form == Form::Batch => None,
        _ => Some(Decision::Refuse(Why::NotAllowed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Analyzer, LexContext};

    const QUIET: Situation = Situation { connection: Connection::Write, ..Situation::ONCE_CLOSED };

    fn at(connection: Connection) -> Situation {
        Situation { connection, ..QUIET }
    }

    /// The decision for a text.
    fn of(form: Form, sql: &str, write: Option<WriteDisposition>, now: Situation) -> Decision {
        let analysis = Analyzer::default().analyze(sql.as_bytes(), LexContext::default());
        let read = Some((&analysis, sql.as_bytes()));
        let elsewhere = Policy::Allowed;
        decide(&Statement { form, read, own_settings: OwnSettings::Unused, write, elsewhere }, &now)
    }

    const FORMS: [Form; 2] = [Form::Query, Form::Execute];
    const DISCARD: WriteDisposition = WriteDisposition::Discard { verb: Verb::Insert, rows: 1, returning: false };
    const RETURNING: WriteDisposition = WriteDisposition::Discard { verb: Verb::Insert, rows: 1, returning: true };
    const DISCARDED: Decision = Decision::Discard { verb: Verb::Insert, rows: 1, returning: false };
    const DESCRIBED: Decision = Decision::Discard { verb: Verb::Insert, rows: 1, returning: true };

    #[test]
    fn a_write_by_what_becomes_of_it_and_by_the_connection_there_is() {
        use Connection::{Allowed, Maintenance, None as NoConnection, Operator, Read, Write};
        use WriteDisposition as D;
        let refused = Decision::Refuse(Why::Write);
        let not_allowed = Decision::Refuse(Why::NotAllowed);
        let (forward, check) = (Decision::Forward, Decision::CheckForWrites);
        let out = Decision::CheckOut;
        for (form, write, connection, decision) in [
            (Form::Query, None, NoConnection, out(Need::AsRead)),
            (Form::Batch, None, NoConnection, out(Need::AsRead)),
            (Form::Call, None, NoConnection, out(Need::Any)),
            (Form::Query, Some(D::Reject), NoConnection, refused),
            (Form::Call, Some(D::Reject), NoConnection, refused),
            (Form::Query, Some(D::Hold), NoConnection, Decision::Hold),
            (Form::Batch, Some(D::Hold), NoConnection, Decision::Hold),
            (Form::Query, Some(D::Allow), NoConnection, out(Need::Allowed)),
            (Form::Batch, Some(D::Allow), NoConnection, out(Need::Allowed)),
            (Form::Query, Some(DISCARD), NoConnection, DISCARDED),
            (Form::Query, Some(RETURNING), NoConnection, out(Need::Any)),
            (Form::Query, None, Maintenance, check),
            (Form::Execute, None, Maintenance, check),
            (Form::Call, None, Maintenance, check),
            (Form::Query, Some(D::Reject), Maintenance, check),
            (Form::Execute, Some(D::Reject), Maintenance, check),
            (Form::Query, Some(D::Hold), Maintenance, Decision::Hold),
            (Form::Batch, Some(D::Hold), Maintenance, Decision::Hold),
            (Form::Query, Some(D::Allow), Maintenance, check),
            (Form::Query, Some(DISCARD), Maintenance, DISCARDED),
            (Form::Query, Some(RETURNING), Maintenance, DESCRIBED),
            (Form::Execute, Some(DISCARD), Maintenance, DISCARDED),
            (Form::Execute, Some(RETURNING), Maintenance, DESCRIBED),
            (Form::Query, None, Allowed, not_allowed),
            (Form::Execute, None, Allowed, not_allowed),
            (Form::Call, None, Allowed, not_allowed),
            (Form::Query, Some(D::Reject), Allowed, not_allowed),
            (Form::Query, Some(D::Allow), Allowed, forward),
            (Form::Execute, Some(D::Allow), Allowed, forward),
            (Form::Query, Some(DISCARD), Allowed, not_allowed),
            (Form::Execute, Some(DISCARD), Allowed, DISCARDED),
            (Form::Query, None, Write, forward),
            (Form::Execute, None, Write, forward),
            (Form::Call, None, Write, forward),
            // Who has come before the gate closed may finish.
            (Form::Query, Some(D::Reject), Write, forward),
            (Form::Query, Some(D::Hold), Write, forward),
            (Form::Query, Some(DISCARD), Write, forward),
            (Form::Query, None, Read, forward),
            (Form::Query, Some(D::Hold), Read, forward),
            (Form::Query, Some(D::Reject), Operator, forward),
        ] {
            assert_eq!(
                of(form, "INSERT INTO t VALUES (1)", write, at(connection)),
                decision,
                "{form:?} {write:?} {connection:?}"
            );
        }
    }

    #[test]
    fn a_query_is_not_discarded_in_a_transaction_that_has_failed() {
        let failed = |connection| Situation { transaction: TxStatus::Failed, ..at(connection) };
        for (form, expected) in [(Form::Query, Decision::CheckForWrites), (Form::Execute, DISCARDED)] {
            let decision = of(form, "INSERT INTO t VALUES (1)", Some(DISCARD), failed(Connection::Maintenance));
            assert_eq!(decision, expected, "{form:?}");
        }
    }

    #[test]
    fn what_no_maintenance_is_needed_for_is_refused_in_every_form() {
        for form in FORMS {
            let blocks = Situation { blocks: Policy::Refused, ..QUIET };
            assert_eq!(of(form, "BEGIN", None, blocks), Decision::Refuse(Why::Block), "{form:?}");
            assert_eq!(of(form, "SELECT 1", None, blocks), Decision::Forward, "{form:?}");
            let pins = Situation { pins: Policy::Refused, ..QUIET };
            assert_eq!(of(form, "LISTEN x", None, pins), Decision::Refuse(Why::Pins), "{form:?}");
            assert_eq!(of(form, "SELECT 1", None, pins), Decision::Forward, "{form:?}");
            let lost = Situation { rollback: Rollback::Unreported, transaction: TxStatus::Failed, ..QUIET };
            assert_eq!(of(form, "COMMIT", None, lost), Decision::Refuse(Why::RolledBack), "{form:?}");
            assert_eq!(of(form, "ROLLBACK", None, lost), Decision::Forward, "{form:?}");
        }
    }

    #[test]
    fn a_block_is_refused_before_a_server_connection_is_taken_and_a_pin_behind_it() {
        let now = Situation { blocks: Policy::Refused, pins: Policy::Refused, ..at(Connection::None) };
        assert_eq!(of(Form::Query, "BEGIN", None, now), Decision::Refuse(Why::Block));
        assert_eq!(of(Form::Query, "LISTEN x", None, now), Decision::CheckOut(Need::AsRead));
    }

    #[test]
    fn what_changes_a_database_with_a_closed_gate_is_refused_from_anywhere() {
        let sql = "ALTER DATABASE shop SET work_mem = '1MB'";
        let analysis = Analyzer::default().analyze(sql.as_bytes(), LexContext::default());
        for (connection, decision) in [
            (Connection::None, Decision::CheckOut(Need::AsRead)),
            (Connection::Write, Decision::Refuse(Why::Elsewhere)),
            (Connection::Read, Decision::Refuse(Why::Elsewhere)),
            (Connection::Operator, Decision::Forward),
        ] {
            let read = Some((&analysis, sql.as_bytes()));
            let (own_settings, elsewhere) = (OwnSettings::Unused, Policy::Refused);
            let statement = Statement { form: Form::Query, read, own_settings, write: None, elsewhere };
            assert_eq!(decide(&statement, &at(connection)), decision, "{connection:?}");
        }
    }

    #[test]
    fn an_operator_is_refused_nothing() {
        let now = Situation {
            blocks: Policy::Refused,
            pins: Policy::Refused,
            rollback: Rollback::Unreported,
            closing: Closing::OneByOne,
            ..at(Connection::Operator)
        };
        for sql in ["BEGIN", "LISTEN x", "COMMIT", "COMMIT; INSERT INTO t VALUES (1)"] {
            assert_eq!(of(Form::Query, sql, Some(WriteDisposition::Reject), now), Decision::Forward, "{sql}");
        }
    }

    #[test]
    fn a_hold_that_was_ended_is_an_error_once_its_block_is_there() {
        let ended = |hold, connection| Situation { hold, ..at(connection) };
        for (hold, connection, decision) in [
            (HoldOutcome::Ended, Connection::None, Decision::Refuse(Why::HoldEnded)),
            (HoldOutcome::EndedInBlock, Connection::None, Decision::CheckOut(Need::AsRead)),
            (HoldOutcome::Ended, Connection::Maintenance, Decision::Refuse(Why::HoldEnded)),
            (HoldOutcome::EndedInBlock, Connection::Maintenance, Decision::Refuse(Why::HoldEnded)),
            (HoldOutcome::Ended, Connection::Write, Decision::Forward),
        ] {
            let decided = of(Form::Query, "INSERT INTO t VALUES (1)", None, ended(hold, connection));
            assert_eq!(decided, decision, "{hold:?} {connection:?}");
        }
        // Of a batch the Execute gets the error.
        let batch = of(Form::Batch, "SELECT 1", None, ended(HoldOutcome::Ended, Connection::Maintenance));
        assert_eq!(batch, Decision::CheckForWrites);
    }

    #[test]
    fn a_query_is_cut_where_its_transaction_ends_while_the_gate_closes() {
        let closing = |closing| Situation { closing, ..QUIET };
        let sql = "COMMIT; INSERT INTO t VALUES (1)";
        assert_eq!(of(Form::Query, sql, None, closing(Closing::OneByOne)), Decision::Split(6));
        assert_eq!(of(Form::Query, sql, None, closing(Closing::Cut)), Decision::Forward);
        assert_eq!(of(Form::Query, sql, None, closing(Closing::No)), Decision::Forward);
        assert_eq!(of(Form::Query, "COMMIT; SELECT 1", None, closing(Closing::OneByOne)), Decision::Forward);
    }

    #[test]
    fn what_is_ours_is_answered_unless_clean_reads_come_first() {
        let own = |now: &Situation| {
            let own_settings = OwnSettings::Used;
            decide(
                &Statement { form: Form::Query, read: None, own_settings, write: None, elsewhere: Policy::Allowed },
                now,
            )
        };
        assert_eq!(own(&at(Connection::None)), Decision::AnswerLocally);
        assert_eq!(own(&at(Connection::Operator)), Decision::AnswerLocally);
        let waits = Situation { pending: Pending::CleanReads, ..at(Connection::Maintenance) };
        assert_eq!(own(&waits), Decision::AwaitReplies);
    }
}
