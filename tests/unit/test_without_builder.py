"""Bases and packages that no builder makes: a registry in this process, and a uv that is a script.

The real uv is in tests/docker/test_no_docker.py, which compares with what BuildKit makes.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from urllib3.exceptions import ProtocolError

from tasks.core.build import bases, execute, python_image, uv
from tasks.core.build.gather import plan_base, plan_images
from tasks.core.build.installed import _script
from tasks.core.build.published import image_parts
from tasks.core.build.results import Result, failed
from tasks.core.engine.stored import ImageParts
from tasks.core.image.blob import Descriptor
from tasks.core.image.cache import Records
from tasks.core.inputs.selection import Choice, select
from tasks.core.model import labels, programs
from tasks.core.model.errors import (
    BuildFailedError,
    ConfigError,
    MissingExtraError,
    NeedsBuilderError,
    PushFailedError,
    RegistryUnreachableError,
    UdfError,
)
from tasks.core.model.reference import ImageReference
from tasks.core.model.settings import Settings
from tasks.core.registry.blobs import Blobs
from tasks.core.registry.client import Registry
from tasks.core.registry.transport import Transport
from tasks.core.upkeep.doctor import examine
from tasks.core.upkeep.doctor.finding import Finding
from tests import REPOSITORY
from tests.unit.fake_registry import FakeRegistry, Fault, digest_of, fake_registry

BOTH: Final = "linux/amd64,linux/arm64"
OWN: Final = "{}.{}".format(*sys.version_info)
PATH: Final = (
    "/opt/deps/bin:/opt/venv/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
)
STATUS: Final = "Package: libc6\nArchitecture: amd64\nVersion: 2.41-12\n\nPackage: zlib1g\n\n"
PYTHON: Final[Mapping[str, str | tuple[str]]] = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
    "etc/group": "root:x:0:\n",
    "usr/bin/python3.13": "ELF",
    "usr/bin/python3": ("python3.13",),
    "usr/local/bin/python3": ("/usr/bin/python3",),
    "usr/lib/python3.13/venv/scripts/common/activate": "VIRTUAL_ENV=__VENV_DIR__\n",
    "var/lib/dpkg/status": STATUS + "Package: python3.13\nVersion: 3.13.5-2\n",
}
LOCK: Final = """\
version = 1
requires-python = ">=3.11"
[[package]]
name = "added"
version = "1.0"
source = {{ registry = "https://index.example/simple" }}
sdist = {{ url = "https://index.example/added-1.0.tar.gz", hash = "sha256:{0}", size = 1 }}
{1}
[[package]]
name = "one"
version = "1.0"
source = {{ virtual = "." }}
dependencies = [{{ name = "added" }}]
[package.metadata]
requires-dist = [{{ name = "added" }}]
"""

# A uv that installs one package: enough of what it does to see what becomes of it.
UV: Final = r"""#!%(python)s
import base64, hashlib, json, os, pathlib, sys, time
words = sys.argv[1:]
if words == ["--version"]:
    print("uv %(version)s (a script)")
    raise SystemExit
here = pathlib.Path(__file__).parent
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(words) + "\n")
deadline = time.monotonic() + 60
while (here / "waits").exists() and time.monotonic() < deadline:
    time.sleep(0.02)
if (here / "fails").exists():
    print("warning: slow\nerror: Failed to fetch: `https://index.example/simple/added/`\n"
          "  Caused by: connection refused", file=sys.stderr)
    raise SystemExit(2)
if words[1] == "compile":
    pathlib.Path(words[words.index("--output-file") + 1]).write_text(
        "requests==2.0\nadded==1.0\nurllib3==2.8.0\n")
    raise SystemExit
python = words[words.index("--python") + 1]
prefix = "--prefix" in words
place = pathlib.Path(words[words.index("--prefix" if prefix else "--target") + 1])
site = place / "lib/python3.11/site-packages" if prefix else place
up = "../../../" if prefix else ""
files = {site / "added/__init__.py": "value = 1\n",
         place / "bin/added": f"#!{python}\nimport added\n",
         place / "bin/other": "#!/bin/sh\n",
         site / "added-1.0.dist-info/METADATA": "Name: added\n"}
lines = ""
for path, text in files.items():
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    name = up + "bin/" + path.name if path.parent.name == "bin" else str(path.relative_to(site))
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    lines += f"{name},sha256={digest},{len(text)}\n"
(place / ".lock").touch()
(place / "bin/added").chmod(0o755)
(site / "empty.libs").mkdir()
(site / "added-1.0.dist-info/RECORD").write_text(lines)
"""


def archive(files: Mapping[str, str | tuple[str]]) -> bytes:
    """A layer; a tuple is a link to its target."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, tuple):
                member.type, member.linkname = tarfile.SYMTYPE, content[0]
            else:
                member.size = len(content)
            tar.addfile(
                member, None if isinstance(content, tuple) else io.BytesIO(content.encode())
            )
    return data.getvalue()


def has_image(
    hub: FakeRegistry, repository: str, tag: str, *layers: bytes, architecture: str = "amd64"
) -> dict[str, Any]:
    """Have an image; its descriptor, as an index names it."""
    ids = [digest_of(gzip.decompress(each)) for each in layers]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/bin:/bin", "LANG=C"], "Cmd": ["python3"]},
        "rootfs": {"type": "layers", "diff_ids": ids},
    }
    data = json.dumps(config).encode()
    kind = "application/vnd.oci.image.manifest.v1+json"
    content = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": {
                "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": hub.has(repository, data),
                "size": len(data),
            },
            "layers": [
                {
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": hub.has(repository, each),
                    "size": len(each),
                }
                for each in layers
            ],
        }
    ).encode()
    hub.manifests[repository, tag] = hub.manifests[repository, digest_of(content)] = kind, content
    platform = {"os": "linux", "architecture": architecture}
    return {
        "mediaType": kind, "digest": digest_of(content), "size": len(content), "platform": platform
    }  # fmt: skip


def has_python(hub: FakeRegistry) -> None:
    """Have a Python image for two platforms."""
    entries = [
        has_image(hub, "mirror/python", each, gzip.compress(archive(PYTHON)), architecture=each)
        for each in ("amd64", "arm64")
    ]
    kind = "application/vnd.oci.image.index.v1+json"
    index = {"schemaVersion": 2, "mediaType": kind, "manifests": entries}
    content = json.dumps(index).encode()
    for target in ("3.13-slim", digest_of(content)):
        hub.manifests["mirror/python", target] = kind, content


@pytest.fixture
def hub() -> Iterator[FakeRegistry]:
    with fake_registry() as found:
        has_python(found)
        yield found


@pytest.fixture
def programs_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of uv: all that is on PATH, beside a Python that has none."""
    folder = tmp_path / "programs"
    folder.mkdir()
    program = folder / "uv"
    program.write_text(UV % {"python": sys.executable, "version": uv.pinned()})
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setattr(uv, "_beside", lambda: folder / "none")
    return folder


class Run:
    """Tasks on UDFs of a root, with an empty registry but for the Python image."""

    def __init__(self, hub: FakeRegistry, root: Path, **flags: str) -> None:
        self.hub = hub
        self.said: list[str] = []
        given = {
            "builder": "none",
            "registry": f"{hub.host}/team",
            "python_image": f"{hub.host}/mirror/python:3.13-slim",
            "platforms": "linux/amd64",
            "root": str(root),
        }
        self.settings = Settings.from_config({}, **{**given, **flags})

    def images(self, *names: str, **more: Any) -> list[Result]:  # noqa: ANN401
        choice = Choice(names=names) if names else Choice(everything=True)
        selected = select(self.settings, choice)
        plan = plan_images(None, self.settings, selected, push=True, **more)
        return execute.build(None, self.settings, plan, say=self.said.append)

    def base(self, **more: Any) -> Result:  # noqa: ANN401
        plan = plan_base(None, self.settings, push=True, **more)
        return bases.build_base(None, self.settings, plan, say=self.said.append)

    def manifest(self, repository: str, target: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.hub.manifests[f"team/{repository}", target][1])
        return found

    def layer(self, repository: str, place: int, tag: str = "stable") -> dict[str, tarfile.TarInfo]:
        """The entries of a layer of an image for its first platform."""
        entries = {}
        found = self.manifest(repository, tag)
        if "manifests" in found:
            found = self.manifest(repository, found["manifests"][0]["digest"])
        data = self.hub.blobs[f"team/{repository}", found["layers"][place]["digest"]]
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                stream = tar.extractfile(member) if member.isfile() else None
                text = stream.read().decode(errors="replace") if stream else ""
                member.pax_headers = {"content": text}
                entries[member.name] = member
        return entries

    def tags(self) -> set[str]:
        """The tags of what was pushed, as ``repository:tag``."""
        pushed = [name for name in self.hub.manifests if name[0].startswith("team/")]
        return {f"{name}:{tag}" for name, tag in pushed if not tag.startswith("sha256:")}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "udfs"
    folder.mkdir()
    return folder


def add(root: Path, name: str, project: str = "", **files: str) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "example.py").write_text("print(1)\n")
    head = f'[project]\nname = "one"\nversion = "1"\nrequires-python = ">=3.11"\n{project}'
    (folder / "pyproject.toml").write_text(head)
    for file, text in files.items():
        (folder / file.replace("__", ".")).write_text(text)
    return folder


def add_locked(root: Path, name: str, wheel: str = "added-1.0-py3-none-any.whl") -> Path:
    line = f'wheels = [{{ url = "https://index.example/{wheel}", hash = "sha256:{"1" * 64}" }}]'
    lock = LOCK.format("0" * 64, line if wheel else "")
    return add(root, name, 'dependencies = ["added"]\n', uv__lock=lock)


@pytest.fixture
def run(hub: FakeRegistry, root: Path, programs_of: Path) -> Run:
    assert programs_of
    return Run(hub, root)


def calls(folder: Path) -> list[list[str]]:
    return [json.loads(line) for line in (folder / "calls").read_text().splitlines()]


# --- what is made -----------------------------------------------------------------------------


def test_a_base(run: Run, programs_of: Path) -> None:
    made = run.base()
    assert made.result == "built"
    tag = ImageReference.parse(made.image).tag
    assert run.tags() == {f"team/numaflow-python-base:{tag}", "team/numaflow-python-base:latest"}
    files = run.layer("numaflow-python-base", 1, tag)
    site = "opt/venv/lib/python3.13/site-packages"
    shown = {name: member.pax_headers["content"] for name, member in files.items()}
    assert shown["etc/passwd"].splitlines() == [
        "root:x:0:0::/root:/bin/sh",
        "udf:x:10001:10001:UDF:/udf:/usr/sbin/nologin",
    ]
    assert shown["opt/venv/pyvenv.cfg"].splitlines() == [
        "home = /usr/local/bin",
        "include-system-site-packages = false",
        "version = 3.13.5",
        "executable = /usr/bin/python3.13",
        "command = /usr/local/bin/python3 -m venv --without-pip /opt/venv",
    ]
    assert shown["opt/venv/bin/activate"] == "VIRTUAL_ENV=/opt/venv\n"
    assert shown["opt/venv/bin/added"] == "#!/opt/venv/bin/python\nimport added\n"
    assert shown["opt/venv/bin/other"] == "#!/bin/sh\n"
    script = shown["opt/venv/bin/added"].encode()
    digest = base64.urlsafe_b64encode(hashlib.sha256(script).digest()).rstrip(b"=").decode()
    record = shown[f"{site}/added-1.0.dist-info/RECORD"].splitlines()
    assert f"../../../bin/added,sha256={digest},{len(script)}" in record
    assert any(line.startswith("../../../bin/other,sha256=") for line in record)
    assert "opt/venv/.lock" not in files
    links = {name: member.linkname for name, member in files.items() if member.issym()}
    assert links == {
        "opt/venv/bin/python": "python3",
        "opt/venv/bin/python3": "/usr/local/bin/python3",
        "opt/venv/bin/python3.13": "python3",
        "opt/venv/lib64": "lib",
    }
    modes = {name: member.mode for name, member in files.items()}
    assert (modes["run/numaflow"], modes["udf"], modes["opt/venv"]) == (0o1777, 0o755, 0o755)
    assert (modes["usr/local/bin/start-udf"], modes["etc/passwd"]) == (0o755, 0o644)
    assert {f"{site}/empty.libs", "opt/venv/include/python3.13"} <= files.keys()
    assert {(each.uid, each.gid, each.mtime) for each in files.values()} == {(0, 0, labels.EPOCH)}
    (call,) = calls(programs_of)
    assert call[:2] == ["pip", "install"]
    for words in (
        ["--python-version", "3.13"],
        ["--python-platform", "x86_64-manylinux_2_40"],
        ["--only-binary", ":all:"],
        ["--no-deps"],
        ["--require-hashes"],
        ["--no-config"],
    ):
        assert " ".join(words) in " ".join(call)


def test_the_config_of_a_base(run: Run) -> None:
    made = run.base()
    manifest = run.manifest("numaflow-python-base", "latest")
    data = run.hub.blobs["team/numaflow-python-base", manifest["config"]["digest"]]
    config = json.loads(data)["config"]
    assert config["Env"][:3] == [
        f"PATH={PATH}",
        "LANG=C",
        "PYTHONPATH=/opt/deps",
    ]
    assert (config["User"], config["WorkingDir"]) == ("10001:10001", "/udf")
    assert config["Entrypoint"] == ["dumb-init", "--", "start-udf"]
    assert "Cmd" not in config
    found = config["Labels"]
    assert found[labels.BASE_FINGERPRINT].startswith(ImageReference.parse(made.image).tag)
    python_image = run.hub.manifests["mirror/python", "3.13-slim"][1]
    assert found[labels.BASE_PYTHON] == digest_of(python_image)
    assert found[labels.BASE_MADE_BY].startswith(f"uv {uv.pinned()}, no builder")
    assert manifest["layers"][1]["mediaType"] == "application/vnd.oci.image.layer.v1.tar+gzip"
    packed = run.hub.blobs["team/numaflow-python-base", manifest["layers"][1]["digest"]]
    assert json.loads(data)["rootfs"]["diff_ids"][1] == digest_of(gzip.decompress(packed))
    assert len(packed) == manifest["layers"][1]["size"]
    # The layers of the Python image were mounted, and nothing of it was sent.
    python = json.loads(run.hub.manifests["mirror/python", "amd64"][1])["layers"]
    assert manifest["layers"][:1] == python
    assert not run.hub.requests(rf"PUT .*{python[0]['digest'].replace(':', '%3A')}")


def test_images_of_an_empty_registry(run: Run, root: Path, programs_of: Path) -> None:
    add(root, "map/plain")
    for name in ("map/one", "map/two"):
        add_locked(root, name)
    results = run.images()
    assert [each.result for each in results] == ["built"] * 3
    layers = {
        name: run.manifest(name, run.manifest(name, "stable")["manifests"][0]["digest"])["layers"]
        for name in ("map-plain", "map-one", "map-two")
    }
    assert len(layers["map-plain"]) == 3  # Python, environment, code
    assert layers["map-one"][2] == layers["map-two"][2]  # packages
    files = run.layer("map-one", 2)
    assert files["opt/deps/bin/added"].pax_headers["content"].startswith("#!/opt/venv/bin/python\n")
    assert files["opt/deps/bin/added"].mode == 0o755
    assert "opt/deps/empty.libs" in files
    assert len(calls(programs_of)) == 2  # the base, and the packages once
    # Nothing is left to do, and nothing is left behind.
    assert {each.result for each in run.images()} == {"unchanged"}
    assert run.base().result == "unchanged"
    assert len(calls(programs_of)) == 2
    assert not list((root.parent / "cache").rglob(".installing-*"))


def test_without_a_cache_packages_are_installed_again(
    run: Run, root: Path, programs_of: Path
) -> None:
    add_locked(root, "map/one")
    run.images()
    before = len(calls(programs_of))
    assert run.images(force=True)[0].result == "built"
    assert len(calls(programs_of)) == before
    assert run.images(fresh=True)[0].result == "built"
    assert len(calls(programs_of)) == before + 1


def test_secrets_near_an_image_are_said(run: Run, root: Path) -> None:
    (add(root, "map/one") / "id_rsa").write_text("x")
    (result,) = run.images()
    assert result.notes == ("left out as secrets: id_rsa",)


def test_another_machine_takes_packages_from_the_registry(
    run: Run, root: Path, programs_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_locked(root, "map/one")
    first = run.images()[0]
    add_locked(root, "map/two")
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent / "elsewhere"))
    (programs_of / "uv").unlink()
    one, two = run.images()
    assert (one.result, two.result) == ("unchanged", "built")
    # What is to be known of the layer is told there as well.
    assert two.notes == first.notes


def test_packages_without_a_lock(run: Run, root: Path, programs_of: Path) -> None:
    """What the base has is left out; another version of it is said."""
    add(root, "map/one", 'dependencies = ["added", "requests<2.1"]\n')
    (one,) = run.images()
    assert one, one.error
    assert "overrides requests 2.34.2 -> 2.0" in one.notes
    resolve, install = calls(programs_of)[1:]
    assert resolve[:2] == ["pip", "compile"]
    assert "--require-hashes" not in install
    assert "urllib3" not in str(install)


@pytest.mark.parametrize("python", ["own", "other"])
def test_bytecode(
    run: Run, root: Path, programs_of: Path, monkeypatch: pytest.MonkeyPatch, python: str
) -> None:
    """It is written where this machine has the image's Python; else it is missing, and said."""
    monkeypatch.setattr(uv, "python_of", lambda *_: sys.executable if python == "own" else "")
    add_locked(root, "map/one")
    (one,) = run.images()
    assert one, one.error
    base = {name for name in run.layer("map-one", 1) if name.endswith(".pyc")}
    added = {name for name in run.layer("map-one", 2) if name.endswith(".pyc")}
    assert bool(base) == bool(added) == (python == "own")
    lines = [line for line in (*run.said, *one.notes) if "no bytecode" in line]
    assert len(lines) == (0 if python == "own" else 2)
    made_by = json.loads(
        run.hub.blobs[
            "team/numaflow-python-base",
            run.manifest("numaflow-python-base", "latest")["config"]["digest"],
        ]
    )["config"]["Labels"][labels.BASE_MADE_BY]
    assert made_by.endswith("no bytecode") == (python == "other")


def test_several_platforms(hub: FakeRegistry, root: Path, programs_of: Path) -> None:
    """One index over one code layer; packages for each platform."""
    run = Run(hub, root, platforms=BOTH)
    add_locked(root, "map/one")
    (one,) = run.images()
    assert one, one.error
    entries = run.manifest("map-one", "stable")["manifests"]
    images = [each for each in entries if each["platform"]["os"] != "unknown"]
    assert [each["platform"]["architecture"] for each in images] == ["amd64", "arm64"]
    code = {run.manifest("map-one", each["digest"])["layers"][-1]["digest"] for each in images}
    assert len(code) == 1
    wanted = [call[call.index("--python-platform") + 1] for call in calls(programs_of)]
    assert sorted(wanted) == ["aarch64-manylinux_2_40"] * 2 + ["x86_64-manylinux_2_40"] * 2
    base = run.manifest("numaflow-python-base", "latest")["manifests"]
    assert [each["platform"]["architecture"] for each in base] == ["amd64", "arm64"]


def test_a_platform_is_added_to_a_base(hub: FakeRegistry, root: Path, programs_of: Path) -> None:
    assert programs_of
    Run(hub, root).base()
    run = Run(hub, root, platforms="linux/arm64")
    run.base()
    base = run.manifest("numaflow-python-base", "latest")["manifests"]
    assert [each["platform"]["architecture"] for each in base] == ["amd64", "arm64"]


def test_a_python_image_of_another_registry(hub: FakeRegistry, root: Path, run: Run) -> None:
    """Its layers are copied as a stream."""
    with fake_registry() as mirror:
        has_python(mirror)
        run = Run(hub, root, python_image=f"{mirror.host}/mirror/python:3.13-slim")
        run.base()
        python = json.loads(mirror.manifests["mirror/python", "amd64"][1])["layers"][0]["digest"]
    assert hub.blobs["team/numaflow-python-base", python]


# --- what is refused, and what fails ----------------------------------------------------------


def test_what_needs_a_builder_is_a_row(run: Run, root: Path) -> None:
    add(root, "map/system", '[tool.numaflow-udf]\nsystem-packages = ["libgomp1"]\n')
    add_locked(root, "map/source", wheel="")
    add(root, "map/plain")
    results = {each.name: each for each in run.images()}
    assert results["map/plain"].result == "built"
    assert "installs system packages: libgomp1" in results["map/system"].error
    assert "added has no wheel for linux/amd64" in results["map/source"].error
    assert failed(list(results.values())) is not None
    # One that was named ends the task, with the exit code of its error.
    with pytest.raises(NeedsBuilderError, match="libgomp1"):
        run.images("map/system")


def test_no_uv(run: Run, root: Path, programs_of: Path) -> None:
    add(root, "map/plain")
    (programs_of / "uv").unlink()
    with pytest.raises(MissingExtraError, match=f"uv {uv.pinned()}, and uv was not found"):
        run.images()
    with pytest.raises(MissingExtraError):
        run.base()
    assert run.tags() == set()


def test_another_version_of_uv(run: Run, root: Path, programs_of: Path) -> None:
    add(root, "map/plain")
    program = programs_of / "uv"
    program.write_text(program.read_text().replace(uv.pinned(), "0.1.2"))
    with pytest.raises(MissingExtraError, match=r"programs/uv is 0\.1\.2"):
        run.images()
    assert run.tags() == set()


def test_uv_beside_the_running_python_comes_first(
    programs_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environ = {"PATH": str(programs_of)}
    assert uv.find(environ) == (str(programs_of / "uv"), "")
    other = programs_of / "other"
    other.write_text(f"#!/bin/sh\necho uv {uv.pinned()}\n")
    other.chmod(0o755)
    monkeypatch.setattr(uv, "_beside", lambda: other)
    assert uv.find(environ) == (str(other), "")
    # One of another version does not hide the right one.
    other.write_text("#!/bin/sh\necho uv 0.0.1\n")
    assert uv.find(environ) == (str(programs_of / "uv"), "")


def test_an_index_that_does_not_answer(run: Run, root: Path, programs_of: Path) -> None:
    """The error says what uv says; nothing is tagged, and a second run succeeds."""
    add(root, "map/plain")
    add_locked(root, "map/one")
    (programs_of / "fails").touch()
    with pytest.raises(BuildFailedError, match="Caused by: connection refused") as caught:
        run.images()
    assert "Failed to fetch" in caught.value.detail
    assert run.tags() == set()
    (programs_of / "fails").unlink()
    run.base()
    # Of packages, it concerns those who add them.
    (programs_of / "fails").touch()
    results = {each.name: each.result for each in run.images()}
    assert results == {"map/one": "failed", "map/plain": "built"}
    assert "team/map-one:stable" not in run.tags()
    (programs_of / "fails").unlink()
    assert {each.result for each in run.images()} == {"built", "unchanged"}
    assert not list((root.parent / "cache").rglob(".installing-*"))


def test_a_run_that_is_killed(
    run: Run, root: Path, programs_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While uv installs: nothing is tagged, and a second run succeeds."""
    add(root, "map/plain")
    (programs_of / "waits").touch()
    for key in ("builder", "registry", "python_image", "platforms", "root"):
        value = getattr(run.settings, key)
        shown = ",".join(value) if isinstance(value, tuple) else str(value)
        monkeypatch.setenv(f"INVOKE_UDF_{key.upper()}", shown)
    argv = [sys.executable, "-m", "invoke", "image-all", "--push"]
    with subprocess.Popen(argv, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not (programs_of / "calls").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
        process.communicate()
    assert (programs_of / "calls").exists()
    assert run.tags() == set()
    (programs_of / "waits").unlink()
    assert {each.result for each in run.images()} == {"built"}


def test_a_registry_that_refuses_the_base(run: Run, root: Path) -> None:
    """No tag names half a base; a second run succeeds."""
    add(root, "map/plain")
    run.hub.faults.append(Fault(r"PUT /v2/team/numaflow-python-base/blobs", 507, times=50))
    with pytest.raises(UdfError):
        run.images()
    assert run.tags() == set()
    run.hub.faults.clear()
    assert {each.result for each in run.images()} == {"built"}


def test_a_python_image_that_is_not_there(run: Run, hub: FakeRegistry, root: Path) -> None:
    missing = Run(hub, root, python_image=f"{hub.host}/mirror/python:3.12-slim")
    with pytest.raises(ConfigError, match="it does not exist") as caught:
        missing.base()
    assert "udf.python_image" in caught.value.next_step
    only = Run(hub, root, python_image=f"{hub.host}/mirror/python:3.13-one", platforms=BOTH)
    has_image(hub, "mirror/python", "3.13-one", gzip.compress(archive(PYTHON)))
    with pytest.raises(ConfigError, match="does not exist for linux/arm64"):
        only.base()


def test_a_base_that_lost_a_layer(run: Run, root: Path) -> None:
    run.base()
    add_locked(root, "map/one")
    for name, digest in list(run.hub.blobs):
        if name == "team/numaflow-python-base":
            del run.hub.blobs[name, digest]
    with pytest.raises(PushFailedError, match="does not exist there any more"):
        run.images()


# --- Python images ----------------------------------------------------------------------------


def read(
    hub: FakeRegistry, tmp_path: Path, *layers: bytes, python: str = "3.13"
) -> python_image.PythonImage:
    has_image(hub, "mirror/other", "one", *layers)
    registry = Registry(hub.host)
    image = ImageReference.parse(f"{hub.host}/mirror/other:one")
    records = Records(folder=tmp_path / "records")

    def fail(why: str) -> UdfError:
        return ConfigError(why, next_step="")

    parts = image_parts(registry, image, ["linux/amd64"], records, fail)["linux/amd64"]
    return python_image.read(registry, image, parts, python, records)


def changed(*removed: str, **more: str) -> bytes:
    kept = {name: text for name, text in PYTHON.items() if name not in removed}
    return gzip.compress(archive({**kept, **{n.replace("__", "/"): t for n, t in more.items()}}))


def test_the_python_of_an_image(hub: FakeRegistry, tmp_path: Path) -> None:
    found = read(hub, tmp_path, changed())
    assert (found.version, found.glibc) == ("3.13.5", 41)
    assert (found.folder, found.executable) == ("/usr/local/bin", "/usr/bin/python3.13")
    assert found.scripts == {"activate": "VIRTUAL_ENV=__VENV_DIR__\n"}


def test_layers_on_top_count(hub: FakeRegistry, tmp_path: Path) -> None:
    gone = "usr/lib/python3.13/venv/scripts/common/.wh.activate"
    upper = gzip.compress(archive({gone: "", "./etc/group": "new:x:1:\n"}))
    found = read(hub, tmp_path, changed(), upper)
    assert found.scripts == {}
    assert found.group == "new:x:1:\n"
    read(hub, tmp_path, changed(), upper)  # what is known of a layer is kept
    assert len(hub.requests(f"GET .*/blobs/{digest_of(upper)}")) == 1


def test_the_environment_of_a_base_is_not_read(hub: FakeRegistry, tmp_path: Path) -> None:
    upper = gzip.compress(archive({"etc/passwd": "of the base", "opt/venv": "", "z": "1" * 9000}))
    assert read(hub, tmp_path, changed(), upper).passwd == PYTHON["etc/passwd"]


@pytest.mark.parametrize("times", [2, 9], ids=["passes", "stays"])
def test_a_connection_that_breaks_within_a_layer(
    hub: FakeRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    real = Blobs.read
    broken: list[str] = []

    def breaking(self: Blobs, repository: str, digest: str, offset: int = 0) -> Iterator[bytes]:
        whole = b"".join(real(self, repository, digest, offset))
        if len(broken) < times:
            broken.append(digest)
            yield whole[:50]
            said = "Connection broken"
            raise ProtocolError(said, ConnectionResetError(104, "Connection reset by peer"))
        yield whole

    monkeypatch.setattr(Blobs, "read", breaking)
    monkeypatch.setattr(Transport, "pauses", lambda *_: iter([0.0, 0.0]))
    if times == 2:
        assert read(hub, tmp_path, changed()).version == "3.13.5"
    else:
        with pytest.raises(RegistryUnreachableError, match="reset by peer"):
            read(hub, tmp_path, changed())


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (changed("usr/bin/python3", "usr/local/bin/python3"), "no python3"),
        (changed(**{"lib__ld-musl-x86_64.so.1": "ELF"}), "musl in place of glibc"),
        (gzip.compress(b"garbage" * 1000), "cannot be read"),
        (changed(var__lib__dpkg__status="Package: python3.14\n"), ""),
    ],
    ids=["python", "musl", "garbage", "no versions"],
)
def test_an_image_that_does_not_fit(
    hub: FakeRegistry, tmp_path: Path, layer: bytes, why: str
) -> None:
    if not why:  # a version that nothing tells is the one of the name
        found = read(hub, tmp_path, layer)
        assert (found.version, found.glibc) == ("3.13", 28)
        return
    with pytest.raises(ConfigError, match=why):
        read(hub, tmp_path, layer)


def test_a_layer_in_another_form(hub: FakeRegistry, tmp_path: Path) -> None:
    """zstd needs Python 3.14; content that is not what its digest says is never used."""
    registry = Registry(hub.host)
    image = ImageReference.parse(f"{hub.host}/mirror/python:3.13-slim")
    plain = archive(PYTHON)
    descriptor = Descriptor(
        media_type="application/vnd.oci.image.layer.v1.tar",
        digest=hub.has("mirror/python", plain),
        size=len(plain),
    )

    def of(layer: Descriptor) -> python_image.PythonImage:
        parts = ImageParts(id="", config={}, layers=(layer,))
        return python_image.read(registry, image, parts, "3.13", Records(folder=tmp_path))

    assert of(descriptor).version == "3.13.5"
    lie = replace(descriptor, digest=digest_of(b"another"))
    hub.blobs["mirror/python", lie.digest] = plain
    with pytest.raises(ConfigError, match="has another content"):
        of(lie)
    if sys.version_info < (3, 14):
        zstd = replace(
            descriptor,
            media_type=f"{descriptor.media_type}+zstd",
            digest=hub.has("mirror/python", b"zstd"),
        )
        with pytest.raises(ConfigError, match="its layers are zstd"):
            of(zstd)


# --- doctor -----------------------------------------------------------------------------------


def test_doctor_asks_for_uv_and_no_engine(
    run: Run, programs_of: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")

    def found(settings: Settings = run.settings) -> dict[str, Finding]:
        return {each.name: each for each in examine.examine(lambda: settings, say=print)}

    checks = found()
    assert "engine" not in checks
    assert checks["uv"].detail == f"{uv.pinned()}, {programs_of / 'uv'}"
    assert (checks["Python image"].status, checks["registry"].status) == ("ok", "ok")
    assert checks["bytecode"].status == ("ok" if OWN == "3.13" else "warn")
    (programs_of / "uv").unlink()
    checks = found(
        replace(run.settings, registry="", python_image=f"{run.hub.host}/no/python:3.13")
    )
    assert "uv was not found" in checks["uv"].detail
    assert checks["uv"].fix == f"`pip install uv=={uv.pinned()}`"
    assert {checks[each].status for each in ("uv", "Python image", "registry")} == {"fail"}
    assert "uv" not in found(Settings.from_config({}))


# --- uv ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glibc", "name"), [(5, 17), (17, 17), (30, 28), (36, 36), (41, 40)], ids=str
)
def test_the_platform_of_wheels(glibc: int, name: int) -> None:
    options = uv.Target(python="3.13", platform="linux/arm64", glibc=glibc).options
    assert options[options.index("--python-platform") + 1] == f"aarch64-manylinux_2_{name}"


@pytest.mark.parametrize("long", [False, True], ids=["plain", "long path"])
def test_scripts_start_the_python_of_the_image(tmp_path: Path, long: bool) -> None:
    """uv writes a longer first line where the path of Python is long or has a space."""
    first = f"#!{sys.executable}\n"
    if long:
        first = f"#!/bin/sh\n'''exec' '{sys.executable}' \"$0\" \"$@\"\n' '''\n"

    def fake(argv: Any, **_: Any) -> programs.Done:  # noqa: ANN401
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin/one").write_text(f"{first}import one\n")
        (tmp_path / "bin/two").write_bytes(b"\x7fELF" + bytes(9000))
        return programs.Done(argv=tuple(argv), code=0)

    target = uv.Target(python="3.13", platform="linux/amd64", glibc=28)
    uv.Uv("uv", tmp_path, fake).install("--target", tmp_path, target)
    assert (tmp_path / "bin/one").read_text() == "#!/opt/venv/bin/python\nimport one\n"


def test_bytecode_has_the_paths_of_the_image(tmp_path: Path) -> None:
    (tmp_path / "one.py").write_text("def f(): pass\n")
    uv.compile_all(sys.executable, tmp_path, "/deps")
    (found,) = (tmp_path / "__pycache__").glob("*.pyc")
    data = found.read_bytes()
    assert b"/deps/one.py" in data
    assert data[4] == 1  # by hash, and not checked
    (tmp_path / "two.py").write_text("def f(:\n")
    with pytest.raises(BuildFailedError, match="cannot write the bytecode"):
        uv.compile_all(sys.executable, tmp_path, "/deps")


def test_pythons_of_this_machine(tmp_path: Path) -> None:
    other = tmp_path / "python3.99"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    shim = tmp_path / "python3.97"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    environ = {"PATH": str(tmp_path)}
    assert uv.pythons([OWN, "3.99", "3.98", "3.97"], environ) == {OWN, "3.99"}


@pytest.mark.parametrize(
    ("name", "template", "made"),
    [
        ("activate", "cd __VENV_DIR__ (__VENV_PROMPT__)", "cd /opt/venv (venv)"),
        ("Activate.ps1", "$Prompt = __VENV_PROMPT__", "$Prompt = 'venv'"),
        ("Activate.ps1", '$Prompt = "__VENV_PROMPT__"', '$Prompt = "venv"'),
    ],
)
def test_scripts_of_a_virtual_environment(name: str, template: str, made: str) -> None:
    assert _script(name, template) == made


def test_settings_of_uv_do_not_reach_it(
    run: Run, programs_of: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Mapping[str, str]] = []
    real: Callable[..., programs.Done] = programs.run

    def spy(argv: Any, **more: Any) -> programs.Done:  # noqa: ANN401
        seen.append(more.get("environ") or {})
        return real(argv, **more)

    monkeypatch.setenv("UV_NO_BINARY", "1")
    monkeypatch.setenv("UV_CACHE_DIR", "/cache")
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example/simple")
    folder = programs_of / "installing"
    folder.mkdir()
    target = uv.Target(python="3.13", platform="linux/amd64", glibc=28)
    uv.Uv(str(programs_of / "uv"), folder, spy).install("--target", folder / "x", target)
    (environ,) = seen
    assert "UV_NO_BINARY" not in environ
    assert environ["UV_CACHE_DIR"] == "/cache"
    assert environ["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    assert run
