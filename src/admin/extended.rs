//! The extended protocol on the console: statements and portals by name, parameters put in as texts.

use std::collections::HashMap;
use std::rc::Rc;

use super::commands::columns;
use super::console::{Console, Failed, utf8};
use super::language::command::{Command, Polite};
use super::language::parser;
use super::language::words::{Token, Words, statements};
use super::table::{Column, Format, Formats, Table, describe, row};
use crate::protocol::frame::{take_u16, take_u32};
use crate::protocol::frontend;
use crate::protocol::frontend::Target;
use crate::protocol::{Report, TxStatus, WireError, answer};

/// Statements and portals that one console may hold. Drivers that cache keep some hundreds.
const MOST_STATEMENTS: usize = 1000;
const MOST_PORTALS: usize = 16;
/// text
const TEXT: u32 = 25;
/// Types whose binary form is that of text: text, varchar, bpchar, name, unknown; 0 lets the server choose.
const TEXTS: [u32; 6] = [0, TEXT, 1043, 1042, 19, 705];

/// A prepared statement.
struct Prepared {
    words: Words,
    /// As it reads with empty texts for parameters; None if it is empty.
    command: Option<Command>,
    /// Type OIDs of its parameters.
    types: Vec<u32>,
}

struct Portal {
    command: Option<Command>,
    formats: Formats,
    state: State,
}

enum State {
    Bound,
    /// The rows that are still to be sent.
    Open(Table),
    Done,
}

/// A console's statements and portals.
#[derive(Default)]
pub(super) struct Names {
    statements: HashMap<Vec<u8>, Rc<Prepared>>,
    portals: HashMap<Vec<u8>, Portal>,
}

impl Names {
    /// A simple query has come.
    pub fn forget_unnamed(&mut self) {
        self.statements.remove(&b""[..]);
        self.portals.remove(&b""[..]);
    }

    /// DISCARD ALL has come.
    pub fn forget_statements(&mut self) {
        self.statements.clear();
    }

    /// Sync has come: portals end with the transaction.
    pub fn end_portals(&mut self, status: TxStatus) {
        if status == TxStatus::Idle {
            self.portals.clear();
        }
    }

    fn statement(&self, name: &[u8]) -> Result<Rc<Prepared>, Report> {
        let missing = || match String::from_utf8_lossy(name) {
            name if name.is_empty() => Report::error("26000", "unnamed prepared statement does not exist"),
            name => Report::error("26000", format!("prepared statement \"{name}\" does not exist")),
        };
        self.statements.get(name).cloned().ok_or_else(missing)
    }
}

fn no_portal(name: &[u8]) -> Report {
    Report::error("34000", format!("portal \"{}\" does not exist", String::from_utf8_lossy(name)))
}

impl Console {
    /// Handles a message of the extended protocol.
    pub async fn extended(&mut self, tag: u8, body: &[u8]) -> Result<(), Failed> {
        let end = |error: WireError| Failed::End(error.into());
        match tag {
            b'P' => self.parse(frontend::parse(body).map_err(end)?),
            b'B' => self.bind(body),
            b'D' => self.describe(frontend::target(body).map_err(end)?),
            b'E' => {
                let (portal, most) = frontend::execute(body).map_err(end)?;
                self.execute(portal, most as usize).await
            }
            _ => {
                match frontend::target(body).map_err(end)? {
                    Target::Statement(name) => _ = self.names.statements.remove(name),
                    Target::Portal(name) => _ = self.names.portals.remove(name),
                }
                answer::close_complete(&mut self.link.out);
                Ok(())
            }
        }
    }

    fn parse(&mut self, message: frontend::Parse<'_>) -> Result<(), Failed> {
        let mut all = statements(utf8(message.text)?)?;
        if all.len() > 1 {
            return Err(Report::error("42601", "cannot insert multiple commands into a prepared statement").into());
        }
        let words = all.pop().unwrap_or_default();
        let tokens = &words.tokens;
        let given = message.oids.chunks_exact(4).map(|oid| take_u32(oid).map_or(0, |(oid, _)| oid));
        let types = types(tokens, given)?;
        let command =
            if tokens.is_empty() { None } else { Some(parser::parse(&with_values(tokens, &[]), &words.places)?) };
        let statements = &mut self.names.statements;
        if !message.name.is_empty() && statements.contains_key(message.name) {
            let name = String::from_utf8_lossy(message.name);
            return Err(Report::error("42P05", format!("prepared statement \"{name}\" already exists")).into());
        }
        if statements.len() >= MOST_STATEMENTS && !message.name.is_empty() {
            return Err(
                Report::error("53400", format!("the console keeps at most {MOST_STATEMENTS} statements")).into()
            );
        }
        statements.insert(message.name.to_vec(), Rc::new(Prepared { words, command, types }));
        answer::parse_complete(&mut self.link.out);
        Ok(())
    }

    fn bind(&mut self, body: &[u8]) -> Result<(), Failed> {
        let bind = frontend::bind(body).map_err(|error| Failed::End(error.into()))?;
        let (values, formats) = bound(bind.rest).map_err(|error| Failed::End(error.into()))?;
        let statement = self.names.statement(bind.statement)?;
        if values.len() != statement.types.len() {
            let text = format!(
                "bind message supplies {} parameters, but prepared statement \"{}\" requires {}",
                values.len(),
                String::from_utf8_lossy(bind.statement),
                statement.types.len()
            );
            return Err(Report::error("08P01", text).into());
        }
        let command = match &statement.command {
            Some(_) if !values.is_empty() => {
                let Words { tokens, places } = &statement.words;
                Some(parser::parse(&with_values(tokens, &texts(&values)?), places)?)
            }
            command => command.clone(),
        };
        let proxy = &self.core.proxy;
        let width = command.as_ref().and_then(|command| columns(proxy, command)).map_or(0, <[Column]>::len);
        if let Formats::Each(each) = &formats
            && each.len() != width
        {
            let text = format!("bind message has {} result formats but query has {width} columns", each.len());
            return Err(Report::error("08P01", text).into());
        }
        let portals = &mut self.names.portals;
        if !bind.portal.is_empty() {
            if portals.contains_key(bind.portal) {
                let name = String::from_utf8_lossy(bind.portal);
                return Err(Report::error("42P03", format!("cursor \"{name}\" already exists")).into());
            }
            if portals.len() >= MOST_PORTALS {
                return Err(Report::error("53400", format!("the console keeps at most {MOST_PORTALS} portals")).into());
            }
        }
        portals.insert(bind.portal.to_vec(), Portal { command, formats, state: State::Bound });
        answer::bind_complete(&mut self.link.out);
        Ok(())
    }

    fn describe(&mut self, target: Target<'_>) -> Result<(), Failed> {
        let (proxy, out) = (&self.core.proxy, &mut self.link.out);
        let columns = |command| columns(proxy, command);
        let (found, formats) = match target {
            Target::Statement(name) => {
                let statement = self.names.statement(name)?;
                answer::parameter_description(out, &statement.types);
                (statement.command.as_ref().and_then(columns), &Formats::TEXT)
            }
            Target::Portal(name) => {
                let portal = self.names.portals.get(name).ok_or_else(|| no_portal(name))?;
                (portal.command.as_ref().and_then(columns), &portal.formats)
            }
        };
        match found {
            Some(columns) => describe(out, columns, formats),
            None => answer::no_data(out),
        }
        Ok(())
    }

    async fn execute(&mut self, name: &[u8], most: usize) -> Result<(), Failed> {
        let mut portal = self.names.portals.remove(name).ok_or_else(|| no_portal(name))?;
        let Some(command) = portal.command.clone() else {
            answer::empty_query(&mut self.link.out);
            self.names.portals.insert(name.to_vec(), portal);
            return Ok(());
        };
        if matches!(portal.state, State::Bound) {
            // A portal whose command fails is gone, as in PostgreSQL.
            portal.state = self.run(&command).await?.map_or(State::Done, State::Open);
        }
        let mut suspended = false;
        if let State::Open(table) = &mut portal.state {
            let count = if most == 0 { table.rows.len() } else { most.min(table.rows.len()) };
            for cells in table.rows.drain(..count) {
                row(&mut self.link.out, table.columns, &cells, &portal.formats);
            }
            suspended = !table.rows.is_empty();
        }
        if suspended {
            answer::portal_suspended(&mut self.link.out);
        } else {
            portal.state = State::Done;
            answer::command_complete(&mut self.link.out, command.tag());
        }
        if !matches!(command, Command::Polite(Polite::End(_))) {
            self.names.portals.insert(name.to_vec(), portal);
        }
        Ok(())
    }
}

/// The parameters' types: as the client gave them, text where it left the choice.
fn types(tokens: &[Token], given: impl Iterator<Item = u32>) -> Result<Vec<u32>, Report> {
    let highest = tokens.iter().map(|token| if let Token::Parameter(number) = token { *number } else { 0 }).max();
    let mut types: Vec<u32> = given.map(|oid| if oid == 0 { TEXT } else { oid }).collect();
    let needed = usize::from(highest.unwrap_or(0));
    if needed > MOST_STATEMENTS {
        return Err(Report::error("42P02", format!("there is no parameter ${needed}")));
    }
    types.resize(types.len().max(needed), TEXT);
    if let Some(other) = types.iter().find(|oid| !TEXTS.contains(oid)) {
        return Err(Report::error(
            "0A000",
            format!("the console takes parameters of type text, not of type OID {other}"),
        ));
    }
    Ok(types)
}

/// The statement with its parameters' values in their places. A value that is missing is a zero: good enough to find
/// what is wrong with the rest.
fn with_values(tokens: &[Token], values: &[String]) -> Vec<Token> {
    let put = |token: &Token| match token {
        Token::Parameter(number) => {
            let value = values.get(usize::from(*number).saturating_sub(1)).cloned();
            // A name where one is wanted, a text anywhere else: quoted is taken as either.
            Token::Quoted(value.unwrap_or_else(|| "0".to_owned()))
        }
        other => other.clone(),
    };
    tokens.iter().map(put).collect()
}

fn texts(values: &[Option<&[u8]>]) -> Result<Vec<String>, Report> {
    let text = |value: &Option<&[u8]>| match value {
        Some(bytes) => utf8(bytes).map(str::to_owned),
        None => Err(Report::error("22004", "a parameter of a console command must not be NULL")),
    };
    values.iter().map(text).collect()
}

type Bound<'a> = (Vec<Option<&'a [u8]>>, Formats);

/// Reads what stands behind the names in a Bind: values, and the forms wanted for results. The forms of values need no look:
/// types whose binary form differs from text are not taken.
fn bound(body: &[u8]) -> Result<Bound<'_>, WireError> {
    let (given, rest) = formats(body)?;
    let (count, mut rest) = take_u16(rest)?;
    if given.len() > 1 && given.len() != usize::from(count) {
        return Err(WireError::Format);
    }
    let mut values = Vec::new();
    for _ in 0..count {
        let (length, tail) = take_u32(rest)?;
        if length == u32::MAX {
            values.push(None);
            rest = tail;
        } else {
            let (value, tail) = tail.split_at_checked(length as usize).ok_or(WireError::Format)?;
            values.push(Some(value));
            rest = tail;
        }
    }
    let (wanted, rest) = formats(rest)?;
    if !rest.is_empty() {
        return Err(WireError::Format);
    }
    let wanted = match wanted.as_slice() {
        [] => Formats::TEXT,
        [one] => Formats::All(*one),
        _ => Formats::Each(wanted),
    };
    Ok((values, wanted))
}

fn formats(body: &[u8]) -> Result<(Vec<Format>, &[u8]), WireError> {
    let (count, mut rest) = take_u16(body)?;
    let mut formats = Vec::new();
    for _ in 0..count {
        let (code, tail) = take_u16(rest)?;
        formats.push(match code {
            0 => Format::Text,
            1 => Format::Binary,
            _ => return Err(WireError::Format),
        });
        rest = tail;
    }
    Ok((formats, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bind_is_read_to_its_last_byte() {
        assert_eq!(bound(frontend::NO_PARAMETERS), Ok((vec![], Formats::TEXT)));
        let body = b"\0\x01\0\x01\0\x02\0\0\0\x02ab\xff\xff\xff\xff\0\x01\0\x01";
        assert_eq!(bound(body), Ok((vec![Some(&b"ab"[..]), None], Formats::All(Format::Binary))));
        for bad in [
            &b""[..],
            b"\0\0\0\0",
            b"\0\0\0\0\0\0x",
            b"\0\x01\0\x02\0\0\0\0",
            b"\0\0\0\x01\0\0\0\x09ab\0\0",
            b"\0\0\xff\xff\0\0",
        ] {
            assert!(bound(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn parameters_are_texts() {
        let tokens = statements("PAUSE $2").unwrap().remove(0).tokens;
        assert_eq!(types(&tokens, [].into_iter()), Ok(vec![TEXT, TEXT]));
        assert_eq!(types(&tokens, [1043].into_iter()), Ok(vec![1043, TEXT]));
        assert!(types(&tokens, [23].into_iter()).is_err());
        let put = with_values(&tokens, &["x".into(), "My db".into()]);
        assert_eq!(put, [Token::Word("PAUSE".into()), Token::Quoted("My db".into())]);
    }
}
