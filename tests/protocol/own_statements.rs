//! pgsluice's own statements under a search_path that is full of traps: an overload of every function, operator, type and
//! relation of PostgreSQL's own that they name, each of which raises an error.

use pgsluice::sql::lex::quote::literal;
use pgsluice::sql::own_statements;
use pgsluice_fixtures::raw::message;
use pgsluice_fixtures::{Cluster, Postgres, Raw};

use crate::stand::SOON;

/// Builds the schema `hostile` from the names in the table `texts`.
const HOSTILE: &str = r#"
CREATE SCHEMA hostile;
CREATE FUNCTION hostile.springs() RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'trap'; END$$;
DO $do$
DECLARE
    one record;
    made int := 0;
    body constant text := $$ BEGIN RAISE EXCEPTION 'trap'; END $$;
BEGIN
    FOR one IN
        SELECT p.proname, format_type(p.prorettype, NULL) AS result, p.proretset,
            (SELECT coalesce(string_agg(format_type(t, NULL), ', ' ORDER BY n), '')
             FROM unnest(p.proargtypes) WITH ORDINALITY AS a (t, n)) AS args
        FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind IN ('f', 'a')
            AND EXISTS (SELECT FROM texts WHERE strpos(sql, p.proname) > 0)
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION hostile.%I(%s) RETURNS %s %s LANGUAGE plpgsql AS %L', one.proname, one.args,
                CASE WHEN one.proretset THEN 'SETOF' END, one.result, body);
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOR one IN
        SELECT o.oid, o.oprname, nullif(o.oprleft, 0)::regtype AS l, o.oprright::regtype AS r, o.oprresult::regtype AS result
        FROM pg_operator o WHERE o.oprnamespace = 'pg_catalog'::regnamespace
            AND EXISTS (SELECT FROM texts WHERE strpos(sql, o.oprname) > 0)
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION hostile.operator_%s(%s) RETURNS %s LANGUAGE plpgsql AS %L', one.oid,
                concat_ws(', ', one.l, one.r), one.result, body);
            EXECUTE format('CREATE OPERATOR hostile.%s (FUNCTION = hostile.operator_%s, %s RIGHTARG = %s)', one.oprname,
                one.oid, 'LEFTARG = ' || one.l || ',', one.r);
            made := made + 1;
        EXCEPTION WHEN OTHERS THEN NULL;
        END;
    END LOOP;
    FOR one IN
        SELECT t.typname FROM pg_type t WHERE t.typnamespace = 'pg_catalog'::regnamespace AND t.typtype = 'b'
            AND t.typelem = 0 AND EXISTS (SELECT FROM texts WHERE strpos(sql, t.typname) > 0)
    LOOP
        EXECUTE format('CREATE DOMAIN hostile.%I AS pg_catalog.%I CHECK (hostile.springs())', one.typname, one.typname);
        made := made + 1;
    END LOOP;
    FOR one IN
        SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v')
            AND EXISTS (SELECT FROM texts WHERE strpos(sql, c.relname) > 0)
    LOOP
        EXECUTE format('CREATE VIEW hostile.%I AS SELECT 1 AS trap FROM pg_catalog.pg_class WHERE hostile.springs()', one.relname);
        made := made + 1;
    END LOOP;
    RAISE NOTICE '%', made;
END $do$
"#;

/// Errors and command tags of a text, one after the other.
fn answer(raw: &mut Raw, sql: &str) -> Vec<String> {
    let frames = raw.round_trip(&message::query(sql), SOON).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let told = frames.iter().filter_map(|frame| match frame.tag {
        b'E' => frame.error().map(|error| format!("{} {}", error.code(), error.message())),
        b'C' => frame.strings().into_iter().next(),
        b'Z' => Some(format!("{:?}", frame.body)),
        _ => None,
    });
    told.collect()
}

fn runs_under_traps(major: u32) {
    let cluster = Cluster::builder().installation(Postgres::major(major).unwrap()).start().unwrap();
    let connect = || cluster.primary().connect("postgres", "postgres").unwrap();
    let all = own_statements::all();
    let mut owner = connect();
    owner.query("CREATE TABLE texts (sql text)", SOON).unwrap();
    for (_, sql) in &all {
        owner.query(&format!("INSERT INTO texts VALUES ({})", literal(sql)), SOON).unwrap();
    }
    owner.query(HOSTILE, SOON).unwrap();

    let (mut plain, mut trapped) = (connect(), connect());
    let path = "SET search_path = hostile, pg_catalog, public";
    trapped.query(path, SOON).unwrap();
    for unsafe_one in [
        "SELECT 1/0",
        "SELECT clock_timestamp()",
        "SELECT 'a' = 'a'::text",
        "SELECT oid FROM pg_class",
        "SELECT 1 WHERE 'x' IN ('x'::pg_catalog.text)",
        "SELECT count(*) FROM pg_catalog.pg_class WHERE relname LIKE 'pg%'",
    ] {
        let told = answer(&mut trapped, unsafe_one);
        assert!(told.iter().any(|one| one.contains("trap") || one.starts_with("42")), "{unsafe_one}: {told:?}");
    }
    for (name, sql) in &all {
        if name.contains("search_path") {
            continue;
        }
        let expected = answer(&mut plain, sql);
        let told = answer(&mut trapped, sql);
        assert_eq!(told, expected, "{name} on {major}: {sql}");
        assert!(!expected.iter().any(|one| one.starts_with("42") || one.starts_with("25P02")), "{name}: {expected:?}");
        // Behind a statement that has set the path itself.
        answer(&mut trapped, path);
    }
}

#[test]
fn own_statements_are_immune_to_the_search_path_on_15() {
    runs_under_traps(15);
}

#[test]
fn own_statements_are_immune_to_the_search_path_on_18() {
    runs_under_traps(18);
}
