//! Keys that PgBouncer has too do what they do there.

use pgsluice_fixtures::{Login, Raw, wait};

use crate::stand::{SOON, await_primary, builder, cluster, config, raw, rows};

fn refused_by_server(user: &str) -> usize {
    cluster().primary().log().matches(&format!("password authentication failed for user \"{user}\"")).count()
}

#[test]
fn server_login_retry_spares_a_server_that_has_refused_a_role() {
    let users = |name: &str| format!("\"{name}\" \"{name}\"\n\"admin\" \"secret\"\n");
    for (name, retry) in [("patient", "1h"), ("hasty", "0")] {
        let config = config(&format!("server_login_retry = \"{retry}\""), "");
        let proxy = builder(&config).file("users", users(name)).start().unwrap();
        await_primary(&proxy);
        let log_in = || Raw::connect(&proxy.tcp(), &Login::new(name, "app").password(name));
        for _ in 0..3 {
            let error = log_in().err().unwrap();
            assert_eq!(error.sqlstate(), Some("28P01"), "the server's own word, each time");
        }
        let asked = if name == "patient" { 2 } else { 3 };
        wait::until(SOON, "the server's log", || (refused_by_server(name) >= asked).then_some(()));
        assert_eq!(refused_by_server(name), asked, "{name}");
        cluster().primary().psql(&format!("create role {name} login password '{name}'")).unwrap();
        if name == "patient" {
            assert_eq!(log_in().err().unwrap().sqlstate(), Some("28P01"), "the pause goes on");
            rows(&mut raw(&proxy, "admin", "pgsluice"), "RECONNECT app");
        }
        rows(&mut log_in().unwrap(), "select 1");
    }
}

#[test]
fn a_refusal_of_what_one_client_asks_for_is_not_repeated_to_others() {
    let users = "\"picky\" \"picky\"\n\"admin\" \"secret\"\n";
    cluster().primary().psql("create role picky login password 'picky'").unwrap();
    for mode in ["transaction", "session"] {
        let config = config(&format!("server_login_retry = \"1h\"\npool_mode = \"{mode}\""), "");
        let proxy = builder(&config).file("users", users).start().unwrap();
        await_primary(&proxy);
        let login = || Login::new("picky", "app").password("picky");
        for (name, value) in [("client_encoding", "klingon"), ("work_mem", "much"), ("options", "-c no_such=1")] {
            let error = Raw::connect(&proxy.tcp(), &login().parameter(name, value)).err().unwrap();
            assert!(["22023", "42704"].contains(&error.sqlstate().unwrap_or_default()), "{mode}, {name}: {error}");
            rows(&mut Raw::connect(&proxy.tcp(), &login()).unwrap(), "select 1");
            rows(&mut raw(&proxy, "admin", "pgsluice"), "RECONNECT app");
        }
    }
}
