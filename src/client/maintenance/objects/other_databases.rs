//! A client of an open database does not change one whose gate is closed: DROP DATABASE, ALTER DATABASE and their like run from
//! anywhere on the server.

use crate::client::Session;
use crate::client::errors;
use crate::protocol::Report;
use crate::sql::cache::verdicts::Cached;
use crate::sql::other_databases::{changes, may_change_any};

impl Session {
    /// Whether a text changes another database, whose gate is closed.
    #[inline]
    pub(in crate::client) fn is_refused_elsewhere(&self, cached: &Cached) -> bool {
        may_change_any(&cached.analysis) && self.refused_elsewhere(cached).is_some()
    }

    /// The error for such a text.
    #[cold]
    pub(in crate::client) fn refused_elsewhere(&self, cached: &Cached) -> Option<Report> {
        if self.lease.is_operator() {
            return None;
        }
        let (own, context) = (self.db.setup(), self.lex_context());
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
            let tag = changes(&cached.analysis, &cached.text, context, dbname.as_bytes())?;
            let view = other.gate.view().under(&other.name);
            let report = errors::read_only(format!("cannot execute {tag} in a read-only transaction"));
            Some(report.with_detail(view.refusal_detail()).with_hint(view.refusal_hint()))
        })
    }
}
