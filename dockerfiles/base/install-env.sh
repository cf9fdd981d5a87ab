#!/bin/sh
# Stage 2, environment: the locked `udf` group in /opt/venv for the target platform, and
# around it, in /rootfs, all that the runtime image has beyond its Python. It runs on the
# build platform: for a foreign target, uv picks the target's wheels and nothing is emulated.
set -eu
. /scripts/host-settings.sh
. /scripts/target-platform.sh
command -v uv >/dev/null || sh /scripts/install-uv.sh

VENV=/opt/venv
USER_ID=10001
# Bytecode of this step's own runs would hold the time of the build.
export PYTHONDONTWRITEBYTECODE=1

echo "locked packages for ${TARGETARCH:-this machine}"
if [ "$INSTALLER" = uv ]; then
    # No file of a package runs here, so that nothing can write to the cache but uv.
    PLATFORM_OPTIONS="${PLATFORM_OPTIONS%--only-binary :all:} --only-binary :all:"
fi

install_packages() {
    # Word splitting is wanted: the platform is none or several options.
    # shellcheck disable=SC2086
    uv pip install --quiet --python "$VENV/bin/python" $PLATFORM_OPTIONS "$@"
}

# What the table of Python images says of one whose name does not tell.
version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ -f /lock/python.txt ] && [ "$(cat /lock/python.txt)" != "$version" ]; then
    echo "error: the Python image does not fit: it has Python $version," \
        "and its row says $(cat /lock/python.txt)" >&2
    exit 1
fi
python3 -m venv --without-pip "$VENV"
# The lock has resolved them: uv need not.
install_packages --no-deps --require-hashes --requirements /lock/requirements.txt
if [ -f /lock/sources.txt ]; then
    install_packages --no-deps --requirements /lock/sources.txt
fi
if [ -f /sdk/pyproject.toml ]; then
    # The SDK from source takes the release's place. It is copied: builds write beside it.
    cp -R /sdk /tmp/sdk
    install_packages --reinstall-package pynumaflow /tmp/sdk
fi

# Packages that one UDF adds come in /opt/deps. PYTHONPATH puts them first; this makes the
# .pth files among them count as well. Without that folder, the line does nothing.
for site in "$VENV"/lib/python3*/site-packages; do
    echo 'import site; site.addsitedir("/opt/deps", {"/opt/deps"})' >"$site/zz_udf_deps.pth"
done

# Bytecode by hash, not by time: it stays good in a layer whose times were rewritten, and
# "unchecked" spares each start a look at every source file.
python3 -m compileall -q -f -j 0 --invalidation-mode unchecked-hash "$VENV/lib"

# uv's own lock is for everyone to write, and has done its work; no other file is, either. No
# image is a checkout.
rm -f "$VENV/.lock" "$VENV/.gitignore"
find "$VENV" ! -type l -perm /022 -exec chmod go-w {} +

. /scripts/fit-python.sh
mkdir -p /rootfs/opt /rootfs/etc /rootfs/usr/local/bin
mv "$VENV" /rootfs/opt/venv
start='start-udf.sh'
[ -e "/runtime$(inside /bin/sh)" ] || start='start-udf.py'
install -m 0755 "/scripts/$start" /rootfs/usr/local/bin/start-udf
install -d -m 0755 /rootfs/udf
# In a pod a volume is mounted here; without one, the server must still be able to start.
install -d -m 1777 /rootfs/run/numaflow
for name in passwd group; do
    file=$(inside "/etc/$name")
    cp "/runtime$file" "/rootfs/etc/$name" || cp "/etc/$name" /rootfs/etc # none in the image
done
echo "udf:x:$USER_ID:$USER_ID:UDF:/udf:/usr/sbin/nologin" >>/rootfs/etc/passwd
echo "udf:x:$USER_ID:" >>/rootfs/etc/group

# One fixed time for all, so that the same input gives the same layer.
find /rootfs -exec touch --no-dereference --date=@315532800 {} +
