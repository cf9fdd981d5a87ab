"""Which packages a program imports: from its source, read and never run. Pure.

A package's import names are known for certain where an image holds it. Elsewhere they are
guessed, from the names that well-known packages have, and from the package's own name.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from ..inputs.names import normalised

Names = Mapping[str, frozenset[str]]
"""Normalised names of packages to what can be imported from them, such as ``google.protobuf``."""

# Packages whose import name nobody could tell from their own name.
_WELL_KNOWN: Final[Mapping[str, tuple[str, ...]]] = {
    "argon2-cffi": ("argon2",),
    "attrs": ("attr", "attrs"),
    "beautifulsoup4": ("bs4",),
    "confluent-kafka": ("confluent_kafka",),
    "faiss-cpu": ("faiss",),
    "googleapis-common-protos": ("google.api", "google.rpc", "google.type", "google.longrunning"),
    "google-api-core": ("google.api_core",),
    "google-auth": ("google.auth", "google.oauth2"),
    "grpcio": ("grpc",),
    "grpcio-health-checking": ("grpc_health",),
    "grpcio-reflection": ("grpc_reflection",),
    "grpcio-status": ("grpc_status",),
    "grpcio-tools": ("grpc_tools",),
    "imbalanced-learn": ("imblearn",),
    "kafka-python": ("kafka",),
    "mysqlclient": ("MySQLdb",),
    "opencv-contrib-python": ("cv2",),
    "opencv-contrib-python-headless": ("cv2",),
    "opencv-python": ("cv2",),
    "opencv-python-headless": ("cv2",),
    "opentelemetry-api": ("opentelemetry",),
    "paho-mqtt": ("paho",),
    "pillow": ("PIL",),
    "proto-plus": ("proto",),
    "protobuf": ("google.protobuf",),
    "psycopg2-binary": ("psycopg2",),
    "pycryptodome": ("Crypto",),
    "pyjwt": ("jwt",),
    "pymysql": ("pymysql",),
    "pyserial": ("serial",),
    "python-dateutil": ("dateutil",),
    "python-dotenv": ("dotenv",),
    "python-json-logger": ("pythonjsonlogger",),
    "python-magic": ("magic",),
    "pywavelets": ("pywt",),
    "pyyaml": ("yaml",),
    "pyzmq": ("zmq",),
    "ruamel-yaml": ("ruamel.yaml",),
    "scikit-image": ("skimage",),
    "scikit-learn": ("sklearn",),
    "sentry-sdk": ("sentry_sdk",),
    "setuptools": ("setuptools", "pkg_resources"),
    "typing-extensions": ("typing_extensions",),
}

_WORD: Final = re.compile(r"[A-Za-z_][\w.-]*")


@dataclass(frozen=True, order=True)
class Import:
    """One import: the module, what is taken from it, and where it stands.

    It is ``needed`` where the program cannot do without: not behind an ``except ImportError``,
    not for type checkers alone.
    """

    module: str
    names: tuple[str, ...] = ()
    needed: bool = True
    place: str = ""

    @property
    def targets(self) -> tuple[str, ...]:
        """What may be the module that is meant, the longest first."""
        return (*(f"{self.module}.{name}" for name in self.names), self.module)


@dataclass(frozen=True, kw_only=True)
class Source:
    """What the files of a UDF say: its imports, and every word that may name a package.

    ``local`` are the names of its own modules. ``broken`` are files that are no Python.
    """

    imports: tuple[Import, ...]
    words: frozenset[str]
    local: frozenset[str]
    broken: tuple[str, ...] = ()


def read(files: Mapping[str, str]) -> Source:
    """Read the files of a UDF, by their path; those that are not Python for their words."""
    found: list[Import] = []
    words: set[str] = set()
    local: set[str] = set()
    broken = []
    for path, text in files.items():
        place = PurePosixPath(path)
        local |= {*place.parts[:-1], place.stem}
        if place.suffix != ".py":
            words |= {word.strip(".-") for word in _WORD.findall(text)}
            continue
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError):
            broken.append(path)
            continue
        found += _imports(tree, path)
        words |= _strings(tree)
    outside = [each for each in found if not _is_own(each.module, local)]
    return Source(
        imports=tuple(outside),
        words=frozenset(words),
        local=frozenset(local),
        broken=tuple(broken),
    )


def _is_own(module: str, local: set[str]) -> bool:
    first = module.partition(".")[0]
    return first in local or first in sys.stdlib_module_names


def _imports(tree: ast.AST, path: str, *, needed: bool = True) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        place = f"{path}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), needed, place)
        elif isinstance(node, ast.ImportFrom):
            if not node.level and node.module:
                names = tuple(alias.name for alias in node.names if alias.name != "*")
                yield Import(node.module, names, needed, place)
        elif isinstance(node, ast.Try | ast.TryStar):
            guarded = any(_catches_import_error(handler) for handler in node.handlers)
            for child in node.body:
                yield from _imports(_alone(child), path, needed=needed and not guarded)
            for handler in node.handlers:
                # What stands in for the import that failed is optional as well.
                yield from _imports(handler, path, needed=needed and not guarded)
            for child in (*node.orelse, *node.finalbody):
                yield from _imports(_alone(child), path, needed=needed)
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            for child in node.body:
                yield from _imports(_alone(child), path, needed=False)
            for child in node.orelse:
                yield from _imports(_alone(child), path, needed=needed)
        else:
            yield from _imports(node, path, needed=needed)


def _alone(statement: ast.stmt) -> ast.Module:
    return ast.Module(body=[statement], type_ignores=[])


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    caught = handler.type
    if caught is None:
        return True
    names = {node.id for node in ast.walk(caught) if isinstance(node, ast.Name)}
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


def _strings(tree: ast.AST) -> set[str]:
    """Words in strings: ``import_module("x")``, ``engine="pyarrow"``, ``"mysql+pymysql://"``."""
    return {
        word
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for part in _WORD.findall(node.value)
        for word in (part.strip(".-"), part.partition(".")[0])
    }


# --- packages ---------------------------------------------------------------------------------


def guess(package: str) -> frozenset[str]:
    """What can likely be imported from a package that is not at hand."""
    name = normalised(package)
    if name in _WELL_KNOWN:
        return frozenset(_WELL_KNOWN[name])
    stems = {name, name.removeprefix("python-"), name.removesuffix("-python")}
    stems |= {name.removesuffix(end) for end in ("-binary", "-headless", "-cpu", "-gpu", "-py")}
    if name.startswith("py") and len(name) > 4:
        stems.add(name.removeprefix("py"))
    found = {stem.replace("-", "_") for stem in stems}
    # Families such as google-cloud-storage and azure-storage-blob are namespaces.
    first, _, rest = name.partition("-")
    if first in ("google", "azure", "zope", "ruamel", "opentelemetry") and rest:
        second, _, third = rest.partition("-")
        found |= {name.replace("-", "."), f"{first}.{rest.replace('-', '_')}"}
        if third:
            found.add(f"{first}.{second}.{third.replace('-', '_')}")
    return frozenset(found)


def import_names(files: Iterable[str]) -> frozenset[str]:
    """What can be imported from a package with these ``files``, relative to its site folder.

    Of a namespace such as ``google``, these are its parts: the first folders that are packages
    of their own.
    """
    modules = [PurePosixPath(file) for file in files if file.endswith((".py", ".so"))]
    packages = {path.parent for path in modules if path.stem.partition(".")[0] == "__init__"}
    found = set()
    for path in modules:
        if ".." in path.parts or path.is_absolute():
            continue
        outermost = next((parent for parent in reversed(path.parents) if parent in packages), None)
        module = outermost or path.with_name(path.name.partition(".")[0])
        if all(part.isidentifier() for part in module.parts):
            found.add(".".join(module.parts))
    return frozenset(found - {""})


def providers(wanted: Import, known: Names) -> set[str]:
    """The packages of ``known`` from which ``wanted`` comes."""
    for target in wanted.targets:
        found = {
            package
            for package, names in known.items()
            if any(target == name or target.startswith(f"{name}.") for name in names)
        }
        if found:
            return found
    # `import google` alone: any package that has a part of that namespace.
    return {
        package
        for package, names in known.items()
        if any(name.startswith(f"{wanted.module}.") for name in names)
    }


def is_used(package: str, names: frozenset[str], source: Source) -> bool:
    """Whether a package is imported, or named anywhere: in a string, or in a script."""
    known = {package: names}
    if any(providers(each, known) for each in source.imports):
        return True
    spellings = {package, package.replace("-", "_"), package.replace("-", "."), *names}
    words = {normalised(word) for word in source.words}
    return bool({normalised(spelling) for spelling in spellings} & words)


def is_well_known(package: str) -> bool:
    """Whether the import names of a package are known without having it at hand."""
    return normalised(package) in _WELL_KNOWN


def well_known(wanted: Import) -> str:
    """The well-known package that ``wanted`` is from, as far as one is known, else ``""``."""
    found = providers(wanted, {name: frozenset(names) for name, names in _WELL_KNOWN.items()})
    return min(found, key=lambda name: (len(name), name)) if found else ""


def by_place(imports: Sequence[Import]) -> list[Import]:
    """The first import of each module, by its place."""
    first: dict[str, Import] = {}
    for each in sorted(imports, key=lambda each: _position(each.place)):
        first.setdefault(each.module, each)
    return list(first.values())


def _position(place: str) -> tuple[str, int]:
    path, _, line = place.rpartition(":")
    return path, int(line or 0)
