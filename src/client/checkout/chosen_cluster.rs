//! `SET pgsluice.cluster = 'name'`: on which cluster an operator's session works, wherever the clients are led.
//!
//! An operator's server connection is the session's own, and is opened anew on the other side: what the session has set or made on
//! the one before stays there, as with psql's `\c`.

use std::sync::Arc;

use super::PoolCache;
use crate::client::Session;
use crate::client::errors;
use crate::gate::ServerDatabase;
use crate::protocol::{Report, Severity};
use crate::shared::ProxyState;
use crate::shared::database::DatabaseSetup;
use crate::sql::{Own, SessionEffect, Statement};

/// In the place of a generation: the setup is the one that an operator has chosen.
const CHOSEN: u64 = u64::MAX;

/// What a SET says.
enum Wanted {
    /// DEFAULT, or RESET: where the clients are.
    Default,
    /// This cluster.
    Named(String),
}

/// The value behind `=`: a word, a name in double quotes, or a text.
fn read(value: &[u8]) -> Option<String> {
    let value = str::from_utf8(value).ok()?.trim();
    let within = |mark: char| value.strip_prefix(mark).and_then(|rest| rest.strip_suffix(mark));
    if let Some(text) = within('\'') {
        return Some(text.replace("''", "'"));
    }
    if let Some(name) = within('"') {
        return Some(name.replace("\"\"", "\""));
    }
    let is_word = value.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$'));
    (is_word && !value.is_empty()).then(|| value.to_lowercase())
}

/// What a statement sets it to.
///
/// # Errors
/// 22023: it is no name. 0A000: by another form than SET or RESET.
fn wanted(statement: &Statement, text: &[u8]) -> Result<Wanted, Report> {
    let name = Own::Cluster.name();
    let known = statement.effects.iter().find_map(|effect| match effect {
        SessionEffect::Set { local: true, .. } => None,
        SessionEffect::Set { default: true, .. } | SessionEffect::Reset(_) => Some(Ok(Wanted::Default)),
        SessionEffect::Set { value, .. } => {
            let value = text.get(value.start as usize..value.end as usize).unwrap_or_default();
            let shown = || String::from_utf8_lossy(value).chars().take(80).collect::<String>();
            let invalid = || {
                let report = errors::invalid_value(name, &shown());
                report.with_hint(Some("The name of a cluster of the configuration.".to_owned()))
            };
            Some(read(value).filter(|name| !name.is_empty()).map(Wanted::Named).ok_or_else(invalid))
        }
        _ => None,
    });
    known.unwrap_or_else(|| {
        let report = errors::not_supported(format!("parameter \"{name}\" cannot be set in this way"));
        Err(report.with_hint(Some(format!("SET {name} = 'name', outside of a transaction."))))
    })
}

/// Whether a start-up packet may ask for that cluster.
///
/// # Errors
/// FATAL 42501: it is no operator's. FATAL 42704: there is no such cluster.
pub(in crate::client) fn may_choose_cluster(
    proxy: &ProxyState,
    operator: bool,
    name: Option<&str>,
) -> Result<(), Report> {
    let Some(name) = name else { return Ok(()) };
    let refusal = match proxy.databases.cluster(name) {
        _ if !operator => denied(),
        None => errors::no_such_cluster(name),
        Some(_) => return Ok(()),
    };
    Err(Report { severity: Severity::Fatal, ..refusal })
}

fn denied() -> Report {
    let report = errors::parameter_not_permitted(Own::Cluster.name());
    report.with_detail(Some("Only operators choose a cluster.".to_owned()))
}

impl PoolCache {
    /// What an operator has chosen.
    fn chosen(&self) -> Option<&Arc<DatabaseSetup>> {
        self.setup.as_ref().filter(|_| self.generation == CHOSEN)
    }
}

impl Session {
    /// The name of the cluster on which the session works.
    pub(in crate::client) fn cluster_name(&self) -> String {
        let bound = || self.checkout.pools.setup.as_ref().filter(|_| self.lease.is_operator());
        match self.checkout.pools.chosen().or_else(bound) {
            Some(setup) => setup.cluster.name.clone(),
            None => self.db.peek_setup().cluster.name.clone(),
        }
    }

    /// Whether its server connection is on another cluster than the clients are.
    pub(in crate::client) fn works_elsewhere(&self) -> bool {
        let there = self.db.peek_setup();
        self.checkout.pools.setup.as_ref().is_some_and(|setup| setup.cluster.name != there.cluster.name)
    }

    /// Whether an operator has chosen a cluster, and its setup.
    pub(in crate::client) fn chosen_setup(&mut self) -> Result<Option<Arc<DatabaseSetup>>, Report> {
        let Some(chosen) = self.checkout.pools.chosen() else { return Ok(None) };
        if chosen.cluster.is_retired() {
            // A RELOAD has put another one in its place.
            let name = chosen.cluster.name.clone();
            self.choose(self.setup_on(&name)?);
        }
        Ok(self.checkout.pools.chosen().cloned())
    }

    fn choose(&mut self, setup: Arc<DatabaseSetup>) {
        self.checkout.pools = PoolCache { generation: CHOSEN, setup: Some(setup), by_upstream: Box::default() };
    }

    /// Carries out a SET or RESET, between transactions.
    pub(in crate::client) fn set_cluster(&mut self, statement: &Statement, text: &[u8]) -> Result<(), Report> {
        match wanted(statement, text)? {
            Wanted::Default => self.choose_cluster(None),
            Wanted::Named(name) => self.choose_cluster(Some(&name)),
        }
    }

    /// Works on that cluster from now on; None: where the clients are.
    ///
    /// # Errors
    /// 42501: it is no operator's session. 42704: there is no such cluster.
    pub(in crate::client) fn choose_cluster(&mut self, name: Option<&str>) -> Result<(), Report> {
        if !self.me.operator {
            return Err(denied());
        }
        let setup = name.map(|name| self.setup_on(name)).transpose()?;
        let to = setup.clone().unwrap_or_else(|| self.db.setup());
        let now = self.checkout.pools.setup.as_ref();
        let same = |now: &Arc<DatabaseSetup>| {
            Arc::ptr_eq(&now.cluster, &to.cluster) && now.settings.dbname == to.settings.dbname
        };
        let stays = now.is_some_and(same);
        if !stays {
            self.close_lease();
            self.bindings.unbind();
            self.me.pinned.set(self.bindings.pins().word());
        }
        match setup {
            Some(setup) => self.choose(setup),
            None if stays && !self.lease.is_none() => {
                self.checkout.pools.generation = self.db.generation();
                self.checkout.pools.by_upstream = Box::default();
            }
            None => self.checkout.pools = PoolCache::default(),
        }
        Ok(())
    }

    /// The session's database on a cluster: as it is called there, where clients are led there or away from there.
    fn setup_on(&self, name: &str) -> Result<Arc<DatabaseSetup>, Report> {
        let proxy = &self.core.proxy;
        let Some((cluster, tls)) = proxy.databases.cluster(name) else {
            return Err(errors::no_such_cluster(name));
        };
        let now = self.db.setup();
        let here = ServerDatabase {
            cluster: now.cluster.name.clone(),
            dbname: now.settings.server_dbname(&self.db.name).to_owned(),
        };
        let configured = proxy.setup.load().configured(&self.db.name, &here);
        let reroutes = proxy.gates.reroutes();
        let led = reroutes
            .iter()
            .filter(|one| one.from.contains(&configured))
            .flat_map(|one| one.from.iter().chain([&one.to]));
        let known = led.chain([&here, &configured]).find(|place| place.cluster == name);
        let dbname = known.map_or(configured.dbname.clone(), |place| place.dbname.clone());
        let place = ServerDatabase { cluster: name.to_owned(), dbname };
        let gate = proxy.gates.gate_at(&place).unwrap_or_else(|| now.gate.clone());
        let mut settings = now.settings.clone();
        settings.cluster = place.cluster;
        settings.dbname = place.dbname;
        let last_write = cluster.last_write(&settings.dbname, settings.causal);
        Ok(Arc::new(DatabaseSetup { settings, cluster, tls, gate, opening: now.opening.clone(), last_write }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_they_are_written() {
        for (text, name) in [("'B'", Some("B")), ("b", Some("b")), (" Green ", Some("green")), ("\"B b\"", Some("B b"))]
        {
            assert_eq!(read(text.as_bytes()).as_deref(), name, "{text}");
        }
        for text in ["a, b", "", "a.b", "'a', 'b'x"] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }
}
