"""target_session_attrs of asyncpg and psycopg 3 (libpq), before, in and after a maintenance; SHOW pgsluice.mode by both."""

import asyncio
import os
import ssl

import asyncpg
import psycopg

from console import maintenance_off, maintenance_on

# Whether a session is found: while the gate is open, and while it is closed.
EXPECTED = {
    "any": (True, True),
    "read-write": (True, False),
    "read-only": (False, True),
    "primary": (True, True),
    "standby": (False, False),
    "prefer-standby": (True, True),
}
# The primary itself, past pgsluice: who can choose goes there for what the proxy does not give.
DIRECT = int(os.environ["DIRECT_PORT"])
PROXY = int(os.environ["PGPORT"])


def by_psycopg(attrs, ports):
    hosts = ",".join(["localhost"] * len(ports))
    addresses = ",".join(["127.0.0.1"] * len(ports))
    try:
        with psycopg.connect(host=hosts, hostaddr=addresses, port=",".join(map(str, ports)), target_session_attrs=attrs) as conn:
            return conn.info.port
    except psycopg.OperationalError:
        return None


async def by_asyncpg(attrs, ports):
    context = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    try:
        conn = await asyncpg.connect(
            host=["localhost"] * len(ports), port=ports, ssl=context, timeout=20, target_session_attrs=attrs)
    except asyncpg.exceptions.TargetServerAttributeNotMatched:
        return None
    port = conn._addr[1]
    await conn.close()
    return port


async def shown():
    """By every way in which these drivers run a statement."""
    with psycopg.connect(autocommit=True) as conn:
        modes = {conn.execute("SHOW pgsluice.mode", prepare=prepare, binary=binary).fetchone()[0]
                 for prepare in (False, True) for binary in (False, True)}
        with conn.transaction():
            modes.add(conn.execute("SHOW pgsluice.mode").fetchone()[0])
        with conn.pipeline():
            first = conn.execute("SELECT 1")
            second = conn.execute("SHOW pgsluice.mode")
            modes.add(second.fetchone()[0])
            assert first.fetchone() == (1,)
        cursor = conn.execute("SHOW pgsluice.mode")
        assert cursor.description[0].name == "pgsluice.mode" and cursor.statusmessage == "SHOW"
    context = ssl.create_default_context(cafile=os.environ["PGSSLROOTCERT"])
    conn = await asyncpg.connect(host="localhost", port=PROXY, ssl=context, timeout=20)
    for _ in range(2):
        modes.add(await conn.fetchval("SHOW pgsluice.mode"))
    async with conn.transaction():
        modes.add(await conn.fetchval("SHOW pgsluice.mode"))
    statement = await conn.prepare("SHOW pgsluice.mode")
    assert [a.name for a in statement.get_attributes()] == ["pgsluice.mode"] and statement.get_parameters() == ()
    modes.add(await statement.fetchval())
    assert await conn.execute("SHOW pgsluice.mode") == "SHOW"
    await conn.close()
    (mode,) = modes
    return mode


async def phase(closed):
    for attrs, found in EXPECTED.items():
        for driver in (by_psycopg, by_asyncpg):
            async def connect(ports):
                port = driver(attrs, ports)
                return await port if asyncio.iscoroutine(port) else port
            port = await connect([PROXY])
            assert (port is not None) == found[closed], (driver.__name__, attrs, closed, port)
    for driver in (by_psycopg, by_asyncpg):
        port = driver("read-write", [PROXY, DIRECT])
        port = await port if asyncio.iscoroutine(port) else port
        assert port == (DIRECT if closed else PROXY), (driver.__name__, port)
    assert await shown() == ("read_only" if closed else "read_write")


async def main():
    await phase(False)
    maintenance_on()
    await phase(True)
    maintenance_off()
    await phase(False)


asyncio.run(main())
print("done")
