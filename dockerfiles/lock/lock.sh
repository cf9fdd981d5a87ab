#!/bin/sh
# Brings poetry.lock up to pyproject.toml. Versions that are locked already stay.
set -eu
. /scripts/host-settings.sh

mkdir /project
cp /scripts/pyproject.toml /project/
if [ -f /scripts/poetry.lock ]; then
    cp /scripts/poetry.lock /project/
fi

lock() {
    poetry --no-ansi --directory /project lock
}

# Poetry ignores the settings of pip and uv. Its plugin makes it ask the index that they name,
# and keeps its address out of the lock.
lock_through() {
    POETRY_PYPI_MIRROR_URL="$1" lock
}

index=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-${UV_INDEX_URL:-}}}
if [ -n "$index" ]; then
    lock_through "$index"
elif ! lock; then
    # Poetry asks the public index in a way of its own, which not every proxy passes on. What
    # pip and uv ask, it does: they have installed all that is here.
    echo "once more, as pip asks"
    lock_through "$(PYTHONPATH=$(cat /opt/uv/pip) python3 -c \
        'from pip._internal.models.index import PyPI; print(PyPI.simple_url)')"
fi
