//! SHOW MOVES and SHOW MOVE: which moves there are, and how far one of them has come.

use jiff::Timestamp;

use super::row;
use crate::admin::table::{Column, Table, columns};
use crate::moving::Entry;
use crate::protocol::Report;
use crate::shared::ProxyState;

/// Columns of SHOW MOVES.
pub const MOVES: &[Column] = columns![
    id Int8, command Text, from Text, to Text, step Text, state Text, who Text, address Text, began Time, ended Time, why Text,
    step_since Time,
];

/// Columns of SHOW MOVE.
pub const STEPS: &[Column] = columns![
    move Int8, step Text, name Text, status Text, at Time, took_ms Int8, detail Text, remedy Text,
];

/// SHOW MOVES: those that go on, and the last that are over, newest first.
pub fn show(proxy: &ProxyState) -> Table {
    let mut table = Table::new(MOVES);
    for entry in proxy.moves.all() {
        table.push([
            entry.id.into(),
            entry.what.to_string().into(),
            entry.what.from().into(),
            entry.what.to().into(),
            entry.what.step().word().into(),
            entry.progress().word().into(),
            entry.who.user.clone().into(),
            entry.who.address.clone().into(),
            entry.began.into(),
            entry.end.as_ref().map(|end| end.at).into(),
            entry.end.as_ref().and_then(|end| end.why.clone()).into(),
            entry.running_since().into(),
        ]);
    }
    table
}

/// How long the present step has taken so far (ms).
pub fn so_far(since: Timestamp) -> u64 {
    u64::try_from(Timestamp::now().duration_since(since).as_millis()).unwrap_or(0)
}

/// The move of that number, the last one of that database, or the last one of all.
///
/// # Errors
/// 42704: there is none.
pub fn find(proxy: &ProxyState, which: Option<&str>) -> Result<Option<Entry>, Report> {
    let all = proxy.moves.all();
    let Some(which) = which else { return Ok(all.into_iter().next()) };
    if let Ok(id) = which.parse::<u64>() {
        let found = all.into_iter().find(|entry| entry.id == id);
        return found.map(Some).ok_or_else(|| Report::error("42704", format!("move {id} does not exist")));
    }
    let Some(gate) = proxy.gates.get(which) else {
        return Err(Report::error("3D000", format!("database \"{which}\" does not exist")));
    };
    Ok(all.into_iter().find(|entry| entry.scope.has(gate.place())))
}

/// SHOW MOVE: what one has found and done, and in the last row what it does now.
pub(in crate::admin) fn steps(proxy: &ProxyState, which: Option<&str>) -> Result<Table, Report> {
    let mut table = Table::new(STEPS);
    let Some(entry) = find(proxy, which)? else { return Ok(table) };
    for line in &entry.lines {
        let [step, name, status, at, took, detail, remedy] = row(line);
        table.push([entry.id.into(), step, name, status, at, took, detail, remedy]);
    }
    if let Some(since) = entry.running_since() {
        let step = entry.what.step();
        table.push([
            entry.id.into(),
            step.word().into(),
            step.word().into(),
            entry.progress().word().into(),
            since.into(),
            so_far(since).into(),
            step.aim().into(),
            None::<String>.into(),
        ]);
    }
    Ok(table)
}
