use super::*;

/// How the text of the first EXECUTE of a body is built.
fn executed(body: &str) -> Built {
    let lexer = Lexer::new(body.as_bytes(), true);
    let mut behind = lexer.clone();
    while behind.next().keyword != K::Execute {}
    Builder::new(lexer, Place::Body).text(behind)
}

#[test]
fn what_constants_and_quoted_names_make_is_known() {
    for body in [
        "BEGIN EXECUTE 'SELECT ' || 'count(*) FROM t'; END",
        "DECLARE s text := 'SELECT 1'; BEGIN EXECUTE s INTO n; END",
        "DECLARE s text; BEGIN IF a THEN s := 'SELECT 1'; ELSE s = 'SELECT ' || '2'; END IF; EXECUTE s; END",
        "BEGIN EXECUTE concat('SELECT ', 1); END",
        "BEGIN EXECUTE 'SELECT * FROM t LIMIT ' || (n::int); END",
        "BEGIN EXECUTE 'SELECT * FROM t LIMIT ' || (n + 1)::int; END",
        "BEGIN EXECUTE 'SELECT * FROM t WHERE n > ' || (p->>'least')::numeric; END",
        "BEGIN EXECUTE 'SELECT ' || date_part('year', now())::int || ' AS y'; END",
        "DECLARE w text := ' '; BEGIN EXECUTE 'SELECT count(*) FROM t' || w; END",
        "DECLARE s text := ''; BEGIN IF d THEN s := ' desc'; END IF; EXECUTE 'SELECT * FROM t ORDER BY id' || s || ' LIMIT 1'; END",
        "BEGIN EXECUTE 'SELECT 1 ORDER BY 1 ' || CASE WHEN n = 1 THEN 'asc' ELSE 'desc' END; END",
        "BEGIN EXECUTE CASE WHEN n = 1 THEN 'SELECT 1' ELSE 'SELECT 2' END; END",
        "BEGIN EXECUTE 'SELECT 1 ORDER BY ' || (case o when 'a' then 'a' when 'b' then case when c then 'b' end end) || ' LIMIT 1'; END",
    ] {
        assert_eq!(executed(body), Built::Constant, "{body}");
    }
    for body in [
        "BEGIN FOR r IN SELECT relname FROM pg_class LOOP EXECUTE format('SELECT count(*) FROM %I', r.relname) INTO n; END LOOP; END",
        "BEGIN FOR r IN EXECUTE 'SELECT * FROM ' || quote_ident(r.schema) || '.' || quote_ident(r.name) LOOP END LOOP; END",
        "BEGIN EXECUTE 'SELECT x FROM t WHERE v = ' || quote_literal(reverse(y)); END",
        "DECLARE s text := 'SELECT * FROM t'; BEGIN IF a > b THEN s := s || ' WHERE x = ' || quote_literal($1); END IF; EXECUTE s; END",
        "BEGIN EXECUTE format('SELECT x FROM %I.%I WHERE v = %L', a, b, now()::text) USING x; END",
        "BEGIN EXECUTE 'SELECT count(*) FROM ' || r.id::regclass; END",
        "DECLARE w text := quote_ident(t); BEGIN EXECUTE 'SELECT count(*) FROM ' || w; END",
        "DECLARE q text := 'SELECT count(*) FROM '; BEGIN q := q || quote_ident(r.t); EXECUTE q; END",
        "DECLARE q text := 'SELECT sum(n) FROM ('; BEGIN q := q || format('SELECT count(*) n FROM %I', r.t); q := q || ' UNION ALL '; q := q || ')'; EXECUTE q; END",
        "DECLARE c text := ''; BEGIN c := ' WHERE s = ' || quote_literal(r.a); EXECUTE 'SELECT count(*) FROM t' || c; END",
        "BEGIN EXECUTE 'SELECT ' || coalesce(quote_literal(r.t), 'null'); END",
        "BEGIN EXECUTE 'SELECT ' || nullif(quote_literal(r.t), 'x') || ' AS y'; END",
        "BEGIN EXECUTE 'SELECT count(*) FROM ' || get_name(r.t)::regclass; END",
        "BEGIN EXECUTE format('SELECT count(*) FROM %s LIMIT %s', r.id::regclass, n::int); END",
    ] {
        assert_eq!(executed(body), Built::Quoted, "{body}");
    }
}

#[test]
fn what_is_given_is_read_where_it_is_given() {
    for body in [
        "BEGIN EXECUTE sql; END",
        "BEGIN EXECUTE $1; END",
        "BEGIN EXECUTE 'SELECT ' || $1 || ' FROM t' INTO n; END",
        "BEGIN EXECUTE format('SELECT %s FROM %I', $1, $2); END",
        "DECLARE s text := 'SELECT * FROM t'; BEGIN s := s || ' WHERE ' || cond; EXECUTE s || ' LIMIT 1'; END",
        "BEGIN FOR i IN 1..10 LOOP EXECUTE 'SELECT ' || i || ' + 1'; END LOOP; END",
    ] {
        assert_eq!(executed(body), Built::Given, "{body}");
    }
}

#[test]
fn anything_else_may_be_anything() {
    for body in [
        "BEGIN EXECUTE reverse('t EZYLANA'); END",
        "BEGIN EXECUTE chr(65) || 'NALYZE t'; END",
        "BEGIN EXECUTE $1 || $2; END",
        "BEGIN EXECUTE 'ANA' || $1; END",
        "BEGIN EXECUTE $1 || 'LYZE t'; END",
        "BEGIN EXECUTE 'SELECT ' || $1 || '(1)'; END",
        "BEGIN EXECUTE format('%s%s', $1, $2); END",
        "BEGIN EXECUTE format('SELECT %I(1)', $1); END",
        "BEGIN EXECUTE format('%I t', $1); END",
        "BEGIN EXECUTE 'SELECT ' || quote_ident($1) || '_message(false)'; END",
        "BEGIN EXECUTE 'SELECT ''' || quote_ident($1) || ''''; END",
        "BEGIN EXECUTE 'EXECUTE ' || quote_ident($1); END",
        "BEGIN EXECUTE (SELECT text FROM commands); END",
        "DECLARE s text; BEGIN SELECT text INTO s FROM commands; EXECUTE s; END",
        "DECLARE s text; BEGIN SELECT text FROM commands INTO STRICT a, s; EXECUTE s; END",
        "BEGIN FOR r IN SELECT text FROM commands LOOP EXECUTE r.text; END LOOP; END",
        "DECLARE s text := 'x'; BEGIN s := reverse(s); EXECUTE s; END",
        "DECLARE s text = 'x'; BEGIN s = reverse(s); EXECUTE s; END",
        "DECLARE s text DEFAULT reverse('x'); BEGIN EXECUTE s; END",
        "DECLARE s text[]; BEGIN s[1] := reverse('x'); EXECUTE s[1]; END",
        "DECLARE a ALIAS FOR b; BEGIN b := reverse('x'); EXECUTE a; END",
        "BEGIN GET STACKED DIAGNOSTICS s = MESSAGE_TEXT; EXECUTE s; END",
        "BEGIN CALL gives(s); EXECUTE s; END",
        "BEGIN FOREACH s IN ARRAY made() LOOP EXECUTE s; END LOOP; END",
        "BEGIN EXECUTE sqlerrm; END",
        "BEGIN EXECUTE new.command; END",
        "BEGIN EXECUTE tg_argv[0]; END",
        "BEGIN EXECUTE current_user; END",
        "BEGIN EXECUTE CASE WHEN true THEN 'a' ELSE reverse('x') END; END",
        "DECLARE s text := ''; BEGIN EXECUTE 'ANA' || s || 'LYZE t'; END",
        "DECLARE s text := 'ANA'; BEGIN EXECUTE CASE WHEN a THEN s END || 'LYZE t'; END",
        "DECLARE f text := 'lo_create'; BEGIN EXECUTE 'SELECT ' || f || '(0)'; END",
        "DECLARE f text := quote_ident(a); BEGIN EXECUTE 'SELECT ' || f || '(0)'; END",
        "DECLARE f text := quote_ident(a); BEGIN EXECUTE f || ' t'; END",
        "DECLARE s text := 'SELECT '; BEGIN s := s || quote_ident(a); s := s || '(0)'; EXECUTE s; END",
        "DECLARE s text := 'SELECT '; BEGIN s := s || quote_ident(a); s := s || '_message(0)'; EXECUTE s; END",
        "DECLARE s text := 'ANA'; BEGIN s := s || 'x'; s := s || quote_ident(a); EXECUTE s; END",
        "DECLARE s text := ''; BEGIN s := s || quote_ident(a); EXECUTE s || ' t'; END",
        "DECLARE s text := 'SELECT 1'; BEGIN s := s || '; execute '; s := s || quote_ident(a); EXECUTE s; END",
        "DECLARE s text := 'SELECT 1 '; BEGIN s := s || '-'; s := s || '- ' || quote_literal(r.x); EXECUTE s; END",
        "DECLARE s text := 'SELECT '; BEGIN s := s || ' ''' ; s := s || quote_literal(reverse('x')); EXECUTE s; END",
        "BEGIN EXECUTE 'SELECT ' || (reverse('x'))::text; END",
        "BEGIN EXECUTE 'SELECT ' || nullif(reverse('x'), 'y'); END",
        "BEGIN EXECUTE 'SELECT $$' || $1; END",
        "DECLARE s text := 'SELECT '''; BEGIN EXECUTE s || quote_literal(r.x); END",
        "DECLARE s text := 'ANA'; BEGIN EXECUTE s || 'LYZE t'; END",
        "DECLARE s text := 'ANA'; BEGIN s := s || 'LYZE t'; EXECUTE s; END",
        "BEGIN EXECUTE 'SELECT ' || $1 || quote_literal(reverse('x')); END",
        "BEGIN EXECUTE own(1); END",
        "BEGIN EXECUTE own.format('SELECT 1'); END",
    ] {
        assert_eq!(executed(body), Built::Open, "{body}");
    }
}

#[test]
fn arguments_of_a_statement_are_constants_and_parameters() {
    let of = |sql: &str, place| {
        let lexer = Lexer::new(sql.as_bytes(), true);
        let mut behind = lexer.clone();
        while !behind.next().is(b'(') {}
        Builder::new(lexer, place).arguments(behind)
    };
    for (sql, built) in [
        ("SELECT f()", Built::Constant),
        ("SELECT f('a', 1, -2, true, NULL)", Built::Constant),
        ("SELECT f('a' || 'b', x => 'c')", Built::Constant),
        ("SELECT f($1), g(x) FROM t", Built::Given),
        ("SELECT f($1::text, 'x')", Built::Given),
        ("SELECT f(x) FROM t", Built::Open),
        ("SELECT f(reverse('x'))", Built::Open),
        ("SELECT f('ANA' || $1)", Built::Open),
        ("SELECT f(VARIADIC ARRAY['x'])", Built::Open),
        ("SELECT f((SELECT 'x'))", Built::Constant),
        ("SELECT f((SELECT x FROM t))", Built::Open),
        ("SELECT f('x'", Built::Open),
    ] {
        assert_eq!(of(sql, Place::Statement), built, "{sql}");
    }
    assert_eq!(of("BEGIN PERFORM f(x); END", Place::Body), Built::Given);
    assert_eq!(of("BEGIN PERFORM f(x) FROM t; END", Place::Body), Built::Open);
    assert_eq!(of("DECLARE x text; BEGIN PERFORM f(x) FROM t; END", Place::Body), Built::Given);
    assert_eq!(of("SELECT f($1)", Place::Constant), Built::Open);
}

#[test]
fn what_types_queries_and_aggregates_make_is_known() {
    for body in [
        "DECLARE n int; BEGIN SELECT count(*) INTO n FROM t; EXECUTE 'SELECT ' || n; END",
        "DECLARE n bigint := f(1); BEGIN EXECUTE 'SELECT * FROM t LIMIT ' || n || ' OFFSET ' || n * 2; END",
        "DECLARE n int; BEGIN EXECUTE 'SELECT ' || (n + 1); END",
        "DECLARE d timestamptz; BEGIN EXECUTE 'SELECT count(*) FROM t WHERE at > ''' || d || ''''; END",
        "BEGIN EXECUTE 'SELECT now() > ''' || now() || ''''; END",
        "BEGIN EXECUTE 'SELECT ' || round(x, 0); END",
        "BEGIN EXECUTE 'SELECT date ''' || to_char(now(), 'YYYY-MM-DD') || ''''; END",
        "DECLARE ids int[]; BEGIN EXECUTE 'SELECT * FROM t WHERE id IN (' || array_to_string(ids, ',') || ')'; END",
        "BEGIN EXECUTE (SELECT string_agg('SELECT 1', ' UNION ALL ') FROM t); END",
    ] {
        assert_eq!(executed(body), Built::Constant, "{body}");
    }
    for body in [
        "DECLARE t regclass; BEGIN EXECUTE 'SELECT count(*) FROM ' || t; END",
        "DECLARE t regclass; BEGIN EXECUTE format('SELECT count(*) FROM %s', t); END",
        "DECLARE n int; BEGIN EXECUTE 'SELECT count(*) FROM part_' || n; END",
        "DECLARE n int; BEGIN EXECUTE format('SELECT count(*) FROM part_%s WHERE true', n); END",
        "BEGIN EXECUTE (SELECT string_agg(format('SELECT count(*) FROM %I', relname), ' UNION ALL ') FROM pg_class); END",
        "DECLARE q text; BEGIN SELECT string_agg(format('SELECT %L, count(*) FROM %I.%I', n, s, n), ' UNION ALL ' ORDER BY s, n) INTO q FROM c; EXECUTE q; END",
        "DECLARE q text; BEGIN SELECT 'SELECT count(*) FROM ' || quote_ident(n) INTO STRICT q FROM c LIMIT 1; EXECUTE q; END",
        "DECLARE q text; BEGIN q := (SELECT string_agg(quote_ident(a), ', ') FILTER (WHERE a <> 'x') FROM c); EXECUTE 'SELECT ' || q || ' FROM t'; END",
        "DECLARE c text[]; BEGIN SELECT array_agg(quote_ident(a)) INTO c FROM x; EXECUTE 'SELECT ' || array_to_string(c, ', ') || ' FROM t'; END",
        "DECLARE c text[] := '{}'; BEGIN c := c || format('%I = %L', k, v); c := array_append(c, 'true'); EXECUTE 'SELECT count(*) FROM t WHERE ' || array_to_string(c, ' AND '); END",
        "BEGIN EXECUTE 'SELECT ' || array_to_string(ARRAY(SELECT quote_ident(a) FROM c), ', ') || ' FROM t'; END",
        "BEGIN FOR x IN SELECT oid::regclass AS rel FROM pg_class LOOP EXECUTE format('SELECT count(*) FROM %s', x.rel); END LOOP; END",
        "BEGIN FOR x IN SELECT relname, oid::regclass rel FROM pg_class LOOP EXECUTE 'SELECT count(*) FROM ' || x.rel; END LOOP; END",
        "BEGIN FOR x IN SELECT format('SELECT count(*) FROM %I', relname) AS q FROM pg_class LOOP EXECUTE x.q; END LOOP; END",
        "BEGIN EXECUTE replace('SELECT count(*) FROM $t$ WHERE true', '$t$', quote_ident(t)); END",
        "DECLARE q text := ''; BEGIN q := q || quote_ident(a) || ', '; EXECUTE 'SELECT ' || rtrim(q, ', ') || ' FROM t'; END",
    ] {
        assert_eq!(executed(body), Built::Quoted, "{body}");
    }
    for body in [
        "DECLARE n int; BEGIN EXECUTE 'SELECT f' || n || '(0)'; END",
        "DECLARE n int; BEGIN EXECUTE 'EXECUTE p' || n; END",
        "DECLARE n int; BEGIN EXECUTE 'SELECT 5-' || n; END",
        "DECLARE n int; BEGIN DECLARE n text; BEGIN n := reverse('x'); EXECUTE n; END; END",
        "DECLARE r int; BEGIN FOR r IN c LOOP EXECUTE 'SELECT ' || r; END LOOP; END",
        "DECLARE n t.c%TYPE; BEGIN SELECT a INTO n FROM t; EXECUTE n; END",
        "DECLARE q text; BEGIN SELECT quote_ident(a) INTO q FROM c UNION SELECT sql FROM commands; EXECUTE 'SELECT ' || q; END",
        "DECLARE q text; BEGIN SELECT sql INTO q FROM commands; EXECUTE q; END",
        "DECLARE q text; BEGIN SELECT format('SELECT %s', sql) INTO q FROM commands; EXECUTE q; END",
        "BEGIN EXECUTE (SELECT string_agg(sql, ' ') FROM commands); END",
        "BEGIN EXECUTE 'SELECT 1 AS ' || (SELECT string_agg('LYZE', '; ANA') FROM t); END",
        "BEGIN EXECUTE (SELECT 'ANA') || 'LYZE t'; END",
        "BEGIN EXECUTE replace('ANAxLYZE t', 'x', ''); END",
        "BEGIN EXECUTE rtrim('ANALYZEx', 'x'); END",
        "BEGIN EXECUTE left('ANALYZEmeasured', 7); END",
        "BEGIN FOR x IN SELECT sql AS q FROM commands LOOP EXECUTE x.q; END LOOP; END",
        "BEGIN FOR x IN SELECT *, quote_ident(a) AS q FROM commands LOOP EXECUTE 'SELECT ' || x.q; END LOOP; END",
        "BEGIN FOR x IN SELECT a.q, quote_ident(b) AS q FROM commands a LOOP EXECUTE 'SELECT ' || x.q; END LOOP; END",
        "DECLARE c text[] := '{}'; BEGIN c := c || reverse('x'); EXECUTE 'SELECT ' || array_to_string(c, ' AND '); END",
        "DECLARE c text[] := ARRAY['ANA', 'LYZE t']; BEGIN EXECUTE array_to_string(c, ''); END",
        "BEGIN EXECUTE to_char(now(), 'ANALYZE t'); END",
        "BEGIN EXECUTE ARRAY['ANALYZE t']; END",
        "BEGIN EXECUTE (SELECT string_agg(quote_ident(a), ' ') FROM c); END",
        "BEGIN EXECUTE 'SELECT 1; ' || (SELECT string_agg(quote_ident(a), ' ') FROM c); END",
        "BEGIN EXECUTE 'EXECUTE ' || (SELECT string_agg(quote_ident(a), ' ') FROM c); END",
        "BEGIN EXECUTE 'SELECT ' || (SELECT string_agg(quote_ident(a), ';') FROM c); END",
        "BEGIN EXECUTE 'SELECT ' || (SELECT string_agg(quote_ident(a), ' ') FROM c) || '(0)'; END",
        "BEGIN EXECUTE 'SELECT ''' || (SELECT string_agg(quote_ident(a), ' ') FROM c) || ''''; END",
        "BEGIN EXECUTE 'SELECT ' || (SELECT string_agg(quote_ident(a), '(') FROM c); END",
    ] {
        assert_eq!(executed(body), Built::Open, "{body}");
    }
}

#[test]
fn a_constant_that_is_made_into_another_text_once_is_known() {
    for body in [
        "DECLARE p constant text := 'SELECT count(*) FROM %I'; BEGIN EXECUTE format(p, n); END",
        "DECLARE q text; BEGIN q := $q$ SELECT v FROM t WHERE id = %s $q$; q := format(q, 1); EXECUTE q; END",
        "BEGIN q := 'SELECT count(*) FROM :tab'; q := replace(q, ':tab', quote_ident(n)); EXECUTE q; END",
        "BEGIN EXECUTE format('SELECT 1 ORDER BY %I %s', s, CASE d WHEN 'desc' THEN 'DESC' ELSE 'ASC' END); END",
    ] {
        assert!(executed(body) <= Built::Quoted, "{body}");
    }
    let parameters = "DECLARE \"$1\" text; sort text := \"$1\"; \"$2\" text; dir text := \"$2\"; DECLARE r text; q text; x record; BEGIN ";
    for body in [
        "EXECUTE format('SELECT 1 ORDER BY %I %s LIMIT 1', sort, CASE dir WHEN 'desc' THEN 'DESC' ELSE 'ASC' END) INTO r",
        "q := 'SELECT count(*) FROM :tab'; q := replace(q, ':tab', quote_ident(sort)); EXECUTE q INTO r",
    ] {
        let body = format!("{parameters}{body}; RETURN r; END");
        assert!(executed(&body) <= Built::Quoted, "{body}");
    }
    for body in [
        "BEGIN FOR i IN 1 .. 2 LOOP q := 'SELECT 1 AS %I'; q := format(q, s, t); END LOOP; EXECUTE q; END",
        "BEGIN q := 'SELECT 1 AS %I'; q := format(q, s, t); q := format(q, u); EXECUTE q; END",
        "BEGIN q := s; q := format(q, u); EXECUTE q; END",
        "BEGIN EXECUTE format('SELECT %I %s', s, CASE d WHEN 'a' THEN '(1)' ELSE '' END); END",
        "DECLARE y ALIAS FOR $1; BEGIN EXECUTE $1; END",
        "DECLARE y ALIAS FOR $1; BEGIN EXECUTE y; END",
    ] {
        assert_eq!(executed(body), Built::Open, "{body}");
    }
    let body = "DECLARE \"$1\" text; s text := \"$1\"; BEGIN IF a THEN s := 'SELECT 1'; END IF; EXECUTE s; END";
    assert_eq!(executed(body), Built::Given);
}
