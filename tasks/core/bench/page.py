"""The figures as a Markdown page, and as a block between two marks in a page by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..model.errors import ConfigError
from . import charts, tables
from .results import Results

BEGIN: Final = "<!-- bench:begin -->"
END: Final = "<!-- bench:end -->"

PAGE: Final = "performance.md"

_ALT: Final = {
    "bench-builds": "Seconds of a first build, of a build after an edit, and of all examples",
    "bench-scenarios": "Seconds of every scenario and approach",
    "bench-scale": "Seconds by the number of UDFs",
}


def write(results: Results, folder: Path) -> list[Path]:
    """Write the page and its pictures into ``folder``; the files that were written.

    A page that exists and has the marks keeps what stands around them. So does a README.md
    in the folder above, which gets the short table.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = charts.draw(results, folder)
    names = [path.stem for path in drawn]
    page, readme = folder / PAGE, folder.resolve().parent / "README.md"
    if not page.exists():
        page.write_text(f"# Performance\n\n{BEGIN}\n{END}\n", encoding="utf-8")
    _fill(page, block(results, names))
    if not readme.is_file() or BEGIN not in readme.read_text(encoding="utf-8"):
        return [*drawn, page]
    _fill(readme, short_block(results, names, folder.resolve().name))
    return [*drawn, page, readme]


def block(results: Results, pictures: list[str]) -> str:
    """All figures, with the pictures that stand beside the page."""
    parts = [
        _measured(results),
        tables.approaches(results).markdown(),
        _picture("bench-builds", pictures),
        "### Every scenario",
        tables.scenarios(results).markdown(),
        tables.times(results).markdown(),
        _picture("bench-scenarios", pictures),
        "### Bytes",
        tables.bytes_table(results).markdown(),
    ]
    if results.scale:
        parts += ["### Many UDFs", tables.scale(results).markdown()]
        parts += [_picture("bench-scale", pictures)]
    if (goals := tables.goals(results)).rows:
        parts += ["### Goals", goals.markdown()]
    return "\n\n".join(filter(None, parts))


def short_block(results: Results, pictures: list[str], folder: str) -> str:
    """The table of approaches and one picture, for a README in the folder above."""
    picture = _picture("bench-builds", pictures, f"{folder}/")
    parts = (tables.approaches(results).markdown(), picture, _measured(results))
    return "\n\n".join(filter(None, parts))


def between(text: str) -> str:
    """What stands between the marks of a page; ``""`` where it has none."""
    return text.partition(BEGIN)[2].partition(END)[0].strip("\n")


def _measured(results: Results) -> str:
    remarks = [f"Measured on {tables.machine(results)}."]
    if results.quick:
        remarks.append("A quick run: most figures are of one to three builds.")
    if results.repeated:
        failed = "1 build" if results.repeated == 1 else f"{results.repeated} builds"
        were = "was" if results.repeated == 1 else "were"
        remarks.append(f"{failed} failed and {were} run once more.")
    if results.parts > 1:
        remarks.append(f"It was taken in {results.parts} runs, one after the other.")
    if not results.engine.get("own", True):
        remarks.append(
            "`cold` was measured on an engine in use: every step was run again, but downloads "
            "may have come from BuildKit's cache mounts."
        )
    return " ".join(remarks)


def _picture(name: str, pictures: list[str], folder: str = "") -> str:
    return f"![{_ALT[name]}]({folder}{name}.svg)" if name in pictures else ""


def _fill(path: Path, text: str) -> None:
    head, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        what = f"{path} has no lines {BEGIN} and {END} to put the figures between"
        raise ConfigError(what, next_step="add the two lines, or give another folder")
    path.write_text(f"{head}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
