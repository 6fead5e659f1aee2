//! A client of an open database does not change one whose gate is closed: DROP DATABASE, ALTER DATABASE and their like run from
//! anywhere on the server.

use crate::client::Session;
use crate::client::errors;
use crate::protocol::Report;
use crate::sql::cache::verdicts::Cached;
use crate::sql::hidden_writers::Kinds;
use crate::sql::other_databases::{changes, may_change_any};

impl Session {
    /// Whether a text changes another database, whose gate is closed.
    #[inline]
    pub(in crate::client) fn is_refused_elsewhere(&self, cached: &Cached) -> bool {
        (may_change_any(&cached.analysis) || self.calls_what_changes(cached))
            && self.refused_elsewhere(cached).is_some()
    }

    /// Whether a function that it calls may change databases. Which ones nobody can tell.
    #[inline]
    fn calls_what_changes(&self, cached: &Cached) -> bool {
        self.db.catalog.leaves() && self.marks_of_run(cached, self.lex_context()).kinds().has(Kinds::DATABASES)
    }

    /// The error for such a text.
    #[cold]
    pub(in crate::client) fn refused_elsewhere(&self, cached: &Cached) -> Option<Report> {
        let context = self.lex_context();
        let called = self.calls_what_changes(cached);
        let tag_of_call = cached.analysis.statements.first().map(|one| one.tag).filter(|_| called);
        self.closed_elsewhere(|dbname| changes(&cached.analysis, &cached.text, context, dbname).or(tag_of_call))
    }

    /// The same for a call by message.
    pub(in crate::client) fn refused_call_elsewhere(&self, oid: u32) -> Option<Report> {
        let kinds = || self.db.catalog.reading().leavings.of_function(oid).kinds();
        if !self.db.catalog.leaves() || !kinds().has(Kinds::DATABASES) {
            return None;
        }
        self.closed_elsewhere(|_| Some("a function call"))
    }

    /// What is refused for another database of the server whose gate is closed, with the tag that `refuses` gives for its name there.
    fn closed_elsewhere<'t>(&self, refuses: impl Fn(&[u8]) -> Option<&'t str>) -> Option<Report> {
        if self.lease.is_operator() {
            return None;
        }
        let own = self.db.setup();
        self.core.proxy.databases.all().into_iter().find_map(|other| {
            if !other.gate.state().mode.reports_read_only() {
                return None;
            }
            let setup = other.setup();
            // What changes the session's own database is the server's to refuse.
            if std::sync::Arc::ptr_eq(&setup.gate, &own.gate) {
                return None;
            }
            if !std::sync::Arc::ptr_eq(&setup.cluster, &own.cluster) && !setup.cluster.shares_primary(&own.cluster) {
                return None;
            }
            let dbname = setup.settings.server_dbname(&other.name);
            let tag = refuses(dbname.as_bytes())?;
            let view = other.gate.view().under(&other.name);
            let report = errors::read_only(format!("cannot execute {tag} in a read-only transaction"));
            Some(report.with_detail(view.refusal_detail()).with_hint(view.refusal_hint()))
        })
    }
}
