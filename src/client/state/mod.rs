//! Session state that follows the client from one server connection to the next: its [`Settings`], and what binds it to a
//! server connection, its [`Bindings`].

pub(in crate::client) mod function_side_effects;
pub(in crate::client) mod pins;
pub(in crate::client) mod reported_parameters;
pub(in crate::client) mod reset_defaults;
pub(in crate::client) mod sequences;
pub(in crate::client) mod session_effects;
pub(in crate::client) mod session_role;
pub(in crate::client) mod transactional_settings;

use std::cell::Cell;
use std::rc::Rc;

use crate::client::state::function_side_effects::Unasked;
use crate::client::state::pins::{Pin, Pins};
use crate::client::state::reset_defaults::Defaults;
use crate::client::state::sequences::Sequences;
use crate::client::state::session_role::ReportedParameters;
use crate::client::state::transactional_settings::Undo;
use crate::server::state::handover::hand_vars;
use crate::server::state::session_vars::Vars;
use crate::shared::handover::HandedClient;
use crate::shared::handover::client::{HandedSettings, HandedTold};
use crate::sql::cache::verdicts::Cached;
use crate::sql::{LexContext, StandardStrings};

/// The session's settings.
pub(in crate::client) struct Settings {
    /// As the client has been told and has made them.
    vars: Vars,
    /// What they go back to.
    defaults: Defaults,
    /// What the open transaction has made of them.
    undo: Undo,
    /// How statements are read under settings of that fingerprint, and a number for those they are parsed under.
    reading: Cell<(u64, LexContext, u32)>,
    /// The text that was read last, while its message waits for a server connection.
    last_read: Option<(LexContext, Rc<Cached>)>,
    /// default_transaction_read_only as it is for the session outside of maintenance, as far as that is known.
    read_only_default: Option<bool>,
    /// The value that the client has given it; None: it is the server's own.
    read_only_set: Option<bool>,
    /// What default_transaction_read_only was last reported to the client.
    reported_read_only: bool,
    session_role: ReportedParameters,
}

/// default_transaction_read_only at a session's beginning.
#[derive(Clone, Copy)]
pub(in crate::client) struct ReadOnly {
    default: Option<bool>,
    set: Option<bool>,
    reported: bool,
}

impl ReadOnly {
    /// As the client has asked for it or the server has it, with the gate open or `closed`.
    pub(in crate::client) fn new(asked: Option<bool>, servers: Option<bool>, closed: bool) -> Self {
        let default = asked.or(servers);
        Self { default, set: asked, reported: closed || default == Some(true) }
    }

    /// As another process has handed it over.
    pub(in crate::client) fn take_over(settings: &HandedSettings, reported: bool) -> Self {
        Self { default: settings.read_only, set: settings.read_only_set, reported }
    }

    /// As the client is told of it.
    pub(in crate::client) fn reported(self) -> bool {
        self.reported
    }
}

impl Settings {
    /// Those of a session that begins.
    pub(in crate::client) fn new(
        vars: Vars,
        defaults: Defaults,
        session_role: ReportedParameters,
        read_only: ReadOnly,
    ) -> Self {
        // No settings at all are read so.
        let context = LexContext { strings: StandardStrings::Unknown, ..LexContext::default() };
        Self {
            vars,
            defaults,
            undo: Undo::default(),
            reading: Cell::new((0, context, 0)),
            last_read: None,
            read_only_default: read_only.default,
            read_only_set: read_only.set,
            reported_read_only: read_only.reported,
            session_role,
        }
    }

    /// For the process that takes over.
    pub(in crate::client) fn hand_over(&self) -> HandedSettings {
        let Self {
            vars,
            defaults,
            // No transaction is open.
            undo: _,
            // Read anew.
            reading: _,
            last_read: _,
            read_only_default,
            read_only_set,
            // See below.
            reported_read_only: _,
            session_role: _,
        } = self;
        let mut settings = HandedSettings {
            vars: hand_vars(vars),
            read_only: *read_only_default,
            read_only_set: *read_only_set,
            ..HandedSettings::default()
        };
        defaults.hand_over(&mut settings);
        settings
    }

    /// What the client was told of the server, for the process that takes over; `closed`: and of the gate.
    pub(in crate::client) fn hand_over_told(&self, closed: bool) -> HandedTold {
        let mut told = HandedTold { read_only: self.reported_read_only, closed, ..HandedTold::default() };
        self.session_role.hand_over(&mut told);
        told
    }

    /// As the client has been told and has made them.
    #[inline]
    pub(in crate::client) fn vars(&self) -> &Vars {
        &self.vars
    }

    /// The same, to take over what a server connection has.
    pub(in crate::client) fn vars_mut(&mut self) -> &mut Vars {
        &mut self.vars
    }

    /// default_transaction_read_only for the session outside of maintenance, as far as that is known.
    #[inline]
    pub(in crate::client) fn read_only_default(&self) -> Option<bool> {
        self.read_only_default
    }

    /// The value that the client has given it.
    #[inline]
    pub(in crate::client) fn read_only_set(&self) -> Option<bool> {
        self.read_only_set
    }

    /// The client is told that value of it. Gives whether that is news.
    pub(in crate::client) fn report_read_only(&mut self, read_only: bool) -> bool {
        std::mem::replace(&mut self.reported_read_only, read_only) != read_only
    }

    /// The open transaction gives its default another value, or takes it back. False: that cannot be followed.
    pub(in crate::client) fn set_read_only_default(&mut self, default: Option<bool>) -> bool {
        self.undo.set_read_only_default(default)
    }

    /// Whether the open transaction has changed none.
    #[inline]
    pub(in crate::client) fn is_committed(&self) -> bool {
        self.undo.is_empty()
    }

    /// They are as before the open transaction.
    pub(in crate::client) fn roll_back(&mut self) {
        self.undo.roll_back();
    }

    /// What they take in memory.
    pub(in crate::client) fn bytes(&self) -> usize {
        self.vars.bytes() + self.undo.bytes()
    }

    /// A text has been read whose message waits for a server connection.
    #[inline]
    pub(in crate::client) fn remember_read(&mut self, context: LexContext, cached: Rc<Cached>) {
        self.last_read = Some((context, cached));
    }

    /// The same, if there is one.
    #[inline]
    pub(in crate::client) fn set_read(&mut self, read: Option<(LexContext, Rc<Cached>)>) {
        self.last_read = read;
    }

    /// No message waits.
    #[inline]
    pub(in crate::client) fn forget_read(&mut self) {
        self.last_read = None;
    }

    /// What was read in that text, if it is the one.
    #[inline]
    pub(in crate::client) fn last_read(&self, text: &[u8], context: LexContext) -> Option<&Rc<Cached>> {
        let (_, cached) = self.last_read.as_ref().filter(|(known, _)| *known == context)?;
        (*cached.text == *text).then_some(cached)
    }
}

/// What binds the session to its server connection, or may.
#[derive(Default)]
pub(in crate::client) struct Bindings {
    pins: Pins,
    /// What of that may have ended in the transactions since the server was last asked.
    doubted: Pins,
    /// Settings that may have been given a value by what runs.
    unasked: Option<Box<Unasked>>,
    sequences: Sequences,
}

impl Bindings {
    /// As another process has handed them over. None: there is one that this one does not know.
    pub(in crate::client) fn take_over(state: &HandedClient) -> Option<Self> {
        let (pins, doubted) = (Pins::take_over(&state.pins)?, Pins::take_over(&state.doubted)?);
        let sequences = Sequences::take_over(state.backend.sequences_on);
        Some(Self { pins, doubted, unasked: None, sequences })
    }

    /// For the process that takes over. False: the server has to be asked for something before that.
    pub(in crate::client) fn hand_over(&self, state: &mut HandedClient) -> bool {
        let Self { pins, doubted, unasked, sequences } = self;
        (state.pins, state.doubted) = (pins.hand_over(), doubted.hand_over());
        state.backend.sequences_on = sequences.hand_over();
        unasked.is_none()
    }

    /// What binds it.
    #[inline]
    pub(in crate::client) fn pins(&self) -> Pins {
        self.pins
    }

    /// Adds a reason.
    pub(in crate::client) fn pin(&mut self, pin: Pin) {
        self.pins.add(pin);
    }

    /// Drops a reason.
    pub(in crate::client) fn unpin(&mut self, pin: Pin) {
        self.pins.remove(pin);
    }

    /// Nothing binds it any more: its server connection is gone, and so is what it was bound by.
    pub(in crate::client) fn unbind(&mut self) {
        self.pins = Pins::default();
    }

    /// Drops every reason that DISCARD ALL ends.
    pub(in crate::client) fn keep_only_mode(&mut self) {
        self.pins.only_mode();
    }

    /// Whether the server has to be asked what is left.
    #[inline]
    pub(in crate::client) fn are_doubted(&self) -> bool {
        self.unasked.is_some() || !self.doubted.is_empty()
    }

    /// The server connection that knows where the session's sequences are.
    #[inline]
    pub(in crate::client) fn wanted_server(&self) -> Option<u64> {
        self.sequences.wanted()
    }

    /// Whether the statement that comes next asks for a sequence's last value.
    #[inline]
    pub(in crate::client) fn asks_for_sequence_next(&mut self, asks: bool) {
        self.sequences.asks_next = asks;
    }

    /// The same of the one that comes now.
    #[inline]
    pub(in crate::client) fn take_asks_for_sequence(&mut self) -> bool {
        std::mem::take(&mut self.sequences.asks_next)
    }
}
