"""Gathers what `invoke deps` analyses: files of UDFs, and packages in the images that exist.

What a UDF adds comes from its locks. Bytes, import names and the versions that a build without
a lock has chosen come from images. Nothing is guessed where it matters: what an image alone
can tell is reported as such.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from ...build.gather import gather
from ...build.specs import base_versions, specs_of
from ...engine import Engine, content, store
from ...image.config import COMMENT
from ...inputs.added import added_packages
from ...inputs.distributions import DEPS, VENV, Distribution, distributions, is_metadata
from ...inputs.environment import udf_group
from ...inputs.files import ContextFile, chunks
from ...inputs.names import normalised
from ...model.settings import Settings
from ...model.udf import InvalidUdf, Udf
from ...plan.decide import decide
from ...plan.specs import ImageSpec
from . import analysis, imports
from .findings import Dependencies
from .grouping import grouping
from .refit import refit

PACKAGES_LAYER: Final = (f"{COMMENT} packages ", "COPY /layer/ / ", "COPY /deps/ /opt/deps/ ")
"""The step that makes the layer of a UDF's packages: assembled, built, built in older versions."""
_LARGEST_TEXT: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class _Images:
    """What images hold.

    ``current`` are the packages that a UDF's image adds, for images that are up to date, and
    ``layers`` their bytes; ``packages`` are all packages of all images and of the base.
    """

    current: dict[str, dict[str, Distribution]] = field(default_factory=dict)
    layers: dict[str, int] = field(default_factory=dict)
    packages: dict[str, Distribution] = field(default_factory=dict)


def dependencies(
    engine: Engine | None, settings: Settings, udfs: Sequence[Udf], invalid: Sequence[InvalidUdf]
) -> Dependencies:
    """Analyse ``udfs``; without an engine, from their files alone."""
    specs, more = specs_of(settings, udfs, "shared-base")
    images = _Images()
    if engine is not None:
        plan = decide(settings, specs, gather(engine, settings, specs))
        current = {step.spec.udf.name for step in plan.steps if not step.reason}
        images = _read_images(engine, specs, current)
    base = base_versions()
    found = [
        analysis.analyse(
            spec.udf,
            spec.extra,
            spec.base.packages,
            source=imports.read(texts_of(spec.files)),
            installed=images.current.get(spec.udf.name, {}),
            layer=images.layers.get(spec.udf.name),
            known=images.packages,
        )
        for spec in specs
    ]
    names = (analysis.requirement(line) for line in udf_group())
    group = tuple(normalised(each.name) for each in names if each)
    default = {spec.udf.name for spec in specs if _is_on_default(spec)}
    mine = [each for each in found if each.udf in default]
    shared = analysis.shared(found)
    # The bytes of the environment, which another base has as well.
    sizes = [images.packages[name].bytes for name in base if name in images.packages]
    second = grouping(mine, shared, sum(sizes) if sizes else None)
    if second:
        # They go there, and not into the base of all.
        shared = [
            replace(each, suggested=each.suggested and each.package not in second.packages)
            for each in shared
        ]
    return Dependencies(
        base=base,
        udfs=tuple(found),
        group=group,
        shared=tuple(shared),
        grouping=second,
        differing=tuple(analysis.differing(found, base)),
        refit=refit(
            base,
            [row for each in mine for row in each.overrides],
            functools.partial(_added, settings, specs),
            {name: each.bytes for name, each in images.packages.items()},
            kept=group,
        ),
        invalid=(*invalid, *more),
    )


def _added(
    settings: Settings, specs: Sequence[ImageSpec], base: Mapping[str, str]
) -> list[Mapping[str, str]]:
    """What each UDF on the default base would add to it, if that had other versions."""
    return [
        added_packages(
            spec.udf, base, python=spec.base.python, sdk=settings.sdk is not None
        ).packages
        for spec in specs
        if _is_on_default(spec)
    ]


def _is_on_default(spec: ImageSpec) -> bool:
    return not (spec.udf.python or spec.udf.base)


def _read_images(engine: Engine, specs: Sequence[ImageSpec], current: Collection[str]) -> _Images:
    found = _Images()
    bases = list(dict.fromkeys(spec.base.image for spec in specs if not spec.base.group))
    others = list(dict.fromkeys(spec.base.image for spec in specs if spec.base.group))
    stored = engine.images([*bases, *others, *(spec.image for spec in specs if spec.extra)])
    # Those for other Pythons have the same packages.
    wanted = [base for base in bases if base in stored][:1]
    for base in [*(base for base in others if base in stored), *wanted]:
        found.packages.update(_read(engine, base, VENV))
    for spec in specs:
        if not spec.extra or spec.image not in stored:
            continue
        own = _read(engine, spec.image, DEPS)
        found.packages.update(own)
        if spec.udf.name in current:
            found.current[spec.udf.name] = own
            found.layers[spec.udf.name] = sum(
                layer.size
                for layer in store.history(engine, spec.image)
                if any(each in layer.made_by for each in PACKAGES_LAYER)
            )
    return found


def _read(engine: Engine, image: str, folder: str) -> dict[str, Distribution]:
    (found,) = content.contents(engine, [image], [folder], is_metadata)
    return distributions(found.files)


def texts_of(files: Iterable[ContextFile]) -> dict[str, str]:
    """The files of an image that can import something, or start something."""
    texts = {}
    for file in files:
        # What the project file names is declared, which is not a use of it.
        if file.size <= _LARGEST_TEXT and not file.target and file.path != "pyproject.toml":
            with contextlib.suppress(UnicodeDecodeError):
                texts[file.path] = b"".join(chunks(file)).decode()
    return texts
