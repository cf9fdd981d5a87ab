"""What a UDF must cope with in `invoke verify`: read from the flags, and checked there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ..model.contract import ANSWER_SECONDS, GRACE_SECONDS, NUMAFLOW, READY_SECONDS
from ..model.errors import ConfigError

LOAD_MESSAGES: Final = 10_000
_MOST_MESSAGES: Final = 10_000_000
_MOST_SECONDS: Final = 86_400
_LATEST: Final = "latest"
_VERSION: Final = re.compile(r"v?\d{1,4}\.\d{1,4}(?:\.\d{1,4})?(?:-[0-9A-Za-z.-]{1,40})?")
_PLATFORM: Final = re.compile(r"linux/[a-z0-9]{1,20}(?:/v[0-9]{1,2})?")
_TIME: Final = re.compile(r"(\d{1,6}(?:\.\d{1,3})?)\s?(ms|s)")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a UDF must cope with: timeouts in seconds, and the Numaflow that it runs with.

    ``ready`` is the time until it must be ready, ``answer`` that for an answer, ``grace`` that
    from SIGTERM to its end. With ``non_root``, Numaflow's container is not run by root. With
    ``restart``, its container is killed and started again. ``load`` is the number of messages of
    a run under load, which takes the place of the cases; 0 is none. ``profile`` looks at what the
    UDF does meanwhile. ``max_ready_ms`` is what the start may take, in milliseconds; 0 sets no
    limit. ``platform`` is the one to run the image for; ``""`` is that of the engine.
    """

    ready: float = READY_SECONDS
    answer: float = ANSWER_SECONDS
    grace: float = GRACE_SECONDS
    numaflow: str = NUMAFLOW
    non_root: bool = False
    restart: bool = True
    load: int = 0
    profile: bool = False
    max_ready_ms: float = 0.0
    platform: str = ""


def read(
    *,
    ready: int,
    answer: int,
    grace: int,
    numaflow: str = NUMAFLOW,
    non_root: bool = False,
    restart: bool = True,
    load: bool = False,
    messages: int = 0,
    profile: bool = False,
    max_ready: str = "",
    platform: str = "",
) -> Conditions:
    """The conditions that flags name. Raises :class:`ConfigError` for one that is invalid."""
    for flag, seconds in (("ready", ready), ("answer", answer), ("grace", grace)):
        if not 1 <= seconds <= _MOST_SECONDS:
            raise _invalid(seconds, flag, f"whole seconds from 1 to {_MOST_SECONDS}")
    if _LATEST not in numaflow and not _VERSION.fullmatch(numaflow):
        raise _invalid(numaflow, "numaflow", "a version, such as 1.8.0, or latest")
    for flag, given in (("messages", messages), ("profile", profile)):
        if given and not load:
            what = f"--{flag} is only for --load"
            raise ConfigError(what, next_step=f"add --load, or leave out --{flag}")
    if messages and not 1 <= messages <= _MOST_MESSAGES:
        raise _invalid(messages, "messages", f"a number from 1 to {_MOST_MESSAGES}")
    if platform and not _PLATFORM.fullmatch(platform):
        raise _invalid(platform, "platform", "a platform, such as linux/arm64")
    return Conditions(
        ready=ready,
        answer=answer,
        grace=grace,
        numaflow=numaflow,
        non_root=non_root,
        restart=restart,
        load=(messages or LOAD_MESSAGES) if load else 0,
        profile=profile,
        max_ready_ms=_milliseconds(max_ready) if max_ready else 0.0,
        platform=platform,
    )


def _milliseconds(text: str) -> float:
    found = _TIME.fullmatch(text.strip())
    time = float(found[1]) * (1000 if found[2] == "s" else 1) if found else 0.0
    if not time:
        raise _invalid(text, "max-ready", "a time with its unit, such as 500ms or 1.5s")
    return time


def _invalid(value: object, flag: str, allowed: str) -> ConfigError:
    what = f"--{flag} {str(value)[:80]} is invalid"
    return ConfigError(what, next_step=f"give {allowed}")
