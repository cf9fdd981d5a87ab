#!/bin/sh
# Brings locks up to their project files. Versions that are locked already stay. locks.txt names
# the locks below the folder project, one a line; without it, there is one poetry.lock.
set -eu
. /scripts/host-settings.sh

if [ -f /scripts/locks.txt ]; then
    cp -R /scripts/project /project
    cp /scripts/locks.txt /tmp/locks.txt
else
    cp -R /scripts /project
    echo poetry.lock >/tmp/locks.txt
fi

poetry_lock() {
    poetry --no-ansi --directory "$1" lock
}

# Poetry ignores the settings of pip and uv. Its plugin makes it ask the index that they name,
# and keeps its address out of the lock.
poetry_lock_through() {
    POETRY_PYPI_MIRROR_URL="$2" poetry_lock "$1"
}

with_poetry() {
    index=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-${UV_INDEX_URL:-}}}
    if [ -n "$index" ]; then
        poetry_lock_through "$1" "$index"
    elif ! poetry_lock "$1"; then
        # Poetry asks the public index in a way of its own, which not every proxy passes on. What
        # pip and uv ask, it does: they have installed all that is here.
        echo "once more, as pip asks"
        poetry_lock_through "$1" "$(PYTHONPATH=$(cat /opt/uv/pip) python3 -c \
            'from pip._internal.models.index import PyPI; print(PyPI.simple_url)')"
    fi
}

while IFS= read -r lock; do
    echo "locking $lock"
    folder=$(dirname "/project/$lock")
    case $(basename "$lock") in
    poetry.lock) with_poetry "$folder" ;;
    uv.lock) uv lock --quiet --directory "$folder" ;;
    pylock.toml)
        (cd "$folder" && uv pip compile --quiet --universal --output-file pylock.toml \
            pyproject.toml)
        ;;
    *) uv lock --quiet --script "/project/${lock%.lock}" ;;
    esac
    mkdir -p "$(dirname "/locks/$lock")"
    cp "/project/$lock" "/locks/$lock"
done </tmp/locks.txt
