//! What a session leaves running on its server when its client has gone.
//!
//! The server knows nothing of that: it would go on and commit, whatever the gate has said meanwhile. So the session keeps
//! its server connection and its ticket, shuts our side down, has the statement cancelled, and reads until the connection ends.
//! Pipelined messages, COPY, batches without Sync and half a message all end so. A back end that takes no notice of
//! cancel requests is terminated by its own role, which PostgreSQL allows.
//!
//! The end of the connection says nothing of the back end: a TCP proxy or a pooler in between may have closed it. And a frozen back
//! end, or a frozen machine, ends nothing, so that the connection is given up after a while. In either case the back end becomes a
//! stray (`proxy/maintenance/strays.rs`): client and ticket go, and the server is asked at once whether its process is gone. A gate that closes
//! waits for that answer.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::server::Server;
use crate::shared::client::Ask;
use crate::shared::{Client, Phase};

/// How long a cancel request is waited for at first, and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const PAUSE: Duration = Duration::from_secs(1);
/// Cancel requests before the back end is terminated.
const CANCELS: u32 = 4;
/// How long its server may take to close its end, and how long once the gate or an administrator is in a hurry.
const PATIENCE: Duration = Duration::from_secs(15);
const SHORT_PATIENCE: Duration = Duration::from_secs(5);
/// How often the log says that it takes no notice.
const SAY_AGAIN: Duration = Duration::from_secs(30);
/// What is read at once of what nobody wants any more (bytes).
const ROOM: usize = 16 * 1024;

/// Why nothing more is waited for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum News {
    /// The connection has ended.
    Ended,
    /// The gate or an administrator is in a hurry.
    Asked,
}

/// Ends what runs on a server connection whose client has gone. `hurry`: it is terminated at once. Whether the back end is gone is
/// for the server to say, once the connection is closed.
pub(in crate::client) async fn end_work(me: &Rc<Client>, server: &mut Server, hurry: bool) {
    server.left_running = !server.ends;
    me.enter(Phase::Abandoned);
    server.stream.socket().shut_down_writing();
    let mut room = vec![0; ROOM].into_boxed_slice();
    let (mut requests, mut pause) = (if hurry { CANCELS } else { 0 }, FIRST_PAUSE);
    let mut deadline = Instant::now() + if hurry { SHORT_PATIENCE } else { PATIENCE };
    let mut say_at = Instant::now();
    loop {
        let now = Instant::now();
        if now >= deadline {
            let pid = me.cancel.borrow().as_ref().map(|target| target.server.pid);
            tracing::warn!(
                event = "back_end_left",
                pid,
                "a back end without a client does not end: its connection is given up, and it is looked for on its server"
            );
            return;
        }
        if requests < CANCELS {
            drop(me.send_cancel());
        } else {
            terminate(me, now >= say_at);
            say_at = if now >= say_at { now + SAY_AGAIN } else { say_at };
        }
        requests += 1;
        match timeout(pause.min(deadline - now), until_gone(me, server, &mut room)).await {
            Ok(News::Ended) => return,
            Ok(News::Asked) => {
                let now =
                    |ask: &Ask| matches!(ask, Ask::RollBack | Ask::StopWriting { .. } | Ask::End { now: true, .. });
                if me.take_asks().iter().any(now) {
                    requests = requests.max(CANCELS);
                    deadline = deadline.min(Instant::now() + SHORT_PATIENCE);
                }
            }
            Err(_) => pause = (pause * 2).min(PAUSE),
        }
    }
}

/// Reads, and drops what it reads, until the connection ends or something is asked of the session.
async fn until_gone(me: &Rc<Client>, server: &mut Server, room: &mut [u8]) -> News {
    poll_fn(|cx| {
        me.wakes(cx);
        if me.is_asked() {
            return Poll::Ready(News::Asked);
        }
        loop {
            match server.stream.poll_read(cx, room) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(News::Ended),
                Poll::Ready(Ok(_)) => {}
            }
        }
    })
    .await
}

/// Has the back end terminated; `says`: the log tells of it.
fn terminate(me: &Rc<Client>, says: bool) {
    let Some(target) = me.cancel.borrow().clone() else { return };
    tokio::task::spawn_local(async move {
        if says {
            tracing::warn!(
                event = "back_end_terminated",
                pid = target.server.pid,
                "a back end without a client takes no notice of cancel requests: it is terminated"
            );
        }
        if let Err(error) = target.terminate().await
            && says
        {
            tracing::warn!(event = "back_end_not_terminated", pid = target.server.pid, %error, "a back end could not be terminated");
        }
    });
}
