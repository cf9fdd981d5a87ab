"""Finds what these tasks have left behind and nobody needs any more, and removes it."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from ..engine import Engine, client_process, store
from ..engine.layout import cache_folder
from ..engine.store import CacheRecord, Container, Volume
from ..inputs.files import sha256
from ..migration import journal
from ..model import labels
from ..model.reading import read_bytes
from ..model.settings import Settings
from ..output import report
from .leftovers import Leftover, Part
from .stale_images import stale_images, users

# A run of verify ends within minutes, whatever the UDF does; a build reads its context early.
_RUN_SECONDS: Final = 3600.0
_CONTEXT_SECONDS: Final = 600.0
# Below the cache folder: what builds stage, and the layers of assembled images.
_CACHES: Final = ("contexts", "layers")
_RECORDS: Final = "records"
_UNFINISHED: Final = (".new-", ".installing-")

# Steps of our Dockerfiles alone, now and in older versions.
_OWN_STEPS: Final = (
    "export --only udf --output /requirements.txt",
    "COPY --link --from=env /rootfs/ /",
    "COPY --link --from=dependencies /layer/ /",
    "COPY --link --from=dependencies /deps/ /opt/deps/",
    "COPY --link --from=udf /*/ /udf/",
    "COPY --link --from=udf / /udf/",
)
# What our steps download (uv, pip, Poetry, apt): the cache mounts of our Dockerfiles have names.
_OWN_MOUNT: Final = re.compile(r'cached mount .* with id "/?(?P<name>numaflow-udf-.*)"')
# Steps that other Dockerfiles may have: ours where they are next to one of those above.
_LIKELY_STEPS: Final = "sh /scripts/install"


def find(
    engine: Engine,
    settings: Settings,
    parts: Sequence[Part],
    *,
    older: float,
    environ: Mapping[str, str],
) -> list[Leftover]:
    """What can be removed of ``parts``; of cache and contexts, what is ``older``, in seconds."""
    now = time.time()
    found: list[Leftover] = []
    if "images" in parts or "bases" in parts:
        found += stale_images(engine, settings, parts)
    if "runs" in parts:
        made = store.volumes(engine, labels.VERIFY_RUN)
        found += abandoned_runs(store.containers(engine), made, now=now)
    if "cache" in parts:
        found += unused_cache(store.build_cache(engine), older=older, now=now)
    if "contexts" in parts:
        for name in _CACHES:
            found += old_contexts(cache_folder(environ) / name, older=older, now=now)
    if "backups" in parts:
        found += backup_files(settings)
    return found


def remove(engine: Engine, leftovers: Sequence[Leftover]) -> list[Leftover]:
    """Remove ``leftovers``; each is returned, with its failure where it stays."""
    done = []
    cache = [each for each in leftovers if each.part == "cache"]
    gone, _ = store.prune_cache(engine, [each.id for each in cache]) if cache else ([], 0)
    for each in leftovers:
        failure = ""
        if each.part in ("images", "bases"):
            failure = _remove_image(engine, each)
        elif each.part == "runs":
            store.remove_run(engine, each.id)
        elif each.part == "cache":
            failure = "" if each.id in gone else "other build cache depends on it"
        else:
            failure = _remove_path(Path(each.id))
        done.append(replace(each, failure=failure))
    return done


def _remove_image(engine: Engine, leftover: Leftover) -> str:
    if users(store.containers(engine), leftover.id, leftover.tags):
        return "a container uses it"  # since it was found
    if not leftover.tags:
        return store.remove_nameless(engine, leftover.id)
    failures = [store.remove_image(engine, name) for name in leftover.tags]
    return "; ".join(filter(None, failures))


def _remove_path(path: Path) -> str:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        return str(error)
    return ""


# --- runs, cache and files --------------------------------------------------------------------


def abandoned_runs(
    containers: Sequence[Container], volumes: Sequence[Volume], *, now: float
) -> list[Leftover]:
    """What runs of verify have left on the engine that cannot be running any more.

    A run of this machine is known by its process; of another one, by its age.
    """
    made: list[Container | Volume] = [*containers, *volumes]
    runs: dict[str, list[Container | Volume]] = {}
    for each in made:
        if run_id := each.labels.get(labels.VERIFY_RUN, ""):
            runs.setdefault(run_id, []).append(each)
    return [
        Leftover(
            part="runs",
            name=", ".join(
                report.count(sum(isinstance(each, kind) for each in things), kind.__name__.lower())
                for kind in (Container, Volume)
            ),
            id=run_id,
            why="its run was killed",
        )
        for run_id, things in runs.items()
        if _is_abandoned(things, now)
    ]


def _is_abandoned(things: Sequence[Container | Volume], now: float) -> bool:
    ended = client_process.has_ended(things[0].labels.get(labels.VERIFY_CLIENT, ""))
    if ended is None:
        return now - max(each.created for each in things) > _RUN_SECONDS
    return ended


def unused_cache(records: Sequence[CacheRecord], *, older: float, now: float) -> list[Leftover]:
    """The build cache of these tasks that is ``older`` and that no image shares.

    Of cache mounts, those with a name of ours: others belong to every Dockerfile that mounts the
    same path.
    """
    mounts = {
        each.id: f"downloads: {match['name']}"
        for each in records
        if each.type == "exec.cachemount" and (match := _OWN_MOUNT.fullmatch(each.description))
    }
    ours = _own_records(records) | mounts.keys()
    return [
        Leftover(
            part="cache",
            name=mounts.get(each.id, each.description),
            id=each.id,
            why=f"not used for {report.age(now - each.used)}",
            bytes=each.size,
        )
        for each in records
        if each.id in ours and not each.in_use and not each.shared and now - each.used >= older
    ]


def _own_records(records: Sequence[CacheRecord]) -> set[str]:
    regular = [each for each in records if each.type == "regular"]
    ours = {each.id for each in regular if any(step in each.description for step in _OWN_STEPS)}
    likely = {each.id: each for each in regular if _LIKELY_STEPS in each.description}
    parents = {each.id: set(each.parents) for each in regular}
    found = True
    while found:
        found = False
        for name, each in list(likely.items()):
            children = {id_ for id_ in ours if name in parents[id_]}
            if ours & set(each.parents) or children:
                ours.add(name)
                del likely[name]
                found = True
    return ours


def old_contexts(folder: Path, *, older: float, now: float) -> list[Leftover]:
    """Staged contexts or cached layers that were not used for that long, or of killed builds."""
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        if path.name == _RECORDS:
            continue  # a few bytes for each layer; one without its layer counts as absent
        try:
            age = now - path.stat().st_mtime
            size = sum(file.lstat().st_size for file in (path, *path.rglob("*")) if file.is_file())
        except FileNotFoundError:  # another run has just cleaned it
            continue
        unfinished = path.name.startswith(_UNFINISHED)
        if age > _RUN_SECONDS if unfinished else age >= max(older, _CONTEXT_SECONDS):
            why = "its build was killed" if unfinished else f"not used for {report.age(age)}"
            found.append(
                Leftover(part="contexts", name=path.name, id=str(path), why=why, bytes=size)
            )
    return found


def backup_files(settings: Settings) -> list[Leftover]:
    """The backups of `invoke migrate` below the root, and its records, which go last.

    Only files with the content that the record says: other ``*.backup`` files stay.
    """
    found = []
    records = [
        (record, root)
        for root in settings.roots
        if root.is_dir()
        for record in journal.records(root)
    ]
    for record, root in records:
        if not record.complete:
            continue
        for entry in record.files:
            path = record.folder / f"{entry['path']}.backup"
            if path.is_file() and sha256(read_bytes(path)) == entry["before"]:
                found.append(_backup(root, path))
        found.append(_backup(root, record.folder / journal.JOURNAL))
    return found


def _backup(root: Path, path: Path) -> Leftover:
    return Leftover(
        part="backups",
        name=path.relative_to(root.parent).as_posix(),
        id=str(path),
        why="made by migrate",
        bytes=path.stat().st_size,
    )
