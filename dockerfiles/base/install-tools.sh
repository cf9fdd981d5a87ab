#!/bin/sh
# The tools of a build from source, which no UDF image carries.
set -eu
. /scripts/host-settings.sh

apt_get() {
    if [ -s /run/secrets/ca ]; then
        set -- -o "Acquire::https::CAInfo=/run/secrets/ca" "$@"
    fi
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"
}

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
