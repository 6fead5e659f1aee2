//! What a transition of the gate needs from the world: sessions, pools, the primary.

use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use super::guarantees::When;
use super::settle::Desks;
use crate::gate::{DrainTo, Epoch, Field, Gate, GateView, Job, Lsn, OpenTransaction, Settled, Spare};
use crate::protocol::Report;
use crate::server::KindTag;
use crate::server::login::Login;
use crate::shared::client::Ask;
use crate::shared::{Client, Database, Phase, ProxyState, WorkerState};
use crate::sql::{LexContext, normalised};
use crate::topology::{Cluster, Role};

/// Bytes of a statement that are shown to a person.
const SHOWN: usize = 200;
/// Databases of one cluster whose catalogs a command waits for.
const READ_AT_ONCE: usize = 4;
/// How long replicas are looked at closely after a flip.
const CLOSE_LOOK: Duration = Duration::from_secs(30);

/// Gives logins for a cluster's servers by the monitor's role.
pub type Logins = Arc<dyn Fn(&Cluster, usize) -> Option<Login> + Send + Sync>;

/// The world of this process.
#[derive(Default)]
pub struct World {
    proxy: OnceLock<(Weak<ProxyState>, Logins)>,
    desks: Desks,
}

impl World {
    /// Tells where everything is; once, before the first transition.
    pub fn is(&self, proxy: &Arc<ProxyState>, logins: Logins) {
        let _ = self.proxy.set((Arc::downgrade(proxy), logins));
    }

    fn proxy(&self) -> Option<Arc<ProxyState>> {
        self.proxy.get()?.0.upgrade()
    }

    /// The gate that the name leads to, and every name of its database.
    fn databases(&self, name: &str) -> Option<Behind> {
        let proxy = self.proxy()?;
        let gate = Arc::clone(&proxy.databases.known(name)?.gate);
        let databases = proxy.databases.of_gate(&gate);
        Some((proxy, gate, databases))
    }
}

/// What a gate belongs to: all databases of that name, and where they are.
type Behind = (Arc<ProxyState>, Arc<Gate>, Vec<Arc<Database>>);

fn is_of(client: &Client, gate: &Arc<Gate>) -> bool {
    let gate_of = |database: &Arc<Database>| match client.transaction_since.get() {
        Some(since) => Arc::ptr_eq(database.gate.at(since), gate),
        None => Arc::ptr_eq(&database.gate, gate),
    };
    !client.operator && client.database.as_ref().is_some_and(gate_of)
}

/// Whether its session may have something open behind that gate; the session itself knows.
fn may_be_of(client: &Client, gate: &Arc<Gate>) -> bool {
    !client.operator && client.database.as_ref().is_some_and(|database| database.gate.has_been(gate))
}

fn concerned(client: &Client, to: DrainTo) -> bool {
    match to {
        DrainTo::ReadOnly { .. } => client.write_capable.get(),
        DrainTo::Offline => {
            matches!(client.phase.get(), Phase::Active | Phase::IdleInTransaction | Phase::Abandoned)
        }
    }
}

/// Idle clients that are told of a flip at a time.
const PUSHED_AT_ONCE: usize = 16;
/// How long others are served in between.
const PUSH_PAUSE: Duration = Duration::from_millis(1);

/// Asks the clients of a core to look at the gate: at once those for whom something is under way, and a few at a time those that
/// are idle. To tell ten thousand takes a while, in which others want to be served.
fn push_flip(core: &WorkerState, gate: &Arc<Gate>) {
    let (idle, busy): (Vec<_>, Vec<_>) = core
        .clients()
        .into_iter()
        .filter(|client| may_be_of(client, gate))
        .partition(|client| client.phase.get() == Phase::Idle);
    busy.iter().for_each(|client| client.ask(Ask::Flip));
    tokio::task::spawn_local(async move {
        for some in idle.chunks(PUSHED_AT_ONCE) {
            some.iter().for_each(|client| client.ask(Ask::Flip));
            tokio::time::sleep(PUSH_PAUSE).await;
        }
    });
}

/// Has the clients behind that gate look at it.
pub(in crate::proxy) async fn tell_flip(proxy: &ProxyState, gate: Arc<Gate>) {
    proxy.on_every_core(move |core| push_flip(core, &gate)).await;
}

/// The name by which a primary can be asked: names of one database may have clusters of their own, and one of those may know none.
pub(in crate::proxy) fn to_be_asked(names: &[Arc<Database>]) -> Option<&Arc<Database>> {
    names.iter().find(|one| one.peek_setup().cluster.primary().is_some()).or_else(|| names.first())
}

impl Field for World {
    fn flip_seen<'a>(&'a self, database: &'a str, view: Arc<GateView>) -> Job<'a, ()> {
        Box::pin(async move {
            let Some((proxy, gate, databases)) = self.databases(database) else { return };
            if view.state.mode.reports_read_only() {
                databases.iter().for_each(|database| database.kept_out.begin(view.state.epoch));
                databases.iter().for_each(|database| _ = database.close_idle_unguarded());
            } else {
                super::guarantees::let_all_log_in(&databases);
            }
            tell_flip(&proxy, gate).await;
        })
    }

    fn prepare<'a>(&'a self, database: &'a str) -> Job<'a, ()> {
        Box::pin(async move {
            let Some((proxy, _, databases)) = self.databases(database) else { return };
            if let Some(database) = databases.first() {
                super::catalog::prepare(&proxy, database).await;
            }
        })
    }

    fn forget_prepared(&self, database: &str) {
        if let Some((proxy, _, databases)) = self.databases(database)
            && let Some(database) = databases.first()
        {
            super::catalog::forget(&proxy, database);
        }
    }

    fn open_ahead<'a>(&'a self, database: &'a str, closes: bool) -> Job<'a, Box<dyn Send>> {
        Box::pin(async move {
            let Some((proxy, _, databases)) = self.databases(database) else { return Box::new(()) as Box<dyn Send> };
            let tag = if closes { KindTag::Guarded } else { KindTag::Unguarded };
            Box::new(super::ahead::open(&proxy, &databases, tag).await)
        })
    }

    fn unguaranteed<'a>(&'a self, database: &'a str) -> Job<'a, Vec<String>> {
        Box::pin(async move {
            let Some((proxy, _, databases)) = self.databases(database) else { return Vec::new() };
            let Some(database) = databases.first() else { return Vec::new() };
            super::guarantees::reasons(&proxy, database).await
        })
    }

    fn open_transactions<'a>(&'a self, database: &'a str, to: DrainTo) -> Job<'a, Vec<OpenTransaction>> {
        Box::pin(async move {
            let Some((proxy, gate, databases)) = self.databases(database) else { return Vec::new() };
            let strays = super::strays::known(&proxy, &databases);
            let found = proxy.on_every_core(move |core| {
                let clients = core.clients();
                let open = clients.iter().filter(|client| is_of(client, &gate) && concerned(client, to));
                open.map(|client| describe(client)).collect::<Vec<_>>()
            });
            found.await.into_iter().flatten().chain(strays).collect()
        })
    }

    fn strays<'a>(&'a self, database: &'a str) -> Job<'a, Result<Vec<OpenTransaction>, String>> {
        Box::pin(async move {
            let (_, logins) = self.proxy.get().ok_or("the proxy is starting")?;
            let (proxy, _, databases) = self.databases(database).ok_or("no name of the configuration leads to it")?;
            super::strays::look(&proxy, logins, &databases, false).await
        })
    }

    fn cancel_open<'a>(&'a self, database: &'a str, _: Epoch, to: DrainTo) -> Job<'a, u64> {
        Box::pin(async move {
            let Some((proxy, gate, _)) = self.databases(database) else { return 0 };
            let counts = proxy.on_every_core(move |core| {
                let clients = core.clients();
                let open = clients.iter().filter(|client| may_be_of(client, &gate) && concerned(client, to));
                open.map(|client| match to {
                    // It is counted when it has been rolled back.
                    DrainTo::ReadOnly { .. } => {
                        client.ask(Ask::RollBack);
                        0
                    }
                    DrainTo::Offline if !is_of(client, &gate) => 0,
                    DrainTo::Offline => {
                        client.ask(Ask::End { report: terminated(None), now: true });
                        1
                    }
                })
                .sum::<u64>()
            });
            counts.await.into_iter().sum()
        })
    }

    fn stop_writing<'a>(&'a self, database: &'a str, spare: Spare) -> Job<'a, usize> {
        Box::pin(async move {
            let Some((proxy, gate, _)) = self.databases(database) else { return 0 };
            let counts = proxy.on_every_core(move |core| {
                let clients = core.clients();
                let open = clients.iter().filter(|client| may_be_of(client, &gate) && client.write_capable.get());
                open.map(|client| {
                    let only_reads = client.only_reads.get() && !spare.first;
                    client.only_reads.set(only_reads);
                    client.ask(Ask::StopWriting { calls: spare.calls });
                    usize::from(only_reads && is_of(client, &gate))
                })
                .sum::<usize>()
            });
            counts.await.into_iter().sum()
        })
    }

    fn settle<'a>(&'a self, database: &'a str) -> Job<'a, Result<Settled, String>> {
        Box::pin(async move {
            let (proxy, _, databases) = self.databases(database).ok_or("no name of the configuration leads to it")?;
            let database = to_be_asked(&databases).ok_or("no name of the configuration leads to it")?.clone();
            let setup = database.setup();
            let cluster = setup.cluster.clone();
            let at = cluster.primary().ok_or("no primary is known")?;
            let login = self.proxy.get().and_then(|(_, logins)| logins(&cluster, at)).ok_or("no way to log in")?;
            let dbname = setup.settings.server_dbname(&database.name).to_owned();
            let ours = operators_backends(&proxy);
            let mut settled = self.desks.settle(&cluster, &login, &dbname, ours).await?;
            // Nobody but operators and foreign writers can change the catalog from here on. Those of many databases are read one
            // after the other, while statements that depend on it wait.
            super::catalog::outdate(&proxy, &database);
            if super::catalog::closed_in(&proxy, &cluster) <= READ_AT_ONCE {
                let unread = super::catalog::read(&proxy, &database, When::Closed).await.err().map(|why| format!(
                    "the catalog could not be asked for unseen writers, so statements that call functions of the database's own are refused: {why}"
                ));
                settled.warning = super::guarantees::with_warnings(&proxy, &database, unread).await;
            }
            tokio::spawn(look_closely(cluster, settled.lsn));
            Ok(settled)
        })
    }

    fn disconnect<'a>(&'a self, database: &'a str, text: &'a str) -> Job<'a, ()> {
        Box::pin(async move {
            let Some((proxy, gate, _)) = self.databases(database) else { return };
            let text = text.to_owned();
            proxy
                .on_every_core(move |core| {
                    for client in core.clients().iter().filter(|client| is_of(client, &gate)) {
                        client.ask(Ask::End { report: terminated(Some(text.clone())), now: true });
                    }
                })
                .await;
        })
    }
}

/// The backends that serve operators.
async fn operators_backends(proxy: &ProxyState) -> Vec<u32> {
    let pids = proxy.on_every_core(|core| {
        let clients = core.clients();
        let operators = clients.iter().filter(|client| client.operator);
        operators
            .filter_map(|client| client.cancel.borrow().as_ref().map(|target| target.server.pid))
            .collect::<Vec<_>>()
    });
    pids.await.into_iter().flatten().collect()
}

fn terminated(detail: Option<String>) -> Report {
    Report::fatal("57P01", "terminating connection due to administrator command").with_detail(detail)
}

fn describe(client: &Client) -> OpenTransaction {
    let gone = client.phase.get() == Phase::Abandoned;
    let running = gone || client.phase.get() == Phase::Active;
    let address = client.address.map_or_else(|| "[local]".to_owned(), |address| address.to_string());
    OpenTransaction {
        user: client.user.to_string(),
        application_name: client.application_name.borrow().clone(),
        client_address: if gone { format!("{address} (disconnected)") } else { address },
        age: client.transaction_since.get().map_or(Duration::ZERO, |since| since.elapsed()),
        statement: client.running.borrow().as_ref().filter(|_| running).map(|statement| {
            // What it compares or writes is nobody's business who waits for its end.
            normalised(statement.text(SHOWN).as_bytes(), LexContext::default(), SHOWN)
        }),
        unreachable: false,
    }
}

/// Has replicas looked at often until they have come as far as `lsn`.
async fn look_closely(cluster: Arc<Cluster>, lsn: Lsn) {
    let until = Instant::now() + CLOSE_LOOK;
    while Instant::now() < until {
        let behind: Vec<_> =
            cluster.upstreams.iter().filter(|one| one.role() == Role::Replica && one.lsn() < lsn).collect();
        if behind.is_empty() {
            return;
        }
        behind.iter().for_each(|upstream| upstream.look_now());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
