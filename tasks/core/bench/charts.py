"""The figures as pictures: SVG that follows the reader's light or dark scheme.

The only file that imports matplotlib, which takes half a second and comes with the extra
``bench``. It draws with a colour that stands for "text"; in the SVG that is replaced by what the
scheme says. The background is part of the picture: a page with a dark theme on a light system
would show a transparent one with dark text on dark.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..model.errors import MissingExtraError
from ..model.places import extra
from ..output.report import seconds
from .results import Results
from .summary import Cell, cells, growth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES: Final = ("bench-builds", "bench-scenarios", "bench-scale")
"""The pictures of a complete measurement, by file name without ``.svg``."""

_TEXT: Final = "#010203"
_STYLE: Final = """\
<style>
svg { color: #1f2328 }
@media (prefers-color-scheme: dark) {
  svg { color: #e6edf3 }
  #background path { fill: #0d1117 !important }
}
</style>
"""
_LOOK: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "font.family": "sans-serif",
    "font.size": 9,
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _TEXT),
    "axes.edgecolor": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
# Of a contrast of at least 3:1 with white and with near-black; told apart by shape as well.
_MARKS: Final = {
    "unoptimized": ("#d1495b", "s"),
    "uv-example": ("#b7791f", "D"),
    "bake": ("#a855c7", "v"),
    "buildah": ("#c2577f", "P"),
    "optimized": ("#3b82c4", "^"),
    "shared-base": ("#0f8b8d", "h"),
    "assembled": ("#2a9461", "o"),
    "no-engine": ("#5b6f1f", "d"),
    "floor": ("#85858f", "X"),
}
_STEPS: Final = {
    "all": ("#d1495b", "s", "image-all, all changed"),
    "one": ("#b7791f", "D", "image-all, one changed"),
    "unchanged": ("#2a9461", "o", "image-all, none changed"),
    "pushed": ("#0f8b8d", "h", "image-all --push, no Docker, all changed"),
    "moved": ("#a855c7", "v", "image-all --push, no Docker, moved base"),
    "list": ("#3b82c4", "^", "list"),
}
_IN_README: Final = ("cold", "edit", "edit-to-ready", "all")
_ROW: Final = 0.21


def draw(results: Results, folder: Path) -> list[Path]:
    """Write the pictures of what was measured into ``folder``.

    Raises :class:`MissingExtraError` where matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
    except ImportError as error:
        what = "the charts need matplotlib, which is not installed"
        step = f"install the extra: `{extra('bench')}`"
        raise MissingExtraError(what, next_step=step) from error
    every = [cell for cell in cells(results).values() if cell.scenario != "list"]
    some = [cell for cell in every if cell.scenario in _IN_README]
    written = []
    with mpl.rc_context(_LOOK):
        figures = (
            _seconds(some, "Seconds of a build"),
            _seconds(every, "Every scenario"),
            _scale(results),
        )
        for name, figure in zip(NAMES, figures, strict=True):
            if figure is not None:
                path = folder / f"{name}.svg"
                path.write_text(_svg(figure, digest(results)), encoding="utf-8")
                written.append(path)
    return written


def digest(results: Results) -> str:
    """What a picture was drawn from: it is written into the file, so that it can be checked."""
    data = results.as_dict()
    text = json.dumps([data["samples"], data["scale"]], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _seconds(every: Sequence[Cell], title: str) -> Figure | None:
    """Groups of lines, each a dot with its range and its value, on a logarithmic axis."""
    groups: dict[str, list[Cell]] = {}
    for cell in every:
        groups.setdefault(cell.scenario, []).append(cell)
    if not groups:
        return None
    figure, axes = _figure(0.9 + sum(len(lines) + 1.6 for lines in groups.values()) * _ROW)
    place = 0.0
    ticks = {}
    beside: dict[str, Any] = {"textcoords": "offset points", "va": "center"}
    for name, lines in groups.items():
        at: Any = ("axes fraction", "data")
        label = {**beside, "xytext": (-4, 0), "ha": "right", "weight": "bold"}
        axes.annotate(name, (0, place), xycoords=at, **label)
        for cell in lines:
            place += 1
            colour, marker = _MARKS[cell.strategy]
            axes.plot([cell.low, cell.high], [place] * 2, color=colour, linewidth=2.2, alpha=0.6)
            axes.plot([cell.median], [place], marker=marker, color=colour, markersize=6)
            text, spot = seconds(cell.median), (cell.high, place)
            axes.annotate(text, spot, xytext=(8, 0), size=8, **beside)
            ticks[place] = cell.strategy
        place += 1.6
    axes.set_xscale("log")
    left, right = axes.get_xlim()
    axes.set_xlim(left, right * (right / left) ** 0.1)  # room for the last value
    axes.set_ylim(place - 0.8, -0.9)
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _finish(axes, f"{title}: median, fastest and slowest run", "seconds, logarithmic")
    return figure


def _scale(results: Results) -> Figure | None:
    steps = [each for each in growth(results.scale) if each.step in _STEPS]
    if not steps:
        return None
    figure, axes = _figure(4.2)
    for each in steps:
        colour, marker, name = _STEPS[each.step]
        numbers, values, _ = zip(*each.points, strict=True)
        axes.plot(numbers, values, color=colour, marker=marker, linewidth=1.8, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sorted({number for each in steps for number, _, _ in each.points}))
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylabel("seconds, logarithmic")
    axes.grid(axis="y", color=_TEXT, alpha=0.15, linewidth=0.6)
    axes.legend(frameon=False, loc="upper left")
    _finish(axes, "Seconds by the number of UDFs", "UDFs, logarithmic")
    return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.6, height), layout="constrained")
    figure.patch.set_gid("background")
    axes = figure.subplots()
    axes.patch.set_visible(False)
    return figure, axes


def _finish(axes: Axes, title: str, label: str) -> None:
    axes.grid(axis="x", color=_TEXT, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", size=10, weight="bold")
    axes.set_xlabel(label)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _svg(figure: Figure, data: str) -> str:
    buffer = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None, "Description": f"data {data}"}
    figure.savefig(buffer, format="svg", metadata=metadata)
    text = buffer.getvalue().replace(_TEXT, "currentColor")
    head, tag, rest = text.partition(" <defs>")
    return "".join((head, _STYLE, tag, rest))
