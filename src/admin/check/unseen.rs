//! What of a database's own leads to unseen writers: it will be refused.

use super::Findings;
use crate::proxy::maintenance::catalog;
use crate::shared::{Database, ProxyState};

/// Asks the database's catalog as MAINTENANCE ON does.
pub(super) async fn check(proxy: &ProxyState, database: &Database, findings: &mut Findings) {
    const CHECK: &str = "unseen writers";
    match catalog::look(proxy, database).await {
        Ok(unseen) => findings.warn_of(
            CHECK,
            unseen.findings(),
            "none",
            "In maintenance they are refused, with what leads to them. A function that is harmless: remove_functions under [refusals].",
        ),
        Err(why) => findings.fail(
            CHECK,
            format!("the catalog cannot be read: {why}"),
            "Let monitor_user log in to the database itself: else whatever calls a function of its own is refused in maintenance.",
        ),
    }
}
