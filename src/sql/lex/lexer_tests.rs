//! The lexical corner cases of PostgreSQL, as tokens.

use super::*;

fn tokens(text: &[u8], standard: bool) -> (Vec<String>, bool) {
    let mut lexer = Lexer::new(text, standard);
    let mut out = Vec::new();
    loop {
        let token = lexer.next();
        if token.shape == Shape::End {
            return (out, lexer.broken);
        }
        out.push(String::from_utf8_lossy(token.text(text)).into_owned());
    }
}

#[track_caller]
fn expect(text: &str, want: &[&str]) {
    assert_eq!(tokens(text.as_bytes(), true), (want.iter().map(|s| s.to_string()).collect(), false), "{text}");
}

#[test]
fn comments() {
    expect("a/*b/*c*/d*/e--f\rg--h\ni--j", &["a", "e", "g", "i"]);
    expect("1 @--x\n2", &["1", "@", "2"]);
    expect("*/*x*/y", &["*", "y"]);
    expect("/*/*/x*/y*/z", &["z"]);
    expect("/***/a/**/b", &["a", "b"]);
    expect("a-/*x*/-b", &["a", "-", "-", "b"]);
    assert!(tokens(b"a /* b /* c */", true).1);
}

#[test]
fn strings() {
    expect(r"'a\' b", &[r"'a\'", "b"]);
    expect(r"e'a\'b' c", &[r"e'a\'b'", "c"]);
    expect("'a'\n'b' 'c'", &["'a'\n'b'", "'c'"]);
    expect("'a' -- x\n'b'", &["'a' -- x\n'b'"]);
    expect("'a' /* x\n */ 'b'", &["'a'", "'b'"]);
    expect("'a'\n- 'b'", &["'a'", "-", "'b'"]);
    expect("'a'\n--b", &["'a'"]);
    expect("E'a'\n'b\\'c' d", &["E'a'\n'b\\'c'", "d"]);
    expect("'a'\nE'b'", &["'a'", "E'b'"]);
    expect("n'a''b'", &["n", "'a''b'"]);
    expect("B'01''x'", &["B'01'", "'x'"]);
    expect("X'1f'\n'2'", &["X'1f'\n'2'"]);
    expect("U&'a' UESCAPE '!' x", &["U&'a' UESCAPE '!'", "x"]);
    expect("U&'a' U&'b'", &["U&'a'", "U&'b'"]);
    expect("u&x", &["u", "&", "x"]);
    assert!(tokens(b"U&'a' UESCAPE '+'", true).1);
    assert!(tokens(b"'a", true).1);
    assert!(tokens(b"E'a\\", true).1);
    assert_eq!(tokens(br"'a\' ; delete'", false).0.len(), 1);
    assert_eq!(tokens(br"'a\'' ; x --'", false).0.len(), 3);
}

#[test]
fn dollars() {
    expect("$$a;b$$ c", &["$$a;b$$", "c"]);
    expect("$a$ $b$ $$ $a$c", &["$a$ $b$ $$ $a$", "c"]);
    expect("$a$x$b$a$", &["$a$x$b$a$"]);
    expect("$1$$x$$", &["$1", "$$x$$"]);
    expect("a$$b$$", &["a$$b$$"]);
    expect("$a b", &["$", "a", "b"]);
    assert!(tokens(b"$a$b", true).1, "a body without end");
}

#[test]
fn numbers() {
    expect("1.5e3+.5 1..2 1e 0x1F 1_000", &["1.5e3", "+", ".5", "1", ".", ".2", "1", "e", "0x1F", "1_000"]);
    expect("$1::int4", &["$1", ":", ":", "int4"]);
    expect("1from", &["1", "from"]);
}

#[test]
fn identifiers() {
    expect("\"a;\"\"b\"x\u{e9}\u{17f} _1$", &["\"a;\"\"b\"", "x\u{e9}\u{17f}", "_1$"]);
    expect("U&\"d\\0061t\\+000061\"(", &["U&\"d\\0061t\\+000061\"", "("]);
    assert!(tokens(b"\"a", true).1);
    assert_eq!(Lexer::new(b"SeLeCt", true).next().keyword, Keyword::Select);
    assert_eq!(Lexer::new(b"\"select\"", true).next().keyword, Keyword::None);
}

#[test]
fn white_space() {
    expect("a\t\n\r\x0c\x0b b\u{a0}c", &["a", "b\u{a0}c"]);
}
