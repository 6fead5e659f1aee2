//! Write rules: what an application writes while it only means to read.

use crate::stand::{LONG, Stand, query, sqlstate, talk};
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Frame, Raw, wait};

const RULES: &str = r#"default_pool_size = 10
{mode}
[maintenance]
write_rules = ["discard on django_session", "discard update on auth_user", "allow insert on audit",
    "hold on orders", "discard on t by nobody", "discard on t from 'counter'"]
"#;

const TABLES: &str = "
CREATE TABLE django_session (session_key text PRIMARY KEY, session_data text, expire_date timestamptz);
CREATE TABLE auth_user (id int PRIMARY KEY, username text, last_login timestamptz);
CREATE TABLE audit (id serial, what text);
CREATE TABLE orders (id int);
INSERT INTO auth_user VALUES (1, 'ann', NULL);
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;
";

fn stand(mode: &str) -> Stand {
    let stand = Stand::new(&RULES.replace("{mode}", mode));
    stand.operator().query(TABLES, LONG).expect("the tables");
    stand.cluster.wait_for_replay(LONG).expect("a replica that follows");
    stand
}

fn status(frames: &[Frame]) -> u8 {
    frames.last().expect("ReadyForQuery").body[0]
}

/// Tags of the messages, with the text of CommandComplete and the codes of errors.
fn said(frames: &[Frame]) -> String {
    let word = |frame: &Frame| match frame.tag {
        b'C' => frame.strings().concat(),
        b'E' => frame.error().map_or_else(String::new, |error| error.code().to_owned()),
        b'Z' => format!("Z{}", frame.body[0] as char),
        tag => (tag as char).to_string(),
    };
    frames.iter().filter(|frame| frame.tag != b'S').map(word).collect::<Vec<_>>().join(", ")
}

fn extended(sql: &str) -> Vec<u8> {
    [
        message::parse("", sql, &[]),
        message::bind("", "", &[]),
        message::describe_portal(""),
        message::execute("", 0),
        message::sync(),
    ]
    .concat()
}

const SAVE: &str = "UPDATE django_session SET session_data = 'x', expire_date = now() WHERE session_key = 'k'";
const LOGIN: &str =
    "UPDATE \"auth_user\" SET \"last_login\" = '2031-12-01 00:00:00+00'::timestamptz WHERE \"auth_user\".\"id\" = 1";

#[test]
fn a_login_works() {
    for mode in ["", "pool_mode = \"session\""] {
        let stand = stand(mode);
        stand.on();
        let before = stand.everything();
        let sessions =
            || stand.cluster.primary().psql_in("app", "SELECT count(*) FROM django_session").expect("a count");
        let mut raw = stand.app();
        for (sql, simple, by_parts) in [
            (SAVE, "UPDATE 0, ZI", "1, 2, n, UPDATE 0, ZI"),
            (
                "INSERT INTO django_session VALUES ('k', 'd', now()) ON CONFLICT (session_key) DO NOTHING RETURNING session_key",
                "T, INSERT 0 0, ZI",
                "1, 2, T, INSERT 0 0, ZI",
            ),
            ("DELETE FROM django_session WHERE expire_date < now()", "DELETE 0, ZI", "1, 2, n, DELETE 0, ZI"),
            (LOGIN, "UPDATE 0, ZI", "1, 2, n, UPDATE 0, ZI"),
        ] {
            assert_eq!(said(&query(&mut raw, sql)), simple, "{sql}");
            assert_eq!(said(&talk(&mut raw, &extended(sql), 1)), by_parts, "{sql}");
        }
        // As Django does it, in a block, with a pipeline at its end.
        assert_eq!(said(&query(&mut raw, "BEGIN")), "BEGIN, ZT");
        assert_eq!(said(&query(&mut raw, "SELECT username FROM auth_user WHERE id = 1")), "T, D, SELECT 1, ZT");
        assert_eq!(said(&query(&mut raw, LOGIN)), "UPDATE 0, ZT");
        assert_eq!(
            said(&query(&mut raw, "INSERT INTO django_session VALUES ('k') RETURNING session_key")),
            "T, INSERT 0 0, ZT"
        );
        let both =
            [message::query(SAVE), message::query("SELECT 1"), extended(SAVE), message::query("COMMIT")].concat();
        let frames = talk(&mut raw, &both, 4);
        assert_eq!(said(&frames), "UPDATE 0, ZT, T, D, SELECT 1, ZT, 1, 2, n, UPDATE 0, ZT, COMMIT, ZI");
        // A block that has failed is one.
        query(&mut raw, "BEGIN");
        assert_eq!(sqlstate(&query(&mut raw, "DELETE FROM auth_user")), "25006");
        assert_eq!(said(&query(&mut raw, SAVE)), "25P02, ZE");
        assert_eq!(said(&talk(&mut raw, &extended(SAVE), 1)), "25P02, ZE");
        assert_eq!(said(&query(&mut raw, "COMMIT")), "ROLLBACK, ZI");
        // An error of the server's stays one.
        assert_eq!(said(&query(&mut raw, "INSERT INTO django_session VALUES (1) RETURNING nosuch")), "42703, ZI");
        assert_eq!((stand.everything(), sessions()), (before, "0".to_owned()));
        let show = stand.console("SHOW MAINTENANCE");
        let app = show.iter().find(|row| row[0].as_deref() == Some("app")).expect("a row");
        assert_eq!(app[20].as_deref(), Some("14"), "{app:?}");
    }
}

#[test]
fn a_rule_matches_only_what_can_be_named() {
    let stand = stand("");
    stand.on();
    let mut raw = stand.app();
    for sql in [
        "DELETE FROM auth_user",
        "UPDATE django_session SET session_data = writes()::text",
        "WITH x AS (INSERT INTO django_session VALUES ('k') RETURNING 1) SELECT * FROM x",
        "INSERT INTO django_session SELECT 'k' FROM (SELECT writes()) w",
        "UPDATE django_session SET session_data = 'x'; SELECT 1",
        "TRUNCATE django_session",
        "COPY django_session FROM STDIN",
        "UPDATE t SET v = 'x'",
        "UPDATE other.auth_user SET id = 2; ",
    ] {
        let state = sqlstate(&query(&mut raw, sql));
        assert!(state == "25006" || sql.contains("other.") && state.is_empty(), "{sql}: {state}");
    }
    query(&mut raw, "SET application_name = 'counter'");
    assert_eq!(said(&query(&mut raw, "UPDATE t SET v = 'x'")), "UPDATE 0, ZI");
}

#[test]
fn what_is_allowed_is_written_and_nothing_beside_it() {
    let stand = stand("");
    let mut console = stand.connect("dba", "dba", "pgsluice");
    let answer = query(&mut console, "MAINTENANCE ON app");
    let notice = answer.iter().filter(|frame| frame.tag == b'N').filter_map(|frame| frame.error_fields().remove(&'D'));
    assert_eq!(notice.collect::<Vec<_>>(), ["allow insert on audit"]);
    let before = stand.everything();
    let mut raw = stand.app();
    let insert = "INSERT INTO audit (what) VALUES ('seen') RETURNING what";
    assert_eq!(said(&query(&mut raw, insert)), "T, D, INSERT 0 1, ZI");
    assert_eq!(said(&talk(&mut raw, &extended(insert), 1)), "1, 2, T, D, INSERT 0 1, ZI");
    let parts =
        |sql: &str| [message::parse("", sql, &[]), message::bind("", "", &[]), message::execute("", 0)].concat();
    for (bytes, readies, expected) in [
        ([message::query(insert), message::query("DELETE FROM t")].concat(), 2, "T, D, INSERT 0 1, ZI, 25006, ZI"),
        ([parts(insert), parts("DELETE FROM t"), message::sync()].concat(), 1, "1, 2, D, INSERT 0 1, 1, 2, 25006, ZI"),
        (
            [parts(insert), parts("SELECT writes()"), message::sync()].concat(),
            1,
            "1, 2, D, INSERT 0 1, 1, 2, 25006, ZI",
        ),
        (message::query("INSERT INTO audit (what) VALUES ('a'); DELETE FROM t"), 1, "25006, ZI"),
        (message::query("UPDATE audit SET what = 'b'"), 1, "25006, ZI"),
        (
            [parts(insert), message::sync(), message::function_call(957, &[Some(b"-1")])].concat(),
            2,
            "1, 2, D, INSERT 0 1, ZI, 25006, ZI",
        ),
    ] {
        let frames = talk(&mut raw, &bytes, readies);
        // What shares a batch with an allowed statement may itself be refused: nothing else is ever run.
        let first = said(&frames);
        assert!(first == expected || first.contains("25006"), "{first}, not {expected}");
    }
    assert_eq!(stand.everything()[0], before[0]);
    // In a block it is refused: the block is guarded.
    query(&mut raw, "BEGIN");
    assert_eq!(said(&query(&mut raw, insert)), "25006, ZE");
    query(&mut raw, "ROLLBACK");
    assert_eq!(status(&query(&mut raw, "SELECT 1")), b'I');
}

#[test]
fn a_rule_may_hold() {
    let stand = stand("");
    stand.on();
    let mut raw: Raw = stand.app();
    raw.send(&message::query("INSERT INTO orders VALUES (1)")).expect("sent");
    wait::until(LONG, "the order to be held", || (stand.clients("held") == 1).then_some(()));
    stand.off();
    assert_eq!(said(&raw.frames_until_ready(LONG).expect("an answer")), "INSERT 0 1, ZI");
}

/// What an allowed write may not bring along: tables that change more than themselves, and statements that name what writes.
const WIDER: &str = "
CREATE TABLE journal (n int);
CREATE FUNCTION notes() RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO journal VALUES (1); RETURN 1; END $$;
CREATE VIEW writing_view AS SELECT notes() AS x;
CREATE VIEW reading_view AS SELECT id AS x FROM t;
CREATE FUNCTION upper(int, int) RETURNS text LANGUAGE sql AS 'SELECT notes()::text';
CREATE FUNCTION adds(text, text) RETURNS text LANGUAGE sql AS 'SELECT notes()::text';
CREATE OPERATOR + (FUNCTION = adds, LEFTARG = text, RIGHTARG = text);
CREATE FUNCTION is_one(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN PERFORM notes(); RETURN true; END $$;
CREATE DOMAIN noted AS text CHECK (is_one(VALUE));
CREATE FUNCTION of_row(t) RETURNS text LANGUAGE sql AS 'SELECT notes()::text';
CREATE FUNCTION fires() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM notes(); RETURN NEW; END $$;
CREATE FUNCTION touches() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.what := lower(NEW.what); RETURN NEW; END $$;
CREATE TABLE plain (id serial PRIMARY KEY, what text);
CREATE TABLE touched (id int GENERATED ALWAYS AS IDENTITY, what text);
CREATE TRIGGER touched BEFORE INSERT ON touched FOR EACH ROW EXECUTE FUNCTION touches();
CREATE TABLE checked (what noted);
CREATE TABLE fired (what text);
CREATE TRIGGER fired AFTER INSERT ON fired FOR EACH ROW EXECUTE FUNCTION fires();
CREATE TABLE ruled (what text);
CREATE RULE ruled AS ON INSERT TO ruled DO ALSO INSERT INTO journal VALUES (2);
CREATE TABLE defaulted (what text DEFAULT notes()::text, n int);
CREATE TABLE others (id int DEFAULT nextval('s'), what text);
CREATE TABLE secured (what text);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY p ON secured WITH CHECK (notes() = 1);
CREATE TABLE parent (id int PRIMARY KEY, what text);
CREATE TABLE child (id int REFERENCES parent ON DELETE CASCADE ON UPDATE CASCADE);
CREATE TABLE parted (id int, what text) PARTITION BY LIST (id);
CREATE TABLE part PARTITION OF parted FOR VALUES IN (1);
CREATE TRIGGER fired AFTER INSERT ON part FOR EACH ROW EXECUTE FUNCTION fires();
CREATE VIEW over_plain AS SELECT * FROM plain;
CREATE TABLE indexed (what text);
CREATE FUNCTION keyed(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM notes(); RETURN $1; END $$;
CREATE INDEX ON indexed (keyed(what));
INSERT INTO parent VALUES (1);
INSERT INTO child VALUES (1);
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;
";

#[test]
fn what_is_allowed_reaches_nothing_else_that_writes() {
    let tables = [
        "plain",
        "touched",
        "checked",
        "fired",
        "ruled",
        "defaulted",
        "others",
        "secured",
        "parent",
        "parted",
        "over_plain",
        "indexed",
    ];
    let rules: Vec<_> = tables.iter().map(|table| format!("\"allow on {table}\"")).collect();
    let stand = Stand::new(&format!("default_pool_size = 10\n[maintenance]\nwrite_rules = [{}]\n", rules.join(", ")));
    let made = query(&mut stand.operator(), WIDER);
    assert_eq!(sqlstate(&made), "", "{:?}", made.iter().find_map(Frame::error));
    stand.on_primary();
    let mut raw = stand.app();
    let mut passed = Vec::new();
    for sql in [
        "INSERT INTO plain (what) SELECT x::text FROM writing_view",
        "INSERT INTO plain (what) VALUES ('a') RETURNING (SELECT x FROM writing_view)",
        "INSERT INTO plain (what) VALUES (upper(1, 2))",
        "INSERT INTO plain (what) VALUES ('a'::text + 'b'::text)",
        "INSERT INTO plain (what) VALUES ('1'::noted)",
        "INSERT INTO plain (what) VALUES (CAST('1' AS noted))",
        "INSERT INTO plain (what) SELECT t.of_row FROM t",
        "UPDATE plain SET what = 'x' WHERE id IN (SELECT x FROM writing_view)",
        "DELETE FROM plain USING writing_view",
        "INSERT INTO checked VALUES ('a')",
        "INSERT INTO fired VALUES ('a')",
        "INSERT INTO ruled VALUES ('a')",
        "INSERT INTO defaulted (n) VALUES (1)",
        "INSERT INTO others (what) VALUES ('a')",
        "INSERT INTO secured VALUES ('a')",
        "DELETE FROM parent WHERE id = 1",
        "UPDATE parent SET id = 2",
        "INSERT INTO parted VALUES (1, 'a')",
        "INSERT INTO over_plain (what) VALUES ('a')",
        "INSERT INTO indexed VALUES ('a')",
    ] {
        for frames in [query(&mut raw, sql), talk(&mut raw, &extended(sql), 1)] {
            let code = sqlstate(&frames);
            passed.extend((code != "25006").then(|| format!("{sql}: {code:?}")));
        }
    }
    let journal = stand.cluster.primary().psql_in("app", "SELECT count(*) FROM journal").expect("a count");
    assert!(passed.is_empty() && journal == "0", "{journal} noted\n{}", passed.join("\n"));
    for sql in [
        "INSERT INTO plain (what) VALUES ('a')",
        "INSERT INTO plain (what) SELECT x::text FROM reading_view WHERE x <= 3 RETURNING id",
        "UPDATE plain SET what = upper(what) WHERE id BETWEEN 1 AND 2",
        "INSERT INTO touched (what) VALUES ('A')",
        "INSERT INTO parent VALUES (3, 'a')",
        "DELETE FROM plain WHERE id = 1",
    ] {
        let frames = query(&mut raw, sql);
        assert_eq!(sqlstate(&frames), "", "{sql}: {:?}", frames.iter().find_map(Frame::error));
    }
}
