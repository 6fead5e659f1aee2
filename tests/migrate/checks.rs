//! What is in the way of a migration is said before anything is changed, with what can be done about it.

use crate::stand::{SCHEMA, Stand, ask};

const DRY: &str = "MIGRATE app TO green WITH (dry_run)";

fn text(stand: &Stand, name: &str) -> String {
    stand.command(DRY).fine().row(name).join(" | ")
}

#[test]
fn a_side_without_schema_is_told_the_exact_command() {
    let stand = Stand::with(1, "");
    let answer = stand.command(DRY).fine();
    assert_eq!(answer.status("schema"), "fail", "{answer:?}");
    let remedy = &answer.row("schema")[6];
    let (blue, green) = (stand.blue.primary().port(), stand.green.primary().port());
    assert!(
        remedy.contains("pg_dump --schema-only") && remedy.contains(&format!("-p {blue} -U mover -d app")),
        "{remedy}"
    );
    assert!(remedy.contains(&format!("| psql -X -v ON_ERROR_STOP=1 -h 127.0.0.1 -p {green}")), "{remedy}");
    let refused = stand.command("MIGRATE app TO green");
    assert!(refused.sqlstate == "55000" && refused.message.contains("schema"), "{refused:?}");
    assert_eq!(stand.left_behind(), "");
}

#[test]
fn what_replication_leaves_behind_or_cannot_do_fails_with_a_remedy() {
    let stand = Stand::new(3);
    let fine = stand.command(DRY).fine();
    let failed: Vec<_> = fine.rows.iter().filter(|row| row[2] == "fail").collect();
    assert!(failed.is_empty(), "{failed:?}");
    assert_eq!(stand.left_behind(), "", "a dry run changes nothing");

    for (side, sql, name, status, words) in [
        ("both", "CREATE TABLE nokey (a int)", "replica_identity", "fail", "nokey"),
        ("both", "ALTER TABLE nokey REPLICA IDENTITY FULL", "replica_identity", "ok", ""),
        ("blue", "SELECT lo_create(0)", "large_objects", "fail", "1 large objects"),
        ("both", "CREATE UNLOGGED TABLE quick (a int PRIMARY KEY)", "unlogged", "warn", "quick"),
        ("blue", "INSERT INTO quick VALUES (1)", "unlogged", "fail", "quick"),
        ("blue", "CREATE EXTENSION dblink", "extensions", "fail", "CREATE EXTENSION dblink"),
        ("green", "INSERT INTO t VALUES (1)", "rows", "fail", "TRUNCATE public.t"),
        ("blue", "CREATE TABLE more (a int PRIMARY KEY)", "tables", "fail", "public.more"),
        (
            "green",
            "CREATE TABLE more (a bigint PRIMARY KEY)",
            "columns",
            "fail",
            "public.more.a (bigint not null instead of integer",
        ),
        ("blue", "CREATE INDEX byv ON t (v)", "indexes", "fail", "public.byv"),
        ("blue", "CREATE TYPE mood AS ENUM ('sad', 'ok')", "types", "fail", "public.mood"),
        ("green", "CREATE TYPE mood AS ENUM ('ok')", "types", "fail", "instead of"),
        ("blue", "CREATE SEQUENCE extra", "sequences", "fail", "public.extra"),
        ("blue", "ALTER TABLE t ADD CONSTRAINT above CHECK (id > -5)", "constraints", "fail", "public.t.above"),
        ("blue", "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "functions", "fail", "public.f()"),
        ("blue", "CREATE VIEW seen AS SELECT * FROM t", "views", "fail", "public.seen"),
        ("blue", "CREATE ROLE newcomer LOGIN", "logins", "fail", "newcomer"),
        ("blue", "ALTER DATABASE app SET work_mem = '5MB'", "settings", "warn", "work_mem=5MB"),
        ("blue", "SELECT pg_create_logical_replication_slot('cdc', 'pgoutput')", "slots", "warn", "cdc"),
        ("blue", "BEGIN; INSERT INTO t VALUES (-1); PREPARE TRANSACTION 'two'", "prepared", "warn", "two"),
    ] {
        if side != "green" {
            stand.blue(sql);
        }
        if side != "blue" {
            stand.green(sql);
        }
        let answer = stand.command(DRY).fine();
        let row = answer.row(name);
        assert!(row[2] == status && row.join(" | ").contains(words), "{sql}: {row:?}");
        assert!(status == "ok" || !row[6].is_empty(), "{sql}: a remedy: {row:?}");
    }
    // What a person accepts is in nobody's way.
    let accepted = stand.command("MIGRATE app TO green WITH (dry_run, accept 'large_objects, unlogged')").fine();
    assert_eq!((accepted.status("large_objects"), accepted.status("unlogged")), ("warn", "warn"));
    let refused = stand.command("MIGRATE app TO green WITH (accept 'rows')");
    assert!(refused.sqlstate == "55000" && refused.hint.contains("TRUNCATE"), "{refused:?}");
    stand.blue("ROLLBACK PREPARED 'two'");
}

#[test]
fn servers_that_cannot_replicate_or_be_reached_are_named() {
    let stand = Stand::new(1);
    stand.blue("ALTER SYSTEM SET wal_level = 'replica'");
    stand.blue("ALTER SYSTEM SET max_replication_slots = 1");
    stand.green("ALTER ROLE mover NOSUPERUSER");
    stand.blue.primary().restart().unwrap();
    pgsluice_fixtures::wait::until_ok(crate::stand::LONG, "blue again", || {
        let answer = stand.command(DRY);
        if answer.sqlstate.is_empty() { Ok(()) } else { Err(answer.message) }
    });
    let answer = stand.command(DRY).fine();
    assert_eq!(answer.status("wal_level"), "fail");
    assert!(answer.row("room").join(" ").contains("max_replication_slots"), "{answer:?}");
    let rights: Vec<_> = answer.rows.iter().filter(|row| row[1] == "rights").map(|row| row[2].as_str()).collect();
    assert_eq!(rights, ["ok", "fail"]);
    let hba = stand.green.primary().data_dir().join("pg_hba.conf");
    let rules = std::fs::read_to_string(&hba).unwrap();
    std::fs::write(&hba, format!("host all mover 127.0.0.1/32 reject\n{rules}")).unwrap();
    stand.green.primary().reload().unwrap();
    let text = pgsluice_fixtures::wait::until(crate::stand::LONG, "the rule", || {
        let answer = stand.command(DRY);
        answer.rows.iter().find(|row| row[1] == "target").map(|row| row.join(" "))
    });
    assert!(text.contains("fail") && text.contains("mover"), "{text}");
}

#[test]
fn commands_that_make_no_sense_are_refused_in_the_words_of_the_house() {
    let stand = Stand::new(1);
    for (sql, sqlstate, words) in [
        ("MIGRATE nobody TO green", "3D000", "does not exist"),
        ("MIGRATE app TO red", "42704", "does not exist"),
        ("MIGRATE app TO blue", "22023", "is where"),
        ("MIGRATE app BACK", "55000", "not being migrated"),
        ("MIGRATE app FINISH", "55000", "not being migrated"),
        ("MIGRATE app TO green WITH (speed 'high')", "22023", "unrecognized option"),
        ("MIGRATE app TO green WITH (timeout '1s', timeout '2s')", "22023", "more than once"),
        ("MIGRATE app BACK WITH (copy_timeout '1d')", "22023", "unrecognized option"),
        ("MIGRATE app AWAY", "42601", "syntax"),
        ("MIGRATE", "42601", "needs the name"),
    ] {
        let answer = stand.command(sql);
        assert!(answer.sqlstate == sqlstate && answer.message.contains(words), "{sql}: {answer:?}");
    }
    assert!(text(&stand, "version").contains("15."));
    assert!(!SCHEMA.is_empty() && ask(&mut stand.client("app"), "SELECT 1").sqlstate.is_empty());
}
