//! Whether the check for writes can count them, and what runs at each log-in.

use super::{Findings, some};
use crate::proxy::maintenance::guarantees;
use crate::shared::{Database, ProxyState};

/// Asks the database.
pub(super) async fn check(proxy: &ProxyState, database: &Database, findings: &mut Findings) {
    const COUNTS: &str = "write check";
    const TRIGGERS: &str = "login triggers";
    let (found, writing) = match guarantees::look(proxy, database).await {
        Ok(found) => found.unwrap_or_default(),
        Err(why) => {
            let remedy = "Let monitor_user log in to the database itself.";
            findings.fail(COUNTS, format!("the database cannot be asked: {why}"), remedy);
            return;
        }
    };
    findings.warn_of(
        COUNTS,
        &found.uncounted,
        "changed rows are counted",
        "In maintenance whatever takes a transaction id is refused there, temporary tables too: RESET track_counts.",
    );
    let reasons = found.reasons(&writing);
    if !reasons.is_empty() {
        findings.fail(
            TRIGGERS,
            some(&reasons),
            "ALTER ROLE ... SET event_triggers = off for monitor_user, else MAINTENANCE ON is refused unless told WITH (accept_unchecked).",
        );
    } else if !writing.is_empty() {
        findings.warn(
            TRIGGERS,
            format!("these may write: {}", some(&writing)),
            "No server connection is opened while the gate is closed; ALTER ROLE ... SET event_triggers = off lets a role log in without.",
        );
    } else {
        let all: Vec<String> = found.triggers.iter().map(|one| one.words.clone()).collect();
        findings
            .ok(TRIGGERS, if all.is_empty() { "none".to_owned() } else { format!("writes nothing: {}", some(&all)) });
    }
}
