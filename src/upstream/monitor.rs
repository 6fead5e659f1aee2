//! One connection to each upstream that asks it, again and again, what it is and how far it has come.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::cluster::{Cluster, Look, Role};
use super::login::{Fresh, Login, LoginError};
use crate::gate::Lsn;
use crate::sql::own_statements::servers::LOOK;

/// Watches upstream number `at` of a cluster; never ends by itself.
pub async fn watch(cluster: Arc<Cluster>, at: usize, login: Login, interval: Duration) {
    let Some(upstream) = cluster.upstreams.get(at) else { return };
    let mut connection: Option<Fresh> = None;
    loop {
        match look(&mut connection, &login).await {
            Ok(look) => cluster.seen(at, &look),
            Err(error) => {
                connection = None;
                cluster.lost(at, &error.to_string());
            }
        }
        tokio::select! {
            () = sleep(interval) => {}
            // A floor under it: a storm of requests must not become a storm of queries.
            () = async { upstream.hurry.notified().await; sleep(Duration::from_millis(10)).await } => {}
        }
    }
}

async fn look(connection: &mut Option<Fresh>, login: &Login) -> Result<Look, LoginError> {
    let fresh = match connection {
        Some(fresh) => fresh,
        None => connection.insert(login.run(&[]).await?),
    };
    let rows = timeout(login.timeout, fresh.rows(LOOK)).await.map_err(|_| LoginError::Timeout(login.timeout))??;
    let row = rows.into_iter().next().unwrap_or_default();
    let field = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
    Ok(Look {
        role: if field(0) == "t" { Role::Replica } else { Role::Primary },
        lsn: field(1).parse::<Lsn>().unwrap_or(Lsn(0)),
        lag: Duration::try_from_secs_f64(field(2).parse().unwrap_or(0.0)).unwrap_or_default(),
        version: field(3).parse().unwrap_or(0),
        read_only: field(4) == "on",
    })
}
