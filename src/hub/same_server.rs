//! Clusters of the configuration that lead to one server: by two spellings of its address, or because a replica of one was
//! promoted that is a server of another. The gate belongs to the database on the server, so their databases share one.
//!
//! A server is known by its system identifier and the moment its postmaster started: replicas and copies have the identifier of
//! their origin, but not the moment. A cluster is compared with the others each time one of its servers is about to become its
//! primary, ahead of the first transaction there. Once found to lead to one server, clusters stay together until a RELOAD changes
//! the addresses of one: a restart of the server is seen at two moments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::topology::Cluster;

/// Groups of clusters, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SameServers(Vec<BTreeSet<String>>);

impl SameServers {
    /// Compares all clusters. True: some were not known to belong together.
    pub fn compare(&mut self, clusters: &[Arc<Cluster>]) -> bool {
        let mut found = false;
        for (at, one) in clusters.iter().enumerate() {
            for other in clusters.iter().skip(at + 1).filter(|other| one.shares_primary(other)) {
                found |= self.join(&one.name, &other.name);
            }
        }
        found
    }

    fn join(&mut self, one: &str, other: &str) -> bool {
        if self.0.iter().any(|group| group.contains(one) && group.contains(other)) {
            return false;
        }
        let (touched, mut kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.0).into_iter().partition(|group| group.contains(one) || group.contains(other));
        let mut group: BTreeSet<String> = touched.into_iter().flatten().collect();
        group.extend([one.to_owned(), other.to_owned()]);
        kept.push(group);
        self.0 = kept;
        true
    }

    /// Nothing is known of those clusters any more.
    pub fn forget(&mut self, clusters: &[&str]) {
        for group in &mut self.0 {
            group.retain(|name| !clusters.contains(&name.as_str()));
        }
        self.0.retain(|group| group.len() > 1);
    }

    /// The cluster whose name stands for that of another one.
    pub fn leaders(&self) -> BTreeMap<String, String> {
        let leader = |group: &BTreeSet<String>| {
            let first = group.first().cloned().unwrap_or_default();
            group.iter().skip(1).map(|name| (name.clone(), first.clone())).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(leader).collect()
    }

    /// The clusters that lead to the same server as that one.
    pub fn others(&self, cluster: &str) -> Vec<String> {
        let group = self.0.iter().find(|group| group.contains(cluster));
        group.into_iter().flatten().filter(|name| *name != cluster).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_grow_together_and_are_led_by_the_first_name() {
        let mut same = SameServers::default();
        assert!(same.join("c", "d") && same.join("a", "b"));
        assert!(!same.join("b", "a"));
        assert!(same.join("d", "b"));
        let leaders: Vec<_> = same.leaders().into_iter().collect();
        let text = |one: &str, other: &str| (one.to_owned(), other.to_owned());
        assert_eq!(leaders, [text("b", "a"), text("c", "a"), text("d", "a")]);
        assert_eq!(same.others("b"), ["a", "c", "d"]);
        same.forget(&["a", "d"]);
        assert_eq!(same.leaders().into_iter().collect::<Vec<_>>(), [text("c", "b")]);
        same.forget(&["c"]);
        assert_eq!(same, SameServers::default());
    }
}
