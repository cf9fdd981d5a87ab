"""`--sign` and `--signature` with a program in the place of cosign, and a real registry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Invoke
from tests.docker.registry import Registry
from tests.docker.repository import add_udf

pytestmark = pytest.mark.slow

COSIGN = """\
#!/bin/sh
# Keeps what it signs, and knows that again.
echo "$@" >>"$COSIGN_LOG"
for image; do :; done
case "$1" in
sign) echo "$image" >>"$COSIGN_LOG.signed" ;;
verify) grep -qxF "$image" "$COSIGN_LOG.signed" || { echo 'no signatures found' >&2; exit 10; } ;;
esac
"""


@pytest.mark.usefixtures("base")
def test_signed_by_digest_and_found_again(
    root: Path, tag: str, hub: Registry, invoke: Invoke, tmp_path: Path
) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "cosign").write_text(COSIGN)
    (folder / "cosign").chmod(0o755)
    log = tmp_path / "log"
    env = {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "COSIGN_LOG": str(log)}
    add_udf(root, "map/signed", project='[tool.numaflow-udf]\nkind = "map"\n')
    where = ("--root", str(root), "--registry", f"{hub.host}/{tag}", "--udf", "map/signed")

    done = invoke("image-fast", *where, "--push", **env)
    assert done.returncode == 0, done.stderr
    unsigned = invoke("verify", *where, "--signature", "--key", "k.pub", **env)
    assert unsigned.returncode == 43, unsigned.stderr
    assert "no signatures found" in unsigned.stdout + unsigned.stderr

    for task, more in (("push", ()), ("image-fast", ("--push",))):
        log.unlink()
        done = invoke(task, *where, *more, "--sign", "--key", "k.key", **env)
        assert done.returncode == 0, done.stderr
        digest, _ = hub.manifest(f"{tag}/map-signed", "stable")
        reference = f"{hub.host}/{tag}/map-signed@{digest}"
        assert log.read_text() == f"sign --yes --key k.key {reference}\n"
    # The program prints one line and ends, so that other checks fail: not that of the signature.
    done = invoke("verify", *where, "--signature", "--key", "k.pub", "--ready", "2", **env)
    assert done.returncode == 40, done.stderr

    without = invoke("push", *where, "--sign")
    assert without.returncode == 10
    assert "needs the program cosign, which is not on PATH" in without.stderr
