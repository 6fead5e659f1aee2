//! The seam between a command and whoever gives it: the console and the HTTP API run the very same commands by [`run`], each for
//! a [`Caller`] that is told what a person should know meanwhile.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::language::command::{Command, MoveCommand};
use super::table::{Column, Table};
use super::{announce, check, control, maintenance, moving, rehearse, reroute, show};
use crate::gate::{Target, Verb, Who};
use crate::moving::Entry;
use crate::protocol::Report;
use crate::shared::ProxyState;

/// Notices that may wait for whoever gave the command; the command waits for room.
const NOTICES: usize = 256;

/// Who gives a command, to which proxy, and where notices go.
pub struct Caller {
    /// The proxy.
    pub proxy: Arc<ProxyState>,
    /// For the gate, the log and whoever is refused because of it.
    pub who: Who,
    notices: mpsc::Sender<Report>,
}

impl Caller {
    /// A caller, and what it is told while its command runs.
    pub fn new(proxy: Arc<ProxyState>, who: Who) -> (Self, mpsc::Receiver<Report>) {
        let (notices, told) = mpsc::channel(NOTICES);
        (Self { proxy, who, notices }, told)
    }

    /// Tells a warning or a notice. One that nobody wants to hear is lost.
    pub(super) async fn tell(&self, report: Report) {
        let _ = self.notices.send(report).await;
    }

    /// Where it comes from, for the log.
    pub(super) fn address(&self) -> &str {
        self.who.address.as_deref().unwrap_or("unix")
    }
}

/// Runs a command to its end, and gives the table of those that have one. What a transition of the gate has begun goes on when
/// this is dropped. Whether the caller may is asked before.
///
/// # Errors
/// What the caller is to be told.
pub async fn run(caller: &Caller, command: &Command) -> Result<Option<Table>, Report> {
    match command {
        Command::Show(command) => show::run(caller, command).await,
        Command::Gate(command) => maintenance::run(caller, command).await.map(Some),
        Command::Move(command) => {
            maintenance::await_former(caller).await;
            moving::run(caller, command).await.map(Some)
        }
        Command::Check(target) => check::run(caller, target).await.map(Some),
        Command::Announce(target, text) => announce::run(caller, target, text).await.map(Some),
        Command::Rehearse(target, lasts) => rehearse::run(caller, target, *lasts).map(Some),
        Command::Reroute(command) => reroute::run(caller, command).await.map(Some),
        Command::Control(command) => {
            tracing::info!(
                event = "console_command", user = %caller.who.user, client = %caller.address(), command = command.tag(),
                target = command.target(), "console command"
            );
            control::run(caller, command).await.map(|()| None)
        }
        Command::LogLevel(words) => log_level(caller, words.as_deref()).map(|()| None),
        // What belongs to a conversation and not to the proxy.
        Command::Polite(_) | Command::Scalar(_) | Command::Catalog | Command::Listen(_) => Ok(None),
    }
}

/// Asks the move that a command has begun to go back, if it still can.
pub fn call_off(proxy: &ProxyState, command: &MoveCommand, who: &Who) {
    moving::call_off(proxy, command, who);
}

/// The move of that number, or the last one of that database.
///
/// # Errors
/// There is no such move or database.
pub fn find_move(proxy: &ProxyState, which: &str) -> Result<Option<Entry>, Report> {
    moving::shown::find(proxy, Some(which))
}

/// The command in a few words, and the databases that it is for.
pub fn words_of(command: &Command) -> (&'static str, Option<Target>) {
    match command {
        Command::Gate(command) => {
            let words = match command.verb {
                Verb::On => "MAINTENANCE ON",
                Verb::Off => "MAINTENANCE OFF",
                Verb::Offline => "OFFLINE",
                Verb::Online => "ONLINE",
            };
            (words, Some(command.target.clone()))
        }
        Command::Move(MoveCommand::Activate(request)) => ("ACTIVATE", Some(Target::One(request.database.clone()))),
        Command::Move(MoveCommand::Migrate(request)) => ("MIGRATE", Some(Target::One(request.database.clone()))),
        Command::Move(MoveCommand::Switchover(request)) => ("SWITCHOVER", Some(Target::One(request.database.clone()))),
        Command::Check(target) => ("MAINTENANCE CHECK", Some(target.clone())),
        Command::Announce(target, _) => ("MAINTENANCE ANNOUNCE", Some(target.clone())),
        Command::Rehearse(target, _) => ("MAINTENANCE REHEARSE", Some(target.clone())),
        Command::Reroute(command) => ("REROUTE", Some(Target::One(command.database.clone()))),
        other => (other.tag(), None),
    }
}

/// A database as it would be typed, on one line.
pub fn quoted_name(name: &str) -> String {
    let begins = |c: char| c.is_ascii_lowercase() || c == '_';
    let goes_on = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '_' | '-' | '.');
    if name == "*" || name.starts_with(begins) && name.chars().all(goes_on) {
        name.to_owned()
    } else if name.contains(char::is_control) {
        format!("{name:?}")
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// Until the next RELOAD; nothing goes back to what the configuration says.
fn log_level(caller: &Caller, words: Option<&str>) -> Result<(), Report> {
    let level = &caller.proxy.log_level;
    match words {
        None => level.set(&caller.proxy.setup.load().config.log),
        Some(words) => level.set_by_words(words).map_err(|hint| {
            let shown: String = words.chars().take(80).collect();
            Report::error("22023", format!("invalid value for parameter \"log_level\": \"{shown}\""))
                .with_hint(Some(hint))
        })?,
    }
    tracing::warn!(
        event = "log_level", user = %caller.who.user, client = %caller.address(), to = level.held(), "how much is logged has changed"
    );
    Ok(())
}

/// The columns of what a command gives there; None if it gives no table.
pub fn columns(proxy: &ProxyState, command: &Command) -> Option<&'static [Column]> {
    match command {
        Command::Gate(command) if proxy.fleet.get().is_some() && !command.is_local() => Some(maintenance::OF_FLEET),
        command => columns_alone(command),
    }
}

/// The same of a proxy that is in no fleet.
pub fn columns_alone(command: &Command) -> Option<&'static [Column]> {
    match command {
        Command::Show(command) => show::columns(command),
        Command::Gate(_) => Some(maintenance::OUTCOME),
        Command::Move(_) => Some(moving::LINES),
        Command::Check(_) => Some(check::COLUMNS),
        Command::Announce(..) => Some(announce::COLUMNS),
        Command::Rehearse(..) => Some(rehearse::ANSWER),
        Command::Reroute(_) => Some(reroute::OUTCOME),
        Command::Scalar(scalar) => Some(scalar.columns()),
        Command::Catalog => Some(&[]),
        Command::Control(_) | Command::Polite(_) | Command::Listen(_) | Command::LogLevel(_) => None,
    }
}
