//! Timeouts and expiries, with paused time.
use crate::world::*;
use pgsluice::events::{Bus, Kind, Value};
use pgsluice::gate::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

fn start() -> (Arc<Fake>, Gates, Arc<Gate>) {
    let fake = Arc::new(Fake::default());
    let gates = open_at(StateFile::Ephemeral, &["app"], &fake, base());
    let gate = gates.get("app").unwrap();
    (fake, gates, gate)
}

#[tokio::test(start_paused = true)]
async fn cancel_ends_what_is_left() {
    let (fake, gates, gate) = start();
    *fake.cancel_works.lock().unwrap() = true;
    fake.begin(&gate);
    fake.begin(&gate);
    let started = Instant::now();
    let outcome = only(gates.maintenance_on(app(), options(&[("drain_timeout", "7s")]), who("bob"), Wait::Quiesced));
    let outcome = outcome.await.unwrap();
    assert_eq!((outcome.mode.as_str(), outcome.cancelled, outcome.finished), ("read_only", 2, 0));
    assert_eq!(started.elapsed().as_secs(), 7);
    assert_eq!(gate.view().counters.cancelled, 2);
}

#[tokio::test(start_paused = true)]
async fn revert_opens_again_and_says_what_was_in_the_way() {
    let (fake, gates, gate) = start();
    fake.begin(&gate);
    let with = options(&[("drain_timeout", "7s"), ("on_timeout", "revert")]);
    let started = Instant::now();
    let error = only(gates.maintenance_on(app(), with, who("bob"), Wait::Quiesced)).await.unwrap_err();
    assert_eq!((started.elapsed().as_secs(), error.sqlstate()), (7, "55P03"));
    assert!(error.to_string().contains("1 transaction still open"), "{error}");
    assert!(error.detail().unwrap().contains("user \"writer\""));
    assert_eq!(gate.state(), State { mode: Mode::ReadWrite, epoch: Epoch(2) });
    assert!(fake.begin(&gate));
}

#[tokio::test(start_paused = true)]
async fn a_cancel_that_does_not_help_is_bounded() {
    let (fake, gates, gate) = start();
    fake.begin(&gate);
    let with = options(&[("drain_timeout", "7s"), ("on_timeout", "cancel")]);
    let started = Instant::now();
    let error = only(gates.maintenance_on(app(), with, who("bob"), Wait::Quiesced)).await.unwrap_err();
    assert_eq!((started.elapsed().as_secs(), error.sqlstate()), (17, "55P03"));
    assert_eq!(gate.state().mode, Mode::ReadWrite);
}

#[tokio::test(start_paused = true)]
async fn a_lost_primary_is_a_warning_and_on_asks_again() {
    let (fake, gates, gate) = start();
    *fake.primary_lost.lock().unwrap() = true;
    let outcome = only(gates.maintenance_on(app(), options(&[]), who("bob"), Wait::Quiesced)).await.unwrap();
    assert!(outcome.quiesced_at.is_some() && outcome.quiesced_lsn.is_none());
    assert!(outcome.warning.unwrap().contains("connection refused"));
    *fake.primary_lost.lock().unwrap() = false;
    let again = only(gates.maintenance_on(app(), options(&[]), who("bob"), Wait::Quiesced)).await.unwrap();
    assert_eq!((again.changed, again.epoch, again.quiesced_at), (false, Epoch(1), outcome.quiesced_at));
    assert!(again.quiesced_lsn.is_some() && gate.view().quiesced.unwrap().lsn.is_some());
}

#[tokio::test(start_paused = true)]
async fn expire_opens_by_itself() {
    let (_fake, gates, gate) = start();
    only(gates.maintenance_on(app(), options(&[("expire", "2h")]), who("bob"), Wait::Quiesced)).await.unwrap();
    sleep(Duration::from_secs(7_190)).await;
    assert_eq!(gate.state().mode.as_str(), "read_only");
    sleep(Duration::from_secs(12)).await;
    assert_eq!(gate.state(), State { mode: Mode::ReadWrite, epoch: Epoch(2) });
    // Taken back in time, it does nothing.
    only(gates.maintenance_on(app(), options(&[("expire", "1h")]), who("bob"), Wait::Quiesced)).await.unwrap();
    only(gates.maintenance_on(app(), options(&[("expire", "0")]), who("bob"), Wait::Quiesced)).await.unwrap();
    sleep(Duration::from_secs(8_000)).await;
    assert_eq!(gate.state().mode.as_str(), "read_only");
}

#[tokio::test(start_paused = true)]
async fn a_gate_that_is_closed_past_until_is_told_of_every_15_minutes_until_somebody_acts() {
    let (fake, events) = (Arc::new(Fake::default()), Bus::default());
    let gates = open_publishing(StateFile::Ephemeral, &["app", "other"], &fake, base(), &events);
    let minutes = |n: u64| Duration::from_secs(n * 60);
    let overdue = || {
        let all = events.recent(None, 1000);
        let minutes = all.iter().filter(|one| one.kind == Kind::Overdue).map(|one| match one.value("overdue_ms") {
            Some(Value::Number(ms)) => (one.database().unwrap().to_owned(), ms.div_ceil(60_000)),
            other => panic!("{other:?}"),
        });
        minutes.collect::<Vec<_>>()
    };
    let app = |minutes: &[u64]| minutes.iter().map(|n| ("app".to_owned(), *n)).collect::<Vec<_>>();
    let until = [("until", "2026-12-01 13:00Z"), ("message", "soon")];
    only(gates.maintenance_on(Target::One("app".into()), options(&until), who("bob"), Wait::Quiesced)).await.unwrap();
    only(gates.maintenance_on(Target::One("other".into()), options(&[]), who("bob"), Wait::Quiesced)).await.unwrap();
    sleep(minutes(59)).await;
    assert_eq!(overdue(), app(&[]));
    sleep(minutes(2)).await;
    assert_eq!(overdue().len(), 1);
    sleep(minutes(32)).await;
    let told = overdue();
    assert_eq!(told, app(&[0, 15, 30]), "{told:?}");
    // Another promise is another thing to be reminded of.
    let later = [("until", "2026-12-01 14:00Z")];
    only(gates.maintenance_on(Target::One("app".into()), options(&later), who("bob"), Wait::Quiesced)).await.unwrap();
    sleep(minutes(26)).await;
    assert_eq!(overdue().len(), 3);
    sleep(minutes(2)).await;
    assert_eq!(overdue().len(), 4);
    only(gates.maintenance_off(Target::One("app".into()), who("bob"))).await.unwrap();
    sleep(minutes(60)).await;
    assert_eq!(overdue().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn expire_calls_off_a_drain_and_knows_the_switches_apart() {
    let (fake, gates, gate) = start();
    fake.begin(&gate);
    let with = options(&[("expire", "5s"), ("drain_timeout", "1h")]);
    let error = only(gates.maintenance_on(app(), with, who("bob"), Wait::Quiesced)).await.unwrap_err();
    assert_eq!(error.sqlstate(), "57014");
    assert!(error.to_string().contains("\"pgsluice\""));
    until("open", || gate.state().mode == Mode::ReadWrite).await;
    fake.end_all();

    only(gates.maintenance_on(app(), options(&[]), who("bob"), Wait::Quiesced)).await.unwrap();
    only(gates.offline(app(), options(&[("expire", "1h")]), who("bob"), Wait::Quiesced)).await.unwrap();
    sleep(Duration::from_secs(3_700)).await;
    assert_eq!(gate.state().mode.as_str(), "read_only");
}

#[tokio::test(start_paused = true)]
async fn expire_of_all_opens_what_is_born_later_too() {
    let (fake, gates, gate) = start();
    let with = options(&[("expire", "1h")]);
    gates.maintenance_on(Target::All, with, who("bob"), Wait::Quiesced).unwrap().outcome().await;
    let born = gates.get_or_create("w").unwrap();
    assert!(!fake.begin(&born));
    sleep(Duration::from_secs(3_700)).await;
    assert!(fake.begin(&born) && fake.begin(&gate) && fake.begin(&gates.get_or_create("x").unwrap()));
}

#[tokio::test(start_paused = true)]
async fn expire_of_all_leaves_alone_what_has_time_left() {
    let (fake, gates, gate) = start();
    let with = options(&[("expire", "1h")]);
    gates.maintenance_on(Target::All, with, who("bob"), Wait::Quiesced).unwrap().outcome().await;
    only(gates.maintenance_off(app(), who("bob"))).await.unwrap();
    fake.begin(&gate);
    let with = options(&[("drain_timeout", "3h")]);
    let on = gates.maintenance_on(app(), with, who("bob"), Wait::Quiesced);
    sleep(Duration::from_secs(3_700)).await;
    assert_eq!(gate.state().mode.as_str(), "draining");
    assert_eq!(gates.show()[0].database, "app", "`*` itself has expired");
    fake.end_all();
    assert_eq!(only(on).await.unwrap().mode.as_str(), "read_only");
}
