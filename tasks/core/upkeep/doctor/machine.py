"""Checks of the machine: Python, the engine and its disk, certificates, the registry."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ...build.specs import base_of
from ...engine import Engine, sandbox, store, survey
from ...engine.layout import cache_folder
from ...engine.registries import registry_for
from ...inputs import credentials
from ...inputs.fingerprint import short
from ...model import labels
from ...model.errors import UdfError
from ...model.reference import ImageReference
from ...model.settings import Settings
from ...model.udf import Udf
from ...plan.specs import BASE_REPOSITORY, Base
from ...private_engine import setup
from .. import cleaning
from .check import Check, Mend, of_error

PYTHONS: Final = ((3, 11), (3, 14))
"""The oldest and the newest Python that these tasks run on."""

MINIMUM_ENGINE: Final = (23, 0)
"""The oldest engine with BuildKit as its own builder."""

_LOW_DISK: Final = 5_000_000_000
_FULL_DISK: Final = 1_000_000_000
_MUCH_CACHE: Final = 20_000_000_000
_CA_VARIABLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
_INDEX_VARIABLES: Final = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
_PROXY_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY")


def configuration(settings: Settings) -> Iterator[Check]:
    """Each setting, its value, and where it came from."""
    for key, value, source in settings.rows():
        yield Check(name=f"udf.{key}", detail=f"{value or '(not set)'} ({source})")


def python(version: tuple[int, int] = sys.version_info[:2]) -> Iterator[Check]:
    """The Python that runs these tasks."""
    shown = ".".join(map(str, version))
    first, last = PYTHONS
    if first <= version <= last:
        yield Check(name="Python", detail=f"{shown}, {sys.executable}")
    else:
        span = f"{first[0]}.{first[1]} to {last[0]}.{last[1]}"
        fix = f"make the virtual environment with Python {span}"
        yield Check(name="Python", status="fail", detail=f"{shown} is not {span}", fix=fix)


def cache(environ: Mapping[str, str]) -> Iterator[Check]:
    """The folder in which builds stage their files."""
    folder = cache_folder(environ)
    place = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        detail = f"{place} cannot be written to: {error.strerror}"
        fix = "set XDG_CACHE_HOME to a folder that is yours"
        yield Check(name="cache folder", status="fail", detail=detail, fix=fix)
        return
    yield _space("cache folder", str(folder), survey.free(folder))


def _space(name: str, folder: str, free: int) -> Check:
    detail = f"{free / 1e9:.1f} GB free at {folder}"
    fix = "`invoke clean` removes what these tasks made; `docker system df` shows the rest"
    if free < _FULL_DISK:
        return Check(name=name, status="fail", detail=detail, fix=fix)
    return Check(name=name, status="warn" if free < _LOW_DISK else "ok", detail=detail, fix=fix)


def certificates(environ: Mapping[str, str]) -> Iterator[Check]:
    """The CA bundle that builds get, and the index and proxy that they are told of."""
    good = True
    for name in _CA_VARIABLES:
        if path := environ.get(name, ""):
            problem = _bundle_problem(Path(path))
            if problem:
                good = False
                detail = f"{name} names {path}, which {problem}"
                fix = f"let {name} name a bundle in PEM form, or unset it"
                yield Check(name="certificates", status="fail", detail=detail, fix=fix)
    found = credentials.gather(environ)
    bundle = next((s.partition("src=")[2] for s in found.secrets if s.startswith("id=ca,")), "")
    if good:
        detail = f"builds get {bundle}" if bundle else "no bundle found: builds use their own"
        yield Check(name="certificates", detail=detail)
    named = [name for name in (*_INDEX_VARIABLES, *_PROXY_VARIABLES) if environ.get(name)]
    netrc = any(secret.startswith("id=netrc,") for secret in found.secrets)
    parts = [*named, *([".netrc"] if netrc else [])]
    detail = f"builds get {', '.join(parts)}" if parts else "none set: builds ask the public index"
    yield Check(name="index and proxy", detail=detail)


def _bundle_problem(path: Path) -> str:
    if not path.is_file():
        return "is not there"
    import ssl  # with OpenSSL 10 ms, which no other task pays

    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError):
        return "holds no certificate that can be read"
    return ""


# --- the engine -------------------------------------------------------------------------------


def engine(engine: Engine, settings: Settings) -> Iterator[Check]:
    """The engine, buildx, the image store, platforms, the network."""
    status = setup.describe(engine.endpoint, settings.python_image)
    version = tuple(int(part) for part in status.version.split(".")[:2] if part.isdigit())
    detail = f"{status.version}, {engine.endpoint.owner}, {engine.endpoint.host}"
    if version and version < MINIMUM_ENGINE:
        fix = f"install Docker {MINIMUM_ENGINE[0]} or later"
        yield Check(name="engine", status="fail", detail=detail, fix=fix)
    else:
        yield Check(name="engine", detail=detail)
    yield Check(name="buildx", detail=status.buildx)
    yield _store(status, settings)
    yield _platforms(status, settings)
    if settings.network in ("host", "none") or survey.has_network(engine):
        detail = settings.network or engine.endpoint.network or "the engine's own"
        yield Check(name="network", detail=f"build steps use {detail}")
    else:
        detail = "this engine has no network for build steps: it runs without a bridge"
        fix = "`export INVOKE_UDF_NETWORK=host`"
        yield Check(name="network", status="fail", detail=detail, fix=fix)
    if status.python_image_state == "stand-in":
        detail = f"{settings.python_image} is a stand-in made of Debian packages"
        fix = "for production, build where its registry can be reached: docs/engine.md"
        yield Check(name="Python image", status="warn", detail=detail, fix=fix)
    else:
        state = {"present": "there"}.get(status.python_image_state, "pulled by the first build")
        yield Check(name="Python image", detail=f"{settings.python_image}: {state}")


def _store(status: setup.Status, settings: Settings) -> Check:
    if len(settings.platforms) > 1 and status.image_store.startswith("classic"):
        detail = f"{status.image_store}, and udf.platforms names {len(settings.platforms)}"
        fix = "turn on the containerd image store, or name a builder: `--builder NAME`"
        if not settings.builder:
            return Check(name="image store", status="fail", detail=detail, fix=fix)
    return Check(name="image store", detail=status.image_store)


def _platforms(status: setup.Status, settings: Settings) -> Check:
    foreign = [each for each in settings.platforms if each not in status.platforms]
    detail = f"runs {', '.join(status.platforms) or 'its own'}"
    if foreign:
        detail += f"; {', '.join(foreign)} is built without emulation"
    elif len(status.platforms) < 2:
        detail += "; no emulator, which only system packages of a foreign platform need"
    return Check(name="platforms", detail=detail)


def emulation(engine: Engine, settings: Settings, udfs: Sequence[Udf]) -> Iterator[Check]:
    """UDFs that run a step on a platform that nothing here can run."""
    if not settings.platforms:
        return
    foreign = [each for each in settings.platforms if each not in engine.builder.platforms]
    for udf in udfs:
        if foreign and udf.system_packages:
            detail = f"its system packages need {foreign[0]}, which the builder does not emulate"
            fix = "register an emulator (the package qemu-user-static), or give another --builder"
            yield Check(name=udf.name, status="fail", detail=detail, fix=fix)


def disk(engine: Engine) -> Iterator[Check]:
    """The room for images, and what the build cache takes of it."""
    found = survey.disk(engine)
    if found is None:
        yield Check(name="disk", detail="the engine is on another machine")
    else:
        yield _space("disk", found.folder, found.free)
    records = store.build_cache(engine)
    size = sum(each.size for each in records if not each.shared)
    detail = f"{size / 1e9:.1f} GB in {len(records)} records"
    fix = "`invoke clean --older 1d` removes what these tasks made; `docker buildx prune` the rest"
    much = size > _MUCH_CACHE
    yield Check(name="build cache", status="warn" if much else "ok", detail=detail, fix=fix)


def bases(engine: Engine, settings: Settings, udfs: Sequence[Udf], build: Mend) -> Iterator[Check]:
    """The base of each Python that is asked for: there, current, and its size."""
    for python in sorted({"", *(udf.python for udf in udfs)}):
        base = base_of(settings, python)
        yield _base(engine, base, build if not python else None)


def _base(engine: Engine, base: Base, build: Mend | None) -> Check:
    image = engine.images([base.image]).get(base.image)
    if image and image.labels.get(labels.BASE_FINGERPRINT) == base.fingerprint:
        return Check(name="base image", detail=f"{base.image}, {image.size / 1e6:.0f} MB")
    others = [
        tag
        for tags, other in engine.every_image()
        if labels.BASE_FINGERPRINT in other.labels and labels.FINGERPRINT not in other.labels
        for tag in tags
        if tag.startswith(f"{base.repository}:") and not tag.endswith(":latest")
    ]
    state = f"the one there is was made from other inputs ({others[0]})" if others else "not built"
    detail = f"{BASE_REPOSITORY}:{short(base.fingerprint)} is not there: {state}"
    fix = "`invoke base`; the first build makes it as well"
    return Check(name="base image", status="warn", detail=detail, fix=fix, mend=build)


def leftovers(engine: Engine) -> Iterator[Check]:
    """Containers and volumes of runs that were killed."""
    volumes = store.volumes(engine, sandbox.LABEL)
    found = cleaning.abandoned_runs(store.containers(engine), volumes, now=time.time())
    if found:
        detail = f"{len(found)} runs of verify were killed and have left containers or volumes"

        def mend() -> None:
            for each in found:
                store.remove_run(engine, each.id)

        fix = "`invoke clean --only runs`"
        yield Check(name="leftovers", status="warn", detail=detail, fix=fix, mend=mend)
    else:
        yield Check(name="leftovers", detail="none of runs that were killed")


# --- the registry -----------------------------------------------------------------------------


def registry(engine: Engine, settings: Settings) -> Iterator[Check]:
    """The registry that images are named after: whether it answers, and takes the login."""
    if not settings.registry:
        detail = "not set: images stay on this engine"
        yield Check(name="registry", detail=detail)
        return
    reference = ImageReference.parse(f"{settings.registry}/{BASE_REPOSITORY}:latest")
    try:
        digest = registry_for(engine, reference.host).digest(reference)
    except UdfError as error:
        yield of_error("registry", error)
        return
    there = "has a base" if digest else "has no base yet"
    yield Check(name="registry", detail=f"{settings.registry} answers and {there}")
