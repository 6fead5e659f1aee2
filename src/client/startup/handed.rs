//! What a session starts from that another process has handed over: what one learns at its log-in, this one has brought along.

use std::rc::Rc;
use std::sync::Arc;

use super::open::{Prepared, policy};
use crate::auth::Credential;
use crate::client::checkout::backend_pid::Identity;
use crate::client::state::ReadOnly;
use crate::client::state::pins::{Pin, Pins};
use crate::client::state::reset_defaults::Defaults;
use crate::client::state::session_role::ReportedParameters;
use crate::config::PoolMode;
use crate::server::state::handover::HandedVars;
use crate::server::state::session_vars::Vars;
use crate::server::{Home, KindTag};
use crate::shared::client::Ask;
use crate::shared::handover::HandedClient;
use crate::shared::{Client, Database, WorkerState};

/// Settings of a client.
pub(in crate::client) fn vars(core: &WorkerState, handed: &HandedVars) -> Vars {
    let mut vars = Vars::default();
    handed.iter().for_each(|(name, value)| vars.put(&core.proxy.seed, name, Some(value.clone())));
    core.alike.borrow_mut().shared(vars)
}

/// All that [`Prepared::into_session`] needs.
pub(in crate::client) fn prepare(
    core: &Rc<WorkerState>,
    state: &HandedClient,
    me: &Rc<Client>,
    db: &Arc<Database>,
    credential: &Credential,
    pins: Pins,
) -> Prepared {
    let setup = core.setup();
    let settings = setup.config.session(&db.setup().settings, &me.user);
    let mut policy = policy(&setup.config, settings, me.operator);
    if pins.has(Pin::SessionMode) && !me.operator {
        // Another mode of the pool is for those who come from now on.
        policy.pool_mode = PoolMode::Session;
    }
    if let Some(told) = state.backend.told {
        let _ = core.proxy.keys.add(told, &me.secret, me.id);
    }
    let told_closed = state.told.closed;
    if told_closed != (db.gate.state().mode.reports_read_only() && !me.operator) {
        me.ask(Ask::Flip);
    }
    Prepared {
        policy,
        vars: vars(core, &state.settings.vars),
        defaults: Defaults::take_over(&state.settings),
        startup: state.identity.startup.clone(),
        cluster: None,
        read_only: ReadOnly::take_over(&state.settings, state.told.read_only),
        told: ReportedParameters::take_over(&state.told, db.welcome(&me.user)),
        told_closed,
        greeting: Vec::new(),
        identity: Identity::take_over(&state.backend, home(core, state, db, &me.user, credential)),
        me: me.clone(),
        db: db.clone(),
    }
}

fn home(
    core: &WorkerState,
    state: &HandedClient,
    db: &Database,
    user: &Arc<str>,
    credential: &Credential,
) -> Option<Home> {
    let id = state.backend.home?;
    let pool = db.pool(user, db.setup().cluster.primary()?, credential)?;
    let closed = db.gate.state().mode.reports_read_only() && !pool.guards_in_place();
    pool.handed_home(core.index, if closed { KindTag::Guarded } else { KindTag::Unguarded }, id)
}
