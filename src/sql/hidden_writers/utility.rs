//! Commands that are no queries.

use crate::sql::lex::keyword::Keyword as K;

/// Words with which commands begin that are no queries: they change tables, the catalog or the session, or say what COMMIT does.
pub(super) fn is_utility(word: K) -> bool {
    matches!(
        word,
        K::Abort
            | K::Alter
            | K::Analyse
            | K::Analyze
            | K::Call
            | K::Checkpoint
            | K::Cluster
            | K::Comment
            | K::Commit
            | K::Copy
            | K::Create
            | K::Deallocate
            | K::Delete
            | K::Discard
            | K::Do
            | K::Drop
            | K::Explain
            | K::Grant
            | K::Hold
            | K::Import
            | K::Insert
            | K::Listen
            | K::Load
            | K::Lock
            | K::Merge
            | K::Notify
            | K::Prepare
            | K::Reassign
            | K::Refresh
            | K::Reindex
            | K::Release
            | K::Repack
            | K::Reset
            | K::Revoke
            | K::Rollback
            | K::Savepoint
            | K::Security
            | K::Set
            | K::Start
            | K::Truncate
            | K::Unlisten
            | K::Update
            | K::Vacuum
    )
}

/// What a part of a body holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Section {
    Statements,
    /// Those of a block in PL/pgSQL, of its variables.
    Declarations,
}
