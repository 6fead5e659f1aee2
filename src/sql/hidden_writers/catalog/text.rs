//! Text that is put together when it runs: which functions run such text, and who could reach a writer by it.

use std::borrow::Cow;
use std::rc::Rc;

use super::{Graph, Index, Map, Node, Routine, in_schema};
use crate::sql::hidden_writers::reach::operators;
use crate::sql::hidden_writers::run_text::built::Built;
use crate::sql::hidden_writers::run_text::calls::TRUSTED;
use crate::sql::hidden_writers::verdict::HiddenWriters;

/// Nodes, each with why it is among them.
type Roots = Vec<(Node, Rc<str>)>;

/// Most times that the calls of all functions are gone through.
const MOST_ROUNDS: usize = 100;

/// Most functions that are named in one finding.
const MOST_NAMES: usize = 20;

impl Graph {
    /// Whether an unseen writer is within reach of a text that anybody who is no superuser puts together. `strong` is what leads to
    /// one by more than [`EVERYBODYS`](super::EVERYBODYS).
    pub(super) fn within_reach(&self, strong: &Map<Node, Rc<str>>) -> bool {
        self.roles || !self.callable(strong).is_empty()
    }

    /// What would have to be revoked for text that is put together to reach nothing of the kind.
    pub(super) fn remedies(&self, strong: &Map<Node, Rc<str>>) -> Vec<String> {
        let functions = self.callable(strong).into_iter().map(|one| {
            format!(
                "text that is put together by {0}.{1}(): REVOKE EXECUTE ON FUNCTION {0}.{1} FROM PUBLIC or who has it",
                one.schema, one.name
            )
        });
        let roles = self.roles.then(|| {
            "text that is put together by a role that may log in and is, perhaps through others, a member of a superuser, \
             pg_write_server_files or pg_execute_server_program: REVOKE that membership"
                .to_owned()
        });
        let mut all: Vec<String> = functions.chain(roles).collect();
        all.sort();
        all.dedup();
        all
    }

    /// Functions that lead to an unseen writer and that somebody who is no superuser may call.
    fn callable(&self, strong: &Map<Node, Rc<str>>) -> Vec<&Routine> {
        let has = |one: &Routine, flag: char| one.flags.contains(flag);
        self.routines
            .iter()
            .filter(|one| {
                let by_itself =
                    one.writer.as_ref().is_some_and(|writer| !writer.weak) || self.by_text.contains(&one.oid);
                match (has(one, 'b'), strong.contains_key(&(b'f', one.oid))) {
                    (true, _) => by_itself && has(one, 'g'),
                    (false, tainted) => {
                        let text_alone = one.writer.is_none() && one.builds;
                        // With the rights of who calls it, it reaches what they reach anyway.
                        let own_rights = tainted && has(one, 'd') && !text_alone || by_itself && !one.by_body;
                        own_rights && has(one, 'x') || self.by_text.contains(&one.oid) && has(one, 'x')
                    }
                }
            })
            .collect()
    }

    /// Whether there is a role that text could change a relation in place for.
    fn reaches_in_place(&self) -> bool {
        !self.keepers.is_empty() || self.routines.iter().any(|one| one.flags.contains('o'))
    }

    /// How the text is built that functions run, by themselves or by what they hand to others.
    pub(super) fn built(&self, index: &Index<'_>) -> Map<u32, Built> {
        let own = self.routines.iter().filter_map(|one| {
            let built = one.named.built?;
            Some((one.oid, if self.is_shadowed(one, index) { Built::Open } else { built }))
        });
        let mut all: Map<u32, Built> = own.collect();
        let mut changed = !all.is_empty();
        for _ in 0..MOST_ROUNDS {
            if !std::mem::take(&mut changed) {
                return all;
            }
            for one in &self.routines {
                let Some(built) = self.built_by_calls(one, &all, index) else { continue };
                let known = all.entry(one.oid).or_default();
                changed |= built > *known;
                *known = built.max(*known);
            }
        }
        // What has not come to an end by then may be anything.
        all.values_mut().filter(|_| changed).for_each(|built| *built = Built::Open);
        all
    }

    /// Whether something of the database's own could stand in the place of what is known of PostgreSQL's: a function, an operator, or
    /// a type by whose name a text was read.
    fn is_shadowed(&self, one: &Routine, index: &Index<'_>) -> bool {
        let own = |at: &usize| self.routines.get(*at).is_some_and(|known| !known.flags.contains('b'));
        let called = |name: &[u8]| index.by_name.get(name).into_iter().flatten().any(own);
        let trusted = |name: &[u8]| TRUSTED.iter().any(|known| known.as_bytes() == name);
        let operator = |run: &[u8]| self.shadowing.contains(run);
        one.named.calls.iter().any(|((_, name), _)| trusted(name) && called(name))
            || one.named.operators.iter().any(|(run, _)| operators(run).any(operator))
            || one.named.types.iter().any(|name| self.shadowing.contains(name))
    }

    /// The worst that a function hands to one that runs what it is given.
    fn built_by_calls(&self, one: &Routine, all: &Map<u32, Built>, index: &Index<'_>) -> Option<Built> {
        let given = |schema: &Option<Box<[u8]>>, name: &[u8]| {
            let named = index.by_name.get(name).into_iter().flatten().filter_map(|at| self.routines.get(*at));
            let schema = schema.clone();
            named.filter(move |known| in_schema(&schema, known) && all.get(&known.oid) == Some(&Built::Given))
        };
        let handed = one.named.hands.iter().filter(|((schema, name), _)| given(schema, name).next().is_some());
        let handed = handed.map(|(_, built)| *built);
        let lacks = one
            .named
            .calls
            .iter()
            .any(|((schema, name), arguments)| given(schema, name).any(|known| known.signature.lacks(arguments)));
        handed.chain(lacks.then_some(Built::Open)).max()
    }

    /// What leads to text that nobody can read: what is refused for the roles that reach a writer by it, and the functions that are
    /// refused for everybody, since they run with such a role's rights. `writers` are what is refused anyway.
    pub(super) fn open(
        &self,
        writers: &[(Node, Rc<str>)],
        built: &Map<u32, Built>,
        index: &Index<'_>,
        allowed: &dyn Fn(Node) -> bool,
    ) -> (Map<Node, Rc<str>>, Roots) {
        if !self.reaches_in_place() {
            return Default::default();
        }
        let refused = self.spread(writers, index, allowed);
        let named = refused.keys().any(|(kind, _)| matches!(kind, b'r' | b't' | b'c'));
        let least = if named { Built::Quoted } else { Built::Open };
        let why: Rc<str> = "text that nobody can read".into();
        let mut roots: Roots = Vec::new();
        for one in &self.routines {
            match built.get(&one.oid) {
                Some(Built::Given) => {
                    // Where what it is given cannot be seen: a view, an aggregate, a trigger.
                    let blind = |(kind, oid): &&Node| {
                        let at = index.by_oid.get(oid).filter(|_| *kind == b'f');
                        !at.and_then(|at| self.routines.get(*at)).is_some_and(|caller| caller.by_body)
                    };
                    let users = self.edges.get(&(b'f', one.oid)).into_iter().flatten();
                    roots.extend(users.filter(blind).map(|node| (*node, why.clone())));
                }
                Some(level) if *level >= least => roots.push(((b'f', one.oid), why.clone())),
                _ => {}
            }
        }
        let has = |node: Node, flag: char| {
            let at = index.by_oid.get(&node.1).filter(|_| node.0 == b'f');
            at.and_then(|at| self.routines.get(*at)).is_some_and(|one| one.flags.contains(flag))
        };
        let everywhere = self.spread(&roots, index, allowed);
        let lent = everywhere.keys().filter(|node| has(**node, 'o')).map(|node| (*node, why.clone())).collect();
        // What runs with its owner's rights leads to no more than those.
        let ends = |node: Node| allowed(node) || has(node, 's');
        (self.spread(&roots, index, &ends), lent)
    }

    /// Notes which functions run what they are given.
    pub(super) fn text_is_given(
        &self,
        unseen: &mut HiddenWriters,
        built: &Map<u32, Built>,
        allowed: &dyn Fn(Node) -> bool,
    ) {
        if !self.reaches_in_place() {
            return;
        }
        let given = |one: &&Routine| built.get(&one.oid) == Some(&Built::Given) && !allowed((b'f', one.oid));
        for one in self.routines.iter().filter(given) {
            let names = match (one.flags.contains('o'), one.flags.contains('s')) {
                (true, _) => &mut unseen.given_lent,
                (false, true) => continue,
                (false, false) => &mut unseen.given,
            };
            names.add_with(&one.schema, &one.name, one.signature.clone(), &"".into());
        }
    }

    /// What is refused for some roles only, in words.
    pub(super) fn findings_of_text(
        &self,
        open: &Map<Node, Rc<str>>,
        all: &Map<Node, Rc<str>>,
        index: &Index<'_>,
    ) -> Vec<String> {
        let mut names: Vec<String> = open
            .keys()
            .filter(|node| node.0 == b'f' && !all.contains_key(*node))
            .filter_map(|node| self.routines.get(*index.by_oid.get(&node.1)?))
            .map(|one| format!("{}.{}()", one.schema, one.name))
            .collect();
        names.sort();
        names.dedup();
        if names.is_empty() {
            return names;
        }
        let more = names.len().saturating_sub(MOST_NAMES);
        names.truncate(MOST_NAMES);
        let more = if more == 0 { String::new() } else { format!(" and {more} others") };
        vec![format!(
            "text that nobody can read is run by {}{more}: refused for roles that could make it an ANALYZE or the like ({}): \
             REVOKE EXECUTE from them, or give their tables to a role that only owns",
            names.join(", "),
            self.keepers.words()
        )]
    }
}

/// A body behind declarations of its parameters, of which each line has the place, the type and the name: what is given is the first
/// value of a name. In SQL the name of a column goes before that of a parameter.
pub(super) fn with_parameters<'t>(language: &str, parameters: &str, body: &'t str) -> Cow<'t, str> {
    let mut declared = String::new();
    for line in parameters.lines() {
        let mut words = line.splitn(3, ' ');
        let (at, kind, name) = (words.next(), words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if let Some(at) = at.filter(|at| *at != "-") {
            declared.push_str(&format!("\"${at}\" {kind}; "));
        }
        if language == "plpgsql" && !name.is_empty() {
            let first = at.filter(|at| *at != "-").map(|at| format!(" := \"${at}\"")).unwrap_or_default();
            declared.push_str(&format!("{name} {kind}{first}; "));
        }
    }
    match (declared.is_empty(), language) {
        (true, _) => body.into(),
        (false, "sql") => format!("DECLARE {declared}BEGIN {body}").into(),
        (false, _) => format!("DECLARE {declared}{body}").into(),
    }
}
