//! MAINTENANCE ON and OFF, OFFLINE and ONLINE: the gate does the work, this tells of it. The transition does not need the
//! console that asked for it.

use super::commands::{Caller, quoted_name};
use super::language::command::GateCommand;
use super::table::{Cell, Column, Table, columns};
use crate::config;
use crate::fleet;
use crate::gate::{
    ForeignWriter, GateError, Given, Mode, OnDefaults, OnOptions, OnTimeout, Outcome, Reads, Row, Target, Terms, Verb,
    Writes,
};
use crate::protocol::{Report, Severity};
use crate::shared::ProxyState;
use tokio::sync::mpsc;

/// Columns of the answer.
pub(super) const OUTCOME: &[Column] = columns![
    database Text, mode Text, changed Bool, epoch Int8, since Time, quiesced_at Time, quiesced_lsn Text, waited_ms Int8,
    finished Int8, fenced Int8, cancelled Int8, foreign_writers Text, message Text,
];

/// Columns of the answer of a fleet: a row for all together, then one for each member.
pub(super) const OF_FLEET: &[Column] = columns![
    database Text, mode Text, changed Bool, epoch Int8, since Time, quiesced_at Time, quiesced_lsn Text, waited_ms Int8,
    finished Int8, fenced Int8, cancelled Int8, foreign_writers Text, message Text, member Text,
];

/// Columns of SHOW MAINTENANCE.
pub(super) const STATUS: &[Column] = columns![
    database Text, mode Text, epoch Int8, since Time, message Text, until Time, expire_at Time, writes Text, reads Text,
    on_timeout Text, drain_timeout Text, quiesced_at Time, quiesced_lsn Text, in_flight Int8, under_way Text, progress Text,
    who Text, address Text, maintenance Bool, held Int8, discarded Int8, allowed Int8, cause Text, reason Text,
];

/// While another process serves clients too, before or after this one, no command begins: it would be for this one's alone.
pub(super) async fn await_former(caller: &Caller) {
    if !caller.proxy.is_alone() {
        let text = "an upgrade is under way: the command begins once one process alone serves clients";
        caller.tell(Report::notice(text)).await;
        caller.proxy.until_alone().await;
    }
}

/// Runs a command of the gate to its end.
pub(super) async fn run(caller: &Caller, command: &GateCommand) -> Result<Table, Report> {
    await_former(caller).await;
    let gates = caller.proxy.gates.clone();
    let in_fleet = caller.proxy.fleet.get().is_some();
    let for_gate = GateCommand { options: without_local(in_fleet, &command.options), ..command.clone() };
    let options = options(&caller.proxy, &for_gate).map_err(report)?;
    super::moving::make_way(caller, command.verb, &command.target).await?;
    let (target, who) = (command.target.clone(), caller.who.clone());
    let name = match &command.target {
        Target::One(name) => name,
        Target::All => "*",
    };
    let shown = quoted_name(name);
    tracing::warn!(
        event = "gate_command", user = %who.user, client = %caller.address(), database = %name, "{} {shown}", command.verb
    );
    let is_offline = |name: &str| gates.get(name).is_some_and(|gate| !gate.state().mode.admits_connections());
    if let (Verb::Online, Target::One(name)) = (command.verb, &command.target)
        && is_offline(name)
    {
        super::control::reload_database(caller, name).await?;
    }
    if let Some(fleet) = caller.proxy.fleet.get().filter(|_| !command.is_local()) {
        return run_in_fleet(caller, fleet, command, options).await;
    }
    let handle = match command.verb {
        Verb::On => gates.maintenance_on(target, options, who, command.wait),
        Verb::Off | Verb::Online => gates.open_again(command.verb, target, options, who),
        Verb::Offline => gates.offline(target, options, who, command.wait),
    };
    let mut handle = handle.map_err(report)?;
    while let Some(waits_for) = handle.progress().await {
        for progress in waits_for {
            caller.tell(Report::notice(progress.to_string())).await;
        }
    }
    let outcomes = handle.outcome().await;
    let others: Vec<_> = handle.other_names().map(|name| format!("\"{name}\"")).collect();
    if !others.is_empty() {
        let text = format!("{} is for every name of the database: \"{name}\", {}", command.verb, others.join(", "));
        caller.tell(Report::notice(text)).await;
    }
    answer(caller, outcomes).await
}

/// The option is known in a fleet only.
fn without_local(in_fleet: bool, options: &[(String, String)]) -> Vec<(String, String)> {
    options.iter().filter(|(name, _)| !(in_fleet && name.eq_ignore_ascii_case("local"))).cloned().collect()
}

/// Gives a command to all members, and tells of it.
async fn run_in_fleet(
    caller: &Caller,
    fleet: &fleet::Handle,
    command: &GateCommand,
    options: OnOptions,
) -> Result<Table, Report> {
    let (reply, mut replies) = mpsc::channel(16);
    let (target, who) = (command.target.clone(), caller.who.clone());
    let order = fleet::Order { verb: command.verb, target, options, who, wait: command.wait, reply };
    let stopping = || Report::error("57P01", "pgsluice is shutting down");
    fleet.orders.send(order).await.map_err(|_| stopping())?;
    let answers = loop {
        match replies.recv().await {
            Some(fleet::Reply::Progress(text)) => caller.tell(Report::notice(text)).await,
            Some(fleet::Reply::Done(answers)) => break answers.map_err(report)?,
            None => return Err(stopping()),
        }
    };
    let mut table = Table::new(OF_FLEET);
    let (mut failed, mut done) = (Vec::new(), Vec::new());
    for fleet::Answer { whole, members } in answers {
        match whole {
            Ok(whole) => {
                for warning in warnings(&whole).into_iter().chain(allowing_rules(&caller.proxy, &whole)) {
                    caller.tell(warning).await;
                }
                done.push((whole, members));
            }
            Err(error) => failed.push(error),
        }
    }
    for (whole, members) in done {
        table.push(row_of(whole, Cell::Null));
        members.into_iter().for_each(|one| table.push(row_of(one.outcome, one.member.into())));
    }
    end(caller, table, failed).await
}

fn row_of(outcome: Outcome, member: Cell) -> [Cell; 14] {
    let mut cells = row(outcome).into_iter().chain([member]);
    std::array::from_fn(|_| cells.next().unwrap_or(Cell::Null))
}

async fn answer(caller: &Caller, outcomes: Vec<(String, Result<Outcome, GateError>)>) -> Result<Table, Report> {
    let mut table = Table::new(OUTCOME);
    let mut failed: Vec<GateError> = Vec::new();
    for (_, outcome) in outcomes {
        match outcome {
            Ok(outcome) => {
                let allowed = allowing_rules(&caller.proxy, &outcome);
                for warning in warnings(&outcome).into_iter().chain(allowed) {
                    caller.tell(warning).await;
                }
                table.push(row(outcome));
            }
            Err(error) => failed.push(error),
        }
    }
    end(caller, table, failed).await
}

/// The rows, or the first error.
async fn end(caller: &Caller, table: Table, failed: Vec<GateError>) -> Result<Table, Report> {
    let mut failed = failed.into_iter();
    let Some(first) = failed.next() else { return Ok(table) };
    // Rows are lost behind an error: what became of the other databases has to be told before it.
    for other in failed {
        caller.tell(Report { severity: Severity::Warning, ..report(other) }).await;
    }
    if !table.rows.is_empty() {
        let text = match table.rows.len() {
            1 => "1 other database is done; SHOW MAINTENANCE tells".to_owned(),
            count => format!("{count} other databases are done; SHOW MAINTENANCE tells"),
        };
        caller.tell(warning(text)).await;
    }
    Err(report(first))
}

fn warning(text: String) -> Report {
    Report::warning("01000", text)
}

fn warnings(outcome: &Outcome) -> Vec<Report> {
    let mut warnings = Vec::new();
    if let Some(text) = &outcome.warning {
        warnings.push(warning(format!("database \"{}\": {text}", outcome.database)));
    }
    if !outcome.foreign_writers.is_empty() {
        let who = match outcome.foreign_writers.len() {
            1 => "1 other writes".to_owned(),
            count => format!("{count} others write"),
        };
        let text = format!("database \"{}\": {who} to it past this proxy", outcome.database);
        warnings.push(warning(text).with_detail(Some(list(&outcome.foreign_writers))));
    }
    warnings
}

/// A closed database that rules let some write to is not fully still: whoever closed it is told.
fn allowing_rules(proxy: &ProxyState, outcome: &Outcome) -> Option<Report> {
    let database = proxy.databases.get(&outcome.database)?;
    let setup = database.setup();
    let rules = setup.settings.maintenance.write_rules.iter().filter(|rule| rule.action == config::RuleAction::Allow);
    let rules: Vec<_> = rules.map(|rule| rule.as_str()).collect();
    let closed = matches!(outcome.mode, Mode::ReadOnly { .. } | Mode::Draining { .. }) && !rules.is_empty();
    let text = format!("database \"{}\" is not fully still: rules let some writes through", outcome.database);
    closed.then(|| warning(text).with_detail(Some(rules.join("; "))))
}

fn list(writers: &[ForeignWriter]) -> String {
    let words: Vec<_> = writers.iter().map(|writer| format!("{} {}", writer.kind, writer.description)).collect();
    words.join("; ")
}

fn row(outcome: Outcome) -> [Cell; 13] {
    [
        outcome.database.into(),
        outcome.mode.as_str().into(),
        outcome.changed.into(),
        outcome.epoch.0.into(),
        outcome.since.into(),
        outcome.quiesced_at.into(),
        outcome.quiesced_lsn.map(|lsn| lsn.to_string()).into(),
        outcome.waited_ms.into(),
        outcome.finished.into(),
        outcome.fenced.into(),
        outcome.cancelled.into(),
        list(&outcome.foreign_writers).into(),
        outcome.message.into(),
    ]
}

fn report(error: GateError) -> Report {
    Report::error(error.sqlstate(), error.to_string()).with_detail(error.detail()).with_hint(error.hint())
}

/// What the command says, with the configuration's word where it does not.
fn options(proxy: &ProxyState, command: &GateCommand) -> Result<OnOptions, GateError> {
    // What is closed can be opened though it is not in the configuration any more.
    if command.verb.opposite().is_none() {
        return OnOptions::to_open(&command.options);
    }
    let setup = proxy.setup.load();
    let (settings, open) = match &command.target {
        Target::One(name) => {
            // A database that only `*` knows comes into being with its first use.
            let Some(database) = proxy.databases.get(name) else {
                return Err(GateError::UnknownDatabase(name.clone()));
            };
            let open = database.gate.view().switches.maintenance.is_none();
            (database.setup().settings.maintenance.clone(), open)
        }
        Target::All => {
            let open = !proxy.gates.show().iter().any(|row| row.database == "*" && row.maintenance);
            (setup.config.maintenance.clone(), open)
        }
    };
    let mut options = OnOptions::from_pairs(&command.options, defaults(&settings))?;
    options.check_until(jiff::Timestamp::now())?;
    // In a maintenance that goes on, a command without a message leaves the one that is there.
    if command.verb == Verb::On && open && options.message == Given::Not && !settings.message.is_empty() {
        options.message = Given::Value(settings.message);
    }
    Ok(options)
}

fn defaults(settings: &config::Maintenance) -> OnDefaults {
    OnDefaults {
        writes: match settings.writes {
            config::Writes::Reject => Writes::Reject,
            config::Writes::Hold => Writes::Hold,
        },
        hold_timeout: settings.hold_timeout,
        drain_timeout: settings.drain_timeout,
        on_timeout: match settings.on_timeout {
            config::OnTimeout::Cancel => OnTimeout::Cancel,
            config::OnTimeout::Revert => OnTimeout::Revert,
        },
        reads: match settings.reads {
            config::MaintenanceReads::Any => Reads::Any,
            config::MaintenanceReads::Replica => Reads::Replica,
            config::MaintenanceReads::Primary => Reads::Primary,
        },
    }
}

/// SHOW MAINTENANCE, of all databases or of one.
pub(super) fn show(proxy: &ProxyState, only: Option<&str>) -> Result<Table, Report> {
    let rows = proxy.gates.show();
    if let Some(name) = only
        && !rows.iter().any(|row| row.database == name)
    {
        return Err(report(GateError::UnknownDatabase(name.to_owned())));
    }
    let mut table = Table::new(STATUS);
    for row in rows.into_iter().filter(|row| only.is_none_or(|name| row.database == name)) {
        table.push(status(row));
    }
    Ok(table)
}

fn status(row: Row) -> [Cell; 24] {
    let terms = row.terms.as_ref();
    let of = |get: fn(&Terms) -> Cell| terms.map_or(Cell::Null, get);
    [
        row.database.into(),
        row.mode.as_str().into(),
        row.epoch.0.into(),
        // A database that was never closed has been open since nobody knows when.
        if row.epoch.0 == 0 { Cell::Null } else { row.since.into() },
        of(|terms| terms.message.clone().into()),
        of(|terms| terms.until.into()),
        of(|terms| terms.expire_at.into()),
        of(|terms| writes_word(terms.writes).into()),
        of(|terms| reads_word(terms.reads).into()),
        of(|terms| on_timeout_word(terms.on_timeout).into()),
        of(|terms| config::show_duration(terms.drain_timeout).into()),
        row.quiesced.map(|quiesced| quiesced.at).into(),
        row.quiesced.and_then(|quiesced| quiesced.lsn).map(|lsn| lsn.to_string()).into(),
        row.in_flight.into(),
        row.under_way.as_ref().map(|(verb, who)| format!("{verb} by {who}")).into(),
        row.progress.as_ref().map(ToString::to_string).into(),
        of(|terms| terms.who.user.clone().into()),
        of(|terms| terms.who.address.clone().into()),
        row.maintenance.into(),
        row.held.into(),
        row.discarded.into(),
        row.allowed.into(),
        of(|terms| terms.cause.word().into()),
        row.reason.into(),
    ]
}

fn writes_word(writes: Writes) -> &'static str {
    match writes {
        Writes::Reject => "reject",
        Writes::Hold => "hold",
    }
}

fn reads_word(reads: Reads) -> &'static str {
    match reads {
        Reads::Any => "any",
        Reads::Replica => "replica",
        Reads::Primary => "primary",
    }
}

fn on_timeout_word(on_timeout: OnTimeout) -> &'static str {
    match on_timeout {
        OnTimeout::Cancel => "cancel",
        OnTimeout::Revert => "revert",
    }
}
