//! `pgsluice maintenance …`.

use std::process::{Command, Output};

use pgsluice_fixtures::Proxy;
use pgsluice_fixtures::proxy::binary;

use crate::stand::{client, console, proxy, refusal, rows, table};

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

#[test]
fn what_waits_is_told_and_what_fails_has_a_code() {
    let proxy = proxy();
    let mut app = client(&proxy);
    rows(&mut app, "begin; insert into t values (9)");
    let on = maintenance(&proxy, "admin", "secret", &["on", "app", "--drain-timeout", "2s", "--on-timeout", "revert"]);
    assert_eq!(on.status.code(), Some(1));
    let told = text(&on.stderr);
    assert!(told.contains("NOTICE:  database \"app\": waiting for 1 open transaction ("), "{told}");
    assert!(told.contains("ERROR:  ") && told.contains("\nDETAIL:  ") && told.contains("\nHINT:  "), "{told}");
    for (user, password, args, words) in [
        ("admin", "wrong", &["status", "app"][..], "password authentication failed"),
        ("stats", "stats", &["off", "app"], "admin access needed"),
        ("nobody", "nobody", &["status", "app"], "not allowed"),
        ("admin", "secret", &["status", "nosuch"], "database \"nosuch\" does not exist"),
        ("admin", "secret", &["check", "nosuch"], "database \"nosuch\" does not exist"),
        ("admin", "secret", &["on", "app", "--until", "tomorrow"], "invalid input syntax"),
    ] {
        let refused = maintenance(&proxy, user, password, args);
        assert_eq!(refused.status.code(), Some(1), "{args:?}");
        assert!(text(&refused.stderr).contains(words), "{args:?}: {}", text(&refused.stderr));
    }
    let nobody = Command::new(binary(env!("CARGO_BIN_EXE_pgsluice")))
        .args(["maintenance", "status", "app", "--admin", "postgres://admin@127.0.0.1:1/pgsluice"])
        .output()
        .unwrap();
    assert!(nobody.status.code() == Some(1) && text(&nobody.stderr).contains("cannot connect"), "{nobody:?}");
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
    assert!(code == Some(1) && told.contains("password authentication failed"), "{told}");
    assert!(told.contains(&format!("password retrieved from file \"{named}\"")), "{told}");
    assert_eq!(status(&[("PGPASSFILE", named), ("PGPASSWORD", "secret")]), (Some(0), String::new()));
    write(&own, 0o640, "secret");
    let (code, told) = status(&[]);
    assert!(code == Some(1) && told.contains("has group or world access"), "{told}");
    assert!(told.contains("asks for a password of \"admin\": set PGPASSWORD"), "{told}");
    std::fs::remove_file(&own).unwrap();
    let (code, told) = status(&[]);
    assert!(code == Some(1) && !told.contains("WARNING"), "{told}");
}
