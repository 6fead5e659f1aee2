//! PAUSE, RESUME, KILL, RECONNECT, RELOAD, SHUTDOWN and their like, with PgBouncer's meaning.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::console::{Console, Failed};
use super::language::command;
use super::language::command::Shutdown;
use crate::protocol::Report;
use crate::proxy::pause::close_all;
use crate::proxy::turns::choose_again;
use crate::shared;
use crate::shared::client::Ask;
use crate::shared::{Database, Hub, Phase, Stop};

/// How often it is looked whether server connections have come back.
const LOOK: Duration = Duration::from_millis(20);
/// How long KILL waits for sessions to be gone: they need no more than their next step.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Runs a command that has no table.
pub(super) async fn run(console: &mut Console, command: &command::Control) -> Result<(), Failed> {
    use command::Control;
    let hub = console.core.hub.clone();
    match command {
        Control::Pause(name) => pause(console, &hub, name.as_deref()).await,
        Control::Resume(name) => {
            resume(&hub, name.as_deref())?;
            choose_again(&hub, named(&hub, name.as_deref())?).await;
            Ok(())
        }
        Control::Kill(name) => kill(console, &hub, name.as_deref()).await,
        Control::KillClient(id) => kill_client(console, &hub, *id).await,
        Control::Reconnect(name) => {
            let databases = named(&hub, name.as_deref())?;
            for pool in databases.iter().flat_map(|database| database.pools()) {
                pool.reconnect();
                pool.make_welcome_stale();
            }
            choose_again(&hub, databases).await;
            Ok(())
        }
        Control::WaitClose(name) => wait_close(console, &hub, name.as_deref()).await,
        Control::Disable(name) => {
            one(&hub, name)?.disable(true);
            Ok(())
        }
        Control::Enable(name) => {
            one(&hub, name)?.disable(false);
            Ok(())
        }
        Control::Reload => reload(console, &hub).await,
        Control::Shutdown(how) => shutdown(console, &hub, *how).await,
    }
}

fn one(hub: &Hub, name: &str) -> Result<Arc<Database>, Report> {
    let missing = || Report::error("3D000", format!("database \"{name}\" does not exist"));
    hub.databases.get(name).ok_or_else(missing)
}

/// The database of that name, or all.
fn named(hub: &Hub, name: Option<&str>) -> Result<Vec<Arc<Database>>, Report> {
    match name {
        Some(name) => one(hub, name).map(|database| vec![database]),
        None => Ok(hub.databases.all()),
    }
}

/// Holds new transactions back, then waits until every server connection has come back, and closes it. The pause stays when
/// the console goes.
async fn pause(console: &mut Console, hub: &Arc<Hub>, name: Option<&str>) -> Result<(), Failed> {
    match name {
        Some(name) => _ = one(hub, name)?.pause(),
        None => hub.databases.pause_all(),
    }
    let databases = named(hub, name)?;
    Ok(console.link.wait(close_all(hub, &databases)).await?)
}

fn is_of(client: &shared::Client, databases: &[Arc<Database>]) -> bool {
    client.database.as_ref().is_some_and(|own| databases.iter().any(|database| Arc::ptr_eq(database, own)))
}

fn resume(hub: &Hub, name: Option<&str>) -> Result<(), Report> {
    let (resumed, what) = match name {
        Some(name) => (one(hub, name)?.resume(), format!("database \"{name}\"")),
        None => (hub.databases.resume_all(), "pgsluice".to_owned()),
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
async fn kill(console: &mut Console, hub: &Arc<Hub>, name: Option<&str>) -> Result<(), Failed> {
    match name {
        Some(name) => _ = one(hub, name)?.pause(),
        None => hub.databases.pause_all(),
    }
    let databases = named(hub, name)?;
    databases.iter().flat_map(|database| database.pools()).for_each(|pool| pool.reconnect());
    let until = Instant::now() + KILL_PATIENCE;
    let gone = async {
        let ended = hub.on_every_core(move |core| {
            let clients = core.clients();
            let ended = clients.iter().filter(|client| is_of(client, &databases));
            ended.inspect(|client| end(client)).map(|client| client.id).collect::<Vec<_>>()
        });
        let ended: Arc<[u64]> = ended.await.into_iter().flatten().collect();
        // Those that have come since wait for RESUME.
        while Instant::now() < until {
            let whose = ended.clone();
            let stays = hub.on_every_core(move |core| whose.iter().any(|id| core.client(*id).is_some()));
            if !stays.await.contains(&true) {
                return;
            }
            sleep(LOOK).await;
        }
    };
    Ok(console.link.wait(gone).await?)
}

async fn kill_client(console: &mut Console, hub: &Arc<Hub>, id: u64) -> Result<(), Failed> {
    let found = hub.on_every_core(move |core| core.client(id).map(|client| end(&client)).is_some());
    let found = console.link.wait(found).await?;
    if found.contains(&true) {
        Ok(())
    } else {
        Err(Report::error("42704", format!("client {id} does not exist")).into())
    }
}

/// Waits until no server connection is in use that RECONNECT or RELOAD has marked for closing.
async fn wait_close(console: &mut Console, hub: &Arc<Hub>, name: Option<&str>) -> Result<(), Failed> {
    let databases = named(hub, name)?;
    let closed = async {
        loop {
            let databases = databases.clone();
            let stale = hub.on_every_core(move |core| {
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
    Ok(console.link.wait(closed).await?)
}

fn stopping<T>(_: T) -> Report {
    Report::error("57P01", "pgsluice is shutting down")
}

async fn reload(console: &mut Console, hub: &Arc<Hub>) -> Result<(), Failed> {
    let (tell, told) = oneshot::channel();
    hub.control.try_send(shared::Control::Reload(tell)).map_err(stopping)?;
    match console.link.wait(told).await?.map_err(stopping)? {
        Ok(reloaded) => {
            let link = &mut console.link;
            reloaded.told.into_iter().for_each(|text| link.say(&Report::warning("01000", text)));
            Ok(())
        }
        Err(why) => {
            let (first, more) = why.split_once('\n').map_or((why.as_str(), None), |(first, more)| (first, Some(more)));
            let text = format!("configuration not reloaded: {first}");
            Err(Report::error("F0000", text).with_detail(more.map(str::to_owned)).into())
        }
    }
}

/// The answer goes out before the end begins: whoever waits for it learns that the command was understood.
async fn shutdown(console: &mut Console, hub: &Arc<Hub>, how: Shutdown) -> Result<(), Failed> {
    let stop = match how {
        Shutdown::Immediate => Stop::Now,
        Shutdown::WaitForServers => Stop::Drain,
        Shutdown::WaitForClients => Stop::Leave,
    };
    tracing::warn!(
        event = "shutdown", user = %console.me.user, client = %console.me.address_words(), command = how.words(), "shutdown"
    );
    Ok(hub.control.try_send(shared::Control::Stop(stop)).map_err(stopping)?)
}
