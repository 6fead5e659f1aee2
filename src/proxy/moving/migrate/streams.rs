//! Replication from one side to the other: a publication, a slot and a subscription of one name. What is there already is used.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::sides::{PATIENCE, Side};
use crate::proxy::moving::switchover::steps::Failure;
use crate::proxy::moving::talk::{field, is_refusal};
use crate::server::login::LoginError;
use crate::sql::own_statements::migrate as sql;

/// Between two looks at what is about to change.
const LOOK: Duration = Duration::from_millis(5);
/// How long a worker may take to end.
const ENDS: Duration = Duration::from_secs(10);

/// What a server says, as why something does not go on.
pub(super) fn failed(side: &Side, what: &str, error: &LoginError) -> Failure {
    let code = if is_refusal(error) { "55000" } else { "08006" };
    Failure::new(code, format!("{what} on {}: {error}", side.server()))
}

/// Has everything that is written on that side told to whoever follows.
pub(super) async fn publish(name: &str, publisher: &mut Side) -> Result<(), Failure> {
    let what = "the publication could not be made";
    let known = publisher.talk.rows(&sql::publication(name)).await.map_err(|error| failed(publisher, what, &error))?;
    match known.first() {
        Some(row) if field(row, 0) == "t" => Ok(()),
        Some(_) => {
            Err(Failure::new("55000", format!("publication \"{name}\" on {} is not of all tables", publisher.server())))
        }
        None => {
            let made = publisher.talk.rows_within(&sql::create_publication(name), PATIENCE).await;
            made.map(drop).map_err(|error| failed(publisher, what, &error))
        }
    }
}

/// How a slot stands.
pub(super) struct Slot {
    pub(super) active: bool,
    /// Bytes of the log that are not confirmed.
    pub(super) behind: u64,
    /// Its log is not there any more.
    pub(super) lost: bool,
}

/// The slot of that name, if there is one.
pub(super) async fn slot(name: &str, publisher: &mut Side) -> Result<Option<Slot>, Failure> {
    let rows = publisher.talk.rows(&sql::slot(name)).await;
    let rows = rows.map_err(|error| failed(publisher, "the slot cannot be looked at", &error))?;
    Ok(rows.first().map(|row| Slot {
        active: field(row, 0) == "t",
        behind: field(row, 2).parse().unwrap_or(0),
        lost: field(row, 3) == "lost",
    }))
}

/// Makes a slot if there is none. It waits for transactions that are open, as long as `patience`.
pub(super) async fn make_slot(name: &str, publisher: &mut Side, patience: Duration) -> Result<(), Failure> {
    if slot(name, publisher).await?.is_some() {
        return Ok(());
    }
    let made = publisher.talk.rows_within(&sql::create_slot(name), patience).await;
    made.map(drop).map_err(|error| failed(publisher, "the slot could not be made", &error))
}

/// Takes a slot away, once nobody receives any more.
pub(super) async fn drop_slot(name: &str, publisher: &mut Side) -> Result<(), Failure> {
    let until = Instant::now() + ENDS;
    while let Some(slot) = slot(name, publisher).await? {
        if slot.active && Instant::now() < until {
            sleep(LOOK).await;
            continue;
        }
        let dropped = publisher.talk.rows(&sql::drop_slot(name)).await;
        dropped.map_err(|error| failed(publisher, &format!("slot \"{name}\" could not be taken away"), &error))?;
    }
    Ok(())
}

/// Whether there is a subscription of that name.
pub(super) async fn is_subscribed(name: &str, subscriber: &mut Side) -> Result<bool, Failure> {
    let rows = subscriber.talk.rows(&sql::subscription(name)).await;
    let rows = rows.map_err(|error| failed(subscriber, "subscriptions cannot be looked at", &error))?;
    Ok(!rows.is_empty())
}

/// Makes a subscription that does not run yet, if there is none.
pub(super) async fn subscribe(name: &str, conninfo: &str, subscriber: &mut Side, copies: bool) -> Result<(), Failure> {
    let text = if is_subscribed(name, subscriber).await? {
        sql::connect_subscription(name, conninfo)
    } else {
        sql::create_subscription(name, conninfo, copies, subscriber.version())
    };
    let made = subscriber.talk.rows_within(&text, PATIENCE).await;
    made.map(drop).map_err(|error| failed(subscriber, "the subscription could not be made", &error))
}

/// Has it run.
pub(super) async fn start(name: &str, subscriber: &mut Side) -> Result<(), Failure> {
    let started = subscriber.talk.rows(&sql::run_subscription(name, true)).await;
    started.map(drop).map_err(|error| failed(subscriber, "the subscription could not be enabled", &error))
}

/// Has one that runs follow tables, too, that are newer than it is.
pub(super) async fn refresh(name: &str, subscriber: &mut Side) -> Result<(), Failure> {
    let done = subscriber.talk.alone(&sql::refresh_subscription(name)).await;
    done.map_err(|error| failed(subscriber, "the subscription could not be refreshed", &error))
}

/// Has it run no more, and waits until nothing comes from it. One that is not there does not run.
pub(super) async fn stop(name: &str, subscriber: &mut Side) -> Result<(), Failure> {
    let what = "the subscription could not be disabled";
    let until = Instant::now() + ENDS;
    let mut told = false;
    loop {
        let rows = subscriber.talk.rows(&sql::subscription(name)).await;
        let rows = rows.map_err(|error| failed(subscriber, what, &error))?;
        let Some(row) = rows.first() else { return Ok(()) };
        if !told && field(row, 1) == "t" {
            let disabled = subscriber.talk.rows(&sql::run_subscription(name, false)).await;
            disabled.map_err(|error| failed(subscriber, what, &error))?;
        } else if told && field(row, 3) != "t" {
            return Ok(());
        }
        told = true;
        let ended = subscriber.talk.rows(&sql::end_workers(name)).await;
        ended.map_err(|error| failed(subscriber, what, &error))?;
        if Instant::now() > until {
            return Err(Failure::new("55000", format!("{what} on {}: a worker does not end", subscriber.server())));
        }
        sleep(LOOK).await;
    }
}

/// Takes a subscription away without its publisher; gives its number.
pub(super) async fn unsubscribe(name: &str, subscriber: &mut Side) -> Result<Option<u32>, Failure> {
    let what = "the subscription could not be taken away";
    let rows = subscriber.talk.rows(&sql::subscription(name)).await;
    let rows = rows.map_err(|error| failed(subscriber, what, &error))?;
    let Some(row) = rows.first() else { return Ok(None) };
    let number = field(row, 0).parse().ok();
    stop(name, subscriber).await?;
    for text in [sql::part_subscription(name), sql::drop_subscription(name)] {
        let done = subscriber.talk.rows_within(&text, PATIENCE).await;
        done.map_err(|error| failed(subscriber, what, &error))?;
    }
    Ok(number)
}

/// Takes a publication away, and the slots of a subscription with that number.
pub(super) async fn unpublish(name: &str, publisher: &mut Side, subscription: Option<u32>) -> Result<(), Failure> {
    drop_slot(name, publisher).await?;
    let copies = subscription.map(sql::drop_copy_slots);
    for text in copies.into_iter().chain([sql::drop_publication(name)]) {
        let done = publisher.talk.rows_within(&text, PATIENCE).await;
        done.map_err(|error| failed(publisher, "the publication could not be taken away", &error))?;
    }
    Ok(())
}

/// Fails unless every table that is published is followed.
pub(super) async fn all_followed(name: &str, publisher: &mut Side, subscriber: &mut Side) -> Result<usize, Failure> {
    let names = |rows: Vec<crate::server::own_query::Row>| {
        rows.iter().map(|row| field(row, 0).to_owned()).collect::<std::collections::BTreeSet<_>>()
    };
    let published = publisher.talk.rows(&sql::published(name)).await;
    let published = names(published.map_err(|error| failed(publisher, "tables cannot be looked at", &error))?);
    let followed = subscriber.talk.rows(&sql::followed(name)).await;
    let followed = names(followed.map_err(|error| failed(subscriber, "tables cannot be looked at", &error))?);
    match published.iter().find(|table| !followed.contains(*table)) {
        None => Ok(published.len()),
        Some(table) => {
            Err(Failure::new("55000", format!("table {table} is not replicated: it is newer than the copy")))
        }
    }
}
