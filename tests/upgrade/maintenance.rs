//! A closed gate stays closed through upgrades, and whoever is held behind it moves with the message.

use pgsluice_fixtures::raw::message;

use crate::stand::{SOON, Stand, config, rows, value};

const CLOSE: &str = "maintenance on app with (writes hold, hold_timeout '120s')";

#[test]
fn a_held_write_waits_through_upgrades_and_runs_once_when_the_new_process_opens_the_gate() {
    let stand = Stand::new(&config("", ""));
    let mut admin = stand.raw("admin", "pgsluice");
    let (mut held, mut reader) = (stand.raw("app", "app"), stand.raw("app", "app"));
    rows(&mut held, "select 1");
    rows(&mut admin, CLOSE);
    // It has heard of the flip by then.
    rows(&mut held, "select 1");
    held.send(&message::query("insert into w values ('held', 1)")).unwrap();
    let epoch = |stand: &Stand| value(&mut stand.raw("app", "app"), "show pgsluice.epoch");
    let before = epoch(&stand);
    for _ in 0..3 {
        stand.upgrade();
        assert_eq!(value(&mut reader, "show default_transaction_read_only"), "on");
        assert_eq!(value(&mut reader, "select count(*) from w where writer = 'held'"), "0");
        assert_eq!(epoch(&stand), before);
        assert!(held.frames_so_far().unwrap().is_empty());
    }
    rows(&mut stand.raw("admin", "pgsluice"), "maintenance off app");
    held.frames_until_ready(SOON).unwrap();
    assert_eq!(value(&mut reader, "select count(*) from w where writer = 'held'"), "1");
}

#[test]
fn no_write_passes_at_any_moment_of_upgrades_behind_a_closed_gate() {
    let stand = Stand::new(&config("", ""));
    let mut raws: Vec<_> = (0..12).map(|_| stand.raw("app", "app")).collect();
    raws.push(stand.raw("app", "session"));
    rows(&mut stand.raw("admin", "pgsluice"), "maintenance on app with (writes reject)");
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let threads: Vec<_> = raws
        .into_iter()
        .map(|mut raw| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut refused = 0;
                while !stop.load(std::sync::atomic::Ordering::SeqCst) {
                    let error = raw.query("insert into w values ('closed', 1)", SOON).unwrap_err();
                    assert_eq!(error.sqlstate(), Some("25006"), "{error}");
                    refused += 1;
                }
                refused
            })
        })
        .collect();
    for _ in 0..3 {
        stand.upgrade();
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    let refused: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(refused > 100, "{refused}");
}

#[test]
fn a_command_of_the_gate_waits_while_two_processes_serve_clients() {
    let stand = Stand::new(&config("", ""));
    let mut block = stand.raw("app", "app");
    rows(&mut block, "begin; insert into w values ('both', 1)");
    let former = stand.pid();
    stand.try_upgrade(&[]).unwrap();
    let mut admin = stand.raw("admin", "pgsluice");
    admin.send(&message::query("maintenance on app with (writes reject)")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(stand.runs(former) && !admin.frames_so_far().unwrap().iter().any(|frame| frame.tag == b'Z'));
    rows(&mut block, "commit");
    admin.frames_until_ready(SOON).unwrap();
    assert!(!stand.runs(former), "it had ended by then");
    let error = block.query("insert into w values ('both', 2)", SOON).unwrap_err();
    assert_eq!(error.sqlstate(), Some("25006"));
}

#[test]
fn nothing_is_handed_over_while_a_command_of_the_gate_is_under_way() {
    let stand = Stand::new(&config("", ""));
    let mut block = stand.raw("app", "app");
    rows(&mut block, "begin; insert into w values ('drain', 1)");
    let mut admin = stand.raw("admin", "pgsluice");
    admin.send(&message::query("maintenance on app with (writes reject, drain_timeout '60s')")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let before = stand.pid();
    let error = stand.try_upgrade(&[]).unwrap_err();
    assert!(error.contains("under way"), "{error}");
    rows(&mut block, "commit");
    admin.frames_until_ready(SOON).unwrap();
    assert_eq!(stand.pid(), before);
    stand.upgrade();
}
