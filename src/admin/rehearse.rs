//! MAINTENANCE REHEARSE and SHOW REHEARSAL.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::commands::Caller;
use super::table::{Cell, Column, Table, columns};
use crate::gate::Target;
use crate::log::millis;
use crate::protocol::Report;
use crate::shared::{Database, ProxyState};

/// Columns of the answer.
pub(super) const ANSWER: &[Column] = columns![database Text, rehearsing Bool, until Time];
/// Columns of SHOW REHEARSAL.
pub(super) const COLUMNS: &[Column] = columns![
    database Text, user Text, application_name Text, tag Text, statement Text, count Int8, first Time, last Time,
];

/// Nobody rehearses for longer.
pub(super) const LONGEST: Duration = Duration::from_secs(7 * 86_400);

/// Starts one that lasts so long, or, without a time, ends it.
pub(super) fn run(caller: &Caller, target: &Target, lasts: Option<Duration>) -> Result<Table, Report> {
    let proxy = &caller.proxy;
    let mut table = Table::new(ANSWER);
    for database in targets(proxy, target)? {
        match lasts {
            Some(lasts) => database.rehearsal.start(lasts),
            None => database.rehearsal.stop(),
        }
        tracing::info!(
            event = "rehearsal", user = %caller.who.user, client = %caller.address(), database = %database.name,
            lasts_ms = lasts.map(millis), "{}", if lasts.is_some() { "rehearsal begins" } else { "rehearsal ends" }
        );
        let until = lasts.and_then(|lasts| Timestamp::now().checked_add(lasts).ok());
        table.push([(*database.name).into(), lasts.is_some().into(), until.into()]);
    }
    Ok(table)
}

/// The databases of a command: every name of each, that of the command first.
pub(super) fn targets(proxy: &ProxyState, target: &Target) -> Result<Vec<Arc<Database>>, Report> {
    match target {
        Target::All => Ok(proxy.databases.all()),
        Target::One(name) => {
            let missing = || Report::error("3D000", format!("database \"{name}\" does not exist"));
            let database = proxy.databases.get(name).ok_or_else(missing)?;
            let others = proxy.databases.of_gate(&database.gate);
            let others = others.into_iter().filter(|other| !Arc::ptr_eq(other, &database));
            Ok(std::iter::once(database.clone()).chain(others).collect())
        }
    }
}

/// The rows of SHOW REHEARSAL.
pub(super) fn table(proxy: &ProxyState) -> Table {
    let mut table = Table::new(COLUMNS);
    for database in proxy.databases.all() {
        let (counts, others) = database.rehearsal.counts();
        for (refused, count) in counts {
            table.push([
                (*database.name).into(),
                (*refused.user).into(),
                refused.application_name.into(),
                refused.tag.into(),
                refused.statement.into(),
                count.count.into(),
                count.first.into(),
                count.last.into(),
            ]);
        }
        if let Some(count) = others {
            let (first, last) = (count.first.into(), count.last.into());
            let name = (*database.name).into();
            table.push([name, Cell::Null, Cell::Null, Cell::Null, "(others)".into(), count.count.into(), first, last]);
        }
    }
    table
}
