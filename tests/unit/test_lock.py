"""The lock of the shared environment: no index host, hashes, wheels for both platforms."""

from __future__ import annotations

import hashlib
import re
import tomllib

import pytest

from tasks.core.inputs.environment import locked_packages, packages_of, part_of_lock
from tasks.core.inputs.locks.poetry import content_hash, is_fresh
from tasks.core.inputs.names import normalised
from tests import REPOSITORY

TEXT = (REPOSITORY / "poetry.lock").read_text(encoding="utf-8")
LOCK = tomllib.loads(TEXT)
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = locked_packages()


def test_it_names_no_index() -> None:
    # Descriptions may hold an address; what a package is fetched from does not.
    lines = [line for line in TEXT.splitlines() if not line.startswith("description = ")]
    assert [line for line in lines if re.search(r"https?://|\burl\s*=", line)] == []
    assert not [entry["name"] for entry in LOCK["package"] if "source" in entry]


@pytest.mark.parametrize("line", PROJECT["dependency-groups"]["udf"])
def test_every_requirement_of_the_group_is_locked_as_it_is_pinned(line: str) -> None:
    name, version = line.split("==")
    assert PACKAGES[normalised(name)]["version"] == version


def test_the_tests_use_the_same_sdk() -> None:
    pinned = [line for line in PROJECT["dependency-groups"]["udf"] if "pynumaflow" in line]
    assert pinned[0] in PROJECT["project"]["optional-dependencies"]["test"]


@pytest.mark.parametrize("name", PACKAGES)
def test_every_file_has_a_hash(name: str) -> None:
    files = PACKAGES[name]["files"]
    assert files
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", file["hash"]) for file in files)


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("name", PACKAGES)
def test_wheels_for_both_platforms(name: str, machine: str) -> None:
    # Without one, an image for the other platform could not be built without emulation.
    wheels = [file["file"] for file in PACKAGES[name]["files"] if file["file"].endswith(".whl")]
    fits = [
        wheel
        for wheel in wheels
        if wheel.endswith("-any.whl")
        or (
            "manylinux" in wheel
            and wheel.endswith(f"_{machine}.whl")
            and re.search(r"-(cp313-cp313|cp3\d+-abi3|py3-none|py2\.py3-none)-", wheel)
        )
    ]
    assert fits, wheels


def test_the_part_that_is_read_is_what_the_whole_says() -> None:
    assert packages_of(LOCK) == PACKAGES


def test_a_lock_that_cannot_be_told_apart_is_read_as_a_whole() -> None:
    assert part_of_lock('[[package]]\nname = "a"\ngroups = [\n  "udf",\n]\n') == {}
    assert part_of_lock('[[package]]\nname = "a\ngroups = ["udf"]\n') == {}
    package = '[[package]]\nname = "a"\ngroups = ["udf"]\n'
    files = 'files = [\n    {file = "a.whl", hash = "sha256:1"},\n]\n'
    assert part_of_lock(package + files * 2) == {}
    assert part_of_lock(f'{package}text = """\n{package}"""\n') == {}


def test_files_in_another_form_are_read_as_toml() -> None:
    package = '[[package]]\nname = "a"\ngroups = ["udf"]\n'
    for line in (
        '    {file = "a.whl", hash = "sha256:1"},',
        '    {file = "a\\u0062.whl", hash = "sha256:1"},',
        '    {hash = "sha256:1", file = "a.whl"},',
        '    {file = "a.whl", hash = "sha256:1", size = 3},',
    ):
        text = f"{package}files = [\n{line}\n]\n"
        assert part_of_lock(text) == tomllib.loads(text), line


# --- whether a lock was made from a project file ----------------------------------------------


def test_the_hash_is_that_of_poetry() -> None:
    """The lock of this repository was made by Poetry itself."""
    assert content_hash(PROJECT) == LOCK["metadata"]["content-hash"]
    assert is_fresh(PROJECT, LOCK)
    changed = {**PROJECT, "project": {**PROJECT["project"], "dependencies": []}}
    assert not is_fresh(changed, LOCK)
    described = {**PROJECT, "project": {**PROJECT["project"], "description": "another"}}
    assert is_fresh(described, LOCK)


def test_the_hash_of_older_forms() -> None:
    """Without the standard tables, the old keys count even where they do not exist."""
    old = {"tool": {"poetry": {"name": "x", "dependencies": {"python": "^3.11"}}}}
    content = '{"dependencies": {"python": "^3.11"}, "dev-dependencies": null, "extras": null, '
    content += '"source": null}'
    assert content_hash(old) == hashlib.sha256(content.encode()).hexdigest()
