"""Locks that do not belong to the project file as it is: they are never built from."""

from __future__ import annotations

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.inputs.added import added_packages
from tasks.core.inputs.locks import poetry
from tasks.core.model.errors import ProjectFileError
from tasks.core.model.udf import Udf

LOCKS = Path(__file__).with_name("fixtures") / "locks/simple"
NAMES = {
    "poetry-2.1.lock": "poetry.lock",
    "poetry-2.0.lock": "poetry.lock",
    "poetry-1.1.lock": "poetry.lock",
    "uv.lock": "uv.lock",
    "uv.pylock.toml": "pylock.toml",
    "requirements.txt": "requirements.txt",
}

Edit = Callable[[str], str]


@pytest.fixture
def edited(tmp_path: Path) -> Callable[[str, Edit], Udf]:
    """A UDF with a lock that its own tool made, and with its project file edited since."""

    def make(kind: str, edit: Edit, lock_edit: Edit = str) -> Udf:
        old = kind in ("poetry-1.1.lock", "poetry-2.0.lock")
        text = edit((LOCKS / ("pyproject-poetry1.toml" if old else "pyproject.toml")).read_text())
        (tmp_path / "pyproject.toml").write_text(text)
        name = NAMES[kind]
        shutil.copy(LOCKS / kind, tmp_path / name)
        (tmp_path / name).write_text(lock_edit((tmp_path / name).read_text()))
        return Udf(
            name="map/a",
            path=tmp_path,
            kind="map",
            repository="map-a",
            project=tomllib.loads(text),
        )

    return make


def refused(udf: Udf) -> ProjectFileError:
    with pytest.raises(ProjectFileError) as caught:
        added_packages(udf, {}, python="3.13")
    return caught.value


def with_one_more(text: str) -> str:
    if "\ndependencies = [" in text:
        return text.replace("\ndependencies = [\n", '\ndependencies = [\n  "left-pad>=1",\n', 1)
    return text.replace(
        "[tool.poetry.dependencies]\n", '[tool.poetry.dependencies]\nleft-pad = "^1"\n', 1
    )


@pytest.mark.parametrize("kind", NAMES)
def test_a_dependency_that_was_added_and_not_locked(
    edited: Callable[[str, Edit], Udf], kind: str, tmp_path: Path
) -> None:
    error = refused(edited(kind, with_one_more))
    name = NAMES[kind]
    assert error.what == f"{name} of UDF map/a is out of date: left-pad not found in it"
    ours = "`invoke deps --lock --udf map/a`"
    own = f"run `{name.removesuffix('.lock')} lock` in {tmp_path}, or {ours}"
    steps = {
        "pylock.toml": f"run {ours}",
        "requirements.txt": "export it again, such as with `uv export`",
    }
    assert error.next_step == steps.get(name, own)


EDITS: dict[str, tuple[Edit, str, str]] = {
    "a higher version": (
        lambda text: text.replace("watchdog>=6,<7", "watchdog>=7"),
        "watchdog 6.0.0 is not >=7",
        "watchdog>=7 was locked as watchdog<7,>=6",
    ),
    "a wider version": (
        lambda text: text.replace("watchdog>=6,<7", "watchdog>=6"),
        "pyproject.toml has changed since it was locked",
        "watchdog>=6 was locked as watchdog<7,>=6",
    ),
    "another extra": (
        lambda text: text.replace("httpx[http2]", "httpx[http2,socks]"),
        "pyproject.toml has changed since it was locked",
        "httpx[http2,socks]>=0.27 was locked as httpx[http2]>=0.27",
    ),
    "one less": (
        lambda text: text.replace('  "watchdog>=6,<7",\n', ""),
        "pyproject.toml has changed since it was locked",
        "watchdog is no longer in pyproject.toml",
    ),
    "one of the group for development": (
        lambda text: text.replace('  "watchdog>=6,<7",\n', '  "watchdog>=6,<7", "iniconfig",\n'),
        "pyproject.toml has changed since it was locked",
        "iniconfig not found in it",
    ),
}


@pytest.mark.parametrize(("edit", "of_poetry", "of_uv"), EDITS.values(), ids=EDITS)
def test_a_dependency_that_was_edited(
    edited: Callable[[str, Edit], Udf], edit: Edit, of_poetry: str, of_uv: str
) -> None:
    for kind, said in (("poetry-2.1.lock", of_poetry), ("uv.lock", of_uv)):
        assert refused(edited(kind, edit)).what.endswith(f"is out of date: {said}")
        (edited(kind, str).path / Path(kind).name.replace("-2.1", "")).unlink()


@pytest.mark.parametrize(
    "kind", ["poetry-2.1.lock", "uv.lock", "uv.pylock.toml", "requirements.txt"]
)
@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(str, id="nothing"),
        pytest.param(lambda text: f"{text}\n[tool.numaflow-udf]\nkind = 'map'\n", id="our table"),
        pytest.param(lambda text: text.replace('"0.1.0"', '"0.2.0"'), id="its own version"),
    ],
)
def test_what_is_not_locked_may_change(
    edited: Callable[[str, Edit], Udf], kind: str, edit: Edit
) -> None:
    assert added_packages(edited(kind, edit), {}, python="3.13").packages["watchdog"] == "6.0.0"


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param(lambda text: text.replace("watchdog>=6,<7", "watchdog<7 , >= 6"), id="order"),
        pytest.param(lambda text: text.replace("watchdog>=6,<7", "Watchdog>=6.0,<7"), id="zero"),
        pytest.param(lambda text: text.replace("structlog>=24", "structlog (>=24)"), id="brackets"),
    ],
)
def test_the_same_in_other_words_is_no_change_to_uv(
    edited: Callable[[str, Edit], Udf], edit: Edit
) -> None:
    assert added_packages(edited("uv.lock", edit), {}, python="3.13")


def test_a_source_of_its_own_says_nothing_of_versions(
    edited: Callable[[str, Edit], Udf],
) -> None:
    source = '\n[tool.uv.sources]\nwatchdog = { git = "https://git.example/watchdog" }\n'
    udf = edited("uv.lock", lambda text: text.replace("watchdog>=6,<7", "watchdog") + source)
    text = (udf.path / "uv.lock").read_text()
    direct = '{ name = "watchdog", git = "https://git.example/watchdog" }'
    text = text.replace('{ name = "watchdog", specifier = ">=6,<7" }', direct)
    (udf.path / "uv.lock").write_text(text)
    assert added_packages(udf, {}, python="3.13")


def test_a_newer_poetry_may_hash_more(edited: Callable[..., Udf]) -> None:
    """Then the versions decide: else no image could be built with a Poetry of tomorrow."""

    def of_tomorrow(text: str) -> str:
        text = text.replace("@generated by Poetry 2.5", "@generated by Poetry 2.99")
        return text.replace('content-hash = "', 'content-hash = "0')

    assert added_packages(edited("poetry-2.1.lock", str, of_tomorrow), {}, python="3.13")
    assert "left-pad not found" in refused(edited("poetry-2.1.lock", with_one_more)).what
    today = refused(
        edited("poetry-2.1.lock", str, lambda text: text.replace('-hash = "', '-hash = "0'))
    )
    assert "pyproject.toml has changed" in today.what


def test_the_sdk_from_a_path_means_that_of_the_base(edited: Callable[..., Udf]) -> None:
    def with_sdk(text: str) -> str:
        text = text.replace("\ndependencies = [\n", '\ndependencies = [\n  "pynumaflow",\n', 1)
        return f'{text}\n[tool.uv.sources]\npynumaflow = {{ path = "../.." }}\n'

    def locked(text: str) -> str:
        entry = '{ name = "pynumaflow", directory = "../.." },\n    { name = "structlog", marker'
        return text.replace('{ name = "structlog", marker', entry)

    assert added_packages(edited("uv.lock", with_sdk, locked), {}, python="3.13")
    assert "pynumaflow not found" in refused(edited("uv.lock", with_sdk)).what


def test_the_hash_changes_with_what_is_resolved() -> None:
    project = {"project": {"dependencies": ["a"]}}
    other = {"project": {"dependencies": ["b"]}}
    assert poetry.content_hash(project) != poetry.content_hash(other)
