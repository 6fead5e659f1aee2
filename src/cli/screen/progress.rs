//! A bar while a gate closes: how much of drain_timeout is over.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::time::Duration;

use crate::cli::Output;
use crate::config::{parse_duration, show_duration};
use crate::server::own_query::Answer;

/// Characters of the bar itself.
const WIDTH: usize = 40;

/// Whether a person sees it.
pub(in crate::cli) fn is_shown(output: Output) -> bool {
    output == Output::Text && stderr().is_terminal()
}

/// drain_timeout of a database, as SHOW CONFIG tells.
pub(in crate::cli) fn patience(config: &Answer, database: &str) -> Option<Duration> {
    let of = |key: &str| {
        let row = config.rows.iter().find(|row| row.first().and_then(Option::as_deref) == Some(key))?;
        parse_duration(row.get(1)?.as_deref()?).ok()
    };
    of(&format!("databases.{database}.maintenance.drain_timeout")).or_else(|| of("maintenance.drain_timeout"))
}

/// See the module.
pub(in crate::cli) struct Bar {
    patience: Option<Duration>,
    drawn: bool,
}

impl Bar {
    pub(in crate::cli) fn new(patience: Option<Duration>) -> Self {
        Self { patience, drawn: false }
    }

    /// A notice has come: it is printed, with the bar below it.
    pub(in crate::cli) fn tell(&mut self, notice: &str) {
        self.clear();
        let mut out = stderr().lock();
        let _ = writeln!(out, "{notice}");
        if let (Some(waited), Some(patience)) = (waited(notice), self.patience) {
            let _ = write!(out, "{}", drawn(waited, patience));
            let _ = out.flush();
            self.drawn = true;
        }
    }

    /// Takes the bar away.
    pub(in crate::cli) fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(stderr().lock(), "\r\u{1b}[K");
        }
    }
}

/// The seconds that a notice of a drain tells, `(3 s)`.
pub(in crate::cli) fn waited(notice: &str) -> Option<Duration> {
    let (before, _) = notice.lines().next()?.split_once(" s)")?;
    before.rsplit('(').next()?.parse().ok().map(Duration::from_secs)
}

pub(in crate::cli) fn drawn(waited: Duration, patience: Duration) -> String {
    let part = (waited.as_secs_f64() / patience.as_secs_f64().max(0.001)).min(1.0);
    let full = (part * WIDTH as f64) as usize;
    let bar: String = (0..WIDTH).map(|at| if at < full { '#' } else { '.' }).collect();
    format!("[{bar}] {} s of {}", waited.as_secs(), show_duration(patience))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_follows_the_seconds_of_notices() {
        let notice = "NOTICE:  database \"a (9 s)\": waiting for 1 open transaction (3 s):\n  user \"x\" (7 s)";
        assert_eq!(
            waited("NOTICE:  database \"a\": waiting for 2 open transactions (12 s)"),
            Some(Duration::from_secs(12))
        );
        assert_eq!(waited("WARNING:  01000"), None);
        let _ = notice;
        let bar = drawn(Duration::from_secs(5), Duration::from_secs(10));
        assert_eq!((bar.matches('#').count(), bar.matches('.').count()), (20, 20));
        assert!(bar.ends_with("5 s of 10s"), "{bar}");
        assert_eq!(drawn(Duration::from_secs(50), Duration::from_secs(10)).matches('#').count(), WIDTH);
    }

    #[test]
    fn the_own_drain_timeout_of_a_database_goes_first() {
        let row = |key: &str, value: &str| vec![Some(key.to_owned()), Some(value.to_owned())];
        let rows =
            vec![row("maintenance.drain_timeout", "30s"), row("databases.app.maintenance.drain_timeout", "2min")];
        let config = Answer { rows, ..Answer::default() };
        assert_eq!(patience(&config, "app"), Some(Duration::from_secs(120)));
        assert_eq!(patience(&config, "*"), Some(Duration::from_secs(30)));
    }
}
