"""`invoke doctor` of what images stand on: Python images, their age, the registry's base."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from tasks.core.build import pythons
from tasks.core.build import specs as build_specs
from tasks.core.build.why import ChangedInputs, with_content
from tasks.core.inputs.pythons import Pins
from tasks.core.model import labels
from tasks.core.model.errors import ConfigError
from tasks.core.model.labels import BASE_PYTHON
from tasks.core.model.settings import native_platform
from tasks.core.model.udf import Udf
from tasks.core.registry.client import Registry
from tasks.core.upkeep.doctor import bases
from tasks.core.upkeep.doctor.finding import Finding
from tests.unit.fake_registry import FakeRegistry, digest_of, fake_registry
from tests.unit.plans import PYTHON, base, definition, settings, step, targets, udf

A, B = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"
TODAY = date(2026, 11, 24)
ENGINE: Any = SimpleNamespace(endpoint=None)


def pinned(age: int | None = 3, **more: Any) -> Pins:  # noqa: ANN401 (any field of it)
    created = {} if age is None else {A: TODAY - timedelta(days=age)}
    return Pins(images={"3.13": f"{PYTHON}@{A}"}, created=created, **more)


def found(
    monkeypatch: pytest.MonkeyPatch,
    table: Pins,
    *udfs: Udf,
    state: str = "present",
    engine: Any = ENGINE,  # noqa: ANN401 (what is asked of it is not)
    **flags: str,
) -> list[Finding]:
    monkeypatch.setattr(bases, "pins", lambda: table)
    monkeypatch.setattr(bases, "image_state", lambda *_: state)
    return list(bases.python_images(engine, settings(**flags), udfs, TODAY))


SHOWN = f"{PYTHON}@aaaaaaaaaaaa"


@pytest.mark.parametrize(
    ("table", "state", "status", "detail"),
    [
        (pinned(3), "present", "ok", f"{SHOWN}, 3 days old; present"),
        (pinned(30), "absent", "ok", f"{SHOWN}, 30 days old; the first build pulls it"),
        (
            pinned(31),
            "present",
            "warn",
            f"{SHOWN}, 31 days old: bases lack the security patches since then",
        ),
        (pinned(None), "present", "warn", f"{SHOWN} is pinned, but its age is not recorded"),
        (Pins(), "present", "warn", f"{PYTHON} is not pinned: its tag may mean another image"),
        (Pins(), "stand-in", "warn", f"{PYTHON} is a stand-in made of Debian packages, so it is"),
    ],
)
def test_whether_an_image_is_pinned_and_how_old_it_is(
    monkeypatch: pytest.MonkeyPatch, table: Pins, state: str, status: str, detail: str
) -> None:
    (check,) = found(monkeypatch, table, state=state)
    assert (check.name, check.status) == ("Python image", status)
    assert check.detail.startswith(detail)
    assert bool(check.fix) == (status == "warn")


def test_each_python_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    # A version without a row is a tag that is not pinned: said, and no error.
    first, second = found(monkeypatch, pinned(), udf(), udf(python="3.12"), udf(python="3.13"))
    assert first.status == "ok"
    assert second.detail.startswith("python:3.12-slim-trixie is not pinned")


def test_the_image_that_environments_are_made_in(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = found(monkeypatch, pinned(build={"3.13": "full:1", "3.12": "other:1"}))
    assert first.status == "ok"
    assert second.detail.startswith("full:1 is not pinned")


def test_without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    (check,) = found(monkeypatch, pinned(), engine=None)
    assert check.status == "ok"


def test_an_image_of_an_unknown_version(monkeypatch: pytest.MonkeyPatch) -> None:
    *_, check = found(monkeypatch, Pins(), python_image="own/py:2024.1")
    assert check.detail == "nothing tells the Python version of own/py:2024.1"
    assert '"3.13" = "own/py:2024.1"' in check.fix


@pytest.mark.parametrize(
    ("taken", "status", "detail"),
    [
        ("2026-11-20T10:00:00+00:00", "ok", "those of UDFs were taken from Debian 4 days ago"),
        ("2026-10-01", "warn", "those of UDFs were taken from Debian 54 days ago"),
        ("", "warn", "those of UDFs are as old as the build cache has them"),
    ],
)
def test_the_age_of_debian_packages(
    monkeypatch: pytest.MonkeyPatch, taken: str, status: str, detail: str
) -> None:
    table = pinned(system_packages=taken)
    assert len(found(monkeypatch, table, udf())) == 1
    *_, check = found(monkeypatch, table, udf(system_packages=("ffmpeg",)))
    assert (check.name, check.status, check.detail) == ("system packages", status, detail)


# --- two bases of one name --------------------------------------------------------------------


class TestContent:
    """What the tag of a Python image meant when a base was made."""

    def test_it_is_a_label_and_the_build_is_held_to_it(self) -> None:
        meant = {PYTHON: A}
        made = targets(definition(bases=[base()], pythons=meant))["base"]
        assert made["args"]["PYTHON_IMAGE"] == f"{PYTHON}@{A}"
        assert made["labels"][BASE_PYTHON] == A

        optimized = targets(definition(step(strategy="optimized"), pythons=meant))["map-a"]
        assert optimized["args"]["PYTHON_IMAGE"] == f"{PYTHON}@{A}"
        assert optimized["labels"][BASE_PYTHON] == A

    def test_of_an_image_that_no_registry_has(self) -> None:
        made = targets(definition(bases=[base()], pythons={PYTHON: "layers:123"}))["base"]
        assert made["args"]["PYTHON_IMAGE"] == PYTHON
        assert made["labels"][BASE_PYTHON] == "layers:123"

    def test_of_a_pinned_image(self) -> None:
        own = base(image=f"{PYTHON}@{A}")
        assert targets(definition(bases=[own]))["base"]["labels"][BASE_PYTHON] == A

    def test_where_nothing_tells(self) -> None:
        assert BASE_PYTHON not in targets(definition(bases=[base()]))["base"]["labels"]

    @pytest.mark.parametrize(
        ("one", "other", "differ"),
        [
            (A, B, True),
            (A, A, False),
            ("layers:1", "layers:2", True),
            # One is a digest of the registry's, the other of the store's: nothing is known.
            (A, "layers:1", False),
            (A, "", False),
            ("", "", False),
        ],
    )
    def test_why_says_where_two_differ(self, one: str, other: str, differ: bool) -> None:
        same = ChangedInputs(name="map/a", image="map-a", built=True)
        rows = with_content(same, one, other).inputs
        assert [name for name, *_ in rows] == (
            ["base: content of the Python image"] if differ else []
        )


@pytest.fixture
def hub() -> Iterator[FakeRegistry]:
    with fake_registry() as registry:
        yield registry


class Docker:
    """An engine that has one image, and an endpoint that may be private."""

    def __init__(self, *, private: bool = False, layers: str = "", env: str = "null") -> None:
        self.needs_python_image = private
        self._said = f"{layers} {env}\n" if layers else ""

    def docker(self, *_: str) -> Any:  # noqa: ANN401 (as much of it as is asked for)
        class Done(SimpleNamespace):
            def __bool__(self) -> bool:
                return bool(self.stdout)

        return Done(stdout=self._said)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pythons, "registry_for", lambda _, host: Registry(host))
    monkeypatch.setattr(bases, "registry_for", lambda _, host: Registry(host))


def has_python(hub: FakeRegistry, platform: str = "", python: str = "3.13.9") -> str:
    """Have the registry have a Python image under a tag; its digest."""
    system, architecture = (platform or native_platform()).split("/")
    config = {"config": {"Env": [f"PYTHON_VERSION={python}"]}}
    return put(hub, "python", "3.13", config | {"os": system, "architecture": architecture})


def put(hub: FakeRegistry, name: str, tag: str, config: dict[str, Any]) -> str:
    digest = hub.has(name, json.dumps(config).encode())
    content = json.dumps({"config": {"digest": digest}, "layers": []}).encode()
    kind = "application/vnd.oci.image.manifest.v1+json"
    hub.manifests[name, tag] = hub.manifests[name, digest_of(content)] = (kind, content)
    return digest_of(content)


@pytest.mark.usefixtures("asked")
class TestContents:
    def contents(self, engine: Docker, *images: str) -> Mapping[str, str]:
        made = [base(image=image) for image in images]
        return pythons.contents(engine, settings(), made)  # type: ignore[arg-type]

    def test_the_digest_of_the_registry(self, hub: FakeRegistry) -> None:
        digest = has_python(hub)
        image = f"{hub.host}/python:3.13"
        found = self.contents(Docker(layers="[]"), image, image, f"{image}@{digest}")
        assert found == {image: digest}

    def test_the_store_where_no_registry_answers(self, hub: FakeRegistry) -> None:
        image = f"{hub.host}/python:3.13"  # the registry does not have it
        one = self.contents(Docker(layers='["sha256:1"]'), image)
        other = self.contents(Docker(layers='["sha256:2"]'), image)
        assert one[image].startswith("layers:")
        assert labels.differ(one[image], other[image])
        assert self.contents(Docker(), image) == {}

    def test_an_engine_that_may_have_a_stand_in_asks_nobody(self, hub: FakeRegistry) -> None:
        has_python(hub)
        image = f"{hub.host}/python:3.13"
        found = self.contents(Docker(private=True, layers='["sha256:1"]'), image)
        assert found[image].startswith("layers:")
        assert hub.seen == []

    def test_another_python_than_its_name_says(self, hub: FakeRegistry) -> None:
        image = f"{hub.host}/python:3.13"
        stored = Docker(layers="[]", env='["A=1", "PYTHON_VERSION=3.12.4"]')
        with pytest.raises(ConfigError, match=r"has Python 3\.12\.4, not 3\.13"):
            self.contents(stored, image)
        digest = has_python(hub, python="3.1.3")
        with pytest.raises(ConfigError, match=r"has Python 3\.1\.3, not 3\.13"):
            self.contents(Docker(), f"{image}@{digest}")

    def test_another_platform(self, hub: FakeRegistry) -> None:
        has_python(hub, "linux/s390x")
        with pytest.raises(ConfigError, match="is for linux/s390x, not for linux/"):
            self.contents(Docker(), f"{hub.host}/python:3.13")


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize(("here", "status"), [(A, "ok"), (B, "warn"), ("", "ok")])
def test_the_base_of_the_registry(hub: FakeRegistry, here: str, status: str) -> None:
    own = settings(registry=hub.host)
    image = build_specs.base_of(own).image
    system, architecture = native_platform().split("/")
    config = {
        "os": system,
        "architecture": architecture,
        "config": {"Labels": {BASE_PYTHON: A}},
    }
    name, _, tag = image.removeprefix(f"{hub.host}/").partition(":")
    for each in (tag, "latest"):
        put(hub, name, each, config)
    stored = {image: SimpleNamespace(labels={BASE_PYTHON: here} if here else {})}
    engine: Any = SimpleNamespace(images=lambda _: stored)
    (check,) = bases.registry(engine, own)
    assert check.status == status, check
    if status == "warn":
        assert "another Python image there (aaaaaaaaaaaa) than here (bbbbbbbbbbbb)" in check.detail
