"""What these tasks have left behind and nobody needs any more: found first, then removed.

What is ours is told by labels and by what made an image, never by a name alone: an image that
a person builds on one of ours inherits its labels and is not ours.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from ..build.specs import base_of
from ..engine import Engine, Image, sandbox, store
from ..engine.layout import cache_folder
from ..engine.store import CacheRecord, Container, Volume
from ..inputs.files import sha256
from ..inputs.fingerprint import short
from ..migration import journal
from ..model import labels
from ..model.errors import ConfigError
from ..model.settings import Settings
from ..model.udf import scan
from ..plan.specs import BASE_REPOSITORY

Part = Literal["images", "bases", "runs", "cache", "contexts", "backups"]

PARTS: Final[Mapping[Part, str]] = {
    "images": "images of UDFs that a newer build has replaced",
    "bases": "base images that no image uses and no UDF asks for",
    "runs": "containers and volumes of runs of verify and dev that were killed",
    "cache": "build cache of these tasks that was not used for some time",
    "contexts": "staged files of builds that were not used for some time",
    "backups": "files that `invoke migrate` has put aside",
}
"""What can be cleaned; all but the backups is, unless something is named."""

DEFAULT_PARTS: Final[tuple[Part, ...]] = ("images", "bases", "runs", "cache", "contexts")

_BASE_TAG: Final = re.compile(rf"(?P<repository>(?:.+/)?{BASE_REPOSITORY}):(?P<tag>[^:/]+)")
# The last step of an image of ours, as it is and as it was; whoever builds on it adds another.
_OWN_LAST_STEP: Final = re.compile(
    r"COPY (?:--link )?(?:--from=udf )?(?:/\*)?/ /udf/(?: # buildkit)?"
)
# A run of verify ends within minutes, whatever the UDF does; a build reads its context at once.
_RUN_SECONDS: Final = 3600.0
_CONTEXT_SECONDS: Final = 600.0
_AGE: Final = re.compile(r"(?P<number>\d+)\s*(?P<unit>s|min|h|d|w)")
_UNITS: Final = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

# Steps that stand in no other Dockerfile than ours, as they are and as they were.
_OWN_STEPS: Final = (
    "export --only udf --output /requirements.txt",
    "COPY --link --from=env /rootfs/ /",
    "COPY --link --from=dependencies /layer/ /",
    "COPY --link --from=dependencies /deps/ /opt/deps/",
    "COPY --link --from=udf /*/ /udf/",
    "COPY --link --from=udf / /udf/",
)
# Steps that may stand in others: ours where they are next to one of those above.
_LIKELY_STEPS: Final = "sh /scripts/install"


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """One thing that may go: ``id`` is what the engine or the file system calls it.

    ``bytes`` is what its removal gives back, or ``None`` where that is not known; ``failure``
    says why it could not be removed.
    """

    part: Part
    name: str
    id: str
    why: str
    bytes: int | None = None
    tags: tuple[str, ...] = ()
    failure: str = ""

    def row(self) -> dict[str, Any]:
        """The leftover with the stable keys of ``--json``."""
        return {
            "part": self.part,
            "name": self.name,
            "id": self.id,
            "why": self.why,
            "bytes": self.bytes,
            "failure": self.failure,
        }


def parts_of(names: Iterable[str], *, backups: bool = False) -> tuple[Part, ...]:
    """The parts that ``--only`` names, else all by default; with ``backups``, these as well."""
    asked = list(names)
    known = {str(part): part for part in PARTS}
    for name in asked:
        if name not in known:
            what = f"--only '{name}' is no part that can be cleaned"
            raise ConfigError(what, next_step=f"give one of {', '.join(PARTS)}")
    chosen = tuple(known[name] for name in asked) or DEFAULT_PARTS
    return (*chosen, "backups") if backups and "backups" not in chosen else chosen


def seconds_of(text: str) -> float:
    """The seconds of an age such as ``7d``, ``12h``, ``30min`` or ``0s``."""
    match = _AGE.fullmatch(text.strip())
    if not match:
        what = f"--older '{text}' is no length of time"
        raise ConfigError(what, next_step="give a number and one of s, min, h, d, w, such as 7d")
    return float(match["number"]) * _UNITS[match["unit"]]


def find(
    engine: Engine,
    settings: Settings,
    parts: Sequence[Part],
    *,
    older: float,
    environ: Mapping[str, str],
) -> list[Leftover]:
    """What may go, of ``parts``; of the cache and contexts, what is ``older`` than that."""
    now = time.time()
    found: list[Leftover] = []
    if "images" in parts or "bases" in parts:
        found += _images(engine, settings, parts)
    if "runs" in parts:
        made = store.volumes(engine, sandbox.LABEL)
        found += abandoned_runs(store.containers(engine), made, now=now)
    if "cache" in parts:
        found += unused_cache(store.build_cache(engine), older=older, now=now)
    if "contexts" in parts:
        found += old_contexts(cache_folder(environ) / "contexts", older=older, now=now)
    if "backups" in parts:
        found += backup_files(settings)
    return found


def remove(engine: Engine, leftovers: Sequence[Leftover]) -> list[Leftover]:
    """Remove them; each with what it gave back, or with its failure."""
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
            failure = "" if each.id in gone else "other build cache is made from it"
        else:
            failure = _remove_path(Path(each.id))
        done.append(replace(each, failure=failure))
    return done


def _remove_image(engine: Engine, leftover: Leftover) -> str:
    if _users(store.containers(engine), leftover.id, leftover.tags):
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


# --- images -----------------------------------------------------------------------------------

Stored = tuple[tuple[str, ...], Image]
"""The tags of an image, and the image."""


def _images(engine: Engine, settings: Settings, parts: Sequence[Part]) -> list[Leftover]:
    images = engine.every_image()
    running = store.containers(engine)
    replaced = [
        each
        for each in replaced_images(images, running)
        if _is_ours(store.history(engine, each.id))
    ]
    current = _current_bases(settings) if "bases" in parts else set()
    gone = {each.id for each in replaced} if "images" in parts else set()
    left = [each for each in images if each[1].id not in gone]
    unused = unused_bases(left, running, repository=_repository(settings), current=current)
    return [*(replaced if "images" in parts else ()), *(unused if "bases" in parts else ())]


def replaced_images(images: Sequence[Stored], running: Sequence[Container]) -> list[Leftover]:
    """Images of UDFs without a tag, which no container uses."""
    return [
        Leftover(
            part="images",
            name=image.labels.get(labels.NAME, "?"),
            id=image.id,
            why=f"replaced ({short(image.labels[labels.FINGERPRINT])})",
            bytes=_own_bytes(image, images),
        )
        for tags, image in images
        if not tags and labels.FINGERPRINT in image.labels and not _users(running, image.id, ())
    ]


def unused_bases(
    images: Sequence[Stored],
    running: Sequence[Container],
    *,
    repository: str,
    current: Iterable[str],
) -> list[Leftover]:
    """Bases named ``repository`` that no image and no container uses, but for the ``current``.

    An image that has another tag than those of a base is somebody else's as well, and stays.
    """
    found = []
    kept = set(current)
    for tags, image in images:
        fingerprint = image.labels.get(labels.BASE_FINGERPRINT, "")
        ours = [match for tag in tags if (match := _BASE_TAG.fullmatch(tag))]
        if not fingerprint or labels.FINGERPRINT in image.labels or len(ours) != len(tags):
            continue
        if any(match["tag"] not in (short(fingerprint), "latest") for match in ours):
            continue
        if not any(match["repository"] == repository for match in ours) or kept & set(tags):
            continue
        if _users(running, image.id, tags) or _is_built_on(image, images):
            continue
        found.append(
            Leftover(
                part="bases",
                name=f"{repository}:{short(fingerprint)}",
                id=image.id,
                why="no image uses it",
                bytes=_own_bytes(image, images),
                tags=tags,
            )
        )
    return found


def _repository(settings: Settings) -> str:
    return base_of(settings).repository


def _current_bases(settings: Settings) -> set[str]:
    """The names of the bases that the next build of any UDF starts from."""
    udfs, _ = scan(settings)
    pythons = {"", *(udf.python for udf in udfs)}
    return {base_of(settings, python).image for python in pythons}


def _is_ours(history: Sequence[store.Layer]) -> bool:
    return bool(history) and _OWN_LAST_STEP.fullmatch(history[0].made_by) is not None


def _users(running: Iterable[Container], image_id: str, tags: Sequence[str]) -> list[Container]:
    return [each for each in running if each.image_id == image_id or each.image in tags]


def _is_built_on(base: Image, images: Iterable[Stored]) -> bool:
    return any(
        other.id != base.id and other.layers[: len(base.layers)] == base.layers
        for _, other in images
    )


def _own_bytes(image: Image, images: Iterable[Stored]) -> int:
    """What an image has beyond the largest other one that it is built on."""
    below = [
        other.size
        for _, other in images
        if other.layers
        and len(other.layers) < len(image.layers)
        and image.layers[: len(other.layers)] == other.layers
    ]
    return max(image.size - max(below, default=0), 0)


# --- what runs left, cache and files -----------------------------------------------------------


def abandoned_runs(
    containers: Sequence[Container], volumes: Sequence[Volume], *, now: float
) -> list[Leftover]:
    """Runs of verify that cannot be going on any more, by what they left on the engine."""
    made: list[Container | Volume] = [*containers, *volumes]
    runs: dict[str, list[Container | Volume]] = {}
    for each in made:
        if run_id := each.labels.get(sandbox.LABEL, ""):
            runs.setdefault(run_id, []).append(each)
    return [
        Leftover(
            part="runs",
            name=f"{sum(isinstance(each, Container) for each in things)} containers, "
            f"{sum(isinstance(each, Volume) for each in things)} volumes",
            id=run_id,
            why="its run was killed",
        )
        for run_id, things in runs.items()
        if now - max(each.created for each in things) > _RUN_SECONDS
    ]


def unused_cache(records: Sequence[CacheRecord], *, older: float, now: float) -> list[Leftover]:
    """The build cache of these tasks that is ``older``, and that no image shares.

    Cache mounts (of apt, uv and pip) belong to every Dockerfile that mounts the same path, so
    they stay.
    """
    ours = _own_records(records)
    return [
        Leftover(
            part="cache",
            name=each.description,
            id=each.id,
            why=f"not used for {_age(now - each.used)}",
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
    """Staged contexts that were not used for so long, and those of builds that were killed."""
    if not folder.is_dir():
        return []
    found = []
    for path in sorted(folder.iterdir()):
        try:
            age = now - path.stat().st_mtime
            size = sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
        except FileNotFoundError:  # another run has just cleaned it
            continue
        unfinished = path.name.startswith(".new-") and age > _RUN_SECONDS
        unused = not path.name.startswith(".new-") and age >= max(older, _CONTEXT_SECONDS)
        if unfinished or unused:
            why = "its build was killed" if unfinished else f"not used for {_age(age)}"
            found.append(
                Leftover(part="contexts", name=path.name, id=str(path), why=why, bytes=size)
            )
    return found


def backup_files(settings: Settings) -> list[Leftover]:
    """What `invoke migrate` has put aside below the root, and its records, which go last.

    Only files that hold what the record says: a ``*.backup`` of somebody else's is none of them.
    """
    found = []
    for record in journal.records(settings.root):
        if not record.complete:
            continue
        for entry in record.files:
            path = record.folder / f"{entry['path']}.backup"
            if path.is_file() and sha256(path.read_bytes()) == entry["before"]:
                found.append(_aside(settings, path))
        found.append(_aside(settings, record.folder / journal.JOURNAL))
    return found


def _aside(settings: Settings, path: Path) -> Leftover:
    return Leftover(
        part="backups",
        name=path.relative_to(settings.root.parent).as_posix(),
        id=str(path),
        why="put aside by migrate",
        bytes=path.stat().st_size,
    )


def _age(seconds: float) -> str:
    for unit in ("d", "h", "min"):
        if seconds >= _UNITS[unit]:
            return f"{int(seconds // _UNITS[unit])} {unit}"
    return f"{max(int(seconds), 0)} s"
