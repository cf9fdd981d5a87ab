"""What a manifest of Numaflow says of a UDF, held against its image: where both contradict. Pure.

Each rule is one that a cluster would only show by a pod that waits for ever, or starts wrongly.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ..inputs.pipelines import Use
from ..model.contract import RUN_FOLDER
from ..model.running import HOME, IN_FRONT, Variant, is_of_the_pod
from ..model.udf import Udf
from .checks import CheckResult, Status

_REDUCES: Final = ("reduce", "reducestream")
_OURS: Final = (HOME, "/opt/venv", "/opt/deps", "/usr/local/bin", RUN_FOLDER)
_PYTHON: Final = re.compile(r"(?:.*/)?python[0-9.]*")


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """What is wrong with a use of an image, and what to do. Only a warning is no failure."""

    use: Use
    text: str
    step: str
    warning: bool = False

    def __str__(self) -> str:
        return f"{self.use.where} ({self.use.vertex}): {self.text}; {self.step}"


def variant_of(udf: Udf, use: Use) -> Variant | None:
    """The variant of a UDF that a use runs."""
    return next((each for each in udf.variants if each.args == use.args), None)


def contradictions(udf: Udf, uses: Sequence[Use]) -> list[Contradiction]:
    """Where the ``uses`` of the image of ``udf`` contradict it, in their order."""
    found = [each for use in uses for each in _of_use(udf, use)]
    plain = [use for use in uses if variant_of(udf, use) is None]
    others = [use for use in plain if use.args != plain[0].args]
    # Only sinks have several containers of one kind in a vertex: these may differ.
    if others and not udf.variants:
        text = f"it runs {_shown(others[0])}, but line {plain[0].line} {_shown(plain[0])}"
        step = "write each under [tool.numaflow-udf.variants], so that verify plays it"
        found.append(Contradiction(use=others[0], text=text, step=step, warning=True))
    return found


def check(udf: Udf, uses: Sequence[Use]) -> list[CheckResult]:
    """The check ``pipeline`` of the uses of an image; none where no manifest names it."""
    if not uses:
        return []
    found = contradictions(udf, uses)
    wrong = [each for each in found if not each.warning]
    status: Status = "failed" if wrong else "warning" if found else "ok"
    detail = "; ".join(map(str, wrong or found)) or f"{uses[0].where} ({uses[0].vertex})"
    return [CheckResult(name="pipeline", status=status, detail=detail)]


def _of_use(udf: Udf, use: Use) -> Iterator[Contradiction]:
    variant = variant_of(udf, use)
    for text, step in (
        *_kind(variant.kind if variant else udf.kind, use),
        *_args(udf, use, variant),
        *_env(use),
        *_mounts(udf, use),
    ):
        yield Contradiction(use=use, text=text, step=step)
    if use.command:
        text = f"command {list(use.command)} replaces dumb-init and start-udf, and so umask 0"
        yield Contradiction(use=use, text=text, step="give args instead", warning=True)


def _kind(kind: str, use: Use) -> Iterator[tuple[str, str]]:
    if not kind or kind in use.kinds:
        return
    grouping = kind in (*_REDUCES, "accumulator")
    if use.window == "session":
        yield "pynumaflow has no server for session windows", "use a fixed or a sliding window"
    elif use.place == "udf" and not use.window and grouping:
        yield f"the image is a {kind}, and the vertex has no groupBy", "add groupBy"
    elif kind == "reducestream" and use.kinds == ("reduce",):
        text = f"the image is a reducestream, and the {use.window} window has no streaming: true"
        yield text, "add it: without it, Numaflow waits for another info file for ever"
    elif kind == "reduce" and use.kinds == ("reducestream",):
        text = f"the image is a reduce, and the {use.window} window has streaming: true"
        yield text, "remove it, or serve with ReduceStreamServer"
    else:
        window = f" with a window of the kind {use.window}" if use.window else ""
        yield _wrong_place(kind, f"{use.place}{window}", use.kinds)


def _wrong_place(kind: str, place: str, fitting: Sequence[str]) -> tuple[str, str]:
    text = f"the image is a {kind}, and stands in the place of a {place}"
    step = f"use one of kind {', '.join(fitting)} there" if fitting else "the SDK cannot serve it"
    return text, step


def _args(udf: Udf, use: Use, variant: Variant | None) -> Iterator[tuple[str, str]]:
    options = use.args and use.args[0].startswith("-")  # for the program of the image
    if udf.variants and use.args and not options and variant is None:
        text = f"args {list(use.args)} are of no variant"
        yield text, f"known: {', '.join(each.name for each in udf.variants)}"
    words = [word for word in use.args if not word.startswith("-")]
    if not words or not _PYTHON.fullmatch(words[0]) or {"-c", "-m"} & set(use.args):
        return
    name = next((word for word in words[1:] if word.endswith(".py")), "")
    path = posixpath.normpath(posixpath.join(HOME, udf.workdir, name))
    mounted = any(path == mount or path.startswith(f"{mount}/") for mount in use.mounts)
    if not name or mounted:
        return
    if not path.startswith(f"{HOME}/"):
        yield f"args name {name}, and the image has the UDF at {HOME}", "name it there"
    elif not _holds(udf, path.removeprefix(f"{HOME}/")):
        yield f"args name {name}, which is not in the folder of the UDF", "correct the name"


def _env(use: Use) -> Iterator[tuple[str, str]]:
    for name in use.env:
        if name in IN_FRONT:
            text = f"env {name} replaces that of the image, which then misses its packages"
            yield text, f"set {name} under [tool.numaflow-udf.env], where it is put in front"
        elif is_of_the_pod(name):
            yield f"env {name} is set by Numaflow itself", "remove it"


def _mounts(udf: Udf, use: Use) -> Iterator[tuple[str, str]]:
    for mount in use.mounts:
        place = posixpath.normpath(mount)
        below = place.removeprefix(f"{HOME}/")
        hidden = [each for each in _OURS if f"{each}/".startswith(f"{place.rstrip('/')}/")]
        if hidden:
            yield f"the mount {mount} hides {hidden[0]} of the image", "mount it elsewhere"
        elif below != place and _holds(udf, below) and not _is_settings(udf, below):
            yield f"the mount {mount} hides files of the UDF", "mount it beside them"


def _is_settings(udf: Udf, path: str) -> bool:
    """Whether a path is a file but no program: a pipeline may have its own in its place."""
    return (udf.path / path).is_file() and not path.endswith((".py", ".sh"))


def _holds(udf: Udf, path: str) -> bool:
    included: Iterable[str] = (item.rstrip("/") for item in udf.include)
    return (udf.path / path).exists() or any(
        path == item or path.startswith(f"{item}/") or item.startswith(f"{path}/")
        for item in included
    )


def _shown(use: Use) -> str:
    return f"args {list(use.args)}" if use.args else "no args"
