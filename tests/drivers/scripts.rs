//! Drivers of other languages, each driven by a script beside this file.

use std::path::Path;
use std::process::Command;

use pgsluice_fixtures::drivers;

use crate::stand::{ADMIN, Stand, succeed};

/// Runs a script to its last word.
#[track_caller]
pub fn run(stand: &Stand, mut command: Command, script: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drivers");
    command
        .arg(folder.join(script))
        .env("ADMIN", ADMIN)
        .env("ADMIN_PASSWORD", "dba")
        .env("PSQL", stand.cluster.installation().program("psql").unwrap())
        .env("SOCKET", stand.proxy.dir().join(format!(".s.PGSQL.{}", stand.proxy.port())))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let said = succeed(&mut command);
    assert_eq!(said.lines().last(), Some("done"), "{said}");
}

#[track_caller]
fn python(database: &str, script: &str) {
    let python = drivers::python().expect("psycopg and asyncpg can be had");
    let stand = Stand::shared();
    run(&stand, stand.command(python, database), script);
    assert!(stand.server_connections(database) <= 2);
}

#[test]
fn psycopg_3() {
    python("psycopg", "psycopg3.py");
}

#[test]
fn asyncpg() {
    python("asyncpg", "asyncpg_.py");
}

#[test]
fn node_postgres() {
    let folder = drivers::node().expect("node-postgres can be had");
    let stand = Stand::shared();
    let mut node = stand.command("node", "node");
    node.env("NODE_PATH", folder.join("node_modules"));
    run(&stand, node, "node_postgres.js");
    assert!(stand.server_connections("node") <= 2);
}

#[test]
fn psql_at_a_terminal() {
    let python = drivers::python().expect("a Python can be had");
    let stand = Stand::shared();
    run(&stand, stand.command(python, "psql"), "psql_terminal.py");
}
