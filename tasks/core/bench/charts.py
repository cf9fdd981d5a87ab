"""The figures as pictures: SVG that follows the reader's light or dark scheme.

The only file that imports matplotlib, which takes half a second and comes with the extra
``bench``. It draws with colours that stand for "text" and "background"; in the SVG they are
replaced by what the scheme says. The background is part of the picture: a page with a dark
theme on a light system would show a transparent one with dark text on dark.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..model.errors import MissingExtraError
from ..output.report import seconds, size
from .results import Results
from .strategies import STRATEGIES
from .summary import Cell, cells, find, growth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES: Final = ("bench-builds", "bench-scenarios", "bench-bytes", "bench-scale")
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
# Of a contrast of at least 3:1 with white and with near-black; told apart by shape as well.
_LOOKS: Final = {
    "unoptimized": ("#d1495b", "s"),
    "uv-example": ("#b7791f", "D"),
    "optimized": ("#3b82c4", "^"),
    "shared-base": ("#2a9461", "o"),
    "floor": ("#85858f", "X"),
}
_STEPS: Final = {
    "all": ("#d1495b", "s", "image-all, all changed"),
    "one": ("#b7791f", "D", "image-all, one changed"),
    "unchanged": ("#2a9461", "o", "image-all, none changed"),
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
        step = "install the extra: `pip install -e '.[bench]'`"
        raise MissingExtraError(what, next_step=step) from error
    look: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "bench",
        "font.family": "sans-serif",
        "font.size": 9,
        **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), _TEXT),
        "axes.edgecolor": _TEXT,
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
    written = []
    with mpl.rc_context(look):
        for name, picture in _pictures(results).items():
            figure = picture()
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


def _pictures(results: Results) -> dict[str, Callable[[], Figure | None]]:
    every = cells(results)
    some = [cell for cell in every if cell.scenario in _IN_README]
    titles = ("Seconds of a build", "Every scenario")
    pictures: tuple[Callable[[], Figure | None], ...] = (
        lambda: _seconds(some, titles[0]),
        lambda: _seconds(every, titles[1]),
        lambda: _bytes(every),
        lambda: _scale(results),
    )
    return dict(zip(NAMES, pictures, strict=True))


def _seconds(every: Sequence[Cell], title: str) -> Figure | None:
    every = [cell for cell in every if cell.scenario != "list"]
    groups = {
        scenario: [cell for cell in every if cell.scenario == scenario]
        for scenario in dict.fromkeys(cell.scenario for cell in every)
    }
    rows = [
        (scenario, [(cell.strategy, cell.low, cell.median, cell.high) for cell in group])
        for scenario, group in groups.items()
    ]
    return _dots(rows, f"{title}: median, fastest and slowest run", "s", seconds)


def _bytes(every: Sequence[Cell]) -> Figure | None:
    figures = (
        ("image", "edit", "image_bytes"),
        ("unique to one UDF", "edit", "unique_bytes"),
        ("pushed after an edit", "edit", "push_bytes"),
        ("context sent after an edit", "edit", "context_bytes"),
    )
    rows = []
    for title, scenario, name in figures:
        values = []
        for strategy in STRATEGIES:
            cell = find(every, scenario, strategy)
            value = getattr(cell, name) if cell else None
            if value:
                values.append((strategy, value, value, value))
        if values:
            rows.append((title, values))
    return _dots(rows, "Bytes of one UDF's image", "B", lambda value: size(round(value or 0)))


Row = tuple[str, Sequence[tuple[str, float, float, float]]]


def _dots(
    rows: Sequence[Row], title: str, unit: str, shown: Callable[[float | None], str]
) -> Figure | None:
    """Groups of lines, each a dot with its range and its value, on a logarithmic axis."""
    if not rows:
        return None
    lines = sum(len(values) + 1.6 for _, values in rows)
    figure, axes = _figure(7.6, 0.9 + lines * _ROW)
    place = 0.0
    ticks = []
    for name, values in rows:
        axes.annotate(
            name,
            (0, place),
            xycoords=("axes fraction", "data"),
            xytext=(-4, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            weight="bold",
        )
        for strategy, low, middle, high in values:
            place += 1
            colour, marker = _LOOKS[strategy]
            axes.plot([low, high], [place, place], color=colour, linewidth=2.2, alpha=0.6)
            axes.plot(
                [middle], [place], marker=marker, color=colour, markersize=6, markeredgewidth=1
            )
            axes.annotate(
                shown(middle),
                (high, place),
                xytext=(8, 0),
                textcoords="offset points",
                va="center",
                size=8,
            )
            ticks.append((place, strategy))
        place += 1.6
    axes.set_xscale("log")
    left, right = axes.get_xlim()
    axes.set_xlim(left, right * (right / left) ** 0.1)  # room for the last value
    axes.set_ylim(place - 0.8, -0.9)
    axes.set_yticks([at for at, _ in ticks], [name for _, name in ticks])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    _finish(axes, title, f"{_WORDS[unit]}, logarithmic")
    axes.xaxis.set_major_formatter(lambda value, _: shown(value) if unit == "B" else f"{value:g}")
    return figure


_WORDS: Final = {"s": "seconds", "B": "bytes"}


def _scale(results: Results) -> Figure | None:
    steps = [each for each in growth(results.scale) if each.step in _STEPS]
    if not steps:
        return None
    figure, axes = _figure(7.6, 4.2)
    for each in steps:
        colour, marker, name = _STEPS[each.step]
        numbers = [number for number, _, _ in each.points]
        values = [median for _, median, _ in each.points]
        axes.plot(numbers, values, color=colour, marker=marker, linewidth=1.8, label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xticks(sorted({number for each in steps for number, _, _ in each.points}))
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set_ylabel("seconds, logarithmic")
    axes.grid(axis="y", color=_TEXT, alpha=0.15, linewidth=0.6)
    axes.legend(frameon=False, loc="upper left")
    _finish(axes, "Seconds by the number of UDFs", "UDFs, logarithmic")
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    figure.patch.set_gid("background")
    axes = figure.subplots()
    axes.patch.set_visible(False)
    return figure, axes


def _finish(axes: Axes, title: str, label: str) -> None:
    axes.grid(axis="x", color=_TEXT, alpha=0.15, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_title(title, loc="left", size=10, weight="bold")
    axes.set_xlabel(label)


def _svg(figure: Figure, data: str) -> str:
    buffer = io.StringIO()
    metadata: dict[str, Any] = {"Date": None, "Creator": None, "Description": f"data {data}"}
    figure.savefig(buffer, format="svg", metadata=metadata)
    text = buffer.getvalue().replace(_TEXT, "currentColor")
    head, tag, rest = text.partition(" <defs>")
    return "".join((head, _STYLE, tag, rest))
