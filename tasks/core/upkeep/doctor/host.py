"""Checks of what images need that are made without Docker: where ``udf.builder`` is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ...build import publish, uv
from ...build.specs import python_of
from ...model.reference import ImageReference
from ...model.settings import Settings
from ...plan.specs import BASE_REPOSITORY
from ...registry.client import Registry
from .finding import Finding, fail, ok, warn


def host(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What takes the place of a builder: uv, and a Python that writes bytecode."""
    path, problem = uv.find(environ)
    if problem:
        yield fail("uv", problem, f"`pip install uv=={uv.pinned()}`")
    else:
        yield ok("uv", f"{uv.pinned()}, {path}")
    _, version = python_of(settings)
    if python := uv.python_of(version, environ):
        yield ok("bytecode", f"{python} writes it for Python {version}")
    else:
        detail = f"images get none: this machine has no Python {version}"
        yield warn("bytecode", detail, f"have python{version} on PATH; programs start sooner")


def python_image(settings: Settings) -> Iterator[Finding]:
    """Whether the Python image is in its registry."""
    image = ImageReference.parse(python_of(settings)[0])
    if Registry(image.host).digest(image):
        yield ok("Python image", f"{image.familiar} is in its registry")
    else:
        detail = f"{image.familiar} does not exist in its registry"
        yield fail("Python image", detail, "set udf.python_image to an image in a registry")


def registry(settings: Settings) -> Iterator[Finding]:
    """Whether there is a registry for the images, and it answers."""
    if not settings.registry:
        detail = "not set, and without a builder, images are made in a registry"
        yield fail("registry", detail, "set udf.registry, such as ghcr.io/team")
        return
    latest = ImageReference.parse(f"{settings.registry}/{BASE_REPOSITORY}:latest")
    digest = publish.registry_of(None, settings).digest(latest)
    state = "has a base" if digest else "has no base yet"
    yield ok("registry", f"{settings.registry} answers and {state}")
