"""What the Python tests share: commands on pgsluice's console, by psql."""

import os
import subprocess


def console(sql):
    admin = dict(os.environ, PGDATABASE="pgsluice", PGUSER=os.environ["ADMIN"], PGPASSWORD=os.environ["ADMIN_PASSWORD"])
    subprocess.run(
        [os.environ["PSQL"], "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql],
        env=admin, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=60,
    )


def maintenance_on():
    console(f"MAINTENANCE ON {os.environ['PGDATABASE']} WITH (message 'moving house', until '2030-12-01 14:00Z')")


def maintenance_off():
    console(f"MAINTENANCE OFF {os.environ['PGDATABASE']}")


DETAIL = f'database "{os.environ["PGDATABASE"]}" is in maintenance: moving house'


def refused(command):
    return f"cannot execute {command} in a read-only transaction"
