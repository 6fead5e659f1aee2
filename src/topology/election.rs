//! Which server takes writes: decided from what all of them claim, by a pure function.

/// The decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leader {
    /// No server is known to take writes.
    #[default]
    None,
    /// This one takes them.
    One(usize),
    /// Several claim to be the primary: nothing is written to any of them. Reads that need a primary go to this one.
    Contested(usize),
}

/// What counts against a server's claim to be the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Objection {
    /// Nothing.
    None,
    /// It could not be reached before it made the claim, and has not been chosen since.
    Returned,
    /// A newer one was promoted, and it has received no write since.
    Superseded,
}

/// A server that says it is the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Its number in the cluster.
    pub at: usize,
    /// Its timeline, 0 when not known.
    pub timeline: u32,
    /// What counts against it.
    pub doubt: Objection,
    /// Its administrators have made it read-only.
    pub read_only: bool,
}

impl Claim {
    /// Whether it comes too late. The server was away while another one was promoted, so it has taken no write from here since:
    /// the newer timeline counts.
    pub fn is_outdated(self, newest: u32) -> bool {
        match self.doubt {
            Objection::None => false,
            Objection::Returned => self.timeline != 0 && self.timeline < newest,
            Objection::Superseded => true,
        }
    }
}

/// Chooses the primary again. `newest` is the newest timeline of any server that was the only primary.
pub(super) fn elect(before: Leader, newest: u32, claims: &[Claim]) -> Leader {
    // A server that was away while another was promoted is outdated, even if the promoted one has not been chosen yet.
    let newest =
        claims.iter().filter(|claim| claim.doubt == Objection::None).map(|claim| claim.timeline).fold(newest, u32::max);
    let mut valid = claims.iter().filter(|claim| !claim.is_outdated(newest)).map(|claim| claim.at);
    let Some(first) = valid.next() else { return Leader::None };
    let Some(second) = valid.next() else { return Leader::One(first) };
    match before {
        // Reads stay where they were.
        Leader::One(at) | Leader::Contested(at) if at == first || at == second || valid.any(|other| other == at) => {
            Leader::Contested(at)
        }
        _ => Leader::Contested(first),
    }
}

/// Decides where several servers may take writes, each for itself, and one is used at a time: the one of before as long as its
/// administrators let it write, else another one that they let.
pub(super) fn elect_active(before: Leader, claims: &[Claim]) -> Leader {
    let was = match before {
        Leader::One(at) | Leader::Contested(at) => Some(at),
        Leader::None => None,
    };
    let mut writable = claims.iter().filter(|claim| !claim.read_only).map(|claim| claim.at);
    let Some(first) = writable.next() else {
        let stays = claims.iter().find(|claim| Some(claim.at) == was).or(claims.first());
        return stays.map_or(Leader::None, |claim| Leader::One(claim.at));
    };
    match was {
        Some(at) if at == first || writable.any(|other| other == at) => Leader::One(at),
        _ => Leader::One(first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(at: usize, timeline: u32, returned: bool) -> Claim {
        let doubt = if returned { Objection::Returned } else { Objection::None };
        Claim { at, timeline, doubt, read_only: false }
    }

    #[test]
    fn one_claim_is_enough_and_two_are_too_many() {
        assert_eq!(elect(Leader::None, 0, &[]), Leader::None);
        assert_eq!(elect(Leader::None, 0, &[claim(1, 1, false)]), Leader::One(1));
        let both = [claim(0, 1, false), claim(1, 2, false)];
        assert_eq!(elect(Leader::One(0), 1, &both), Leader::Contested(0));
        assert_eq!(elect(Leader::Contested(1), 1, &both), Leader::Contested(1));
        assert_eq!(elect(Leader::None, 0, &both), Leader::Contested(0));
        assert_eq!(elect(Leader::Contested(0), 1, &both[1..]), Leader::One(1));
    }

    #[test]
    fn an_old_primary_that_comes_back_does_not_contest_the_one_that_was_promoted_meanwhile() {
        let both = [claim(0, 1, true), claim(1, 2, false)];
        assert_eq!(elect(Leader::One(1), 2, &both), Leader::One(1));
        // Nor if it is seen before that one has been chosen.
        assert_eq!(elect(Leader::None, 1, &both), Leader::One(1));
        // Not even when that one is lost in turn.
        assert_eq!(elect(Leader::One(1), 2, &both[..1]), Leader::None);
        // A primary that was away for a moment, and was not replaced, stays the primary.
        assert_eq!(elect(Leader::None, 1, &[claim(0, 1, true)]), Leader::One(0));
        // Of the same age both may have been written to.
        assert_eq!(elect(Leader::One(1), 2, &[claim(0, 2, true), both[1]]), Leader::Contested(1));
    }

    #[test]
    fn of_several_primaries_the_active_one_stays_until_its_administrators_make_it_read_only() {
        let both = [claim(0, 1, false), claim(1, 1, false)];
        assert_eq!(elect_active(Leader::None, &both), Leader::One(0));
        assert_eq!(elect_active(Leader::One(1), &both), Leader::One(1));
        let down = |at: usize| both.map(|claim| Claim { read_only: claim.at == at, ..claim });
        assert_eq!(elect_active(Leader::One(0), &down(0)), Leader::One(1));
        assert_eq!(elect_active(Leader::One(1), &down(0)), Leader::One(1));
        let neither = both.map(|claim| Claim { read_only: true, ..claim });
        assert_eq!(elect_active(Leader::One(1), &neither), Leader::One(1));
        assert_eq!(elect_active(Leader::One(1), &both[..1]), Leader::One(0));
        assert_eq!(elect_active(Leader::One(1), &[]), Leader::None);
    }
}
