//! What a process listens on, and how that begins and ends: by itself, from the process before, or for the one after.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::task::JoinHandle as Task;

use super::command;
use super::give::{Given, Giving, former_ledger};
use super::messages::ListensFor;
use super::program::own_path;
use super::sockets::Sockets;
use super::take::{Arriving, Inheritance, await_servers, log_on, other_addresses, prepare_databases, rehearse_on};
use crate::config::Config;
use crate::events::{Event, Kind, publish};
use crate::gate::{StateFile, StateSource};
use crate::log::millis;
use crate::proxy::lifecycle::{Http, StartError};
use crate::proxy::listen;
use crate::proxy::listen::{Listener, UnixPath};
use crate::proxy::system::service_manager::ServiceManager;
use crate::proxy::worker::Workers;
use crate::shared::ProxyState;
use crate::shared::handover::Former;

/// Sockets that listen, and the paths that go with the process.
pub struct Opened {
    sockets: Sockets,
    paths: Vec<UnixPath>,
}

impl Opened {
    /// Opens what the configuration names, or takes what the process before has given.
    ///
    /// # Errors
    /// It cannot be had.
    pub fn open(config: &Config, cores: usize, inheritance: Option<&mut Inheritance>) -> Result<Self, StartError> {
        let mut paths = Vec::new();
        let sockets = match inheritance {
            Some(given) => {
                let sockets = std::mem::take(&mut given.sockets);
                if let Some(why) = other_addresses(&sockets, &listen::wanted(config)?) {
                    return Err(StartError::TakeOver(why));
                }
                paths.extend(listen::unix_path(config).and_then(|path| UnixPath::of(&path).ok()));
                sockets
            }
            None => {
                let http = listen::open_http(config)?;
                let opened = listen::open(config, cores)?;
                paths.extend(opened.unix_path);
                let mut sockets = Sockets::new(opened.activated);
                for listener in opened.per_core.into_iter().flatten() {
                    match listener {
                        Listener::Tcp(socket, anywhere) => {
                            sockets.push(ListensFor::Clients(socket.local_addr()?, anywhere), socket.into());
                        }
                        Listener::Unix(socket) => {
                            let path = socket.local_addr()?.as_pathname().map(Path::to_path_buf).unwrap_or_default();
                            sockets.push(ListensFor::UnixClients(path), socket.into());
                        }
                    }
                }
                for socket in http {
                    sockets.push(ListensFor::Http(socket.local_addr()?), socket.into());
                }
                sockets
            }
        };
        Ok(Self { sockets, paths })
    }

    /// Where the state of the gates comes from.
    ///
    /// # Errors
    /// The process before keeps it elsewhere.
    pub fn state(&self, file: &StateFile, inheritance: Option<&mut Inheritance>) -> Result<StateSource, StartError> {
        let Some(given) = inheritance else { return Ok(file.into()) };
        if given.begin.state_file.as_deref() != file.path() {
            let text = "state_file is another one than that of the running process: that takes a restart";
            return Err(StartError::TakeOver(text.to_owned()));
        }
        Ok(StateSource { file: file.clone(), inherited: Some(given.take_state()) })
    }
}

/// See the module.
pub struct Surroundings {
    proxy: Arc<ProxyState>,
    workers: Workers,
    sockets: Arc<Sockets>,
    paths: Mutex<Vec<UnixPath>>,
    surfaces: Arc<dyn Fn(bool) + Send + Sync>,
    state_file: Option<PathBuf>,
    program: Option<PathBuf>,
    away: Arc<AtomicBool>,
    /// Who has started this process.
    pub manager: Arc<ServiceManager>,
}

impl Surroundings {
    /// Those of a process whose state file is locked by now.
    pub fn new(
        proxy: &Arc<ProxyState>,
        workers: &Workers,
        opened: Opened,
        http: Http,
        state_file: Option<&Path>,
    ) -> Self {
        let Opened { mut sockets, mut paths } = opened;
        if let Some(path) = state_file.map(command::path_beside) {
            if !matches!(sockets.of_command(), Ok(Some(_))) {
                match command::open(&path) {
                    Ok(socket) => sockets.push(ListensFor::Command(path.clone()), socket.into()),
                    Err(error) => tracing::warn!(
                        event = "no_control_socket", path = %path.display(), %error,
                        "`pgsluice upgrade` has to ask by the console: its socket cannot be opened"
                    ),
                }
            }
            paths.extend(UnixPath::of(&path).ok());
        }
        let sockets = Arc::new(sockets);
        Self {
            surfaces: toggle_surfaces(proxy.clone(), sockets.clone(), http),
            proxy: proxy.clone(),
            workers: workers.clone(),
            sockets,
            paths: Mutex::new(paths),
            state_file: state_file.map(Path::to_path_buf),
            program: own_path().ok(),
            away: Arc::default(),
            manager: Arc::new(ServiceManager::of_environment()),
        }
    }

    /// Accepts connections.
    ///
    /// # Errors
    /// There are too many open files.
    pub async fn serve(&self) -> std::io::Result<()> {
        self.workers.listen(self.sockets.of_clients(self.proxy.cores())?).await;
        (self.surfaces)(true);
        Ok(())
    }

    /// Says to the process before this one that all is ready, accepts connections when that does not any more, and takes its clients.
    ///
    /// # Errors
    /// It goes on itself.
    pub async fn take_over(&self, mut arriving: Arriving, inheritance: Option<Inheritance>) -> Result<(), String> {
        let begin = inheritance.map(|given| given.begin).unwrap_or_default();
        prepare_databases(&self.proxy, &begin);
        rehearse_on(&self.proxy, &begin);
        log_on(&self.proxy, &begin);
        let (former, cancels) = Former::new();
        let former = Arc::new(former);
        self.proxy.former.store(Some(former.clone()));
        await_servers(&self.proxy).await;
        let turn = arriving.wait_for_turn().await;
        let served = match turn {
            Ok(()) => self.serve().await.map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        if let Err(why) = served {
            arriving.fail_soon(&why).await;
            return Err(why);
        }
        let began = Instant::now();
        arriving.serving().await;
        let (proxy, workers, state_file) = (self.proxy.clone(), self.workers.clone(), self.state_file.clone());
        tokio::spawn(async move {
            arriving.take_all(proxy.clone(), workers, former, cancels).await;
            if let Some(path) = state_file {
                proxy.ledger.outlives(&former_ledger(&path));
            }
            let event = Event::new(Kind::TookOver, "this process has taken over from another one");
            let clients = proxy.clients.load(SeqCst);
            publish!(proxy.events, info, event, clients = clients, took_ms = millis(began.elapsed()));
        });
        Ok(())
    }

    /// Has another process take over, with what SET has changed here.
    pub fn give_away(
        &self,
        program: Option<PathBuf>,
        set: Vec<(String, String)>,
        tell: oneshot::Sender<Result<String, String>>,
    ) -> Task<Given> {
        let giving = Giving {
            proxy: self.proxy.clone(),
            workers: self.workers.clone(),
            sockets: self.sockets.clone(),
            manager: self.manager.clone(),
            state_file: self.state_file.clone(),
            set,
            surfaces: self.surfaces.clone(),
            tell: Some(tell),
            unanswered: std::collections::HashMap::new(),
        };
        let program = program.or_else(|| self.program.clone()).unwrap_or_default();
        let away = self.away.clone();
        tokio::spawn(async move {
            let given = giving.give(&program).await;
            away.store(given == Given::Away, SeqCst);
            given
        })
    }

    /// Whether another process has taken over.
    pub fn is_away(&self) -> bool {
        self.away.load(SeqCst)
    }

    /// The process ends: whoever connects over TCP from now on is refused. What the service manager has opened stays open, for the
    /// next process.
    pub fn stop_listening(&self) {
        if !self.sockets.activated {
            self.sockets.refuse_clients();
        }
    }

    /// This process ends: nobody is let in any more, and its paths go, unless another one has taken over.
    pub fn close(&self) {
        (self.surfaces)(false);
        let mut paths = std::mem::take(&mut *self.paths.lock().unwrap_or_else(PoisonError::into_inner));
        if self.is_away() {
            paths.iter_mut().for_each(UnixPath::leave);
        }
    }
}

/// Why a command is refused while another process takes over.
pub const UNDER_WAY: &str = "an upgrade is under way";

/// How an upgrade has ended, once it has; one that has failed in us has changed nothing.
pub async fn ended(upgrade: &mut Option<Task<Given>>) -> Option<Given> {
    match upgrade.as_mut() {
        Some(task) => Some(task.await.unwrap_or(Given::Kept)),
        None => std::future::pending().await,
    }
}

/// Starts (true) and ends what serves HTTP and `pgsluice upgrade`.
fn toggle_surfaces(proxy: Arc<ProxyState>, sockets: Arc<Sockets>, http: Http) -> Arc<dyn Fn(bool) + Send + Sync> {
    let tasks: Mutex<Vec<Task<()>>> = Mutex::default();
    Arc::new(move |on| {
        let mut tasks = tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.drain(..).for_each(|task| task.abort());
        if !on {
            return;
        }
        match sockets.of_http().and_then(|listeners| http(proxy.clone(), listeners)) {
            Ok(started) => *tasks = started,
            Err(error) => tracing::error!(event = "cannot_listen", %error, "HTTP is not served"),
        }
        if let Ok(Some(listener)) = sockets.of_command() {
            tasks.push(tokio::spawn(command::serve(listener, proxy.control.clone())));
        }
    })
}
