//! Certificates that are about to expire are told of in time.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::interval;

use crate::config::Config;
use crate::events::{Event, Kind, publish};
use crate::shared::Hub;
use crate::tls::expiry::{self, Expiry};

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(60);
/// Between two events about the same file.
const PAUSE: Duration = Duration::from_secs(24 * 3600);
/// How long ahead.
const AHEAD_MS: i64 = 30 * 24 * 3_600_000;

/// Looks at them until the task is aborted.
pub async fn watch(hub: Arc<Hub>) {
    let mut tick = interval(LOOK);
    loop {
        tick.tick().await;
        let files = files(&hub.setup.load().config);
        let look = |path: PathBuf| expiry::of_file(&path).ok().flatten().map(|expiry| (path, expiry));
        let looked = tokio::task::spawn_blocking(move || files.into_iter().filter_map(look).collect::<Vec<_>>());
        for (path, expiry) in looked.await.unwrap_or_default() {
            tell(&hub, &path, &expiry);
        }
    }
}

/// Those that we show to others.
fn files(config: &Config) -> BTreeSet<PathBuf> {
    let ours = config.client_tls.client_tls_cert_file.iter();
    let to_servers = config.clusters.values().filter_map(|cluster| cluster.server_tls.server_tls_cert_file.as_ref());
    ours.chain(to_servers).cloned().collect()
}

fn tell(hub: &Hub, path: &Path, expiry: &Expiry) {
    let Ok(not_after) = Timestamp::from_second(expiry.not_after) else { return };
    let left = not_after.as_millisecond() - Timestamp::now().as_millisecond();
    let name = format!("{} {}", path.display(), expiry.not_after);
    if left > AHEAD_MS || hub.events.is_time_for(Kind::CertificateExpires, &name, PAUSE).is_none() {
        return;
    }
    let text = if left > 0 { "a certificate expires soon" } else { "a certificate has expired" };
    let event = Event::new(Kind::CertificateExpires, text);
    let (file, subject) = (path.display().to_string(), expiry.subject.as_str());
    match u64::try_from(left) {
        Ok(left) => {
            publish!(hub.events, warn, event, file = file, subject = subject, not_after = not_after, left_ms = left)
        }
        Err(_) => publish!(hub.events, error, event, file = file, subject = subject, not_after = not_after),
    }
}
