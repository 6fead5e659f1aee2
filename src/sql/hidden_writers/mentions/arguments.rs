//! What the tokens of a call or an operator tell about its arguments, and which overload they cannot be meant for.

use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::{Lexer, Shape, Token};

/// Tokens of a call that are looked at; what a longer one has is not known.
const MOST_TOKENS: usize = 256;

/// Arguments whose kind is told.
const MOST_KINDS: usize = 8;

/// An argument, as far as its tokens tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::sql::hidden_writers) enum Given {
    /// Nothing is known of its type.
    #[default]
    Any,
    /// A number.
    Number,
    /// TRUE or FALSE.
    Bool,
    /// A constant that is cast to text.
    Text,
}

impl Given {
    /// Whether it could be an argument of that kind, as `question` has it: `n` numbers, `s` texts, `b` boolean, `?` anything.
    fn fits(self, kind: u8) -> bool {
        match (self, kind) {
            (Self::Any, _) | (_, b'?') => true,
            (Self::Number, kind) => kind == b'n',
            (Self::Bool, kind) => kind == b'b',
            (Self::Text, kind) => kind == b's',
        }
    }
}

/// The operands of an operator, left and right.
pub(in crate::sql::hidden_writers) type Sides = [Given; 2];

/// The arguments of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(in crate::sql::hidden_writers) struct Arguments {
    /// How many there are, if that is known.
    pub count: Option<u8>,
    given: [Given; MOST_KINDS],
}

impl Arguments {
    /// So many, of which nothing else is known.
    pub fn of_number(count: Option<u8>) -> Self {
        Self { count, given: Default::default() }
    }
}

/// The arguments that a function takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::sql::hidden_writers) struct Signature {
    least: u8,
    most: u8,
    kinds: Box<[u8]>,
}

impl Default for Signature {
    /// Any arguments.
    fn default() -> Self {
        Self { least: 0, most: u8::MAX, kinds: Box::default() }
    }
}

impl Signature {
    /// From a row of the catalog: least and most number, and a letter for each.
    pub fn read(text: &str) -> Self {
        let mut words = text.split(' ');
        let mut number = || words.next()?.parse::<u8>().ok();
        match (number(), number()) {
            (Some(least), Some(most)) => {
                Self { least, most, kinds: words.next().unwrap_or_default().as_bytes().into() }
            }
            _ => Self::default(),
        }
    }

    /// Of an operator: a letter for each operand, `-` where it has none.
    pub fn of_operator(kinds: &str) -> Self {
        Self { kinds: kinds.as_bytes().into(), ..Self::default() }
    }

    /// Whether a call with these arguments could be one of this function.
    pub fn takes(&self, arguments: &Arguments) -> bool {
        let Some(count) = arguments.count else { return true };
        let number = (self.least..=self.most).contains(&count) || self.most == u8::MAX && count >= self.least;
        number && self.kinds.iter().zip(arguments.given).all(|(kind, given)| given.fits(*kind))
    }

    /// Whether such a call may leave something to its defaults, or hand over a list of any length. Of some aggregates nothing is
    /// known.
    pub fn lacks(&self, arguments: &Arguments) -> bool {
        let known = *self != Self::default();
        self.takes(arguments)
            && match arguments.count {
                Some(count) if known => self.least != self.most && count != self.most,
                Some(count) => count == 0,
                None => self.least != self.most,
            }
    }

    /// Whether it could be the operator between these operands.
    pub fn joins(&self, sides: Sides) -> bool {
        self.kinds.iter().zip(sides).all(|(kind, given)| *kind == b'-' || given.fits(*kind))
    }
}

/// The arguments of a call; the lexer stands behind its parenthesis.
pub(in crate::sql::hidden_writers) fn arguments(mut lexer: Lexer<'_>) -> Arguments {
    let text = lexer.text();
    let mut found = Arguments { count: None, given: Default::default() };
    let (mut count, mut depth, mut ordered) = (0_u8, 0_usize, false);
    // The tokens of the argument at hand: the first four, and how many.
    let (mut first, mut length) = ([Token::NONE; 4], 0_usize);
    for _ in 0..MOST_TOKENS {
        let token = lexer.next();
        match token.shape {
            Shape::End => return found,
            Shape::Punct(b'(' | b'[') => depth += 1,
            Shape::Punct(b')' | b']') if depth > 0 => depth -= 1,
            Shape::Punct(b')' | b',') if depth == 0 => {
                let last = token.is(b')');
                let star = length == 1 && first[0].is(b'*');
                if !ordered && length > 0 && !star {
                    if let Some(given) = found.given.get_mut(usize::from(count)) {
                        *given = kind(first, length, text);
                    }
                    let Some(more) = count.checked_add(1) else { return found };
                    count = more;
                }
                if last {
                    found.count = Some(count);
                    return found;
                }
                length = 0;
                continue;
            }
            Shape::Word if depth == 0 && token.keyword == K::Order => {
                // What follows is the order in which an aggregate takes them.
                if let Some(given) = found.given.get_mut(usize::from(count)) {
                    *given = Given::Any;
                }
                count = count.saturating_add(u8::from(length > 0));
                ordered = true;
            }
            Shape::Word if depth == 0 && token.text(text).eq_ignore_ascii_case(b"variadic") => return found,
            _ => {}
        }
        if let Some(place) = first.get_mut(length) {
            *place = token;
        }
        length += 1;
    }
    found
}

/// Whether it is `ts_rewrite` with three arguments, which runs no text.
pub(in crate::sql::hidden_writers) fn rewrites(function: &[u8], behind: Lexer<'_>) -> bool {
    function == b"ts_rewrite" && arguments(behind).count == Some(3)
}

/// The argument of a function that is its text, where only that one runs.
pub(in crate::sql::hidden_writers) fn text_of<'a>(function: &[u8], mut behind: Lexer<'a>) -> Option<Lexer<'a>> {
    let nth = match function {
        b"ts_rewrite" => 1,
        b"ts_stat" | b"query_to_xml" | b"query_to_xmlschema" | b"query_to_xml_and_xmlschema" => 0,
        _ => return None,
    };
    let (mut depth, mut at) = (0_usize, 0);
    while at < nth {
        match behind.next().shape {
            Shape::Punct(b'(' | b'[') => depth += 1,
            Shape::Punct(b')' | b']') => depth = depth.checked_sub(1)?,
            Shape::Punct(b',') if depth == 0 => at += 1,
            Shape::End => return None,
            _ => {}
        }
    }
    // By its name it may be any of them.
    let mut ahead = behind.clone();
    let (first, one) = (ahead.next(), ahead.next());
    (!(first.is_name() && matches!(one.shape, Shape::Punct(b'=' | b':')))).then_some(behind)
}

fn kind(first: [Token; 4], length: usize, text: &[u8]) -> Given {
    match (length, first) {
        (1, [one, ..]) => constant(one),
        (4, [one, a, b, cast])
            if one.is_str()
                && a.is(b':')
                && b.is(b':')
                && cast.shape == Shape::Word
                && cast.text(text).eq_ignore_ascii_case(b"text") =>
        {
            Given::Text
        }
        _ => Given::Any,
    }
}

fn constant(token: Token) -> Given {
    match (token.shape, token.keyword) {
        (Shape::Number, _) => Given::Number,
        (Shape::Word, K::True | K::False) => Given::Bool,
        _ => Given::Any,
    }
}

/// Whether an operand ends in front of this token whatever operators there are.
fn ends(token: Token) -> bool {
    matches!(token.shape, Shape::End | Shape::Punct(b')' | b',' | b';'))
        || matches!(
            token.keyword,
            K::And
                | K::Or
                | K::From
                | K::Where
                | K::Group
                | K::Order
                | K::Limit
                | K::Offset
                | K::Union
                | K::Then
                | K::Else
                | K::End
                | K::As
                | K::Having
                | K::For
                | K::Fetch
                | K::When
                | K::Except
                | K::Intersect
                | K::Returning
        )
}

/// Whether an operand begins behind this token whatever operators there are.
fn begins(token: Token) -> bool {
    matches!(token.shape, Shape::End | Shape::Punct(b'(' | b',' | b';'))
        || matches!(
            token.keyword,
            K::Select
                | K::Where
                | K::And
                | K::Or
                | K::On
                | K::When
                | K::Then
                | K::Else
                | K::Having
                | K::By
                | K::Not
                | K::Distinct
                | K::Case
                | K::Limit
                | K::Offset
        )
}

/// What stands to the left of an operator; `before` are the tokens in front of it, the nearest first.
pub(in crate::sql::hidden_writers) fn left(before: [Token; 2]) -> Given {
    if begins(before[1]) { constant(before[0]) } else { Given::Any }
}

/// What stands to the right of an operator: `next`, with the lexer behind it.
pub(in crate::sql::hidden_writers) fn right(next: Token, mut lexer: Lexer<'_>) -> Given {
    if ends(lexer.next()) { constant(next) } else { Given::Any }
}

/// The kind that both bounds of BETWEEN have, which begin with `next`.
pub(in crate::sql::hidden_writers) fn bounds(next: Token, mut lexer: Lexer<'_>) -> Given {
    let low = constant(next);
    let and = lexer.next();
    let high = lexer.next();
    if and.keyword == K::And && low == right(high, lexer) { low } else { Given::Any }
}

/// The kind that all members of IN's list have; the lexer stands behind its parenthesis.
pub(in crate::sql::hidden_writers) fn members(mut lexer: Lexer<'_>) -> Given {
    let mut all: Option<Given> = None;
    for _ in 0..MOST_TOKENS {
        let given = constant(lexer.next());
        if given == Given::Any || all.is_some_and(|all| all != given) {
            return Given::Any;
        }
        all = Some(given);
        match lexer.next().shape {
            Shape::Punct(b',') => {}
            Shape::Punct(b')') => return given,
            _ => return Given::Any,
        }
    }
    Given::Any
}

/// Whether the first or second argument is a whole constant: the text that is run, or its connection's name and it.
pub(super) fn gives_constant(mut lexer: Lexer) -> bool {
    let first = lexer.next();
    if first.shape == Shape::Punct(b')') {
        return true;
    }
    let mut constant = first.is_str();
    let (mut behind, mut arguments) = (lexer.next(), 1);
    // Each of the first few that is a text has to be one; what is no text is no matter.
    while behind.is(b',') && arguments < 4 {
        let argument = lexer.next();
        behind = lexer.next();
        let plain = argument.is_str()
            || argument.shape == Shape::Number
            || matches!(argument.keyword, K::True | K::False | K::Null);
        constant &= plain || arguments > 1;
        arguments += 1;
    }
    constant && (behind.is(b')') || behind.is(b',') || arguments > 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Arguments {
        arguments(Lexer::new(text.as_bytes(), true))
    }

    #[test]
    fn arguments_are_counted() {
        for (text, count) in [
            (")", Some(0)),
            ("*)", Some(0)),
            ("1)", Some(1)),
            ("1, f(2, 3), ARRAY[4, 5])", Some(3)),
            ("DISTINCT a, ',' ORDER BY b, c)", Some(2)),
            ("a ORDER BY b, c, d)", Some(1)),
            ("VARIADIC x)", None),
            ("1, 2", None),
        ] {
            assert_eq!(of(text).count, count, "{text}");
        }
        assert_eq!(of(&format!("{}1)", "1,".repeat(300))).count, None);
    }

    #[test]
    fn what_a_call_cannot_mean_is_told_by_number_and_constants() {
        let two_numbers = Signature::read("2 2 nn");
        for (text, takes) in [
            ("'x')", false),
            ("1)", false),
            ("1, 2)", true),
            ("a, b)", true),
            ("'1', 2)", true),
            ("true, 2)", false),
            ("'1'::text, 2)", false),
            ("'1'::int, 2)", true),
            ("1, 2, 3)", false),
        ] {
            assert_eq!(two_numbers.takes(&of(text)), takes, "{text}");
        }
        assert!(Signature::read("1 255 n?").takes(&of("1, 'a', 'b')")));
        assert!(Signature::read("").takes(&of("1, 'a', 'b')")));
    }

    #[test]
    fn operands_are_looked_at_where_nothing_binds_closer() {
        let mixed = Signature::of_operator("ns");
        assert!(!mixed.joins([Given::Any, Given::Number]) && mixed.joins([Given::Number, Given::Any]));
        assert!(Signature::of_operator("-n").joins([Given::Bool, Given::Number]));
        assert_eq!(members(Lexer::new(b"1, 2, 3)", true)), Given::Number);
        assert_eq!(members(Lexer::new(b"1, 'a')", true)), Given::Any);
        assert_eq!(members(Lexer::new(b"SELECT 1)", true)), Given::Any);
        let mut lexer = Lexer::new(b"1 AND 2 OR x", true);
        let next = lexer.next();
        assert_eq!(bounds(next, lexer), Given::Number);
        let mut lexer = Lexer::new(b"1 || 'x'", true);
        let next = lexer.next();
        assert_eq!(right(next, lexer), Given::Any);
    }
}
