//! What a body leaves behind in its session when it runs: settings, temporary objects, locks and their like, read in the
//! statements of a function, a procedure or a DO.
//!
//! What it calls counts wherever it stands, commands where a statement of PL/pgSQL can begin. Where a body has an EXECUTE, its
//! constants may be what it runs, or the beginning of that; they are read too. A text that is put together from what no constant says is
//! beyond what can be read.

use crate::sql::classify::analyzer::Scope;
use crate::sql::classify::one_statement;
use crate::sql::guard_settings;
use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::{Lexer, Shape, Token};
use crate::sql::lex::literal::{decode, name};
use crate::sql::lex::token_facts::scan;
use crate::sql::other_databases::may_change_databases;
use crate::sql::statement::{Kind, Name, SessionEffect, Statement};

/// What is left behind of what can be asked for, and what else.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Kinds(u16);

impl Kinds {
    /// LISTEN.
    pub const LISTEN: Self = Self(1);
    /// Temporary objects.
    pub const TEMPORARY: Self = Self(2);
    /// Cursors WITH HOLD.
    pub const CURSOR: Self = Self(4);
    /// Advisory locks.
    pub const LOCK: Self = Self(8);
    /// PREPARE.
    pub const PREPARED: Self = Self(16);
    /// What nobody can be asked for: a role, settings whose names are computed, LOAD.
    pub const OTHER: Self = Self(32);
    /// May end what binds a session.
    pub const ENDS: Self = Self(64);
    /// Any of PostgreSQL's own settings.
    pub const ANY_SETTING: Self = Self(128);
    /// Objects that are temporary if the temporary schema comes first in the search path.
    pub const CREATES: Self = Self(256);
    /// Whatever a text does that is put together when it runs.
    pub const UNKNOWN: Self = Self(512);
    /// It signals server processes, which are not to be its own.
    pub const SIGNALS: Self = Self(1024);
    /// It changes a database as an object of the server, which may be another one than its own.
    pub const DATABASES: Self = Self(2048);
    /// How many bits there are.
    pub(in crate::sql::hidden_writers) const BITS: u32 = 12;

    /// Whether all of that is in it.
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Adds that.
    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Whether something certainly binds the session.
    pub fn binds(self) -> bool {
        let nothing = [Self::ENDS, Self::ANY_SETTING, Self::CREATES, Self::UNKNOWN, Self::SIGNALS, Self::DATABASES];
        self.0 & !nothing.iter().fold(0, |all, kind| all | kind.0) != 0
    }

    pub(in crate::sql::hidden_writers) fn bits(self) -> u64 {
        self.0.into()
    }

    pub(in crate::sql::hidden_writers) fn from_bits(bits: u64) -> Self {
        Self((bits & ((1 << Self::BITS) - 1)) as u16)
    }
}

/// See the module.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Left {
    /// What is no setting.
    pub kinds: Kinds,
    /// Settings that are given a value, in lower case; at most [`MOST_NAMES`].
    pub names: Vec<Name>,
}

/// More settings than these are [`Kinds::OTHER`].
const MOST_NAMES: usize = 52;

impl Left {
    /// Whether it is nothing.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// One setting.
    pub(in crate::sql) fn setting(name: &[u8]) -> Self {
        let mut left = Self::default();
        left.name(name);
        left
    }

    /// What is no setting.
    pub(in crate::sql) fn of(kinds: Kinds) -> Self {
        Self { kinds, ..Self::default() }
    }

    fn kind(&mut self, kind: Kinds) {
        self.kinds.add(kind);
    }

    fn name(&mut self, name: &[u8]) {
        // Those the server reports, or they end with their transaction.
        if guard_settings::is_guard(name)
            || name.starts_with(b"transaction_")
            || self.names.iter().any(|one| **one == *name)
        {
            return;
        }
        match name {
            b"role" | b"session_authorization" | b"seed" => self.kind(Kinds::OTHER),
            _ if self.names.len() >= MOST_NAMES => self.kind(Kinds::OTHER),
            _ => self.names.push(name.into()),
        }
    }

    fn effect(&mut self, effect: &SessionEffect) {
        use SessionEffect as E;
        match effect {
            E::Set { local: true, .. } | E::SetConfig { local: true, .. } => {}
            E::SetRole { local: true } | E::SetSessionAuthorization { local: true } => {}
            E::Set { name, .. } | E::SetConfig { name, .. } | E::Reset(name) => self.name(name),
            E::Characteristics(_) => {
                self.name(b"default_transaction_isolation");
                self.name(b"default_transaction_deferrable");
            }
            E::SetRole { .. } | E::SetSessionAuthorization { .. } => self.kind(Kinds::OTHER),
            E::ResetAll | E::DiscardAll | E::Load | E::Holds(_) => self.kind(Kinds::OTHER),
            E::Listen(_) => self.kind(Kinds::LISTEN),
            E::CreateTemp => self.kind(Kinds::TEMPORARY),
            E::DeclareWithHold(_) => self.kind(Kinds::CURSOR),
            E::AdvisoryLock => self.kind(Kinds::LOCK),
            E::Prepare { .. } => self.kind(Kinds::PREPARED),
            E::Unlisten(_) | E::CloseCursor(_) | E::AdvisoryUnlock | E::Deallocate(_) | E::DiscardTemp => {
                self.kind(Kinds::ENDS);
            }
            E::Leaves(left) => {
                self.kind(left.kinds);
                left.names.iter().for_each(|name| self.name(name));
            }
            E::None | E::DiscardPlans | E::DiscardSequences | E::Execute(_) | E::ShowsPrepared => {}
            E::AsksSequence | E::Empties(_) | E::Unknown => {}
        }
    }

    fn statement(&mut self, statement: &Statement) {
        statement.effects.iter().for_each(|effect| self.effect(effect));
        if statement.tag.starts_with("DROP ") {
            self.kind(Kinds::ENDS);
        }
        if statement.makes_object() {
            self.kind(Kinds::CREATES);
        }
    }
}

/// What stands around a text that is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing: it is a body.
    Body,
    /// A body with an EXECUTE: it is a constant, and may be a part of what that runs.
    Constant,
}

/// What the constants of a statement leave behind if they are bodies: those of a DO.
pub(in crate::sql) fn by_constants(lexer: Lexer<'_>, scope: Scope<'_>) -> Left {
    let mut left = Left::default();
    constants(lexer, scope, Place::Body, &mut left);
    left
}

/// What a statement leaves behind by the texts that its functions run.
pub(in crate::sql) fn by_texts(lexer: Lexer<'_>, scope: Scope<'_>, computed: bool) -> Left {
    let mut left = Left::default();
    constants(lexer, scope, Place::Constant, &mut left);
    if computed {
        left.kind(Kinds::UNKNOWN);
    }
    left
}

/// What running a body leaves behind.
pub(in crate::sql::hidden_writers) fn by_body(text: &str, scope: Scope<'_>) -> Left {
    let mut left = Left::default();
    let readings: &[bool] = if text.contains('\\') { &[true, false] } else { &[true] };
    for standard in readings {
        read(Lexer::new(text.as_bytes(), *standard), scope, Place::Body, &mut left);
    }
    if may_change_databases(text) {
        left.kind(Kinds::DATABASES);
    }
    left
}

/// The same for a language that nobody here reads, by its words.
pub(in crate::sql::hidden_writers) fn by_words(text: &str) -> Left {
    let mut left = Left::default();
    if may_change_databases(text) {
        left.kind(Kinds::DATABASES);
    }
    let words = || text.split(|c: char| !(c.is_alphanumeric() || c == '_')).map(str::to_ascii_lowercase);
    let has = |wanted: &[&str]| words().any(|word| wanted.contains(&&*word));
    let creates = has(&["create"]);
    if has(&["execute", "spi_exec", "spi_exec_query", "spi_query"]) && !has(&["select", "insert", "update", "delete"]) {
        left.kind(Kinds::UNKNOWN);
    }
    for word in words() {
        match word.as_str() {
            "set_config" => left.kind(Kinds::OTHER),
            "listen" => left.kind(Kinds::LISTEN),
            "create" => left.kind(Kinds::CREATES),
            "pg_settings" if has(&["update"]) => left.kind(Kinds::ANY_SETTING),
            "temp" | "temporary" if creates => left.kind(Kinds::TEMPORARY),
            "pg_advisory_lock" | "pg_advisory_lock_shared" => left.kind(Kinds::LOCK),
            "pg_try_advisory_lock" | "pg_try_advisory_lock_shared" => left.kind(Kinds::LOCK),
            "pg_terminate_backend" | "pg_cancel_backend" => left.kind(Kinds::SIGNALS),
            "drop" | "unlisten" | "pg_advisory_unlock" | "pg_advisory_unlock_all" => left.kind(Kinds::ENDS),
            _ => {}
        }
    }
    left
}

fn constants(mut lexer: Lexer<'_>, scope: Scope<'_>, place: Place, left: &mut Left) {
    let Some(below) = scope.below() else { return };
    let text = lexer.text();
    loop {
        let token = lexer.next();
        match token.shape {
            Shape::End => return,
            Shape::Str(_) => {
                let inner = decode(token, text);
                read(lexer.other(&inner), below, place, left);
            }
            _ => {}
        }
    }
}

fn read(lexer: Lexer<'_>, scope: Scope<'_>, place: Place, left: &mut Left) {
    let mut statements = lexer.clone();
    let mut texts = false;
    loop {
        let facts = scan(&mut statements, scope);
        facts.calls.effects.iter().for_each(|effect| left.effect(effect));
        match facts.into {
            Some(true) => left.kind(Kinds::TEMPORARY),
            // In a body it is most often a variable that is given a value.
            Some(false) if place == Place::Constant => left.kind(Kinds::CREATES),
            _ => {}
        }
        if facts.updates_settings() {
            left.kind(Kinds::ANY_SETTING);
        }
        if facts.calls.signals {
            left.kind(Kinds::SIGNALS);
        }
        if facts.calls.runs_text {
            texts = true;
            if facts.calls.runs_computed {
                left.kind(Kinds::UNKNOWN);
            }
        }
        if !facts.terminated {
            break;
        }
    }
    let executes = commands(lexer.clone(), scope, place, left);
    if executes && place == Place::Body && !has_commands(lexer.clone()) {
        // What it runs comes from outside.
        left.kind(Kinds::UNKNOWN);
    }
    if executes | texts {
        constants(lexer, scope, Place::Constant, left);
    }
}

/// Whether a constant of a text begins like a command.
fn has_commands(mut lexer: Lexer<'_>) -> bool {
    let text = lexer.text();
    loop {
        let token = lexer.next();
        match token.shape {
            Shape::End => return false,
            Shape::Str(_) => {
                let inner = decode(token, text);
                let first = lexer.other(&inner).next();
                if first.shape == Shape::Word && first.keyword != K::None {
                    return true;
                }
            }
            _ => {}
        }
    }
}

/// The commands of a text; whether it runs others that it puts together.
fn commands(mut lexer: Lexer<'_>, scope: Scope<'_>, place: Place, left: &mut Left) -> bool {
    let text = lexer.text();
    let mut executes = false;
    let mut begins = true;
    loop {
        let token = lexer.next();
        match token.shape {
            Shape::End => return executes,
            Shape::Word
                if begins && (is_lead(token.keyword) || place == Place::Constant && token.keyword == K::Declare) =>
            {
                let end = u32::try_from(text.len()).unwrap_or(u32::MAX);
                let mut part = lexer.part(token.start, end);
                let facts = scan(&mut part, scope);
                // Statement by statement, so that each is read once.
                let after = facts.end.max(token.end);
                let second = facts.head[1];
                let statement = one_statement::statement(&lexer, facts, scope, 0);
                left.statement(&statement);
                if place == Place::Constant && statement.kind == Kind::Unknown {
                    beginning(token, second, left);
                }
                lexer = lexer.part(after, end);
                begins = false;
            }
            Shape::Word => {
                executes |= token.keyword == K::Execute;
                begins = matches!(token.keyword, K::Begin | K::Then | K::Else | K::Atomic)
                    || name(token, text).as_slice() == b"loop";
            }
            shape => begins = matches!(shape, Shape::Punct(b';' | b'>')),
        }
    }
}

/// A command of which a constant has the beginning only: `'LISTEN ' || channel`, `format('SET %I = 1', …)`.
fn beginning(lead: Token, second: Token, left: &mut Left) {
    let open = second.shape == Shape::End || second.is(b'%');
    match lead.keyword {
        K::Set | K::Reset | K::Load if open => left.kind(Kinds::OTHER),
        K::Listen if open => left.kind(Kinds::LISTEN),
        K::Prepare if open => left.kind(Kinds::PREPARED),
        K::Create => left.kind(Kinds::CREATES),
        _ => {}
    }
}

/// Words with which a command begins that alters the session.
fn is_lead(keyword: K) -> bool {
    matches!(
        keyword,
        K::Close
            | K::Create
            | K::Deallocate
            | K::Discard
            | K::Drop
            | K::Listen
            | K::Load
            | K::Prepare
            | K::Reset
            | K::Set
            | K::Unlisten
    )
}

#[cfg(test)]
#[path = "bodies_tests.rs"]
mod tests;
