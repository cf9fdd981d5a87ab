#!/bin/sh
# The Debian packages that a UDF names, into its image. The one step of a build that runs on
# the target's platform.
set -eu
. /scripts/host-settings.sh

apt_get() {
    if [ -s /run/secrets/ca ]; then
        set -- -o "Acquire::https::CAInfo=/run/secrets/ca" "$@"
    fi
    DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 "$@"
}

# The list of packages is in a cache mount, so that nothing but the packages is left behind.
apt_get update
# shellcheck disable=SC2086
apt_get install --yes --no-install-recommends $SYSTEM_PACKAGES
rm -rf /var/log/apt /var/log/dpkg.log /var/log/alternatives.log /var/cache/ldconfig
