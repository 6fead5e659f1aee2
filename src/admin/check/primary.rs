//! What only the primary knows: who has what open on it, past this proxy too.

use std::collections::HashSet;
use std::time::Duration;

use super::Findings;
use crate::admin::show::seen::Seen;
use crate::config::show_duration;
use crate::proxy::setup::monitor_login;
use crate::server::own_query::Row;
use crate::shared::{Database, ProxyState};
use crate::sql::own_statements::servers;
use crate::topology::Upstream;

/// Sessions that are looked at, those with the oldest transactions first.
const MOST: usize = 500;

/// Asks the primary, number `at` of its cluster, and judges.
pub(super) async fn check(proxy: &ProxyState, database: &Database, at: usize, seen: &Seen, findings: &mut Findings) {
    let rows = match ask(proxy, database, at).await {
        Ok(rows) => rows,
        Err(error) => {
            findings.fail(
                "primary answers",
                format!("the monitor cannot ask it: {error}"),
                "Let monitor_user log in to it: MAINTENANCE ON asks it for its position in the same way.",
            );
            return;
        }
    };
    let ours = our_pids(proxy, database, at, seen);
    let facts = Facts::read(&rows, &ours);
    findings.ok("primary answers", format!("PostgreSQL {}", facts.version));
    rights(&facts, proxy.fleet.get().is_some(), findings);
    transactions(database, &facts, findings);
    foreign(&facts, findings);
    prepared(&facts, findings);
}

/// In a fleet it ends, too, what a member that has gone has left at work.
fn rights(facts: &Facts, in_fleet: bool, findings: &mut Findings) {
    const CHECK: &str = "monitor's rights";
    let user = &facts.user;
    if facts.sees_all {
        findings.ok(CHECK, format!("\"{user}\" sees the activity of all"));
    } else {
        findings.warn(
            CHECK,
            format!("\"{user}\" does not see the activity of others: what follows is incomplete"),
            "GRANT pg_monitor to it.",
        );
    }
    if in_fleet && facts.may_signal {
        findings.ok(CHECK, format!("\"{user}\" may end what a member that has gone has left at work"));
    } else if in_fleet {
        findings.fail(
            CHECK,
            format!("\"{user}\" may not end what a member that has gone has left at work: a flip would wait for it"),
            "GRANT pg_signal_backend to it: a fleet needs that.",
        );
    }
}

fn transactions(database: &Database, facts: &Facts, findings: &mut Findings) {
    let patience = database.setup().settings.maintenance.drain_timeout;
    let open = || facts.sessions.iter().filter_map(|session| Some((session, session.open?)));
    match open().max_by_key(|(_, age)| *age) {
        None => findings.ok("longest transaction", "none is open"),
        Some((session, age)) if age <= patience => findings.ok("longest transaction", session.words()),
        Some((session, _)) => findings.warn(
            "longest transaction",
            format!("{}, longer than drain_timeout ({})", session.words(), show_duration(patience)),
            "MAINTENANCE ON waits for it if it has written or runs a statement, a migration of its tables in any case: end it first.",
        ),
    }
    // Half of the patience: what has run that long may well run as long again.
    let long = |age: Duration| age > patience / 2;
    let writers: Vec<_> = open().filter(|(one, age)| one.writes && long(*age)).map(|(one, _)| one.words()).collect();
    findings.warn_of(
        "long writers",
        &writers,
        "none",
        "MAINTENANCE ON waits for them up to drain_timeout: let them end first.",
    );
    let locks: Vec<_> = open().filter(|(one, _)| one.strong_locks).map(|(one, _)| one.words()).collect();
    findings.warn_of(
        "DDL under way",
        &locks,
        "none",
        "Let it end first: it holds locks that readers may queue behind, and MAINTENANCE ON waits for it.",
    );
}

fn foreign(facts: &Facts, findings: &mut Findings) {
    let others = || facts.sessions.iter().filter(|session| !session.ours);
    let writers: Vec<_> =
        others().filter(|one| one.writes).map(Session::words).chain(facts.workers.iter().cloned()).collect();
    findings.warn_of("foreign writers", &writers, "none", "The gate does not stop them: stop them yourself.");
    let users: std::collections::BTreeSet<_> =
        others().map(|one| format!("user \"{}\", application \"{}\"", one.user, one.application)).collect();
    let users: Vec<_> = users.into_iter().collect();
    findings.warn_of(
        "sessions past pgsluice",
        &users,
        "none",
        "Have them connect through pgsluice, or see that they only read.",
    );
}

fn prepared(facts: &Facts, findings: &mut Findings) {
    findings.warn_of(
        "prepared transactions",
        &facts.prepared,
        "none",
        "COMMIT PREPARED or ROLLBACK PREPARED them first: in maintenance both are refused.",
    );
    match facts.most_prepared.as_str() {
        "0" => findings.ok("max_prepared_transactions", "0: none can be made"),
        most => findings.ok(
            "max_prepared_transactions",
            format!("{most}: whoever uses two-phase commit is refused PREPARE TRANSACTION in maintenance"),
        ),
    }
}

/// What the primary told.
#[derive(Default)]
struct Facts {
    version: String,
    user: String,
    sees_all: bool,
    may_signal: bool,
    most_prepared: String,
    sessions: Vec<Session>,
    workers: Vec<String>,
    prepared: Vec<String>,
}

#[expect(clippy::struct_excessive_bools, reason = "to become enums with a lifetime")]
struct Session {
    pid: String,
    user: String,
    application: String,
    address: String,
    state: String,
    /// How long its transaction is open.
    open: Option<Duration>,
    writes: bool,
    strong_locks: bool,
    ours: bool,
}

impl Session {
    fn words(&self) -> String {
        let way = if self.ours { "through pgsluice" } else { "past pgsluice" };
        let open = self.open.map(|age| format!(", open for {} s", age.as_secs())).unwrap_or_default();
        format!(
            "pid {} of user \"{}\", application \"{}\", from {}, {way}{open}, {}",
            self.pid, self.user, self.application, self.address, self.state
        )
    }
}

impl Facts {
    fn read(rows: &[Row], ours: &HashSet<u32>) -> Self {
        let mut facts = Self::default();
        for row in rows {
            let field = |at: usize| row.get(at).cloned().flatten().unwrap_or_default();
            match field(0).as_str() {
                "server" => {
                    (facts.version, facts.user) = (field(1), field(2));
                    (facts.sees_all, facts.most_prepared) = (field(3) == "true", field(4));
                    facts.may_signal = field(5) == "true";
                }
                "session" => facts.sessions.push(Session {
                    ours: field(1).parse().is_ok_and(|pid| ours.contains(&pid)),
                    pid: field(1),
                    user: field(2),
                    application: field(3),
                    address: field(4),
                    open: field(5).parse().ok().and_then(|age: f64| Duration::try_from_secs_f64(age).ok()),
                    state: field(6),
                    writes: field(7) == "true",
                    strong_locks: field(8) == "true",
                }),
                "worker" => facts.workers.push(format!("{} with pid {}", field(2), field(1))),
                "prepared" => {
                    facts.prepared.push(format!("'{}' of user \"{}\", {} s old", field(1), field(2), field(5)))
                }
                _ => {}
            }
        }
        facts
    }
}

/// Processes of this primary that serve this proxy: pools, the monitor, and whatever else asks it. Other clusters may lead to the
/// same server.
fn our_pids(proxy: &ProxyState, database: &Database, at: usize, seen: &Seen) -> HashSet<u32> {
    let cluster = database.setup().cluster.clone();
    let Some(primary) = cluster.upstreams.get(at) else { return HashSet::new() };
    let words = primary.instance().map(|known| known.words);
    let is_it = |one: &&Upstream| {
        one.address == primary.address || words.is_some() && one.instance().map(|known| known.words) == words
    };
    let mut pids: HashSet<u32> = HashSet::new();
    for cluster in proxy.databases.clusters() {
        pids.extend(cluster.upstreams.iter().filter(is_it).flat_map(|one| one.own_processes().pids()));
    }
    // A connection of before a RELOAD, to a server that had another address then.
    let same = |name: &str| {
        proxy.databases.get(name).is_some_and(|other| std::sync::Arc::ptr_eq(&other.setup().cluster, &cluster))
    };
    let held = seen.clients.iter().filter_map(|client| client.server.as_ref());
    pids.extend(held.filter(|held| held.pool.upstream == at && same(&held.pool.database)).map(|held| held.facts.pid));
    pids
}

async fn ask(proxy: &ProxyState, database: &Database, at: usize) -> Result<Vec<Row>, String> {
    let setup = database.setup();
    let (_, tls) = proxy.databases.cluster(&setup.cluster.name).ok_or("the cluster is gone")?;
    let login = monitor_login(&proxy.setup.load(), &setup.cluster, tls, at).ok_or("no way to log in")?;
    let sql = servers::check(setup.settings.server_dbname(&database.name), MOST);
    let mut fresh = login.run(&[]).await.map_err(|error| error.to_string())?;
    let rows = tokio::time::timeout(login.timeout, fresh.rows(&sql)).await;
    rows.map_err(|_| "it does not answer".to_owned())?.map_err(|error| error.to_string())
}
