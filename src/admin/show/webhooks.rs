//! SHOW WEBHOOKS: who is told of events over HTTP, and how that goes.

use crate::admin::table::{Column, Table, columns};
use crate::shared::Hub;

pub(super) const COLUMNS: &[Column] = columns![
    url Text, events Text, databases Text, waiting Int8, delivered Int8, failed Int8, dead Int8, delivered_at Time, error Text,
];

pub(super) fn table(hub: &Hub) -> Table {
    let mut table = Table::new(COLUMNS);
    for one in hub.webhooks.status() {
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
