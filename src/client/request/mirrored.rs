//! Reads of which a sample is mirrored: kept when they are sent, handed over once the answer has come.

use crate::client::Session;
use crate::shared::mirrors::{LONGEST_SAMPLE, Sample};
use crate::sql::cache::verdicts::Cached;
use crate::sql::{Kind, LexContext, Process, Proven, Refusal, Statement};

/// The start of Bind's parameters without the formats that the client wants its results in.
fn parameters(rest: &[u8]) -> Option<&[u8]> {
    let count = |at: usize| Some(usize::from(u16::from_be_bytes(rest.get(at..at + 2)?.try_into().ok()?)));
    let mut at = 2 + 2 * count(0)?;
    let values = count(at)?;
    at += 2;
    for _ in 0..values {
        let length = i32::from_be_bytes(rest.get(at..at + 4)?.try_into().ok()?);
        // Negative: NULL.
        at += 4 + usize::try_from(length).unwrap_or(0);
    }
    rest.get(..at)
}

/// Whether nothing in its text speaks against it. What a function of the database's own does is asked of the server later.
fn may_be_asked_again(one: &Statement) -> bool {
    one.kind == Kind::Read
        && one.route != Proven::PrimaryOnly
        && one.refusal == Refusal::Allowed
        && !one.locks_rows
        && !one.moves_sequences
        && one.process == Process::default()
}

impl Session {
    /// Keeps a read that is about to be sent, if it is in the sample. `oids` and `values` are those of Parse and Bind.
    #[cold]
    pub(in crate::client) fn keep_sample(&self, cached: &Cached, context: LexContext, oids: &[u8], values: &[u8]) {
        self.me.sample.take();
        let analysis = &cached.analysis;
        let alone = self.conversation.transaction().is_in_no_block() && !self.me.operator;
        if !alone || !analysis.is_plain() || !analysis.single().is_some_and(may_be_asked_again) {
            return;
        }
        if self.db.catalog.routes() && self.needs_primary(cached, context) {
            return;
        }
        let one = self.core.proxy.mirrors.of(self.db.peek_setup().gate.place());
        if !one.is_some_and(|one| one.takes_next()) || cached.text.len() + values.len() > LONGEST_SAMPLE {
            return;
        }
        // A simple query has none.
        let Some(values) = (if values.is_empty() { Some(&[0; 4][..]) } else { parameters(values) }) else { return };
        self.me.sample.set(Some(Box::new(Sample {
            text: cached.text.as_slice().into(),
            context,
            oids: oids.into(),
            values: values.into(),
            vars: self.settings.vars().clone(),
            user: self.account.user().clone(),
            credential: self.account.credential().clone(),
            database: self.db.clone(),
        })));
    }

    /// The answer has come: what was kept is handed over.
    #[cold]
    pub(in crate::client) fn hand_sample_over(&self) {
        let Some(sample) = self.me.sample.take() else { return };
        if let Some(one) = self.core.proxy.mirrors.of(self.db.peek_setup().gate.place()) {
            one.offer(*sample);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parameters;

    #[test]
    fn parameters_end_where_the_formats_of_results_begin() {
        let none = [0, 0, 0, 0];
        assert_eq!(parameters(&[&none[..], &[0, 1, 0, 1]].concat()), Some(&none[..]));
        let two = [0, 1, 0, 0, 0, 2, 0, 0, 0, 1, b'7', 255, 255, 255, 255];
        assert_eq!(parameters(&[&two[..], &[0, 0]].concat()), Some(&two[..]));
        assert_eq!(parameters(&[0, 0, 0, 1, 0, 0, 0, 9, b'7']), None);
        assert_eq!(parameters(&[]), None);
    }
}
