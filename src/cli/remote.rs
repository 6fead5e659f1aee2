//! `pgsluice maintenance …`: the console's commands from the command line.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use super::exit::{Failure, complain, print};
use super::libpq::console_url::{complete, connect_timeout, hostaddr, variable};
use super::libpq::passfile::{self, Place};
use super::libpq::service_file::Service;
use super::maintenance::DEFAULT_ADMIN;
use super::screen::{output, progress};
use super::{ConsoleArgs, Events, MaintenanceCommand, MaintenanceOn, MaintenanceTarget};
use crate::auth::Credential;
use crate::client::startup::negotiate::CONSOLES;
use crate::config::{Config, Timeouts, show_duration};
use crate::events::Bus;
use crate::net::TcpOptions;
use crate::protocol::ErrorFields;
use crate::proxy::setup::cluster;
use crate::server::Address;
use crate::server::login::{Fresh, Login, LoginError};
use crate::server::own_query::{Answer, Row};
use crate::sql::lex::quote;

/// How often what has happened is asked for.
const LOOK: Duration = Duration::from_millis(300);

/// Sends the command to the console of a running proxy, prints its answer and gives the exit code.
pub fn main(command: &MaintenanceCommand) -> ExitCode {
    let sql = statement(command);
    let drains = match command {
        MaintenanceCommand::On(on) => Some(on),
        _ => None,
    };
    let is_check = matches!(command, MaintenanceCommand::Check(_));
    let done = run(command.console(), &sql, drains).and_then(|answer| {
        print(&output::written(&answer, command.console().output))?;
        if is_check && fails(&answer) { Err(Failure::CheckFailed) } else { Ok(()) }
    });
    done.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
}

/// `pgsluice offline`
pub fn offline(on: &MaintenanceOn) -> ExitCode {
    printed(&on.target.console, &with_options("OFFLINE", on), Some(on))
}

/// `pgsluice online`
pub fn online(target: &MaintenanceTarget) -> ExitCode {
    printed(&target.console, &format!("ONLINE {}", name(&target.database)), None)
}

/// `pgsluice switchover` and its like: a statement, or what is wrong with the line.
pub fn moved(console: &ConsoleArgs, statement: Result<String, String>, dry_run: bool) -> ExitCode {
    let done = statement.map_err(Failure::Usage).and_then(|sql| {
        let answer = run(console, &sql, None)?;
        print(&output::written(&answer, console.output))?;
        if dry_run && fails(&answer) { Err(Failure::CheckFailed) } else { Ok(()) }
    });
    done.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
}

pub(super) fn printed(console: &ConsoleArgs, sql: &str, drains: Option<&MaintenanceOn>) -> ExitCode {
    let done = run(console, sql, drains).and_then(|answer| print(&output::written(&answer, console.output)));
    done.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
}

/// `pgsluice events`
pub fn events(events: &Events) -> Result<(), Failure> {
    let sql = match &events.database {
        Some(database) => format!("SHOW EVENTS {}", name(database)),
        None => "SHOW EVENTS".to_owned(),
    };
    with_console(&events.console, async |link| {
        let all = link.ask(&sql).await?;
        if !events.follow {
            return print(&output::written(&all, events.console.output));
        }
        let mut last = 0;
        let mut answer = all;
        loop {
            print(&output::events(&answer, last, events.console.output))?;
            last = output::last_event(&answer).unwrap_or(last);
            tokio::time::sleep(LOOK).await;
            answer = link.ask(&sql).await?;
        }
    })
}

fn run(args: &ConsoleArgs, sql: &str, drains: Option<&MaintenanceOn>) -> Result<Answer, Failure> {
    with_console(args, async |link| {
        let Some(on) = drains.filter(|on| !on.nowait && progress::is_shown(args.output)) else {
            return link.ask(sql).await;
        };
        let patience = match on.drain_timeout {
            Some(given) => Some(given),
            None => progress::patience(&link.ask("SHOW CONFIG").await?, &on.target.database),
        };
        let mut bar = progress::Bar::new(patience);
        let answer = link.ask_telling(sql, |notice| bar.tell(&notice)).await;
        bar.clear();
        answer
    })
}

/// Logs in to a console, and does something with it.
pub(super) fn with_console<T>(
    args: &ConsoleArgs,
    what: impl AsyncFnOnce(&mut Link) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let console = console(args.admin.expose()).map_err(Failure::Usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Other(error.to_string()))?.block_on(async {
        let mut link = Link::open(console).await?;
        what(&mut link).await
    })
}

/// A console that is logged in to.
pub(super) struct Link {
    connection: Fresh,
    place: String,
}

impl Link {
    async fn open(Console { login, password_from }: Console) -> Result<Self, Failure> {
        let place = format!("the console at {}", login.address);
        match login.run(&[("application_name", "pgsluice maintenance")]).await {
            Ok(connection) => Ok(Self { connection, place }),
            Err(LoginError::Refused(body)) => {
                let fields = ErrorFields::new(&body);
                let from = password_from.filter(|_| fields.code() == b"28P01");
                let from = from.map_or(String::new(), |path| format!("\npassword retrieved from file \"{path}\""));
                Err(Failure::Refused(described(fields) + &from))
            }
            Err(LoginError::NoPassword { .. }) => Err(Failure::Refused(format!(
                "{place} asks for a password of \"{}\": set PGPASSWORD, or add a line to ~/.pgpass",
                login.user
            ))),
            Err(LoginError::Auth(error)) => Err(Failure::Refused(format!("cannot log in to {place}: {error}"))),
            Err(LoginError::Io(error)) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                let hint = "run this as root or as the service's user, or name another console with --admin";
                Err(Failure::Unreachable(format!("cannot connect to {place}: {error}\nHINT:  {hint}")))
            }
            Err(error) => Err(Failure::Unreachable(format!("cannot connect to {place}: {error}"))),
        }
    }

    /// Gives a command. Notices go to standard error.
    pub(super) async fn ask(&mut self, sql: &str) -> Result<Answer, Failure> {
        self.ask_telling(sql, |notice| complain(format_args!("{notice}"))).await
    }

    async fn ask_telling(&mut self, sql: &str, mut tell: impl FnMut(String)) -> Result<Answer, Failure> {
        let answer = self.connection.ask(sql, |notice| tell(described(notice))).await;
        answer.map_err(|error| match error {
            LoginError::Refused(body) => {
                let fields = ErrorFields::new(&body);
                // What the console says when a drain has given up.
                let failure = if fields.code() == b"55P03" { Failure::TimedOut } else { Failure::Refused };
                failure(described(fields))
            }
            error => Failure::Unreachable(format!(
                "lost {}: {error}; what was begun goes on, \"pgsluice maintenance status\" tells",
                self.place
            )),
        })
    }
}

/// How to log in to a console.
struct Console {
    login: Login,
    /// The file that its password comes from.
    password_from: Option<String>,
}

/// The console of that URL. What the URL does not say comes from a service, the environment and the password file.
fn console(url: &str) -> Result<Console, String> {
    // A variable that is set to nothing is as good as unset.
    let url = if url.is_empty() { DEFAULT_ADMIN } else { url };
    let service = Service::named(url, variable)?;
    let variable = |name: &str| service.instead_of(name).or_else(|| variable(name));
    let full = complete(url, variable)?;
    let settings = Config::server_of_url(&full).map_err(|why| format!("--admin: {why}"))?;
    let (cluster, mut tls) =
        cluster("console", &settings, &Bus::default()).map_err(|error| format!("--admin: {error}"))?;
    let mut address =
        cluster.upstreams.first().map(|upstream| upstream.address.clone()).ok_or("--admin: names no host")?;
    let database = settings.monitor_database.as_str();
    let dbname = if CONSOLES.contains(&database) { database } else { CONSOLES[0] };
    let given = Some(settings.monitor_password.expose().to_owned()).filter(|password| !password.is_empty());
    let mut password = given.or_else(|| variable("PGPASSWORD"));
    let mut password_from = None;
    if let (None, Some(path)) = (&password, passfile::path()) {
        let host = address.host_words();
        let place = Place { host: &host, port: address.port(), database: dbname, user: &settings.monitor_user };
        password = passfile::password(&path, place).unwrap_or_else(|why| {
            complain(format_args!("WARNING: {why}"));
            None
        });
        password_from = password.is_some().then(|| path.display().to_string());
    }
    if let Some(ip) = hostaddr(url, variable)? {
        if let Some(host) = address.host() {
            tls = Arc::new(tls.verifying(host));
        }
        address = Address::Tcp { host: ip.to_string(), port: address.port() };
    }
    let timeout = connect_timeout(url, variable)?.unwrap_or(Timeouts::default().server_connect_timeout);
    let login = Login {
        address,
        tcp: TcpOptions::default(),
        tls,
        user: settings.monitor_user.as_str().into(),
        credential: password.map_or(Credential::None, Credential::password).into(),
        dbname: dbname.to_owned(),
        parameters: Vec::new(),
        timeout,
        own: Arc::default(),
    };
    Ok(Console { login, password_from })
}

pub(super) fn name(database: &str) -> String {
    if database == "*" { "*".to_owned() } else { quote::ident(database) }
}

/// The command in the console's words.
fn statement(command: &MaintenanceCommand) -> String {
    match command {
        MaintenanceCommand::On(on) => with_options("MAINTENANCE ON", on),
        MaintenanceCommand::Off(target) => format!("MAINTENANCE OFF {}", name(&target.database)),
        MaintenanceCommand::Check(target) => format!("MAINTENANCE CHECK {}", name(&target.database)),
        MaintenanceCommand::Status(status) | MaintenanceCommand::Watch(status) => match &status.database {
            Some(database) => format!("SHOW MAINTENANCE {}", name(database)),
            None => "SHOW MAINTENANCE".to_owned(),
        },
        MaintenanceCommand::Rehearse(rehearse) => {
            let lasts = rehearse.lasts.map_or("STOP".to_owned(), |lasts| format!("FOR '{}'", show_duration(lasts)));
            format!("MAINTENANCE REHEARSE {} {lasts}", name(&rehearse.target.database))
        }
        MaintenanceCommand::Announce(announce) => {
            let text = quote::console_literal(&announce.text);
            format!("MAINTENANCE ANNOUNCE {} {text}", name(&announce.target.database))
        }
    }
}

fn with_options(command: &str, on: &MaintenanceOn) -> String {
    let duration = |value: Option<Duration>| value.map(show_duration);
    let word = |value: Option<&'static str>| value.map(str::to_owned);
    let options = [
        ("message", on.message.clone()),
        ("until", on.until.clone()),
        ("drain_timeout", duration(on.drain_timeout)),
        ("on_timeout", word(on.on_timeout.map(|choice| choice.as_str()))),
        ("writes", word(on.writes.map(|choice| choice.as_str()))),
        ("hold_timeout", duration(on.hold_timeout)),
        ("reads", word(on.reads.map(|choice| choice.as_str()))),
        ("expire", duration(on.expire)),
    ];
    let with = with_clause(&options);
    let nowait = if on.nowait { " NOWAIT" } else { "" };
    format!("{command} {}{with}{nowait}", name(&on.target.database))
}

/// WITH (…) of a command, as far as options are given; with a space before it.
pub(super) fn with_clause(options: &[(&str, Option<String>)]) -> String {
    let given: Vec<_> = options
        .iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", quote::console_literal(value.as_ref()?))))
        .collect();
    if given.is_empty() { String::new() } else { format!(" WITH ({})", given.join(", ")) }
}

/// An error or a notice as psql prints it.
fn described(fields: ErrorFields<'_>) -> String {
    let field = |code| fields.get(code).map(|text| String::from_utf8_lossy(text).into_owned());
    let mut words = format!("{}:  {}", field(b'S').unwrap_or_default(), field(b'M').unwrap_or_default());
    for (code, name) in [(b'D', "DETAIL"), (b'H', "HINT")] {
        if let Some(text) = field(code) {
            words.push_str(&format!("\n{name}:  {text}"));
        }
    }
    words
}

/// Whether a check has found what a maintenance would fail at.
fn fails(answer: &Answer) -> bool {
    let status = answer.columns.iter().position(|column| column == "status");
    let fail = |row: &Row| status.and_then(|at| row.get(at)?.as_deref()) == Some("fail");
    answer.rows.iter().any(fail)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn words(line: &[&str]) -> String {
        let cli = Cli::try_parse_from(["pgsluice", "maintenance"].iter().chain(line)).unwrap();
        let Command::Maintenance(command) = cli.command else { panic!("{line:?}") };
        statement(&command)
    }

    #[test]
    fn commands_are_the_consoles() {
        assert_eq!(words(&["off", "*"]), "MAINTENANCE OFF *");
        assert_eq!(words(&["status", "My \"db\""]), "SHOW MAINTENANCE \"My \"\"db\"\"\"");
        assert_eq!(words(&["on", "app"]), "MAINTENANCE ON \"app\"");
        assert_eq!(
            words(&[
                "on",
                "app",
                "--message",
                "it's on",
                "--drain-timeout",
                "90s",
                "--on-timeout",
                "cancel",
                "--nowait"
            ]),
            "MAINTENANCE ON \"app\" WITH (message 'it''s on', drain_timeout '90s', on_timeout 'cancel') NOWAIT"
        );
    }

    #[test]
    fn a_url_leads_to_a_console() {
        let login = console("postgres://u:p@127.0.0.1:7000/pgbouncer").unwrap().login;
        assert_eq!((&*login.user, login.dbname.as_str(), login.address.port()), ("u", "pgbouncer", 7000));
        assert_eq!(console("postgres://u@h").unwrap().login.dbname, "pgsluice");
        // Where a proxy listens by default there is a console, too.
        assert_eq!(console("postgres://u@127.0.0.1:6432/pgsluice").unwrap().login.address.port(), 6432);
        assert!(console("http://u@h").err().unwrap().contains("--admin"));
    }
}
