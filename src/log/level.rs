//! How much is logged, which may change while pgsluice runs: for all of it, and for single parts.

use std::sync::{Mutex, PoisonError};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::{Registry, reload};

use super::sink::Sink;
use super::{SERVER_CLOSED, SERVER_OPENED};
use crate::config::{Log, LogFormat, LogLevel};

/// Parts of the program by the names of its folders, and what else has something to say.
const PARTS: [&str; 23] = [
    "admin", "auth", "cli", "client", "config", "etcd", "events", "fleet", "gate", "http", "log", "metrics", "moving",
    "net", "protocol", "proxy", "routing", "server", "shared", "sql", "tls", "topology", "webhooks",
];
const OTHERS: [&str; 3] = ["hyper", "rustls", "tokio_rustls"];
/// Parts in one value.
const MOST: usize = 32;

/// What is logged now and where, and the way to change it.
pub struct Level {
    handle: reload::Handle<Targets, Registry>,
    held: Mutex<String>,
    sink: Sink,
}

impl Level {
    pub(super) fn new(handle: reload::Handle<Targets, Registry>, level: LogLevel, sink: Sink) -> Self {
        Self { handle, held: Mutex::new(level.to_string()), sink }
    }

    /// Opens the log file again, if there is one.
    pub fn reopen(&self) {
        self.sink.reopen();
    }

    /// Logs as much as the configuration says.
    pub fn set(&self, log: &Log) {
        self.put(filter(log), log.log_level.to_string());
    }

    /// Logs as much as a person says: `debug`, or `info,client=trace,gate=debug`.
    ///
    /// # Errors
    /// What would be right.
    pub fn set_by_words(&self, words: &str) -> Result<(), String> {
        let (targets, held) = parse(words)?;
        self.put(targets, held);
        Ok(())
    }

    fn put(&self, targets: Targets, held: String) {
        // Fails only if the log is gone.
        let _ = self.handle.reload(targets);
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
    }

    /// What holds, as it can be given again.
    pub fn held(&self) -> String {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn level_filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

/// What the configuration wants.
pub(super) fn filter(log: &Log) -> Targets {
    let mut targets = of_level(log.log_level);
    let lines = [(log.log_connections, SERVER_OPENED), (log.log_disconnections, SERVER_CLOSED)];
    if log.log_format == LogFormat::Pgbouncer && level_filter(log.log_level) >= LevelFilter::INFO {
        for (_, target) in lines.into_iter().filter(|(wanted, _)| *wanted) {
            targets = targets.with_target(target, LevelFilter::DEBUG.max(level_filter(log.log_level)));
        }
    }
    targets
}

/// What other crates have to say is for their developers.
fn of_level(level: LogLevel) -> Targets {
    let own = level_filter(level);
    Targets::new().with_default(own.min(LevelFilter::WARN)).with_target(env!("CARGO_CRATE_NAME"), own)
}

fn parse(words: &str) -> Result<(Targets, String), String> {
    let level = |word: &str| {
        let word = word.trim().to_ascii_lowercase();
        word.parse::<LogLevel>().map_err(|_| format!("a level is one of {}", LogLevel::WORDS.join(", ")))
    };
    let mut all = LogLevel::Info;
    let mut parts = Vec::new();
    for piece in words.split(',') {
        match piece.split_once('=') {
            None => all = level(piece)?,
            Some((part, word)) => parts.push((part.trim().to_ascii_lowercase(), level(word)?)),
        }
    }
    if parts.len() > MOST {
        return Err(format!("at most {MOST} parts can be told apart"));
    }
    let (mut targets, mut held) = (of_level(all), all.to_string());
    for (part, level) in parts {
        let known = part.split("::").next().unwrap_or_default();
        let target = if PARTS.contains(&known) {
            format!("{}::{part}", env!("CARGO_CRATE_NAME"))
        } else if OTHERS.contains(&known) {
            part.clone()
        } else {
            return Err(format!("a part is one of {}, {}", PARTS.join(", "), OTHERS.join(", ")));
        };
        targets = targets.with_target(target, level_filter(level));
        held.push_str(&format!(",{part}={level}"));
    }
    Ok((targets, held))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::Level as Is;

    #[test]
    fn parts_are_told_apart_and_what_is_wrong_is_said() {
        let (targets, held) = parse("Info, gate=debug,client::maintenance=TRACE").unwrap();
        assert_eq!(held, "info,gate=debug,client::maintenance=trace");
        let logs = |target: &str, level| targets.would_enable(target, &level);
        assert!(logs("pgsluice::gate::command", Is::DEBUG) && !logs("pgsluice::proxy", Is::DEBUG));
        assert!(logs("pgsluice::client::maintenance::hold", Is::TRACE) && !logs("pgsluice::client::run", Is::DEBUG));
        assert!(logs("pgsluice::proxy", Is::INFO) && !logs("h2", Is::INFO) && logs("h2", Is::WARN));
        for (wrong, why) in
            [("loud", "a level is one of error"), ("gate=loud", "a level"), ("gates=debug", "a part is one of admin")]
        {
            let error = parse(wrong).err().unwrap();
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn each_folder_of_the_source_is_a_part() {
        let source = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap().map(Result::unwrap);
        let folders =
            source.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name().into_string().unwrap());
        let mut folders: Vec<String> = folders.collect();
        folders.sort();
        assert_eq!(folders, PARTS);
    }
}
