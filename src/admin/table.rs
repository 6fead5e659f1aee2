//! Tables as the console gives them, in the text form of PostgreSQL's types and in the binary one that some drivers insist on.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

use bytes::BufMut;
use jiff::Timestamp;

use crate::gate::print_timestamp;
use crate::protocol::answer;

/// A column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// text
    Text,
    /// int4
    Int4,
    /// int8
    Int8,
    /// numeric, of whole numbers only: what PgBouncer gives counters as
    Numeric,
    /// bool
    Bool,
    /// timestamptz
    Time,
}

impl Type {
    /// OID and length in pg_type.
    fn of(self) -> (u32, i16) {
        match self {
            Self::Text => (25, -1),
            Self::Int4 => (23, 4),
            Self::Int8 => (20, 8),
            Self::Numeric => (1700, -1),
            Self::Bool => (16, 1),
            Self::Time => (1184, 8),
        }
    }
}

/// A column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
}

/// Columns as `name Type, …`.
macro_rules! columns {
    ($($name:ident $kind:ident),* $(,)?) => {
        &[$($crate::admin::table::Column { name: stringify!($name), kind: $crate::admin::table::Type::$kind }),*]
    };
}
pub(super) use columns;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cell {
    /// NULL
    Null,
    /// text
    Text(String),
    /// Any of the numbers; how wide it is, its column says.
    Int(i64),
    /// bool
    Bool(bool),
    /// timestamptz
    Time(Timestamp),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<usize> for Cell {
    fn from(number: usize) -> Self {
        Self::from(number as u64)
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Timestamp> for Cell {
    fn from(at: Timestamp) -> Self {
        Self::Time(at)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Rows, each with a cell for every column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The columns.
    pub columns: &'static [Column],
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// No rows yet.
    pub fn new(columns: &'static [Column]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push<const N: usize>(&mut self, row: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len(), "a row of {} columns", self.columns.len());
        self.rows.push(row.into());
    }
}

/// The form of values that a client has asked for: what Bind says of result columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Formats {
    /// The same for every column.
    All(Format),
    /// One for each.
    Each(Vec<Format>),
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// As in SQL.
    Text,
    /// As in the server's send functions.
    Binary,
}

impl Formats {
    /// Text for all.
    pub const TEXT: Self = Self::All(Format::Text);

    /// The form of a column.
    pub fn of(&self, column: usize) -> Format {
        match self {
            Self::All(format) => *format,
            Self::Each(formats) => formats.get(column).copied().unwrap_or(Format::Text),
        }
    }
}

/// Appends a RowDescription.
pub fn describe(out: &mut impl BufMut, columns: &[Column], formats: &Formats) {
    let column = |(at, column): (usize, &Column)| {
        let (oid, size) = column.kind.of();
        answer::Column { name: column.name, oid, size, binary: formats.of(at) == Format::Binary }
    };
    answer::row_description(out, columns.iter().enumerate().map(column).collect::<Vec<_>>());
}

/// Appends a DataRow.
pub fn row(out: &mut impl BufMut, columns: &[Column], cells: &[Cell], formats: &Formats) {
    let value = |(at, column): (usize, &Column)| {
        let mut value = Vec::new();
        let there = match (cells.get(at)?, formats.of(at)) {
            (Cell::Null, _) => false,
            (cell, Format::Text) => text(&mut value, cell),
            (cell, Format::Binary) => binary(&mut value, cell, column.kind),
        };
        there.then_some(value)
    };
    answer::data_row(out, columns.iter().enumerate().map(value));
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&u16::try_from(count).unwrap_or(u16::MAX).to_be_bytes());
}

/// False for NULL.
fn text(out: &mut Vec<u8>, cell: &Cell) -> bool {
    match cell {
        Cell::Null => return false,
        // No text of PostgreSQL's has a NUL.
        Cell::Text(text) => out.extend(text.bytes().filter(|byte| *byte != 0)),
        Cell::Int(number) => out.extend_from_slice(number.to_string().as_bytes()),
        Cell::Bool(value) => out.push(if *value { b't' } else { b'f' }),
        Cell::Time(at) => out.extend_from_slice(print_timestamp(*at).as_bytes()),
    }
    true
}

/// Microseconds from 1970 to 2000, from where PostgreSQL counts.
const EPOCH: i64 = 946_684_800_000_000;

fn binary(out: &mut Vec<u8>, cell: &Cell, kind: Type) -> bool {
    match (kind, cell) {
        (Type::Int4, Cell::Int(number)) => {
            let narrow = i32::try_from(*number).unwrap_or(if *number < 0 { i32::MIN } else { i32::MAX });
            out.extend_from_slice(&narrow.to_be_bytes());
        }
        (Type::Int8, Cell::Int(number)) => out.extend_from_slice(&number.to_be_bytes()),
        (Type::Numeric, Cell::Int(number)) => numeric(out, *number),
        (Type::Bool, Cell::Bool(value)) => out.push(u8::from(*value)),
        (Type::Time, Cell::Time(at)) => out.extend_from_slice(&at.as_microsecond().saturating_sub(EPOCH).to_be_bytes()),
        (_, cell) => return text(out, cell),
    }
    true
}

/// numeric_send: digits to the base of 10,000, weight of the first, sign, scale.
fn numeric(out: &mut Vec<u8>, number: i64) {
    let mut digits = Vec::with_capacity(5);
    let mut left = number.unsigned_abs();
    while left > 0 {
        digits.push((left % 10_000) as u16);
        left /= 10_000;
    }
    digits.reverse();
    let weight = digits.len().saturating_sub(1);
    while digits.last() == Some(&0) {
        digits.pop();
    }
    put_count(out, digits.len());
    put_count(out, weight);
    let sign: u16 = if number < 0 { 0x4000 } else { 0 };
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&0_u16.to_be_bytes());
    for digit in digits {
        out.extend_from_slice(&digit.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = columns![a Text, type Int4, c Int8, d Numeric, e Bool, f Time];

    #[test]
    fn names_may_be_keywords() {
        let names: Vec<_> = COLUMNS.iter().map(|column| column.name).collect();
        assert_eq!(names, ["a", "type", "c", "d", "e", "f"]);
    }

    #[test]
    fn a_row_in_text() {
        let mut out = Vec::new();
        let at = "2026-12-01T14:00:00Z".parse().unwrap();
        let cells = [Cell::from("x\0y"), Cell::Int(-1), Cell::Null, Cell::Int(7), Cell::Bool(true), Cell::Time(at)];
        row(&mut out, COLUMNS, &cells, &Formats::TEXT);
        let expected =
            b"\0\x06\0\0\0\x02xy\0\0\0\x02-1\xff\xff\xff\xff\0\0\0\x017\0\0\0\x01t\0\0\0\x162026-12-01 14:00:00+00";
        assert_eq!(&out[5..], expected);
    }

    #[test]
    fn numbers_in_binary() {
        // As select numeric_send(n) says.
        for (number, bytes) in [
            (0, &b"\0\0\0\0\0\0\0\0"[..]),
            (1, b"\0\x01\0\0\0\0\0\0\0\x01"),
            (-12_345, b"\0\x02\0\x01\x40\0\0\0\0\x01\x09\x29"),
            (20_000, b"\0\x01\0\x01\0\0\0\0\0\x02"),
            (100_000_000, b"\0\x01\0\x02\0\0\0\0\0\x01"),
        ] {
            let mut out = Vec::new();
            numeric(&mut out, number);
            assert_eq!(out, bytes, "{number}");
        }
        let mut out = Vec::new();
        assert!(binary(&mut out, &Cell::Int(i64::MAX), Type::Int4));
        assert_eq!(out, i32::MAX.to_be_bytes());
    }

    #[test]
    fn a_description_tells_the_form() {
        let mut out = Vec::new();
        describe(&mut out, columns![n Int8], &Formats::All(Format::Binary));
        assert_eq!(&out[5..], b"\0\x01n\0\0\0\0\0\0\0\0\0\0\x14\0\x08\xff\xff\xff\xff\0\x01");
    }
}
