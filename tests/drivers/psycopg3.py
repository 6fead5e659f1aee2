"""psycopg 3 through pgsluice. Connects by libpq's variables; any failure is an exception."""

import threading
import time

import psycopg
from psycopg import errors
from psycopg.rows import scalar_row

from console import DETAIL, maintenance_off, maintenance_on, refused


def connect(**options):
    return psycopg.connect(autocommit=True, row_factory=scalar_row, **options)


def one(conn, sql, *args, **options):
    return conn.execute(sql, *args, **options).fetchone()


def expect(error, call):
    try:
        call()
    except error as raised:
        return raised
    raise AssertionError(f"no {error.__name__}")


def queries(conn):
    assert one(conn, "select 6 * 7") == 42
    assert one(conn, "select %s || %s", ("a", "ü€")) == "aü€"
    assert one(conn, "select %b::int4 + 1", (41,), binary=True) == 42
    assert conn.execute("select generate_series(1, 100000)").fetchall()[-1] == 100000
    big = "x" * 3_000_000
    assert one(conn, "select md5(%s) = md5(repeat('x', 3000000))", (big,))
    assert one(conn, "select repeat('x', 3000000)") == big
    # Several statements in one message: the simple protocol.
    cur = conn.execute("select 1; select 2")
    assert cur.fetchone() == 1 and cur.nextset() and cur.fetchone() == 2
    error = expect(errors.UndefinedTable, lambda: conn.execute("select * from no_such_table"))
    assert error.sqlstate == "42P01" and error.diag.statement_position == "15", error.diag.statement_position
    notices = []
    conn.add_notice_handler(lambda notice: notices.append(notice.message_primary))
    conn.execute("do $$ begin raise notice 'hello %', 1; end $$")
    assert notices == ["hello 1"], notices
    assert conn.info.parameter_status("is_superuser") == "off"


def transactions(conn):
    with conn.transaction():
        conn.execute("insert into t values (1, 'one')")
        with conn.transaction(force_rollback=True):
            conn.execute("insert into t values (2, 'two')")
            assert one(conn, "select count(*) from t") == 2
        with conn.transaction():
            conn.execute("insert into t values (3, 'three')")
    assert one(conn, "select array_agg(id order by id) from t") == [1, 3]

    def failing():
        with conn.transaction():
            conn.execute("delete from t")
            expect(errors.DivisionByZero, lambda: conn.execute("select 1/0"))
            expect(errors.InFailedSqlTransaction, lambda: conn.execute("select 1"))
            raise KeyError

    expect(KeyError, failing)
    assert one(conn, "select count(*) from t") == 2
    with conn.transaction():
        inner = expect(errors.UniqueViolation, lambda: savepoint_that_fails(conn))
        assert inner.diag.constraint_name == "t_pkey"
        conn.execute("update t set v = 'uno' where id = 1")
    assert one(conn, "select v from t where id = 1") == "uno"


def savepoint_that_fails(conn):
    with conn.transaction():
        conn.execute("insert into t values (1, 'again')")


def prepared(conn):
    for n in range(20):
        assert one(conn, "select %s::int * 2", (n,), prepare=True) == 2 * n
    for n in range(5):
        with conn.transaction():
            assert one(conn, "select %s::int * 2", (n,), prepare=True) == 2 * n
            assert one(conn, "select v from t where id = %s", (1,), prepare=True) == "uno"
    # Beyond the client's own limit psycopg deallocates: by SQL or by Close, as libpq can.
    conn.prepared_max = 3
    for n in range(12):
        assert one(conn, f"select %s::int + {n}", (n,), prepare=True) == 2 * n
    for n in range(12):
        assert one(conn, f"select %s::int + {n}", (n,), prepare=True) == 2 * n
    conn.prepared_max = 100
    # An error while preparing leaves nothing behind.
    for _ in range(2):
        expect(errors.UndefinedColumn, lambda: conn.execute("select no_such from t", prepare=True))
    conn.cursor().executemany("insert into t values (%s, %s)", [(n, str(n)) for n in range(100, 200)])
    assert one(conn, "select count(*) from t where id >= 100") == 100


def prepared_in_parallel():
    wrong = []

    def client(number):
        try:
            with connect() as conn:
                for turn in range(30):
                    for of in range(4):
                        got = one(conn, f"select %s::int + {of}", (number * turn,), prepare=True)
                        assert got == number * turn + of, (number, turn, of, got)
                    if turn % 5 == 0:
                        with conn.transaction():
                            for _ in range(3):
                                assert one(conn, "select %s::text", (str(number),), prepare=True) == str(number)
        except BaseException as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong


def pipeline(conn):
    with conn.pipeline() as pipe:
        first = conn.execute("select 1")
        conn.execute("insert into t values (300, 'pipe')")
        last = conn.execute("select v from t where id = 300")
        pipe.sync()
        assert (first.fetchone(), last.fetchone()) == (1, "pipe")

    def failing():
        with conn.pipeline():
            conn.execute("insert into t values (301, 'gone')")
            conn.execute("select 1/0")
            conn.execute("insert into t values (302, 'never')")

    expect(errors.DivisionByZero, failing)
    assert one(conn, "select count(*) from t where id > 300") == 0
    assert one(conn, "select 1") == 1


def copy(conn):
    rows = [(n, f"v\t{n}\\") for n in range(1000, 21000)]
    with conn.cursor().copy("copy t from stdin") as into:
        for row in rows:
            into.write_row(row)
    with conn.cursor().copy("copy (select * from t where id >= 1000 order by id) to stdout") as out:
        out.set_types(["int4", "text"])
        assert list(out.rows()) == rows
    with conn.transaction():
        with conn.cursor().copy("copy t from stdin (format binary)") as into:
            into.set_types(["int4", "text"])
            into.write_row((30000, "binary"))
        assert one(conn, "select v from t where id = 30000") == "binary"

    def broken():
        with conn.cursor().copy("copy t from stdin") as into:
            into.write("not a number\tx\n")

    assert expect(errors.InvalidTextRepresentation, broken).diag.context.startswith("COPY t, line 1")

    def given_up():
        with conn.cursor().copy("copy t from stdin") as into:
            into.write("40000\tx\n")
            raise KeyError

    expect(KeyError, given_up)
    assert one(conn, "select count(*) from t where id = 40000") == 0


def cancel(conn):
    conn.execute("set application_name = 'kept'")
    for stop in (conn.cancel, getattr(conn, "cancel_safe", conn.cancel)):
        timer = threading.Timer(0.3, stop)
        timer.start()
        began = time.monotonic()
        error = expect(errors.QueryCanceled, lambda: conn.execute("select pg_sleep(60)"))
        assert error.diag.message_primary == "canceling statement due to user request"
        assert time.monotonic() - began < 20
        timer.join()
        assert one(conn, "select current_setting('application_name')") == "kept"
    # In a transaction, the transaction is aborted and the connection lives on all the same.
    with conn.transaction(force_rollback=True):
        conn.execute("insert into t values (50000, 'x')")
        timer = threading.Timer(0.3, conn.cancel)
        timer.start()
        expect(errors.QueryCanceled, lambda: conn.execute("select pg_sleep(60)"))
        timer.join()
        expect(errors.InFailedSqlTransaction, lambda: conn.execute("select 1"))
    # Nothing runs: nothing happens.
    conn.cancel()
    for _ in range(20):
        assert one(conn, "select 1") == 1


def cursors(conn):
    with conn.transaction():
        with conn.cursor("forward") as cur:
            cur.itersize = 100
            cur.execute("select generate_series(1, 1000)")
            assert sum(cur) == 500500
        with conn.cursor("both_ways", scrollable=True) as cur:
            cur.execute("select generate_series(1, 10)")
            cur.scroll(5)
            assert cur.fetchone() == 6
            cur.scroll(-2)
            assert cur.fetchone() == 5
    with conn.cursor("kept", withhold=True) as cur:
        cur.execute("select generate_series(1, 10)")
        assert one(conn, "select 'between'") == "between"
        assert cur.fetchmany(3) == [1, 2, 3]
        assert one(conn, "select 'between'") == "between"
        assert cur.fetchall() == [4, 5, 6, 7, 8, 9, 10]
    expect(errors.InvalidCursorName, lambda: conn.execute("fetch 1 from kept"))


def settings(conn):
    conn.execute("set statement_timeout = '54321ms'")
    conn.execute("set search_path = pg_catalog, public")
    others = [connect() for _ in range(3)]
    for other in others:
        assert one(other, "show statement_timeout") == "0"
        assert one(other, "show search_path") == '"$user", public'
        other.close()
    assert one(conn, "show statement_timeout") == "54321ms"
    assert one(conn, "show search_path") == "pg_catalog, public"
    conn.execute("reset all")
    assert one(conn, "show statement_timeout") == "0"
    with connect(options="-c work_mem=7MB -c search_path=public", application_name="by start-up") as other:
        assert one(other, "show work_mem") == "7MB"
        assert one(other, "show search_path") == "public"
        assert one(other, "show application_name") == "by start-up"


def maintenance(conn):
    insert = "insert into t values (%s, %s)"
    in_use = connect()
    conn.execute(insert, (60000, "before"), prepare=True)
    assert one(conn, "select count(*) from t where id = %s", (60000,), prepare=True) == 1
    pid = conn.info.backend_pid
    assert conn.info.parameter_status("default_transaction_read_only") in ("off", None)
    maintenance_on()

    def writes_are_refused():
        for options in ({}, {"prepare": True}, {"prepare": False}):
            error = expect(errors.ReadOnlySqlTransaction, lambda: conn.execute(insert, (60001, "x"), **options))
            assert error.sqlstate == "25006"
            assert error.diag.message_primary == refused("INSERT"), error.diag.message_primary
            assert error.diag.message_detail == DETAIL, error.diag.message_detail
            assert "2030-12-01" in error.diag.message_hint, error.diag.message_hint
            assert error.diag.severity_nonlocalized == "ERROR"

    writes_are_refused()
    assert one(conn, "select 1") == 1
    assert conn.info.parameter_status("default_transaction_read_only") in ("on", None)
    for sql, command in (
        ("update t set v = 'x'", "UPDATE"), ("delete from t", "DELETE"), ("create table u ()", "CREATE TABLE"),
        ("truncate t", "TRUNCATE TABLE"), ("drop table t", "DROP TABLE"), ("select 1 from t for update", "SELECT FOR UPDATE"),
        ("select nextval('s')", "nextval()"), ("comment on table t is 'x'", "COMMENT"),
    ):
        error = expect(errors.ReadOnlySqlTransaction, lambda: conn.execute(sql))
        assert error.diag.message_primary == refused(command), error.diag.message_primary
    # In a block: aborted, as by any error, and a savepoint saves it.
    with conn.transaction(force_rollback=True):
        assert one(conn, "select count(*) from t where id = 60000") == 1
        expect(errors.ReadOnlySqlTransaction, lambda: conn.execute(insert, (60001, "x")))
        expect(errors.InFailedSqlTransaction, lambda: conn.execute("select 1"))
    with conn.transaction():

        def inner():
            with conn.transaction():
                conn.execute(insert, (60001, "x"))

        expect(errors.ReadOnlySqlTransaction, inner)
        assert one(conn, "select count(*) from t where id = 60000") == 1

    def copy_in():
        with conn.cursor().copy("copy t from stdin") as into:
            into.write("60001\tx\n")

    assert expect(errors.ReadOnlySqlTransaction, copy_in).diag.message_primary == refused("COPY FROM")
    with conn.cursor().copy("copy (select 1) to stdout") as out:
        assert b"".join(out) == b"1\n"

    def piped():
        with conn.pipeline():
            conn.execute("select 1")
            conn.execute(insert, (60001, "x"))
            conn.execute("select 2")

    expect(errors.ReadOnlySqlTransaction, piped)
    with conn.transaction(), conn.cursor("forward") as cur:
        cur.execute("select generate_series(1, 1000)")
        assert sum(cur) == 500500
    timer = threading.Timer(0.3, conn.cancel)
    timer.start()
    expect(errors.QueryCanceled, lambda: conn.execute("select pg_sleep(60)"))
    timer.join()
    # Connected, but never used before the flip, and connected after it.
    with connect() as late:
        for other in (in_use, late):
            assert one(other, "select count(*) from t where id = 60000") == 1
            expect(errors.ReadOnlySqlTransaction, lambda: other.execute(insert, (60001, "x")))
    writes_are_refused()
    maintenance_off()
    conn.execute(insert, (60002, "after"), prepare=True)
    in_use.execute(insert, (60003, "after"))
    assert one(conn, "select array_agg(id order by id) from t where id between 60000 and 60100") == [60000, 60002, 60003]
    assert conn.info.backend_pid == pid and not conn.closed
    assert conn.info.parameter_status("default_transaction_read_only") in ("off", None)
    in_use.close()


def main():
    # A thread's failure is a failure of the test.
    failed = []
    threading.excepthook = lambda args: failed.append(repr(args.exc_value))
    with connect() as conn:
        conn.execute("drop table if exists t; create table t (id int primary key, v text)")
        conn.execute("drop sequence if exists s; create sequence s")
        for part in (queries, transactions, prepared, pipeline, copy, cancel, cursors, settings):
            print(part.__name__, flush=True)
            part(conn)
        print("prepared_in_parallel", flush=True)
        prepared_in_parallel()
        print("maintenance", flush=True)
        maintenance(conn)
    assert not failed, failed
    print("done")


main()
