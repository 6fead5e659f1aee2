//! `target_session_attrs`: drivers find a session that is as they want it, before, in and after a maintenance.

use pgsluice_fixtures::drivers;

use crate::scripts::run;
use crate::stand::{Stand, fail, succeed};

fn direct_port(stand: &Stand) -> String {
    stand.cluster.primary().port().to_string()
}

#[test]
fn libpq() {
    let stand = Stand::shared();
    // Whether a session is found while the gate is open, and while it is closed.
    let expected = [
        ("any", true, true),
        ("read-write", true, false),
        ("read-only", false, true),
        ("primary", true, true),
        ("standby", false, false),
        ("prefer-standby", true, true),
    ];
    let psql = |attrs: &str| {
        let mut psql = stand.tool("psql", "attrs");
        psql.env("PGTARGETSESSIONATTRS", attrs).args(["-XAtc", "select 'found'"]);
        psql
    };
    let phase = |closed: bool| {
        for (attrs, open, shut) in expected {
            if if closed { shut } else { open } {
                assert_eq!(succeed(&mut psql(attrs)), "found", "{attrs}");
            } else {
                let said = fail(&mut psql(attrs));
                assert!(
                    said.contains("session is") || said.contains("server is not in hot standby"),
                    "{attrs}: {said}"
                );
            }
        }
        // Who can choose goes where it can write.
        let mut psql = stand.tool("psql", "attrs");
        psql.env("PGHOST", "localhost,localhost").env("PGHOSTADDR", "127.0.0.1,127.0.0.1");
        psql.env("PGPORT", format!("{},{}", stand.proxy.port(), direct_port(&stand)));
        psql.env("PGTARGETSESSIONATTRS", "read-write").args(["-XAtc", "\\echo :PORT"]);
        let right = if closed { direct_port(&stand) } else { stand.proxy.port().to_string() };
        assert_eq!(succeed(&mut psql), right);
        let mut show = stand.tool("psql", "attrs");
        let mode = if closed { "read_only" } else { "read_write" };
        assert_eq!(succeed(show.args(["-XAtc", "SHOW pgsluice.mode"])), mode);
    };
    phase(false);
    stand.maintenance_on("attrs");
    phase(true);
    stand.maintenance_off("attrs");
    phase(false);
}

#[test]
fn psycopg_3_and_asyncpg() {
    let python = drivers::python().expect("psycopg and asyncpg can be had");
    let stand = Stand::shared();
    let mut command = stand.command(python, "attrs_py");
    command.env("DIRECT_PORT", direct_port(&stand));
    run(&stand, command, "attrs.py");
}

#[test]
fn jdbc() {
    let jar = match drivers::jdbc() {
        Ok(jar) => jar,
        Err(error) => {
            println!("SKIPPED: pgjdbc cannot be had: {error}");
            return;
        }
    };
    let stand = Stand::shared();
    let mut command = stand.command("java", "attrs_java");
    command.env("DIRECT_PORT", direct_port(&stand)).arg("-cp").arg(jar);
    run(&stand, command, "Attrs.java");
}
