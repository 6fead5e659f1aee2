//! The client's prepared statements, and where they stand on servers.
//!
//! In transaction mode a client's name is the client's alone: on servers what was prepared by protocol has pgsluice's own
//! name, and is prepared there when a Bind or a Describe needs it. The unnamed statement is followed the same way. Those of
//! SQL's PREPARE, which have the same names for space, are in [`crate::client::prepared::sql_prepare`].

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::rc::Rc;

use crate::client::Session;
use crate::client::conversation::memory_limit::weight;
use crate::client::conversation::parse_settings::is_sensitive;
use crate::client::errors;
use crate::protocol::Report;
use crate::protocol::frontend::Parse;
use crate::shared::Statement;
use crate::shared::prepared_statement::NAME_ON_SERVERS;
use crate::shared::stats::Counters;
use crate::sql::cache::verdicts::Cached;
use crate::sql::{LexContext, Refusal, SessionEffect};

/// Names that one client may hold prepared.
const MOST_NAMES: usize = 100_000;

/// Portals of pgsluice's own statements that one client may hold with results in binary form.
const MOST_BINARY: usize = 100;

/// Bytes that the PREPAREs of one client may take; a statement beyond that stays on its server connection.
const MOST_SQL: usize = 16 << 20;

/// Bytes that a name of SQL's PREPARE takes whose statement is not kept.
const INNER_OVERHEAD: usize = 128;

/// The longest PREPARE that is kept (bytes).
pub(in crate::client) const LONGEST_SQL: usize = 64 * 1024;

/// What SQL's PREPARE has made.
pub struct Inner {
    /// Whether running it is refused by its text alone.
    refusal: Refusal,
    /// The PREPARE; None where it was too long to be kept.
    statement: Option<Rc<Statement>>,
}

impl Inner {
    /// One that runs what is refused so, and the PREPARE.
    pub fn new(refusal: Refusal, statement: Option<Rc<Statement>>) -> Self {
        Self { refusal, statement }
    }

    /// Whether running it is refused by its text alone.
    pub fn refusal(&self) -> &Refusal {
        &self.refusal
    }

    /// The PREPARE; None where it was too long to be kept.
    pub fn statement(&self) -> Option<&Rc<Statement>> {
        self.statement.as_ref()
    }

    /// The statement that it runs, with the text that it stands in.
    pub fn runs(&self) -> Option<(&Cached, LexContext, &crate::sql::Statement)> {
        let statement = self.statement.as_ref()?;
        let cached = &*statement.cached;
        let inner = cached.analysis.statements.iter().flat_map(|one| &one.effects).find_map(|effect| match effect {
            SessionEffect::Prepare { inner, .. } => Some(&**inner),
            _ => None,
        })?;
        Some((cached, statement.context(), inner))
    }
}

/// What a client's name stands for.
#[derive(Clone)]
pub enum Known {
    /// A statement of the protocol.
    Protocol(Rc<Statement>),
    /// One of SQL's PREPARE.
    Sql(Rc<Inner>),
}

/// A statement under its name.
struct Held<T> {
    statement: Rc<T>,
    /// What its rows were when it was prepared: what the client was told of them, or could have been.
    told: Option<NonZeroU64>,
    /// Its place in the order in which the client has prepared.
    nth: u32,
}

type Map<T> = HashMap<Box<[u8]>, T, foldhash::quality::RandomState>;

/// A client's statements and portals by name.
#[derive(Default)]
pub struct Names {
    statements: Map<Held<Statement>>,
    unnamed: Option<Rc<Statement>>,
    unnamed_portal: Option<Rc<Statement>>,
    sql: Option<Box<Sql>>,
    portals: Option<Box<Portals>>,
    /// Some statement was pgsluice's own.
    own: bool,
    /// The client has been told what the parameters and rows of its unnamed statement are.
    unnamed_described: bool,
    /// How many names there have been.
    prepared: u32,
    /// Bytes of the statements that have names.
    bytes: usize,
}

/// What SQL's PREPARE has made, and what else few clients have.
#[derive(Default)]
struct Sql {
    /// What the unnamed statement was on a server connection that it did not stand on.
    moved: Option<Rc<Statement>>,
    named: Map<Held<Inner>>,
    /// Bytes of what those were prepared with.
    bytes: usize,
    /// There were more of those than are remembered.
    too_many: bool,
}

/// Portals that have a name, or are of pgsluice's own statements, which few clients use.
#[derive(Default)]
struct Portals {
    named: Map<Rc<Statement>>,
    /// Portals of pgsluice's own statements whose result was asked for in binary form, the unnamed one too.
    binary: Vec<Box<[u8]>>,
    /// Bytes of those that have names.
    bytes: usize,
}

impl Portals {
    fn forget(&mut self, portal: &[u8]) {
        if let Some(gone) = self.named.remove(portal) {
            self.bytes = self.bytes.saturating_sub(weight(portal, &gone));
        }
    }
}

/// A statement that another process is told of: its name, whether it comes from SQL, and what it is.
type ToHandOver<'a> = (&'a [u8], bool, &'a Rc<Statement>);

impl Names {
    /// The statement of a name, the empty one too.
    pub fn statement(&self, name: &[u8]) -> Option<&Rc<Statement>> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.statements.get(name).map(|held| &held.statement) }
    }

    /// Whether SQL's PREPARE has made any.
    #[inline]
    pub fn has_sql(&self) -> bool {
        self.sql.as_ref().is_some_and(|sql| !sql.named.is_empty())
    }

    /// The names that SQL's PREPARE has made.
    pub fn sql_names(&self) -> impl Iterator<Item = &[u8]> {
        self.sql.iter().flat_map(|sql| sql.named.keys()).map(|name| &**name)
    }

    /// What a name stands for, the empty one too.
    pub fn known(&self, name: &[u8]) -> Option<Known> {
        let sql = || self.sql(name).cloned().map(Known::Sql);
        self.statement(name).cloned().map(Known::Protocol).or_else(sql)
    }

    /// What SQL's PREPARE has made under a name.
    pub fn sql(&self, name: &[u8]) -> Option<&Rc<Inner>> {
        self.sql.as_ref()?.named.get(name).map(|held| &held.statement)
    }

    /// Every name, the empty one left aside, in the order in which the client has prepared them.
    pub fn all(&self) -> Vec<Box<[u8]>> {
        let protocol = self.statements.iter().map(|(name, held)| (held.nth, name));
        let sql = self.sql.iter().flat_map(|sql| sql.named.iter()).map(|(name, held)| (held.nth, name));
        let mut all: Vec<_> = protocol.chain(sql).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, name)| name.clone()).collect()
    }

    fn held<T>(&mut self, statement: Rc<T>) -> Held<T> {
        self.prepared = self.prepared.wrapping_add(1);
        Held { statement, told: None, nth: self.prepared }
    }

    /// Notes a PREPARE, which may be sent again if it `moves`. False: it is not kept, and what it has made stays where it is.
    pub fn prepare_sql(&mut self, name: &[u8], refusal: Refusal, statement: Rc<Statement>, moves: bool) -> bool {
        let (text, size) = (statement.cached.text.len(), weight(name, &statement));
        let sql = self.sql.get_or_insert_default();
        if sql.named.len() >= MOST_NAMES {
            sql.too_many = true;
            return false;
        }
        let kept = moves && text <= LONGEST_SQL && sql.bytes + size <= MOST_SQL;
        self.put_sql(name, Rc::new(Inner { refusal, statement: kept.then_some(statement) }));
        kept
    }

    /// Whether there may be names of SQL's that are not remembered.
    pub fn forgets_sql(&self) -> bool {
        self.sql.as_ref().is_some_and(|sql| sql.too_many)
    }

    fn put_sql(&mut self, name: &[u8], inner: Rc<Inner>) {
        self.forget(name);
        let (size, held) = (size(name, &inner), self.held(inner));
        let sql = self.sql.get_or_insert_default();
        sql.bytes += size;
        sql.named.insert(name.into(), held);
    }

    /// Whether something that SQL's PREPARE has made could not be kept.
    pub fn lacks_sql(&self) -> bool {
        let lacks = |sql: &Sql| sql.too_many || sql.named.values().any(|held| held.statement.statement.is_none());
        self.sql.as_deref().is_some_and(lacks)
    }

    /// A name stands for what it stood for before.
    pub fn put_back(&mut self, name: &[u8], known: Known) {
        match known {
            Known::Protocol(statement) => _ = self.prepare(name, statement),
            Known::Sql(inner) => self.put_sql(name, inner),
        }
    }

    /// Notes a Parse. False if there are too many names.
    pub fn prepare(&mut self, name: &[u8], statement: Rc<Statement>) -> bool {
        if name.is_empty() {
            (self.unnamed, self.unnamed_described) = (Some(statement), false);
            return true;
        }
        if self.statements.len() >= MOST_NAMES {
            return false;
        }
        self.forget_protocol(name);
        self.bytes += weight(name, &statement);
        let held = self.held(statement);
        self.statements.insert(name.into(), held);
        true
    }

    /// The client is told what its unnamed statement is: this one.
    pub fn describe_unnamed(&mut self, statement: Rc<Statement>) {
        (self.unnamed, self.unnamed_described) = (Some(statement), true);
    }

    /// The statement that the unnamed one is where it does not stand.
    pub fn moved(&self) -> Option<&Rc<Statement>> {
        self.sql.as_ref()?.moved.as_ref()
    }

    /// Keeps it, so that servers know it again.
    pub fn keep_moved(&mut self, statement: Rc<Statement>) {
        self.sql.get_or_insert_default().moved = Some(statement);
    }

    /// Whether it has been told so.
    pub fn is_unnamed_described(&self) -> bool {
        self.unnamed_described
    }

    /// Whether no name more can be remembered.
    pub fn is_full(&self) -> bool {
        self.statements.len() >= MOST_NAMES
    }

    /// Whether no portal more can be remembered.
    pub fn has_all_portals(&self) -> bool {
        self.portals.as_ref().is_some_and(|portals| portals.named.len() >= MOST_NAMES)
    }

    /// Every statement in the order in which the client has prepared, the unnamed one with an empty name, and whether it comes from
    /// SQL. None: something cannot be prepared anew.
    pub(in crate::client) fn to_hand_over(&self) -> Option<Vec<ToHandOver<'_>>> {
        // The last two are said of all of them, and the counts follow.
        let Self {
            statements,
            unnamed,
            unnamed_portal: _,
            sql,
            portals,
            own: _,
            unnamed_described: _,
            prepared: _,
            bytes: _,
        } = self;
        if self.lacks_sql() || portals.is_some() || self.moved().is_some() {
            return None;
        }
        let mut all: Vec<(u32, ToHandOver<'_>)> = Vec::new();
        let protocol = statements.iter().map(|(name, held)| (held.nth, (&**name, false, &held.statement)));
        all.extend(protocol);
        for (name, held) in sql.iter().flat_map(|sql| sql.named.iter()) {
            all.push((held.nth, (name, true, held.statement.statement.as_ref()?)));
        }
        all.sort_unstable_by_key(|(nth, _)| *nth);
        let unnamed = unnamed.iter().map(|statement| (&b""[..], false, statement));
        Some(all.into_iter().map(|(_, one)| one).chain(unnamed).collect())
    }

    /// A statement that another process has known. False: it is none.
    pub(in crate::client) fn take_over(&mut self, name: &[u8], sql: bool, statement: Rc<Statement>) -> bool {
        if !sql {
            return self.prepare(name, statement);
        }
        let inner = Inner { refusal: Refusal::Allowed, statement: Some(statement) };
        let Some(refusal) = inner.runs().map(|(_, _, one)| one.refusal.clone()) else { return false };
        self.put_sql(name, Rc::new(Inner { refusal, ..inner }));
        true
    }

    /// What is said of all of them: the unnamed one was described, and some are pgsluice's own.
    pub(in crate::client) fn note_taken_over(&mut self, unnamed_described: bool, own: bool) {
        (self.unnamed_described, self.own) = (unnamed_described, own);
    }

    /// Bytes that statements and portals take.
    pub fn bytes(&self) -> usize {
        let unnamed = |one: &Option<Rc<Statement>>| one.as_ref().map_or(0, |one| one.cached.bytes());
        let sql = self.sql.as_ref().map_or(0, |sql| sql.bytes);
        let portals = self.portals.as_ref().map_or(0, |portals| portals.bytes);
        self.bytes + sql + portals + unnamed(&self.unnamed) + unnamed(&self.unnamed_portal)
    }

    fn forget_protocol(&mut self, name: &[u8]) {
        if let Some(gone) = self.statements.remove(name) {
            self.bytes = self.bytes.saturating_sub(weight(name, &gone.statement));
        }
    }

    /// A simple query has ended the unnamed statement.
    pub fn forget_unnamed(&mut self) {
        self.unnamed = None;
        self.unnamed_portal = None;
    }

    /// Forgets a name.
    pub fn forget(&mut self, name: &[u8]) {
        if name.is_empty() {
            self.unnamed = None;
        } else {
            self.forget_protocol(name);
            if let Some(sql) = &mut self.sql
                && let Some(gone) = sql.named.remove(name)
            {
                sql.bytes = sql.bytes.saturating_sub(size(name, &gone.statement));
            }
        }
    }

    /// The client is, or could be, told what the rows of a named statement are.
    pub fn tell(&mut self, name: &[u8], shape: NonZeroU64) {
        if let Some(held) = self.statements.get_mut(name) {
            held.told = Some(shape);
        } else if let Some(held) = self.sql.as_mut().and_then(|sql| sql.named.get_mut(name)) {
            held.told = Some(shape);
        }
    }

    /// What it was told.
    pub fn told(&self, name: &[u8]) -> Option<NonZeroU64> {
        let sql = || self.sql.as_ref()?.named.get(name)?.told;
        self.statements.get(name).and_then(|held| held.told).or_else(sql)
    }

    /// Forgets every statement that has a name: DEALLOCATE ALL and DISCARD ALL leave the unnamed one.
    pub fn forget_all(&mut self) {
        self.statements = Map::default();
        self.bytes = 0;
        self.sql = None;
    }

    /// Notes a Bind. False if there are too many portals.
    pub fn bind(&mut self, portal: &[u8], statement: Rc<Statement>) -> bool {
        if portal.is_empty() {
            self.unnamed_portal = Some(statement);
            return true;
        }
        let portals = self.portals.get_or_insert_default();
        if portals.named.len() >= MOST_NAMES {
            return false;
        }
        portals.forget(portal);
        portals.bytes += weight(portal, &statement);
        portals.named.insert(portal.into(), statement);
        true
    }

    /// Notes a Parse of one of pgsluice's own statements. False if there are too many names.
    pub fn prepare_own(&mut self, name: &[u8], statement: Rc<Statement>) -> bool {
        self.own = true;
        self.prepare(name, statement)
    }

    /// Whether any statement may be pgsluice's own: those of most clients never are.
    #[inline]
    pub fn has_own(&self) -> bool {
        self.own
    }

    /// Notes a Bind of one of pgsluice's own statements. False if there are too many portals.
    pub fn bind_own(&mut self, portal: &[u8], statement: Rc<Statement>, binary: bool) -> bool {
        let portals = self.portals.get_or_insert_default();
        portals.binary.retain(|known| **known != *portal);
        if binary {
            portals.binary.push(portal.into());
        }
        let few = portals.binary.len() <= MOST_BINARY;
        self.bind(portal, statement) && few
    }

    /// Whether the result of one of pgsluice's own portals was asked for in binary form.
    pub fn is_binary(&self, portal: &[u8]) -> bool {
        self.portals.as_ref().is_some_and(|portals| portals.binary.iter().any(|known| **known == *portal))
    }

    /// Text of a server's with the client's names in place of those that statements have on servers; None: it holds none.
    /// Of a statement with several names `used` is taken.
    pub fn in_clients_words(&self, text: &[u8], used: Option<(&[u8], &Statement)>) -> Option<Vec<u8>> {
        let quoted = format!("\"{NAME_ON_SERVERS}");
        let mut rest = text;
        let mut words = Vec::new();
        while let Some(at) = memchr::memmem::find(rest, quoted.as_bytes()) {
            let (before, found) = rest.split_at(at + 1);
            let end = memchr::memchr(b'"', found)?;
            let (known, tail) = found.split_at(end);
            let stands = |statement: &Statement| statement.server_name().as_bytes() == known;
            let used = used.filter(|(_, statement)| stands(statement)).map(|(name, _)| name);
            let name = || self.statements.iter().find(|(_, held)| stands(&held.statement)).map(|(name, _)| &**name);
            let name = used.or_else(name);
            words.extend_from_slice(before);
            words.extend_from_slice(name.unwrap_or(known));
            rest = tail;
        }
        (!words.is_empty()).then(|| {
            words.extend_from_slice(rest);
            words
        })
    }

    /// What the portal of that name runs is not known.
    pub fn forget_portal(&mut self, portal: &[u8]) {
        if portal.is_empty() {
            self.unnamed_portal = None;
        } else if let Some(portals) = &mut self.portals {
            portals.forget(portal);
        }
    }

    /// The statement of a portal.
    pub fn portal(&self, portal: &[u8]) -> Option<&Rc<Statement>> {
        if portal.is_empty() { self.unnamed_portal.as_ref() } else { self.portals.as_ref()?.named.get(portal) }
    }

    /// How many named statements there are.
    pub fn len(&self) -> usize {
        self.statements.len() + self.sql.as_ref().map_or(0, |sql| sql.named.len())
    }

    /// Whether no named portal is open.
    pub fn no_portals(&self) -> bool {
        self.portals.as_ref().is_none_or(|portals| portals.named.is_empty())
    }

    /// Portals end with their transaction.
    pub fn end_portals(&mut self) {
        self.unnamed_portal = None;
        self.portals = None;
    }
}

impl Session {
    /// Where messages about prepared statements are counted, as in PgBouncer only while those are followed.
    #[inline]
    pub(in crate::client) fn prepared_counters(&self) -> Option<&Counters> {
        if self.account.most_prepared() == 0 {
            return None;
        }
        self.db.stats.of(self.core.index)
    }

    /// PostgreSQL's error where the client has no unnamed statement: the one on the server is somebody else's.
    pub(in crate::client) fn lacks_unnamed(&self, name: &[u8]) -> Option<Report> {
        (name.is_empty() && !self.keeps_names()).then(errors::no_unnamed_statement)
    }

    /// The statement that a Parse prepares.
    pub(in crate::client) fn statement_of(&self, parse: Parse<'_>) -> Rc<Statement> {
        let context = self.lex_context();
        let cached = self.read_text(parse.text, context);
        let path = if context == LexContext::UNSURE && is_sensitive(parse.text) {
            self.core.statements.path_of_its_own()
        } else {
            let path = if parse.name.is_empty() { 0 } else { self.path() };
            path.wrapping_add(self.parse_settings().into())
        };
        // Drivers without names send the same text over and over.
        let unnamed = self.names.statement(b"").filter(|_| parse.name.is_empty());
        let again = unnamed.filter(|known| known.is(&cached, parse.oids, context, path)).cloned();
        again.unwrap_or_else(|| self.core.statements.get(cached, parse.oids, context, path, self.settings.vars()))
    }
}

/// Bytes that are counted for what a PREPARE has made.
fn size(name: &[u8], inner: &Inner) -> usize {
    name.len() + INNER_OVERHEAD + inner.statement.as_ref().map_or(0, |statement| weight(name, statement))
}
