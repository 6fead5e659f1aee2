//! `pgsluice maintenance …`.

use std::process::{Command, Output};

use pgsluice_fixtures::Proxy;
use pgsluice_fixtures::proxy::binary;

use crate::stand::{client, config, console, proxy, proxy_with, refusal, rows, table};

fn maintenance(proxy: &Proxy, user: &str, password: &str, args: &[&str]) -> Output {
    let url = format!("postgres://{user}@127.0.0.1:{}/pgsluice", proxy.port());
    Command::new(binary(env!("CARGO_BIN_EXE_pgsluice")))
        .arg("maintenance")
        .args(args)
        .env("PGSLUICE_ADMIN", url)
        .env("PGPASSWORD", password)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_whole_way() {
    let proxy = proxy();
    let mut app = client(&proxy);
    let admin = |args: &[&str]| maintenance(&proxy, "admin", "secret", args);
    let on = admin(&["on", "app", "--message", "it's on", "--drain-timeout", "9s", "--expire", "2h"]);
    assert!(on.status.success(), "{on:?}");
    let printed = text(&on.stdout);
    assert!(
        printed.contains("mode            | read_only\n") && printed.contains("message         | it's on\n"),
        "{printed}"
    );
    assert_eq!(refusal(&mut app, "insert into t values (8)"), "25006");
    let status = text(&admin(&["status", "*"]).stdout);
    assert!(status.starts_with("database | mode") && status.lines().count() == 4, "{status}");
    let status = text(&admin(&["status", "app"]).stdout);
    assert!(status.contains("| read_only\n") && status.contains("drain_timeout | 9s\n"), "{status}");
    assert!(admin(&["off", "app"]).status.success());
    rows(&mut app, "insert into t values (8)");
    let mut console = console(&proxy);
    assert_eq!(table(&mut console, "SHOW MAINTENANCE app").value(&[("database", "app")], "mode"), "read_write");
}

/// Runs the program with these arguments and variables, and nothing of this process' own environment.
fn run(args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(binary(env!("CARGO_BIN_EXE_pgsluice")));
    let output = command.args(args).env_clear().envs(variables.iter().copied()).output().unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_waits_is_told_and_each_kind_of_failure_has_a_code_of_its_own() {
    let proxy = proxy();
    let mut app = client(&proxy);
    rows(&mut app, "begin; insert into t values (9)");
    let on = maintenance(&proxy, "admin", "secret", &["on", "app", "--drain-timeout", "2s", "--on-timeout", "revert"]);
    assert_eq!(on.status.code(), Some(5));
    let told = text(&on.stderr);
    assert!(told.contains("NOTICE:  database \"app\": waiting for 1 open transaction ("), "{told}");
    assert!(told.contains("ERROR:  ") && told.contains("\nDETAIL:  ") && told.contains("\nHINT:  "), "{told}");
    for (user, password, args, words) in [
        ("admin", "wrong", &["status", "app"][..], "password authentication failed"),
        ("admin", "", &["status", "app"], "asks for a password"),
        ("stats", "stats", &["off", "app"], "admin access needed"),
        ("nobody", "nobody", &["status", "app"], "not allowed"),
        ("admin", "secret", &["status", "nosuch"], "database \"nosuch\" does not exist"),
        ("admin", "secret", &["check", "nosuch"], "database \"nosuch\" does not exist"),
        ("admin", "secret", &["off", "nosuch"], "database \"nosuch\" does not exist"),
        ("admin", "secret", &["on", "app", "--until", "tomorrow"], "invalid input syntax"),
    ] {
        let refused = maintenance(&proxy, user, password, args);
        assert_eq!(refused.status.code(), Some(4), "{args:?}");
        assert!(text(&refused.stderr).contains(words), "{args:?}: {}", text(&refused.stderr));
    }
}

#[test]
fn a_command_line_that_is_wrong_and_a_console_that_is_not_there_have_codes_for_every_subcommand() {
    let closed = "postgres://admin@127.0.0.1:1/pgsluice";
    for command in ["on", "off", "check", "status"] {
        let (code, _, told) = run(&["maintenance", command, "app", "--admin", closed], &[]);
        assert!(code == Some(3) && told.contains("cannot connect to the console at 127.0.0.1:1"), "{command}: {told}");
        for (wrong, variables) in [
            (&["maintenance", command, "app", "--nonsense"][..], &[][..]),
            (&["maintenance", command, "app", "--admin", "http://h"], &[]),
            (&["maintenance", command, "app", "--admin", "postgres://u@h?nonsense=1"], &[]),
            (&["maintenance", command, "app", "--admin", closed], &[("PGSSLMODE", "maybe")]),
            (&["maintenance", command, "app"], &[("PGPORT", "many")]),
            (&["maintenance", command, "app"], &[("PGCONNECT_TIMEOUT", "soon")]),
        ] {
            let (code, printed, told) = run(wrong, variables);
            assert!(
                code == Some(2) && printed.is_empty() && !told.is_empty(),
                "{wrong:?} {variables:?}: {code:?} {told}"
            );
        }
    }
    // Only what changes or asks the server of one database needs its name.
    for command in ["on", "off", "check"] {
        assert_eq!(run(&["maintenance", command, "--admin", closed], &[]).0, Some(2), "{command}");
    }
    assert_eq!(run(&["maintenance", "status", "--admin", closed], &[]).0, Some(3));
    for wrong in
        [&[][..], &["maintenance"], &["nonsense"], &["run", "--log-level", "loud"], &["check-config", "a", "b"]]
    {
        assert_eq!(run(wrong, &[]).0, Some(2), "{wrong:?}");
    }
    for (failing, words) in [
        (&["run", "--upstream", "nonsense"][..], "must begin with postgres://"),
        (&["run", "--config", "/nowhere/at.toml"], "/nowhere/at.toml"),
        (&["check-config", "/nowhere/at.toml"], "/nowhere/at.toml"),
    ] {
        let (code, _, told) = run(failing, &[]);
        assert!(code == Some(1) && told.contains(words), "{failing:?}: {code:?} {told}");
    }
    let (code, help, _) = run(&["--help"], &[]);
    assert!(code == Some(0) && help.contains("Exit codes of maintenance commands:"), "{help}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure_and_a_full_disk_is_one() {
    let program = binary(env!("CARGO_BIN_EXE_pgsluice"));
    let shell = |script: &str| {
        let output = Command::new("bash").args(["-c", script]).arg(&program).output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    assert_eq!(shell("set -o pipefail; \"$0\" example-config | true"), (Some(0), String::new()));
    let (code, told) = shell("\"$0\" example-config > /dev/full");
    assert!(code == Some(1) && told.contains("cannot write to standard output"), "{code:?} {told}");
    // Nor does it matter where nobody reads the complaint.
    assert_eq!(shell("\"$0\" check-config /nowhere 2> /dev/full").0, Some(1));
}

#[test]
fn what_the_url_leaves_out_comes_from_the_variables_of_libpq() {
    let proxy = proxy();
    let port = proxy.port().to_string();
    let (port, folder) = (port.as_str(), proxy.dir().to_str().unwrap());
    let log_in = [("PGUSER", "admin"), ("PGPASSWORD", "secret")];
    for command in ["on", "status", "check", "off"] {
        for place in [
            &[("PGPORT", port)][..],
            &[("PGPORT", port), ("PGHOST", "localhost")],
            &[("PGPORT", port), ("PGHOST", folder)],
            &[("PGPORT", port), ("PGDATABASE", "app"), ("PGCONNECT_TIMEOUT", "9"), ("PGSSLMODE", "disable")],
        ] {
            let (code, _, told) = run(&["maintenance", command, "app"], &[&log_in[..], place].concat());
            assert_eq!(code, Some(0), "{command} {place:?}: {told}");
        }
    }
    // The command line goes before the environment.
    let url = format!("postgres://admin:secret@127.0.0.1:{port}/pgsluice");
    let elsewhere = [("PGHOST", "192.0.2.1"), ("PGPORT", "1"), ("PGUSER", "nobody"), ("PGPASSWORD", "wrong")];
    assert_eq!(run(&["maintenance", "status", "app", "--admin", &url], &elsewhere).0, Some(0));
    let variable = [&elsewhere[..], &[("PGSLUICE_ADMIN", url.as_str())]].concat();
    assert_eq!(run(&["maintenance", "status", "app"], &variable).0, Some(0));
    // Required TLS is not to be had there.
    let strict = [&log_in[..], &[("PGPORT", port), ("PGSSLMODE", "require")]].concat();
    let (code, _, told) = run(&["maintenance", "status", "app"], &strict);
    assert!(code == Some(3) && told.contains("TLS"), "{code:?} {told}");
}

#[test]
fn a_check_that_finds_what_a_maintenance_would_fail_at_has_a_code_of_its_own() {
    let lost = "[clusters.lost]\nupstreams = [\"127.0.0.1:1\"]\nmonitor_user = \"postgres\"\nmonitor_password = \"postgres\"\n\
                [databases.nowhere]\ncluster = \"lost\"\n";
    let text_of = |name: &str| format!("[databases.{name}]\ncluster = \"main\"");
    let all = config("", lost).replace("[databases.app]", &text_of("app"));
    let proxy = proxy_with(&all.replace("[databases.other]", &text_of("other")));
    let check = |args: &[&str]| {
        let done = maintenance(&proxy, "admin", "secret", &[&["check"], args].concat());
        (done.status.code(), text(&done.stdout), text(&done.stderr))
    };
    let (code, _, told) = check(&["app"]);
    assert_eq!(code, Some(0), "{told}");
    for args in [&["nowhere"][..], &["*"], &["nowhere", "--output", "json"]] {
        let (code, printed, told) = check(args);
        assert!(code == Some(6) && printed.contains("fail"), "{args:?}: {code:?} {printed} {told}");
    }
}

#[test]
fn a_service_and_an_address_hold_as_with_psql() {
    let proxy = proxy();
    let (port, dir) = (proxy.port().to_string(), proxy.dir().display().to_string());
    let write = |path: &str, text: &str| std::fs::write(format!("{dir}/{path}"), text).unwrap();
    let good =
        format!("[dba]\nhost=127.0.0.1\nport={port}\nuser=admin\npassword=secret\ndbname=pgbouncer\n[bad]\nport\n");
    write("services", &good);
    write(".pg_service.conf", &good.replace("[dba]", "[home]"));
    write("pg_service.conf", &good.replace("[dba]", "[system]"));
    let named = format!("{dir}/services");
    let status = |url: Option<&str>, variables: &[(&str, &str)]| {
        let places = [("HOME", dir.as_str()), ("PGSYSCONFDIR", &dir)];
        let args = ["maintenance", "status", "app"].into_iter().chain(url.into_iter().flat_map(|url| ["--admin", url]));
        let (code, _, told) = run(&args.collect::<Vec<_>>(), &[&places[..], variables].concat());
        (code, told)
    };
    let file = ("PGSERVICEFILE", named.as_str());
    let wrong = [("PGHOST", "192.0.2.1"), ("PGPORT", "1"), ("PGUSER", "nobody"), ("PGPASSWORD", "wrong")];
    for variables in [&[file, ("PGSERVICE", "dba")][..], &[("PGSERVICE", "home")], &[("PGSERVICE", "system")]] {
        assert_eq!(status(None, variables), (Some(0), String::new()), "{variables:?}");
        // A service goes before the variables.
        assert_eq!(status(None, &[variables, &wrong].concat()), (Some(0), String::new()), "{variables:?}");
    }
    assert_eq!(status(Some("postgres:///?service=dba"), &[file, ("PGSERVICE", "nosuch")]), (Some(0), String::new()));
    // The URL goes before the service.
    assert_eq!(status(Some("postgres://127.0.0.1:1/pgsluice"), &[file, ("PGSERVICE", "dba")]).0, Some(3));
    for (variables, words) in [
        ([file, ("PGSERVICE", "nosuch")], "definition of service \"nosuch\" not found"),
        ([file, ("PGSERVICE", "bad")], "syntax error in service file \""),
        ([("PGSERVICEFILE", "/nowhere"), ("PGSERVICE", "dba")], "service file \"/nowhere\" not found"),
    ] {
        let (code, told) = status(None, &variables);
        assert!(code == Some(2) && told.contains(words), "{variables:?}: {code:?} {told}");
    }
    // An address is where to connect to, whatever the host is called.
    let log_in = [("PGUSER", "admin"), ("PGPASSWORD", "secret"), ("PGPORT", &port), ("PGHOSTADDR", "127.0.0.1")];
    for host in [&[][..], &[("PGHOST", "name.invalid")]] {
        assert_eq!(status(None, &[&log_in[..], host].concat()), (Some(0), String::new()), "{host:?}");
    }
    let url = format!("postgres://admin:secret@name.invalid:{port}/pgsluice?hostaddr=127.0.0.1");
    assert_eq!(status(Some(&url), &[]), (Some(0), String::new()));
    let (code, told) = status(None, &[&log_in[..3], &[("PGHOSTADDR", "localhost")]].concat());
    assert!(code == Some(2) && told.contains("could not parse network address \"localhost\""), "{code:?} {told}");
}

#[test]
fn a_password_comes_from_the_password_file_as_with_psql() {
    use std::os::unix::fs::PermissionsExt as _;
    let proxy = proxy();
    let home = proxy.dir().join("home");
    std::fs::create_dir(&home).unwrap();
    let (own, other) = (home.join(".pgpass"), home.join("other"));
    let write = |path: &std::path::Path, mode, password: &str| {
        std::fs::write(path, format!("localhost:*:*:*:no\n127.0.0.1:{}:pgsluice:admin:{password}\n", proxy.port()))
            .unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let url = format!("postgres://127.0.0.1:{}/pgsluice", proxy.port());
    let status = |variables: &[(&str, &str)]| {
        let mut command = Command::new(binary(env!("CARGO_BIN_EXE_pgsluice")));
        command.args(["maintenance", "status", "app", "--admin", &url]).env("PGUSER", "admin").env("HOME", &home);
        command.env_remove("PGPASSWORD").env_remove("PGPASSFILE").envs(variables.iter().copied());
        let output = command.output().unwrap();
        (output.status.code(), text(&output.stderr))
    };
    write(&own, 0o600, "secret");
    write(&other, 0o600, "wrong");
    assert_eq!(status(&[]), (Some(0), String::new()));
    let named = other.to_str().unwrap();
    let (code, told) = status(&[("PGPASSFILE", named)]);
    assert!(code == Some(4) && told.contains("password authentication failed"), "{told}");
    assert!(told.contains(&format!("password retrieved from file \"{named}\"")), "{told}");
    assert_eq!(status(&[("PGPASSFILE", named), ("PGPASSWORD", "secret")]), (Some(0), String::new()));
    write(&own, 0o640, "secret");
    let (code, told) = status(&[]);
    assert!(code == Some(4) && told.contains("has group or world access"), "{told}");
    assert!(told.contains("asks for a password of \"admin\": set PGPASSWORD"), "{told}");
    std::fs::remove_file(&own).unwrap();
    let (code, told) = status(&[]);
    assert!(code == Some(4) && !told.contains("WARNING"), "{told}");
}
