//! FINISH: what replication has left is taken away on both sides, and with it the way back. Clients stay where they are.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::time::Instant;

use super::sides::{Side, names};
use super::streams;
use crate::moving::{End, Extent, Line, Move, MoveKind, MoveOf, Status, Step};
use crate::shared::ProxyState;

/// Takes away everything of those two names. Gives what could not be taken away, and why.
pub(super) async fn clean(
    there: &str,
    back: &str,
    mut old: Option<&mut Side>,
    mut new: Option<&mut Side>,
) -> Vec<String> {
    let mut errors = Vec::new();
    let (mut of_there, mut of_back) = (None, None);
    // Subscriptions first: a slot that is received cannot go.
    for (name, subscriber, number) in [(there, &mut new, &mut of_there), (back, &mut old, &mut of_back)] {
        let Some(side) = subscriber else { continue };
        match streams::unsubscribe(name, side).await {
            Ok(found) => *number = found,
            Err(failure) => errors.push(failure.why),
        }
    }
    for (name, publisher, number) in [(there, &mut old, of_there), (back, &mut new, of_back)] {
        let Some(side) = publisher else { continue };
        if let Err(failure) = streams::unpublish(name, side, number).await {
            errors.push(failure.why);
        }
    }
    errors
}

/// The command. The first of the sides is the one without clients.
pub(super) async fn run(proxy: Arc<ProxyState>, one: Arc<Move>, sides: (Option<Side>, Option<Side>), dry_run: bool) {
    let MoveKind::Migrate(known) = one.entry().what else { return };
    let end = |done: bool, why: Option<String>| {
        let sqlstate = if done { "00000" } else { "55000" }.to_owned();
        End { at: Timestamp::now(), done, why, sqlstate }
    };
    let (mut without, mut with) = sides;
    let record = proxy.moves.migrations().into_iter().find(|record| record.has(&known.from) && record.has(&known.to));
    let (old, new) = match &record {
        Some(record) => (record.old.clone(), record.new.clone()),
        None => (known.to.clone(), known.from.clone()),
    };
    let (there, back) = names(&old, &new);
    if dry_run {
        let text = format!(
            "publications, subscriptions and slots \"{there}\" and \"{back}\" would be taken away; clients stay on {}",
            known.to
        );
        one.tell(Line::check("finish", Status::Ok, text));
        return one.end(end(true, None)).await;
    }
    let began = Instant::now();
    let mut noted = MoveOf::new(one.clone(), (*known).clone());
    let taken = noted.note(|known| known.step = Step::Clean);
    if let Err(error) = taken.await {
        return one.end(End { sqlstate: error.sqlstate().to_owned(), ..end(false, Some(error.to_string())) }).await;
    }
    super::mirror::end(&proxy, &old).await;
    let (old_side, new_side) =
        if known.from == old { (without.as_mut(), with.as_mut()) } else { (with.as_mut(), without.as_mut()) };
    let errors = clean(&there, &back, old_side, new_side).await;
    if !errors.is_empty() && known.extent != Extent::Force {
        let why = format!(
            "{}. MIGRATE {} FINISH WITH (force) leaves what cannot be reached",
            errors.join("; "),
            known.database
        );
        return one.end(end(false, Some(why))).await;
    }
    for error in errors {
        let line = Line::step(Step::Clean, began.elapsed(), error).of(Status::Warn);
        one.tell(line.with_remedy(format!(
            "It is left as it is: look for slots and subscriptions named \"{there}\" and \"{back}\"."
        )));
    }
    let forgotten = proxy.moves.migrate(move |all| all.retain(|one| one.old != old || one.new != new)).await;
    if let Err(error) = forgotten {
        return one.end(End { sqlstate: error.sqlstate().to_owned(), ..end(false, Some(error.to_string())) }).await;
    }
    let line = Line::step(
        Step::Clean,
        began.elapsed(),
        format!("clients stay on {}, and nothing replicates any more", known.to),
    );
    let is_led = record.is_some_and(|record| record.on_new);
    one.tell(if is_led {
        line.with_remedy(format!(
            "In the configuration, give the database cluster = \"{}\", and RELOAD.",
            known.to.cluster
        ))
    } else {
        line
    });
    one.end(end(true, None)).await;
}
