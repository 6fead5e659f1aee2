//! `SHOW pgsluice.mode` and its like: settings that are pgsluice's own and known to no server. All but one are read-only.

use super::lex::encoding::{LexContext, StandardStrings, mask};
use super::lex::lexer::Lexer;
use super::lex::token_cursor::Cursor;
use super::statement::{Kind, SessionEffect, Statement};

/// A setting of pgsluice's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// `read_write`, `draining`, `read_only` or `offline`.
    Mode,
    /// What applications are told of the maintenance.
    Message,
    /// When it is expected to end.
    Until,
    /// Grows by one with each change of mode.
    Epoch,
    /// Whether an operator's statements go to several servers.
    Fanout,
    /// The cluster that serves the session. Operators choose it.
    Cluster,
}

/// What an operator's statement does with `pgsluice.fanout`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FanoutUse {
    /// SET to a word that means on.
    On,
    /// SET to a word that means off, or to its default.
    Off,
    /// SET to this, which means neither.
    Wrong(String),
}

/// What a statement does with one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnUse {
    /// SHOW.
    Shows(Own),
    /// SET or RESET, which is not allowed but of [`Own::Cluster`].
    Sets(Own),
    /// SET or RESET of a name that could be one, but is none.
    SetsUnknown,
}

/// What their names begin with.
const PREFIX: &[u8] = b"pgsluice.";

/// Longer texts are not looked at: nobody writes so much around a SHOW.
const LONGEST: usize = 256;

impl Own {
    const ALL: [Self; 6] = [Self::Mode, Self::Message, Self::Until, Self::Epoch, Self::Fanout, Self::Cluster];

    /// Its name, as PostgreSQL would print it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mode => "pgsluice.mode",
            Self::Message => "pgsluice.message",
            Self::Until => "pgsluice.until",
            Self::Epoch => "pgsluice.epoch",
            Self::Fanout => "pgsluice.fanout",
            Self::Cluster => "pgsluice.cluster",
        }
    }

    /// The setting of that name. Names are compared without regard to case, quoted or not.
    pub fn of(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|own| name.eq_ignore_ascii_case(own.name().as_bytes()))
    }
}

/// Whether a text may use one, at the price of a glance: what begins with SHOW, SET, RESET, SELECT or something before them.
pub fn may_use_own(text: &[u8]) -> bool {
    let begins = |word: &[u8]| text.get(..word.len()).is_some_and(|front| front.eq_ignore_ascii_case(word));
    let odd = text.first().is_some_and(|first| !first.is_ascii_alphabetic());
    text.len() <= LONGEST
        && (odd || [b"sho", b"set", b"res", b"sel", b"wit", b"val"].iter().any(|word| begins(*word)))
        && text.windows(8).any(|window| window.eq_ignore_ascii_case(b"pgsluice"))
}

/// What the statement does with a setting of pgsluice's own.
#[inline]
pub fn own_use(statement: &Statement, text: &[u8], context: LexContext) -> Option<OwnUse> {
    match statement.kind {
        Kind::Utility if statement.tag == "SHOW" => shows(statement.text(text), context).map(OwnUse::Shows),
        // By SET, or by set_config() in whatever statement.
        _ => set_name(statement).map(|name| Own::of(name).map_or(OwnUse::SetsUnknown, OwnUse::Sets)),
    }
}

/// What a plain SET or RESET does with `pgsluice.fanout`; None: it is about something else.
pub fn fanout_use(statement: &Statement, text: &[u8]) -> Option<FanoutUse> {
    let is_it = |name: &[u8]| Own::of(name) == Some(Own::Fanout);
    let (value, default) = statement.effects.iter().find_map(|effect| match effect {
        SessionEffect::Set { name, value, default, .. } if is_it(name) => Some((value.clone(), *default)),
        SessionEffect::Reset(name) if is_it(name) => Some((0..0, true)),
        _ => None,
    })?;
    if default {
        return Some(FanoutUse::Off);
    }
    let value = text.get(value.start as usize..value.end as usize).unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    let value = value.trim().trim_end_matches(';').trim().trim_matches(['\'', '"']);
    let is_front_of = |word: &str, least: usize| {
        value.len() >= least && word.get(..value.len()).is_some_and(|front| front.eq_ignore_ascii_case(value))
    };
    // As PostgreSQL reads a Boolean.
    Some(if is_front_of("on", 2) || is_front_of("true", 1) || is_front_of("yes", 1) || value == "1" {
        FanoutUse::On
    } else if is_front_of("off", 2) || is_front_of("false", 1) || is_front_of("no", 1) || value == "0" {
        FanoutUse::Off
    } else {
        FanoutUse::Wrong(value.chars().take(80).collect())
    })
}

/// The name of the setting of our own, known or not, that a statement gives another value.
pub fn set_name(statement: &Statement) -> Option<&[u8]> {
    statement.effects.iter().find_map(|effect| match effect {
        SessionEffect::Set { name, .. } | SessionEffect::Reset(name) | SessionEffect::SetConfig { name, .. }
            if is_ours(name) =>
        {
            Some(&**name)
        }
        // By set_config() with a value that is not in the text. What a DO may come to is not known.
        SessionEffect::Leaves(left) if statement.tag != "DO" => {
            left.names.iter().map(|name| &**name).find(|name| is_ours(name))
        }
        _ => None,
    })
}

/// Whether a name, quoted or not, is in the space that is pgsluice's own.
pub fn is_ours(name: &[u8]) -> bool {
    name.get(..PREFIX.len()).is_some_and(|front| front.eq_ignore_ascii_case(PREFIX))
}

fn shows(text: &[u8], context: LexContext) -> Option<Own> {
    if text.len() > LONGEST {
        return None;
    }
    let (masked, _) = mask(text, context.encoding);
    let lexer = Lexer::new(&masked, context.strings != StandardStrings::Off);
    let mut cursor = Cursor::new(&lexer, 0, u32::try_from(masked.len()).ok()?);
    cursor.bump();
    let own = Own::of(&cursor.dotted_name()?)?;
    cursor.at_end().then_some(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::analyze;

    fn read(text: &str) -> Option<OwnUse> {
        let context = LexContext::default();
        assert!(may_use_own(text.as_bytes()), "{text}");
        let analysis = analyze(text.as_bytes(), context);
        own_use(analysis.single().unwrap(), text.as_bytes(), context)
    }

    #[test]
    fn every_spelling() {
        for text in [
            "SHOW pgsluice.mode",
            " show PGSLUICE . Mode ;",
            "/* x */ SHOW \"pgsluice\".\"mode\" -- y",
            "SHOW \"pgsluice.mode\"",
        ] {
            assert_eq!(read(text), Some(OwnUse::Shows(Own::Mode)), "{text}");
        }
        assert_eq!(read("show pgsluice.until"), Some(OwnUse::Shows(Own::Until)));
        for text in [
            "SET pgsluice.epoch = 1",
            "set local PGSLUICE.epoch to default",
            "RESET pgsluice.epoch",
            "SET SESSION \"pgsluice\".epoch TO '1'",
        ] {
            assert_eq!(read(text), Some(OwnUse::Sets(Own::Epoch)), "{text}");
        }
        for text in ["SHOW pgsluice.nonsense", "SHOW pgsluice", "SHOW pgsluice.mode.x", "SET pgsluicer.x = 1"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read("SELECT set_config('pgsluice.mode', 'x', false)"), Some(OwnUse::Sets(Own::Mode)));
    }

    #[test]
    fn a_fan_out_is_switched_by_whatever_postgresql_takes_for_a_boolean() {
        let read = |text: &str| {
            let analysis = analyze(text.as_bytes(), LexContext::default());
            fanout_use(analysis.single().unwrap(), text.as_bytes())
        };
        for text in ["SET pgsluice.fanout = on", "set PGSLUICE.Fanout to TRUE;", "SET pgsluice.fanout TO '1'"] {
            assert_eq!(read(text), Some(FanoutUse::On), "{text}");
        }
        for text in ["SET pgsluice.fanout = off ;", "RESET pgsluice.fanout", "SET pgsluice.fanout TO DEFAULT"] {
            assert_eq!(read(text), Some(FanoutUse::Off), "{text}");
        }
        assert_eq!(read("SET pgsluice.fanout = o"), Some(FanoutUse::Wrong("o".into())));
        assert_eq!(read("SET pgsluice.epoch = on"), None);
        assert_eq!(read("SELECT 1"), None);
    }

    #[test]
    fn names_that_nobody_knows() {
        for text in [
            "SET pgsluice.x = 1",
            "SET LOCAL \"PGSLUICE\".reads TO replica",
            "RESET pgsluice.x",
            "SELECT set_config('Pgsluice.x', '1', true)",
            "SELECT set_config('pgsluice.x', $1, false)",
            "SELECT pg_catalog.set_config('pgsluice.x', $1, true)",
            "SELECT set_config('pgsluice.x', 'a' || 'b', $1)",
            "WITH w AS (SELECT set_config('pgsluice.x', $1, false)) SELECT * FROM w",
        ] {
            assert_eq!(read(text), Some(OwnUse::SetsUnknown), "{text}");
        }
    }

    #[test]
    fn most_texts_are_not_even_looked_at() {
        for text in ["UPDATE pgsluice SET mode = 1", "", "SHOW work_mem"] {
            assert!(!may_use_own(text.as_bytes()), "{text}");
        }
    }
}
