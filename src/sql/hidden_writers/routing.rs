//! What must not run on a replica although its words only read: views, policies, operators and the like that lead to functions which
//! may write, or which the catalog has as volatile.

use super::mentions::{Depth, mentions};
use super::reach::Reach;
use super::statement_reading::StatementReading;

/// See the module.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Routing(pub(super) Reach);

impl Routing {
    /// Whether there is nothing of the kind that a statement which calls PostgreSQL's own functions only could name.
    pub fn is_empty(&self) -> bool {
        self.0.is_by_function_alone()
    }

    /// Whether a statement of this text names any of it.
    pub fn needs_primary(&self, reading: &StatementReading<'_>) -> bool {
        let mut found = self.0.everywhere;
        reading.each(|lexer| {
            mentions(lexer, reading.scope(), false, Depth::Words, &mut |mention| {
                found |= self.0.named(&mention).is_some();
            });
        });
        found
    }
}
