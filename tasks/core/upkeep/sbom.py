"""SBOMs: which images are read, and where the documents are written.

An SBOM lists the Python packages that a UDF can import, from their metadata in the image. What
the Python image and Debian packages bring is not listed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import cast

from ..build.results import Result
from ..build.specs import base_of, spec_of
from ..engine import Engine
from ..engine.content import Content, contents
from ..inputs.distributions import FOLDERS, distributions, is_metadata, python_in
from ..inputs.environment import locked_packages
from ..inputs.fingerprint import short
from ..inputs.recipe import Strategy
from ..model import labels
from ..model.errors import ConfigError
from ..model.reference import ImageReference
from ..model.settings import Settings, native_platform
from ..model.udf import Udf
from ..output import written
from ..plan.specs import ImageSpec
from .bom import DescribedImage, document, require_library
from .locked_files import Files, locked_files, udf_files


def documents(
    engine: Engine,
    settings: Settings,
    udfs: Sequence[Udf],
    *,
    images: Mapping[str, str] | None = None,
    platform: str = "",
    specs: Mapping[str, ImageSpec] | None = None,
) -> list[str]:
    """The SBOM of the image of each UDF; see :func:`document`.

    ``images`` may name other images to read, and ``specs`` give what is known of the images, by
    the UDF's name; ``platform`` chooses one of a multi-platform image. Raises
    :class:`~tasks.core.model.errors.NotBuiltError` where such an image does not exist.
    """
    require_library()
    names = [(images or {}).get(udf.name) or udf.image(settings) for udf in udfs]
    found = contents(engine, names, FOLDERS, is_metadata, platform=platform)
    return [
        _document_of(settings, udf, content, (specs or {}).get(udf.name))
        for udf, content in zip(udfs, found, strict=True)
    ]


def _document_of(settings: Settings, udf: Udf, found: Content, spec: ImageSpec | None) -> str:
    image = ImageReference.parse(found.image)
    described = DescribedImage(
        udf=udf.name,
        image=found.image,
        fingerprint=short(found.labels.get(labels.FINGERPRINT, "")),
        created=found.created,
        architecture=found.architecture,
        python=python_in(found.files),
        digest=next((d for d in found.digests if ImageReference.parse(d).name == image.name), ""),
    )
    packages = list(distributions(found.files).values())
    return document(described, packages, _files_of_locks(settings, udf, found, spec))


def places(udfs: Sequence[Udf], output: str) -> dict[str, Path]:
    """The file of each UDF's SBOM, by its name.

    That is ``output`` for one UDF, and a file in the folder ``output`` for several, or where it
    is a folder or ends with a slash. Raises :class:`ConfigError` where it is a file for several.
    """
    place = Path(output)
    if len(udfs) == 1 and not place.is_dir() and not output.endswith("/"):
        return {udfs[0].name: place}
    if place.exists() and not place.is_dir():
        what = f"{output} is a file, and {len(udfs)} UDFs have an SBOM each"
        raise ConfigError(what, next_step="name a folder, such as sboms/")
    return {udf.name: place / f"{udf.repository.replace('/', '-')}.cdx.json" for udf in udfs}


def write(
    engine: Engine,
    settings: Settings,
    udfs: Sequence[Udf],
    output: str,
    *,
    images: Mapping[str, str] | None = None,
    platform: str = "",
    specs: Mapping[str, ImageSpec] | None = None,
) -> list[Path]:
    """Write the SBOM of each UDF's image and return the files; see :func:`documents`."""
    found = places(udfs, output)
    texts = documents(engine, settings, udfs, images=images, platform=platform, specs=specs)
    for udf, text in zip(udfs, texts, strict=True):
        found[udf.name].parent.mkdir(parents=True, exist_ok=True)
        written.write(found[udf.name], text)
    return list(found.values())


def check(udfs: Sequence[Udf], output: str, *, flag: str = "sbom") -> None:
    """Raise before a build what :func:`write` would raise after it."""
    require_library()
    written.check_with_folders(flag, places(udfs, output).values())


def write_built(
    engine: Engine,
    settings: Settings,
    udfs: Sequence[Udf],
    results: Iterable[Result],
    output: str,
    specs: Mapping[str, ImageSpec] | None = None,
) -> list[Path]:
    """Write the SBOM of each of ``udfs`` whose image exists after a build or push.

    A pushed image is read by its digest. Of a multi-platform image, the one for this machine
    is read, if it has one.
    """
    images = {each.name: _reference(each) for each in results if each}
    targets = settings.targets
    platform = "" if native_platform() in targets else targets[0]
    existing = [udf for udf in udfs if udf.name in images]
    if not existing:
        return []
    return write(engine, settings, existing, output, images=images, platform=platform, specs=specs)


def _reference(result: Result) -> str:
    if not result.digest:
        return result.image
    return ImageReference.parse(result.image).with_digest(result.digest).familiar


def _files_of_locks(settings: Settings, udf: Udf, found: Content, spec: ImageSpec | None) -> Files:
    """The files of the locks as far as the image was made from them, by what its labels say."""
    recorded = labels.recorded(found.labels)
    now = base_of(settings, udf.python, udf.base).inputs
    base = [
        entry
        for name, entry in locked_packages().items()
        if recorded.base_inputs.get(key := f"package {name}") == now[key]
    ]
    files = locked_files(base)
    if made_from := _requirements_in(recorded.inputs):
        strategy = cast(Strategy, found.labels.get(labels.STRATEGY, "shared-base"))
        spec = spec or spec_of(settings, udf, strategy)
        if _requirements_in(spec.inputs) == made_from:
            files = {**files, **udf_files(udf)}
    return files


def _requirements_in(inputs: labels.Inputs) -> dict[str, str]:
    return {name: state for name, state in inputs.items() if name.startswith("requirements ")}
