//! Statements that ask for READ WRITE in plain words, and the same statements asking for READ ONLY.
//!
//! With the gate closed such a statement is accepted, and what is sent in its place asks for READ ONLY. It is as long as the
//! client's to the byte, so that positions in errors are the client's.

use std::ops::Range;
use std::rc::Rc;

use crate::sql::cache::verdicts::Cached;
use crate::sql::guard_settings;
use crate::sql::statement::{Analysis, Kind, Refusal, SessionEffect, Statement, TransactionVerb as T};

/// Where a statement asks for READ WRITE, and what takes its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReadWriteRequest {
    at: Range<u32>,
    instead: Instead,
}

/// What takes the place of the words that ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::sql) enum Instead {
    /// ONLY, for WRITE.
    Only,
    /// `on`, for a bare value.
    On,
    /// `'on'`, for a constant in quotes.
    Literal,
    /// A setting that nobody sets, for the name of `transaction_read_only`, whose default is off. RESET is what it was.
    OtherName,
}

/// A setting for developers of PostgreSQL: RESET of it changes nothing.
const OTHER_NAME: &[u8] = b"trace_notify";

/// Requests of one statement that are replaced; with more it is refused.
const MOST_ROUNDS: usize = 8;

impl ReadWriteRequest {
    pub(in crate::sql) fn new(at: Range<u32>, instead: Instead) -> Self {
        Self { at, instead }
    }

    /// Writes what takes its place, with blanks behind it.
    fn replace(&self, text: &mut [u8]) {
        let Some(place) = text.get_mut(self.at.start as usize..self.at.end as usize) else { return };
        let words: &[u8] = match (self.instead, place.len()) {
            (Instead::Only, _) => b"ONLY",
            (Instead::On, 1) => b"1",
            (Instead::On, _) => b"on",
            (Instead::Literal, 3) => b"'1'",
            (Instead::Literal, _) => b"'on'",
            (Instead::OtherName, _) => OTHER_NAME,
        };
        if let Some((front, rest)) = place.split_at_mut_checked(words.len()) {
            front.copy_from_slice(words);
            rest.fill(b' ');
        }
    }
}

/// The setting that new transactions begin with, and that of the open one.
const DEFAULT: &[u8] = b"default_transaction_read_only";
const OF_TRANSACTION: &[u8] = b"transaction_read_only";

/// The text with every request for READ WRITE replaced; None: it has none. `read` reads a text. What the statements do to the
/// session is the client's own, what is refused of them is as it was read in the new text.
pub fn as_read_only(cached: &Cached, mut read: impl FnMut(&[u8]) -> Rc<Cached>) -> Option<Rc<Cached>> {
    let mut text = cached.text.clone();
    let mut now: Option<Rc<Cached>> = None;
    for _ in 0..MOST_ROUNDS {
        let statements = &now.as_deref().unwrap_or(cached).analysis.statements;
        let mut found = false;
        for request in statements.iter().filter_map(request_of) {
            request.replace(&mut text);
            found = true;
        }
        if !found {
            break;
        }
        now = Some(read(&text));
    }
    let now = now.filter(|now| alike(&now.analysis, &cached.analysis))?;
    let pairs = cached.analysis.statements.iter().zip(&now.analysis.statements);
    let statements = pairs.map(|(asked, sent)| merged(asked, sent)).collect();
    Some(Rc::new(Cached::new(&text, Analysis { statements, ambiguous: false })))
}

fn request_of(statement: &Statement) -> Option<&ReadWriteRequest> {
    match &statement.refusal {
        Refusal::AsksReadWrite(request) => Some(request),
        _ => None,
    }
}

/// Whether the new text reads as the client's, but for what was replaced.
fn alike(now: &Analysis, before: &Analysis) -> bool {
    // What took the place of its last words may end with blanks.
    let spans = |a: &Statement, b: &Statement| a.span.start == b.span.start && a.span.end <= b.span.end;
    let same = |(a, b): (&Statement, &Statement)| spans(a, b) && a.tag == b.tag && a.contained == b.contained;
    !now.ambiguous
        && !before.ambiguous
        && now.statements.len() == before.statements.len()
        && now.statements.iter().zip(&before.statements).all(same)
}

fn merged(asked: &Statement, sent: &Statement) -> Statement {
    let mut merged = Statement { refusal: sent.refusal.clone(), ..asked.clone() };
    if request_of(asked).is_some() {
        // The value lies in the client's text.
        for effect in &mut merged.effects {
            if let SessionEffect::Set { name, local, default: false, .. } = effect
                && [DEFAULT, OF_TRANSACTION].contains(&&**name)
            {
                let (name, value) = (name.clone(), Some(b"off"[..].into()));
                *effect = SessionEffect::SetConfig { name, value, local: *local };
            }
        }
    }
    merged
}

/// What a statement asks of the open transaction: READ ONLY (true) or READ WRITE.
pub fn asks_of_transaction(statement: &Statement) -> Option<bool> {
    if let Kind::Transaction(T::Begin(modes) | T::SetTransaction { modes, .. }) = &statement.kind {
        return modes.read_only;
    }
    statement.effects.iter().find_map(|effect| match effect {
        SessionEffect::Reset(name) if **name == *OF_TRANSACTION => Some(false),
        SessionEffect::Set { name, default, .. } if **name == *OF_TRANSACTION => {
            Some(!default && request_of(statement).is_none())
        }
        SessionEffect::SetConfig { name, value, .. } if **name == *OF_TRANSACTION => {
            Some(value.as_deref().is_some_and(guard_settings::is_on))
        }
        _ => None,
    })
}

/// What the session's own default is after a statement with that effect has run: `Some(None)`, what it was at log-in.
pub fn default_after(effect: &SessionEffect) -> Option<Option<bool>> {
    match effect {
        SessionEffect::Set { name, local: false, default, .. } if **name == *DEFAULT => {
            // One that asks for off is told of as set_config.
            Some((!default).then_some(true))
        }
        SessionEffect::SetConfig { name, value, local: false } if **name == *DEFAULT => {
            Some(value.as_deref().map(guard_settings::is_on))
        }
        SessionEffect::Characteristics(modes) => modes.read_only.map(Some),
        SessionEffect::Reset(name) if **name == *DEFAULT => Some(None),
        SessionEffect::ResetAll | SessionEffect::DiscardAll => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::{Analyzer, LexContext};

    fn read(text: &[u8]) -> Rc<Cached> {
        Rc::new(Cached::new(text, Analyzer::default().analyze(text, LexContext::default())))
    }

    #[test]
    fn what_asks_for_read_write_is_sent_asking_for_read_only() {
        for (asked, sent) in [
            ("BEGIN READ WRITE", "BEGIN READ ONLY "),
            (
                "begin isolation level serializable, read write; select 1",
                "begin isolation level serializable, read ONLY ; select 1",
            ),
            ("SET TRANSACTION READ WRITE", "SET TRANSACTION READ ONLY "),
            (
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ /* */ WRITE",
                "SET SESSION CHARACTERISTICS AS TRANSACTION READ /* */ ONLY ",
            ),
            ("SET default_transaction_read_only=off", "SET default_transaction_read_only=on "),
            ("SET default_transaction_read_only TO 0", "SET default_transaction_read_only TO 1"),
            ("SET default_transaction_read_only TO -0", "SET default_transaction_read_only TO on"),
            ("SET transaction_read_only TO 'f'", "SET transaction_read_only TO '1'"),
            ("SET LOCAL transaction_read_only = E'of'", "SET LOCAL transaction_read_only = 'on' "),
            ("RESET transaction_read_only", "RESET trace_notify         "),
            ("SET transaction_read_only TO DEFAULT", "SET transaction_read_only TO on     "),
            (
                "SELECT set_config('default_transaction_read_only', 'off', false), set_config('transaction_read_only', 'no', true)",
                "SELECT set_config('default_transaction_read_only', 'on' , false), set_config('transaction_read_only', 'on', true)",
            ),
            ("BEGIN READ WRITE; SET TRANSACTION READ WRITE", "BEGIN READ ONLY ; SET TRANSACTION READ ONLY "),
        ] {
            let got = as_read_only(&read(asked.as_bytes()), read).unwrap_or_else(|| panic!("{asked}"));
            assert_eq!(String::from_utf8_lossy(&got.text), sent);
            for statement in &got.analysis.statements {
                assert_eq!(statement.refusal, Refusal::Allowed, "{asked}");
            }
        }
        for text in
            ["BEGIN", "SET default_transaction_read_only = on", "SELECT 'READ WRITE'", "BEGIN READ WRITE, READ ONLY"]
        {
            assert!(as_read_only(&read(text.as_bytes()), read).is_none(), "{text}");
        }
    }
}
