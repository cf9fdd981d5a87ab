#!/bin/sh
# Stage 1, tools: what building needs and no UDF image carries.
set -eu
. /scripts/host-settings.sh

POETRY=2.5.1
POETRY_EXPORT=1.10.1
UV=0.13.9

apt_get() {
    if [ -s /run/secrets/ca ]; then
        set -- -o "Acquire::https::CAInfo=/run/secrets/ca" "$@"
    fi
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"
}

echo "Debian packages"
# The archives stay in the cache mount: Debian's images delete them after each install.
rm -f /etc/apt/apt.conf.d/docker-clean
apt_get update
apt_get install --yes --no-install-recommends \
    build-essential `# wheels that exist only as source` \
    ca-certificates \
    curl \
    git \
    wget

# Debian's own Python keeps its headers in a package of their own.
headers=$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')
if [ ! -f "$headers/Python.h" ]; then
    apt_get install --yes --no-install-recommends python3-dev
fi

echo "uv $UV and Poetry $POETRY"
# uv first: it installs Poetry several times faster than pip would.
python3 -m venv /opt/uv
/opt/uv/bin/pip install --quiet --disable-pip-version-check "uv==$UV"
ln -s /opt/uv/bin/uv /usr/local/bin/uv
uv venv --quiet /opt/poetry
uv pip install --quiet --python /opt/poetry/bin/python \
    "poetry==$POETRY" "poetry-plugin-export==$POETRY_EXPORT"
ln -s /opt/poetry/bin/poetry /usr/local/bin/poetry
