//! The gate: modes, epochs, registration and barrier, persistence. A state machine that runs without network.
//!
//! The story: a session asks its [`Gate`] for the [`Mode`] (one atomic load) and, for a transaction that could write, takes a
//! [`WriteTicket`] (one atomic add, `register`). A person's command comes to [`Gates`] (`commands`), which claims the gates,
//! makes a plan (`plan`, a pure function), saves it (`state_file`) and only then lets a task (`transition`) flip the mode, wait
//! until all tickets are back, and ask the primary for its LSN through a [`Field`]. What goes with a mode, and the texts that
//! applications read, are in the [`GateView`] (`detail`). `expiry` opens again what was closed for a time.
//!
//! What automation finds of the servers is a second source of the mode ([`automatic`]): it closes where no person's switch does.
//! So does a [`reroute`] to a copy that is to be read only.
//!
//! A person has two independent switches, and the mode is a function of them: OFFLINE hides MAINTENANCE, neither changes the
//! other. The epoch grows with each change of mode; a drain has the epoch of the mode it leads to, its revert has the next.
//!
//! | mode that holds | MAINTENANCE ON | MAINTENANCE OFF | OFFLINE | ONLINE |
//! | --- | --- | --- | --- | --- |
//! | read_write | drains to read_only | nothing | drains to offline | nothing |
//! | read_only | updates the options that are named | read_write | drains to offline | nothing |
//! | offline | stays offline; ONLINE will lead to read_only | stays offline; ONLINE will lead to read_write | updates the options that are named | read_only if MAINTENANCE is on, else read_write |
//! | draining, by MAINTENANCE ON | the same or no options: waits for that one (`changed = false`); else 55006 | calls it off: read_write, and 57014 to whoever gave ON | 55006 | 55006 |
//! | draining, by OFFLINE | 55006 | 55006 | as above | calls it off: back to what was before |
//!
//! "Nothing" is success with `changed = false` and the same epoch. An update is `changed = true` only if something differs. ON and
//! OFFLINE in a mode that holds ask the primary again if its LSN is not known yet. A drain that times out cancels
//! (`on_timeout = cancel`) and, if that does not end them within a bounded time either, or with `on_timeout = revert`, sets the
//! gate back and fails with 55P03.

mod automatic;
mod command;
mod current;
mod database;
mod detail;
mod environment;
mod error;
mod gates;
mod hold;
mod names;
mod reroute;
mod server_database;
mod state;
mod store;

pub use crate::gate::automatic::{Automatic, Closes};
pub use crate::gate::command::execute::Target;
pub use crate::gate::command::follow::{Drained, Fleet, Wanted};
pub use crate::gate::command::options::{Given, LONGEST_MESSAGE, OnDefaults, OnOptions};
pub(crate) use crate::gate::command::plan::{Order, plan};
pub use crate::gate::command::progress::{Outcome, Progress, Step, TransitionHandle, Verb, Wait};
pub(crate) use crate::gate::command::when::millis;
pub use crate::gate::command::when::print as print_timestamp;
pub use crate::gate::current::CurrentGate;
pub use crate::gate::database::Gate;
pub use crate::gate::detail::{Cause, Counters, GateView, OnTimeout, Quiesced, Reads, Switches, Terms, Who};
pub use crate::gate::environment::{Field, ForeignWriter, Job, OpenTransaction, Settled, Spare};
pub use crate::gate::error::GateError;
pub use crate::gate::gates::{Clock, Gates, Limits, Row};
pub use crate::gate::hold::{Held, Holding};
pub use crate::gate::reroute::{Reroute, RerouteClaim, reroute_of};
pub use crate::gate::server_database::{NamedDatabase, ServerDatabase};
pub use crate::gate::state::lsn::{InvalidLsn, Lsn};
pub use crate::gate::state::mode::{DrainTo, Epoch, Mode, NewTransaction, State, Writes};
pub use crate::gate::state::register::{Closed, Lane, Register, WriteTicket};
pub use crate::gate::store::handover::{InheritedState, StateSource};
pub(crate) use crate::gate::store::sealed;
pub(crate) use crate::gate::store::state_file::Record;
pub use crate::gate::store::state_file::{StateFile, try_to_write_beside};
