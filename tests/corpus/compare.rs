//! The same statements on two connections, and where the answers differ.

use crate::split::Statement;
use crate::stand::LONG;
use pgsluice_fixtures::raw::message::{bind, copy_data, copy_done, describe_portal, execute, parse, query, sync};
use pgsluice_fixtures::{Frame, Raw, RawError};
use std::collections::BTreeMap;
use std::fmt;

/// What a statement came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Done,
    /// SQLSTATE and primary message.
    Error(String, String),
    /// The connection ended.
    Lost(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Done => f.write_str("runs"),
            Outcome::Error(code, message) => write!(f, "{code} {message}"),
            Outcome::Lost(why) => write!(f, "connection lost: {why}"),
        }
    }
}

/// An answer: what it came to, and the transaction's state after it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    pub outcome: Outcome,
    pub state: u8,
}

impl Answer {
    fn of(frames: &[Frame]) -> Answer {
        let error = frames.iter().find_map(Frame::error);
        let outcome =
            error.map_or(Outcome::Done, |error| Outcome::Error(error.code().to_owned(), error.message().to_owned()));
        let ready = frames.iter().rev().find(|frame| frame.tag == b'Z');
        Answer { outcome, state: ready.and_then(|frame| frame.body.first().copied()).unwrap_or(b'?') }
    }

    pub fn refused(&self) -> bool {
        matches!(&self.outcome, Outcome::Error(code, _) if code == "25006")
    }
}

/// How a statement is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Simple,
    /// Parse, Bind, Describe, Execute, Sync.
    Extended,
}

/// Runs one statement as a simple query, with the data of its COPY.
pub fn run(raw: &mut Raw, statement: &Statement) -> Answer {
    run_by(Protocol::Simple, raw, statement)
}

/// Runs one statement, with the data of its COPY.
pub fn run_by(protocol: Protocol, raw: &mut Raw, statement: &Statement) -> Answer {
    let lost = |error: RawError| {
        let mut why = error.to_string();
        why.truncate(200);
        Answer { outcome: Outcome::Lost(why), state: b'?' }
    };
    match try_run(protocol, raw, statement) {
        Ok(frames) => Answer::of(&frames),
        Err(error) => lost(error),
    }
}

fn try_run(protocol: Protocol, raw: &mut Raw, statement: &Statement) -> Result<Vec<Frame>, RawError> {
    let sql = &statement.sql;
    raw.send(&match protocol {
        Protocol::Simple => query(sql),
        Protocol::Extended => {
            [parse("", sql, &[]), bind("", "", &[]), describe_portal(""), execute("", 0), sync()].concat()
        }
    })?;
    let mut all = Vec::new();
    loop {
        let frames = raw.frames_until(LONG, |frame| matches!(frame.tag, b'Z' | b'G'))?;
        let copying = frames.last().is_some_and(|frame| frame.tag == b'G');
        all.extend(frames);
        if !copying {
            return Ok(all);
        }
        let data = statement.data.as_deref().unwrap_or_default().as_bytes();
        let mut bytes = [copy_data(data), copy_done()].concat();
        if protocol == Protocol::Extended {
            // The server has skipped the one that stood before the data.
            bytes.extend(sync());
        }
        raw.send(&bytes)?;
    }
}

/// Leaves whatever transaction block is open.
pub fn leave_block(raw: &mut Raw) {
    let rollback = Statement { sql: "ROLLBACK".into(), ..Statement::default() };
    run(raw, &rollback);
}

/// One statement that was answered differently.
#[derive(Debug)]
pub struct Difference {
    pub place: String,
    pub sql: String,
    pub direct: Outcome,
    pub proxy: Outcome,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sql: String = self.sql.chars().take(300).collect();
        write!(f, "{}: {sql}\n    direct: {}\n    proxy:  {}", self.place, self.direct, self.proxy)
    }
}

/// What came out of a run.
#[derive(Debug, Default)]
pub struct Tally {
    pub statements: usize,
    pub same_done: usize,
    pub same_error: usize,
    pub same_refusal: usize,
    /// Differences that the rules know, by rule.
    pub known: BTreeMap<String, Vec<Difference>>,
    pub unknown: Vec<Difference>,
    /// Statements through the proxy after which the write-ahead log had rows of theirs.
    pub written: Vec<String>,
}

impl Tally {
    pub fn same(&mut self, answer: &Answer) {
        self.statements += 1;
        match &answer.outcome {
            Outcome::Done => self.same_done += 1,
            _ if answer.refused() => self.same_refusal += 1,
            _ => self.same_error += 1,
        }
    }

    pub fn differs(&mut self, rule: Option<String>, difference: Difference) {
        self.statements += 1;
        match rule {
            Some(rule) => self.known.entry(rule).or_default().push(difference),
            None => self.unknown.push(difference),
        }
    }

    /// All places of all rules, for the docs.
    pub fn list(&self) -> String {
        let mut list = String::new();
        for (rule, differences) in &self.known {
            list += &format!("{rule} ({})\n", differences.len());
            let mut places: Vec<_> = differences.iter().map(|difference| difference.place.as_str()).collect();
            // A statement of a block is tried with it and by itself.
            places.dedup();
            for line in places.chunks(6) {
                list += &format!("    {}\n", line.join(" "));
            }
        }
        list
    }

    /// Prints everything, of each rule two examples.
    pub fn report(&self, name: &str) {
        println!(
            "{name}: {} statements: {} ran alike, {} refused alike (25006), {} with the same other error, {} listed \
             differences, {} others; written through: {}",
            self.statements,
            self.same_done,
            self.same_refusal,
            self.same_error,
            self.known.values().map(Vec::len).sum::<usize>(),
            self.unknown.len(),
            self.written.len(),
        );
        for (rule, differences) in &self.known {
            println!("  {:5} {rule}", differences.len());
            for difference in differences.iter().take(2) {
                println!("        such as {difference}");
            }
        }
        for difference in &self.unknown {
            println!("  UNLISTED {difference}");
        }
        for written in &self.written {
            println!("  WRITTEN {written}");
        }
    }
}
