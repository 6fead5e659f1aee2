use super::*;
use crate::sql::Analyzer;

fn found(sql: &str, body: bool) -> Vec<String> {
    let analyzer = Analyzer::default();
    let mut found = Vec::new();
    let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let depth = if body { Depth::Constants } else { Depth::Words };
    mentions(Lexer::new(sql.as_bytes(), true), analyzer.scope(), body, depth, &mut |mention| {
        found.extend(match mention {
            Mention::Call(None, name, _) => Some(format!("{}()", text(name))),
            Mention::Call(Some(schema), name, _) => Some(format!("{}.{}()", text(schema), text(name))),
            Mention::Relation(_, name) => Some(text(name)),
            Mention::Type(_, name) if !body => Some(format!("::{}", text(name))),
            Mention::Operator(run, _) => Some(text(run)),
            Mention::Builds(_) => Some("builds".into()),
            Mention::Command(tag) => Some(tag.into()),
            _ => None,
        });
    });
    found.retain(|one| !one.starts_with("::") || !found_call(one, sql));
    found
}

/// `f(` may be a cast too; the tests below are about other things.
fn found_call(one: &str, sql: &str) -> bool {
    sql.contains(&format!("{}(", &one[2..]))
}

#[test]
fn names_are_found_where_they_count() {
    for (sql, names) in [
        ("SELECT v FROM t", &["t"][..]),
        ("SELECT a.v, b FROM s.t a, u AS b JOIN w ON a.x = f(b.y, z), q WHERE c, d", &["t", "u", "w", "=", "f()", "q"]),
        ("SELECT * FROM (a JOIN (b JOIN c ON true) ON true), LATERAL g(a.x)", &["*", "a", "b", "c", "g()"]),
        ("SELECT x IS DISTINCT FROM v", &[]),
        ("INSERT INTO t (a) VALUES (s.f(1))", &["t", "s.f()"]),
        ("COPY t (a) FROM STDIN", &["t", "stdin"]),
        ("TABLE v", &["v"]),
        ("SELECT '1'::odd, CAST(x AS s.odd), odd '2', 1 AS odd", &["::odd", "::odd", "::odd"]),
        (
            "SELECT 1 <~> 2, -1, a<@-b, 1 -- <!>\n, 3 OPERATOR(s.<#>) 4",
            &["<~>", "-", "<@-", "operator()", "::operator", "<#>"],
        ),
        ("WITH f(a) AS (SELECT 1) SELECT * FROM f", &["*"]),
        ("WITH f AS (SELECT 1 FROM f) SELECT a FROM f, s.f, (WITH g AS (SELECT 1) SELECT 1) x, g", &["f", "f", "g"]),
        ("SELECT a.b odd, c::int odd FROM t odd (x)", &["::int", "t"]),
        ("SELECT f(x odd), (a).odd FROM t", &["f()", "::odd", "::odd", "t"]),
        // Words that PostgreSQL has a use for, and does not reserve.
        ("SELECT * FROM zone, position p JOIN rows ON true", &["*", "zone", "position", "rows"]),
        ("SELECT sets(1), like(a, b), verbose(2)", &["sets()", "like()", "verbose()"]),
        ("SELECT DISTINCT ON (a) filter(b) FROM system", &["filter()", "system"]),
    ] {
        assert_eq!(found(sql, false), names, "{sql}");
    }
}

#[test]
fn bodies_are_looked_through() {
    for (sql, names) in [
        ("BEGIN PERFORM f(); EXECUTE 'select g()'; END", &["g()", "f()"][..]),
        ("BEGIN EXECUTE 'select ' || x; END", &["builds", "||"]),
        ("BEGIN FOR r IN EXECUTE $1 LOOP END LOOP; END", &["builds"]),
        ("BEGIN FOR r IN EXECUTE 'select 1' LOOP END LOOP; END", &[]),
        ("BEGIN EXECUTE 'select $1' INTO x USING y; END", &["x", "y"]),
        ("BEGIN COPY t TO '/tmp/x'; END", &["/", "/", "COPY TO", "t"]),
        ("BEGIN EXECUTE 'copy t to program ''x'''; END", &["x", "COPY TO", "t"]),
        ("SELECT query_to_xml(x, true, true, '')", &["builds", "query_to_xml()"]),
        ("SELECT query_to_xml('select g()', true, true, '')", &["g()", "query_to_xml()"]),
    ] {
        assert_eq!(found(sql, true), names, "{sql}");
    }
}
