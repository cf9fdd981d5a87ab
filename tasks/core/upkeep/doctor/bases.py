"""Checks of what images stand on: Python images and their age, bases, the registry's base."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Final

from ...build.specs import base_of, bases_in_use
from ...engine import Engine
from ...engine.registries import registry_for
from ...inputs.fingerprint import short
from ...inputs.group import PROJECT
from ...inputs.pythons import TABLE, Pins, digest_in, pins, tag_of
from ...model import labels
from ...model.errors import UdfError
from ...model.reference import ImageReference
from ...model.settings import Settings
from ...model.udf import Udf
from ...output import report
from ...plan.specs import BASE_REPOSITORY, Base, python_image
from ...private_engine.standin import State, image_state
from .finding import Finding, Fix, of_error, ok, warn

OLD: Final = 30
"""The days after which an image is taken to lack security patches."""

_REFRESH: Final = "`invoke base --refresh`, and commit pyproject.toml"


def python_images(
    engine: Engine | None, settings: Settings, udfs: Sequence[Udf], today: date | None = None
) -> Iterator[Finding]:
    """Each Python image in use: whether it is pinned, how old it is, whether it is a stand-in."""
    table, today = pins(), today or datetime.now(tz=UTC).date()
    versions = dict.fromkeys(["", *(udf.python for udf in udfs)])
    images = dict.fromkeys(python_image(settings, table, each) for each in versions)
    building = (table.build.get(table.version(each), "") for each in images)
    for image in filter(None, dict.fromkeys([*images, *building])):
        state = image_state(engine.endpoint, image) if engine else "absent"
        yield _python_image(table, image, state, today)
        if image in images and not table.version(image):
            row = f'"3.13" = "{image}" in [tool.numaflow-udf.{TABLE}] of {PROJECT}'
            detail = f"nothing tells the Python version of {image}"
            yield warn("Python image", detail, f"add a row: {row}; or `invoke base --refresh`")
    if any(udf.system_packages for udf in udfs):
        yield _system_packages(table, today)


def _python_image(table: Pins, image: str, state: State, today: date) -> Finding:
    name, digest = "Python image", digest_in(image)
    shown = f"{tag_of(image)}@{short(digest.partition(':')[2])}" if digest else image
    if state == "stand-in":
        detail = f"{shown} is a stand-in made of Debian packages, so it is not pinned"
        fix = "for production, build where its registry is reachable: docs/engine.md"
        return warn(name, detail, fix)
    if not digest:
        detail = f"{shown} is not pinned: its tag may mean another image tomorrow"
        return warn(name, detail, _REFRESH)
    made = table.created.get(digest)
    if made is None:
        return warn(name, f"{shown} is pinned, but its age is not recorded", _REFRESH)
    age = (today - made).days
    detail = f"{shown}, {report.count(max(age, 0), 'day')} old"
    if age > OLD:
        return warn(name, f"{detail}: bases lack the security patches since then", _REFRESH)
    return ok(name, f"{detail}; {'the first build pulls it' if state == 'absent' else 'present'}")


def _system_packages(table: Pins, today: date) -> Finding:
    name = "system packages"
    try:
        taken = datetime.fromisoformat(table.system_packages).date()
    except ValueError:
        return warn(name, "those of UDFs are as old as the build cache has them", _REFRESH)
    age = (today - taken).days
    detail = f"those of UDFs were taken from Debian {report.count(max(age, 0), 'day')} ago"
    return warn(name, detail, _REFRESH) if age > OLD else ok(name, detail)


# --- bases ------------------------------------------------------------------------------------


def bases(engine: Engine, settings: Settings, udfs: Sequence[Udf], build: Fix) -> Iterator[Finding]:
    """Each base that UDFs use: whether it exists and is up to date, its size."""
    default, *others = bases_in_use(settings, udfs)
    yield _base(engine, default, build)
    yield from (_base(engine, base, None) for base in others)


def _base(engine: Engine, base: Base, build: Fix | None) -> Finding:
    image = engine.images([base.image]).get(base.image)
    if image and image.labels.get(labels.BASE_FINGERPRINT) == base.fingerprint:
        return ok("base image", f"{base.image}, {image.size / 1e6:.0f} MB")
    others = [
        tag
        for tags, other in engine.every_image()
        if labels.BASE_FINGERPRINT in other.labels and labels.FINGERPRINT not in other.labels
        for tag in tags
        if tag.startswith(f"{base.repository}:") and not tag.endswith(":latest")
    ]
    state = f"out of date: only {others[0]} exists" if others else "not built yet"
    detail = f"{BASE_REPOSITORY}:{short(base.fingerprint)} is {state}"
    fix = "`invoke base`; the first build of a UDF builds it too"
    return warn("base image", detail, fix, build)


# --- the registry -----------------------------------------------------------------------------


def registry(engine: Engine, settings: Settings) -> Iterator[Finding]:
    """The registry of the images: whether it answers, accepts the login, and has this base."""
    if not settings.registry:
        detail = "not set: images stay on this engine"
        yield ok("registry", detail)
        return
    base = base_of(settings)
    reference = ImageReference.parse(base.latest)
    asked = registry_for(engine, reference.host)
    try:
        state = "has a base" if asked.digest(reference) else "has no base yet"
        same = asked.image(ImageReference.parse(base.image), settings.targets[0])
    except UdfError as error:
        yield of_error("registry", error)
        return
    stored = engine.images([base.image]).get(base.image)
    there = ((same.config.get("config") or {}).get("Labels") or {}) if same else {}
    here = stored.labels if stored else {}
    one, other = (str(each.get(labels.BASE_PYTHON, "")) for each in (there, here))
    if labels.differ(one, other):
        detail = (
            f"{base.image} stands on another Python image there ({labels.brief(one)}) than here "
            f"({labels.brief(other)}): the tag of {base.python_image} has moved between them"
        )
        yield warn("registry", detail, _REFRESH)
        return
    yield ok("registry", f"{settings.registry} answers and {state}")
