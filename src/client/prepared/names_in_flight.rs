//! Names of prepared statements, while messages about them are in flight.

use std::collections::HashMap;
use std::rc::Rc;

use crate::client::prepared::protocol_names::Inner;
use crate::client::prepared::sql_prepare::UnderWay;
use crate::sql::Name;

/// See the module.
#[derive(Default)]
pub(in crate::client) struct NamesInFlight {
    /// PREPARE, DEALLOCATE or DISCARD ALL is under way: which names there are is known once it has been answered.
    forgets: bool,
    /// What is done about names of the client's own on the server.
    pub(in crate::client::prepared) under_way: Option<Box<UnderWay>>,
    /// The types of a statement's parameters, while the answer to a Describe goes on.
    pub(in crate::client::prepared) parameter_types: Box<[u8]>,
    /// Where the open transaction has tables looked for.
    pub(in crate::client::prepared) path: Option<u64>,
}

impl NamesInFlight {
    /// Whether nothing is done about names on the server.
    #[inline]
    pub(in crate::client) fn is_plain(&self) -> bool {
        self.under_way.is_none()
    }

    /// A message is sent by which names change in SQL, or do not.
    #[inline]
    pub(in crate::client) fn note_forgets(&mut self, forgets: bool) {
        self.forgets |= forgets;
    }

    /// Whether it is known only later which names there are.
    #[inline]
    pub(in crate::client) fn forgets(&self) -> bool {
        self.forgets
    }

    /// It is known.
    pub(in crate::client) fn end_forgets(&mut self) {
        self.forgets = false;
    }

    /// Tables are looked for as before the transaction.
    #[inline]
    pub(in crate::client) fn forget_path(&mut self) {
        self.path = None;
    }

    /// What PREPAREs that are under way make whose EXECUTE is to be refused.
    pub(in crate::client) fn suspected(&self) -> Option<&HashMap<Name, Rc<Inner>>> {
        self.under_way.as_ref().map(|under_way| &under_way.suspected)
    }

    /// What they made is known by name.
    pub(in crate::client) fn forget_suspected(&mut self) {
        if let Some(under_way) = &mut self.under_way {
            under_way.suspected = HashMap::default();
        }
    }

    /// The same, to add to it.
    pub(in crate::client) fn suspect(&mut self) -> &mut HashMap<Name, Rc<Inner>> {
        &mut self.under_way.get_or_insert_default().suspected
    }
}
