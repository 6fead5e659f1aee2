//! Units of an earlier fan-out that stand prepared, because the process or a server died between the two halves of a commit.

use super::side::{Failure, Side};
use super::unit::{Unit, mark};
use crate::protocol::Report;
use crate::sql::own_statements::fanout as sql;

/// Ends each as the deciding server has ended it. Returns what the client should be told.
pub(super) async fn settle(sides: &mut [Side]) -> Result<Vec<Report>, (Failure, String)> {
    let mut left: Vec<(usize, String)> = Vec::new();
    for (at, side) in sides.iter_mut().enumerate() {
        let heard = side.ask(sql::LEFT).await.map_err(|failure| (failure, side.name.clone()))?;
        left.extend(heard.rows.into_iter().filter_map(|row| Some((at, row.into_iter().next()??))));
    }
    let mut units: Vec<&String> = left.iter().map(|(_, gid)| gid).collect();
    units.sort();
    units.dedup();
    let mut told = Vec::new();
    for gid in units {
        let stands_on: Vec<usize> = left.iter().filter(|(_, other)| other == gid).map(|(at, _)| *at).collect();
        told.push(match decide(sides, gid, &stands_on).await {
            Ok(commits) => {
                let end = if commits { sql::commit_prepared(gid) } else { sql::roll_back_prepared(gid) };
                let mut names = Vec::new();
                for at in stands_on {
                    let Some(side) = sides.get_mut(at) else { continue };
                    side.ask(&end).await.map_err(|failure| (failure, side.name.clone()))?;
                    names.push(side.name.clone());
                }
                let verb = if commits { "committed" } else { "rolled back" };
                Report::warning("01000", format!("a unit of an earlier fan-out is {verb} on {}", names.join(", ")))
            }
            Err(why) => Report::warning("01000", format!("\"{gid}\" of an earlier fan-out stands prepared"))
                .with_detail(Some(why))
                .with_hint(Some("COMMIT PREPARED or ROLLBACK PREPARED ends it.".to_owned())),
        });
    }
    Ok(told)
}

/// Whether a unit was committed on the deciding server, or why that is not known.
async fn decide(sides: &mut [Side], gid: &str, stands_on: &[usize]) -> Result<bool, String> {
    let unit = Unit::read(gid).ok_or_else(|| "It has no name of ours.".to_owned())?;
    let found = sides.iter_mut().enumerate().find(|(_, side)| mark(&side.name) == unit.server);
    let Some((at, side)) = found else { return Err("The server that decides is not one of the cluster's.".to_owned()) };
    if stands_on.contains(&at) {
        // It was not committed there, so it was committed nowhere.
        return Ok(false);
    }
    let heard = side.ask(&sql::outcome(unit.id)).await.map_err(|failure| failure.summary())?;
    match heard.value().as_deref() {
        Some("committed") => Ok(true),
        Some("aborted") => Ok(false),
        other => Err(format!("Transaction {} on {} is {}.", unit.id, side.name, other.unwrap_or("too long ago"))),
    }
}
