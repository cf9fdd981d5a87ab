#!/opt/venv/bin/python -IS
"""start-udf for a Python image without a shell: what start-udf.sh does, which is the faster one."""

import os
import sys

UDF = "/udf"


def run(*argv: str) -> None:
    try:
        os.execvp(argv[0], argv)
    except OSError as error:
        sys.exit(f"start-udf: {argv[0]}: {error.strerror}")


os.umask(0)  # Numaflow's main container runs as another user, and writes to the socket
arguments = sys.argv[1:]
if arguments and not arguments[0].startswith("-") and arguments[0]:
    run(*arguments)
script = f"{UDF}/entry.sh"
if not os.path.isfile(script):
    run("python", f"{UDF}/example.py", *arguments)
with open(script, encoding="utf-8", errors="replace") as file:
    first = file.readline()
words = first[2:].split() if first.startswith("#!") else []
if not words or words[0].rpartition("/")[2].endswith("sh"):
    sys.exit("start-udf: entry.sh needs a shell, and the Python image has none")
run(*words, script, *arguments)
