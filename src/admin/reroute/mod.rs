//! REROUTE and SHOW REROUTES: where clients are led instead of where the configuration says.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::commands::{Caller, quoted_name};
use super::table::{Cell, Column, Table, columns};
use crate::gate::Reroute;
use crate::protocol::Report;
use crate::proxy::reroute;
use crate::proxy::reroute::{Destination, Options, Outcome, configured_place, is_left_behind};
use crate::shared::{Database, ProxyState};

/// A REROUTE, as it is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RerouteCommand {
    /// A name of the database.
    pub database: String,
    /// Where its clients are led.
    pub to: Destination,
    /// What stands in WITH (…).
    pub options: Vec<(String, String)>,
}

/// Columns of the answer.
pub(super) const OUTCOME: &[Column] = columns![
    database Text, cluster Text, dbname Text, writes Text, changed Bool, since Time, waited_ms Int8, ended Int8, operators Int8,
];

/// Columns of SHOW REROUTES.
pub const COLUMNS: &[Column] = columns![
    database Text, from_cluster Text, from_dbname Text, cluster Text, dbname Text, writes Text, mode Text, since Time, who Text,
    address Text, message Text, clients Int8, left_behind Int8, operators_left_behind Int8,
];

fn writes(writable: bool) -> &'static str {
    if writable { "allow" } else { "reject" }
}

/// Runs a REROUTE to its end.
pub(super) async fn run(caller: &Caller, command: &RerouteCommand) -> Result<Table, Report> {
    let hint =
        "Close the database for all members by MAINTENANCE ON, and change its cluster in the configuration of each.";
    super::moving::refuse_in_fleet(&caller.proxy, "REROUTE", hint)?;
    let options = Options::read(&command.options, command.to == Destination::Back)?;
    let words = match &command.to {
        Destination::Cluster(cluster) => format!("TO {}", quoted_name(cluster)),
        Destination::Back => "BACK".to_owned(),
    };
    let shown = quoted_name(&command.database);
    tracing::warn!(
        event = "reroute_command", user = %caller.who.user, client = %caller.address(), database = %command.database,
        "REROUTE {shown} {words}"
    );
    let (proxy, who) = (&caller.proxy, caller.who.clone());
    let outcome = reroute::run(proxy, who, command.database.clone(), command.to.clone(), options).await?;
    let others: Vec<_> = outcome.names.iter().filter(|name| **name != command.database).collect();
    if outcome.changed && !others.is_empty() {
        let others: Vec<_> = others.into_iter().map(|name| format!("\"{name}\"")).collect();
        let text =
            format!("REROUTE is for every name of the database: \"{}\", {}", command.database, others.join(", "));
        caller.tell(Report::notice(text)).await;
    }
    for text in &outcome.told {
        caller.tell(Report::warning("01000", text.clone())).await;
    }
    if outcome.operators > 0 {
        let text = "operators stay where they are, until they connect anew or SET pgsluice.cluster";
        caller.tell(Report::notice(text)).await;
    }
    Ok(answer(&command.database, outcome))
}

fn answer(name: &str, outcome: Outcome) -> Table {
    let mut table = Table::new(OUTCOME);
    table.push([
        name.into(),
        outcome.to.cluster.into(),
        outcome.to.dbname.into(),
        writes(outcome.writable).into(),
        outcome.changed.into(),
        outcome.since.into(),
        u64::try_from(outcome.waited.as_millis()).unwrap_or(u64::MAX).into(),
        outcome.ended.into(),
        outcome.operators.into(),
    ]);
    table
}

/// SHOW REROUTES: a row for each name that is led elsewhere; one without a name for a reroute that no name follows now.
pub(super) async fn show(proxy: &Arc<ProxyState>) -> Table {
    let counts = proxy.on_every_core(|core| {
        let mut counts: BTreeMap<Arc<str>, (usize, usize, usize)> = BTreeMap::new();
        for client in core.clients() {
            let Some(database) = &client.database else { continue };
            let count = counts.entry(database.name.clone()).or_default();
            count.0 += 1;
            if is_left_behind(&client) {
                *(if client.operator { &mut count.2 } else { &mut count.1 }) += 1;
            }
        }
        counts
    });
    let counts = counts.await;
    let of_name = |name: &str| {
        counts
            .iter()
            .filter_map(|core| core.get(name))
            .fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2))
    };
    let all = proxy.databases.all();
    let mut table = Table::new(COLUMNS);
    for reroute in proxy.gates.reroutes() {
        let names: Vec<_> =
            all.iter().filter(|one| reroute.from.contains(&configured_place(proxy, one))).cloned().collect();
        if names.is_empty() {
            table.push(row(&reroute, None, (0, 0, 0)));
        }
        for name in names {
            let counts = of_name(&name.name);
            table.push(row(&reroute, Some(&name), counts));
        }
    }
    table
}

fn row(reroute: &Reroute, name: Option<&Arc<Database>>, counts: (usize, usize, usize)) -> [Cell; 14] {
    let from = reroute.from.first();
    [
        name.map(|name| name.name.to_string()).into(),
        from.map(|from| from.cluster.clone()).into(),
        from.map(|from| from.dbname.clone()).into(),
        reroute.to.cluster.as_str().into(),
        reroute.to.dbname.as_str().into(),
        writes(reroute.writable).into(),
        name.map(|name| name.gate.state().mode.as_str()).into(),
        reroute.since.into(),
        reroute.who.user.as_str().into(),
        reroute.who.address.clone().into(),
        reroute.message.clone().into(),
        counts.0.into(),
        counts.1.into(),
        counts.2.into(),
    ]
}
