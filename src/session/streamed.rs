//! Large messages: a Bind goes on to the server while it comes in, and what must be read whole and is larger than
//! `max_message_size` is an error, behind which the connection goes on.

use super::Session;
use super::expect::{Expected, What};
use super::input::Handled;
use super::lease::Lease;
use crate::route::Nature;
use crate::sql::own_statements::transaction::POISON;
use crate::wire::frame::Header;
use crate::wire::{Report, front};

/// A Bind that is larger than this is not waited for as a whole; what would be asked of another server again is smaller (bytes).
const STREAMED: usize = 128 * 1024;

/// Names in a Bind that are longer than this in all are no names (bytes).
const LONGEST_NAMES: usize = 64 * 1024;

impl Session {
    /// Whether a message may be looked at before all of it is here: a large Bind whose names are, with the gate open.
    pub(super) fn streams(&self, header: Header) -> bool {
        header.tag == b'B'
            && header.total > STREAMED
            && (matches!(self.lease, Lease::None | Lease::Bound { .. } | Lease::Operator { .. }) || self.may_go_on())
            && !self.flow.skip
            && !self.db.gate.state().mode.reports_read_only()
            && front::bind(self.body(header)).is_ok()
    }

    /// Whether the names in a Bind are still to come.
    pub(super) fn lacks_names(&self, header: Header) -> bool {
        let body = self.body(header);
        header.tag == b'B' && body.len() < LONGEST_NAMES && front::bind(body).is_err()
    }

    /// How much of a message of `total` bytes is not here yet.
    pub(super) fn missing(&self, total: usize) -> usize {
        total.saturating_sub(self.io.from_client.unscanned().len())
    }

    /// Answers a message that is too large with an error, and drops it as it comes.
    pub(super) fn too_large(&mut self, header: Header) -> Handled {
        let ends = matches!(header.tag, b'Q' | b'F');
        if self.flow.skip && !ends {
            self.drop_bytes(header.total);
            return Handled::Done;
        }
        if ends && self.awaits_batch() {
            return Handled::Later;
        }
        self.unfold();
        let report = Report::error("54000", format!("message of {} bytes is too large", header.body())).with_detail(
            Some(format!(
                "A message that has to be read whole may have max_message_size ({} bytes).",
                self.manner.largest
            )),
        );
        if self.lease.is_none() {
            self.answer_unsent(header, &report);
            return Handled::Done;
        }
        if !self.has_right_lease() {
            return Handled::Needs(Nature::Any);
        }
        self.me.enter(crate::hub::Phase::Active);
        self.drop_bytes(header.total);
        if ends {
            front::write_query(&mut self.io.to_server, POISON.as_bytes());
            let mut expected = Expected::seen(What::Query(None));
            expected.refusal = Some(Box::new(report));
            self.expect(expected);
        } else {
            self.flow.batch = true;
            self.fail_here(report);
        }
        Handled::Done
    }
}
