"""What the environment of the base holds that no UDF loads at run time, by bytes.

Files are read from the image, and nothing is run: what is listed is told by its name, and a tool
for builds by who needs and imports it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from ...build.specs import base_of, specs_of
from ...engine import Engine, content
from ...inputs import declared
from ...inputs.distributions import VENV, Distribution, distributions, is_metadata
from ...inputs.names import SDK, leading_name
from ...model.errors import NotBuiltError
from ...model.settings import Settings
from ...model.udf import Udf
from . import imports
from .gather import texts_of
from .imports import Source

_SITE: Final = re.compile(r"lib/python3\.[0-9]+/site-packages/")
TOOLS: Final = "tools for builds"
_TOOLS: Final = ("grpcio-tools", "setuptools", "wheel", "pip")
"""What builds packages or makes code; it is loaded where a UDF or the SDK imports it."""
_TESTS: Final = re.compile(r"(?:.*/)?(?:tests?/.*|test_[^/]*\.py|[^/]*_test\.py|conftest\.py)")
_TEXTS: Final = (".pyi", ".h", ".hpp", ".c", ".cc", ".cpp", ".pyx", ".pxd", ".proto", ".a")
_PIP: Final = re.compile(
    r"bin/(?:pip[\d.]*|[Aa]ctivate.*|deactivate.*)|pip(?:-[^/]*)?/.*|ensurepip/.*"
)
_BYTECODE: Final = re.compile(r"__pycache__/([^/]+?)\.cpython-[^/]*\.pyc")


@dataclass(frozen=True, kw_only=True)
class Part:
    """Files of one kind that no UDF loads: their bytes, and those of each package."""

    what: str
    packages: Mapping[str, int]

    @property
    def bytes(self) -> int:
        return sum(self.packages.values())


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The environment of a base: its bytes, and the parts of it that no UDF loads."""

    image: str
    bytes: int
    parts: tuple[Part, ...]

    @property
    def unloaded(self) -> int:
        return sum(part.bytes for part in self.parts)

    def as_dict(self) -> dict[str, Any]:
        """All of it, with the stable keys of ``--json``."""
        return {
            "image": self.image,
            "bytes": self.bytes,
            "bytes_not_loaded": self.unloaded,
            "not_loaded": [
                {"what": each.what, "bytes": each.bytes, "packages": dict(each.packages)}
                for each in self.parts
            ],
        }


def of_base(engine: Engine, settings: Settings, udfs: Sequence[Udf]) -> Sizes:
    """Those of the default base, for ``udfs``; raises :class:`NotBuiltError` without it."""
    image = base_of(settings).image
    if image not in engine.images([image]):
        what = f"the base image {image} is not built yet"
        raise NotBuiltError(what, next_step="run `invoke base`")
    (found,) = content.contents(engine, [image], [VENV], _is_wanted)
    held = {each.path: each.size for each in content.held_files(engine, image, VENV)}
    specs, _ = specs_of(settings, udfs, "shared-base")
    sources = [imports.read(texts_of(spec.files)) for spec in specs]
    asked = {name for udf in udfs for name in declared.names(udf.project)}
    sdk = imports.read(_sdk(found.files))
    return sizes(image, held, distributions(found.files), asked, sources, sdk)


def _is_wanted(path: str) -> bool:
    return is_metadata(path) or (f"/{SDK}/" in path and path.endswith(".py"))


def _sdk(files: Mapping[str, bytes]) -> dict[str, str]:
    return {
        path.rpartition("site-packages/")[2]: data.decode(errors="replace")
        for path, data in files.items()
        if path.endswith(".py")
    }


def sizes(
    image: str,
    held: Mapping[str, int],
    installed: Mapping[str, Distribution],
    asked: Iterable[str],
    sources: Sequence[Source],
    sdk: Source,
) -> Sizes:
    """Which of the files ``held``, path in the environment to bytes, no UDF loads. Pure.

    ``installed`` are its packages, ``asked`` those that UDFs declare, and ``sources`` and ``sdk``
    what UDFs and the SDK import.
    """
    tools = _unused_tools(installed, set(asked), sources, sdk)
    kinds: Mapping[str, Callable[[str, str], bool]] = {
        TOOLS: lambda _, owner: owner in tools,
        "what pip leaves": lambda path, _: bool(_PIP.fullmatch(path)),
        "tests": lambda path, _: bool(_TESTS.fullmatch(path)),
        "headers, sources and type stubs": lambda path, _: path.endswith(_TEXTS),
    }
    owners = {
        file: name for name, package in installed.items() for file in map(_plain, package.files)
    }
    tops = {
        file.partition("/")[0]: name
        for file, name in owners.items()
        if "/" in file and not file.startswith("bin/")
    }
    found: dict[str, dict[str, int]] = {what: {} for what in kinds}
    for path, size in held.items():
        file = _BYTECODE.sub(r"\1.py", _SITE.sub("", path))
        owner = owners.get(file) or tops.get(file.partition("/")[0], "")
        for what, holds in kinds.items():
            if holds(file, owner):
                name = owner or file.partition("/")[0]
                found[what][name] = found[what].get(name, 0) + size
                break
    parts = [
        Part(what=what, packages=dict(sorted(packages.items(), key=lambda item: -item[1])))
        for what, packages in found.items()
        if packages
    ]
    parts.sort(key=lambda part: -part.bytes)
    return Sizes(image=image, bytes=sum(held.values()), parts=tuple(parts))


def _plain(file: str) -> str:
    """A file of a package, by its path in the site folder or, for a command, the environment."""
    parts = PurePosixPath(file).parts
    return "/".join(part for part in parts if part != "..")


def _unused_tools(
    installed: Mapping[str, Distribution], asked: set[str], sources: Sequence[Source], sdk: Source
) -> set[str]:
    """The tools that no UDF names, and that nothing else needs but the SDK, which imports none.

    It requires grpcio-tools, with which its code was generated.
    """
    tools = {name for name in _TOOLS if name in installed and name not in asked}
    tools = {
        name
        for name in tools
        if not any(imports.is_used(name, installed[name].modules, each) for each in sources)
        and not any(
            imports.providers(each, {name: installed[name].modules}) for each in sdk.imports
        )
    }
    while True:
        needed = {
            leading_name(line)
            for name, package in installed.items()
            if name != SDK and name not in tools
            for line in package.requires
            if "extra ==" not in line
        }
        if not tools & needed:
            return tools
        tools -= needed
