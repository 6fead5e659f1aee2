//! Functions and procedures that are not shown to write nothing, or that may do more than READ ONLY stops.

use std::rc::Rc;

use super::index::Index;
use super::{Graph, Map, Node, Routine};
use crate::sql::hidden_writers::stopped::{Stopped, Utility};

/// Commands in a body that READ ONLY does not stop.
#[derive(Debug, Default, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
pub(super) struct Lasting {
    /// One runs.
    pub always: bool,
    /// One stands in a constant.
    pub quoted: bool,
    /// The body ends its transaction.
    pub ends: bool,
}

impl Lasting {
    pub fn add(&mut self, utility: Utility) {
        if utility.quoted {
            self.quoted |= !utility.stopped;
        } else {
            self.always |= !utility.stopped;
            self.ends |= utility.ends;
        }
    }
}

/// Whether it may do more by itself.
fn lasts(one: &Routine) -> bool {
    let named = &one.named;
    // A write to this view of PostgreSQL's sets settings.
    let settings = named.writes && named.relations.iter().any(|(_, name)| **name == *b"pg_settings");
    match one.language.as_str() {
        "sql" | "plpgsql" => {
            one.builds
                || one.writer.is_some()
                || named.lasting.always
                || settings
                || named.executes && named.lasting.quoted
        }
        _ => one.doubtful,
    }
}

impl Graph {
    /// All that is not shown to write nothing; `by_itself` says it of a function's own.
    pub(super) fn doubtful(&self, index: &Index<'_>, by_itself: fn(&Routine) -> bool) -> Map<Node, Rc<str>> {
        let doubtful = |one: &&Routine| {
            let own = one.flags.contains('b') && !one.flags.contains('q');
            !one.flags.contains('b') && (by_itself(one) || self.calls_unknown(one, index)) || own
        };
        let routines = self.routines.iter().filter(doubtful).map(|one| (b'f', one.oid));
        let others = self.writers.iter().map(|(node, _)| *node).chain(self.doubtful.iter().copied());
        let reason: Rc<str> = "".into();
        let roots: Vec<_> = routines.chain(others).map(|node| (node, reason.clone())).collect();
        self.spread(&roots, index, &|_| false)
    }

    /// What READ ONLY stops; None where nothing ends a transaction, so that nobody has to know.
    pub(super) fn stopped(&self, index: &Index<'_>) -> Option<Box<Stopped>> {
        if !self.routines.iter().any(|one| one.named.lasting.ends) {
            return None;
        }
        let beyond = self.doubtful(index, lasts);
        let mut stopped = Box::<Stopped>::default();
        self.reach(&beyond, index, &mut stopped.beyond);
        for one in self.routines.iter().filter(|one| !beyond.contains_key(&(b'f', one.oid))) {
            stopped.routines.add(&one.schema, &one.name);
        }
        Some(stopped)
    }
}
