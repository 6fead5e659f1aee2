//! Drivers that ask for READ WRITE long before they write: in maintenance they read, and are refused their first write.

use std::path::Path;
use std::process::Command;

use pgsluice_fixtures::{FixtureError, drivers};

use crate::scripts::run;
use crate::stand::{Stand, succeed};

/// What a driver is had with, or nothing where this machine cannot have it.
fn had<T>(what: &str, found: Result<T, FixtureError>) -> Option<T> {
    found.map_err(|error| println!("SKIPPED: {what} cannot be had: {error}")).ok()
}

#[test]
fn psycopg_3_psycopg2_and_sqlalchemy_read_in_read_write_transactions() {
    let Some(python) = had("psycopg2 and SQLAlchemy", drivers::python_with_orms()) else { return };
    let stand = Stand::shared();
    run(&stand, stand.command(python, "rw_py"), "read_write.py");
}

#[test]
fn postgres_js_reads_in_read_write_transactions() {
    let Some(folder) = had("postgres.js", drivers::postgres_js()) else { return };
    let stand = Stand::shared();
    let mut node = stand.command("node", "rw_js");
    node.env("NODE_PATH", folder.join("node_modules"));
    run(&stand, node, "read_write.js");
}

#[test]
fn jdbc_reads_in_read_write_transactions() {
    let Some(jar) = had("pgjdbc", drivers::jdbc()) else { return };
    let stand = Stand::shared();
    let mut java = stand.command("java", "rw_java");
    java.arg("-cp").arg(jar);
    run(&stand, java, "ReadWrite.java");
}

#[test]
fn go_reads_in_read_write_transactions() {
    let Some(go) = had("Go with lib/pq and pgx", drivers::go()) else { return };
    let stand = Stand::shared();
    let program = stand.proxy.dir().join("read_write_go");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers/read_write.go");
    let mut build = Command::new(&go.program);
    build.envs(go.environment).arg("build").arg("-o").arg(&program).arg(script);
    succeed(&mut build);
    let mut command = stand.command(program, "rw_go");
    // lib/pq does not know it, and says so.
    command.env_remove("PGHOSTADDR");
    run(&stand, command, "read_write.go");
}
