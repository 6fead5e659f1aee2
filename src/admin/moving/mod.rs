//! Moves of databases, as commands: begun, followed to their end, and shown ([`shown`]).

pub(crate) mod shown;

use super::commands::{Caller, quoted_name};
use super::language::command::MoveCommand;
use super::table::{Cell, Column, Table, columns};
use crate::gate::{Target, Verb, Who};
use crate::moving::{Entry, Line, Move, Status, Step};
use crate::protocol::{Report, Severity};
use crate::proxy::moving::{activate, migrate, switchover};
use crate::shared::ProxyState;
pub(super) use shown::{MOVES, STEPS, show, steps};
use std::sync::Arc;

/// Columns of the answer: what was found, and the steps that were taken.
pub(super) const LINES: &[Column] =
    columns![step Text, name Text, status Text, at Time, took_ms Int8, detail Text, remedy Text];

/// Columns of SHOW MIGRATIONS.
pub(super) const MIGRATIONS: &[Column] = columns![
    database Text, old Text, new Text, clients Text, since Time, who Text, state Text, tables Int8, ready Int8, behind_bytes Int8,
    mirrored Int8, differences Int8,
];

/// Begins a move and follows it. It goes on when this is dropped.
pub(super) async fn run(caller: &Caller, command: &MoveCommand) -> Result<Table, Report> {
    let (words, database, to) = match command {
        MoveCommand::Switchover(request) => ("SWITCHOVER", &request.database, &request.to),
        MoveCommand::Activate(request) => ("ACTIVATE", &request.database, &request.to),
        MoveCommand::Migrate(request) => ("MIGRATE", &request.database, &request.to.words()),
    };
    // The other members would go on writing to the old primary.
    let hint = "Close the database for all members by MAINTENANCE ON, and promote the other server by hand.";
    refuse_in_fleet(&caller.proxy, words, hint)?;
    tracing::warn!(
        event = "move_command", user = %caller.who.user, client = %caller.address(), database = %database,
        "{words} {}: {}", quoted_name(database), quoted_name(to)
    );
    let one = match command {
        MoveCommand::Switchover(request) => switchover::begin(&caller.proxy, request, caller.who.clone())?,
        MoveCommand::Activate(request) => activate::begin(&caller.proxy, request, caller.who.clone())?,
        MoveCommand::Migrate(request) => migrate::begin(&caller.proxy, request, caller.who.clone())?,
    };
    let entry = one.entry();
    if !entry.scope.clusters.is_empty() && entry.scope.databases.len() > 1 {
        let all: Vec<_> = entry.scope.databases.iter().map(|database| format!("\"{}\"", database.dbname)).collect();
        let text = format!("{} is for every database of the cluster: {}", entry.what.verb(), all.join(", "));
        caller.tell(Report::notice(text)).await;
    }
    follow(caller, &one).await
}

/// What one proxy does by itself is refused where others would go on as before.
///
/// # Errors
/// 0A000
pub(super) fn refuse_in_fleet(proxy: &ProxyState, words: &str, hint: &str) -> Result<(), Report> {
    if proxy.fleet.get().is_none() {
        return Ok(());
    }
    Err(Report::error("0A000", format!("{words} is not supported in a fleet")).with_hint(Some(hint.to_owned())))
}

/// Asks the move that a command has begun to go back, if it still can.
pub(super) fn call_off(proxy: &ProxyState, command: &MoveCommand, who: &Who) {
    let database = match command {
        MoveCommand::Switchover(request) => &request.database,
        MoveCommand::Activate(request) => &request.database,
        MoveCommand::Migrate(request) => &request.database,
    };
    let gate = proxy.gates.get(database);
    if let Some(one) = gate.and_then(|gate| proxy.moves.concerning(gate.place())) {
        one.call_off(who.clone());
    }
}

/// Tells each line as it comes, and gives all of them.
async fn follow(caller: &Caller, one: &Move) -> Result<Table, Report> {
    let mut seen = 0;
    loop {
        one.news(seen).await;
        let entry = one.entry();
        // What only looks is over at once, and its answer has all rows.
        for line in entry.lines.iter().skip(seen).filter(|_| !entry.is_rehearsal()) {
            caller.tell(told(line)).await;
        }
        seen = entry.lines.len();
        if let Some(report) = answer(one, &entry) {
            return report;
        }
    }
}

/// The answer, once it is over.
fn answer(one: &Move, entry: &Entry) -> Option<Result<Table, Report>> {
    let end = entry.end.as_ref().filter(|_| one.is_over())?;
    if end.done {
        let mut table = Table::new(LINES);
        entry.lines.iter().for_each(|line| table.push(row(line)));
        return Some(Ok(table));
    }
    let why = end.why.clone().unwrap_or_default();
    let remedies: Vec<_> =
        entry.lines.iter().filter(|line| line.status == Status::Fail).filter_map(|line| line.remedy.clone()).collect();
    let words = |line: &Line| format!("{}: {}", line.name, line.detail);
    let refused = entry.lines.iter().filter(|line| line.step == Step::Check && line.status == Status::Fail);
    let refused: Vec<_> = refused.map(words).collect();
    // What has failed later is told by the last step that was taken.
    let is_refused = entry.what.step() == Step::Check && !refused.is_empty();
    let detail = if is_refused { Some(refused.join("\n")) } else { entry.lines.last().map(words) };
    let report = Report::error(code(&end.sqlstate), format!("{} has failed: {why}", entry.what));
    Some(Err(report.with_detail(detail).with_hint(Some(remedies.join(" ")).filter(|hint| !hint.is_empty()))))
}

/// A report has one of those that are known.
fn code(sqlstate: &str) -> &'static str {
    const KNOWN: [&str; 12] =
        ["08006", "22023", "3D000", "42501", "42704", "53400", "55006", "55P03", "57014", "57P01", "58000", "58030"];
    KNOWN.into_iter().find(|known| *known == sqlstate).unwrap_or("55000")
}

fn told(line: &Line) -> Report {
    let took = if line.took_ms > 0 { format!(" ({} ms)", line.took_ms) } else { String::new() };
    let text = format!("{}: {}{took}", line.name, line.detail);
    let report = match line.status {
        Status::Ok => Report::notice(text),
        Status::Warn | Status::Fail => Report::warning("01000", text),
    };
    Report { hint: line.remedy.clone(), ..report }
}

/// A line as a row of the answer, and of SHOW MOVE behind the move's number.
fn row(line: &Line) -> [Cell; 7] {
    [
        line.step.word().into(),
        line.name.clone().into(),
        line.status.word().into(),
        line.at.into(),
        line.took_ms.into(),
        line.detail.clone().into(),
        line.remedy.clone().into(),
    ]
}

/// SHOW MIGRATIONS: databases that have two sides, from the first MIGRATE until FINISH.
pub(super) async fn show_migrations(proxy: &Arc<ProxyState>) -> Table {
    let mut table = Table::new(MIGRATIONS);
    for one in proxy.moves.migrations() {
        let stands = migrate::stands(proxy, &one).await;
        table.push([
            one.database.clone().into(),
            one.old.to_string().into(),
            one.new.to_string().into(),
            if one.on_new { "new" } else { "old" }.into(),
            one.since.into(),
            one.who.user.clone().into(),
            stands.state.into(),
            stands.tables.into(),
            stands.ready.into(),
            stands.behind.into(),
            stands.mirrored.map(|(compared, _)| compared).into(),
            stands.mirrored.map(|(_, different)| different).into(),
        ]);
    }
    table
}

/// A command of the gate comes while a move has the database: MAINTENANCE OFF calls the move off, as far as it still can be, and waits
/// for its end; others are refused.
///
/// # Errors
/// 55006
pub(super) async fn make_way(caller: &Caller, verb: Verb, target: &Target) -> Result<(), Report> {
    let moves = &caller.proxy.moves;
    if !moves.is_any() {
        return Ok(());
    }
    let names = match target {
        Target::One(name) => vec![name.clone()],
        Target::All => caller.proxy.gates.show().into_iter().map(|row| row.database).collect(),
    };
    for name in names {
        let gate = caller.proxy.gates.get(&name);
        let Some(one) = gate.and_then(|gate| moves.concerning(gate.place())) else { continue };
        if verb != Verb::Off {
            let error = one.in_the_way(&name);
            return Err(Report::error(error.sqlstate(), error.to_string()).with_hint(error.hint()));
        }
        one.call_off(caller.who.clone());
        let text = format!("{} is called off, or comes to its end if it is past the promotion", one.entry().what);
        caller.tell(Report { severity: Severity::Notice, ..Report::notice(text) }).await;
        while !one.is_over() {
            one.news(usize::MAX).await;
        }
    }
    Ok(())
}
