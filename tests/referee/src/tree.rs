//! What PostgreSQL's own tree says of a statement.

use pg_query::NodeEnum;
use pg_query::protobuf::TransactionStmtKind;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionClass {
    /// Changes something if it runs, or is one of the commands that pgsluice refuses besides.
    Write,
    /// Changes nothing by itself; what it calls may.
    Read,
    /// Locks rows, sets, prepares, or runs something that only the server knows: neither is certain.
    Other,
}

/// The nature of each statement; `None` where the grammar fails.
pub fn natures(text: &str) -> Option<Vec<TransactionClass>> {
    let parsed = pg_query::parse(text, 0).ok()?;
    let nodes = parsed.protobuf.stmts.iter().map(|raw| raw.stmt.as_ref()?.node.as_ref());
    Some(nodes.map(|node| node.map_or(TransactionClass::Other, nature)).collect())
}

fn nature(node: &NodeEnum) -> TransactionClass {
    match node {
        NodeEnum::SelectStmt(_) => query(node),
        NodeEnum::DeclareCursorStmt(declare) => inner(declare.query.as_deref()),
        NodeEnum::CopyStmt(copy) if copy.is_from => TransactionClass::Write,
        NodeEnum::CopyStmt(copy) => match inner(copy.query.as_deref()) {
            TransactionClass::Read => TransactionClass::Other,
            nature => nature,
        },
        NodeEnum::ExplainStmt(explain) => {
            let analyzes = format!("{:?}", explain.options).to_lowercase().contains("\"analyze\"");
            if !analyzes {
                return TransactionClass::Read;
            }
            match inner(explain.query.as_deref()) {
                // Switched off, perhaps; and of CREATE it depends.
                TransactionClass::Write if explain.options.iter().any(|o| format!("{o:?}").contains("arg: Some")) => {
                    TransactionClass::Other
                }
                nature => nature,
            }
        }
        NodeEnum::VariableShowStmt(_) | NodeEnum::FetchStmt(_) => TransactionClass::Read,
        NodeEnum::TransactionStmt(transaction) => match transaction.kind() {
            TransactionStmtKind::TransStmtPrepare
            | TransactionStmtKind::TransStmtCommitPrepared
            | TransactionStmtKind::TransStmtRollbackPrepared => TransactionClass::Write,
            _ => TransactionClass::Other,
        },
        NodeEnum::CallStmt(_)
        | NodeEnum::DoStmt(_)
        | NodeEnum::ClosePortalStmt(_)
        | NodeEnum::ConstraintsSetStmt(_)
        | NodeEnum::DeallocateStmt(_)
        | NodeEnum::DiscardStmt(_)
        | NodeEnum::ExecuteStmt(_)
        | NodeEnum::LoadStmt(_)
        | NodeEnum::PrepareStmt(_)
        | NodeEnum::UnlistenStmt(_)
        | NodeEnum::ListenStmt(_)
        | NodeEnum::NotifyStmt(_)
        | NodeEnum::LockStmt(_)
        | NodeEnum::VariableSetStmt(_) => TransactionClass::Other,
        // ClassifyUtilityCommandAsReadOnly knows no others, and the commands that it lets write are on our list.
        _ => TransactionClass::Write,
    }
}

fn inner(node: Option<&pg_query::protobuf::Node>) -> TransactionClass {
    node.and_then(|node| node.node.as_ref()).map_or(TransactionClass::Other, nature)
}

/// A query writes by INTO or by a WITH, at any depth. The tree's own printing shows every depth.
fn query(node: &NodeEnum) -> TransactionClass {
    let printed = format!("{node:?}");
    let has = |name: &str| printed.contains(name);
    if has("InsertStmt(") || has("UpdateStmt(") || has("DeleteStmt(") || has("MergeStmt(") || has("IntoClause {") {
        TransactionClass::Write
    } else if has("LockingClause(") {
        TransactionClass::Other
    } else {
        TransactionClass::Read
    }
}
