"""`invoke base --refresh`: the newest image behind each tag of Python in use, pinned anew.

The registry is asked for all of them before anything is written. What changed is said; the
table of the project file is written with its form kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import tomlkit
from tomlkit.items import Table

from ..engine import Engine
from ..engine.registries import registry_for
from ..inputs.environment import forget
from ..inputs.fingerprint import short
from ..inputs.group import PROJECT
from ..inputs.pythons import (
    BUILD,
    CREATED,
    DEFAULT,
    SYSTEM_PACKAGES,
    TABLE,
    Pins,
    digest_in,
    named_version,
    own_file,
    pins,
    tag_of,
)
from ..model.errors import ConfigError, RegistryUnreachableError
from ..model.progress import Say
from ..model.reading import read_text
from ..model.reference import ImageReference
from ..model.settings import DEFAULTS, Settings
from ..model.udf import Udf
from ..output import report
from ..plan.specs import python_image
from ..private_engine.standin import image_state
from ..registry.client import Registry

Ask = Callable[[str], Registry]
"""Gives the registry of a host."""

_SECTION: Final = ("tool", "numaflow-udf")


@dataclass(frozen=True, kw_only=True)
class PythonImage:
    """A Python image in its registry, for one platform.

    ``created`` is the day on which it was made, today where it does not say; ``python`` is its
    exact version, or ``""``; ``layers`` are the digests of its layers.
    """

    image: str
    digest: str
    created: date
    python: str
    layers: tuple[str, ...]


def refresh(
    engine: Engine | None,
    settings: Settings,
    udfs: Sequence[Udf],
    *,
    say: Say,
    now: datetime | None = None,
    ask: Ask | None = None,
) -> Settings:
    """Pin the newest image of each Python that the settings and ``udfs`` use.

    Debian packages of UDFs are taken anew as well: their date is an input of these UDFs, so
    that no cache of builds gives the old ones. Returns the settings to go on with: where a flag
    has named the image, the table names it now. Raises :class:`RegistryUnreachableError`, and
    has written nothing, where a registry does not answer.
    """
    now = now or datetime.now(tz=UTC)
    ask = ask or (lambda host: registry_for(engine, host) if engine else Registry(host))
    before = pins()
    found: dict[str, PythonImage] = {}
    default = ""
    chosen = settings.sources["python_image"] != "default"
    platforms, day = settings.targets, now.date()

    def newest(image: str, pinned: str) -> PythonImage:
        """What the tag of ``image`` names now, which is said beside what was ``pinned``."""
        new = _newest(engine, ask, tag_of(image), platforms, day)
        old = digest_in(pinned) if tag_of(pinned) == new.image else ""
        was = _image_at(ask, new.image, old, platforms, day) if old else None
        say(_changed(new, old, was, before.created.get(old), day))
        return new

    for image in in_use(settings, before, udfs, say):
        row = next((each for each in before.images.values() if tag_of(each) == tag_of(image)), "")
        new = newest(image, row)
        version = _version(before, new)
        found[version] = new
        default = version if chosen and image == settings.python_image else default
    build = {version: newest(row, row) for version, row in before.build.items()}
    debian = any(udf.system_packages for udf in udfs)
    if debian:
        say("system packages of UDFs are taken anew from Debian")
    if default == (before.default or named_version(DEFAULTS["python_image"])):
        default = ""
    path = own_file()
    text = read_text(path) if path.is_file() else ""
    if (changed := with_pins(text, found, now if debian else None, default, build)) != text:
        _write(path, changed)
    return _by_the_table(settings, say)


def in_use(settings: Settings, table: Pins, udfs: Iterable[Udf], say: Say) -> list[str]:
    """The Python images that bases start from, each once, but for those that no tag names."""
    images = [python_image(settings, table, each) for each in ("", *(udf.python for udf in udfs))]
    if digest_in(settings.python_image):
        say(f"{settings.python_image} is pinned by udf.python_image: change it there")
        images = [each for each in images if each != settings.python_image]
    return list(dict.fromkeys(images))


def _by_the_table(settings: Settings, say: Say) -> Settings:
    source = settings.sources["python_image"]
    if source == "default" or digest_in(settings.python_image):
        return settings
    if source.startswith("flag"):
        own = DEFAULTS["python_image"]
        sources = {**settings.sources, "python_image": "default"}
        return replace(settings, python_image=own, sources=sources)
    say(f"udf.python_image ({source}) goes before the table: remove it, so that the pin counts")
    return settings


# --- the registry -----------------------------------------------------------------------------


def _newest(
    engine: Engine | None, ask: Ask, image: str, platforms: Sequence[str], today: date
) -> PythonImage:
    try:
        found = _image_at(ask, image, "", platforms, today)
    except RegistryUnreachableError as error:
        if engine is None or image_state(engine.endpoint, image) != "stand-in":
            raise
        what = f"{image} is a stand-in on this engine: {error.what}"
        step = "refresh where its registry answers; nothing was changed"
        raise RegistryUnreachableError(what, next_step=step) from error
    if found is None:
        what = f"{image} does not exist in its registry"
        raise ConfigError(
            what, next_step="correct the tag: udf.python_image, or its row in " + PROJECT
        )
    return found


def _image_at(
    ask: Ask, image: str, digest: str, platforms: Sequence[str], today: date
) -> PythonImage | None:
    """What a registry has for a tag, or at a digest; ``None`` where it does not exist."""
    reference = ImageReference.parse(image)
    wanted = reference.with_digest(digest) if digest else reference
    found = ask(reference.host).image(wanted, platforms[0])
    if found is None:
        return None
    if absent := [each for each in platforms if each not in found.platforms]:
        if digest:
            return None
        what = f"{image} does not exist for {absent[0]}: it is for {', '.join(found.platforms)}"
        raise ConfigError(what, next_step="choose another image, or other udf.platforms")
    return PythonImage(
        image=image,
        digest=found.digest,
        created=_created(found.config) or today,
        python=_environment(found.config).get("PYTHON_VERSION", ""),
        layers=found.layers,
    )


def _created(config: Mapping[str, Any]) -> date | None:
    """The day on which an image was made; those made to be reproducible do not tell."""
    try:
        day = datetime.fromisoformat(str(config.get("created"))).date()
    except ValueError:
        return None
    return day if day.year > 2000 else None


def _environment(config: Mapping[str, Any]) -> dict[str, str]:
    pairs = (config.get("config") or {}).get("Env") or ()
    return {name: value for name, _, value in (str(each).partition("=") for each in pairs)}


def _version(table: Pins, found: PythonImage) -> str:
    """The version that a row is for: by the name of the image, its row, or what it says."""
    told = ".".join(found.python.split(".")[:2])
    known = table.version(found.image)
    if known and told and told != known:
        what = f"{found.image} has Python {found.python}, not {known}"
        raise ConfigError(what, next_step=f"correct its row in {PROJECT}, or the tag")
    if not known and not told:
        what = f"{found.image} does not say which Python it has"
        step = f'add a row to [tool.numaflow-udf.{TABLE}] of {PROJECT}: "3.13" = "{found.image}"'
        raise ConfigError(what, next_step=step)
    return known or told


# --- what is said -----------------------------------------------------------------------------


def _changed(
    new: PythonImage, old: str, was: PythonImage | None, recorded: date | None, today: date
) -> str:
    """One line: what is pinned now, and how it differs from what was."""
    age = days_old(new.created, today)
    if old == new.digest:
        return f"{new.image} is up to date: {_digest(old)}, {age}"
    if not old:
        return f"{new.image} was not pinned: {_digest(new.digest)}, {age}"
    made = was.created if was else recorded
    before = f"{_digest(old)}{f', {days_old(made, today)}' if made else ''}"
    line = f"{new.image}: {before} -> {_digest(new.digest)}, {age}"
    if was is None:
        return f"{line}; the old image is not in the registry any more"
    fresh = len([each for each in new.layers if each not in was.layers])
    line += f"; {fresh} of {report.count(len(new.layers), 'layer')} changed"
    if was.python and new.python != was.python:
        line += f"; Python {was.python} -> {new.python}"
    return line


def days_old(made: date, today: date) -> str:
    """``3 days old``."""
    return f"{report.count(max((today - made).days, 0), 'day')} old"


def _digest(digest: str) -> str:
    return short(digest.removeprefix("sha256:"))


# --- the project file -------------------------------------------------------------------------


def with_pins(
    text: str,
    found: Mapping[str, PythonImage],
    debian: datetime | None,
    default: str = "",
    build: Mapping[str, PythonImage] | None = None,
) -> str:
    """The text of a project file with these images in its table, by version.

    All else stays as it is, comments included. ``debian`` is when system packages were taken,
    and ``default`` the version of UDFs that name none, where that changes;
    ``build`` are the images that environments are made in.
    """
    if not found and debian is None:
        return text
    document = tomlkit.parse(text)
    section: Any = document
    for name in _SECTION:
        section = section.setdefault(name, tomlkit.table(is_super_table=True))
    if debian is not None:
        section[SYSTEM_PACKAGES] = debian.replace(microsecond=0)
    if found:
        _pin(section, found, default, build or {})
    return tomlkit.dumps(document)


def _pin(
    section: Any,  # noqa: ANN401 (of tomlkit)
    found: Mapping[str, PythonImage],
    default: str,
    build: Mapping[str, PythonImage],
) -> None:
    table = section.setdefault(TABLE, tomlkit.table())
    if default:
        table[DEFAULT] = default
    for version, each in found.items():
        table[version] = f"{each.image}@{each.digest}"
    for version, each in build.items():
        table[BUILD][version] = f"{each.image}@{each.digest}"
    dates = dict(table.get(CREATED, {}).unwrap() if CREATED in table else {})
    dates |= {each.digest: each.created for each in (*found.values(), *build.values())}
    rows = [*table.items(), *table.get(BUILD, {}).items()]
    kept = {digest_in(row) for _, row in rows if isinstance(row, str)}
    created: Table = tomlkit.table()
    for digest, day in dates.items():
        if digest in kept:
            created[digest] = day
    table[CREATED] = created


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        if path.exists():
            aside.chmod(path.stat().st_mode)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    forget()
