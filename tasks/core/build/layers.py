"""The layers of assembled images: code and data from files, packages from the layer cache."""

from __future__ import annotations

import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ..engine.layout import cache_folder
from ..image import layer as layers
from ..image.assembly import Part
from ..image.cache import Records
from ..image.layer import Entry, Layer
from ..inputs.files import ContextFile, sha256
from ..inputs.names import normalised
from ..output.report import size
from ..plan.specs import ImageSpec
from .staging import writing

PACKAGES_ROOT: Final = "opt/deps"
CODE_ROOT: Final = "udf"


@dataclass(frozen=True, kw_only=True)
class PackagesLayer:
    """A packages layer, and what its build said of the versions that it chose.

    ``versions`` are those of the packages in it, by name.
    """

    layer: Layer
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


class LayerCache:
    """Layers and facts of images in the user's cache folder.

    Losing it costs time, and nothing else: what is missing or damaged is made again.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.folder = cache_folder(environ) / "layers"
        self.records = Records(folder=self.folder / "records")

    def packages(self, key: str) -> PackagesLayer | None:
        """The packages layer of that key, or ``None`` where the cache does not have it."""
        known = self.records.get(_record(key))
        try:
            digest, count, notes = known["digest"], int(known["size"]), tuple(known["notes"])
            versions = dict(known["versions"])
            path = self.folder / f"{digest.partition(':')[2]}.tar"
            if path.stat().st_size != count:
                return None
        except (KeyError, OSError, TypeError, ValueError):
            return None
        os.utime(path)  # used today: not to be forgotten
        layer = Layer(digest=digest, size=count, root=PACKAGES_ROOT, entries=(), content=path)
        return PackagesLayer(layer=layer, notes=notes, versions=versions)

    def has(self, keys: Iterable[str]) -> frozenset[str]:
        """Those of the keys whose packages layer the cache has."""
        return frozenset(key for key in keys if self.packages(key))

    def put_packages(self, key: str, folder: Path, notes: Sequence[str]) -> PackagesLayer:
        """Pack what was installed into ``folder``, and keep it under ``key``."""
        root = folder / PACKAGES_ROOT
        layer = layers.pack(tree(root), root=PACKAGES_ROOT, folder=self.folder, in_memory=0)
        if not isinstance(layer.content, Path):
            with writing(self.folder):
                raise OSError(errno.ENOSPC, f"no space for {size(layer.size)} of packages")
        made = PackagesLayer(layer=layer, notes=tuple(notes), versions=_versions(root))
        value: dict[str, Any] = {
            "digest": layer.digest,
            "size": layer.size,
            "notes": list(notes),
            "versions": dict(made.versions),
        }
        self.records.put(_record(key), value)
        return made

    def new_folder(self) -> Path:
        """An empty folder in the cache, for packages before they are packed: remove it after."""
        with writing(self.folder):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            return Path(tempfile.mkdtemp(prefix=".installing-", dir=self.folder))


def code_parts(spec: ImageSpec, cache: LayerCache) -> list[Part]:
    """The data layer, where the UDF has one, and the code layer of an image.

    Raises :class:`FileChangedError` where a file is no longer what was fingerprinted.
    """
    data = [file for file in spec.files if spec.udf.is_data(file.path)]
    code = [file for file in spec.files if not spec.udf.is_data(file.path)]
    parts = []
    if data:
        layer = _data_layer(list(map(_entry, data)), cache)
        parts.append(Part(layer=layer, note=_note("data", spec, data, layer)))
    layer = layers.pack(map(_entry, code), root=CODE_ROOT, folder=None)
    parts.append(Part(layer=layer, note=_note("code", spec, code, layer)))
    return parts


def _data_layer(entries: Sequence[Entry], cache: LayerCache) -> Layer:
    """The layer of large files. No copy of it is kept, and it is packed once.

    Its digest follows from what was planned; it is read again where it has to be sent.
    """
    states = [[each.path, each.executable, each.target, each.digest] for each in entries]
    record = f"data {sha256(json.dumps(states).encode())}"
    known = cache.records.get(record)
    try:
        return Layer(
            digest=str(known["digest"]),
            size=int(known["size"]),
            root=CODE_ROOT,
            entries=tuple(entries),
            content=None,
        )
    except (KeyError, TypeError, ValueError):
        layer = layers.pack(entries, root=CODE_ROOT, folder=None)
        cache.records.put(record, {"digest": layer.digest, "size": layer.size})
        return layer


def packages_part(spec: ImageSpec, made: PackagesLayer) -> Part:
    """The packages layer of an image."""
    names = sorted(spec.extra.packages)
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    note = f"numaflow-udf packages ({spec.extra.source}): {shown}"
    return Part(layer=made.layer, note=note)


def _note(what: str, spec: ImageSpec, files: Sequence[ContextFile], layer: Layer) -> str:
    count = f"{len(files)} file{'' if len(files) == 1 else 's'}"
    held = sum(entry.size or 0 for entry in layer.entries)
    return f"numaflow-udf {what} {spec.udf.name}: {count}, {size(held)}"


def _entry(file: ContextFile) -> Entry:
    if file.target:
        return Entry(path=file.path, target=file.target)
    source = file.content if file.content is not None else file.source
    return Entry(
        path=file.path,
        source=b"" if source is None else source,
        executable=file.executable,
        size=file.size,
        digest=file.digest,
    )


def tree(folder: Path) -> Iterator[Entry]:
    """The files, links and empty folders below ``folder``; there may be none."""
    for place, folders, names in os.walk(folder):
        if not folders and not names and Path(place) != folder:
            yield Entry(path=Path(place).relative_to(folder).as_posix(), folder=True)
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        for name in (*names, *links):
            path = Path(place) / name
            relative = path.relative_to(folder).as_posix()
            if path.is_symlink():
                yield Entry(path=relative, target=str(path.readlink()))
            else:
                executable = bool(path.stat().st_mode & 0o111)
                yield Entry(path=relative, source=path, executable=executable)


def _versions(folder: Path) -> dict[str, str]:
    """What is installed in ``folder``, as the names of its metadata folders say."""
    found = {}
    for path in sorted(folder.glob("*.dist-info")):
        name, _, version = path.name.removesuffix(".dist-info").rpartition("-")
        found[normalised(name)] = version
    return found


def _record(key: str) -> str:
    return f"packages {key}"


def remove(folder: Path) -> None:
    """Remove a folder of :meth:`LayerCache.new_folder` with all that is in it."""
    shutil.rmtree(folder, ignore_errors=True)
