//! What has happened, for whoever listens: one [`Bus`] for the whole process.
//!
//! An [`Event`] has a [`Kind`], whose name does not change, a severity, a time, what it is about, a sentence for people and named
//! values for programs. Whoever sees something happen calls [`publish!`], which writes the line of the log and puts the
//! event on the bus, so that both always agree.
//!
//! The bus keeps the last [`KEPT`] events in memory, each with an id that increases, over a restart too. Readers come in two ways:
//!
//! - [`Bus::recent`]: what is there now, for SHOW EVENTS and for pages of the HTTP API. `after` is the id to go on from.
//! - [`Bus::subscribe`] and [`Bus::subscribe_after`]: an iterator in time, for LISTEN, webhooks and `text/event-stream`
//!   ([`Event::id`] is its `id:`, [`Kind::name`] its `event:`, [`Event::json`] its `data:`; a client's `Last-Event-ID` goes to
//!   [`Bus::subscribe_after`]). A subscription is a position in what the bus keeps, and so takes no memory of its own. One that is too
//!   slow is told how many it has missed ([`News::Missed`]) and goes on with the oldest that is left.
//!
//! Nothing here waits, and whoever publishes never waits for a reader.

mod bus;
mod event;
mod kind;

pub use crate::events::bus::{Bus, KEPT, News, Subscription};
pub use crate::events::event::{Event, Value};
pub use crate::events::kind::{Kind, Severity};

/// Logs an event and puts it on the bus: `publish!(bus, warn, Event::new(Kind::Mode, text).about(name).by(user), epoch = 3)`.
/// Values are whatever [`Value`] can be made of; an absent one is left out.
macro_rules! publish {
    ($bus:expr, $level:ident, $event:expr $(, $name:ident = $value:expr)* $(,)?) => {{
        let event = $event.of($crate::events::Severity::of_level(stringify!($level)))$(.with(stringify!($name), $value))*;
        tracing::$level!(
            event = event.kind.name(), database = event.database().map(tracing::field::display),
            cluster = event.cluster.as_deref().map(tracing::field::display),
            upstream = event.upstream.as_deref().map(tracing::field::display),
            user = event.user().map(tracing::field::display),
            $($name = event.value(stringify!($name)).map($crate::events::Value::logged),)*
            "{}", event.text
        );
        $bus.publish(event);
    }};
}
pub(crate) use publish;
