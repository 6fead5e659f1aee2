//! PAUSE: no new transaction begins, and server connections close as they come back. Asked for on the console or by SIGUSR1.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::server_changes::choose_again;
use crate::shared::{Client, Database, ProxyState};

/// How often it is looked whether server connections have come back.
const LOOK: Duration = Duration::from_millis(20);

/// Closes the server connections of these databases, which are paused, and returns once all are closed, or the pause is over.
pub async fn close_all(proxy: &ProxyState, databases: &[Arc<Database>]) {
    // Nobody who waits is served any more; the place of who is just opening a connection comes back at once.
    choose_again(proxy, databases.to_vec()).await;
    while databases.iter().any(|database| database.is_paused()) {
        let mut open = 0;
        for pool in databases.iter().flat_map(|database| database.pools()) {
            pool.close_idle("pause mode", |_| true);
            open += pool.counts().open;
        }
        if open == 0 || open <= operators(proxy, databases).await {
            return;
        }
        sleep(LOOK).await;
    }
}

/// Server connections that operators have: nobody waits for those.
async fn operators(proxy: &ProxyState, databases: &[Arc<Database>]) -> usize {
    let databases = databases.to_vec();
    let counts = proxy.on_every_core(move |core| {
        let clients = core.clients();
        let busy = clients.iter().filter(|client| client.operator && client.cancel.borrow().is_some());
        busy.filter(|client| is_of(client, &databases)).count()
    });
    counts.await.into_iter().sum()
}

fn is_of(client: &Client, databases: &[Arc<Database>]) -> bool {
    client.database.as_ref().is_some_and(|own| databases.iter().any(|database| Arc::ptr_eq(database, own)))
}

/// SIGUSR1.
pub(super) fn pause_by_signal(proxy: &Arc<ProxyState>) {
    proxy.databases.pause_all();
    tracing::warn!(event = "pause", signal = "SIGUSR1", "all databases are paused");
    let proxy = proxy.clone();
    tokio::spawn(async move { close_all(&proxy, &proxy.databases.all()).await });
}

/// SIGUSR2.
pub(super) fn resume_by_signal(proxy: &Arc<ProxyState>) {
    if !proxy.databases.resume_all() {
        tracing::warn!(event = "resume", signal = "SIGUSR2", "nothing is paused");
        return;
    }
    tracing::warn!(event = "resume", signal = "SIGUSR2", "all databases go on");
    let proxy = proxy.clone();
    tokio::spawn(async move { choose_again(&proxy, proxy.databases.all()).await });
}
