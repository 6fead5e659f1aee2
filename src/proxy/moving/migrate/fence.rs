//! The side that is left takes no writes any more: its database is read-only by default, and whoever could write past that is ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::sides::Side;
use super::streams::{failed, slot};
use crate::gate::Lsn;
use crate::proxy::moving::switchover::findings::{back_ends, is_opening};
use crate::proxy::moving::switchover::steps::Failure;
use crate::proxy::moving::talk::field;
use crate::server::login::LoginError;
use crate::shared::ProxyState;
use crate::sql::own_statements::{activate, migrate as sql, moving, servers as of_servers};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(4);
/// How long a session may take until it has ended.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the other side may be gone while it is waited for.
const GONE: Duration = Duration::from_secs(3);

/// Has sessions that begin from now on read only.
pub(super) async fn down(side: &mut Side) -> Result<(), Failure> {
    let text = activate::down(&side.place.dbname);
    let done = side.talk.alone(&text).await;
    done.map_err(|error| failed(side, "the database could not be made read-only", &error))
}

/// Takes that back. It can be done twice.
pub(super) async fn up(side: &mut Side) -> Result<(), LoginError> {
    side.talk.alone(&activate::up(&side.place.dbname)).await
}

/// Whether sessions that begin now read only.
pub(super) async fn is_down(side: &mut Side) -> Result<bool, Failure> {
    let row = side.talk.row(sql::IS_DOWN).await;
    let row = row.map_err(|error| failed(side, "the database's settings cannot be looked at", &error))?;
    Ok(field(&row, 0) != "0")
}

/// Ends sessions in the database that are not this proxy's, and those of operators; waits until they are gone. Gives them in words.
pub(super) async fn none_left(proxy: &Arc<ProxyState>, side: &mut Side) -> Result<Vec<String>, Failure> {
    let servers = side.servers();
    let mut ended = Vec::new();
    let until = Instant::now() + PATIENCE;
    loop {
        let ours = back_ends(proxy, &servers).await;
        let rows = side.talk.rows(&sql::sessions(&ours)).await;
        let rows = rows.map_err(|error| failed(side, "sessions cannot be looked at", &error))?;
        // One that was opened meanwhile is ours, and so may be one that is young. One that has written is not.
        let (ours, opening) = (back_ends(proxy, &servers).await, is_opening(proxy, &servers));
        let mut unclear = false;
        let mut others = Vec::new();
        for row in &rows {
            let Ok(pid) = field(row, 0).parse::<u32>() else {
                let text = format!(
                    "transaction \"{}\" of \"{}\" is prepared on {}",
                    field(row, 2),
                    field(row, 1),
                    side.server()
                );
                return Err(Failure::new("55006", text));
            };
            match (ours.contains(&pid), opening && field(row, 4) == "t" && field(row, 3) != "t") {
                (true, _) => {}
                (false, true) => unclear = true,
                (false, false) => others.push((pid, row)),
            }
        }
        if others.is_empty() && !unclear {
            return Ok(ended);
        }
        for (pid, row) in others {
            let words = format!("process {pid} of \"{}\" ({})", field(row, 1), field(row, 2));
            if Instant::now() > until {
                return Err(Failure::new("55006", format!("a session on {} does not end: {words}", side.server())));
            }
            let done = side.talk.rows(&of_servers::terminate(pid)).await;
            done.map_err(|error| {
                Failure::new("42501", format!("a session on {} cannot be ended: {words}: {error}", side.server()))
            })?;
            if !ended.contains(&words) {
                ended.push(words);
            }
        }
        sleep(LOOK).await;
    }
}

/// The position behind everything that is committed there.
async fn position(side: &mut Side) -> Result<Lsn, Failure> {
    let what = "it gives no position";
    // That it is written out covers what was committed before with synchronous_commit off.
    side.talk.rows(moving::WRITTEN).await.map_err(|error| failed(side, what, &error))?;
    let row = side.talk.row(sql::FLUSHED).await.map_err(|error| failed(side, what, &error))?;
    field(&row, 0).parse().map_err(|_| Failure::new("XX000", what))
}

/// Waits until the other side has everything that was written on this one. Gives the position of the last of it.
pub(super) async fn drained(name: &str, side: &mut Side, other: &mut Side) -> Result<Lsn, Failure> {
    let position = position(side).await?;
    let mut gone: Option<Instant> = None;
    loop {
        let row = side.talk.row(&sql::has_confirmed(name, position)).await;
        let row = row.map_err(|error| failed(side, "the slot cannot be looked at", &error))?;
        match (field(&row, 0), field(&row, 1)) {
            (_, "t") => return Ok(position),
            // What is applied is confirmed once it is written out, which takes a while by itself: this writes it out, and has something
            // come that is answered.
            ("t", _) => {
                gone = None;
                let written = other.talk.rows(moving::WRITTEN).await;
                written.map_err(|error| failed(other, "nothing can be written", &error))?;
                let sent = side.talk.rows(moving::WRITTEN).await;
                sent.map_err(|error| failed(side, "nothing can be written", &error))?;
            }
            _ => {
                let since = *gone.get_or_insert_with(Instant::now);
                if since.elapsed() > GONE {
                    let why = if slot(name, side).await?.is_none() { "its slot is gone" } else { "nobody receives" };
                    return Err(Failure::new(
                        "55000",
                        format!("replication from {} has stopped: {why}", side.server()),
                    ));
                }
            }
        }
        sleep(LOOK).await;
    }
}
