"""Which packages a program imports: from its source, read and never run. Pure.

The import names of a package are known for certain where an image holds it. Elsewhere they are
guessed from a list of well-known packages and from the package's own name.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from ...inputs.names import normalised

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
    """One import: the module, the names imported from it, and its place as ``file:line``.

    It is ``needed`` where the program fails without it: it is not guarded by an
    ``except ImportError``, and not for type checkers alone.
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

    ``broken`` are files that are not valid Python.
    """

    imports: tuple[Import, ...]
    words: frozenset[str]
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
        except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: too deep
            broken.append(path)
            continue
        found += _imports(tree, path)
        words |= _strings(tree)
    outside = [each for each in found if not _is_own(each.module, local)]
    return Source(imports=tuple(outside), words=frozenset(words), broken=tuple(broken))


def _is_own(module: str, local: set[str]) -> bool:
    first = module.partition(".")[0]
    return first in local or first in sys.stdlib_module_names


def _imports(tree: ast.AST, path: str) -> Iterator[Import]:
    pending = [(tree, True)]
    while pending:
        node, needed = pending.pop()
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, (), needed, f"{path}:{node.lineno}")
        elif isinstance(node, ast.ImportFrom):
            if not node.level and node.module:
                names = tuple(alias.name for alias in node.names if alias.name != "*")
                yield Import(node.module, names, needed, f"{path}:{node.lineno}")
        elif isinstance(node, ast.Try | ast.TryStar):
            # What replaces an import that failed is optional as well.
            optional = any(_catches_import_error(handler) for handler in node.handlers)
            pending += [(each, needed and not optional) for each in (*node.body, *node.handlers)]
            pending += [(each, needed) for each in (*node.orelse, *node.finalbody)]
        elif isinstance(node, ast.If) and _is_type_checking(node.test):
            pending += [(each, False) for each in node.body]
            pending += [(each, needed) for each in node.orelse]
        elif not isinstance(node, ast.expr):
            pending += [(each, needed) for each in ast.iter_child_nodes(node)]


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
    """What can likely be imported from a package that no image holds."""
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
    """Whether the import names of a package are known without an image that holds it."""
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
