//! SET and its like, with the fate of their transaction.

use crate::stand::Place;

#[test]
fn a_setting_whose_name_is_computed_stays_where_it_is() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    one.ask("SELECT set_config('work' || '_mem', '1MB', true)");
    one.ask("BEGIN; SELECT set_config('work' || '_mem', '1MB', true); COMMIT");
    assert!(place.pins().is_empty(), "{:?}", place.pins());
    one.ask("SELECT set_config('role', 'alice', false)");
    assert_eq!(place.pins(), ["settings"]);
    assert_eq!(one.value("SELECT current_user"), "alice");
    one.ask("DISCARD ALL");
    assert_eq!(other.value("SELECT current_user"), "dba");
    for computed in [
        "SELECT set_config('work' || '_mem', '1MB', false)",
        "DO $$BEGIN PERFORM set_config('work' || '_mem', '1MB', false); END$$",
    ] {
        one.ask(computed);
        assert_eq!(place.pins(), ["settings"], "{computed}");
        assert_eq!(one.value("SHOW work_mem"), "1MB");
        one.ask("DISCARD ALL");
        assert_eq!(other.value("SHOW work_mem"), "4MB", "{computed}");
    }
}

#[test]
fn a_setting_that_the_server_does_not_report_may_be_set_twice() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    one.ask("SELECT set_config('search_path', 'nowhere', false)");
    one.ask("SET search_path TO public, pg_temp");
    assert_eq!(other.value("SHOW search_path"), "\"$user\", public");
    assert_eq!(one.value("SHOW search_path"), "public, pg_temp");
    one.ask("RESET search_path");
    assert_eq!(other.value("SHOW search_path"), "\"$user\", public");
    assert_eq!(one.value("SHOW search_path"), "\"$user\", public");
}

#[test]
fn a_setting_is_what_its_transaction_has_made_of_it() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    let steps = [
        ("SET work_mem = '1MB'", "1MB"),
        ("BEGIN; SET work_mem = '2MB'; ROLLBACK", "1MB"),
        ("BEGIN; SET work_mem = '2MB'; SAVEPOINT s; SET work_mem = '3MB'; ROLLBACK TO s; COMMIT", "2MB"),
        ("BEGIN; SAVEPOINT s; SET work_mem = '3MB'; ROLLBACK TO s; COMMIT", "2MB"),
        ("BEGIN; SAVEPOINT s; SET work_mem = '3MB'; RELEASE s; COMMIT", "3MB"),
        ("BEGIN; SET work_mem = '4MB'; SAVEPOINT s; SET LOCAL work_mem = '5MB'; RELEASE s; COMMIT", "4MB"),
        ("BEGIN; SET work_mem = '5MB'; SAVEPOINT s; RESET work_mem; ROLLBACK TO s; COMMIT", "5MB"),
        ("BEGIN; SET work_mem = '5MB'; SAVEPOINT s; RESET ALL; COMMIT", "4MB"),
    ];
    for (step, expected) in steps {
        one.ask(step);
        assert_eq!(other.value("SHOW work_mem"), "4MB", "the other's, after {step}");
        assert_eq!(one.value("SHOW work_mem"), expected, "after {step}");
    }
    one.refused("BEGIN; SET work_mem = '6MB'; SELECT 1/0");
    one.ask("COMMIT");
    one.refused("SET work_mem = '6MB'; SELECT 1/0");
    assert_eq!(other.value("SHOW work_mem"), "4MB");
    assert_eq!(one.value("SHOW work_mem"), "4MB");
    assert!(place.pins().is_empty(), "{:?}", place.pins());
}

#[test]
fn who_cannot_have_its_settings_is_sent_away() {
    let place = Place::new();
    if place.stand.major() < 15 {
        return;
    }
    let (mut one, mut other) = (place.client(), place.client());
    one.ask("CREATE TABLE written (n int)");
    one.ask("SET plpgsql.unheard_of = 1");
    // Now the library is there, and takes the names of its settings for itself, as none did before PostgreSQL 15.
    other.ask("DO 'BEGIN END'");
    let refused = one.refused("BEGIN");
    assert!(refused.contains("FATAL") && refused.contains("plpgsql.unheard_of"), "{refused}");
    assert_eq!(other.value("SELECT count(*) FROM written"), "0");
}
