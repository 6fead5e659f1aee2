//! The whole proxy: started ([`start`]), reloaded ([`reload`]), drained, stopped.

mod reload;
mod start;

use std::sync::atomic::Ordering::SeqCst;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle as Task;

use self::reload::Running;
use super::system::process::PidFile;
use super::system::service_manager;
pub use super::system::start::{Http, StartError, Surfaces};
use super::takeover::give::Given;
use super::takeover::surroundings::{Surroundings, UNDER_WAY, ended};
use super::takeover::take::Arriving;
use super::{certificates, fleet, pause, shutdown};
use crate::config::{Config, Overrides};
use crate::shared::{Control, Stop};
use crate::topology::discover::Found;

/// Why a command is refused at the end.
const SHUTTING_DOWN: &str = "pgsluice is shutting down";

/// Runs until it is told to stop, by signal or from the console, or another process takes over. `arriving`: this one takes over.
///
/// # Errors
/// It could not be started.
pub async fn run(
    config: Config,
    overrides: Overrides,
    surfaces: Surfaces,
    arriving: &mut Option<Arriving>,
) -> Result<(), StartError> {
    // Before anybody can see that it starts: no signal may find the system's default.
    let mut signals = Signals::new()?;
    let mut proxy = start::start(config, overrides, surfaces, arriving).await?;
    let manager = proxy.surroundings.manager.clone();
    let alive = tokio::spawn(service_manager::give_signs_of_life(manager, proxy.running.proxy.clone()));
    proxy.surroundings.manager.ready();
    let stop = proxy.serve(&mut signals).await;
    proxy.begin_end(stop).await;
    alive.abort();
    proxy.background.iter().for_each(Task::abort);
    proxy.drain(&mut signals, stop).await;
    proxy.end().await;
    Ok(())
}

/// The signals that mean something.
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }
}

/// All that has been started.
struct Proxy {
    running: Running,
    surroundings: Surroundings,
    fleet: Option<fleet::Running>,
    workers: Vec<JoinHandle<()>>,
    background: Vec<Task<()>>,
    /// What consoles and the HTTP API ask of the whole.
    asked: mpsc::Receiver<Control>,
    /// Servers that the configuration does not name.
    found: mpsc::Receiver<Found>,
    /// Its file goes with it.
    pid_file: Option<PidFile>,
}

impl Proxy {
    /// Serves until it is known how to stop.
    async fn serve(&mut self, signals: &mut Signals) -> Stop {
        let proxy = self.running.proxy.clone();
        let mut upgrade: Option<Task<Given>> = None;
        loop {
            tokio::select! {
                // The kernel does not tell which of two signals came first: of PAUSE and RESUME, RESUME is the last.
                biased;
                _ = signals.hangup.recv(), if upgrade.is_none() => {
                    self.surroundings.manager.reloading();
                    let _ = self.running.reload_and_publish(None);
                    self.surroundings.manager.ready();
                    self.running.end_former_operators().await;
                }
                _ = signals.terminate.recv() => return shutdown::by_terminate(&proxy),
                _ = signals.interrupt.recv() => return shutdown::by_interrupt(&proxy),
                _ = signals.quit.recv() => return shutdown::by_quit(),
                _ = signals.user1.recv() => pause::pause_by_signal(&proxy),
                _ = signals.user2.recv() => pause::resume_by_signal(&proxy),
                Some(found) = self.found.recv() => self.running.take_found(found),
                Some(given) = ended(&mut upgrade) => match given {
                    Given::Away => return Stop::Now,
                    Given::Kept => upgrade = None,
                },
                control = self.asked.recv() => match control {
                    Some(Control::Stop(stop)) => return stop,
                    Some(control) => self.carry_out(control, &mut upgrade).await,
                    None => return Stop::Now,
                },
            }
        }
    }

    /// Does what a console or the HTTP API asks of the whole; `upgrade`: another process is taking over.
    async fn carry_out(&mut self, control: Control, upgrade: &mut Option<Task<Given>>) {
        match control {
            Control::Upgrade { program, tell } if upgrade.is_none() => {
                *upgrade = Some(self.surroundings.give_away(program, self.running.is_set(), tell));
            }
            Control::Upgrade { tell, .. } => _ = tell.send(Err(UNDER_WAY.to_owned())),
            Control::Reload(tell) | Control::ReloadDatabase(_, tell) | Control::Set { tell, .. }
                if upgrade.is_some() =>
            {
                let _ = tell.send(Err(UNDER_WAY.to_owned()));
            }
            Control::Reload(tell) => {
                let reloaded = self.running.reload_and_publish(None);
                self.running.end_former_operators().await;
                let _ = tell.send(reloaded);
            }
            Control::ReloadDatabase(name, tell) => _ = tell.send(self.running.reload_and_publish(Some(&name))),
            Control::Set { key, value, tell } => {
                let set = self.running.set(&key, &value);
                self.running.end_former_operators().await;
                let _ = tell.send(set);
            }
            Control::Reroute(reroutes, tell) => _ = tell.send(self.running.reroute(reroutes)),
            Control::Certificates(of) => certificates::renew(&self.running.proxy, of.as_deref()),
            // The loop has seen it.
            Control::Stop(_) => {}
        }
    }

    /// Lets nobody in any more. Whoever has taken over is the one that the service manager knows.
    async fn begin_end(&self, stop: Stop) {
        let proxy = &self.running.proxy;
        let away = self.surroundings.is_away();
        if !away {
            self.surroundings.manager.stopping(proxy.setup.load().config.process.shutdown_timeout);
            proxy.on_every_core(|core| core.close_door()).await;
            self.surroundings.stop_listening();
        }
        proxy.shutting_down.store(true, SeqCst);
        if !away {
            shutdown::log_drain(proxy, stop).await;
        }
    }

    /// Waits for clients, as `stop` wants it. Who finds that too slow chooses another way.
    async fn drain(&mut self, signals: &mut Signals, mut stop: Stop) {
        let proxy = self.running.proxy.clone();
        loop {
            tokio::select! {
                () = shutdown::drain(&proxy, stop) => return,
                _ = signals.terminate.recv() => return shutdown::at_once("SIGTERM"),
                _ = signals.interrupt.recv() => return shutdown::at_once("SIGINT"),
                _ = signals.quit.recv() => return shutdown::at_once("SIGQUIT"),
                _ = signals.user1.recv() => shutdown::ignored("SIGUSR1"),
                _ = signals.user2.recv() => shutdown::ignored("SIGUSR2"),
                control = self.asked.recv() => match control {
                    Some(Control::Stop(other)) => stop = other,
                    Some(Control::Reload(tell) | Control::ReloadDatabase(_, tell) | Control::Set { tell, .. }) => {
                        let _ = tell.send(Err(SHUTTING_DOWN.to_owned()));
                    }
                    Some(Control::Upgrade { tell, .. }) => _ = tell.send(Err(SHUTTING_DOWN.to_owned())),
                    Some(Control::Certificates(_) | Control::Reroute(..)) => {}
                    None => return,
                },
            }
        }
    }

    async fn end(self) {
        let Self { running, surroundings, fleet, workers, pid_file, .. } = self;
        surroundings.close();
        running.proxy.close_cores();
        for database in running.proxy.databases.all() {
            database.pools().iter().for_each(|pool| pool.retire());
        }
        running.stop_watching();
        let joined = tokio::task::spawn_blocking(move || workers.into_iter().for_each(|thread| _ = thread.join()));
        let _ = tokio::time::timeout(Duration::from_secs(5), joined).await;
        tracing::info!(event = "stopped", "pgsluice has stopped");
        fleet::leave(fleet).await;
        drop(pid_file);
    }
}
