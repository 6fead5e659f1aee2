//! REROUTE: clients are led to another cluster's copy of their database, and back, and stay connected.
//!
//! What is decided is saved first ([`Gates::save_reroutes`](crate::gate::Gates::save_reroutes)). Then the main loop has all names of
//! the database lead elsewhere ([`names`]), as a RELOAD of a configuration that says so would: the next transaction of each client
//! goes there, with its settings and prepared statements. Whoever is in a transaction ends it where it began. What binds a session
//! to its server connection does not go along: such a session is ended, when it next begins something or when the time is up.
//! Operators stay where they are, and choose.

pub(super) mod by_move;
pub mod names;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::maintenance::environment::tell_flip;
use super::moving::options::{choice, dbname, flag, once, unknown, wait, wrong};
use super::server_changes::choose_again;
use super::setup::monitor_logins;
use crate::config::show_duration;
use crate::events::{Event, Kind, publish};
use crate::gate::{GateError, Reroute, ServerDatabase, Who, print_timestamp};
use crate::protocol::{ErrorFields, Report};
use crate::server::login::LoginError;
use crate::shared::client::Ask;
use crate::shared::{Client, Control, Database, Phase, ProxyState};
use crate::topology::{Cluster, Role};

/// How often it is looked whether anybody is still on the database that was left.
const LOOK: Duration = Duration::from_millis(10);
/// How long those may take who are in a transaction there.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long sessions that are ended may take to go.
const END_PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take until the monitor knows what a server says of a database's own setting.
const SETTINGS_PATIENCE: Duration = Duration::from_secs(3);

/// Where clients are led.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To this cluster.
    Cluster(String),
    /// Where the configuration says.
    Back,
}

/// What REROUTE says behind WITH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The database's name there; None: as it is called here.
    pub dbname: Option<String>,
    /// Whether clients may write there.
    pub writable: bool,
    /// Told to applications whose writes are refused.
    pub message: Option<String>,
    /// How long transactions may take to end where they began.
    pub timeout: Duration,
    /// Only looks whether it could be done.
    pub dry_run: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { dbname: None, writable: false, message: None, timeout: TIMEOUT, dry_run: false }
    }
}

impl Options {
    /// Reads the pairs inside WITH (…); BACK has `timeout` and `dry_run` only.
    ///
    /// # Errors
    /// 22023: an option that it does not have, one that is given twice, or a value that is none.
    pub fn read(pairs: &[(String, String)], back: bool) -> Result<Self, Report> {
        let mut options = Self::default();
        for (place, (name, value)) in pairs.iter().enumerate() {
            once(pairs, place, name)?;
            options.set(name, value, back)?;
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str, back: bool) -> Result<(), Report> {
        match name.to_ascii_lowercase().as_str() {
            // Nobody is waited for.
            "timeout" if value == "0" => self.timeout = Duration::ZERO,
            "timeout" => self.timeout = wait("timeout", value)?,
            "dry_run" => self.dry_run = flag("dry_run", value)?,
            "dbname" if !back => self.dbname = Some(dbname("dbname", value)?),
            "message" if !back => {
                let longest = crate::gate::LONGEST_MESSAGE;
                if value.chars().count() > longest || value.contains(char::is_control) {
                    return Err(wrong("message", value, format!("One line of at most {longest} characters.")));
                }
                self.message = Some(value.to_owned()).filter(|text| !text.is_empty());
            }
            "writes" | "writable" if !back => {
                let allow = ["allow", "on", "true", "yes", "1"].map(|word| (word, true));
                let reject = ["reject", "off", "false", "no", "0"].map(|word| (word, false));
                let choices = [allow, reject].concat();
                self.writable = choice(name, value, &choices, "Either reject, which is the default, or allow.")?;
            }
            _ => {
                let has = if back { "timeout, dry_run" } else { "writes, dbname, message, timeout, dry_run" };
                return Err(unknown(name, format!("The options are {has}.")));
            }
        }
        Ok(())
    }

    /// Whether an option needs no value.
    pub fn is_flag(name: &str) -> bool {
        name.eq_ignore_ascii_case("writable") || name.eq_ignore_ascii_case("dry_run")
    }
}

/// What has become of a REROUTE.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Every name of the database.
    pub names: Vec<String>,
    /// Where they lead now.
    pub to: ServerDatabase,
    /// Whether clients may write there as far as the reroute says.
    pub writable: bool,
    /// Whether that is news.
    pub changed: bool,
    /// Since when.
    pub since: Option<jiff::Timestamp>,
    /// How long others were waited for.
    pub waited: Duration,
    /// Sessions that were bound to the database that was left, and were ended.
    pub ended: usize,
    /// Operators who are still there.
    pub operators: usize,
    /// What a person should know.
    pub told: Vec<String>,
}

/// Leads the clients of a database elsewhere, or back. It goes on if nobody waits for it any more.
///
/// # Errors
/// What the person is told who has asked for it.
pub async fn run(
    proxy: &Arc<ProxyState>,
    who: Who,
    name: String,
    to: Destination,
    options: Options,
) -> Result<Outcome, Report> {
    let proxy = proxy.clone();
    let task = tokio::spawn(async move {
        match to {
            Destination::Cluster(cluster) => go(&proxy, who, &name, &cluster, options).await,
            Destination::Back => back(&proxy, who, &name, options).await,
        }
    });
    task.await.unwrap_or_else(|_| Err(stopping(())))
}

fn stopping<T>(_: T) -> Report {
    Report::error("57P01", "pgsluice is shutting down")
}

fn of_gate(error: GateError) -> Report {
    Report::error(error.sqlstate(), error.to_string()).with_detail(error.detail()).with_hint(error.hint())
}

/// What a name leads to now.
pub fn place_of(database: &Database) -> ServerDatabase {
    let setup = database.setup();
    ServerDatabase {
        cluster: setup.cluster.name.clone(),
        dbname: setup.settings.server_dbname(&database.name).to_owned(),
    }
}

/// What a name leads to by the configuration.
pub fn configured_place(proxy: &ProxyState, database: &Database) -> ServerDatabase {
    proxy.setup.load().configured(&database.name, &place_of(database))
}

fn known(proxy: &ProxyState, name: &str) -> Result<Arc<Database>, Report> {
    proxy.databases.get(name).ok_or_else(|| Report::error("3D000", format!("database \"{name}\" does not exist")))
}

fn named(databases: &[Arc<Database>]) -> Vec<Arc<str>> {
    databases.iter().map(|one| one.name.clone()).collect()
}

/// Every name that leads to the same database.
fn siblings(proxy: &ProxyState, database: &Arc<Database>) -> Vec<Arc<Database>> {
    let mut all = proxy.databases.of_gate(&database.gate);
    if all.is_empty() {
        all.push(database.clone());
    }
    all
}

async fn go(proxy: &Arc<ProxyState>, who: Who, name: &str, cluster: &str, options: Options) -> Result<Outcome, Report> {
    let database = known(proxy, name)?;
    let Some((target, _)) = proxy.databases.cluster(cluster) else {
        return Err(Report::error("42704", format!("cluster \"{cluster}\" does not exist"))
            .with_hint(Some("SHOW UPSTREAMS lists the clusters and their servers.".to_owned())));
    };
    let from = configured_place(proxy, &database);
    let dbname = options.dbname.clone().unwrap_or_else(|| from.dbname.clone());
    let to = ServerDatabase { cluster: cluster.to_owned(), dbname };
    no_move(proxy, name, &[&from, &to, &place_of(&database)])?;
    let claimed = proxy.gates.claim_reroute(name, &from, &to, &who).map_err(of_gate)?;
    let mut reroutes = proxy.gates.reroutes();
    let old = reroutes.iter().position(|one| one.from.contains(&from));
    let same_gate = || proxy.gates.gate_at(&to).is_some_and(|gate| Arc::ptr_eq(&gate, &database.gate));
    match old.and_then(|at| reroutes.get(at)) {
        Some(old) if old.to == to && old.writable == options.writable && old.message == options.message => {
            return Ok(unchanged(proxy, &database, old.to.clone(), old.writable, Some(old.since)));
        }
        Some(old) if old.to != to => {
            let since = print_timestamp(old.since);
            let text = format!("database \"{name}\" is rerouted to {} by {} since {since}", old.to, old.who);
            let hint = format!("REROUTE {name} BACK comes first.");
            return Err(Report::error("55006", text).with_hint(Some(hint)));
        }
        None if from == to || same_gate() => {
            return Err(Report::error("22023", format!("database \"{name}\" leads to {to} already")));
        }
        Some(_) | None => {}
    }
    if let Some(other) = reroutes.iter().find(|one| one.from.contains(&to)) {
        let text = format!("clients of {to} are rerouted to {}", other.to);
        return Err(Report::error("55006", text));
    }
    is_there(proxy, &target, &to, options.writable).await?;
    let sources = siblings(proxy, &database);
    if options.dry_run {
        let told = would(&place_of(&database), &to, clients_on(proxy, &sources).await);
        return Ok(Outcome { told: vec![told], ..unchanged(proxy, &database, to, options.writable, None) });
    }
    let mut places: Vec<_> = sources.iter().map(|one| configured_place(proxy, one)).collect();
    places.push(from);
    places.sort();
    places.dedup();
    know_settings(proxy, &to).await;
    let reroute = Reroute {
        from: old.and_then(|at| reroutes.get(at)).map_or(places, |old| old.from.clone()),
        to: to.clone(),
        writable: options.writable,
        message: options.message,
        who: who.clone(),
        since: jiff::Timestamp::now(),
    };
    let since = reroute.since;
    match old.and_then(|at| reroutes.get_mut(at)) {
        Some(old) => *old = reroute,
        None => reroutes.push(reroute),
    }
    let told = put_in_force(proxy, reroutes).await?;
    let names: Vec<String> = sources.iter().map(|one| one.name.to_string()).collect();
    let event = Event::new(Kind::Rerouted, "clients are led to another cluster").about_all(named(&sources));
    let writes = if options.writable { "allow" } else { "reject" };
    publish!(
        proxy.events,
        warn,
        event.by(&who.user),
        cluster = to.cluster.as_str(),
        dbname = to.dbname.as_str(),
        writes = writes
    );
    let (waited, ended, operators) = leave(proxy, &sources, options.timeout).await;
    drop(claimed);
    let (writable, since) = (options.writable, Some(since));
    Ok(Outcome { names, to, writable, changed: true, since, waited, ended, operators, told })
}

async fn back(proxy: &Arc<ProxyState>, who: Who, name: &str, options: Options) -> Result<Outcome, Report> {
    let database = known(proxy, name)?;
    let from = configured_place(proxy, &database);
    no_move(proxy, name, &[&from, &place_of(&database)])?;
    let claimed = proxy.gates.claim_reroute(name, &from, &place_of(&database), &who).map_err(of_gate)?;
    let mut reroutes = proxy.gates.reroutes();
    let Some(at) = reroutes.iter().position(|one| one.from.contains(&from)) else {
        return Ok(unchanged(proxy, &database, from, true, None));
    };
    let old = reroutes.remove(at);
    if options.dry_run {
        let told = would(&old.to, &from, clients_on(proxy, &siblings(proxy, &database)).await);
        return Ok(Outcome { told: vec![told], ..unchanged(proxy, &database, old.to, old.writable, Some(old.since)) });
    }
    know_settings(proxy, &from).await;
    let sources: Vec<_> =
        proxy.databases.all().into_iter().filter(|one| old.from.contains(&configured_place(proxy, one))).collect();
    let told = put_in_force(proxy, reroutes).await?;
    let names: Vec<String> = sources.iter().map(|one| one.name.to_string()).collect();
    let event = Event::new(Kind::Rerouted, "clients are led back").about_all(named(&sources));
    publish!(proxy.events, warn, event.by(&who.user), cluster = from.cluster.as_str(), dbname = from.dbname.as_str());
    let (waited, ended, operators) = leave(proxy, &sources, options.timeout).await;
    drop(claimed);
    let since = Some(jiff::Timestamp::now());
    Ok(Outcome { names, to: from, writable: true, changed: true, since, waited, ended, operators, told })
}

/// A move has its own way of leading clients elsewhere.
fn no_move(proxy: &ProxyState, name: &str, places: &[&ServerDatabase]) -> Result<(), Report> {
    if let Some(one) = places.iter().find_map(|place| proxy.moves.concerning(place)) {
        let error = one.in_the_way(name);
        return Err(Report::error(error.sqlstate(), error.to_string()).with_hint(error.hint()));
    }
    match proxy.moves.migrations().into_iter().find(|one| places.iter().any(|place| one.has(place))) {
        Some(one) => {
            let text = format!("database \"{name}\" is being migrated from {} to {}", one.old, one.new);
            Err(Report::error("55006", text).with_hint(Some(format!("MIGRATE {name} BACK or FINISH."))))
        }
        None => Ok(()),
    }
}

fn unchanged(
    proxy: &ProxyState,
    database: &Arc<Database>,
    to: ServerDatabase,
    writable: bool,
    since: Option<jiff::Timestamp>,
) -> Outcome {
    let names = siblings(proxy, database).iter().map(|one| one.name.to_string()).collect();
    let (waited, told) = (Duration::ZERO, Vec::new());
    Outcome { names, to, writable, changed: false, since, waited, ended: 0, operators: 0, told }
}

/// Saves reroutes, and has the names lead by them.
///
/// # Errors
/// They could not be saved, and nothing has changed; or the process is stopping.
pub async fn put_in_force(proxy: &Arc<ProxyState>, reroutes: Vec<Reroute>) -> Result<Vec<String>, Report> {
    proxy.gates.save_reroutes(reroutes.clone()).await.map_err(of_gate)?;
    let (tell, told) = oneshot::channel();
    proxy.control.send(Control::Reroute(reroutes, tell)).await.map_err(stopping)?;
    told.await.map_err(stopping)
}

/// The configuration says now what these reroutes said; tells so.
pub(super) fn forget(proxy: &Arc<ProxyState>, done: Vec<Reroute>) -> Vec<String> {
    proxy.gates.open_copies();
    if !done.is_empty() {
        let proxy = proxy.clone();
        tokio::spawn(async move {
            // If it cannot be saved, the next start finds the same.
            if let Err(error) = proxy.gates.save_reroutes(proxy.gates.reroutes()).await {
                tracing::warn!(event = "state_not_saved", "{error}");
            }
        });
    }
    done.iter()
        .map(|one| format!("the configuration leads to {} by itself: its reroute is forgotten", one.to))
        .collect()
}

/// Has what is known of a database's own read-only setting be what its server says now: where clients are about to be led it may
/// just have been changed, and its gate would be closed for what was true a moment ago.
async fn know_settings(proxy: &Arc<ProxyState>, to: &ServerDatabase) {
    let Some((cluster, tls)) = proxy.databases.cluster(&to.cluster) else { return };
    let until = Instant::now() + SETTINGS_PATIENCE;
    while Instant::now() < until {
        let Some((at, primary)) = cluster.primary().and_then(|at| Some((at, cluster.upstreams.get(at)?))) else {
            return;
        };
        let Some(mut login) = monitor_logins(&proxy.setup.load(), &cluster, tls.clone(), at).into_iter().next() else {
            return;
        };
        login.dbname.clone_from(&to.dbname);
        let Ok(session) = login.run(&[]).await else { return };
        let reported = session.parameters.iter().find(|(name, _)| name == "default_transaction_read_only");
        let Some((_, says)) = reported else { return };
        if primary.own_settings().read_only(&to.dbname, Some(&login.user)) == (says == "on") {
            return;
        }
        let news = cluster.news(SETTINGS_PATIENCE);
        primary.look_now();
        news.await;
    }
}

/// Whether the database is there, and can be written to if that is wanted.
async fn is_there(
    proxy: &Arc<ProxyState>,
    cluster: &Arc<Cluster>,
    to: &ServerDatabase,
    writable: bool,
) -> Result<(), Report> {
    let Some((_, tls)) = proxy.databases.cluster(&to.cluster) else { return Ok(()) };
    if writable && cluster.primary().is_none() {
        let text = format!("cluster \"{}\" has no primary now", to.cluster);
        return Err(Report::error("55000", text).with_detail(Some("Clients could not write there.".to_owned())));
    }
    let is_up =
        |at: &usize| cluster.upstreams.get(*at).is_some_and(|one| matches!(one.role(), Role::Primary | Role::Replica));
    let primary = cluster.primary().into_iter();
    let mut last = None;
    for at in primary.chain(0..cluster.upstreams.len()).filter(is_up) {
        for mut login in monitor_logins(&proxy.setup.load(), cluster, tls.clone(), at) {
            login.dbname.clone_from(&to.dbname);
            match login.run(&[]).await {
                Ok(_) => return Ok(()),
                Err(LoginError::Refused(body)) if ErrorFields::new(&body).code() == b"3D000" => {
                    let text = format!("database \"{}\" does not exist on cluster \"{}\"", to.dbname, to.cluster);
                    return Err(Report::error("3D000", text));
                }
                Err(error) => last = Some(error.to_string()),
            }
        }
    }
    let text = format!("no server of cluster \"{}\" can be reached", to.cluster);
    Err(Report::error("55000", text).with_detail(last))
}

/// What a dry run says.
fn would(from: &ServerDatabase, to: &ServerDatabase, (clients, pinned): (usize, usize)) -> String {
    format!(
        "dry run: {clients} clients would be led from {from} to {to}; {pinned} of them keep a server connection now, and may be ended"
    )
}

/// How many clients use those databases, and how many of them keep a server connection between transactions.
async fn clients_on(proxy: &Arc<ProxyState>, databases: &[Arc<Database>]) -> (usize, usize) {
    let databases = databases.to_vec();
    let counts = proxy.on_every_core(move |core| {
        let clients = core.clients();
        let mut count = (0, 0);
        for client in clients.iter().filter(|client| !client.operator && is_of(client, &databases)) {
            count.0 += 1;
            count.1 += usize::from(!client.pinned.get().is_empty());
        }
        count
    });
    counts.await.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

fn is_of(client: &Client, databases: &[Arc<Database>]) -> bool {
    client.database.as_ref().is_some_and(|own| databases.iter().any(|database| Arc::ptr_eq(database, own)))
}

/// Whether it holds a server connection to what its database's name has led to before.
pub fn is_left_behind(client: &Client) -> bool {
    client.cancel.borrow().as_ref().is_some_and(|held| held.pool.closes(held.server.generation))
}

/// Waits until nobody is on the database that the names have led to before; ends who is still there after a time. Operators stay.
async fn leave(proxy: &Arc<ProxyState>, databases: &[Arc<Database>], timeout: Duration) -> (Duration, usize, usize) {
    let began = Instant::now();
    let mut ended = 0;
    loop {
        let late = began.elapsed() >= timeout;
        let end = late && ended == 0;
        let databases = databases.to_vec();
        let counts = proxy.on_every_core(move |core| {
            let clients = core.clients();
            let behind = clients.iter().filter(|client| is_of(client, &databases) && is_left_behind(client));
            let (operators, others): (Vec<_>, Vec<_>) = behind.partition(|client| client.operator);
            for client in &others {
                if end {
                    end_session(client);
                } else if client.phase.get() == Phase::Idle {
                    client.ask_turn();
                }
            }
            (others.len(), operators.len())
        });
        let (others, operators) = counts.await.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        if end {
            ended = others;
        }
        if others == 0 || began.elapsed() >= timeout.saturating_add(END_PATIENCE) {
            return (began.elapsed(), ended, operators);
        }
        sleep(LOOK).await;
    }
}

/// Has clients look where their names lead now.
pub(super) async fn tell(proxy: Arc<ProxyState>) {
    let all = proxy.databases.all();
    choose_again(&proxy, all.clone()).await;
    for database in all.iter().filter(|one| one.gate.is_another()) {
        tell_flip(&proxy, Arc::clone(&database.gate)).await;
    }
}

fn end_session(client: &std::rc::Rc<Client>) {
    if client.phase.get() == Phase::Active {
        drop(client.send_cancel());
    }
    let report = Report::fatal("57P01", "terminating connection due to administrator command");
    let detail = format!("The name \"{}\" leads to another database now.", client.database_name);
    client.ask(Ask::End { report: report.with_detail(Some(detail)), now: true });
}

/// How long is waited if nobody says, for the documentation.
pub fn usual_timeout() -> String {
    show_duration(TIMEOUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)], back: bool) -> Result<Options, &'static str> {
        let pairs: Vec<_> = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Options::read(&pairs, back).map_err(|report| report.code)
    }

    #[test]
    fn a_copy_is_read_only_unless_somebody_says_otherwise() {
        assert_eq!(read(&[], false).map(|options| options.writable), Ok(false));
        for (value, writable) in [("allow", true), ("ON", true), ("reject", false), ("off", false)] {
            assert_eq!(read(&[("Writes", value)], false).map(|options| options.writable), Ok(writable));
        }
        assert_eq!(read(&[("writes", "sometimes")], false), Err("22023"));
        assert_eq!(read(&[("writes", "allow"), ("WRITES", "allow")], false), Err("22023"));
        assert_eq!(read(&[("writes", "allow")], true), Err("22023"));
        assert_eq!(read(&[("timeout", "5s")], true).map(|options| options.timeout), Ok(Duration::from_secs(5)));
        assert_eq!(read(&[("timeout", "2d")], true), Err("22023"));
        assert_eq!(read(&[("dbname", "")], false), Err("22023"));
        assert_eq!(read(&[("message", "a\nb")], false), Err("22023"));
    }
}
