//! What programs do with pgjdbc: `Jdbc.java`, whose checks say by themselves what became of them.

use std::collections::BTreeSet;
use std::process::Command;

use pgsluice_fixtures::cluster::SUPERUSER;
use pgsluice_fixtures::drivers;

use crate::suite::Report;

/// The database of its checks.
pub const DATABASE: &str = "jdbc";

/// Runs all checks; None where there is no driver for them.
pub fn run(port: u16) -> Option<Report> {
    let jar = match drivers::jdbc() {
        Ok(jar) => jar,
        Err(why) => {
            eprintln!("SKIPPED: the checks of pgjdbc cannot be run here: {why}");
            return None;
        }
    };
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/suites/Jdbc.java");
    let ended = Command::new("java")
        .arg("-cp")
        .arg(jar)
        .arg(source)
        .args([&port.to_string(), DATABASE, SUPERUSER])
        .output()
        .expect("java runs");
    let said = String::from_utf8_lossy(&ended.stdout);
    let failed: BTreeSet<_> = said.lines().filter_map(|line| line.strip_prefix("FAILED ")).map(name).collect();
    let total = failed.len() + said.lines().filter(|line| line.starts_with("ok ")).count();
    assert!(said.contains("\nRan "), "{said}{}", String::from_utf8_lossy(&ended.stderr));
    said.lines().filter(|line| line.starts_with("FAILED")).for_each(|line| println!("  {line}"));
    Some(Report { total, failed })
}

/// The check's, without what became of it.
fn name(line: &str) -> String {
    line.split(" - ").next().unwrap_or(line).to_owned()
}
