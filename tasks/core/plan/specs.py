"""What an image is made from: bases and UDF images by their inputs. Pure: no I/O.

A spec says all that is known of an image before the engine or a registry is asked. Its
fingerprint is the digest of its inputs, and its names follow from that.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..inputs.added import AddedPackages
from ..inputs.files import ContextFile, text_file
from ..inputs.fingerprint import digest, short
from ..inputs.group import PROJECT
from ..inputs.names import SDK
from ..inputs.pythons import DIGEST_FORM, TABLE, Pins, digest_in, named_version, renamed, tag_of
from ..inputs.recipe import Strategy
from ..model import labels
from ..model.errors import ConfigError, ImageNameError
from ..model.labels import Inputs
from ..model.loading import lazily
from ..model.reference import ImageReference
from ..model.running import HOME
from ..model.settings import Settings
from ..model.udf import Udf
from .installer import Installer, without_wheel

if TYPE_CHECKING:
    from ..inputs.own_dockerfile import OwnDockerfile

with lazily():
    from ..inputs import old_sdk

BASE_REPOSITORY: Final = "numaflow-python-base"

# With the containerd image store, BuildKit asks the registry that a reference names for the
# manifest, even when the store has the image: for an image that exists only locally, that is a
# request to a stranger with each build, and a hang where packets are dropped. This second
# name of the base points to a port that refuses at once, so that no build leaves the machine.
LOCAL_REGISTRY: Final = "127.0.0.1:1"


@dataclass(frozen=True, kw_only=True)
class Base:
    """The base image for one Python: its names follow from its inputs.

    ``python`` is the version of its Python, ``""`` where nothing tells it. ``build_image`` is the
    Python image that its environment is made in, where that is another one. ``target`` is its
    name in a bake definition. ``packages`` are the versions that it has for every machine, and
    ``files`` the requirement files that ``installer`` makes it from. ``group`` is the dependency
    group that it has besides ``udf``.
    """

    registry: str
    python_image: str
    python: str
    inputs: Inputs
    target: str = "base"
    packages: Mapping[str, str] = field(default_factory=dict)
    files: tuple[ContextFile, ...] = ()
    installer: Installer = "uv"
    build_image: str = ""
    group: str = ""

    @property
    def fingerprint(self) -> str:
        return digest(self.inputs)

    @property
    def repository(self) -> str:
        return f"{self.registry}/{BASE_REPOSITORY}" if self.registry else BASE_REPOSITORY

    @property
    def image(self) -> str:
        """The tag that never goes stale: another input is another tag."""
        return f"{self.repository}:{short(self.fingerprint)}"

    @property
    def latest(self) -> str:
        return f"{self.repository}:latest"

    @property
    def local(self) -> str:
        """The name under which local builds start from it."""
        return f"{LOCAL_REGISTRY}/{BASE_REPOSITORY}:{short(self.fingerprint)}"

    @property
    def tags(self) -> tuple[str, ...]:
        """Its names in a store. Of several bases of one graph, the first alone is ``latest``:

        to give one name to two images at the same moment, containerd's store refuses.
        """
        latest = (self.latest,) if self.target == "base" else ()
        return (self.image, *latest, self.local)


@dataclass(frozen=True, kw_only=True)
class ImageSpec:
    """The image of one UDF by what it is made from.

    ``target`` is its name in a bake definition, ``image`` the reference that it gets,
    ``arguments`` are the build arguments that say what is in it, and ``extra`` is what it adds
    to the base's environment.
    """

    udf: Udf
    target: str
    image: str
    strategy: Strategy
    base: Base
    files: Sequence[ContextFile]
    inputs: Inputs
    arguments: Inputs = field(default_factory=dict)
    extra: AddedPackages = field(default_factory=AddedPackages)
    installer: Installer = "uv"
    """What installs the packages of ``extra``."""
    own: OwnDockerfile | None = None
    """The steps of its own between the base and what it adds."""

    @property
    def fingerprint(self) -> str:
        return digest(self.inputs)

    @property
    def workdir(self) -> str:
        """The working folder in the image, where it is another than the base's."""
        return f"{HOME}/{self.udf.workdir}" if self.udf.workdir else ""

    @property
    def content_tag(self) -> str:
        """The tag that names one content for ever: another input is another tag."""
        return content_tag(self.fingerprint)

    @property
    def content_image(self) -> str:
        """The image under its content tag."""
        return str(ImageReference.parse(self.image).with_tag(self.content_tag).familiar)

    def packages_key(self, platform: str) -> str:
        """What names the layer of the packages that it adds, whatever base it stands on."""
        return digest(packages_inputs(self, platform))

    @property
    def shares(self) -> str:
        """What is the same for images that share a packages layer; ``""`` where it adds none."""
        return self.packages_key("") if self.extra else ""

    @property
    def base_name(self) -> str:
        """The image that it starts from."""
        return self.base.python_image if self.strategy == "optimized" else self.base.image

    def from_source(self, platform: str) -> tuple[str, ...]:
        """The packages that it adds and that are built from source for a platform."""
        return without_wheel(self.extra.wheels, platform, self.base.python)

    @property
    def cache(self) -> str:
        """Whose cache its packages are installed from.

        A build from source runs what its packages say, and may write to all that it sees. So it
        shares its cache with itself alone: with the images of the same name.
        """
        if self.installer == "uv":
            return "wheels"
        return self.image.rpartition(":")[0]

    @property
    def requirements(self) -> tuple[ContextFile, ...]:
        """The files from which the builder installs what the UDF adds."""
        return requirement_files(self.extra)

    @property
    def installs(self) -> bool:
        """Whether a step of its build installs something, which takes network and secrets."""
        return bool(self.strategy == "optimized" or self.extra or self.is_built)

    @property
    def is_built(self) -> bool:
        """Whether it holds what no file says: steps on its platform, or a Dockerfile's."""
        return bool(self.udf.system_packages or self.own)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a person should know of this image, one line each."""
        lines = [
            f"overrides {name} {before} -> {after}" for name, before, after in self.extra.overrides
        ]
        if any(name == SDK for name, *_ in self.extra.overrides) and (
            problem := old_sdk.too_old(self.extra, self.udf.kind)
        ):
            lines.append(f"warning: {problem}")
        if self.extra and not self.extra.locked:
            back = f", {' and '.join(self.extra.left_out)} may be among them: lock it"
            line = f"adds packages without a lock ({self.extra.source})"
            lines.append(line + (back if self.extra.left_out else ""))
        if self.udf.system_packages:
            lines.append(f"installs system packages: {' '.join(self.udf.system_packages)}")
        if self.own:
            lines.append(f"has steps of its own: {self.own.path}")
        return tuple(lines)


def base_labels(base: Base, pythons: Mapping[str, str] | None = None) -> dict[str, str]:
    """What a base image says of itself; ``pythons`` is what tags of Python images mean now."""
    content = digest_in(base.python_image) or (pythons or {}).get(base.python_image, "")
    return {
        labels.BASE_FINGERPRINT: base.fingerprint,
        labels.BASE_INPUTS: labels.packed(base.inputs),
        **({labels.BASE_PYTHON: content} if content else {}),
        "org.opencontainers.image.title": BASE_REPOSITORY,
        "org.opencontainers.image.version": short(base.fingerprint),
        "org.opencontainers.image.base.name": base.python_image,
    }


def image_labels(spec: ImageSpec, pythons: Mapping[str, str] | None = None) -> dict[str, str]:
    """What the image of a UDF says of itself, beside what it takes over from a shared base."""
    base = base_labels(spec.base, pythons) if spec.strategy == "optimized" else {}
    return {
        **base,
        labels.FINGERPRINT: spec.fingerprint,
        labels.INPUTS: labels.recordable(spec.inputs),
        labels.NAME: spec.udf.name,
        labels.KIND: spec.udf.kind,
        labels.STRATEGY: spec.strategy,
        "org.opencontainers.image.title": spec.udf.name,
        "org.opencontainers.image.version": short(spec.fingerprint),
        "org.opencontainers.image.base.name": spec.base_name,
    }


def packages_inputs(spec: ImageSpec, platform: str) -> dict[str, str]:
    """Everything that the layer of a UDF's packages is made from.

    The base takes part by its Python version, and where there is no lock also by the packages
    that it has: the rest is resolved to fit these.
    """
    inputs = {"python": spec.base.python or spec.base.python_image, "platform": platform}
    inputs |= {
        name: state
        for name, state in spec.inputs.items()
        if name.startswith(("requirements ", "recipe dockerfiles/udf/install-dependencies"))
    }
    if not spec.extra.locked:
        inputs |= {
            name: state
            for name, state in spec.base.inputs.items()
            if name.startswith(("package ", "sdk "))
        }
    return inputs


def content_tag(fingerprint: str) -> str:
    """The tag of an image that is named after what it was made from."""
    return f"fp-{short(fingerprint)}"


def python_image(settings: Settings, pins: Pins, python: str = "") -> str:
    """The Python image of UDFs that name no version, or of the version that they ask for.

    Where somebody gives the setting, it wins for the version that it has; else the table does.
    What neither pins is a tag.
    """
    own = image = settings.python_image
    if settings.sources["python_image"] == "default":
        version = pins.default or named_version(own)
        image = pins.images.get(version) or renamed(own, version)
    if python and python != pins.version(image):
        image = pins.images.get(python) or renamed(own, python)
    if not image:
        what = f"Python {python} is asked for, but {own} names no Python version"
        step = f'add "{python}" = "{DIGEST_FORM}" to [tool.numaflow-udf.{TABLE}] of {PROJECT}'
        raise ConfigError(what, next_step=step.replace("3.13", python))
    if re.search(r"\balpine|\bmusl", image):
        what = f"the Python image {image} has musl as its C library; images need glibc"
        step = "choose an image of Debian, Ubuntu, UBI or Wolfi, such as python:3.13-slim-trixie"
        raise ConfigError(what, next_step=step)
    return image


def requirement_files(extra: AddedPackages) -> tuple[ContextFile, ...]:
    """The requirement files of ``extra`` as the context that the builder gets."""
    return tuple(text_file(name, text) for name, text in sorted(extra.files.items()))


def arguments_of(
    udf: Udf, extra: AddedPackages, base: Base, strategy: Strategy, refreshed: str = ""
) -> dict[str, str]:
    """The build arguments of an image that say what is in it.

    ``refreshed`` is when Debian packages were last taken anew: the step that installs them runs
    again after that, whatever the build cache has.
    """
    arguments = {}
    if strategy == "optimized":
        arguments["PYTHON_IMAGE"] = base.python_image
    if udf.system_packages:
        arguments |= {"SYSTEM": "some", "SYSTEM_PACKAGES": " ".join(udf.system_packages)}
        if refreshed:
            arguments["SYSTEM_PACKAGES_DATE"] = refreshed
    if extra:
        arguments["DEPENDENCIES"] = "some"
    return arguments


def base_targets(bases: Iterable[Base]) -> dict[str, Base]:
    """Bake target names of several bases: ``base`` for the first of the group ``udf`` alone.

    The others are named by their Python version and group.
    """
    named: dict[str, Base] = {}
    for base in bases:
        name = f"base-{_slug(f'{tag_of(base.python_image)}-{base.group}')}"
        named["base" if not base.group and "base" not in named else name] = base
    return named


def target_names(udfs: Sequence[Udf]) -> dict[str, str]:
    """A bake target for each UDF: its name with what bake does not allow replaced, unique."""
    taken: set[str] = set()
    names = {}
    for udf in udfs:
        name = candidate = _slug(udf.name) or "udf"
        if name == "base" or name.startswith("base-"):  # the bases' own, and their builders'
            name = candidate = f"udf-{name}"
        number = 2
        while candidate in taken:
            candidate = f"{name}-{number}"
            number += 1
        taken.add(candidate)
        names[udf.name] = candidate
    return names


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")


def check_images(settings: Settings, udfs: Iterable[Udf]) -> None:
    """:class:`ImageNameError` where two UDFs would give images of the same name."""
    owner: dict[str, Udf] = {}
    for udf in udfs:
        if udf.repository == BASE_REPOSITORY:
            what = f"UDF {udf.name} gives the image {BASE_REPOSITORY}, which is the base's name"
            step = f"set another image under [tool.numaflow-udf] in {udf.name}/pyproject.toml"
            raise ImageNameError(what, next_step=step)
        other = owner.setdefault(udf.image(settings), udf)
        if other is not udf:
            raise same_image(settings, other.name, udf)


def same_image(settings: Settings, other: str, udf: Udf) -> ImageNameError:
    """The error for a UDF whose image has the name of another UDF's."""
    what = f"UDFs {other} and {udf.name} both give the image {udf.image(settings)}"
    step = f"set image under [tool.numaflow-udf] in {udf.name}/pyproject.toml"
    return ImageNameError(what, next_step=step)
