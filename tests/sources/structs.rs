//! What is on a client's path is small, and is seen by few.

use crate::{Source, code, is_test, sources};

/// Fields of a struct on a client's path.
const FIELDS: usize = 12;
/// Booleans among them: more are an enum that nobody has written yet.
const BOOLEANS: usize = 2;

/// A struct with named fields.
pub struct Fields<'a> {
    pub name: &'a str,
    /// Visibility and type of each field.
    pub fields: Vec<(&'a str, &'a str)>,
}

impl Fields<'_> {
    pub fn booleans(&self) -> usize {
        self.fields.iter().filter(|(_, kind)| *kind == "bool").count()
    }
}

/// The structs of a file: rustfmt puts each field on a line of its own.
pub fn structs(code: &str) -> Vec<Fields<'_>> {
    let mut found = Vec::new();
    let mut lines = code.lines();
    while let Some(line) = lines.next() {
        let Some((before, rest)) = line.split_once("struct ") else { continue };
        if before.contains(' ') && !before.starts_with("pub") || !line.ends_with('{') {
            continue;
        }
        let name = rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
        let inside = lines.by_ref().take_while(|line| *line != "}");
        let fields = inside.filter(|line| line.starts_with("    ") && line.ends_with(',')).filter_map(|line| {
            let (name, kind) = line.trim().trim_end_matches(',').split_once(": ")?;
            let visibility = name.rsplit_once(' ').map_or("", |(visibility, _)| visibility);
            Some((visibility, kind))
        });
        found.push(Fields { name, fields: fields.collect() });
    }
    found
}

pub fn on_clients_path() -> Vec<(Source, String)> {
    let all = sources(&["src/client"]).into_iter().filter(|source| !is_test(source));
    let all: Vec<_> = all
        .map(|source| {
            let code = code(&source);
            (source, code)
        })
        .collect();
    assert!(all.len() > 60, "files are found");
    all
}

#[test]
fn no_struct_on_a_clients_path_has_more_than_12_fields_or_2_booleans() {
    let mut known = 0;
    for (source, code) in on_clients_path() {
        for one in structs(&code) {
            known += 1;
            let (booleans, Fields { name, fields }) = (one.booleans(), one);
            assert!(fields.len() <= FIELDS, "{name} in {} has {} fields", source.path.display(), fields.len());
            assert!(booleans <= BOOLEANS, "{name} in {} has {booleans} booleans", source.path.display());
        }
    }
    assert!(known > 40, "structs are found: {known}");
}

#[test]
fn fields_on_a_clients_path_are_reached_from_their_own_folder() {
    let far = |visibility: &str| matches!(visibility, "pub" | "pub(crate)" | "pub(in crate::client)");
    let mut reachable = Vec::new();
    for (_, code) in on_clients_path() {
        for Fields { name, fields } in structs(&code) {
            let of_it = fields.iter().filter(|(visibility, _)| far(visibility)).count();
            reachable.extend((of_it > 0).then(|| (of_it, name.to_owned())));
        }
    }
    assert!(reachable.is_empty(), "fields that other folders can reach: {reachable:?}");
}
