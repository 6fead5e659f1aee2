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

/// A server that says it is the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// Its number in the cluster.
    pub at: usize,
    /// Its timeline, 0 when not known.
    pub timeline: u32,
    /// It could not be reached before it made the claim, and has not been chosen since.
    pub returned: bool,
}

impl Claim {
    /// Whether it comes too late. The server was away while another one was promoted, so it has taken no write from here since:
    /// the newer timeline counts.
    pub fn is_outdated(self, newest: u32) -> bool {
        self.returned && self.timeline != 0 && self.timeline < newest
    }
}

/// Decides anew. `newest` is the newest timeline of any server that was the only primary.
pub(super) fn elect(before: Leader, newest: u32, claims: &[Claim]) -> Leader {
    // One that was away while another was promoted is outdated, even if nobody has chosen that one yet.
    let newest = claims.iter().filter(|claim| !claim.returned).map(|claim| claim.timeline).fold(newest, u32::max);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn claim(at: usize, timeline: u32, returned: bool) -> Claim {
        Claim { at, timeline, returned }
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
        // One that was away for a moment and found nobody else in its place goes on.
        assert_eq!(elect(Leader::None, 1, &[claim(0, 1, true)]), Leader::One(0));
        // Of the same age both may have been written to.
        assert_eq!(elect(Leader::One(1), 2, &[claim(0, 2, true), both[1]]), Leader::Contested(1));
    }
}
