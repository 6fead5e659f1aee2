//! One receiver's task: event after event, each until it is delivered or given up.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;
use tokio::time::sleep;

use super::positions::Positions;
use super::queue::{Entry, Next, Queue};
use super::request::Sender;
use super::{Hook, Last};
use crate::events::{Bus, Event, Kind, publish};
use crate::fleet::{Turn, Turns};

/// Before the second attempt; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Errors are shown to people.
const LONGEST_ERROR: usize = 200;

/// See the module.
pub(super) struct Deliver {
    pub(super) hook: Arc<Hook>,
    pub(super) queue: Arc<Queue>,
    pub(super) positions: Arc<Positions>,
    pub(super) bus: Bus,
    /// None without a fleet.
    pub(super) turns: Option<watch::Receiver<Option<Turns>>>,
}

impl Deliver {
    pub(super) async fn run(self) {
        let sender = Sender::new(&self.hook.settings);
        let mut news = self.queue.news();
        loop {
            news.mark_unchanged();
            match self.queue.next(&self.hook, self.positions.get(&self.hook.key)) {
                Next::Event(entry) => {
                    let dead = !self.in_turn(&sender, &entry).await;
                    self.done(entry.id, dead).await;
                }
                Next::Nothing(id) => {
                    self.positions.advance(&self.hook.key, id, false);
                    if news.changed().await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// The same, if another member of the fleet does not tell of it.
    async fn in_turn(&self, sender: &Result<Sender, String>, entry: &Entry) -> bool {
        let (Some(turns), Some((database, mark))) = (&self.turns, &entry.of_fleet) else {
            return self.deliver(sender, entry).await;
        };
        let mut joined = turns.clone();
        let Ok(Some(mut turns)) = joined.wait_for(Option::is_some).await.map(|turns| turns.clone()) else {
            return true;
        };
        if turns.wait(&self.hook.key, database, *mark, entry.at).await == Turn::Told {
            return true;
        }
        let delivered = self.deliver(sender, entry).await;
        turns.told(&self.hook.key, database, *mark).await;
        delivered
    }

    /// Tries until it is delivered; false if it was given up.
    async fn deliver(&self, sender: &Result<Sender, String>, entry: &Entry) -> bool {
        let retry_for = self.hook.settings.retry_for;
        let mut pause = FIRST_PAUSE;
        loop {
            let sent = match sender {
                Ok(sender) => sender.send(entry).await,
                Err(why) => Err(why.clone()),
            };
            let Err(mut why) = sent else {
                self.hook.delivered.fetch_add(1, Relaxed);
                self.note(|last| *last = Last { delivered_at: Some(Timestamp::now()), error: String::new() });
                return true;
            };
            why = why.chars().take(LONGEST_ERROR).collect();
            self.hook.failed.fetch_add(1, Relaxed);
            self.note(|last| last.error.clone_from(&why));
            let age = Duration::try_from(Timestamp::now().duration_since(entry.at)).unwrap_or_default();
            if age >= retry_for {
                self.hook.dead.fetch_add(1, Relaxed);
                self.publish_dead(entry, &why);
                return false;
            }
            if pause == FIRST_PAUSE {
                tracing::warn!(
                    event = "webhook_failed",
                    url = self.hook.settings.url.shown(),
                    event_id = entry.id,
                    error = why,
                    "a webhook was not delivered and is tried again"
                );
            }
            sleep(pause.min(retry_for.saturating_sub(age))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn publish_dead(&self, entry: &Entry, why: &str) {
        let event = Event::new(Kind::WebhookDead, "a webhook was not delivered and is not tried again")
            .about_all(entry.databases.iter().map(|name| name.as_str().into()).collect());
        publish!(
            self.bus,
            error,
            event,
            url = self.hook.settings.url.shown(),
            event_id = entry.id,
            of_event = entry.event.as_str(),
            error = why,
        );
    }

    fn note(&self, note: impl FnOnce(&mut Last)) {
        note(&mut self.hook.last.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The event has been dealt with; the next one waits until that is on disk.
    async fn done(&self, id: u64, dead: bool) {
        self.positions.advance(&self.hook.key, id, dead);
        let (queue, positions) = (self.queue.clone(), self.positions.clone());
        let saved = tokio::task::spawn_blocking(move || positions.save().and_then(|()| queue.trim())).await;
        if let Ok(Err(error)) = saved {
            tracing::error!(event = "webhooks_not_saved", %error, "the positions of webhooks cannot be saved");
        }
    }
}
