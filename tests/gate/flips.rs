//! Commands and what they answer.
use crate::world::*;
use pgsluice::gate::*;
use std::sync::Arc;

fn start(names: &[&str]) -> (Arc<Fake>, Gates) {
    let fake = Arc::new(Fake::default());
    *fake.cancel_works.lock().unwrap() = true;
    (fake.clone(), open_at(StateFile::Ephemeral, names, &fake, base()))
}

#[tokio::test(start_paused = true)]
async fn on_and_off() {
    let (fake, gates) = start(&["app", "other"]);
    let gate = gates.get("app").unwrap();
    assert!(fake.begin(&gate));
    let with = options(&[("message", "upgrade"), ("until", "2026-12-01 14:00Z")]);
    let mut on = gates.maintenance_on(app(), with.clone(), who("bob"), Wait::Quiesced).unwrap();
    let progress = on.progress().await.unwrap();
    assert_eq!(
        progress[0].to_string(),
        "database \"app\": waiting for 1 open transaction (1 s):\n  user \"writer\", application \"test\", \
         client 127.0.0.1, open for 1 s, running: UPDATE t SET a = 1"
    );
    assert_eq!(gate.state().mode.as_str(), "draining");
    assert!(!fake.begin(&gate));
    assert!(fake.begin(&gates.get("other").unwrap()));
    fake.end_all();
    let outcome = on.outcome().await.remove(0).1.unwrap();
    assert_eq!((outcome.mode.as_str(), outcome.changed, outcome.epoch), ("read_only", true, Epoch(1)));
    assert_eq!((outcome.finished, outcome.cancelled, outcome.fenced), (1, 0, 0));
    assert_eq!(outcome.quiesced_lsn, Some(Lsn(0x1_0000_0100)));
    assert_eq!(outcome.message.as_deref(), Some("upgrade"));
    assert!(outcome.waited_ms >= 1000 && outcome.warning.is_none());
    assert_eq!(gate.view().refusal_detail().unwrap(), "database \"app\" is in maintenance: upgrade");

    let again = only(gates.maintenance_on(app(), with, who("eve"), Wait::Quiesced)).await.unwrap();
    assert_eq!((again.changed, again.epoch, again.quiesced_lsn), (false, Epoch(1), outcome.quiesced_lsn));
    let update = options(&[("message", "longer")]);
    let again = only(gates.maintenance_on(app(), update, who("eve"), Wait::Quiesced)).await.unwrap();
    assert_eq!((again.changed, again.epoch, again.quiesced_lsn), (true, Epoch(1), outcome.quiesced_lsn));
    assert_eq!(gate.view().refusal_detail().unwrap(), "database \"app\" is in maintenance: longer");
    assert!(gate.view().refusal_hint().unwrap().contains("2026-12-01 14:00:00+00"));

    let off = only(gates.maintenance_off(app(), who("bob"))).await.unwrap();
    assert_eq!((off.mode, off.changed, off.epoch), (Mode::ReadWrite, true, Epoch(2)));
    assert!(fake.begin(&gate));
    let off = only(gates.maintenance_off(app(), who("bob"))).await.unwrap();
    assert_eq!((off.changed, off.epoch), (false, Epoch(2)));
    assert!(!*fake.asked_too_early.lock().unwrap());
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_at_once() {
    let (fake, gates) = start(&["app"]);
    let unknown = gates.maintenance_off(Target::One("x".into()), who("bob")).unwrap_err();
    assert_eq!((unknown.sqlstate(), unknown.to_string().as_str()), ("3D000", "database \"x\" does not exist"));

    fake.begin(&gates.get("app").unwrap());
    let mut on = gates.maintenance_on(app(), options(&[]), who("bob"), Wait::Flipped).unwrap();
    let flipped = on.outcome().await.remove(0).1.unwrap();
    assert_eq!((flipped.mode.as_str(), flipped.quiesced_at), ("draining", None));
    let busy = gates.offline(app(), options(&[]), who("eve"), Wait::Quiesced).unwrap_err();
    assert_eq!(busy.sqlstate(), "55006");
    assert_eq!(
        busy.to_string(),
        "database \"app\": MAINTENANCE ON is under way, started by \"bob\" at 2026-12-01 12:00:00+00"
    );
    let other = options(&[("message", "mine")]);
    assert_eq!(gates.maintenance_on(app(), other, who("eve"), Wait::Quiesced).unwrap_err().sqlstate(), "55006");
    // All or nothing: `*` conflicts with one of them.
    gates.sync_databases(&["app".into(), "zoo".into()]);
    assert_eq!(gates.offline(Target::All, options(&[]), who("eve"), Wait::Quiesced).unwrap_err().sqlstate(), "55006");
    assert_eq!(gates.get("zoo").unwrap().state().mode, Mode::ReadWrite);
    assert!(
        only(gates.maintenance_on(Target::One("zoo".into()), options(&[]), who("eve"), Wait::Quiesced)).await.is_ok()
    );

    // The same command again waits for the one under way.
    let joined = gates.maintenance_on(app(), options(&[]), who("eve"), Wait::Quiesced);
    fake.end_all();
    let joined = only(joined).await.unwrap();
    assert_eq!((joined.changed, joined.mode.as_str()), (false, "read_only"));
}

#[tokio::test(start_paused = true)]
async fn off_calls_off_a_drain() {
    let (fake, gates) = start(&["app"]);
    let gate = gates.get("app").unwrap();
    fake.begin(&gate);
    let on = gates.maintenance_on(app(), options(&[]), who("bob"), Wait::Quiesced);
    until("draining", || gate.state().mode != Mode::ReadWrite).await;
    let off = only(gates.maintenance_off(app(), who("alice"))).await.unwrap();
    assert_eq!((off.mode, off.changed, off.epoch), (Mode::ReadWrite, true, Epoch(2)));
    let on = only(on).await.unwrap_err();
    assert_eq!(on.sqlstate(), "57014");
    assert_eq!(on.to_string(), "database \"app\": MAINTENANCE ON was called off by \"alice\"");
    assert!(fake.begin(&gate));
    assert_eq!(gate.in_flight(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_console_changes_nothing() {
    let (fake, gates) = start(&["app"]);
    let gate = gates.get("app").unwrap();
    fake.begin(&gate);
    drop(gates.maintenance_on(app(), options(&[]), who("bob"), Wait::Quiesced).unwrap());
    until("draining", || gate.state().mode.as_str() == "draining").await;
    until("progress in SHOW", || gates.show()[0].progress.is_some()).await;
    assert_eq!(gates.show()[0].under_way, Some((Verb::On, who("bob"))));
    fake.end_all();
    until("quiesced", || gate.state().mode.as_str() == "read_only").await;
    assert!(gates.show()[0].quiesced.is_some());
}

#[tokio::test(start_paused = true)]
async fn offline_waits_for_readers_and_online_goes_back() {
    let (fake, gates) = start(&["app"]);
    let gate = gates.get("app").unwrap();
    let on = only(gates.maintenance_on(app(), options(&[("message", "m")]), who("bob"), Wait::Quiesced)).await.unwrap();
    fake.readers.lock().unwrap().push("app".into());
    let mut offline = gates.offline(app(), options(&[("message", "away")]), who("bob"), Wait::Quiesced).unwrap();
    assert!(offline.progress().await.is_some());
    assert_eq!(gate.state().mode, Mode::Draining { to: DrainTo::Offline });
    // Called off: back in read_only as it was, without a moment of read_write.
    let online = only(gates.online(app(), who("bob"))).await.unwrap();
    assert_eq!((online.mode.as_str(), online.epoch, online.message.as_deref()), ("read_only", Epoch(3), Some("m")));
    assert!(online.quiesced_lsn > on.quiesced_lsn);
    assert_eq!(offline.outcome().await.remove(0).1.unwrap_err().sqlstate(), "57014");

    let offline = gates.offline(app(), options(&[("message", "away")]), who("bob"), Wait::Quiesced);
    fake.end_all();
    let offline = only(offline).await.unwrap();
    assert_eq!((offline.mode, offline.epoch), (Mode::Offline, Epoch(4)));
    assert_eq!(*fake.disconnected.lock().unwrap(), ["database \"app\" is offline: away"]);
    // MAINTENANCE in offline only says where ONLINE leads to.
    let off = only(gates.maintenance_off(app(), who("bob"))).await.unwrap();
    assert_eq!((off.mode, off.changed, off.epoch), (Mode::Offline, true, Epoch(4)));
    let online = only(gates.online(app(), who("bob"))).await.unwrap();
    assert_eq!((online.mode, online.epoch), (Mode::ReadWrite, Epoch(5)));
    let states: Vec<_> = fake.seen.lock().unwrap().iter().map(|(_, s)| s.mode).collect();
    assert_eq!(states.iter().filter(|mode| **mode == Mode::ReadWrite).count(), 1, "{states:?}");
}

#[tokio::test(start_paused = true)]
async fn all_means_also_those_that_come_later() {
    let (fake, gates) = start(&["a", "b"]);
    let early = gates.get_or_create("w1").unwrap();
    let answers = gates.maintenance_on(Target::All, options(&[]), who("bob"), Wait::Quiesced).unwrap().outcome().await;
    assert_eq!(answers.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["a", "b", "w1"]);
    assert!(answers.iter().all(|(_, answer)| answer.as_ref().unwrap().mode.as_str() == "read_only"));
    let late = gates.get_or_create("w2").unwrap();
    assert!(!fake.begin(&late) && !fake.begin(&early));
    until("the new one quiesced", || late.view().quiesced.is_some_and(|q| q.lsn.is_some())).await;
    assert_eq!(gates.show()[0].database, "*");
    gates.sync_databases(&["a".into(), "b".into(), "c".into()]);
    assert!(!fake.begin(&gates.get("c").unwrap()));
    // Names that clients make up are bounded; those that nobody holds make room.
    assert_eq!(gates.get_or_create("w3").map(drop).unwrap_err().sqlstate(), "53400");
    drop(late);
    let held = gates.get_or_create("w3").unwrap();
    until("w3 settled", || held.view().quiesced.is_some()).await;
    let answers = gates.maintenance_off(Target::All, who("bob")).unwrap().outcome().await;
    assert_eq!(answers.len(), 5);
    assert!(fake.begin(&held) && fake.begin(&gates.get("c").unwrap()) && gates.show()[0].database == "a");
}

#[tokio::test(start_paused = true)]
async fn a_name_born_while_all_is_being_saved_is_caught() {
    // The records go to disk in another thread; until then the new name must not slip through.
    let folder = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    let gates = open_at(file(folder.path()), &["a"], &fake, base());
    let mut on = gates.maintenance_on(Target::All, options(&[]), who("bob"), Wait::Quiesced).unwrap();
    let born = gates.get_or_create("w").unwrap();
    assert!(fake.begin(&born), "born before the command is in force");
    fake.end_all();
    on.outcome().await;
    until("the late one closed", || born.state().mode.as_str() == "read_only").await;
    assert!(!fake.begin(&born));
}

#[tokio::test(start_paused = true)]
async fn a_removed_database_that_is_still_held_goes_on_closing() {
    let (fake, gates) = start(&["app"]);
    let held = gates.get("app").unwrap();
    gates.sync_databases(&[]);
    assert!(gates.get("app").is_none() && gates.show().is_empty());
    assert_eq!(gates.maintenance_off(app(), who("bob")).unwrap_err().sqlstate(), "3D000");
    gates.maintenance_on(Target::All, options(&[]), who("bob"), Wait::Quiesced).unwrap().outcome().await;
    assert!(!fake.begin(&held));
    gates.sync_databases(&["app".into()]);
    assert!(Arc::ptr_eq(&held, &gates.get("app").unwrap()));
}
