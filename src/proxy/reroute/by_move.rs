//! A move leads the clients of a database elsewhere, as REROUTE does: it has the database for itself, and has looked before.

use std::sync::Arc;
use std::time::Duration;

use super::{configured_place, know_settings, known, put_in_force, siblings};
use crate::gate::{Reroute, ServerDatabase, Who};
use crate::protocol::Report;
use crate::shared::{Database, Hub};

/// Has every name of a database lead there from now on. That it does is on disk first, and it can be said twice. Gives the names, and
/// what a person should know.
///
/// # Errors
/// It could not be saved, and nothing has changed; or the process is stopping.
pub async fn lead(
    hub: &Arc<Hub>,
    name: &str,
    to: &ServerDatabase,
    who: &Who,
) -> Result<(Vec<Arc<Database>>, Vec<String>), Report> {
    let database = known(hub, name)?;
    let from = configured_place(hub, &database);
    let mut reroutes = hub.gates.reroutes();
    let places = match reroutes.iter().position(|one| one.from.contains(&from)) {
        Some(at) => reroutes.remove(at).from,
        None => {
            let mut places: Vec<_> = siblings(hub, &database).iter().map(|one| configured_place(hub, one)).collect();
            places.push(from);
            places.sort();
            places.dedup();
            places
        }
    };
    let led: Vec<_> =
        hub.databases.all().into_iter().filter(|one| places.contains(&configured_place(hub, one))).collect();
    if !places.contains(to) {
        let (to, who, since) = (to.clone(), who.clone(), jiff::Timestamp::now());
        reroutes.push(Reroute { from: places, to, writable: true, message: None, who, since });
    }
    know_settings(hub, to).await;
    Ok((led, put_in_force(hub, reroutes).await?))
}

/// Waits until nobody but operators is on the database that those names have led to before; ends who is still there after a time.
pub async fn leave(hub: &Arc<Hub>, databases: &[Arc<Database>], timeout: Duration) {
    super::leave(hub, databases, timeout).await;
}
