//! One conversation on the console.

use std::rc::Rc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use tokio::task::yield_now;

use super::commands;
use super::commands::Caller;
use super::extended::Names;
use super::language::command::{Command, Polite};
use super::language::parser;
use super::language::words::statements;
use super::link::{Broken, End, Link};
use super::settings;
use super::table::{Formats, Table, describe, row};
use crate::client::startup::negotiate::{Guest, tell};
use crate::events::Subscription;
use crate::gate::Who;
use crate::log::clients;
use crate::log::millis;
use crate::protocol::{Report, TxStatus, answer, backend, frontend};
use crate::shared::client::Identity;
use crate::shared::{Client, Phase, WorkerState};
use crate::sql::{LexContext, normalised};

/// Bytes of a command that failed that are logged.
const LOGGED: usize = 200;
/// Rows that are written before clients of the same worker have their turn.
const ROWS: usize = 100;

/// What a user may do here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rights {
    /// Everything: it is one of admin_users.
    All,
    /// SHOW: it is one of stats_users.
    Look,
    /// Nothing.
    None,
}

fn rights(core: &WorkerState, user: &str, by_process: bool) -> Rights {
    if by_process {
        return Rights::All;
    }
    let setup = core.setup();
    let named = |list: &[String]| list.iter().any(|name| name == user);
    if named(&setup.config.auth.admin_users) {
        Rights::All
    } else if named(&setup.config.auth.stats_users) {
        Rights::Look
    } else {
        Rights::None
    }
}

/// A conversation.
pub(super) struct Console {
    pub core: Rc<WorkerState>,
    pub me: Rc<Client>,
    /// It runs as the same user as this process.
    by_process: bool,
    pub link: Link,
    pub names: Names,
    /// BEGIN and COMMIT are taken for drivers' sake; commands take effect at once all the same.
    pub status: TxStatus,
    /// An error was told in the extended protocol: everything up to Sync is dropped.
    pub skip: bool,
    /// LISTEN pgsluice_events is in force.
    pub events: Option<Subscription>,
}

/// Why a command has no answer.
pub(super) enum Failed {
    /// The client is told, and lives on.
    Told(Box<Report>),
    /// The conversation ends.
    End(End),
}

impl From<Report> for Failed {
    fn from(report: Report) -> Self {
        Self::Told(Box::new(report))
    }
}

impl From<End> for Failed {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl From<Broken> for Failed {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::End(end) => Self::End(end),
            Broken::Cancelled => Report::error("57014", "canceling statement due to user request").into(),
        }
    }
}

/// Serves a console, from its greeting to its end.
pub async fn serve(core: Rc<WorkerState>, mut guest: Box<Guest>) {
    let me = match enter(&core, &guest) {
        Ok(me) => me,
        Err(report) => {
            core.proxy.stats.failed_logins.fetch_add(1, SeqCst);
            if core.setup().config.log.log_pooler_errors {
                let client = guest.address().map_or_else(|| "unix".to_owned(), |address| address.to_string());
                let who = clients::Who { user: Some(guest.user()), database: Some(guest.database()), client: &client };
                clients::turned_away(who, &report, &core.worded(&report).message, None);
            }
            tell(guest.stream_mut(), &core.worded(&report)).await;
            return;
        }
    };
    let (entries, exits, _) = clients::wanted(&core.setup().config.log);
    let (user, from, began) = (me.user.clone(), me.address_words(), Instant::now());
    if entries {
        tracing::info!(event = "console_log_in", %user, database = %guest.database(), client = %from, "console log-in");
    }
    core.proxy.console_stats.note_login(core.index);
    core.enter(&me);
    let by_process = guest.is_let_in_by_process();
    // Administrators are let in whatever limit is reached.
    if rights(&core, &me.user, by_process) != Rights::All
        && let Err(report) = me.fits(&core.setup().config, &core.proxy.client_counts)
    {
        core.leave(me.id);
        tell(guest.stream_mut(), &core.worded(&report)).await;
        return;
    }
    let mut console = Console {
        by_process,
        link: Link::new(me.clone(), guest.into_stream()),
        names: Names::default(),
        status: TxStatus::Idle,
        skip: false,
        events: None,
        core: core.clone(),
        me,
    };
    let end = match console.converse().await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    core.leave(console.me.id);
    console.link.close(&end).await;
    if exits {
        let why = match &end {
            End::Gone => "client has gone",
            End::Report(report) => &report.message,
        };
        let age_ms = millis(began.elapsed());
        tracing::info!(event = "console_closing", %user, client = %from, age_ms, reason = why, "console closing");
    }
}

/// Lets a guest in who may be here. The limit of clients is not for consoles: they are needed when it is reached.
fn enter(core: &Rc<WorkerState>, guest: &Guest) -> Result<Rc<Client>, Report> {
    if rights(core, guest.user(), guest.is_let_in_by_process()) == Rights::None {
        let detail = format!("User \"{}\" is neither in admin_users nor in stats_users.", guest.user());
        return Err(Report::fatal("42501", "not allowed").with_detail(Some(detail)));
    }
    let (id, secret) =
        core.new_key(guest.start().minor).map_err(|_| Report::fatal("58000", "no randomness for a cancel key"))?;
    Ok(Client::new(Identity {
        id,
        secret,
        address: guest.address(),
        local: guest.stream().socket().local_addr(),
        user: guest.user().clone(),
        database: None,
        database_name: guest.database().into(),
        operator: false,
        tls: guest.stream().tls_words(),
        since: std::time::SystemTime::now(),
        application_name: guest.start().get("application_name").unwrap_or_default().chars().take(63).collect(),
    }))
}

impl Console {
    async fn converse(&mut self) -> Result<std::convert::Infallible, End> {
        self.greet();
        loop {
            let Some((tag, body)) = self.next_message().await? else { continue };
            if self.skip && !matches!(tag, b'S' | b'X') {
                continue;
            }
            match tag {
                b'Q' => {
                    let text = frontend::query(&body)?;
                    self.names.forget_unnamed();
                    self.count();
                    if let Err(failed) = self.query(text).await {
                        let failed = self.worded(failed, text);
                        self.log_failure(&failed, Some(text));
                        self.tell(failed)?;
                    }
                    self.ready();
                }
                b'P' | b'B' | b'D' | b'E' | b'C' => {
                    if let Err(failed) = self.extended(tag, &body).await {
                        self.log_failure(&failed, None);
                        self.tell(failed)?;
                        self.skip = true;
                    }
                }
                b'S' => {
                    frontend::check(tag, &body)?;
                    self.skip = false;
                    self.names.end_portals(self.status);
                    self.ready();
                }
                b'H' => {
                    frontend::check(tag, &body)?;
                    self.link.flush().await?;
                }
                b'F' => {
                    frontend::function_oid(&body)?;
                    self.link.say(&Report::error("0A000", "the console has no functions"));
                    self.ready();
                }
                // Left over from a COPY that never was: PostgreSQL ignores that too.
                b'd' | b'c' | b'f' => {}
                b'X' => return Err(End::Gone),
                other => return Err(crate::protocol::WireError::UnknownFrontend(other).into()),
            }
            self.me.enter(Phase::Idle);
            self.link.flush_if_much().await?;
        }
    }

    fn greet(&mut self) {
        let mut words = Vec::with_capacity(512);
        let out = &mut words;
        backend::authentication_ok(out);
        for (name, value) in settings::REPORTED {
            backend::parameter_status(out, name, value);
        }
        backend::parameter_status(out, "application_name", &self.me.application_name.borrow());
        backend::parameter_status(out, "session_authorization", &self.me.user);
        backend::backend_key(out, u32::try_from(self.me.id).unwrap_or(u32::MAX), &self.me.secret);
        self.link.out.extend_from_slice(&words);
        self.ready();
    }

    /// As PostgreSQL does, notifications come ahead of ReadyForQuery, or while nothing is under way.
    fn ready(&mut self) {
        self.notify();
        answer::ready(&mut self.link.out, self.status);
    }

    /// Tells the client of an error; it may be the last thing that is told.
    fn tell(&mut self, failed: Failed) -> Result<(), End> {
        match failed {
            Failed::Told(report) => self.link.say(&report),
            Failed::End(end) => return Err(end),
        }
        Ok(())
    }

    /// For SHOW STATS: each query is a transaction.
    fn count(&self) {
        if let Some(stats) = self.core.proxy.console_stats.of(self.core.index) {
            stats.queries.add(1);
            stats.xacts.add(1);
        }
    }

    /// What PgBouncer says of a command of its own that failed; commands of maintenance say it in words of their own.
    fn worded(&self, failed: Failed, text: &[u8]) -> Failed {
        match failed {
            Failed::Told(report) if self.core.is_like_pgbouncer() => {
                let text = String::from_utf8_lossy(text.get(..LOGGED).unwrap_or(text));
                Failed::Told(Box::new(report.of_pgbouncers_console(&text).unwrap_or(*report)))
            }
            other => other,
        }
    }

    fn log_failure(&self, failed: &Failed, text: Option<&[u8]>) {
        let Failed::Told(report) = failed else { return };
        // What somebody has typed here by mistake may hold data or a password.
        let command = text.map(|text| normalised(text, LexContext::default(), LOGGED));
        tracing::warn!(
            event = "console_command_failed", user = %self.me.user, client = %self.me.address_words(), command,
            sqlstate = report.code, detail = report.detail.as_deref(), error = report.message, "console command failed"
        );
    }

    /// A simple query: everything in it is read before anything runs.
    async fn query(&mut self, text: &[u8]) -> Result<(), Failed> {
        let all = statements(utf8(text)?)?;
        if all.is_empty() {
            answer::empty_query(&mut self.link.out);
            return Ok(());
        }
        let commands =
            all.iter().map(|words| parser::parse(&words.tokens, &words.places)).collect::<Result<Vec<_>, _>>()?;
        for command in &commands {
            let table = self.run(command).await?;
            if let Some(table) = table {
                let out = &mut self.link.out;
                describe(out, table.columns, &Formats::TEXT);
                for (at, cells) in table.rows.iter().enumerate() {
                    row(out, table.columns, cells, &Formats::TEXT);
                    if at % ROWS == ROWS - 1 {
                        yield_now().await;
                    }
                }
            }
            answer::command_complete(&mut self.link.out, command.tag());
            self.link.flush_if_much().await?;
        }
        Ok(())
    }

    /// Runs a command. With a table, it has the `columns` of the command.
    pub async fn run(&mut self, command: &Command) -> Result<Option<Table>, Failed> {
        match rights(&self.core, &self.me.user, self.by_process) {
            Rights::All => {}
            Rights::Look if command.only_looks() => {}
            Rights::Look | Rights::None => return Err(Report::error("42501", "admin access needed").into()),
        }
        self.me.enter(Phase::Active);
        match command {
            Command::Polite(polite) => {
                match polite {
                    Polite::Begin(_) => self.status = TxStatus::Block,
                    Polite::End(_) => self.status = TxStatus::Idle,
                    Polite::Other("DISCARD ALL") => {
                        self.names.forget_statements();
                        self.listen(false);
                    }
                    Polite::Other("DEALLOCATE ALL") => self.names.forget_statements(),
                    Polite::Other(_) => {}
                }
                Ok(None)
            }
            Command::Listen(on) => {
                self.listen(*on);
                Ok(None)
            }
            Command::Scalar(scalar) => {
                let mut table = Table::new(scalar.columns());
                table.push([scalar.value(&self.me.user, &self.me.database_name, self.me.id)]);
                Ok(Some(table))
            }
            Command::Catalog => Ok(Some(Table::new(&[]))),
            command => self.give(command).await,
        }
    }

    /// Gives a command to the proxy; notices go out while it runs.
    async fn give(&mut self, command: &Command) -> Result<Option<Table>, Failed> {
        let (caller, mut notices) = Caller::new(self.core.proxy.clone(), self.who());
        let mut running = Box::pin(commands::run(&caller, command));
        let done = loop {
            let next = async {
                tokio::select! {
                    biased;
                    Some(notice) = notices.recv() => Err(notice),
                    done = &mut running => Ok(done),
                }
            };
            match self.link.wait(next).await? {
                Ok(done) => break done,
                Err(notice) => self.link.say(&notice),
            }
        };
        while let Ok(notice) = notices.try_recv() {
            self.link.say(&notice);
        }
        Ok(done?)
    }

    /// Who gives the commands.
    pub fn who(&self) -> Who {
        Who { user: self.me.user.to_string(), address: Some(self.me.address_words()) }
    }
}

/// The text of a message.
///
/// # Errors
/// 22021, in PostgreSQL's words.
pub(super) fn utf8(text: &[u8]) -> Result<&str, Report> {
    let at = match std::str::from_utf8(text) {
        Ok(text) => match text.find('\0') {
            None => return Ok(text),
            Some(at) => at,
        },
        Err(error) => error.valid_up_to(),
    };
    let rest = text.get(at..).unwrap_or_default();
    let length = match rest.first() {
        Some(0xf0..=0xf7) => 4,
        Some(0xe0..=0xef) => 3,
        Some(0xc0..=0xdf) => 2,
        _ => 1,
    };
    let bytes: Vec<String> = rest.iter().take(length).map(|byte| format!("0x{byte:02x}")).collect();
    Err(Report::error("22021", format!("invalid byte sequence for encoding \"UTF8\": {}", bytes.join(" "))))
}
