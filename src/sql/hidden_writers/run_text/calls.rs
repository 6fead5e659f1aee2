//! Calls of functions that are known to put nothing into a text but what they are given, or numbers.

use super::built::{Reading, elements, number};
use super::pieces::{Edges, Piece, of_one, one_of};
use super::selected::{array_to_string, is_plain_format, joined, replaced, trimmed, worst};
use crate::sql::hidden_writers::run_text::built::Built;
use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::{Lexer, Token};

impl<'a> Reading<'_, 'a> {
    /// What one of the functions makes that are known to put nothing else into a text.
    pub(super) fn call(&mut self, function: &[u8], lexer: &mut Lexer<'a>) -> Option<Vec<Piece>> {
        let constant = match function {
            b"format" | b"replace" => self.constant_variable(lexer.clone()),
            _ => None,
        };
        let mut arguments = self.deeper(|own| own.list(lexer))?;
        if let (Some(text), Some(first)) = (constant, arguments.first_mut()) {
            *first = Some(vec![Piece::Text(text)]);
        }
        if matches!(function, b"string_agg" | b"array_agg") {
            self.skip_clauses_of_aggregate(lexer)?;
        }
        match function {
            b"quote_ident" | b"quote_literal" | b"quote_nullable" => {
                return Some(vec![Piece::Quoted(worst(&arguments))]);
            }
            b"format" => return Some(format(arguments).unwrap_or_else(|| vec![Piece::Open])),
            b"to_char" if arguments.len() == 2 && is_plain_format(arguments.get(1)?) => return Some(number()),
            _ if gives_number(function) => return Some(number()),
            b"array_append" => {
                let mut all = arguments.into_iter();
                let (before, added) = (all.next()?, all.next()?);
                let own = |pieces: &[Piece]| elements(pieces).or_else(|| is_under_way(pieces).then(Vec::new));
                let array = before.as_deref().and_then(own).zip(added);
                return Some(vec![array.map_or(Piece::Open, |(mut array, one)| {
                    array.push(one);
                    Piece::Array(array)
                })]);
            }
            _ => {}
        }
        let known = |at: usize| arguments.get(at).and_then(Option::as_deref);
        let piece = match (function, known(0), known(1), known(2)) {
            // What stands behind these is the order of the rows.
            (b"string_agg", Some(element), Some(between), _) => Some(joined(element, between)),
            (b"array_agg", Some(element), ..) => Some(Piece::Array(vec![element.to_vec()])),
            (b"array_to_string", Some(array), Some(between), None) if arguments.len() == 2 => {
                Some(array_to_string(array, between))
            }
            (b"rtrim", Some(whole), Some(characters), None) => Some(trimmed(whole, characters)),
            (b"replace", Some(whole), Some(word), Some(by)) => return replaced(whole, word, by),
            _ => None,
        };
        if let Some(piece) = piece {
            return Some(vec![piece]);
        }
        let Some(mut all) = arguments.into_iter().collect::<Option<Vec<Vec<Piece>>>>() else {
            return Some(vec![Piece::Open]);
        };
        Some(match function {
            b"concat" => all.concat(),
            b"concat_ws" if !all.is_empty() => {
                let between = all.remove(0);
                all.join(&between[..])
            }
            b"lower" | b"upper" | b"btrim" | b"rtrim" if all.len() == 1 => all.remove(0),
            b"coalesce" if !all.is_empty() => vec![one_of(&all)],
            // It is the first one, or nothing.
            b"nullif" if all.len() == 2 => vec![one_of(all.get(..1)?)],
            _ => vec![Piece::Open],
        })
    }
}

/// Whether that is a variable whose own assignments are being read.
fn is_under_way(pieces: &[Piece]) -> bool {
    matches!(pieces, [Piece::Variable(Built::Constant, true, edges)] if *edges == Edges::UNKNOWN)
}

/// What `format` makes of its arguments.
fn format(arguments: Vec<Option<Vec<Piece>>>) -> Option<Vec<Piece>> {
    let mut arguments = arguments.into_iter();
    let first = arguments.next()??;
    let given: Vec<_> = arguments.collect();
    let [Piece::Text(pattern)] = &*first else { return given.is_empty().then_some(first) };
    let (mut pieces, mut chunk, mut at) = (Vec::new(), Vec::new(), 0);
    let mut rest = pattern.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            chunk.push(byte);
            continue;
        }
        let mut digits = 0_usize;
        let kind = loop {
            match rest.next()? {
                digit @ b'0'..=b'9' => digits = digits.saturating_mul(10).saturating_add(usize::from(digit - b'0')),
                b'$' => at = std::mem::take(&mut digits).checked_sub(1)?,
                b'-' => {}
                kind => break kind,
            }
        };
        if kind == b'%' {
            chunk.push(kind);
            continue;
        }
        pieces.push(Piece::Text(std::mem::take(&mut chunk)));
        match kind {
            b'I' | b'L' => pieces.push(Piece::Quoted(of_one(given.get(at)?))),
            b's' => pieces.extend(given.get(at)?.clone()?),
            _ => return None,
        }
        at += 1;
    }
    pieces.push(Piece::Text(chunk));
    Some(pieces)
}

/// Words that stand for the time.
pub(super) fn is_time(token: Token, text: &[u8]) -> bool {
    matches!(token.keyword, K::CurrentTime | K::CurrentTimestamp | K::Localtime | K::Localtimestamp)
        || token.text(text).eq_ignore_ascii_case(b"current_date")
}

/// PostgreSQL's own functions that are trusted here to give what they give, whatever they are given.
pub(in crate::sql::hidden_writers) const TRUSTED: [&str; 43] = [
    "abs",
    "array_agg",
    "array_append",
    "array_length",
    "array_to_string",
    "btrim",
    "cardinality",
    "ceil",
    "ceiling",
    "char_length",
    "character_length",
    "clock_timestamp",
    "concat",
    "concat_ws",
    "count",
    "date_part",
    "extract",
    "floor",
    "format",
    "gen_random_uuid",
    "length",
    "lower",
    "make_date",
    "mod",
    "now",
    "octet_length",
    "pg_relation_size",
    "pg_table_size",
    "pg_total_relation_size",
    "power",
    "quote_ident",
    "quote_literal",
    "quote_nullable",
    "random",
    "replace",
    "round",
    "rtrim",
    "sign",
    "string_agg",
    "strpos",
    "to_char",
    "trunc",
    "upper",
];

/// Those of them that give a number or a time.
fn gives_number(function: &[u8]) -> bool {
    matches!(
        function,
        b"abs"
            | b"array_length"
            | b"cardinality"
            | b"ceil"
            | b"ceiling"
            | b"char_length"
            | b"character_length"
            | b"clock_timestamp"
            | b"count"
            | b"date_part"
            | b"extract"
            | b"floor"
            | b"gen_random_uuid"
            | b"length"
            | b"make_date"
            | b"mod"
            | b"now"
            | b"octet_length"
            | b"pg_relation_size"
            | b"pg_table_size"
            | b"pg_total_relation_size"
            | b"power"
            | b"random"
            | b"round"
            | b"sign"
            | b"strpos"
            | b"trunc"
    )
}
