//! Chains to a writer whose links no statement names: what the planner runs by itself, types of columns, operator classes. Reads that
//! start them are asked about, however much else is clean.

use crate::stand::{Stand, query, sqlstate, talk};
use crate::ways_around_schema::run;
use pgsluice_fixtures::raw::message::{bind, execute, parse, sync};
use pgsluice_fixtures::wait;
use std::time::Duration;

const SCHEMA: &str = "
CREATE FUNCTION large() RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM lo_create(0); RETURN 1; END $$;
CREATE FUNCTION large_imm(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM lo_create(0); RETURN 1; END $$;
CREATE FUNCTION large_check(int) RETURNS bool LANGUAGE sql AS 'SELECT large() > 0';
CREATE FUNCTION large_cmp(int, int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
    $$ BEGIN PERFORM lo_create(0); RETURN btint4cmp($1, $2); END $$;
CREATE FUNCTION large_points(point, point) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
    $$ BEGIN PERFORM lo_create(0); RETURN sign($1[0] - $2[0]); END $$;
CREATE FUNCTION large_add(int, int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM lo_create(0); RETURN $1 + $2; END $$;
CREATE FUNCTION large_diff(float8, float8) RETURNS float8 IMMUTABLE LANGUAGE plpgsql AS
    $$ BEGIN PERFORM lo_create(0); RETURN $1 - $2; END $$;
CREATE DOMAIN large_domain AS int CHECK (large_check(VALUE));
CREATE TABLE typed (w large_domain);
CREATE TYPE large_range AS RANGE (subtype = float8, subtype_diff = large_diff);
CREATE TABLE spans (r large_range);
CREATE TABLE guarded (a int);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
INSERT INTO guarded VALUES (1);
";

/// What makes a chain, and a read that runs it.
const CHAINS: [(&str, &str); 25] = [
    (
        "CREATE TABLE checked (a int, CHECK (a > large_imm(1)))",
        "SET constraint_exclusion = on; SELECT * FROM checked WHERE a > 5",
    ),
    (
        "CREATE TABLE parent (a int) PARTITION BY RANGE (a);
         CREATE TABLE child PARTITION OF parent FOR VALUES FROM (0) TO (10); CREATE INDEX ON child ((a + large_imm(1)))",
        "SELECT * FROM parent WHERE a > 5",
    ),
    (
        "CREATE TABLE old (a int); CREATE TABLE heir (CHECK (a > large_imm(1))) INHERITS (old);
         CREATE TABLE heir_of_heir (CHECK (a > large_imm(2))) INHERITS (heir)",
        "SELECT * FROM old WHERE a > 5",
    ),
    (
        "CREATE TABLE counted (a int, b int); CREATE STATISTICS of_two ON (a + large_imm(1)), b FROM counted",
        "SELECT * FROM counted WHERE a > 5",
    ),
    (
        "CREATE TABLE keyed (a int) PARTITION BY RANGE ((a + large_imm(1))); CREATE TABLE of_key PARTITION OF keyed DEFAULT",
        "SELECT * FROM keyed WHERE a > 5",
    ),
    ("SELECT 1", "SET constraint_exclusion = on; SELECT * FROM of_key WHERE a > 5"),
    (
        "CREATE FUNCTION by_type(int) RETURNS int LANGUAGE plpgsql AS
         'DECLARE x typed.w%TYPE; BEGIN x := $1; RETURN 1; END'",
        "SELECT by_type(3)",
    ),
    (
        "CREATE FUNCTION by_schema_type(int) RETURNS int LANGUAGE plpgsql AS
         'DECLARE x public.typed.w %type; BEGIN x := $1; RETURN 1; END'",
        "SELECT by_schema_type(3)",
    ),
    (
        "CREATE FUNCTION by_row(int) RETURNS int LANGUAGE plpgsql AS
         'DECLARE x typed%ROWTYPE; BEGIN x.w := $1; RETURN 1; END'",
        "SELECT by_row(3)",
    ),
    (
        "CREATE FUNCTION by_plain_row(int) RETURNS int LANGUAGE plpgsql AS
         'DECLARE x typed; BEGIN x.w := $1; RETURN 1; END'",
        "SELECT by_plain_row(3)",
    ),
    (
        "CREATE FUNCTION gives_domain(int) RETURNS large_domain LANGUAGE plpgsql AS 'BEGIN RETURN $1; END'",
        "SELECT gives_domain(3)",
    ),
    (
        "CREATE FUNCTION gives_table(int) RETURNS TABLE (x large_domain) LANGUAGE plpgsql AS
         'BEGIN x := $1; RETURN NEXT; END'",
        "SELECT * FROM gives_table(3)",
    ),
    (
        "CREATE FUNCTION gives_column(int) RETURNS TABLE (x typed.w%TYPE) LANGUAGE plpgsql AS
         'BEGIN x := $1; RETURN NEXT; END'",
        "SELECT * FROM gives_column(3)",
    ),
    ("CREATE FUNCTION by_default(int DEFAULT large_imm(1)) RETURNS int LANGUAGE sql AS 'SELECT $1'", "SELECT by_default()"),
    (
        "CREATE FUNCTION in_declaration() RETURNS int LANGUAGE plpgsql AS
         'DECLARE c CURSOR FOR SELECT large(); x oid; BEGIN OPEN c; FETCH c INTO x; RETURN 1; END'",
        "SELECT in_declaration()",
    ),
    ("CREATE FUNCTION in_atomic() RETURNS int BEGIN ATOMIC SELECT large(); END", "SELECT in_atomic()"),
    ("CREATE AGGREGATE large_sum(int) (SFUNC = large_add, STYPE = int)", "SELECT large_sum(a) FROM (VALUES (1), (2)) x (a)"),
    ("SELECT 1", "SELECT count(*) FROM spans WHERE r && '[1,2]'::text::large_range"),
    ("SELECT 1", "SELECT '{1}'::large_domain[]"),
    ("SELECT 1", "SELECT ROW(1)::typed"),
    ("SELECT 1", "SELECT json_populate_record(null::typed, '{\"w\": 1}')"),
    ("CREATE TYPE pair AS (a int, b large_domain)", "SELECT '(1,2)'::pair"),
    ("CREATE POLICY everybody ON guarded USING (large_check(a))", "SELECT * FROM guarded"),
    (
        "CREATE FUNCTION is_large(int, text) RETURNS bool LANGUAGE sql AS 'SELECT large() > 0';
         CREATE OPERATOR = (FUNCTION = is_large, LEFTARG = int, RIGHTARG = text)",
        "SELECT 1 FROM (VALUES (1)) x (a) JOIN (VALUES ('a'::text)) y (b) ON a = b",
    ),
    (
        "CREATE FUNCTION int_less(int, int) RETURNS bool IMMUTABLE LANGUAGE sql AS 'SELECT $1 < $2';
         CREATE OPERATOR <~< (FUNCTION = int_less, LEFTARG = int, RIGHTARG = int);
         CREATE OPERATOR CLASS sorts FOR TYPE int4 USING btree AS OPERATOR 1 <~<, FUNCTION 1 large_cmp(int, int)",
        "SELECT a FROM (VALUES (2), (1)) x (a) ORDER BY a USING <~<",
    ),
];

/// The same where the link is one of PostgreSQL's own types: nothing is clean then.
const CHAINS_ANYWHERE: [(&str, &str); 2] = [
    (
        "CREATE OPERATOR CLASS backwards FOR TYPE int4 USING btree AS OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=,
            OPERATOR 5 >, FUNCTION 1 large_cmp(int, int);
         CREATE TABLE classed (a int); INSERT INTO classed SELECT generate_series(1, 1000);
         CREATE INDEX ON classed (a backwards)",
        "SET enable_seqscan = off; SELECT * FROM classed WHERE a < 5",
    ),
    (
        "CREATE FUNCTION point_less(point, point) RETURNS bool LANGUAGE sql AS 'SELECT $1[0] < $2[0]';
         CREATE FUNCTION point_same(point, point) RETURNS bool LANGUAGE sql AS 'SELECT $1[0] = $2[0]';
         CREATE OPERATOR <<< (FUNCTION = point_less, LEFTARG = point, RIGHTARG = point);
         CREATE OPERATOR === (FUNCTION = point_same, LEFTARG = point, RIGHTARG = point);
         CREATE OPERATOR CLASS points DEFAULT FOR TYPE point USING btree AS
            OPERATOR 1 <<<, OPERATOR 3 ===, FUNCTION 1 large_points(point, point)",
        "SELECT DISTINCT p FROM (VALUES (point(1, 2)), (point(2, 1))) x (p)",
    ),
];

fn large_objects(stand: &Stand) -> String {
    stand.cluster.primary().psql_in("app", "SELECT count(*) FROM pg_largeobject_metadata").expect("an observer")
}

/// What the server ran last for the application's role.
fn last(stand: &Stand) -> String {
    let sql = "SELECT query FROM pg_stat_activity WHERE usename = 'app' ORDER BY query_start DESC NULLS LAST LIMIT 1";
    stand.cluster.primary().psql_in("app", sql).expect("an observer")
}

fn chains_are_found(chains: &[(&str, &str)], some_is_clean: bool) {
    let stand = Stand::new("");
    run(&mut stand.operator(), SCHEMA);
    for (make, _) in chains {
        run(&mut stand.operator(), make);
    }
    run(&mut stand.operator(), "GRANT ALL ON ALL TABLES IN SCHEMA public TO app");
    stand.on_primary();
    let mut app = stand.app();
    if some_is_clean {
        wait::until(Duration::from_secs(30), "knowledge of the catalog", || {
            run(&mut app, "SELECT count(*) FROM t");
            (last(&stand) == "SELECT count(*) FROM t").then_some(())
        });
    }
    let before = large_objects(&stand);
    let mut missed = Vec::new();
    for (_, read) in chains {
        let (set, read) = read.split_once("; ").unwrap_or(("SET enable_seqscan = on", read));
        run(&mut app, set);
        let simple = sqlstate(&query(&mut app, read));
        let passed = last(&stand) == *read;
        let batch = [parse("", read, &[]), bind("", "", &[]), execute("", 0), sync()].concat();
        let extended = sqlstate(&talk(&mut app, &batch, 1));
        if passed || large_objects(&stand) != before {
            missed.push(format!("{read}: {simple} {extended}, passed: {passed}"));
        }
    }
    assert!(missed.is_empty(), "{}", missed.join("\n"));
    assert_eq!(large_objects(&stand), before);
}

#[test]
fn reads_that_start_a_chain_which_they_do_not_name_are_asked_about() {
    chains_are_found(&CHAINS, true);
}

#[test]
fn where_any_read_may_start_a_chain_all_are_asked_about() {
    chains_are_found(&CHAINS_ANYWHERE, false);
}
