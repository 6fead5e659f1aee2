//! The first words to a client that has logged in: what a server would tell it, and its settings.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant, SystemTime};

use super::ended::ended;
use super::login_wait::Entering;
use super::negotiate::{Guest, closing, shutting_down, tell};
use super::no_server::{fatal, monitor_refused};
use super::startup_parameters::StartupParameters;
use super::{Account, SessionPolicy};
use crate::client::checkout::Checkout;
use crate::client::checkout::backend_pid::{Identity, find_home};
use crate::client::checkout::chosen_cluster::may_choose_cluster;
use crate::client::checkout::own_writes::OwnWrites;
use crate::client::conversation::pending_replies::pool::PendingReplyPool;
use crate::client::errors;
use crate::client::replication::Replication;
use crate::client::replication::relay::Relay;
use crate::client::request::pgsluice_settings::refused_setting;
use crate::client::state::reset_defaults::Defaults;
use crate::client::state::session_role::ReportedParameters;
use crate::client::state::{Bindings, ReadOnly, Settings};
use crate::client::{Conversation, End, Io, Lease, Maintenance, Names, Session};
use crate::config::{Config, PoolMode, SessionSettings};
use crate::log::clients;
use crate::log::clients::Who;
use crate::protocol::{Report, Severity, TxStatus, backend};
use crate::server::pool::Welcome;
use crate::server::state::session_vars::{Value, Vars, reported_name};
use crate::server::{AcquireError, Guarded, Home, Unguarded};
use crate::shared::client;
use crate::shared::client::Ask;
use crate::shared::database::Resolved;
use crate::shared::login_reply_cache::Greeting;
use crate::shared::{Client, Database, WorkerState};
use crate::sql::is_ours;
use crate::topology::{Avoid, Cluster, Leader};

/// How long a log-in waits for a server to learn its greeting from, when query_wait_timeout is off.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the first clients wait for the catalog to be read.
const CATALOG_PATIENCE: Duration = Duration::from_secs(1);
/// How long it waits for a server that cannot be reached now.
pub(in crate::client) const RETRY: Duration = Duration::from_millis(200);

/// Runs the whole session of a client.
pub async fn run(core: Rc<WorkerState>, reply_pool: Rc<PendingReplyPool>, guest: Box<Guest>) {
    // Large and short, as whatever is boxed on the way to a session's loop: an idle client has no room for it.
    let Some(begun) = Box::pin(let_in(&core, &reply_pool, guest)).await else { return };
    let me = begun.client().clone();
    if core.is_stopping() {
        // It has got in while the others were told.
        me.ask(Ask::End { report: shutting_down(), now: false });
    }
    let (entries, ..) = clients::wanted(&core.setup().config.log);
    if entries {
        let client = me.address_words();
        tracing::info!(
            event = "log_in", user = %me.user, database = %me.database_name, client = %client, tls = me.tls.as_deref(), "log-in"
        );
    }
    let end = match begun {
        Begun::Session(session) => session.run().await,
        Begun::Relay(_, relay) => relay.await,
    };
    ended(&core, &me, &end);
}

/// Who has been let in.
enum Begun {
    Session(Box<Session>),
    Relay(Rc<Client>, Pin<Box<dyn Future<Output = End>>>),
}

impl Begun {
    fn client(&self) -> &Rc<Client> {
        match self {
            Self::Session(session) => &session.me,
            Self::Relay(me, _) => me,
        }
    }
}

/// Lets a client in; None: it has been told why not.
async fn let_in(core: &Rc<WorkerState>, reply_pool: &Rc<PendingReplyPool>, mut guest: Box<Guest>) -> Option<Begun> {
    let begun = match guest.replication {
        _ if core.is_door_closed() => Err(closing()),
        None => begin(core, &guest).await.map(Ok),
        Some(kind) => replicate(core, &guest, kind).await.map(Err),
    };
    match begun {
        Ok(Ok(prepared)) => Some(Begun::Session(prepared.into_session(core, reply_pool, *guest))),
        Ok(Err((relay, greeting))) => {
            Some(Begun::Relay(relay.client().clone(), Box::pin(relay.run(guest.stream, greeting))))
        }
        Err(report) => {
            core.proxy.stats.failed_logins.fetch_add(1, SeqCst);
            log_refusal(core, &guest, &report);
            tell(&mut guest.stream, &core.worded(&report)).await;
            None
        }
    }
}

fn log_refusal(core: &WorkerState, guest: &Guest, report: &Report) {
    let too_many = report.message == errors::TOO_MANY_CLIENTS;
    let setup = core.setup();
    let client = guest.address.map_or_else(|| "unix".to_owned(), |address| address.to_string());
    let who = Who { user: Some(&guest.user), database: Some(&guest.database), client: &client };
    if !too_many && setup.config.log.log_pooler_errors {
        clients::turned_away(who, report, &core.worded(report).message, None);
    } else if too_many {
        // A crowd that is not let in comes again and again.
        core.proxy.stats.too_many_clients.fetch_add(1, SeqCst);
        let times = core.proxy.too_many_clients.note(Instant::now());
        if let Some(times) = times.filter(|_| setup.config.log.log_pooler_errors) {
            clients::too_many(who, setup.config.pooling.max_client_conn, times);
        }
    }
}

/// What a session starts from.
pub(in crate::client) struct Prepared {
    pub(super) me: Rc<Client>,
    pub(super) db: Arc<Database>,
    pub(super) policy: SessionPolicy,
    pub(super) vars: Vars,
    pub(super) defaults: Defaults,
    pub(super) startup: Vec<(String, String)>,
    /// The cluster that an operator wants to work on.
    pub(super) cluster: Option<String>,
    pub(super) read_only: ReadOnly,
    pub(super) told: ReportedParameters,
    pub(super) told_closed: bool,
    pub(super) greeting: Vec<u8>,
    pub(super) identity: Identity,
}

impl Prepared {
    pub(in crate::client) fn into_session(
        self,
        core: &Rc<WorkerState>,
        reply_pool: &Rc<PendingReplyPool>,
        guest: Guest,
    ) -> Box<Session> {
        // Without memory of its own where it is empty.
        let startup_parameters = if self.startup.is_empty() { Arc::default() } else { self.startup.into() };
        let own_writes = OwnWrites::of(self.db.peek_setup().settings.causal, self.policy.reads);
        let mut session = Box::new(Session {
            core: core.clone(),
            me: self.me,
            db: self.db,
            account: Account {
                user: guest.user,
                credential: guest.credential,
                startup_parameters,
                policy: self.policy,
            },
            io: Io::new(guest.stream, self.greeting),
            conversation: Conversation::new(reply_pool.clone()),
            lease: Lease::None,
            checkout: Checkout::new(self.identity, own_writes),
            settings: Settings::new(self.vars, self.defaults, self.told, self.read_only),
            bindings: Bindings::default(),
            names: Names::default(),
            maintenance: Maintenance::new(self.told_closed),
        });
        session.note_idle_limit();
        // Whether there is such a cluster, and who may choose, has been asked.
        let _ = self.cluster.map(|name| session.choose_cluster(Some(&name)));
        session
    }
}

/// Whether a session has a server connection of its own from the beginning: the greeting waits for it.
pub(in crate::client) fn has_own_server(mode: PoolMode, operator: bool) -> bool {
    mode == PoolMode::Session && !operator
}

/// Whether a client that has logged in may come in, and where to.
fn admit(core: &Rc<WorkerState>, guest: &Guest) -> Result<Arc<Database>, Report> {
    let setup = core.setup();
    let config = &setup.config;
    let Some(db) = core.proxy.databases.get(&guest.database) else {
        let report = errors::no_such_database(&guest.database);
        // What pg_basebackup and its like ask for.
        let hint = (guest.replication == Some(Replication::Physical) && guest.database == "replication").then(|| {
            "Add a database of that name to the configuration of pgsluice: it tells which cluster is meant.".to_owned()
        });
        return Err(report.with_hint(hint));
    };
    if db.is_disabled() {
        return Err(errors::disabled(&db.name));
    }
    let operator = is_operator(config, guest);
    let most = config.pooling.max_client_conn as usize;
    let before = core.proxy.former.load().as_ref().map_or(0, |former| former.clients());
    if core.proxy.clients.load(SeqCst) + before > most && !operator {
        return Err(errors::too_many_clients());
    }
    if !db.gate.state().mode.admits_connections() && !operator {
        return Err(db.offline_report());
    }
    Ok(db)
}

fn is_operator(config: &Config, guest: &Guest) -> bool {
    config.auth.operators.iter().any(|name| **name == *guest.user)
}

async fn replicate(core: &Rc<WorkerState>, guest: &Guest, kind: Replication) -> Result<(Relay, Vec<u8>), Report> {
    let db = admit(core, guest)?;
    let deadline = Instant::now() + db.setup().settings.query_wait_timeout.get().unwrap_or(PATIENCE);
    crate::client::replication::begin(core, guest, &db, kind, deadline).await
}

/// Makes a client known.
pub(in crate::client) fn introduce(
    core: &Rc<WorkerState>,
    guest: &Guest,
    db: &Arc<Database>,
    operator: bool,
    application_name: String,
) -> Result<Entering, Report> {
    let (id, secret) = core.new_key(guest.start.minor).map_err(|_| errors::no_cancel_key())?;
    let me = Client::new(client::Identity {
        id,
        secret,
        address: guest.address,
        local: guest.stream.socket().local_addr(),
        user: guest.user.clone(),
        database: Some(db.clone()),
        database_name: db.name.clone(),
        operator,
        tls: guest.stream.tls_words(),
        since: SystemTime::now(),
        application_name,
    });
    let entering = Entering::new(core, me);
    entering.client().fits(&core.setup().config, &core.proxy.client_counts)?;
    Ok(entering)
}

async fn begin(core: &Rc<WorkerState>, guest: &Guest) -> Result<Prepared, Report> {
    let db = admit(core, guest)?;
    let setup = core.setup();
    let config = &setup.config;
    let operator = is_operator(config, guest);
    db.note_credential(&guest.user, &guest.credential);
    let settings = config.session(&db.setup().settings, &guest.user);
    let wanted = StartupParameters::read(&guest.start, &config.startup.ignore_startup_parameters);
    let named = application_name(config, guest, &wanted);
    let entering = introduce(core, guest, &db, operator, named.clone().unwrap_or_default())?;
    if !operator && db.gate.state().mode.reports_read_only() {
        // Whether a log-in at a server would write is known with the catalog.
        db.await_catalog(CATALOG_PATIENCE).await;
    }
    let welcome = match db.welcome(&guest.user) {
        Some(welcome) => welcome,
        None => entering.wait(guest, learn_welcome(core, &db, guest)).await?,
    };
    if let Some(name) = wanted.unlisted.iter().find(|name| is_ours(name.as_bytes())) {
        return Err(Report { severity: Severity::Fatal, ..refused_setting(name) });
    }
    may_choose_cluster(&core.proxy, operator, wanted.cluster.as_deref())?;
    // Where nothing is asked for, what others were told may serve.
    let (asked, resolved) = match wanted.parameters.is_empty() {
        true => (None, None),
        false => {
            let settings = entering.wait(guest, resolve(core, &db, guest, &wanted)).await?;
            let vars = with_settings(core, welcomed(core, &welcome, named.as_deref()), &settings);
            (Some(vars), Some(settings).filter(|settings| !settings.is_empty()))
        }
    };
    let defaults = Defaults::new(resolved, named.as_deref().unwrap_or_default(), wanted.read_only);
    if named.is_none() {
        *entering.client().application_name.borrow_mut() = welcome.get("application_name").to_owned();
    }
    let pooled = !operator && !has_own_server(settings.pool_mode, operator);
    if pooled && config.timeouts.catalog_check_interval.get().is_some() {
        db.await_first_reading(CATALOG_PATIENCE).await;
    }
    let home = if pooled { find_home(core, &db, &guest.user, &guest.credential).await } else { None };
    let me = entering.get_in();
    db.stats.note_login(core.index);
    let asks = db.process_askers.has(&guest.user, &me.application_name.borrow());
    let home = home.filter(|home| core.proxy.keys.add(home.pid(), &me.secret, me.id));
    // Whoever tells of a flip has told it only from when it was known: one that came before has to be seen here.
    let state = db.gate.state();
    let told_closed = state.mode.reports_read_only() && !operator;
    let read_only = ReadOnly::new(wanted.read_only, welcome.read_only, told_closed);
    let mut greeting = Vec::with_capacity(512);
    let vars = greet(core, &mut greeting, &welcome, (asked, named.as_deref()), read_only.reported());
    say_notices(&mut greeting, config, &wanted);
    if !has_own_server(settings.pool_mode, operator) {
        let number = || u32::try_from(me.id).unwrap_or(u32::MAX);
        backend::backend_key(&mut greeting, home.as_ref().map_or_else(number, Home::pid), &me.secret);
        backend::ready(&mut greeting, TxStatus::Idle);
    }
    let mut startup = if operator { wanted.parameters } else { Vec::new() };
    if operator {
        startup.push(("application_name".to_owned(), me.application_name.borrow().clone()));
    }
    let told = ReportedParameters::new(welcome);
    let identity = Identity::new(home, asks);
    Ok(Prepared {
        me,
        db,
        policy: policy(config, settings, operator),
        vars,
        defaults,
        startup,
        cluster: wanted.cluster,
        read_only,
        told,
        told_closed,
        greeting,
        identity,
    })
}

/// Settings with those that a client has asked for among them.
fn with_settings(core: &WorkerState, mut vars: Vars, asked: &Resolved) -> Vars {
    for (name, value) in asked {
        let value = value.clone();
        match reported_name(name).filter(|known| vars.reported(known).is_some()) {
            Some(known) => vars.put(&core.proxy.seed, known, Some(Value::Reported(value))),
            None => vars.put(&core.proxy.seed, name, Some(Value::Flat(value))),
        }
    }
    vars
}

/// What the configuration has for a user on a database.
pub(super) fn policy(config: &Config, settings: SessionSettings, operator: bool) -> SessionPolicy {
    SessionPolicy {
        pool_mode: settings.pool_mode,
        reads: settings.reads,
        query_wait: settings.query_wait_timeout.get(),
        most_prepared: config.pooling.max_prepared_statements,
        largest: config.memory.max_message_size.bytes(),
        refuses_pins: !config.pooling.pin_sessions && settings.pool_mode != PoolMode::Session && !operator,
        fresh: config.pooling.server_fresh && settings.pool_mode == PoolMode::Session,
    }
}

/// Tells a client of its settings, and gives them: those that it has asked for, or the server's own under its name.
fn greet(
    core: &WorkerState,
    greeting: &mut Vec<u8>,
    welcome: &Arc<Welcome>,
    (asked, name): (Option<Vars>, Option<&str>),
    read_only: bool,
) -> Vars {
    if let Some(vars) = asked {
        say_welcome(greeting, welcome, &vars, read_only);
        return core.alike.borrow_mut().shared(vars);
    }
    let known = core.greetings.borrow().get(welcome, name, read_only);
    let known = known.unwrap_or_else(|| {
        let vars = core.alike.borrow_mut().shared(welcomed(core, welcome, name));
        let mut words = Vec::with_capacity(512);
        say_welcome(&mut words, welcome, &vars, read_only);
        let known = Greeting { vars, words: words.into() };
        core.greetings.borrow_mut().put(welcome.clone(), name, read_only, known.clone());
        known
    });
    greeting.extend_from_slice(&known.words);
    known.vars
}

/// Bytes of a name that PostgreSQL keeps.
const LONGEST_NAME: usize = 63;

/// The name that a client gives itself; None: it has not, and is named as the server says.
fn application_name(config: &Config, guest: &Guest, wanted: &StartupParameters) -> Option<String> {
    // PostgreSQL replaces what is not printable ASCII.
    let printable = |b| if (b' '..=b'~').contains(&b) { char::from(b) } else { '?' };
    let name: Option<String> =
        wanted.application_name.as_ref().map(|name| name.bytes().map(printable).take(LONGEST_NAME).collect());
    if !config.startup.application_name_add_host {
        return name;
    }
    let from = guest.address.map_or_else(|| "unix".to_owned(), |address| address.to_string());
    Some(format!("{} - {from}", name.unwrap_or_default()))
}

/// Notices at a log-in, beside the server's own.
fn say_notices(greeting: &mut Vec<u8>, config: &Config, wanted: &StartupParameters) {
    if let Some(notice) = wanted.application_name.as_deref().and_then(shortened) {
        notice.write(greeting);
    }
    if !config.startup.login_notify_message.is_empty() {
        Report::notice(config.startup.login_notify_message.clone()).write(greeting);
    }
}

/// PostgreSQL's notice for a name that is longer than it keeps.
fn shortened(name: &str) -> Option<Report> {
    let kept = (0..=LONGEST_NAME).rev().find_map(|end| name.get(..end))?;
    (name.len() > LONGEST_NAME).then(|| errors::identifier_truncated(name, kept))
}

/// The settings of a client that is welcomed so and has asked for nothing but its name.
fn welcomed(core: &WorkerState, welcome: &Welcome, application_name: Option<&str>) -> Vars {
    let mut vars = Vars::default();
    for (name, value) in &welcome.parameters {
        if let Some(known) = reported_name(name) {
            vars.put(&core.proxy.seed, known, Some(Value::Default(value.as_str().into())));
        }
    }
    if let Some(name) = application_name {
        vars.put(&core.proxy.seed, "application_name", Some(Value::Reported(name.into())));
    }
    vars
}

/// AuthenticationOk, and what a server would report of these settings.
fn say_welcome(out: &mut Vec<u8>, welcome: &Welcome, vars: &Vars, read_only: bool) {
    backend::authentication_ok(out);
    welcome.notices.iter().for_each(|notice| backend::notice(out, notice));
    for (name, value) in &welcome.parameters {
        let value = match (name.as_str(), reported_name(name)) {
            ("default_transaction_read_only", _) if read_only => "on",
            ("default_transaction_read_only" | "in_hot_standby", _) => "off",
            ("session_authorization", _) => value,
            (_, Some(known)) => vars.reported(known).unwrap_or(value),
            _ => value,
        };
        backend::parameter_status(out, name, value);
    }
}

/// A server to log in to while nothing is to be written: the primary, else a replica, else one of several that claim to be it.
fn someone(cluster: &Cluster, avoid: Avoid) -> Option<usize> {
    match cluster.leader() {
        Leader::One(at) => Some(at),
        Leader::None => cluster.replica(None, avoid),
        Leader::Contested(at) => cluster.replica(None, avoid).or(Some(at)),
    }
}

/// Does what takes a server, unless some server turns meanwhile: then it may be another one's to do.
pub(in crate::client) async fn until_turn<T>(cluster: &Cluster, work: impl Future<Output = T>) -> Option<T> {
    let mut turns = cluster.turns();
    tokio::select! {
        done = work => Some(done),
        Ok(()) = turns.changed() => None,
    }
}

/// Asks a server what it reports to this user; one that is guarded will do, nothing is sent over it.
async fn learn_welcome(core: &Rc<WorkerState>, db: &Arc<Database>, guest: &Guest) -> Result<Arc<Welcome>, Report> {
    let (began, mut avoid) = (Instant::now(), Avoid::default());
    let deadline = began + db.setup().settings.query_wait_timeout.get().unwrap_or(PATIENCE);
    loop {
        if tokio::time::timeout_at(deadline.into(), db.until_resumed()).await.is_err() {
            return Err(errors::query_wait_timeout());
        }
        let cluster = db.setup().cluster.clone();
        let state = db.gate.state();
        let closed = state.mode.reports_read_only();
        if !state.mode.admits_connections() && !is_operator(&core.setup().config, guest) {
            return Err(db.offline_report());
        }
        let at = someone(&cluster, avoid);
        if let Some((at, pool)) = at.and_then(|at| Some((at, db.pool(&guest.user, at, &guest.credential)?))) {
            let primary = cluster.primary() == Some(at);
            let setup = core.setup();
            let operator = is_operator(&setup.config, guest);
            let guarded = closed && !operator && !pool.guards_in_place();
            let taken = async {
                if operator && pool.is_barred() {
                    let reserved = setup.config.pooling.operator_reserved as usize;
                    pool.open_reserved(core.index, reserved, &[]).await?.close();
                } else if guarded || !primary {
                    let conn = pool.take_or_fail::<Guarded>(None, core.index, deadline).await?;
                    pool.give_back(conn.into());
                } else {
                    let conn = pool.take_or_fail::<Unguarded>(None, core.index, deadline).await?;
                    pool.give_back(conn.into());
                }
                Ok(())
            };
            match until_turn(&cluster, taken).await {
                Some(Ok(())) => {}
                // Elsewhere it may be let in.
                Some(Err(AcquireError::Login(error))) if !primary => {
                    avoid.add(at);
                    if someone(&cluster, avoid).is_none() && !error.is_transient() {
                        return Err(fatal(core, &AcquireError::Login(error)));
                    }
                }
                Some(Err(AcquireError::Login(error))) if error.is_transient() => {
                    if Instant::now() + RETRY >= error.worth_trying_until(began, deadline) {
                        return Err(fatal(core, &AcquireError::Login(error)));
                    }
                    let _ = tokio::time::timeout(RETRY, cluster.turns().changed()).await;
                    continue;
                }
                Some(Err(error)) => return Err(fatal(core, &error)),
                None => continue,
            }
            if let Some(welcome) = pool.welcome() {
                return Ok(welcome);
            }
        }
        if let Some(why) = cluster.monitor_refusal().filter(|_| at.is_none()) {
            return Err(monitor_refused(why));
        }
        if Instant::now() >= deadline {
            return Err(errors::no_server(Severity::Fatal));
        }
        if someone(&cluster, avoid).is_none() {
            avoid = Avoid::default();
        }
        let _ = tokio::time::timeout(RETRY, cluster.changes().changed()).await;
    }
}

/// Has a server read the settings.
async fn resolve(
    core: &Rc<WorkerState>,
    db: &Arc<Database>,
    guest: &Guest,
    wanted: &StartupParameters,
) -> Result<Arc<Resolved>, Report> {
    let began = Instant::now();
    let deadline = began + db.setup().settings.query_wait_timeout.get().unwrap_or(PATIENCE);
    loop {
        let cluster = db.setup().cluster.clone();
        let at = someone(&cluster, Avoid::default());
        let mut until = deadline;
        let refusal = match at.and_then(|at| db.pool(&guest.user, at, &guest.credential)) {
            Some(pool) => {
                let resolved = crate::client::state::reset_defaults::resolve(core, db, &pool, wanted, deadline);
                match until_turn(&cluster, resolved).await {
                    None => continue,
                    Some(Ok(resolved)) => return Ok(resolved),
                    Some(Err(AcquireError::Login(error))) if error.is_transient() => {
                        until = error.worth_trying_until(began, deadline);
                        fatal(core, &AcquireError::Login(error))
                    }
                    Some(Err(error)) => return Err(fatal(core, &error)),
                }
            }
            None => errors::no_server(Severity::Fatal),
        };
        if Instant::now() + RETRY >= until {
            return Err(refusal);
        }
        let _ = tokio::time::timeout(RETRY, cluster.changes().changed()).await;
    }
}
