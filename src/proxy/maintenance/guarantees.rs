//! What in a database a closed gate depends on beyond the gate itself: the setting by which the server counts changed rows, and login
//! event triggers, which run at each log-in of a server connection.
//!
//! Without the setting whatever has a transaction id is taken for a write, so that nothing hides. Where login event triggers may
//! write, server connections are opened ahead of the flip, and none while the gate is closed (`server/pool/log_ins.rs`).

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::catalog;
use crate::auth::Secret;
use crate::server::KindTag;
use crate::server::own_query::Row;
use crate::server::pool::Exempt;
use crate::shared::maintenance::catalog_state::CatalogState;
use crate::shared::{Database, ProxyState};
use crate::sql::hidden_writers::HiddenWriters;

/// Roles for which a server connection is opened ahead of the flip though they have no pool.
const MOST_ROLES: usize = 32;
/// How long log-ins ahead of the flip may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A login event trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginTrigger {
    /// Its name and its function's, for people.
    pub words: String,
    oid: u32,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Guarantees {
    /// Where `track_counts` is off.
    pub uncounted: Vec<String>,
    /// Login event triggers.
    pub triggers: Vec<LoginTrigger>,
    exempt: Exempt,
    /// The monitor's own log-ins run them.
    monitor_runs: bool,
}

impl Guarantees {
    /// What the rows of `GUARANTEES` say.
    pub(in crate::proxy) fn read(rows: &[Row]) -> Self {
        let mut found = Self::default();
        for row in rows {
            let field = |at: usize| row.get(at).cloned().flatten();
            let words = field(1);
            match (field(0).as_deref(), words) {
                (Some("setting"), Some(words)) => found.uncounted.push(words),
                (Some("silent"), None) => found.exempt.all = true,
                (Some("silent"), Some(role)) => _ = found.exempt.roles.insert(role),
                (Some("superuser"), Some(role)) => _ = found.exempt.superusers.insert(role),
                (Some("runs"), runs) => found.monitor_runs = runs.as_deref() == Some("on"),
                (Some("trigger"), Some(words)) => {
                    let oid = field(2).and_then(|oid| oid.parse().ok()).unwrap_or_default();
                    found.triggers.push(LoginTrigger { words, oid });
                }
                _ => {}
            }
        }
        found
    }

    /// The triggers that may write, as far as the catalog is known.
    pub fn writing(&self, unseen: Option<&HiddenWriters>) -> Vec<String> {
        let may_write = |one: &&LoginTrigger| unseen.is_none_or(|unseen| unseen.may_write(one.oid));
        self.triggers.iter().filter(may_write).map(|one| one.words.clone()).collect()
    }

    /// Why nothing can be promised of a closed gate, given the triggers that may write.
    pub fn reasons(&self, writing: &[String]) -> Vec<String> {
        if writing.is_empty() || !self.monitor_runs {
            return Vec::new();
        }
        let list = writing.join(", ");
        vec![format!("the log-ins of monitor_user run login event triggers that may write: {list}")]
    }

    /// What a person is told of a gate that closes all the same.
    pub fn warnings(&self, writing: &[String]) -> Vec<String> {
        let mut all = Vec::new();
        if !self.uncounted.is_empty() {
            all.push(format!(
                "changed rows are not counted ({}), so whatever takes a transaction id is refused there",
                self.uncounted.join(", ")
            ));
        }
        if !writing.is_empty() {
            all.push(format!(
                "login event triggers may write ({}), so no server connection is opened until the gate opens; \
                 those that are there are shared",
                writing.join(", ")
            ));
        }
        all
    }
}

/// Asks the primary; the triggers that may write come with it. None: there is no primary.
///
/// # Errors
/// It cannot be asked, and why.
pub async fn look(proxy: &ProxyState, database: &Database) -> Result<Option<(Guarantees, Vec<String>)>, String> {
    let Some(at) = database.setup().cluster.primary() else { return Ok(None) };
    let found = catalog::guarantees(proxy, database, at).await?;
    let writing = if found.triggers.is_empty() {
        Vec::new()
    } else {
        found.writing(Some(&catalog::look(proxy, database).await?))
    };
    Ok(Some((found, writing)))
}

/// Why what is promised of a closed gate cannot be kept; empty too where nobody can be asked, for then nobody can write either.
pub(in crate::proxy) async fn reasons(proxy: &ProxyState, database: &Database) -> Vec<String> {
    let setup = database.setup();
    let version = setup.cluster.primary().and_then(|at| setup.cluster.upstreams.get(at)).map_or(0, |one| one.version());
    if version < catalog::HAS_LOGIN_TRIGGERS {
        return Vec::new();
    }
    match look(proxy, database).await {
        Ok(found) => found.map(|(found, writing)| found.reasons(&writing)).unwrap_or_default(),
        Err(why) => {
            tracing::warn!(event = "login_triggers_unknown", database = %database.name, "it cannot be asked for login event triggers: {why}");
            Vec::new()
        }
    }
}

/// What a person who has closed a gate is told of its database, behind a warning that there may be already.
pub(in crate::proxy) async fn with_warnings(
    proxy: &ProxyState,
    database: &Database,
    warning: Option<String>,
) -> Option<String> {
    let at = database.setup().cluster.primary()?;
    let found = catalog::guarantees(proxy, database, at).await.unwrap_or_default();
    let writing = match &**database.catalog.known() {
        CatalogState::Known(unseen) => found.writing(Some(unseen)),
        _ => found.writing(None),
    };
    let all: Vec<String> = warning.into_iter().chain(found.warnings(&writing)).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// When the catalog was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum When {
    /// The gate is about to close.
    AheadOfFlip,
    /// It has closed.
    Closed,
}

/// The catalog has been read: from now on pools log in only where no trigger may write. While the gate is still open they are let in
/// first.
pub(in crate::proxy) async fn hold_log_ins(
    proxy: &Arc<ProxyState>,
    database: &Arc<Database>,
    found: &Guarantees,
    read: Option<&HiddenWriters>,
    when: When,
) {
    let writing = match (read, &**database.catalog.known()) {
        (Some(unseen), _) => found.writing(Some(unseen)),
        (None, CatalogState::Known(unseen)) => found.writing(Some(unseen)),
        (None, _) => found.writing(None),
    };
    let names = proxy.databases.of_gate(&database.gate);
    let is_closed = || database.gate.state().mode.reports_read_only();
    if writing.is_empty() || when == When::Closed && !is_closed() {
        let_all_log_in(&names);
        return;
    }
    if !database.log_ins.is_up() {
        if when == When::AheadOfFlip && !is_closed() {
            for one in &names {
                let _ = timeout(PATIENCE, let_in(proxy, one)).await;
            }
        }
        let triggers = writing.join(", ");
        tracing::warn!(event = "login_triggers", database = %database.name, triggers, "login event triggers may write: no log-in until the gate opens");
    }
    names.iter().for_each(|one| one.log_ins.raise(found.exempt.clone()));
    if when == When::Closed && !is_closed() {
        // It has opened meanwhile, perhaps before this was raised.
        let_all_log_in(&names);
        return;
    }
    // What was let in before has to be in before the gate closes.
    let ready = async {
        while names.iter().flat_map(|one| one.pools()).any(|pool| pool.is_barred() && pool.is_opening()) {
            sleep(Duration::from_millis(2)).await;
        }
    };
    let _ = timeout(PATIENCE, ready).await;
}

/// The gate is open, or no trigger may write: whoever waits for a server connection may open one.
pub(in crate::proxy) fn let_all_log_in(names: &[Arc<Database>]) {
    let held = names.iter().filter(|one| one.log_ins.lower());
    held.flat_map(|one| one.pools()).for_each(|pool| pool.serve());
}

/// Opens a server connection for each role that has none.
async fn let_in(proxy: &Arc<ProxyState>, database: &Arc<Database>) {
    let Some(at) = database.setup().cluster.primary() else { return };
    let setup = proxy.setup.load_full();
    let listed = setup.userlist.users().filter(|user| !setup.config.auth.operators.iter().any(|name| **name == **user));
    for user in listed.take(MOST_ROLES) {
        let credential = setup.userlist.get(user).filter(|secret| matches!(secret, Secret::Plain(_) | Secret::Md5(_)));
        if let Some(credential) = credential.map(Secret::credential) {
            let _ = database.pool(&user.into(), at, &credential);
        }
    }
    let pools: Vec<_> = database.pools().into_iter().filter(|pool| pool.upstream == at && !pool.is_open()).collect();
    // Opened on a core: its reactor has to know the socket.
    proxy
        .on_core(0, move |_| {
            for pool in pools {
                tokio::task::spawn_local(async move { _ = pool.warm(1, KindTag::Unguarded, 0).await });
            }
        })
        .await;
    let opening = || database.pools().iter().any(|pool| pool.is_opening());
    sleep(Duration::from_millis(2)).await;
    while opening() {
        sleep(Duration::from_millis(2)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read() {
        let row = |fields: &[Option<&str>]| fields.iter().map(|text| text.map(str::to_owned)).collect::<Row>();
        let rows = [
            row(&[Some("setting"), Some("track_counts=off in database \"app\""), None]),
            row(&[Some("silent"), Some("quiet"), None]),
            row(&[Some("superuser"), Some("dba"), None]),
            row(&[Some("runs"), Some("on"), None]),
            row(&[Some("trigger"), Some("\"noted\" (note())"), Some("20000")]),
        ];
        let found = Guarantees::read(&rows);
        assert_eq!(found.uncounted.len(), 1);
        assert!(found.exempt.roles.contains("quiet") && found.exempt.superusers.contains("dba") && !found.exempt.all);
        // What nobody has read may do anything.
        assert_eq!(found.writing(None), ["\"noted\" (note())"]);
        assert!(found.writing(Some(&HiddenWriters::default())).is_empty());
        assert_eq!(found.reasons(&found.writing(None)).len(), 1);
        assert!(found.reasons(&[]).is_empty());
    }
}
