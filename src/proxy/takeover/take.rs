//! The side of the new process.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;

use super::link::{Heard, Speaker, open};
use super::messages::{Begin, FORMAT, Hello, ListensFor, OLDEST_FORMAT, PauseOfAll, ToFormer, ToNew};
use super::sockets::Sockets;
use crate::gate::InheritedState;
use crate::protocol::Octets;
use crate::proxy::worker::{Work, Workers};
use crate::shared::ProxyState;
use crate::shared::handover::Former;
use crate::shared::handover::former::PassedCancel;
use crate::topology::Role;

/// How long the former process may take for each thing that it has to say before clients come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long servers and catalogs are waited for before this process says that it is ready.
const READY_PATIENCE: Duration = Duration::from_secs(5);

/// The link to the process that this one takes over from.
pub struct Arriving {
    speaker: Speaker,
    heard: mpsc::Receiver<Heard>,
}

/// What it has given.
pub struct Inheritance {
    /// See [`Begin`].
    pub begin: Begin,
    /// The lock of the state file.
    pub lock: Option<OwnedFd>,
    /// Sockets that listen.
    pub sockets: Sockets,
}

impl Inheritance {
    /// The state of the gates, once.
    pub fn take_state(&mut self) -> InheritedState {
        InheritedState { lock: self.lock.take(), document: std::mem::take(&mut self.begin.gates) }
    }
}

impl Arriving {
    /// The link, once a process has told that this one takes over from it.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn by(stream: UnixStream) -> std::io::Result<Self> {
        let (speaker, heard) = open(stream)?;
        Ok(Self { speaker, heard })
    }

    /// Tells the former process why this one ends.
    pub fn fail(&self, why: &str) {
        self.speaker.say_and_wait(&ToFormer::Failed(why.to_owned()));
    }

    /// The same from within the runtime.
    pub async fn fail_soon(&self, why: &str) {
        self.speaker.say_for_sure(&ToFormer::Failed(why.to_owned())).await;
    }

    async fn next(&mut self) -> Result<Heard, String> {
        let heard = timeout(PATIENCE, self.heard.recv()).await.map_err(|_| "the former process says nothing")?;
        heard.ok_or_else(|| "the former process has gone".to_owned())
    }

    /// Says which formats are understood, and takes what there is to begin with.
    ///
    /// # Errors
    /// The former process has gone, or speaks another language.
    pub async fn begin(&mut self) -> Result<Inheritance, String> {
        let program = env!("CARGO_PKG_VERSION").to_owned();
        let hello = Hello { formats: (OLDEST_FORMAT, FORMAT), program };
        self.speaker.say(&ToFormer::Hello(hello), Vec::new()).await;
        let mut first = self.next().await?;
        let ToNew::Begin(begin) = first.read().map_err(|error| error.to_string())? else {
            return Err("the former process does not begin".to_owned());
        };
        let lock = first.sockets.pop();
        let mut sockets = Sockets::new(begin.activated);
        for _ in 0..begin.sockets {
            let mut heard = self.next().await?;
            let purpose = heard.read::<ToNew>().map_err(|error| error.to_string())?;
            if let (ToNew::Socket(purpose), Some(socket)) = (purpose, heard.sockets.pop()) {
                sockets.push(purpose, socket);
            }
        }
        Ok(Inheritance { begin: *begin, lock, sockets })
    }

    /// Says that this process is ready, and waits until it is its turn to accept connections. It is, too, when the former one has been
    /// killed: that kills this one before it goes on itself.
    ///
    /// # Errors
    /// The former process says something else, or nothing.
    pub async fn wait_for_turn(&mut self) -> Result<(), String> {
        self.speaker.say(&ToFormer::Ready, Vec::new()).await;
        let heard = timeout(PATIENCE, self.heard.recv()).await.map_err(|_| "the former process says nothing")?;
        match heard.as_ref().map(Heard::read) {
            Some(Ok(ToNew::Serve)) | None => Ok(()),
            _ => Err("the former process says something else than that it is this one's turn".to_owned()),
        }
    }

    /// Connections are accepted here.
    pub async fn serving(&self) {
        self.speaker.say(&ToFormer::Serving, Vec::new()).await;
    }

    /// Takes what the former process offers, until it ends.
    pub async fn take_all(
        mut self,
        proxy: Arc<ProxyState>,
        workers: Workers,
        former: Arc<Former>,
        cancels: mpsc::Receiver<PassedCancel>,
    ) {
        let mut cancelling = Cancelling { asked: cancels, open: Vec::new(), next: 0 };
        loop {
            tokio::select! {
                heard = self.heard.recv() => match heard {
                    Some(heard) => self.take(heard, &proxy, &workers, &former, &mut cancelling).await,
                    None => break,
                },
                Some(asked) = cancelling.asked.recv() => cancelling.pass_on(asked, &self.speaker).await,
            }
        }
        former.note_gone();
        proxy.goes_on_alone();
    }

    async fn take(
        &self,
        heard: Heard,
        proxy: &ProxyState,
        workers: &Workers,
        former: &Former,
        cancelling: &mut Cancelling,
    ) {
        let message = match heard.read::<ToNew>() {
            Ok(message) => message,
            Err(error) => {
                tracing::warn!(event = "takeover_message", %error, "the former process says something that is not understood");
                return;
            }
        };
        let answer = |number| Answer { speaker: self.speaker.clone(), number };
        match message {
            ToNew::Client { number, id, state } => {
                let core = usize::try_from(id >> 24 & 0x7f).unwrap_or(0);
                former.note_clients(former.clients().saturating_sub(1));
                match serde_json::from_str(state.get()) {
                    Ok(state) => workers.give(core, Work::Client(Box::new(state), heard.sockets, answer(number))).await,
                    Err(error) => answer(number).refused(error.to_string()).await,
                }
            }
            ToNew::Server { number, state } => {
                let (state, socket) = (serde_json::from_str(state.get()), heard.sockets.into_iter().next());
                match (state, socket) {
                    (Ok(state), Some(socket)) => {
                        let core = usize::try_from(number).unwrap_or(0) % proxy.cores().max(1);
                        workers.give(core, Work::Server(Box::new(state), socket, answer(number))).await;
                    }
                    (Err(error), _) => answer(number).refused(error.to_string()).await,
                    (_, None) => answer(number).refused("there is no socket".to_owned()).await,
                }
            }
            ToNew::Cancelled { number, known } => cancelling.answered(number, known),
            ToNew::Clients(clients) => former.note_clients(clients),
            ToNew::Counted(counted) => proxy.take_counted(&counted),
            ToNew::Begin(_) | ToNew::Socket(_) | ToNew::Serve => {}
        }
    }
}

/// The answer to an offer.
pub struct Answer {
    speaker: Speaker,
    number: u64,
}

impl Answer {
    /// It is served here. Returns once the former process hears that whatever becomes of this one.
    pub async fn taken(self) {
        self.speaker.say_for_sure(&ToFormer::Answer { number: self.number, refused: None }).await;
    }

    /// It is not.
    pub async fn refused(self, why: String) {
        self.speaker.say(&ToFormer::Answer { number: self.number, refused: Some(why) }, Vec::new()).await;
    }
}

/// Cancel requests on their way to the former process.
struct Cancelling {
    asked: mpsc::Receiver<PassedCancel>,
    open: Vec<(u64, tokio::sync::oneshot::Sender<bool>)>,
    next: u64,
}

impl Cancelling {
    async fn pass_on(&mut self, asked: PassedCancel, speaker: &Speaker) {
        let number = self.next;
        self.next += 1;
        self.open.retain(|(_, known)| !known.is_closed());
        self.open.push((number, asked.known));
        speaker.say(&ToFormer::Cancel { number, pid: asked.pid, secret: Octets(asked.secret) }, Vec::new()).await;
    }

    fn answered(&mut self, number: u64, known: bool) {
        if let Some(at) = self.open.iter().position(|(own, _)| *own == number) {
            let _ = self.open.swap_remove(at).1.send(known);
        }
    }
}

/// Makes the databases that the former process serves, as they are there.
pub fn prepare_databases(proxy: &ProxyState, begin: &Begin) {
    proxy.client_ids.store(begin.client_ids, SeqCst);
    proxy.databases.number_servers_from(begin.server_ids);
    match begin.pause {
        PauseOfAll::Suspend => proxy.databases.suspend_all(),
        PauseOfAll::Pause if begin.all_paused => proxy.databases.pause_all(),
        PauseOfAll::Pause => {}
    }
    for name in begin.databases.iter().chain(&begin.paused).chain(&begin.disabled).chain(&begin.written) {
        let Some(database) = proxy.databases.get(name) else { continue };
        if begin.paused.contains(name) {
            database.pause();
        }
        if begin.disabled.contains(name) {
            database.disable(true);
        }
        if begin.written.contains(name) {
            let setup = database.peek_setup();
            setup.last_write.note(setup.cluster.write_ends());
        }
    }
}

/// What is logged is logged on.
pub fn log_on(proxy: &ProxyState, begin: &Begin) {
    if let Some(Err(why)) = begin.log_level.as_deref().map(|words| proxy.log_level.set_by_words(words)) {
        tracing::warn!(event = "set_forgotten", "log_level is as in the configuration: {why}");
    }
}

/// Rehearsals go on.
pub fn rehearse_on(proxy: &ProxyState, begin: &Begin) {
    for (name, millis) in &begin.rehearsals {
        if let Some(database) = proxy.databases.get(name) {
            database.rehearsal.start(Duration::from_millis(*millis));
        }
    }
}

/// Waits until servers have been looked at and catalogs read, so that nobody who comes has to wait for that; but not for ever.
pub async fn await_servers(proxy: &ProxyState) {
    let all = async {
        for cluster in proxy.databases.clusters() {
            while cluster.primary().is_none() && cluster.upstreams.iter().any(|one| one.role() == Role::Unknown) {
                cluster.news(Duration::from_millis(50)).await;
            }
        }
        for database in proxy.databases.all() {
            if database.setup().cluster.primary().is_some() {
                database.await_first_reading(READY_PATIENCE).await;
            }
        }
    };
    let _ = timeout(READY_PATIENCE, all).await;
}

/// Why sockets that were handed over cannot serve a configuration; None: they can.
pub fn other_addresses(sockets: &Sockets, wanted: &[ListensFor]) -> Option<String> {
    if sockets.activated {
        return None;
    }
    let given: Vec<_> = sockets.purposes().into_iter().filter(|one| !matches!(one, ListensFor::Command(_))).collect();
    let same = given.len() == wanted.len() && wanted.iter().all(|one| given.contains(&one));
    let text =
        "the configuration names other addresses to listen on than the running process has: that takes a restart";
    (!same).then(|| text.to_owned())
}
