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

/// Statements and log-ins that have a secret in them, each in a form of its own.
fn statements(secret: impl Fn() -> String) -> Vec<String> {
    let literals = [
        "'{}'",
        "E'\\x41{}'",
        "U&'\\0041{}'",
        "$${}$$",
        "$q${}$q$",
        "'x''{}'",
        "B'1'::text || '{}'",
        "('{\"k\": \"{}\"}'::json)::text",
    ];
    let mut all: Vec<String> =
        literals.iter().map(|form| format!("select pg_sleep(0.003), {}", form.replace("{}", &secret()))).collect();
    all.extend([
        format!("select pg_sleep(0.003) /* {} */", secret()),
        format!("select pg_sleep(0.003) -- {}", secret()),
        format!("notify chan, '{}'", secret()),
        format!("create role made login password '{}'", secret()),
        format!("set application.secret = '{}'", secret()),
        format!("select set_config('application.secret', '{}', false)", secret()),
        format!("do $$ begin perform '{}'; raise exception 'no {}'; end $$", secret(), secret()),
        format!("execute nosuch('{}')", secret()),
        format!("insert into t values ('{}')", secret()),
        format!("create user mapping for app server nosuch options (password '{}')", secret()),
        format!("create subscription s connection 'password={}' publication p", secret()),
        format!("select '{}' from", secret()),
        format!("select 'unterminated {}", secret()),
        format!("copy t from program '{}'", secret()),
        format!("declare c cursor for select '{}'", secret()),
        format!("begin; insert into t values (length('{}')); select pg_sleep(0.003); rollback", secret()),
    ]);
    all
}

/// The names of prepared statements and cursors are none: a log may have them.
#[test]
fn no_form_of_a_statement_takes_what_is_in_it_to_a_log_an_event_the_api_or_the_page() {
    let next = std::cell::Cell::new(0);
    let secret = || {
        next.set(next.get() + 1);
        format!("geheim{:03}x", next.get())
    };
    let receiver = Receiver::start();
    let (read, monitor) = (secret(), secret());
    let hash: String = {
        use sha2::Digest as _;
        sha2::Sha256::digest(format!("{read}-and-more")).iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let hook = format!("[[webhook]]\nurl = \"{}\"\nsecret = \"{}-and-more-of-it\"\n", receiver.url(), secret());
    let http = HTTP.replace("[metrics]", &format!("read_tokens = [\"dash:{hash}\"]\n[metrics]"));
    let top = "log_level = \"trace\"\nlog_format = \"json\"\nlog_min_duration = \"1ms\"\n";
    let named = format!("[databases.named]\ndbname = \"app\"\nuser = \"app\"\npassword = \"{monitor}\"\n");
    let proxy = builder(&config(top, &format!("{named}{hook}{http}"))).start().unwrap();
    let mut admin = console(&proxy);
    let port = proxy.port_named("http").unwrap();
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    let token = bearer(&format!("{read}-and-more"));
    let ask = |path: &str| get(port, path, &token).unwrap();
    // Wrong tokens, in headers and in the query; a log-in whose password is wrong where the server's is.
    get(port, "/v1/session", &bearer(&format!("{}-wrong-token", secret()))).unwrap();
    get(port, &format!("/v1/session?access_token={}", secret()), "").unwrap();
    let _ = Raw::connect(&proxy.tcp(), &Login::new("app", "named").password("app"));
    let _ = Raw::connect(&proxy.tcp(), &Login::new("app", "app").password(&secret()));
    let _ = Raw::connect(
        &proxy.tcp(),
        &Login::new("app", "app").password("app").parameter("options", &format!("-c my.secret={}", secret())),
    );
    for closed in [false, true] {
        if closed {
            rows(&mut admin, "MAINTENANCE ON app WITH (writes hold, hold_timeout '100ms')");
        }
        for statement in statements(secret) {
            let mut app = raw(&proxy, "app", "app");
            let _ = app.query(&statement, SOON);
            let mut app = raw(&proxy, "app", "app");
            let mut batch = parse("", &statement, &[]);
            batch.extend(bind("", "", &[]));
            batch.extend(execute("", 0));
            batch.extend(sync());
            let _ = app.round_trip(&batch, SOON);
        }
    }
    // Secrets that are given to the console by mistake.
    for statement in [format!("SET monitor_password = '{}'", secret()), format!("SELECT '{}'", secret())] {
        let _ = admin.query(&statement, SOON);
    }
    rows(&mut admin, "MAINTENANCE OFF app");
    let mut seen = vec![
        ("the log", proxy.log()),
        ("events", format!("{:?}", shown(&mut admin, ""))),
        ("webhooks", receiver.all().iter().map(|one| one.body.clone()).collect()),
        ("metrics", scrape(&proxy)),
    ];
    for show in ["CLIENTS", "SERVERS", "CONFIG", "CONFIG NOTES", "DATABASES", "MAINTENANCE", "USERS", "STATS", "LISTS"]
    {
        seen.push(("SHOW", format!("{:?}", admin.query(&format!("SHOW {show}"), SOON))));
    }
    let paths = [
        "/v1/status?database=app",
        "/v1/databases/app/kept-out",
        "/v1/clients",
        "/v1/servers",
        "/v1/events",
        "/v1/operations",
    ];
    for path in paths.into_iter().chain(["/status", "/openapi.json", "/v1/databases/app/banner"]) {
        let answer = ask(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.head);
        seen.push((path, answer.head + &answer.body));
    }
    for (place, text) in &seen {
        let found: Vec<_> = text.lines().filter(|line| line.contains("geheim")).take(5).collect();
        assert!(found.is_empty(), "in {place}: {found:#?}");
    }
}
