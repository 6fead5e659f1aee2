//! A move leads the clients of a database elsewhere, as REROUTE does: it has the database for itself, and has looked before.

use std::sync::Arc;
use std::time::Duration;

use super::{configured_place, know_settings, known, put_in_force, siblings};
use crate::gate::{Reroute, ServerDatabase, Who};
use crate::protocol::Report;
use crate::shared::{Database, ProxyState};

/// Has every name of a database lead there from now on. That it does is on disk first, and it can be said twice. Gives the names, and
/// what a person should know.
///
/// # Errors
/// It could not be saved, and nothing has changed; or the process is stopping.
pub async fn lead(
    proxy: &Arc<ProxyState>,
    name: &str,
    to: &ServerDatabase,
    who: &Who,
) -> Result<(Vec<Arc<Database>>, Vec<String>), Report> {
    let database = known(proxy, name)?;
    let from = configured_place(proxy, &database);
    let mut reroutes = proxy.gates.reroutes();
    let places = match reroutes.iter().position(|one| one.from.contains(&from)) {
        Some(at) => reroutes.remove(at).from,
        None => {
            let mut places: Vec<_> =
                siblings(proxy, &database).iter().map(|one| configured_place(proxy, one)).collect();
            places.push(from);
            places.sort();
            places.dedup();
            places
        }
    };
    let led: Vec<_> =
        proxy.databases.all().into_iter().filter(|one| places.contains(&configured_place(proxy, one))).collect();
    if !places.contains(to) {
        let (to, who, since) = (to.clone(), who.clone(), jiff::Timestamp::now());
        reroutes.push(Reroute { from: places, to, writable: true, message: None, who, since });
    }
    know_settings(proxy, to).await;
    Ok((led, put_in_force(proxy, reroutes).await?))
}

/// Waits until nobody but operators is on the database that those names have led to before; ends who is still there after a time.
pub async fn leave(proxy: &Arc<ProxyState>, databases: &[Arc<Database>], timeout: Duration) {
    super::leave(proxy, databases, timeout).await;
}
