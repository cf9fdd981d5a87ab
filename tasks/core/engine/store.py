"""What an engine holds beside images: containers, volumes, build cache; and how to remove it.

What is to be removed is decided elsewhere. Images are not removed by force: the engine keeps
what a container uses.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from ..model import labels
from ..model.errors import EngineUnreachableError

if TYPE_CHECKING:
    from .client import Engine

# BuildKit takes a regular expression for the ids to prune; one of a sane length.
_IDS_A_CALL: Final = 100
_SECONDS: Final = 120
_OWNER: Final = re.compile(r" --chown=\S*")


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container, running or not. ``created`` is in seconds of the epoch."""

    id: str
    image: str
    image_id: str
    state: str
    created: float
    labels: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class Volume:
    """A volume. ``created`` is in seconds of the epoch."""

    name: str
    created: float
    labels: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class CacheRecord:
    """One record of the build cache. ``shared`` says that an image holds the same bytes."""

    id: str
    parents: tuple[str, ...] = ()
    type: str = ""
    description: str = ""
    size: int = 0
    used: float = 0.0
    in_use: bool = False
    shared: bool = False


def containers(engine: Engine) -> list[Container]:
    """Every container of the engine, running or not."""
    with _client(engine) as client:
        return [
            Container(
                id=each["Id"],
                image=each["Image"],
                image_id=each["ImageID"],
                state=each["State"],
                created=float(each["Created"]),
                labels=each["Labels"] or {},
            )
            for each in client.api.containers(all=True)
        ]


def volumes(engine: Engine, label: str) -> list[Volume]:
    """The volumes that carry ``label``."""
    with _client(engine) as client:
        found = client.api.volumes(filters={"label": label})["Volumes"] or []
        return [
            Volume(
                name=each["Name"],
                created=_time(each.get("CreatedAt", "")),
                labels=each["Labels"] or {},
            )
            for each in found
        ]


def build_cache(engine: Engine) -> list[CacheRecord]:
    """The build cache of the engine itself; builders of other kinds keep one of their own."""
    with _client(engine) as client:
        api = client.api
        # By itself: asked for all, the engine adds up the sizes of all images as well.
        answer = api.get(
            f"{api.base_url}/v{api.api_version}/system/df",
            params={"type": "build-cache"},
            timeout=_SECONDS,
        )
        answer.raise_for_status()
        return [_record(each) for each in answer.json().get("BuildCache") or []]


def _record(data: dict[str, Any]) -> CacheRecord:
    # Some engines write the key with a space before it.
    parents = data.get("Parents") or data.get(" Parents") or ()
    return CacheRecord(
        id=data["ID"],
        parents=tuple(parents) or tuple(filter(None, [data.get("Parent", "")])),
        type=data["Type"],
        description=_without_owner(data.get("Description", "")),
        size=int(data["Size"]),
        used=_time(data.get("LastUsedAt") or data.get("CreatedAt") or ""),
        in_use=bool(data["InUse"]),
        shared=bool(data["Shared"]),
    )


def prune_cache(engine: Engine, ids: Sequence[str]) -> tuple[list[str], int]:
    """Remove records of the build cache: the ids of those removed, and their bytes.

    A record stays as long as others are built on it, or it is in use.
    """
    gone: list[str] = []
    freed = 0
    with _client(engine) as client:
        client.api.timeout = _SECONDS
        left = list(ids)
        while left:
            before = len(gone)
            for start in range(0, len(left), _IDS_A_CALL):
                wanted = "|".join(left[start : start + _IDS_A_CALL])
                answer = client.api.prune_builds(filters={"id": [wanted]})
                gone += answer.get("CachesDeleted") or []
                freed += int(answer.get("SpaceReclaimed") or 0)
            if len(gone) == before:
                break
            left = [each for each in left if each not in gone]
    return gone, freed


def remove_image(engine: Engine, reference: str) -> str:
    """Remove one tag, or one image without tags; why it was refused, or ``""``."""
    done = engine.docker("image", "rm", reference)
    if done or "o such image" in done.stderr:
        return ""
    return done.problem.removeprefix("Error response from daemon: ")


def remove_nameless(engine: Engine, image_id: str) -> str:
    """Remove an image that has no tag; why it stays, or ``""``.

    By its id alone, the engine would remove an image with one tag as well.
    """
    done = engine.docker("image", "inspect", "--format", "{{json .RepoTags}}", image_id)
    if done and json.loads(done.stdout):
        return "it has a name"
    return remove_image(engine, image_id)


def remove_run(engine: Engine, run_id: str) -> int:
    """Remove the containers and volumes that one run of verify made; how many there were."""
    from docker.errors import APIError

    count = 0
    only = {"label": f"{labels.VERIFY_RUN}={run_id}"}
    with _client(engine) as client:
        for container in client.containers.list(all=True, filters=only, ignore_removed=True):
            with contextlib.suppress(APIError):  # its own run may be removing it right now
                container.remove(force=True, v=True)
            count += 1
        for volume in client.volumes.list(filters=only):
            with contextlib.suppress(APIError):
                volume.remove(force=True)
            count += 1
    return count


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One line of an image's history, newest first: what made it, and its bytes."""

    made_by: str
    size: int


def history(engine: Engine, image: str) -> list[Layer]:
    """How an image was made, the last step first; empty if it does not exist."""
    done = engine.docker(
        *("image", "history", "--no-trunc", "--human=false"),
        *("--format", '{"made_by":{{json .CreatedBy}},"size":{{json .Size}}}', image),
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    return [
        Layer(made_by=_without_owner(line["made_by"]), size=int(line["size"])) for line in lines
    ]


def _without_owner(step: str) -> str:
    """A step without the owner that tasks name in their copies, and builds by hand do not."""
    return _OWNER.sub("", step)


@contextlib.contextmanager
def _client(engine: Engine) -> Iterator[Any]:
    from docker.errors import DockerException
    from requests.exceptions import RequestException

    try:
        with contextlib.closing(engine.sdk()) as client:
            yield client
    except (DockerException, RequestException) as error:
        what = f"the Docker engine does not list what it holds: {error}"
        raise EngineUnreachableError(what, next_step="run `invoke engine --status`") from error


def _time(text: str) -> float:
    # "0001-01-01T00:00:00Z" means "unknown".
    return 0.0 if not text or text.startswith("0001") else datetime.fromisoformat(text).timestamp()
