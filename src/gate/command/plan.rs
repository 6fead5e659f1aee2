//! What a command makes of a record: a pure function, and with it the whole table in this folder's `mod.rs`.

use super::options::{Given, OnOptions};
use super::progress::Verb;
use crate::gate::detail::{Cause, Switches, Terms, Who};
use crate::gate::state::mode::Mode;
use crate::gate::store::state_file::Record;
use jiff::Timestamp;

/// A command with all that it came with.
#[derive(Debug, Clone)]
pub(crate) struct Order {
    pub(crate) verb: Verb,
    pub(crate) options: OnOptions,
    pub(crate) who: Who,
    pub(crate) now: Timestamp,
    /// Given by the clock, not by a person: touches only what has expired.
    pub(crate) only_expired: bool,
}

/// The record after a command, and what has to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) after: Record,
    pub(crate) changed: bool,
    /// The database still has to be brought to quiesced, or to be asked for its LSN.
    pub(crate) drive: bool,
}

pub(crate) fn plan(before: &Record, order: &Order) -> Plan {
    let mut switches = before.switches.clone();
    let Switches { maintenance, offline } = &mut switches;
    match order.verb {
        Verb::On => *maintenance = Some(terms(maintenance.take(), order)),
        Verb::Offline => *offline = Some(terms(offline.take(), order)),
        Verb::Off => clear(maintenance, order),
        Verb::Online => clear(offline, order),
    }
    let changed = switches != before.switches;
    let mut after = Record { switches, ..before.clone() };
    let mode = after.switches.mode();
    if mode != before.switches.mode() {
        after.epoch = before.epoch.next();
        after.since = order.now;
        after.quiesced = None;
    }
    let told = after.quiesced.is_some_and(|quiesced| quiesced.lsn.is_some());
    let drive = mode != Mode::ReadWrite && !told && (changed || order.verb.opposite().is_some());
    Plan { after, changed, drive }
}

fn clear(switch: &mut Option<Terms>, order: &Order) {
    let due = |terms: &Terms| terms.expire_at.is_some_and(|at| at <= order.now);
    if !order.only_expired || switch.as_ref().is_some_and(due) {
        *switch = None;
    }
}

fn terms(old: Option<Terms>, order: &Order) -> Terms {
    let OnOptions { message, until, expire, writes, hold_timeout, drain_timeout, on_timeout, reads, defaults, .. } =
        order.options.clone();
    let expire = match expire {
        Given::Not => Given::Not,
        Given::Nothing => Given::Nothing,
        // Past the calendar's end is as good as never.
        Given::Value(after) => order.now.checked_add(after).map_or(Given::Nothing, Given::Value),
    };
    match old {
        // What only the proxy said is taken over as a whole.
        Some(old) if old.cause == Cause::Command => Terms {
            message: message.over(old.message),
            until: until.over(old.until),
            expire_at: expire.over(old.expire_at),
            writes: writes.unwrap_or(old.writes),
            hold_timeout: hold_timeout.unwrap_or(old.hold_timeout),
            drain_timeout: drain_timeout.unwrap_or(old.drain_timeout),
            on_timeout: on_timeout.unwrap_or(old.on_timeout),
            reads: reads.unwrap_or(old.reads),
            ..old
        },
        _ => Terms {
            cause: Cause::Command,
            who: order.who.clone(),
            since: order.now,
            message: message.over(None),
            until: until.over(None),
            expire_at: expire.over(None),
            writes: writes.unwrap_or(defaults.writes),
            hold_timeout: hold_timeout.unwrap_or(defaults.hold_timeout),
            drain_timeout: drain_timeout.unwrap_or(defaults.drain_timeout),
            on_timeout: on_timeout.unwrap_or(defaults.on_timeout),
            reads: reads.unwrap_or(defaults.reads),
        },
    }
}
