//! What was counted before an upgrade is told after it: statistics, what a maintenance has kept out, a rehearsal, events.

use pgsluice_fixtures::wait;

use crate::stand::{SOON, Stand, config, rows, value};

/// The row of a database in what the console shows, as `name=value`.
fn shown(stand: &Stand, sql: &str, of: &str) -> Vec<String> {
    let mut admin = stand.raw("admin", "pgsluice");
    let all = rows(&mut admin, sql);
    let found = all.into_iter().find(|row| row[0].as_deref() == Some(of));
    found.unwrap_or_else(|| panic!("no {of} in {sql}")).into_iter().flatten().collect()
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("{text}"))
}

#[test]
fn counters_and_the_lists_of_a_maintenance_and_of_a_rehearsal_go_on_in_the_new_process() {
    let stand = Stand::new(&config("", ""));
    let mut client = stand.raw("app", "app");
    for nth in 0..5 {
        rows(&mut client, &format!("select {nth}"));
    }
    rows(&mut stand.raw("admin", "pgsluice"), "maintenance rehearse app for '10min'");
    for _ in 0..2 {
        rows(&mut client, "insert into w values ('rehearsed', 1) on conflict do nothing");
    }
    let rehearsed = |stand: &Stand| rows(&mut stand.raw("admin", "pgsluice"), "show rehearsal");
    let before = rehearsed(&stand);
    assert_eq!(before.len(), 1, "{before:?}");
    stand.upgrade();
    assert_eq!(rehearsed(&stand), before);
    // It goes on, and counts together with what was counted before.
    rows(&mut client, "insert into w values ('rehearsed', 2) on conflict do nothing");
    let row = rehearsed(&stand);
    assert!(row.len() == 1 && row[0].iter().flatten().any(|cell| cell == "3"), "{row:?}");
    rows(&mut stand.raw("admin", "pgsluice"), "maintenance rehearse app stop");

    let totals = shown(&stand, "show stats_totals", "app");
    assert!(number(&totals[2]) >= 8, "{totals:?}");
    rows(&mut stand.raw("admin", "pgsluice"), "maintenance on app with (writes reject)");
    client.query("insert into w values ('kept out', 1)", SOON).unwrap_err();
    let refused = |stand: &Stand| -> u64 {
        let state = rows(&mut stand.raw("admin", "pgsluice"), "show state");
        let of = state.iter().filter(|row| row[0].as_deref().is_some_and(|name| name.starts_with("refused_by_")));
        of.map(|row| number(row[1].as_deref().unwrap())).sum()
    };
    assert_eq!(refused(&stand), 1);
    for nth in 0..2 {
        stand.upgrade();
        let later = shown(&stand, "show stats_totals", "app");
        assert!(number(&later[2]) >= number(&totals[2]), "upgrade {nth}: {later:?} after {totals:?}");
        assert_eq!(refused(&stand), 1, "upgrade {nth}");
    }
    client.query("insert into w values ('kept out', 1)", SOON).unwrap_err();
    assert_eq!(refused(&stand), 2);
    // Who has been kept out, and that an upgrade has been.
    let events = rows(&mut stand.raw("admin", "pgsluice"), "show events");
    assert!(events.iter().flatten().flatten().any(|cell| cell == "took_over"), "{events:?}");
}

#[test]
fn numbers_of_events_only_grow_and_idle_clocks_run_on() {
    let stand = Stand::new(&config("", ""));
    let last = |stand: &Stand| {
        let events = rows(&mut stand.raw("admin", "pgsluice"), "show events");
        events.iter().filter_map(|row| row[0].as_deref()?.parse::<u64>().ok()).max().unwrap_or(0)
    };
    let mut client = stand.raw("app", "app");
    rows(&mut client, "set idle_session_timeout = '6s'");
    let began = std::time::Instant::now();
    let mut before = last(&stand);
    for _ in 0..2 {
        stand.upgrade();
        let now = last(&stand);
        assert!(now > before, "{now} after {before}");
        before = now;
    }
    let frames = client.frames_until_closed(SOON).unwrap();
    let error = frames.iter().find_map(|frame| frame.error()).unwrap();
    assert_eq!(error.code(), "57P05");
    assert!(began.elapsed() < std::time::Duration::from_secs(12), "{:?}", began.elapsed());
    let mut admin = stand.raw("admin", "pgsluice");
    wait::until(SOON, "no client of the database", || {
        let clients = rows(&mut admin, "show clients");
        (!clients.iter().flatten().flatten().any(|cell| cell == "app")).then_some(())
    });
    assert_eq!(value(&mut stand.raw("app", "app"), "select 1"), "1");
}
