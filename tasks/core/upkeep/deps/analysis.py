"""How what a UDF declares fits what it adds and imports, and what UDFs have in common. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ...inputs import declared as declarations
from ...inputs.added import AddedPackages
from ...inputs.distributions import Distribution
from ...inputs.names import normalised
from ...model.reading import read_text
from ...model.udf import Udf
from . import imports
from .findings import Analysis, Differing, Shared, Undeclared
from .imports import Import, Source

if TYPE_CHECKING:
    from packaging.requirements import Requirement

_EXACT: Final = re.compile(r"={0,3}\s*(?P<version>\d[\w.+!]*)")

Known = Mapping[str, Distribution]
"""Packages that images hold, by normalised name."""


# --- one UDF ----------------------------------------------------------------------------------


def declared(udf: Udf) -> tuple[dict[str, str], bool]:
    """The packages that a UDF asks for by name, with what it says of their version.

    The second value is false where the file also lists what these need, so that a package that
    is not imported may still be needed.
    """
    found: dict[str, str] = {}
    for line in declarations.standard(udf.project):
        if asked := requirement(line):
            found[normalised(asked.name)] = str(asked.specifier)
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
        if asked := requirement(re.split(r"\s--|\s#", f" {line}")[0].strip()):
            found[normalised(asked.name)] = str(asked.specifier)
    return found, not ("# via" in text or "--hash" in text)


def requirement(line: str) -> Requirement | None:
    """A requirement, or ``None`` for an invalid one: the build reports it where it matters."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        return Requirement(line)
    except InvalidRequirement:
        return None


def analyse(
    udf: Udf,
    extra: AddedPackages,
    base: Mapping[str, str],
    *,
    source: Source,
    installed: Known,
    layer: int | None,
    known: Known,
) -> Analysis:
    """Analyse one UDF. Pure, but for its ``requirements.txt``.

    ``extra`` is what it adds to a base with the packages ``base``. ``installed`` is what its
    image adds where that is up to date, and ``layer`` the bytes of that; ``known`` are packages
    that any image holds.
    """
    asked, is_exact = declared(udf)
    added = {
        name: version or (installed[name].version if name in installed else _pin(asked, name))
        for name, version in extra.packages.items()
    }
    overrides = {name: (before, added.get(name) or own) for name, before, own in extra.overrides}
    if not extra.locked and installed:
        added |= {name: each.version for name, each in installed.items()}
        differ = (name for name in added if name in base and added[name] != base[name])
        overrides = {name: (base[name], added[name]) for name in sorted(differ)}
    names = _import_names({*base, *asked, *added}, known)
    undeclared, lost = _undeclared(source, asked, base, added, names, known)
    idle = [
        name
        for name in asked
        if is_exact and _may_be_idle(name, known) and not _is_used(name, names[name], source, known)
    ]
    # A package that no image holds may provide the import that no known package provides.
    doubtful = [
        name for name in idle if lost and name not in known and not imports.is_well_known(name)
    ]
    return Analysis(
        udf=udf.name,
        source=extra.source,
        declared=asked,
        base={name: base[name] for name in asked if name in base and name not in added},
        added=dict(sorted(added.items())),
        overrides=tuple((name, *versions) for name, versions in overrides.items()),
        from_base=extra.from_base,
        bytes=layer if extra else 0,
        sizes={name: each.bytes for name, each in installed.items()},
        unused=tuple(name for name in idle if name not in doubtful),
        undeclared=tuple(undeclared if doubtful else [*undeclared, *lost]),
        unsure=(*doubtful, *(each.module for each in lost)) if doubtful else (),
        broken=source.broken,
    )


def _pin(asked: Mapping[str, str], name: str) -> str:
    """The version that a requirement names exactly, or ``""``."""
    match = _EXACT.fullmatch(asked.get(name, ""))
    return match["version"] if match else ""


def _import_names(packages: Iterable[str], known: Known) -> imports.Names:
    return {
        name: known[name].modules if name in known else imports.guess(name) for name in packages
    }


def _may_be_idle(name: str, known: Known) -> bool:
    """Whether a package is meant to be imported: not for type checkers, and not a plugin."""
    if name.startswith("types-") or name.endswith("-stubs"):
        return False
    return name not in known or (bool(known[name].modules) and not known[name].is_plugin)


def _is_used(name: str, names: frozenset[str], source: Source, known: Known) -> bool:
    commands = known[name].commands if name in known else frozenset()
    return imports.is_used(name, names, source) or bool(commands & source.words)


def _undeclared(
    source: Source,
    asked: Mapping[str, str],
    base: Mapping[str, str],
    added: Mapping[str, str],
    names: imports.Names,
    known: Known,
) -> tuple[list[Undeclared], list[Undeclared]]:
    """Imports that are certainly not declared, and those that no known package provides."""
    certain: list[Undeclared] = []
    unknown: list[Undeclared] = []
    for each in imports.by_place([each for each in source.imports if each.needed]):
        given = imports.providers(each, names)
        if given & {*asked, *base}:
            continue
        if given:
            certain.append(_missing(each, min(given & set(added)), in_image=True))
        else:
            elsewhere = imports.providers(each, {name: p.modules for name, p in known.items()})
            package = min(elsewhere) if elsewhere else imports.well_known(each)
            (certain if package else unknown).append(_missing(each, package))
    return certain, unknown


def _missing(wanted: Import, package: str, *, in_image: bool = False) -> Undeclared:
    return Undeclared(module=wanted.module, place=wanted.place, package=package, in_image=in_image)


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
                # The base has its own version for a reason: it is not replaced unasked.
                suggested=any(name in each.declared for each in udfs) and name not in overridden,
            )
        )
    suggested = {each.package for each in found if each.suggested}
    rivals = {name for name in suggested if sum(each.package == name for each in found) > 1}
    # Of two versions that are each shared, the base can have one: a person has to choose.
    found = [replace(each, suggested=False) if each.package in rivals else each for each in found]
    return sorted(found, key=lambda each: (-(each.saved or 0), each.package, each.version))


def differing(analyses: Sequence[Analysis], base: Mapping[str, str]) -> list[Differing]:
    """The packages that are in use in more than one version."""
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
