//! What of a database's own leaves something behind in the session of who uses it, to the end of all chains: a statement that names
//! such a function, or a table whose trigger calls one, has to be followed by the question what is left.

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::bodies::{Kinds, Left};
use crate::sql::classify::analyzer::Analyzer;
use crate::sql::hidden_writers::mentions::{Depth, Mention, mentions};
use crate::sql::hidden_writers::reach::operators;
use crate::sql::hidden_writers::statement_reading::StatementReading;
use crate::sql::lex::lexer::Lexer;
use crate::sql::statement::{Kind, Name, Proven, SessionEffect};

type Key = Box<[u8]>;

/// What something leaves behind: [`Kinds`], and settings by their place among those of the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Marks(u64);

impl Marks {
    /// Whether it is nothing.
    #[inline]
    pub fn is_nothing(self) -> bool {
        self.0 == 0
    }

    /// Adds those; true if any of them is new.
    pub(in crate::sql::hidden_writers) fn add(&mut self, other: Self) -> bool {
        let before = self.0;
        self.0 |= other.0;
        self.0 != before
    }

    /// Adds those.
    pub fn extend(&mut self, other: Self) {
        self.add(other);
    }

    /// What is no setting.
    pub fn kinds(self) -> Kinds {
        Kinds::from_bits(self.0)
    }
}

/// Names, each with the schemas it stands in.
#[derive(Debug, Default)]
struct Marked(HashMap<Key, Vec<(Key, Marks)>, RandomState>);

impl Marked {
    fn add(&mut self, schema: &str, name: &str, marks: Marks) {
        let schemas = self.0.entry(name.as_bytes().into()).or_default();
        match schemas.iter_mut().find(|(known, _)| **known == *schema.as_bytes()) {
            Some((_, known)) => _ = known.add(marks),
            None => schemas.push((schema.as_bytes().into(), marks)),
        }
    }

    /// A name without a schema can be in any; a temporary one's schema has two names.
    fn of(&self, schema: Option<&[u8]>, name: &[u8]) -> Marks {
        let mut all = Marks::default();
        for (known, marks) in self.0.get(name).into_iter().flatten() {
            let temporary = |name: &[u8]| name.starts_with(b"pg_temp");
            if schema.is_none_or(|schema| *schema == **known || temporary(schema) && temporary(known)) {
                all.add(*marks);
            }
        }
        all
    }

    fn all(&self) -> Marks {
        self.0.values().flatten().fold(Marks::default(), |mut all, (_, marks)| {
            all.add(*marks);
            all
        })
    }
}

/// One database's.
#[derive(Debug, Default)]
pub struct SideEffects {
    functions: Marked,
    /// Functions of one row, which the notation of a field calls too.
    fields: Marked,
    read: Marked,
    /// Relations of which only writing leaves something behind.
    written: Marked,
    types: Marked,
    operators: Marked,
    by_oid: HashMap<u32, Marks, RandomState>,
    /// By what no statement has to name.
    everywhere: Marks,
    settings: Vec<Name>,
}

impl SideEffects {
    /// Whether there is nothing of the kind.
    pub fn is_empty(&self) -> bool {
        let named = [&self.functions, &self.fields, &self.read, &self.written, &self.types, &self.operators];
        named.iter().all(|marked| marked.0.is_empty()) && self.everywhere.is_nothing()
    }

    /// The marks of what a body leaves behind; settings that there is no place for are [`Kinds::OTHER`].
    pub(in crate::sql::hidden_writers) fn marks(&mut self, left: &Left) -> Marks {
        let mut marks = Marks(left.kinds.bits());
        for name in &left.names {
            if self.place(name).is_none() && self.settings.len() < (u64::BITS - Kinds::BITS) as usize {
                self.settings.push(name.clone());
            }
            marks.add(self.place(name).unwrap_or(Marks(Kinds::OTHER.bits())));
        }
        marks
    }

    fn place(&self, name: &[u8]) -> Option<Marks> {
        let at = self.settings.iter().position(|known| **known == *name)?;
        1_u64.checked_shl(Kinds::BITS + u32::try_from(at).ok()?).map(Marks)
    }

    /// The settings among those marks.
    pub fn settings(&self, marks: Marks) -> impl Iterator<Item = &Name> {
        self.settings.iter().filter(move |name| self.place(name).is_some_and(|place| place.0 & marks.0 != 0))
    }

    pub(in crate::sql::hidden_writers) fn add(&mut self, what: What<'_>, marks: Marks) {
        match what {
            What::Function { oid, schema, name, as_field } => {
                self.by_oid.insert(oid, marks);
                self.functions.add(schema, name, marks);
                if as_field {
                    self.fields.add(schema, name, marks);
                }
            }
            What::Everywhere => _ = self.everywhere.add(marks),
            What::Named(b'r', schema, name) => self.read.add(schema, name, marks),
            What::Named(b'w', schema, name) => self.written.add(schema, name, marks),
            What::Named(b'o', _, name) => self.operators.add("", name, marks),
            What::Named(_, schema, name) => self.types.add(schema, name, marks),
        }
    }

    /// What calling the function of that OID leaves behind.
    pub fn of_function(&self, oid: u32) -> Marks {
        self.by_oid.get(&oid).copied().unwrap_or_default()
    }

    /// What a statement of this text leaves behind by what it names.
    pub fn of(&self, reading: &StatementReading<'_>) -> Marks {
        let one = reading.statement();
        let by_name = !(self.read.0.is_empty() && self.types.0.is_empty() && self.operators.0.is_empty());
        let prepares = one.effects.iter().any(|effect| matches!(effect, SessionEffect::Prepare { .. }));
        if matches!(one.kind, Kind::Transaction(_)) || one.route == Proven::Read && !by_name || prepares {
            return Marks::default();
        }
        let mut marks = if one.kind == Kind::Session { Marks::default() } else { self.everywhere };
        reading.each(|lexer| {
            let depth = if one.tag == "DO" { Depth::Constants } else { Depth::Words };
            let (found, runs_text) = self.read(reading.analyzer(), lexer.clone(), depth);
            marks.add(found);
            if runs_text {
                marks.add(self.read(reading.analyzer(), lexer, Depth::Constants).0);
            }
        });
        marks
    }

    /// What a text leaves behind, and whether it hands text to something that runs it.
    fn read(&self, analyzer: &Analyzer, lexer: Lexer<'_>, depth: Depth) -> (Marks, bool) {
        let (mut marks, mut writes, mut written) = (Marks::default(), false, Marks::default());
        let mut runs_text = false;
        mentions(lexer, analyzer.scope(), false, depth, &mut |mention| {
            marks.add(match mention {
                Mention::Call(schema, name, _) => self.functions.of(schema, name),
                Mention::Field(name) => self.fields.of(None, name),
                Mention::Relation(schema, name) => {
                    written.add(self.written.of(schema, name));
                    self.read.of(schema, name)
                }
                Mention::Type(schema, name) => self.types.of(schema, name),
                Mention::Operator(run, _) => operators(run).fold(Marks::default(), |mut all, one| {
                    all.add(self.operators.of(None, one));
                    all
                }),
                Mention::Implied(operator, _) => self.operators.of(None, operator.as_bytes()),
                Mention::AnyType => self.types.all(),
                Mention::AnyRelation => self.read.all(),
                Mention::Writes => {
                    writes = true;
                    Marks::default()
                }
                // Some are handed the name of a relation.
                Mention::RunsText => {
                    runs_text = true;
                    self.read.all()
                }
                Mention::Builds(_)
                | Mention::Hands(..)
                | Mention::Utility(_)
                | Mention::Executes
                | Mention::QuotedCommand(_)
                | Mention::Command(_) => Marks::default(),
            });
        });
        if writes {
            marks.add(written);
        }
        (marks, runs_text)
    }
}

/// Something that leaves something behind.
pub(in crate::sql::hidden_writers) enum What<'a> {
    /// A function.
    Function {
        oid: u32,
        schema: &'a str,
        name: &'a str,
        /// The notation of a field calls it too.
        as_field: bool,
    },
    /// Something else, by its kind, schema and name.
    Named(u8, &'a str, &'a str),
    /// What no statement has to name.
    Everywhere,
}
