//! The bus: the last events, and positions in them.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::event::Event;
use super::kind::Kind;

/// Events that are kept in memory.
pub const KEPT: usize = 1000;
/// Things that [`Bus::is_time_for`] tells apart.
const MOST: usize = 1000;
/// Is told of each event before anybody else, and within [`Bus::publish`].
pub type Journal = Box<dyn Fn(&Event) + Send>;

/// Events of one process. Clones are the same bus.
#[derive(Clone)]
pub struct Bus(Arc<Shared>);

struct Shared {
    kept: Mutex<Kept>,
    last: watch::Sender<u64>,
    repeated: Mutex<HashMap<(Kind, String), Repeated>>,
}

struct Kept {
    events: VecDeque<Arc<Event>>,
    /// The id before the first of this life.
    before: u64,
    last: u64,
    journal: Option<Journal>,
    /// How many there were of each kind.
    counts: HashMap<Kind, u64>,
}

struct Repeated {
    published: Instant,
    since: u64,
}

/// What a subscription gives.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// The next event.
    Event(Arc<Event>),
    /// So many were thrown away before they could be read.
    Missed(u64),
}

impl Default for Bus {
    fn default() -> Self {
        // Ids begin at the time of the start in microseconds, so that they increase over a restart, however short, and are exact
        // in JSON.
        let last = u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0);
        let kept = Kept { events: VecDeque::new(), before: last, last, journal: None, counts: HashMap::new() };
        Self(Arc::new(Shared { kept: Mutex::new(kept), last: watch::Sender::new(last), repeated: Mutex::default() }))
    }
}

impl Bus {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the event an id and lets everybody see it. Called by [`publish!`](crate::events), which logs it as well.
    pub fn publish(&self, mut event: Event) {
        let mut kept = self.kept();
        kept.last += 1;
        event.id = kept.last;
        *kept.counts.entry(event.kind).or_default() += 1;
        if let Some(journal) = &kept.journal {
            journal(&event);
        }
        if kept.events.len() >= KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(Arc::new(event));
        let last = kept.last;
        // Under the lock, so that the id never goes back.
        self.0.last.send_replace(last);
    }

    /// Has each event told to `journal` from now on, in order, before anybody else sees it.
    pub fn set_journal(&self, journal: Journal) {
        self.kept().journal = Some(journal);
    }

    /// Ids that come are larger than this one. Only ahead of the first event.
    pub fn go_on_after(&self, id: u64) {
        let mut kept = self.kept();
        kept.last = kept.last.max(id);
        kept.before = kept.last;
        let last = kept.last;
        self.0.last.send_replace(last);
    }

    /// Whether something that happens again and again is to be published now: at most once in `pause` for each name. Some is how
    /// often it has happened since the last time, this one included.
    pub fn is_time_for(&self, kind: Kind, name: &str, pause: Duration) -> Option<u64> {
        let now = Instant::now();
        let mut repeated = self.0.repeated.lock().unwrap_or_else(PoisonError::into_inner);
        if repeated.len() >= MOST {
            repeated.retain(|_, one| now.saturating_duration_since(one.published) < pause);
        }
        let is_full = repeated.len() >= MOST;
        match repeated.get_mut(&(kind, name.to_owned())) {
            Some(one) if now.saturating_duration_since(one.published) < pause => {
                one.since += 1;
                None
            }
            Some(one) => {
                one.published = now;
                Some(std::mem::take(&mut one.since) + 1)
            }
            None if is_full => None,
            None => {
                repeated.insert((kind, name.to_owned()), Repeated { published: now, since: 0 });
                Some(1)
            }
        }
    }

    /// The last events, oldest first: those with a larger id than `after`, at most `most` of them. Without `after`, the newest.
    pub fn recent(&self, after: Option<u64>, most: usize) -> Vec<Arc<Event>> {
        let kept = self.kept();
        match after {
            Some(id) => kept.events.iter().filter(|event| event.id > id).take(most).cloned().collect(),
            None => {
                let skipped = kept.events.len().saturating_sub(most);
                kept.events.iter().skip(skipped).cloned().collect()
            }
        }
    }

    /// How many events of that kind there were since the start.
    pub fn count(&self, kind: Kind) -> u64 {
        self.kept().counts.get(&kind).copied().unwrap_or(0)
    }

    /// The id of the newest event, published or from which ids go on.
    pub fn last_id(&self) -> u64 {
        self.kept().last
    }

    /// What comes from now on.
    pub fn subscribe(&self) -> Subscription {
        self.subscribe_after(self.last_id())
    }

    /// What comes after that event, as far as it is kept.
    pub fn subscribe_after(&self, id: u64) -> Subscription {
        let last = self.0.last.subscribe();
        Subscription { bus: self.clone(), at: id.min(self.last_id()), last }
    }
}

/// A position in the events of a bus.
pub struct Subscription {
    bus: Bus,
    /// The id of the last event that was read.
    at: u64,
    last: watch::Receiver<u64>,
}

impl Subscription {
    /// What is there already, if anything is.
    pub fn try_next(&mut self) -> Option<News> {
        let kept = self.bus.kept();
        let oldest = kept.events.front()?.id;
        // How many events an earlier life had since then, nobody can say.
        self.at = self.at.max(kept.before);
        let missed = oldest.saturating_sub(self.at + 1);
        if missed > 0 {
            self.at = oldest - 1;
            return Some(News::Missed(missed));
        }
        let event = kept.events.get(usize::try_from(self.at + 1 - oldest).ok()?)?.clone();
        self.at = event.id;
        Some(News::Event(event))
    }

    /// The next thing. Nothing is lost if it is dropped before it is ready.
    pub async fn next(&mut self) -> News {
        loop {
            self.last.mark_unchanged();
            if let Some(news) = self.try_next() {
                return news;
            }
            // The bus lives as long as this subscription.
            let _ = self.last.changed().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        Event::new(Kind::Mode, text)
    }

    fn text(news: News) -> String {
        match news {
            News::Event(event) => event.text.clone(),
            News::Missed(count) => format!("missed {count}"),
        }
    }

    #[tokio::test]
    async fn ids_increase_and_a_slow_reader_is_told_what_it_has_missed() {
        let bus = Bus::default();
        let mut slow = bus.subscribe();
        for at in 0..KEPT + 3 {
            bus.publish(event(&at.to_string()));
        }
        assert_eq!(text(slow.next().await), "missed 3");
        assert_eq!(text(slow.next().await), "3");
        let recent = bus.recent(None, 2);
        assert_eq!(recent.iter().map(|one| one.text.as_str()).collect::<Vec<_>>(), ["1001", "1002"]);
        assert_eq!(bus.recent(Some(recent[0].id), 10).len(), 1);
        let mut later = bus.subscribe_after(recent[0].id);
        assert_eq!(text(later.next().await), "1002");
        assert!(later.try_next().is_none());
        let waits = tokio::spawn(async move { text(later.next().await) });
        tokio::task::yield_now().await;
        bus.publish(event("new"));
        assert_eq!(waits.await.unwrap(), "new");
    }

    #[test]
    fn a_reader_of_an_earlier_life_begins_with_the_oldest() {
        let bus = Bus::default();
        bus.publish(event("a"));
        let mut earlier = bus.subscribe_after(7);
        assert_eq!(earlier.try_next().map(text), Some("a".to_owned()));
        assert!(earlier.try_next().is_none());
        let mut of_the_future = bus.subscribe_after(u64::MAX);
        bus.publish(event("b"));
        assert_eq!(of_the_future.try_next().map(text), Some("b".to_owned()));
    }

    #[test]
    fn what_is_repeated_is_published_once_in_a_while() {
        let bus = Bus::default();
        let hour = Duration::from_secs(3600);
        let note = |name| bus.is_time_for(Kind::HoldOverflow, name, hour);
        assert_eq!([note("a"), note("a"), note("b")], [Some(1), None, Some(1)]);
        assert_eq!(bus.is_time_for(Kind::HoldOverflow, "a", Duration::ZERO), Some(2));
    }
}
