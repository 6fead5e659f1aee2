//! A statement without its constants and comments, so that a person sees which statement it is, and not whose data.

use crate::sql::lex::encoding::{LexContext, StandardStrings, mask};
use crate::sql::lex::lexer::{Lexer, Shape};

/// Bytes of a text that are looked at; what follows is cut off.
const READ: usize = 8 * 1024;

/// The statement with `$n` for every constant, numbered on from its parameters, and single spaces for white space and
/// comments; about `most` bytes of it.
pub fn normalised(text: &[u8], context: LexContext, most: usize) -> String {
    let mut cut = text.len() > READ;
    let text = text.get(..READ).unwrap_or(text);
    let (masked, _) = mask(text, context.encoding);
    let lexer = Lexer::new(&masked, context.strings != StandardStrings::Off);
    let mut number = highest_parameter(lexer.clone(), &masked);
    let mut lexer = lexer;
    let (mut out, mut end) = (String::with_capacity(most.min(text.len()) + 8), 0);
    loop {
        let token = lexer.next();
        if lexer.broken || token.shape == Shape::End {
            cut |= lexer.broken;
            break;
        }
        if out.len() >= most {
            cut = true;
            break;
        }
        if token.start > end && !out.is_empty() {
            out.push(' ');
        }
        end = token.end;
        if matches!(token.shape, Shape::Str(_) | Shape::Number) {
            number += 1;
            out.push_str(&format!("${number}"));
        } else {
            out.push_str(&String::from_utf8_lossy(token.text(text)));
        }
    }
    if cut {
        out.push('…');
    }
    out
}

fn highest_parameter(mut lexer: Lexer<'_>, text: &[u8]) -> u32 {
    let mut highest = 0;
    loop {
        let token = lexer.next();
        match token.shape {
            Shape::End => return highest,
            Shape::Param => {
                let digits = token.text(text).get(1..).and_then(|digits| std::str::from_utf8(digits).ok());
                // No more than a Bind can give.
                let number = digits.and_then(|digits| digits.parse::<u16>().ok()).unwrap_or(0);
                highest = highest.max(number.into());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_and_comments_go() {
        for (text, normal) in [
            ("INSERT  INTO t\nVALUES (1, 'it''s', $$x$$) -- secret", "INSERT INTO t VALUES ($1, $2, $3)"),
            ("update t set a=-1.5e3,b=$2/* 'x' */where id=$1", "update t set a=-$3,b=$2 where id=$1"),
            ("SELECT E'\\'', U&'x' UESCAPE '!', B'01', \"q 1\"", "SELECT $1, $2, $3, \"q 1\""),
            ("DELETE FROM t WHERE a = 'never ends", "DELETE FROM t WHERE a =…"),
            ("", ""),
        ] {
            assert_eq!(normalised(text.as_bytes(), LexContext::default(), 500), normal);
        }
        let long = format!("INSERT INTO t VALUES {}", "(1, 'x'), ".repeat(100_000));
        let short = normalised(long.as_bytes(), LexContext::default(), 100);
        assert!(short.len() < 120 && short.ends_with('…'), "{short}");
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(text in proptest::collection::vec(0_u8.., 0..300)) {
            let _ = normalised(&text, LexContext::default(), 50);
        }
    }
}
