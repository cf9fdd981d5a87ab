"""Which UDFs changed since a revision, in real git repositories."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.inputs.changes import changed_since
from tasks.core.model.errors import ConfigError
from tasks.core.model.settings import Settings
from tasks.core.model.udf import discover

UDF = "examples/map/a"


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "x", "--allow-empty")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting of the user, nor of a hook in which the tests may run, reaches git."""
    for name in os.environ:
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))


@pytest.fixture
def repository(tmp_path: Path) -> Settings:
    """Another repository with the UDFs map/a (includes libs/common), map/b and map/a/inner."""
    top = tmp_path / "repository"
    files = {
        f"{UDF}/example.py": "",
        f"{UDF}/lib/x.py": "",
        f"{UDF}/README.md": "",
        f"{UDF}/requirements.txt": "",
        f"{UDF}/Dockerfile": "",
        f"{UDF}/pyproject.toml": "[tool.numaflow-udf]\ninclude = ['libs/common', 'one.py']\n"
        "dockerfile = 'Dockerfile'\n",
        f"{UDF}/inner/example.py": "",
        f"{UDF}/inner/pyproject.toml": "",
        "examples/map/b/example.py": "",
        "libs/common/x.py": "",
        "libs/other.py": "",
        "one.py": "",
        "README.md": "",
        ".gitignore": "ignored.py\n",
    }
    for name, text in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(text)
    git(top, "init", "--quiet", "--initial-branch", "main")
    commit(top)
    return replace(Settings.from_config(object()), root=top / "examples")


def changed(settings: Settings, revision: str = "HEAD") -> list[str]:
    found = changed_since(settings, discover(settings), revision)
    return [udf.name for udf in found]


def write(settings: Settings, name: str, text: str = "changed\n") -> Path:
    path = settings.root.parent / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


Change = Callable[[Settings], object]

CHANGES: Mapping[str, tuple[Change, list[str]]] = {
    "nothing": (lambda s: None, []),
    "its code": (lambda s: write(s, f"{UDF}/example.py"), ["map/a"]),
    "a folder of its own": (lambda s: write(s, f"{UDF}/lib/x.py"), ["map/a"]),
    "its lock": (lambda s: write(s, f"{UDF}/requirements.txt"), ["map/a"]),
    "its cases": (lambda s: write(s, f"{UDF}/cases.toml"), ["map/a"]),
    "its Dockerfile": (lambda s: write(s, f"{UDF}/Dockerfile"), ["map/a"]),
    "another Dockerfile": (lambda s: write(s, "examples/map/b/Dockerfile"), []),
    "its README": (lambda s: write(s, f"{UDF}/README.md"), []),
    "a nested UDF": (lambda s: write(s, f"{UDF}/inner/example.py"), ["map/a/inner"]),
    "another UDF": (lambda s: write(s, "examples/map/b/example.py"), ["map/b"]),
    "two": (
        lambda s: (write(s, f"{UDF}/example.py"), write(s, "examples/map/b/example.py")),
        ["map/a", "map/b"],
    ),
    "an included folder": (lambda s: write(s, "libs/common/x.py"), ["map/a"]),
    "an included file": (lambda s: write(s, "one.py"), ["map/a"]),
    "a folder beside it": (lambda s: write(s, "libs/other.py"), []),
    "a file of the repository": (lambda s: write(s, "README.md"), []),
    "the mode": (lambda s: (s.root / "map/a/example.py").chmod(0o755), ["map/a"]),
    "a file less": (lambda s: (s.root / "map/a/lib/x.py").unlink(), ["map/a"]),
    "another name": (
        lambda s: (s.root / "map/a/lib/x.py").rename(s.root / "map/b/x.py"),
        ["map/a", "map/b"],
    ),
    "odd names": (lambda s: write(s, f"{UDF}/ä \n\t.py"), ["map/a"]),
    "a file that git ignores": (lambda s: write(s, f"{UDF}/ignored.py"), []),
}


@pytest.mark.parametrize(("change", "names"), CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("how", ["in the folder", "staged", "committed"])
def test_changes(repository: Settings, change: Change, names: list[str], how: str) -> None:
    before = git(repository.root, "rev-parse", "HEAD")
    change(repository)
    if how == "staged":
        git(repository.root.parent, "add", "--all")
    elif how == "committed":
        commit(repository.root.parent)
    assert changed(repository, before) == names


def test_the_lock_of_a_workspace_is_that_of_its_members(repository: Settings) -> None:
    write(repository, "uv.lock")
    assert changed(repository) == []
    write(repository, "pyproject.toml", "[tool.uv.workspace]\nmembers = ['examples/map/b']\n")
    write(repository, "examples/map/b/pyproject.toml", "[project]\nname = 'b'\n")
    commit(repository.root.parent)
    write(repository, "uv.lock", "changed again\n")
    assert changed(repository) == ["map/b"]


@pytest.mark.parametrize("revision", ["HEAD~1", "main~1", "v1"])
def test_how_a_revision_is_named(repository: Settings, revision: str) -> None:
    git(repository.root, "tag", "v1")
    write(repository, f"{UDF}/example.py")
    commit(repository.root)
    assert changed(repository, revision) == ["map/a"]
    assert changed(repository, "HEAD") == []


@pytest.mark.parametrize("revision", ["no-such", "", "HEAD:README.md", "--all", "HEAD~9"])
def test_a_revision_that_git_does_not_know(repository: Settings, revision: str) -> None:
    with pytest.raises(ConfigError) as caught:
        changed(repository, revision)
    assert f"git does not know the revision '{revision}' in " in caught.value.what
    assert "fetch enough history" in caught.value.next_step


def test_no_repository(tmp_path: Path) -> None:
    settings = replace(Settings.from_config(object()), root=tmp_path)
    with pytest.raises(ConfigError, match="not a git repository"):
        changed(settings)


def test_no_git(repository: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    udfs = discover(repository)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="git is not installed"):
        changed_since(repository, udfs, "HEAD")


class TestSdk:
    """The maintainers of the SDK have its source and the UDFs in one repository."""

    @pytest.fixture
    def monorepo(self, repository: Settings) -> Settings:
        write(repository, "pyproject.toml", "")
        write(repository, "pynumaflow/__init__.py", "")
        commit(repository.root)
        return replace(repository, sdk=repository.root.parent)

    def test_its_source_concerns_all(self, monorepo: Settings) -> None:
        write(monorepo, "pynumaflow/__init__.py")
        assert changed(monorepo) == ["map/a", "map/a/inner", "map/b"]

    def test_a_udf_is_no_part_of_it(self, monorepo: Settings) -> None:
        write(monorepo, f"{UDF}/example.py")
        assert changed(monorepo) == ["map/a"]


# --- this repository: what all UDFs share -----------------------------------------------------

ALL = 20

REMARK = "\n# a remark\n"

# A file, what is replaced in it (or nothing: it is added at its end), and how many UDFs it
# concerns.
EDITS = [
    ("Dockerfile.base", "", REMARK, ALL),
    ("dockerfiles/Dockerfile.shared-base", "", REMARK, ALL),
    ("dockerfiles/Dockerfile.optimized", "", REMARK, ALL),
    ("dockerfiles/Dockerfile.unoptimized", "", REMARK, 0),
    ("dockerfiles/base/install-env.sh", "", REMARK, ALL),
    ("dockerfiles/udf/install-dependencies.sh", "", REMARK, ALL),
    (".dockerignore", "", REMARK, ALL),
    ("pyproject.toml", "", REMARK, 0),
    ("poetry.lock", "", REMARK, 0),
    ("tasks/build.py", "", REMARK, 0),
    ("examples/map/even_odd/example.py", "", REMARK, 1),
    ("pyproject.toml", "dumb-init==", "dumb-init>=", ALL),
    ("poetry.lock", 'name = "pynumaflow"\nversion = "0', 'name = "pynumaflow"\nversion = "9', ALL),
]

# Makes each edit, asks, and takes it back; in one process, since a start costs more than this.
ASK = """
import json, pathlib, sys
from tasks.core.inputs import environment
from tasks.core.inputs.changes import changed_since
from tasks.core.model.settings import Settings
from tasks.core.model.udf import discover
settings = Settings.from_config(object())
udfs, counts = discover(settings), []
for name, before, after, _ in json.loads(sys.stdin.read()):
    path = pathlib.Path(name)
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1) if before else text + after)
    environment.forget()
    counts.append(len(changed_since(settings, udfs, "HEAD")))
    path.write_text(text)
print(json.dumps(counts))
"""


def test_what_all_udfs_share(checkout: Path) -> None:
    git(checkout, "init", "--quiet")
    commit(checkout)
    done = subprocess.run(
        [sys.executable, "-c", ASK],
        input=json.dumps(EDITS),
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    counts = zip(EDITS, json.loads(done.stdout), strict=True)
    wrong = [(*edit[:2], count) for edit, count in counts if count != edit[3]]
    assert wrong == []
