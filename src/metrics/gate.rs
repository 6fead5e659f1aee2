//! The gate: modes, drains, refused and held writes, events and webhooks.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::cores::Seen;
use super::families::{Families, Labels};
use crate::events::Kind;
use crate::gate::{Mode, Row};
use crate::shared::{Layers, ProxyState};

/// The words of the modes.
const MODES: [&str; 4] = ["read_write", "draining", "read_only", "offline"];

fn of(row: &Row) -> Labels {
    vec![("database", row.database.clone())]
}

fn seconds(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

fn since(at: Timestamp) -> f64 {
    Duration::try_from(Timestamp::now().duration_since(at)).unwrap_or_default().as_secs_f64()
}

pub(super) fn add(families: &mut Families, proxy: &ProxyState, seen: &Seen) {
    let rows = proxy.gates.show();
    modes(families, &rows);
    drains(families, proxy, &rows);
    writes(families, proxy, &rows, seen);
    events(families, proxy);
}

fn modes(families: &mut Families, rows: &[Row]) {
    families.gauge("pgsluice_gate_mode", "1 for the mode that each database is in.", |out| {
        for row in rows {
            for mode in MODES {
                let labels = vec![("database", row.database.clone()), ("mode", mode.to_owned())];
                out.flag(labels, row.mode.as_str() == mode);
            }
        }
    });
    families.gauge("pgsluice_gate_epoch", "Grows with each change of the mode.", |out| {
        rows.iter().for_each(|row| out.whole(of(row), row.epoch.0));
    });
    families.gauge("pgsluice_gate_mode_since_timestamp_seconds", "Since when the mode holds.", |out| {
        rows.iter().filter(|row| row.epoch.0 > 0).for_each(|row| out.real(of(row), seconds(row.since)));
    });
    families.gauge("pgsluice_gate_until_timestamp_seconds", "When writes are promised back.", |out| {
        for row in rows {
            if let Some(until) = row.terms.as_ref().and_then(|terms| terms.until) {
                out.real(of(row), seconds(until));
            }
        }
    });
    families.gauge(
        "pgsluice_gate_overdue_seconds",
        "For how long a gate is closed past its until; 0 if it is not.",
        |out| {
            for row in rows {
                let until = row.terms.as_ref().and_then(|terms| terms.until).filter(|_| row.mode != Mode::ReadWrite);
                out.real(of(row), until.map_or(0.0, since));
            }
        },
    );
}

fn drains(families: &mut Families, proxy: &ProxyState, rows: &[Row]) {
    families.gauge("pgsluice_gate_drain_seconds", "For how long a drain has been under way; 0 if none is.", |out| {
        for row in rows {
            let waited = row.progress.as_ref().map_or(0.0, |progress| progress.waited.as_secs_f64());
            out.real(of(row), waited);
        }
    });
    families.gauge("pgsluice_gate_in_flight", "Transactions that could write and are open.", |out| {
        rows.iter().for_each(|row| out.count(of(row), row.in_flight));
    });
    let drained = |families: &mut Families, name, help, at: usize| {
        families.counter(name, help, |out| {
            for row in rows {
                let gate = proxy.gates.get(&row.database);
                let count = gate.and_then(|gate| gate.drained().get(at).copied()).unwrap_or(0);
                out.whole(of(row), count);
            }
        });
    };
    drained(families, "pgsluice_gate_finished", "Transactions that ended by themselves during a drain.", 0);
    drained(families, "pgsluice_gate_fenced", "Transactions that were made read-only in their middle.", 1);
    drained(families, "pgsluice_gate_cancelled", "Transactions that were cancelled at drain_timeout.", 2);
}

fn writes(families: &mut Families, proxy: &ProxyState, rows: &[Row], seen: &Seen) {
    families.counter("pgsluice_refused", "Statements that were refused because of a maintenance.", |out| {
        for database in proxy.databases.all() {
            out.whole(vec![("database", database.name.to_string())], database.stats.totals().refused);
        }
    });
    families.counter("pgsluice_refused_by_layer", "What has kept writes from databases in maintenance.", |out| {
        for (layer, word) in Layers::WORDS {
            let word = word.strip_prefix("refused_by_").unwrap_or(word);
            out.whole(vec![("layer", word.to_owned())], proxy.layers.get(layer));
        }
    });
    let help = "Errors that pgsluice itself has answered with, by application and by statement or SQLSTATE.";
    families.counter("pgsluice_errors_sent", help, |out| {
        for (counted, times) in proxy.refused_statements.totals() {
            let labels = vec![
                ("database", counted.database.to_string()),
                ("application_name", counted.application_name),
                ("reason", counted.reason),
            ];
            out.whole(labels, times);
        }
    });
    families.gauge("pgsluice_held", "Writes that wait for the gate.", |out| {
        rows.iter().for_each(|row| out.count(of(row), row.held));
    });
    let mut longest: BTreeMap<&str, Duration> = BTreeMap::new();
    for ((database, _), counts) in &seen.clients {
        let known = longest.entry(database).or_default();
        *known = (*known).max(counts.longest_hold);
    }
    families.gauge("pgsluice_held_longest_seconds", "How long the oldest of them has waited.", |out| {
        for row in rows {
            let held = longest.get(row.database.as_str()).copied().unwrap_or_default();
            out.real(of(row), held.as_secs_f64());
        }
    });
    families.counter("pgsluice_discarded", "Writes that rules have discarded.", |out| {
        rows.iter().for_each(|row| out.whole(of(row), row.discarded));
    });
    families.counter("pgsluice_allowed", "Writes that rules have let through a closed gate.", |out| {
        rows.iter().for_each(|row| out.whole(of(row), row.allowed));
    });
}

fn events(families: &mut Families, proxy: &ProxyState) {
    families.counter("pgsluice_events", "Events, by name.", |out| {
        for kind in Kind::ALL {
            out.whole(vec![("event", kind.name().to_owned())], proxy.events.count(*kind));
        }
    });
    let hooks = proxy.webhooks.status();
    let of = |url: &str, at: usize| vec![("webhook", (at + 1).to_string()), ("url", url.to_owned())];
    families.gauge("pgsluice_webhook_waiting", "Events that wait for a webhook.", |out| {
        hooks.iter().enumerate().for_each(|(at, hook)| out.whole(of(&hook.url, at), hook.waiting));
    });
    families.counter("pgsluice_webhook_delivered", "Events that were delivered.", |out| {
        hooks.iter().enumerate().for_each(|(at, hook)| out.whole(of(&hook.url, at), hook.delivered));
    });
    families.counter("pgsluice_webhook_failed", "Requests to a webhook that have failed.", |out| {
        hooks.iter().enumerate().for_each(|(at, hook)| out.whole(of(&hook.url, at), hook.failed));
    });
    families.counter("pgsluice_webhook_dead", "Events that were given up.", |out| {
        hooks.iter().enumerate().for_each(|(at, hook)| out.whole(of(&hook.url, at), hook.dead));
    });
}
