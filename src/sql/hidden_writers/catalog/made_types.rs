//! Functions that make a value of a type which a number, a text or a row names, and whether their arguments say it in words.

use crate::sql::hidden_writers::mentions::Mention;
use crate::sql::lex::keyword::Keyword as K;
use crate::sql::lex::lexer::{Lexer, Shape};
use crate::sql::lex::literal::{decode, name};

/// Functions that make a value of a type which a number, a text or a row says.
pub(in crate::sql::hidden_writers) fn makes_types(name: &[u8]) -> bool {
    let populates = memchr::memmem::find(name, b"populate_record").is_some();
    let reads = name.ends_with(b"_in") || name.ends_with(b"_recv");
    let container = [&b"array"[..], b"anyarray", b"anycompatiblearray", b"domain", b"record", b"range", b"multirange"];
    let stem = name.strip_suffix(b"_in").or_else(|| name.strip_suffix(b"_recv")).unwrap_or_default();
    populates || name.starts_with(b"pg_input_") || reads && container.contains(&stem)
}

/// Whether the arguments name the type in words that are looked at as types: `NULL::row`, or as a whole constant.
pub(in crate::sql::hidden_writers) fn names_its_types(
    function: &[u8],
    mut lexer: Lexer,
    tell: &mut dyn FnMut(Mention<'_, '_>),
) -> bool {
    let text = lexer.text();
    let [first, second, third, fourth] = std::array::from_fn(|_| lexer.next());
    if function.starts_with(b"pg_input_") {
        let constants = first.is_str() && second.is(b',') && third.is_str() && fourth.is(b')');
        if constants {
            let named = decode(third, text);
            let mut words = lexer.other(&named);
            let mut token = words.next();
            while token.shape != Shape::End {
                if token.is_name() {
                    tell(Mention::Type(None, &name(token, &named)));
                }
                token = words.next();
            }
        }
        return constants;
    }
    memchr::memmem::find(function, b"populate_record").is_some()
        && (first.keyword == K::Null && second.is(b':') && third.is(b':')
            || first.keyword == K::Row && second.is(b'(') && third.is(b')')
            || first.keyword == K::Cast)
}
