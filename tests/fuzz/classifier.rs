//! Any text in any context gets a verdict, soon, that is true to the text it is about.

use crate::cases;
use pgsluice::sql::{Analysis, Encoding, LexContext, Refusal, StandardStrings, analyze, tree};
use pgsluice_fixtures::clock::processor_time;
use pgsluice_fixtures::mutate::{Dice, mutant};
use std::time::Duration;

const CORPUS: &str = include_str!("../../src/sql/readonly_corpus.txt");

/// Bytes that mean something to a lexer, more often than others.
fn noise(dice: &mut Dice) -> Vec<u8> {
    let telling = b"'\"$\\;()-/*,.:EeUuNnBbXx&a_0 \n\0\x95\x5c\x81\xff\xc3\xa4";
    (0..dice.below(300)).map(|_| if dice.below(4) == 0 { dice.next() as u8 } else { *dice.of(telling) }).collect()
}

fn text(seeds: &[&str], dice: &mut Dice) -> Vec<u8> {
    let mut text = match dice.below(4) {
        0 => noise(dice),
        _ => mutant(seeds, dice).into_bytes(),
    };
    if dice.below(4) == 0 {
        let at = dice.below(text.len() + 1);
        let noise = noise(dice);
        text.splice(at..at, noise.into_iter().take(8));
    }
    if dice.below(50) == 0 {
        text = text.repeat(1 + dice.below(200));
        text.truncate(1 << 18);
    }
    text
}

fn check(text: &[u8], analysis: &Analysis) {
    let mut last = 0;
    for statement in &analysis.statements {
        let span = &statement.span;
        assert!(span.start >= last && span.start < span.end && span.end as usize <= text.len(), "{span:?}");
        last = span.end;
        assert_eq!(statement.refusal == pgsluice::sql::Refusal::Allowed, statement.refusal_message().is_none());
    }
}

/// A refusal without its place in the text, which a comment ahead of it moves.
fn placeless(refusal: &Refusal) -> Option<Refusal> {
    (!matches!(refusal, Refusal::AsksReadWrite(_))).then(|| refusal.clone())
}

#[test]
fn any_text_gets_a_verdict() {
    let seeds: Vec<_> = CORPUS.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let encodings: Vec<_> = Encoding::KINDS.into_iter().chain([Encoding::Unknown]).collect();
    cases("classifier", |dice| {
        let text = text(&seeds, dice);
        let encoding = *dice.of(&encodings);
        let began = processor_time();
        let [on, off, unknown] = [StandardStrings::On, StandardStrings::Off, StandardStrings::Unknown].map(|strings| {
            let analysis = analyze(&text, LexContext { strings, encoding });
            check(&text, &analysis);
            analysis
        });
        // Three readings, by a build without optimisation: what is out of all proportion.
        let (took, length) = (processor_time() - began, u32::try_from(text.len()).unwrap());
        assert!(
            took < Duration::from_millis(30) + Duration::from_micros(3) * length,
            "{took:?} for {}",
            text.escape_ascii()
        );
        if unknown.is_proven_read() {
            assert!(on.is_proven_read() && off.is_proven_read(), "{}", text.escape_ascii());
        }
        // After a comment the statements are the same, further on.
        if encoding == Encoding::AsciiSafe && !text.contains(&0) {
            let later =
                analyze(&[b"/*x*/ ", text.as_slice()].concat(), LexContext { strings: StandardStrings::On, encoding });
            assert_eq!(later.ambiguous, on.ambiguous, "{}", text.escape_ascii());
            if !on.ambiguous {
                let shape = |analysis: &Analysis| {
                    let statements = analysis.statements.iter();
                    statements
                        .map(|s| (s.kind.clone(), s.tag, placeless(&s.refusal), s.route, s.contained))
                        .collect::<Vec<_>>()
                };
                assert_eq!(shape(&later), shape(&on), "{}", text.escape_ascii());
            }
        }
        if let Ok(text) = std::str::from_utf8(&text) {
            let _ = tree::relations_and_functions(text);
        }
    });
}
