//! Which bodies name a thing, by its name.

use super::{Graph, Map, Node, User};
use crate::sql::hidden_writers::mentions::arguments::{Arguments, Sides, Signature};
use crate::sql::hidden_writers::reach::{Object, operators};

/// Functions by what their bodies name.
pub(super) struct Index<'a> {
    pub(super) by_oid: Map<u32, usize>,
    pub(super) by_name: Map<&'a [u8], Vec<usize>>,
    calls: Map<&'a [u8], Vec<(User<'a>, Arguments)>>,
    fields: Map<&'a [u8], Vec<u32>>,
    /// And whether it writes to tables.
    relations: Map<&'a [u8], Vec<(User<'a>, bool)>>,
    types: Map<&'a [u8], Vec<u32>>,
    operators: Map<&'a [u8], Vec<(u32, Sides)>>,
    /// Those that make values of types that they do not name.
    any_type: Vec<u32>,
}

impl<'a> Index<'a> {
    pub(super) fn new(graph: &'a Graph) -> Self {
        let mut index = Self {
            by_oid: Map::default(),
            by_name: Map::default(),
            calls: Map::default(),
            fields: Map::default(),
            relations: Map::default(),
            types: Map::default(),
            operators: Map::default(),
            any_type: Vec::new(),
        };
        for (at, one) in graph.routines.iter().enumerate() {
            index.by_oid.insert(one.oid, at);
            index.by_name.entry(one.name.as_bytes()).or_default().push(at);
            for ((schema, name), given) in &one.named.calls {
                index.calls.entry(&**name).or_default().push(((schema.as_deref(), one.oid), *given));
            }
            for (schema, name) in &one.named.relations {
                let user = ((schema.as_deref(), one.oid), one.named.writes);
                index.relations.entry(&**name).or_default().push(user);
            }
            one.named.fields.iter().for_each(|name| index.fields.entry(&**name).or_default().push(one.oid));
            one.named.types.iter().for_each(|name| index.types.entry(&**name).or_default().push(one.oid));
            index.any_type.extend(one.named.any_type.then_some(one.oid));
            for (run, sides) in &one.named.operators {
                let sides = if operators(run).count() == 1 { *sides } else { Sides::default() };
                operators(run).for_each(|one_of| index.operators.entry(one_of).or_default().push((one.oid, sides)));
            }
        }
        index
    }

    /// The functions whose bodies name it.
    pub(super) fn who_names(&self, graph: &Graph, node: Node) -> Vec<u32> {
        let (kind, oid) = node;
        let in_schema = |wanted: Option<&[u8]>, schema: &str| {
            wanted.is_none_or(|wanted| wanted == schema.as_bytes() || wanted.starts_with(b"pg_temp"))
        };
        if kind == b'f' {
            let Some(one) = self.by_oid.get(&oid).and_then(|at| graph.routines.get(*at)) else { return Vec::new() };
            // What the list names has been judged with its arguments.
            if one.flags.contains('b') || graph.by_text.contains(&oid) {
                return Vec::new();
            }
            let calls = self.calls.get(one.name.as_bytes()).into_iter().flatten();
            let fits = |((schema, _), given): &&(User<'_>, Arguments)| {
                in_schema(*schema, &one.schema) && one.signature.takes(given)
            };
            let calls = calls.filter(fits).map(|((_, user), _)| *user);
            let fields = self.fields.get(one.name.as_bytes()).into_iter().flatten().copied();
            return calls.chain(fields.filter(|_| one.may_be_field())).collect();
        }
        let Some(Object { schema, name, letters }) = graph.names.get(&node) else { return Vec::new() };
        let name = name.as_bytes();
        match kind {
            b'r' | b'w' => {
                let users = self.relations.get(name).into_iter().flatten();
                let users =
                    users.filter(|((wanted, _), writes)| in_schema(*wanted, schema) && (*writes || kind == b'r'));
                users.map(|((_, user), _)| *user).collect()
            }
            b'o' => {
                let signature = Signature::of_operator(letters);
                let users = self.operators.get(name).into_iter().flatten();
                users.filter(|(_, sides)| signature.joins(*sides)).map(|(user, _)| *user).collect()
            }
            b't' | b'c' => {
                let users = self.types.get(name).into_iter().flatten();
                users.chain(&self.any_type).copied().collect()
            }
            _ => Vec::new(),
        }
    }
}
