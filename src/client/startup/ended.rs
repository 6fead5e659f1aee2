//! A session has ended: it is forgotten.

use std::rc::Rc;

use crate::client::End;
use crate::client::maintenance::kept_out;
use crate::shared::{Client, WorkerState};

/// Forgets a client that is served no more.
pub(in crate::client) fn ended(core: &WorkerState, me: &Rc<Client>, end: &End) {
    core.leave(me.id);
    kept_out::note_dropped(me, end);
}
