//! Certificates that are about to expire are told of in time, and those that are renewed on disk are read again.
//!
//! New connections use the renewed ones; those that are there stay as they are. What cannot be used leaves the old ones in use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::interval;

use super::setup::{client_tls, server_tls};
use crate::config::Config;
use crate::events::{Event, Kind, publish};
use crate::shared::{Control, ProxyState, Setup};
use crate::tls::expiry::{self, Expiry};
use crate::tls::{FileWatch, ServerTls, TlsError, TlsFiles as _};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(60);
/// Between two events about the same file.
const PAUSE: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked whether files hold something else: what has changed counts at the second look that finds it so.
const LOOK_FOR_CHANGES: Duration = Duration::from_secs(2);
/// How long ahead.
const AHEAD_MS: i64 = 14 * 24 * 3_600_000;

/// Looks at them until the task is aborted.
pub async fn watch(proxy: Arc<ProxyState>) {
    tokio::join!(watch_expiry(&proxy), watch_changes(&proxy));
}

async fn watch_expiry(proxy: &ProxyState) {
    let mut tick = interval(LOOK);
    loop {
        tick.tick().await;
        let files = files(&proxy.setup.load().config);
        let look = |path: PathBuf| expiry::of_file(&path).ok().flatten().map(|expiry| (path, expiry));
        let looked = tokio::task::spawn_blocking(move || files.into_iter().filter_map(look).collect::<Vec<_>>());
        for (path, expiry) in looked.await.unwrap_or_default() {
            tell(proxy, &path, &expiry);
        }
    }
}

/// Those that we show to others.
fn files(config: &Config) -> BTreeSet<PathBuf> {
    let ours = config.client_tls.client_tls_cert_file.iter();
    let to_servers = config.clusters.values().filter_map(|cluster| cluster.server_tls.server_tls_cert_file.as_ref());
    ours.chain(to_servers).cloned().collect()
}

fn tell(proxy: &ProxyState, path: &Path, expiry: &Expiry) {
    let Ok(not_after) = Timestamp::from_second(expiry.not_after) else { return };
    let left = not_after.as_millisecond() - Timestamp::now().as_millisecond();
    let name = format!("{} {}", path.display(), expiry.not_after);
    if left > AHEAD_MS || proxy.events.is_time_for(Kind::CertificateExpires, &name, PAUSE).is_none() {
        return;
    }
    let text = if left > 0 { "a certificate expires soon" } else { "a certificate has expired" };
    let event = Event::new(Kind::CertificateExpires, text);
    let (file, subject) = (path.display().to_string(), expiry.subject.as_str());
    match u64::try_from(left) {
        Ok(left) => {
            publish!(proxy.events, warn, event, file = file, subject = subject, not_after = not_after, left_ms = left)
        }
        Err(_) => publish!(proxy.events, error, event, file = file, subject = subject, not_after = not_after),
    }
}

/// Has files read again that have changed.
async fn watch_changes(proxy: &ProxyState) {
    let mut tick = interval(LOOK_FOR_CHANGES);
    let mut watches: BTreeMap<Option<String>, FileWatch> = BTreeMap::new();
    loop {
        tick.tick().await;
        let setup = proxy.setup.load_full();
        let looked = tokio::task::spawn_blocking(move || {
            let clients = client_tls(&setup.config, setup.rules.is_some());
            let servers: Vec<_> =
                setup.config.clusters.iter().map(|(name, cluster)| (name.clone(), server_tls(cluster))).collect();
            watches.retain(|name, _| name.as_ref().is_none_or(|name| setup.config.clusters.contains_key(name)));
            let mut due = Vec::new();
            let mut look = |name: Option<String>, files: &[&Path]| {
                let watch = watches.entry(name.clone()).or_default();
                if watch.is_due(files) {
                    watch.is_read();
                    due.push(name);
                }
            };
            look(None, &clients.files());
            servers.iter().for_each(|(name, config)| look(Some(name.clone()), &config.files()));
            (watches, due)
        });
        let due;
        (watches, due) = looked.await.unwrap_or_default();
        for of in due {
            let _ = proxy.control.send(Control::Certificates(of)).await;
        }
    }
}

/// Reads those for the servers of a cluster again, or those for clients.
pub(super) fn renew(proxy: &ProxyState, of: Option<&str>) {
    let setup = proxy.setup.load_full();
    let Some(name) = of else {
        let loaded = client_tls(&setup.config, setup.rules.is_some()).load();
        if tell_renewed(proxy, None, loaded.as_ref().err())
            && let Ok(tls) = loaded
        {
            proxy.put_setup(Setup { tls, ..Setup::clone(&setup) });
        }
        return;
    };
    let Some(config) = setup.config.clusters.get(name) else { return };
    let loaded = server_tls(config).load();
    if tell_renewed(proxy, Some(name), loaded.as_ref().err()) {
        use_for_servers(proxy, name, loaded.ok());
    }
}

/// Reads those for all servers again at a RELOAD, which says itself that all is as it should be.
pub(super) fn reload_for_servers(proxy: &ProxyState) {
    for (name, config) in &proxy.setup.load().config.clusters {
        match server_tls(config).load() {
            Ok(newer) => use_for_servers(proxy, name, Some(newer)),
            Err(error) => _ = tell_renewed(proxy, Some(name), Some(&error)),
        }
    }
}

fn use_for_servers(proxy: &ProxyState, name: &str, newer: Option<ServerTls>) {
    if let Some(((_, tls), newer)) = proxy.databases.cluster(name).zip(newer) {
        tls.renew(&newer);
    }
}

fn tell_renewed(proxy: &ProxyState, cluster: Option<&str>, error: Option<&TlsError>) -> bool {
    let about = |event: Event| cluster.map_or(event.clone(), |name| event.about_server(name, None));
    let towards = if cluster.is_some() { "servers" } else { "clients" };
    match error {
        None => {
            let text = "certificates and keys have changed on disk: new connections use them";
            publish!(proxy.events, info, about(Event::new(Kind::CertificateRenewed, text)), towards = towards);
        }
        Some(error) => {
            let text = "certificates or keys on disk cannot be used: what was read before stays in use";
            let event = about(Event::new(Kind::CertificateRefused, text));
            publish!(proxy.events, error, event, towards = towards, error = error.to_string());
        }
    }
    error.is_none()
}
