//! What functions leave behind in the session that calls them: settings follow the client, what cannot keeps its server
//! connection, and nobody else finds any of it. One server connection serves all clients of a place.

use crate::stand::{Client, Place, SOON, Stand};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::wait;

const TENANT: &str = "SELECT coalesce(nullif(current_setting('app.tenant', true), ''), 'none')";

/// Does it until the catalog has been read and it shows: a function counts from then on.
#[track_caller]
fn until(what: &str, mut shows: impl FnMut() -> bool) {
    wait::until(SOON, what, || shows().then_some(()));
}

/// Once the server has been asked what is left.
#[track_caller]
fn until_pinned(place: &Place, pins: &[&str], why: &str) {
    wait::until(SOON, &format!("pinned {pins:?} by {why}"), || (place.pins() == pins).then_some(()));
}

fn function(client: &mut Client, head: &str, body: &str) {
    client.ask(&format!("CREATE FUNCTION {head} LANGUAGE plpgsql AS $f$ BEGIN {body} END $f$"));
}

#[test]
fn settings_made_inside_follow_the_client() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    one.ask("CREATE TABLE things (tenant text)");
    function(&mut one, "entered() RETURNS trigger", "PERFORM enter(new.tenant); RETURN new;");
    one.ask("CREATE TRIGGER entered BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION entered()");
    function(&mut one, "outermost() RETURNS void", "PERFORM enter('outer');");
    function(&mut one, "enter(tenant text) RETURNS void", "PERFORM set_config('app.tenant', tenant, false);");
    until("the function is known", || {
        one.ask("SELECT enter('one')");
        other.value(TENANT) == "none"
    });
    assert_eq!(one.value(TENANT), "one");
    other.ask("SELECT enter('other')");
    for (how, is) in [
        ("SELECT outermost()", "outer"),
        ("INSERT INTO things VALUES ('trigger')", "trigger"),
        ("COPY (SELECT enter('copy')) TO STDOUT", "copy"),
        ("DO $$ BEGIN PERFORM enter('do'); END $$", "do"),
        ("DO $$ BEGIN EXECUTE format('SET app.tenant = %L', 'format'); END $$", "format"),
        ("SELECT set_config('app.tenant', lower('CALL'), false)", "call"),
        ("SET app.tenant = 'plain'", "plain"),
        ("BEGIN; SELECT enter('lost'); ROLLBACK", "plain"),
        ("BEGIN; SELECT enter('kept'); COMMIT", "kept"),
        ("RESET app.tenant", "none"),
    ] {
        one.ask(how);
        until_pinned(&place, &[], how);
        assert_eq!((&*other.value(TENANT), &*one.value(TENANT)), ("other", is), "{how}");
    }
    one.prepared("SELECT enter('extended')");
    assert_eq!((&*other.value(TENANT), &*one.value(TENANT)), ("other", "extended"));
    one.ask("BEGIN; SELECT enter('block')");
    assert_eq!(one.value(TENANT), "block");
    one.ask("COMMIT");
    assert_eq!((&*other.value(TENANT), &*one.value(TENANT)), ("other", "block"));
    let oid = one.value("SELECT 'enter'::regproc::oid").parse().unwrap();
    one.0.round_trip(&message::function_call(oid, &[Some(b"number")]), SOON).unwrap();
    assert_eq!((&*other.value(TENANT), &*one.value(TENANT)), ("other", "number"));
    until_pinned(&place, &[], "nothing");
}

#[test]
fn a_setting_of_postgresqls_own_is_asked_for_too() {
    let place = Place::new();
    let (mut one, mut other) = (place.client(), place.client());
    let before = one.value("SHOW work_mem");
    function(&mut one, "wide(big bool) RETURNS void", "IF big THEN SET work_mem = '77MB'; END IF;");
    until("the function is known", || {
        one.ask("SELECT wide(true)");
        other.value("SHOW work_mem") == before
    });
    assert_eq!(one.value("SHOW work_mem"), "77MB");
    // The branch was not taken: nothing has been set.
    other.ask("SELECT wide(false)");
    assert_eq!(other.value("SHOW work_mem"), before);
}

#[test]
fn what_cannot_follow_keeps_the_connection_until_nothing_is_left() {
    let place = Place::new();
    let mut one = place.client();
    let bodies = [
        ("listens", "LISTEN news;", "listen", "UNLISTEN *"),
        ("makes", "CREATE TEMP TABLE IF NOT EXISTS mine (a int);", "temporary table", "DROP TABLE mine"),
        (
            "puts_together",
            "EXECUTE 'CREATE TEMP TABLE ' || 'built' || ' (a int)';",
            "temporary table",
            "DROP TABLE built",
        ),
        ("locks", "PERFORM pg_advisory_lock(815);", "advisory lock", "SELECT unlocks()"),
        ("names", "PERFORM set_config(lower('APP.') || 'x', 'y', false);", "function", "DISCARD ALL"),
    ];
    function(&mut one, "unlocks() RETURNS void", "PERFORM pg_advisory_unlock_all();");
    for (name, body, _, _) in bodies {
        function(&mut one, &format!("{name}() RETURNS void"), body);
    }
    // Read, from the first on.
    until("the functions are known", || {
        one.ask("SELECT names()");
        place.pins() == ["function"]
    });
    one.ask("DISCARD ALL");
    for (name, _, pin, end) in bodies {
        one.ask(&format!("SELECT {name}()"));
        until_pinned(&place, &[pin], name);
        one.ask(end);
        until_pinned(&place, &[], end);
    }
    // Nothing was left, or it was undone.
    function(&mut one, "passing() RETURNS void", "CREATE TEMP TABLE gone (a int) ON COMMIT DROP;");
    for passing in [
        "SELECT passing()",
        "BEGIN; SELECT makes(); ROLLBACK",
        "BEGIN; SELECT listens(), locks(); ROLLBACK; SELECT unlocks()",
    ] {
        one.ask(passing);
        until_pinned(&place, &[], passing);
    }
    for (block, pin, end) in [
        ("DO $$ BEGIN CREATE TEMP TABLE mine (a int); END $$", "temporary table", "DROP TABLE mine"),
        ("DO $$ BEGIN PERFORM locks(); END $$", "advisory lock", "SELECT pg_advisory_unlock(815)"),
        ("PREPARE p AS SELECT locks(); EXECUTE p; DEALLOCATE p", "advisory lock", "SELECT pg_advisory_unlock(815)"),
    ] {
        one.ask(block);
        until_pinned(&place, &[pin], block);
        one.ask(end);
        until_pinned(&place, &[], end);
    }
}

#[test]
fn functions_made_elsewhere_are_found_within_the_interval() {
    let stand = Stand::start("default_pool_size = 1\ncatalog_check_interval = \"300ms\"", 1);
    let (mut one, mut other) = (stand.client("dba", "d0"), stand.client("dba", "d0"));
    function(
        &mut stand.direct("dba", "d0"),
        "enter(tenant text) RETURNS void",
        "PERFORM set_config('app.tenant', tenant, false);",
    );
    until("the function is known", || {
        one.ask("SELECT enter('one')");
        other.value(TENANT) == "none"
    });
    // Another body, other settings.
    stand.direct("dba", "d0").ask(
        "CREATE OR REPLACE FUNCTION enter(tenant text) RETURNS void LANGUAGE sql AS $$ SELECT set_config('app.other', tenant, false) $$",
    );
    let another = "SELECT coalesce(nullif(current_setting('app.other', true), ''), 'none')";
    until("its new body is known", || {
        one.ask("SELECT enter('two')");
        other.value(another) == "none"
    });
    assert_eq!((one.value(TENANT), one.value(another)), ("one".into(), "two".into()));
}

#[test]
fn in_maintenance_too() {
    let stand = Stand::start("default_pool_size = 1", 1);
    let (mut one, mut other) = (stand.client("dba", "d0"), stand.client("dba", "d0"));
    function(&mut one, "enter(tenant text) RETURNS text", "RETURN set_config('app.tenant', tenant, false);");
    until("the function is known", || {
        one.ask("SELECT enter('one')");
        other.value(TENANT) == "none"
    });
    stand.client("dba", "pgsluice").ask("MAINTENANCE ON d0 WITH (drain_timeout '10s', on_timeout revert)");
    assert_eq!((one.value(TENANT), other.value(TENANT)), ("one".into(), "none".into()));
    other.ask("SELECT enter('other')");
    one.prepared("SELECT enter('still one')");
    assert_eq!((one.value(TENANT), other.value(TENANT)), ("still one".into(), "other".into()));
    stand.client("dba", "pgsluice").ask("MAINTENANCE OFF d0");
    assert_eq!((one.value(TENANT), other.value(TENANT)), ("still one".into(), "other".into()));
}
