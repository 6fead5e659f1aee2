//! From the catalog's rows to all that leads to an unseen writer. `question` says what the rows are.

pub(in crate::sql::hidden_writers) mod defaults;
pub(in crate::sql::hidden_writers) mod extensions;
pub(in crate::sql::hidden_writers) mod keepers;
pub(in crate::sql::hidden_writers) mod made_types;
pub(in crate::sql::hidden_writers) mod question;

use std::rc::Rc;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashSet};

use super::mentions::arguments::{Arguments, Sides, Signature, arguments};
use super::run_text::built::Built;
use crate::sql::classify::analyzer::{Analyzer, Scope};
use crate::sql::classify::readonly_exceptions::{Rule, Why, names_in_pieces};
use crate::sql::hidden_writers::catalog::defaults::Defaults;
use crate::sql::lex::lexer::Lexer;

use super::harmless::is_harmless;
use super::look::leaves_no_row;
use super::mentions::{Depth, Mention, mentions, runs_text};
use super::reach::{Finding, Object, Reach};
use super::routing::Routing;
use super::run_text::languages::{Queries, queries};
use super::run_text::remote::Here;
use super::side_effects::bodies;
use super::side_effects::bodies::Left;
use super::side_effects::catalog::{Marks, SideEffects, What};
use super::verdict::HiddenWriters;
use crate::sql::hidden_writers::catalog::keepers::Keepers;
use crate::sql::hidden_writers::catalog::question::MOST_ROWS;

mod elsewhere;
mod index;
mod lasting;
mod text;
mod uncounted;

use crate::sql::hidden_writers::catalog::index::Index;
use crate::sql::hidden_writers::catalog::lasting::Lasting;

/// Executable by everybody by default, and it changes no table: not enough to suspect all text that is put together.
const EVERYBODYS: &str = "pg_logical_emit_message";

/// An object: its kind, as `question` has it, and its number.
type Node = (u8, u32);

type Map<K, V> = HashMap<K, V, RandomState>;

/// A name in a body, with its schema if that is written.
type Mentioned = (Option<Box<[u8]>>, Box<[u8]>);

/// A call in a body, and what it is given.
type Called = (Mentioned, Arguments);

/// Who names something: in which schema it is sought, and by which function.
type User<'a> = (Option<&'a [u8]>, u32);

/// A row in text form.
type Row = Vec<Option<String>>;

/// A function or procedure.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
struct Routine {
    oid: u32,
    schema: String,
    name: String,
    language: String,
    flags: String,
    /// A writer by itself.
    writer: Option<Writer>,
    /// Its body is SQL, or another language's text that calls SQL: it has its caller's rights or its owner's.
    by_body: bool,
    /// By itself it is not shown to write nothing.
    doubtful: bool,
    builds: bool,
    /// It may put off triggers until COMMIT.
    defers: bool,
    /// It may switch the counting of changed rows off, which the check ahead of COMMIT relies on.
    uncounted: bool,
    named: Named,
    signature: Signature,
    /// What it leaves behind in its session by itself.
    left: Left,
}

impl Routine {
    /// Whether `(value).name` may call it, which PostgreSQL takes for a call with one argument, whatever the type of that is.
    fn may_be_field(&self) -> bool {
        self.signature.takes(&Arguments::of_number(Some(1)))
    }
}

/// Why something is an unseen writer by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Writer {
    what: Rc<str>,
    /// [`EVERYBODYS`], and no other.
    weak: bool,
}

/// What a body names.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
struct Named {
    calls: Vec<Called>,
    fields: Vec<Box<[u8]>>,
    relations: Vec<Mentioned>,
    types: HashSet<Box<[u8]>, RandomState>,
    operators: Vec<(Box<[u8]>, Sides)>,
    /// It makes values of types that it does not name.
    any_type: bool,
    writes: bool,
    /// It has a command that is no query.
    commands: bool,
    /// It runs text.
    executes: bool,
    /// What of that READ ONLY does not stop.
    lasting: Lasting,
    /// How the worst text is built that it runs, other than a whole constant.
    built: Option<Built>,
    /// Calls that are given what is no constant.
    hands: Vec<(Mentioned, Built)>,
}

#[derive(Default)]
struct Graph {
    routines: Vec<Routine>,
    /// What passes it on to what.
    edges: Map<Node, Vec<Node>>,
    /// Schema and name of what is no function.
    names: Map<Node, Object>,
    writers: Vec<(Node, Writer)>,
    /// What else is not shown to write nothing.
    doubtful: Vec<Node>,
    /// What sets settings in a stored expression.
    setters: Vec<(Node, Left)>,
    /// What changes more than the table that a statement names.
    wide_writes: Vec<(Node, Rc<str>)>,
    /// Foreign tables, each with a table of this database that it may stand for.
    links: Vec<(u32, u32)>,
    /// PostgreSQL's own functions that are handed text, by their numbers.
    takes_text: Vec<(u32, Box<str>)>,
    defaults: Defaults,
    /// Where this database is, for connections that lead back.
    here: Here,
    /// Texts that call dblink and its like.
    remote: Vec<(Node, Box<str>)>,
    /// Roles within whose reach files and programs are.
    roles: bool,
    /// Roles that could change relations in place.
    keepers: Keepers,
    /// Functions that are only read through where they are called: dblink and its like.
    by_text: HashSet<u32, RandomState>,
    /// Types and operators of the database's own that have names by which a text is read.
    shadowing: HashSet<Box<[u8]>, RandomState>,
}

/// What the rows amount to.
///
/// # Errors
/// There are too many to be read.
pub fn read(rows: &[Row], analyzer: &Analyzer) -> Result<HiddenWriters, String> {
    let mut graph = Graph::of(rows, analyzer)?;
    graph.keepers.everybody = graph.reaches_far(analyzer);
    Ok(graph.resolve(analyzer))
}

/// What they amount to for sessions: what is left behind in them, and what must not run on a replica.
///
/// # Errors
/// There are too many to be read.
pub fn read_leavings(rows: &[Row], analyzer: &Analyzer) -> Result<(SideEffects, Routing), String> {
    let graph = Graph::of(rows, analyzer)?;
    Ok((graph.leavings(), graph.routing()))
}

/// Looks through a text; gives the writer that it names itself.
fn look_through(text: &str, scope: Scope<'_>, named: &mut Named) -> Option<Writer> {
    let mut writer: Option<Writer> = None;
    let mut found = |what: &str| {
        let weak = what == EVERYBODYS;
        if writer.as_ref().is_none_or(|known| known.weak && !weak) {
            writer = Some(Writer { what: what.into(), weak });
        }
    };
    let mut quoted = None;
    let mut tell = |mention: Mention<'_, '_>| match mention {
        Mention::Call(schema, name, behind) => {
            let given = arguments(behind.clone());
            if leaves_no_row(scope, schema, name, behind) {
                found(&String::from_utf8_lossy(name));
            }
            named.calls.push(((schema.map(Into::into), name.into()), given));
        }
        Mention::Field(name) => named.fields.push(name.into()),
        Mention::Relation(schema, name) => named.relations.push((schema.map(Into::into), name.into())),
        Mention::Type(_, name) => _ = named.types.insert(name.into()),
        Mention::AnyType => named.any_type = true,
        Mention::Operator(run, sides) => named.operators.push((run.into(), sides)),
        Mention::Implied(operator, sides) => named.operators.push((operator.as_bytes().into(), sides)),
        Mention::Writes => named.writes = true,
        Mention::Builds(built) => named.built = named.built.max(Some(built)),
        Mention::AnyRelation => named.built = named.built.max(Some(Built::Quoted)),
        Mention::Hands(schema, name, built) => named.hands.push(((schema.map(Into::into), name.into()), built)),
        Mention::Command(tag) => found(tag),
        Mention::QuotedCommand(tag) => quoted = Some(tag),
        Mention::Executes => named.executes = true,
        Mention::Utility(utility) => {
            named.commands = true;
            named.lasting.add(utility);
        }
        Mention::RunsText => (named.commands, named.executes, named.lasting.always) = (true, true, true),
    };
    let readings: &[bool] = if text.contains('\\') { &[true, false] } else { &[true] };
    for standard in readings {
        mentions(Lexer::new(text.as_bytes(), *standard), scope, true, Depth::Constants, &mut tell);
    }
    let quoted = quoted.filter(|_| named.executes && writer.is_none());
    writer.or_else(|| quoted.map(|tag| Writer { what: tag.into(), weak: false }))
}

/// Looks through a text that code in another language runs.
fn look_through_query(query: &[u8], scope: Scope<'_>, named: &mut Named) -> Option<Writer> {
    look_through(str::from_utf8(query).ok()?, scope, named)
}

impl Graph {
    fn of(rows: &[Row], analyzer: &Analyzer) -> Result<Self, String> {
        if rows.len() > MOST_ROWS {
            return Err(format!("its catalog has more than {MOST_ROWS} objects that would have to be looked at"));
        }
        let mut graph = Self::default();
        rows.iter().for_each(|row| graph.take(row, analyzer));
        Ok(graph)
    }

    fn take(&mut self, row: &Row, analyzer: &Analyzer) {
        let field = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
        let number = |at: usize| field(at).parse::<u32>().unwrap_or_default();
        self.note_remote(row);
        let kind = |at: usize| field(at).bytes().next().unwrap_or_default();
        match field(0) {
            "f" => self.routine(row, analyzer),
            "e" => self.edges.entry((kind(1), number(2))).or_default().push((kind(3), number(4))),
            "n" => {
                let [schema, name, letters] = [3, 4, 5].map(|at| field(at).to_owned());
                self.names.insert((kind(1), number(2)), Object { schema, name, letters });
            }
            "m" => self.wide_writes.push(((kind(1), number(2)), field(3).into())),
            "l" => self.links.push((number(1), number(2))),
            "t" => self.takes_text.push((number(1), field(2).into())),
            "s" => self.writers.push(((kind(1), number(2)), Writer { what: field(3).into(), weak: false })),
            "v" => {
                self.doubtful.push((kind(1), number(2)));
                if let Some(writer) = look_through(field(3), analyzer.scope(), &mut Named::default()) {
                    self.writers.push(((kind(1), number(2)), writer));
                }
            }
            "h" => self.here.is(field(1), field(2)),
            "x" => self.here.leads_elsewhere(field(1)),
            "d" => {
                let role = row.get(1).and_then(Option::as_deref);
                self.defaults.take(role, field(2), field(3), field(4));
            }
            "k" => self.setters.push(((kind(1), number(2)), bodies::by_body(field(3), analyzer.scope()))),
            "y" => _ = self.shadowing.insert(field(1).as_bytes().into()),
            "g" => self.roles = true,
            "o" => self.keepers.add(field(1)),
            _ => {}
        }
    }

    fn routine(&mut self, row: &Row, analyzer: &Analyzer) {
        let field = |at: usize| row.get(at).and_then(Option::as_deref).unwrap_or_default();
        let scope = analyzer.scope();
        let [schema, name, language, flags] = [2, 3, 4, 5].map(|at| field(at).to_owned());
        let has = |flag: char| flags.contains(flag);
        let mut one = Routine { oid: field(1).parse().unwrap_or_default(), ..Routine::default() };
        let writer = |what: &str| Some(Writer { what: what.into(), weak: what == EVERYBODYS });
        // In another language it is one that only has the name of an extension's.
        let own = !matches!(language.as_str(), "c" | "internal");
        let listed = scope.list.function(name.as_bytes(), Some(schema.as_bytes()));
        let listed = listed.filter(|(why, _)| !own || *why == Why::Configured);
        one.left = match language.as_str() {
            "c" | "internal" => Left::default(),
            "sql" | "plpgsql" => bodies::by_body(field(7), scope),
            _ => bodies::by_words(field(7)),
        };
        one.writer = match (listed, language.as_str()) {
            (Some((why, Rule::Always)), _) if why.leaves_no_row() => writer(&name),
            (Some((_, Rule::UnlessPlainRead)), _) => {
                self.by_text.insert(one.oid);
                None
            }
            _ if has('b') => None,
            _ if has('p') => writer("a function of the server's own"),
            _ if has('u') => writer(&format!("code in {language}")),
            (_, "c") if field(6).is_empty() => writer("code in C"),
            (_, "c") if has('v') && !extensions::is_known(field(6)) => writer("code in C"),
            (_, "c" | "internal") => None,
            (_, "sql" | "plpgsql") => {
                one.by_body = true;
                let text = text::with_parameters(&language, field(9), field(7));
                let spelled = look_through(&text, scope.of_body(&language), &mut one.named);
                one.builds = one.named.built.is_some();
                let split = || scope.list.in_several_constants(field(7).as_bytes()).and_then(writer);
                spelled.or_else(|| if one.builds { split() } else { None })
            }
            _ => {
                // Nobody here reads that language: any of its words may be in a text that it runs.
                (one.by_body, one.builds) = (true, true);
                let ran = match queries(language.as_bytes(), field(7).as_bytes()) {
                    Queries::Any => {
                        one.named.built = Some(Built::Open);
                        None
                    }
                    Queries::Constant(all) => {
                        all.iter().find_map(|query| look_through_query(query, scope, &mut one.named))
                    }
                };
                let words = field(7).split(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'));
                let words: HashSet<&str, RandomState> = words.filter(|word| !word.is_empty()).collect();
                let called = |word: &&str| ((None, word.to_lowercase().into_bytes().into()), Arguments::default());
                one.named.calls.extend(words.iter().map(called));
                let listed = |word: &&&str| {
                    scope.list.function(word.as_bytes(), None).is_some_and(|(why, _)| why.leaves_no_row())
                };
                let spelled = words.iter().find(listed).and_then(|word| writer(word));
                let in_pieces = || scope.list.in_several_constants(field(7).as_bytes()).and_then(writer);
                ran.or_else(|| spelled.or_else(in_pieces))
            }
        };
        one.doubtful = match language.as_str() {
            "sql" | "plpgsql" => one.builds || one.named.writes || one.named.commands,
            "c" => !extensions::writes_nothing(field(6), has('v')) || listed.is_some() || runs_text(name.as_bytes()),
            // Aggregates and constructors of ranges have no code of their own.
            "internal" => !has('a'),
            _ => true,
        } || one.writer.is_some();
        one.defers = one.by_body && (one.builds || mentions_constraints(field(7)));
        // Who calls set_config() by that name has a purpose; a body that names it and only reads has none.
        let sets = one.named.commands
            || one.named.executes
            || one.named.calls.iter().any(|((_, name), _)| &**name == b"set_config");
        let switches = names_in_pieces(field(7).as_bytes(), b"track_counts") && (sets || one.builds);
        one.uncounted = has('c') || switches;
        one.signature = Signature::read(field(8));
        (one.schema, one.name, one.language, one.flags) = (schema, name, language, flags);
        self.routines.push(one);
    }

    /// All that leads to `writers`, with the first reason that was found for each; `allowed` says where configuration ends a chain.
    fn spread(
        &self,
        writers: &[(Node, Rc<str>)],
        index: &Index<'_>,
        allowed: &dyn Fn(Node) -> bool,
    ) -> Map<Node, Rc<str>> {
        let mut known: Map<Node, Rc<str>> = Map::default();
        let mut queue: Vec<(Node, Rc<str>)> = writers.to_vec();
        while let Some((node, why)) = queue.pop() {
            if known.contains_key(&node) || allowed(node) {
                continue;
            }
            known.insert(node, why.clone());
            let next = self.edges.get(&node).into_iter().flatten().copied();
            queue.extend(next.map(|to| (to, why.clone())));
            let named = index.who_names(self, node).into_iter().map(|oid| ((b'f', oid), why.clone()));
            queue.extend(named);
        }
        known
    }

    fn is_allowed(&self, node: Node, index: &Index<'_>, analyzer: &Analyzer) -> bool {
        let routine = index.by_oid.get(&node.1).filter(|_| node.0 == b'f').and_then(|at| self.routines.get(*at));
        let object = self.names.get(&node).filter(|_| matches!(node.0, b'r' | b'w'));
        routine.is_some_and(|one| analyzer.list().allows(&one.schema, &one.name))
            || object.is_some_and(|one| analyzer.list().allows(&one.schema, &one.name))
    }

    /// All that leaves something behind in its session, each with all that it leaves.
    fn leavings(&self) -> SideEffects {
        let index = Index::new(self);
        let mut leavings = SideEffects::default();
        let mut known: Map<Node, Marks> = Map::default();
        let mut queue: Vec<(Node, Marks)> = Vec::new();
        for one in self.routines.iter().filter(|one| !one.left.is_nothing()) {
            queue.push(((b'f', one.oid), leavings.marks(&one.left)));
        }
        queue.extend(self.setters.iter().map(|(node, left)| (*node, leavings.marks(left))));
        // Ends: each time something is new to a node, and there are as many things as bits.
        while let Some((node, marks)) = queue.pop() {
            let all = known.entry(node).or_default();
            if !all.add(marks) {
                continue;
            }
            let all = *all;
            queue.extend(self.edges.get(&node).into_iter().flatten().map(|to| (*to, all)));
            queue.extend(index.who_names(self, node).into_iter().map(|oid| ((b'f', oid), all)));
        }
        for (&(kind, oid), marks) in &known {
            if kind == b'f' {
                let Some(one) = index.by_oid.get(&oid).and_then(|at| self.routines.get(*at)) else { continue };
                let as_field = one.may_be_field();
                leavings.add(What::Function { oid, schema: &one.schema, name: &one.name, as_field }, *marks);
            } else if kind == b'a' {
                leavings.add(What::Everywhere, *marks);
            } else if let Some(Object { schema, name, .. }) = self.names.get(&(kind, oid)) {
                leavings.add(What::Named(kind, schema, name), *marks);
            }
        }
        leavings
    }

    /// Whether a body calls what nobody knows: neither PostgreSQL's own that is harmless, nor one of the database's own.
    fn calls_unknown(&self, one: &Routine, index: &Index<'_>) -> bool {
        one.named.calls.iter().any(|((schema, name), _)| {
            let own = matches!(schema.as_deref(), None | Some(b"pg_catalog")) && is_harmless(name);
            let named = index.by_name.get(&**name).into_iter().flatten().filter_map(|at| self.routines.get(*at));
            let known = own || named.filter(|known| !known.flags.contains('b')).any(|known| in_schema(schema, known));
            !known || !name.is_ascii()
        })
    }

    fn resolve(&self, analyzer: &Analyzer) -> HiddenWriters {
        let index = Index::new(self);
        let by_itself = |weak: bool| {
            let routines = self.routines.iter().filter_map(|one| Some(((b'f', one.oid), one.writer.clone()?)));
            let all = routines.chain(self.writers.iter().cloned());
            let wanted = all.filter(move |(_, writer)| weak || !writer.weak);
            wanted.map(|(node, writer)| (node, writer.what)).collect::<Vec<_>>()
        };
        let allowed = |node: Node| self.is_allowed(node, &index, analyzer);
        let doubtful = self.doubtful(&index, |one| one.doubtful);
        let uncounted: Vec<_> = self.uncounted(&doubtful).collect();
        let writing = self.writing(&doubtful, &index);
        let mut unseen = self.judge(&doubtful, &writing, &index, analyzer);
        let elsewhere = [self.foreign(&writing), self.by_remote_text(&unseen, analyzer)].concat();
        let within_reach = self.reaches_elsewhere(&elsewhere, &index, &allowed);
        let by_itself = |weak: bool| [by_itself(weak), elsewhere.clone(), uncounted.clone()].concat();
        let strong = self.spread(&by_itself(false), &index, &allowed);
        let deferring = self.deferring(&index, &allowed);
        let within_reach = within_reach || !deferring.is_empty() || self.within_reach(&strong);
        let mut writers = by_itself(true);
        let built: Rc<str> = "text that is put together at run time".into();
        let builders = || self.routines.iter().filter(|one| one.builds);
        let suspect = builders().filter(|one| within_reach || one.flags.contains('d'));
        writers.extend(suspect.map(|one| ((b'f', one.oid), built.clone())));
        let how = self.built(&index);
        let (open, lent) = self.open(&writers, &how, &index, &allowed);
        writers.extend(lent);
        let all = self.spread(&writers, &index, &allowed);

        unseen.within_reach = within_reach;
        for one in self.routines.iter().filter(|one| one.builds || how.contains_key(&one.oid)) {
            unseen.builders.add(&one.schema, &one.name);
            unseen.builder_oids.insert(one.oid, one.name.as_str().into());
        }
        self.text_is_given(&mut unseen, &how, &allowed);
        self.reach(&open, &index, &mut unseen.open);
        unseen.keepers = self.keepers.clone();
        unseen.defaults = self.defaults.clone();
        unseen.takes_text = self.takes_text.iter().cloned().collect();
        unseen.stopped = self.stopped(&index);
        self.reach(&all, &index, &mut unseen.refused);
        self.reach(&deferring, &index, &mut unseen.refused);
        unseen.findings = self.findings(&all, &index, analyzer);
        unseen.findings.extend(self.remedies(&strong));
        unseen.findings.extend(self.findings_of_text(&open, &all, &index));
        // dblink and its like are judged by their arguments where those can be read; by number they cannot.
        for one in self.routines.iter().filter(|one| self.by_text.contains(&one.oid)) {
            unseen.refused.function_oids.insert(one.oid, one.name.as_str().into());
        }
        unseen.writers = self.writers(&by_itself(true), &index, analyzer);
        unseen.seal()
    }

    /// What statements are judged by that run over connections which nobody guards.
    fn judge(
        &self,
        doubtful: &Map<Node, Rc<str>>,
        writing: &Map<Node, Rc<str>>,
        index: &Index<'_>,
        analyzer: &Analyzer,
    ) -> HiddenWriters {
        let mut unseen = HiddenWriters { here: self.here.clone(), ..HiddenWriters::default() };
        self.note_namesakes(&mut unseen, analyzer);
        self.reach(doubtful, index, &mut unseen.asked);
        for one in self.routines.iter().filter(|one| !doubtful.contains_key(&(b'f', one.oid))) {
            unseen.clean.add(&one.schema, &one.name);
        }
        self.reach(writing, index, &mut unseen.writing);
        unseen
    }

    /// All that may change anything but the table that a statement names, where nothing keeps it from writing.
    fn writing(&self, doubtful: &Map<Node, Rc<str>>, index: &Index<'_>) -> Map<Node, Rc<str>> {
        let moves = |one: &&Routine| {
            let named = |((_, name), _): &Called| matches!(&**name, b"nextval" | b"setval");
            one.flags.contains('q') || one.named.calls.iter().any(named)
        };
        let sequence: Rc<str> = "a sequence".into();
        let routines = self.routines.iter().filter(moves).map(|one| ((b'f', one.oid), sequence.clone()));
        let known = doubtful.iter().map(|(node, why)| (*node, why.clone()));
        let roots: Vec<_> = routines.chain(known).chain(self.wide_writes.iter().cloned()).collect();
        self.spread(&roots, index, &|_| false)
    }

    /// What must not run on a replica.
    fn routing(&self) -> Routing {
        let index = Index::new(self);
        let volatile = |one: &&Routine| {
            let flag = |letter| one.flags.contains(letter);
            flag('b') || flag('v') || one.doubtful || self.calls_unknown(one, &index)
        };
        let reason: Rc<str> = "".into();
        let roots: Vec<_> =
            self.routines.iter().filter(volatile).map(|one| ((b'f', one.oid), reason.clone())).collect();
        let mut reach = Reach::default();
        self.reach(&self.spread(&roots, &index, &|_| false), &index, &mut reach);
        reach.seal();
        Routing(reach)
    }

    /// The names of all that leads to writers of one kind.
    fn reach(&self, all: &Map<Node, Rc<str>>, index: &Index<'_>, reach: &mut Reach) {
        for (&(kind, oid), why) in all {
            if kind == b'f' {
                let Some(one) = index.by_oid.get(&oid).and_then(|at| self.routines.get(*at)) else { continue };
                // PostgreSQL's own are the reader's to refuse, so are those of the list.
                if one.flags.contains('b') {
                    continue;
                }
                let finding: Finding = Arc::from(format!("{}.{}() by {why}", one.schema, one.name));
                reach.function_oids.insert(oid, one.name.as_str().into());
                reach.functions.add_with(&one.schema, &one.name, one.signature.clone(), &finding);
                if one.may_be_field() {
                    reach.fields.add_with(&one.schema, &one.name, one.signature.clone(), &finding);
                }
                continue;
            }
            reach.everywhere |= kind == b'a';
            // What else is written with a table is told by the table's own name.
            let named = if matches!(kind, b'D' | b'U') { (b'w', oid) } else { (kind, oid) };
            if let Some(object) = self.names.get(&named) {
                let finding: Finding = match kind {
                    b'o' => format!("operator {} by {why}", object.name).into(),
                    _ => format!("{}.{} by {why}", object.schema, object.name).into(),
                };
                reach.add((kind, oid), object, &finding);
            }
        }
    }

    /// What was found, in words.
    fn findings(&self, all: &Map<Node, Rc<str>>, index: &Index<'_>, analyzer: &Analyzer) -> Vec<String> {
        let mut nodes: Vec<_> = all.iter().collect();
        nodes.sort();
        let words = |(&(kind, oid), why): (&Node, &Rc<str>)| {
            if kind == b'f' {
                let one = index.by_oid.get(&oid).and_then(|at| self.routines.get(*at))?;
                let listed = analyzer.list().function(one.name.as_bytes(), Some(one.schema.as_bytes())).is_some();
                let told = !listed && !one.flags.contains('b');
                return told.then(|| format!("{}.{}() by {why}", one.schema, one.name));
            }
            let Object { schema, name, .. } = self.names.get(&(kind, oid))?;
            match kind {
                b'r' => Some(format!("{schema}.{name} by {why}")),
                b'o' => Some(format!("operator {name} by {why}")),
                _ => None,
            }
        };
        nodes.into_iter().filter_map(words).collect()
    }
}

/// Whether a body may have SET CONSTRAINTS.
fn mentions_constraints(body: &str) -> bool {
    body.to_ascii_lowercase().contains("constraints")
}

/// Whether a name with that schema, if it has one, can be that function's.
fn in_schema(schema: &Option<Box<[u8]>>, one: &Routine) -> bool {
    schema.as_deref().is_none_or(|wanted| wanted == one.schema.as_bytes() || wanted.starts_with(b"pg_temp"))
}

#[cfg(test)]
#[path = "catalog_tests.rs"]
mod tests;
