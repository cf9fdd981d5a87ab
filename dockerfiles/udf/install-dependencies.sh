#!/bin/sh
# What one UDF needs beyond the base, into /layer, for the target platform. It runs in the
# builder, which has the base's environment, so that nothing is installed a second time.
#
# /requirements holds what the tasks made of the UDF's project file and locks:
#   requirements.txt   exact versions with hashes, of that which the base lacks
#   sources.txt        packages from git or a URL, which have no hash
#   requirements.in    without a lock: the UDF's own requirements, resolved here
# By hand there are the UDF's own files in its place:
#   declared/          requirements.txt or pyproject.toml, resolved here without a lock
set -eu
. /scripts/host-settings.sh
. /scripts/target-platform.sh

echo "packages that the base lacks, for ${TARGETARCH:-this machine}"
# Bytecode of this step's own runs would hold the time of the build.
export PYTHONDONTWRITEBYTECODE=1
[ -e /opt/venv ] || ln -s /rootfs/opt/venv /opt/venv
mkdir /deps
if [ "$CACHE" = wheels ]; then
    # No file of a package runs here, so that nothing can write to the cache but uv.
    PLATFORM_OPTIONS="${PLATFORM_OPTIONS%--only-binary :all:} --only-binary :all:"
fi

install() {
    # Word splitting is wanted: the platform is none or several options.
    # shellcheck disable=SC2086
    uv pip install --quiet --python /opt/venv/bin/python --target /deps --no-deps \
        $PLATFORM_OPTIONS "$@"
}

# By hand: the file that declares what the UDF needs; empty where none does. A build without
# what only tasks know how to do would start, and fail there.
declared() {
    cd /requirements/declared
    if [ -f pyproject.toml ]; then
        python3 -c '
import sys, tomllib
options = tomllib.load(open("pyproject.toml", "rb")).get("tool", {}).get("numaflow-udf", {})
keys = {"base", "dockerfile", "env", "include", "python", "system-packages", "workdir"} & options.keys()
if keys:
    keys = ", ".join(sorted(keys))
    sys.exit(f"pyproject.toml sets {keys}, which a build by hand does not read: "
        "use invoke image-fast or invoke image")'
    fi
    if [ -f requirements.txt ]; then
        echo /requirements/declared/requirements.txt
    elif [ -f pyproject.toml ] && grep -Eq '^\[(project|tool\.poetry)\]' pyproject.toml; then
        echo /requirements/declared/pyproject.toml
    fi
}

# By hand: whether the base has all of it, so that no index need be asked.
is_satisfied() {
    [ -d /requirements/declared ] && uv pip install --dry-run --offline --no-sources \
        --python /opt/venv/bin/python --requirements "$wanted" 2>&1 | grep -q 'Would make no changes'
}

wanted=/requirements/requirements.in
if [ -d /requirements/declared ]; then
    wanted=$(declared)
fi
if [ -f "$wanted" ] && ! is_satisfied; then
    uv pip freeze --quiet --python /opt/venv/bin/python | grep '==' >/tmp/base.txt
    # Versions in the output file are preferred to newer ones, but not forced: the base's hold
    # wherever the UDF's own requirements allow them.
    cp /tmp/base.txt /tmp/all.txt
    # shellcheck disable=SC2086
    uv pip compile --quiet --no-header --no-annotate --python /opt/venv/bin/python \
        ${PLATFORM_OPTIONS} --no-sources --output-file /tmp/all.txt "$wanted"
    grep --invert-match --line-regexp --fixed-strings --file=/tmp/base.txt /tmp/all.txt \
        >/tmp/added.txt || true # none: the base has everything
    if [ -s /tmp/added.txt ]; then
        while IFS= read -r line; do
            name=${line%%[=@ ]*}
            if before=$(grep "^$name==" /tmp/base.txt); then
                echo "overrides $name ${before#*==} -> ${line#*==}"
            fi
        done </tmp/added.txt
        install --requirements /tmp/added.txt
    fi
fi
if [ -f /requirements/requirements.txt ]; then
    install --require-hashes --requirements /requirements/requirements.txt
fi
if [ -f /requirements/sources.txt ]; then
    install --requirements /requirements/sources.txt
fi

python3 -m compileall -q -f -j 0 --invalidation-mode unchecked-hash /deps
# uv's own lock has done its work. Modes are those of layers that tasks write.
rm -f /deps/.lock
chmod -R u=rwX,go=rX /deps
# The folder above as well, with its time: one that COPY made would have the time of the build.
mkdir -p /layer/opt
mv /deps /layer/opt/deps
find /layer -exec touch --no-dereference --date=@315532800 {} +
