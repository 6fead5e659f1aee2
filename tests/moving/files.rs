//! Files as charts, images, operators, packages and guides have them.

use std::collections::BTreeSet;
use std::process::Command;

use pgsluice_fixtures::port::Port;
use pgsluice_fixtures::{Raw, wait};

use crate::stand::{SOON, USERS, cluster, pgsluice, proxy, raw, rows, value};

const FILES: [(&str, &str, &str); 5] = [
    ("guide.ini", include_str!("inis/guide.ini"), "shop"),
    ("container.ini", include_str!("inis/container.ini"), "app"),
    ("operator.ini", include_str!("inis/operator.ini"), "app"),
    ("tenants.ini", include_str!("inis/tenants.ini"), "app"),
    ("package.ini", include_str!("inis/package.ini"), "app"),
];

fn filled(text: &str) -> String {
    let folder = cluster().primary().socket_dir().display().to_string();
    text.replace("{server}", &cluster().primary().port().to_string()).replace("{socket}", &folder)
}

/// The keys of the main section.
fn keys(ini: &str) -> BTreeSet<String> {
    let main = ini.split("[pgbouncer]").nth(1).unwrap();
    let lines = main.lines().filter(|line| !line.starts_with([';', '#', '[', '%']));
    lines.filter_map(|line| line.split_once('=')).map(|(key, _)| key.trim().to_owned()).collect()
}

#[test]
fn files_of_the_real_world_start_as_they_are_and_every_key_is_accounted_for() {
    for (name, text, database) in FILES {
        let more = [("databases.ini", include_str!("inis/tenants-databases.ini"))];
        let proxy = proxy(&filled(text), &more);
        let mut app = raw(&proxy, "app", database);
        assert_eq!(value(&mut app, "select 40 + 2"), "42", "{name}");
        rows(&mut app, "insert into t values (1) returning n");
        let mut admin = raw(&proxy, "admin", "pgbouncer");
        let shown: BTreeSet<String> =
            rows(&mut admin, "show config").into_iter().filter_map(|row| row[0].clone()).collect();
        let missing: Vec<_> = keys(text).into_iter().filter(|key| !shown.contains(key)).collect();
        assert!(missing.is_empty(), "{name}: SHOW CONFIG says nothing of {missing:?}");
        let notes = rows(&mut admin, "show config notes");
        for note in &notes {
            let [Some(key), Some(_), Some(words)] = note.as_slice() else { panic!("{name}: {note:?}") };
            assert!(shown.contains(key) && !words.is_empty(), "{name}: {note:?}");
        }
        println!("{name}: {} keys, {} of them with a note", keys(text).len(), notes.len());
        // The same file is read again.
        rows_of_command(&mut admin, "reload");
        assert_eq!(value(&mut app, "select 1"), "1", "{name}");
    }
}

fn rows_of_command(raw: &mut Raw, sql: &str) {
    raw.query(sql, SOON).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

#[test]
fn what_import_prints_starts_and_says_what_has_changed() {
    for (name, text, database) in FILES {
        let folder = tempfile::tempdir().unwrap();
        let port = Port::lease().unwrap();
        let fill = |text: &str| {
            let dir = folder.path().display().to_string();
            filled(text).replace("{dir}", &dir).replace("{port}", &port.number().to_string())
        };
        std::fs::write(folder.path().join("userlist.txt"), USERS).unwrap();
        std::fs::write(folder.path().join("databases.ini"), fill(include_str!("inis/tenants-databases.ini"))).unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, fill(text)).unwrap();
        let output = Command::new(pgsluice()).arg("import-pgbouncer").arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        let toml = String::from_utf8(output.stdout).unwrap();
        assert!(toml.starts_with("# Made from ") && toml.contains("[clusters."), "{name}: {toml}");
        for warning in said.lines() {
            assert!(warning.starts_with("warning: ") && warning.len() > 40, "{name}: {warning}");
        }
        let toml = toml.replace(&port.number().to_string(), "{port}");
        let proxy = pgsluice_fixtures::Proxy::builder(pgsluice()).config(toml).start();
        let proxy = proxy.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(value(&mut raw(&proxy, "app", database), "select 1"), "1", "{name}");
    }
}

#[test]
fn what_is_wrong_in_a_pgbouncer_ini_is_told_with_its_own_line_and_key() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pgbouncer.ini");
    let check = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let output =
            Command::new(pgsluice()).arg("check-config").arg("pgbouncer.ini").current_dir(folder.path()).output();
        let output = output.unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (text, expected) in [
        ("[pgbouncer]\nserver_lifetime = soon\n", "pgbouncer.ini:2: server_lifetime: must be a number of seconds"),
        (
            "[pgbouncer]\npool_mod = session\n",
            "pgbouncer.ini:2: pool_mod: unknown parameter; did you mean \"pool_mode\"?",
        ),
        ("[pgbouncer]\n\npool_mode = sometimes\n", "pgbouncer.ini:3: pool_mode: must be \"session\""),
        (
            "[databases]\na = host=x prot=1\n[pgbouncer]\n",
            "pgbouncer.ini:2: databases.a: unrecognized connection parameter \"prot\"; did you mean \"port\"?",
        ),
        (
            "[databases]\na = host=x password='s3cret\n[pgbouncer]\n",
            "pgbouncer.ini:2: databases.a: syntax error in connection string",
        ),
        ("[databses]\na = host=x\n[pgbouncer]\n", "pgbouncer.ini:2: databses.a: invalid section \"databses\""),
        ("[pgbouncer]\n%include nothing.ini\n", "pgbouncer.ini:2: cannot read the included file nothing.ini"),
        (
            "[databases]\na = host=x\n[pgbouncer]\nauth_type = trust\nlogfile = /no/such/folder/log\n",
            "pgbouncer.ini:5: logfile: no folder",
        ),
    ] {
        let (good, said) = check(text);
        assert!(!good && said.lines().any(|line| line.starts_with(expected)), "{text}: {said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn the_log_file_is_written_to_and_a_rotation_is_followed() {
    let proxy = proxy(&filled(FILES[0].1), &[]);
    let (log, moved) = (proxy.dir().join("pgbouncer.log"), proxy.dir().join("pgbouncer.log.1"));
    let pid = std::fs::read_to_string(proxy.dir().join("pgbouncer.pid")).unwrap();
    assert_eq!(pid.trim().parse::<u32>().ok(), proxy.pid());
    let written = |words: &'static str| std::fs::read_to_string(&log).ok().filter(|text| text.contains(words));
    wait::until(SOON, "the log", || written("pgsluice is ready"));
    std::fs::rename(&log, &moved).unwrap();
    rows_of_command(&mut raw(&proxy, "admin", "pgbouncer"), "reload");
    raw(&proxy, "app", "shop");
    wait::until(SOON, "the new file", || written("login attempt: db=shop user=app"));
}
