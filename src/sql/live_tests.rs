//! The verdicts against the word of a live PostgreSQL 15, statement by statement.
//!
//! `readonly_corpus.txt` says what is run, `readonly_setup.sql` on what. It is checked against itself in every test run; against a server with
//! `cargo test -- --ignored` and `PGSLUICE_TEST_DSN`, which must name a throwaway server on this machine on which the
//! user is a superuser: the corpus empties the schema `public` and changes the server's settings.

use super::{Analyzer, LexContext, Refusal, Statement};
use std::process::{Command, Stdio};

const CORPUS: &str = include_str!("readonly_corpus.txt");

const SETUP: &str = include_str!("readonly_setup.sql");

#[derive(PartialEq, Debug)]
enum Expect {
    Same,
    Server,
    Pgsluice,
}

struct Case {
    expect: Expect,
    in_block: bool,
    sql: &'static str,
}

fn cases() -> Vec<Case> {
    let lines = CORPUS.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let case = |line: &'static str| match line.split_at_checked(2) {
        Some(("? ", sql)) => Case { expect: Expect::Server, in_block: false, sql },
        Some(("! ", sql)) => Case { expect: Expect::Pgsluice, in_block: false, sql },
        Some(("@ ", sql)) => Case { expect: Expect::Same, in_block: true, sql },
        _ => Case { expect: Expect::Same, in_block: false, sql: line },
    };
    lines.map(case).collect()
}

/// The verdict on the first statement that has one, or the first.
fn verdict(sql: &str) -> Statement {
    let analysis = Analyzer::default().analyze(sql.as_bytes(), LexContext::default());
    assert!(!analysis.ambiguous && !analysis.is_empty(), "{sql}");
    analysis.worst().cloned().unwrap_or_else(|| panic!("{sql}"))
}

#[test]
fn the_corpus_agrees_with_itself() {
    let cases = cases();
    assert!(cases.len() >= 300);
    for case in cases {
        let by_pgsluice = verdict(case.sql).refusal.is_ours();
        assert_eq!(by_pgsluice, case.expect == Expect::Pgsluice, "{}", case.sql);
        if case.expect == Expect::Server {
            assert_eq!(verdict(case.sql).refusal, Refusal::Allowed, "{}", case.sql);
        }
        assert!(!matches!(verdict(case.sql).kind, super::Kind::Unknown), "{}", case.sql);
    }
}

fn psql(dsn: &str, options: &str, sql: &str) -> String {
    let out = Command::new("psql")
        .args(["-X", "-q", "-At", "-v", "VERBOSITY=verbose", "-d", dsn, "-c", sql])
        .env("PGOPTIONS", options)
        .stdin(Stdio::null())
        .output()
        .expect("psql runs");
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// The error of a session that is read-only by its start-up packet: SQLSTATE and primary message.
fn server_error(dsn: &str, sql: &str) -> Option<(String, String)> {
    let stderr = psql(dsn, "-c default_transaction_read_only=on", sql);
    assert!(!stderr.contains("could not connect") && !stderr.contains("FATAL"), "{sql}: {stderr}");
    let line = stderr.lines().find_map(|line| line.strip_prefix("ERROR:  "))?;
    line.split_once(": ").map(|(state, message)| (state.to_owned(), message.to_owned()))
}

#[test]
#[ignore = "needs PGSLUICE_TEST_DSN"]
fn verdicts_are_those_of_the_server() {
    let dsn = std::env::var("PGSLUICE_TEST_DSN").expect("PGSLUICE_TEST_DSN names a throwaway server");
    let others = "do $$ begin if exists (select from pg_class where relnamespace = 'public'::regnamespace \
                  and relkind in ('r', 'p') and relname !~ '^(t|u|big|n[0-9])$') then raise 'not ours'; end if; end $$";
    assert_eq!(psql(&dsn, "", others), "", "the database has tables of someone else");
    let mut wrong = Vec::new();
    let (mut refused, mut allowed, mut left, mut ran, mut failed) = (0, 0, 0, 0, 0);
    for part in SETUP.split_inclusive(';') {
        let stderr = psql(&dsn, "", part);
        assert!(!stderr.contains("ERROR") || part.contains("drop owned"), "{part}: {stderr}");
    }
    for Case { expect, in_block, sql } in cases() {
        let said = if in_block { server_error(&dsn, &format!("begin; {sql}")) } else { server_error(&dsn, sql) };
        let server = said.clone().filter(|(state, _)| state == "25006").map(|(_, message)| message);
        let statement = verdict(sql);
        let ours = statement.refusal_message().map(|message| message.into_owned());
        let good = match (expect, &server) {
            (Expect::Same, Some(_)) => {
                refused += 1;
                ours == server
            }
            (Expect::Same, None) => {
                allowed += 1;
                ours.is_none()
            }
            (Expect::Server, server) => {
                left += 1;
                server.is_some()
            }
            (Expect::Pgsluice, server) => {
                if said.is_none() {
                    ran += 1
                } else {
                    failed += 1
                }
                server.is_none()
            }
        };
        if !good {
            wrong.push(format!("{sql}\n   ours:   {ours:?} {:?}\n   server: {said:?}", statement.refusal));
        }
    }
    eprintln!(
        "refused alike {refused}, allowed alike {allowed}, left to the server and refused there {left}, refused by \
         pgsluice alone {} (the server ran {ran} and gave {failed} another error)",
        ran + failed
    );
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
