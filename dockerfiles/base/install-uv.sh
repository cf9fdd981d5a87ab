#!/bin/sh
# uv: the one program that installs. Its version and hashes stand in uv.txt.
set -eu
. /scripts/host-settings.sh

# Where Python has no pip, it has the wheel that new environments get it from, and pip runs from
# there: to make an environment for it takes longer than all the rest.
pip=
if ! python3 -m pip --version >/dev/null 2>&1; then
    pip=$(python3 -c '
import ensurepip, pathlib, sysconfig
own = pathlib.Path(ensurepip.__file__).parent
wheels = (sysconfig.get_config_var("WHEEL_PKG_DIR") or own, own)
print(next(str(wheel) for place in wheels for wheel in pathlib.Path(place).rglob("pip-*.whl")))')
fi
PYTHONPATH=$pip python3 -m pip install --quiet --disable-pip-version-check \
    --root-user-action ignore --no-compile --only-binary :all: --require-hashes \
    --target /opt/uv --requirement /scripts/uv.txt
echo "$pip" >/opt/uv/pip # for whoever needs pip later
ln -s /opt/uv/bin/uv /usr/local/bin/uv
