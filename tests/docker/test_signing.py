"""`--sign` and `--signature` with cosign itself, of version 2 and 3, and a real registry.

Nothing here may reach the public transparency log: cosign is told to do without, or finds a
closed port in the place of the internet.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tasks.core.model.errors import EngineSetupError
from tasks.core.private_engine import packages
from tests.conftest import Invoke
from tests.docker.registry import Registry, unpacked
from tests.docker.repository import add_udf

pytestmark = pytest.mark.slow

WITHOUT_LOG = {
    "COSIGN_TLOG_UPLOAD": "false",
    "COSIGN_USE_SIGNING_CONFIG": "false",
    "COSIGN_PRIVATE_INFRASTRUCTURE": "true",
}
NO_INTERNET = {"HTTPS_PROXY": "http://127.0.0.1:1", "https_proxy": "http://127.0.0.1:1"}


@pytest.fixture(scope="module", params=["trixie", "forky"])
def cosign(request: pytest.FixtureRequest) -> Path:
    """The folder of a cosign: version 2 of Debian trixie, version 3 of forky, or that on PATH."""
    try:
        packages.require_host()
        folder = unpacked("cosign", request.param) / "usr/bin"
        packages.run([folder / "cosign", "version"], "running cosign here")
    except EngineSetupError as error:
        found = shutil.which("cosign")
        if not found:
            pytest.skip(f"no cosign on PATH, and none of Debian {request.param}: {error}")
        folder = Path(found).parent
    return folder


@pytest.mark.usefixtures("base")
def test_signed_by_digest_and_found_again(
    root: Path, tag: str, hub: Registry, invoke: Invoke, cosign: Path, tmp_path: Path
) -> None:
    env = {
        "PATH": f"{cosign}{os.pathsep}{os.environ['PATH']}",
        "COSIGN_PASSWORD": "of no use",
        "TUF_ROOT": str(tmp_path / "tuf"),
        **NO_INTERNET,
    }
    keys, others = tmp_path / "keys", tmp_path / "others"
    for folder in (keys, others):
        folder.mkdir()
        argv = [str(cosign / "cosign"), "generate-key-pair"]
        subprocess.run(argv, cwd=folder, env={**os.environ, **env}, check=True)
    add_udf(root, "map/signed", project='[tool.numaflow-udf]\nkind = "map"\n')
    where = ("--root", str(root), "--registry", f"{hub.host}/{tag}", "--udf", "map/signed")
    key, pub = str(keys / "cosign.key"), str(keys / "cosign.pub")
    # The program prints one line and ends, so that other checks fail: not that of the signature.
    verify = ("verify", *where, "--ready", "2", "--signature", "--key")

    done = invoke("image-fast", *where, "--push", **env)
    assert done.returncode == 0, done.stderr
    done = invoke(*verify, pub, **env, **WITHOUT_LOG)
    assert done.returncode == 43, done.stderr
    assert "is not signed as it has to be: no " in done.stdout + done.stderr

    done = invoke("push", *where, "--sign", "--key", key, **env)
    assert done.returncode == 52, done.stderr
    assert "set COSIGN_TLOG_UPLOAD=false and COSIGN_USE_SIGNING_CONFIG=false" in done.stderr

    for task, more in (("push", ()), ("image-fast", ("--push",))):
        done = invoke(task, *where, *more, "--sign", "--key", key, **env, **WITHOUT_LOG)
        assert done.returncode == 0, done.stderr
    digest, _ = hub.manifest(f"{tag}/map-signed", "stable")
    about = digest.replace(":", "-")
    assert any(hub.has_tag(f"{tag}/map-signed", f"{about}{end}") for end in ("", ".sig"))
    done = invoke(*verify, pub, **env, **WITHOUT_LOG)
    assert done.returncode == 40, done.stderr

    done = invoke(*verify, pub, **env)
    assert done.returncode == 43, done.stderr
    assert "set COSIGN_PRIVATE_INFRASTRUCTURE=true" in done.stdout + done.stderr
    done = invoke(*verify, str(others / "cosign.pub"), **env, **WITHOUT_LOG)
    assert done.returncode == 43, done.stderr


def test_without_cosign(root: Path, invoke: Invoke, tmp_path: Path) -> None:
    add_udf(root, "map/signed", project='[tool.numaflow-udf]\nkind = "map"\n')
    where = ("--root", str(root), "--registry", "127.0.0.1:1/none", "--udf", "map/signed")
    done = invoke("push", *where, "--sign", PATH=str(tmp_path))
    assert done.returncode == 10
    assert "needs the program cosign, which is not on PATH" in done.stderr
