//! pg_dump and pg_restore of a schema such as grows in real life; the copy's dump is the original's.

use std::process::Command;

use crate::stand::{Stand, fail, succeed};

/// What a server itself dumps, without the lines that differ from run to run.
fn direct_dump(stand: &Stand, database: &str) -> String {
    let server = stand.cluster.primary();
    let mut dump = Command::new(stand.cluster.installation().program("pg_dump").unwrap());
    dump.args(["-h", &server.socket_dir().display().to_string(), "-p", &server.port().to_string()]);
    // Quoted inserts in order of the key: rows restored in parallel lie elsewhere.
    let said = succeed(dump.args(["-U", "postgres", "--blobs", database]));
    said.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn a_real_schema() {
    let stand = Stand::shared();
    if let Err(missing) = stand.cluster.installation().program("pg_dump") {
        return eprintln!("SKIPPED: {missing}");
    }
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drivers/schema.sql");
    succeed(stand.tool("psql", "dump").args(["-Xq", "-v", "ON_ERROR_STOP=1", "-f", schema]));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    succeed(stand.tool("pg_dump", "dump").args(["-Fc", "-f", &path("custom")]));

    // Reads go on in maintenance, and this is one long read.
    stand.maintenance_on("dump");
    succeed(stand.tool("pg_dump", "dump").args(["-Fd", "-f", &path("folder")]));
    let plain = succeed(stand.tool("pg_dump", "dump").args(["--serializable-deferrable", "--inserts"]));
    assert!(plain.contains("INSERT INTO shop.customers"), "{plain}");
    let refused = fail(stand.tool("pg_restore", "dump").args(["-d", "dump", "--clean", "-e", &path("custom")]));
    assert!(refused.contains("in a read-only transaction"), "{refused}");
    stand.maintenance_off("dump");

    succeed(stand.tool("pg_restore", "restored").args(["-d", "restored", "-e", &path("custom")]));
    let original = direct_dump(&stand, "dump");
    for word in ["CREATE TRIGGER", "ATTACH PARTITION", "lo_create", "COMMENT ON", "GRANT SELECT", "CREATE DOMAIN"] {
        assert!(original.contains(word), "no {word} in the dump");
    }
    assert_eq!(direct_dump(&stand, "restored"), original);
    // Once more, by two connections, from the folder that was dumped in maintenance.
    let clear = "drop schema shop, audit cascade; select lo_unlink(424242)";
    succeed(stand.tool("psql", "restored").args(["-Xq", "-v", "ON_ERROR_STOP=1", "-c", clear]));
    succeed(stand.tool("pg_restore", "restored").args(["-d", "restored", "-e", "-j", "2", &path("folder")]));
    let rows = "select count(*), sum(hashtext(o::text)::bigint) from shop.orders o";
    let count = |database| stand.cluster.primary().psql_in(database, rows).unwrap();
    assert_eq!(count("restored"), count("dump"));
}
