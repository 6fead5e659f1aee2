//! Verdicts on whole texts.

use super::*;
use crate::sql::lex::encoding::Encoding;
use crate::sql::statement::{CopyDirection, Reason, SessionEffect};

fn read_text(text: &str) -> Analysis {
    analyze(text.as_bytes(), LexContext::default())
}

#[track_caller]
fn one(text: &str) -> Statement {
    let analysis = read_text(text);
    assert!(!analysis.ambiguous, "{text}");
    analysis.single().unwrap_or_else(|| panic!("{text}: {:?}", analysis.statements)).clone()
}

#[track_caller]
fn message(text: &str) -> Option<String> {
    one(text).refusal_message().map(|m| m.into_owned())
}

const CERTAIN: Refusal = Refusal::ByPostgres { unless_temporary: false };
const UNLESS_TEMP: Refusal = Refusal::ByPostgres { unless_temporary: true };

#[test]
fn statements_are_split_where_postgresql_splits_them() {
    for (text, want) in [
        ("", vec![]),
        (" ; ;; -- x\n/* ; */", vec![]),
        ("select 1", vec!["select 1"]),
        ("  select 1 ; /* a */ select ';' -- b\n;", vec!["select 1", "select ';'"]),
        ("select $$;$$;select 2", vec!["select $$;$$", "select 2"]),
        ("select 1\0; delete from t", vec!["select 1"]),
        (
            "create function f() returns int begin atomic select 1; select case when true then 2 end; end; select 3",
            vec![
                "create function f() returns int begin atomic select 1; select case when true then 2 end; end",
                "select 3",
            ],
        ),
        (
            "create or replace procedure p() begin atomic end; delete from t",
            vec!["create or replace procedure p() begin atomic end", "delete from t"],
        ),
        (
            "create rule r as on insert to t do (delete from a; delete from b); select 1",
            vec!["create rule r as on insert to t do (delete from a; delete from b)", "select 1"],
        ),
        ("select begin atomic from t; end", vec!["select begin atomic from t", "end"]),
    ] {
        let analysis = read_text(text);
        let got = analysis.statements.iter().map(|s| std::str::from_utf8(s.text(text.as_bytes())).unwrap());
        assert_eq!(got.collect::<Vec<_>>(), want, "{text}");
    }
}

#[test]
fn proven_reads() {
    for text in [
        "SELECT abalance FROM pgbench_accounts WHERE aid = 1234;",
        "select count(*), max(lower(x)), coalesce(a, b) from s.t where id in (1, 2) and exists (select 1 from u)",
        "values (1), (2)",
        "table t",
        "((select 1) union (select 2))",
        "with recursive t(n) as (values (1) union all select n + 1 from t) select sum(n) from t",
        "with a as materialized (select 1) select * from a",
        "select x::numeric(10, 2), cast(y as varchar(3)), z::my_type(3) from generate_series(1, 2) as g(y)",
        "select extract(year from now()), substring(a from 1 for 2), current_setting('app.tenant')",
        "select pg_catalog.lower('x')",
        "select sum(x) over (partition by y order by (z)) filter (where (true)) from t",
        "with a as (select 1) (select * from a)",
        "explain select 1",
        "copy t to stdout",
        "copy (select 1) to stdout with (format csv)",
        "select delete, insert from update where share = 'for update'",
        "select (x) delete from t",
        "select a not like ('x'), b ilike (c) from t where d is not null and e like (f)",
        "select sum(a) from t group by grouping sets ((a), (b)), c, rollup (d), cube(e) having (true) order by (1)",
        "select rank() over (order by x rows (1) preceding), percentile_cont(0.5) within group (order by (y)) from t",
        "select x::character varying(3), now() at time zone ('UTC') from a left join (b natural join (c)) on true",
        "select * from t tablesample system (1) repeatable (2), u tablesample bernoulli (3)",
    ] {
        assert_eq!(one(text).route, Proven::Read, "{text}");
        assert_eq!(one(text).refusal, Refusal::Allowed, "{text}");
    }
    for text in [
        "select nextval('s')",
        "select pg_notify('a', 'b')",
        "listen a",
        "lock t",
        "lock table t in share row exclusive mode",
        "begin isolation level serializable",
        "select pg_advisory_xact_lock(1)",
        "select pg_catalog.pg_is_in_recovery()",
        "show in_hot_standby",
        "select last_value from ids",
        "select * from t_id_seq",
        "select s.is_called from \"Ids\" s",
    ] {
        assert_eq!(one(text).route, Proven::PrimaryOnly, "{text}");
    }
    for text in [
        "select my_function(1)",
        "select sets(1)",
        "select by(1), 1",
        "select zone(1) from t",
        "select distinct on (a) filter(b) from t",
        "select rollup(a) from t group by a",
        "select 1 group by a having rollup(a)",
        "select system(1), bernoulli(2)",
        "select within(1)",
        "select verbose(1)",
        "select 1 where not ilike(a, b, c)",
        "select public.lower('x')",
        "select \"Lower\"('x')",
        "select random()",
        "select * from t for update",
        "select current_setting('transaction_read_only')",
        "select current_setting($1)",
        "select * from pg_stat_replication",
        "select * from \"pg_locks\"",
        "select sequencename from pg_sequences",
        "select (a).b from t",
        "show all",
        "show transaction_read_only",
        "fetch all from c",
        "select 1 into t",
        "lock t in row share mode",
        "insert into t values (nextval('s'))",
        "copy t to '/tmp/x'",
        "explain insert into t values (1)",
        "begin",
    ] {
        assert_eq!(one(text).route, Proven::Doubt, "{text}");
    }
}

#[test]
fn writes() {
    for (text, refusal, tag) in [
        ("insert into t values (1)", UNLESS_TEMP, "INSERT"),
        ("with a as (select 1) update t set x = 1", UNLESS_TEMP, "UPDATE"),
        ("with a as (delete from t returning *) select * from a", UNLESS_TEMP, "SELECT"),
        ("with a as not materialized (insert into t select 1 returning *) table a", UNLESS_TEMP, "SELECT"),
        ("with a as (with b as (select 1) delete from t returning 1) select 1", UNLESS_TEMP, "SELECT"),
        ("select 1 into t", CERTAIN, "SELECT INTO"),
        ("(select 1 into t)", CERTAIN, "SELECT INTO"),
        ("select * from t for no key update", UNLESS_TEMP, "SELECT FOR NO KEY UPDATE"),
        ("select * from (select * from t for key share) s", UNLESS_TEMP, "SELECT FOR KEY SHARE"),
        ("select 1 for update", Refusal::Allowed, "SELECT FOR UPDATE"),
        ("select * from f(1) for update", Refusal::Allowed, "SELECT FOR UPDATE"),
        ("create temp table t (a int)", CERTAIN, "CREATE TABLE"),
        ("explain analyze insert into t values (1)", UNLESS_TEMP, "INSERT"),
        ("explain (analyze off) insert into t values (1)", Refusal::Allowed, "EXPLAIN"),
        ("explain (analyze, analyze 'OFF') insert into t values (1)", Refusal::Allowed, "EXPLAIN"),
        ("explain (analyze 1, verbose) insert into t values (1)", UNLESS_TEMP, "INSERT"),
        ("explain create table t as select 1", Refusal::Allowed, "EXPLAIN"),
        ("merge into t using u on true when matched then do nothing", Refusal::Allowed, "MERGE"),
        ("merge into t using u on true when matched then delete", UNLESS_TEMP, "MERGE"),
        ("copy t from stdin", UNLESS_TEMP, "COPY FROM"),
        ("copy (delete from t returning 1) to stdout", UNLESS_TEMP, "DELETE"),
        ("prepare p as delete from t", Refusal::Allowed, "PREPARE"),
        ("update pg_catalog.pg_settings set setting = 'off'", UNLESS_TEMP, "SELECT"),
    ] {
        let got = one(text);
        assert_eq!((got.refusal, got.tag), (refusal, tag), "{text}");
    }
    assert_eq!(one("copy t from program 'x'").kind, Kind::Copy(CopyDirection::FromServer));
}

#[test]
fn what_lifts_the_guard() {
    for text in [
        "set default_transaction_read_only = maybe",
        "set transaction_read_only to off, off",
        "select set_config('transaction_read_only', null, true)",
        "select query_to_xml('select set_config(''default_transaction_read_only'', ''off'', false)', true, true, '')",
        "do $$ begin perform set_config('default_transaction_read_only', 'off', false); end $$",
        "select set_config(new_value => 'off', is_local => false, setting_name => 'default_transaction_read_only')",
        "select 1 where pg_catalog.set_config('TRANSACTION_read_only', $1, true) = ''",
    ] {
        assert_eq!(one(text).refusal, Refusal::ByPgsluice(Reason::LiftsGuard), "{text}");
    }
    for text in [
        "set default_transaction_read_only = off",
        "SET SESSION \"Default_Transaction_Read_Only\" TO 'of'",
        "set local U&\"default\\005ftransaction_read_only\" to 0",
        "set default_transaction_read_only = 00",
        "set default_transaction_read_only = -0",
        "set transaction_read_only to n",
        "set transaction_read_only to default",
        "reset transaction_read_only",
        "set transact\u{130}on_read_only = off",
        "set session characteristics as transaction isolation level read committed, read write",
        "set session session characteristics as transaction read write",
        "begin isolation level repeatable read read write",
        "start transaction read only, read write",
        "set local transaction read write",
        "set session transaction deferrable, read write",
        "select set_config('default_transaction_read_only', 'off', false)",
        "select set_config(E'default\\x5ftransaction_read_only'::text, 'f', false)",
        "select set_config('' || 'default_transaction_read_only', 'off', false)",
    ] {
        assert!(matches!(one(text).refusal, Refusal::AsksReadWrite(_)), "{text}");
    }
    for text in [
        "set default_transaction_read_only = on",
        "set default_transaction_read_only to default",
        "reset default_transaction_read_only",
        "set default_transaction_read_only from current",
        "set transaction_read_only = tru",
        "reset all",
        "begin read write, read only",
        "begin",
        "set transaction isolation level repeatable read, read only, not deferrable",
        "select set_config('default_transaction_read_only', 'yes', false)",
        "select set_config('default_transaction_read_only', null, false)",
        "select set_config('work_mem', 'off', false)",
        "select set_config($1, $2, false)",
        "prepare p as select set_config('default_transaction_read_only', 'off', false)",
    ] {
        assert_eq!(one(text).refusal, Refusal::Allowed, "{text}");
    }
    assert_eq!(
        message("begin read write").as_deref(),
        Some("cannot set transaction read-write mode inside a read-only transaction")
    );
}

#[test]
fn functions_of_the_list_in_every_dress() {
    for text in [
        "select lo_create(0)",
        "select LO_Create /* x */ -- y\n (0)",
        "select pg_catalog . \"lo_create\"(0)",
        "select U&\"lo!005fcreate\" uescape '!' (0)",
        "select (0).lo_create",
        "select $1.lo_create",
        "select (array[0])[1].lo_create",
        "explain analyze select lo_create(0)",
        "copy (select lo_create(0)) to stdout",
        "declare c cursor for select lo_create(0)",
        "with a as (select 1) select lo_create(a.x) from a",
        "select * from rows from (lo_create(0))",
        "do $$ begin perform lo_create(0); end $$",
        "do $a$ begin execute 'select lo_cre' || 'ate(0)'; perform pg_catalog.lo_create(1); end $a$",
        "do 'begin execute ''select lo_create(0)''; end'",
        "select query_to_xml('select lo_create(0)', true, true, '')",
        "select ts_stat(x) from (select 'select lo_create(0)::text::tsvector' as x) s",
        "execute p(lo_create(0))",
        "call p(lo_create(0))",
        "values (lo_create(0))",
    ] {
        assert_eq!(message(text).as_deref(), Some("cannot execute lo_create() in a read-only transaction"), "{text}");
    }
    // What writes by itself is stopped by PostgreSQL before it calls anything; into a temporary table it would not be.
    let insert = analyze(b"insert into t select lo_create(0)", LexContext::default());
    let insert = insert.single().expect("one statement");
    assert!(matches!(insert.refusal, Refusal::ByPgsluice(_)));
    assert_eq!(insert.refusal_message().as_deref(), Some("cannot execute INSERT in a read-only transaction"));
    for text in [
        "select 'lo_create(0)'",
        "select lo_create from t",
        "select t.lo_create from t",
        "select public.lo_create(0)",
        "select \"LO_CREATE\"(0)",
        "select lo_get(1), lo_open(1, 2)",
        "explain select lo_create(0)",
        "select pg_terminate_backend(1)",
        "select dblink('dbname=x', 'select 1') ",
        "select * from dblink('select lower(a) from t') as d(a text)",
        "select * from dblink('select 1', true) as d(a int)",
        "select dblink_connect('x')",
        "-- lo_create(0)\nselect 1 /* lo_create(0) */",
    ] {
        assert_eq!(one(text).refusal, Refusal::Allowed, "{text}");
    }
    for text in [
        "select dblink('dbname=x', 'delete from t')",
        "select dblink($1)",
        "select dblink('x', 'select f()')",
        "select dblink('x', 'select ' || 'x')",
        "select public.dblink_exec('x', 'select 1')",
        "select dblink('select dblink(''select dblink(''''select dblink($a$select 1$a$)'''')'')')",
    ] {
        assert!(message(text).is_some_and(|m| m.contains("cannot execute dblink")), "{text}");
    }
}

#[test]
fn commands_of_the_list() {
    for (text, want) in [
        ("vacuum", "VACUUM"),
        ("analyse t", "ANALYZE"),
        ("reindex table t", "REINDEX"),
        ("cluster", "CLUSTER"),
        ("checkpoint", "CHECKPOINT"),
        ("alter system set work_mem = 1", "ALTER SYSTEM"),
        ("prepare transaction 'x'", "PREPARE TRANSACTION"),
        ("commit prepared 'x'", "COMMIT PREPARED"),
        ("rollback prepared 'x'", "ROLLBACK PREPARED"),
        ("copy t to '/tmp/x'", "COPY TO"),
        ("copy (select 1) to program 'cat'", "COPY TO"),
        ("explain analyze create table t as select 1", "CREATE TABLE AS"),
        ("explain (analyze) select 1 into t", "SELECT INTO"),
        ("explain analyze verbose create materialized view v as select 1", "CREATE MATERIALIZED VIEW"),
    ] {
        let got = one(text);
        assert!(matches!(got.refusal, Refusal::ByPgsluice(Reason::Command(_))), "{text}: {got:?}");
        assert_eq!(message(text), Some(format!("cannot execute {want} in a read-only transaction")), "{text}");
    }
    let mut list = RefusalList::default();
    list.narrow("VACUUM").unwrap();
    list.widen("LOCK TABLE").unwrap();
    list.widen("lower()").unwrap();
    let analyzer = Analyzer::new(Arc::new(list));
    let refused = |text: &str| analyzer.analyze(text.as_bytes(), LexContext::default()).statements[0].refusal.clone();
    assert_eq!(refused("vacuum"), Refusal::Allowed);
    assert_ne!(refused("lock t"), Refusal::Allowed);
    assert_ne!(refused("select lower('x')"), Refusal::Allowed);
}

#[test]
fn contained_statements() {
    for text in ["call p()", "do 'x'", "frobnicate the server"] {
        assert!(one(text).contained, "{text}");
    }
    assert!(!one("select 1").contained);
}

#[test]
fn effects_are_never_lost() {
    let both = one("select pg_advisory_lock(1), set_config('a.b', 'c', false), pg_advisory_lock(2)");
    assert_eq!(both.effects.len(), 2);
    assert_eq!(both.effect(), &SessionEffect::AdvisoryLock);
    let many: String = (0..40).map(|i| format!("set_config('a.b{i}', 'c', false),")).collect();
    let many = one(&format!("select {many} pg_try_advisory_lock(1)"));
    assert!(
        many.effects.contains(&SessionEffect::Holds("set_config"))
            && many.effects.contains(&SessionEffect::AdvisoryLock)
    );
    assert_eq!(one("select pg_advisory_xact_lock(1)").effects.len(), 0);
    assert_eq!(one("select set_config($1, 'x', true)").effect(), &SessionEffect::Unknown);
    for holds in ["select set_config($1, 'x', false)", "select set_config('role', x, y)", "select set_config(x)"] {
        assert_eq!(one(holds).effect(), &SessionEffect::Holds("set_config"), "{holds}");
    }
    let names = |text: &str| match one(text).effect() {
        SessionEffect::Leaves(left) => (left.kinds.binds(), left.names.concat()),
        other => panic!("{text}: {other:?}"),
    };
    assert_eq!(names("select set_config('A.b', x, y)"), (false, b"a.b".to_vec()));
    assert_eq!(names("select set_config('a.b', $1, false)"), (false, b"a.b".to_vec()));
    assert_eq!(names("do $$ begin perform Set_Config(x, 'y', false); end $$"), (true, Vec::new()));
    assert_eq!(names("do $$ begin set a.b = 1; create temp table t (a int); end $$"), (true, b"a.b".to_vec()));
    assert_eq!(one("do 'x'").effect(), &SessionEffect::Unknown);
    for text in [
        "create temporary view v as select 1",
        "select 1 into local temp table x",
        "select 1 into pg_temp.x",
        "create table pg_temp.x (a int)",
        "create table \"pg_temp\".x as select 1",
    ] {
        assert_eq!(one(text).effect(), &SessionEffect::CreateTemp, "{text}");
    }
}

#[test]
fn a_backslash_can_hide_a_statement() {
    let text = br"select 'a\' ; delete from t; --'";
    let read = |strings| analyze(text, LexContext { strings, encoding: Encoding::AsciiSafe });
    assert_eq!(read(StandardStrings::On).statements.len(), 2);
    assert_eq!(read(StandardStrings::Off).statements.len(), 1);
    let unknown = read(StandardStrings::Unknown);
    assert!(unknown.ambiguous && unknown.worst().is_some_and(|s| s.refusal == UNLESS_TEMP));
    assert!(
        !analyze(br"select '\d'", LexContext { strings: StandardStrings::Unknown, ..LexContext::default() }).ambiguous
    );
}

#[test]
fn encodings_cannot_hide_a_statement() {
    let sjis = LexContext { strings: StandardStrings::Off, encoding: Encoding::Sjis };
    let analysis = analyze(b"select '\x95\x5c'; delete from t", sjis);
    assert_eq!((analysis.statements.len(), analysis.ambiguous), (2, false));
    let gbk = LexContext { encoding: Encoding::Gbk, ..LexContext::default() };
    assert!(analyze(b"select '\xbf'; delete from t --'", gbk).ambiguous);
}

#[test]
fn bounds_give_one_unknown_statement() {
    let many = "select 1;".repeat(MAX_STATEMENTS + 1);
    let analysis = read_text(&many);
    assert!(analysis.ambiguous && analysis.contained());
    assert_eq!(analysis.single().map(|s| s.kind.clone()), Some(Kind::Unknown));
    assert!(!read_text(&"select 1;".repeat(MAX_STATEMENTS)).ambiguous);
    let long = [b"select 1 /*".to_vec(), vec![b' '; 17 << 20], b"*/".to_vec()].concat();
    assert!(!analyze(&long, LexContext::default()).ambiguous);
    for broken in ["select 'a", "select 1; select $x$", "/* select 1", "select \"a", "select U&'a' uescape 'ab'"] {
        let analysis = read_text(broken);
        assert_eq!(analysis.single().map(|s| s.kind.clone()), Some(Kind::Unknown), "{broken}");
        assert!(analysis.contained());
    }
}

#[test]
fn what_has_to_do_with_its_server_process() {
    use crate::sql::Process;
    for (text, process) in [
        ("select pg_backend_pid()", Process::Asked),
        ("select pg_catalog.PG_BACKEND_PID()", Process::Asked),
        ("insert into t values (pg_backend_pid())", Process::Asked),
        ("listen x", Process::Asked),
        ("select * from pg_stat_activity", Process::Asked),
        ("select * from pg_catalog.pg_locks l", Process::Asked),
        ("notify x", Process::Told),
        ("select pg_notify('x', 'y')", Process::Told),
        ("select pg_notify('x', pg_backend_pid()::text)", Process::Asked),
        ("select pg_terminate_backend(17)", Process::Signals),
        ("select pg_catalog.pg_cancel_backend($1)", Process::Signals),
        ("select pg_terminate_backend(pg_backend_pid())", Process::Asked),
        ("select pg_terminate_backend(pid) from pg_stat_activity where pid = 17", Process::Signals),
        ("select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()", Process::Signals),
        ("select pg_terminate_backend(pg_backend_pid()) from pg_stat_activity limit 1", Process::Signals),
        ("do $$ begin perform pg_cancel_backend(16 + 1); end $$", Process::Signals),
        ("do $$ begin execute 'select pg_terminate_backend(' || 17 || ')'; end $$", Process::Signals),
        ("select query_to_xml('select pg_terminate_backend(17)', true, true, '')", Process::Signals),
        ("unlisten x", Process::Any),
        ("select 'pg_backend_pid()'", Process::Any),
        ("select my.pg_backend_pid()", Process::Any),
        ("select 1", Process::Any),
    ] {
        assert_eq!(one(text).process, process, "{text}");
    }
}
