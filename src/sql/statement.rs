//! What is known of a statement after reading it: the words that the rest of pgsluice decides with.

use super::classify::read_write::ReadWriteRequest;
use super::classify::readonly_exceptions::Why;
use super::hidden_writers::Left;
use std::borrow::Cow;
use std::ops::Range;

/// A name as the server would compare it: folded unless quoted, cut to 63 bytes, in the client's encoding. In the
/// encodings that are not ASCII-safe every byte of a multi-byte character has its high bit set: good for comparing,
/// not for sending. What is sent again is the statement's own text.
pub type Name = Box<[u8]>;

/// All statements of one text. An empty query has none.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Analysis {
    /// In order of the text; empty statements leave no trace.
    pub statements: Box<[Statement]>,
    /// The text can be read two ways, is not sound in its encoding, or passed a bound: no verdict in it proves
    /// anything. A guarded server does not stop everything either (large objects): such a text belongs
    /// on a server in recovery, or is refused.
    pub ambiguous: bool,
}

impl Analysis {
    /// Whether there is nothing to run: the server answers EmptyQueryResponse.
    pub fn is_empty(&self) -> bool {
        self.statements.is_empty()
    }

    /// The statement, if it is the only one.
    pub fn single(&self) -> Option<&Statement> {
        match &*self.statements {
            [only] => Some(only),
            _ => None,
        }
    }

    /// Whether it is one statement that reads or writes and has nothing else about it: nothing that it does to the session, to its
    /// transaction or to databases.
    #[inline]
    pub fn is_plain(&self) -> bool {
        !self.ambiguous
            && self
                .single()
                .is_some_and(|only| matches!(only.kind, Kind::Read | Kind::Write) && only.effects.is_empty())
    }

    /// The first of the statements whose refusal weighs most.
    pub fn worst(&self) -> Option<&Statement> {
        self.statements.iter().reduce(|a, b| if b.refusal.weight() > a.refusal.weight() { b } else { a })
    }

    /// Whether every statement may run on any replica at any time.
    pub fn is_proven_read(&self) -> bool {
        !self.ambiguous && !self.is_empty() && self.statements.iter().all(|s| s.route == Proven::Read)
    }

    /// Whether anything in it must run inside an explicit BEGIN READ ONLY on a guarded server.
    pub fn contained(&self) -> bool {
        self.ambiguous || self.statements.iter().any(|s| s.contained)
    }

    /// Bytes held on the heap, for the cache's account.
    pub(super) fn heap_bytes(&self) -> usize {
        let own = |s: &Statement| size_of::<Statement>() + s.effects.len() * (size_of::<SessionEffect>() + 64);
        self.statements.iter().map(own).sum()
    }
}

/// One statement of a text.
#[derive(Clone, PartialEq, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
pub struct Statement {
    /// Byte range in the text, without white space, comments and semicolon around it.
    pub span: Range<u32>,
    /// What it is.
    pub kind: Kind,
    /// What PostgreSQL prints for it in `cannot execute %s in a read-only transaction`.
    pub tag: &'static str,
    /// Whether it may run while nothing may change.
    pub refusal: Refusal,
    /// It has FOR UPDATE, FOR SHARE or their KEY forms.
    pub locks_rows: bool,
    /// Where it may run.
    pub route: Proven,
    /// It could end its own transaction inside (CALL, DO), or cannot be read: on a guarded server it must run inside
    /// an explicit BEGIN READ ONLY.
    pub contained: bool,
    /// It may move a sequence on: by its own words, a default, a trigger, or what it calls.
    pub moves_sequences: bool,
    /// What it has to do with the id of its server process.
    pub process: Process,
    /// What it does to the session, each effect once; empty for most statements.
    pub effects: Box<[SessionEffect]>,
}

impl Statement {
    /// The primary message to refuse it with (SQLSTATE 25006), where it is to be refused: PostgreSQL's own words.
    pub fn refusal_message(&self) -> Option<Cow<'static, str>> {
        if let (Kind::Write, Refusal::ByPgsluice(Reason::Function { .. })) = (&self.kind, &self.refusal) {
            // It writes by itself: PostgreSQL stops it before it calls anything.
            return Refusal::ByPostgres { unless_temporary: false }.message(self.tag);
        }
        self.refusal.message(self.tag)
    }

    /// The effect that binds the session most; [`SessionEffect::None`] if there is none.
    pub fn effect(&self) -> &SessionEffect {
        self.effects.iter().fold(&SessionEffect::None, SessionEffect::stronger)
    }

    /// Whether it makes something in a schema, and in the temporary one if that comes first in the search path.
    pub fn makes_object(&self) -> bool {
        const ELSEWHERE: [&str; 9] = [
            "CREATE DATABASE",
            "CREATE INDEX",
            "CREATE POLICY",
            "CREATE ROLE",
            "CREATE RULE",
            "CREATE SCHEMA",
            "CREATE SUBSCRIPTION",
            "CREATE TABLESPACE",
            "CREATE TRIGGER",
        ];
        let makes = self.tag.starts_with("CREATE ") || self.tag == "IMPORT FOREIGN SCHEMA";
        makes && !ELSEWHERE.contains(&self.tag)
    }

    /// The statement's own bytes in the text it was read from.
    pub fn text<'a>(&self, text: &'a [u8]) -> &'a [u8] {
        text.get(self.span.start as usize..self.span.end as usize).unwrap_or_default()
    }
}

/// What a statement has to do with the id of its server process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Process {
    /// Nothing.
    #[default]
    Any,
    /// Others are told of it: NOTIFY.
    Told,
    /// Its session is told of it, or looks for it: LISTEN, `pg_backend_pid()`, `pg_stat_activity`.
    Asked,
    /// It signals processes: `pg_terminate_backend()`, `pg_cancel_backend()`. Others' are not to be its own.
    Signals,
}

/// What a statement is.
#[derive(Clone, PartialEq, Debug)]
pub enum Kind {
    /// SELECT, VALUES, TABLE, WITH without data-modifying parts, FETCH, EXPLAIN that changes nothing.
    Read,
    /// INSERT, UPDATE, DELETE, MERGE, data-modifying WITH, SELECT INTO, TRUNCATE.
    Write,
    /// CREATE, ALTER, DROP, GRANT, COMMENT and their like.
    Ddl,
    /// Transaction control.
    Transaction(TransactionVerb),
    /// Only the session's own state: SET, RESET, LISTEN, PREPARE, DECLARE, DISCARD, …
    Session,
    /// COPY.
    Copy(CopyDirection),
    /// Everything else that is known: SHOW, NOTIFY, LOCK, VACUUM, DO, CALL, …
    Utility,
    /// Not known, or not readable.
    Unknown,
}

/// Where COPY moves data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CopyDirection {
    /// `FROM STDIN`: the server asks for data.
    FromClient,
    /// `TO STDOUT`.
    ToClient,
    /// `FROM 'file'` or `FROM PROGRAM`.
    FromServer,
    /// `TO 'file'` or `TO PROGRAM`.
    ToServer,
}

/// Isolation levels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Isolation {
    ReadUncommitted,
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// The modes of BEGIN and SET TRANSACTION; of a repeated one the last counts, as in PostgreSQL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TransactionModes {
    /// READ ONLY or READ WRITE.
    pub read_only: Option<bool>,
    /// ISOLATION LEVEL.
    pub isolation: Option<Isolation>,
    /// DEFERRABLE or NOT DEFERRABLE.
    pub deferrable: Option<bool>,
}

/// Transaction control.
#[derive(Clone, PartialEq, Debug)]
pub enum TransactionVerb {
    /// BEGIN, START TRANSACTION.
    Begin(TransactionModes),
    /// COMMIT, END.
    Commit {
        /// AND CHAIN: another transaction with the same modes starts at once.
        chain: bool,
    },
    /// ROLLBACK, ABORT.
    Rollback {
        /// AND CHAIN.
        chain: bool,
    },
    /// SAVEPOINT.
    Savepoint(Name),
    /// RELEASE SAVEPOINT.
    Release(Name),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(Name),
    /// PREPARE TRANSACTION.
    PrepareTransaction,
    /// COMMIT PREPARED.
    CommitPrepared,
    /// ROLLBACK PREPARED.
    RollbackPrepared,
    /// SET TRANSACTION.
    SetTransaction {
        /// The modes named.
        modes: TransactionModes,
        /// SET TRANSACTION SNAPSHOT.
        snapshot: bool,
    },
    /// SET SESSION CHARACTERISTICS AS TRANSACTION.
    SetSessionCharacteristics(TransactionModes),
}

impl TransactionVerb {
    /// Whether the transaction block it runs in is over after it (with AND CHAIN a new one is open).
    pub fn ends_transaction(&self) -> bool {
        matches!(self, Self::Commit { .. } | Self::Rollback { .. } | Self::PrepareTransaction)
    }
}

/// Whether a statement may run while nothing may change. The SQLSTATE is always 25006.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Refusal {
    /// The guarded server has the last word.
    #[default]
    Allowed,
    /// PostgreSQL refuses it in a READ ONLY transaction.
    ByPostgres {
        /// Unless its target is a temporary table: a session that has one must ask the server.
        unless_temporary: bool,
    },
    /// It asks for READ WRITE in plain words. What is sent in its place asks for READ ONLY.
    AsksReadWrite(ReadWriteRequest),
    /// PostgreSQL 15 would run it in a READ ONLY transaction though it writes or lifts the guard.
    ByPgsluice(Reason),
}

impl Refusal {
    /// Order of certainty and danger.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Self::Allowed => 0,
            Self::ByPostgres { unless_temporary: true } => 1,
            Self::ByPgsluice(Reason::Command(_) | Reason::Function { .. }) => 2,
            // What else is to be said of the statement is read in what takes its place.
            Self::AsksReadWrite(_) => 3,
            Self::ByPgsluice(Reason::LiftsGuard) => 4,
            Self::ByPostgres { unless_temporary: false } => 5,
        }
    }

    /// Keeps the heavier of the two, the first where they weigh the same.
    pub(super) fn worsen(&mut self, other: Refusal) {
        if other.weight() > self.weight() {
            *self = other;
        }
    }

    /// The same of a text that is run later, or by a function: there nothing can be sent in its place.
    #[must_use]
    pub(super) fn out_of_reach(self) -> Self {
        match self {
            Self::AsksReadWrite(_) => Self::ByPgsluice(Reason::LiftsGuard),
            other => other,
        }
    }

    /// Whether it has to be refused although the server would run it.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::ByPgsluice(_) | Self::AsksReadWrite(_))
    }

    /// The primary message for a statement with this tag, where it is refused.
    pub fn message(&self, tag: &str) -> Option<Cow<'static, str>> {
        let read_only = |what: std::fmt::Arguments| format!("cannot execute {what} in a read-only transaction").into();
        match self {
            Self::Allowed => None,
            Self::AsksReadWrite(_) | Self::ByPgsluice(Reason::LiftsGuard) => {
                Some("cannot set transaction read-write mode inside a read-only transaction".into())
            }
            Self::ByPgsluice(Reason::Function { name, .. }) => Some(read_only(format_args!("{name}()"))),
            Self::ByPgsluice(Reason::Command(_)) | Self::ByPostgres { .. } => Some(read_only(format_args!("{tag}"))),
        }
    }
}

/// Why pgsluice refuses what PostgreSQL would run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reason {
    /// It would make this or later transactions read-write.
    LiftsGuard,
    /// It calls a function of the refusal list.
    Function {
        /// The function, without schema.
        name: Box<str>,
        /// What it changes.
        why: Why,
    },
    /// The statement itself is on the refusal list.
    Command(Why),
}

/// Where a statement may run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proven {
    /// On any replica at any time. It speaks of the text alone: views, operators and casts of the database's own, and
    /// the session's temporary tables, are for the caller to know.
    Read,
    /// Allowed in READ ONLY transactions, but not in recovery, or it must be seen by others on the primary.
    PrimaryOnly,
    /// Anything else.
    Doubt,
}

/// What a statement does to the state of its session.
#[derive(Clone, PartialEq, Debug)]
pub enum SessionEffect {
    /// Nothing.
    None,
    /// SET, SET TIME ZONE, SET NAMES, …
    Set {
        /// Setting, in lower case (`timezone`, `client_encoding`, `search_path`, `xmloption` for the special forms).
        name: Name,
        /// Raw text of the right-hand side; the statement's own span is what replays every form.
        value: Range<u32>,
        /// SET LOCAL.
        local: bool,
        /// TO DEFAULT, TIME ZONE LOCAL.
        default: bool,
    },
    /// SET ROLE, in any spelling.
    SetRole {
        /// SET LOCAL.
        local: bool,
    },
    /// SET SESSION AUTHORIZATION, in any spelling.
    SetSessionAuthorization {
        /// SET LOCAL.
        local: bool,
    },
    /// SET SESSION CHARACTERISTICS AS TRANSACTION.
    Characteristics(TransactionModes),
    /// RESET of one setting.
    Reset(Name),
    /// RESET ALL.
    ResetAll,
    /// DISCARD ALL.
    DiscardAll,
    /// DISCARD TEMP.
    DiscardTemp,
    /// DISCARD PLANS.
    DiscardPlans,
    /// DISCARD SEQUENCES.
    DiscardSequences,
    /// LISTEN.
    Listen(Name),
    /// UNLISTEN; `None` for `*`.
    Unlisten(Option<Name>),
    /// SQL-level PREPARE.
    Prepare {
        /// Name of the prepared statement.
        name: Name,
        /// What it will run. PREPARE itself is allowed: the verdict belongs to EXECUTE.
        inner: Box<Statement>,
    },
    /// SQL-level EXECUTE: ask the verdict of what was prepared.
    Execute(Name),
    /// DEALLOCATE; `None` for ALL.
    Deallocate(Option<Name>),
    /// DECLARE … WITH HOLD.
    DeclareWithHold(Name),
    /// CLOSE; `None` for ALL.
    CloseCursor(Option<Name>),
    /// Makes a temporary object.
    CreateTemp,
    /// Takes a session-level advisory lock.
    AdvisoryLock,
    /// Gives session-level advisory locks back.
    AdvisoryUnlock,
    /// LOAD.
    Load,
    /// `set_config` with nothing but constants.
    SetConfig {
        /// Setting, in lower case.
        name: Name,
        /// New value; `None` for NULL, which means the default.
        value: Option<Name>,
        /// Only until the transaction ends.
        local: bool,
    },
    /// Leaves something else in the server's session: the function that does it.
    Holds(&'static str),
    /// Leaves this behind, by what it does inside or with values that only the server knows: a DO, `set_config` of a constant
    /// setting.
    Leaves(Box<Left>),
    /// Asks what a sequence last gave in this session: `currval()`, `lastval()`. Where they are only named (as a column's
    /// default) too.
    AsksSequence,
    /// Shows the session's prepared statements: `pg_prepared_statements`.
    ShowsPrepared,
    /// Wants no session in a database but its own: DROP DATABASE and its like.
    Empties(Name),
    /// May do any of these: DO, CALL, `set_config` with computed arguments.
    Unknown,
}

impl SessionEffect {
    /// How much it binds the session to its server connection.
    pub(super) fn weight(&self) -> u8 {
        match self {
            Self::None | Self::Empties(_) | Self::AsksSequence | Self::ShowsPrepared => 0,
            Self::Leaves(left) if left.kinds.binds() => 7,
            Self::Leaves(_) => 4,
            Self::CloseCursor(_) | Self::AdvisoryUnlock | Self::Unlisten(_) | Self::Deallocate(_) => 1,
            Self::DiscardPlans | Self::DiscardSequences | Self::DiscardTemp | Self::DiscardAll => 2,
            Self::Execute(_) => 3,
            Self::Reset(_) | Self::ResetAll | Self::Set { .. } | Self::SetConfig { .. } | Self::Characteristics(_) => 4,
            Self::SetRole { .. } | Self::SetSessionAuthorization { .. } | Self::Prepare { .. } => 5,
            Self::Load | Self::Holds(_) | Self::Listen(_) => 6,
            Self::DeclareWithHold(_) | Self::AdvisoryLock | Self::CreateTemp => 7,
            Self::Unknown => 8,
        }
    }

    fn stronger<'a>(&'a self, other: &'a Self) -> &'a Self {
        if other.weight() > self.weight() { other } else { self }
    }

    /// Whether the session needs this very server connection for as long as the effect lasts.
    pub fn pins(&self) -> bool {
        self.weight() >= 6
    }
}
