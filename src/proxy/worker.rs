//! One core: a thread with a runtime of its own, its listeners, and the sessions it took in.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::listen::{Accepted, Listener};
use super::system::open_files;
use super::takeover::take::Answer;
use super::{cancel_requests, janitor};
use crate::client::conversation::pending_replies::pool::PendingReplyPool;
use crate::client::startup::negotiate::{CONSOLES, Greeted, Guest, greet};
use crate::client::takeover::import;
use crate::server::state::handover::HandedServer;
use crate::shared::clock::Woken;
use crate::shared::handover::HandedClient;
use crate::shared::{Job, ProxyState, WorkerState};

/// Serves a guest of the console; given by the layer above.
pub type Console = Arc<dyn Fn(Rc<WorkerState>, Box<Guest>) -> ConsoleTask + Send + Sync>;
/// A console's whole life.
pub type ConsoleTask = std::pin::Pin<Box<dyn Future<Output = ()>>>;

/// Work that may wait for a worker.
const WORK: usize = 64;

/// What a worker is told of sockets.
pub enum Work {
    /// It accepts connections there.
    Listen(Vec<Listener>),
    /// It accepts none any more, until it is told where again.
    StopListening,
    /// A client comes from the process before this one.
    Client(Box<HandedClient>, Vec<OwnedFd>, Answer),
    /// So does an idle server connection.
    Server(Box<HandedServer>, OwnedFd, Answer),
}

/// The ways to the workers.
#[derive(Clone)]
pub struct Workers(Arc<[mpsc::Sender<Work>]>);

impl Workers {
    /// For that many, and what each of them hears.
    pub fn new(cores: usize) -> (Self, Vec<mpsc::Receiver<Work>>) {
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..cores).map(|_| mpsc::channel(WORK)).unzip();
        (Self(senders.into()), receivers)
    }

    /// Has each of them listen on its own sockets.
    pub async fn listen(&self, per_core: Vec<Vec<Listener>>) {
        for (worker, listeners) in self.0.iter().zip(per_core) {
            let _ = worker.send(Work::Listen(listeners)).await;
        }
    }

    /// None of them accepts connections any more.
    pub async fn stop_listening(&self) {
        for worker in &*self.0 {
            let _ = worker.send(Work::StopListening).await;
        }
    }

    /// Gives work to that one, or, if there are fewer, to another.
    pub async fn give(&self, core: usize, work: Work) {
        if let Some(worker) = self.0.get(core % self.0.len().max(1)) {
            let _ = worker.send(work).await;
        }
    }
}

/// What a worker is made of.
pub struct Worker {
    /// Which core.
    pub index: usize,
    /// The hub.
    pub proxy: Arc<ProxyState>,
    /// Its queue of jobs.
    pub jobs: mpsc::Receiver<Job>,
    /// What it is to do with sockets.
    pub work: mpsc::Receiver<Work>,
    /// Who serves the console.
    pub console: Console,
}

impl Worker {
    /// Starts the thread. It ends when the proxy's state's side of the job queue is closed.
    ///
    /// # Errors
    /// The thread or its runtime cannot be made.
    pub fn start(self) -> std::io::Result<JoinHandle<()>> {
        let woken = Woken::default();
        let slept = woken.clone();
        let runtime = move || {
            let mut builder = Builder::new_current_thread();
            builder.enable_all().on_thread_unpark(move || slept.note()).build_local(LocalOptions::default())
        };
        std::thread::Builder::new().name(format!("core-{}", self.index)).spawn(move || match runtime() {
            Ok(runtime) => runtime.block_on(self.run(woken)),
            Err(error) => tracing::error!(event = "core_failed", %error, "no runtime for a core"),
        })
    }

    async fn run(mut self, woken: Woken) {
        let core = WorkerState::new(self.index, self.proxy.clone(), woken);
        let reply_pool = Rc::new(PendingReplyPool::default());
        let mut listening = Vec::new();
        let watch = spawn_local(janitor::watch_clients(core.clone()));
        loop {
            tokio::select! {
                job = self.jobs.recv() => match job {
                    Some(job) => job(&core),
                    None => break,
                },
                Some(work) = self.work.recv() => match work {
                    Work::Listen(listeners) => listening.extend(listeners.into_iter().map(|listener| {
                        let is_unix = matches!(listener, Listener::Unix(_));
                        let task = spawn_local(accept(core.clone(), reply_pool.clone(), listener, self.console.clone()));
                        (is_unix, task)
                    })),
                    Work::StopListening => listening.drain(..).for_each(|(_, task)| task.abort()),
                    Work::Client(state, sockets, answer) => {
                        spawn_local(arrive(core.clone(), reply_pool.clone(), state, sockets, answer));
                    }
                    Work::Server(state, socket, answer) => {
                        spawn_local(arrive_server(core.clone(), state, socket, answer));
                    }
                },
            }
            if core.is_door_closed() {
                let ends = |(is_unix, _): &mut (bool, _)| core.is_stopping() || !*is_unix;
                listening.extract_if(.., ends).for_each(|(_, task)| task.abort());
            }
        }
        watch.abort();
    }
}

/// A client comes from the process before this one, and is served from when that has been told.
async fn arrive(
    core: Rc<WorkerState>,
    reply_pool: Rc<PendingReplyPool>,
    state: Box<HandedClient>,
    sockets: Vec<OwnedFd>,
    answer: Answer,
) {
    let counted = Counted::new(core.proxy.clone());
    match Box::pin(import::take_over(&core, &reply_pool, *state, sockets)).await {
        Ok(arrived) => {
            answer.taken().await;
            arrived.serve().await;
        }
        Err(why) => answer.refused(why).await,
    }
    drop(counted);
}

/// The same of an idle server connection.
async fn arrive_server(core: Rc<WorkerState>, state: Box<HandedServer>, socket: OwnedFd, answer: Answer) {
    let pool = core.proxy.databases.get(&state.place.database).and_then(|db| import::pool_of(&db, &state));
    let taken = match pool {
        Some(pool) => pool.take_over(&state, socket, core.index).await.map(|conn| (pool, conn)),
        None => Err("its database or server is not in the configuration".to_owned()),
    };
    match taken {
        Ok((pool, conn)) => {
            answer.taken().await;
            pool.give_back(conn);
        }
        Err(why) => answer.refused(why).await,
    }
}

async fn accept(core: Rc<WorkerState>, reply_pool: Rc<PendingReplyPool>, listener: Listener, console: Console) {
    let listener = match listener.register() {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(event = "core_failed", %error, "cannot listen");
            return;
        }
    };
    loop {
        match listener.accept().await {
            Ok(accepted) => {
                spawn_local(serve(core.clone(), reply_pool.clone(), accepted, console.clone()));
            }
            Err(error) => {
                // Out of file descriptors, most likely: some will come back.
                if !open_files::is_limit(&error) {
                    tracing::warn!(event = "accept_failed", %error, "cannot accept");
                } else if let Some(times) = core.proxy.too_many_files.note(std::time::Instant::now()) {
                    tracing::warn!(event = "too_many_open_files", %error, times, "cannot accept: {}", open_files::REMEDY);
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Counts a connection for as long as it lives.
struct Counted(Arc<ProxyState>);

impl Counted {
    fn new(proxy: Arc<ProxyState>) -> Self {
        let clients = proxy.clients.fetch_add(1, SeqCst) + 1;
        proxy.most_clients.fetch_max(clients, SeqCst);
        Self(proxy)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.clients.fetch_sub(1, SeqCst);
    }
}

/// Serves a connection. The future is what an idle client costs: what is large and short in it is boxed, and nothing goes
/// into it that is used at the beginning only.
fn serve(
    core: Rc<WorkerState>,
    reply_pool: Rc<PendingReplyPool>,
    accepted: Accepted,
    console: Console,
) -> impl Future<Output = ()> {
    let greeted = Box::pin(greeted(core.clone(), accepted));
    let counted = Counted::new(core.proxy.clone());
    async move {
        let Some(guest) = greeted.await else { return };
        if CONSOLES.contains(&guest.database()) {
            console(core, guest).await;
        } else {
            crate::client::startup::open::run(core, reply_pool, guest).await;
        }
        drop(counted);
    }
}

/// Greets a connection. None: it is no client's, or no longer.
async fn greeted(core: Rc<WorkerState>, accepted: Accepted) -> Option<Box<Guest>> {
    match greet(&core, accepted.socket, accepted.address).await {
        Greeted::Guest(guest) => Some(guest),
        Greeted::Cancel { pid, secret, mut stream } => {
            cancel_requests::serve(&core.proxy, pid, secret).await;
            // libpq takes TLS that ends without a goodbye for a failure.
            stream.close(&[]);
            None
        }
        Greeted::Over => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_future<F: Future>(
        _: impl FnOnce(Rc<WorkerState>, Rc<PendingReplyPool>, Accepted, Console) -> F,
    ) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_clients_task_stays_small() {
        let bytes = size_of_future(serve);
        assert!(bytes <= 680, "{bytes} bytes: box what is large and rare, ahead of what is awaited");
    }
}
