//! Families of operators whose code leads to an unseen writer: what runs them is refused, and what has nothing to do with them is not.

use crate::stand::{Stand, query, sqlstate, talk};
use crate::ways_around_schema::run;
use pgsluice_fixtures::raw::message::{bind, execute, parse, sync};

const SCHEMA: &str = "
CREATE FUNCTION emits(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_logical_emit_message(false, 'hidden', 'x'); RETURN $1; END $$;
CREATE FUNCTION compares(int, int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM public.emits(1); RETURN btint4cmp($1, $2); END $$;
CREATE OPERATOR CLASS emitting FOR TYPE int USING btree AS
    OPERATOR 1 <, OPERATOR 2 <=, OPERATOR 3 =, OPERATOR 4 >=, OPERATOR 5 >, FUNCTION 1 compares(int, int);
CREATE TABLE classed (a int);
INSERT INTO classed SELECT generate_series(1, 1000);
CREATE INDEX ON classed (a emitting);
CREATE VIEW over_classed AS SELECT * FROM classed;
CREATE TABLE divided (a int) PARTITION BY RANGE (a emitting);
CREATE TABLE division PARTITION OF divided FOR VALUES FROM (0) TO (10);
INSERT INTO divided VALUES (3);
CREATE TYPE span AS RANGE (subtype = int, subtype_opclass = emitting);
CREATE TABLE typed (w span);
CREATE FUNCTION by_column() RETURNS int LANGUAGE plpgsql AS $$ DECLARE x typed.w%TYPE; BEGIN x := '[1,2)'; RETURN 1; END $$;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
";

/// PostgreSQL has no default of its own there.
const DEFAULT: &str = "
CREATE FUNCTION less(point, point) RETURNS bool LANGUAGE sql AS 'SELECT $1[0] < $2[0]';
CREATE FUNCTION same(point, point) RETURNS bool LANGUAGE sql AS 'SELECT $1[0] = $2[0]';
CREATE FUNCTION compares(point, point) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM public.emits(1); RETURN sign($1[0] - $2[0]); END $$;
CREATE OPERATOR <<< (FUNCTION = less, LEFTARG = point, RIGHTARG = point);
CREATE OPERATOR === (FUNCTION = same, LEFTARG = point, RIGHTARG = point);
CREATE OPERATOR CLASS points DEFAULT FOR TYPE point USING btree AS OPERATOR 1 <<<, OPERATOR 3 ===, FUNCTION 1 compares(point, point);
";

fn said(stand: &Stand, sql: &str) -> [String; 2] {
    let mut app = stand.app();
    run(&mut app, "SET enable_seqscan = off");
    let simple = sqlstate(&query(&mut app, sql));
    let batch = [parse("", sql, &[]), bind("", "", &[]), execute("", 0), sync()].concat();
    [simple, sqlstate(&talk(&mut app, &batch, 1))]
}

#[test]
fn a_family_of_operators_taints_what_runs_it_and_nothing_else() {
    let stand = Stand::new("default_pool_size = 30");
    run(&mut stand.operator(), SCHEMA);
    stand.on_primary();
    for sql in [
        "SELECT * FROM classed WHERE a = 3",
        "SELECT * FROM over_classed WHERE a < 3",
        "SELECT * FROM divided WHERE a = 3",
        "SELECT span(1, 2)",
        "SELECT '[1,2)'::span",
        "SELECT '{[1,2)}'::span_multirange",
        "SELECT by_column()",
    ] {
        assert_eq!(said(&stand, sql), ["25006", "25006"], "{sql}");
    }
    for sql in [
        "SELECT count(*) FROM t WHERE id = 1",
        "SELECT id FROM t ORDER BY id",
        "SELECT DISTINCT v FROM t",
        "SELECT int4range(1, 2)",
        "SELECT 1 < 2, 3 BETWEEN 1 AND 4",
    ] {
        assert_eq!(said(&stand, sql), ["", ""], "{sql}");
    }
    stand.off();
    run(&mut stand.operator(), DEFAULT);
    stand.on_primary();
    for sql in [
        "SELECT DISTINCT p FROM (VALUES (point(1, 2)), (point(2, 1))) x (p)",
        "SELECT count(DISTINCT box_center) FROM (SELECT box_center(box '((1,1),(2,2))')) x",
    ] {
        assert_eq!(said(&stand, sql), ["25006", "25006"], "{sql}");
    }
}
