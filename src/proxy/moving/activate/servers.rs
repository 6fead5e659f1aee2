//! What is asked of the two servers, and done there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::gate::Lsn;
use crate::moving::{Line, Status};
use crate::proxy::moving::switchover::Servers;
use crate::proxy::moving::switchover::findings::back_ends;
use crate::proxy::moving::switchover::steps::Failure;
use crate::proxy::moving::talk::{Talk, field};
use crate::shared::ProxyState;
use crate::sql::own_statements::{activate as sql, moving, servers as of_servers};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);

/// Looks whether what is written on one server reaches the other.
pub(super) async fn replication(name: &str, from: &mut Talk, to: &mut Talk, dbnames: &[String]) -> Line {
    let slots = from.rows(&sql::slots(dbnames)).await;
    let subscriptions = to.rows(&sql::subscriptions(dbnames)).await;
    let (slots, subscriptions) = match (slots, subscriptions) {
        (Ok(slots), Ok(subscriptions)) => (slots, subscriptions),
        (Err(error), _) | (_, Err(error)) => return Line::check(name, Status::Fail, error.to_string()),
    };
    let broken = |what: String| {
        let remedy = "Only one side may be active while replication is broken: repair it first.";
        Line::check(name, Status::Fail, what).with_remedy(remedy)
    };
    for dbname in dbnames {
        let of_it = |row: &&Vec<Option<String>>| field(row, 1) == dbname;
        if slots.iter().filter(of_it).count() == 0 || subscriptions.iter().filter(of_it).count() == 0 {
            return broken(format!("database \"{dbname}\" is not replicated this way"));
        }
        if let Some(row) = slots.iter().filter(of_it).find(|row| field(row, 2) != "t") {
            return broken(format!("slot \"{}\" of \"{dbname}\" is not received", field(row, 0)));
        }
        if let Some(row) = subscriptions.iter().filter(of_it).find(|row| field(row, 2) != "t" || field(row, 3) != "t") {
            return broken(format!("subscription \"{}\" of \"{dbname}\" does not run", field(row, 0)));
        }
    }
    Line::check(name, Status::Ok, format!("{} slots are received", slots.len()))
}

/// Looks whether the role may do what has to be done.
pub(super) async fn rights(name: &str, talk: &mut Talk, dbnames: &[String]) -> Line {
    let remedy = format!("\"{}\" has to own the databases, or be a superuser (switchover_user).", talk.role());
    match talk.rows(&sql::not_ours(dbnames)).await {
        Ok(rows) if rows.is_empty() => Line::check(name, Status::Ok, "databases can be altered"),
        Ok(rows) => {
            let names: Vec<_> = rows.iter().map(|row| format!("\"{}\"", field(row, 0))).collect();
            Line::check(name, Status::Fail, format!("may not alter {}", names.join(", "))).with_remedy(remedy)
        }
        Err(error) => Line::check(name, Status::Fail, error.to_string()).with_remedy(remedy),
    }
}

/// Has sessions that begin from now on read only.
pub(super) async fn down(talk: &mut Talk, dbnames: &[String]) -> Result<(), Failure> {
    for dbname in dbnames {
        let failed = |error| Failure::new("55000", format!("\"{dbname}\" could not be made read-only: {error}"));
        talk.alone(&sql::down(dbname)).await.map_err(failed)?;
    }
    Ok(())
}

/// Takes that back. It can be done twice.
pub(super) async fn up(talk: &mut Talk, dbnames: &[String]) -> Result<(), String> {
    for dbname in dbnames {
        talk.alone(&sql::up(dbname)).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Ends what may still write on the server that is left, until nothing is there. Gives what was ended.
pub(super) async fn none_left(
    proxy: &Arc<ProxyState>,
    servers: &Servers,
    talk: &mut Talk,
    dbnames: &[String],
) -> Result<Vec<String>, Failure> {
    let mut ended = Vec::new();
    loop {
        let ours = back_ends(proxy, servers).await;
        let rows = talk.rows(&sql::sessions(dbnames, &ours)).await.map_err(|error| {
            Failure::new("08006", format!("sessions on the active server cannot be looked at: {error}"))
        })?;
        if rows.is_empty() {
            return Ok(ended);
        }
        for row in &rows {
            let Ok(pid) = field(row, 0).parse() else {
                let text = format!("transaction \"{}\" of \"{}\" is prepared there", field(row, 2), field(row, 1));
                return Err(Failure::new("55006", text));
            };
            let words = format!("process {pid} of \"{}\" ({})", field(row, 1), field(row, 2));
            talk.rows(&of_servers::terminate(pid)).await.map_err(|error| {
                Failure::new("42501", format!("a session on the active server cannot be ended: {words}: {error}"))
            })?;
            if !ended.contains(&words) {
                ended.push(words);
            }
        }
        sleep(LOOK).await;
    }
}

/// Waits until what was written there is on the other servers. Gives the position of the last of it.
pub(super) async fn drained(talk: &mut Talk, dbnames: &[String]) -> Result<Lsn, Failure> {
    let failed = |error: crate::server::login::LoginError| Failure::new("08006", error.to_string());
    talk.rows(moving::WRITTEN).await.map_err(failed)?;
    let row = talk.row(moving::POSITION).await.map_err(failed)?;
    let position: Lsn = field(&row, 1).parse().map_err(|_| Failure::new("XX000", "the server gives no position"))?;
    loop {
        let slots = talk.rows(&sql::slots(dbnames)).await.map_err(failed)?;
        if let Some(slot) = slots.iter().find(|row| field(row, 2) != "t") {
            let text = format!("slot \"{}\" is not received any more", field(slot, 0));
            return Err(Failure::new("55000", text));
        }
        if slots.iter().all(|row| field(row, 3).parse::<Lsn>().is_ok_and(|confirmed| confirmed >= position)) {
            return Ok(position);
        }
        sleep(LOOK).await;
    }
}
