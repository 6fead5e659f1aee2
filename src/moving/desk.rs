//! Who moves what: one move at a time for each database, each followed by whoever wants to.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use super::entry::{End, Entry, LatestPrimary, Line, MoveKind, Retired, Scope, Status};
use super::error::MoveError;
use super::journal::{Document, Journal};
use super::migration::Migration;
use crate::events::{Bus, Event, Kind, publish};
use crate::gate::{ServerDatabase, StateFile, Who};

/// All moves.
pub struct Moves {
    journal: Arc<Journal>,
    under_way: Mutex<Vec<Arc<Move>>>,
    /// The number of the next one.
    next: Mutex<u64>,
    /// Another process is about to have the journal.
    handed_over: AtomicBool,
    events: Bus,
}

/// A move that is under way, or was a moment ago.
pub struct Move {
    entry: Mutex<Entry>,
    /// Names that clients have for its databases, for events.
    names: Vec<Arc<str>>,
    moves: Arc<Journal>,
    events: Bus,
    /// How many lines there are, and whether it is over.
    news: watch::Sender<(usize, bool)>,
    called_off: watch::Sender<Option<Who>>,
}

impl Moves {
    /// Reads the journal beside the state file; the caller has the lock of that. The second value says what is wrong with the journal.
    pub fn open(state_file: &StateFile, events: Bus) -> (Self, Option<String>) {
        let (journal, alarm) = Journal::open(state_file);
        let next = Mutex::new(journal.document().last + 1);
        (
            Self {
                journal: Arc::new(journal),
                under_way: Mutex::default(),
                next,
                handed_over: AtomicBool::new(false),
                events,
            },
            alarm,
        )
    }

    fn desk(&self) -> MutexGuard<'_, Vec<Arc<Move>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a move of those databases, for which `name` was named. Nothing is on disk yet.
    ///
    /// # Errors
    /// [`MoveError::UnderWay`], [`MoveError::HandedOver`]
    pub fn begin(
        &self,
        what: MoveKind,
        scope: Scope,
        (name, names): (&str, Vec<Arc<str>>),
        who: Who,
    ) -> Result<Arc<Move>, MoveError> {
        let mut desk = self.desk();
        if self.handed_over.load(SeqCst) {
            return Err(MoveError::HandedOver);
        }
        desk.retain(|one| !one.is_over());
        if let Some(other) = desk.iter().find(|one| one.entry().scope.overlaps(&scope)) {
            return Err(other.in_the_way(name));
        }
        let id = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            *next += 1;
            *next - 1
        };
        let entry = Entry::new(id, what, scope, who);
        let one = self.make(entry, names);
        let (command, client) = (one.entry().what.to_string(), one.entry().who.address);
        publish!(
            self.events,
            warn,
            one.event(Kind::MoveBegan, format!("{command} begins")),
            command = command,
            client = client
        );
        desk.push(one.clone());
        Ok(one)
    }

    /// What looks beforehand and changes nothing: it is in nobody's way and on no disk.
    pub fn rehearse(&self, what: MoveKind, who: Who) -> Arc<Move> {
        self.make(Entry::new(0, what, Scope::default(), who), Vec::new())
    }

    /// What an earlier life of the process has left unfinished, claimed again. `names` gives the clients' names of what is in a scope.
    pub fn take_up(&self, names: impl Fn(&Scope) -> Vec<Arc<str>>) -> Vec<Arc<Move>> {
        let mut desk = self.desk();
        let unfinished = self.journal.document().moves.into_iter().filter(|entry| entry.end.is_none());
        let taken: Vec<_> = unfinished
            .map(|entry| {
                let names = names(&entry.scope);
                self.make(entry, names)
            })
            .collect();
        desk.extend(taken.iter().cloned());
        taken
    }

    fn make(&self, entry: Entry, names: Vec<Arc<str>>) -> Arc<Move> {
        Arc::new(Move {
            news: watch::Sender::new((entry.lines.len(), false)),
            entry: Mutex::new(entry),
            names,
            moves: self.journal.clone(),
            events: self.events.clone(),
            called_off: watch::Sender::new(None),
        })
    }

    /// The move that is under way for a database.
    pub fn concerning(&self, database: &ServerDatabase) -> Option<Arc<Move>> {
        self.desk().iter().find(|one| !one.is_over() && one.entry().scope.has(database)).cloned()
    }

    /// Whether any is under way.
    pub fn is_any(&self) -> bool {
        self.desk().iter().any(|one| !one.is_over())
    }

    /// From now on the journal is another process's, unless a move is under way: then nothing happens, and this is false.
    pub fn hand_over(&self) -> bool {
        let desk = self.desk();
        let may = desk.iter().all(|one| one.is_over());
        self.handed_over.store(may, SeqCst);
        may
    }

    /// The other process has gone.
    pub fn take_back(&self) {
        self.handed_over.store(false, SeqCst);
    }

    /// All that are known, newest first: those that go on, and the last of those that are over.
    pub fn all(&self) -> Vec<Entry> {
        let live: Vec<Entry> = self.desk().iter().map(|one| one.entry()).collect();
        let known: BTreeSet<u64> = live.iter().map(|entry| entry.id).collect();
        let over = self.journal.document().moves.into_iter().filter(|entry| !known.contains(&entry.id));
        let mut all: Vec<Entry> = live.into_iter().chain(over).collect();
        all.sort_by_key(|entry| std::cmp::Reverse(entry.id));
        all
    }

    /// Servers that were the primary before a move.
    pub fn retired(&self) -> Vec<Retired> {
        self.journal.document().retired
    }

    /// Changes what is known of such servers.
    ///
    /// # Errors
    /// [`MoveError::Journal`], [`MoveError::HandedOver`]
    pub async fn retire(&self, change: impl FnOnce(&mut Vec<Retired>) + Send + 'static) -> Result<(), MoveError> {
        if self.handed_over.load(SeqCst) {
            return Err(MoveError::HandedOver);
        }
        let written = self.journal.clone().change(move |document| change(&mut document.retired)).await;
        written.map_err(MoveError::Journal)
    }

    /// How far the primary of a cluster had come when it was last noted.
    pub fn latest_primary(&self, cluster: &str) -> Option<LatestPrimary> {
        self.journal.document().primaries.into_iter().find(|one| one.cluster == cluster)
    }

    /// Notes how far the primary of a cluster has come, where that is news.
    ///
    /// # Errors
    /// [`MoveError::Journal`]
    pub async fn note_primary(&self, latest: LatestPrimary) -> Result<(), MoveError> {
        // The process that has taken over writes the journal now, and sees the same servers.
        if self.handed_over.load(SeqCst) || self.latest_primary(&latest.cluster).as_ref() == Some(&latest) {
            return Ok(());
        }
        let note = move |document: &mut Document| {
            document.primaries.retain(|one| one.cluster != latest.cluster);
            document.primaries.push(latest);
        };
        self.journal.clone().change(note).await.map_err(MoveError::Journal)
    }

    /// Databases that have two sides, from the first MIGRATE until FINISH.
    pub fn migrations(&self) -> Vec<Migration> {
        self.journal.document().migrations
    }

    /// Changes what is known of those.
    ///
    /// # Errors
    /// [`MoveError::Journal`]
    pub async fn migrate(&self, change: impl FnOnce(&mut Vec<Migration>) + Send + 'static) -> Result<(), MoveError> {
        let written = self.journal.clone().change(move |document| change(&mut document.migrations)).await;
        written.map_err(MoveError::Journal)
    }
}

impl Move {
    /// What is known of it now.
    pub fn entry(&self) -> Entry {
        self.entry.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Entry)) -> Entry {
        let mut entry = self.entry.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut entry);
        entry.clone()
    }

    /// Whether something has become of it.
    pub fn is_over(&self) -> bool {
        self.news.borrow().1
    }

    /// The error of whoever comes meanwhile.
    pub fn in_the_way(&self, database: &str) -> MoveError {
        let entry = self.entry();
        let (database, command) = (database.to_owned(), entry.what.to_string());
        MoveError::UnderWay { database, command, who: entry.who, since: entry.began }
    }

    /// An event about its databases.
    pub fn event(&self, kind: Kind, text: String) -> Event {
        let entry = self.entry();
        Event::new(kind, text)
            .about_all(self.names.clone())
            .by(&entry.who.user)
            .with("move", entry.id)
            .with("from", entry.what.from())
            .with("to", entry.what.to())
    }

    /// Writes down what comes next. It is on disk when this returns.
    ///
    /// # Errors
    /// [`MoveError::Journal`]: nothing may be done, and what is known is as before.
    pub(super) async fn note(&self, what: MoveKind) -> Result<(), MoveError> {
        let before = self.entry();
        let entry = self.change(|known| {
            if what.step() != known.what.step() {
                known.step_began = Some(Timestamp::now());
            }
            known.what = what;
        });
        let written = self.save(entry).await;
        if written.is_err() {
            self.change(|known| (known.what, known.step_began) = (before.what, before.step_began));
        }
        written
    }

    async fn save(&self, entry: Entry) -> Result<(), MoveError> {
        if entry.id == 0 {
            return Ok(());
        }
        let keep = move |document: &mut Document| {
            document.last = document.last.max(entry.id);
            document.put(&entry);
        };
        self.moves.clone().change(keep).await.map_err(MoveError::Journal)
    }

    /// Tells what was found or done. It is on disk with whatever is written down next.
    pub fn tell(&self, line: Line) {
        let entry = self.change(|entry| entry.lines.push(line.clone()));
        if entry.id != 0 {
            let event = || {
                self.event(Kind::MoveStep, format!("{}: {}: {}", entry.what.verb(), line.name, line.detail))
                    .with("step", line.step.word())
                    .with("name", line.name.clone())
                    .with("status", line.status.word())
                    .with("took_ms", line.took_ms)
                    .with("remedy", line.remedy.clone())
            };
            match line.status {
                Status::Ok => publish!(self.events, info, event()),
                Status::Warn | Status::Fail => publish!(self.events, warn, event()),
            }
        }
        self.news.send_modify(|(lines, _)| *lines = entry.lines.len());
    }

    /// What was told since it ended is on disk when this returns.
    pub async fn keep(&self) {
        let entry = self.entry();
        if entry.end.is_some()
            && let Err(error) = self.save(entry).await
        {
            tracing::error!(event = "move_not_saved", "{error}");
        }
    }

    /// Something has become of it.
    pub async fn end(&self, end: End) {
        let entry = self.change(|entry| entry.end = Some(end.clone()));
        if let Err(error) = self.save(entry.clone()).await {
            // A restart looks at it once more, and finds it done.
            tracing::error!(event = "move_not_saved", "{error}");
        }
        if entry.id != 0 {
            let took_ms = u64::try_from(end.at.duration_since(entry.began).as_millis()).unwrap_or(0);
            let command = entry.what.to_string();
            if end.done {
                let event = self.event(Kind::MoveEnded, format!("{command} is done"));
                publish!(self.events, warn, event, took_ms = took_ms);
            } else {
                let event = self.event(Kind::MoveFailed, format!("{command} has failed"));
                publish!(self.events, error, event, took_ms = took_ms, error = end.why, sqlstate = end.sqlstate);
            }
        }
        self.news.send_modify(|(_, over)| *over = true);
    }

    /// Waits until there are more lines than `seen`, or it is over.
    pub async fn news(&self, seen: usize) {
        let _ = self.news.subscribe().wait_for(|(lines, over)| *lines > seen || *over).await;
    }

    /// Asks it to go back, if it still can.
    pub fn call_off(&self, who: Who) {
        self.called_off.send_modify(|by| _ = by.get_or_insert(who));
    }

    /// Who has asked for that.
    pub fn is_called_off(&self) -> Option<Who> {
        self.called_off.borrow().clone()
    }

    /// Waits until somebody asks for that.
    pub async fn called_off(&self) -> Who {
        let mut asked = self.called_off.subscribe();
        let by = asked.wait_for(Option::is_some).await.ok().and_then(|by| by.clone());
        // The sender lives as long as this.
        by.unwrap_or_else(Who::proxy)
    }
}
