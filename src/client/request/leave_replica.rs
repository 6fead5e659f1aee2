//! What means nothing on a replica, or something else, in a READ ONLY block that has begun on one: the block is begun and set up anew
//! on the primary, as long as nobody could tell. The replica's transaction is rolled back as for a held write.

use crate::client::checkout::lease::Lease;
use crate::client::conversation::client_messages::Progress;
use crate::client::{End, Session};
use crate::protocol::TxStatus;
use crate::protocol::frame::Header;
use crate::protocol::frontend;
use crate::sql::Proven;
use crate::sql::cache::verdicts::Cached;
use crate::sql::classify::read_write::asks_of_transaction;

impl Session {
    /// What becomes of the message at hand before anything else is asked of it; None: nothing.
    #[inline(always)]
    pub(in crate::client) fn leaves_replica(&mut self, header: Header) -> Result<Option<Progress>, End> {
        if self.conversation.status() != TxStatus::Block
            || !matches!(self.lease, Lease::Guarded { replica: Some(_), .. })
        {
            return Ok(None);
        }
        self.has_to_leave_replica(header)
    }

    #[cold]
    fn has_to_leave_replica(&mut self, header: Header) -> Result<Option<Progress>, End> {
        if self.has_to_begin() {
            // It is being rolled back.
            return Ok(Some(Progress::AwaitReplies));
        }
        let may_move = !self.conversation.batch().is_open()
            && !self.conversation.batch().skips()
            && !self.conversation.in_copy()
            && self.conversation.transaction().history().can_move();
        if !may_move || self.missing(header.total) > 0 || !self.names.no_portals() || !self.bindings.pins().is_empty() {
            return Ok(None);
        }
        let Ok(cached) = self.text_of(header) else { return Ok(None) };
        let leaves = cached.is_some_and(|cached| self.means_the_primary(&cached));
        if !leaves || self.db.peek_setup().cluster.primary().is_none() {
            return Ok(None);
        }
        Ok(Some(if self.conversation.replies().is_empty() { Progress::HoldForGate } else { Progress::AwaitReplies }))
    }

    /// What the message runs, or prepares.
    fn text_of(&self, header: Header) -> Result<Option<std::rc::Rc<Cached>>, End> {
        let body = self.io.requests().body(header);
        Ok(match header.tag {
            b'Q' => Some(self.read_text(frontend::query(body)?, self.lex_context())),
            b'P' => Some(self.read_text(frontend::parse(body)?.text, self.lex_context())),
            b'B' => self.names.statement(frontend::bind(body)?.statement).map(|one| one.cached.clone()),
            _ => None,
        })
    }

    fn means_the_primary(&self, cached: &Cached) -> bool {
        let statements = &cached.analysis.statements;
        let lifts = || statements.iter().any(|one| asks_of_transaction(one) == Some(false));
        !cached.analysis.ambiguous
            && (statements.iter().any(|one| one.route == Proven::PrimaryOnly)
                || !self.conversation.transaction().history().queried() && lifts())
    }
}
