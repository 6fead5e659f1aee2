//! The most that a statement may have done, as far as its text tells: to this transaction, and to what others can read.

use crate::sql::{CopyDirection, Kind, Proven, SessionEffect, Statement, TransactionVerb};

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

/// Whether anything may have been written, as far as reads on replicas have to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wrote {
    /// Nothing.
    #[default]
    Nothing,
    /// Perhaps.
    Perhaps,
    /// The transactions of other sessions too, which were prepared there.
    ForOthers,
}

/// Whether the function of PostgreSQL's own with that OID does nothing but read large objects: pg_dump calls those by number.
pub fn reads_large_objects(oid: u32) -> bool {
    const READERS: [u32; 7] = [952, 953, 954, 956, 958, 3170, 3171];
    READERS.contains(&oid)
}

/// The most that a statement may do, as far as its text tells.
pub fn ran(statement: &Statement) -> Ran {
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

/// Whether a statement may write what others can read.
pub fn wrote(statement: &Statement) -> Wrote {
    // They look at what is there, or change what belongs to the session.
    let of_session = ["PREPARE", "DEALLOCATE", "LISTEN", "UNLISTEN", "RESET", "DISCARD", "CLOSE"];
    let word = statement.tag.split(' ').next().unwrap_or_default();
    match &statement.kind {
        Kind::Transaction(TransactionVerb::CommitPrepared) => Wrote::ForOthers,
        Kind::Session | Kind::Utility if of_session.contains(&word) => Wrote::Nothing,
        _ if ran(statement) == Ran::Reads => Wrote::Nothing,
        _ => Wrote::Perhaps,
    }
}

/// Whether it makes settings and does nothing else. DECLARE CURSOR has no effect that is known.
pub fn only_sets(statement: &Statement) -> bool {
    !statement.effects.is_empty() && statement.effects.iter().all(|e| matches!(e, SessionEffect::Set { .. }))
}
