"""psycopg 3, psycopg2 and SQLAlchemy in explicit READ WRITE transactions through a closed gate."""

import os

import psycopg
import psycopg2
import sqlalchemy
from sqlalchemy import text

from console import DETAIL, maintenance_off, maintenance_on, refused

INSERT = "insert into rw (who) values ('{}')"


def check(error, who):
    fields = getattr(error, "orig", error)
    state = getattr(fields, "sqlstate", None) or fields.pgcode
    assert state == "25006", (who, error)
    assert fields.diag.message_primary == refused("INSERT"), (who, error)
    assert fields.diag.message_detail == DETAIL, (who, error)


def psycopg_3():
    conn = psycopg.connect()
    conn.read_only = False

    def read():
        return conn.execute("select count(*) from rw where who = %s", ("x",)).fetchone()[0]

    def write():
        conn.execute(INSERT.format("psycopg 3"))

    return read, write, conn.commit, conn.rollback


def psycopg_2():
    conn = psycopg2.connect("")
    conn.set_session(readonly=False, isolation_level="REPEATABLE READ")
    cur = conn.cursor()

    def read():
        cur.execute("select count(*) from rw where who = %s", ("x",))
        return cur.fetchone()[0]

    return read, lambda: cur.execute(INSERT.format("psycopg2")), conn.commit, conn.rollback


def psycopg_2_by_default():
    """By the setting of the session, with autocommit."""
    conn = psycopg2.connect("")
    conn.set_session(readonly=False, autocommit=True)
    cur = conn.cursor()

    def read():
        cur.execute("select count(*) from rw")
        return cur.fetchone()[0]

    return read, lambda: cur.execute(INSERT.format("psycopg2 autocommit")), lambda: None, lambda: None


def sqlalchemy_(driver):
    engine = sqlalchemy.create_engine(f"postgresql+{driver}://")
    conn = engine.connect().execution_options(postgresql_readonly=False, isolation_level="READ COMMITTED")

    def read():
        return conn.execute(text("select count(*) from rw where who = :who"), {"who": "x"}).scalar()

    return read, lambda: conn.execute(text(INSERT.format(f"sqlalchemy {driver}"))), conn.commit, conn.rollback


def main():
    console = psycopg.connect(autocommit=True)
    console.execute("create table if not exists rw (who text)")
    console.execute("truncate rw")
    drivers = [psycopg_3(), psycopg_2(), sqlalchemy_("psycopg"), sqlalchemy_("psycopg2"), psycopg_2_by_default()]
    for fresh in (False, True):
        maintenance_on()
        if fresh:
            # Connected in the maintenance.
            drivers = [psycopg_3(), psycopg_2(), sqlalchemy_("psycopg"), sqlalchemy_("psycopg2"), psycopg_2_by_default()]
        for read, write, commit, rollback in drivers:
            assert read() == 0 or fresh
            try:
                write()
            except Exception as error:
                check(error, write)
            else:
                raise AssertionError("written")
            rollback()
            read()
            commit()
        maintenance_off()
        for read, write, commit, _ in drivers:
            read()
            write()
            commit()
    assert console.execute("select count(*) from rw").fetchone()[0] == 2 * len(drivers)
    print("done")


if __name__ == "__main__":
    assert os.environ["PGDATABASE"]
    main()
