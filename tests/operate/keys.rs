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
        let asked = if name == "patient" { 1 } else { 3 };
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
