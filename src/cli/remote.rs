//! `pgsluice maintenance …`: the console's commands from the command line.

use std::process::ExitCode;

use super::console_url::{complete, connect_timeout, variable};
use super::exit::{Failure, complain, print};
use super::maintenance::DEFAULT_ADMIN;
use super::passfile;
use super::passfile::Place;
use super::{MaintenanceCommand, MaintenanceOn, MaintenanceTarget};
use crate::auth::Credential;
use crate::client::startup::negotiate::CONSOLES;
use crate::config::{Config, Timeouts, show_duration};
use crate::events::Bus;
use crate::net::TcpOptions;
use crate::protocol::ErrorFields;
use crate::proxy::setup::cluster;
use crate::server::login::{Login, LoginError};
use crate::server::own_query::{Answer, Row};
use crate::sql::lex::quote;

/// Sends the command to the console of a running proxy, prints its answer and gives the exit code.
pub fn main(command: &MaintenanceCommand) -> ExitCode {
    let (target, sql) = statement(command);
    let is_check = matches!(command, MaintenanceCommand::Check(_));
    let done = run(target, &sql).and_then(|answer| {
        print(&printed(&answer))?;
        if is_check && fails(&answer) { Err(Failure::CheckFailed) } else { Ok(()) }
    });
    done.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
}

fn run(target: &MaintenanceTarget, sql: &str) -> Result<Answer, Failure> {
    let console = console(target.admin.expose()).map_err(Failure::Usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::Other(error.to_string()))?.block_on(ask(console, sql))
}

async fn ask(Console { login, password_from }: Console, sql: &str) -> Result<Answer, Failure> {
    let place = format!("the console at {}", login.address);
    let mut console = match login.run(&[("application_name", "pgsluice maintenance")]).await {
        Ok(console) => console,
        Err(LoginError::Refused(body)) => {
            let fields = ErrorFields::new(&body);
            let from = password_from.filter(|_| fields.code() == b"28P01");
            let from = from.map_or(String::new(), |path| format!("\npassword retrieved from file \"{path}\""));
            return Err(Failure::Refused(described(fields) + &from));
        }
        Err(LoginError::NoPassword { .. }) => {
            return Err(Failure::Refused(format!(
                "{place} asks for a password of \"{}\": set PGPASSWORD, or add a line to ~/.pgpass",
                login.user
            )));
        }
        Err(LoginError::Auth(error)) => return Err(Failure::Refused(format!("cannot log in to {place}: {error}"))),
        Err(error) => return Err(Failure::Unreachable(format!("cannot connect to {place}: {error}"))),
    };
    let answer = console.ask(sql, |notice| complain(format_args!("{}", described(notice)))).await;
    answer.map_err(|error| match error {
        LoginError::Refused(body) => {
            let fields = ErrorFields::new(&body);
            // What the console says when a drain has given up.
            let failure = if fields.code() == b"55P03" { Failure::TimedOut } else { Failure::Refused };
            failure(described(fields))
        }
        error => Failure::Unreachable(format!(
            "lost {place}: {error}; what was begun goes on, \"pgsluice maintenance status\" tells"
        )),
    })
}

/// How to log in to a console.
struct Console {
    login: Login,
    /// The file that its password comes from.
    password_from: Option<String>,
}

/// The console of that URL. What the URL does not say comes from the environment and the password file.
fn console(url: &str) -> Result<Console, String> {
    // A variable that is set to nothing is as good as unset.
    let url = if url.is_empty() { DEFAULT_ADMIN } else { url };
    let full = complete(url, variable)?;
    let settings = Config::server_of_url(&full).map_err(|why| format!("--admin: {why}"))?;
    let (cluster, tls) = cluster("console", &settings, &Bus::default()).map_err(|error| format!("--admin: {error}"))?;
    let address = cluster.upstreams.first().map(|upstream| upstream.address.clone()).ok_or("--admin: names no host")?;
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
    };
    Ok(Console { login, password_from })
}

fn name(database: &str) -> String {
    if database == "*" { "*".to_owned() } else { quote::ident(database) }
}

/// Where the command goes, and its words.
fn statement(command: &MaintenanceCommand) -> (&MaintenanceTarget, String) {
    match command {
        MaintenanceCommand::On(on) => (&on.target, on_statement(on)),
        MaintenanceCommand::Off(target) => (target, format!("MAINTENANCE OFF {}", name(&target.database))),
        MaintenanceCommand::Check(target) => (target, format!("MAINTENANCE CHECK {}", name(&target.database))),
        MaintenanceCommand::Status(target) => (target, format!("SHOW MAINTENANCE {}", name(&target.database))),
    }
}

fn on_statement(on: &MaintenanceOn) -> String {
    let duration = |value: Option<std::time::Duration>| value.map(show_duration);
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
    let given: Vec<_> = options
        .iter()
        .filter_map(|(name, value)| Some(format!("{name} {}", quote::console_literal(value.as_ref()?))))
        .collect();
    let with = if given.is_empty() { String::new() } else { format!(" WITH ({})", given.join(", ")) };
    let nowait = if on.nowait { " NOWAIT" } else { "" };
    format!("MAINTENANCE ON {}{with}{nowait}", name(&on.target.database))
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

/// One row is printed as a list, since it is wide; several as a table.
fn printed(answer: &Answer) -> String {
    match answer.rows.as_slice() {
        [row] => list(&answer.columns, row),
        rows => table(&answer.columns, rows),
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn list(columns: &[String], row: &Row) -> String {
    let widest = columns.iter().map(|column| width(column)).max().unwrap_or(0);
    let lines = columns.iter().zip(row).map(|(column, value)| {
        let line = format!("{column:widest$} | {}", value.as_deref().unwrap_or_default());
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

fn table(columns: &[String], rows: &[Row]) -> String {
    let value = |row: &Row, at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| rows.iter().map(|row| width(&value(row, at))).chain([width(column)]).max().unwrap_or(0))
        .collect();
    let line = |cells: Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join(" | ").trim_end())
    };
    let rule: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = line(columns.to_vec());
    text.push_str(&format!("{}\n", rule.join("-+-")));
    for row in rows {
        text.push_str(&line((0..columns.len()).map(|at| value(row, at)).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn words(line: &[&str]) -> String {
        let cli = Cli::try_parse_from(["pgsluice", "maintenance"].iter().chain(line)).unwrap();
        let Command::Maintenance(command) = cli.command else { panic!("{line:?}") };
        statement(&command).1
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

    #[test]
    fn tables_are_aligned() {
        let columns = ["database".to_owned(), "mode".to_owned()];
        let row = |database: &str, mode: Option<&str>| vec![Some(database.to_owned()), mode.map(str::to_owned)];
        let answer = |rows| Answer { columns: columns.to_vec(), rows, tag: String::new() };
        assert_eq!(printed(&answer(vec![row("é", None)])), "database | é\nmode     |\n");
        assert_eq!(
            printed(&answer(vec![row("a", Some("read_only")), row("b", None)])),
            "database | mode\n---------+----------\na        | read_only\nb        |\n"
        );
    }
}
