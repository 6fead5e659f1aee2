//! PAUSE, RESUME, KILL, RECONNECT, RELOAD, SHUTDOWN and their like, with PgBouncer's meaning.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::commands::Caller;
use super::language::command;
use super::language::command::Shutdown;
use crate::events::{Event, Kind, publish};
use crate::moving::Retired;
use crate::protocol::{Report, Severity};
use crate::proxy::pause::close_all;
use crate::proxy::server_changes::{ServerChanges, choose_again};
use crate::shared;
use crate::shared::client::Ask;
use crate::shared::{Database, Phase, ProxyState, Reloaded, Stop};
use crate::topology::monitor::Follower;
use crate::topology::{NotDecided, Role};

/// How often it is looked whether server connections have come back.
const LOOK: Duration = Duration::from_millis(20);
/// How long RELOAD waits for a first look at servers that are new.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// How long KILL waits for sessions to be gone: they need no more than their next step.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Runs a command that has no table.
pub(super) async fn run(caller: &Caller, command: &command::Control) -> Result<(), Report> {
    use command::Control;
    let proxy = &caller.proxy;
    match command {
        Control::Pause(name) => pause(proxy, name.as_deref()).await,
        Control::Resume(name) => {
            if proxy.shutting_down.load(SeqCst) {
                return Err(stopping(()));
            }
            resume(proxy, name.as_deref())?;
            choose_again(proxy, named(proxy, name.as_deref())?).await;
            Ok(())
        }
        Control::Kill(name) => kill(proxy, name.as_deref()).await,
        Control::KillClient(id) => kill_client(proxy, *id).await,
        Control::Reconnect(name) => {
            let databases = named(proxy, name.as_deref())?;
            for pool in databases.iter().flat_map(|database| database.pools()) {
                pool.reconnect();
                pool.make_welcome_stale();
            }
            choose_again(proxy, databases).await;
            Ok(())
        }
        Control::WaitClose(name) => wait_close(proxy, name.as_deref()).await,
        Control::Disable(name) => {
            one(proxy, name)?.disable(true);
            Ok(())
        }
        Control::Enable(name) => {
            one(proxy, name)?.disable(false);
            Ok(())
        }
        Control::Primary { cluster, host } => primary(caller, cluster, host).await,
        Control::Reload => reload(caller).await,
        Control::Set(key, value) => set(caller, key, value).await,
        Control::Suspend => suspend(caller).await,
        Control::Upgrade => upgrade(caller).await,
        Control::Shutdown(how) => shutdown(caller, *how),
    }
}

/// Decides by hand which of several servers is the primary.
async fn primary(caller: &Caller, name: &str, host: &str) -> Result<(), Report> {
    let unknown = || Report::error("42704", format!("cluster \"{name}\" does not exist"));
    let cluster = caller.proxy.databases.clusters().into_iter().find(|one| one.name == name).ok_or_else(unknown)?;
    let (at, rivals) = cluster.decide(host).map_err(|error| {
        let code = if matches!(error, NotDecided::Unknown(_)) { "42704" } else { "55000" };
        Report::error(code, error.to_string())
    })?;
    let server = cluster.upstreams.get(at).map(|one| one.address.to_string());
    let (of, is) = (name.to_owned(), server.clone().unwrap_or_default());
    let rivals: Vec<Retired> = rivals
        .into_iter()
        .filter_map(|(rival, timeline)| Some((cluster.upstreams.get(rival)?.address.to_string(), timeline)))
        .map(|(server, timeline)| Retired { cluster: of.clone(), server, timeline, fenced: false })
        .collect();
    // A restart, and a process that takes over, have to know it as well.
    let decided = move |list: &mut Vec<Retired>| {
        list.retain(|one| {
            one.cluster != of || one.server != is && rivals.iter().all(|rival| rival.server != one.server)
        });
        list.extend(rivals);
    };
    caller.proxy.moves.retire(decided).await.map_err(|error| Report::error(error.sqlstate(), error.to_string()))?;
    let event = Event::new(Kind::PrimaryDecided, "the primary is decided by hand");
    let event = event.about_server(name, server).by(&caller.who.user);
    publish!(caller.proxy.events, warn, event, client = caller.address());
    ServerChanges(Arc::downgrade(&caller.proxy)).turned(&cluster, at).await;
    Ok(())
}

fn one(proxy: &ProxyState, name: &str) -> Result<Arc<Database>, Report> {
    let missing = || Report::error("3D000", format!("database \"{name}\" does not exist"));
    proxy.databases.get(name).ok_or_else(missing)
}

/// The database of that name, or all.
fn named(proxy: &ProxyState, name: Option<&str>) -> Result<Vec<Arc<Database>>, Report> {
    match name {
        Some(name) => one(proxy, name).map(|database| vec![database]),
        None => Ok(proxy.databases.all()),
    }
}

/// Holds new transactions back, then waits until every server connection has come back, and closes it. The pause stays when
/// the console goes.
async fn pause(proxy: &Arc<ProxyState>, name: Option<&str>) -> Result<(), Report> {
    match name {
        Some(name) => _ = one(proxy, name)?.pause(),
        None => proxy.databases.pause_all(),
    }
    let databases = named(proxy, name)?;
    close_all(proxy, &databases).await;
    Ok(())
}

fn is_of(client: &shared::Client, databases: &[Arc<Database>]) -> bool {
    client.database.as_ref().is_some_and(|own| databases.iter().any(|database| Arc::ptr_eq(database, own)))
}

fn resume(proxy: &ProxyState, name: Option<&str>) -> Result<(), Report> {
    let (resumed, what) = match name {
        Some(name) => (one(proxy, name)?.resume(), format!("database \"{name}\"")),
        None => (proxy.databases.resume_all(), "pgsluice".to_owned()),
    };
    if resumed { Ok(()) } else { Err(Report::error("55000", format!("{what} is not paused"))) }
}

fn terminated() -> Ask {
    let report = Report::fatal("57P01", "terminating connection due to administrator command");
    Ask::End { report, now: true }
}

fn end(client: &std::rc::Rc<shared::Client>) {
    if client.phase.get() == Phase::Active {
        drop(client.send_cancel());
    }
    client.ask(terminated());
}

/// Drops every client and every server connection; who comes next waits for RESUME.
async fn kill(proxy: &Arc<ProxyState>, name: Option<&str>) -> Result<(), Report> {
    match name {
        Some(name) => _ = one(proxy, name)?.pause(),
        None => proxy.databases.pause_all(),
    }
    let databases = named(proxy, name)?;
    databases.iter().flat_map(|database| database.pools()).for_each(|pool| pool.reconnect());
    let until = Instant::now() + KILL_PATIENCE;
    let gone = async {
        let ended = proxy.on_every_core(move |core| {
            let clients = core.clients();
            let ended = clients.iter().filter(|client| is_of(client, &databases));
            ended.inspect(|client| end(client)).map(|client| client.id).collect::<Vec<_>>()
        });
        let ended: Arc<[u64]> = ended.await.into_iter().flatten().collect();
        // Those that have come since wait for RESUME.
        while Instant::now() < until {
            let whose = ended.clone();
            let stays = proxy.on_every_core(move |core| whose.iter().any(|id| core.client(*id).is_some()));
            if !stays.await.contains(&true) {
                return;
            }
            sleep(LOOK).await;
        }
    };
    gone.await;
    Ok(())
}

async fn kill_client(proxy: &Arc<ProxyState>, id: u64) -> Result<(), Report> {
    let found = proxy.on_every_core(move |core| core.client(id).map(|client| end(&client)).is_some());
    if found.await.contains(&true) {
        Ok(())
    } else {
        Err(Report::error("42704", format!("client {id} does not exist")))
    }
}

/// Waits until no server connection is in use that RECONNECT or RELOAD has marked for closing.
async fn wait_close(proxy: &Arc<ProxyState>, name: Option<&str>) -> Result<(), Report> {
    let databases = named(proxy, name)?;
    let closed = async {
        loop {
            let databases = databases.clone();
            let stale = proxy.on_every_core(move |core| {
                core.clients().iter().any(|client| {
                    let stale =
                        client.cancel.borrow().as_ref().is_some_and(|held| held.pool.closes(held.server.generation));
                    stale && is_of(client, &databases)
                })
            });
            if !stale.await.contains(&true) {
                return;
            }
            sleep(LOOK).await;
        }
    };
    closed.await;
    Ok(())
}

fn stopping<T>(_: T) -> Report {
    Report::error("57P01", "pgsluice is shutting down")
}

async fn reload(caller: &Caller) -> Result<(), Report> {
    let (tell, told) = oneshot::channel();
    caller.proxy.control.try_send(shared::Control::Reload(tell)).map_err(stopping)?;
    after_reload(caller, told).await?;
    let _ = tokio::time::timeout(FIRST_LOOK, servers_known(&caller.proxy)).await;
    Ok(())
}

/// Waits until every server of every cluster has been looked at: clients that come next need not wait for that.
async fn servers_known(proxy: &ProxyState) {
    for cluster in proxy.databases.clusters() {
        let mut changes = cluster.changes();
        while cluster.upstreams.iter().any(|upstream| upstream.role() == Role::Unknown) {
            if changes.changed().await.is_err() {
                break;
            }
        }
    }
}

/// Reads the configuration of one database again.
pub(super) async fn reload_database(caller: &Caller, name: &str) -> Result<(), Report> {
    let (tell, told) = oneshot::channel();
    caller.proxy.control.try_send(shared::Control::ReloadDatabase(name.to_owned(), tell)).map_err(stopping)?;
    after_reload(caller, told).await
}

async fn after_reload(caller: &Caller, told: oneshot::Receiver<Result<Reloaded, String>>) -> Result<(), Report> {
    match told.await.map_err(stopping)? {
        Ok(reloaded) => {
            for text in reloaded.told {
                caller.tell(Report::warning("01000", text)).await;
            }
            Ok(())
        }
        Err(why) => {
            let text = "RELOAD failed, see logs for additional details";
            Err(Report::error("F0000", text).with_detail(Some(why)))
        }
    }
}

/// Changes a key until the next RELOAD.
async fn set(caller: &Caller, key: &str, value: &str) -> Result<(), Report> {
    let (tell, told) = oneshot::channel();
    let asked = shared::Control::Set { key: key.to_owned(), value: value.to_owned(), tell };
    caller.proxy.control.try_send(asked).map_err(stopping)?;
    match told.await.map_err(stopping)? {
        Ok(set) => {
            for text in set.told {
                caller.tell(Report::warning("01000", text)).await;
            }
            Ok(())
        }
        Err(why) => {
            let (first, more) = why.split_once('\n').map_or((why.as_str(), None), |(first, more)| (first, Some(more)));
            let text = format!("SET failed: {first}");
            Err(Report::error("22023", text).with_detail(more.map(str::to_owned)))
        }
    }
}

/// Has another process take over; the answer comes once the clients that are idle have gone there.
async fn upgrade(caller: &Caller) -> Result<(), Report> {
    let (tell, told) = oneshot::channel();
    caller.proxy.control.try_send(shared::Control::Upgrade { program: None, tell }).map_err(stopping)?;
    match told.await.map_err(stopping)? {
        Ok(text) => {
            caller.tell(Report { severity: Severity::Notice, ..Report::warning("00000", text) }).await;
            Ok(())
        }
        Err(why) => Err(Report::error("55000", "no other process has taken over").with_detail(Some(why))),
    }
}

/// Nothing more is sent to servers until RESUME: as PAUSE, but server connections stay open. Whoever is inside a transaction comes
/// to its end first, for suspend_timeout at most.
async fn suspend(caller: &Caller) -> Result<(), Report> {
    let proxy = &caller.proxy;
    if proxy.databases.are_paused() {
        return Err(Report::error("55000", "already suspended/paused"));
    }
    if proxy.databases.all().iter().any(|database| database.is_paused()) {
        return Err(Report::error("55000", "cannot suspend with paused databases"));
    }
    proxy.databases.suspend_all();
    let patience = proxy.setup.load().config.process.suspend_timeout.get();
    let until = patience.map(|patience| Instant::now() + patience);
    choose_again(proxy, proxy.databases.all()).await;
    loop {
        let busy = proxy.on_every_core(|core| {
            core.clients().iter().any(|client| !client.operator && client.cancel.borrow().is_some())
        });
        if !busy.await.contains(&true) || !proxy.databases.are_paused() {
            return Ok(());
        }
        if until.is_some_and(|until| Instant::now() > until) {
            break;
        }
        sleep(LOOK).await;
    }
    proxy.databases.resume_all();
    choose_again(proxy, proxy.databases.all()).await;
    let report = Report::error("55P03", "transactions did not end within suspend_timeout: everything goes on");
    Err(report.with_hint(Some("MAINTENANCE CHECK names the longest transaction.".into())))
}

/// The answer goes out before the end begins: whoever waits for it learns that the command was understood.
fn shutdown(caller: &Caller, how: Shutdown) -> Result<(), Report> {
    let stop = match how {
        Shutdown::Immediate => Stop::Now,
        Shutdown::WaitForServers => Stop::Drain,
        Shutdown::WaitForClients => Stop::Leave,
    };
    tracing::warn!(
        event = "shutdown", user = %caller.who.user, client = %caller.address(), command = how.words(), "shutdown"
    );
    caller.proxy.control.try_send(shared::Control::Stop(stop)).map_err(stopping)
}
