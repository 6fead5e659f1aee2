//! What a client was told of the rows of its prepared statements, and what a server connection would send.
//!
//! PostgreSQL refuses to run a statement whose result has other columns than when it was prepared (`cached plan must not change
//! result type`), since the client would take them for what they were. Prepared anew on another server connection it would run.
//! So whoever was told what the rows of a named statement are is refused where they would be others; a server connection is
//! asked once for each statement.

use std::hash::BuildHasher;
use std::rc::Rc;
use std::sync::Arc;

use super::Session;
use super::expect::{Expected, Hide, What};
use super::input::Handled;
use crate::hub::Statement;
use crate::upstream::vars::Seed;
use crate::wire::Report;
use crate::wire::fields::Place;
use crate::wire::frame::{HEADER, Header, take_str};
use crate::wire::front::{self, Target};

/// Bytes of a RowDescription's field behind its name: table, column, type, length, modifier, format.
const FIELD: usize = 18;

/// A fingerprint of the columns in a RowDescription, by names and types; of NoData too.
fn shape(seed: &Seed, tag: u8, body: &[u8]) -> u64 {
    let mut rest = body.get(2..).filter(|_| tag == b'T').unwrap_or_default();
    let mut hash = u64::from(tag);
    while let Ok((name, tail)) = take_str(rest) {
        let Some((field, next)) = tail.split_at_checked(FIELD) else { break };
        hash = seed.0.hash_one((hash, name, field.get(6..10), field.get(12..16)));
        rest = next;
    }
    hash
}

impl Session {
    /// The answer to a Describe of a statement has come.
    pub(super) fn note_shape(&mut self, header: Header) {
        let Some(Expected { what: What::Describe(Some(statement)), named, hide, .. }) = self.flow.expects.front()
        else {
            return;
        };
        let body = self.io.from_server.unscanned().get(HEADER..header.total).unwrap_or_default();
        let shape = shape(&self.core.hub.seed, header.tag, body);
        if let Some(name) = named.as_deref().filter(|name| *hide == Hide::Nothing && !name.is_empty()) {
            self.names.tell(name, shape);
        }
        let id = statement.id;
        if let Some(server) = self.lease.server() {
            server.prepared.note_shape(id, shape);
        }
    }

    /// Looks at a Bind or a Describe of a named statement. Some: its rows are not what the client was told, or that has to be asked first.
    pub(super) fn has_other_shape(
        &mut self,
        header: Header,
        name: &[u8],
        statement: &Rc<Statement>,
    ) -> Option<Handled> {
        let told = self.names.told(name)?;
        match self.lease.server()?.prepared.shape(statement.id) {
            Some(now) if now == told => return None,
            Some(_) => {
                self.core.statements.renew(statement);
                // Drivers know the error by its routine, and prepare the statement anew.
                let place =
                    Place { file: b"plancache.c".into(), line: b"0".into(), routine: b"RevalidateCachedQuery".into() };
                let report = Report::error("0A000", "cached plan must not change result type");
                return Some(self.fail_in_place(header, report.with_place(Some(Arc::new(place)))));
            }
            None => {}
        }
        let asked = |one: &Expected| matches!(&one.what, What::Describe(Some(known)) if known.id == statement.id);
        if !self.flow.expects.iter().any(asked) {
            let io = &mut self.io;
            io.from_client.move_ready(&mut io.to_server);
            let on_server = self.make_stand(name, statement);
            front::write_target(&mut self.io.to_server, b'D', Target::Statement(on_server.as_bytes()));
            self.expect(Expected::hidden(What::Describe(Some(statement.clone())), Hide::Success));
        }
        self.awaits_answers();
        Some(Handled::Later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, table: u8, kind: u8) -> Vec<u8> {
        let mut body = vec![0, 1];
        body.extend_from_slice(name.as_bytes());
        body.extend_from_slice(&[0, 0, 0, 0, table, 0, 1, 0, 0, 0, kind, 0, 4, 255, 255, 255, 255, 0, 0]);
        body
    }

    #[test]
    fn names_and_types_make_a_shape_and_tables_do_not() {
        let seed = Seed::default();
        let of = |body: &[u8]| shape(&seed, b'T', body);
        assert_eq!(of(&row("a", 1, 23)), of(&row("a", 2, 23)));
        assert_ne!(of(&row("a", 1, 23)), of(&row("b", 1, 23)));
        assert_ne!(of(&row("a", 1, 23)), of(&row("a", 1, 25)));
        assert_ne!(of(&[0, 0]), shape(&seed, b'n', &[]));
    }
}
