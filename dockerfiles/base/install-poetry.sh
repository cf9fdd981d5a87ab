#!/bin/sh
# uv, and Poetry, which makes and exports locks. All versions and hashes stand in poetry.txt.
set -eu
. /scripts/host-settings.sh
sh /scripts/install-uv.sh

uv venv --quiet /opt/poetry
uv pip install --quiet --python /opt/poetry/bin/python \
    --only-binary :all: --no-deps --require-hashes --requirements /scripts/poetry.txt
ln -s /opt/poetry/bin/poetry /usr/local/bin/poetry
