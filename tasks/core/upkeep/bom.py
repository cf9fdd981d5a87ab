"""The SBOM of an image as CycloneDX JSON, from what is installed in it. Pure."""

from __future__ import annotations

import importlib.util
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ..inputs.distributions import Distribution
from ..inputs.names import normalised
from ..inputs.origin import without_credentials
from ..model.errors import MissingExtraError
from ..model.labels import PREFIX
from ..model.places import extra
from ..model.reference import ImageReference
from .locked_files import Files, wheel_of

if TYPE_CHECKING:
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component
    from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
    from packageurl import PackageURL

_MACHINES: Final = {"amd64": "x86_64", "arm64": "aarch64"}


@dataclass(frozen=True, kw_only=True)
class DescribedImage:
    """The image that an SBOM describes. ``digest`` is a reference by digest, or ``""``."""

    udf: str
    image: str
    fingerprint: str
    created: str
    architecture: str
    python: str = ""
    digest: str = ""


def document(image: DescribedImage, packages: Sequence[Distribution], files: Files) -> str:
    """The SBOM of an image as CycloneDX JSON: the same for the same image and the same lock.

    Its time is that of the image, and its serial number follows from its content. Raises
    :class:`MissingExtraError` where the library is not installed.
    """
    require_library()
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion

    bom = _bom(image, packages, files)

    def written() -> str:
        return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)

    bom.serial_number = uuid.UUID(int=0)
    bom.serial_number = uuid.uuid5(uuid.NAMESPACE_OID, written())
    return written() + "\n"


def require_library() -> None:
    """Raise :class:`MissingExtraError` where the library that writes SBOMs is not installed."""
    if importlib.util.find_spec("cyclonedx") is None:
        what = "an SBOM needs cyclonedx-python-lib, which is not installed"
        raise MissingExtraError(what, next_step=f"run `{extra('sbom')}`")


def _bom(image: DescribedImage, packages: Sequence[Distribution], files: Files) -> Bom:
    from cyclonedx.model.bom import Bom, BomMetaData
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.lifecycle import LifecyclePhase, PredefinedLifecycle
    from cyclonedx.model.tool import ToolRepository

    top = _image_component(image)
    tool = Component(name="numaflow-udf-build", type=ComponentType.APPLICATION)
    bom = Bom(
        metadata=BomMetaData(
            component=top,
            lifecycles=[PredefinedLifecycle(LifecyclePhase.POST_BUILD)],
            timestamp=_time(image.created),
            tools=ToolRepository(components=[tool]),
        )
    )
    components = {each.key: _component(each, files) for each in packages}
    edges = {
        each.key: sorted(_needed(each, packages, image) & components.keys()) for each in packages
    }
    for key, component in components.items():
        bom.components.add(component)
        bom.register_dependency(component, [components[needed] for needed in edges[key]])
    below = {needed for key, wanted in edges.items() for needed in wanted if needed != key}
    tops = [component for key, component in components.items() if key not in below]
    bom.register_dependency(top, tops)
    return bom


def _image_component(image: DescribedImage) -> Component:
    from cyclonedx.model import Property
    from cyclonedx.model.component import Component, ComponentType
    from packageurl import PackageURL

    reference = ImageReference.parse(image.digest)
    purl = None
    if reference.digest:
        qualifiers = {"arch": image.architecture}
        if reference.names_a_registry:
            qualifiers["repository_url"] = reference.name
        last = reference.repository.rpartition("/")[2]
        purl = PackageURL(type="oci", name=last, version=reference.digest, qualifiers=qualifiers)
    values = {
        "name": image.udf,
        "fingerprint": image.fingerprint,
        "architecture": image.architecture,
        "python": image.python,
    }
    return Component(
        name=image.image,
        type=ComponentType.CONTAINER,
        bom_ref="image",
        version=reference.digest or image.fingerprint or None,
        purl=purl,
        properties=[
            Property(name=f"{PREFIX}.{key}", value=value) for key, value in values.items() if value
        ],
    )


def _component(package: Distribution, files: Files) -> Component:
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
        properties=[Property(name=f"{PREFIX}.folder", value=package.folder)],
    )


def _purl(package: Distribution) -> PackageURL:
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


# --- which package needs which -----------------------------------------------------------------


def _needed(
    package: Distribution, packages: Sequence[Distribution], image: DescribedImage
) -> set[str]:
    """The packages that ``package`` requires in this image, by normalised name."""
    from packaging.markers import UndefinedComparison, UndefinedEnvironmentName

    environment = _environment(image)
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


def _requirements(package: Distribution) -> Iterator[Any]:
    from packaging.requirements import InvalidRequirement, Requirement

    for line in package.requires:
        try:
            yield Requirement(line)
        except InvalidRequirement:
            continue  # old metadata may hold forms that no installer reads either


def _environment(image: DescribedImage) -> dict[str, str]:
    """The environment of markers in the image, which is not that of this process."""
    return {
        "implementation_name": "cpython",
        "implementation_version": image.python,
        "os_name": "posix",
        "platform_machine": _MACHINES.get(image.architecture, image.architecture),
        "platform_python_implementation": "CPython",
        "platform_release": "",
        "platform_system": "Linux",
        "platform_version": "",
        "python_full_version": image.python or "3.13.0",
        "python_version": ".".join((image.python or "3.13.0").split(".")[:2]),
        "sys_platform": "linux",
    }
