//! Prepared statements, one for each distinct text and list of parameter types, and for each place that it finds its tables in.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};

use crate::sql::LexContext;
use crate::sql::cache::Cached;

/// A statement that clients have prepared. On servers it has a name of pgsluice's own, the same for all who prepared it.
pub struct Statement {
    /// Number of its own in this process, never 0.
    pub id: u64,
    /// Its text and what was read in it.
    pub cached: Rc<Cached>,
    /// Type OIDs of its parameters, four bytes each, as the client gave them.
    pub oids: Box<[u8]>,
    key: Key,
    home: Weak<Statements>,
}

type Key = (Box<[u8]>, Box<[u8]>, LexContext, u64);

impl Statement {
    /// How its text was read.
    pub fn context(&self) -> LexContext {
        self.key.2
    }

    /// Its name on servers.
    pub fn server_name(&self) -> String {
        server_name(self.id)
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
            let mut known = home.known.borrow_mut();
            // After a renewal the place is another's.
            if known.get(&self.key).is_some_and(|place| place.strong_count() == 0) {
                known.remove(&self.key);
            }
        }
    }
}

/// The statements of one core.
pub struct Statements {
    known: RefCell<HashMap<Key, Weak<Statement>>>,
    next: Cell<u64>,
}

impl Statements {
    /// None yet. Numbers of different cores never meet: a server connection may move from one to another.
    pub fn new(core: usize) -> Rc<Self> {
        Rc::new(Self { known: RefCell::default(), next: Cell::new((core as u64) << 40 | 1) })
    }

    /// The statement with this text, these types and this reading, prepared by one who looks for tables in `path`; the same one
    /// as long as anybody holds it.
    pub fn get(self: &Rc<Self>, cached: Rc<Cached>, oids: &[u8], context: LexContext, path: u64) -> Rc<Statement> {
        let key: Key = (cached.text.clone(), oids.into(), context, path);
        if let Some(known) = self.known.borrow().get(&key).and_then(Weak::upgrade) {
            return known;
        }
        let id = self.next.get();
        self.next.set(id + 1);
        let statement =
            Rc::new(Statement { id, cached, oids: oids.into(), key: key.clone(), home: Rc::downgrade(self) });
        self.known.borrow_mut().insert(key, Rc::downgrade(&statement));
        statement
    }

    /// Who prepares this text from now on gets a statement with a number, and on servers a name, of its own: what stands
    /// there under the old one has been overtaken by a change of the schema.
    pub fn renew(&self, statement: &Rc<Statement>) {
        let mut known = self.known.borrow_mut();
        if known.get(&statement.key).is_some_and(|place| std::ptr::eq(place.as_ptr(), Rc::as_ptr(statement))) {
            known.remove(&statement.key);
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
