//! Functions whose writes nobody would count: those that switch the count off, and what runs where no question is asked, at a log-in.

use std::rc::Rc;

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use super::index::Index;
use super::{Called, Graph, Map, Node, Routine};
use crate::sql::classify::analyzer::Analyzer;
use crate::sql::classify::readonly_exceptions::Why;

impl Graph {
    /// Functions that switch the counting of changed rows off, for themselves or for what follows them.
    pub(super) fn uncounted<'a>(
        &'a self,
        doubtful: &'a Map<Node, Rc<str>>,
    ) -> impl Iterator<Item = (Node, Rc<str>)> + 'a {
        let reason: Rc<str> = "a setting that switches the check for writes off (track_counts)".into();
        // Only while it runs: what writes nothing has nothing to be counted.
        let counts =
            |one: &&Routine| one.uncounted && (!one.flags.contains('c') || doubtful.contains_key(&(b'f', one.oid)));
        self.routines.iter().filter(counts).map(move |one| ((b'f', one.oid), reason.clone()))
    }

    /// Functions that write or might, as far as they can be read. What only sets settings or raises errors does not.
    pub(super) fn writers(
        &self,
        known: &[(Node, Rc<str>)],
        index: &Index<'_>,
        analyzer: &Analyzer,
    ) -> HashSet<u32, RandomState> {
        let large_object = |((_, name), _): &Called| {
            analyzer.scope().list.function(name, None).is_some_and(|(why, _)| why == Why::LargeObject)
        };
        let writes = |one: &&Routine| {
            one.named.writes || one.builds || one.named.calls.iter().any(large_object) || one.flags.contains('q')
        };
        let reason: Rc<str> = "".into();
        let own = self.routines.iter().filter(writes).map(|one| ((b'f', one.oid), reason.clone()));
        let roots: Vec<_> = own.chain(known.iter().cloned()).collect();
        let all = self.spread(&roots, index, &|_| false);
        all.keys().filter(|node| node.0 == b'f').map(|node| node.1).collect()
    }
}
