"""Specs of images: reads the files, locks and recipes that images are made from."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..inputs.added import added_packages
from ..inputs.environment import base_needs, check_sdk, environment
from ..inputs.files import ContextFile, Memory, context_files, text_file
from ..inputs.fingerprint import base_inputs, udf_inputs
from ..inputs.markers import MACHINES
from ..inputs.pythons import named_version, pins
from ..inputs.recipe import DOCKERFILES, Strategy
from ..model import labels
from ..model.errors import ProjectFileError, UdfError
from ..model.loading import lazily
from ..model.settings import Settings
from ..model.udf import InvalidUdf, Udf
from ..plan.installer import Installer, installer_of, machine_of
from ..plan.specs import (
    Base,
    ImageSpec,
    arguments_of,
    base_targets,
    python_image,
    requirement_files,
    target_names,
)

with lazily():
    from ..inputs import own_dockerfile


def base_of(settings: Settings, python: str = "", group: str = "") -> Base:
    """The base image for the default Python, or for the version and group that a UDF asks for."""
    found_pins = pins()
    image = python_image(settings, found_pins, python)
    version = found_pins.version(image)
    machines = dict.fromkeys((*MACHINES, *(machine_of(each) for each in settings.targets)))
    found = environment(version, tuple(machines), group)
    installer: Installer = "tools"
    if settings.sdk is not None:
        check_sdk(settings.sdk, version)
    else:
        installer = installer_of(
            found.files, found.packages, found.wheels, settings.targets, version
        )
    # Where only the table tells the version, the build checks it.
    told = {"python.txt": f"{version}\n"} if version and not named_version(image) else {}
    files = {**found.files, **told}
    return Base(
        registry=settings.registry,
        python_image=image,
        python=version,
        inputs=base_inputs(
            settings,
            image,
            found.lines,
            tools=installer == "tools",
            build_image=found_pins.build.get(version, ""),
            group=group,
        ),
        packages=found.everywhere,
        files=tuple(text_file(name, text) for name, text in sorted(files.items())),
        installer=installer,
        build_image=found_pins.build.get(version, ""),
        group=group,
    )


def bases_in_use(settings: Settings, udfs: Iterable[Udf]) -> list[Base]:
    """The default base, and those that ``udfs`` ask for, each once.

    A UDF whose base cannot be told has none here: its build says why.
    """
    found = {(base := base_of(settings)).fingerprint: base}
    for python, group in sorted({(udf.python, udf.base) for udf in udfs}):
        with contextlib.suppress(UdfError):
            base = base_of(settings, python, group)
            found.setdefault(base.fingerprint, base)
    return list(found.values())


def python_of(settings: Settings) -> tuple[str, str]:
    """The Python image that everything starts from, and its version or ``""``."""
    found = pins()
    image = python_image(settings, found)
    return image, found.version(image)


def base_versions() -> dict[str, str]:
    """The packages of the default base's environment and their versions."""
    return dict(base_of(Settings.from_config({})).packages)


def specs_of(
    settings: Settings, udfs: Sequence[Udf], strategy: Strategy
) -> tuple[list[ImageSpec], list[InvalidUdf]]:
    """The spec of the image of each UDF, and the UDFs whose files cannot be used.

    A UDF that names a strategy has that one, where the shared base is asked for.
    """
    bases = _bases(settings, udfs)
    names = target_names(udfs)
    memory = Memory()
    specs, invalid = [], []
    for udf in udfs:
        try:
            base = bases[udf.python, udf.base]
            if isinstance(base, UdfError):
                raise base
            files = context_files(settings, udf, memory)
            kind = "optimized" if udf.strategy == "optimized" else strategy
            specs.append(_spec(settings, udf, files, names[udf.name], base, kind))
        except UdfError as error:
            invalid.append(InvalidUdf(name=udf.name, error=error))
    return specs, invalid


def spec_of(settings: Settings, udf: Udf, strategy: Strategy = "shared-base") -> ImageSpec:
    """The spec of the image of one UDF; raises the error of one that cannot be used."""
    specs, invalid = specs_of(settings, [udf], strategy)
    if invalid:
        raise invalid[0].error
    return specs[0]


def _bases(
    settings: Settings, udfs: Sequence[Udf]
) -> dict[tuple[str, str], Base | ProjectFileError]:
    """The bases of ``udfs`` with their bake targets, by the Python and group that UDFs ask for.

    The default one comes first, so that ``latest`` is that one. For a group that is not there
    or not locked, the error stands in its place.
    """
    keys = dict.fromkeys((udf.python, udf.base) for udf in udfs)
    found: dict[tuple[str, str], Base] = {}
    wrong: dict[tuple[str, str], ProjectFileError] = {}
    for python, group in sorted(keys, key=lambda key: (bool(key[1]), bool(key[0]))):
        try:
            found[python, group] = base_of(settings, python, group)
        except ProjectFileError as error:
            if not group:
                raise
            wrong[python, group] = error
    named = base_targets({_place(base): base for base in found.values()}.values())
    targets = {_place(base): replace(base, target=name) for name, base in named.items()}
    return {**{key: targets[_place(base)] for key, base in found.items()}, **wrong}


def _place(base: Base) -> tuple[str, str]:
    return base.python_image, base.group


def _spec(
    settings: Settings,
    udf: Udf,
    files: Sequence[ContextFile],
    target: str,
    base: Base,
    strategy: Strategy,
) -> ImageSpec:
    python = base.python
    extra = added_packages(
        udf,
        base.packages,
        python=python,
        sdk=settings.sdk is not None,
        needs=functools.partial(base_needs, base.group),
    )
    arguments = arguments_of(udf, extra, base, strategy, pins().system_packages)
    own = own_dockerfile.own_dockerfile(udf) if udf.dockerfile else None
    inputs = udf_inputs(
        udf,
        files,
        strategy=strategy,
        dockerfile=DOCKERFILES[strategy],
        base=base.fingerprint,
        arguments=arguments,
        requirements=requirement_files(extra),
        platforms=settings.targets,
    )
    if own:
        inputs |= own.inputs
    return ImageSpec(
        udf=udf,
        target=target,
        image=udf.image(settings),
        strategy=strategy,
        base=base,
        files=files,
        inputs=inputs,
        arguments=arguments,
        extra=extra,
        own=own,
        installer=installer_of(extra.files, extra.packages, extra.wheels, settings.targets, python),
    )


def created() -> int:
    """The time of creation of all images, so that the same inputs give the same image."""
    return int(os.environ.get("SOURCE_DATE_EPOCH") or labels.EPOCH)
