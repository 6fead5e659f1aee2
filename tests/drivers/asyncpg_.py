"""asyncpg through pgsluice. Connects by libpq's variables; any failure is an exception."""

import asyncio
import os
import ssl

import asyncpg

from console import DETAIL, maintenance_off, maintenance_on, refused


def context():
    return ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])


async def connect(**options):
    # asyncpg knows no PGHOSTADDR.
    return await asyncpg.connect(host="localhost", port=int(os.environ["PGPORT"]), ssl=context(), timeout=20, **options)


async def expect(error, awaitable):
    try:
        await awaitable
    except error as raised:
        return raised
    raise AssertionError(f"no {error.__name__}")


async def queries(conn):
    assert await conn.fetchval("select 6 * 7") == 42
    assert await conn.fetchval("select $1::text || $2", "a", "ü€") == "aü€"
    assert (await conn.fetch("select generate_series(1, 100000) n"))[-1]["n"] == 100000
    assert await conn.fetchval("select length($1::text)", "x" * 3_000_000) == 3_000_000
    assert await conn.fetchval("select repeat('x', 3000000)") == "x" * 3_000_000
    assert await conn.execute("select 1; select 2") == "SELECT 1"
    error = await expect(asyncpg.UndefinedTableError, conn.fetch("select * from no_such_table"))
    assert error.sqlstate == "42P01" and error.position == "15"
    # Types that asyncpg asks the catalog for.
    assert await conn.fetchval("select array[row(1, 'x')::pair, row(2, 'y')::pair]") == [(1, "x"), (2, "y")]
    assert await conn.fetchval("select 'sad'::mood") == "sad"
    assert conn.get_settings().is_superuser == "off"


async def transactions(conn):
    async with conn.transaction():
        await conn.execute("insert into t values (1, 'one')")
        inner = conn.transaction()
        await inner.start()
        await conn.execute("insert into t values (2, 'two')")
        await inner.rollback()
        async with conn.transaction():
            await conn.execute("insert into t values (3, 'three')")
    assert await conn.fetchval("select array_agg(id order by id) from t") == [1, 3]
    outer = conn.transaction(isolation="serializable")
    await outer.start()
    await conn.execute("delete from t")
    await expect(asyncpg.DivisionByZeroError, conn.fetchval("select 1/0"))
    await expect(asyncpg.InFailedSQLTransactionError, conn.fetchval("select 1"))
    await outer.rollback()
    assert await conn.fetchval("select count(*) from t") == 2
    async with conn.transaction():
        inner = conn.transaction()
        await inner.start()
        error = await expect(asyncpg.UniqueViolationError, conn.execute("insert into t values (1, 'again')"))
        assert error.constraint_name == "t_pkey"
        await inner.rollback()
        await conn.execute("update t set v = 'uno' where id = 1")
    assert await conn.fetchval("select v from t where id = 1") == "uno"


async def prepared(conn):
    statement = await conn.prepare("select $1::int * 2")
    assert [parameter.name for parameter in statement.get_parameters()] == ["int4"]
    for n in range(10):
        assert await statement.fetchval(n) == 2 * n
        async with conn.transaction():
            assert await statement.fetchval(n) == 2 * n
            # From asyncpg's own cache.
            assert await conn.fetchval("select v from t where id = $1", 1) == "uno"
    for _ in range(2):
        await expect(asyncpg.UndefinedColumnError, conn.prepare("select no_such from t"))
    await conn.executemany("insert into t values ($1, $2)", [(n, str(n)) for n in range(100, 200)])
    assert await conn.fetchval("select count(*) from t where id >= 100") == 100
    rows = await conn.fetchmany("insert into t values ($1, $2) returning id", [(n, "m") for n in range(200, 220)]) \
        if hasattr(conn, "fetchmany") else None
    assert rows is None or [row["id"] for row in rows] == list(range(200, 220))
    # More than the client's cache holds: it closes statements.
    small = await connect(statement_cache_size=3)
    for _ in range(2):
        for n in range(12):
            assert await small.fetchval(f"select $1::int + {n}", n) == 2 * n
    await small.close()
    # The shape statement's result changes under it.
    await conn.execute("create table shape (a int)")
    assert await conn.fetch("select * from shape") == []
    await conn.execute("alter table shape add b text")
    assert await conn.fetch("select * from shape") == []
    await conn.execute("drop table shape")


async def prepared_in_parallel():
    async def client(number):
        conn = await connect()
        for turn in range(30):
            for of in range(4):
                assert await conn.fetchval(f"select $1::int + {of}", number * turn) == number * turn + of
            if turn % 5 == 0:
                async with conn.transaction():
                    for _ in range(3):
                        assert await conn.fetchval("select $1::text", str(number)) == str(number)
        await conn.close()

    await asyncio.gather(*(client(number) for number in range(6)))
    async with asyncpg.create_pool(
        host="localhost", port=int(os.environ["PGPORT"]), ssl=context(), min_size=2, max_size=5
    ) as pool:

        async def borrow(n):
            async with pool.acquire() as conn:  # On release the pool sends its reset query.
                await conn.execute("set statement_timeout = '9s'")
                return await conn.fetchval("select $1::int", n)

        assert await asyncio.gather(*(borrow(n) for n in range(30))) == list(range(30))
        assert await pool.fetchval("show statement_timeout") == "0"


async def copy(conn):
    rows = [(n, f"v\t{n}\\") for n in range(1000, 21000)]
    assert await conn.copy_records_to_table("t", records=rows) == "COPY 20000"
    got = bytearray()

    async def take(data):
        got.extend(data)

    assert await conn.copy_from_query("select id from t where id >= $1 order by id", 1000, output=take) == "COPY 20000"
    assert bytes(got).split() == [str(n).encode() for n in range(1000, 21000)]
    await expect(
        asyncpg.UniqueViolationError, conn.copy_records_to_table("t", records=[(30000, "x"), (1000, "again")])
    )

    async def breaks_off():
        yield b"40000\tx\n"
        raise KeyError

    await expect(KeyError, conn.copy_to_table("t", source=breaks_off()))
    assert await conn.fetchval("select count(*) from t where id >= 30000") == 0


async def cancel(conn):
    await conn.execute("set application_name = 'kept'")
    # asyncpg sends a cancel request when it loses patience.
    await expect(asyncio.TimeoutError, conn.execute("select pg_sleep(60)", timeout=0.3))
    assert await conn.fetchval("select current_setting('application_name')") == "kept"
    await expect(asyncio.TimeoutError, conn.fetch("select pg_sleep($1)", 60, timeout=0.3))
    assert await conn.fetchval("select current_setting('application_name')") == "kept"
    async with conn.transaction():
        task = asyncio.create_task(conn.execute("select pg_sleep(60)"))
        await asyncio.sleep(0.3)
        task.cancel()
        await expect(asyncio.CancelledError, task)
        await expect(asyncpg.InFailedSQLTransactionError, conn.fetchval("select 1"))
    for _ in range(20):
        assert await conn.fetchval("select 1") == 1


async def cursors(conn):
    async with conn.transaction():
        total = 0
        async for row in conn.cursor("select generate_series(1, 1000) n", prefetch=100):
            total += row["n"]
        assert total == 500500
        one, two = await conn.cursor("select generate_series(1, 10) n"), await conn.cursor("select 'x' x")
        await one.forward(5)
        assert (await two.fetchrow())["x"] == "x"
        assert [row["n"] for row in await one.fetch(2)] == [6, 7]


async def listen(conn):
    heard = asyncio.Queue()
    hear = lambda *args: heard.put_nowait(args[2:])
    await conn.add_listener("news", hear)
    other = await connect()
    for n in range(3):
        await other.execute("select pg_notify('news', $1)", str(n))
    await other.close()
    assert [await asyncio.wait_for(heard.get(), 20) for _ in range(3)] == [("news", str(n)) for n in range(3)]
    await conn.remove_listener("news", hear)


async def maintenance(conn):
    insert = "insert into t values ($1, $2)"
    in_use = await connect()
    statement = await conn.prepare(insert)
    await statement.fetch(60000, "before")
    reads = await conn.prepare("select count(*) from t where id = $1")
    assert await reads.fetchval(60000) == 1
    await asyncio.to_thread(maintenance_on)

    def right(error, command="INSERT"):
        assert error.sqlstate == "25006" and error.args[0] == refused(command), error
        assert error.detail == DETAIL and "2030-12-01" in error.hint, (error.detail, error.hint)

    async def writes_are_refused():
        right(await expect(asyncpg.ReadOnlySQLTransactionError, statement.fetch(60001, "x")))
        right(await expect(asyncpg.ReadOnlySQLTransactionError, conn.execute(insert, 60001, "x")))
        right(await expect(asyncpg.ReadOnlySQLTransactionError, conn.execute("insert into t values (60001, 'x')")))

    await writes_are_refused()
    assert await reads.fetchval(60000) == 1
    for sql, command in (
        ("update t set v = 'x'", "UPDATE"), ("create table u ()", "CREATE TABLE"), ("truncate t", "TRUNCATE TABLE"),
        ("select nextval('s')", "nextval()"),
    ):
        right(await expect(asyncpg.ReadOnlySQLTransactionError, conn.execute(sql)), command)
    outer = conn.transaction()
    await outer.start()
    assert await reads.fetchval(60000) == 1
    right(await expect(asyncpg.ReadOnlySQLTransactionError, statement.fetch(60001, "x")))
    await expect(asyncpg.InFailedSQLTransactionError, conn.fetchval("select 1"))
    await outer.rollback()
    async with conn.transaction():
        inner = conn.transaction()
        await inner.start()
        right(await expect(asyncpg.ReadOnlySQLTransactionError, conn.execute(insert, 60001, "x")))
        await inner.rollback()
        assert await reads.fetchval(60000) == 1
        assert [row["n"] async for row in conn.cursor("select generate_series(1, 300) n")] == list(range(1, 301))
    right(
        await expect(asyncpg.ReadOnlySQLTransactionError, conn.copy_records_to_table("t", records=[(60001, "x")])),
        "COPY FROM",
    )
    right(await expect(asyncpg.ReadOnlySQLTransactionError, conn.executemany(insert, [(60001, "x"), (60002, "y")])))
    await expect(asyncio.TimeoutError, conn.execute("select pg_sleep(60)", timeout=0.3))
    late = await connect()
    for other in (in_use, late):
        assert await other.fetchval("select count(*) from t where id = $1", 60000) == 1
        right(await expect(asyncpg.ReadOnlySQLTransactionError, other.execute(insert, 60001, "x")))
    await late.close()
    await writes_are_refused()
    await asyncio.to_thread(maintenance_off)
    await statement.fetch(60002, "after")
    await in_use.execute(insert, 60003, "after")
    await in_use.close()
    assert await conn.fetchval("select array_agg(id order by id) from t where id between 60000 and 60100") == [
        60000, 60002, 60003,
    ]
    assert not conn.is_closed()


async def main():
    conn = await connect()
    await conn.execute(
        "drop table if exists t; create table t (id int primary key, v text); drop type if exists pair, mood;"
        "create type pair as (a int, b text); create type mood as enum ('sad', 'ok'); drop sequence if exists s;"
        "create sequence s"
    )
    for part in (queries, transactions, prepared, copy, cancel, cursors, listen):
        print(part.__name__, flush=True)
        await part(conn)
    print("prepared_in_parallel", flush=True)
    await prepared_in_parallel()
    print("maintenance", flush=True)
    await maintenance(conn)
    await conn.close()
    print("done")


asyncio.run(main())
