//! Two answers compared, and what a plan calls. Pure functions.

use crate::server::own_query::RawAnswer;
use crate::shared::mirrors::Difference;
use crate::sql::RowOrder;

/// Types from here on are the database's own: each side has numbers of its own for them.
const FIRST_OWN_TYPE: u32 = 16_384;
/// Names of functions that are looked up for one statement.
const MOST_NAMES: usize = 200;

/// What a side has answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Rows.
    Rows(RawAnswer),
    /// An error, by its SQLSTATE.
    Refused(String),
}

/// In which way the answer of the new side is another one.
pub(super) fn compare(old: &Told, new: &Told, order: RowOrder) -> Option<Difference> {
    let (old, new) = match (old, new) {
        (Told::Rows(old), Told::Rows(new)) => (old, new),
        (Told::Refused(old), Told::Refused(new)) => return (old != new).then_some(Difference::Error),
        _ => return Some(Difference::Error),
    };
    if !are_alike(&old.columns, &new.columns) {
        return Some(Difference::Columns);
    }
    if old.rows == new.rows {
        return None;
    }
    let sorted = |answer: &RawAnswer| {
        let mut rows: Vec<&[u8]> = answer.rows.iter().map(Vec::as_slice).collect();
        rows.sort_unstable();
        rows.into_iter().map(<[u8]>::to_vec).collect::<Vec<_>>()
    };
    if sorted(old) != sorted(new) {
        return Some(Difference::Rows);
    }
    (order == RowOrder::Given).then_some(Difference::Order)
}

fn are_alike(old: &[(String, u32)], new: &[(String, u32)]) -> bool {
    let alike = |(old, new): (&(String, u32), &(String, u32))| {
        old.0 == new.0 && (old.1 == new.1 || old.1 >= FIRST_OWN_TYPE && new.1 >= FIRST_OWN_TYPE)
    };
    old.len() == new.len() && old.iter().zip(new).all(alike)
}

/// What is other, in a few words without anybody's data.
pub(super) fn words(difference: Difference, old: &Told, new: &Told) -> String {
    let short = |told: &Told| match told {
        Told::Rows(answer) => format!("{} rows", answer.rows.len()),
        Told::Refused(sqlstate) => format!("error {sqlstate}"),
    };
    let (here, there) = (short(old), short(new));
    match (difference, old, new) {
        (Difference::Rows, ..) if here == there => format!("{here} on both sides, with other values"),
        (Difference::Order, ..) => format!("{here}, in another order on the new side"),
        (Difference::Columns, Told::Rows(old), Told::Rows(new)) => {
            let mut pairs = old.columns.iter().zip(&new.columns);
            let names = pairs.find(|(old, new)| old != new).map(|(old, new)| {
                let words = |(name, oid): &(String, u32)| format!("\"{name}\" of type {oid}");
                format!("{} on the old side, {} on the new one", words(old), words(new))
            });
            names.unwrap_or_else(|| format!("{} columns, {} on the new side", old.columns.len(), new.columns.len()))
        }
        _ => format!("{here} on the old side, {there} on the new one"),
    }
}

/// Names that a plan calls as functions; None: there are too many of them.
pub(super) fn called(plan: &[Vec<u8>]) -> Option<Vec<String>> {
    let mut names = Vec::new();
    for line in plan {
        for (at, _) in line.iter().enumerate().filter(|(_, byte)| **byte == b'(') {
            let Some(name) = name_before(line.get(..at).unwrap_or_default()) else { continue };
            if !names.contains(&name) {
                names.push(name);
            }
        }
        if names.len() > MOST_NAMES {
            return None;
        }
    }
    Some(names)
}

/// The name that ends there, if one does.
fn name_before(bytes: &[u8]) -> Option<String> {
    let name = match bytes.strip_suffix(b"\"") {
        Some(rest) => rest.get(rest.iter().rposition(|byte| *byte == b'"')? + 1..)?,
        None => {
            let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..);
            bytes.get(bytes.iter().rposition(|byte| !is_part(byte)).map_or(0, |at| at + 1)..)?
        }
    };
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(types: u32, rows: &[&str]) -> Told {
        let columns = vec![("v".to_owned(), types)];
        Told::Rows(RawAnswer { columns, rows: rows.iter().map(|row| row.as_bytes().to_vec()).collect() })
    }

    #[test]
    fn rows_are_compared_in_order_where_the_statement_gives_one() {
        let (one, other) = (rows(25, &["a", "b", "b"]), rows(25, &["b", "a", "b"]));
        assert_eq!(compare(&one, &other, RowOrder::Any), None);
        assert_eq!(compare(&one, &other, RowOrder::Given), Some(Difference::Order));
        assert_eq!(compare(&one, &rows(25, &["a", "b"]), RowOrder::Any), Some(Difference::Rows));
        assert_eq!(compare(&one, &rows(25, &["a", "a", "b"]), RowOrder::Given), Some(Difference::Rows));
        assert_eq!(compare(&one, &one, RowOrder::Given), None);
    }

    #[test]
    fn types_of_the_databases_own_have_other_numbers_on_each_side() {
        assert_eq!(compare(&rows(16_400, &["a"]), &rows(16_500, &["a"]), RowOrder::Any), None);
        assert_eq!(compare(&rows(23, &["1"]), &rows(20, &["1"]), RowOrder::Any), Some(Difference::Columns));
        let refused = |code: &str| Told::Refused(code.to_owned());
        assert_eq!(compare(&refused("42P01"), &refused("42P01"), RowOrder::Any), None);
        assert_eq!(compare(&rows(23, &[]), &refused("42P01"), RowOrder::Any), Some(Difference::Error));
        let said = words(Difference::Columns, &rows(23, &["secret"]), &rows(20, &["secret"]));
        assert_eq!(said, "\"v\" of type 23 on the old side, \"v\" of type 20 on the new one");
    }

    #[test]
    fn functions_are_found_in_a_plan() {
        let plan =
            ["Result", "  Output: random(), public.\"My F\"(t.v), (t.v + 1), count(*)", "  Filter: (a = ANY ('{}'))"];
        let plan: Vec<_> = plan.iter().map(|line| line.as_bytes().to_vec()).collect();
        assert_eq!(called(&plan).unwrap(), ["random", "My F", "count"]);
        let many = (0..300).map(|nth| format!("f{nth}(1)").into_bytes()).collect::<Vec<_>>();
        assert_eq!(called(&many), None);
    }
}
