"""SBOMs: the Python packages in an image, from their installed metadata, as CycloneDX JSON.

The packages are those that a UDF can import: /opt/deps, which the UDF adds, and /opt/venv, the
base's environment. A package in both is the one in /opt/deps: it is found first. What the
Python image and Debian packages bring is not listed.
"""

from __future__ import annotations

import importlib.util
import json
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final, cast

from ..build.results import Result
from ..build.specs import base_of, spec_of
from ..engine import Engine
from ..engine.content import Content, contents, has_registry
from ..inputs.environment import locked_packages
from ..inputs.fingerprint import short
from ..inputs.names import normalised
from ..inputs.origin import without_credentials
from ..inputs.recipe import Strategy
from ..model import labels
from ..model.errors import ConfigError, MissingExtraError
from ..model.reading import read_toml
from ..model.settings import Settings, native_platform
from ..model.udf import Udf
from ..plan.specs import ImageSpec
from .pipelines import at_digest

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
    from packageurl import PackageURL

FOLDERS: Final = ("/opt/deps", "/opt/venv")
"""Where packages stand in an image, in the order in which Python looks for them."""

_METADATA: Final = re.compile(
    r"/opt/(?:deps|venv/lib/python3\.[0-9]+/site-packages)/[^/]+\.dist-info/"
    r"(?:METADATA|WHEEL|direct_url\.json)"
)
_VENV: Final = "/opt/venv/pyvenv.cfg"
_VERSION: Final = re.compile(r"^version(?:_info)? *= *(3\.[0-9]+\.[0-9]+)", re.MULTILINE)
_LONGEST_LICENCE: Final = 80
"""What is longer is the text of a licence, not its name."""
_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}
_PROPERTY: Final = "io.numaflow.udf"

Files = Mapping[tuple[str, str], Mapping[str, str]]
"""The files of a lock: name and version of a package to its files and their SHA-256."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """One installed package, as its metadata says.

    ``licences`` is one SPDX expression or several names; ``needs`` are its requirements as
    written; ``tags`` are those of its wheel. ``source`` is where it came from if not from an
    index, as the content of ``direct_url.json``.
    """

    name: str
    version: str
    folder: str
    summary: str = ""
    licences: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    source: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return normalised(self.name)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """The image that an SBOM is of. ``digest`` is a reference by digest, or ``""``."""

    udf: str
    image: str
    fingerprint: str
    created: str
    architecture: str
    python: str = ""
    digest: str = ""


def wanted(path: str) -> bool:
    """Whether a file of an image tells of a package."""
    return path == _VENV or bool(_METADATA.fullmatch(path))


def python_of(files: Mapping[str, bytes]) -> str:
    """The version of Python in the environment, such as ``3.13.5``, or ``""``."""
    match = _VERSION.search(files.get(_VENV, b"").decode(errors="replace"))
    return match[1] if match else ""


# --- from an image to its SBOM ----------------------------------------------------------------


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

    ``images`` may name other images to read, by the UDF's name; ``platform`` chooses one of an
    image that is there for several. Raises :class:`~tasks.core.model.errors.NotBuiltError` where
    there is no such image.
    """
    _require_library()
    names = [(images or {}).get(udf.name) or udf.image(settings) for udf in udfs]
    found = contents(engine, names, FOLDERS, wanted, platform=platform)
    return [
        _document_of(settings, udf, content, (specs or {}).get(udf.name))
        for udf, content in zip(udfs, found, strict=True)
    ]


def _document_of(settings: Settings, udf: Udf, found: Content, spec: ImageSpec | None) -> str:
    repository = found.image.partition("@")[0]
    subject = Subject(
        udf=udf.name,
        image=found.image,
        fingerprint=short(found.labels.get(labels.FINGERPRINT, "")),
        created=found.created,
        architecture=found.architecture,
        python=python_of(found.files),
        digest=next((each for each in found.digests if _same_place(each, repository)), ""),
    )
    files = _files_of_locks(settings, udf, found, spec)
    return document(subject, packages_in(found.files), files)


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
    """Write the SBOM of each UDF's image; the files. ``images`` may name others to read."""
    found = places(udfs, output)
    texts = documents(engine, settings, udfs, images=images, platform=platform, specs=specs)
    for udf, text in zip(udfs, texts, strict=True):
        found[udf.name].parent.mkdir(parents=True, exist_ok=True)
        found[udf.name].write_text(text, encoding="utf-8")
    return list(found.values())


def check(udfs: Sequence[Udf], output: str) -> None:
    """Raise now what :func:`write` would raise after a build."""
    _require_library()
    places(udfs, output)


def write_built(
    engine: Engine,
    settings: Settings,
    udfs: Sequence[Udf],
    results: Iterable[Result],
    output: str,
    specs: Mapping[str, ImageSpec] | None = None,
) -> list[Path]:
    """Write the SBOM of each of ``udfs`` whose image is there after a build or push.

    A pushed image is read by its digest. Of one for several platforms it is the image for this
    machine's, where there is one.
    """
    images = {
        each.name: at_digest(each.image, each.digest) if each.digest else each.image
        for each in results
        if each
    }
    targets = settings.targets
    platform = "" if native_platform() in targets else targets[0]
    there = [udf for udf in udfs if udf.name in images]
    if not there:
        return []
    return write(engine, settings, there, output, images=images, platform=platform, specs=specs)


def _same_place(digest: str, reference: str) -> bool:
    """Whether a reference by digest is of the repository of ``reference``."""
    repository = digest.partition("@")[0]
    return reference == repository or reference.rpartition(":")[0] == repository


def _files_of_locks(settings: Settings, udf: Udf, found: Content, spec: ImageSpec | None) -> Files:
    """The files of the locks as far as the image was made from them, by what its labels say."""
    made_from = _inputs(found, labels.BASE_INPUTS)
    now = base_of(settings, udf.python).inputs
    base = [
        entry
        for name, entry in locked_packages().items()
        if made_from.get(key := f"package {name}") == now[key]
    ]
    return {**locked_files(base), **_files_of_udf(settings, udf, found, spec)}


def _files_of_udf(settings: Settings, udf: Udf, found: Content, spec: ImageSpec | None) -> Files:
    made_from = _requirements_in(_inputs(found, labels.INPUTS))
    if not made_from:
        return {}
    strategy = cast(Strategy, found.labels.get(labels.STRATEGY, "shared-base"))
    spec = spec or spec_of(settings, udf, strategy)
    return udf_files(udf.path) if _requirements_in(spec.inputs) == made_from else {}


def _requirements_in(inputs: Mapping[str, str]) -> dict[str, str]:
    return {name: state for name, state in inputs.items() if name.startswith("requirements ")}


def _inputs(found: Content, label: str) -> dict[str, str]:
    try:
        value = json.loads(found.labels.get(label, "{}"))
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


# --- from files to packages -------------------------------------------------------------------


def packages_in(files: Mapping[str, bytes]) -> list[Package]:
    """The packages that ``files`` tell of, by name; of one that stands in both folders, the
    one that Python finds."""
    found: dict[str, Package] = {}
    for folder in FOLDERS:
        for path in sorted(files):
            if path.startswith(f"{folder}/") and path.endswith("/METADATA"):
                package = _package(folder, path.removesuffix("METADATA"), files)
                found.setdefault(package.key, package)
    return [found[key] for key in sorted(found)]


def _package(folder: str, place: str, files: Mapping[str, bytes]) -> Package:
    from packaging.metadata import parse_email

    raw, _ = parse_email(files[f"{place}METADATA"])
    by_folder = PurePosixPath(place).name.removesuffix(".dist-info").partition("-")
    wheel = files.get(f"{place}WHEEL", b"").decode(errors="replace")
    return Package(
        name=raw.get("name") or by_folder[0],
        version=raw.get("version") or by_folder[2],
        folder=folder,
        summary=raw.get("summary", ""),
        licences=_licences(raw),
        needs=tuple(raw.get("requires_dist", ())),
        tags=frozenset(re.findall(r"^Tag: *(\S+)", wheel, re.MULTILINE)),
        source=json.loads(files.get(f"{place}direct_url.json", b"{}")),
    )


def _licences(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The expression, else the short name that the author gives, else the classifiers."""
    if expression := raw.get("license_expression"):
        return (expression,)
    name = " ".join(str(raw.get("license", "")).split())
    if name and name.upper() != "UNKNOWN" and len(name) <= _LONGEST_LICENCE:
        return (name,)
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in raw.get("classifiers", ())
        if line.startswith("License :: ") and line.count(" :: ") > 1
    ]
    return tuple(dict.fromkeys(classifiers))


# --- the files of locks -----------------------------------------------------------------------


def locked_files(entries: Iterable[Mapping[str, Any]]) -> Files:
    """The files of the packages of a ``poetry.lock`` or ``uv.lock``, with their SHA-256."""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for entry in entries:
        names = found.setdefault((normalised(entry["name"]), str(entry.get("version", ""))), {})
        for file in (*entry.get("files", ()), *entry.get("wheels", ())):
            name = file.get("file") or str(file.get("url", "")).rpartition("/")[2]
            method, _, value = str(file.get("hash", "")).partition(":")
            if name and method == "sha256":
                names[name] = value
    return found


def udf_files(folder: Path) -> Files:
    """The files of the lock in a UDF's folder; none where it has none that names files."""
    for name in ("poetry.lock", "uv.lock"):
        if (folder / name).is_file():
            return locked_files(read_toml(folder / name).get("package", []))
    return {}


def wheel_of(package: Package, files: Files) -> tuple[str, str]:
    """The wheel that a package was installed from and its SHA-256, or two empty strings.

    It is the one of the lock's files that has the tags of the installed package: all of them.
    """
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    if package.source:
        return "", ""
    for name, value in sorted(files.get((package.key, package.version), {}).items()):
        try:
            tags = {str(tag) for tag in parse_wheel_filename(name)[3]}
        except InvalidWheelFilename:
            continue
        if tags == package.tags:
            return name, value
    return "", ""


# --- the document -----------------------------------------------------------------------------


def document(subject: Subject, packages: Sequence[Package], files: Files) -> str:
    """The SBOM of an image as CycloneDX JSON: the same for the same image and the same lock.

    Its time is that of the image, its serial number follows from its content. Raises
    :class:`MissingExtraError` where the library is not installed.
    """
    _require_library()
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    bom = _bom(subject, packages, files)

    def written() -> str:
        return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)

    bom.serial_number = uuid.UUID(int=0)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, written())
    return written() + "\n"


def _require_library() -> None:
    if importlib.util.find_spec("cyclonedx") is None:
        what = "an SBOM needs cyclonedx-python-lib, which is not installed"
        raise MissingExtraError(what, next_step="run `.venv/bin/pip install -e '.[sbom]'`")


def _bom(subject: Subject, packages: Sequence[Package], files: Files) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.lifecycle import LifecyclePhase, PredefinedLifecycle
    from cyclonedx.model.tool import ToolRepository

    image = _image(subject)
    tool = Component(name="numaflow-udf-build", type=ComponentType.APPLICATION)
    bom = Bom(
        metadata=BomMetaData(
            component=image,
            lifecycles=[PredefinedLifecycle(LifecyclePhase.POST_BUILD)],
            timestamp=_time(subject.created),
            tools=ToolRepository(components=[tool]),
        )
    )
    components = {package.key: _component(package, files) for package in packages}
    edges = {
        package.key: sorted(_needed(package, packages, subject) & components.keys())
        for package in packages
    }
    for key, component in components.items():
        bom.components.add(component)
        bom.register_dependency(component, [components[needed] for needed in edges[key]])
    below = {needed for key, wanted in edges.items() for needed in wanted if needed != key}
    tops = [component for key, component in components.items() if key not in below]
    bom.register_dependency(image, tops)
    return bom


def _image(subject: Subject) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    name, _, digest = subject.digest.partition("@")
    purl = None
    if digest:
        qualifiers = {"arch": subject.architecture}
        if has_registry(name):
            qualifiers["repository_url"] = name
        last = name.rpartition("/")[2].partition(":")[0]
        purl = PackageURL(type="oci", name=last, version=digest, qualifiers=qualifiers)
    values = {
        "name": subject.udf,
        "fingerprint": subject.fingerprint,
        "architecture": subject.architecture,
        "python": subject.python,
    }
    return Component(
        name=subject.image,
        type=ComponentType.CONTAINER,
        bom_ref="image",
        version=digest or subject.fingerprint or None,
        purl=purl,
        properties=[
            Property(name=f"{_PROPERTY}.{key}", value=value)
            for key, value in values.items()
            if value
        ],
    )


def _component(package: Package, files: Files) -> Component:
    from cyclonedx.model import (
        ExternalReference,
        ExternalReferenceType,
        HashAlgorithm,
        HashType,
        Property,
        XsUri,
    )
    from cyclonedx.model.component import Component, ComponentType

    wheel, value = wheel_of(package, files)
    references = []
    if wheel:
        references.append(
            ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(wheel))
        )
    purl = _purl(package)
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{package.key}=={package.version}",
        description=package.summary or None,
        licenses=_licence_objects(package.licences),
        purl=purl,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=value)] if value else [],
        external_references=references,
        properties=[Property(name=f"{_PROPERTY}.folder", value=package.folder)],
    )


def _purl(package: Package) -> PackageURL:
    from packageurl import PackageURL

    source = package.source
    address = without_credentials(str(source.get("url", "")))
    qualifiers = {}
    if address and "vcs_info" in source:
        vcs = source["vcs_info"]
        qualifiers["vcs_url"] = f"{vcs.get('vcs', 'git')}+{address}@{vcs.get('commit_id', '')}"
    elif address:
        qualifiers["download_url"] = address
    return PackageURL(
        type="pypi", name=package.key, version=package.version, qualifiers=qualifiers or None
    )


def _licence_objects(names: Sequence[str]) -> list[DisjunctiveLicense | LicenseExpression]:
    from cyclonedx.contrib.license.factories import LicenseFactory
    from cyclonedx.model.license import LicenseAcknowledgement

    factory = LicenseFactory()
    declared = LicenseAcknowledgement.DECLARED
    if len(names) == 1:
        return [factory.make_from_string(names[0], license_acknowledgement=declared)]
    # One expression or several names, but not a mixture: that is CycloneDX's rule.
    return [factory.make_with_name(name, acknowledgement=declared) for name in names]


def _time(created: str) -> datetime:
    try:
        return datetime.fromisoformat(created).astimezone(UTC)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)


# --- who needs whom ---------------------------------------------------------------------------


def _needed(package: Package, packages: Sequence[Package], subject: Subject) -> set[str]:
    """The packages that ``package`` requires in this image, by normalised name."""
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName

    environment = _environment(subject)
    extras = {""} | {
        extra
        for other in packages
        for requirement in _requirements(other)
        if normalised(requirement.name) == package.key
        for extra in map(normalised, requirement.extras)
    }
    found = set()
    for requirement in _requirements(package):
        try:
            holds = requirement.marker is None or any(
                requirement.marker.evaluate(environment | {"extra": extra}) for extra in extras
            )
        except (UndefinedComparison, UndefinedEnvironmentName):
            holds = True
        if holds:
            found.add(normalised(requirement.name))
    return found


def _requirements(package: Package) -> Iterator[Any]:
    from packaging.requirements import InvalidRequirement, Requirement

    for line in package.needs:
        try:
            yield Requirement(line)
        except InvalidRequirement:
            continue  # old metadata may hold forms that no installer reads either


def _environment(subject: Subject) -> dict[str, str]:
    """The environment of markers in the image, which is not that of this process."""
    return {
        "implementation_name": "cpython",
        "implementation_version": subject.python,
        "os_name": "posix",
        "platform_machine": _MACHINES.get(subject.architecture, subject.architecture),
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": subject.python or "3.13.0",
        "python_version": ".".join((subject.python or "3.13.0").split(".")[:2]),
        "sys_platform": "linux",
    }
