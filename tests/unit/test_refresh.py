"""`invoke base --refresh`: what a registry is asked, what is written, and what is said."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tasks.core.build.specs import spec_of
from tasks.core.engine import Engine
from tasks.core.inputs import environment, pythons
from tasks.core.inputs.pythons import Pins, pins
from tasks.core.model.errors import ConfigError, RegistryUnreachableError
from tasks.core.model.places import SHIPPED
from tasks.core.model.settings import Settings
from tasks.core.model.udf import Udf
from tasks.core.plan.specs import python_image
from tasks.core.registry.client import Registry
from tasks.core.registry.manifests import INDEX
from tasks.core.upkeep import refresh
from tests.unit.fake_registry import FakeRegistry, digest_of, fake_registry
from tests.unit.plans import settings, udf

NOW = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
NOBODY = cast(Engine, SimpleNamespace(endpoint=None))
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture
def hub() -> Iterator[FakeRegistry]:
    with fake_registry() as registry:
        yield registry


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project file of its own."""
    path = tmp_path / "pyproject.toml"
    path.write_text("# mine\n[tool.other]\nx = 1 # why\n")
    monkeypatch.setattr(pythons, "repository", lambda: tmp_path)
    environment.forget()
    yield path
    environment.forget()


def publish(
    hub: FakeRegistry,
    tag: str = "3.13-slim",
    *,
    created: str = "2026-11-20T08:00:00Z",
    python: str = "3.13.9",
    layers: tuple[str, ...] = ("system", "python"),
    platforms: tuple[str, ...] = ("amd64", "arm64"),
    env: tuple[str, ...] = ("PATH=/usr/bin",),
) -> str:
    """Have a Python image under a tag, for several platforms; the digest of its index."""
    name = "x/python"
    entries = []
    for platform in platforms:
        version = (f"PYTHON_VERSION={python}",) if python else ()
        config = {
            "os": "linux",
            "architecture": platform,
            "created": created,
            "config": {"Env": [*env, *version]},
        }
        data = {
            "schemaVersion": 2,
            "config": {"digest": hub.has(name, json.dumps(config).encode())},
            "layers": [{"digest": digest_of(f"{each}{platform}".encode())} for each in layers],
        }
        content = json.dumps(data).encode()
        hub.manifests[name, digest_of(content)] = (MANIFEST, content)
        machine = {"os": "linux", "architecture": platform}
        entries.append({"digest": digest_of(content), "platform": machine})
    content = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    hub.manifests[name, tag] = hub.manifests[name, digest_of(content)] = (INDEX, content)
    return digest_of(content)


def image(hub: FakeRegistry, tag: str = "3.13-slim") -> str:
    return f"{hub.host}/x/python:{tag}"


def run(chosen: Settings, *udfs: Udf, now: datetime = NOW) -> list[str]:
    """What a refresh says."""
    lines: list[str] = []
    refresh.refresh(NOBODY, chosen, udfs, say=lines.append, now=now, ask=Registry)
    return lines


def table(project: Path) -> Any:  # noqa: ANN401 (whatever it holds)
    return tomllib.loads(project.read_text())["tool"]["numaflow-udf"]


def test_what_was_not_pinned_is_pinned(hub: FakeRegistry, project: Path) -> None:
    digest = publish(hub)
    said = run(settings(python_image=image(hub)))
    assert said == [f"{image(hub)} was not pinned: {digest[7:19]}, 4 days old"]
    assert table(project) == {
        "python-images": {
            "3.13": f"{image(hub)}@{digest}",
            "created": {digest: date(2026, 11, 20)},
        }
    }
    assert project.read_text().startswith("# mine\n[tool.other]\nx = 1 # why\n")
    # The same run goes on with what it has written.
    assert pins().images == {"3.13": f"{image(hub)}@{digest}"}


def test_a_newer_image(hub: FakeRegistry, project: Path) -> None:
    own = settings(python_image=image(hub))
    old = publish(hub, created="2026-10-01T08:00:00Z", python="3.13.8")
    run(own)
    new = publish(hub, layers=("system", "patched", "python"))
    said = run(own)
    (line,) = said
    assert line == (
        f"{image(hub)}: {old[7:19]}, 54 days old -> {new[7:19]}, 4 days old; "
        "1 of 3 layers changed; Python 3.13.8 -> 3.13.9"
    )
    assert table(project)["python-images"]["3.13"] == f"{image(hub)}@{new}"
    # Dates of images that no row names any more are dropped.
    assert table(project)["python-images"]["created"].keys() == {new}


def test_an_old_image_that_the_registry_has_deleted(hub: FakeRegistry, project: Path) -> None:
    own = settings(python_image=image(hub))
    old = publish(hub, created="2026-10-01T08:00:00Z")
    run(own)
    del hub.manifests["x/python", old]
    new = publish(hub, layers=("other",))
    (line,) = run(own)
    assert line == (
        f"{image(hub)}: {old[7:19]}, 54 days old -> {new[7:19]}, 4 days old; "
        "the old image is not in the registry any more"
    )
    assert pins().images["3.13"].endswith(new)


def test_up_to_date(hub: FakeRegistry, project: Path) -> None:
    own = settings(python_image=image(hub))
    digest = publish(hub)
    run(own)
    before = project.read_text()
    assert run(own) == [f"{image(hub)} is up to date: {digest[7:19]}, 4 days old"]
    assert project.read_text() == before


def test_each_python_in_use(hub: FakeRegistry, project: Path) -> None:
    default, other = publish(hub), publish(hub, "3.12-slim", python="3.12.1")
    publish(hub, "3.11-slim", python="3.11.1")
    udfs = [udf("map/a"), udf("map/b", python="3.12"), udf("map/c", python="3.13")]
    assert len(run(settings(python_image=image(hub)), *udfs)) == 2
    assert pins().images == {
        "3.13": f"{image(hub)}@{default}",
        "3.12": f"{image(hub, '3.12-slim')}@{other}",
    }
    assert hub.requests("3.11") == []


def test_an_image_whose_name_tells_no_version(hub: FakeRegistry, project: Path) -> None:
    digest = publish(hub, "2024.1", python="3.12.4")
    own = settings(python_image=image(hub, "2024.1"))
    run(own)
    assert pins().images == {"3.12": f"{image(hub, '2024.1')}@{digest}"}
    assert pins().default == "3.12"
    # Its own row tells the version from then on, whatever the image says of itself.
    publish(hub, "2024.1", python="")
    run(own)
    assert pins().images.keys() == {"3.12"}


def test_the_image_that_environments_are_made_in(hub: FakeRegistry, project: Path) -> None:
    digest, building = publish(hub), publish(hub, "3.13-full")
    rows = f'[tool.numaflow-udf.python-images.build]\n"3.13" = "{image(hub, "3.13-full")}"\n'
    project.write_text(project.read_text() + rows)
    environment.forget()
    assert len(run(settings(python_image=image(hub)))) == 2
    assert pins().images == {"3.13": f"{image(hub)}@{digest}"}
    assert pins().build == {"3.13": f"{image(hub, '3.13-full')}@{building}"}
    assert pins().created.keys() == {digest, building}


def test_what_a_flag_names_is_in_the_table_then(hub: FakeRegistry, project: Path) -> None:
    digest = publish(hub)
    after = refresh.refresh(
        NOBODY, settings(python_image=image(hub)), (), say=lambda _: None, ask=Registry
    )
    assert python_image(after, pins()) == f"{image(hub)}@{digest}"


def test_a_setting_goes_before_the_table(hub: FakeRegistry, project: Path) -> None:
    publish(hub)
    config = SimpleNamespace(_env={"udf": {"python_image": image(hub)}})
    chosen = Settings.from_config(config)
    _, line = run(chosen)
    assert line == (
        "udf.python_image (environment, INVOKE_UDF_PYTHON_IMAGE) goes before the table: remove "
        "it, so that the pin counts"
    )
    assert python_image(chosen, pins()) == image(hub)


def test_a_day_for_images_that_tell_none(hub: FakeRegistry, project: Path) -> None:
    # Images that are made to be reproducible have the epoch as their time.
    digest = publish(hub, created="1970-01-01T00:00:00Z")
    run(settings(python_image=image(hub)))
    assert pins().created == {digest: NOW.date()}


def test_debian_packages_of_udfs_are_taken_anew(hub: FakeRegistry, project: Path) -> None:
    publish(hub)
    own = settings(python_image=image(hub))
    said = run(own, udf(system_packages=("ffmpeg",)))
    assert said[-1] == "system packages of UDFs are taken anew from Debian"
    assert table(project)["system-packages-date"] == NOW
    # Another run is another date, on the same day as well: no cache has that step.
    before = pins().system_packages
    run(own, udf(system_packages=("ffmpeg",)), now=NOW.replace(hour=11))
    assert before != pins().system_packages
    # Without such a UDF, the date is left alone.
    before = pins().system_packages
    run(own, udf())
    assert before == pins().system_packages


def test_the_date_is_an_input_of_udfs_with_such_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "example.py").touch()
    plain = replace(udf(), path=tmp_path)
    debian = replace(plain, system_packages=("ffmpeg",))

    def inputs(of: Udf, when: str) -> dict[str, str]:
        monkeypatch.setattr("tasks.core.build.specs.pins", lambda: Pins(system_packages=when))
        return dict(spec_of(settings(root=str(tmp_path.parent)), of).inputs)

    assert inputs(debian, "today")["argument SYSTEM_PACKAGES_DATE"] == "today"
    assert inputs(debian, "today") != inputs(debian, "yesterday")
    assert inputs(plain, "today") == inputs(plain, "yesterday")


# --- what cannot be refreshed -----------------------------------------------------------------


def test_a_digest_of_the_setting_is_left_alone(hub: FakeRegistry, project: Path) -> None:
    own = f"{image(hub)}@{publish(hub)}"
    before = project.read_text()
    assert run(settings(python_image=own)) == [
        f"{own} is pinned by udf.python_image: change it there"
    ]
    assert project.read_text() == before
    assert hub.seen == []


@pytest.mark.parametrize(
    ("made", "tag", "said"),
    [
        pytest.param({}, "3.13-other", "does not exist in its registry", id="no such tag"),
        pytest.param(
            {"platforms": ("s390x",)}, "3.13-slim", "does not exist for linux/", id="platform"
        ),
        pytest.param(
            {"python": "3.12.1"}, "3.13-slim", "has Python 3.12.1, not 3.13", id="version"
        ),
        pytest.param({"python": ""}, "2024.1", "does not say which Python it has", id="unknown"),
    ],
)
def test_what_the_registry_has_does_not_fit(
    hub: FakeRegistry, project: Path, made: dict[str, Any], tag: str, said: str
) -> None:
    publish(hub, "3.13-slim" if tag == "3.13-other" else tag, **made)
    before = project.read_text()
    with pytest.raises(ConfigError) as caught:
        run(settings(python_image=image(hub, tag)))
    assert said in caught.value.what
    assert image(hub, tag) in caught.value.what
    assert project.read_text() == before


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ("stand-in", "is a stand-in on this engine: the registry"),
        ("absent", "the registry"),
    ],
)
def test_a_registry_that_does_not_answer(
    project: Path, monkeypatch: pytest.MonkeyPatch, state: str, said: str
) -> None:
    monkeypatch.setattr(refresh, "image_state", lambda *_: state)
    with fake_registry() as registry:
        closed = registry.host
    with pytest.raises(RegistryUnreachableError) as caught:
        run(settings(python_image=f"{closed}/x/python:3.13"))
    assert said in caught.value.what
    assert closed in caught.value.what
    assert "numaflow-udf" not in project.read_text()


def test_without_an_engine(hub: FakeRegistry, project: Path) -> None:
    publish(hub)
    own = settings(python_image=image(hub))
    refresh.refresh(None, own, (), say=lambda _: None)
    assert pins().images.keys() == {"3.13"}
    with pytest.raises(ConfigError, match="does not exist in its registry"):
        refresh.refresh(None, own, [udf(python="3.12")], say=lambda _: None)


def test_nothing_is_written_where_one_of_several_fails(hub: FakeRegistry, project: Path) -> None:
    publish(hub)
    before = project.read_text()
    with pytest.raises(ConfigError, match=r"3\.12-slim does not exist"):
        run(settings(python_image=image(hub)), udf(python="3.12"))
    assert project.read_text() == before


# --- the form of the file ---------------------------------------------------------------------


@pytest.fixture
def found() -> refresh.PythonImage:
    day = date(2026, 11, 1)
    return refresh.PythonImage(
        image="python:3.13-slim", digest=f"sha256:{'c' * 64}", created=day, python="", layers=()
    )


def test_rows_keep_their_form(found: refresh.PythonImage) -> None:
    old = f"sha256:{'d' * 64}"
    text = (
        "[tool.numaflow-udf]\nother = 1 # one\n\n[tool.numaflow-udf.python-images] # two\n"
        f"# three\n\"3.12\" = 'own:1@{old}' # four\n\"3.13\" = 'python:3.13-slim@{old}' # five\n"
        "\n[tool.z]\ny = 1\n"
    )
    changed = refresh.with_pins(text, {"3.13": found}, NOW)
    assert [f"# {word}" in changed for word in ("one", "two", "three", "four", "five")] == [
        True
    ] * 5
    after = tomllib.loads(changed)["tool"]
    assert after["z"] == {"y": 1}
    assert after["numaflow-udf"]["other"] == 1
    assert after["numaflow-udf"]["python-images"] == {
        "3.12": f"own:1@{old}",
        "3.13": f"python:3.13-slim@{found.digest}",
        "created": {found.digest: found.created},
    }
    assert refresh.with_pins(changed, {"3.13": found}, NOW) == changed


def test_this_project_itself(found: refresh.PythonImage) -> None:
    text = (SHIPPED / "pyproject.toml").read_text()
    changed = refresh.with_pins(text, {"3.13": found}, None)
    assert changed.startswith(text.rstrip("\n"))
    assert tomllib.loads(changed)["tool"]["numaflow-udf"]["python-images"]["3.13"]
