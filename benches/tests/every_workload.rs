//! The harness itself: every workload runs against real servers, and the report says all that it has to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const COMPARE: &str = env!("CARGO_BIN_EXE_compare");

/// pgsluice's binary. `cargo test --workspace` has built it; if not, it is built.
fn pgsluice() -> PathBuf {
    if let Some(given) = std::env::var_os("PGSLUICE_BINARY") {
        return given.into();
    }
    let profile = Path::new(COMPARE).parent().unwrap();
    let binary = profile.join("pgsluice");
    if !binary.is_file() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--locked", "-p", "pgsluice", "--bin", "pgsluice", "--target-dir"]);
        cargo.arg(profile.parent().unwrap()).current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success());
    }
    binary
}

#[test]
fn every_workload_runs_in_every_manner() {
    let folder = pgsluice_fixtures::folder::Folder::create().unwrap();
    let document = folder.path().join("REPORT.md");
    let binary = pgsluice();
    let micro = folder.path().join("criterion");
    let cost = micro.join("gate/state/new");
    fs::create_dir_all(&cost).unwrap();
    fs::write(cost.join("benchmark.json"), "{\"full_id\":\"gate/state\"}").unwrap();
    fs::write(cost.join("estimates.json"), "{\"median\":{\"point_estimate\":2.5}}").unwrap();
    let run = Command::new(COMPARE)
        .args(["--smoke", "--rounds", "1", "--clients", "4", "--idle", "10", "--names", "2"])
        // PgBouncer where it is there.
        .args(["--contenders", "direct,pgbouncer,pgsluice,read_only,replica"])
        .args(["--pgsluice-config", "default_pool_size = 3"])
        .args(["--also", &format!("one worker={},workers = 1", binary.display())])
        .arg("--pgsluice")
        .arg(&binary)
        .arg("--micro")
        .arg(&micro)
        .arg("--output")
        .arg(&document)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{out}\n{err}");

    let report = fs::read_to_string(&document).unwrap();
    assert!(!report.contains("Failed:"), "{report}\n{err}");
    let figures = report.split_once("\n## Figures\n").unwrap().1;
    let sections: Vec<&str> = figures.split("\n### ").skip(1).collect();
    assert_eq!(sections.len(), 11, "one of each kind\n{report}");
    for section in sections {
        let title = section.lines().next().unwrap();
        for name in ["direct", "pgsluice", "one worker"] {
            let row = section.lines().find(|line| line.split('|').nth(1).is_some_and(|cell| cell.trim() == name));
            let cells: Vec<&str> = row.unwrap_or_else(|| panic!("{title}: no {name}\n{report}")).split('|').collect();
            let number = |cell: usize| cells[cell].trim().trim_end_matches(" µs").parse::<f64>();
            assert!(number(2).is_ok_and(|rate| rate > 0.0), "{title}, {name}: {cells:?}");
            // Where nothing stands in between, nothing is spent there.
            assert_eq!(number(3).is_ok(), name != "direct", "{title}, {name}: {cells:?}");
        }
        let others = ["pgsluice, read_only", "pgsluice, replica reads"];
        let selects = ["-S simple, 4", "-S extended, 4", "-S prepared, 4"].contains(&title);
        assert_eq!(others.iter().all(|name| section.contains(name)), selects, "{title}\n{report}");
    }
    assert!(report.contains("| gate: state ") && report.contains("| 2.5 ns "), "{report}");
    assert!(report.contains("| at most 0.32 "), "{report}");
    let idle = report.lines().filter(|line| line.starts_with("| pgsluice ") && line.contains("%")).count();
    assert_eq!(idle, 2, "idle clients, without and with statements\n{report}");
    let picture = fs::read_to_string(folder.path().join("report.svg")).unwrap();
    assert!(report.contains("](report.svg)") && picture.ends_with("</svg>\n"), "{picture}");
}

/// What benches/release has done: each pgsluice ends by itself, or what it has counted would be lost.
#[test]
fn who_is_trained_ends_in_order() {
    let folder = pgsluice_fixtures::folder::Folder::create().unwrap();
    let program = folder.path().join("pgsluice");
    let ends = folder.path().join("ends");
    // `exec` would leave nobody who could tell.
    let script = format!(
        "#!/bin/sh\n{} \"$@\" &\ntrap 'kill -TERM $!' TERM\nwhile :; do wait $! && break; done\necho $? >>{}\n",
        pgsluice().display(),
        ends.display()
    );
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let run = Command::new(COMPARE)
        .args(["--train", "--smoke", "--rounds", "1", "--clients", "4", "--workload", "simple,tpcb"])
        .args(["--contenders", "pgsluice,read_only", "--pgsluice"])
        .arg(&program)
        .output()
        .unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    // In the open, for SCRAM, and in maintenance.
    assert_eq!(fs::read_to_string(&ends).unwrap(), "0\n0\n0\n");
}
