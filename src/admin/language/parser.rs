//! From words to a command.

use std::time::Duration;

use super::command::{Command, Control, GateCommand, MoveCommand, Polite, Show, Shutdown, Sockets};
use super::words::{Token, syntax};
use crate::admin::rehearse;
use crate::admin::reroute::RerouteCommand;
use crate::admin::settings;
use crate::admin::settings::Scalar;
use crate::admin::show::sockets;
use crate::config::{Config, parse_duration, show_duration};
use crate::gate::{LONGEST_MESSAGE, OnOptions, Target, Verb, Wait};
use crate::protocol::Report;
use crate::proxy::moving::{activate, migrate, switchover};
use crate::proxy::reroute;
use crate::proxy::reroute::Destination;

/// The one key of the configuration that SET changes.
const LOG_LEVEL: &str = "log_level";

/// The channel of LISTEN on which events come.
pub const CHANNEL: &str = "pgsluice_events";

/// Options in one WITH (…): no command has so many.
const MOST_OPTIONS: usize = 32;

/// Reads one statement; `places` are those of its tokens and of its end.
///
/// # Errors
/// 42601: it is no command. 0A000: it is one of SQL's, or wants to change a setting.
pub fn parse(tokens: &[Token], places: &[u32]) -> Result<Command, Report> {
    let mut parser = Parser { tokens, places, at: 0 };
    let command = parser.command()?;
    match parser.peek() {
        None => Ok(command),
        Some(_) => Err(parser.unexpected()),
    }
}

/// Whether a text can be announced.
///
/// # Errors
/// 22023: it is too long, or has a NUL.
pub fn announcement(text: &str) -> Result<(), Report> {
    if text.chars().count() > LONGEST_MESSAGE {
        let text = format!("an announcement has at most {LONGEST_MESSAGE} characters");
        return Err(Report::error("22023", text));
    }
    // It would end the field on the wire. JSON can bring one, a statement cannot.
    if text.contains('\0') {
        return Err(Report::error("22023", "an announcement has no NUL"));
    }
    Ok(())
}

/// How long a rehearsal lasts; None ends it.
///
/// # Errors
/// 22023: it is no time, or too long.
pub fn rehearsal_time(text: &str) -> Result<Option<Duration>, Report> {
    let wrong = |reason: String| {
        Report::error("22023", format!("invalid time for a rehearsal: \"{text}\"")).with_detail(Some(reason))
    };
    let lasts = if text == "0" { Duration::ZERO } else { parse_duration(text).map_err(wrong)? };
    if lasts > rehearse::LONGEST {
        return Err(wrong(format!("The longest is {}.", show_duration(rehearse::LONGEST))));
    }
    Ok(Some(lasts).filter(|lasts| !lasts.is_zero()))
}

struct Parser<'a> {
    tokens: &'a [Token],
    places: &'a [u32],
    at: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn unexpected(&self) -> Report {
        self.here(syntax(match self.peek() {
            Some(Token::Quoted(name)) if name.is_empty() => {
                "zero-length delimited identifier at or near \"\"\"\"".to_owned()
            }
            Some(token) => format!("syntax error at or near \"{}\"", token.shown()),
            None => "syntax error at end of input".to_owned(),
        }))
    }

    /// An error of the next token.
    fn here(&self, report: Report) -> Report {
        report.with_position(self.places.get(self.at).copied())
    }

    /// The next word in lower case, if one is next; it is consumed.
    fn word(&mut self) -> Option<String> {
        match self.peek() {
            Some(Token::Word(word)) => {
                let word = word.to_ascii_lowercase();
                self.at += 1;
                Some(word)
            }
            _ => None,
        }
    }

    /// Consumes this keyword, if it is next.
    fn keyword(&mut self, keyword: &str) -> bool {
        let next = matches!(self.peek(), Some(Token::Word(word)) if word.eq_ignore_ascii_case(keyword));
        self.at += usize::from(next);
        next
    }

    fn mark(&mut self, mark: char) -> bool {
        let next = self.peek() == Some(&Token::Mark(mark));
        self.at += usize::from(next);
        next
    }

    /// Takes everything to the end.
    fn rest(&mut self) {
        self.at = self.tokens.len();
    }

    /// A database's name; bare words are folded to lower case, as identifiers are in PostgreSQL.
    fn name(&mut self) -> Result<String, Report> {
        let name = match self.peek() {
            Some(Token::Word(word)) => word.to_ascii_lowercase(),
            Some(Token::Quoted(name)) if !name.is_empty() => name.clone(),
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        Ok(name)
    }

    fn optional_name(&mut self) -> Result<Option<String>, Report> {
        if self.peek().is_none() { Ok(None) } else { self.name().map(Some) }
    }

    fn target(&mut self) -> Result<Target, Report> {
        if self.mark('*') { Ok(Target::All) } else { self.name().map(Target::One) }
    }

    fn command(&mut self) -> Result<Command, Report> {
        let Some(first) = self.word() else { return Err(self.unexpected()) };
        let control = |control| Ok(Command::Control(control));
        match first.as_str() {
            "show" => self.show(),
            "maintenance" => self.maintenance(),
            "offline" => self.gate(Verb::Offline),
            "online" => self.gate(Verb::Online),
            "switchover" => self.switchover(),
            "reroute" => self.reroute(),
            "activate" => self.activate(),
            "migrate" => self.migrate(),
            "pause" => control(Control::Pause(self.optional_name()?)),
            "resume" => control(Control::Resume(self.optional_name()?)),
            "kill" => control(Control::Kill(self.optional_name()?)),
            "reconnect" => control(Control::Reconnect(self.optional_name()?)),
            "wait_close" => control(Control::WaitClose(self.optional_name()?)),
            "disable" => control(Control::Disable(self.name()?)),
            "enable" => control(Control::Enable(self.name()?)),
            "kill_client" => self.kill_client(),
            "reload" => control(Control::Reload),
            "cluster" => self.cluster(),
            "shutdown" => self.shutdown(),
            "listen" => self.listen(),
            "unlisten" => self.unlisten(),
            "suspend" => control(Control::Suspend),
            "upgrade" => control(Control::Upgrade),
            "set" => self.set(),
            "reset" => Ok(self.reset()),
            "select" | "with" | "table" | "values" => self.select(),
            other => match polite(other) {
                Some(polite) => {
                    self.rest();
                    Ok(Command::Polite(polite))
                }
                None => {
                    self.at = 0;
                    let shown = self.peek().map(Token::shown).unwrap_or_default();
                    Err(self.here(syntax(format!("invalid command \"{shown}\""))))
                }
            },
        }
    }

    fn show(&mut self) -> Result<Command, Report> {
        let Some(what) = self.word() else { return Err(self.unexpected()) };
        let show = match what.as_str() {
            "help" => Show::Help,
            "version" => Show::Version,
            "databases" => Show::Databases,
            "pools" => Show::Pools,
            "clients" => Show::Clients,
            "servers" => Show::Servers,
            "stats" => Show::Stats,
            "stats_totals" => Show::StatsTotals,
            "stats_averages" => Show::StatsAverages,
            "totals" => Show::Totals,
            "lists" => Show::Lists,
            "config" if self.keyword("notes") => Show::ConfigNotes,
            "config" => Show::Config,
            "state" => Show::State,
            "users" => Show::Users,
            "mem" => Show::Mem,
            "upstreams" => Show::Upstreams,
            "fleet" => Show::Fleet,
            "webhooks" => Show::Webhooks,
            "moves" => Show::Moves,
            "move" => Show::Move(self.optional_name()?),
            "migrations" => Show::Migrations,
            "reroutes" => Show::Reroutes,
            LOG_LEVEL => Show::LogLevel,
            "events" => Show::Events(self.optional_name()?),
            "hba" => Show::Hba,
            "maintenance" => {
                let all = self.mark('*');
                Show::Maintenance(if all { None } else { self.optional_name()? })
            }
            "dns_hosts" => Show::Nothing(sockets::DNS_HOSTS),
            "dns_zones" => Show::Nothing(sockets::DNS_ZONES),
            "peers" => Show::Peers,
            "sockets" => Show::Sockets(Sockets::All),
            "active_sockets" => Show::Sockets(Sockets::Active),
            "fds" => Show::Fds,
            "peer_pools" => Show::Nothing(sockets::PEER_POOLS),
            "rehearsal" => Show::Rehearsal,
            "transaction" if self.keyword("isolation") && self.keyword("level") => {
                Show::Setting(settings::TRANSACTION_ISOLATION)
            }
            "time" if self.keyword("zone") => Show::Setting(settings::TIME_ZONE),
            other => match settings::setting(other) {
                Some(setting) => Show::Setting(setting),
                None => {
                    self.at = 1;
                    return Err(self.unexpected());
                }
            },
        };
        Ok(Command::Show(show))
    }

    fn maintenance(&mut self) -> Result<Command, Report> {
        match self.word().as_deref() {
            Some("on") => self.gate(Verb::On),
            Some("off") => self.gate(Verb::Off),
            Some("check") => self.target().map(Command::Check),
            Some("rehearse") => self.rehearse(),
            Some("announce") => self.announce(),
            Some(_) => {
                self.at = 1;
                Err(self.unexpected())
            }
            None => Err(self.unexpected()),
        }
    }

    /// `db 'text'`; no text takes back what has not been told yet.
    fn announce(&mut self) -> Result<Command, Report> {
        let target = self.target()?;
        let Some(Token::Text(text) | Token::Quoted(text)) = self.peek() else { return Err(self.unexpected()) };
        announcement(text)?;
        let text = text.clone();
        self.at += 1;
        Ok(Command::Announce(target, text))
    }

    /// `db FOR '10min'`, `db STOP`
    fn rehearse(&mut self) -> Result<Command, Report> {
        let target = self.target()?;
        if self.keyword("stop") {
            return Ok(Command::Rehearse(target, None));
        }
        let text = match (self.keyword("for"), self.peek()) {
            (true, Some(Token::Word(text) | Token::Text(text) | Token::Quoted(text))) => text.clone(),
            _ => return Err(self.unexpected()),
        };
        let lasts = rehearsal_time(&text)?;
        self.at += 1;
        Ok(Command::Rehearse(target, lasts))
    }

    fn gate(&mut self, verb: Verb) -> Result<Command, Report> {
        if self.peek().is_none() {
            let text = format!("{verb} needs the name of a database, or * for all");
            let hint = format!("For example: {verb} app. SHOW DATABASES lists the names.");
            return Err(self.here(Report::error("42601", text).with_hint(Some(hint))));
        }
        let target = self.target()?;
        let closes = verb.opposite().is_some();
        let options = if self.keyword("with") { self.options(OnOptions::is_flag)? } else { Vec::new() };
        let wait = if closes && self.keyword("nowait") { Wait::Flipped } else { Wait::Quiesced };
        Ok(Command::Gate(GateCommand { verb, target, options, wait }))
    }

    /// `db TO server [WITH (…)]`
    fn switchover(&mut self) -> Result<Command, Report> {
        if self.peek().is_none() {
            let hint = "For example: SWITCHOVER app TO 10.0.0.2:5432. SHOW UPSTREAMS lists the servers.";
            let report = Report::error("42601", "SWITCHOVER needs the name of a database, and TO a server");
            return Err(self.here(report.with_hint(Some(hint.into()))));
        }
        let database = self.name()?;
        if !self.keyword("to") {
            return Err(self.unexpected());
        }
        let to = self.server()?;
        let options = if self.keyword("with") { self.options(switchover::is_flag)? } else { Vec::new() };
        Ok(Command::Move(MoveCommand::Switchover(switchover::Request { database, to, options })))
    }

    /// `db ON server [WITH (…)]`
    fn activate(&mut self) -> Result<Command, Report> {
        if self.peek().is_none() {
            let hint = "For example: ACTIVATE app ON 10.0.0.2:5432. SHOW UPSTREAMS lists the servers.";
            let report = Report::error("42601", "ACTIVATE needs the name of a database, and ON a server");
            return Err(self.here(report.with_hint(Some(hint.into()))));
        }
        let database = self.name()?;
        if !self.keyword("on") {
            return Err(self.unexpected());
        }
        let to = self.server()?;
        let options = if self.keyword("with") { self.options(switchover::is_flag)? } else { Vec::new() };
        Ok(Command::Move(MoveCommand::Activate(activate::Request { database, to, options })))
    }

    /// `db TO cluster [WITH (…)]`, `db BACK [WITH (…)]`, `db FINISH [WITH (…)]`
    fn migrate(&mut self) -> Result<Command, Report> {
        if self.peek().is_none() {
            let hint = "For example: MIGRATE app TO green. SHOW UPSTREAMS lists the clusters.";
            let report =
                Report::error("42601", "MIGRATE needs the name of a database, and TO a cluster, BACK or FINISH");
            return Err(self.here(report.with_hint(Some(hint.into()))));
        }
        let database = self.name()?;
        let to = if self.keyword("back") {
            migrate::Where::Back
        } else if self.keyword("finish") {
            migrate::Where::Finish
        } else if self.keyword("to") {
            migrate::Where::There(self.name()?)
        } else {
            return Err(self.unexpected());
        };
        let options = if self.keyword("with") { self.options(migrate::is_flag)? } else { Vec::new() };
        Ok(Command::Move(MoveCommand::Migrate(migrate::Request { database, to, options })))
    }

    /// `host[:port]`
    fn server(&mut self) -> Result<String, Report> {
        let Some(Token::Word(host) | Token::Text(host) | Token::Quoted(host)) = self.peek() else {
            return Err(self.unexpected());
        };
        let mut host = host.clone();
        self.at += 1;
        if self.mark(':') {
            let Some(Token::Word(port)) = self.peek() else { return Err(self.unexpected()) };
            host = format!("{host}:{port}");
            self.at += 1;
        }
        Ok(host)
    }

    /// `(name [=] value, …)`; which options need no value.
    fn options(&mut self, is_flag: fn(&str) -> bool) -> Result<Vec<(String, String)>, Report> {
        if !self.mark('(') {
            return Err(self.unexpected());
        }
        let mut options = Vec::new();
        loop {
            let name = self.name()?;
            self.mark('=');
            let value = match self.peek() {
                Some(Token::Word(value) | Token::Text(value) | Token::Quoted(value)) => Some(value.clone()),
                Some(Token::Mark(',' | ')')) if is_flag(&name) => None,
                _ => return Err(self.unexpected()),
            };
            self.at += usize::from(value.is_some());
            options.push((name, value.unwrap_or_else(|| "on".to_owned())));
            if self.mark(')') {
                return Ok(options);
            }
            if !self.mark(',') || options.len() >= MOST_OPTIONS {
                return Err(self.unexpected());
            }
        }
    }

    /// `db TO cluster [WITH (…)]`, `db BACK [WITH (…)]`
    fn reroute(&mut self) -> Result<Command, Report> {
        let database = self.name()?;
        let to = if self.keyword("back") {
            Destination::Back
        } else if self.keyword("to") {
            Destination::Cluster(self.name()?)
        } else {
            return Err(self.unexpected());
        };
        let options = if self.keyword("with") { self.options(reroute::Options::is_flag)? } else { Vec::new() };
        Ok(Command::Reroute(RerouteCommand { database, to, options }))
    }

    /// `name PRIMARY host`
    fn cluster(&mut self) -> Result<Command, Report> {
        let cluster = self.name()?;
        if !self.keyword("primary") {
            return Err(self.unexpected());
        }
        Ok(Command::Control(Control::Primary { cluster, host: self.server()? }))
    }

    fn kill_client(&mut self) -> Result<Command, Report> {
        let id = match self.peek() {
            Some(Token::Word(id) | Token::Text(id) | Token::Quoted(id)) => match id.parse() {
                Ok(id) => Some(id),
                Err(_) if !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()) => {
                    let id: String = id.chars().take(60).collect();
                    return Err(Report::error("22003", format!("value \"{id}\" is out of range for type bigint")));
                }
                Err(_) => None,
            },
            _ => None,
        };
        let Some(id) = id else { return Err(self.unexpected()) };
        self.at += 1;
        Ok(Command::Control(Control::KillClient(id)))
    }

    fn shutdown(&mut self) -> Result<Command, Report> {
        let how = if self.keyword("wait_for_servers") {
            Shutdown::WaitForServers
        } else if self.keyword("wait_for_clients") {
            Shutdown::WaitForClients
        } else {
            Shutdown::Immediate
        };
        Ok(Command::Control(Control::Shutdown(how)))
    }

    /// SET of what belongs to a session of PostgreSQL does nothing; of a key of the configuration it holds until the next RELOAD.
    fn set(&mut self) -> Result<Command, Report> {
        let _ = self.keyword("session") || self.keyword("local");
        let Some(name) = self.word() else { return Err(self.unexpected()) };
        if name == LOG_LEVEL {
            return self.log_level();
        }
        if settings::is_configuration(&name) {
            if !self.mark('=') && !self.keyword("to") {
                return Err(self.unexpected());
            }
            return Ok(Command::Control(Control::Set(name, self.value()?)));
        }
        if !settings::belongs_to_sessions(&name) {
            let detail = format!("unrecognized configuration parameter \"{name}\"");
            let hint = match Config::nearest_key(&name) {
                Some(near) => format!("Did you mean \"{near}\"?"),
                None => "SHOW CONFIG lists what can be set.".to_owned(),
            };
            return Err(Report::error("08P01", "SET failed").with_detail(Some(detail)).with_hint(Some(hint)));
        }
        self.rest();
        Ok(Command::Polite(Polite::Other("SET")))
    }

    /// `[=|to] 'level[, part=level …]'`, or DEFAULT.
    fn log_level(&mut self) -> Result<Command, Report> {
        let _ = self.mark('=') || self.keyword("to");
        if self.keyword("default") {
            return Ok(Command::LogLevel(None));
        }
        let Some(Token::Word(level) | Token::Text(level) | Token::Quoted(level)) = self.peek() else {
            return Err(self.unexpected());
        };
        let level = level.clone();
        self.at += 1;
        Ok(Command::LogLevel(Some(level)))
    }

    /// RESET of what belongs to a session of PostgreSQL does nothing.
    fn reset(&mut self) -> Command {
        let is_level = self.keyword(LOG_LEVEL) && self.peek().is_none();
        self.rest();
        if is_level { Command::LogLevel(None) } else { Command::Polite(Polite::Other("RESET")) }
    }

    fn listen(&mut self) -> Result<Command, Report> {
        let at = self.at;
        if self.name()? == CHANNEL {
            return Ok(Command::Listen(true));
        }
        self.at = at;
        let report = Report::error("22023", format!("the console has one channel, \"{CHANNEL}\""));
        Err(self.here(report))
    }

    /// Of a channel that nobody can listen to it is right already.
    fn unlisten(&mut self) -> Result<Command, Report> {
        let all = self.mark('*') || self.name()? == CHANNEL;
        Ok(if all { Command::Listen(false) } else { Command::Polite(Polite::Other("UNLISTEN")) })
    }

    /// A value: a word or a text, or several with commas between them.
    fn value(&mut self) -> Result<String, Report> {
        let mut value = String::new();
        loop {
            match self.peek() {
                Some(Token::Word(part) | Token::Text(part) | Token::Quoted(part)) => value.push_str(part),
                _ => return Err(self.unexpected()),
            }
            self.at += 1;
            if !self.mark(',') {
                return Ok(value);
            }
            value.push_str(", ");
        }
    }

    fn select(&mut self) -> Result<Command, Report> {
        let known = Scalar::of(self.tokens);
        self.rest();
        match known {
            Some(scalar) => Ok(Command::Scalar(scalar)),
            None if settings::asks_catalog(self.tokens) => Ok(Command::Catalog),
            None => Err(Report::error("0A000", "the console runs commands, not queries")
                .with_hint(Some("SHOW HELP lists the commands.".into()))),
        }
    }
}

fn polite(word: &str) -> Option<Polite> {
    Some(match word {
        "begin" => Polite::Begin("BEGIN"),
        "start" => Polite::Begin("START TRANSACTION"),
        "commit" | "end" => Polite::End("COMMIT"),
        "rollback" | "abort" => Polite::End("ROLLBACK"),
        "savepoint" => Polite::Other("SAVEPOINT"),
        "release" => Polite::Other("RELEASE"),
        "discard" => Polite::Other("DISCARD ALL"),
        "deallocate" => Polite::Other("DEALLOCATE ALL"),
        "close" => Polite::Other("CLOSE CURSOR ALL"),
        _ => return None,
    })
}

#[cfg(test)]
#[path = "parser_tests.rs"]
mod tests;
