"""Checks of the machine: Python, the engine and its disk, certificates, the registry."""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ...build.specs import python_of
from ...engine import Engine, store, survey
from ...engine.layout import Layout, cache_folder
from ...inputs import credentials
from ...inputs.own_dockerfile import own_dockerfile
from ...model import labels
from ...model.errors import ProjectFileError, UdfError
from ...model.settings import Settings
from ...model.udf import Udf
from ...output import report
from ...private_engine import packages, setup
from .. import cleaning
from .finding import Finding, Status, fail, ok, warn

PYTHONS: Final = ((3, 11), (3, 14))
"""The oldest and the newest Python that these tasks run on."""

MINIMUM_ENGINE: Final = {"Docker": (23, 0), "Podman": (5, 0)}
"""The oldest Docker with BuildKit as its own builder; the oldest Podman on which verify ends."""

_LOW_DISK: Final = 5_000_000_000
_FULL_DISK: Final = 1_000_000_000
_MUCH_CACHE: Final = 20_000_000_000
_CA_VARIABLES: Final = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE")
_INDEX_VARIABLES: Final = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
_PROXY_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY")


def configuration(settings: Settings) -> Iterator[Finding]:
    """Each setting, its value, and where it came from."""
    for key, value, source in settings.rows():
        yield ok(f"udf.{key}", f"{value or '(not set)'} ({source})")


def python(version: tuple[int, int] = sys.version_info[:2]) -> Iterator[Finding]:
    """The Python that runs these tasks."""
    shown = ".".join(map(str, version))
    first, last = PYTHONS
    if first <= version <= last:
        yield ok("Python", f"{shown}, {sys.executable}")
    else:
        span = f"{first[0]}.{first[1]} to {last[0]}.{last[1]}"
        fix = f"create the virtual environment with Python {span}"
        yield fail("Python", f"{shown} is not {span}", fix)


def cache(environ: Mapping[str, str]) -> Iterator[Finding]:
    """The folder in which builds stage their files."""
    folder = cache_folder(environ)
    place = next(each for each in (folder, *folder.parents) if each.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
    except OSError as error:
        detail = f"{place} is not writable: {error.strerror}"
        fix = "set XDG_CACHE_HOME to a folder of your own"
        yield fail("cache folder", detail, fix)
        return
    yield _space("cache folder", str(folder), survey.free(folder))


def _space(name: str, folder: str, free: int) -> Finding:
    detail = f"{free / 1e9:.1f} GB free at {folder}"
    fix = "`invoke clean` removes what these tasks made; `docker system df` shows the rest"
    status: Status = "fail" if free < _FULL_DISK else "warn" if free < _LOW_DISK else "ok"
    return Finding(name=name, status=status, detail=detail, fix=fix)


def certificates(environ: Mapping[str, str]) -> Iterator[Finding]:
    """The CA bundle, package index and proxy that builds use."""
    good = True
    for name in _CA_VARIABLES:
        if path := environ.get(name, ""):
            problem = _bundle_problem(Path(path))
            if problem:
                good = False
                detail = f"{name} names {path}, which {problem}"
                fix = f"set {name} to a bundle in PEM form, or unset it"
                yield fail("certificates", detail, fix)
    found = credentials.gather(environ)
    bundle = next((s.partition("src=")[2] for s in found.secrets if s.startswith("id=ca,")), "")
    if good:
        detail = (
            f"builds get {bundle}" if bundle else "no bundle found: builds use that of their image"
        )
        yield ok("certificates", detail)
    named = [name for name in (*_INDEX_VARIABLES, *_PROXY_VARIABLES) if environ.get(name)]
    netrc = any(secret.startswith("id=netrc,") for secret in found.secrets)
    parts = [*named, *([".netrc"] if netrc else [])]
    detail = f"builds get {', '.join(parts)}" if parts else "not set: builds use the public index"
    yield ok("index and proxy", detail)


def _bundle_problem(path: Path) -> str:
    if not path.is_file():
        return "does not exist"
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cafile=path)
    except (ssl.SSLError, OSError):
        return "has no valid certificate"
    return ""


# --- the engine -------------------------------------------------------------------------------


def engine(engine: Engine, settings: Settings) -> Iterator[Finding]:
    """The engine, buildx, the image store, platforms, the network."""
    status = setup.describe(engine.endpoint, python_of(settings)[0])
    version = tuple(int(part) for part in status.version.split(".")[:2] if part.isdigit())
    detail = f"{status.version}, {engine.endpoint.owner}, {engine.endpoint.host}"
    product = "Podman" if status.image_store.startswith("podman") else "Docker"
    oldest = MINIMUM_ENGINE[product]
    if version and version < oldest:
        fix = f"install {product} {oldest[0]} or later"
        yield fail("engine", detail, fix)
    else:
        yield ok("engine", detail)
    yield ok("buildx", status.buildx)
    if engine.endpoint.private:
        yield _programs()
    yield _store(status, settings)
    yield _platforms(status, settings)
    if settings.network in ("host", "none") or survey.has_network(engine):
        detail = settings.network or engine.endpoint.network or "the engine's own"
        yield ok("network", f"build steps use {detail}")
    else:
        detail = "build steps have no network: this engine runs without a bridge"
        fix = "`export INVOKE_UDF_NETWORK=host`"
        yield fail("network", detail, fix)


def _programs() -> Finding:
    """Whether the mirror has newer programs for the private engine, security updates included."""
    name = "engine programs"
    try:
        newer = packages.outdated(Layout.of(os.environ), lambda _: None)
    except (UdfError, OSError) as error:
        return ok(name, f"the mirror cannot be asked for newer ones: {error}".partition("\n")[0])
    if not newer:
        return ok(name, "up to date with the mirror")
    listed = ", ".join(f"{package} {versions}" for package, versions in newer.items())
    return warn(name, f"newer ones exist: {listed}", "`invoke engine --upgrade`")


def _store(status: setup.Status, settings: Settings) -> Finding:
    if len(settings.platforms) > 1 and not status.image_store.startswith("containerd"):
        detail = f"{status.image_store}, and udf.platforms names {len(settings.platforms)}"
        fix = "turn on the containerd image store, or name a builder: `--builder NAME`"
        if not settings.builder:
            return fail("image store", detail, fix)
    return ok("image store", status.image_store)


def _platforms(status: setup.Status, settings: Settings) -> Finding:
    foreign = [each for each in settings.platforms if each not in status.platforms]
    detail = f"runs {', '.join(status.platforms) or 'its own'}"
    if foreign:
        detail += f"; {', '.join(foreign)} is built without emulation"
    elif len(status.platforms) < 2:
        detail += "; no emulator: only system packages for another platform need one"
    return ok("platforms", detail)


def emulation(engine: Engine, settings: Settings, udfs: Sequence[Udf]) -> Iterator[Finding]:
    """UDFs with a build step for a platform that the builder cannot run."""
    if not settings.platforms:
        return
    foreign = [each for each in settings.platforms if each not in engine.builder.platforms]
    for udf in udfs:
        runs = _runs(udf)
        if foreign and runs:
            detail = f"{runs} {foreign[0]}, which the builder does not emulate"
            fix = "register an emulator (the package qemu-user-static), or give another --builder"
            yield fail(udf.name, detail, fix)


def _runs(udf: Udf) -> str:
    """What of its build runs on the target's platform; ``""`` where nothing does."""
    with contextlib.suppress(ProjectFileError):  # which is a finding of the UDF
        if udf.dockerfile and own_dockerfile(udf).runs:
            return f"the steps of its {udf.dockerfile} need"
    return "its system packages need" if udf.system_packages else ""


def disk(engine: Engine) -> Iterator[Finding]:
    """The free disk space for images, and the size of the build cache."""
    found = survey.disk(engine)
    if found is None:
        yield ok("disk", "the engine is on another machine")
    else:
        yield _space("disk", found.folder, found.free)
    records = store.build_cache(engine)
    size = sum(each.size for each in records if not each.shared)
    detail = f"{size / 1e9:.1f} GB in {report.count(len(records), 'record')}"
    fix = "`invoke clean --older 1d` removes what these tasks made; `docker buildx prune` the rest"
    much: Status = "warn" if size > _MUCH_CACHE else "ok"
    yield Finding(name="build cache", status=much, detail=detail, fix=fix)


def leftovers(engine: Engine) -> Iterator[Finding]:
    """Containers and volumes that killed runs of verify have left."""
    volumes = store.volumes(engine, labels.VERIFY_RUN)
    found = cleaning.abandoned_runs(store.containers(engine), volumes, now=time.time())
    if found:
        detail = f"{report.count(len(found), 'killed run')} of verify left containers or volumes"

        def remove() -> None:
            for each in found:
                store.remove_run(engine, each.id)

        fix = "`invoke clean --only runs`"
        yield warn("leftovers", detail, fix, remove)
    else:
        yield ok("leftovers", "no killed runs of verify")
