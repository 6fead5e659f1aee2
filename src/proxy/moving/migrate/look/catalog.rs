//! Both sides' schemas compared: what is missing on the new side, what is other there. Pure functions of what the servers have said.

use std::collections::BTreeMap;

use crate::moving::Line;
use crate::proxy::moving::lines::{fail, listed, ok, warn};
use crate::proxy::moving::talk::field;
use crate::server::own_query::Row;

/// How grave it is that an object is missing or other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Grave {
    /// Rows could not be replicated, or not be written any more.
    Both,
    /// Only if it is missing: versions of PostgreSQL write the same in different words.
    Missing,
}

/// Kinds of objects, each with the name of its check.
const KINDS: [(&str, &str, Grave); 9] = [
    ("table", "tables", Grave::Both),
    ("column", "columns", Grave::Both),
    ("type", "types", Grave::Both),
    ("sequence", "sequences", Grave::Both),
    ("index", "indexes", Grave::Missing),
    ("constraint", "constraints", Grave::Missing),
    ("view", "views", Grave::Missing),
    ("function", "functions", Grave::Missing),
    ("trigger", "triggers", Grave::Missing),
];

const LEAVE: &str = "Leave the schema as it is until MIGRATE … FINISH.";

type Objects<'a> = BTreeMap<&'a str, &'a str>;

fn of_kind<'a>(rows: &'a [Row], kind: &str) -> Objects<'a> {
    rows.iter().filter(|row| field(row, 0) == kind).map(|row| (field(row, 1), field(row, 2))).collect()
}

/// Whether there are tables on one side, and none on the other: nobody has brought the schema yet.
pub(super) fn is_missing(old: &[Row], new: &[Row]) -> bool {
    !of_kind(old, "table").is_empty() && of_kind(new, "table").is_empty()
}

/// A line for each kind of object.
pub(super) fn compare(old: &[Row], new: &[Row]) -> Vec<Line> {
    KINDS.iter().map(|(kind, name, grave)| of_one(name, *grave, &of_kind(old, kind), &of_kind(new, kind))).collect()
}

fn of_one(name: &str, grave: Grave, old: &Objects<'_>, new: &Objects<'_>) -> Line {
    let missing: Vec<_> =
        old.keys().filter(|object| !new.contains_key(*object)).map(|object| (*object).to_owned()).collect();
    let other = old.iter().filter_map(|(object, is)| {
        let there = new.get(object)?;
        (there != is).then(|| format!("{object} ({there} instead of {is})"))
    });
    let other: Vec<_> = other.collect();
    let more: Vec<_> =
        new.keys().filter(|object| !old.contains_key(*object)).map(|object| (*object).to_owned()).collect();
    let mut words = Vec::new();
    for (word, objects) in [("missing", &missing), ("other", &other), ("only on the new side", &more)] {
        if !objects.is_empty() {
            words.push(format!("{word}: {}", listed(objects.iter().cloned())));
        }
    }
    if words.is_empty() {
        return ok(name, format!("{} are the same", old.len()));
    }
    let text = words.join("; ");
    // A column that only the new side has gets no values.
    let fails = !missing.is_empty()
        || grave == Grave::Both && !other.is_empty()
        || name == "columns" && new.iter().any(|(object, is)| !old.contains_key(object) && must_be_given(is));
    if fails {
        fail(name, text, format!("Bring the new side's schema to what the old one's is. {LEAVE}"))
    } else {
        warn(name, text, LEAVE)
    }
}

/// Whether a column has to have a value, and gets none by itself.
fn must_be_given(is: &str) -> bool {
    is.contains(" not null") && !is.ends_with(" default") && !is.ends_with(" generated") && !is.ends_with(" identity")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::moving::Status;

    fn rows(objects: &[(&str, &str, &str)]) -> Vec<Row> {
        let row =
            |(kind, name, is): &(&str, &str, &str)| [kind, name, is].map(|word| Some((*word).to_owned())).to_vec();
        objects.iter().map(row).collect()
    }

    fn status(old: &[(&str, &str, &str)], new: &[(&str, &str, &str)], name: &str) -> Status {
        let lines = compare(&rows(old), &rows(new));
        lines.into_iter().find(|line| line.name == name).unwrap().status
    }

    #[test]
    fn what_is_missing_fails_and_what_is_written_in_other_words_does_not() {
        let index = |text| [("index", "i", text)];
        assert_eq!(status(&index("a"), &index("a"), "indexes"), Status::Ok);
        assert_eq!(status(&index("a"), &index("b"), "indexes"), Status::Warn);
        assert_eq!(status(&index("a"), &[], "indexes"), Status::Fail);
        assert_eq!(status(&[], &index("a"), "indexes"), Status::Warn);
        let column = |text| [("column", "t.c", text)];
        assert_eq!(status(&column("integer"), &column("bigint"), "columns"), Status::Fail);
        assert_eq!(status(&[], &column("integer"), "columns"), Status::Warn);
        assert_eq!(status(&[], &column("integer not null"), "columns"), Status::Fail);
        assert_eq!(status(&[], &column("integer not null default"), "columns"), Status::Warn);
        assert!(is_missing(&rows(&[("table", "t", "r")]), &[]));
    }
}
