//! SHOW FLEET: a row for each member and database of the fleet, as this member knows them.

use crate::admin::table::{Cell, Column, Table, columns};
use crate::fleet::{Member, Place, View};
use crate::shared::ProxyState;

/// All of it pgsluice's own.
pub const COLUMNS: &[Column] = columns![
    member Text, address Text, version Text, since Time, clients Int8, state Text, leads Bool, database Text, mode Text,
    epoch Int8, passed Bool, quiesced_at Time, quiesced_lsn Text, waits_for Text, error Text,
];

/// The rows.
pub fn table(proxy: &ProxyState) -> Table {
    let mut table = Table::new(COLUMNS);
    let Some(fleet) = proxy.fleet.get() else { return table };
    let shown = fleet.now();
    let view = &shown.view;
    for member in view.members.values() {
        let own = member.id == fleet.id;
        let state = match (own, shown.is_member) {
            (true, false) => "lost",
            _ => "member",
        };
        let error = if own { shown.error.as_str() } else { "" };
        let places: Vec<Option<&Place>> = match view.desired.len() {
            0 => vec![None],
            _ => view.desired.keys().map(Some).collect(),
        };
        places.into_iter().for_each(|place| table.push(row(view, member, state, place, error)));
    }
    // Nobody knows of this member: it cannot reach the fleet, or has not joined it yet.
    if !view.members.contains_key(&fleet.id) {
        let mut cells = gone(&fleet.id, "lost");
        let [.., error] = &mut cells;
        *error = text(&shown.error);
        table.push(cells);
    }
    let left = view.unfenced().map(|((id, _), _)| id.as_str()).filter(|id| *id != fleet.id);
    left.for_each(|id| table.push(gone(id, "gone")));
    table
}

fn text(text: &str) -> Cell {
    if text.is_empty() { Cell::Null } else { text.into() }
}

/// A member of which nothing but its name is known.
fn gone(id: &str, state: &str) -> [Cell; 15] {
    let mut cells: [Cell; 15] = std::array::from_fn(|_| Cell::Null);
    let [name, _, _, _, _, how, leads, ..] = &mut cells;
    (*name, *how, *leads) = (id.into(), state.into(), false.into());
    cells
}

fn row(view: &View, member: &Member, state: &str, place: Option<&Place>, error: &str) -> [Cell; 15] {
    let desired = place.and_then(|place| view.desired.get(place)).map(|(_, desired)| desired);
    let ack = desired.and_then(|desired| view.ack(&desired.place, desired.epoch, member));
    let apart = place.is_some_and(|place| member.apart.contains(place));
    let mode = desired.map(|desired| match (apart, desired.is_draining()) {
        (true, _) => "local",
        (false, true) => "draining",
        (false, false) => desired.mode().as_str(),
    });
    [
        member.id.as_str().into(),
        member.address.as_str().into(),
        member.version.as_str().into(),
        member.since.into(),
        member.clients.into(),
        state.into(),
        view.leader.as_ref().is_some_and(|(id, _)| *id == member.id).into(),
        place.map(ToString::to_string).into(),
        mode.map(str::to_owned).into(),
        desired.map(|desired| desired.epoch).into(),
        ack.map(|ack| ack.passed).into(),
        ack.and_then(|ack| ack.at).into(),
        ack.and_then(|ack| ack.lsn).map(|lsn| lsn.to_string()).into(),
        ack.and_then(|ack| ack.waits_for.clone()).into(),
        text(error),
    ]
}
