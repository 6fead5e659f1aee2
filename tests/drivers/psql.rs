//! psql: scripts, COPY, errors, cursors, SQL-level PREPARE, and a maintenance in the middle of a session.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::stand::{Stand, detail, fail, succeed};

/// The database whose gate is closed here: other tests of this file write to `psql` meanwhile.
const GATED: &str = "psql_gated";

fn psql(stand: &Stand) -> Command {
    psql_on(stand, "psql")
}

fn psql_on(stand: &Stand, database: &str) -> Command {
    let mut psql = stand.tool("psql", database);
    psql.args(["-XAt", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=verbose"]);
    psql
}

/// A psql that is told one thing after the other.
struct Talk {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Talk {
    fn start(stand: &Stand, database: &str) -> Talk {
        let mut psql = stand.tool("psql", database);
        psql.args(["-XAtq", "-v", "VERBOSITY=verbose"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        // Errors go where answers go, in order.
        psql.stderr(Stdio::null());
        let mut child = psql.spawn().unwrap();
        Talk { to: child.stdin.take().unwrap(), from: BufReader::new(child.stdout.take().unwrap()), child }
    }

    /// Statements, and what each says: rows, or the SQLSTATE and the message of an error.
    #[track_caller]
    fn ask(&mut self, sql: &str) -> String {
        let end = "\\echo :SQLSTATE :LAST_ERROR_MESSAGE\n\\echo --end--\n";
        write!(self.to, "{sql}\n{end}").unwrap();
        self.to.flush().unwrap();
        let mut said = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.from.read_line(&mut line).unwrap() > 0, "psql has gone after {sql}: {said:?}");
            match line.trim_end() {
                "--end--" => break,
                line => said.push(line.to_owned()),
            }
        }
        let state = said.pop().unwrap();
        if state.starts_with("00000") { said.join("\n") } else { state }
    }

    fn end(mut self) {
        writeln!(self.to, "\\q").unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

#[test]
fn a_script() {
    let stand = Stand::shared();
    let script = r#"
        \set ON_ERROR_STOP 1
        drop table if exists script; create table script (id int generated always as identity primary key, v text);
        begin; insert into script (v) values ('a'); savepoint s; insert into script (v) values ('b'); rollback to s; commit;
        begin; delete from script; rollback;
        select count(*), max(id) from script;
        \set ON_ERROR_STOP 0
        begin; select 1/0; select 'not reached'; commit;
        \set ON_ERROR_STOP 1
        select v from script \gset got_
        \echo :got_v
        prepare twice (int) as select $1 * 2;
        execute twice(21);
        begin; execute twice(4); commit;
        deallocate twice;
        begin;
        declare c scroll cursor for select generate_series(1, 10);
        move 5 in c; fetch 2 from c; fetch backward 1 from c;
        commit;
        declare kept cursor with hold for select generate_series(1, 3);
        fetch 1 from kept; fetch 1 from kept; close kept;
        create temp table mine (n int); insert into mine values (7);
        select n from mine;
        drop table mine;
        select lo_from_bytea(0, 'large') as oid \gset
        select lo_get(:oid) = 'large'; select lo_unlink(:oid);
        listen news; notify news, 'payload'; unlisten news;
        copy script (v) from stdin;
copied 1
copied\t2
\.
        copy (select v from script order by id) to stdout;
        select 1 as a \; select 2 as b;
    "#;
    let folder = tempfile::tempdir().unwrap();
    let (file, data) = (folder.path().join("script.sql"), folder.path().join("data"));
    let more = format!("\\copy script to '{0}'\n\\copy script (id) from program 'true'\n\\echo end", data.display());
    std::fs::write(&file, script.to_owned() + &more).unwrap();
    let said = succeed(psql(&stand).arg("-q").arg("-f").arg(&file));
    let lines: Vec<&str> = said.lines().filter(|line| !line.starts_with("Asynchronous")).collect();
    let expected =
        ["1|1", "a", "42", "8", "6", "7", "6", "1", "2", "7", "t", "1", "a", "copied 1", "copied\\t2", "1", "2", "end"];
    assert_eq!(lines, expected, "{said}");
    assert!(said.contains("Asynchronous notification \"news\" with payload \"payload\" received"), "{said}");
    assert_eq!(std::fs::read_to_string(data).unwrap().lines().count(), 3);
    let wrong = fail(psql(&stand).args(["-c", "select * from nowhere"]));
    assert!(
        wrong.starts_with("ERROR:  42P01: relation \"nowhere\" does not exist\nLINE 1: select * from nowhere"),
        "{wrong}"
    );
}

/// A session that keeps its server connection used to be given back before it was used, for ever.
#[test]
fn a_second_transaction_on_a_pinned_session() {
    let stand = Stand::shared();
    let mut talk = Talk::start(&stand, "psql");
    assert_eq!(talk.ask("declare pinned cursor with hold for select generate_series(1, 3);"), "");
    for n in 1..=3 {
        assert_eq!(talk.ask("fetch 1 from pinned;"), n.to_string());
    }
    talk.end();
}

#[test]
fn maintenance() {
    let stand = Stand::shared();
    let mut talk = Talk::start(&stand, GATED);
    let mut pinned = Talk::start(&stand, GATED);
    talk.ask("drop table if exists kept; create table kept (id int primary key, v text); create sequence if not exists numbers;");
    talk.ask("insert into kept values (1, 'before');");
    pinned.ask("create temp table mine (n int); prepare put (int) as insert into kept values ($1, 'x');");
    stand.maintenance_on(GATED);
    let refused = |command: &str| format!("25006 cannot execute {command} in a read-only transaction");
    for talk in [&mut talk, &mut pinned] {
        assert_eq!(talk.ask("select v from kept;"), "before");
        for (sql, command) in [
            ("insert into kept values (2, 'x');", "INSERT"),
            ("update kept set v = 'x';", "UPDATE"),
            ("delete from kept;", "DELETE"),
            ("with gone as (delete from kept returning *) select * from gone;", "SELECT"),
            ("create table other ();", "CREATE TABLE"),
            ("select nextval('numbers');", "nextval()"),
            ("do $$ begin insert into kept values (2, 'x'); end $$;", "INSERT"),
            ("\\copy kept from program 'printf \"2\\\\tx\"'", "COPY FROM"),
            ("vacuum kept;", "VACUUM"),
            ("select 1 \\; truncate kept;", "TRUNCATE TABLE"),
        ] {
            let said = talk.ask(sql);
            assert!(said.ends_with(&refused(command)), "{sql}: {said}");
        }
        assert_eq!(talk.ask("begin;"), "");
        assert_eq!(talk.ask("insert into kept values (2, 'x');"), refused("INSERT"));
        let aborted = "25P02 current transaction is aborted, commands ignored until end of transaction block";
        assert_eq!(talk.ask("select 1;"), aborted);
        assert_eq!(talk.ask("commit;"), "");
        assert_eq!(talk.ask("begin; savepoint s;"), "");
        assert_eq!(talk.ask("delete from kept;"), refused("DELETE"));
        assert_eq!(talk.ask("rollback to s; select v from kept; commit;"), "before");
        assert_eq!(talk.ask("copy kept to stdout;"), "1\tbefore");
    }
    assert_eq!(pinned.ask("execute put(3);"), refused("INSERT"));
    assert_eq!(pinned.ask("insert into mine values (7); select n from mine;"), "7");
    // What a person sees, all of it.
    let said = fail(psql_on(&stand, GATED).args(["-c", "insert into kept values (2, 'x')"]));
    let expected = format!(
        "ERROR:  25006: cannot execute INSERT in a read-only transaction\nDETAIL:  {}\n\
         HINT:  Writes are expected back at 2030-12-01",
        detail(GATED)
    );
    assert!(said.starts_with(&expected), "{said}");
    stand.maintenance_off(GATED);
    for (n, talk) in [&mut talk, &mut pinned].into_iter().enumerate() {
        assert_eq!(talk.ask(&format!("insert into kept values ({}, 'after') returning v;", n + 10)), "after");
    }
    assert_eq!(pinned.ask("execute put(12); select n from mine;"), "7");
    assert_eq!(talk.ask("select array_agg(id order by id) from kept;"), "{1,10,11,12}");
    talk.end();
    pinned.end();
}
