//! Text that is run over a connection which nobody guards: dblink's. It passes only if all that it names is shown to write nothing,
//! judged by this database's own catalog, since such connections mostly lead back.

use super::super::analyzer::Scope;
use super::super::calls::{self, Remote};
use super::super::lexer::Lexer;
use super::mentions::{Depth, Mention, mentions};
use super::reach::Finding;
use super::verdict::Unseen;

/// Why a call of dblink's may lead to a writer by the text that it is given; None: it is no such call, or leads to none.
pub(super) fn leads_on(
    unseen: &Unseen,
    scope: Scope<'_>,
    (schema, name): (Option<&[u8]>, &[u8]),
    behind: &Lexer<'_>,
) -> Option<Finding> {
    let remote = calls::remote(name)?;
    if !unseen.listed.has(schema, name) && unseen.namesakes.has(schema, name) {
        return None;
    }
    match remote {
        Remote::Sql => {
            let Some(sql) = calls::remote_text(name, behind.clone()) else {
                return Some("text for another connection that is no constant".into());
            };
            // Both readings of a backslash, because the other server's setting is not known.
            [true, false].into_iter().find_map(|standard| {
                let mut found = None;
                mentions(Lexer::new(&sql, standard), scope, false, Depth::Words, &mut |mention| {
                    if found.is_none() {
                        found = writes(unseen, scope, &mention);
                    }
                });
                found
            })
        }
        Remote::Cursor => (!calls::names_a_cursor(name, behind.clone()))
            .then(|| "a cursor's name that may be more than a name".into()),
    }
}

/// Why something that a text names may write where nothing keeps it from writing.
fn writes(unseen: &Unseen, scope: Scope<'_>, mention: &Mention<'_, '_>) -> Option<Finding> {
    if let Some(finding) = unseen.writing.named(mention) {
        return Some(finding.clone());
    }
    (!unseen.is_harmless(scope, mention)).then(|| "what is not known to write nothing, over another connection".into())
}
