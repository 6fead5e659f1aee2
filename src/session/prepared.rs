//! The client's prepared statements, and where they stand on servers.
//!
//! In transaction mode a client's name is the client's alone: on servers the statement has pgsluice's own name, and is
//! prepared there when a Bind or a Describe needs it. The unnamed statement is followed the same way.

use std::collections::HashMap;
use std::rc::Rc;

use super::Session;
use super::expect::{Expected, Hide, What};
use crate::hub::Statement;
use crate::hub::statement::NAME_ON_SERVERS;
use crate::sql::SessionEffect;
use crate::sql::cache::Cached;
use crate::wire::front;

/// Names that one client may hold prepared.
const MOST_NAMES: usize = 100_000;

/// Portals of pgsluice's own statements that one client may hold with results in binary form.
const MOST_BINARY: usize = 100;

/// A client's statements and portals by name.
#[derive(Default)]
pub struct Names {
    /// What the client was told of the rows of its named statements.
    told: HashMap<Box<[u8]>, u64>,
    statements: HashMap<Box<[u8]>, Rc<Statement>>,
    unnamed: Option<Rc<Statement>>,
    unnamed_portal: Option<Rc<Statement>>,
    portals: HashMap<Box<[u8]>, Rc<Statement>>,
    /// Some statement was pgsluice's own.
    own: bool,
    /// Portals of pgsluice's own statements whose result was asked for in binary form.
    binary: Vec<Box<[u8]>>,
}

impl Names {
    /// The statement of a name, the empty one too.
    pub fn statement(&self, name: &[u8]) -> Option<&Rc<Statement>> {
        if name.is_empty() { self.unnamed.as_ref() } else { self.statements.get(name) }
    }

    /// Notes a Parse. False if there are too many names.
    pub fn prepare(&mut self, name: &[u8], statement: Rc<Statement>) -> bool {
        if name.is_empty() {
            self.unnamed = Some(statement);
            return true;
        }
        if self.statements.len() >= MOST_NAMES {
            return false;
        }
        self.statements.insert(name.into(), statement);
        true
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
            self.statements.remove(name);
            self.told.remove(name);
        }
    }

    /// The client is told what the rows of a named statement are.
    pub fn tell(&mut self, name: &[u8], shape: u64) {
        if self.statements.contains_key(name) {
            self.told.insert(name.into(), shape);
        }
    }

    /// What it was told.
    pub fn told(&self, name: &[u8]) -> Option<u64> {
        self.told.get(name).copied()
    }

    /// Forgets every statement that has a name: DEALLOCATE ALL and DISCARD ALL leave the unnamed one.
    pub fn forget_all(&mut self) {
        self.statements = HashMap::new();
        self.told = HashMap::new();
    }

    /// Notes a Bind. False if there are too many portals.
    pub fn bind(&mut self, portal: &[u8], statement: Rc<Statement>) -> bool {
        if portal.is_empty() {
            self.unnamed_portal = Some(statement);
            return true;
        }
        if self.portals.len() >= MOST_NAMES {
            return false;
        }
        self.portals.insert(portal.into(), statement);
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
        self.binary.retain(|known| **known != *portal);
        if binary {
            self.binary.push(portal.into());
        }
        self.bind(portal, statement) && self.binary.len() <= MOST_BINARY
    }

    /// Whether the result of one of pgsluice's own portals was asked for in binary form.
    pub fn is_binary(&self, portal: &[u8]) -> bool {
        self.binary.iter().any(|known| **known == *portal)
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
            let name = || self.statements.iter().find(|(_, statement)| stands(statement)).map(|(name, _)| &**name);
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
        } else {
            self.portals.remove(portal);
        }
    }

    /// The statement of a portal.
    pub fn portal(&self, portal: &[u8]) -> Option<&Rc<Statement>> {
        if portal.is_empty() { self.unnamed_portal.as_ref() } else { self.portals.get(portal) }
    }

    /// How many named statements there are.
    pub fn len(&self) -> usize {
        self.statements.len()
    }

    /// Whether no named portal is open.
    pub fn no_portals(&self) -> bool {
        self.portals.is_empty()
    }

    /// Portals end with their transaction.
    pub fn end_portals(&mut self) {
        self.unnamed_portal = None;
        self.binary = Vec::new();
        if !self.portals.is_empty() {
            self.portals = HashMap::new();
        }
    }
}

impl Session {
    /// DEALLOCATE of a name that the client prepared by protocol: the text with the name that the statement has on the
    /// server. There it is prepared anew if need be, so that the statement fails or succeeds as on a connection of its own.
    pub(super) fn deallocate_rewritten(&mut self, cached: &Cached) -> Option<Vec<u8>> {
        let statement = cached.analysis.single()?;
        let [SessionEffect::Deallocate(Some(name))] = &*statement.effects else { return None };
        if self.lease.is_operator() || self.inner.contains_key(name) {
            return None;
        }
        let known = self.names.statement(name)?.clone();
        let server = self.lease.server()?;
        if !server.prepared.touch(known.id) {
            let io = &mut self.io;
            io.from_client.move_ready(&mut io.to_server);
            front::write_parse(&mut io.to_server, known.server_name().as_bytes(), b"", &[]);
            self.expect(Expected::hidden(What::Parse(0), Hide::Success));
        }
        Some(format!("DEALLOCATE {}", known.server_name()).into_bytes())
    }
}
