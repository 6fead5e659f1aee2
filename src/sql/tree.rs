//! Tables and functions that a statement names, by sqlparser, for write rules and routing.
//!
//! It decides nothing about safety. sqlparser knows about nine in ten of PostgreSQL's own test statements, swallows
//! what follows `COPY … FROM STDIN;` as data and overlooks the INTO of `SELECT INTO`: where it could mislead, and
//! wherever it does not know the syntax, the answer is `None`, which means "not known" and never "none".

use sqlparser::ast::{
    Expr, Function, ObjectName, ObjectNamePart, Query, Statement, TableFactor, TableObject, Visit, Visitor,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;
use std::ops::ControlFlow;

/// Bytes of text that are parsed; a longer one is not known. Parsing costs about 100 ns a byte.
pub const MAX_TREE_BYTES: usize = 64 << 10;

/// A name as the server would resolve it: folded unless quoted.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct QualifiedName {
    /// The schema, where one is written.
    pub schema: Option<Box<str>>,
    /// The table or function.
    pub name: Box<str>,
}

/// What a text names, each once, in order of first appearance. Names of common table expressions are left out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tree {
    /// Tables, views and everything else that stands where a table can.
    pub tables: Vec<QualifiedName>,
    /// Functions.
    pub functions: Vec<QualifiedName>,
}

/// Parses the text and names what it uses; `None` if that is not known for certain.
pub fn relations_and_functions(text: &str) -> Option<Tree> {
    if text.len() > MAX_TREE_BYTES {
        return None;
    }
    let statements = Parser::parse_sql(&PostgreSqlDialect {}, text).ok()?;
    let mut names = Names::default();
    let sure = statements.iter().all(is_sure) && statements.visit(&mut names).is_continue();
    sure.then_some(names.tree)
}

/// Kinds of statements whose every table and function the walk below finds.
fn is_sure(statement: &Statement) -> bool {
    matches!(statement, Statement::Query(_) | Statement::Insert(_) | Statement::Update(_) | Statement::Delete(_))
}

#[derive(Default)]
struct Names {
    tree: Tree,
    /// Common table expressions in sight, one list for each query around.
    scopes: Vec<Vec<Box<str>>>,
}

fn fold(part: &ObjectNamePart) -> Option<Box<str>> {
    let ident = part.as_ident()?;
    let folded = ident.quote_style.is_none().then(|| ident.value.to_ascii_lowercase());
    Some(folded.unwrap_or_else(|| ident.value.clone()).into())
}

pub(super) fn qualified(name: &ObjectName) -> Option<QualifiedName> {
    let (last, before) = name.0.split_last()?;
    let schema = match before.last() {
        Some(part) => Some(fold(part)?),
        None => None,
    };
    Some(QualifiedName { schema, name: fold(last)? })
}

impl Names {
    fn table(&mut self, name: &ObjectName) -> ControlFlow<()> {
        let Some(name) = qualified(name) else { return ControlFlow::Break(()) };
        let is_cte = name.schema.is_none() && self.scopes.iter().flatten().any(|cte| *cte == name.name);
        if !is_cte && !self.tree.tables.contains(&name) {
            self.tree.tables.push(name);
        }
        ControlFlow::Continue(())
    }

    fn function(&mut self, name: &ObjectName) -> ControlFlow<()> {
        let Some(name) = qualified(name) else { return ControlFlow::Break(()) };
        if !self.tree.functions.contains(&name) {
            self.tree.functions.push(name);
        }
        ControlFlow::Continue(())
    }
}

impl Visitor for Names {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let ctes = query.with.iter().flat_map(|with| &with.cte_tables);
        let names = ctes.filter_map(|cte| fold(&ObjectNamePart::Identifier(cte.alias.name.clone())));
        self.scopes.push(names.collect());
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.scopes.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<()> {
        self.table(relation)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        match factor {
            // The walk gives the name of a function in FROM as a relation; better not known than wrong.
            TableFactor::Table { args: Some(_), .. } | TableFactor::Function { .. } => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(Function { name, .. }) => self.function(name),
            _ => ControlFlow::Continue(()),
        }
    }

    fn pre_visit_statement(&mut self, statement: &Statement) -> ControlFlow<()> {
        match statement {
            Statement::Insert(insert) => match &insert.table {
                TableObject::TableName(name) => self.table(name),
                _ => ControlFlow::Break(()),
            },
            _ => ControlFlow::Continue(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(names: &[QualifiedName]) -> String {
        let dotted = |n: &QualifiedName| match &n.schema {
            Some(schema) => format!("{schema}.{}", n.name),
            None => n.name.to_string(),
        };
        names.iter().map(dotted).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn names_are_found_and_folded() {
        for (text, tables, functions) in [
            ("select 1", "", ""),
            ("select count(*), S.F(x) from A, b.\"C\" join d on lower(d.x) = 'y'", "a b.C d", "count s.f lower"),
            ("insert into t (a) select b from u returning g(1)", "t u", "g"),
            ("update s.t set a = f(1) from u where exists (select from v)", "s.t u v", "f"),
            ("delete from t using u where t.a = u.a", "t u", ""),
            ("with c as (select * from t) select * from c, s.c", "t s.c", ""),
            ("with c as (delete from t returning *) select * from c; select 1 from w", "t w", ""),
        ] {
            let tree = relations_and_functions(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((&*show(&tree.tables), &*show(&tree.functions)), (tables, functions), "{text}");
        }
    }

    #[test]
    fn what_is_not_known() {
        for text in [
            "selec 1",
            "copy t from stdin; delete from t",
            "create table t (a int)",
            "select * from generate_series(1, 2)",
            "do 'x'",
            &format!("select '{}'", "x".repeat(MAX_TREE_BYTES)),
            &format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000)),
        ] {
            assert_eq!(relations_and_functions(text), None, "{}", &text[..20.min(text.len())]);
        }
    }
}
