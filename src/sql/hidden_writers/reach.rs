//! Names that lead to writers of one kind, as the catalog tells.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::mentions::Mention;
use super::mentions::arguments::{Arguments, Sides, Signature, arguments};
use crate::sql::classify::builtins::is_plain_read;
use crate::sql::lex::lexer::Lexer;

type Key = Box<[u8]>;

/// Why something is among the names, for people: `app.loops() by dblink_exec`.
pub(super) type Finding = Arc<str>;

/// What stands in one schema under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Named {
    schema: Key,
    signature: Signature,
    finding: Finding,
    /// A name without a schema cannot be it: its schema is not in the session's path.
    hidden: bool,
}

/// Names, each with the schemas it stands in and the arguments it takes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Names(HashMap<Key, Vec<Named>, RandomState>);

impl Names {
    pub fn add(&mut self, schema: &str, name: &str) {
        self.add_with(schema, name, Signature::default(), &Finding::default());
    }

    pub fn add_with(&mut self, schema: &str, name: &str, signature: Signature, finding: &Finding) {
        let all = self.0.entry(name.as_bytes().into()).or_default();
        if !all.iter().any(|known| *known.schema == *schema.as_bytes() && known.signature == signature) {
            all.push(Named { schema: schema.as_bytes().into(), signature, finding: finding.clone(), hidden: false });
        }
    }

    /// Whether that can be one of them.
    pub fn has(&self, schema: Option<&[u8]>, name: &[u8]) -> bool {
        self.find(schema, name, |_| true).is_some()
    }

    /// Which of them that can be. A name without a schema can be in any; a temporary one's schema has two names.
    pub fn find(
        &self,
        schema: Option<&[u8]>,
        name: &[u8],
        mut fits: impl FnMut(&Signature) -> bool,
    ) -> Option<&Finding> {
        let all = self.0.get(name)?;
        let stands = |known: &&Named| {
            schema.map_or(!known.hidden, |schema| {
                *known.schema == *schema
                    || schema.starts_with(b"pg_temp") && known.schema.starts_with(b"pg_temp")
                    || !schema.is_ascii()
            })
        };
        all.iter().filter(stands).find(|known| fits(&known.signature)).map(|known| &known.finding)
    }

    /// Which of them a call with the arguments behind that parenthesis can be.
    pub fn called(&self, schema: Option<&[u8]>, name: &[u8], behind: &Lexer<'_>) -> Option<&Finding> {
        let mut given = None;
        self.find(schema, name, |signature| signature.takes(given.get_or_insert_with(|| arguments(behind.clone()))))
    }

    /// Which of them the notation of a field can be.
    pub fn field(&self, name: &[u8]) -> Option<&Finding> {
        self.find(None, name, |signature| signature.takes(&Arguments::of_number(Some(1))))
    }

    /// Which of them an operator between these can be; of several that stand together only the names are known.
    pub fn operator(&self, run: &[u8], sides: Sides) -> Option<&Finding> {
        let alone = operators(run).count() == 1;
        let sides = if alone { sides } else { Sides::default() };
        operators(run).find_map(|one| self.find(None, one, |signature| signature.joins(sides)))
    }

    /// Any of them.
    pub fn any(&self) -> Option<&Finding> {
        self.0.values().flatten().next().map(|known| &known.finding)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same where a name without a schema can only be of these schemas.
    pub fn under(&self, in_path: &dyn Fn(&[u8]) -> bool) -> Self {
        let mut all = self.clone();
        all.0.values_mut().flatten().for_each(|known| known.hidden = !in_path(&known.schema));
        all
    }

    /// Whether a name in another encoding than UTF-8 could be one of them.
    fn is_wide(&self) -> bool {
        self.0.keys().any(|name| !name.is_ascii())
    }

    /// Whether one of PostgreSQL's own functions that only read has the name of one of them.
    fn shadows(&self) -> bool {
        self.0.iter().any(|(name, all)| is_plain_read(name) && all.iter().any(|known| !known.hidden))
    }
}

/// The operators in a run of their characters: PostgreSQL ends one before a `+` or `-` at its end, unless it has a character
/// that no operator of standard SQL has.
pub(super) fn operators(run: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = run;
    std::iter::from_fn(move || {
        let special = |part: &[u8]| part.iter().any(|byte| b"~!@#%^&|`?".contains(byte));
        let mut end = rest.len();
        while let Some([ahead @ .., b'+' | b'-']) = rest.get(..end) {
            if ahead.is_empty() || special(ahead) {
                break;
            }
            end -= 1;
        }
        let (one, behind) = rest.split_at_checked(end)?;
        rest = behind;
        match one {
            [] => None,
            b"!=" => Some(&b"<>"[..]),
            one => Some(one),
        }
    })
}

/// Something that is no function: a relation, a type, an operator.
#[derive(Debug, Default, Clone)]
pub(super) struct Object {
    pub schema: String,
    pub name: String,
    /// Of an operator, what its operands are; of a relation, who may use it.
    pub letters: String,
}

/// See the module.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
pub(super) struct Reach {
    pub functions: Names,
    /// Functions of one row, which the notation of a field calls too.
    pub fields: Names,
    pub read: Names,
    /// Relations that only a write to them leads from. The server refuses those unless they are temporary.
    pub written: Names,
    /// Relations of which a row that goes, or changes, takes others along.
    pub deleted: Names,
    pub updated: Names,
    pub types: Names,
    pub operators: Names,
    pub function_oids: HashMap<u32, Box<str>, RandomState>,
    pub type_oids: HashSet<u32, RandomState>,
    /// Something that no statement has to name leads to one.
    pub everywhere: bool,
    /// Some function's name is not ASCII.
    pub wide: bool,
    /// Some function has the name of one of PostgreSQL's own.
    pub shadows: bool,
}

impl Reach {
    /// Whether a statement that calls nothing but PostgreSQL's own functions cannot lead to one.
    #[inline]
    pub fn is_by_function_alone(&self) -> bool {
        let named = self.read.is_empty() && self.written.is_empty() && self.types.is_empty();
        named && self.operators.is_empty() && self.fields.is_empty() && !self.everywhere && !self.shadows
    }

    /// Whether nothing leads to one.
    pub fn is_empty(&self) -> bool {
        self.is_by_function_alone() && self.functions.is_empty()
    }

    /// Adds something other than a function, of the kind that `question` has for it.
    pub fn add(&mut self, (kind, oid): (u8, u32), object: &Object, finding: &Finding) {
        let Object { schema, name, letters } = object;
        let any = Signature::default();
        match kind {
            b'r' => self.read.add_with(schema, name, any, finding),
            b'w' => self.written.add_with(schema, name, any, finding),
            b'D' => self.deleted.add_with(schema, name, any, finding),
            b'U' => self.updated.add_with(schema, name, any, finding),
            b'o' => self.operators.add_with(schema, name, Signature::of_operator(letters), finding),
            b't' | b'c' => {
                self.types.add_with(schema, name, any, finding);
                self.type_oids.insert(oid);
            }
            _ => {}
        }
    }

    /// Which of it a mention can be; writes to relations are for the caller.
    pub fn named(&self, mention: &Mention<'_, '_>) -> Option<&Finding> {
        match *mention {
            Mention::Call(schema, name, ref behind) => self.functions.called(schema, name, behind),
            Mention::Field(name) => self.fields.field(name),
            Mention::Relation(schema, name) => self.read.find(schema, name, |_| true),
            Mention::Type(schema, name) => self.types.find(schema, name, |_| true),
            Mention::AnyType => self.types.any(),
            Mention::AnyRelation => self.read.any(),
            Mention::Operator(run, sides) => self.operators.operator(run, sides),
            Mention::Implied(operator, sides) => self.operators.operator(operator.as_bytes(), sides),
            Mention::Writes
            | Mention::Builds(_)
            | Mention::Hands(..)
            | Mention::RunsText
            | Mention::Utility(_)
            | Mention::Executes
            | Mention::QuotedCommand(_)
            | Mention::Command(_) => None,
        }
    }

    /// Whether a parameter of one of these types, four bytes each, leads to one.
    pub fn has_type(&self, oids: &[u8]) -> bool {
        let (oids, _) = oids.as_chunks::<4>();
        !self.type_oids.is_empty() && oids.iter().any(|oid| self.type_oids.contains(&u32::from_be_bytes(*oid)))
    }

    /// The same where a name without a schema can only be of these schemas.
    pub fn under(&self, in_path: &dyn Fn(&[u8]) -> bool) -> Self {
        let mut all = Self {
            functions: self.functions.under(in_path),
            fields: self.fields.under(in_path),
            read: self.read.under(in_path),
            written: self.written.under(in_path),
            deleted: self.deleted.under(in_path),
            updated: self.updated.under(in_path),
            types: self.types.under(in_path),
            operators: self.operators.under(in_path),
            ..self.clone()
        };
        all.seal();
        all
    }

    /// To be called once all names are in.
    pub fn seal(&mut self) {
        self.wide = self.functions.is_wide() || self.fields.is_wide();
        self.shadows = self.functions.shadows();
    }
}
