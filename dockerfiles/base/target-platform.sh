# shellcheck shell=sh
# Sourced: sets PLATFORM_OPTIONS, the uv options that install for TARGETARCH on this machine.
# Empty for the machine's own architecture, where source distributions can be built as well.

case "$(uname -m)" in
x86_64) build=amd64 ;;
aarch64) build=arm64 ;;
*) build=$(uname -m) ;;
esac

PLATFORM_OPTIONS=
if [ "${TARGETARCH:-$build}" != "$build" ]; then
    case "$TARGETARCH" in
    amd64) machine=x86_64 ;;
    arm64) machine=aarch64 ;;
    *) machine=$TARGETARCH ;;
    esac
    # manylinux_2_28 is what wheels are made for today; every Debian since bookworm runs it.
    PLATFORM_OPTIONS="--python-platform $machine-manylinux_2_28 --only-binary :all:"
fi
export PLATFORM_OPTIONS
