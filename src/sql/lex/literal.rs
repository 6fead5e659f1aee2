//! What a constant or an identifier says, once its notation is undone.

use super::lexer::{Flavour, Shape, Token, continuation};

/// PostgreSQL's NAMEDATALEN - 1: longer identifiers are cut.
const NAME_MAX: usize = 63;

/// Pushes one code point as UTF-8; what is no code point makes the server raise an error, so anything will do.
fn push_char(out: &mut Vec<u8>, code: u32) {
    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Up to `max` digits of the radix at the front: their value and count.
fn digits(bytes: &[u8], radix: u32, max: usize) -> (u32, usize) {
    let run = bytes.iter().take(max).map_while(|&b| char::from(b).to_digit(radix));
    run.fold((0, 0), |(value, n), d| (value.wrapping_mul(radix).wrapping_add(d), n + 1))
}

/// Undoes one backslash escape of `E'…'`; `rest` starts after the backslash. Gives the bytes used.
fn backslash(rest: &[u8], out: &mut Vec<u8>) -> usize {
    let Some((&c, tail)) = rest.split_first() else { return 0 };
    match c {
        b'b' => out.push(8),
        b'f' => out.push(12),
        b'n' => out.push(b'\n'),
        b'r' => out.push(b'\r'),
        b't' => out.push(b'\t'),
        b'v' => out.push(11),
        b'0'..=b'7' => {
            let (value, used) = digits(rest, 8, 3);
            out.push(value as u8);
            return used;
        }
        b'x' => {
            let (value, used) = digits(tail, 16, 2);
            out.push(if used == 0 { c } else { value as u8 });
            return 1 + used;
        }
        b'u' | b'U' => {
            let (value, used) = digits(tail, 16, if c == b'u' { 4 } else { 8 });
            push_char(out, value);
            return 1 + used;
        }
        other => out.push(other),
    }
    1
}

/// Undoes one escape of a `U&` form; `rest` starts after the escape character. Gives the bytes used.
fn unicode(rest: &[u8], escape: u8, out: &mut Vec<u8>) -> usize {
    match rest {
        [b'+', tail @ ..] => {
            let (value, used) = digits(tail, 16, 6);
            push_char(out, value);
            1 + used
        }
        [first, ..] if *first == escape => {
            out.push(escape);
            1
        }
        _ => {
            let (value, used) = digits(rest, 16, 4);
            push_char(out, value);
            used
        }
    }
}

/// The value of a string constant, in the client's encoding (escapes above ASCII as UTF-8); empty for other tokens.
pub(in crate::sql) fn decode(token: Token, text: &[u8]) -> Vec<u8> {
    let raw = token.text(text);
    let Shape::Str(flavour) = token.shape else { return Vec::new() };
    if flavour == Flavour::Dollar {
        let fence = raw.iter().skip(1).position(|&b| b == b'$').map_or(0, |n| n + 2);
        return raw.get(fence..raw.len().saturating_sub(fence)).unwrap_or_default().to_vec();
    }
    let Some(mut at) = raw.iter().position(|&b| b == b'\'').map(|n| n + 1) else { return Vec::new() };
    let mut out = Vec::with_capacity(raw.len());
    while let Some(&b) = raw.get(at) {
        at += 1;
        match b {
            b'\'' if flavour != Flavour::Bits && raw.get(at) == Some(&b'\'') => {
                out.push(b'\'');
                at += 1;
            }
            b'\'' => match continuation(raw, at) {
                Some(next) => at = next,
                None => break,
            },
            b'\\' if flavour == Flavour::Escape => at += backslash(raw.get(at..).unwrap_or_default(), &mut out),
            _ if b == token.escape && flavour == Flavour::Unicode => {
                at += unicode(raw.get(at..).unwrap_or_default(), b, &mut out);
            }
            _ => out.push(b),
        }
    }
    out
}

/// Cuts a name where PostgreSQL would: at 63 bytes, not inside a UTF-8 character.
fn truncate(name: &mut Vec<u8>) {
    if name.len() > NAME_MAX {
        let whole = (0..=NAME_MAX).rev().find(|&n| name.get(n).is_none_or(|b| b & 0xc0 != 0x80));
        name.truncate(whole.unwrap_or(NAME_MAX));
    }
}

/// The name that an identifier token stands for: folded to lower case unless quoted, cut to 63 bytes.
pub(in crate::sql) fn name(token: Token, text: &[u8]) -> Vec<u8> {
    let raw = token.text(text);
    let mut out = match token.shape {
        Shape::Quoted | Shape::UnicodeQuoted => {
            let body = raw.iter().position(|&b| b == b'"').map_or(0, |n| n + 1);
            let mut out = Vec::with_capacity(raw.len());
            let mut at = body;
            while let Some(&b) = raw.get(at) {
                at += 1;
                match b {
                    b'"' if raw.get(at) == Some(&b'"') => {
                        out.push(b'"');
                        at += 1;
                    }
                    b'"' => break,
                    _ if b == token.escape && token.shape == Shape::UnicodeQuoted => {
                        at += unicode(raw.get(at..).unwrap_or_default(), b, &mut out);
                    }
                    _ => out.push(b),
                }
            }
            out
        }
        _ => raw.to_ascii_lowercase(),
    };
    truncate(&mut out);
    out
}

/// `name` with the capital dotted I of Turkish made an `i`: a server with a single-byte encoding and a Turkish locale
/// folds it so in unquoted identifiers. For comparing with names that must not slip through, never for allowing.
pub(in crate::sql) fn without_dotted_i(mut name: Vec<u8>) -> Vec<u8> {
    while let Some(at) = name.windows(2).position(|w| w == b"\xc4\xb0") {
        name.splice(at..at + 2, [b'i']);
    }
    name.iter_mut().filter(|b| **b == 0xdd).for_each(|b| *b = b'i');
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::lex::lexer::Lexer;

    fn value(text: &str) -> String {
        let token = Lexer::new(text.as_bytes(), true).next();
        assert_eq!(token.end as usize, text.len(), "{text} is one token");
        let bytes = if token.is_str() { decode(token, text.as_bytes()) } else { name(token, text.as_bytes()) };
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn strings() {
        for (text, want) in [
            ("'it''s'", "it's"),
            (r"'a\'", r"a\"),
            (r"E'a\'b\x41\101\u0041\U00000041\n\q'", "a'bAAAA\nq"),
            ("'a' -- c\n -- d\n 'b'", "ab"),
            ("E'a'\n'\\x62'", "ab"),
            ("U&'\\0061\\+000062\\\\'", "ab\\"),
            ("U&'d!0061t' UESCAPE '!'", "dat"),
            ("U&'d!0061t' /* c */ uescape E'!'", "dat"),
            ("$$a$b$$", "a$b"),
            ("$x$a$$b$x$", "a$$b"),
            ("$\u{e9}$a$\u{e9}$", "a"),
        ] {
            assert_eq!(value(text), want, "{text}");
        }
    }

    #[test]
    fn identifiers() {
        for (text, want) in [
            ("LO_Create", "lo_create"),
            ("\"LO\"\"x\"", "LO\"x"),
            ("U&\"lo\\005fcreate\"", "lo_create"),
            ("u&\"lo!005fcreate\" UESCAPE '!'", "lo_create"),
            ("a$b", "a$b"),
            ("\u{e9}T", "\u{e9}t"),
        ] {
            assert_eq!(value(text), want, "{text}");
        }
        assert_eq!(value(&"x".repeat(80)).len(), 63);
        assert_eq!(value(&"\u{e9}".repeat(80)).len(), 62);
    }

    #[test]
    fn turkish_capital_i() {
        assert_eq!(without_dotted_i("lo_unl\u{130}nk".into()), b"lo_unlink");
        assert_eq!(without_dotted_i(b"lo_unl\xddnk".to_vec()), b"lo_unlink");
    }
}
