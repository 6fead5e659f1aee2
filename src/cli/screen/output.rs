//! Answers, for people or for programs.

use serde_json::{Map, Value};

use crate::cli::Output;
use crate::server::own_query::{Answer, Row};

/// Types of PostgreSQL's whose text is a value of JSON's.
const BOOL: u32 = 16;
const NUMBERS: [u32; 4] = [20, 21, 23, 1700];

/// An answer in that form.
pub(in crate::cli) fn written(answer: &Answer, output: Output) -> String {
    match output {
        Output::Text => printed(answer),
        Output::Json => {
            let rows: Vec<Value> = answer.rows.iter().map(|row| object(answer, row)).collect();
            format!("{}\n", Value::Array(rows))
        }
    }
}

fn object(answer: &Answer, row: &Row) -> Value {
    let cell = |(at, (name, value)): (usize, (&String, &Option<String>))| {
        let oid = answer.types.get(at).copied().unwrap_or_default();
        (name.clone(), value.as_ref().map_or(Value::Null, |text| typed(oid, text)))
    };
    Value::Object(answer.columns.iter().zip(row).enumerate().map(cell).collect::<Map<_, _>>())
}

fn typed(oid: u32, text: &str) -> Value {
    let number = || text.parse().ok().map(Value::Number);
    match oid {
        BOOL => Value::Bool(text == "t"),
        _ if NUMBERS.contains(&oid) => number().unwrap_or_else(|| Value::from(text)),
        _ => Value::from(text),
    }
}

fn cell<'a>(answer: &Answer, row: &'a Row, column: &str) -> Option<&'a str> {
    let at = answer.columns.iter().position(|name| name == column)?;
    row.get(at)?.as_deref()
}

/// The id of the newest event.
pub(in crate::cli) fn last_event(answer: &Answer) -> Option<u64> {
    cell(answer, answer.rows.last()?, "id")?.parse().ok()
}

/// A line for each event with a larger id.
pub(in crate::cli) fn events(answer: &Answer, after: u64, output: Output) -> String {
    let is_new =
        |row: &&Row| cell(answer, row, "id").and_then(|id| id.parse::<u64>().ok()).is_some_and(|id| id > after);
    let line = |row: &Row| match output {
        Output::Json => format!("{}\n", object(answer, row)),
        Output::Text => {
            let words = ["at", "severity", "event", "database", "cluster", "upstream", "message"];
            let words: Vec<_> = words.iter().filter_map(|column| cell(answer, row, column)).collect();
            format!("{} {}\n", words.join(" "), cell(answer, row, "fields").unwrap_or_default())
        }
    };
    answer.rows.iter().filter(is_new).map(line).collect()
}

/// One row is printed as a list, since it is wide; several as a table.
fn printed(answer: &Answer) -> String {
    match answer.rows.as_slice() {
        [row] => list(&answer.columns, row),
        rows => table(&answer.columns, rows),
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

fn list(columns: &[String], row: &Row) -> String {
    let widest = columns.iter().map(|column| width(column)).max().unwrap_or(0);
    let lines = columns.iter().zip(row).map(|(column, value)| {
        let line = format!("{column:widest$} | {}", value.as_deref().unwrap_or_default());
        format!("{}\n", line.trim_end())
    });
    lines.collect()
}

fn table(columns: &[String], rows: &[Row]) -> String {
    let value = |row: &Row, at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    let widths: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(at, column)| rows.iter().map(|row| width(&value(row, at))).chain([width(column)]).max().unwrap_or(0))
        .collect();
    let line = |cells: Vec<String>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", padded.collect::<Vec<_>>().join(" | ").trim_end())
    };
    let rule: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text = line(columns.to_vec());
    text.push_str(&format!("{}\n", rule.join("-+-")));
    for row in rows {
        text.push_str(&line((0..columns.len()).map(|at| value(row, at)).collect()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_they_are_in_json() {
        let text = |text: &str| Some(text.to_owned());
        let answer = Answer {
            columns: ["name", "epoch", "changed", "since"].map(str::to_owned).to_vec(),
            types: vec![25, 20, 16, 1184],
            rows: vec![vec![text("7"), text("7"), text("f"), None]],
            tag: String::new(),
        };
        assert_eq!(written(&answer, Output::Json), "[{\"changed\":false,\"epoch\":7,\"name\":\"7\",\"since\":null}]\n");
    }

    #[test]
    fn tables_are_aligned() {
        let columns = ["database".to_owned(), "mode".to_owned()];
        let row = |database: &str, mode: Option<&str>| vec![Some(database.to_owned()), mode.map(str::to_owned)];
        let answer = |rows| Answer { columns: columns.to_vec(), types: Vec::new(), rows, tag: String::new() };
        assert_eq!(printed(&answer(vec![row("é", None)])), "database | é\nmode     |\n");
        assert_eq!(
            printed(&answer(vec![row("a", Some("read_only")), row("b", None)])),
            "database | mode\n---------+----------\na        | read_only\nb        |\n"
        );
    }
}
