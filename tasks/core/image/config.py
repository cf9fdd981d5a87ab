"""The config of an image: that of its base, with layers on top."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from ..model.labels import EPOCH
from ..model.running import with_env
from .blob import CONFIG, BadImageError, Blob, canonical, parse_object

COMMENT: Final = "numaflow-udf"
"""What the history says of each layer that was not built but written."""

# By the OCI's image specification. What else a base may have (`moby.buildkit.*`,
# `container_config`) tells how it was made, and would be wrong for what stands on it.
_KEPT: Final = ("architecture", "author", "os", "os.features", "os.version", "variant")


@dataclass(frozen=True, kw_only=True)
class Step:
    """A layer on top: its diff ID, and the line of ``docker history`` that says what it is."""

    diff_id: str
    note: str


def parse(data: bytes) -> dict[str, Any]:
    """The config that ``data`` holds; :class:`BadImageError` where it is none."""
    config = parse_object(data, "the config of an image")
    if not isinstance(config.get("rootfs"), dict):
        what = f"not the config of an image: {data[:200]!r}"
        raise BadImageError(what)
    return config


def diff_ids(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The diff IDs of all layers, the lowest first."""
    return tuple(config["rootfs"].get("diff_ids") or ())


def layer_history(config: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """Each diff ID with its entry of the history; entries without a layer are stepped over.

    A history may be shorter than the list of layers, or absent: then entries are empty.
    """
    ids = diff_ids(config)
    entries = [each for each in config.get("history") or () if not each.get("empty_layer")]
    if len(entries) > len(ids):
        what = f"the history of an image tells of {len(entries)} layers, but it has {len(ids)}"
        raise BadImageError(what)
    return list(zip(ids, [*entries, *({} for _ in ids[len(entries) :])], strict=True))


def on_top(
    base: Mapping[str, Any],
    steps: Sequence[Step],
    *,
    labels: Mapping[str, str],
    env: Mapping[str, str] | None = None,
    workdir: str = "",
    created: int = EPOCH,
) -> Blob:
    """The config of an image that has ``steps`` on top of what has the config ``base``.

    User, command and the rest stay as they are; ``labels`` and ``env`` are laid over those of the
    base, and ``workdir`` is another working folder. ``created`` is in seconds of the epoch.
    """
    time = datetime.fromtimestamp(created, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # Where the base tells of fewer layers than it has, ours would be taken for its last ones.
    untold = [{"created": time} for _, entry in layer_history(base) if not entry]
    own = dict(base.get("config") or {})
    if env:
        own["Env"] = with_env(own.get("Env") or [], env)
    if workdir:
        own["WorkingDir"] = workdir
    return Blob(
        media_type=CONFIG,
        data=canonical(
            {
                **{name: base[name] for name in _KEPT if name in base},
                "created": time,
                "config": {**own, "Labels": {**(own.get("Labels") or {}), **labels}},
                "history": [
                    *(base.get("history") or ()),
                    *untold,
                    *(
                        {"created": time, "created_by": step.note, "comment": COMMENT}
                        for step in steps
                    ),
                ],
                "rootfs": {
                    "type": "layers",
                    "diff_ids": [*diff_ids(base), *(step.diff_id for step in steps)],
                },
            }
        ),
    )


def instructed(
    config: Mapping[str, Any], instructions: Iterable[tuple[str, str]]
) -> dict[str, Any]:
    """A config after instructions of a Dockerfile that only say how a container is started.

    Raises :class:`BadImageError` for an instruction that does more.
    """
    own: dict[str, Any] = dict(config.get("config") or {})
    for name, rest in instructions:
        if name == "ENV":
            key, _, value = rest.partition("=")
            before = dict(each.partition("=")[::2] for each in own.get("Env") or ())
            own["Env"] = [f"{key}={value}" for key, value in {**before, key: value}.items()]
        elif name == "WORKDIR":
            own["WorkingDir"] = rest
        elif name == "USER":
            own["User"] = rest
        elif name == "ENTRYPOINT":  # a command of the base was for its own entrypoint
            own |= {"Entrypoint": json.loads(rest), "Cmd": None}
        elif name == "CMD":
            own["Cmd"] = json.loads(rest)
        elif name not in ("ARG", "COPY"):  # what it copies is a layer
            what = f"the instruction {name} of a Dockerfile cannot be carried out here"
            raise BadImageError(what)
    return {**config, "config": {key: value for key, value in own.items() if value is not None}}


def platform(config: Mapping[str, Any]) -> dict[str, Any]:
    """The platform of an image, as an index names it."""
    keys = ("architecture", "os", "os.features", "os.version", "variant")
    return {name: config[name] for name in keys if config.get(name)}
