"""What is in a Python image that an environment is made from, read from its layers in a registry.

Nothing of it runs here. A layer is read once, as a stream, and nothing but small files is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from ..engine.stored import ImageParts
from ..image.blob import Descriptor
from ..image.cache import Records
from ..model.errors import ConfigError
from ..model.reference import ImageReference
from ..registry import faults
from ..registry.blobs import Blobs
from ..registry.client import Registry
from ..registry.transport import connection_errors, is_temporary, reason_of

_FOLDERS: Final = ("usr/local/bin", "usr/bin")
_DPKG: Final = "var/lib/dpkg/status"
_OLDEST_GLIBC: Final = 28
_WANTED: Final = re.compile(
    r"etc/(?:passwd|group)|var/lib/dpkg/status"
    r"|usr/(?:local/)?lib/python3\.\d+/venv/scripts/(?:common|posix)/[^/]+"
    r"|usr/(?:local/)?bin/python[0-9.]*|(?:usr/)?lib/ld-musl-[^/]+"
)
# Where an image is a base already: the environment lies on top of all that is of interest.
_ENVIRONMENT: Final = "opt/venv"
_PACKAGE: Final = re.compile(
    r"^Package: (libc6|python3\.\d+)$.*?^Version: (?:\d+:)?([0-9.]+)", re.MULTILINE | re.DOTALL
)

Found = Mapping[str, Any]
"""By path: the text of a file, ``{"link": target}``, or ``None`` where a layer removes it."""


@dataclass(frozen=True, kw_only=True)
class PythonImage:
    """A Python image by what environments take from it.

    ``version`` is that of its Python, ``glibc`` the minor version of its C library, and
    ``folder`` the one that holds its ``python3``, of which ``executable`` is the file.
    ``scripts`` are the templates of the scripts of a virtual environment, by name.
    """

    version: str
    glibc: int
    folder: str
    executable: str
    passwd: str
    group: str
    scripts: Mapping[str, str]


def read(
    registry: Registry, image: ImageReference, parts: ImageParts, python: str, records: Records
) -> PythonImage:
    """The Python ``python``, such as ``3.13``, of an image in a registry.

    Raises :class:`ConfigError` for an image that an environment cannot be made from here.
    """
    found: dict[str, Any] = {}
    for layer in parts.layers:
        key = f"python-image {layer.digest}"
        known = records.get(key)
        if known is None:
            known = _scanned(registry, image, layer)
            records.put(key, known)
        if known.get(_ENVIRONMENT):
            break
        found = {**found, **known}
    environ = dict(each.partition("=")[::2] for each in _own(parts).get("Env") or ())
    return _read(str(image), {name: each for name, each in found.items() if each}, environ, python)


def _own(parts: ImageParts) -> Mapping[str, Any]:
    return parts.config.get("config") or {}


def _read(image: str, found: Found, environ: Mapping[str, str], python: str) -> PythonImage:
    if any("ld-musl" in name for name in found):
        raise _unfit(image, "it has musl in place of glibc")
    folder = next((each for each in _FOLDERS if f"{each}/python3" in found), "")
    if not folder:
        raise _unfit(image, "it has no python3 in /usr/local/bin or /usr/bin")
    packages = dict(_PACKAGE.findall(found.get(_DPKG, "")))
    version = environ.get("PYTHON_VERSION") or packages.get(f"python{python}", python)
    if f"{version}.".partition(f"{python}.")[0]:
        raise _unfit(image, f"it has Python {version}, and its name says {python}")
    _, _, minor = packages.get("libc6", "").partition(".")
    return PythonImage(
        version=version,
        glibc=int(minor) if minor.isdigit() else _OLDEST_GLIBC,
        folder=f"/{folder}",
        executable=f"/{_resolved(f'{folder}/python3', found)}",
        passwd=found.get("etc/passwd", ""),
        group=found.get("etc/group", ""),
        scripts={
            name.rpartition("/")[2]: text
            for name, text in sorted(found.items())
            if f"/python{python}/venv/scripts/" in name and isinstance(text, str)
        },
    )


def _unfit(image: str, why: str) -> ConfigError:
    what = f"the Python image {image} cannot be used without a builder: {why}"
    step = "set udf.python_image to a Debian image, such as python:3.13-slim-trixie of a mirror"
    return ConfigError(what, next_step=step)


def _resolved(name: str, found: Found) -> str:
    """The file at the end of a chain of links."""
    for _ in range(10):
        target = found[name]["link"] if isinstance(found.get(name), dict) else ""
        if not target:
            break
        name = (
            target.lstrip("/") if target.startswith("/") else f"{name.rpartition('/')[0]}/{target}"
        )
    return name


def _scanned(registry: Registry, image: ImageReference, layer: Descriptor) -> dict[str, Any]:
    """What a layer has of interest; read again where the connection breaks."""
    transport = registry.connection.transport
    for pause in (*transport.pauses(), None):
        try:
            return _scan(registry, image, layer)
        except connection_errors() as error:
            if pause is None or not is_temporary(error):
                raise faults.unreachable(registry.host, reason_of(error)) from error
            transport.sleep(pause)
    raise AssertionError  # unreachable: the last try returns or raises


def _scan(registry: Registry, image: ImageReference, layer: Descriptor) -> dict[str, Any]:
    """What a layer has of interest; the environment of a base ends it early."""
    kind = layer.media_type.rpartition("+")[2]
    if kind == "zstd" and sys.version_info < (3, 14):
        why = "its layers are zstd, which takes Python 3.14 on this machine"
        raise _unfit(str(image), why)
    mode = {"gzip": "r|gz", "zstd": "r|zst"}.get(kind, "r|")
    found: dict[str, Any] = {}
    blobs = Blobs(registry.connection)
    with contextlib.closing(blobs.read(image.repository, layer.digest)) as pieces:
        stream = _Stream(pieces)
        try:
            with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
                for member in archive:
                    name = member.name.removeprefix("./").strip("/")
                    if name == _ENVIRONMENT:
                        return {_ENVIRONMENT: "an environment"}
                    _note(archive, member, name, found)
        except (tarfile.TarError, EOFError) as error:
            raise _unfit(str(image), f"its layer {layer.digest} cannot be read: {error}") from error
        stream.drain()
        if stream.digest != layer.digest:
            raise _unfit(str(image), f"its layer {layer.digest} has another content")
    return found


def _note(
    archive: tarfile.TarFile, member: tarfile.TarInfo, name: str, found: dict[str, Any]
) -> None:
    folder, _, last = name.rpartition("/")
    removed = f"{folder}/{last.removeprefix('.wh.')}"
    if last.startswith(".wh.") and _WANTED.fullmatch(removed):
        found[removed] = None
    elif not _WANTED.fullmatch(name):
        return
    elif member.issym():
        found[name] = {"link": member.linkname}
    elif member.isfile() and name.rpartition("/")[2].startswith(("python", "ld-musl")):
        found[name] = "a program"
    elif member.isfile():
        stream = archive.extractfile(member)
        text = stream.read().decode(errors="replace") if stream else ""
        found[name] = _versions(text) if name == _DPKG else text


def _versions(status: str) -> str:
    """What of Debian's list of packages tells versions that matter; it is half a megabyte."""
    return "".join(
        f"Package: {name}\nVersion: {version}\n" for name, version in _PACKAGE.findall(status)
    )


class _Stream:
    """Pieces of a blob as a file that is read once, and their digest."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._sum = hashlib.sha256()
        self._left = b""

    @property
    def digest(self) -> str:
        return f"sha256:{self._sum.hexdigest()}"

    def read(self, count: int) -> bytes:
        while len(self._left) < count and (piece := next(self._pieces, b"")):
            self._sum.update(piece)
            self._left += piece
        given, self._left = self._left[:count], self._left[count:]
        return given

    def drain(self) -> None:
        """Read what follows the end of the archive."""
        while self.read(1 << 20):
            pass
