//! A write that is wrong in itself gets PostgreSQL's own error through a closed gate, as on a READ ONLY connection.

use crate::stand::{LONG, Stand, query, sqlstate};
use pgsluice_fixtures::raw::message::query as q;
use pgsluice_fixtures::{Frame, wait};

/// Statements of the simple protocol outside of a block.
const WRONG: &[&str] = &[
    "INSERT INTO nosuch VALUES (1)",
    "UPDATE t SET nosuch = 1",
    "INSERT INTO t (id) VALUES (1",
    "  DELETE FROM t WHERE nosuch(id)",
    "INSERT INTO t VALUES ('x')",
    "INSERT INTO t VALUES (1, 2, 3)",
    "UPDATE t SET v = upper(id, id)",
    "DELETE FROM t USING nosuch.t",
    "CREATE TABLE n (a int",
    "CREATE TABEL n (a int)",
    "MERGE INTO nosuch USING t ON true WHEN MATCHED THEN DELETE",
    "WITH x AS (DELETE FROM nosuch RETURNING 1) SELECT * FROM x",
    "INSERT INTO t VALUES (1, 'right')",
    "CREATE TABLE n (a int)",
    "TRUNCATE nosuch",
    "DROP TABLE nosuch",
    "COPY nosuch FROM STDIN",
];

fn fields(frames: &[Frame]) -> Vec<Option<String>> {
    let error = frames.iter().find_map(Frame::error).unwrap_or_else(|| panic!("{frames:?}"));
    ['C', 'M', 'P', 'R'].map(|field| error.field(field).map(str::to_owned)).to_vec()
}

#[test]
fn a_write_that_is_wrong_in_itself_gets_the_servers_own_error() {
    for mode in ["", "pool_mode = \"session\""] {
        let stand = Stand::new(mode);
        stand.on();
        let (mut raw, mut direct) = (stand.app(), stand.direct(true));
        for round in 0..2 {
            for sql in WRONG {
                let (ours, its) = (query(&mut raw, sql), query(&mut direct, sql));
                assert_eq!(fields(&ours), fields(&its), "{mode} {round}: {sql}");
                assert_eq!(ours.last().unwrap().body, b"I", "{sql}");
                let error = ours.iter().find_map(Frame::error).unwrap();
                let detail = Some("database \"app\" is in maintenance: moving house");
                assert_eq!(error.detail() == detail, error.code() == "25006", "{sql}: {error:?}");
            }
        }
    }
}

#[test]
fn refused_writes_neither_wait_for_readers_nor_for_a_server_that_is_away() {
    let stand = Stand::new("default_pool_size = 2");
    stand.on_primary();
    let mut readers = [stand.app(), stand.app()];
    for reader in &mut readers {
        reader.send(&q("SELECT pg_sleep(8)")).unwrap();
    }
    let sleepers = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(8)%' AND state = 'active' AND pid <> pg_backend_pid()";
    stand.cluster.primary().wait_until(sleepers, "2", LONG).unwrap();
    let mut raw = stand.app();
    let begun = std::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(sqlstate(&query(&mut raw, "INSERT INTO t VALUES (1, 'x')")), "25006");
    }
    assert!(begun.elapsed() < std::time::Duration::from_secs(4), "{:?}", begun.elapsed());
    for mut reader in readers {
        let frames = reader.frames_until(LONG, |frame| frame.tag == b'Z').unwrap();
        assert_eq!(sqlstate(&frames), "");
    }
    stand.cluster.primary().stop(pgsluice_fixtures::Mode::Immediate).expect("stopped");
    wait::until(LONG, "an answer without a server", || {
        (sqlstate(&query(&mut stand.app(), "INSERT INTO t VALUES (1, 'x')")) == "25006").then_some(())
    });
}
