//! Events that have not been dealt with by everybody yet, in memory and in a file of lines of JSON.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::watch;

use super::Hook;
use super::positions::{Positions, named, replace};
use crate::events::{Event, Value};
use crate::fleet::Mark;

/// Events that are kept. When more wait, the oldest are given up.
const MOST: usize = 5000;
/// Lines in the file that nobody needs any more, before it is written anew.
const SPARE: usize = 1000;

/// An event that waits.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) id: u64,
    pub(super) at: Timestamp,
    pub(super) event: String,
    pub(super) databases: Vec<String>,
    /// Of what a whole fleet has done: the database as the fleet knows it, and where the event stands among its events.
    pub(super) of_fleet: Option<(String, Mark)>,
    /// The body of the request.
    pub(super) json: String,
}

/// What is read of a line.
#[derive(Deserialize)]
struct Line {
    id: u64,
    at: Timestamp,
    event: String,
    databases: Vec<String>,
    #[serde(default)]
    fields: OfFleet,
}

/// What an event of a fleet says of itself.
#[derive(Default, Deserialize)]
struct OfFleet {
    #[serde(default)]
    fleet_database: String,
    #[serde(default)]
    fleet_epoch: u64,
    #[serde(default)]
    mode: String,
}

impl OfFleet {
    fn mark(self, event: &str) -> Option<(String, Mark)> {
        let step = match event {
            "mode" if self.mode == "draining" => 0,
            "drain_began" => 1,
            "mode" => 2,
            _ => 3,
        };
        let mark = Mark { epoch: self.fleet_epoch, step };
        (!self.fleet_database.is_empty()).then_some((self.fleet_database, mark))
    }
}

impl Entry {
    fn of(event: &Event) -> Self {
        let text = |name: &str| match event.value(name) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        };
        let fleet_epoch = match event.value("fleet_epoch") {
            Some(Value::Number(epoch)) => *epoch,
            _ => 0,
        };
        let fields = OfFleet { fleet_database: text("fleet_database"), fleet_epoch, mode: text("mode") };
        Self {
            id: event.id,
            at: event.at,
            of_fleet: fields.mark(event.kind.name()),
            event: event.kind.name().to_owned(),
            databases: event.databases.iter().map(ToString::to_string).collect(),
            json: event.json(),
        }
    }

    /// None for what a crash has left of a line.
    fn read(json: &str) -> Option<Self> {
        let Line { id, at, event, databases, fields } = serde_json::from_str(json).ok()?;
        let of_fleet = fields.mark(&event);
        Some(Self { id, at, event, databases, of_fleet, json: json.to_owned() })
    }

    fn is_for(&self, hook: &Hook) -> bool {
        hook.wants(&self.event, self.databases.iter().map(String::as_str))
    }
}

/// See the module.
pub(super) struct Queue {
    path: Option<PathBuf>,
    waiting: Mutex<Waiting>,
    last: watch::Sender<u64>,
}

struct Waiting {
    entries: VecDeque<Arc<Entry>>,
    file: Option<File>,
    /// Lines in the file.
    lines: usize,
    hooks: Vec<Arc<Hook>>,
    positions: Option<Arc<Positions>>,
}

/// What a receiver finds behind its position.
pub(super) enum Next {
    /// It is to be told of this one.
    Event(Arc<Entry>),
    /// Nothing for it, up to that id.
    Nothing(u64),
}

impl Queue {
    pub(super) fn open(path: Option<PathBuf>) -> io::Result<Self> {
        let mut entries = VecDeque::new();
        let file = match &path {
            None => None,
            Some(path) => {
                match std::fs::read(path) {
                    Ok(bytes) => {
                        let lines = bytes.split(|byte| *byte == b'\n').filter_map(|line| str::from_utf8(line).ok());
                        entries.extend(lines.filter_map(Entry::read).map(Arc::new));
                    }
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(named(path, &error)),
                }
                if entries.is_empty() {
                    None
                } else {
                    // Anew, so that nothing is written behind half a line.
                    replace(path, &content(&entries)).map_err(|error| named(path, &error))?;
                    Some(append(path).map_err(|error| named(path, &error))?)
                }
            }
        };
        let last = watch::Sender::new(entries.back().map_or(0, |entry| entry.id));
        let lines = entries.len();
        let waiting = Waiting { entries, file, lines, hooks: Vec::new(), positions: None };
        Ok(Self { path, waiting: Mutex::new(waiting), last })
    }

    fn waiting_now(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn last_id(&self) -> u64 {
        *self.last.borrow()
    }

    /// Who is to be told.
    pub(super) fn set_hooks(&self, hooks: &[Arc<Hook>], positions: &Arc<Positions>) {
        let mut waiting = self.waiting_now();
        waiting.hooks = hooks.to_vec();
        waiting.positions = Some(positions.clone());
    }

    /// Keeps an event, if somebody is to be told of it.
    pub(super) fn add(&self, event: &Event) {
        let mut waiting = self.waiting_now();
        let names = || event.databases.iter().map(|name| &**name);
        // Before anybody is known, all is kept: what happens while the proxy starts, too.
        let known = waiting.positions.is_some();
        if known && !waiting.hooks.iter().any(|hook| hook.wants(event.kind.name(), names())) {
            return;
        }
        let entry = Entry::of(event);
        if let Some(path) = &self.path
            && let Err(error) = write(path, &mut waiting.file, &entry.json)
        {
            tracing::error!(event = "webhooks_not_saved", %error, "an event is in memory alone");
        }
        waiting.lines += 1;
        waiting.entries.push_back(Arc::new(entry));
        while waiting.entries.len() > MOST
            && let Some(oldest) = waiting.entries.pop_front()
        {
            give_up(&waiting, &oldest);
        }
        drop(waiting);
        self.last.send_replace(event.id);
    }

    /// What comes behind that id for one of them.
    pub(super) fn next(&self, hook: &Hook, position: u64) -> Next {
        let waiting = self.waiting_now();
        let behind = waiting.entries.partition_point(|entry| entry.id <= position);
        match waiting.entries.range(behind..).find(|entry| entry.is_for(hook)) {
            Some(entry) => Next::Event(entry.clone()),
            None => Next::Nothing(waiting.entries.back().map_or(position, |entry| entry.id.max(position))),
        }
    }

    /// How many wait for it.
    pub(super) fn waiting(&self, hook: &Hook, position: u64) -> u64 {
        let waiting = self.waiting_now();
        waiting.entries.iter().filter(|entry| entry.id > position && entry.is_for(hook)).count() as u64
    }

    /// Tells when there may be more.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// Lets go of what everybody has dealt with. Blocks on the file system.
    pub(super) fn trim(&self) -> io::Result<()> {
        let mut waiting = self.waiting_now();
        let Some(positions) = waiting.positions.clone() else { return Ok(()) };
        let done = waiting.hooks.iter().map(|hook| positions.get(&hook.key)).min().unwrap_or(u64::MAX);
        while waiting.entries.front().is_some_and(|entry| entry.id <= done) {
            waiting.entries.pop_front();
        }
        if let Some(path) = &self.path
            && waiting.lines > waiting.entries.len() + SPARE
        {
            replace(path, &content(&waiting.entries))?;
            waiting.file = Some(append(path)?);
            waiting.lines = waiting.entries.len();
        }
        Ok(())
    }
}

/// Nobody is told of it any more.
fn give_up(waiting: &Waiting, entry: &Entry) {
    let Some(positions) = &waiting.positions else { return };
    for hook in &waiting.hooks {
        if positions.get(&hook.key) < entry.id && entry.is_for(hook) {
            hook.dead.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            positions.advance(&hook.key, entry.id, true);
        }
    }
}

fn content(entries: &VecDeque<Arc<Entry>>) -> Vec<u8> {
    let lines = entries.iter().flat_map(|entry| [entry.json.as_bytes(), b"\n"]);
    lines.flatten().copied().collect()
}

/// Writes a line; the file comes into being with the first one.
fn write(path: &std::path::Path, file: &mut Option<File>, json: &str) -> io::Result<()> {
    let mut open = match file.take() {
        Some(open) => open,
        None => append(path)?,
    };
    let written = open.write_all(format!("{json}\n").as_bytes());
    *file = Some(open);
    written
}

fn append(path: &std::path::Path) -> io::Result<File> {
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
