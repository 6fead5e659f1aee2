//! What a command makes of what is wanted: a pure function, whose result is written by one compare-and-swap.

use super::records::{Before, Desired, Ended, How, Place};
use crate::gate::{Epoch, GateError, Mode, Order, Record, Verb, plan};

/// What is to be done about a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Write this, if nothing has changed meanwhile.
    Write(Box<Desired>),
    /// It is so already.
    Nothing,
    /// The same command is under way: wait for that one.
    Join,
}

/// What a command for a database makes of what is wanted of it. `known`: what this proxy knows of a database that the fleet has
/// no record of. `again`: a member has another mode than the fleet, by a command for it alone, so that the fleet's has to be said again.
///
/// # Errors
/// 55006: another command is under way.
pub(crate) fn decide(
    place: &Place,
    shown: &str,
    wanted: Option<&Desired>,
    known: &Record,
    order: &Order,
    again: bool,
) -> Result<Decision, GateError> {
    let base = match wanted {
        Some(wanted) => record_of(wanted),
        None => known.clone(),
    };
    let made = plan(&base, order);
    let draining = wanted.filter(|wanted| wanted.is_draining());
    let under_way = draining.filter(|_| place.dbname != "*" || !place.cluster.is_empty());
    if let Some(other) = under_way {
        let calls_off = other.verb.opposite() == Some(order.verb);
        if !calls_off {
            if other.verb == order.verb && (!made.changed || order.options.is_bare()) {
                return Ok(Decision::Join);
            }
            return Err(GateError::UnderWay {
                database: shown.to_owned(),
                verb: other.verb,
                who: other.who.clone(),
                since: other.since,
            });
        }
    }
    if !made.changed && !again {
        return Ok(Decision::Nothing);
    }
    let after = made.after;
    let (mode, before_mode) = (after.switches.mode(), base.switches.mode());
    let moves = mode != before_mode || wanted.is_none() || again;
    let closes = mode != Mode::ReadWrite;
    let before = under_way.and_then(|other| other.before.clone());
    let goes_back = before.filter(|before| before.switches.mode() == mode);
    let quiesced = match (&goes_back, moves) {
        (Some(before), _) => before.quiesced,
        (None, false) => base.quiesced,
        (None, true) => None,
    };
    let own = Before { switches: base.switches.clone(), quiesced: base.quiesced };
    Ok(Decision::Write(Box::new(Desired {
        place: place.clone(),
        epoch: base.epoch.0 + u64::from(moves),
        since: if moves { order.now } else { base.since },
        before: match wanted {
            Some(wanted) if !moves => wanted.before.clone(),
            _ => Some(own).filter(|_| closes && quiesced.is_none()),
        },
        ended: under_way.map(|other| Ended {
            epoch: other.epoch,
            verb: other.verb,
            how: How::CalledOff(order.who.clone()),
        }),
        switches: after.switches,
        foreign_writers: Vec::new(),
        warning: None,
        quiesced,
        verb: order.verb,
        who: order.who.clone(),
    })))
}

fn record_of(wanted: &Desired) -> Record {
    Record {
        epoch: Epoch(wanted.epoch),
        switches: wanted.switches.clone(),
        quiesced: wanted.quiesced,
        ..Record::fresh(wanted.since)
    }
}

/// The command that has come to its time, by `expire`.
pub(crate) fn expired(wanted: &Desired, now: jiff::Timestamp) -> Option<Verb> {
    let due = |terms: &Option<crate::gate::Terms>| {
        terms.as_ref().and_then(|terms| terms.expire_at).is_some_and(|at| at <= now)
    };
    if due(&wanted.switches.maintenance) {
        Some(Verb::Off)
    } else if due(&wanted.switches.offline) {
        Some(Verb::Online)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::{OnDefaults, OnOptions, Quiesced, Who};
    use jiff::Timestamp;

    fn order(verb: Verb, user: &str) -> Order {
        let options = OnOptions::new(OnDefaults::default());
        let who = Who { user: user.to_owned(), address: None };
        Order { verb, options, who, now: Timestamp::UNIX_EPOCH, only_expired: false }
    }

    fn give(wanted: Option<&Desired>, verb: Verb, user: &str) -> Result<Decision, GateError> {
        let place = Place { cluster: "main".into(), dbname: "app".into() };
        decide(&place, "app", wanted, &Record::fresh(Timestamp::UNIX_EPOCH), &order(verb, user), false)
    }

    fn written(decision: Result<Decision, GateError>) -> Desired {
        match decision {
            Ok(Decision::Write(desired)) => *desired,
            other => panic!("{other:?}"),
        }
    }

    fn quiesced(desired: Desired) -> Desired {
        let at = Quiesced { at: Timestamp::UNIX_EPOCH, lsn: None };
        Desired { quiesced: Some(at), before: None, ..desired }
    }

    #[test]
    fn a_flip_goes_back_where_it_came_from_if_it_is_called_off() {
        let on = written(give(None, Verb::On, "ann"));
        assert!(on.is_draining() && on.epoch == 1);
        assert_eq!(give(Some(&on), Verb::On, "bob"), Ok(Decision::Join));
        let off = written(give(Some(&on), Verb::Off, "bob"));
        assert_eq!((off.mode(), off.epoch), (Mode::ReadWrite, 2));
        assert!(matches!(&off.ended, Some(Ended { epoch: 1, how: How::CalledOff(by), .. }) if by.user == "bob"));

        let on = quiesced(on);
        let offline = written(give(Some(&on), Verb::Offline, "ann"));
        let back = written(give(Some(&offline), Verb::Online, "bob"));
        assert_eq!((back.mode(), back.quiesced), (on.mode(), on.quiesced), "the maintenance stays");
    }

    #[test]
    fn whoever_comes_second_is_told_who_came_first() {
        let offline = written(give(None, Verb::Offline, "ann"));
        match give(Some(&offline), Verb::On, "bob") {
            Err(error @ GateError::UnderWay { .. }) => {
                assert_eq!(error.sqlstate(), "55006");
                assert!(error.to_string().contains("\"ann\""), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_so_already_is_not_written_unless_a_member_has_another_mode() {
        let on = quiesced(written(give(None, Verb::On, "ann")));
        assert_eq!(give(Some(&on), Verb::On, "bob"), Ok(Decision::Nothing));
        let off = written(give(Some(&on), Verb::Off, "bob"));
        assert_eq!(give(Some(&off), Verb::Off, "bob"), Ok(Decision::Nothing));
        let fresh = Record::fresh(Timestamp::UNIX_EPOCH);
        let again = decide(&off.place, "app", Some(&off), &fresh, &order(Verb::Off, "bob"), true);
        assert_eq!(written(again).epoch, off.epoch + 1);
    }
}
