use super::super::sealed::checksum;
use super::*;
use crate::gate::detail::tests::terms;
use proptest::prelude::*;

fn now() -> Timestamp {
    "2026-12-01T12:00:00Z".parse().unwrap()
}

fn closed(epoch: u64) -> Record {
    let switches = Switches { maintenance: Some(terms(Cause::Command)), offline: None };
    Record { epoch: Epoch(epoch), since: now(), switches, ..Record::fresh(now()) }
}

fn record(store: &Store, name: &str) -> Record {
    store.own_record(&database(name)).map_or_else(|| store.document().all, |kept| kept.record)
}

fn database(name: &str) -> ServerDatabase {
    ServerDatabase { cluster: "main".into(), dbname: name.into() }
}

/// What a command on that database leaves in the document.
fn put(document: &mut Document, name: &str, record: Record) {
    let kept = Kept { names: vec![name.to_owned()], former_names: vec![], came_closed: false, record };
    document.databases.insert(database(name), kept);
}

fn place() -> (tempfile::TempDir, PathBuf, StateFile) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    (folder, path.clone(), StateFile::Path(path))
}

/// Two writes, so that there is a backup.
fn written(file: &StateFile) {
    let (store, alarm) = Store::open(file, now()).unwrap();
    assert_eq!(alarm, None);
    for epoch in [6, 7] {
        store.change(move |d| put(d, "app", closed(epoch))).unwrap();
    }
}

#[test]
fn checksum_is_crc32c() {
    assert_eq!(checksum(b"123456789"), "e3069283");
}

#[test]
fn what_was_written_is_read() {
    let (_folder, path, file) = place();
    written(&file);
    let (store, alarm) = Store::open(&file, now()).unwrap();
    assert_eq!(alarm, None);
    assert_eq!(record(&store, "app"), closed(7));
    assert_eq!(record(&store, "other").epoch, Epoch(0));
    assert!(!beside(&path, ".new").exists());
}

#[test]
fn two_proxies_cannot_share_it() {
    let (_folder, _path, file) = place();
    let first = Store::open(&file, now()).unwrap();
    assert_eq!(Store::open(&file, now()).unwrap_err().sqlstate(), "55006");
    drop(first);
    Store::open(&file, now()).unwrap();
}

#[test]
fn a_half_written_new_file_is_nothing() {
    let (_folder, path, file) = place();
    written(&file);
    fs::write(beside(&path, ".new"), b"{\"vers").unwrap();
    fs::write(beside(&path, ".bak.new"), b"").unwrap();
    let (store, alarm) = Store::open(&file, now()).unwrap();
    assert_eq!((alarm, record(&store, "app")), (None, closed(7)));
    store.change(|d| put(d, "app", closed(8))).unwrap();
    drop(store);
    assert_eq!(record(&Store::open(&file, now()).unwrap().0, "app"), closed(8));
}

#[test]
fn a_failed_write_changes_nothing() {
    let (_folder, path, file) = place();
    let (store, _) = Store::open(&file, now()).unwrap();
    store.change(|d| put(d, "app", closed(1))).unwrap();
    fs::create_dir(beside(&path, ".new")).unwrap();
    let error = store.change(|d| put(d, "app", closed(2))).unwrap_err();
    assert_eq!(error.sqlstate(), "58030");
    assert_eq!(record(&store, "app"), closed(1));
    drop(store);
    assert_eq!(record(&Store::open(&file, now()).unwrap().0, "app"), closed(1));
}

/// Whatever is wrong: everything read_only, an epoch above all used, evidence kept, and a second start says the same state.
fn is_lost(path: &Path, file: &StateFile, at: Timestamp) -> Epoch {
    let was_there = path.exists();
    let (store, alarm) = Store::open(file, at).unwrap();
    assert!(alarm.unwrap().contains("EVERY DATABASE IS READ-ONLY"));
    let app = record(&store, "app");
    assert_eq!(app.switches.mode().as_str(), "read_only");
    assert_eq!(app, record(&store, "never seen"));
    assert_eq!(beside(path, ".damaged").exists(), was_there);
    drop(store);
    let (store, alarm) = Store::open(file, at).unwrap();
    assert_eq!((alarm, record(&store, "app")), (None, app.clone()));
    app.epoch
}

#[test]
fn an_empty_file_is_damage() {
    let (_folder, path, file) = place();
    fs::write(&path, b"").unwrap();
    assert_eq!(is_lost(&path, &file, now()).0, u64::try_from(now().as_second()).unwrap());
}

#[test]
fn a_missing_file_with_a_backup_is_damage() {
    let (_folder, path, file) = place();
    written(&file);
    fs::remove_file(&path).unwrap();
    is_lost(&path, &file, now());
}

#[test]
fn a_missing_file_without_a_backup_is_damage_once_there_has_been_one() {
    let (_folder, path, file) = place();
    written(&file);
    for gone in [path.clone(), beside(&path, ".bak")] {
        fs::remove_file(gone).unwrap();
    }
    let (store, alarm) = Store::open(&file, now()).unwrap();
    let alarm = alarm.unwrap();
    assert!(alarm.contains("EVERY DATABASE IS READ-ONLY") && alarm.contains("its backup too"), "{alarm}");
    assert!(record(&store, "app").epoch > Epoch(7));
    drop(store);
    is_lost_once(&path, &file);
}

/// What was lost stays closed until a person opens it; who starts over on purpose takes the lock file away too.
fn is_lost_once(path: &Path, file: &StateFile) {
    let (store, alarm) = Store::open(file, now()).unwrap();
    assert_eq!((alarm, record(&store, "app").switches.mode().as_str()), (None, "read_only"));
    drop(store);
    for ending in ["", ".bak", ".lock"] {
        let _ = fs::remove_file(beside(path, ending));
    }
    let (store, alarm) = Store::open(file, now()).unwrap();
    assert_eq!((alarm, record(&store, "app").switches.mode().as_str()), (None, "read_write"));
}

#[test]
fn a_first_start_leaves_a_state_and_so_does_one_of_an_earlier_version() {
    let (_folder, path, file) = place();
    drop(Store::open(&file, now()).unwrap());
    assert!(path.exists(), "only the first start is one");
    fs::remove_file(&path).unwrap();
    assert!(Store::open(&file, now()).unwrap().1.is_some());
    // A lock file that remembers nothing, as earlier versions left it.
    fs::write(beside(&path, ".lock"), b"").unwrap();
    drop(Store::open(&file, now()).unwrap());
    for gone in [path.clone(), beside(&path, ".bak")] {
        let _ = fs::remove_file(gone);
    }
    assert!(Store::open(&file, now()).unwrap().1.is_some());
}

#[test]
fn a_folder_in_its_place_is_damage() {
    let (_folder, path, file) = place();
    fs::create_dir(&path).unwrap();
    let (store, alarm) = Store::open(&file, now()).unwrap();
    assert!(alarm.unwrap().contains("could not be saved"));
    assert_eq!(record(&store, "app").switches.mode().as_str(), "read_only");
}

#[test]
fn a_newer_version_is_damage() {
    let (_folder, path, file) = place();
    written(&file);
    let text = fs::read_to_string(&path).unwrap().replace("\"version\":2", "\"version\":3");
    fs::write(&path, text).unwrap();
    is_lost(&path, &file, now());
}

#[test]
fn a_file_of_version_1_is_understood() {
    let (_folder, path, file) = place();
    let record = serde_json::to_string(&closed(7)).unwrap();
    let all = serde_json::to_string(&Record::fresh(now())).unwrap();
    let body = format!("{{\"all\":{all},\"databases\":{{\"app\":{record}}}}}");
    let sum = checksum(body.as_bytes());
    fs::write(&path, format!("{{\"version\":1,\"checksum\":\"{sum}\",\"body\":{body}}}\n")).unwrap();
    let (store, alarm) = Store::open(&file, now()).unwrap();
    assert_eq!((alarm, store.record_of_name("app"), store.closed_names().len()), (None, Some(closed(7)), 1));
}

#[test]
fn a_clock_that_stands_at_zero_does_not_bring_epochs_back() {
    let (_folder, path, file) = place();
    written(&file);
    fs::write(&path, b"junk").unwrap();
    // 7 was used; the backup says 6.
    assert_eq!(is_lost(&path, &file, Timestamp::UNIX_EPOCH), Epoch(8));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_flipped_bit_and_no_cut_goes_unseen(at in 0usize..10_000, bit in 0u8..8, cut: bool) {
        let mut document = Document::fresh(now());
        put(&mut document, "app", closed(7));
        let bytes = encode(&document).unwrap();
        let good = decode(&bytes).unwrap();
        let at = at % (bytes.len() - 1);
        let mut bad = bytes.clone();
        if cut { bad.truncate(at) } else { bad[at] ^= 1 << bit }
        // A flip that leaves the meaning as it was (the case of a checksum digit does not count) may pass.
        if let Ok(read) = decode(&bad) {
            prop_assert_eq!(read, good);
        }
    }
}

#[test]
fn changes_that_wait_for_the_disk_go_there_together() {
    let (_folder, _path, file) = place();
    let store = Arc::new(Store::open(&file, now()).unwrap().0);
    let held = store.in_force();
    let many: Vec<_> = (1..=50)
        .map(|epoch| {
            let store = store.clone();
            std::thread::spawn(move || store.change(move |d| put(d, &format!("d{epoch}"), closed(epoch))))
        })
        .collect();
    while store.queue.lock().unwrap().changes.len() < 50 {
        std::thread::yield_now();
    }
    drop(held);
    many.into_iter().for_each(|one| one.join().unwrap().unwrap());
    assert!(store.queue.lock().unwrap().changes.is_empty());
    drop(store);
    let (store, _) = Store::open(&file, now()).unwrap();
    assert!((1..=50).all(|epoch| record(&store, &format!("d{epoch}")) == closed(epoch)));
    // All went with one write: the backup is what was there before the first of them.
    let Place::File { path, .. } = &store.place else { panic!("there is a file") };
    assert!(matches!(read(&beside(path, ".bak")), Found::Document(before) if before.databases.is_empty()));
}

#[test]
fn epochs_that_could_not_be_saved_are_not_given_again_after_a_restart() {
    let (_folder, path, file) = place();
    written(&file);
    let (store, _) = Store::open(&file, now()).unwrap();
    // No file can be written beside it, as on a full disk.
    fs::create_dir(beside(&path, ".new")).unwrap();
    let open = |epoch| Record { switches: Switches::default(), ..closed(epoch) };
    for epoch in [8, 9, 10] {
        let why = store.change_unsaved(|d| put(d, "app", open(epoch)));
        assert!(why.is_some_and(|why| !why.contains("noted")));
    }
    drop(store);
    // It cannot be written by the next process either; the one after that finds the same.
    for _ in 0..2 {
        let (store, alarm) = Store::open(&file, now()).unwrap();
        assert_eq!(alarm, None);
        let found = record(&store, "app");
        assert!(found.epoch > Epoch(10) && record(&store, "other").epoch > Epoch(10), "{found:?}");
        assert_eq!(found.switches, closed(7).switches, "the mode is the one that was saved");
    }
    fs::remove_dir(beside(&path, ".new")).unwrap();
    let used = record(&Store::open(&file, now()).unwrap().0, "app").epoch;
    // It is saved now: nothing is raised any more.
    assert_eq!(record(&Store::open(&file, now()).unwrap().0, "app").epoch, used);
}

#[test]
fn however_fast_unsaved_starts_follow_each_other_no_epoch_is_given_twice() {
    let (_folder, path, file) = place();
    written(&file);
    fs::create_dir(beside(&path, ".new")).unwrap();
    let mut used = Epoch(7);
    for start in 0..4 {
        // All of them within one second; the last two find a file that is gone.
        if start == 2 {
            fs::remove_file(&path).unwrap();
        }
        let (store, _) = Store::open(&file, now()).unwrap();
        for _ in 0..3 {
            let epoch = record(&store, "app").epoch.next();
            assert!(epoch > used, "{epoch} after {used}");
            used = epoch;
            assert!(store.change_unsaved(move |d| put(d, "app", closed(epoch.0))).is_some());
        }
    }
}

#[test]
fn what_could_not_be_saved_is_saved_once_the_disk_takes_it() {
    let (_folder, path, file) = place();
    written(&file);
    let (store, _) = Store::open(&file, now()).unwrap();
    assert!(!store.save_again(), "there is nothing");
    fs::create_dir(beside(&path, ".new")).unwrap();
    let open = Record { switches: Switches::default(), ..closed(8) };
    let kept = open.clone();
    store.keep_unsaved(move |d| put(d, "app", kept), "full".into());
    assert!(store.unsaved() && !store.save_again());
    fs::remove_dir(beside(&path, ".new")).unwrap();
    assert!(store.save_again() && !store.unsaved());
    drop(store);
    // Neither the mode nor the epoch is another one after that.
    assert_eq!(record(&Store::open(&file, now()).unwrap().0, "app"), open);
}
