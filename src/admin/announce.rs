//! MAINTENANCE ANNOUNCE: a warning to every client that is connected, before a maintenance that is planned.

use std::sync::Arc;

use super::commands::Caller;
use super::rehearse::targets;
use super::table::{Column, Table, columns};
use crate::events::{Event, Kind, publish};
use crate::gate::Target;
use crate::protocol::Report;
use crate::shared::client::Ask;

/// Columns of the answer.
pub(super) const COLUMNS: &[Column] = columns![database Text, clients Int8];

/// Runs it. A client that is busy is told at the end of what runs, unless an empty text takes that back before.
pub(super) async fn run(caller: &Caller, target: &Target, text: &str) -> Result<Table, Report> {
    let proxy = caller.proxy.clone();
    let databases = targets(&proxy, target)?;
    let event = Event::new(Kind::Announcement, "MAINTENANCE ANNOUNCE").by(&caller.who.user);
    let event = event.about_all(databases.iter().map(|database| database.name.clone()).collect());
    publish!(proxy.events, warn, event, client = caller.address(), text = text);
    let mut table = Table::new(COLUMNS);
    for database in databases {
        let words = format!("database \"{}\": {text}", database.name);
        let report = (!text.is_empty()).then(|| Arc::new(Report::warning("01000", words)));
        let name = database.name.clone();
        let told = proxy.on_every_core(move |core| {
            let clients = core.clients();
            let of = clients.iter().filter(|one| one.database.as_ref().is_some_and(|db| Arc::ptr_eq(db, &database)));
            of.map(|client| client.ask(Ask::Notice(report.clone()))).count()
        });
        let told: usize = told.await.into_iter().sum();
        table.push([(*name).into(), told.into()]);
    }
    Ok(table)
}
