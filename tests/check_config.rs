//! Every bad configuration of the table, through the built binary: file, line, key, reason, and exit code 1.

use pgsluice_fixtures::proxy::binary;
use std::path::Path;
use std::process::{Command, Output};

const TABLE: &str = include_str!("../src/config/tests/bad.txt");
/// What the cases' texts stand in front of.
const LEAST: &str = "
[clusters.main]
upstreams = ['10.0.0.1:5432']
monitor_user = 'watch'
[databases.app]
";
/// A whole good one that needs no other files.
const GOOD: &str = "auth_type = 'trust'
state_file = ''
[clusters.main]
upstreams = ['10.0.0.1']
monitor_user = 'w'
[databases.app]
";

fn run_in(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(binary(env!("CARGO_BIN_EXE_pgsluice")));
    command.args(args).current_dir(folder).output().expect("run")
}

#[test]
fn every_bad_configuration_is_told_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("t.toml");
    let mut cases = 0;
    for case in TABLE.split("=== ").filter(|case| !case.trim().is_empty()) {
        let (name, rest) = case.split_once('\n').expect("a name");
        let Some((text, expected)) = rest.split_once("---\n") else { continue };
        std::fs::write(&file, text.replace("+LEAST\n", LEAST).replace("{long}", &"x".repeat(100))).expect("written");
        let output = run_in(folder.path(), &["check-config", "t.toml"]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        for line in expected.lines().filter(|line| line.starts_with("t.toml")) {
            assert!(said.lines().any(|one| one == line), "{name}: no line {line:?} in\n{said}");
        }
        cases += 1;
    }
    assert!(cases >= 25, "{cases} cases");
    println!("{cases} bad configurations");
}

#[test]
fn a_good_one_is_ok_and_the_example_is_good() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("good.toml");
    std::fs::write(&file, GOOD).expect("written");
    let output = run_in(folder.path(), &["check-config", "good.toml"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "good.toml: ok\n");
    let example = run_in(folder.path(), &["example-config"]);
    assert!(example.status.success() && example.stdout.starts_with(b"#"));
}

#[test]
fn that_the_folder_of_the_state_is_the_default_and_what_to_do_is_said_where_it_is_not_there() {
    if Path::new("/var/lib/pgsluice").is_dir() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("t.toml"), GOOD.replace("state_file = ''\n", "")).expect("written");
    let output = run_in(folder.path(), &["check-config", "t.toml"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for text in ["no folder /var/lib/pgsluice", "by default", "state_file = \"...\""] {
        assert!(said.contains(text), "{text} is not in {said}");
    }
}
