//! What a process knows of the one that it has taken over from, for as long as that still serves clients.

use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;

use tokio::sync::{mpsc, oneshot, watch};

use crate::config::Causal;
use crate::shared::{Databases, ProxyState};

/// Cancel requests on their way to it at a time.
const MOST_CANCELS: usize = 64;

/// A cancel request for a client that it may still have.
pub struct PassedCancel {
    /// The process id in it.
    pub pid: u32,
    /// The secret.
    pub secret: Vec<u8>,
    /// Whether it knew the client; told once the request has been passed on.
    pub known: oneshot::Sender<bool>,
}

/// See the module.
pub struct Former {
    clients: AtomicUsize,
    gone: watch::Sender<bool>,
    cancels: mpsc::Sender<PassedCancel>,
}

impl Former {
    /// One that serves clients, and what it is to be told.
    pub fn new() -> (Self, mpsc::Receiver<PassedCancel>) {
        let (cancels, asked) = mpsc::channel(MOST_CANCELS);
        (Self { clients: AtomicUsize::new(0), gone: watch::Sender::new(false), cancels }, asked)
    }

    /// How many clients it serves.
    pub fn clients(&self) -> usize {
        self.clients.load(SeqCst)
    }

    /// It has told how many there are.
    pub fn note_clients(&self, clients: usize) {
        self.clients.store(clients, SeqCst);
    }

    /// It serves nobody any more.
    pub fn note_gone(&self) {
        self.clients.store(0, SeqCst);
        self.gone.send_replace(true);
    }

    /// Whether it serves nobody any more.
    pub fn is_gone(&self) -> bool {
        *self.gone.borrow()
    }

    /// Ends once it serves nobody any more.
    pub async fn until_gone(&self) {
        let _ = self.gone.subscribe().wait_for(|gone| *gone).await;
    }

    /// Passes a cancel request on; false if it does not know the client.
    pub async fn cancel(&self, pid: u32, secret: &[u8]) -> bool {
        let (known, answer) = oneshot::channel();
        let asked = PassedCancel { pid, secret: secret.to_vec(), known };
        !self.is_gone() && self.cancels.send(asked).await.is_ok() && answer.await.unwrap_or(false)
    }
}

impl ProxyState {
    /// Reads that show the writes of all sessions show what another process has let be written, up to now.
    pub fn note_writes_elsewhere(&self) {
        for database in self.databases.all() {
            let setup = database.peek_setup();
            if setup.settings.causal == Causal::Database {
                setup.last_write.note(setup.cluster.write_ends());
            }
        }
    }

    /// No other process serves clients any more.
    pub fn goes_on_alone(&self) {
        self.note_writes_elsewhere();
        self.former.store(None);
        self.offers.store(None);
    }
}

impl Databases {
    /// Server connections are numbered from there on: lower numbers are those of the process before this one.
    pub fn number_servers_from(&self, number: u64) {
        self.ids.fetch_max(number, SeqCst);
    }

    /// The number of the next server connection.
    pub fn next_server(&self) -> u64 {
        self.ids.load(SeqCst)
    }
}
