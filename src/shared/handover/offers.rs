//! The way of a session or a server connection to the process that takes over: an offer, and the answer to it.

use std::os::fd::OwnedFd;

use tokio::sync::{mpsc, oneshot};

use crate::server::AnyConn;

/// Offers on their way at a time: what is on its way stands still for that long.
const MOST: usize = 64;

/// What is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// A client, who has this number. Its socket comes first, then that of the server connection that it keeps.
    Client(u64),
    /// An idle server connection.
    Server,
}

/// See the module.
pub struct Offer {
    /// What it is.
    pub what: Offered,
    /// Its state, as JSON.
    pub state: String,
    /// Second descriptors of its sockets.
    pub sockets: Vec<OwnedFd>,
    /// Whether the other process has it now. Dropped: nobody has.
    pub taken: oneshot::Sender<bool>,
}

/// Where offers go.
pub struct Offers(mpsc::Sender<Offer>);

impl Offers {
    /// The two ends.
    pub fn new() -> (Self, mpsc::Receiver<Offer>) {
        let (sender, receiver) = mpsc::channel(MOST);
        (Self(sender), receiver)
    }

    /// Offers something and waits for the answer: true if the other process has it now.
    pub async fn offer(&self, what: Offered, state: String, sockets: Vec<OwnedFd>) -> bool {
        let (taken, answer) = oneshot::channel();
        self.0.send(Offer { what, state, sockets, taken }).await.is_ok() && answer.await.unwrap_or(false)
    }
}

/// Offers an idle server connection; it goes back to its pool if nobody has it.
pub async fn offer_server(mut conn: AnyConn, offers: &Offers) {
    let pool = conn.server().permit.pool().clone();
    let handed = conn.hand_over().and_then(|(state, socket)| Some((serde_json::to_string(&state).ok()?, socket)));
    let Some((state, socket)) = handed else {
        conn.close();
        return;
    };
    if offers.offer(Offered::Server, state, vec![socket]).await {
        conn.leave_to_other();
    } else {
        pool.give_back(conn);
    }
}
