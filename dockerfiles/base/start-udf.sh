#!/bin/sh
# Starts the UDF in /udf: its entry.sh if it has one, else example.py. Runs below dumb-init,
# which passes SIGTERM to every process of the container. Arguments are a command to run instead,
# such as the `args` of a pipeline; where they start with an option, they are for the program.

# gRPC makes its socket with the mode that the umask leaves. Numaflow's main container runs
# as another user and must be allowed to write to it.
umask 0

case "${1-}" in
'' | -*) ;;
*) exec "$@" ;;
esac

script=/udf/entry.sh
[ -f "$script" ] || exec python /udf/example.py "$@"

IFS= read -r first <"$script" || true
case "$first" in
'#!'*bash*) shell='bash' ;;
'#!'*sh | '#!'*sh\ * | [!#]* | '#'[!!]* | '') shell='sh' ;;
*)
    # Not a shell script: the line names its interpreter, with options if any.
    # shellcheck disable=SC2086
    exec ${first#\#!} "$script" "$@"
    ;;
esac

# The script need not be executable, and need not `exec` its last command: a shell that dies
# of SIGTERM would end the container before Python has finished what is in flight. With the
# trap it waits for Python instead, which gets its own SIGTERM, and ends with Python's code.
# shellcheck disable=SC2016
exec "$shell" -c 'trap : TERM INT; . "$0"' "$script" "$@"
