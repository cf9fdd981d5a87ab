# shellcheck shell=sh
# Sourced: fits the environment in $VENV, of Python $version, to the image that it is for, whose
# files are in /runtime. Nothing of that image runs here: it may have no shell, or be of another platform.

: "${version:?}"

unfit() {
    echo "error: the Python image does not fit: $1" >&2
    exit 1
}

# Where a path inside the image leads: an absolute link is one from its own root.
inside() {
    path=$1
    for _ in 1 2 3 4 5 6 7 8 9; do
        [ -L "/runtime$path" ] || break
        target=$(readlink "/runtime$path")
        case "$target" in
        /*) path=$target ;;
        *) path=${path%/*}/$target ;;
        esac
    done
    echo "$path"
}

fits() {
    file=$(inside "$1")
    [ -f "/runtime$file" ] && [ "${file##*/}" = "python$version" ]
}

for loader in /runtime/lib/ld-musl-* /runtime/usr/lib/ld-musl-*; do
    [ ! -e "$loader" ] || unfit "it has musl as its C library, and images need glibc"
done
python=$(readlink "$VENV/bin/python3")
if ! fits "$python"; then
    found=
    for folder in /runtime/usr/local/bin /runtime/usr/bin /runtime/opt/*/bin; do
        python=${folder#/runtime}/python$version
        if fits "$python"; then
            found=yes
            break
        fi
    done
    [ -n "$found" ] || unfit "it has no python$version in /usr/local/bin, /usr/bin or /opt/*/bin"
    ln -sf "$python" "$VENV/bin/python3"
    sed -i "s|^home = .*|home = ${python%/*}|; s|^executable = .*|executable = $python|" \
        "$VENV/pyvenv.cfg"
fi
