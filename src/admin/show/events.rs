//! SHOW EVENTS: the last ones, oldest first. SHOW WEBHOOKS: who is told of them over HTTP, and how that goes.

use crate::admin::table::{Column, Table, columns};
use crate::events::{Event, KEPT};
use crate::shared::ProxyState;

pub(super) const COLUMNS: &[Column] = columns![
    id Int8, at Time, event Text, severity Text, database Text, cluster Text, upstream Text, message Text, fields Text,
];

/// All that are kept, or those of one database.
pub(super) fn table(proxy: &ProxyState, only: Option<&str>) -> Table {
    let mut table = Table::new(COLUMNS);
    let is_of = |event: &Event, name: &str| event.databases.iter().any(|known| **known == *name);
    for event in proxy.events.recent(None, KEPT) {
        if only.is_some_and(|name| !is_of(&event, name)) {
            continue;
        }
        table.push([
            event.id.into(),
            event.at.into(),
            event.kind.name().into(),
            event.severity.as_str().into(),
            event.database().into(),
            event.cluster.clone().into(),
            event.upstream.clone().into(),
            event.text.clone().into(),
            event.fields_json().into(),
        ]);
    }
    table
}

/// SHOW WEBHOOKS
pub(super) const WEBHOOKS: &[Column] = columns![
    url Text, events Text, databases Text, waiting Int8, delivered Int8, failed Int8, dead Int8, delivered_at Time, error Text,
];

/// SHOW WEBHOOKS
pub(super) fn webhooks(proxy: &ProxyState) -> Table {
    let mut table = Table::new(WEBHOOKS);
    for one in proxy.webhooks.status() {
        table.push([
            one.url.into(),
            one.events.join(", ").into(),
            one.databases.join(", ").into(),
            one.waiting.into(),
            one.delivered.into(),
            one.failed.into(),
            one.dead.into(),
            one.delivered_at.into(),
            one.error.into(),
        ]);
    }
    table
}
