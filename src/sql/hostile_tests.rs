//! What a hostile client may send: random bytes, and texts made to be slow or deep.

use super::{Analysis, Analyzer, Encoding, LexContext, Refusal, StandardStrings, analyze, tree};
use proptest::prelude::*;
use std::time::Duration;

fn contexts() -> impl Iterator<Item = LexContext> {
    let strings = [StandardStrings::On, StandardStrings::Off, StandardStrings::Unknown];
    let encodings = || Encoding::KINDS.into_iter().chain([Encoding::Unknown]);
    strings.into_iter().flat_map(move |strings| encodings().map(move |encoding| LexContext { strings, encoding }))
}

fn check(text: &[u8], analysis: &Analysis) {
    let mut last = 0;
    for statement in &analysis.statements {
        let span = &statement.span;
        assert!(span.start >= last && span.start < span.end && span.end as usize <= text.len(), "{span:?}");
        assert!(!statement.text(text).is_empty());
        last = span.end;
        let _ = statement.refusal_message();
        assert_eq!(statement.refusal == Refusal::Allowed, statement.refusal_message().is_none());
    }
}

/// Pieces that make the classifier work.
const PIECES: &[&str] = &[
    "select",
    "insert into",
    "with",
    "as",
    "(",
    ")",
    ";",
    ",",
    ".",
    "::",
    "'",
    "''",
    "\"",
    "$$",
    "$a$",
    "/*",
    "*/",
    "--",
    "\n",
    "\\",
    "E'",
    "U&'",
    "U&\"",
    "uescape",
    "lo_create(",
    "set_config(",
    "dblink(",
    "query_to_xml(",
    "default_transaction_read_only",
    "=",
    "off",
    "set",
    "begin",
    "atomic",
    "end",
    "create function",
    "for update",
    "from t",
    "into",
    "explain",
    "analyze",
    "prepare",
    "execute",
    "declare",
    "cursor",
    "copy",
    "to",
    "do",
    "update",
    "delete from",
    "\u{95}\u{5c}",
    "1",
    "$1",
    "null",
    "true",
    "fetch",
    "table",
    "role",
    "session",
    "local",
    "\0",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        for ctx in contexts() {
            check(&text, &analyze(&text, ctx));
        }
    }

    #[test]
    fn random_pieces_never_panic(picks in proptest::collection::vec(0..PIECES.len(), 0..40), glue in any::<bool>()) {
        let pieces: Vec<_> = picks.iter().filter_map(|&i| PIECES.get(i).copied()).collect();
        let text = pieces.join(if glue { " " } else { "" });
        for strings in [StandardStrings::On, StandardStrings::Off, StandardStrings::Unknown] {
            check(text.as_bytes(), &analyze(text.as_bytes(), LexContext { strings, ..LexContext::default() }));
        }
        let _ = tree::relations_and_functions(&text);
    }

    /// A comment or white space between any two tokens changes no verdict.
    #[test]
    fn white_space_decides_nothing(at in 0..64usize) {
        let words = ["select", "pg_catalog", ".", "lo_create", "(", "0", ")", "from", "t", "for", "update"];
        let spaces = [" ", "\n", "/* ' */", "-- $$\n", "\t/*/*x*/*/"];
        let text: String = words.iter().enumerate().map(|(i, w)| format!("{w}{}", spaces[(i * 7 + at) % 5])).collect();
        let analysis = analyze(text.as_bytes(), LexContext::default());
        let message = analysis.single().and_then(|s| s.refusal_message()).map(|m| m.into_owned());
        prop_assert_eq!(message.as_deref(), Some("cannot execute lo_create() in a read-only transaction"));
    }
}

/// Processor time of this thread: other programs on the machine are not measured.
fn spent() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux").into()
}

fn time(text: &[u8], ctx: LexContext) -> Duration {
    let runs = (0..3).map(|_| {
        let start = spent();
        std::hint::black_box(Analyzer::default().analyze(text, ctx));
        spent() - start
    });
    runs.min().unwrap_or_default()
}

/// Ten times the text may take ten times as long, not a hundred times.
#[test]
fn hostile_texts_take_linear_time() {
    let repeat = |piece: &str, bytes: usize| piece.repeat(bytes / piece.len());
    let ctx = LexContext { strings: StandardStrings::Unknown, ..LexContext::default() };
    for piece in [
        "/*",
        "/*/",
        "*/",
        "'",
        "\"",
        "(",
        ")",
        "$",
        "$a",
        "$a$ ",
        "$a$ $b$ ",
        "-",
        "--\n",
        "'a'\n",
        "'a' ",
        "E'\\",
        ";",
        "select 1;",
        "U&'a' ",
        "U&\"a\" uescape ",
        "U&'a' uescape U&'b' ",
        "1.",
        "1e",
        "a.",
        "f(",
        "lo_create(",
        "set_config(",
        "set_config('a',",
        "dblink('",
        "dblink('x', ",
        "query_to_xml('",
        "with a as (",
        "explain ",
        "prepare a as ",
        "begin atomic ",
        "case ",
        "for update ",
        "(1).a",
        "set ",
        "not ",
        "\\",
        "a,",
        "''''",
        "$1",
        "declare a cursor for ",
        "copy (",
        "select into ",
        "explain (",
        "explain analyze declare c cursor for ",
    ] {
        for lead in ["", "do ", "select ts_stat('", "create function f() begin atomic ", "select set_config("] {
            let text = |bytes| format!("{lead}{}", repeat(piece, bytes));
            let (small, large) = (time(text(10_000).as_bytes(), ctx), time(text(100_000).as_bytes(), ctx));
            let allowed = small.max(Duration::from_micros(500)) * 40;
            assert!(large < allowed, "{lead}{piece}…: {small:?} for 10 kB, {large:?} for 100 kB");
            assert!(large < Duration::from_secs(2), "{lead}{piece}…: {large:?}");
        }
    }
}

/// SQL in constants in constants: every level is a text of its own, so their number is bounded.
#[test]
fn nested_constants_are_bounded() {
    for function in ["dblink", "query_to_xml"] {
        let mut text = "select 1".to_owned();
        for level in 0..400 {
            text = format!("select {function}($x{level}${text}$x{level}$)");
        }
        let start = spent();
        check(text.as_bytes(), &analyze(text.as_bytes(), LexContext::default()));
        assert!((spent() - start) < Duration::from_secs(2));
    }
}
