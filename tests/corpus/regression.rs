//! PostgreSQL 15's own regression suite.
//!
//! Each file is walked through on three connections. The *preparer* runs it directly and freely, so that at each
//! statement the objects it needs are there. Just before it, the same statement goes to the *truth*, a direct
//! connection on which every transaction is READ ONLY, and through the *proxy*, behind the closed gate. A transaction
//! block goes to both as a whole first; then its statements one by one, between the steps of the preparer.

use crate::compare::{Answer, Difference, Outcome, Tally, leave_block, run};
use crate::observer::WriteWatch;
use crate::rules;
use crate::source::{File, regression_suite};
use crate::split::{Statement, Step};
use crate::stand::{LONG, Stand, ask};
use pgsluice_fixtures::raw::message::terminate;
use pgsluice_fixtures::{Raw, wait};
use std::time::Instant;

/// Statements after which a preparer, or everybody, would be gone.
pub fn skipped(sql: &str) -> bool {
    let lower = sql.to_lowercase();
    lower.contains("pg_terminate_backend") || lower.contains("default_transaction_read_only") && lower.contains("alter")
}

#[derive(Clone, Copy)]
enum Side {
    Proxy,
    Truth,
}

struct Trio<'a> {
    stand: &'a Stand,
    preparer: Raw,
    truth: Raw,
    proxied: Raw,
    watch: WriteWatch,
    /// The rule of the difference since when both sessions' states differ.
    diverged: Option<String>,
    tally: &'a mut Tally,
}

impl<'a> Trio<'a> {
    fn new(stand: &'a Stand, tally: &'a mut Tally) -> Trio<'a> {
        Trio {
            stand,
            preparer: stand.preparer(),
            truth: stand.truth(),
            proxied: stand.proxied(),
            watch: WriteWatch::new(stand),
            diverged: None,
            tally,
        }
    }

    /// Ends the preparer's session and waits until its temporary tables are gone too: a server removes them after the
    /// client has left, and that must not be taken for the work of what comes next.
    fn dismiss_preparer(&mut self) {
        let pid = self.preparer.key().map(|key| key.pid).unwrap_or_default();
        if self.preparer.send(&terminate()).is_ok() {
            wait::until(LONG, "the preparer's server process to end", || self.watch.is_gone(pid).then_some(()));
        }
    }

    fn reconnect(&mut self) {
        self.dismiss_preparer();
        self.preparer = self.stand.preparer();
        self.truth = self.stand.truth();
        self.proxied = self.stand.proxied();
        self.diverged = None;
    }

    /// Statements in their order, through the proxy and then on the truth, which may write what PostgreSQL lets it.
    fn both(&mut self, file: &str, statements: &[&Statement]) {
        let mark = self.watch.mark();
        let proxy: Vec<_> = statements.iter().map(|statement| run(&mut self.proxied, statement)).collect();
        if proxy.last().is_some_and(|answer| answer.state != b'I') {
            leave_block(&mut self.proxied);
        }
        let written = self.watch.written_since(&mark);
        self.let_advisory_locks_go(statements, Side::Proxy);
        let direct: Vec<_> = statements.iter().map(|statement| run(&mut self.truth, statement)).collect();
        if direct.last().is_some_and(|answer| answer.state != b'I') {
            leave_block(&mut self.truth);
        }
        if self.truth.parameters().get("default_transaction_read_only").is_some_and(|value| value == "off") {
            let _ = ask(&mut self.truth, "SET default_transaction_read_only = on");
        }
        self.let_advisory_locks_go(statements, Side::Truth);
        let place = |statement: &Statement| format!("{file}.sql:{}", statement.line);
        if let (Some(rows), [first, ..]) = (written, statements) {
            self.tally.written.push(format!("{}: {}: {rows}", place(first), first.sql));
        }
        let before = self.diverged.clone();
        for (statement, (direct, proxy)) in statements.iter().zip(direct.into_iter().zip(proxy)) {
            self.judge(place(statement), statement, direct, proxy);
        }
        // A block that is over takes what it left aside with it, unless more than the block differs.
        if statements.len() > 1 || before.is_some() {
            self.diverged = before;
        } else {
            self.diverged = None;
        }
    }

    /// Locks that both sessions take would keep one of them waiting for the other.
    fn let_advisory_locks_go(&mut self, statements: &[&Statement], side: Side) {
        if statements.iter().any(|statement| statement.sql.contains("pg_advisory")) {
            let raw = match side {
                Side::Proxy => &mut self.proxied,
                Side::Truth => &mut self.truth,
            };
            let _ = ask(raw, "SELECT pg_advisory_unlock_all()");
        }
    }

    fn judge(&mut self, place: String, statement: &Statement, direct: Answer, proxy: Answer) {
        let lost = |answer: &Answer| matches!(answer.outcome, Outcome::Lost(_));
        if direct.outcome == proxy.outcome && !lost(&direct) {
            self.tally.same(&direct);
            if rules::asks_read_write(&statement.sql) && self.diverged.is_none() {
                // Accepted by both, and in force on one side.
                self.diverged = Some(rules::LIFTING.to_owned());
            }
            return;
        }
        let rule =
            rules::lifts(&proxy).or_else(|| rules::rule(&statement.sql, &direct, &proxy, self.diverged.as_deref()));
        if self.diverged.is_none() {
            self.diverged.clone_from(&rule);
        }
        let gone = (lost(&direct), lost(&proxy));
        let difference = Difference { place, sql: statement.sql.clone(), direct: direct.outcome, proxy: proxy.outcome };
        self.tally.differs(rule, difference);
        if gone.0 {
            self.truth = self.stand.truth();
        }
        if gone.1 {
            self.proxied = self.stand.proxied();
        }
    }

    fn prepare(&mut self, statement: &Statement) -> Answer {
        let answer = run(&mut self.preparer, statement);
        if matches!(answer.outcome, Outcome::Lost(_)) {
            self.preparer = self.stand.preparer();
        }
        answer
    }

    /// The statements of a transaction block, or a single one.
    fn unit(&mut self, file: &str, statements: &[&Statement]) {
        self.both(file, statements);
        for (at, statement) in statements.iter().enumerate() {
            // Without what opens and closes the block.
            if at > 0 && at + 1 < statements.len() {
                self.both(file, &[statement]);
            }
            self.prepare(statement);
        }
    }

    fn file(&mut self, file: &File) {
        let mut block: Vec<&Statement> = Vec::new();
        for step in &file.steps {
            match step {
                Step::Reconnect => {
                    self.unit(&file.name, &std::mem::take(&mut block));
                    self.reconnect();
                }
                Step::Statement(statement) if skipped(&statement.sql) => {}
                Step::Statement(statement) => {
                    block.push(statement);
                    let open = block.first().is_some_and(|first| first.opens_block());
                    // A block without an end is a mistake that some file makes on purpose.
                    if !open || statement.closes_block() || block.len() > 300 {
                        self.unit(&file.name, &std::mem::take(&mut block));
                    }
                }
            }
        }
        self.unit(&file.name, &block);
        self.dismiss_preparer();
    }
}

const LIST: &str = "\
Statements of PostgreSQL 15's regression suite that pgsluice answers differently in maintenance than PostgreSQL does in a
READ ONLY transaction, by the rule that each falls under (file and line in src/test/regress/sql). docs/CONFORMANCE.md gives
the reasons. Written by `make conformance-corpus`.

";

/// Files of the suite that PGSLUICE_TEST_FILES names, all if it names none.
fn chosen(files: Vec<File>) -> Vec<File> {
    let named = std::env::var("PGSLUICE_TEST_FILES").unwrap_or_default();
    let named: Vec<_> = named.split_whitespace().collect();
    files.into_iter().filter(|file| named.is_empty() || named.contains(&file.name.as_str())).collect()
}

fn compare(extra: &str, name: &str) {
    let Some(files) = regression_suite() else { return };
    let stand = Stand::new(extra);
    stand.on();
    let mut tally = Tally::default();
    for file in chosen(files) {
        let began = Instant::now();
        let before = tally.statements;
        let mut trio = Trio::new(&stand, &mut tally);
        trio.file(&file);
        println!("{}: {} statements in {:.1?}", file.name, tally.statements - before, began.elapsed());
    }
    stand.off();
    tally.report(name);
    // The mode that is most used speaks for the docs.
    if let Some(path) = std::env::var_os("PGSLUICE_TEST_DIFFERENCES").filter(|_| extra.is_empty()) {
        std::fs::write(path, format!("{LIST}{}", tally.list())).expect("the list is written");
    }
    assert!(tally.written.is_empty() && tally.unknown.is_empty(), "{} differences", tally.unknown.len());
}

#[test]
#[ignore = "minutes: make conformance-corpus"]
fn the_regression_suite_in_transaction_mode() {
    compare("", "transaction mode");
}

#[test]
#[ignore = "minutes: make conformance-corpus"]
fn the_regression_suite_in_session_mode() {
    compare("pool_mode = \"session\"", "session mode");
}
