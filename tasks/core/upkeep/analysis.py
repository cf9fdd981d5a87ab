"""`invoke deps`: what each UDF declares, adds, imports, and what several add alike.

What a UDF adds comes from its locks; bytes, import names and the versions that a build without
a lock has found come from the images that are built. Nothing is guessed where it matters: what
cannot be told without an image is said to be so.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from ..build.gather import gather
from ..build.specs import base_versions, specs_of
from ..engine import Engine, content, store
from ..inputs import declared as declarations
from ..inputs.environment import udf_group
from ..inputs.files import chunks, context_files
from ..inputs.names import normalised
from ..model.reading import read_text
from ..model.settings import Settings
from ..model.udf import InvalidUdf, Udf
from ..plan.decide import decide
from ..plan.specs import ImageSpec
from . import imports
from .imports import Import, Source
from .upgrades import is_newer

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_DEPS: Final = "/opt/deps"
_VENV: Final = "/opt/venv"
# The step that makes the layer of a UDF's packages, as it is and as it was.
_LAYER: Final = ("COPY /layer/ / ", "COPY /deps/ /opt/deps/ ")
_METADATA: Final = ("METADATA", "RECORD", "entry_points.txt")
# A script in these groups is a command; any other entry point makes a package a plugin.
_COMMANDS: Final = frozenset({"console_scripts", "gui_scripts"})
_EXACT: Final = re.compile(r"={0,3}\s*(?P<version>\d[\w.+!]*)")
_LARGEST_TEXT: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package as an image holds it. ``bytes`` are those of its files."""

    name: str
    version: str
    bytes: int = 0
    imports: frozenset[str] = frozenset()
    commands: frozenset[str] = frozenset()
    is_plugin: bool = False


@dataclass(frozen=True, kw_only=True)
class Undeclared:
    """A module that a UDF imports from no package that it declares.

    ``package`` is where it comes from, as far as that is known; ``there`` says whether the
    image has it all the same, as a dependency of something else.
    """

    module: str
    place: str
    package: str = ""
    there: bool = False


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """One UDF: what it declares, adds, overrides, and how that fits what it imports.

    ``added`` has ``""`` for a version that is not known; ``bytes`` is the size of the layer of
    the packages, ``None`` where the image is not built. ``unsure`` are packages and modules
    that cannot be matched without the image.
    """

    udf: str
    source: str
    declared: Mapping[str, str]
    base: Mapping[str, str]
    added: Mapping[str, str]
    overrides: tuple[tuple[str, str, str], ...] = ()
    bytes: int | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    unused: tuple[str, ...] = ()
    undeclared: tuple[Undeclared, ...] = ()
    unsure: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()

    def row(self) -> dict[str, Any]:
        """The analysis with the stable keys of ``--json``."""
        return {
            "udf": self.udf,
            "source": self.source,
            "declares": dict(self.declared),
            "base_has": dict(self.base),
            "adds": dict(self.added),
            "bytes": self.bytes,
            "overrides": [
                {"package": name, "base": base, "udf": own} for name, base, own in self.overrides
            ],
            "never_imported": list(self.unused),
            "never_declared": [
                {
                    "module": each.module,
                    "place": each.place,
                    "package": each.package or None,
                    "in_image": each.there,
                }
                for each in self.undeclared
            ],
            "unsure": list(self.unsure),
            "not_python": list(self.broken),
        }


@dataclass(frozen=True, kw_only=True)
class Shared:
    """A package that several UDFs add in the same version.

    ``saved`` are the bytes that one copy in the base takes less than one in each image. It is
    ``suggested`` where one of the UDFs asks for it by name; others come with those.
    """

    package: str
    version: str
    udfs: tuple[str, ...]
    bytes: int | None
    suggested: bool

    @property
    def saved(self) -> int | None:
        return None if self.bytes is None else self.bytes * (len(self.udfs) - 1)

    def row(self) -> dict[str, Any]:
        """The package with the stable keys of ``--json``."""
        return {
            "package": self.package,
            "version": self.version,
            "udfs": list(self.udfs),
            "bytes": self.bytes,
            "bytes_saved": self.saved,
            "suggested": self.suggested,
        }


@dataclass(frozen=True, kw_only=True)
class Differing:
    """A package that UDFs, or a UDF and the base, have in different versions."""

    package: str
    versions: Mapping[str, tuple[str, ...]]

    def row(self) -> dict[str, Any]:
        """The package with the stable keys of ``--json``; ``base`` is among the UDFs."""
        return {
            "package": self.package,
            "versions": {version: list(udfs) for version, udfs in self.versions.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Upgrade:
    """A package that somebody has in an older version than the newest."""

    package: str
    version: str
    newest: str
    users: tuple[str, ...]

    def row(self) -> dict[str, Any]:
        """The package with the stable keys of ``--json``; ``base`` is among the users."""
        return {
            "package": self.package,
            "version": self.version,
            "newest": self.newest,
            "users": list(self.users),
        }


@dataclass(frozen=True, kw_only=True)
class Repository:
    """The analysis of all UDFs."""

    base: Mapping[str, str]
    udfs: tuple[Analysis, ...]
    shared: tuple[Shared, ...] = ()
    differing: tuple[Differing, ...] = ()
    refused: tuple[InvalidUdf, ...] = ()

    @property
    def suggestions(self) -> dict[str, str]:
        """What to add to the base's group: package to version."""
        return {each.package: each.version for each in self.shared if each.suggested}

    @property
    def freed(self) -> tuple[str, ...]:
        """The UDFs that install nothing any more once the suggestions are in the base."""
        moved = {(each.package, each.version) for each in self.shared}
        return (
            tuple(
                each.udf
                for each in self.udfs
                if each.added and all(item in moved for item in each.added.items())
            )
            if self.suggestions
            else ()
        )

    def in_use(self) -> dict[str, dict[str, list[str]]]:
        """What somebody asks for by name: package to its versions, and to who has them."""
        found: dict[str, dict[str, list[str]]] = {}
        for line in udf_group():
            asked = _requirement(line)
            name = normalised(asked.name) if asked else ""
            if name in self.base:
                found[name] = {self.base[name]: ["base"]}
        for each in self.udfs:
            for name, version in each.added.items():
                if version and name in each.declared:
                    found.setdefault(name, {}).setdefault(version, []).append(each.udf)
        return found

    def upgrades(self, newest: Mapping[str, str]) -> list[Upgrade]:
        """What is in use in an older version than the ``newest``."""
        return [
            Upgrade(package=name, version=version, newest=newest[name], users=tuple(users))
            for name, versions in sorted(self.in_use().items())
            for version, users in sorted(versions.items())
            if name in newest and is_newer(newest[name], version)
        ]

    def as_dict(self) -> dict[str, Any]:
        """All of it, with the stable keys of ``--json``."""
        return {
            "base": dict(self.base),
            "udfs": [each.row() for each in self.udfs],
            "shared": [each.row() for each in self.shared],
            "differing": [each.row() for each in self.differing],
            "suggested": self.suggestions,
            "left_out": [{"udf": each.name, "error": each.error.what} for each in self.refused],
        }


# --- gathering --------------------------------------------------------------------------------


def analyse(
    engine: Engine | None, settings: Settings, udfs: Sequence[Udf], refused: Sequence[InvalidUdf]
) -> Repository:
    """Analyse ``udfs``; without an engine, from their files alone."""
    specs, more = specs_of(settings, udfs, "shared-base")
    refused = [*refused, *more]
    current: list[ImageSpec] = []
    if engine is not None:
        plan = decide(settings, specs, gather(engine, settings, specs))
        current = [step.spec for step in plan.steps if not step.reason]
    found = _Images(engine, specs, current)
    base = base_versions()
    analyses = [
        analyse_udf(
            spec,
            base,
            source=imports.read(_texts(settings, spec.udf)),
            installed=found.current.get(spec.udf.name, {}),
            layer=found.layers.get(spec.udf.name),
            known=found.packages,
        )
        for spec in specs
    ]
    return Repository(
        base=base,
        udfs=tuple(analyses),
        shared=tuple(shared(analyses)),
        differing=tuple(differing(analyses, base)),
        refused=tuple(refused),
    )


class _Images:
    """What the images that are there hold.

    ``current`` has the packages that a UDF's image adds, for images that are not out of date;
    ``packages`` all packages of all images and of the base, for their import names.
    """

    def __init__(
        self, engine: Engine | None, specs: Sequence[ImageSpec], current: Sequence[ImageSpec]
    ) -> None:
        self.current: dict[str, dict[str, Package]] = {}
        self.layers: dict[str, int] = {}
        self.packages: dict[str, Package] = {}
        if engine is None:
            return
        bases = list(dict.fromkeys(spec.base.image for spec in specs))
        images = [spec.image for spec in specs if spec.extra]
        there = engine.images([*bases, *images])
        first = next((base for base in bases if base in there), None)
        if first:
            self.packages |= _read(engine, first, _VENV)
        for spec in specs:
            if not spec.extra or spec.image not in there:
                continue
            own = _read(engine, spec.image, _DEPS)
            self.packages |= own
            if spec in current:
                self.current[spec.udf.name] = own
                self.layers[spec.udf.name] = sum(
                    layer.size
                    for layer in store.history(engine, spec.image)
                    if any(step in layer.made_by for step in _LAYER)
                )


def _read(engine: Engine, image: str, folder: str) -> dict[str, Package]:
    (found,) = content.contents(engine, [image], [folder], _is_metadata)
    return packages_in(found.files)


def _is_metadata(path: str) -> bool:
    place = PurePosixPath(path)
    return place.name in _METADATA and place.parent.suffix == ".dist-info"


def packages_in(files: Mapping[str, bytes]) -> dict[str, Package]:
    """The packages that the ``.dist-info`` folders among ``files`` describe, by name."""
    from email.parser import BytesHeaderParser

    folders = {PurePosixPath(path).parent for path in files}
    found = {}
    for folder in folders:
        headers = BytesHeaderParser().parsebytes(files.get(str(folder / "METADATA"), b""))
        if not headers["Name"]:
            continue
        name = normalised(str(headers["Name"]))
        record = files.get(str(folder / "RECORD"), b"").decode(errors="replace").splitlines()
        rows = [line.rsplit(",", 2) for line in record if line.count(",") >= 2]
        groups = _entry_points(files.get(str(folder / "entry_points.txt"), b"").decode())
        commands = [name for group in _COMMANDS for name in groups.get(group, ())]
        found[name] = Package(
            name=name,
            version=str(headers["Version"]),
            bytes=sum(int(size) for _, _, size in rows if size.isdigit()),
            imports=imports.import_names(path.strip('"') for path, _, _ in rows),
            commands=frozenset(commands),
            is_plugin=bool(set(groups) - _COMMANDS),
        )
    return found


def _entry_points(text: str) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    group = ""
    for line in (raw.strip() for raw in text.splitlines()):
        if line.startswith("["):
            group = line.strip("[]")
            groups[group] = []
        elif "=" in line:
            groups.setdefault(group, []).append(line.partition("=")[0].strip())
    return groups


def _texts(settings: Settings, udf: Udf) -> dict[str, str]:
    """The files of an image that can import something, or start something."""
    texts = {}
    for file in context_files(settings, udf):
        # What the project file names is declared, which is no use of it.
        if file.size <= _LARGEST_TEXT and not file.target and file.path != "pyproject.toml":
            with contextlib.suppress(UnicodeDecodeError):
                texts[file.path] = b"".join(chunks(file)).decode()
    return texts


# --- one UDF ----------------------------------------------------------------------------------


def declared(udf: Udf) -> tuple[dict[str, str], bool]:
    """The packages that a UDF asks for by name, with what it says of their version.

    The second value is false where the file lists what these need as well, so that nothing
    can be said of a package that is not imported.
    """
    found: dict[str, str] = {}
    for line in declarations.standard(udf.project):
        if requirement := _requirement(line):
            found[normalised(requirement.name)] = str(requirement.specifier)
    for name, value in declarations.of_poetry(udf.project).items():
        version = value.get("version", "") if isinstance(value, dict) else value
        found.setdefault(normalised(name), version if isinstance(version, str) else "")
    if declarations.declares(udf.project):
        return found, True
    path = udf.path / "requirements.txt"
    if not path.is_file():
        return {}, True
    text = read_text(path)
    for line in re.sub(r"\\\n", " ", text).splitlines():
        # Options, hashes and comments say nothing of what is asked for.
        if requirement := _requirement(re.split(r"\s--|\s#", f" {line}")[0].strip()):
            found[normalised(requirement.name)] = str(requirement.specifier)
    return found, not ("# via" in text or "--hash" in text)


def _requirement(line: str) -> Requirement | None:
    """A requirement, or ``None`` for what is none: the build says so where it matters."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def analyse_udf(
    spec: ImageSpec,
    base: Mapping[str, str],
    *,
    source: Source,
    installed: Mapping[str, Package],
    layer: int | None,
    known: Mapping[str, Package],
) -> Analysis:
    """Analyse one UDF. Pure, but for its ``requirements.txt``.

    ``installed`` is what its image adds where that is current, ``layer`` the size of that;
    ``known`` are packages that any image holds.
    """
    asked, is_exact = declared(spec.udf)
    added = {
        name: version or (installed[name].version if name in installed else _pin(asked, name))
        for name, version in spec.extra.packages.items()
    }
    if not spec.extra.locked:
        added |= {name: each.version for name, each in installed.items()}
    names = _import_names({*base, *asked, *added}, known)
    undeclared, lost = _undeclared(source, asked, base, added, names, known)
    idle = [
        name
        for name in asked
        if is_exact and _may_be_idle(name, known) and not _is_used(name, names[name], source, known)
    ]
    # A package that nobody has at hand may be what an import that comes from nowhere means.
    doubtful = [name for name in idle if lost and not _is_known(name, known)]
    unsure = [*doubtful, *(each.module for each in lost)] if doubtful else []
    return Analysis(
        udf=spec.udf.name,
        source=spec.extra.source,
        declared=asked,
        base={name: base[name] for name in asked if name in base and name not in added},
        added=dict(sorted(added.items())),
        overrides=tuple(
            (name, before, added.get(name) or after) for name, before, after in spec.extra.overrides
        )
        if spec.extra.locked or not installed
        else tuple(
            (name, base[name], version)
            for name, version in sorted(added.items())
            if name in base and version != base[name]
        ),
        bytes=layer if spec.extra else 0,
        sizes={name: each.bytes for name, each in installed.items()},
        unused=tuple(name for name in idle if name not in doubtful),
        undeclared=tuple(undeclared if doubtful else [*undeclared, *lost]),
        unsure=tuple(unsure),
        broken=source.broken,
    )


def _pin(asked: Mapping[str, str], name: str) -> str:
    """The version that a requirement names exactly, or ``""``."""
    match = _EXACT.fullmatch(asked.get(name, ""))
    return match["version"] if match else ""


def _is_known(name: str, known: Mapping[str, Package]) -> bool:
    return name in known or imports.is_well_known(name)


def _import_names(packages: Iterable[str], known: Mapping[str, Package]) -> imports.Names:
    return {
        name: known[name].imports if name in known else imports.guess(name) for name in packages
    }


def _may_be_idle(name: str, known: Mapping[str, Package]) -> bool:
    """Whether a package is there to be imported: not for type checkers, and no plugin."""
    if name.startswith("types-") or name.endswith("-stubs"):
        return False
    return name not in known or (bool(known[name].imports) and not known[name].is_plugin)


def _is_used(
    name: str, names: frozenset[str], source: Source, known: Mapping[str, Package]
) -> bool:
    commands = known[name].commands if name in known else frozenset()
    return imports.is_used(name, names, source) or bool(commands & source.words)


def _undeclared(
    source: Source,
    asked: Mapping[str, str],
    base: Mapping[str, str],
    added: Mapping[str, str],
    names: imports.Names,
    known: Mapping[str, Package],
) -> tuple[list[Undeclared], list[Undeclared]]:
    """Imports that are certainly not declared, and those that come from nowhere known."""
    certain: list[Undeclared] = []
    nowhere: list[Undeclared] = []
    for each in imports.by_place([each for each in source.imports if each.needed]):
        given = imports.providers(each, names)
        if given & {*asked, *base}:
            continue
        if given:
            certain.append(_told(each, min(given & set(added)), there=True))
        else:
            elsewhere = imports.providers(each, {name: p.imports for name, p in known.items()})
            package = min(elsewhere) if elsewhere else imports.well_known(each)
            (certain if package else nowhere).append(_told(each, package, there=False))
    return certain, nowhere


def _told(wanted: Import, package: str, *, there: bool) -> Undeclared:
    return Undeclared(module=wanted.module, place=wanted.place, package=package, there=there)


# --- across UDFs ------------------------------------------------------------------------------


def shared(analyses: Sequence[Analysis]) -> list[Shared]:
    """The packages that several UDFs add in the same version; what saves most comes first."""
    owners: dict[tuple[str, str], list[Analysis]] = {}
    for each in analyses:
        for name, version in each.added.items():
            if version:
                owners.setdefault((name, version), []).append(each)
    found = []
    for (name, version), udfs in owners.items():
        if len(udfs) < 2:
            continue
        overridden = {other for each in udfs for other, _, _ in each.overrides}
        sizes = [each.sizes[name] for each in udfs if name in each.sizes]
        found.append(
            Shared(
                package=name,
                version=version,
                udfs=tuple(each.udf for each in udfs),
                bytes=max(sizes, default=None),
                # The base's own version is there for a reason: it is not replaced unasked.
                suggested=any(name in each.declared for each in udfs) and name not in overridden,
            )
        )
    suggested = {each.package for each in found if each.suggested}
    rivals = {name for name in suggested if sum(each.package == name for each in found) > 1}
    # Of two versions that are each shared, the base can have one: that is for a person to say.
    found = [replace(each, suggested=False) if each.package in rivals else each for each in found]
    return sorted(found, key=lambda each: (-(each.saved or 0), each.package, each.version))


def differing(analyses: Sequence[Analysis], base: Mapping[str, str]) -> list[Differing]:
    """The packages that are there in more than one version."""
    versions: dict[str, dict[str, list[str]]] = {}
    for each in analyses:
        for name, version in each.added.items():
            if version:
                versions.setdefault(name, {}).setdefault(version, []).append(each.udf)
    for name, found in versions.items():
        if name in base:
            found.setdefault(base[name], []).insert(0, "base")
    return [
        Differing(
            package=name,
            versions={version: tuple(udfs) for version, udfs in sorted(found.items())},
        )
        for name, found in sorted(versions.items())
        if len(found) > 1
    ]
