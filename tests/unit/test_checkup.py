"""`invoke doctor`: each fault that it can find is planted once, found once, and explained."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.core.engine import Engine, store, survey
from tasks.core.engine.endpoint import Endpoint
from tasks.core.inputs import group
from tasks.core.model.errors import ConfigError, EngineSetupError
from tasks.core.model.reading import read_toml
from tasks.core.model.settings import Settings
from tasks.core.model.udf import load
from tasks.core.private_engine import packages, setup
from tasks.core.upkeep.doctor import examine, files, machine
from tasks.core.upkeep.doctor.finding import Finding, failure, fix_all, guarded
from tests import REPOSITORY

Plant = Callable[[Path], object]

CASES = (REPOSITORY / "examples/map/even_odd/cases.toml").read_text()
PROJECT = '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = []\n'


@pytest.fixture
def udf(tmp_path: Path) -> Path:
    """A UDF without a fault."""
    folder = tmp_path / "udfs" / "map" / "good"
    folder.mkdir(parents=True)
    (folder / "example.py").write_text("print()\n")
    (folder / "cases.toml").write_text(CASES)
    (folder / "pyproject.toml").write_text(PROJECT)
    return folder


def settings_of(udf: Path, **values: str) -> Settings:
    return Settings.from_config({}, root=str(udf.parents[1]), **values)


def found_in(udf: Path) -> list[Finding]:
    """The checks of UDFs, without the line that counts them."""
    return [check for check in files.udfs(settings_of(udf)) if check.name != "UDFs"]


def test_a_good_udf(udf: Path) -> None:
    assert found_in(udf) == []
    *_, last = files.udfs(settings_of(udf))
    assert (last.status, last.detail.partition(" in ")[0]) == ("ok", "1")


def script(text: str, mode: int = 0o755) -> Plant:
    def plant(folder: Path) -> None:
        (folder / "entry.sh").write_bytes(text.encode())
        (folder / "entry.sh").chmod(mode)

    return plant


def file(name: str, text: str) -> Plant:
    return lambda folder: (folder / name).write_text(text)


def project(text: str) -> Plant:
    return file("pyproject.toml", text)


def lock(text: str, name: str = "poetry.lock", wanted: str = '"rich>=14"') -> Plant:
    def plant(folder: Path) -> None:
        (folder / name).write_text(text)
        (folder / "pyproject.toml").write_text(PROJECT.replace("[]", f"[{wanted}]"))

    return plant


def link(target: str) -> Plant:
    return lambda folder: (folder / "link").symlink_to(target)


def large(folder: Path) -> None:
    with (folder / "model.bin").open("wb") as model:
        model.truncate(60_000_000)


def include_of_a_key(folder: Path) -> None:
    key = folder.parents[1] / "libs/server.key"
    key.parent.mkdir()
    key.touch()
    project(f"{PROJECT}[tool.numaflow-udf]\ninclude = ['libs/server.key']\n")(folder)


RICH = (
    '[[package]]\nname = "rich"\nversion = "{}"\n'
    'files = [{{file = "rich.whl", hash = "sha256:00"}}]\n[metadata]\ncontent-hash = "00"\n'
)
SH = "#!/bin/sh\n"
KEY = f"-----BEGIN RSA {'PRIVATE'} KEY-----\n{'MIIEpAIB' * 8}\n"

# What is planted; then status, and parts of the detail and of the fix.
FAULTS: dict[str, tuple[Plant, str, str, str]] = {
    "project file": (project("[project\n"), "fail", "is not valid TOML", "fix that line"),
    "unknown key": (
        project("[tool.numaflow-udf]\nimages = 'x'\n"),
        "fail",
        "unknown key 'images'",
        "allowed keys",
    ),
    "image name": (
        project("[tool.numaflow-udf]\nimage = 'No Name'\n"),
        "fail",
        "not a valid image name",
        "set image",
    ),
    "include": (
        project(f"{PROJECT}[tool.numaflow-udf]\ninclude = ['libs/none']\n"),
        "fail",
        "include 'libs/none'",
        "name a path",
    ),
    "Python": (
        project(PROJECT.replace(">=3.11", "<3.12")),
        "fail",
        "requires Python <3.12",
        "set python",
    ),
    "cases": (file("cases.toml", "[[cases]]\n"), "fail", "cases.toml", ""),
    "no cases": (
        lambda folder: (folder / "cases.toml").unlink(),
        "warn",
        "no cases.toml",
        "docs/cases.md",
    ),
    "syntax": (file("more.py", "def (:\n"), "fail", "more.py, line 1: invalid syntax", "fix"),
    "secret in env": (
        project(f"{PROJECT}[tool.numaflow-udf.env]\nAPI_TOKEN = 'abc'\n"),
        "warn",
        "env.API_TOKEN goes into its image, and looks like a secret",
        "from a Secret",
    ),
    "entry.sh mode": (script(f"{SH}python example.py\n", 0o644), "warn", "not executable", "chmod"),
    "entry.sh unreadable": (script(f"{SH}true\n", 0o100), "fail", "cannot be read", "chmod u+r"),
    "entry.sh line ends": (
        script("#!/bin/sh\r\npython example.py\r\n"),
        "fail",
        "Windows line ends",
        ".gitattributes",
    ),
    "entry.sh names another file": (
        script(f"{SH}set -eu\nexec python -u starter.py \\\n  --x\n"),
        "fail",
        "entry.sh runs starter.py",
        "correct the name",
    ),
    "entry.sh runs Poetry": (
        script(f"{SH}exec poetry run python example.py\n"),
        "fail",
        "entry.sh runs poetry",
        "`python example.py`",
    ),
    "entry.sh's interpreter": (
        script("#!/usr/bin/env fish\npython example.py\n"),
        "fail",
        "entry.sh is run by fish",
        "use sh or bash",
    ),
    "large context": (large, "warn", "60 MB go into its image, 60 MB of them model.bin", "ignore"),
    "secret": (
        file("key.txt", KEY),
        "warn",
        "key.txt goes into its image and contains",
        "key.txt'",
    ),
    "include of a key": (
        include_of_a_key,
        "warn",
        "include takes libs/server.key, which .dockerignore keeps out of images",
        "leave it out",
    ),
    "link": (
        link("gone.txt"),
        "fail",
        "a link to gone.txt, which is not among",
        "replace the link",
    ),
    "link out of the UDF": (link("../../x"), "fail", "a link to ../../x", "replace the link"),
    "absolute link": (link("/etc/passwd"), "fail", "a link to /etc/passwd", "replace"),
    "link to an ignored file": (
        link("cases.toml"),
        "fail",
        "a link to cases.toml",
        "replace the link",
    ),
    "lock lacks a package": (
        lock(RICH.format("14.1"), wanted='"rich>=14", "six"'),
        "fail",
        "six",
        "poetry lock",
    ),
    "lock has another version": (
        lock(RICH.format("13.0")),
        "fail",
        "rich 13.0 is not >=14",
        "`poetry lock`",
    ),
    "lock from another project file": (
        lock(RICH.format("14.1")),
        "fail",
        "pyproject.toml has changed since it was locked",
        "`poetry lock`",
    ),
}


@pytest.mark.parametrize(("plant", "status", "detail", "fix"), FAULTS.values(), ids=FAULTS)
def test_planted_faults(udf: Path, plant: Plant, status: str, detail: str, fix: str) -> None:
    plant(udf)
    (check,) = found_in(udf)
    assert (check.name, check.status) == ("map/good", status)
    assert detail in check.detail
    assert fix in check.fix


def test_there_are_enough_of_them() -> None:
    assert len(FAULTS) >= 15


def test_a_kind_that_is_not_known(udf: Path) -> None:
    udf.parent.rename(udf.parents[1] / "other")
    (check,) = found_in(udf)
    assert (check.status, check.fix.partition(":")[0]) == (
        "warn",
        "set kind under [tool.numaflow-udf]",
    )


def test_image_names_that_clash(udf: Path) -> None:
    shutil.copytree(udf, udf.parent / "good-")
    shutil.copytree(udf, udf.parent / "_good")
    checks = found_in(udf)
    assert {check.name for check in checks} == {"image names"}
    assert all(check.status == "fail" and "set image" in check.fix for check in checks)


def test_no_udf_at_all(tmp_path: Path) -> None:
    (check,) = files.udfs(Settings.from_config({}, root=str(tmp_path)))
    assert (check.status, check.detail[:12]) == ("warn", "no UDF found")
    assert "invoke new" in check.fix


GOOD_SCRIPTS = {
    "plain": f"{SH}python example.py\n",
    "bash": "#!/usr/bin/env bash\nset -euo pipefail\nexec python -u example.py\n",
    "Python": "#!/usr/bin/env python3\nprint('poetry run')\n",
    "no first line": "python example.py\n",
    "options": "#!/bin/sh -eu\nX=1 python /udf/example.py\n",
    "module": f"{SH}python -m app.main\n",
    "variable": f'{SH}python "$APP/starter.py"\n',
    "another folder": f"{SH}cd app && python main.py\n",
    "comment": f"{SH}# poetry run python starter.py\npython example.py # curl\n",
}


@pytest.mark.parametrize("text", GOOD_SCRIPTS.values(), ids=GOOD_SCRIPTS)
def test_scripts_without_a_fault(udf: Path, text: str) -> None:
    (udf / "app").mkdir()
    (udf / "app" / "main.py").write_text("")
    script(text)(udf)
    assert found_in(udf) == []


# --- fixing -----------------------------------------------------------------------------------

FIXED = {
    "mode": script(f"{SH}python example.py\n", 0o644),
    "line ends": script("#!/bin/sh\r\npython example.py\r\n"),
    "unreadable": script(f"{SH}python example.py\n", 0o300),
}


@pytest.mark.parametrize("plant", FIXED.values(), ids=FIXED)
def test_what_is_safe_is_fixed(udf: Path, plant: Plant) -> None:
    plant(udf)
    said: list[str] = []
    (check,) = fix_all(found_in(udf), say=said.append)
    assert (check.status, check.fixed) == ("ok", True)
    assert said == [f"fixing map/good: {check.detail}"]
    assert found_in(udf) == []
    assert (udf / "entry.sh").read_bytes() == f"{SH}python example.py\n".encode()


def test_what_is_not_safe_is_left_alone(udf: Path) -> None:
    project("[project\n")(udf)
    before = found_in(udf)
    assert fix_all(before, say=print) == before
    assert (udf / "pyproject.toml").read_text() == "[project\n"


def test_a_fix_that_fails_is_reported() -> None:
    def apply() -> None:
        raise PermissionError(13, "Permission denied")

    check = Finding(name="x", status="warn", detail="broken", apply=apply)
    (after,) = fix_all([check], say=lambda _: None)
    assert after.status == "fail"
    assert "not fixed: [Errno 13] Permission denied" in after.detail


# --- the repository ---------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in (".dockerignore", "pyproject.toml", "poetry.lock"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    monkeypatch.setattr(files, "own_repository", lambda: tmp_path)
    monkeypatch.setattr(files, "SHIPPED", tmp_path)
    monkeypatch.setattr(group, "project", lambda: tmp_path / "pyproject.toml")
    monkeypatch.setattr(group, "lock", lambda: tmp_path / "poetry.lock")
    monkeypatch.setattr(group, "source", lambda: "")
    monkeypatch.setattr(
        files,
        "udf_group",
        lambda: list(read_toml(tmp_path / "pyproject.toml")["dependency-groups"]["udf"]),
    )
    return tmp_path


def in_file(name: str, old: str, new: str) -> Plant:
    def plant(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text
        (folder / name).write_text(text.replace(old, new))

    return plant


def without(name: str) -> Plant:
    return lambda folder: (folder / name).unlink()


REPOSITORY_FAULTS: dict[str, tuple[Plant, str, str, str]] = {
    "no .dockerignore": (without(".dockerignore"), "fail", "not found", "git checkout"),
    "it hides the lock": (
        in_file(".dockerignore", "!poetry.lock\n", ""),
        "fail",
        "no line !poetry.lock",
        "git checkout",
    ),
    "no allow-list": (
        in_file(".dockerignore", "*\n!py", "!py"),
        "warn",
        "not an allow-list",
        "git",
    ),
    "no lock": (without("poetry.lock"), "fail", "poetry.lock not found", "poetry lock"),
    "lock out of date": (
        in_file("pyproject.toml", '"dumb-init==1.2.5.post1"', '"dumb-init==1.2.5.post1", "six"'),
        "fail",
        "does not fit pyproject.toml",
        "poetry lock",
    ),
}


@pytest.mark.parametrize(
    ("plant", "status", "detail", "fix"), REPOSITORY_FAULTS.values(), ids=REPOSITORY_FAULTS
)
def test_planted_faults_of_the_repository(
    checkout: Path, plant: Plant, status: str, detail: str, fix: str
) -> None:
    plant(checkout)
    (check,) = (each for each in files.repository(None) if each.status != "ok")
    assert check.status == status
    assert detail in check.detail
    assert fix in check.fix


def test_a_group_without_what_every_image_needs(checkout: Path) -> None:
    in_file("pyproject.toml", ', "dumb-init==1.2.5.post1"', "")(checkout)
    details = [each.detail for each in files.repository(None) if not each]
    assert details[0] == "the group udf of pyproject.toml lacks dumb-init"


def test_a_lock_out_of_date_is_fixed(checkout: Path) -> None:
    without("poetry.lock")(checkout)
    called = []
    checks = list(files.repository(lambda: called.append(True)))
    (fixed,) = (each for each in fix_all(checks, say=lambda _: None) if each.fixed)
    assert (fixed.name, called) == ("lock of the base", [True])


def test_this_repository_is_without_a_fault() -> None:
    assert all(check.status == "ok" for check in files.repository(None))
    settings = Settings.from_config({}, root=str(REPOSITORY / "examples"))
    assert [check for check in files.udfs(settings) if check.status != "ok"] == []


# --- the machine ------------------------------------------------------------------------------


def only(checks: Iterator[Finding], name: str) -> Finding:
    (check,) = (each for each in checks if each.name == name)
    return check


def test_settings_and_their_sources() -> None:
    settings = Settings.from_config({}, tag="v1")
    found = {check.name: check.detail for check in machine.configuration(settings)}
    assert found["udf.tag"] == "v1 (flag --tag)"
    assert found["udf.registry"] == "(not set) (default)"


@pytest.mark.parametrize("version", [(3, 10), (3, 15), (2, 7)])
def test_a_python_that_is_not_supported(version: tuple[int, int]) -> None:
    (check,) = machine.python(version)
    assert (check.status, check.fix) == (
        "fail",
        "create the virtual environment with Python 3.11 to 3.14",
    )


def test_this_python() -> None:
    (check,) = machine.python()
    assert check


DISKS = [(200_000_000, "fail"), (3_000_000_000, "warn"), (30_000_000_000, "ok")]


@pytest.mark.parametrize(("free", "status"), DISKS)
def test_disk_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, status: str
) -> None:
    monkeypatch.setattr(survey, "free", lambda _: free)
    (check,) = machine.cache({"XDG_CACHE_HOME": str(tmp_path)})
    assert check.status == status
    assert "invoke clean" in check.fix


def test_a_cache_folder_that_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    (check,) = machine.cache({"XDG_CACHE_HOME": str(tmp_path)})
    assert check.status == "fail"
    assert "is not writable: Permission denied" in check.detail
    assert "XDG_CACHE_HOME" in check.fix


BUNDLES = [
    pytest.param("missing.pem", "does not exist", id="missing"),
    pytest.param("empty.pem", "has no valid certificate", id="no certificate"),
]


@pytest.mark.parametrize(("name", "problem"), BUNDLES)
def test_a_bad_ca_bundle(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "empty.pem").write_text("nothing\n")
    environ = {"SSL_CERT_FILE": str(tmp_path / name)}
    check = only(machine.certificates(environ), "certificates")
    assert check.status == "fail"
    assert problem in check.detail
    assert "SSL_CERT_FILE" in check.fix


def test_index_and_proxy_are_named_and_not_shown() -> None:
    environ = {"PIP_INDEX_URL": "https://user:secret@index.example/simple", "HTTPS_PROXY": "p:1"}
    check = only(machine.certificates(environ), "index and proxy")
    assert check.detail == "builds get PIP_INDEX_URL, HTTPS_PROXY"


def test_an_engine_that_does_not_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    checks = examine.examine(lambda: Settings.from_config({}), say=print)
    (bad,) = (check for check in checks if not check)
    assert bad.name == "engine"
    assert "does not answer" in bad.detail
    assert "unset DOCKER_HOST" in bad.fix
    assert any(check.name == "UDFs" for check in checks), "files are checked all the same"


def test_a_setting_that_is_not_allowed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    checks = examine.examine(lambda: Settings.from_config({}, tag="a b"), say=print)
    bad = only(iter(checks), "configuration")
    assert bad.status == "fail"
    assert "setting udf.tag is 'a b'" in bad.detail
    assert any(check.name == "UDFs" for check in checks), "the others go on with the defaults"


class Docker(Engine):
    """An engine that answers by the first words of what it is asked."""

    answers: dict[str, str]

    def docker(self, *arguments: str) -> SimpleNamespace:  # type: ignore[override]
        for words, answer in self.answers.items():
            if " ".join(arguments).startswith(words):
                return SimpleNamespace(returncode=0, stdout=answer, stderr="")
        raise AssertionError(arguments)


def engine_that(private: bool = False, **answers: str) -> Docker:
    endpoint = Endpoint(host="unix:///x.sock", private=private, builder="default")
    found = Docker(endpoint=endpoint)
    object.__setattr__(found, "answers", {k.replace("_", " "): v for k, v in answers.items()})
    return found


def test_an_engine_without_a_network() -> None:
    assert not survey.has_network(engine_that(network_ls="host\nnone\n"))
    assert survey.has_network(engine_that(network_ls="bridge\nhost\nnone\n"))
    assert survey.has_network(engine_that(private=True))


@pytest.mark.parametrize(
    ("newer", "status", "detail"),
    [
        ({}, "ok", "up to date with the mirror"),
        ({"runc": "1.1 -> 1.2"}, "warn", "newer ones exist: runc 1.1 -> 1.2"),
        (None, "ok", "the mirror cannot be asked for newer ones: no mirror"),
    ],
)
def test_newer_programs_of_the_private_engine(
    monkeypatch: pytest.MonkeyPatch, newer: dict[str, str] | None, status: str, detail: str
) -> None:
    def outdated(*_: object) -> dict[str, str]:
        if newer is None:
            what = "no mirror"
            raise EngineSetupError(what, next_step="x")
        return newer

    about = SimpleNamespace(version="28.1", buildx="0.13", image_store="x", platforms=())
    monkeypatch.setattr(setup, "describe", lambda *_: about)
    monkeypatch.setattr(packages, "outdated", outdated)
    settings = Settings.from_config({}, network="host")
    found = {each.name: each for each in machine.engine(engine_that(private=True), settings)}
    check = found["engine programs"]
    assert (check.status, check.detail.partition(";")[0]) == (status, detail)
    assert "engine programs" not in {each.name for each in machine.engine(engine_that(), settings)}


@pytest.mark.parametrize(
    ("version", "store", "status"),
    [
        ("20.10.24+dfsg1", "classic (overlay2)", "fail"),
        ("28.5.2+dfsg4", "containerd (overlayfs)", "ok"),
        ("4.3.1", "podman (overlay)", "fail"),
        ("5.8.6", "podman (overlay)", "ok"),
    ],
)
def test_engines_that_are_too_old(
    monkeypatch: pytest.MonkeyPatch, version: str, store: str, status: str
) -> None:
    described = SimpleNamespace(version=version, image_store=store)
    monkeypatch.setattr(setup, "describe", lambda *_: described)
    assert next(machine.engine(engine_that(), Settings.from_config({}))).status == status


def test_the_disk_of_an_engine(tmp_path: Path) -> None:
    found = survey.disk(engine_that(info=f"{tmp_path}\n"))
    assert found is not None
    assert found.folder == str(tmp_path)
    assert found.free > 0
    assert survey.disk(engine_that(info="/no/such/folder\n")) is None
    elsewhere = engine_that(info=f"{tmp_path}\n")
    moved = replace(elsewhere.endpoint, host="ssh://other")
    object.__setattr__(elsewhere, "endpoint", moved)
    assert survey.disk(elsewhere) is None


@pytest.mark.parametrize("key", ["system-packages = ['ffmpeg']", "dockerfile = 'Dockerfile'"])
def test_steps_for_a_platform_that_nothing_emulates(udf: Path, key: str) -> None:
    project(f"{PROJECT}[tool.numaflow-udf]\n{key}\n")(udf)
    (udf / "Dockerfile").write_text("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN true\n")
    loaded = load(settings_of(udf), udf)
    settings = Settings.from_config({}, platforms="linux/amd64,linux/arm64")
    engine = SimpleNamespace(builder=SimpleNamespace(platforms=("linux/amd64",)))
    (check,) = machine.emulation(engine, settings, [loaded])  # type: ignore[arg-type]
    assert check.status == "fail"
    assert "linux/arm64" in check.detail
    assert "qemu-user-static" in check.fix
    engine.builder.platforms = ("linux/amd64", "linux/arm64")
    assert list(machine.emulation(engine, settings, [loaded])) == []  # type: ignore[arg-type]


def test_a_dockerfile_that_does_not_start_from_the_base(udf: Path) -> None:
    project(f"{PROJECT}[tool.numaflow-udf]\ndockerfile = 'Dockerfile'\n")(udf)
    (udf / "Dockerfile").write_text("FROM python\nRUN true\n")
    found = [check for check in files.udfs(settings_of(udf)) if check.status == "fail"]
    assert "does not start from the base image" in found[0].detail
    engine = SimpleNamespace(builder=SimpleNamespace(platforms=("linux/amd64",)))
    settings = Settings.from_config({}, platforms="linux/amd64,linux/arm64")
    loaded = load(settings_of(udf), udf)
    assert list(machine.emulation(engine, settings, [loaded])) == []  # type: ignore[arg-type]


def test_much_build_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    record = store.CacheRecord(id="a", size=25_000_000_000)
    monkeypatch.setattr(store, "build_cache", lambda _: [record])
    engine = engine_that(info=f"{tmp_path}\n")
    check = only(machine.disk(engine), "build cache")
    assert (check.status, check.detail) == ("warn", "25.0 GB in 1 record")
    assert "invoke clean" in check.fix


# --- how it ends ------------------------------------------------------------------------------


def test_an_error_is_a_finding_and_ends_no_other() -> None:
    def checks() -> Iterator[Finding]:
        yield Finding(name="first")
        what = "broken"
        raise ConfigError(what, next_step="fix it")

    found = guarded("second", checks)
    assert [(check.name, check.status, check.fix) for check in found] == [
        ("first", "ok", ""),
        ("second", "fail", "fix it"),
    ]


def test_the_error_at_the_end() -> None:
    good = Finding(name="a"), Finding(name="b", status="warn", detail="x")
    assert failure(good) is None
    error = failure([*good, Finding(name="c", status="fail"), Finding(name="d", status="fail")])
    assert error is not None
    assert (error.exit_code, error.what) == (42, "2 checks failed: c, d")
    assert "--fix" not in error.next_step
    error = failure([Finding(name="c", status="fail", apply=os.getpid)])  # type: ignore[arg-type]
    assert error is not None
    assert "`invoke doctor --fix`" in error.next_step
