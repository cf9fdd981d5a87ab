"""All checks in their order."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from ...build.bases import build_base
from ...build.gather import plan_base
from ...engine import Engine, connect, find
from ...model.errors import ConfigError, UdfError
from ...model.progress import Say
from ...model.settings import Settings
from ...model.udf import scan
from .. import relock
from . import bases, files, host, machine
from .finding import Finding, guarded, of_error


def examine(
    read: Callable[[], Settings], *, say: Say, environ: Mapping[str, str] | None = None
) -> list[Finding]:
    """Every check; nothing is changed. ``read`` gives the settings, or raises their error."""
    environ = os.environ if environ is None else environ
    found = [*guarded("Python", machine.python)]
    try:
        settings = read()
    except ConfigError as error:
        # All else is judged by the defaults, so that one wrong value hides nothing.
        found.append(of_error("configuration", error))
        settings = Settings.from_config({})
    else:
        found += guarded("configuration", lambda: machine.configuration(settings))
    found += guarded("cache folder", lambda: machine.cache(environ))
    found += guarded("certificates", lambda: machine.certificates(environ))
    if settings.builds:
        engine, checks = _engine(settings, say)
    else:
        engine, checks = None, _without_engine(settings, environ)
    found += checks
    relocking = _relock(engine, settings, say)
    found += files.repository(relocking)
    found += guarded("UDFs", lambda: files.udfs(settings))
    return found


def _engine(settings: Settings, say: Say) -> tuple[Engine | None, list[Finding]]:
    udfs = scan(settings)[0] if settings.root.is_dir() else []
    try:
        engine = connect(settings.builder)
        find.check(engine.endpoint)
    except UdfError as error:
        images = guarded("Python image", lambda: bases.python_images(None, settings, udfs))
        return None, [of_error("engine", error), *images]

    def build() -> None:
        build_base(engine, settings, plan_base(engine, settings), say=say)

    parts = {
        "engine": lambda: machine.engine(engine, settings),
        "platforms": lambda: machine.emulation(engine, settings, udfs),
        "disk": lambda: machine.disk(engine),
        "Python image": lambda: bases.python_images(engine, settings, udfs),
        "base image": lambda: bases.bases(engine, settings, udfs, build),
        "leftovers": lambda: machine.leftovers(engine),
        "registry": lambda: bases.registry(engine, settings),
    }
    return engine, [check for name, part in parts.items() for check in guarded(name, part)]


def _without_engine(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """What images need that are made without Docker: nothing is asked of an engine."""
    parts = {
        "uv": lambda: host.host(settings, environ),
        "Python image": lambda: host.python_image(settings),
        "registry": lambda: host.registry(settings),
    }
    return [check for name, part in parts.items() for check in guarded(name, part)]


def _relock(engine: Engine | None, settings: Settings, say: Say) -> Callable[[], None] | None:
    if engine is None:
        return None
    return lambda: relock.refresh(engine, settings, say=say)
