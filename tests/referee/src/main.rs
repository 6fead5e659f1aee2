//! The classifier before the real grammar: PostgreSQL's regression suite, our own corpus and mutants of both.
//!
//! What must hold: no panic, no text that costs more than 10 ms of processor time, nothing that the grammar knows to
//! be a write taken for a read, and nothing refused in PostgreSQL's name that the grammar knows to be none. Where the
//! grammar fails there is nothing to compare; a server fails there as well.

#[path = "../../corpus/split.rs"]
#[allow(dead_code)] // blocks are of no interest here
mod split;
mod tree;

use pgsluice_fixtures::clock::processor_time;
use pgsluice_fixtures::mutate::{Dice, mutant};
use pgsluice::sql::{Analysis, Kind, LexContext, Proven, Refusal, StandardStrings, analyze};
use split::Step;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tree::TransactionClass;

const OWN: &str = include_str!("../../../src/sql/readonly_corpus.txt");
const MUTANTS: usize = 1_000_000;
const SLOW: Duration = Duration::from_millis(10);
/// Shown of each kind of finding.
const SHOWN: usize = 10;

#[derive(Default)]
struct Findings {
    texts: usize,
    parsed: usize,
    writes: usize,
    reads: usize,
    called_read: Vec<String>,
    refused_wrongly: Vec<String>,
    slow: Vec<String>,
    slowest: Duration,
    /// What the grammar reads and we do not.
    not_known: usize,
}

impl Findings {
    fn timed(&mut self, text: &str, ctx: LexContext) -> Analysis {
        let once = || {
            let before = processor_time();
            let analysis = analyze(text.as_bytes(), ctx);
            (processor_time() - before, analysis)
        };
        let (mut took, analysis) = once();
        // What only happened to be slow is not slow again.
        for _ in 0..5 {
            if took > SLOW {
                took = took.min(once().0);
            }
        }
        self.slowest = self.slowest.max(took);
        if took > SLOW {
            self.slow.push(format!("{took:?}: {text}"));
        }
        analysis
    }

    fn judge(&mut self, text: &str) {
        self.texts += 1;
        self.timed(text, LexContext { strings: StandardStrings::Unknown, ..LexContext::default() });
        let ours = self.timed(text, LexContext::default());
        let Some(natures) = tree::natures(text) else { return };
        self.parsed += 1;
        let writes = natures.contains(&TransactionClass::Write);
        self.writes += usize::from(writes);
        self.reads += usize::from(!writes);
        self.not_known += usize::from(ours.statements.iter().any(|s| s.kind == Kind::Unknown));
        if writes && ours.is_proven_read() {
            self.called_read.push(text.to_owned());
        }
        if ours.ambiguous || ours.statements.len() != natures.len() {
            return;
        }
        for (ours, nature) in ours.statements.iter().zip(natures) {
            let read = ours.route == Proven::Read || (ours.kind == Kind::Read && ours.refusal == Refusal::Allowed);
            if nature == TransactionClass::Write && read {
                self.called_read.push(text.to_owned());
            }
            if nature == TransactionClass::Read && matches!(ours.refusal, Refusal::ByPostgres { .. }) {
                self.refused_wrongly.push(text.to_owned());
            }
        }
    }

    fn report(&self) -> bool {
        println!(
            "{} texts: {} of them read by PostgreSQL's grammar, {} with a write, {} without; not known to us of those: {}; \
             slowest: {:?} of processor time",
            self.texts, self.parsed, self.writes, self.reads, self.not_known, self.slowest
        );
        let kinds = [
            ("a write called read", &self.called_read),
            ("refused in PostgreSQL's name, but no write", &self.refused_wrongly),
            ("more than 10 ms", &self.slow),
        ];
        for (name, found) in kinds {
            println!("{name}: {}", found.len());
            for text in found.iter().take(SHOWN) {
                println!("    {}", text.chars().take(400).collect::<String>().replace('\n', "\n    "));
            }
        }
        kinds.iter().all(|(_, found)| found.is_empty())
    }
}

/// Every statement of the suite, if it is there, and of our own corpus.
fn corpus(suite: &Path) -> Vec<String> {
    let own = OWN.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut all: Vec<String> = own.map(|line| line.trim_start_matches(['?', '!', '@', ' ']).to_owned()).collect();
    let mut files: Vec<_> = fs::read_dir(suite.join("sql")).into_iter().flatten().flatten().map(|e| e.path()).collect();
    files.sort();
    for file in files {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap_or_default()).into_owned();
        for step in split::split(&text, &HashMap::new()) {
            if let Step::Statement(statement) = step {
                all.push(statement.sql);
            }
        }
    }
    all
}

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let suite = args.next().unwrap_or_default();
    let mutants = args.next().and_then(|count| count.parse().ok()).unwrap_or(MUTANTS);
    let seeds = corpus(Path::new(&suite));
    let mut findings = Findings::default();
    seeds.iter().for_each(|text| findings.judge(text));
    print!("corpus: ");
    let mut sound = findings.report();
    let mut findings = Findings::default();
    let seed = args.next().and_then(|seed| seed.parse().ok()).unwrap_or(15);
    let mut dice = Dice::new(seed);
    // Large texts would be most of the time and nothing new.
    let small: Vec<_> = seeds.iter().filter(|text| text.len() < 2_000).collect();
    for _ in 0..mutants {
        findings.judge(&mutant(&small, &mut dice));
    }
    print!("mutants: ");
    sound &= findings.report();
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
