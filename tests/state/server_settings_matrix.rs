//! What is altered for a database, a role or the server, and what a client makes of it: each step gives what it gives on a direct
//! connection beside it.

use pgsluice_fixtures::{Login, Raw, wait};

use crate::stand::{Client, SOON, Stand, USER};

/// Each with another value. The server reports the last four only.
const SETTINGS: [(&str, &str); 9] = [
    ("work_mem", "'7MB'"),
    ("statement_timeout", "'77s'"),
    ("client_min_messages", "'warning'"),
    ("app.\"user\"", "'of the server'"),
    ("app.\"current_user\"", "'of the server'"),
    ("default_transaction_read_only", "on"),
    ("timezone", "'Asia/Tokyo'"),
    ("datestyle", "'German, DMY'"),
    ("intervalstyle", "'iso_8601'"),
];

/// What a client does with them, one step after the other.
const STEPS: [&str; 22] = [
    "SELECT 1",
    "SET timezone = 'Europe/Berlin'; SET work_mem = '5MB'; SET app.\"user\" = 'own'",
    "RESET timezone",
    "RESET work_mem; RESET app.\"user\"",
    "SET datestyle = 'SQL, MDY'; SET statement_timeout = '55s'",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "RESET ALL",
    "SET app.\"user\" = 'own'; SET intervalstyle = 'sql_standard'",
    "DISCARD ALL",
    "BEGIN; SET LOCAL timezone = 'Europe/Berlin'; SET LOCAL app.\"user\" = 'local'; SET work_mem = '6MB'; COMMIT",
    "BEGIN; SET timezone = 'Europe/Berlin'; SET app.\"user\" = 'undone'; RESET work_mem; ROLLBACK",
    "BEGIN; RESET ALL; ROLLBACK",
    "SET timezone TO DEFAULT; SET work_mem TO DEFAULT; SET app.\"user\" TO DEFAULT",
    "SELECT set_config('app.user', 'own', false), set_config('timezone', 'UTC', false)",
    "SET default_transaction_read_only = off",
    "BEGIN; RESET default_transaction_read_only; SET datestyle = 'SQL'; COMMIT",
    "SELECT set_config('app.user', NULL, false), set_config('timezone', NULL, false)",
    "SET ROLE bob",
    "RESET ROLE",
    "SET ROLE NONE",
    "DISCARD ALL",
    "RESET ALL",
];

const SHOWN: [&str; 4] = ["default_transaction_read_only", "TimeZone", "DateStyle", "IntervalStyle"];

/// Every setting by its name (one of an application's own that was ever set on a server connection is empty and not missing there, for
/// good), who the client is, and what it was last told.
fn seen(client: &mut Client) -> Vec<String> {
    let mut all: Vec<String> = SETTINGS
        .iter()
        .map(|(name, _)| {
            let plain = name.replace('"', "");
            format!("{name}={}", client.value(&format!("SELECT coalesce(current_setting('{plain}', true), '')")))
        })
        .collect();
    all.push(client.value("SELECT current_user || ' of ' || session_user"));
    let parameters = client.0.parameters();
    all.extend(SHOWN.map(|name| format!("told {name}={}", parameters.get(name).map_or("", String::as_str))));
    all
}

fn connect(stand: &Stand, direct: bool, options: &str) -> Client {
    let mut login = Login::new("alice", "d0");
    if !options.is_empty() {
        login = login.parameter("options", options);
    }
    let address = if direct { stand.server() } else { stand.proxy.tcp() };
    Client(Raw::connect(&address, &login).unwrap())
}

/// The same steps on both, with what is seen behind each.
fn compare(what: &str, ours: &mut Client, direct: &mut Client) {
    for (at, step) in STEPS.iter().enumerate() {
        for client in [&mut *ours, &mut *direct] {
            client.ask(step);
        }
        assert_eq!(seen(ours), seen(direct), "{what}, step {at}: {step}");
    }
}

/// Who may alter the server's settings whatever they are.
fn alters(stand: &Stand) -> Client {
    let mut dba = stand.direct(USER, "postgres");
    dba.ask("SET default_transaction_read_only = off");
    dba
}

fn levels() -> [(&'static str, &'static str); 5] {
    [
        ("database", "ALTER DATABASE d0"),
        ("role", "ALTER ROLE alice"),
        ("role in database", "ALTER ROLE alice IN DATABASE d0"),
        ("all roles", "ALTER ROLE ALL"),
        ("server", "ALTER SYSTEM"),
    ]
}

/// Alters everything there, and waits until new connections see it.
fn alter(stand: &Stand, dba: &mut Client, (level, alter): (&str, &str), sets: bool) {
    for (name, value) in SETTINGS {
        // ALTER SYSTEM knows no settings that are nobody's.
        if level == "server" && name.contains('.') {
            continue;
        }
        dba.ask(&if sets { format!("{alter} SET {name} = {value}") } else { format!("{alter} RESET {name}") });
    }
    if level == "server" {
        dba.ask("SELECT pg_reload_conf()");
        let mut looks = connect(stand, true, "");
        wait::until(SOON, "the reload", || ((looks.value("SHOW work_mem") == "7MB") == sets).then_some(()));
    } else {
        stand.client(USER, "pgsluice").ask("RECONNECT");
    }
}

/// Levels in turn, each set and taken back: new clients and those that were there before, idle or in a transaction.
fn matrix(size: usize, mode: &str) {
    let stand = Stand::start(&format!("default_pool_size = {size}\npool_mode = \"{mode}\""), 1);
    let mut dba = alters(&stand);
    dba.ask("GRANT bob TO alice");
    let before = seen(&mut connect(&stand, true, ""));
    for level in levels() {
        for sets in [true, false] {
            let what = format!("{} {} of {size} in {mode} mode", level.0, if sets { "set" } else { "reset" });
            let session = mode == "session";
            let mut old = connect(&stand, false, "");
            old.ask("SELECT 1");
            // With one server connection nobody else gets any meanwhile.
            let mut open = (size > 1).then(|| connect(&stand, false, ""));
            if let Some(open) = &mut open {
                open.ask("BEGIN");
                open.ask("SELECT 1");
            }
            alter(&stand, &mut dba, level, sets);
            if let Some(open) = &mut open {
                open.ask("COMMIT");
            }
            let mut direct = connect(&stand, true, "");
            let expected = seen(&mut direct);
            assert_eq!(expected == before, !sets, "{what}");
            // A session that keeps its server connection has what that has.
            if !session || level.0 == "server" {
                for client in [Some(&mut old), open.as_mut()].into_iter().flatten() {
                    client.ask("SELECT 1");
                    assert_eq!(seen(client), expected, "{what}: one that was there");
                }
            }
            drop((old, open));
            let mut new = connect(&stand, false, "");
            new.ask("SELECT 1");
            assert_eq!(seen(&mut new), expected, "{what}: a new one");
            compare(&what, &mut new, &mut direct);
            drop(new);
            let options =
                "-c timezone=America/Lima -c app.user=asked -c work_mem=9MB -c default_transaction_read_only=off";
            let (mut new, mut direct) = (connect(&stand, false, options), connect(&stand, true, options));
            compare(&format!("{what} with options"), &mut new, &mut direct);
            if !session {
                let (mut other, mut direct) = (connect(&stand, false, ""), connect(&stand, true, ""));
                other.ask("SELECT 1");
                assert_eq!(seen(&mut other), seen(&mut direct), "{what}: behind one with options");
            }
        }
    }
}

#[test]
fn altered_settings_are_those_of_a_direct_connection_step_by_step() {
    matrix(1, "transaction");
}

#[test]
fn altered_settings_are_those_of_a_direct_connection_step_by_step_in_a_large_pool() {
    matrix(20, "transaction");
}

#[test]
fn altered_settings_are_those_of_a_direct_connection_step_by_step_in_session_mode() {
    matrix(20, "session");
}

#[test]
fn a_role_that_is_altered_to_take_another_one_takes_it_as_on_a_direct_connection() {
    for size in [1, 20] {
        let stand = Stand::start(&format!("default_pool_size = {size}"), 1);
        let mut dba = alters(&stand);
        dba.ask("GRANT bob TO alice; CREATE ROLE crew; GRANT crew TO alice; ALTER ROLE crew SET work_mem = '9MB'");
        for (set, reset) in [
            ("ALTER ROLE alice SET role = 'bob'", "ALTER ROLE alice RESET role"),
            ("ALTER ROLE alice IN DATABASE d0 SET role = 'crew'", "ALTER ROLE alice IN DATABASE d0 RESET role"),
            ("ALTER ROLE alice SET app.\"user\" = 'current_user'", "ALTER ROLE alice RESET app.\"user\""),
        ] {
            for sql in [set, reset] {
                dba.ask(sql);
                stand.client(USER, "pgsluice").ask("RECONNECT");
                let (mut ours, mut direct) = (connect(&stand, false, ""), connect(&stand, true, ""));
                compare(sql, &mut ours, &mut direct);
                let (mut other, mut direct) = (connect(&stand, false, ""), connect(&stand, true, ""));
                compare(sql, &mut other, &mut direct);
                // Another user's connections are another pool's.
                let who = "SELECT current_user";
                assert_eq!(stand.client("bob", "d0").value(who), "bob", "{sql}");
            }
        }
    }
}
