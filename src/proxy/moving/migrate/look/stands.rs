//! How a migration stands, for whoever looks.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::moving::Migration;
use crate::proxy::moving::migrate::mirror;
use crate::proxy::moving::migrate::sides::{Side, names};
use crate::proxy::moving::migrate::streams;
use crate::proxy::moving::talk::field;
use crate::shared::ProxyState;
use crate::sql::own_statements::migrate as sql;

/// How long a server may take to say it.
const PATIENCE: Duration = Duration::from_secs(3);

/// See the module. What is not known is None.
pub struct Stands {
    /// `copying`, `following`, `broken: …`, or `moving` while a command is under way for it.
    pub state: String,
    /// Tables that are replicated.
    pub tables: Option<u64>,
    /// Those that have their copy.
    pub ready: Option<u64>,
    /// Bytes of the log that the side without clients lacks.
    pub behind: Option<u64>,
    /// Reads that were compared, and those with different answers; None: reads are not mirrored.
    pub mirrored: Option<(u64, u64)>,
}

/// Asks both sides.
pub async fn stands(proxy: &Arc<ProxyState>, one: &Migration) -> Stands {
    let (with, without) = one.sides();
    let (there, back) = names(&one.old, &one.new);
    let stream = if one.on_new { back } else { there };
    let mirrored = mirror::counts(proxy, &one.old);
    let mut found = Stands { state: String::new(), tables: None, ready: None, behind: None, mirrored };
    let asked = timeout(PATIENCE, ask(proxy, (with, without), &stream, &mut found)).await;
    let why = match asked {
        Ok(Ok(())) => None,
        Ok(Err(why)) => Some(why),
        Err(_) => Some("a side does not answer".to_owned()),
    };
    let moves = proxy.moves.concerning(&one.old).map(|one| one.entry().what.step().word());
    found.state = match (moves, why) {
        (Some(step), _) => format!("moving: {step}"),
        (None, Some(why)) => format!("broken: {why}"),
        (None, None) if found.ready < found.tables => "copying".to_owned(),
        (None, None) => "following".to_owned(),
    };
    found
}

async fn ask(
    proxy: &Arc<ProxyState>,
    (with, without): (&crate::gate::ServerDatabase, &crate::gate::ServerDatabase),
    stream: &str,
    found: &mut Stands,
) -> Result<(), String> {
    let mut publisher = Side::of(proxy, with, None)?;
    let mut subscriber = Side::of(proxy, without, None)?;
    let slot = streams::slot(stream, &mut publisher).await.map_err(|failure| failure.why)?;
    let slot = slot.ok_or_else(|| format!("there is no slot \"{stream}\""))?;
    found.behind = Some(slot.behind);
    let row = subscriber.talk.row(&sql::copied(stream)).await.map_err(|error| error.to_string())?;
    (found.tables, found.ready) = (field(&row, 0).parse().ok(), field(&row, 1).parse().ok());
    match (slot.lost, slot.active) {
        (true, _) => Err(format!("slot \"{stream}\" has lost its log")),
        (false, true) => Ok(()),
        (false, false) => Err(format!("nobody receives slot \"{stream}\"")),
    }
}
