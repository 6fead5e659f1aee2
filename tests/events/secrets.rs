//! What is secret is in no line of the log, no event and no metric, whatever is logged.

use pgsluice_fixtures::raw::message::{bind, execute, parse, query, sync};
use pgsluice_fixtures::{Login, Raw};

use crate::http::get;
use crate::metrics::{HTTP, scrape};
use crate::receiver::Receiver;
use crate::stand::{SOON, builder, config, console, raw, rows, shown};

/// Each is planted in one place.
const PLANTED: [&str; 6] =
    ["plantedpassword1", "plantedtoken22", "plantedkey3333333", "plantedparameter4", "plantedliteral5", "plantedpath6"];

#[test]
fn passwords_tokens_keys_and_parameters_are_in_no_log_event_or_metric_at_any_level() {
    let [password, token, key, parameter, literal, path] = PLANTED;
    let receiver = Receiver::start();
    let url = receiver.url().replace("t0ken-in-the-path", path);
    let end = format!(
        "[[webhook]]\nurl = \"{url}\"\nsecret = \"{key}\"\n{}",
        HTTP.replace("[metrics]", &format!("token = \"{token}\"\n[metrics]"))
    );
    let text = config("log_level = \"trace\"\nlog_format = \"json\"\n", &end);
    let users = format!("\"app\" \"app\"\n\"admin\" \"secret\"\n\"stats\" \"stats\"\n\"planted\" \"{password}\"\n");
    let proxy = builder(&text).file("users", users).start().unwrap();
    let mut admin = console(&proxy);
    // Right and wrong passwords, and one for a role that the server does not have.
    for (user, given) in [("planted", password), ("app", password), ("nobody", password)] {
        let _ = Raw::connect(&proxy.tcp(), &Login::new(user, "app").password(given));
    }
    let mut app = raw(&proxy, "app", "app");
    let value = Some(parameter.as_bytes());
    let mut batch = parse("s", "select $1::text, $2::int", &[]);
    batch.extend(bind("", "s", &[value, value]));
    batch.extend(execute("", 0));
    batch.extend(sync());
    app.round_trip(&batch, SOON).unwrap();
    rows(&mut admin, "MAINTENANCE ON app");
    for statement in [format!("insert into t values (length('{literal}'))"), format!("select '{literal}'::int")] {
        app.query(&statement, SOON).unwrap_err();
    }
    app.round_trip(&query(&format!("set application_name = 'x'; prepare p as select '{literal}'")), SOON).unwrap();
    rows(&mut admin, "MAINTENANCE OFF app");
    get(proxy.port_named("http").unwrap(), "/v1/databases/app/banner", &format!("Authorization: Bearer {token}x\r\n"))
        .unwrap();
    let seen = [
        ("the log", proxy.log()),
        ("events", format!("{:?}", shown(&mut admin, ""))),
        ("metrics", scrape(&proxy)),
        ("SHOW CONFIG", format!("{:?}", rows(&mut admin, "SHOW CONFIG"))),
        ("SHOW WEBHOOKS", format!("{:?}", rows(&mut admin, "SHOW WEBHOOKS"))),
        ("webhooks", receiver.all().iter().map(|one| one.body.clone()).collect()),
    ];
    assert!(seen[0].1.contains("\"TRACE\"") || seen[0].1.contains("\"DEBUG\""), "the level is in force");
    for (place, text) in &seen {
        for secret in PLANTED {
            let line = text.lines().find(|line| line.contains(secret));
            assert!(line.is_none(), "{secret} in {place}: {line:?}");
        }
    }
}
