//! Ends the connections that a member which has gone left on a primary: what they run is nobody's, and nobody may take that member's
//! silence for its end before.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Context;
use crate::events::{Event, Kind, publish};
use crate::fleet::{Backends, Input, MarkedBackend};
use crate::server::login::Fresh;
use crate::sql::own_statements::servers;

/// How long they may take to end.
const PATIENCE: Duration = Duration::from_secs(4);
/// How often it is looked whether they have.
const LOOK: Duration = Duration::from_millis(20);
/// How much two clocks may disagree over a log-in (seconds).
const TOLERANCE: u64 = 5;

/// Which connections.
pub(super) struct Gone {
    pub(super) id: String,
    pub(super) process: String,
    pub(super) cluster: String,
    pub(super) revision: i64,
}

pub(super) async fn fence(context: Arc<Context>, gone: Gone, backends: Arc<Backends>) {
    let ended = match timeout(PATIENCE * 2, end(&context, &gone.cluster, &backends)).await {
        Ok(ended) => ended,
        Err(_) => Err("the primary does not answer".to_owned()),
    };
    if let Some(proxy) = context.proxy.upgrade() {
        match &ended {
            Ok(0) => {}
            Ok(count) => {
                let event = Event::new(Kind::MemberFenced, "connections of a member that has gone are ended")
                    .about_server(&gone.cluster, None);
                publish!(proxy.events, warn, event, member = gone.id.as_str(), connections = *count);
            }
            Err(why) => tracing::warn!(
                event = "member_not_fenced",
                member = gone.id,
                cluster = gone.cluster,
                error = why,
                "connections of a member that has gone cannot be ended"
            ),
        }
    }
    let Gone { id, process, cluster, revision } = gone;
    context.tell(Input::Fenced { id, process, cluster, revision, done: ended.is_ok() }).await;
}

/// How many were ended; none is left.
async fn end(context: &Context, cluster: &str, backends: &Backends) -> Result<usize, String> {
    let proxy = context.proxy.upgrade().ok_or("the proxy is stopping")?;
    let (cluster, _) = proxy.databases.cluster(cluster).ok_or("there is no such cluster")?;
    let at = cluster.primary().ok_or("no primary is known")?;
    let login = (context.logins)(&cluster, at).ok_or("no way to log in")?;
    let mut fresh = login.run(&[]).await.map_err(|error| error.to_string())?;
    let (mut ended, until) = (BTreeSet::new(), Instant::now() + PATIENCE);
    loop {
        let left = left(&mut fresh, backends).await?;
        if left.is_empty() {
            return Ok(ended.len());
        }
        if Instant::now() > until {
            return Err(format!("{} server processes do not end", left.len()));
        }
        for (pid, started) in left {
            let sql = servers::terminate_if_started(pid, &started);
            fresh.rows(&sql).await.map_err(|error| error.to_string())?;
            ended.insert(pid);
        }
        sleep(LOOK).await;
    }
}

/// Those that are there, with when they began.
async fn left(fresh: &mut Fresh, backends: &Backends) -> Result<Vec<(u32, String)>, String> {
    let marked = fresh.rows(&servers::marked(backends.mark)).await.map_err(|error| error.to_string())?;
    let marked: BTreeSet<u32> =
        marked.into_iter().filter_map(|row| row.into_iter().next().flatten()?.parse().ok()).collect();
    let pids: Vec<u32> = marked.iter().copied().chain(backends.known.iter().map(|one| one.pid)).collect();
    if pids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = fresh.rows(&servers::back_ends(&pids, 0)).await.map_err(|error| error.to_string())?;
    let mut left = Vec::new();
    for row in rows {
        let mut fields = row.into_iter();
        let mut next = || fields.next().flatten();
        let Some(pid) = next().and_then(|pid| pid.parse::<u32>().ok()) else { continue };
        let (user, dbname, _state) = (next().unwrap_or_default(), next().unwrap_or_default(), next());
        let age = next().and_then(|age| age.parse::<u64>().ok());
        let started = next();
        let known = backends.known.iter().any(|one| is_it(one, pid, &user, &dbname, age));
        if marked.contains(&pid) || known {
            let started = started.ok_or("the monitor's role may not see when processes began: it needs pg_monitor")?;
            left.push((pid, started));
        }
    }
    Ok(left)
}

/// Whether a process is that connection's. `age`: microseconds since it began; None: nobody may see it.
fn is_it(one: &MarkedBackend, pid: u32, user: &str, dbname: &str, age: Option<u64>) -> bool {
    if one.pid != pid || one.user != user || one.dbname != dbname {
        return false;
    }
    let Some(age) = age else { return true };
    let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap_or(0);
    now.saturating_sub(age / 1_000_000).abs_diff(one.began) <= TOLERANCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_with_the_same_number_is_left_alone() {
        let now = u64::try_from(jiff::Timestamp::now().as_second()).unwrap();
        let one = MarkedBackend { pid: 7, began: now - 100, user: "app".into(), dbname: "db".into() };
        let age = |seconds: u64| Some(seconds * 1_000_000);
        assert!(is_it(&one, 7, "app", "db", age(101)));
        assert!(is_it(&one, 7, "app", "db", None));
        assert!(!is_it(&one, 7, "app", "db", age(3)), "it began later");
        assert!(!is_it(&one, 7, "app", "other", age(100)) && !is_it(&one, 7, "x", "db", age(100)));
        assert!(!is_it(&one, 8, "app", "db", age(100)));
    }
}
