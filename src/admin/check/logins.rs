//! Whether each server lets in the roles that have pools: what serves on the primary may be refused on a replica.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Findings, some};
use crate::auth::Credential;
use crate::protocol::frontend;
use crate::server::login::Fresh;
use crate::shared::Database;
use crate::topology::Role;

/// Roles that are tried; a log-in takes some milliseconds.
const MOST: usize = 50;
/// How long a server may take to close a connection.
const PATIENCE: Duration = Duration::from_secs(1);

/// Says goodbye and waits until the server has closed: it must not be taken for somebody's who connects past the proxy.
async fn leave(mut fresh: Fresh) {
    let mut bye = Vec::new();
    frontend::write_terminate(&mut bye);
    let gone = async {
        fresh.stream.write_all(&bye).await?;
        loop {
            fresh.stream.read_some(&mut bye, 64).await?;
        }
    };
    let _: Result<std::io::Result<()>, _> = tokio::time::timeout(PATIENCE, gone).await;
}

/// Logs in to each server that is up, as pools would, and says who is refused.
pub(super) async fn check(database: &Database, findings: &mut Findings) {
    const CHECK: &str = "log-ins";
    if database.log_ins.is_up() {
        findings.warn(CHECK, "none tried: login event triggers may write", "Try with the gate open.");
        return;
    }
    let users: BTreeMap<Arc<str>, Credential> =
        database.pools().iter().map(|pool| (pool.user.clone(), pool.login().credential.get())).collect();
    let cluster = database.setup().cluster.clone();
    let (mut refused, mut tried) = (Vec::new(), 0);
    for (at, upstream) in cluster.upstreams.iter().enumerate() {
        if !matches!(upstream.role(), Role::Primary | Role::Replica) {
            continue;
        }
        for (user, credential) in users.iter().take(MOST) {
            let Some(pool) = database.pool(user, at, credential) else { continue };
            tried += 1;
            match pool.login().run(&[("default_transaction_read_only", "on")]).await {
                Ok(fresh) => leave(fresh).await,
                Err(error) => refused.push(format!("{} refuses \"{user}\": {error}", upstream.address)),
            }
        }
    }
    match (&*refused, tried) {
        ([], 0) => findings.ok(CHECK, "no client has logged in yet, so that there is no role to try"),
        ([], tried) => findings.ok(CHECK, format!("{tried} tried, none refused")),
        (refused, _) => findings.warn(
            CHECK,
            some(refused),
            "Let the role log in there (pg_hba.conf, CONNECTION LIMIT, max_connections): reads go elsewhere until then.",
        ),
    }
}
