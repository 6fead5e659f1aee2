//! Statements around a client's transaction: blocks, savepoints, the guard, and what a client's state leaves behind.

use crate::sql::lex::quote::{ident, literal};
use crate::sql::with_hold_cursor::Declaration;

/// Fails in every database and in every transaction (22012; in a failed one, as any statement, 25P02).
pub const POISON: &str = "SELECT 1 OPERATOR(pg_catalog./) 0";
/// Opens a block that cannot write.
pub const BEGIN_READ_ONLY: &str = "BEGIN READ ONLY";
/// Opens a block.
pub const BEGIN: &str = "BEGIN";
/// Ends a block.
pub const COMMIT: &str = "COMMIT";
/// Ends a block without effect.
pub const ROLLBACK: &str = "ROLLBACK";
/// Makes the session's transactions READ ONLY from the next one on.
pub const ARM: &str = "SET SESSION default_transaction_read_only = on";
/// Takes that back, for a session that has set it so.
pub const DISARM: &str = "SET SESSION default_transaction_read_only = off";
/// Takes that back; the value is the server's own.
pub const DISARM_TO_DEFAULT: &str = "RESET default_transaction_read_only";
/// Ahead of a Parse that may fail in a client's transaction.
pub const SAVEPOINT: &str = "SAVEPOINT pgsluice";
/// Goes back to [`SAVEPOINT`] and removes it.
pub const BACK_TO_SAVEPOINT: &str = "ROLLBACK TO SAVEPOINT pgsluice; RELEASE SAVEPOINT pgsluice";

/// A row if another transaction, begun alike, would do as well.
pub const READ_COMMITTED: &str = "SELECT 1 WHERE pg_catalog.current_setting('transaction_isolation') \
    OPERATOR(pg_catalog.=) ANY ('{read committed,read uncommitted}'::pg_catalog.text[])";

/// Asks an open transaction whether it has an id and, if not, makes it READ ONLY: one row then, else none. `OFFSET 0` keeps
/// the planner from calling set_config for a row that the condition drops. The session's default goes along for what
/// follows the transaction.
///
/// Locks tell what an id does not, and are held to the end: a foreign table that was touched, even from inside a function, may have
/// been written at the other end and is committed there with this transaction; behind a cursor that is open, RowShareLock is
/// that of FOR UPDATE or FOR SHARE, and fetching goes on locking rows.
macro_rules! fence {
    ($cursors:literal) => {
        concat!(
            "SELECT pg_catalog.set_config('transaction_read_only', 'on', true), \
             pg_catalog.set_config('default_transaction_read_only', 'on', false) \
             FROM (SELECT pg_catalog.pg_current_xact_id_if_assigned() IS NULL \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_locks AS l, pg_catalog.pg_class AS c \
             WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() \
             AND c.oid OPERATOR(pg_catalog.=) l.relation \
             AND (c.relkind OPERATOR(pg_catalog.=) 'f'::pg_catalog.\"char\" \
             OR l.mode OPERATOR(pg_catalog.=) 'RowShareLock'::pg_catalog.text \
             AND EXISTS (SELECT FROM pg_catalog.pg_cursor()))) \
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_cursor() WHERE ",
            $cursors,
            ") AS clean OFFSET 0) AS xact WHERE clean"
        )
    };
}

/// See `fence`. A cursor WITH HOLD that this transaction has declared, wherever, runs its query within COMMIT.
pub const FENCE: &str =
    fence!("is_holdable AND creation_time OPERATOR(pg_catalog.>=) pg_catalog.transaction_timestamp()");

/// The same, unless the transaction has a cursor that could run code when it is fetched from.
pub const FENCE_WITHOUT_CURSORS: &str =
    fence!("NOT is_holdable OR creation_time OPERATOR(pg_catalog.>=) pg_catalog.transaction_timestamp()");

/// Where no snapshot has been taken yet, none must be: the client may still choose its isolation level.
pub const FENCE_EARLY: &str = "SET TRANSACTION READ ONLY";

/// A row if the session listens to a channel.
pub const LISTENS: &str = "SELECT 1 FROM pg_catalog.pg_listening_channels() LIMIT 1";
/// A row if it has temporary objects.
pub const HAS_TEMPORARY: &str = "SELECT 1 FROM pg_catalog.pg_depend \
    WHERE refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass \
    AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema() LIMIT 1";
/// A row if it has cursors WITH HOLD.
pub const HAS_HELD_CURSOR: &str = "SELECT 1 FROM pg_catalog.pg_cursors WHERE is_holdable LIMIT 1";
/// A row if it has advisory locks.
pub const HAS_ADVISORY_LOCK: &str = "SELECT 1 FROM pg_catalog.pg_locks \
    WHERE locktype OPERATOR(pg_catalog.=) 'advisory'::pg_catalog.text \
    AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() LIMIT 1";
/// Makes a server process forget what its sequences last gave.
pub const FORGET_SEQUENCES: &str = "DISCARD SEQUENCES;";

/// The rows of a query that runs once.
const ROWS: &str = "\n) SELECT * FROM pgsluice_rows";

/// The same behind an empty row, which the count of them all stands ahead of. A join on the place alone keeps their order.
const ROW_AHEAD: &str = "\n) SELECT kept.* FROM (VALUES (0), (1)) AS place(n) \
    LEFT JOIN pgsluice_rows AS kept ON place.n OPERATOR(pg_catalog.=) 1 \
    WHERE place.n OPERATOR(pg_catalog.<=) (SELECT pg_catalog.count(*) FROM pgsluice_rows)";

/// Declares a cursor whose query runs once, however often the cursor is rewound: its rows are kept from the first run on, and COMMIT
/// copies those. One that cannot be rewound has a row more ahead of the others, which is there only when all of them are.
pub fn declare_run_once(cursor: &str, declared: Declaration<'_>) -> Vec<u8> {
    let cursor = ident(cursor);
    let binary = if declared.binary { "BINARY " } else { "" };
    let (scroll, rows) = if declared.forward_only { ("NO SCROLL", ROW_AHEAD) } else { ("SCROLL", ROWS) };
    let head = format!("DECLARE {cursor} {binary}{scroll} CURSOR WITH HOLD FOR WITH pgsluice_rows AS MATERIALIZED (");
    [head.as_bytes(), declared.query, rows.as_bytes()].concat()
}

/// Which declaration of a cursor this is, as one value: `pg_cursor()`'s row in words.
macro_rules! declaration {
    () => {
        "pg_catalog.concat((pg_catalog.date_part('epoch', creation_time) \
         OPERATOR(pg_catalog.*) 1000000::pg_catalog.float8)::pg_catalog.int8, ' ', name)"
    };
}
pub(super) use declaration;

/// Asks for the declaration of an open cursor.
pub fn declaration_of(cursor: &str) -> String {
    let name = literal(cursor);
    format!(
        "SELECT {} FROM pg_catalog.pg_cursor() WHERE name OPERATOR(pg_catalog.=) {name}::pg_catalog.text",
        declaration!()
    )
}

/// Runs the query of a cursor that runs once to its end.
pub fn run_cursor(cursor: &str, forward_only: bool) -> String {
    let rows = if forward_only { "1" } else { "ALL" };
    format!("MOVE FORWARD {rows} IN {}", ident(cursor))
}

/// Puts such a cursor ahead of its first row, where one that cannot be rewound stands already.
pub fn rewind_cursor(cursor: &str, forward_only: bool) -> String {
    let place = if forward_only { "RELATIVE" } else { "ABSOLUTE" };
    format!("MOVE {place} 0 IN {}", ident(cursor))
}

/// Closes a cursor.
pub fn close_cursor(cursor: &str) -> String {
    format!("CLOSE {}", ident(cursor))
}

/// See [`crate::sql::own_statements::all`].
pub(super) fn all() -> Vec<(&'static str, String)> {
    let mut all = super::named(&[
        ("ARM", ARM),
        ("DISARM", DISARM),
        ("DISARM_TO_DEFAULT", DISARM_TO_DEFAULT),
        ("READ_COMMITTED", READ_COMMITTED),
        ("LISTENS", LISTENS),
        ("HAS_TEMPORARY", HAS_TEMPORARY),
        ("HAS_HELD_CURSOR", HAS_HELD_CURSOR),
        ("HAS_ADVISORY_LOCK", HAS_ADVISORY_LOCK),
        ("FORGET_SEQUENCES", FORGET_SEQUENCES),
        ("BEGIN_READ_ONLY", BEGIN_READ_ONLY),
        ("COMMIT", COMMIT),
        ("BEGIN", BEGIN),
        ("SAVEPOINT", SAVEPOINT),
        ("BACK_TO_SAVEPOINT", BACK_TO_SAVEPOINT),
        ("FENCE_EARLY", FENCE_EARLY),
        ("FENCE", FENCE),
        ("FENCE_WITHOUT_CURSORS", FENCE_WITHOUT_CURSORS),
    ]);
    let cursor = "my.Cursor \"1\"";
    all.push(("a client's cursor", format!("DECLARE {} CURSOR FOR VALUES (1)", ident(cursor))));
    all.push(("close_cursor", close_cursor(cursor)));
    for (forward_only, what) in [(true, "declare_run_once, NO SCROLL"), (false, "declare_run_once")] {
        let declared = Declaration { binary: true, forward_only, query: b"VALUES (1)" };
        all.push((what, String::from_utf8_lossy(&declare_run_once(cursor, declared)).into_owned()));
        all.push(("declaration_of", declaration_of(cursor)));
        all.push(("run_cursor", run_cursor(cursor, forward_only)));
        all.push(("rewind_cursor", rewind_cursor(cursor, forward_only)));
        all.push(("close_cursor", close_cursor(cursor)));
    }
    all.extend(super::named(&[("ROLLBACK", ROLLBACK), ("POISON", POISON)]));
    all
}
