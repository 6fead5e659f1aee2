//! The fence: the old primary takes no writes any more. New transactions there read only, whoever begins them, by a setting of the
//! server's; sessions past this proxy, which could have one of their own, are ended; and both are looked at.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::Servers;
use super::findings::{back_ends, is_opening};
use super::steps::Failure;
use crate::proxy::moving::talk::{Talk, field};
use crate::shared::ProxyState;
use crate::sql::own_statements::{moving, servers as of_servers};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(5);
/// How long a server may take until a setting holds, and a session until it has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// `150004` as people write it.
pub(super) fn version_words(number: u64) -> String {
    match number {
        0 => "unknown".to_owned(),
        _ => format!("{}.{}", number / 10_000, number % 10_000),
    }
}

/// Whether ALTER SYSTEM RESET takes it back.
pub(super) fn is_liftable(source: &str, file: &str) -> bool {
    source == "configuration file" && (file.is_empty() || file.ends_with("postgresql.auto.conf"))
}

/// Has sessions that begin from now on read only, and waits until that is so.
pub(super) async fn raise(talk: &mut Talk) -> Result<(), Failure> {
    let failed = |error: String| Failure::new("55000", format!("the old primary could not be made read-only: {error}"));
    talk.alone(moving::FENCE).await.map_err(|error| failed(error.to_string()))?;
    talk.rows(moving::RELOAD).await.map_err(|error| failed(error.to_string()))?;
    until_read_only(talk, true).await.map_err(failed)
}

/// Takes that back, and waits until it is so. It can be done twice, and on a replica.
pub(in crate::proxy::moving) async fn lift(talk: &mut Talk) -> Result<(), String> {
    talk.alone(moving::LIFT).await.map_err(|error| error.to_string())?;
    talk.rows(moving::RELOAD).await.map_err(|error| error.to_string())?;
    until_read_only(talk, false).await
}

async fn until_read_only(talk: &mut Talk, wanted: bool) -> Result<(), String> {
    let until = Instant::now() + PATIENCE;
    loop {
        // As a session that begins now.
        talk.hang_up();
        let row = talk.row(moving::READ_ONLY).await.map_err(|error| error.to_string())?;
        let (value, source, file) = (field(&row, 0), field(&row, 1), field(&row, 2));
        if (value == "on") == wanted {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("default_transaction_read_only stays {value} by {source} {file}")
                .trim_end()
                .to_owned());
        }
        sleep(LOOK).await;
    }
}

/// Whether new sessions there read only, or it is in recovery.
pub(super) async fn is_fenced(talk: &mut Talk) -> Result<bool, crate::server::login::LoginError> {
    talk.hang_up();
    let row = talk.row(moving::READ_ONLY).await?;
    if field(&row, 0) == "on" {
        return Ok(true);
    }
    let row = talk.row(moving::POSITION).await;
    match row {
        Ok(row) => Ok(field(&row, 0) == "t"),
        // A server in recovery has no position to write at.
        Err(error) if crate::proxy::moving::talk::is_refusal(&error) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Ends sessions that are not this proxy's, and those of operators; waits until they are gone. Gives them in words.
pub(super) async fn end_others(
    proxy: &Arc<ProxyState>,
    servers: &Servers,
    talk: &mut Talk,
) -> Result<Vec<String>, Failure> {
    let mut ended = Vec::new();
    let until = Instant::now() + PATIENCE;
    loop {
        let ours = back_ends(proxy, servers).await;
        let rows = talk.rows(&moving::others(&ours)).await.map_err(|error| {
            Failure::new("08006", format!("sessions on the old primary cannot be looked at: {error}"))
        })?;
        // One that was opened meanwhile is ours, and so may be one that is young. One that has written is not.
        let (ours, opening) = (back_ends(proxy, servers).await, is_opening(proxy, servers));
        let mut unclear = false;
        let mut others = Vec::new();
        for row in &rows {
            let pid = field(row, 0).parse().unwrap_or(0);
            let is_young = field(row, 5) == "t";
            match (ours.contains(&pid), opening && is_young && field(row, 4) != "t") {
                (true, _) => {}
                (false, true) => unclear = true,
                (false, false) => others.push((pid, row)),
            }
        }
        if others.is_empty() && !unclear {
            return Ok(ended);
        }
        for (pid, row) in others {
            let words = format!(
                "process {} of \"{}\" from {} ({})",
                field(row, 0),
                field(row, 1),
                field(row, 3),
                field(row, 2)
            );
            if Instant::now() > until {
                return Err(Failure::new("55006", format!("a session on the old primary does not end: {words}")));
            }
            talk.rows(&of_servers::terminate(pid)).await.map_err(|error| {
                Failure::new("42501", format!("a session on the old primary cannot be ended: {words}: {error}"))
            })?;
            if !ended.contains(&words) {
                ended.push(words);
            }
        }
        sleep(LOOK).await;
    }
}
