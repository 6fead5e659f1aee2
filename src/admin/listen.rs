//! LISTEN pgsluice_events: events as notifications, between commands and while the console is idle.

use super::console::Console;
use super::language::parser::CHANNEL;
use super::link::{End, Message};
use crate::events::{News, Subscription};
use crate::protocol::{TxStatus, backend};

/// Bytes that may wait for the client before it gets no more notifications. What it then misses it is told.
const BACKLOG: usize = 64 * 1024;

impl Console {
    /// LISTEN or UNLISTEN.
    pub(super) fn listen(&mut self, on: bool) {
        if !on {
            self.events = None;
        } else if self.events.is_none() {
            self.events = Some(self.core.proxy.events.subscribe());
        }
    }

    /// The next message; None if an event has come first, which is on its way by then.
    pub(super) async fn next_message(&mut self) -> Result<Option<Message>, End> {
        let takes = self.takes_events();
        let Some(events) = self.events.as_mut().filter(|_| takes) else {
            return self.link.message().await.map(Some);
        };
        let news = tokio::select! {
            biased;
            message = self.link.message() => return message.map(Some),
            news = events.next() => news,
        };
        self.put(&news);
        Ok(None)
    }

    /// Notifications wait for the end of a transaction.
    fn takes_events(&self) -> bool {
        self.status == TxStatus::Idle && self.link.out.len() < BACKLOG
    }

    /// Sends what has happened so far.
    pub(super) fn notify(&mut self) {
        while self.takes_events()
            && let Some(news) = self.events.as_mut().and_then(Subscription::try_next)
        {
            self.put(&news);
        }
    }

    fn put(&mut self, news: &News) {
        let text = match news {
            News::Event(event) => event.json(),
            News::Missed(count) => format!("{{\"missed\":{count}}}"),
        };
        let mut words = Vec::with_capacity(text.len() + 64);
        let pid = u32::try_from(self.me.id).unwrap_or(u32::MAX);
        backend::notification(&mut words, pid, CHANNEL, &text);
        self.link.out.extend_from_slice(&words);
    }
}
