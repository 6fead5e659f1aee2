//! SET, RESET, DISCARD and transaction control: what they do to the session, and whether they lift the guard.

use super::one_statement::{Draft, needs_primary};
use super::read_write::{Instead, ReadWriteRequest};
use crate::sql::guard_settings;
use crate::sql::hidden_writers::Left;
use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::Shape;
use crate::sql::lex::literal::{decode, name};
use crate::sql::lex::token_cursor::Cursor;
use crate::sql::statement::{
    Isolation, Kind, Name, Reason, Refusal, SessionEffect as E, TransactionModes, TransactionVerb as T,
};
use std::ops::Range;

/// SET, RESET and DISCARD; `end` is where the statement ends.
pub(in crate::sql) fn read(mut c: Cursor, end: u32) -> Option<Draft> {
    match c.bump().keyword {
        K::Set => set(c, end),
        K::Reset => reset(c),
        _ => {
            let (tag, effect) = match c.now.keyword {
                K::All => ("DISCARD ALL", E::DiscardAll),
                K::Temp | K::Temporary => ("DISCARD TEMP", E::DiscardTemp),
                K::Plans => ("DISCARD PLANS", E::DiscardPlans),
                K::Sequences => ("DISCARD SEQUENCES", E::DiscardSequences),
                _ => return None,
            };
            Some(Draft::new(Kind::Session, tag).effect(effect))
        }
    }
}

/// Whether what is in hand is the name of a setting, even if it is also a word of the grammar.
fn at_setting(c: &Cursor) -> bool {
    let after = c.after();
    c.now.is_name()
        && (after.is(b'=') || after.is(b'.') || matches!(after.keyword, K::To) || {
            after.keyword == K::From && !c.at(K::Session)
        })
}

fn set(mut c: Cursor, end: u32) -> Option<Draft> {
    if c.at(K::Constraints) && !at_setting(&c) {
        return Some(Draft::new(Kind::Session, "SET CONSTRAINTS"));
    }
    let mut local = false;
    if !at_setting(&c) {
        let after = c.after().keyword;
        local = c.at(K::Local);
        if local || (c.at(K::Session) && !matches!(after, K::Characteristics | K::Authorization)) {
            c.bump();
        }
    }
    if at_setting(&c) {
        return assignment(c, local, end);
    }
    let special = |setting: &str, c: &Cursor, default| {
        let value = c.now.start.min(end)..end;
        let name: Name = setting.as_bytes().into();
        Some(Draft::new(Kind::Session, "SET").effect(E::Set { name, value, local, default }))
    };
    match c.bump().keyword {
        K::Session if c.eat(K::Characteristics) => {
            (c.eat(K::As) && c.eat(K::Transaction)).then_some(())?;
            let (modes, write) = modes(&mut c);
            let kind = Kind::Transaction(T::SetSessionCharacteristics(modes));
            let draft = Draft::new(kind, "SET").asks_read_write(write);
            Some(draft.effect(E::Characteristics(modes)))
        }
        K::Session if c.eat(K::Authorization) => {
            Some(Draft::new(Kind::Session, "SET").effect(E::SetSessionAuthorization { local }))
        }
        K::Transaction if c.eat(K::Snapshot) => {
            let verb = T::SetTransaction { modes: TransactionModes::default(), snapshot: true };
            Some(Draft::new(Kind::Transaction(verb), "SET"))
        }
        K::Transaction => {
            let (modes, write) = modes(&mut c);
            let kind = Kind::Transaction(T::SetTransaction { modes, snapshot: false });
            let draft = Draft::new(kind, "SET").asks_read_write(write);
            Some(if needs_primary(modes.isolation) { draft.primary_only() } else { draft })
        }
        K::Role => Some(Draft::new(Kind::Session, "SET").effect(E::SetRole { local })),
        K::Time if c.eat(K::Zone) => special("timezone", &c, c.at(K::Default) || c.at(K::Local)),
        K::Names => special("client_encoding", &c, c.at_end() || c.at(K::Default)),
        K::Schema => special("search_path", &c, false),
        K::Xml if c.eat(K::Option) => special("xmloption", &c, false),
        _ => None,
    }
}

/// `name = value`, `name TO value`, `name FROM CURRENT`.
fn assignment(mut c: Cursor, local: bool, end: u32) -> Option<Draft> {
    let setting: Name = c.dotted_name()?.to_ascii_lowercase().into();
    let draft = Draft::new(Kind::Session, "SET");
    if c.eat(K::From) {
        // For the session what may have been set for the transaction only.
        return Some(draft.effect(E::Leaves(Box::new(Left::setting(&setting)))));
    }
    (c.eat_punct(b'=') || c.eat(K::To)).then_some(())?;
    let value = c.now.start.min(end)..end;
    let alone = c.after().shape == Shape::End;
    let default = c.at(K::Default) && alone;
    let draft =
        if guard_settings::is_guard(&setting) { draft.refusal(guard_set_to(c, &setting, alone)) } else { draft };
    Some(match &*setting {
        b"role" => draft.effect(E::SetRole { local }),
        b"session_authorization" => draft.effect(E::SetSessionAuthorization { local }),
        b"transaction_isolation" => draft.primary_only(),
        // It gives no setting a value: it is setseed() in another form.
        b"seed" if !default => draft.effect(E::Holds("setseed")),
        _ => draft.effect(E::Set { name: setting, value, local, default }),
    })
}

/// What is to be said of a value for one of the settings that make transactions READ ONLY.
fn guard_set_to(mut c: Cursor, setting: &[u8], alone: bool) -> Refusal {
    let lifts = Refusal::ByPgsluice(Reason::LiftsGuard);
    let asks = |at: Range<u32>, instead| Refusal::AsksReadWrite(ReadWriteRequest::new(at, instead));
    let from = c.now.start;
    let signed = !alone && (c.eat_punct(b'-') || c.eat_punct(b'+'));
    let first = c.bump();
    if !c.at_end() {
        return lifts;
    }
    let all = from..first.end;
    let word = |value: &[u8], instead| match (guard_settings::is_on(value), guard_settings::is_off(value)) {
        (true, _) => Refusal::Allowed,
        (_, true) => asks(all.clone(), instead),
        _ => Refusal::ByPgsluice(Reason::LiftsGuard),
    };
    match first.shape {
        Shape::Number if first.text(c.text()).iter().all(|digit| *digit == b'0') => asks(all, Instead::On),
        Shape::Number if first.text(c.text()) == b"1" && !signed => Refusal::Allowed,
        Shape::Word if first.keyword == K::Default && !signed => {
            match guard_settings::is_transaction_read_only(setting) {
                true => asks(all, Instead::On),
                // What a guarded connection goes back to is on.
                false => Refusal::Allowed,
            }
        }
        Shape::Str(_) if !signed => word(&decode(first, c.text()), Instead::Literal),
        Shape::Word | Shape::Quoted | Shape::UnicodeQuoted if !signed => word(&name(first, c.text()), Instead::On),
        _ => lifts,
    }
}

fn reset(mut c: Cursor) -> Option<Draft> {
    let draft = Draft::new(Kind::Session, "RESET");
    match c.now.keyword {
        K::All => return Some(draft.effect(E::ResetAll)),
        K::Time if c.after().keyword == K::Zone => return Some(draft.effect(E::Reset(b"timezone"[..].into()))),
        K::Transaction if c.after().keyword == K::Isolation => return Some(draft),
        K::Session if c.after().keyword == K::Authorization => {
            return Some(draft.effect(E::SetSessionAuthorization { local: false }));
        }
        _ => {}
    }
    let at = c.now.start..c.now.end;
    let setting: Name = c.dotted_name()?.to_ascii_lowercase().into();
    let lifts = guard_settings::is_transaction_read_only(&setting);
    let request = Refusal::AsksReadWrite(ReadWriteRequest::new(at, Instead::OtherName));
    let draft = draft.refusal(if lifts { request } else { Refusal::Allowed });
    Some(match &*setting {
        b"role" => draft.effect(E::SetRole { local: false }),
        b"session_authorization" => draft.effect(E::SetSessionAuthorization { local: false }),
        _ => draft.effect(E::Reset(setting)),
    })
}

/// BEGIN, COMMIT, ROLLBACK, SAVEPOINT and their synonyms.
pub(in crate::sql) fn transaction(mut c: Cursor) -> Option<Draft> {
    let verb = c.bump().keyword;
    let noise = |c: &mut Cursor| {
        let _ = c.eat(K::Work) || c.eat(K::Transaction);
    };
    let draft = |verb, tag| Some(Draft::new(Kind::Transaction(verb), tag));
    match verb {
        K::Begin | K::Start => {
            if verb == K::Start && !c.at(K::Transaction) {
                return None;
            }
            noise(&mut c);
            let (modes, write) = modes(&mut c);
            let tag = if verb == K::Begin { "BEGIN" } else { "START TRANSACTION" };
            let begin = draft(T::Begin(modes), tag)?.asks_read_write(write);
            Some(if needs_primary(modes.isolation) { begin.primary_only() } else { begin })
        }
        K::Commit if c.at(K::Prepared) => draft(T::CommitPrepared, "COMMIT PREPARED"),
        K::Rollback if c.at(K::Prepared) => draft(T::RollbackPrepared, "ROLLBACK PREPARED"),
        K::Commit | K::End => {
            noise(&mut c);
            draft(T::Commit { chain: chains(&mut c) }, "COMMIT")
        }
        K::Rollback | K::Abort => {
            noise(&mut c);
            if verb == K::Rollback && c.eat(K::To) {
                skip_savepoint(&mut c);
                return draft(T::RollbackTo(c.name()?), "ROLLBACK");
            }
            draft(T::Rollback { chain: chains(&mut c) }, "ROLLBACK")
        }
        K::Savepoint => draft(T::Savepoint(c.name()?), "SAVEPOINT"),
        _ => {
            skip_savepoint(&mut c);
            draft(T::Release(c.name()?), "RELEASE")
        }
    }
}

/// SAVEPOINT is noise unless it is the name itself.
fn skip_savepoint(c: &mut Cursor) {
    if c.at(K::Savepoint) && c.after().shape != Shape::End {
        c.bump();
    }
}

fn chains(c: &mut Cursor) -> bool {
    c.eat(K::And) && !c.eat(K::No) && c.eat(K::Chain)
}

/// Transaction modes, with or without commas, and where WRITE stands if READ WRITE is what counts.
fn modes(c: &mut Cursor) -> (TransactionModes, Option<Range<u32>>) {
    let (mut modes, mut write) = (TransactionModes::default(), None);
    loop {
        match c.bump().keyword {
            K::Isolation if c.eat(K::Level) => {
                let second = c.after().keyword;
                let level = match (c.bump().keyword, second) {
                    (K::Serializable, _) => Isolation::Serializable,
                    (K::Repeatable, K::Read) => Isolation::RepeatableRead,
                    (K::Read, K::Committed) => Isolation::ReadCommitted,
                    (K::Read, K::Uncommitted) => Isolation::ReadUncommitted,
                    _ => return (modes, write),
                };
                if level != Isolation::Serializable {
                    c.bump();
                }
                modes.isolation = Some(level);
            }
            K::Read if c.eat(K::Only) => (modes.read_only, write) = (Some(true), None),
            K::Read if c.at(K::Write) => {
                let at = c.bump();
                (modes.read_only, write) = (Some(false), Some(at.start..at.end));
            }
            K::Not if c.eat(K::Deferrable) => modes.deferrable = Some(false),
            K::Deferrable => modes.deferrable = Some(true),
            _ if c.at_end() => return (modes, write),
            _ => {}
        }
    }
}

#[cfg(test)]
#[path = "session_effects_tests.rs"]
mod tests;
