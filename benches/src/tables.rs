//! Tables in Markdown.

use std::fmt::Write as _;

/// A table whose first row is its head; also readable as it is.
pub fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).max(3)).collect();
    let mut text = String::new();
    for (nth, row) in rows.iter().enumerate() {
        for (cell, &width) in row.iter().zip(&widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if nth == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let _ = write!(text, "| {}{} ", "-".repeat(width - 1), if column == 0 { "-" } else { ":" });
            }
            text.push_str("|\n");
        }
    }
    text.push('\n');
    text
}

/// A number in so many digits, or a dash.
pub fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".into(), |value| format!("{value:.digits$}"))
}

/// A row of words.
pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::{markdown, number, words};

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let table =
            markdown(&[words(&["", "µs"]), words(&["name", &number(Some(1.25), 1)]), words(&["x", &number(None, 1)])]);
        assert_eq!(table, "|      | µs  |\n| ---- | --: |\n| name | 1.2 |\n| x    | -   |\n\n");
    }
}
