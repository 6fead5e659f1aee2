//! kill -9 at any moment: what the next start finds.
use crate::world::*;
use pgsluice::gate::*;
use proptest::prelude::*;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// One life of the proxy: everything in it dies with the runtime, at whatever step it is.
fn life<T>(work: impl AsyncFnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work())
}

#[test]
fn maintenance_survives_with_epoch_message_and_lsn() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    let with = options(&[("message", "upgrade"), ("expire", "2h")]);
    let first = life(async || {
        let gates = open_at(file(folder.path()), &["app"], &fake, base());
        only(gates.maintenance_on(app(), with, who("bob"), Wait::Quiesced)).await.unwrap()
    });
    life(async || {
        let gates = open_at(file(folder.path()), &["app"], &fake, base());
        let gate = gates.get("app").unwrap();
        assert_eq!(gate.state(), State { mode: first.mode, epoch: first.epoch });
        assert_eq!(gate.view().quiesced.unwrap().lsn, first.quiesced_lsn);
        assert_eq!(gate.view().refusal_detail().unwrap(), "database \"app\" is in maintenance: upgrade");
        // The world of the new process must be told too.
        until("told", || !fake.seen.lock().unwrap().is_empty()).await;
    });
    // Down past its expiry: open soon after the start, under a new epoch that is on disk.
    let late = base() + Duration::from_secs(8_000);
    life(async || {
        let gates = open_at(file(folder.path()), &["app"], &fake, late);
        let gate = gates.get("app").unwrap();
        assert!(!fake.begin(&gate));
        until("expired", || gate.state().mode == Mode::ReadWrite).await;
    });
    life(async || {
        let gates = open_at(file(folder.path()), &["app"], &fake, late);
        assert_eq!(gates.get("app").unwrap().state(), State { mode: Mode::ReadWrite, epoch: first.epoch.next() });
    });
}

#[test]
fn a_drain_cut_short_comes_back_closed_and_is_driven_on() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    let epoch = life(async || {
        let gates = open_at(file(folder.path()), &["app"], &fake, base());
        let gate = gates.get("app").unwrap();
        fake.begin(&gate);
        drop(gates.maintenance_on(app(), options(&[]), who("bob"), Wait::Quiesced).unwrap());
        until("draining", || gate.state().mode != Mode::ReadWrite).await;
        fake.end_all();
        gate.state().epoch
    });
    life(async || {
        let gates = open_at(file(folder.path()), &["app"], &fake, base());
        let gate = gates.get("app").unwrap();
        assert!(!fake.begin(&gate));
        assert_eq!(gate.state().epoch, epoch);
        until("quiesced", || gate.view().quiesced.is_some_and(|q| q.lsn.is_some())).await;
        assert_eq!((gate.state().mode.as_str(), gate.state().epoch), ("read_only", epoch));
    });
}

#[test]
fn a_damaged_file_closes_every_database() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    std::fs::write(folder.path().join("state.json"), "{}").unwrap();
    life(async || {
        let gates = open_at(file(folder.path()), &["app"], &fake, base());
        assert!(gates.alarm().unwrap().contains("EVERY DATABASE IS READ-ONLY"));
        let (app, born) = (gates.get("app").unwrap(), gates.get_or_create("w").unwrap());
        assert!(!fake.begin(&app) && !fake.begin(&born));
        let lost = app.state().epoch;
        // One by one, or all at once, an operator opens them.
        only(gates.maintenance_off(self::app(), who("bob"))).await.unwrap();
        assert!(fake.begin(&app) && !fake.begin(&born) && app.state().epoch == lost.next());
        gates.maintenance_off(Target::All, who("bob")).unwrap().outcome().await;
        assert!(fake.begin(&born));
    });
    fake.end_all();
    life(async || {
        let gates = open_at(file(folder.path()), &["app"], &fake, base());
        assert!(gates.alarm().is_none() && fake.begin(&gates.get("app").unwrap()));
    });
}

#[test]
fn a_disk_that_fails_keeps_the_mode() {
    let folder = tempfile::tempdir().unwrap();
    let fake = Arc::new(Fake::default());
    life(async || {
        let gates = open_at(file(folder.path()), &["app"], &fake, base());
        let gate = gates.get("app").unwrap();
        // A folder where the new file should go: every write fails.
        let block = folder.path().join("state.json.new");
        std::fs::create_dir(&block).unwrap();
        let error = only(gates.maintenance_on(app(), options(&[]), who("bob"), Wait::Quiesced)).await.unwrap_err();
        assert_eq!((error.sqlstate(), gate.state()), ("58030", State { mode: Mode::ReadWrite, epoch: Epoch(0) }));
        std::fs::remove_dir(&block).unwrap();
        fake.begin(&gate);
        let on = gates.maintenance_on(app(), options(&[]), who("bob"), Wait::Quiesced);
        until("draining", || gate.state().mode != Mode::ReadWrite).await;
        std::fs::create_dir(&block).unwrap();
        // OFF calls the drain off, cannot be saved, and so must not open; the drain is taken up again.
        let error = only(gates.maintenance_off(app(), who("bob"))).await.unwrap_err();
        assert_eq!((error.sqlstate(), fake.begin(&gate)), ("58030", false));
        assert_eq!(only(on).await.unwrap_err().sqlstate(), "57014");
        fake.end_all();
        until("quiesced", || gate.state().mode.as_str() == "read_only").await;
    });
}

#[derive(Debug, Clone)]
enum Act {
    On(bool, bool),
    Off(bool),
    Offline(bool),
    Online(bool),
    Begin,
    EndAll,
    Sleep(u64),
    Crash,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        3 => (any::<bool>(), any::<bool>()).prop_map(|(all, revert)| Act::On(all, revert)),
        3 => any::<bool>().prop_map(Act::Off),
        1 => any::<bool>().prop_map(Act::Offline),
        1 => any::<bool>().prop_map(Act::Online),
        3 => Just(Act::Begin),
        2 => Just(Act::EndAll),
        4 => (0u64..4_000).prop_map(Act::Sleep),
        2 => Just(Act::Crash),
    ]
}

/// What may never be seen again: the mode that each epoch had.
#[derive(Default)]
struct History(std::collections::BTreeMap<Epoch, bool>, Epoch);

impl History {
    /// Epochs only grow, and each stands for one mode: open or closed.
    fn look(&mut self, gate: &Gate) {
        let state = gate.state();
        assert!(state.epoch >= self.1, "{state:?} after epoch {}", self.1);
        self.1 = state.epoch;
        let open = state.mode == Mode::ReadWrite;
        assert_eq!(*self.0.entry(state.epoch).or_insert(open), open, "an epoch with two modes: {state:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]
    #[test]
    fn random_commands_and_crashes(acts in proptest::collection::vec(act(), 1..40), slow in 0u64..2_000) {
        let folder = tempfile::tempdir().unwrap();
        let mut history = History::default();
        let mut lives = acts.split(|act| matches!(act, Act::Crash)).peekable();
        let mut last = None;
        while let Some(acts) = lives.next() {
            let fake = Arc::new(Fake::default());
            *fake.cancel_works.lock().unwrap() = slow % 2 == 0;
            *fake.slowness.lock().unwrap() = Duration::from_millis(slow);
            let last_life = lives.peek().is_none();
            last = Some(life(async || {
                let gates = open_at(file(folder.path()), &["app", "b"], &fake, base());
                assert!(gates.alarm().is_none());
                let gate = gates.get("app").unwrap();
                // What was in force when the process died holds now, or the next epoch that had been saved.
                if let Some(State { mode, epoch }) = last {
                    let now = gate.state();
                    assert!(now.epoch == epoch && (now.mode == Mode::ReadWrite) == (mode == Mode::ReadWrite)
                        || now.epoch == Epoch(epoch.0 + 1), "{mode:?} {epoch} became {now:?}");
                }
                for act in acts {
                    history.look(&gate);
                    let target = |all: &bool| if *all { Target::All } else { app() };
                    let with = options(&[("drain_timeout", "2s")]);
                    // Some wait, some are lost consoles; conflicts are fine.
                    let _ = match act {
                        Act::On(all, revert) => {
                            let with = options(&[
                                ("drain_timeout", "2s"), ("on_timeout", if *revert { "revert" } else { "cancel" }),
                            ]);
                            gates.maintenance_on(target(all), with, who("bob"), Wait::Quiesced).map(drop)
                        }
                        Act::Off(all) => gates.maintenance_off(target(all), who("bob")).map(drop),
                        Act::Offline(all) => gates.offline(target(all), with, who("bob"), Wait::Quiesced).map(drop),
                        Act::Online(all) => gates.online(target(all), who("bob")).map(drop),
                        Act::Begin => { fake.begin(&gate); Ok(()) }
                        Act::EndAll => { fake.end_all(); Ok(()) }
                        Act::Sleep(ms) => { sleep(Duration::from_millis(*ms)).await; Ok(()) }
                        Act::Crash => Ok(()),
                    };
                    history.look(&gate);
                    let view = gate.view().clone();
                    if view.quiesced.is_some() && gate.state() == view.state {
                        assert_eq!(fake.writers.lock().unwrap().len(), 0, "quiesced with a writer open");
                    }
                }
                assert!(!*fake.asked_too_early.lock().unwrap());
                if last_life {
                    // Left alone, every transition comes to its end.
                    fake.end_all();
                    until("still", || gates.show().iter().all(|row| row.under_way.is_none())).await;
                    let row = gates.show().into_iter().find(|row| row.database == "app").unwrap();
                    assert_ne!(row.mode.as_str(), "draining");
                    history.look(&gate);
                }
                gate.state()
            }));
        }
    }
}
