//! What is written elsewhere, or later: over connections that nobody guards, and by triggers that are put off until COMMIT.

use std::rc::Rc;

use super::question::FAR;
use super::{Graph, Index, Map, Node, Row, Writer};
use crate::sql::classify::analyzer::Analyzer;
use crate::sql::classify::function_calls;
use crate::sql::hidden_writers::mentions::{Depth, Mention, mentions};
use crate::sql::hidden_writers::run_text::remote::leads_on;
use crate::sql::hidden_writers::verdict::HiddenWriters;
use crate::sql::lex::lexer::Lexer;

fn is_far(writer: &Writer) -> bool {
    FAR.contains(&&*writer.what)
}

impl Graph {
    /// Keeps the text of a function or a view that may call dblink or its like.
    pub(super) fn note_remote(&mut self, row: &Row) {
        let field = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
        let oid = |at: usize| field(at).parse::<u32>().unwrap_or_default();
        let (node, text) = match field(0) {
            "f" if matches!(field(4), "sql" | "plpgsql") => ((b'f', oid(1)), field(7)),
            "v" => ((b'r', oid(2)), field(3)),
            _ => return,
        };
        if text.as_bytes().windows(6).any(|word| word.eq_ignore_ascii_case(b"dblink")) {
            self.remote.push((node, text.into()));
        }
    }

    /// Functions and views whose text runs something elsewhere that is not shown to write nothing.
    pub(super) fn by_remote_text(&self, unseen: &HiddenWriters, analyzer: &Analyzer) -> Vec<(Node, Rc<str>)> {
        let scope = analyzer.scope();
        let why = |text: &str| {
            let mut found = None;
            let readings: &[bool] = if text.contains('\\') { &[true, false] } else { &[true] };
            for standard in readings {
                let lexer = Lexer::new(text.as_bytes(), *standard);
                mentions(lexer, scope, true, Depth::Constants, &mut |mention| {
                    if let Mention::Call(schema, name, ref behind) = mention
                        && found.is_none()
                        && function_calls::remote(name).is_some()
                    {
                        found = leads_on(unseen, scope, (schema, name), behind);
                    }
                });
            }
            found
        };
        let found = self.remote.iter().filter_map(|(node, text)| Some((*node, why(text)?.as_ref().into())));
        found.collect()
    }

    /// Temporary tables whose triggers may put off others until COMMIT, behind every question. No others can be written to where
    /// nothing may be written.
    pub(super) fn deferring(&self, index: &Index<'_>, allowed: &dyn Fn(Node) -> bool) -> Map<Node, Rc<str>> {
        let why: Rc<str> = "triggers that are put off until COMMIT".into();
        let roots = self.routines.iter().filter(|one| one.defers).map(|one| ((b'f', one.oid), why.clone()));
        let mut all = self.spread(&roots.collect::<Vec<_>>(), index, allowed);
        all.retain(|node, _| {
            node.0 == b'w' && self.names.get(node).is_some_and(|table| table.schema.starts_with("pg_temp"))
        });
        all
    }

    /// Whether text that somebody who is no superuser puts together can name a foreign table that writes, or what leads to one.
    pub(super) fn reaches_elsewhere(
        &self,
        elsewhere: &[(Node, Rc<str>)],
        index: &Index<'_>,
        allowed: &dyn Fn(Node) -> bool,
    ) -> bool {
        let own = self.writers.iter().filter(|(node, writer)| matches!(node.0, b'r' | b'w') && !is_far(writer));
        let own = own.map(|(node, writer)| (*node, writer.what.clone()));
        let roots: Vec<_> = own.chain(elsewhere.iter().cloned()).collect();
        self.may_be_read(&self.spread(&roots, index, allowed))
    }

    /// Whether such text can name a foreign table of which nobody knows where it leads. Then only text that nobody can read is suspect.
    pub(super) fn reaches_far(&self, analyzer: &Analyzer) -> bool {
        let far = self.writers.iter().filter(|(_, writer)| is_far(writer));
        let roots: Vec<_> = far.map(|(node, writer)| (*node, writer.what.clone())).collect();
        if roots.is_empty() {
            return false;
        }
        let index = Index::new(self);
        self.may_be_read(&self.spread(&roots, &index, &|node| self.is_allowed(node, &index, analyzer)))
    }

    /// Whether somebody who is no superuser may use any of these relations.
    fn may_be_read(&self, all: &Map<Node, Rc<str>>) -> bool {
        all.keys().any(|node| self.names.get(node).is_some_and(|one| one.letters == "x"))
    }

    /// Foreign tables that stand for what may write at the other end, over a connection that nobody guards.
    pub(super) fn foreign(&self, writing: &Map<Node, Rc<str>>) -> Vec<(Node, Rc<str>)> {
        let links = self.links.iter().filter(|(_, far)| writing.contains_key(&(b'r', *far)));
        let name = |far: &u32| self.names.get(&(b'r', *far)).map(|far| format!("{}.{}", far.schema, far.name));
        let why = |far| format!("{}, which it reads over another connection", name(far).unwrap_or_default());
        links.map(|(near, far)| ((b'r', *near), why(far).into())).collect()
    }
}
