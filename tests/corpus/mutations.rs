//! A slice of `make conformance-referee` for every test run, without the grammar: mutants of the own corpus neither
//! panic nor take long.

use crate::own::statements;
use pgsluice::sql::{LexContext, StandardStrings, analyze};
use pgsluice_fixtures::mutate::{Dice, mutant};

const MUTANTS: usize = 20_000;

#[test]
fn mutants_are_read_without_panic() {
    let seeds = statements();
    let mut dice = Dice::new(3);
    let (mut read, mut unknown) = (0, 0);
    for _ in 0..MUTANTS {
        let text = mutant(&seeds, &mut dice);
        for strings in [StandardStrings::On, StandardStrings::Off, StandardStrings::Unknown] {
            let analysis = analyze(text.as_bytes(), LexContext { strings, ..LexContext::default() });
            let known = analysis.statements.iter().all(|s| s.kind != pgsluice::sql::Kind::Unknown);
            *if known { &mut read } else { &mut unknown } += 1;
        }
    }
    // Mutants that are all nonsense would test nothing.
    assert!(read > unknown / 4, "{read} read, {unknown} unknown");
}
