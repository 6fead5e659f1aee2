//! Prepared statements, one for each distinct text and list of parameter types, and for each place that it finds its tables in.

use std::cell::{Cell, OnceCell, RefCell};
use std::hash::{BuildHasher, Hash, Hasher};
use std::num::NonZeroU64;
use std::rc::{Rc, Weak};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use crate::server::state::session_vars::Vars;
use crate::sql::LexContext;
use crate::sql::cache::verdicts::Cached;

/// A statement that clients have prepared. On servers it has a name of pgsluice's own, the same for all who prepared it.
pub struct Statement {
    /// Number of its own in this process, never 0.
    pub id: u64,
    /// Its text and what was read in it.
    pub cached: Rc<Cached>,
    /// Type OIDs of its parameters, four bytes each, as the client gave them.
    pub oids: Box<[u8]>,
    context: LexContext,
    /// Where it finds its tables, and what else it means by the settings that it was parsed under.
    path: u64,
    settings: Vars,
    /// What a server has made of it for whoever prepared it first.
    meaning: OnceCell<Meaning>,
    server_name: Box<str>,
    hash: u64,
    home: Weak<Statements>,
}

/// What a server makes of a statement: the types of its parameters, and a fingerprint of its rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Type OIDs, four bytes each.
    pub types: Box<[u8]>,
    /// See `client/prepared/result_shape.rs`.
    pub rows: NonZeroU64,
}

impl Statement {
    /// A server has said what it makes of it. False: it was something else for whoever prepared it first.
    pub fn learn(&self, meaning: &Meaning) -> bool {
        self.meaning.get_or_init(|| meaning.clone()) == meaning
    }

    /// The types of its parameters: as a server has found them for whoever prepared it first, or else as they were given.
    pub fn types(&self) -> &[u8] {
        self.meaning.get().map_or(&self.oids, |meaning| &meaning.types)
    }

    /// What a server has made of it for whoever prepared it first.
    pub fn meaning(&self) -> Option<&Meaning> {
        self.meaning.get()
    }

    /// How its text was read.
    pub fn context(&self) -> LexContext {
        self.context
    }

    /// The settings of the session that had it parsed.
    pub fn settings(&self) -> &Vars {
        &self.settings
    }

    /// Its name on servers.
    pub fn server_name(&self) -> &str {
        &self.server_name
    }

    /// Whether it is this text, with these types, this reading and this path. The very text that it has need not be compared.
    pub fn is(&self, cached: &Rc<Cached>, oids: &[u8], context: LexContext, path: u64) -> bool {
        let same = Rc::ptr_eq(&self.cached, cached) || *self.cached.text == *cached.text;
        same && *self.oids == *oids && self.context == context && self.path == path
    }
}

/// How the name of a statement on servers begins.
pub const NAME_ON_SERVERS: &str = "pgsluice_";

/// The name on servers of statement number `id`.
pub fn server_name(id: u64) -> String {
    format!("{NAME_ON_SERVERS}{id:x}")
}

impl Drop for Statement {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            // After a renewal the place is another's.
            home.forget(self);
        }
    }
}

/// A statement's hash, and the statement for as long as anybody holds it.
type Place = (u64, Weak<Statement>);

/// The statements of one core.
pub struct Statements {
    known: RefCell<HashTable<Place>>,
    hasher: RandomState,
    next: Cell<u64>,
    /// The number that the next one has already: it stands on server connections under that.
    numbered: Cell<Option<u64>>,
}

impl Statements {
    /// None yet. Numbers of different cores never meet: a server connection may move from one to another, and from one process
    /// to the next, which has another `generation`.
    pub fn new(generation: u16, core: usize) -> Rc<Self> {
        Rc::new(Self {
            known: RefCell::default(),
            hasher: RandomState::default(),
            numbered: Cell::new(None),
            next: Cell::new(u64::from(generation) << 48 | (core as u64) << 40 | 1),
        })
    }

    /// The statement with this text, these types and this reading, prepared by one who looks for tables in `path`; the same one
    /// as long as anybody holds it.
    pub fn get(
        self: &Rc<Self>,
        cached: Rc<Cached>,
        oids: &[u8],
        context: LexContext,
        path: u64,
        settings: &Vars,
    ) -> Rc<Statement> {
        let mut state = self.hasher.build_hasher();
        state.write(&cached.text);
        (oids, context, path).hash(&mut state);
        let hash = state.finish();
        let mut found = None;
        let same = |place: &Place| {
            found = (place.0 == hash).then(|| place.1.upgrade()).flatten();
            found.as_ref().is_some_and(|known| known.is(&cached, oids, context, path))
        };
        if self.known.borrow().find(hash, same).is_some()
            && let Some(known) = found
        {
            return known;
        }
        let id = self.numbered.take().unwrap_or_else(|| self.next.replace(self.next.get() + 1));
        let (server_name, home) = (server_name(id).into(), Rc::downgrade(self));
        let settings = settings.clone();
        let (oids, meaning) = (oids.into(), OnceCell::new());
        let statement = Statement { id, cached, oids, context, path, settings, meaning, server_name, hash, home };
        let statement = Rc::new(statement);
        self.known.borrow_mut().insert_unique(hash, (hash, Rc::downgrade(&statement)), |place| place.0);
        statement
    }

    /// As [`Self::get`], of a statement that another process has given this number; where the same one is known already, it has
    /// the number by which it is known.
    pub fn take_over(
        self: &Rc<Self>,
        id: u64,
        cached: Rc<Cached>,
        oids: &[u8],
        context: LexContext,
        path: u64,
        settings: &Vars,
    ) -> Rc<Statement> {
        self.numbered.set(Some(id));
        let statement = self.get(cached, oids, context, path, settings);
        self.numbered.set(None);
        statement
    }

    /// Where it finds its tables, and what else it means by the settings it was parsed under.
    pub fn path_of(statement: &Statement) -> u64 {
        statement.path
    }

    /// A path that is nobody else's, for a statement that must not be shared.
    pub fn path_of_its_own(&self) -> u64 {
        let id = self.next.get();
        self.next.set(id + 1);
        u64::MAX - id
    }

    /// The statement of whoever prepares that text now: a server has made something else of it than for those who have it.
    pub fn renewed(self: &Rc<Self>, statement: &Rc<Statement>, meaning: &Meaning) -> Rc<Statement> {
        let renewed = || {
            let old = &**statement;
            self.get(old.cached.clone(), &old.oids, old.context, old.path, &old.settings)
        };
        self.forget(statement);
        let known = renewed();
        if known.learn(meaning) {
            return known;
        }
        self.forget(&known);
        let new = renewed();
        new.learn(meaning);
        new
    }

    /// The same statement with the same meaning, for one who looks for tables in `path` now.
    pub fn moved(self: &Rc<Self>, statement: &Rc<Statement>, path: u64) -> Rc<Statement> {
        let old = &**statement;
        let moved = self.get(old.cached.clone(), &old.oids, old.context, path, &old.settings);
        match old.meaning() {
            Some(meaning) if !moved.learn(meaning) => self.renewed(&moved, meaning),
            _ => moved,
        }
    }

    /// Who prepares this text from now on gets a statement with a number, and on servers a name, of its own: what stands
    /// there under the old one has been overtaken by a change of the schema.
    pub fn renew(&self, statement: &Rc<Statement>) {
        self.forget(statement);
    }

    fn forget(&self, statement: &Statement) {
        let its = |place: &Place| std::ptr::eq(place.1.as_ptr(), statement);
        let mut known = self.known.borrow_mut();
        if let Ok(place) = known.find_entry(statement.hash, its) {
            place.remove();
        }
        // Memory of a crowd that has left goes back.
        if known.capacity() > 1024 && known.len() * 8 < known.capacity() {
            known.shrink_to_fit(|place| place.0);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.known.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.known.borrow().is_empty()
    }
}
