//! The one table that a statement writes to, for write rules: known only where every effect of the statement can be named.

use super::classify::builtins;
use super::tree::{MAX_TREE_BYTES, QualifiedName, qualified, relations_and_functions};
use sqlparser::ast::{FromTable, Statement, TableFactor, TableObject, TableWithJoins, Visit, Visitor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// Functions beside the plain reads that change nothing but what the statement itself changes: the defaults that drivers and
/// frameworks write out.
const HARMLESS: [&str; 7] =
    ["nextval", "currval", "lastval", "gen_random_uuid", "random", "clock_timestamp", "txid_current_if_assigned"];

/// What a statement does to its table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// INSERT, with ON CONFLICT too.
    Insert,
    /// UPDATE.
    Update,
    /// DELETE.
    Delete,
}

impl Verb {
    /// CommandComplete of such a statement, for so many rows.
    pub fn tag(self, rows: u32) -> String {
        match self {
            Self::Insert => format!("INSERT 0 {rows}"),
            Self::Update => format!("UPDATE {rows}"),
            Self::Delete => format!("DELETE {rows}"),
        }
    }
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// What is done.
    pub verb: Verb,
    /// The table, as it is written.
    pub table: QualifiedName,
    /// Whether the statement gives rows.
    pub returning: bool,
    /// An INSERT that may update instead.
    pub upserts: bool,
}

/// How many statements there are, those within others too.
struct Count(usize);

impl Visitor for Count {
    type Break = ();

    fn pre_visit_statement(&mut self, _: &Statement) -> ControlFlow<()> {
        self.0 += 1;
        ControlFlow::Continue(())
    }
}

/// Reads one statement. None: its effects are not all known. The text must mean the same to every reader: its strings are
/// standard ones, and it is UTF-8.
pub fn target(text: &[u8]) -> Option<Target> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_TREE_BYTES)?;
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, text).ok()?;
    let [statement] = statements.as_slice() else { return None };
    let mut count = Count(0);
    let _ = statement.visit(&mut count);
    if count.0 != 1 {
        return None;
    }
    let names = relations_and_functions(text)?;
    let known = |function: &QualifiedName| {
        function.schema.as_deref().is_none_or(|schema| schema == "pg_catalog")
            && (builtins::is_plain_read(function.name.as_bytes()) || HARMLESS.contains(&&*function.name))
    };
    if !names.functions.iter().all(known) {
        return None;
    }
    let upserts = matches!(statement, Statement::Insert(insert) if insert.on.is_some());
    let (verb, table, returning) = match statement {
        Statement::Insert(insert) => match &insert.table {
            TableObject::TableName(name) => (Verb::Insert, qualified(name)?, insert.returning.is_some()),
            _ => return None,
        },
        Statement::Update(update) => (Verb::Update, plain(&update.table)?, update.returning.is_some()),
        Statement::Delete(delete) => {
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
            let ([from], []) = (from.as_slice(), delete.tables.as_slice()) else { return None };
            (Verb::Delete, plain(from)?, delete.returning.is_some())
        }
        _ => return None,
    };
    Some(Target { verb, table, returning, upserts })
}

fn plain(table: &TableWithJoins) -> Option<QualifiedName> {
    match &table.relation {
        TableFactor::Table { name, args: None, .. } if table.joins.is_empty() => qualified(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_found() {
        for (text, found) in [
            ("update auth_user set last_login = now() where id = 1", "UPDATE 0 auth_user"),
            ("UPDATE s.\"T\" AS x SET a = x.b + 1 FROM u WHERE u.id = x.id RETURNING a", "UPDATE 0 s.T returning"),
            ("insert into t (a) values (1), ($2) on conflict (a) do update set a = excluded.a", "INSERT 0 0 t"),
            ("insert into t select * from u returning id", "INSERT 0 0 t returning"),
            ("insert into t values (nextval('t_id_seq'), pg_catalog.lower('A'))", "INSERT 0 0 t"),
            ("delete from django_session where expire_date < $1;", "DELETE 0 django_session"),
            ("delete from t using u where t.id = u.id", "DELETE 0 t"),
        ] {
            let target = target(text.as_bytes()).unwrap_or_else(|| panic!("{text}"));
            let schema = target.table.schema.map(|schema| format!("{schema}.")).unwrap_or_default();
            let returning = if target.returning { " returning" } else { "" };
            assert_eq!(format!("{} {schema}{}{returning}", target.verb.tag(0), target.table.name), found, "{text}");
        }
    }

    #[test]
    fn what_has_other_effects_has_none() {
        for text in [
            "update t set a = f(1)",
            "update t set a = other.lower('x')",
            "insert into t select * from g(1)",
            "with x as (delete from u returning *) insert into t select * from x",
            "update t set a = 1; delete from u",
            "select 1",
            "truncate t",
            "copy t from stdin",
            "merge into t using u on t.id = u.id when matched then delete",
            "create table t ()",
            "explain analyze delete from t",
            "",
        ] {
            assert_eq!(target(text.as_bytes()), None, "{text}");
        }
        assert_eq!(target(b"delete from t where a = '\xff'"), None);
    }
}
