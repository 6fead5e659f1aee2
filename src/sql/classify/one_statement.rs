//! The verdict on one statement, from its first words and what the scan found.
//!
//! What PostgreSQL refuses follows `ClassifyUtilityCommandAsReadOnly` (`src/backend/tcop/utility.c`) for utility
//! statements and `ExecCheckXactReadOnly` (`src/backend/executor/execMain.c`) for the rest; tags follow
//! `CreateCommandTag`. Checked against a live server by `live_tests`.

use super::analyzer::Scope;
use super::embedded_sql::refused_in_constants;
use super::read_write::{Instead, ReadWriteRequest};
use super::{ddl_tags, session_effects};
use crate::sql::guard_settings;
use crate::sql::hidden_writers::side_effects::bodies::{by_constants, by_texts};
use crate::sql::hidden_writers::{Kinds, Left};
use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::{Lexer, Shape};
use crate::sql::lex::token_cursor::Cursor;
use crate::sql::lex::token_facts::{Facts, scan};
use crate::sql::statement::{
    CopyDirection, Isolation, Kind, Process, Proven, Reason, Refusal, SessionEffect, Statement, TransactionVerb,
};
use std::ops::Range;

/// A verdict before what the calls inside add to it.
pub(in crate::sql) struct Draft {
    pub kind: Kind,
    pub tag: &'static str,
    pub refusal: Refusal,
    pub route: Proven,
    pub contained: bool,
    pub effects: Vec<SessionEffect>,
    /// The functions it names are called when it runs.
    pub executes: bool,
}

impl Draft {
    pub fn new(kind: Kind, tag: &'static str) -> Self {
        let (refusal, route, effects) = (Refusal::Allowed, Proven::Doubt, Vec::new());
        Self { kind, tag, refusal, route, contained: false, effects, executes: true }
    }

    /// What PostgreSQL refuses whatever its target.
    pub fn refused(kind: Kind, tag: &'static str) -> Self {
        Self { refusal: Refusal::ByPostgres { unless_temporary: false }, ..Self::new(kind, tag) }
    }

    /// What PostgreSQL refuses unless its target is temporary.
    pub fn writes(tag: &'static str) -> Self {
        Self { refusal: Refusal::ByPostgres { unless_temporary: true }, ..Self::new(Kind::Write, tag) }
    }

    pub fn effect(mut self, effect: SessionEffect) -> Self {
        self.effects.push(effect);
        self
    }

    pub fn refusal(mut self, refusal: Refusal) -> Self {
        self.refusal = refusal;
        self
    }

    /// `at`: where it says WRITE of READ WRITE.
    pub fn asks_read_write(self, at: Option<Range<u32>>) -> Self {
        let request = at.map(|at| ReadWriteRequest::new(at, Instead::Only));
        self.refusal(request.map_or(Refusal::Allowed, Refusal::AsksReadWrite))
    }

    pub fn primary_only(mut self) -> Self {
        self.route = Proven::PrimaryOnly;
        self
    }

    /// A statement inside this one that runs when this one does.
    fn runs(inner: Statement) -> Self {
        Self {
            kind: inner.kind,
            tag: inner.tag,
            refusal: inner.refusal,
            route: inner.route,
            contained: inner.contained,
            effects: inner.effects.into_vec(),
            executes: false,
        }
    }

    fn unknown() -> Self {
        Self { contained: true, ..Self::new(Kind::Unknown, "???") }
    }
}

/// Levels of statements in statements that the grammar has: EXPLAIN, DECLARE, SELECT.
const LEVELS: u8 = 3;

/// Judges the statement that `facts` tells of; `lexer` is one over its text, wherever it stands.
pub(in crate::sql) fn statement(lexer: &Lexer, facts: Facts, scope: Scope<'_>, level: u8) -> Statement {
    let start = facts.head[0].start;
    let draft = match facts.lead.keyword {
        K::Select | K::Values | K::Table | K::With => query(&facts),
        _ if facts.head[0].is(b'(') => Draft::unknown(),
        K::Insert => Draft::writes("INSERT"),
        K::Update => update(lexer, &facts),
        K::Delete => Draft::writes("DELETE"),
        K::Merge => merge(&facts),
        _ => {
            let cursor = Cursor::new(lexer, start, facts.end);
            utility(cursor, lexer, &facts, scope, level).unwrap_or_else(Draft::unknown)
        }
    };
    finish(draft, lexer, facts, scope)
}

/// Calls of set_config that may not run: the server is asked what they have set.
fn ask_for_unsure(effects: &mut [SessionEffect], own: Lexer) {
    let sets = |effect: &&mut SessionEffect| match effect {
        SessionEffect::SetConfig { name, local: false, .. } => !guard_settings::is_guard(name),
        _ => false,
    };
    let mut unsure = effects.iter_mut().filter(sets).peekable();
    if unsure.peek().is_none() || guard_settings::only_sets(own) {
        return;
    }
    for effect in unsure {
        if let SessionEffect::SetConfig { name, .. } = effect {
            *effect = SessionEffect::Leaves(Box::new(Left::setting(name)));
        }
    }
}

/// What a statement leaves behind by texts that its functions run, and by the view that shows settings.
fn left_unseen(facts: &Facts, own: Lexer, scope: Scope<'_>) -> Option<SessionEffect> {
    let mut left =
        if facts.calls.runs_text { by_texts(own, scope, facts.calls.runs_computed) } else { Left::default() };
    if facts.updates_settings() {
        left.kinds.add(Kinds::ANY_SETTING);
    }
    (!left.is_nothing()).then(|| SessionEffect::Leaves(Box::new(left)))
}

/// Adds what the scan found to the draft.
fn finish(draft: Draft, lexer: &Lexer, facts: Facts, scope: Scope<'_>) -> Statement {
    let span = facts.head[0].start..facts.end;
    let mut effects = draft.effects;
    let mut refusal = draft.refusal;
    let mut route = draft.route;
    if draft.executes {
        if facts.calls.runs_text || matches!(draft.tag, "DO") {
            refusal.worsen(refused_in_constants(lexer.part(span.start, span.end), scope));
        }
        effects.extend(left_unseen(&facts, lexer.part(span.start, span.end), scope));
        refusal.worsen(facts.calls.refusal);
        effects.extend(facts.calls.effects);
        if facts.calls.primary_only && refusal == Refusal::Allowed && route != Proven::Read {
            route = Proven::PrimaryOnly;
        }
    }
    ask_for_unsure(&mut effects, lexer.part(span.start, span.end));
    let moves_sequences = match draft.kind {
        Kind::Write | Kind::Unknown | Kind::Copy(CopyDirection::FromClient | CopyDirection::FromServer) => true,
        Kind::Utility if matches!(draft.tag, "DO" | "CALL" | "EXECUTE") => true,
        _ => draft.executes && (facts.calls.moves_sequence || facts.calls.unknown),
    };
    if facts.shows_prepared && draft.executes {
        effects.push(SessionEffect::ShowsPrepared);
    }
    if facts.calls.asks_sequence {
        effects.push(SessionEffect::AsksSequence);
    }
    let signals = |effect: &SessionEffect| match effect {
        SessionEffect::Leaves(left) => left.kinds.has(Kinds::SIGNALS),
        _ => false,
    };
    let means_itself = facts.calls.process == Process::Asked && !facts.shows_processes;
    let process = match draft.tag {
        "LISTEN" => Process::Asked,
        "NOTIFY" => Process::Told,
        _ if !means_itself && (facts.calls.signals || effects.iter().any(signals)) => Process::Signals,
        _ if facts.shows_processes => Process::Asked,
        _ => facts.calls.process,
    };
    if refusal == Refusal::Allowed
        && let Some(why) = scope.list.command(draft.tag)
    {
        refusal = Refusal::ByPgsluice(Reason::Command(why));
    }
    Statement {
        span,
        kind: draft.kind,
        tag: draft.tag,
        refusal,
        locks_rows: facts.lock.is_some(),
        route,
        contained: draft.contained,
        moves_sequences,
        process,
        effects: effects.into_boxed_slice(),
    }
}

fn query(facts: &Facts) -> Draft {
    if let Some(temporary) = facts.into {
        let draft = Draft::refused(Kind::Write, "SELECT INTO");
        let perhaps = || SessionEffect::Leaves(Box::new(Left::of(Kinds::CREATES)));
        return draft.effect(if temporary { SessionEffect::CreateTemp } else { perhaps() });
    }
    if facts.head[0].keyword == K::With {
        match facts.main {
            K::Insert => return Draft::writes("INSERT"),
            K::Update => return Draft::writes("UPDATE"),
            K::Delete => return Draft::writes("DELETE"),
            K::Merge => return merge(facts),
            K::None => return Draft::unknown(),
            _ => {}
        }
    }
    let tag = facts.lock.map_or("SELECT", |lock| lock.tag);
    if facts.modifying {
        return Draft::writes(tag);
    }
    let mut draft = Draft::new(Kind::Read, tag);
    if facts.lock.is_some_and(|lock| lock.certain) {
        draft.refusal = Refusal::ByPostgres { unless_temporary: true };
    }
    let calls = &facts.calls;
    let proven = facts.lock.is_none()
        && !facts.local
        && !facts.unsure
        && !calls.unknown
        && !calls.sets
        && !calls.primary_only
        && calls.effects.is_empty()
        && calls.refusal == Refusal::Allowed;
    if proven {
        draft.route = Proven::Read;
    }
    draft
}

fn merge(facts: &Facts) -> Draft {
    if facts.merges || facts.modifying { Draft::writes("MERGE") } else { Draft::new(Kind::Write, "MERGE") }
}

fn update(lexer: &Lexer, facts: &Facts) -> Draft {
    let target = facts.head[1..].iter().filter(|t| t.is_name() && t.keyword == K::None).take(2);
    let mut names = target.map(|t| crate::sql::lex::literal::name(*t, lexer.text()));
    // A rule turns it into a SELECT of set_config.
    if names.any(|name| name == b"pg_settings") { Draft::writes("SELECT") } else { Draft::writes("UPDATE") }
}

/// Reads the statement that begins at `start` inside another one.
fn inner(lexer: &Lexer, start: u32, end: u32, scope: Scope<'_>, level: u8) -> Option<Statement> {
    if level >= LEVELS {
        return None;
    }
    let mut part = lexer.part(start, end);
    let facts = scan(&mut part, scope);
    (facts.tokens > 0).then(|| statement(lexer, facts, scope, level + 1))
}

/// Everything that does not begin like a query. `None`: not known.
fn utility(mut c: Cursor, lexer: &Lexer, facts: &Facts, scope: Scope<'_>, level: u8) -> Option<Draft> {
    use SessionEffect as E;
    let verb = c.now.keyword;
    let (second, third) = (facts.head[1], facts.head[2]);
    let end = facts.end;
    let ddl = |tag| Some(Draft { executes: false, ..Draft::refused(Kind::Ddl, tag) });
    let plain = |kind, tag| Some(Draft::new(kind, tag));
    match verb {
        K::Create | K::Alter | K::Drop => ddl_tags::read(c, facts),
        K::Comment => ddl("COMMENT"),
        K::Grant | K::Revoke => ddl(ddl_tags::grant(c, verb)),
        K::Import => ddl("IMPORT FOREIGN SCHEMA"),
        K::Reassign => ddl("REASSIGN OWNED"),
        K::Refresh => ddl("REFRESH MATERIALIZED VIEW"),
        K::Security if second.keyword == K::Label => ddl("SECURITY LABEL"),
        K::Truncate => Some(Draft::refused(Kind::Write, "TRUNCATE TABLE")),
        K::Prepare if second.keyword == K::Transaction && third.is_str() => {
            plain(Kind::Transaction(TransactionVerb::PrepareTransaction), "PREPARE TRANSACTION")
        }
        K::Prepare => prepare(c, lexer, end, scope, level),
        K::Execute => {
            c.bump();
            Some(Draft::new(Kind::Utility, "EXECUTE").effect(E::Execute(c.name()?)))
        }
        K::Deallocate => deallocate(c),
        K::Explain => explain(c, lexer, facts, scope, level),
        K::Declare => declare(c, lexer, facts, scope, level),
        K::Copy => copy(c, lexer, facts, scope, level),
        K::Close if second.keyword == K::All => {
            Some(Draft::new(Kind::Session, "CLOSE CURSOR ALL").effect(E::CloseCursor(None)))
        }
        K::Close => {
            c.bump();
            Some(Draft::new(Kind::Session, "CLOSE CURSOR").effect(E::CloseCursor(Some(c.name()?))))
        }
        K::Fetch => plain(Kind::Read, "FETCH"),
        K::Move => plain(Kind::Read, "MOVE"),
        K::Show => {
            let draft = Draft::new(Kind::Utility, "SHOW");
            // As pg_is_in_recovery(): drivers ask for the whole, not for a replica that answers for it.
            let of_whole = crate::sql::lex::literal::name(second, c.text()) == b"in_hot_standby";
            Some(if of_whole { draft.primary_only() } else { draft })
        }
        K::Load => Some(Draft::new(Kind::Session, "LOAD").effect(E::Load)),
        K::Listen => {
            c.bump();
            Some(Draft::new(Kind::Session, "LISTEN").effect(E::Listen(c.name()?)).primary_only())
        }
        K::Unlisten => {
            c.bump();
            let channel = if c.eat_punct(b'*') { None } else { Some(c.name()?) };
            Some(Draft::new(Kind::Session, "UNLISTEN").effect(E::Unlisten(channel)).primary_only())
        }
        K::Notify => Some(Draft::new(Kind::Utility, "NOTIFY").primary_only()),
        K::Lock => Some(lock_table(c)),
        K::Call => Some(Draft { contained: true, ..Draft::new(Kind::Utility, "CALL").effect(E::Unknown) }),
        K::Do => Some(do_block(&c, lexer, end, scope)),
        K::Checkpoint => plain(Kind::Utility, "CHECKPOINT"),
        K::Vacuum => plain(Kind::Utility, "VACUUM"),
        K::Analyze | K::Analyse => plain(Kind::Utility, "ANALYZE"),
        K::Reindex => plain(Kind::Utility, "REINDEX"),
        K::Cluster => plain(Kind::Utility, "CLUSTER"),
        K::Repack => plain(Kind::Utility, "REPACK"),
        K::Set | K::Reset | K::Discard => session_effects::read(c, end),
        K::Begin | K::Start | K::Commit | K::End | K::Rollback | K::Abort | K::Savepoint | K::Release => {
            session_effects::transaction(c)
        }
        _ => None,
    }
}

fn prepare(mut c: Cursor, lexer: &Lexer, end: u32, scope: Scope<'_>, level: u8) -> Option<Draft> {
    c.bump();
    let name = c.name()?;
    if c.now.is(b'(') {
        c.group()?;
    }
    let query = c.eat(K::As).then_some(c.now.start)?;
    let mut inner = Box::new(inner(lexer, query, end, scope, level)?);
    inner.refusal = std::mem::take(&mut inner.refusal).out_of_reach();
    let draft = Draft::new(Kind::Session, "PREPARE").effect(SessionEffect::Prepare { name, inner });
    Some(Draft { executes: false, ..draft })
}

fn deallocate(mut c: Cursor) -> Option<Draft> {
    c.bump();
    // PREPARE is noise here unless it is the name.
    if c.at(K::Prepare) && c.after().shape != Shape::End {
        c.bump();
    }
    if c.at(K::All) {
        return Some(Draft::new(Kind::Session, "DEALLOCATE ALL").effect(SessionEffect::Deallocate(None)));
    }
    Some(Draft::new(Kind::Session, "DEALLOCATE").effect(SessionEffect::Deallocate(Some(c.name()?))))
}

fn do_block(c: &Cursor, lexer: &Lexer, end: u32, scope: Scope<'_>) -> Draft {
    let left = by_constants(lexer.part(c.now.start, end), scope);
    let prepares = left.kinds.has(Kinds::PREPARED);
    let effect = if left.is_nothing() { SessionEffect::Unknown } else { SessionEffect::Leaves(Box::new(left)) };
    let draft = Draft { contained: true, ..Draft::new(Kind::Utility, "DO").effect(effect) };
    // It is to find the names that are its session's, and no others.
    if prepares { draft.effect(SessionEffect::ShowsPrepared) } else { draft }
}

/// Whether a draft's query cannot be run on a standby for its isolation level.
pub(in crate::sql) fn needs_primary(isolation: Option<Isolation>) -> bool {
    isolation == Some(Isolation::Serializable)
}

fn explain(mut c: Cursor, lexer: &Lexer, facts: &Facts, scope: Scope<'_>, level: u8) -> Option<Draft> {
    c.bump();
    let mut analyze = false;
    let begins_query = |k| matches!(k, K::Select | K::With | K::Values | K::Table);
    if c.now.is(b'(') && !begins_query(c.after().keyword) && !c.after().is(b'(') {
        c.bump();
        loop {
            let option = c.bump();
            let on = !matches!(c.now.shape, Shape::Punct(b',' | b')') | Shape::End);
            let value = c.now;
            while !matches!(c.now.shape, Shape::Punct(b',' | b')') | Shape::End) {
                c.bump();
            }
            let name = crate::sql::lex::literal::name(option, c.text());
            if name == b"analyze" || name == b"analyse" {
                analyze = !on || !is_off(value, c.text());
            }
            if !c.eat_punct(b',') {
                break;
            }
        }
        if !c.eat_punct(b')') {
            return None;
        }
    } else {
        analyze = c.eat(K::Analyze) || c.eat(K::Analyse);
        c.eat(K::Verbose);
    }
    let allowed = begins_query(c.now.keyword)
        || c.now.is(b'(')
        || matches!(
            c.now.keyword,
            K::Insert | K::Update | K::Delete | K::Merge | K::Declare | K::Create | K::Refresh | K::Execute
        );
    if !allowed {
        return None;
    }
    let mut inner = inner(lexer, c.now.start, facts.end, scope, level)?;
    if !analyze {
        inner.effects = inner.effects.into_iter().filter(|e| matches!(e, SessionEffect::Execute(_))).collect();
        let route = if inner.route == Proven::Read { Proven::Read } else { Proven::Doubt };
        let effects = inner.effects.into_vec();
        return Some(Draft { route, effects, executes: false, ..Draft::new(Kind::Read, "EXPLAIN") });
    }
    inner.effects = inner.effects.into_iter().filter(|e| !matches!(e, SessionEffect::DeclareWithHold(_))).collect();
    if inner.refusal == (Refusal::ByPostgres { unless_temporary: false }) {
        // EXPLAIN passes the check of the statement itself, and then makes the table.
        let creates = matches!(inner.tag, "CREATE TABLE AS" | "SELECT INTO" | "CREATE MATERIALIZED VIEW");
        inner.refusal = match scope.list.command("EXPLAIN ANALYZE").filter(|_| creates) {
            Some(why) => Refusal::ByPgsluice(Reason::Command(why)),
            None => Refusal::Allowed,
        };
        let mut draft = Draft::runs(inner);
        draft.executes = creates;
        return Some(draft);
    }
    Some(Draft::runs(inner))
}

/// Whether the value of an EXPLAIN option switches it off; `defGetBoolean` knows these alone.
fn is_off(value: crate::sql::lex::lexer::Token, text: &[u8]) -> bool {
    let word = match value.shape {
        Shape::Str(_) => crate::sql::lex::literal::decode(value, text),
        Shape::Number => return value.text(text).iter().all(|&b| b == b'0'),
        _ => crate::sql::lex::literal::name(value, text),
    };
    word.eq_ignore_ascii_case(b"off") || word.eq_ignore_ascii_case(b"false")
}

fn declare(mut c: Cursor, lexer: &Lexer, facts: &Facts, scope: Scope<'_>, level: u8) -> Option<Draft> {
    c.bump();
    let name = c.name()?;
    while !c.at(K::Cursor) {
        if c.at_end() || c.at(K::For) {
            return None;
        }
        c.bump();
    }
    c.bump();
    let hold = c.eat(K::With) && c.eat(K::Hold);
    while !c.at(K::For) {
        if c.at_end() {
            return None;
        }
        c.bump();
    }
    c.bump();
    let inner = inner(lexer, c.now.start, facts.end, scope, level)?;
    // Without a refusal of its own the cursor goes by its own name.
    let tag = if inner.refusal == Refusal::Allowed { "DECLARE CURSOR" } else { inner.tag };
    let route = if inner.route == Proven::PrimaryOnly { Proven::PrimaryOnly } else { Proven::Doubt };
    let draft = Draft { kind: Kind::Session, tag, route, ..Draft::runs(inner) };
    Some(if hold { draft.effect(SessionEffect::DeclareWithHold(name)) } else { draft })
}

fn copy(mut c: Cursor, lexer: &Lexer, facts: &Facts, scope: Scope<'_>, level: u8) -> Option<Draft> {
    c.bump();
    let mut query = None;
    if c.now.is(b'(') {
        let (start, end) = c.group()?;
        query = Some(inner(lexer, start, end, scope, level)?);
    } else {
        c.eat(K::Binary);
        c.dotted_name()?;
        if c.now.is(b'(') {
            c.group()?;
        }
    }
    let from = c.at(K::From);
    if !from && !c.at(K::To) {
        return None;
    }
    c.bump();
    let server = c.now.is_str() || (c.at(K::Program) && c.after().is_str());
    let (direction, tag) = match (from, server) {
        (true, true) => (CopyDirection::FromServer, "COPY FROM"),
        (true, false) => (CopyDirection::FromClient, "COPY FROM"),
        (false, true) => (CopyDirection::ToServer, "COPY TO"),
        (false, false) => (CopyDirection::ToClient, "COPY"),
    };
    let kind = Kind::Copy(direction);
    if from {
        return Some(Draft { kind, ..Draft::writes(tag) });
    }
    let refused = scope.list.command(tag).map(|why| Refusal::ByPgsluice(Reason::Command(why)));
    let mut draft = match query {
        Some(inner) => {
            let own = if inner.refusal == Refusal::Allowed { tag } else { inner.tag };
            Draft { kind, tag: own, ..Draft::runs(inner) }
        }
        None if facts.local => Draft::new(kind, tag),
        None => Draft { route: Proven::Read, ..Draft::new(kind, tag) },
    };
    if server {
        draft.route = Proven::Doubt;
    }
    if let Some(refusal) = refused {
        if refusal.weight() > draft.refusal.weight() {
            draft.tag = tag;
        }
        draft.refusal.worsen(refusal);
    }
    Some(draft)
}

/// LOCK: what is stronger than ROW EXCLUSIVE cannot be taken in recovery.
fn lock_table(mut c: Cursor) -> Draft {
    let draft = Draft::new(Kind::Utility, "LOCK TABLE");
    while !c.at_end() && !c.eat(K::In) {
        c.bump();
    }
    let first = c.bump().keyword;
    let second = crate::sql::lex::literal::name(c.now, c.text());
    let weak = match first {
        K::Access => second == b"share",
        K::Row => second == b"share" || second == b"exclusive",
        _ => false,
    };
    let weak_and_whole = weak && {
        c.bump();
        c.at(K::Mode)
    };
    if weak_and_whole { draft } else { draft.primary_only() }
}
