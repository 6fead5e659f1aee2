//! Names that lead to writers of one kind, as the catalog tells.

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

type Key = Box<[u8]>;

/// Names, each with the schemas it stands in.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Names(HashMap<Key, Vec<Key>, RandomState>);

impl Names {
    pub fn add(&mut self, schema: &str, name: &str) {
        let schemas = self.0.entry(name.as_bytes().into()).or_default();
        if !schemas.iter().any(|known| **known == *schema.as_bytes()) {
            schemas.push(schema.as_bytes().into());
        }
    }

    /// Whether that can be one of them. A name without a schema can be in any; a temporary one's schema has two names.
    pub fn has(&self, schema: Option<&[u8]>, name: &[u8]) -> bool {
        let Some(schemas) = self.0.get(name) else { return false };
        schema.is_none_or(|schema| {
            schemas.iter().any(|known| **known == *schema)
                || schema.starts_with(b"pg_temp") && schemas.iter().any(|known| known.starts_with(b"pg_temp"))
                || !schema.is_ascii()
        })
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a name in another encoding than UTF-8 could be one of them.
    fn is_wide(&self) -> bool {
        self.0.keys().any(|name| !name.is_ascii())
    }
}

/// See the module.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Reach {
    pub functions: Names,
    /// Functions of one row, which the notation of a field calls too.
    pub fields: Names,
    pub read: Names,
    /// Relations that only a write to them leads from. The server refuses those unless they are temporary.
    pub written: Names,
    pub types: Names,
    pub operators: HashSet<Key, RandomState>,
    pub function_oids: HashMap<u32, Box<str>, RandomState>,
    pub type_oids: HashSet<u32, RandomState>,
    /// Something that no statement has to name leads to one.
    pub everywhere: bool,
    /// Some function's name is not ASCII.
    pub wide: bool,
}

impl Reach {
    /// Whether a statement that calls nothing but PostgreSQL's own functions cannot lead to one.
    #[inline]
    pub fn is_by_function_alone(&self) -> bool {
        let named = self.read.is_empty() && self.written.is_empty() && self.types.is_empty();
        named && self.operators.is_empty() && !self.everywhere
    }

    /// Adds something other than a function, of the kind that `question` has for it.
    pub fn add(&mut self, kind: u8, oid: u32, schema: &str, name: &str) {
        match kind {
            b'r' => self.read.add(schema, name),
            b'w' => self.written.add(schema, name),
            b'o' => _ = self.operators.insert(name.as_bytes().into()),
            _ => {
                self.types.add(schema, name);
                self.type_oids.insert(oid);
            }
        }
    }

    /// Whether a parameter of one of these types, four bytes each, leads to one.
    pub fn has_type(&self, oids: &[u8]) -> bool {
        let (oids, _) = oids.as_chunks::<4>();
        !self.type_oids.is_empty() && oids.iter().any(|oid| self.type_oids.contains(&u32::from_be_bytes(*oid)))
    }

    /// To be called once all names are in.
    pub fn seal(&mut self) {
        self.wide = self.functions.is_wide() || self.fields.is_wide();
    }
}
