//! Settings that the server reports: what the client is told, and whose a value is.
//!
//! A value that no statement of a client has set is the server's own. It is never brought to another server connection:
//! a client whose next connection has another value is told so, and uses that. What a statement sets by name is the client's.
//! Where a report comes for a setting that no statement has named, a function may have set it or the server's configuration
//! was reloaded: the server is asked.

use crate::client::checkout::lease::Lease;
use crate::client::conversation::pending_replies::{Request, Visibility};
use crate::client::maintenance::query_split::Part;
use crate::client::{Session, Settling};
use crate::protocol::backend;
use crate::server::state::session_vars::{ALL_REPORTED, reported_bit, reported_name, reported_names};

pub(in crate::client) const READ_ONLY: &str = "default_transaction_read_only";

/// The bit of [`READ_ONLY`], which is not among the others.
const READ_ONLY_BIT: u16 = 1 << 15;

/// What was reported in the open transaction.
#[derive(Clone, Copy, Default)]
pub(in crate::client) struct Reports {
    /// Settings that have another value.
    changed: u16,
    /// Settings that a statement has named.
    named: u16,
    /// Reports have come for a statement of ours.
    hidden: bool,
}

impl Reports {
    /// The server's own values are known when a statement of ours has been answered.
    pub(in crate::client) fn learn(&mut self) {
        self.hidden = true;
    }

    /// Whether any have come.
    #[inline]
    pub(in crate::client) fn have_come(self) -> bool {
        self.changed != 0 || self.hidden
    }
}

impl Session {
    /// The server has reported a setting.
    pub(in crate::client) fn parameter_status(&mut self, name: &str, value: &str) {
        if let Some(server) = self.lease.server() {
            server.reported(name, value);
        }
        self.note_reported(name);
        let hidden =
            self.conversation.replies().front().is_some_and(|expected| expected.visibility() == Visibility::Hidden);
        // Other statements of ours set nothing of the kind: what is reported behind one of them the client has set before.
        let settles = hidden && !matches!(self.conversation.lease().settling(), Settling::No);
        // DISCARD ALL has run, and the client's defaults are about to be in force again.
        let back = matches!(self.conversation.message().split().front(), Some(Part::Defaults(_)))
            && matches!(self.conversation.replies().awaited(), Some(Request::Query(Some(_))));
        let default = self.settings.defaults.reported(name).filter(|_| back).map(str::to_owned);
        let value = default.as_deref().unwrap_or(value);
        match (name, reported_name(name)) {
            // A client is told of the whole, not of the server that happens to serve it.
            ("in_hot_standby", _) => return self.look_at_server_now(),
            (READ_ONLY, _) if self.lease.in_maintenance() => return,
            (READ_ONLY, _) if hidden => {
                self.conversation.lease_mut().reports_mut().hidden = true;
                return;
            }
            (READ_ONLY, _) => {
                self.settings.reported_read_only = value == "on";
                self.settings.read_only_default = Some(self.settings.reported_read_only);
                self.conversation.lease_mut().reports_mut().changed |= READ_ONLY_BIT;
            }
            (_, Some(known)) => {
                let own =
                    self.settings.vars.get(known).is_none_or(crate::server::state::session_vars::Value::is_default);
                if settles && own {
                    self.conversation.lease_mut().reports_mut().hidden = true;
                    return;
                }
                if !settles {
                    self.conversation.lease_mut().reports_mut().changed |= reported_bit(known);
                }
                if self.settings.vars.reported(known) == Some(value) {
                    return;
                }
                self.has_value(known, value);
            }
            _ if self.settings.session_role.is_news(name, value) => {}
            _ => return,
        }
        let held = self.conversation.message().is_withheld();
        let out = if held { self.conversation.message_mut().withheld() } else { self.io.for_client() };
        backend::parameter_status(out, name, value);
    }

    fn has_value(&mut self, known: &str, value: &str) {
        self.settings.vars.report(&self.core.proxy.seed.clone(), known, value);
        if known == "application_name" {
            value.clone_into(&mut self.me.application_name.borrow_mut());
        }
    }

    /// A statement that has run names a setting; `None` stands for all.
    pub(in crate::client) fn names_setting(&mut self, name: Option<&str>) {
        self.conversation.lease_mut().reports_mut().named |= name.map_or(ALL_REPORTED, reported_bit);
        let read_only = match name {
            Some(name) => name == READ_ONLY,
            None => self.settings.read_only_set.is_some(),
        };
        if read_only && !self.lease.in_maintenance() {
            self.conversation.lease_mut().reports_mut().named |= READ_ONLY_BIT;
            self.ask_for_setting(READ_ONLY);
        }
    }

    /// The transaction is over: asks whose the values are that no statement has named.
    pub(in crate::client) fn end_reports(&mut self) {
        let reports = std::mem::take(self.conversation.lease_mut().reports_mut());
        let unnamed = reports.changed & !reports.named;
        if unnamed != 0 {
            reported_names(unnamed & ALL_REPORTED).for_each(|name| self.ask_for_setting(&name.to_ascii_lowercase()));
            if unnamed & READ_ONLY_BIT != 0 {
                self.ask_for_setting(READ_ONLY);
            }
        }
        if reports.hidden {
            self.tell_defaults();
        }
    }

    /// The server has answered whether the session has set it. False: it is no setting that is reported.
    pub(in crate::client) fn answered_whose(&mut self, name: &str, value: Option<&str>) -> bool {
        let seed = self.core.proxy.seed.clone();
        if name == READ_ONLY && self.lease.in_maintenance() {
            // The guard has taken its place.
            self.settings.read_only_set = self.settings.read_only_default;
            return true;
        }
        if name == READ_ONLY {
            self.settings.read_only_set = value.map(|value| value == "on");
            if let Some(server) = self.lease.server() {
                server.read_only_set = self.settings.read_only_set;
            }
            return true;
        }
        let known = reported_name(name).and_then(|known| Some((known, self.settings.vars.reported(known)?.to_owned())));
        let Some((known, now)) = known else { return false };
        if value.is_some() {
            self.settings.vars.mark_set(&seed, known);
        } else {
            self.settings.vars.unset(&seed, known);
        }
        let Some(server) = self.lease.server() else { return true };
        if value.is_some() {
            server.vars.mark_set(&seed, known);
        } else {
            server.vars.unset(&seed, known);
            server.permit.pool().learn_default(known, &now);
        }
        true
    }

    /// Tells the client of the server's own values here that are others than it was told.
    pub(in crate::client) fn tell_defaults(&mut self) {
        let may_write = matches!(self.lease, Lease::Write { .. } | Lease::Allowed { .. } | Lease::Operator { .. });
        let Some(server) = self.lease.server() else { return };
        let read_only = server.default_read_only.filter(|_| may_write);
        let others = server.vars.other_defaults(&self.settings.vars);
        for (name, value) in others {
            self.has_value(&name, &value);
            backend::parameter_status(self.io.for_client(), &name, &value);
        }
        if read_only.is_some() && self.settings.read_only_set.is_none() && self.settings.read_only_default != read_only
        {
            self.settings.read_only_default = read_only;
            self.notify_mode();
        }
    }
}
