"""Which steps of a build run on the platform of the image, and so may be emulated. Pure: no I/O."""

from __future__ import annotations

from collections.abc import Sequence

from ..model.errors import EmulationError
from ..model.settings import Settings
from .facts import BuilderFacts
from .specs import ImageSpec


def emulated(
    settings: Settings, spec: ImageSpec, builder: BuilderFacts
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What the builder emulates for an image, a line each, and the packages that make it so.

    A step of a build runs on the platform of the image for three reasons only: to install system
    packages, to build from source a package that has no wheel for it, and because the UDF's own
    Dockerfile says so. Raises :class:`EmulationError` where the builder cannot.
    """
    udf = spec.udf
    own, *_ = builder.platforms
    lines, sources = [], set()
    for platform in settings.platforms:
        packages = spec.from_source(platform) if platform != own else ()
        why = _why(spec, packages)
        if platform == own or not why:
            continue
        if platform not in builder.platforms:
            what = f"UDF {udf.name} needs {platform} {why}, and the builder cannot emulate it"
            next_step = (
                "register an emulator on the builder's machine (the package qemu-user-static, or "
                "`docker run --privileged --rm tonistiigi/binfmt --install all`), or give "
                "--builder with a node of that platform"
            )
            raise EmulationError(what, next_step=next_step)
        lines.append(f"emulates {platform} {why}")
        sources |= set(packages)
    return tuple(lines), tuple(sorted(sources))


def _why(spec: ImageSpec, from_source: Sequence[str]) -> str:
    reasons = []
    if spec.udf.system_packages:
        reasons.append(f"to install {' '.join(spec.udf.system_packages)}")
    if spec.own and spec.own.runs:
        reasons.append(f"to run the steps of its {spec.own.path}")
    if from_source:
        reasons.append(f"to build {' '.join(from_source)} from source")
    return " and ".join(reasons)
