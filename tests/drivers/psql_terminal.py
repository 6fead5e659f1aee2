"""psql at a terminal: Ctrl-C cancels a statement, and the session lives on."""

import os
import pty
import re
import select
import time

pid, terminal = pty.fork()
if pid == 0:
    # Neither a pager nor a prompt that moves about.
    os.environ.update(PSQL_PAGER="cat", PAGER="cat", TERM="dumb", PSQL_HISTORY="/dev/null")
    os.execv(os.environ["PSQL"], ["psql", "-X", "-n", "-A", "-t", "-v", "PROMPT1=ready%R%x> "])

said = ""


def wait_for(pattern):
    global said
    deadline = time.monotonic() + 20
    while not (found := re.search(pattern, said)):
        left = deadline - time.monotonic()
        assert left > 0 and select.select([terminal], [], [], left)[0], f"no {pattern} in {said!r}"
        said += os.read(terminal, 4096).decode()
    said = said[found.end():]


def type_in(text):
    os.write(terminal, text.encode())


wait_for("ready=> ")
type_in("set application_name = 'at a terminal';\n")
wait_for("SET\r\nready=> ")
for _ in range(3):
    type_in("select pg_sleep(60);\n")
    wait_for(r"pg_sleep\(60\);\r\n")
    # Until the statement runs Ctrl-C would only clear the line.
    time.sleep(0.3)
    type_in("\x03")
    wait_for("ERROR:  canceling statement due to user request\r\n.*ready=> ")
    type_in("show application_name;\n")
    wait_for("at a terminal\r\nready=> ")
# Within a transaction: the prompt shows that it has failed.
type_in("begin;\n")
wait_for(r"ready=\*> ")
type_in("select pg_sleep(60);\n")
wait_for(r"pg_sleep\(60\);\r\n")
time.sleep(0.3)
type_in("\x03")
wait_for("ready=!> ")
type_in("rollback;\n")
wait_for("ROLLBACK\r\nready=> ")
type_in("\\q\n")
assert os.waitpid(pid, 0)[1] == 0
print("done")
