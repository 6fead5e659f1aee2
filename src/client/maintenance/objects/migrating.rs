//! A client does not change the schema of a database that is being migrated: what replicates it to the other side carries rows only.

use crate::client::Session;
use crate::client::errors;
use crate::gate::print_timestamp;
use crate::protocol::Report;
use crate::sql::cache::verdicts::Cached;
use crate::sql::{Kind, SessionEffect, Statement};

/// Whether a statement changes the schema, or makes a table: not a temporary one.
fn changes_schema(one: &Statement) -> bool {
    let changes = match one.kind {
        Kind::Ddl => true,
        Kind::Write => one.tag.ends_with(" INTO"),
        _ => false,
    };
    changes && !one.effects.contains(&SessionEffect::CreateTemp)
}

impl Session {
    /// Whether a text changes the schema of a database that is being migrated.
    #[inline]
    pub(in crate::client) fn is_refused_by_migration(&self, cached: &Cached) -> bool {
        cached.analysis.statements.iter().any(changes_schema) && self.refused_by_migration(cached).is_some()
    }

    /// The error for such a text. Operators know what they do.
    #[cold]
    pub(in crate::client) fn refused_by_migration(&self, cached: &Cached) -> Option<Report> {
        if self.lease.is_operator() || self.me.operator {
            return None;
        }
        let tag = cached.analysis.statements.iter().find(|one| changes_schema(one))?.tag;
        let gate = self.db.setup().gate.clone();
        let one = self.core.proxy.moves.migrations().into_iter().find(|one| one.has(gate.place()))?;
        let text = format!("cannot execute {tag} while database \"{}\" is being migrated", self.db.name);
        let detail = format!(
            "MIGRATE {} leads it from {} to {}, begun by {}, since {}. Changes of the schema are not replicated.",
            one.database,
            one.old,
            one.new,
            one.who,
            print_timestamp(one.since)
        );
        let hint = format!("MIGRATE {} FINISH ends that.", one.database);
        Some(errors::is_migrated(text).with_detail(Some(detail)).with_hint(Some(hint)))
    }
}
