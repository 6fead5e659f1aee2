//! Statements that may change what is known of the database's catalog.
//!
//! An operator may run anything, so whatever is not a plain read counts, from before it is sent until nothing is under way: its
//! transaction may commit at any moment in between. Of everybody else DDL counts, once it has run: with the gate closed none of it does.

use crate::client::Session;
use crate::client::checkout::lease::Lease;
use crate::sql::Analysis;

impl Session {
    /// An operator may have committed something: no replica of any cluster that leads to this server is read from before it has that.
    pub(in crate::client) fn raise_floors(&self) {
        // On a cluster that clients are not led to, nobody reads what it has done. A position of one cluster means nothing to another.
        if self.works_elsewhere() {
            return;
        }
        self.db.peek_setup().cluster.raise_floor();
        let others = self.core.proxy.databases.of_gate(&self.db.gate);
        others.iter().filter(|one| one.name != self.db.name).for_each(|one| one.peek_setup().cluster.raise_floor());
    }

    /// Something is about to be sent over an operator's connection; None: nobody knows what it runs.
    pub(in crate::client) fn note_operator_runs(&mut self, analysis: Option<&Analysis>) {
        if let Lease::Operator { changes: changes @ None, .. } = &mut self.lease
            && !analysis.is_some_and(Analysis::is_proven_read)
        {
            *changes = Some(self.core.proxy.databases.begin_catalog_change(&self.db));
        }
    }

    /// A transaction has ended.
    pub(in crate::client) fn end_catalog_change(&mut self) {
        if self.conversation.transaction_mut().take_altered() {
            drop(self.core.proxy.databases.begin_catalog_change(&self.db));
        }
        let quiet = self.is_between_transactions();
        if let Lease::Operator { changes: changes @ Some(_), .. } = &mut self.lease
            && quiet
        {
            *changes = None;
        }
    }
}
