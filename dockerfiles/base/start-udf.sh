#!/bin/sh
# Starts the UDF in /udf: its entry.sh if it has one, else example.py. Runs below dumb-init,
# which passes SIGTERM to every process of the container.

# gRPC makes its socket with the mode that the umask leaves. Numaflow's main container runs
# as another user and must be allowed to write to it.
umask 0

[ -f entry.sh ] || exec python example.py

IFS= read -r first <entry.sh || true
case "$first" in
'#!'*bash*) shell='bash' ;;
'#!'*sh | '#!'*sh\ * | [!#]* | '#'[!!]* | '') shell='sh' ;;
*)
    # Not a shell script: the line names its interpreter, with options if any.
    # shellcheck disable=SC2086
    exec ${first#\#!} ./entry.sh "$@"
    ;;
esac

# The script need not be executable, and need not `exec` its last command: a shell that dies
# of SIGTERM would end the container before Python has finished what is in flight. With the
# trap it waits for Python instead, which gets its own SIGTERM, and ends with Python's code.
exec "$shell" -c 'trap : TERM INT; . ./entry.sh' ./entry.sh "$@"
