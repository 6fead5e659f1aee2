//! SHOW: each table in a file of its own, over what all cores know of their clients ([`seen`]).

mod clients;
mod databases;
mod events;
mod fleet;
mod hba;
mod lists;
mod pools;
pub(super) mod seen;
mod servers;
pub(super) mod sockets;
mod stats;
mod upstreams;

use std::sync::Arc;

use super::commands::Caller;
use super::language::command::Show;
use super::maintenance;
use super::moving;
use super::rehearse;
use super::reroute;
use super::table::{Cell, Column, Table, columns};
use crate::protocol::{Report, Severity};
use crate::shared::{Layers, ProxyState};

const VERSION: &[Column] = columns![version Text];
/// Exactly PgBouncer's: an exporter refuses any other number of columns.
const CONFIG: &[Column] = columns![key Text, value Text, default Text, changeable Text];
const CONFIG_NOTES: &[Column] = columns![key Text, value Text, note Text];
const LOG_LEVEL: &[Column] = columns![log_level Text];
const STATE: &[Column] = columns![key Text, value Text];

const HELP: &str = "
\tMAINTENANCE ON db|* [WITH (message 'text', until 'time', drain_timeout '30s', on_timeout revert|cancel,
\t    reads any|replica|primary, writes reject|hold, hold_timeout '10s', expire '2h',
\t    accept_unchecked, local)] [NOWAIT]
\tMAINTENANCE OFF db|* [WITH (unsaved, local)]
\tMAINTENANCE CHECK db|*
\tMAINTENANCE ANNOUNCE db|* 'text'
\tMAINTENANCE REHEARSE db|* FOR '10min'|STOP
\tOFFLINE db|* [WITH (...)] [NOWAIT]
\tONLINE db|* [WITH (unsaved, local)]
\tSWITCHOVER db TO host:port [WITH (timeout '30s', hold_timeout '1min', drain_timeout '10s',
\t    on_timeout revert|cancel, on_failure back|hold, primary 'host:port', dry_run)]
\tACTIVATE db ON host:port [WITH (timeout '30s', dry_run)]
\tMIGRATE db TO cluster [WITH (timeout '30s', hold_timeout '1min', drain_timeout '10s',
\t    on_timeout revert|cancel, copy_timeout '7d', dbname 'name', sequence_margin '1000',
\t    accept 'check,...', mirror '1%', mirror_time '10s', prepare_only, dry_run)]
\tMIGRATE db BACK|FINISH [WITH (...)]
\tSHOW MIGRATIONS
\tSHOW MOVES
\tSHOW MOVE [id|db]
\tREROUTE db TO cluster [WITH (writes reject|allow, dbname 'name', message 'text', timeout '30s', dry_run)]
\tREROUTE db BACK [WITH (timeout '30s', dry_run)]
\tSHOW REROUTES
\tSHOW MAINTENANCE [db]
\tSHOW REHEARSAL
\tSHOW CONFIG NOTES
\tSHOW EVENTS [db]
\tSHOW WEBHOOKS
\tSHOW FLEET
\tSHOW log_level
\tSET log_level = 'info[,part=debug]'
\tLISTEN pgsluice_events
\tSHOW HBA
\tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|UPSTREAMS|USERS|VERSION
\tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS|LISTS|STATE|MEM
\tSHOW FDS|SOCKETS|ACTIVE_SOCKETS|DNS_HOSTS|DNS_ZONES|PEERS|PEER_POOLS
\tRELOAD
\tSET key = value
\tSUSPEND
\tPAUSE [db]
\tRESUME [db]
\tDISABLE db
\tENABLE db
\tRECONNECT [db]
\tKILL [db]
\tKILL_CLIENT id
\tCLUSTER name PRIMARY host:port
\tWAIT_CLOSE [db]
\tSHUTDOWN [WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS]
Names of databases are folded to lower case unless they stand in double quotes.";

/// The columns of a SHOW; None for HELP, which is a notice.
pub(super) fn columns(show: &Show) -> Option<&'static [Column]> {
    Some(match show {
        Show::Help => return None,
        Show::Version => VERSION,
        Show::Databases => crate::admin::show::databases::COLUMNS,
        Show::Pools => crate::admin::show::pools::COLUMNS,
        Show::Clients => crate::admin::show::clients::COLUMNS,
        Show::Servers => crate::admin::show::servers::COLUMNS,
        Show::Stats => crate::admin::show::stats::COLUMNS,
        Show::StatsTotals => crate::admin::show::stats::TOTALS,
        Show::StatsAverages => crate::admin::show::stats::AVERAGES,
        Show::Totals => crate::admin::show::stats::SUMS,
        Show::Lists => crate::admin::show::lists::LISTS,
        Show::Config => CONFIG,
        Show::ConfigNotes => CONFIG_NOTES,
        Show::Peers => crate::admin::show::sockets::PEERS,
        Show::Sockets(_) => crate::admin::show::sockets::SOCKETS,
        Show::Fds => crate::admin::show::sockets::FDS,
        Show::State => STATE,
        Show::Users => crate::admin::show::lists::USERS,
        Show::Mem => crate::admin::show::lists::MEM,
        Show::Maintenance(_) => maintenance::STATUS,
        Show::Moves => moving::MOVES,
        Show::Move(_) => moving::STEPS,
        Show::Migrations => moving::MIGRATIONS,
        Show::Events(_) => crate::admin::show::events::COLUMNS,
        Show::Upstreams => crate::admin::show::upstreams::COLUMNS,
        Show::Fleet => crate::admin::show::fleet::COLUMNS,
        Show::Webhooks => crate::admin::show::events::WEBHOOKS,
        Show::Hba => crate::admin::show::hba::COLUMNS,
        Show::LogLevel => LOG_LEVEL,
        Show::Rehearsal => rehearse::COLUMNS,
        Show::Reroutes => reroute::COLUMNS,
        Show::Nothing(columns) => columns,
        Show::Setting(setting) => setting.column,
    })
}

/// Runs a SHOW.
pub(super) async fn run(caller: &Caller, show: &Show) -> Result<Option<Table>, Report> {
    let proxy = caller.proxy.clone();
    let gathers = matches!(
        show,
        Show::Databases
            | Show::Pools
            | Show::Clients
            | Show::Servers
            | Show::Lists
            | Show::Users
            | Show::Mem
            | Show::Sockets(_)
            | Show::Fds
    );
    let seen = if gathers {
        crate::admin::show::seen::gather(&proxy).await
    } else {
        crate::admin::show::seen::Seen::default()
    };
    Ok(Some(match show {
        Show::Help => {
            let usage = Report { severity: Severity::Notice, ..Report::error("00000", "Console usage") };
            caller.tell(usage.with_detail(Some(HELP.to_owned()))).await;
            return Ok(None);
        }
        Show::Version => one(VERSION, concat!("pgsluice ", env!("CARGO_PKG_VERSION")).into()),
        Show::Databases => apart(proxy, seen, crate::admin::show::databases::table).await?,
        Show::Pools => apart(proxy, seen, crate::admin::show::pools::table).await?,
        Show::Clients => apart(proxy, seen, crate::admin::show::clients::table).await?,
        Show::Servers => apart(proxy, seen, crate::admin::show::servers::table).await?,
        Show::Stats => crate::admin::show::stats::table(&proxy),
        Show::StatsTotals => crate::admin::show::stats::totals(&proxy),
        Show::StatsAverages => crate::admin::show::stats::averages(&proxy),
        Show::Totals => crate::admin::show::stats::sums(&proxy),
        Show::Lists => crate::admin::show::lists::lists(&proxy, &seen),
        Show::Config => config(&proxy),
        Show::ConfigNotes => config_notes(&proxy),
        Show::State => state(&proxy),
        Show::Users => crate::admin::show::lists::users(&proxy, &seen),
        Show::Mem => crate::admin::show::lists::mem(&seen),
        Show::Maintenance(only) => maintenance::show(&proxy, only.as_deref())?,
        Show::Moves => moving::show(&proxy),
        Show::Move(which) => moving::steps(&proxy, which.as_deref())?,
        Show::Migrations => moving::show_migrations(&proxy).await,
        Show::Events(only) => crate::admin::show::events::table(&proxy, only.as_deref()),
        Show::Upstreams => crate::admin::show::upstreams::table(&proxy),
        Show::Fleet => crate::admin::show::fleet::table(&proxy),
        Show::Webhooks => crate::admin::show::events::webhooks(&proxy),
        Show::Hba => crate::admin::show::hba::table(&proxy).await,
        Show::Peers => crate::admin::show::sockets::peers(&proxy),
        Show::Sockets(which) => crate::admin::show::sockets::table(&proxy, &seen, *which),
        Show::Fds => crate::admin::show::sockets::fds(&proxy, &seen),
        Show::LogLevel => one(LOG_LEVEL, proxy.log_level.held().into()),
        Show::Rehearsal => rehearse::table(&proxy),
        Show::Reroutes => reroute::show(&proxy).await,
        Show::Nothing(columns) => Table::new(columns),
        Show::Setting(setting) => one(setting.column, setting.value.into()),
    }))
}

/// Clients from which on their table is made on a thread that serves nobody.
const MANY: usize = 256;

async fn apart(
    proxy: Arc<ProxyState>,
    seen: seen::Seen,
    make: fn(&ProxyState, &seen::Seen) -> Table,
) -> Result<Table, Report> {
    if seen.clients.len() < MANY {
        return Ok(make(&proxy, &seen));
    }
    let made = tokio::task::spawn_blocking(move || make(&proxy, &seen)).await;
    made.map_err(|_| Report::error("57P01", "pgsluice is shutting down"))
}

fn one(columns: &'static [Column], value: Cell) -> Table {
    let mut table = Table::new(columns);
    table.push([value]);
    table
}

fn config(proxy: &ProxyState) -> Table {
    let mut table = Table::new(CONFIG);
    for entry in proxy.setup.load().config.entries() {
        let changeable = if entry.changeable { "yes" } else { "no" };
        table.push([entry.key.into(), entry.value.into(), entry.default.into(), changeable.into()]);
    }
    table
}

fn config_notes(proxy: &ProxyState) -> Table {
    let mut table = Table::new(CONFIG_NOTES);
    for note in &proxy.setup.load().config.notes {
        table.push([note.key.clone().into(), note.value.clone().into(), note.note.clone().into()]);
    }
    table
}

fn state(proxy: &ProxyState) -> Table {
    let databases = &proxy.databases;
    let (suspended, paused) = (databases.are_suspended(), databases.are_paused() && !databases.are_suspended());
    let word = |is: bool| if is { "yes" } else { "no" };
    let mut table = Table::new(STATE);
    table.push(["active".into(), word(!paused && !suspended).into()]);
    table.push(["paused".into(), word(paused).into()]);
    table.push(["suspended".into(), word(suspended).into()]);
    for (layer, word) in Layers::WORDS {
        table.push([word.into(), proxy.layers.get(layer).to_string().into()]);
    }
    table
}
