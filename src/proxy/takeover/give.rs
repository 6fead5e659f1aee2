//! The side of the former process.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout, timeout_at};

use super::link::{Heard, Speaker, open};
use super::messages::{Begin, FORMAT, PauseOfAll, ToFormer, ToNew, is_understood};
use super::program::Program;
use super::sockets::Sockets;
use crate::events::{Event, Kind, publish};
use crate::gate::InheritedState;
use crate::log::millis;
use crate::proxy::cancel_requests::cancel;
use crate::proxy::system::service_manager::ServiceManager;
use crate::proxy::worker::Workers;
use crate::shared::client::Moves;
use crate::shared::handover::offers::offer_server;
use crate::shared::handover::{Offer, Offered, Offers};
use crate::shared::{Phase, ProxyState};

/// How long the new process may take until it says which formats it understands, and then until it is ready.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// How long the process before this one, which serves nobody any more, may take to end.
const END_PATIENCE: Duration = Duration::from_secs(5);
/// Offers that have no answer yet, at most: what is offered stands still for so long.
const MOST_OPEN: usize = 64;
/// How often clients are asked to go.
const TICK: Duration = Duration::from_millis(5);
/// A move is followed by the process that has begun it.
const MOVES: &str = "databases are being moved to another server: try again once that is over";
/// Clients of a core that are asked at a time.
const ASKED_AT_ONCE: usize = 48;
/// Numbers of clients and server connections that this process may still give.
const SPARE_NUMBERS: u64 = 1 << 16;
/// Numbers of events that this process may still give.
const SPARE_EVENTS: u64 = 1000;
/// How long an answer may take on its way to whoever has asked.
const ANSWER_PATIENCE: Duration = Duration::from_millis(100);
/// How long idle server connections may take ahead of the clients.
const SERVERS_PATIENCE: Duration = Duration::from_millis(500);
/// How long a client that is busy is waited for before whoever has asked for the upgrade is told.
const TELL_AFTER: Duration = Duration::from_secs(3);

/// What the proxy lends for it.
pub struct Giving {
    /// The proxy.
    pub proxy: Arc<ProxyState>,
    /// Its workers.
    pub workers: Workers,
    /// Sockets that listen.
    pub sockets: Arc<Sockets>,
    /// Who has started this process.
    pub manager: Arc<ServiceManager>,
    /// The state file; None: in memory.
    pub state_file: Option<PathBuf>,
    /// What SET has changed.
    pub set: Vec<(String, String)>,
    /// Ends and starts what serves HTTP and `pgsluice upgrade`.
    pub surfaces: Arc<dyn Fn(bool) + Send + Sync>,
    /// Who is told how it went, once everything that is not busy has gone.
    pub tell: Option<oneshot::Sender<Result<String, String>>>,
    /// Offers that the other process has not answered.
    pub unanswered: Unanswered,
}

/// How it ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Given {
    /// The other process serves; this one ends.
    Away,
    /// Everything is as it was.
    Kept,
}

/// The file of a process that is taken over from has this added to its name.
pub fn former_ledger(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".backends.former");
    name.into()
}

/// The file in which back ends are noted.
pub fn ledger(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".backends");
    name.into()
}

impl Giving {
    /// Starts that program and gives it all that can go, until the deadline of `upgrade_timeout`.
    pub async fn give(mut self, program: &Path) -> Given {
        let event = Event::new(Kind::UpgradeBegun, "a new process is to take over");
        publish!(self.proxy.events, info, event, program = program.display().to_string());
        match self.try_to_give(program).await {
            Ok(()) => Given::Away,
            Err(why) => {
                let event = Event::new(Kind::UpgradeFailed, "no other process has taken over");
                publish!(self.proxy.events, error, event, error = why.as_str());
                self.answer(Err(why));
                Given::Kept
            }
        }
    }

    fn answer(&mut self, how: Result<String, String>) {
        if let Some(tell) = self.tell.take() {
            let _ = tell.send(how);
        }
    }

    async fn try_to_give(&mut self, path: &Path) -> Result<(), String> {
        if let Some(former) = self.proxy.former.load_full() {
            if former.clients() == 0 {
                // It is about to end, or has, and has not been heard of yet.
                let _ = timeout(END_PATIENCE, former.until_gone()).await;
            }
            let clients = former.clients();
            if !former.is_gone() {
                return Err(format!(
                    "the process before this one still serves {clients} clients: try again once it has ended"
                ));
            }
        }
        if self.proxy.fleet.get().is_some() {
            return Err("a member of a fleet is restarted: the others serve its clients meanwhile".to_owned());
        }
        if self.proxy.moves.is_any() {
            return Err(MOVES.to_owned());
        }
        let (mut program, stream) = Program::start(path)?;
        let (speaker, heard) = open(stream).map_err(|error| error.to_string())?;
        let mut talk = Talk { speaker, heard };
        if let Err(why) = self.until_ready(&mut talk).await {
            program.end();
            self.take_back_state();
            return Err(why);
        }
        // From here on that process accepts connections, whatever becomes of this one.
        (self.surfaces)(false);
        self.workers.stop_listening().await;
        self.manager.main_process_is(program.pid());
        let served = match talk.speaker.say(&ToNew::Serve, Vec::new()).await {
            true => talk.until(|message| matches!(message, ToFormer::Serving)).await,
            false => Err("the new process has gone".to_owned()),
        };
        let given = match served {
            Ok(()) => self.give_clients(talk, program.pid()).await,
            Err(why) => Err(why),
        };
        if let Err(why) = given {
            // Nobody else may serve whom this process goes on with.
            let how = program.end().map_or_else(String::new, |status| format!(" ({status})"));
            self.unanswered.clear();
            self.take_back().await;
            return Err(format!("{why}{how}"));
        }
        program.let_go();
        Ok(())
    }

    /// All that has to be there before anything is given.
    async fn until_ready(&mut self, talk: &mut Talk) -> Result<(), String> {
        let hello = talk.next().await?;
        match hello.read().map_err(|error| error.to_string())? {
            ToFormer::Hello(hello) => is_understood(&hello, FORMAT)?,
            ToFormer::Failed(why) => return Err(why),
            _ => return Err("the new process does not say which formats it understands".to_owned()),
        }
        // One may have begun meanwhile.
        if !self.proxy.moves.hand_over() {
            return Err(MOVES.to_owned());
        }
        let state = self.proxy.gates.hand_over().map_err(|error| error.to_string())?;
        let state = state.ok_or("a command of the gate is under way: try again once it is over")?;
        self.proxy.webhooks.hand_over();
        if let Some(path) = &self.state_file {
            let moved = self.proxy.ledger.move_to(&former_ledger(path));
            moved.map_err(|error| format!("{}: {error}", former_ledger(path).display()))?;
        }
        let InheritedState { lock, document } = state;
        let begin = self.begin(document);
        let sockets = self.sockets.duplicates().map_err(|error| error.to_string())?;
        talk.speaker.say(&ToNew::Begin(Box::new(begin)), lock.into_iter().collect()).await;
        for (purpose, socket) in sockets {
            talk.speaker.say(&ToNew::Socket(purpose), vec![socket]).await;
        }
        talk.until(|message| matches!(message, ToFormer::Ready)).await
    }

    fn begin(&self, gates: String) -> Begin {
        let proxy = &self.proxy;
        let all = proxy.databases.all();
        let names = |which: &dyn Fn(&crate::shared::Database) -> bool| {
            all.iter().filter(|database| which(database)).map(|database| database.name.to_string()).collect()
        };
        Begin {
            format: FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            gates,
            state_file: self.state_file.clone(),
            lives: proxy.lives.wrapping_add(1),
            client_ids: proxy.client_ids.load(SeqCst) + SPARE_NUMBERS,
            server_ids: proxy.databases.next_server() + SPARE_NUMBERS,
            events: proxy.events.last_id() + SPARE_EVENTS,
            databases: names(&|database| database.clients() > 0),
            paused: names(&|database| database.is_paused()),
            all_paused: proxy.databases.are_paused(),
            pause: if proxy.databases.are_suspended() { PauseOfAll::Suspend } else { PauseOfAll::Pause },
            disabled: names(&|database| database.is_disabled()),
            rehearsals: all
                .iter()
                .filter_map(|database| Some((database.name.to_string(), millis(database.rehearsal.remains()?))))
                .collect(),
            written: names(&|database| database.peek_setup().last_write.get().is_some()),
            sockets: self.sockets.count(),
            activated: self.sockets.activated,
            set: self.set.clone(),
            log_level: proxy.log_level_by_set(),
        }
    }

    fn take_back_state(&self) {
        self.proxy.gates.take_back();
        self.proxy.moves.take_back();
        self.proxy.webhooks.take_back(&self.proxy.setup.load().config.webhooks);
        if let Some(path) = &self.state_file {
            // What the other process has opened meanwhile is left over.
            self.proxy.ledger.outlives(&ledger(path));
            if let Err(error) = self.proxy.ledger.move_to(&ledger(path)) {
                tracing::error!(event = "ledger_not_written", %error, "server connections cannot be noted");
            }
            let _ = std::fs::remove_file(former_ledger(path));
        }
    }

    async fn take_back(&self) {
        self.proxy.goes_on_alone();
        self.proxy
            .on_every_core(|core| {
                for client in core.clients() {
                    client.moves.set(Moves::No);
                }
            })
            .await;
        self.take_back_state();
        self.manager.main_process_is(std::process::id());
        match self.sockets.of_clients(self.proxy.cores()) {
            Ok(listeners) => self.workers.listen(listeners).await,
            Err(error) => tracing::error!(event = "cannot_listen", %error, "connections are not accepted any more"),
        }
        (self.surfaces)(true);
    }

    /// Offers clients and idle server connections until nobody is left or the deadline has come.
    async fn give_clients(&mut self, talk: Talk, pid: u32) -> Result<(), String> {
        let began = Instant::now();
        let deadline = began + self.proxy.setup.load().config.process.upgrade_timeout;
        let (offers, offered) = Offers::new();
        let offers = Arc::new(offers);
        self.proxy.offers.store(Some(offers.clone()));
        let speaker = talk.speaker.clone();
        let pump = Pump { talk, offered, open: HashMap::new(), next: 0, proxy: self.proxy.clone() };
        let clients = self.proxy.clients.load(SeqCst);
        let mut pump = tokio::spawn(pump.run());
        // Ahead of the clients that know them by their process ids.
        let busy = self.left().await.busy;
        let mut first = self.offer_idle_servers(&offers, busy);
        let all = async { while first.join_next().await.is_some() {} };
        let _ = timeout(SERVERS_PATIENCE, all).await;
        first.detach_all();
        let (mut tick, mut nth) = (interval(TICK), 0_u32);
        loop {
            tokio::select! {
                unanswered = &mut pump => {
                    self.unanswered = unanswered.unwrap_or_default();
                    return Err("the new process has ended".to_owned());
                }
                _ = tick.tick() => {}
            }
            nth = nth.wrapping_add(1);
            let left = self.ask_to_go(nth).await;
            self.offer_idle_servers(&offers, left.busy).detach_all();
            let told = began.elapsed() > TELL_AFTER || Instant::now() > deadline;
            if left.movable == 0 || told {
                self.answer(Ok(report(pid, left.all)));
            }
            if left.all == 0 || Instant::now() > deadline {
                let event = Event::new(Kind::Upgraded, "another process has taken over");
                publish!(
                    self.proxy.events,
                    info,
                    event,
                    pid = pid,
                    clients = clients,
                    left = left.all,
                    took_ms = millis(began.elapsed())
                );
                self.answer(Ok(report(pid, left.all)));
                self.offer_idle_servers(&offers, 0).detach_all();
                speaker.say_for_sure(&ToNew::Counted(Box::new(self.proxy.counted()))).await;
                // Whoever has asked for it reads the answer before this process ends.
                tokio::time::sleep(ANSWER_PATIENCE).await;
                return Ok(());
            }
        }
    }

    async fn left(&self) -> Left {
        let counts = self.proxy.on_every_core(|core| {
            let clients = core.clients();
            let own = || clients.iter().filter(|client| client.database.is_some());
            let busy = own().filter(|client| client.phase.get() != Phase::Idle).count();
            Left { all: own().count(), busy, movable: own().count() }
        });
        counts.await.into_iter().fold(Left::default(), Left::plus)
    }

    async fn ask_to_go(&self, nth: u32) -> Left {
        // A client that cannot go yet is not asked all the time.
        let insists = nth < 100 || nth.is_multiple_of(16);
        let counts = self.proxy.on_every_core(move |core| {
            let (mut left, mut asked) = (Left::default(), 0);
            for client in core.clients().iter().filter(|client| client.database.is_some()) {
                left.all += 1;
                left.busy += usize::from(client.phase.get() != Phase::Idle);
                if client.moves.get() == Moves::Stays {
                    continue;
                }
                left.movable += 1;
                let again = client.moves.get() == Moves::Goes;
                let waits = matches!(client.phase.get(), Phase::Idle | Phase::Held | Phase::Waiting);
                let due = !again || insists && waits && !client.is_asked();
                if asked < ASKED_AT_ONCE && due {
                    asked += usize::from(!again);
                    client.ask_to_move();
                }
            }
            left
        });
        counts.await.into_iter().fold(Left::default(), Left::plus)
    }

    /// As many as clients that are at work stay idle here for those.
    fn offer_idle_servers(&self, offers: &Arc<Offers>, busy: usize) -> JoinSet<()> {
        let mut under_way = JoinSet::new();
        for pool in self.proxy.databases.all().iter().flat_map(|database| database.pools()) {
            let counts = pool.counts();
            let spare = (counts.idle_guarded + counts.idle_unguarded).saturating_sub(busy);
            for conn in (0..spare.min(MOST_OPEN)).map_while(|_| pool.take_to_hand_over()) {
                let offers = offers.clone();
                under_way.spawn(async move { offer_server(conn, &offers).await });
            }
        }
        under_way
    }
}

/// Clients that are still here.
#[derive(Clone, Copy, Debug, Default)]
struct Left {
    all: usize,
    /// Something runs for them, or they wait for something.
    busy: usize,
    /// They are to go.
    movable: usize,
}

impl Left {
    fn plus(self, other: Self) -> Self {
        Self { all: self.all + other.all, busy: self.busy + other.busy, movable: self.movable + other.movable }
    }
}

fn report(pid: u32, left: usize) -> String {
    match left {
        0 => format!("process {pid} has taken over"),
        _ => format!("process {pid} has taken over; {left} clients are still served by the former one"),
    }
}

/// Offers without an answer, by number. Dropped, whoever has made them goes on.
pub type Unanswered = HashMap<u64, oneshot::Sender<bool>>;

/// Both directions of the link.
struct Talk {
    speaker: Speaker,
    heard: mpsc::Receiver<Heard>,
}

impl Talk {
    async fn next(&mut self) -> Result<Heard, String> {
        let heard = timeout(START_PATIENCE, self.heard.recv()).await;
        let heard = heard.map_err(|_| format!("the new process was not ready within {START_PATIENCE:?}"))?;
        heard.ok_or_else(|| "the new process has ended before it was ready".to_owned())
    }

    async fn until(&mut self, wanted: impl Fn(&ToFormer) -> bool) -> Result<(), String> {
        let deadline = Instant::now() + START_PATIENCE;
        while let Ok(heard) = timeout_at(deadline.into(), self.next()).await {
            match heard?.read::<ToFormer>() {
                Ok(ToFormer::Failed(why)) => return Err(why),
                Ok(message) if wanted(&message) => return Ok(()),
                _ => {}
            }
        }
        Err(format!("the new process was not ready within {START_PATIENCE:?}"))
    }
}

/// Passes offers on and their answers back, until the new process ends.
struct Pump {
    talk: Talk,
    offered: mpsc::Receiver<Offer>,
    open: Unanswered,
    next: u64,
    proxy: Arc<ProxyState>,
}

impl Pump {
    /// Gives who still waits for an answer: they must not go on before that process cannot either.
    async fn run(mut self) -> Unanswered {
        let mut tick = interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                heard = self.talk.heard.recv() => match heard {
                    Some(heard) => self.hear(&heard).await,
                    None => break,
                },
                // So few that the other process can always answer all of them.
                Some(offer) = self.offered.recv(), if self.open.len() < MOST_OPEN => self.pass_on(offer).await,
                _ = tick.tick() => {
                    let clients = self.proxy.clients.load(SeqCst);
                    self.talk.speaker.say(&ToNew::Clients(clients), Vec::new()).await;
                }
            }
        }
        // Whoever goes on here from now on has to read what the clients have written that had gone there.
        self.proxy.goes_on_alone();
        self.open
    }

    async fn pass_on(&mut self, offer: Offer) {
        let Ok(state) = RawValue::from_string(offer.state) else { return };
        let number = self.next;
        self.next += 1;
        self.open.insert(number, offer.taken);
        let message = match offer.what {
            Offered::Client(id) => ToNew::Client { number, id, state },
            Offered::Server => ToNew::Server { number, state },
        };
        self.talk.speaker.say(&message, offer.sockets).await;
    }

    async fn hear(&mut self, heard: &Heard) {
        match heard.read::<ToFormer>() {
            Ok(ToFormer::Answer { number, refused }) => {
                if let Some(why) = &refused {
                    tracing::info!(event = "not_taken_over", "the new process refuses a connection: {why}");
                }
                if let Some(taken) = self.open.remove(&number) {
                    let _ = taken.send(refused.is_none());
                }
            }
            Ok(ToFormer::Cancel { number, pid, secret }) => {
                let (proxy, speaker) = (self.proxy.clone(), self.talk.speaker.clone());
                tokio::spawn(async move {
                    let known = cancel(&proxy, pid, &secret.0).await;
                    speaker.say(&ToNew::Cancelled { number, known }, Vec::new()).await;
                });
            }
            _ => {}
        }
    }
}
